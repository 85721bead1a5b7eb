"""One clock for everything that may take too long: a look every few milliseconds instead of a timer per request.

A timer costs a microsecond or two to arm and to cancel; a request here costs some fifty. While nothing is watched,
nothing ticks.
"""

import asyncio
from typing import Final, Protocol

TICK_S: Final = 0.02


class Expiring(Protocol):
    """Something with a last moment, in the loop's time."""

    expires_at: float

    def expire(self) -> None:
        """The moment has come; called once."""


class Deadlines:
    """What is watched now. Belongs to one running loop."""

    def __init__(self) -> None:
        self._watched: set[Expiring] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, thing: Expiring) -> None:
        """Call its `expire` once its moment has come, at most TICK_S late."""
        self._watched.add(thing)
        if self._handle is None:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._handle = self._loop.call_later(TICK_S, self._tick)

    def forget(self, thing: Expiring) -> None:
        """It ended by itself."""
        self._watched.discard(thing)

    def __len__(self) -> int:
        return len(self._watched)

    def _tick(self) -> None:
        assert self._loop is not None
        self._handle = self._loop.call_later(TICK_S, self._tick) if self._watched else None
        now = self._loop.time()
        for thing in [thing for thing in self._watched if thing.expires_at <= now]:
            self._watched.discard(thing)
            thing.expire()
