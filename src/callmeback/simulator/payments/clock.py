"""The vendor's own time: the real one, until a test moves it on or lets it run faster. It never goes back."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final

SPEED_MAX: Final = 1_000_000.0
ADVANCE_SECONDS_MAX: Final = 5 * 366 * 86_400
DUE_MAX: Final = 1_000_000
DUE_A_TURN: Final = 50
"""So many things are done at once before requests get their turn."""
TICK_SECONDS: Final = 0.2


class Clock:
    """Tells the time, and does what is due at its time and in its order."""

    def __init__(self) -> None:
        self._at = time.time()
        self._read = time.monotonic()
        self._speed = 1.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._moving = asyncio.Lock()
        self._is_moving = False

    @property
    def speed(self) -> float:
        """Seconds of this clock in a real one."""
        return self._speed

    @property
    def waiting(self) -> int:
        """How many things are to be done some time."""
        return len(self._due)

    @property
    def next_due(self) -> int | None:
        """When the next of them is to be done."""
        return int(self._due[0][0]) if self._due else None

    def time(self) -> float:
        """The vendor's time; while the clock is moved, that of what is being done."""
        if self._is_moving:
            return self._at
        return self._at + (time.monotonic() - self._read) * self._speed

    def now(self) -> int:
        """The vendor's time in whole seconds, as objects carry it."""
        return int(self.time())

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do this then. The action looks whether it still applies: nothing is ever taken back."""
        assert len(self._due) < DUE_MAX, "the simulated vendor has more to do than it was made for"
        heapq.heappush(self._due, (when, next(self._count), action))

    def run_at(self, speed: float) -> None:
        """Go on at this speed."""
        self._at, self._read, self._speed = self.time(), time.monotonic(), speed

    async def advance(self, seconds: float) -> None:
        """Move on, doing all that falls due on the way."""
        async with self._moving:
            await self._move(self.time() + seconds)

    async def catch_up(self) -> None:
        """Do what has fallen due by itself."""
        async with self._moving:
            await self._move(self.time())

    async def tick(self) -> None:
        """Catch up for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.catch_up()

    async def _move(self, until: float) -> None:
        self._at, self._is_moving = self.time(), True
        try:
            done = 0
            while self._due and self._due[0][0] <= until:
                when, _, action = heapq.heappop(self._due)
                self._at = max(self._at, when)
                action()
                done += 1
                if done % DUE_A_TURN == 0:
                    await asyncio.sleep(0)
            self._at = max(self._at, until)
        finally:
            self._read, self._is_moving = time.monotonic(), False
