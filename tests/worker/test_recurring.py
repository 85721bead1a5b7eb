"""What repeats: the next occurrence is there whatever became of the one before, and downtime is seen, not rung."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.worker.plans import Plans, ago, now, ring

from callmeback.domain import due
from callmeback.pg.pool import Database

pytestmark = pytest.mark.anyio


async def materialise(worker: Database, most: int = 100) -> int:
    async with worker.transaction() as tx:
        return await due.materialise(tx, most)


def local(row: dict[str, object], zone: str) -> str:
    at = row["occurrence"]
    assert isinstance(at, datetime)

    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%dT%H:%M%z")


def waiting(
    schedule: str, asked: str, since: str, zone: str = "Europe/Berlin", rule: str = "FREQ=DAILY"
) -> due.Waiting:
    """A schedule for seven o'clock, as the worker finds it at a moment in local time."""
    info = ZoneInfo(zone)
    return due.Waiting(
        user_id="user_1",
        id=schedule,
        rrule=rule,
        starts_at_local="2016-01-01T07:00",
        timezone=zone,
        materialised_until=datetime.fromisoformat(since).replace(tzinfo=info).astimezone(UTC),
        grace_minutes=15,
        asked_at=datetime.fromisoformat(asked).replace(tzinfo=info).astimezone(UTC),
    )


async def test_c06_seven_o_clock_stays_seven_o_clock_through_both_changes(plans: Plans, worker: Database) -> None:
    spring = due.occurrences(waiting("rep_1", "2027-03-27T07:00:01", "2027-03-27T07:00"))
    autumn = due.occurrences(waiting("rep_1", "2027-10-30T07:00:01", "2027-10-30T07:00"))

    assert spring == ([], datetime(2027, 3, 28, 5, tzinfo=UTC))
    assert autumn == ([], datetime(2027, 10, 31, 6, tzinfo=UTC))


async def test_c05_after_nine_days_what_was_missed_is_shown_and_it_goes_on_at_the_next_time() -> None:
    missed, following = due.occurrences(waiting("rep_1", "2026-11-10T12:00", "2026-11-01T07:00"))

    assert [at.day for at in missed] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert following == datetime(2026, 11, 11, 6, tzinfo=UTC)


async def test_what_began_within_its_grace_still_rings() -> None:
    missed, following = due.occurrences(waiting("rep_1", "2026-11-10T07:14", "2026-11-09T07:00"))

    assert (missed, following) == ([], datetime(2026, 11, 10, 6, tzinfo=UTC))


async def test_a_year_of_downtime_is_shown_in_part() -> None:
    hourly = waiting("rep_1", "2026-11-10T07:30", "2025-11-10T07:00", rule="FREQ=HOURLY")
    missed, following = due.occurrences(hourly)

    assert len(missed) == due.MISSED_SHOWN_MAX
    assert following == datetime(2026, 11, 10, 7, tzinfo=UTC)


