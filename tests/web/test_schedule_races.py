"""Schedules in odd moments: taken back while a call of theirs goes on, changed twice at once, at their last call."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from tests.web.house import House, Person, problem
from tests.web.test_schedules import PHONE, RULE, change, later, moment, plan

pytestmark = pytest.mark.anyio


async def shown(person: Person, schedule_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await person.client.get(f"/api/schedules/{schedule_id}")).json()
    return found


def states(schedule: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(one["status"], one["outcome"]) for one in schedule["occurrences"]]


def wait_for_lock(books: psycopg.Connection[Any]) -> bool:
    """Whether a request waits for a row that the test holds."""
    found = books.execute(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ).fetchone()
    assert found is not None

    return bool(found["n"])


async def test_c08_the_last_call_of_a_schedule_can_be_taken_back_while_its_retry_waits(house: House, ann: Person):
    """Nothing more is to come of the rule by then, but the phone would still ring."""
    made = await plan(ann, **RULE, retries={"max": 2}, ends_after=1)
    house.books.execute(
        "UPDATE scheduled_calls SET status = 'executed', outcome = 'busy' WHERE schedule_id = %s", (made["id"],)
    )
    house.books.execute("SELECT add_retry(%s, id, 'sch_retry', promised_at) FROM scheduled_calls", (ann.id,))
    house.books.execute("UPDATE call_schedules SET materialised_until = NULL")
    waiting = await shown(ann, made["id"])
    ended = (await ann.client.delete(f"/api/schedules/{made['id']}")).json()

    assert waiting["status"] == "active"
    assert (ended["status"], ended["at"]) == ("ended", None)
    assert sorted(map(str, states(ended))) == ["('canceled', 'by_user')", "('executed', 'busy')"]


async def test_c08_the_last_call_of_a_schedule_still_waits_after_a_rest(ann: Person):
    made = await plan(ann, **RULE, ends_after=1)
    await change(ann, made["id"], paused=True)
    resumed = (await change(ann, made["id"], paused=False)).json()
    ended = (await ann.client.delete(f"/api/schedules/{made['id']}")).json()

    assert (resumed["status"], resumed["at"], states(resumed)) == ("active", made["at"], [("scheduled", None)])
    assert (ended["status"], states(ended)) == ("ended", [("canceled", "by_user")])


async def test_c08_a_schedule_that_was_taken_back_is_not_tried_again(house: House, ann: Person):
    """Its call rings at that moment, and nobody answers."""
    made = await plan(ann, **RULE, retries={"max": 2})
    house.books.execute("UPDATE scheduled_calls SET status = 'executed' WHERE schedule_id = %s", (made["id"],))
    await ann.client.delete(f"/api/schedules/{made['id']}")
    house.books.execute("UPDATE scheduled_calls SET outcome = 'no_answer'")
    tried = house.row("SELECT add_retry(%s, id, 'sch_retry', promised_at) AS again FROM scheduled_calls", ann.id)
    after = await shown(ann, made["id"])

    assert tried["again"] is False
    assert (after["status"], after["paused_at"], states(after)) == ("ended", None, [("executed", "no_answer")])


async def test_c05_what_is_due_when_its_rule_changes_is_kept_as_missed(house: House, ann: Person):
    """No worker has claimed it yet; it neither rings beside the new time nor is it gone."""
    # In a zone whose clock leaves no time out and shows none twice, for three minutes from now must be one.
    made = await plan(ann, **RULE, ends_after=3, timezone="UTC")
    house.books.execute("UPDATE scheduled_calls SET scheduled_time = now() - interval '1 minute'")
    soon = datetime.now(UTC) + timedelta(minutes=3)
    changed = (await change(ann, made["id"], starts_at=f"{soon:%Y-%m-%dT%H:%M:%S}")).json()

    assert sorted(map(str, states(changed))) == ["('missed', 'changed')", "('scheduled', None)"]
    assert changed["ends_after"] == 3
    assert datetime.fromisoformat(changed["at"]) == soon.replace(microsecond=0)


async def test_a_call_keeps_the_grace_that_it_is_given_with_its_new_time(house: House, ann: Person):
    """Its latest start stays where it was, which must not look as if only the time were changed."""
    made = await plan(ann, persona_id="brad", at=later(days=3), grace_minutes=30)
    moved = moment(made["at"]) + timedelta(minutes=20)
    changed = (await change(ann, made["id"], at=moved.isoformat(), grace_minutes=10)).json()
    moved_on = (await change(ann, made["id"], at=later(days=4))).json()

    assert (changed["grace_minutes"], moment(changed["at"])) == (10, moved)
    assert moved_on["grace_minutes"] == 10


async def test_c08_a_move_says_when_the_call_was_claimed_first(house: House, ann: Person):
    made = await plan(ann, **RULE)
    with psycopg.connect(house.books.info.dsn, password=house.books.info.password) as worker:
        worker.execute("UPDATE scheduled_calls SET status = 'executing' WHERE schedule_id = %s", (made["id"],))
        moving = asyncio.create_task(change(ann, made["id"], at=later(days=3)))
        while not wait_for_lock(house.books):
            await asyncio.sleep(0.01)
        worker.commit()

    assert problem(await moving) == (409, "not_waiting")


async def test_two_changes_of_a_single_call_at_once_are_both_kept(house: House, ann: Person):
    made = await plan(ann, persona_id="brad", phone_number=PHONE, at=later(days=1))
    at = later(days=2)
    with psycopg.connect(house.books.info.dsn, password=house.books.info.password) as other:
        other.execute("SELECT FROM scheduled_calls WHERE id = %s FOR UPDATE", (made["id"],))
        changing = asyncio.create_task(change(ann, made["id"], context="the news"))
        while not wait_for_lock(house.books):
            await asyncio.sleep(0.01)
        other.execute("UPDATE scheduled_calls SET scheduled_time = %s WHERE id = %s", (at, made["id"]))
        other.commit()
    found = (await changing).json()

    assert (moment(found["at"]), found["context"]) == (moment(at), "the news")


async def test_a_schedule_ends_after_as_many_calls_as_a_change_says(house: House, ann: Person):
    made = await plan(ann, **RULE)
    changed = (await change(ann, made["id"], ends_after=2)).json()
    again = (await change(ann, made["id"], context="the news", ends_after=2)).json()
    skipped = (await ann.client.post(f"/api/schedules/{made['id']}/skip")).json()
    last = (await ann.client.post(f"/api/schedules/{made['id']}/skip")).json()

    assert [one["ends_after"] for one in (changed, again, skipped, last)] == [2, 2, 1, 0]
    assert moment(changed["at"]) + timedelta(days=2) > moment(skipped["at"])
    assert (last["status"], len(last["occurrences"])) == ("ended", 2)
