"""What a change of the clocks does to a rule."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from callmeback.domain import agenda, recurrence

WINTER = datetime(2026, 11, 26, tzinfo=UTC)
MONDAY = datetime(2026, 1, 5, 7)


def changes(rule: str, start: datetime, zone: str) -> list[agenda.ClockChange]:
    return agenda.clock_changes(rule, start, ZoneInfo(zone), WINTER)


def test_c06_both_changes_are_found_to_the_second_with_the_times_around_them():
    forward, back = changes("FREQ=DAILY", MONDAY, "Europe/Paris")

    assert forward.at == datetime(2027, 3, 28, 1, tzinfo=UTC)
    assert (forward.shift, back.shift) == (timedelta(hours=1), timedelta(hours=-1))
    assert back.at.astimezone(UTC) == datetime(2027, 10, 31, 1, tzinfo=UTC)
    assert forward.last_before is not None and forward.first_after is not None
    assert (forward.last_before.isoformat(), forward.first_after.isoformat()) == (
        "2027-03-27T07:00:00+01:00", "2027-03-28T07:00:00+02:00",
    )  # fmt: skip


def test_c06_half_an_hour_and_the_southern_half_of_the_world():
    back, forward = changes("FREQ=DAILY", MONDAY, "Australia/Lord_Howe")

    assert (back.shift, forward.shift) == (timedelta(minutes=-30), timedelta(minutes=30))
    assert back.first_after is not None and back.first_after.time() == MONDAY.time()


def test_c06_a_time_in_the_gap_rings_at_the_same_elapsed_instant():
    forward, _ = changes("FREQ=DAILY", datetime(2026, 1, 5, 2, 30), "Europe/Berlin")

    assert forward.first_after is not None
    assert forward.first_after.isoformat() == "2027-03-28T03:30:00+02:00"


def test_c06_a_zone_whose_clocks_stay_has_no_changes():
    assert changes("FREQ=DAILY", MONDAY, "Asia/Tokyo") == []


def test_c06_a_rule_that_ends_before_a_change_says_that_nothing_follows():
    forward, back = changes("FREQ=DAILY;UNTIL=20270301", MONDAY, "Europe/Paris")

    assert (forward.last_before is not None, forward.first_after) == (True, None)
    assert (back.last_before, back.first_after) == (None, None)


def test_what_rings_every_five_minutes_is_not_walked_through_for_a_month(monkeypatch: pytest.MonkeyPatch):
    """8,928 times lie in the month before a change; the process that looks carries live voice."""
    asked = []

    def counted(*given: Any) -> datetime | None:
        asked.append(given)
        return known(*given)

    known = recurrence.next_after
    monkeypatch.setattr(recurrence, "next_after", counted)
    rule = f"FREQ=HOURLY;BYMINUTE={','.join(map(str, range(0, 60, 5)))}"
    forward, back = changes(rule, MONDAY, "Europe/Paris")

    assert forward.last_before is not None and back.last_before is not None
    assert (forward.last_before.isoformat(), back.last_before.isoformat()) == (
        "2027-03-28T01:55:00+01:00", "2027-10-31T02:55:00+02:00",
    )  # fmt: skip
    assert len(asked) < 100
