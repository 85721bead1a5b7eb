"""How many calls a process takes: as many as it was measured to carry, and none once it drains."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from callmeback.errors import CallMeBackError
from callmeback.voice.control import Control

# Measured by bench/voice on two cores; more processes carry more.
CALLS_MAX = 30
DRAIN_LOOK_SECONDS = 0.1


class CallsFull(CallMeBackError):
    """This process carries all the calls it can; the next one goes elsewhere."""

    code: ClassVar[str] = "calls_full"


class Draining(CallMeBackError):
    """This process is about to end and takes no new calls."""

    code: ClassVar[str] = "draining"


class Admission:
    """The live calls of a process, by call id."""

    def __init__(self, calls_max: int = CALLS_MAX) -> None:
        self.calls_max = calls_max
        self.live: dict[str, Control] = {}
        self.draining = False

    @contextmanager
    def admit(self, call_id: str) -> Iterator[Control]:
        """Take a call for as long as the block lasts. Raises Draining, and CallsFull, also for a call already taken."""
        if self.draining:
            raise Draining
        if call_id in self.live or len(self.live) >= self.calls_max:
            raise CallsFull
        control = Control()
        self.live[call_id] = control
        try:
            yield control
        finally:
            del self.live[call_id]

    async def drain(self, within_seconds: float) -> bool:
        """Take no new calls and wait for the live ones, which say goodbye in time; answers whether all have ended."""
        self.draining = True
        for control in self.live.values():
            control.drain(within_seconds)
        # The sessions hang up and settle after their goodbye; they get the same time again, and no more.
        clock = asyncio.get_running_loop().time
        deadline = clock() + 2 * within_seconds
        while self.live and clock() < deadline:  # noqa: ASYNC110 - bounded, and only once in a process's life
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        return not self.live

    async def emptied(self) -> None:
        """Wait until no call is live."""
        while self.live:  # noqa: ASYNC110 - only once in a process's life
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
