"""The person's audio on its way to the listener, and the words on their way back, also over drops of the socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal

from callmeback import mulaw
from callmeback.providers.failures import VendorError, VendorUnavailable
from callmeback.voice import audio
from callmeback.voice.vendors import EagerEndOfTurn, Ears, EndOfTurn, HeardEvent, Lost

# The listener's timers run on audio time: without audio a turn would never end, so a pause is filled with silence.
PAUSE_SECONDS_MAX = 0.5
# Audio that comes before the listener is connected is kept, but no more than this.
EARLY_BYTES_MAX = 5 * audio.BYTES_PER_SECOND
OPENINGS_MAX = 2
OPENING_SECONDS_MAX = 2.5

_NO_SECONDS = Decimal(0)


class Hearing:
    """One call's way to the listener."""

    def __init__(
        self, open_ears: Callable[[], Awaitable[Ears]], clock: Callable[[], float], failures: list[str]
    ) -> None:
        self._open_ears = open_ears
        self._clock = clock
        self._failures = failures
        self._ears: Ears | None = None
        self._gatherer = audio.Gatherer()
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._began_at: float | None = None
        self._last_audio_at = clock()
        self._closed = False
        self.last_event_at = clock()
        self.down_since: float | None = None
        """Since when the listener's socket is gone, until it says something again."""

    def take(self, frame: bytes) -> None:
        """A frame of the person's audio; most frames only wait for the chunk to be full, an empty one is none."""
        if not frame:
            return
        now = self._clock()
        self._last_audio_at = now
        if self._began_at is None:
            self._began_at = now - audio.seconds(len(frame))
        chunk = self._gatherer.add(frame)
        if chunk is not None:
            self._send(chunk)

    def attend(self, *, closely: bool) -> None:
        """Pass on every frame at once, for somebody may interrupt; or gather some, which is cheaper."""
        self._gatherer.size = mulaw.FRAME_BYTES if closely else audio.LISTENER_CHUNK_BYTES

    def fill_pause(self) -> None:
        """To be called many times a second: when the carrier sends nothing, the listener gets silence in its place."""
        now = self._clock()
        if self._ears is None or now - self._last_audio_at < PAUSE_SECONDS_MAX:
            return
        gap = audio.silence(now - self._last_audio_at)
        self._last_audio_at = now
        self._send(self._gatherer.take() + gap)

    async def events(self) -> AsyncIterator[HeardEvent]:
        """What the listener heard; notes when it was last heard of. Raises VendorError when it can't be had (back)."""
        ears = await self._open()
        self._ears = ears
        if self._closed:
            await ears.aclose()
            return
        for chunk in self._early:
            ears.send(chunk)
        self._early.clear()
        async for event in ears.events():
            self.last_event_at = self._clock()
            if isinstance(event, Lost):
                self._failures.append("listener:dropped")
                self.down_since = self.last_event_at
            else:
                self.down_since = None
                yield event

    def connected(self) -> bool:
        """Does the listener listen now?"""
        return self._ears is not None and self._ears.connected

    def said_at(self, event: HeardEvent) -> float:
        """When the speech of a turn ended, on our clock; now if the listener doesn't say."""
        now = self._clock()
        if not isinstance(event, EagerEndOfTurn | EndOfTurn) or event.ended_at_seconds is None:
            return now
        if self._began_at is None:
            return now
        return min(now, self._began_at + event.ended_at_seconds)

    def billed_seconds(self) -> Decimal:
        """What the listener bills so far."""
        return self._ears.billed_seconds() if self._ears is not None else _NO_SECONDS

    async def close(self) -> None:
        """Nothing more is to be heard, or billed."""
        self._closed = True
        if self._ears is not None:
            await self._ears.aclose()

    def _send(self, chunk: bytes) -> None:
        if self._closed:
            return
        if self._ears is not None and not self._early:
            self._ears.send(chunk)
            return
        self._early.append(chunk)
        self._early_bytes += len(chunk)
        while self._early_bytes > EARLY_BYTES_MAX:
            self._early_bytes -= len(self._early.pop(0))

    async def _open(self) -> Ears:
        for attempt in range(1, OPENINGS_MAX + 1):
            try:
                async with asyncio.timeout(OPENING_SECONDS_MAX):
                    return await self._open_ears()
            except (VendorError, TimeoutError) as exc:
                self._failures.append("listener:lost" if isinstance(exc, VendorError) else "listener:slow")
                if attempt == OPENINGS_MAX:
                    raise VendorUnavailable("listener", "connect") from exc
        raise AssertionError("the last attempt returns or raises")
