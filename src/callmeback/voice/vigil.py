"""What time brings to a call: limits, the warning, silences, vendors that keep quiet, and wishes from outside.

Looked at ten times a second; each look is a handful of comparisons.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from callmeback.voice import prompts
from callmeback.voice.control import Control
from callmeback.voice.conversation import Conversation
from callmeback.voice.gate import Gate
from callmeback.voice.hearing import Hearing
from callmeback.voice.meter import Meter
from callmeback.voice.speaker import Speaker
from callmeback.voice.ticket import Books, CallTicket
from callmeback.voice.turns import State

LOOK_SECONDS = 0.1
SILENCE_SECONDS_MAX = 8.0
# A start of turn that no word follows was a noise.
NOISE_SECONDS_MAX = 2.0
# Words without an end of turn, and no news from the listener: the end was lost with a socket.
TURN_STALL_SECONDS_MAX = 6.0
# Someone who waits this long for an answer hears a filler; well within two seconds.
FILLER_SECONDS = 1.2
# A machine's beep that the carrier doesn't announce is waited for so long.
BEEP_SECONDS_MAX = 8.0


class Vigil:
    """The clock of one call."""

    def __init__(
        self,
        call: CallTicket,
        talk: Conversation,
        speaker: Speaker,
        hearing: Hearing,
        meter: Meter,
        gate: Gate,
        books: Books,
        control: Control,
        clock: Callable[[], float],
    ) -> None:
        self._call = call
        self._talk = talk
        self._speaker = speaker
        self._hearing = hearing
        self._meter = meter
        self._gate = gate
        self._books = books
        self._control = control
        self._clock = clock
        self._began_at = clock() - call.elapsed_seconds
        self._asked_count = 0
        self._turns_when_asked = 0
        self._machine_since: float | None = None
        self._drain_at: float | None = None

    async def run(self) -> None:
        """Look until the call has ended."""
        while not self._talk.ended.done():
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def elapsed_seconds(self) -> float:
        """Since the carrier's answer."""
        return self._clock() - self._began_at

    def measure(self) -> None:
        """Bring the meter up to this moment and hand it to the books; a started second counts."""
        self._meter.connected(math.ceil(self.elapsed_seconds()), self._hearing.billed_seconds())
        usage, costs = self._meter.read()
        self._books.meter(self._meter.sequence, usage, costs)

    async def look(self) -> None:
        """Everything that time may have made due."""
        self.measure()
        limits = self._books.limits()
        if limits is not None:
            self._gate.lower(limits)
        if self._control.hang_up_wanted:
            self._talk.end("hung_up_by_request")
        spent, elapsed = self._meter.spent_cents(), self.elapsed_seconds()
        if (limit := self._gate.cut_due(spent, elapsed)) is not None:
            self._talk.end(self._talk.leaving or limit)
            return
        self._hearing.attend(closely=self._talk.state is State.SPEAKING)
        self._hearing.fill_pause()
        await self._speaker.look()
        await self._talk.look_whether_played()
        if self._talk.state is State.LEAVING:
            self._wait_for_beep()
            return
        await self._look_at_machine()
        await self._look_at_drain()
        if (reason := self._gate.leaving_due(spent, elapsed)) is not None:
            await self._talk.leave(reason)
            return
        of_cents = self._call.warn_cents or self._call.hold_cents
        running_out = self._gate.warning_due(spent, elapsed, self._call.warn_at_percent, of_cents)
        if running_out is not None:
            self._talk.warning = prompts.warning(self._call, running_out)
        if self._gate.warning_presses(spent, elapsed):
            await self._talk.warn_now()
        await self._look_at_turns()

    async def _look_at_turns(self) -> None:
        """Silences of the person, of the listener, and of the persona."""
        talk, now = self._talk, self._clock()
        if talk.state is State.SPEAKING:
            utterance = self._speaker.current
            waits = talk.turn_ended_at is not None and now - talk.turn_ended_at > FILLER_SECONDS
            if waits and utterance is not None and utterance.first_audio_at is None:
                await self._speaker.hum(utterance, prompts.FILLER)
            return
        if talk.person_speaks_since is not None:
            await self._look_at_person(now)
        elif talk.state is State.LISTENING and talk.warning:
            await talk.say("")
        elif talk.state is State.LISTENING and now - talk.quiet_since > SILENCE_SECONDS_MAX:
            await self._ask_into_silence()
        elif self._listener_is_out(now):
            await talk.say(prompts.LINE_FILLER)

    async def _look_at_person(self, now: float) -> None:
        talk = self._talk
        assert talk.person_speaks_since is not None
        if self._listener_is_out(now) and talk.state is not State.THINKING:
            # Whatever they were saying will be replayed; until then they should not hear nothing.
            resumes = talk.state is State.INTERRUPTED
            await talk.was_noise()
            if not resumes:
                await talk.say(prompts.LINE_FILLER)
        elif talk.words_so_far:
            if now - max(self._hearing.last_event_at, talk.person_speaks_since) > TURN_STALL_SECONDS_MAX:
                await talk.turn_ended(talk.words_so_far, now)
        elif now - talk.person_speaks_since > NOISE_SECONDS_MAX:
            await talk.was_noise()

    def _listener_is_out(self, now: float) -> bool:
        """Has the listener been gone so long that the person would notice? Answers yes once a drop."""
        if self._hearing.connected() and self._talk.person_speaks_since is None:
            # It was back before anybody had said a word.
            self._hearing.down_since = None
        since = self._hearing.down_since
        if since is None or now - since < FILLER_SECONDS:
            return False
        self._hearing.down_since = None
        return True

    async def _ask_into_silence(self) -> None:
        said = sum(turn.speaker == "user" for turn in self._talk.transcript)
        if said != self._turns_when_asked:
            self._asked_count, self._turns_when_asked = 0, said
        if self._asked_count == len(prompts.STILL_THERE):
            await self._talk.say(prompts.goodbye("silence"), leaving="silence")
            return
        self._asked_count += 1
        await self._talk.say(prompts.STILL_THERE[self._asked_count - 1])

    async def _look_at_machine(self) -> None:
        """A machine answered: hang up, or fall silent until its beep, by the user's choice."""
        answered_by = self._control.answered_by or ""
        if not answered_by.startswith(("machine", "fax")):
            return
        if self._call.voicemail_policy == "hang_up" or answered_by == "fax":
            self._talk.end("voicemail")
            return
        self._machine_since = self._clock()
        await self._talk.fall_silent()
        self._wait_for_beep()

    def _wait_for_beep(self) -> None:
        if self._machine_since is None:
            return
        beeped = (self._control.answered_by or "").startswith("machine_end")
        if beeped or self._clock() - self._machine_since > BEEP_SECONDS_MAX:
            self._machine_since = None
            self._talk.last_words("voicemail", prompts.voicemail(self._call))

    async def _look_at_drain(self) -> None:
        within = self._control.drain_within_seconds
        if within is None:
            return
        if self._drain_at is None:
            self._drain_at = self._clock() + within
        if self._clock() >= self._drain_at - self._gate.goodbye_seconds():
            await self._talk.leave("drained")
