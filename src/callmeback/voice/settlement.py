"""The end of a call, where nothing may be given up early: the hang-up until confirmed, the books until kept."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable

from callmeback import logs
from callmeback.errors import CallMeBackError
from callmeback.providers.failures import VendorError
from callmeback.voice.ticket import Books, Outcome, Turn
from callmeback.voice.vendors import CarrierControl, MediaStream

# About two minutes of trying; then the carrier's own time limit and the reaper stand behind.
HANG_UP_ATTEMPTS_MAX = 30
# The first attempt is short: after it the stream is closed, which hangs up as well, and both must fit into what the
# gate keeps for a hang-up.
FIRST_HANG_UP_SECONDS_MAX = 1.5
HANG_UP_SECONDS_MAX = 3.0
FINISH_ATTEMPTS_MAX = 40
BOOK_ATTEMPTS_MAX = 5
BOOK_SECONDS_MAX = 5.0
BACKOFF_SECONDS_MIN = 0.25
BACKOFF_SECONDS_MAX = 5.0
# What may wait to be written: a turn is at most every second or so, and the outcome repeats them all.
PENDING_MAX = 500

_log = logs.get_logger(__name__)


def backoff_seconds(attempt: int) -> float:
    """The pause after the so-manieth failure: doubling between its bounds."""
    return float(min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2.0 ** (attempt - 1)))


async def hang_up(
    carrier: CarrierControl,
    stream: MediaStream,
    carrier_sid: str,
    *,
    gone: bool,
    over: Callable[[], None],
    ended: asyncio.Event,
) -> bool:
    """End the call by the carrier's REST side, again and again until it confirms; answers whether it did.

    Its own report of the end, which sets `ended`, is as good as an answer.

    When the first attempt fails the media stream is closed too: the verb behind it hangs up. `gone` says that the
    carrier itself has ended the stream, so there is nothing to end. `over` is called once, when the person is off the
    line: what a deaf carrier takes to confirm after that is nobody's talk.
    """
    if gone:
        over()
        await _close(stream)
        return True
    for attempt in range(1, HANG_UP_ATTEMPTS_MAX + 1):
        try:
            async with asyncio.timeout(FIRST_HANG_UP_SECONDS_MAX if attempt == 1 else HANG_UP_SECONDS_MAX):
                await carrier.hang_up(carrier_sid)
            if attempt == 1:
                over()
                await _close(stream)
            return True
        except (CallMeBackError, TimeoutError, OSError) as exc:
            _log.warning("hang_up_failed", attempt=attempt, error=type(exc).__name__)
        if attempt == 1:
            await _close(stream)
            over()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(backoff_seconds(attempt)):
                await ended.wait()
            return True
    _log.error("hang_up_given_up", attempts=HANG_UP_ATTEMPTS_MAX)
    return False


async def _close(stream: MediaStream) -> None:
    try:
        await stream.close()
    except VendorError:
        _log.debug("stream_already_closed")


class Scribe:
    """Writes to the books beside the conversation, in order; a failing database delays no word that is spoken."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._pending: asyncio.Queue[Turn | None] = asyncio.Queue(PENDING_MAX)

    def connected(self) -> None:
        """To be written: the call is connected."""
        self._put(None)

    def turn(self, turn: Turn) -> None:
        """To be written: a turn of the transcript."""
        self._put(turn)

    async def run(self) -> None:
        """Write what comes, until cancelled; what the books refuse is in the outcome again."""
        while True:
            turn = await self._pending.get()
            if turn is None:
                await _persist("connected", self._books.connected, BOOK_ATTEMPTS_MAX)
            else:
                await _persist("turn", functools.partial(self._books.turn, turn), BOOK_ATTEMPTS_MAX)

    async def finish(self, outcome: Outcome) -> bool:
        """Settle the call; answers False when the books could not be reached, which leaves it to the reaper."""
        return await _persist("finish", lambda: self._books.finish(outcome), FINISH_ATTEMPTS_MAX)

    def _put(self, item: Turn | None) -> None:
        if self._pending.full():
            _log.warning("books_too_slow", pending=PENDING_MAX)
            return
        self._pending.put_nowait(item)


async def _persist(what: str, write: Callable[[], Awaitable[None]], attempts: int) -> bool:
    for attempt in range(1, attempts + 1):
        try:
            async with asyncio.timeout(BOOK_SECONDS_MAX):
                await write()
            return True
        except (CallMeBackError, TimeoutError, OSError) as exc:
            _log.warning("books_failed", doing=what, attempt=attempt, error=type(exc).__name__)
        if attempt < attempts:
            await asyncio.sleep(backoff_seconds(attempt))
    _log.error("books_given_up", doing=what, attempts=attempts)
    return False