async def test_the_next_occurrence_is_added_once_by_many_workers(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    start = (now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    schedules = [plans.schedule(ann, "FREQ=DAILY", start, grace_minutes=20) for _ in range(10)]
    done = await asyncio.gather(*(materialise(worker, 4) for _ in range(8)))
    again = await materialise(worker)

    assert (sum(done), again) == (10, 0)
    for schedule in schedules:
        [row] = plans.rows(schedule)
        assert row["occurrence"].strftime("%Y-%m-%dT%H:%M") == start
        assert row["latest_start_at"] - row["scheduled_time"] == timedelta(minutes=20)
        assert plans.value("SELECT materialised_until FROM call_schedules WHERE id = %s", schedule) == row["occurrence"]


async def test_a_call_that_is_stuck_does_not_stop_tomorrow_s(plans: Plans, worker: Database) -> None:
    ann = plans.person(credits=0)
    schedule = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T00:00", materialised_until=ago(days=1, minutes=1))
    begin = now()
    await materialise(worker)
    await ring(worker)
    for _ in range(3):
        plans.books.execute("UPDATE call_schedules SET materialised_until = now() - interval '1 second'")
        await materialise(worker)
    rows = plans.rows(schedule)

    assert rows[-1]["status"] == "scheduled"
    assert begin < rows[-1]["scheduled_time"] < begin + timedelta(days=1, minutes=1)


async def test_a_schedule_ends_after_so_many_calls(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    counted = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T00:00", remaining_count=2, materialised_until=ago(days=3))
    until = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T00:00", ends_at=now())
    own_end = plans.schedule(ann, "FREQ=DAILY;COUNT=3", "2026-01-01T00:00")
    await materialise(worker)
    await materialise(worker)

    assert [row["status"] for row in plans.rows(counted)] == ["missed", "missed"]
    assert plans.rows(until) == plans.rows(own_end) == []
    assert plans.value("SELECT count(*) FROM call_schedules WHERE materialised_until IS NULL") == 3
    assert await materialise(worker) == 0


async def test_a_rule_that_cannot_be_read_is_paused_and_stops_no_other(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    broken = plans.schedule(ann, "FREQ=SECONDLY", "2026-01-01T00:00", materialised_until=ago(hours=1))
    nowhere = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T00:00", "Mars/Olympus", materialised_until=ago(hours=1))
    fine = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T00:00")
    await materialise(worker)
    problems = {
        row["id"]: (row["problem"], row["paused_at"] is not None)
        for row in plans.books.execute("SELECT id, problem, paused_at FROM call_schedules").fetchall()
    }

    assert problems == {
        broken: ("recurrence_too_frequent", True),
        nowhere: ("unknown_timezone", True),
        fine: (None, False),
    }
    assert len(plans.rows(fine)) == 1


async def test_a_paused_schedule_keeps_its_place(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    schedule = plans.schedule(
        ann, "FREQ=DAILY", "2026-01-01T00:00", paused_at=now(), materialised_until=ago(days=5), remaining_count=4
    )
    assert await materialise(worker) == 0
    plans.books.execute(
        "UPDATE call_schedules SET paused_at = NULL, materialised_until = greatest(materialised_until, now())"
    )
    await materialise(worker)

    assert [row["status"] for row in plans.rows(schedule)] == ["scheduled"]
    assert plans.value("SELECT remaining_count FROM call_schedules") == 3


async def test_two_calls_of_a_schedule_are_never_close_to_one_another(plans: Plans) -> None:
    ann = plans.person()
    schedule = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T00:00")
    begin = now() + timedelta(hours=1)
    for number, seconds in enumerate((0, 1, 299, 300)):
        plans.value(
            "SELECT add_occurrence(%s, %s, %s, %s)",
            ann, schedule, f"occ_{number}", begin + timedelta(seconds=seconds),
        )  # fmt: skip

    assert [(row["status"], row["outcome"]) for row in plans.rows(schedule)] == [
        ("scheduled", None),
        ("canceled", "too_close"),
        ("canceled", "too_close"),
        ("scheduled", None),
    ]


async def test_an_occurrence_that_was_skipped_ahead_stays_skipped(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    start = now().replace(second=0, microsecond=0) + timedelta(minutes=30)
    schedule = plans.schedule(ann, "FREQ=DAILY", start.strftime("%Y-%m-%dT%H:%M"))
    plans.value("SELECT add_occurrence(%s, %s, 'occ_1', %s, 'canceled', 'skipped')", ann, schedule, start)
    await materialise(worker)
    plans.books.execute("UPDATE call_schedules SET materialised_until = now() - interval '1 minute'")
    await materialise(worker)

    assert [(row["status"], row["outcome"]) for row in plans.rows(schedule)] == [("canceled", "skipped")]


async def test_what_waits_is_taken_back(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    schedule = plans.schedule(
        ann, "FREQ=DAILY", (now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M"), remaining_count=5
    )
    await materialise(worker)
    changed = plans.value("SELECT withdraw_occurrences(%s, %s)", ann, schedule)
    left = plans.value("SELECT remaining_count FROM call_schedules")
    plans.books.execute("UPDATE call_schedules SET materialised_until = now()")
    await materialise(worker)
    ended = plans.value("SELECT withdraw_occurrences(%s, %s, 'by_user')", ann, schedule)

    assert (changed, left, ended) == (1, 5, 1)
    assert [(row["status"], row["outcome"]) for row in plans.rows(schedule)] == [("canceled", "by_user")]


@pytest.mark.parametrize(
    ("wished", "preference", "texts"), [(10, False, 1), (None, True, 1), (None, False, 0), (0, True, 0)]
)
async def test_a_text_comes_before_the_call_if_it_is_wanted(
    plans: Plans, worker: Database, wished: int | None, preference: bool, texts: int
) -> None:
    ann = plans.person(timezone="Europe/Berlin")
    plans.books.execute(
        "INSERT INTO user_preferences (user_id, sms_notifications, call_reminder_minutes) VALUES (%s, %s, 10)",
        (ann, preference),
    )
    call = plans.call(ann, now() + timedelta(minutes=11), reminder_minutes=wished)
    plans.books.execute("UPDATE scheduled_calls SET remind_at = now() WHERE remind_at IS NOT NULL")
    async with worker.transaction() as tx:
        found = await due.claim_reminders(tx, 10)
    async with worker.transaction() as tx:
        again = await due.claim_reminders(tx, 10)
    at = plans.row(call)["scheduled_time"].astimezone(ZoneInfo("Europe/Berlin"))

    assert [due.reminder_text(one) for one in found] == [f"Brad will call you at {at:%H:%M}."] * texts
    assert again == []


async def test_no_text_comes_for_a_call_that_was_canceled_or_is_due_at_once(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    plans.call(ann, now() + timedelta(minutes=2), reminder_minutes=5)
    canceled = plans.call(ann, now() + timedelta(minutes=30), reminder_minutes=20)
    plans.value("SELECT cancel_scheduled_call(%s, %s)", ann, canceled)

    assert plans.value("SELECT count(*) FROM scheduled_calls WHERE remind_at IS NOT NULL") == 0


async def test_the_worker_sleeps_until_the_next_thing_is_due(plans: Plans, worker: Database) -> None:
    async def seconds() -> float | None:
        async with worker.transaction(read_only=True) as tx:
            return await due.seconds_to_next(tx)

    nothing = await seconds()
    ann = plans.person()
    plans.call(ann, now() + timedelta(hours=2))
    far = await seconds()
    plans.call(ann, ago(seconds=1))
    past = await seconds()

    assert nothing is None
    assert far is not None and 7000 < far < 7201
    assert past is not None and past < 0
