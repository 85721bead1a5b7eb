"""Voices to choose from, and a sentence in each, where the voice is played on this machine."""

import io
import math
import wave
from typing import Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors, mulaw
from callmeback.providers.espeak import style_for
from callmeback.web.pages import frame
from callmeback.web.services import Services
from callmeback.web.session import Caller

SAMPLE: Final = "Hi, it's me. I had a minute, so I thought I would call you back. How was your day?"


class Voice(msgspec.Struct, frozen=True):
    """A voice by its vendor's id."""

    id: str
    name: str
    about: str


# Voices that every account at ElevenLabs has; the local voice stands in for each where the vendor is simulated.
VOICES: Final = (
    Voice("pNInz6obpgDQGcFmaJgB", "Adam", "deep and plain"),
    Voice("EXAVITQu4vr4xnSDxMaL", "Sarah", "soft and close"),
    Voice("iP95p4xoKVk53GoZ742B", "Chris", "light and quick"),
    Voice("XB0fDUnXU5powFXDhCwa", "Charlotte", "clear, a little cool"),
    Voice("FGY2WhTYpPnrIDTdsKH5", "Laura", "bright, from the north"),
    Voice("XrExE9yKIg1WjnnlVkGX", "Matilda", "friendly, British"),
    Voice("JBFqnCBsd6RMkjVDRZzb", "George", "warm, unhurried"),
    Voice("ErXwobaYiN019PkySvjV", "Antoni", "rounded and calm"),
)


def can_hear(services: Services) -> bool:
    """Whether voices are played here: a vendor's voice would have to be paid for."""
    return services.simulator is not None and services.settings.simulated("voice")


@get("/voices/sample.wav")
async def sample(
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    voice_id: FromQuery[str],
    speed: FromQuery[float] = 1.0,
    stability: FromQuery[float] = 0.5,
) -> Response[bytes]:
    """A sentence as a WAV file, at the telephone's quality."""
    async with caller.transaction(read_only=True):
        pass
    if not can_hear(services) or all(voice.id != voice_id for voice in VOICES):
        raise errors.NotFound("This voice can't be heard here.")
    if not math.isfinite(speed) or not math.isfinite(stability):
        raise errors.ValidationFailed("Pace and temper are numbers.")
    assert services.simulator is not None, "can_hear saw it"
    sound = await services.simulator.voice.speak(SAMPLE, style_for(voice_id, {"speed": speed, "stability": stability}))

    return Response(_wav(sound), media_type="audio/wav", headers=frame.HEADERS)


def _wav(sound: bytes) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(mulaw.RATE_HZ)
        file.writeframes(mulaw.decode(sound))

    return target.getvalue()


HANDLERS: Final = (sample,)
