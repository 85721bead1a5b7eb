"""One call, from the first frame to its settlement: the loops that read the carrier, the listener and the voice.

What is said stands in `conversation.py`, what time brings in `vigil.py`, the end in `settlement.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from callmeback.providers.failures import VendorError
from callmeback.voice import prompts, settlement
from callmeback.voice.control import Control
from callmeback.voice.conversation import Conversation, Work
from callmeback.voice.gate import Gate, Reserve
from callmeback.voice.hearing import Hearing
from callmeback.voice.meter import Meter
from callmeback.voice.speaker import Speaker
from callmeback.voice.thought import Thinking
from callmeback.voice.ticket import AnsweredBy, Books, CallTicket, EndReason, Limits, Outcome
from callmeback.voice.vendors import MediaStream, Played, Vendors
from callmeback.voice.vigil import Vigil

MOUTH_OPENING_SECONDS_MAX = 1.5
# After so many drops of its voice a call stays with the local one.
MOUTHS_MAX = 4
MOUTH_NAP_SECONDS = 0.5
HEARING_CLOSE_SECONDS_MAX = 2.0

_ANSWERED_BY: dict[str, AnsweredBy] = {"human": "human", "fax": "fax"}


async def run(
    call: CallTicket,
    stream: MediaStream,
    vendors: Vendors,
    books: Books,
    *,
    control: Control | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Hold the conversation of one call on a media stream that has just started, hang up, and settle.

    Returns what was handed to `books.finish`. Failures of vendors and of the database bend or end the call, they are
    not raised; a cancellation is obeyed after the call was hung up and settled. `clock` counts seconds and never jumps.
    """
    return await Session(call, stream, vendors, books, control or Control(), clock).run()


