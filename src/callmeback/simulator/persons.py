"""Who picks up a simulated phone when no page shows it: a scripted person, a machine, or nobody."""

import math
from array import array
from typing import Annotated, Final, Literal

import msgspec

from callmeback import mulaw
from callmeback.providers.espeak import Style
from callmeback.simulator.handset import Handset

SAYS_MAX: Final = 100
SAY_CHARACTERS_MAX: Final = 1000
PATIENCE_S: Final = 20.0
INTERRUPT_AFTER_S: Final = 1.0
RECORDING_S: Final = 120.0
MACHINE: Final = Style("en-us+f4", words_per_minute=180, pitch=52, pitch_range=30)
MACHINE_GREETING: Final = "You have reached my voicemail. Please leave a message after the tone."

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=SAY_CHARACTERS_MAX)]


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a phone does when it rings.

    `answers`: human, no_answer, busy, voicemail, or reject (declined by the person) · `says`: lines, each spoken
    after the persona has spoken · `hangs_up`: after the last line, once the persona has answered it · `interrupts`:
    the lines are said into the persona's words instead, a second after they begin · `ring_seconds`: before it is
    picked up.
    """

    answers: Literal["human", "no_answer", "busy", "voicemail", "reject"] = "human"
    says: Annotated[list[Line], msgspec.Meta(max_length=SAYS_MAX)] = []
    hangs_up: bool = True
    interrupts: bool = False
    ring_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] | None = None


DEFAULT_SCRIPT: Final = Script(
    says=[
        "Hi, this is a nice surprise. How are you?",
        "I'm doing well. I went for a long walk this morning.",
        "Thanks for calling, I have to go now. Bye!",
    ]
)
"""The person who answers when nobody said who should."""


async def talk(handset: Handset, script: Script, pause_seconds: float) -> bool:
    """Say the script's lines; answers whether the person now hangs up."""
    for line in script.says:
        if script.interrupts:
            await handset.other_speaks(INTERRUPT_AFTER_S, PATIENCE_S)
        else:
            await handset.other_spoke(pause_seconds, PATIENCE_S)
        await handset.say(line)
        await handset.said()
    if script.hangs_up:
        await handset.other_spoke(pause_seconds, PATIENCE_S)
    return script.hangs_up


async def greet_as_machine(handset: Handset) -> None:
    """The greeting of a voicemail box and its tone."""
    await handset.say(MACHINE_GREETING, MACHINE)
    handset.play(beep())
    await handset.said()


def beep(hertz: int = 1000, seconds: float = 0.5) -> bytes:
    """A tone as µ-law."""
    samples = array("h")
    for index in range(int(seconds * mulaw.RATE_HZ)):
        samples.append(int(8000 * math.sin(2 * math.pi * hertz * index / mulaw.RATE_HZ)))
    return mulaw.encode(samples.tobytes())
