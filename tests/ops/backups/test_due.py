"""What is due when: local clock, first backup at once, one for two slots, patience after a failure."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from callmeback.ops.backup_due import due
from callmeback.ops.backup_record import Last, Run, RunKind

BERLIN = ZoneInfo("Europe/Berlin")
# A Thursday.
MADE = datetime(2026, 11, 19, 12, 0, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("berlin")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def ran(kind: RunKind, at: str, state: str = "done") -> Run:
    moment = local(at)

    return Run(id=f"{kind}-{at}", kind=kind, state=state, started_at=moment, finished_at=moment)  # type: ignore[arg-type]  # one of two words


def last(*runs: Run) -> dict[str, Last]:
    found: dict[str, Last] = {}
    for run in runs:
        before = found.get(run.kind)
        found[run.kind] = Last(run if run.state == "done" else before.done if before else None, run)

    return found


def asked(at: str, *runs: Run, incrementals: bool = True) -> list[RunKind]:
    return due(last(*runs), MADE, local(at), has_incrementals=incrementals)


FIRST = ran("full", "2026-11-19 13:00")


def test_without_any_backup_the_first_is_due_at_once() -> None:
    assert asked("2026-11-19 13:00") == ["full"]


def test_right_after_the_first_nothing_is_due() -> None:
    assert asked("2026-11-19 13:01", FIRST) == []


def test_every_full_hour_brings_an_incremental_one() -> None:
    assert asked("2026-11-19 13:59", FIRST) == []
    assert asked("2026-11-19 14:00", FIRST) == ["incremental"]
    assert asked("2026-11-19 14:59", FIRST, ran("incremental", "2026-11-19 14:00")) == []
    assert asked("2026-11-19 14:00", FIRST, incrementals=False) == []


def test_the_night_brings_base_dump_and_verify_in_local_time() -> None:
    hourly = ran("incremental", "2026-11-20 02:00")
    assert asked("2026-11-20 02:59", FIRST, hourly) == []
    assert asked("2026-11-20 03:00", FIRST, hourly) == ["base", "logical"]
    base, dump = ran("base", "2026-11-20 03:00"), ran("logical", "2026-11-20 03:00")
    assert asked("2026-11-20 04:00", FIRST, base, dump) == ["incremental", "verify"]


def test_sunday_brings_a_full_one_that_stands_for_the_base() -> None:
    night = [ran("logical", "2026-11-21 03:00"), ran("verify", "2026-11-21 04:00"), ran("drill", "2026-11-20 05:00")]
    assert asked("2026-11-22 02:00", ran("base", "2026-11-21 03:00"), *night) == ["full"]
    full = ran("full", "2026-11-22 02:00")
    assert asked("2026-11-22 03:00", full, *night) == ["incremental", "logical"]


def test_the_first_drill_is_held_the_next_morning_and_then_on_sundays() -> None:
    done = [ran("base", "2026-11-20 05:00"), ran("logical", "2026-11-20 03:00"), ran("verify", "2026-11-20 04:00")]
    assert asked("2026-11-20 04:59", FIRST, *done) == []
    assert asked("2026-11-20 05:00", FIRST, *done) == ["drill"]
    assert asked("2026-11-20 05:30", FIRST, *done, ran("drill", "2026-11-20 05:00")) == []


def test_the_drill_is_held_once_a_week() -> None:
    done = (ran("full", "2026-11-22 02:00"), ran("logical", "2026-11-22 03:00"), ran("verify", "2026-11-22 04:00"))
    hourly = ran("incremental", "2026-11-22 05:00")
    assert asked("2026-11-22 05:01", *done, hourly) == ["drill"]
    assert asked("2026-11-22 05:30", *done, hourly, ran("drill", "2026-11-22 05:01")) == []


def test_after_downtime_each_is_due_once() -> None:
    assert asked("2026-12-10 12:30", FIRST) == ["full", "logical", "verify", "drill"]


def test_after_a_failure_the_next_attempt_waits() -> None:
    failed = ran("base", "2026-11-20 03:00", "failed")
    dump = ran("logical", "2026-11-20 03:00")

    assert asked("2026-11-20 03:09", FIRST, failed, dump) == []
    assert asked("2026-11-20 03:10", FIRST, failed, dump) == ["base"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_both_changes_of_the_clock_bring_each_once(day: str) -> None:
    """Sundays on which 02:00 to 03:00 isn't there, or is there twice."""
    made = datetime(2026, 1, 1, tzinfo=UTC)
    eve = local(day) - timedelta(hours=12)
    kinds: list[RunKind] = ["full", "base", "logical", "verify", "drill"]
    runs = [Run(id=kind, kind=kind, state="done", started_at=eve, finished_at=eve) for kind in kinds]
    done: Counter[RunKind] = Counter()
    for step in range(10 * 24):
        at = local(day) + timedelta(minutes=6 * step)
        for kind in due(last(*runs), made, at, has_incrementals=False):
            runs.append(Run(id=f"{kind}{step}", kind=kind, state="done", started_at=at, finished_at=at))
            done[kind] += 1

    assert done == {"full": 1, "logical": 1, "verify": 1, "drill": 1}