class Session:
    """Puts the parts of one call together and runs them until one of them ends it."""

    def __init__(
        self,
        call: CallTicket,
        stream: MediaStream,
        vendors: Vendors,
        books: Books,
        control: Control,
        clock: Callable[[], float],
    ) -> None:
        self._call = call
        self._stream = stream
        self._vendors = vendors
        self._control = control
        self._failures: list[str] = []
        self._answered_at = datetime.now(UTC) - timedelta(seconds=call.elapsed_seconds)
        self._ended_at = self._answered_at
        self._scribe = settlement.Scribe(books)
        self._stopped_by_carrier = False
        self._is_cut = False
        meter = self._meter = Meter(call.card)
        reserve = Reserve(len(prompts.warning(call)) + 1, prompts.longest_last_words(call) + 1)
        gate = Gate(call.card, Limits(call.hold_cents, call.granted_seconds), reserve)
        self._hearing = Hearing(vendors.open_ears, clock, self._failures)
        self._speaker = Speaker(stream, vendors.local_voice, meter, gate, clock, self._failures, self._first_audio)
        thinking = Thinking(
            mind=vendors.mind,
            second_mind=vendors.second_mind,
            meter=meter,
            gate=gate,
            max_tokens=call.max_tokens,
            temperature=call.temperature,
            failures=self._failures,
        )
        self._talk = Conversation(call, self._speaker, thinking, gate, clock, self._answered_at, self._scribe.turn)
        self._vigil = Vigil(call, self._talk, self._speaker, self._hearing, meter, gate, books, control, clock)

    async def run(self) -> Outcome:
        """The whole call."""
        self._scribe.connected()
        parts = [
            self._part("carrier", self._carrier_loop),
            self._part("listener", self._listener_loop),
            self._part("voice", self._mouth_loop),
            self._part("clock", self._vigil.run),
            self._part("greeting", self._talk.greet),
            asyncio.create_task(self._scribe.run(), name="scribe"),
        ]
        try:
            # Shielded, for a cancelled wait would cancel the future that the parts are yet to complete.
            reason: EndReason = await asyncio.shield(self._talk.ended)
        except asyncio.CancelledError:
            reason, self._is_cut = "drained", True
        outcome = await self._end(reason, parts)
        if self._is_cut:
            raise asyncio.CancelledError
        return outcome

    async def _end(self, reason: EndReason, parts: list[asyncio.Task[None]]) -> Outcome:
        """Hang up before anything else: each second costs; then count the last of them, and settle."""
        self._talk.stop()
        closing = asyncio.create_task(self._close_hearing(), name="closing")
        try:
            confirmed = await settlement.hang_up(
                self._vendors.carrier,
                self._stream,
                self._call.carrier_sid,
                gone=self._stopped_by_carrier,
                over=self._over,
                ended=self._control.carrier_ended,
            )
        except asyncio.CancelledError:
            # The process ends and the carrier didn't answer: its own time limit is left to it, the books are not.
            confirmed, self._is_cut = False, True
            if self._ended_at == self._answered_at:
                self._over()
        for part in parts:
            part.cancel()
        await asyncio.gather(closing, *parts, return_exceptions=True)
        outcome = self._outcome(reason, confirmed=confirmed)
        await self._scribe.finish(outcome)
        return outcome

    def _over(self) -> None:
        self._vigil.measure()
        self._ended_at = self._answered_at + timedelta(seconds=self._vigil.elapsed_seconds())

    async def _carrier_loop(self) -> None:
        """Audio, marks and the end of the stream; runs fifty times a second, so it makes no tasks and no objects."""
        receive, take = self._stream.receive, self._hearing.take
        try:
            while (message := await receive()) is not None:
                if isinstance(message, bytes):
                    take(message)
                elif isinstance(message, Played):
                    self._speaker.mark(message.name)
                    await self._talk.look_whether_played()
        except VendorError:
            self._failures.append("carrier:lost")
            self._talk.end("stream_lost")
            return
        self._stopped_by_carrier = True
        self._talk.end("user_hung_up")

    async def _listener_loop(self) -> None:
        try:
            async for event in self._hearing.events():
                await self._talk.heard(event, self._hearing.said_at(event))
        except VendorError:
            self._failures.append("listener:lost")
            await self._talk.leave("vendor_failure")

    async def _mouth_loop(self) -> None:
        """Keeps a voice open; while there is none the local one speaks."""
        for _ in range(MOUTHS_MAX):
            self._speaker.expect()
            try:
                async with asyncio.timeout(MOUTH_OPENING_SECONDS_MAX):
                    mouth = await self._vendors.open_mouth()
            except (VendorError, TimeoutError):
                self._failures.append("voice:unreachable")
                self._speaker.use(None)
                await asyncio.sleep(MOUTH_NAP_SECONDS)
                continue
            try:
                self._speaker.use(mouth)
                async for event in mouth.events():
                    await self._speaker.event(event)
                    await self._talk.look_whether_played()
            except VendorError as exc:
                self._failures.append(f"voice:{type(exc).__name__}")
            finally:
                await mouth.aclose()
            await self._speaker.lost()
            await self._talk.look_whether_played()

    def _first_audio(self) -> None:
        self._talk.first_audio()

    async def _close_hearing(self) -> None:
        try:
            async with asyncio.timeout(HEARING_CLOSE_SECONDS_MAX):
                await self._hearing.close()
        except (TimeoutError, VendorError):
            self._failures.append("listener:unclosed")

    def _part(self, name: str, work: Work) -> asyncio.Task[None]:
        return asyncio.create_task(self._talk.guard(name, work), name=name)

    def _answered_by(self) -> AnsweredBy | None:
        """The carrier's word in ours: it tells machines apart by how their greeting ended."""
        word = self._control.answered_by
        if word is None:
            return None
        return "machine" if word.startswith("machine") else _ANSWERED_BY.get(word, "unknown")

    def _outcome(self, reason: EndReason, *, confirmed: bool) -> Outcome:
        usage, costs = self._meter.read()
        times = self._talk.response_times_ms
        return Outcome(
            call_id=self._call.call_id,
            user_id=self._call.user_id,
            end_reason=reason,
            answered_by=self._answered_by(),
            answered_at=self._answered_at,
            ended_at=self._ended_at,
            duration_seconds=usage.carrier_seconds,
            sequence=self._meter.sequence,
            usage=usage,
            costs=costs,
            transcript=tuple(self._talk.transcript),
            turn_count=sum(turn.speaker == "user" for turn in self._talk.transcript),
            interrupt_count=self._talk.interrupt_count,
            avg_response_time_ms=round(sum(times) / len(times)) if times else None,
            response_times_ms=tuple(times),
            hang_up_confirmed=confirmed,
            failures=tuple(self._failures),
        )
