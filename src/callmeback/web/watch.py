"""Watching a live call: one look into the database every half second becomes events for a page or a terminal."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import Final, Protocol

import msgspec
from litestar.response import ServerSentEventMessage

from callmeback import errors
from callmeback.domain import calls
from callmeback.domain.calls import Call
from callmeback.pg.pool import Session

LOOK_SECONDS: Final = 0.5
QUIET_LOOKS_MAX: Final = 20
"""Looks without news after which a comment is sent, so that nothing on the way takes the stream for dead."""

# The longest call of any tier lasts four hours; nothing is watched for longer than five.
LOOKS_MAX: Final = int(5 * 3_600 / LOOK_SECONDS)
FAILURES_MAX: Final = 20
WATCHERS_MAX: Final = 300
WATCHERS_PER_PERSON_MAX: Final = 6
RETRY_AFTER_S: Final = 5
RETRY_MS: Final = 1_000

# The id of a turn's event is the turn's number; the other events have none, so that a client keeps the last turn's.
_EVENT_ID: Final = re.compile(r"[0-9]{1,6}")


class Watcher(Protocol):
    """Whose call it is: `session.Caller`, whose transactions fail once the session is revoked."""

    @property
    def user_id(self) -> str: ...

    def transaction(self, *, read_only: bool = False) -> AbstractAsyncContextManager[Session]: ...


class TurnEvent(msgspec.Struct, frozen=True):
    """A turn of the transcript as it was written."""

    call_id: str
    seq: int
    speaker: str
    text: str
    at: datetime


class Watchers:
    """How many streams are open, by person: each asks the database twice a second."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def require_room(self, user_id: str) -> None:
        """Raise RateLimited where one more would be too many."""
        if self._open.total() >= WATCHERS_MAX or self._open[user_id] >= WATCHERS_PER_PERSON_MAX:
            raise errors.RateLimited("Too many streams are open.", retry_after=RETRY_AFTER_S)

    @contextmanager
    def watching(self, user_id: str) -> Iterator[None]:
        """Count a stream while the block lasts."""
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

    def total(self) -> int:
        """Streams open now."""
        return self._open.total()


async def events(
    watchers: Watchers, caller: Watcher, call: Call, told: int = 0
) -> AsyncIterator[ServerSentEventMessage]:
    """What happens to a call from `call` on, until it is settled, the session is revoked, or the bound is reached.

    `told` is how many turns the client has: after a break none is told twice. A settled call's `status` is the last.
    """
    with watchers.watching(caller.user_id):
        beginning = [_message("status", call, retry=RETRY_MS), *_turns(call, told)]
        if call.status in calls.TERMINAL:
            beginning = [*beginning[1:], beginning[0]]
        for event in beginning:
            yield event
        quiet, failures = 0, 0
        for _ in range(LOOKS_MAX):
            if call.status in calls.TERMINAL:
                return
            await asyncio.sleep(LOOK_SECONDS)
            try:
                newer = await _look(caller, call.id)
                failures = 0
            except (errors.DatabaseUnavailable, errors.Overloaded, errors.DeadlineExceeded):
                failures += 1
                if failures > FAILURES_MAX:
                    return
                yield _comment("waiting")
                continue
            except (errors.Unauthorized, errors.NotFound):
                return
            news = _news(call, newer)
            for event in news:
                yield event
            quiet = 0 if news else quiet + 1
            if quiet >= QUIET_LOOKS_MAX:
                quiet = 0
                yield _comment("still here")
            call = newer


def turns_told(last_event_id: str | None) -> int:
    """How many turns a client has that names the last event it saw; none where it names no event of ours."""
    if last_event_id is None or not _EVENT_ID.fullmatch(last_event_id):
        return 0

    return int(last_event_id) + 1


async def _look(caller: Watcher, call_id: str) -> Call:
    async with caller.transaction(read_only=True) as tx:
        return await calls.call(tx, caller.user_id, call_id)


def _news(before: Call, now: Call) -> list[ServerSentEventMessage]:
    """Turns first, so that whoever sees a terminal status has seen everything."""
    found = _turns(now, len(before.transcript))
    if (now.status, now.answered_by) != (before.status, before.answered_by):
        found.append(_message("status", now))
    elif (now.duration_seconds, now.cost_cents) != (before.duration_seconds, before.cost_cents):
        found.append(_message("meter", msgspec.structs.replace(now, transcript=[])))

    return found


def _turns(call: Call, known: int) -> list[ServerSentEventMessage]:
    return [
        _message("turn", TurnEvent(call.id, seq, line.speaker, line.text, line.at), number=seq)
        for seq, line in enumerate(call.transcript[known:], known)
    ]


def _comment(words: str) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=None, comment=words)


def _message(
    event: str, body: msgspec.Struct, retry: int | None = None, number: int | None = None
) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=msgspec.json.encode(body).decode(), event=event, retry=retry, id=number)
