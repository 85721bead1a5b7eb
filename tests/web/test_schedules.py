"""Calls to come over the API: planned, previewed, moved, paused, skipped, canceled, and refused in clear words."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from tests.web.house import House, Person, problem

from callmeback.domain import planning, recurrence, zones

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"
RULE = {"persona_id": "brad", "phone_number": PHONE, "rrule": "FREQ=DAILY", "starts_at": "2026-01-01T07:00"}
BERLIN = "Europe/Berlin"


def later(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def plan(person: Person, **order: Any) -> dict[str, Any]:
    answer = await person.client.post("/api/schedules", json=order)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def change(person: Person, schedule_id: str, **wanted: Any) -> httpx.Response:
    return await person.client.patch(f"/api/schedules/{schedule_id}", json=wanted)


def expected(rule: str, start: str, timezone: str, after: datetime | None = None) -> datetime | None:
    """What the rule says by itself."""
    zone = zones.zone(timezone).info

    return recurrence.next_after(rule, recurrence.local_time(start), zone, after or datetime.now(UTC))


async def test_a_single_call_is_planned_and_shown(ann: Person):
    at = later(days=3)
    made = await plan(
        ann, persona_id="brad", phone_number="+1 (202) 555-0101", at=at, context="my day", max_minutes=5,
        retries={"max": 2, "after_minutes": 5}, quiet_hours={"from": "22:00", "until": "07:00"}, grace_minutes=30,
        reminder_minutes=10,
    )  # fmt: skip
    listed = (await ann.client.get("/api/schedules")).json()["items"]

    assert listed == [made]
    assert (await ann.client.get(f"/api/schedules/{made['id']}")).json() == made
    assert (made["kind"], made["status"], made["phone_number"]) == ("once", "scheduled", PHONE)
    assert moment(made["at"]) == moment(at)
    assert (made["context"], made["max_minutes"], made["grace_minutes"]) == ("my day", 5, 30)
    assert made["retries"] == {
        "max": 2, "after_minutes": 5, "within_minutes": 120, "on_busy": True, "on_no_answer": True,
    }  # fmt: skip
    assert made["quiet_hours"] == {"from": "22:00", "until": "07:00"}
    assert [(one["id"], one["status"], one["attempt"]) for one in made["occurrences"]] == [(made["id"], "scheduled", 1)]


async def test_c07_an_offset_is_kept_as_the_instant_it_means(ann: Person):
    made = await plan(ann, persona_id="brad", phone_number=PHONE, at="2058-01-01T10:00:00-05:00")

    assert moment(made["at"]) == datetime(2058, 1, 1, 15, tzinfo=UTC)


async def test_without_a_number_the_primary_one_is_called(ann: Person):
    assert (await plan(ann, persona_id="brad", at=later(hours=1)))["phone_number"] == PHONE


async def test_c06_a_rule_has_its_next_time_in_its_zone(ann: Person):
    made = await plan(ann, **RULE, timezone="America/New_York")

    assert (made["kind"], made["status"]) == ("recurring", "active")
    assert (made["rrule"], made["starts_at"], made["timezone"]) == (
        "FREQ=DAILY", "2026-01-01T07:00:00", "America/New_York",
    )  # fmt: skip
    assert made["follows_user_zone"] is False
    assert moment(made["at"]) == expected("FREQ=DAILY", RULE["starts_at"], "America/New_York")
    assert [one["status"] for one in made["occurrences"]] == ["scheduled"]


async def test_a_rule_without_a_zone_follows_the_person(house: House, ann: Person):
    fixed = await plan(ann, **RULE, timezone=BERLIN)
    made = await plan(ann, **RULE)
    assert (made["timezone"], made["follows_user_zone"]) == (BERLIN, True)

    answer = await ann.client.patch("/api/auth/me", json={"timezone": "Asia/Tokyo"})
    moved = (await ann.client.get(f"/api/schedules/{made['id']}")).json()

    assert answer.status_code == 200
    assert (moved["timezone"], len(moved["occurrences"])) == ("Asia/Tokyo", 1)
    assert moment(moved["at"]) == expected("FREQ=DAILY", RULE["starts_at"], "Asia/Tokyo")
    assert (await ann.client.get(f"/api/schedules/{fixed['id']}")).json() == fixed


async def test_the_page_s_change_of_zone_moves_schedules_too(ann: Person):
    made = await plan(ann, **RULE)
    answer = await change(ann, made["id"], timezone="Asia/Tokyo")
    assert (answer.json()["timezone"], answer.json()["follows_user_zone"]) == ("Asia/Tokyo", False)

    back = (await change(ann, made["id"], timezone=None)).json()

    assert (back["timezone"], back["follows_user_zone"]) == (BERLIN, True)
    assert back["at"] == made["at"]


async def preview(person: Person, **query: str) -> httpx.Response:
    return await person.client.get("/api/schedules/preview", params=query)


async def test_preview_gives_ten_times_with_both_offsets(ann: Person):
    answer = await preview(ann, rrule="FREQ=DAILY", starts_at="2058-03-29T02:30", timezone=BERLIN)
    autumn = await preview(ann, rrule="FREQ=DAILY", starts_at="2058-10-26T02:30:00", timezone=BERLIN)

    assert answer.status_code == 200
    assert [item["at"] for item in answer.json()["items"]][:4] == [
        "2058-03-29T02:30:00+01:00", "2058-03-30T02:30:00+01:00",
        "2058-03-31T03:30:00+02:00", "2058-04-01T02:30:00+02:00",
    ]  # fmt: skip
    assert len(answer.json()["items"]) == 10
    assert [item["at"] for item in autumn.json()["items"]][:3] == [
        "2058-10-26T02:30:00+02:00", "2058-10-27T02:30:00+02:00", "2058-10-28T02:30:00+01:00",
    ]  # fmt: skip


async def test_preview_plans_nothing_and_needs_no_zone(ann: Person):
    answer = await preview(ann, rrule="FREQ=WEEKLY;COUNT=3", starts_at="2058-01-07T07:00")

    assert [item["at"] for item in answer.json()["items"]] == [
        "2058-01-07T07:00:00+01:00", "2058-01-14T07:00:00+01:00", "2058-01-21T07:00:00+01:00",
    ]  # fmt: skip
    assert (await ann.client.get("/api/schedules")).json() == {"items": [], "next": None}
    empty = await preview(ann, rrule="FREQ=DAILY", starts_at="2030-01-07T07:00", timezone="")
    assert problem(empty) == (400, "validation_failed")


WRONG = [
    ({"at": "2020-01-01T10:00:00Z"}, 400, "time_past"),
    ({"at": "2058-01-01T10:00:00"}, 400, "validation_failed"),
    ({"at": "soon"}, 400, "validation_failed"),
    ({"at": "9999-12-31T23:59:59-01:00"}, 400, "validation_failed"),
    ({}, 400, "validation_failed"),
    ({"at": "2058-01-01T10:00:00Z", "rrule": "FREQ=DAILY"}, 400, "validation_failed"),
    ({"rrule": "FREQ=DAILY"}, 400, "validation_failed"),
    ({"starts_at": "2058-01-01T07:00"}, 400, "validation_failed"),
    ({"rrule": "FREQ=DAILY", "starts_at": "2058-01-01T07:00+01:00"}, 400, "validation_failed"),
    ({"rrule": "FREQ=SECONDLY", "starts_at": "2058-01-01T07:00"}, 400, "recurrence_too_frequent"),
    ({"rrule": "FREQ=MINUTELY", "starts_at": "2058-01-01T07:00"}, 400, "recurrence_too_frequent"),
    ({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "starts_at": "2058-01-01T07:00"}, 400, "recurrence_never"),
    ({"rrule": "FREQ=DAILY;UNTIL=20200101", "starts_at": "2019-01-01T07:00"}, 400, "recurrence_never"),
    ({"rrule": "FREQ=DAILY", "starts_at": "2058-01-01T07:00", "ends_at": "2057-01-01T00:00:00Z"}, 400,
     "recurrence_never"),
    ({"rrule": "every day", "starts_at": "2058-01-01T07:00"}, 400, "recurrence_invalid"),
    ({"rrule": "FREQ=DAILY;BYEASTER=1", "starts_at": "2058-01-01T07:00"}, 400, "recurrence_invalid"),
    ({"rrule": "FREQ=DAILY", "starts_at": "2058-01-01T07:00", "timezone": "Europe/Berlinn"}, 400, "unknown_timezone"),
    ({"at": "2058-01-01T10:00:00Z", "persona_id": "nobody"}, 404, "persona_not_found"),
    ({"at": "2058-01-01T10:00:00Z", "phone_number": "+12025550188"}, 403, "phone_not_verified"),
    ({"at": "2058-01-01T10:00:00Z", "phone_number": "123"}, 400, "phone_invalid"),
    ({"at": "2058-01-01T10:00:00Z", "scenario_id": "scn_nothing"}, 404, "not_found"),
    ({"at": "2058-01-01T10:00:00Z", "quiet_hours": {"from": "7", "until": "08:00"}}, 400, "validation_failed"),
    ({"at": "2058-01-01T10:00:00Z", "quiet_hours": {"from": "07:00", "until": "07:00"}}, 400, "validation_failed"),
    ({"at": "2058-01-01T10:00:00Z", "retries": {"max": 6}}, 400, "validation_failed"),
    ({"at": "2058-01-01T10:00:00Z", "max_minutes": 0}, 400, "validation_failed"),
]  # fmt: skip


async def test_wrong_orders_are_refused_with_their_codes(ann: Person):
    found = []
    for order, _, _ in WRONG:
        answer = await ann.client.post("/api/schedules", json={"persona_id": "brad", "phone_number": PHONE, **order})
        found.append((order, *problem(answer)))

    assert found == WRONG
    assert (await ann.client.get("/api/schedules")).json()["items"] == []


async def test_previews_are_refused_with_the_same_codes(ann: Person):
    found = [
        problem(await preview(ann, rrule=rule, starts_at=start, timezone=zone))
        for rule, start, zone in (
            ("FREQ=SECONDLY", "2058-01-01T07:00", BERLIN),
            ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "2058-01-01T07:00", BERLIN),
            ("FREQ=X", "2058-01-01T07:00", BERLIN),
            ("FREQ=DAILY", "2058-01-01T07:00Z", BERLIN),
            ("FREQ=DAILY", "2058-01-01T07:00", "Mars/Base"),
        )
    ]

    assert [code for _, code in found] == [
        "recurrence_too_frequent", "recurrence_never", "recurrence_invalid", "validation_failed", "unknown_timezone",
    ]  # fmt: skip


async def test_an_unknown_zone_is_refused_with_the_nearest_names(ann: Person):
    answer = await preview(ann, rrule="FREQ=DAILY", starts_at="2058-01-01T07:00", timezone="Europe/Berlinn")

    assert "Europe/Berlin" in answer.json()["detail"]
    assert answer.json()["fields"][0]["field"] == "timezone"


async def test_s09_another_person_s_schedules_are_not_there(house: House, ann: Person):
    once = await plan(ann, persona_id="brad", at=later(days=1))
    daily = await plan(ann, **RULE)
    bob = await house.person("bob@example.org", phone="+12025550102")
    for planned in (once, daily):
        path = f"/api/schedules/{planned['id']}"
        assert problem(await bob.client.get(path)) == (404, "not_found")
        assert problem(await bob.client.patch(path, json={"max_minutes": 1})) == (404, "not_found")
        assert problem(await bob.client.post(f"{path}/skip")) == (404, "not_found")
        assert problem(await bob.client.delete(path)) == (404, "not_found")

    assert (await bob.client.get("/api/schedules")).json()["items"] == []
    assert len((await ann.client.get("/api/schedules")).json()["items"]) == 2


async def test_another_person_s_persona_can_t_be_planned(house: House, ann: Person):
    bob = await house.person("bob@example.org", phone="+12025550102")
    own = (await bob.client.post("/api/personas", json={"name": "Eve", "core_system_prompt": "Be kind."})).json()
    answer = await ann.client.post("/api/schedules", json={"persona_id": own["id"], "at": later(days=1)})

    assert problem(answer) == (404, "persona_not_found")


async def test_a_number_must_be_verified(house: House, ann: Person):
    bob = await house.person("bob@example.org")
    answer = await bob.client.post("/api/schedules", json={"persona_id": "brad", "at": later(days=1)})
    with_ann_s = await bob.client.post(
        "/api/schedules", json={"persona_id": "brad", "at": later(days=1), "phone_number": PHONE}
    )

    assert problem(answer) == problem(with_ann_s) == (403, "phone_not_verified")


async def test_there_is_a_bound_on_what_one_person_plans(house: House, ann: Person):
    """The two hundredth single call is the last, whoever asks at once."""
    house.books.execute(
        "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time) "
        "SELECT 'sch_' || n, %s, 'brad', %s, now() + n * interval '1 day' FROM generate_series(1, 195) AS n",
        (ann.id, PHONE),
    )
    answers = await asyncio.gather(
        *(ann.client.post("/api/schedules", json={"persona_id": "brad", "at": later(days=n)}) for n in range(1, 11))
    )
    refused = [problem(answer) for answer in answers if answer.status_code != 201]

    assert [answer.status_code for answer in answers].count(201) == 5
    assert refused == [(409, "too_many_schedules")] * 5


async def test_schedules_are_bounded_too_and_ended_ones_don_t_count(ann: Person):
    made = [await plan(ann, **RULE) for _ in range(50)]
    one_more = await ann.client.post("/api/schedules", json=RULE)
    await ann.client.delete(f"/api/schedules/{made[0]['id']}")

    assert problem(one_more) == (409, "too_many_schedules")
    assert (await ann.client.post("/api/schedules", json=RULE)).status_code == 201


async def test_the_list_has_pages(ann: Person):
    made = [(await plan(ann, persona_id="brad", at=later(days=day)))["id"] for day in range(1, 4)]
    made.append((await plan(ann, **RULE))["id"])
    first = (await ann.client.get("/api/schedules", params={"limit": 3})).json()
    second = (await ann.client.get("/api/schedules", params={"limit": 3, "cursor": first["next"]})).json()

    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


async def test_a_single_call_moves_while_it_waits(house: House, ann: Person):
    made = await plan(ann, persona_id="brad", at=later(days=1), grace_minutes=20)
    at = later(days=2)
    moved = (await change(ann, made["id"], at=at, context="later", persona_id="sarah")).json()
    house.books.execute("UPDATE scheduled_calls SET status = 'executing' WHERE id = %s", (made["id"],))

    assert moment(moved["at"]) == moment(at)
    assert (moved["context"], moved["persona_id"], moved["grace_minutes"]) == ("later", "sarah", 20)
    assert problem(await change(ann, made["id"], at=later(days=3))) == (409, "not_waiting")
    assert problem(await change(ann, made["id"], at="2020-01-01T00:00:00Z"))[1] == "time_past"
    assert problem(await change(ann, made["id"], rrule="FREQ=DAILY")) == (400, "validation_failed")


async def test_a_cancel_says_who_won(house: House, ann: Person):
    waiting = await plan(ann, persona_id="brad", at=later(days=1))
    placed = await plan(ann, persona_id="brad", at=later(days=1))
    house.books.execute("UPDATE scheduled_calls SET status = 'executed' WHERE id = %s", (placed["id"],))

    canceled = await ann.client.delete(f"/api/schedules/{waiting['id']}")
    again = await ann.client.delete(f"/api/schedules/{waiting['id']}")

    assert (canceled.status_code, canceled.json()["status"], canceled.json()["outcome"]) == (200, "canceled", "by_user")
    assert again.json()["status"] == "canceled"
    assert problem(await ann.client.delete(f"/api/schedules/{placed['id']}")) == (409, "not_waiting")


async def test_a_waiting_retry_is_canceled_with_its_call(house: House, ann: Person):
    made = await plan(ann, persona_id="brad", at=later(days=1), retries={"max": 2})
    house.books.execute("UPDATE scheduled_calls SET status = 'executed', outcome = 'busy' WHERE id = %s", (made["id"],))
    house.books.execute("SELECT add_retry(%s, %s, 'sch_retry', now() + interval '1 day')", (ann.id, made["id"]))
    shown = (await ann.client.get(f"/api/schedules/{made['id']}")).json()
    canceled = (await ann.client.delete(f"/api/schedules/{made['id']}")).json()

    assert [(one["attempt"], one["status"], one["outcome"]) for one in shown["occurrences"]] == [
        (1, "executed", "busy"), (2, "scheduled", None),
    ]  # fmt: skip
    assert [one["status"] for one in canceled["occurrences"]] == ["executed", "canceled"]


async def test_a_changed_rule_takes_the_old_time_back(ann: Person):
    made = await plan(ann, **RULE)
    changed = (await change(ann, made["id"], rrule="FREQ=WEEKLY;BYDAY=MO", starts_at="2026-01-01T09:30")).json()

    assert moment(changed["at"]) == expected("FREQ=WEEKLY;BYDAY=MO", "2026-01-01T09:30", BERLIN)
    assert [one["status"] for one in changed["occurrences"]] == ["scheduled"]
    assert problem(await change(ann, made["id"], rrule="FREQ=SECONDLY"))[1] == "recurrence_too_frequent"
    assert (await ann.client.get(f"/api/schedules/{made['id']}")).json() == changed


async def test_wishes_reach_the_call_that_waits_already(house: House, ann: Person):
    made = await plan(ann, **RULE)
    changed = (await change(ann, made["id"], context="the news", max_minutes=3, retries={"max": 1})).json()
    row = house.row("SELECT * FROM scheduled_calls WHERE schedule_id = %s", made["id"])

    assert changed["at"] == made["at"]
    assert (row["call_pretext"], row["requested_seconds"], row["retries_max"]) == ("the news", 180, 1)


async def test_the_next_time_is_skipped_once(ann: Person):
    made = await plan(ann, **RULE)
    skipped = (await ann.client.post(f"/api/schedules/{made['id']}/skip")).json()

    assert moment(skipped["at"]) == expected("FREQ=DAILY", RULE["starts_at"], BERLIN, moment(made["at"]))
    assert [(one["status"], one["outcome"]) for one in skipped["occurrences"]] == [
        ("scheduled", None), ("canceled", "skipped"),
    ]  # fmt: skip
    once = await plan(ann, persona_id="brad", at=later(days=1))
    assert problem(await ann.client.post(f"/api/schedules/{once['id']}/skip")) == (400, "validation_failed")


async def test_the_next_time_is_moved_once(house: House, ann: Person):
    made = await plan(ann, **RULE)
    at = (moment(made["at"]) + timedelta(hours=2)).isoformat()
    moved = (await change(ann, made["id"], at=at)).json()
    row = house.row("SELECT * FROM scheduled_calls WHERE schedule_id = %s", made["id"])

    assert moment(moved["at"]) == moment(at)
    assert row["occurrence"] == moment(made["at"])
    assert row["latest_start_at"] == moment(at) + timedelta(minutes=15)


async def test_a_time_that_is_moved_ahead_leaves_no_gap_after_it(house: House, ann: Person):
    """What follows is to come as soon as the moved one has rung, not only once its first time is past."""
    starts_at = f"{moment(later(hours=6)).astimezone(ZoneInfo(BERLIN)):%Y-%m-%dT%H:%M}"
    made = await plan(ann, **{**RULE, "starts_at": starts_at}, ends_after=3)
    at = later(hours=1)
    changes = [(await change(ann, made["id"], at=at)).json() for _ in range(2)]
    house.books.execute("UPDATE scheduled_calls SET status = 'executed' WHERE scheduled_time = %s", (at,))
    after = (await ann.client.get(f"/api/schedules/{made['id']}")).json()

    assert [(moment(one["at"]), one["ends_after"]) for one in changes] == [(moment(at), 3)] * 2
    assert moment(after["at"]) == expected("FREQ=DAILY", starts_at, BERLIN, moment(made["at"]))
    assert [one["status"] for one in after["occurrences"]] == ["scheduled", "executed"]


async def test_a_schedule_rests_and_goes_on(ann: Person):
    made = await plan(ann, **RULE)
    paused = (await change(ann, made["id"], paused=True)).json()
    again = (await change(ann, made["id"], paused=True)).json()
    resumed = (await change(ann, made["id"], paused=False)).json()

    assert (paused["status"], again["paused_at"]) == ("paused", paused["paused_at"])
    assert paused["paused_at"] is not None
    assert (resumed["status"], resumed["paused_at"], resumed["at"]) == ("active", None, made["at"])


async def test_a_schedule_that_was_ended_stays_ended(ann: Person):
    made = await plan(ann, **RULE)
    ended = await ann.client.delete(f"/api/schedules/{made['id']}")
    again = await ann.client.delete(f"/api/schedules/{made['id']}")

    assert (ended.status_code, ended.json()["status"], ended.json()["at"]) == (200, "ended", None)
    assert [(one["status"], one["outcome"]) for one in ended.json()["occurrences"]] == [("canceled", "by_user")]
    assert again.json() == ended.json()
    assert problem(await change(ann, made["id"], paused=False)) == (409, "not_waiting")
    assert problem(await ann.client.post(f"/api/schedules/{made['id']}/skip")) == (409, "not_waiting")


async def test_a_schedule_ends_after_so_many_calls(ann: Person):
    made = await plan(ann, **RULE, ends_after=2)
    skipped = (await ann.client.post(f"/api/schedules/{made['id']}/skip")).json()
    last = (await ann.client.post(f"/api/schedules/{made['id']}/skip")).json()

    assert [made["ends_after"], skipped["ends_after"], last["ends_after"]] == [2, 1, 0]
    assert (last["status"], last["at"]) == ("ended", None)


async def test_what_was_missed_is_shown_with_why(house: House, ann: Person):
    made = await plan(ann, **RULE)
    house.books.execute(
        "UPDATE scheduled_calls SET status = 'missed', outcome = 'too_late' WHERE schedule_id = %s", (made["id"],)
    )
    [shown] = (await ann.client.get("/api/schedules")).json()["items"]

    assert [(one["status"], one["outcome"]) for one in shown["occurrences"]] == [("missed", "too_late")]


async def test_new_data_of_a_zone_moves_what_nobody_has_claimed(house: House, ann: Person, worker: Any):
    made = await plan(ann, **RULE, timezone=BERLIN)
    moved = await plan(ann, **RULE, timezone=BERLIN)
    at = (moment(made["at"]) + timedelta(hours=2)).isoformat()
    await change(ann, moved["id"], at=at)
    # As if it had been computed by data in which Berlin was an hour behind.
    house.books.execute(
        "UPDATE scheduled_calls SET occurrence = occurrence + interval '1 hour', "
        "scheduled_time = scheduled_time + interval '1 hour' WHERE schedule_id = %s", (made["id"],)
    )  # fmt: skip
    house.books.execute("UPDATE call_schedules SET tzdata_version = 'older'")

    count = await planning.follow_tzdata(worker)
    again = await planning.follow_tzdata(worker)
    shown = [(await ann.client.get(f"/api/schedules/{one['id']}")).json() for one in (made, moved)]

    assert (count, again) == (1, 0)
    assert shown[0]["at"] == made["at"]
    assert moment(shown[1]["at"]) == moment(at)
    assert (
        house.row("SELECT DISTINCT tzdata_version FROM call_schedules")["tzdata_version"] == zones.zone(BERLIN).version
    )
