"""Metering for a whole process: once a second one write for all live calls, and its answer back to each of them.

The state is cumulative, so a write that fails is simply repeated by the next one; nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal

import msgspec

from callmeback import logs
from callmeback.errors import CallMeBackError
from callmeback.voice.meter import Costs, Usage
from callmeback.voice.ticket import Limits

# A little under a second, so that a cent is in the database within a second of being spent.
INTERVAL_SECONDS = 0.8
WRITE_SECONDS_MAX = 5.0
# meter_calls looks for each call from the beginning of its batch: with so many that is a small part of its work.
ROWS_PER_WRITE_MAX = 200

_NOTHING_LEFT = Limits(cents=Decimal(0), seconds=0)

_log = logs.get_logger(__name__)


class MeterRow(msgspec.Struct, frozen=True):
    """The cumulative state of one call; a higher sequence is a newer state."""

    user_id: str
    call_id: str
    sequence: int
    usage: Usage
    costs: Costs


class MeterLimit(msgspec.Struct, frozen=True):
    """The limits in force for a call; one whose hold is no longer open was settled by somebody else and must end."""

    call_id: str
    is_open: bool
    limit_cents: Decimal
    limit_seconds: int


Write = Callable[[Sequence[MeterRow]], Awaitable[Sequence[MeterLimit]]]


class Slot:
    """One call's place in the batch; `put` and `limits` are what `Books` hands through."""

    __slots__ = ("_batcher", "call_id", "limits", "row", "user_id", "written_sequence")

    def __init__(self, batcher: MeterBatcher, user_id: str, call_id: str) -> None:
        self._batcher = batcher
        self.user_id = user_id
        self.call_id = call_id
        self.row: MeterRow | None = None
        self.limits: Limits | None = None
        self.written_sequence = 0

    def put(self, sequence: int, usage: Usage, costs: Costs) -> None:
        """The newest state; replaces one that has not been written yet."""
        self.row = MeterRow(self.user_id, self.call_id, sequence, usage, costs)

    def close(self) -> None:
        """The call is over; its last state is settled by `finish`, not here."""
        self._batcher.forget(self)


class MeterBatcher:
    """All live calls of a process; `run` is its one task."""

    def __init__(self, write: Write, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._write = write
        self._interval_seconds = interval_seconds
        self._slots: dict[str, Slot] = {}
        self.failures_in_row = 0

    def open(self, user_id: str, call_id: str) -> Slot:
        """A place for a call that begins; to be closed when it has ended."""
        assert call_id not in self._slots, "a call has one session"
        slot = Slot(self, user_id, call_id)
        self._slots[call_id] = slot
        return slot

    def forget(self, slot: Slot) -> None:
        """Leave a call out from now on; a second time changes nothing."""
        self._slots.pop(slot.call_id, None)

    async def run(self) -> None:
        """Write once an interval until cancelled, from start to start, so that a slow write doesn't add to it."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await self.write_all()
            due = max(due + self._interval_seconds, clock())
            await asyncio.sleep(due - clock())

    async def write_all(self) -> None:
        """One write for what has changed since it was last written."""
        slots = [slot for slot in self._slots.values() if slot.row and slot.row.sequence > slot.written_sequence]
        for start in range(0, len(slots), ROWS_PER_WRITE_MAX):
            await self._write_some(slots[start : start + ROWS_PER_WRITE_MAX])

    async def _write_some(self, slots: list[Slot]) -> None:
        rows = [slot.row for slot in slots if slot.row is not None]
        try:
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                limits = await self._write(rows)
        except (CallMeBackError, TimeoutError, OSError) as exc:
            self.failures_in_row += 1
            _log.warning("metering_failed", calls=len(rows), failures=self.failures_in_row, error=type(exc).__name__)
            return
        self.failures_in_row = 0
        for row in rows:
            if (slot := self._slots.get(row.call_id)) is not None:
                slot.written_sequence = row.sequence
        for limit in limits:
            if (slot := self._slots.get(limit.call_id)) is not None:
                in_force = Limits(cents=limit.limit_cents, seconds=limit.limit_seconds)
                slot.limits = in_force if limit.is_open else _NOTHING_LEFT
