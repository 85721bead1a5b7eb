"""What is due and when, by this machine's local time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from callmeback.ops.backup_record import Last, RunKind

# After a failure the next attempt waits, or a full disk would be written to without end.
RETRY_AFTER: Final = timedelta(minutes=10)
SUNDAY: Final = 6
# The whole backup of Sunday at two stands for the base of three o'clock.
BASE_STANDS_FOR: Final = timedelta(hours=2)


class Slot(msgspec.Struct, frozen=True):
    """A time on the clock, local, every day or on one weekday (Monday is 0)."""

    hour: int
    minute: int = 0
    weekday: int | None = None

    def last(self, at: datetime) -> datetime:
        """The last moment of this slot up to `at`."""
        local = at.astimezone()
        for days in range(8):
            # A naive time is the machine's local one, so a change of the clock in between is minded.
            day = local.replace(tzinfo=None) - timedelta(days=days)
            moment = day.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0).astimezone()
            if moment <= at and self.weekday in (None, moment.weekday()):
                return moment.astimezone(UTC)

        raise AssertionError("each week has every weekday")


SCHEDULE: Final[Mapping[RunKind, Slot]] = {
    "full": Slot(2, weekday=SUNDAY),
    "base": Slot(3),
    "logical": Slot(3),
    "verify": Slot(4),
    "drill": Slot(5, weekday=SUNDAY),
}


def due(runs: Mapping[str, Last], made_at: datetime, at: datetime, *, has_incrementals: bool) -> list[RunKind]:
    """What to do now, in this order: by what was done last, and when the repository was made.

    The first backup of all is due at once: without one, nothing can be restored.
    """
    whole = max((begun for kind in ("full", "base") if (begun := _done_at(runs, kind))), default=None)
    if whole is None:
        wanted: list[RunKind] = ["full"]
    else:
        wanted = [kind for kind, slot in SCHEDULE.items() if _is_missed(runs, kind, slot, at, made_at, whole)]
        if "full" in wanted and "base" in wanted:
            wanted.remove("base")
        newest = max(whole, _done_at(runs, "incremental") or whole)
        hour = at.replace(minute=0, second=0, microsecond=0)
        if has_incrementals and newest < hour and not {"full", "base"} & set(wanted):
            wanted.insert(0, "incremental")

    return [kind for kind in wanted if not _failed_lately(runs, kind, at)]


def _is_missed(
    runs: Mapping[str, Last], kind: RunKind, slot: Slot, at: datetime, made_at: datetime, whole: datetime
) -> bool:
    done = _done_at(runs, kind)
    if kind == "drill" and done is None:
        # The first one isn't waited for until Sunday: a backup that was never restored is a hope.
        slot = msgspec.structs.replace(slot, weekday=None)
    moment = slot.last(at)
    if moment < made_at:
        return False
    if kind == "base":
        return whole < moment - BASE_STANDS_FOR

    return done is None or done < moment


def _done_at(runs: Mapping[str, Last], kind: str) -> datetime | None:
    last = runs.get(kind)

    return last.done.started_at if last is not None and last.done is not None else None


def _failed_lately(runs: Mapping[str, Last], kind: str, at: datetime) -> bool:
    last = runs.get(kind)

    return last is not None and last.tried.state == "failed" and at - last.tried.finished_at < RETRY_AFTER
