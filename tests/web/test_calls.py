"""Calls over HTTP, from the order to the settlement, with the carrier and every other vendor on their own wire."""

import asyncio
import json
import re
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Self

import pytest
from tests.web.house import PATIENCE_S, TERMINAL, Build, House, Person, problem

from callmeback.web import voice_host

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"
FIELDS = {
    "id", "persona_id", "persona_name", "avatar_url", "status", "answered_by", "end_reason", "created_at",
    "started_at", "ended_at", "duration_seconds", "credits_used", "cost_cents", "estimated_cost_cents", "costs",
    "transcript", "turn_count", "interrupt_count", "avg_response_time_ms",
}  # fmt: skip


async def place(person: Person, **order: Any) -> dict[str, Any]:
    answer = await person.client.post("/api/calls", json={"persona_id": "brad"} | order)
    assert answer.status_code == 202, answer.text
    call: dict[str, Any] = answer.json()

    return call


def nothing_is_held(house: House) -> bool:
    proof = house.row("SELECT bool_and(is_proved) AS proved, sum(held_credits) AS held FROM ledger_proof")
    return bool(proof["proved"]) and proof["held"] == 0


async def test_a_call_from_the_order_to_the_bill(house: House, ann: Person):
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 10, 'promotion', 'test:1')", (ann.id,))
    await house.script(PHONE, says=["I have an interview tomorrow."], ring_seconds=0.1)
    placed = await place(ann, scenario_id="scn_travel_plans", context="before my interview", max_minutes=5)
    held = (await ann.client.get("/api/credits")).json()
    talking = await house.until(ann, placed["id"], {"in_progress"} | TERMINAL)
    done = await house.until(ann, placed["id"])
    after = (await ann.client.get("/api/credits")).json()
    [ledger, *_] = (await ann.client.get("/api/credits/transactions")).json()["items"]

    assert set(placed) >= FIELDS
    assert (placed["status"], placed["cost_cents"], placed["transcript"]) == ("initiating", "0.00", [])
    assert (held["held_credits"], held["available_credits"]) == (5, 5)
    assert (talking["status"], talking["ended_at"]) == ("in_progress", None)
    assert (done["status"], done["end_reason"], done["answered_by"]) == ("completed", "hung_up", "human")
    assert done["credits_used"] == 1
    assert done["duration_seconds"] > 0
    assert Decimal(done["cost_cents"]) == sum(Decimal(cents) for cents in done["costs"].values()) > 0
    assert Decimal(done["cost_cents"]) <= Decimal(done["estimated_cost_cents"])
    assert [line["text"] for line in done["transcript"] if line["speaker"] == "user"] == [
        "I have an interview tomorrow."
    ]
    assert done["transcript"][0]["speaker"] == "persona"
    assert done["turn_count"] == sum(line["speaker"] == "user" for line in done["transcript"]) == 1
    assert (after["held_credits"], after["available_credits"]) == (0, 9)
    assert (ledger["amount"], ledger["call_id"], ledger["type"]) == (-1, done["id"], "call_deduction")
    assert nothing_is_held(house)


async def test_a_process_whose_clock_is_wrong_bills_no_other_time(
    house: House, ann: Person, monkeypatch: pytest.MonkeyPatch
):
    class AnHourAhead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(hours=1)

    monkeypatch.setattr(voice_host, "datetime", AnHourAhead)
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 10, 'promotion', 'test:1')", (ann.id,))
    await house.script(PHONE, says=[], ring_seconds=0.1)
    placed = await place(ann, max_minutes=5)
    await house.until(ann, placed["id"], {"in_progress"} | TERMINAL)
    await ann.client.post(f"/api/calls/{placed['id']}/hangup")
    done = await house.until(ann, placed["id"])

    assert (done["end_reason"], done["credits_used"]) == ("hang_up_requested", 1)


async def test_costs_and_figures_of_a_call_agree_everywhere(house: House, ann: Person):
    await house.script(PHONE, says=[], ring_seconds=0.1)
    done = await house.until(ann, (await place(ann))["id"])
    by_vendor = (await ann.client.get("/api/costs", params={"group_by": "vendor"})).json()
    by_day = (await ann.client.get("/api/costs")).json()
    by_persona = (await ann.client.get("/api/costs", params={"group_by": "persona"})).json()
    budget = (await ann.client.get("/api/budget")).json()
    figures = (await ann.client.get("/api/analytics", params={"days": 1})).json()
    cost = done["cost_cents"]

    assert {line["key"]: line["cost_cents"] for line in by_vendor["items"]} == done["costs"]
    assert by_vendor["total_cents"] == by_day["total_cents"] == by_persona["total_cents"] == cost
    assert [(line["key"], line["calls"], line["cost_cents"]) for line in by_persona["items"]] == [("brad", 1, cost)]
    assert budget["spent_this_month_cents"] == cost
    assert (figures["calls"], figures["completed"], figures["cost_cents"]) == (1, 1, cost)
    assert figures["by_outcome"] == [{"status": "completed", "end_reason": "hung_up", "calls": 1}]
    assert figures["duration_seconds"] == done["duration_seconds"]


async def test_m03_ten_orders_with_one_key_make_one_call(house: House, ann: Person):
    await house.script(PHONE, answers="no_answer")
    answers = await asyncio.gather(
        *(
            ann.client.post("/api/calls", json={"persona_id": "brad"}, headers={"Idempotency-Key": "once"})
            for _ in range(10)
        )
    )
    other_body = await ann.client.post("/api/calls", json={"persona_id": "alex"}, headers={"Idempotency-Key": "once"})
    done = await house.until(ann, answers[0].json()["id"])
    replayed = await ann.client.post("/api/calls", json={"persona_id": "brad"}, headers={"Idempotency-Key": "once"})

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert problem(other_body) == (409, "idempotency_conflict")
    assert (replayed.status_code, replayed.json()["id"], replayed.json()["status"]) == (202, done["id"], "no_answer")
    assert house.row("SELECT count(*) AS n FROM calls")["n"] == 1
    assert (await house.client().get("/simulator/calls")).json()["items"].__len__() == 1


async def test_one_key_of_two_people_makes_two_calls(house: House, ann: Person):
    ben = await house.person("ben@example.org", phone="+12025550102")
    for phone in (PHONE, "+12025550102"):
        await house.script(phone, answers="no_answer")
    answers = [
        await person.client.post("/api/calls", json={"persona_id": "brad"}, headers={"Idempotency-Key": "once"})
        for person in (ann, ben)
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] != answers[1].json()["id"]


async def test_m01_two_orders_at_once_make_one_call(house: House, ann: Person):
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 3, 'promotion', 'test:1')", (ann.id,))
    answers = await asyncio.gather(*(ann.client.post("/api/calls", json={"persona_id": "brad"}) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [202] + [429] * 7
    assert {problem(answer)[1] for answer in answers if answer.status_code == 429} == {"call_in_progress"}
    assert (await ann.client.get("/api/credits")).json()["available_credits"] == 0


async def test_refusals_have_their_own_codes(house: House, ann: Person):
    async def refusal(**order: Any) -> tuple[int, str]:
        return problem(await ann.client.post("/api/calls", json={"persona_id": "brad"} | order))

    nobody = await house.person("ben@example.org")
    assert problem(await nobody.client.post("/api/calls", json={"persona_id": "brad"})) == (403, "phone_not_verified")
    assert await refusal(phone_number="+12025550177") == (403, "phone_not_verified")
    assert await refusal(phone_number="+19005550101") == (400, "premium_number")
    assert await refusal(persona_id="nobody") == (404, "persona_not_found")
    assert await refusal(scenario_id="scn_nobody") == (404, "not_found")
    await ann.client.put("/api/budget", json={"max_monthly_spend_cents": "1"})
    assert await refusal() == (402, "budget_exceeded")
    await ann.client.put("/api/budget", json={"max_monthly_spend_cents": "10000", "max_cost_per_call_cents": "0"})
    assert await refusal() == (402, "budget_exceeded")
    await ann.client.put("/api/budget", json={"max_cost_per_call_cents": "1000"})
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    assert await refusal() == (402, "insufficient_credits")
    house.books.execute("SELECT move_credits(%s, -5, 'refund', 'refund:test')", (ann.id,))
    assert await refusal() == (402, "debt_outstanding")
    house.books.execute("SELECT set_tier(%s, 'free')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (ann.id,))
    house.books.execute("INSERT INTO blocked_numbers (number, reason) VALUES (%s, 'asked')", (PHONE,))
    assert await refusal() == (403, "number_blocked")
    assert house.row("SELECT count(*) AS n FROM calls")["n"] == 0


async def test_m11_models_without_a_rate_are_not_called_with(build: Build):
    house = await build(brain_model="a-model-nobody-priced")
    ann = await house.person(phone=PHONE)
    ready = await house.client().get("/ready")

    assert problem(await ann.client.post("/api/calls", json={"persona_id": "brad"})) == (503, "unknown_rate")
    assert (ready.status_code, ready.json()["parts"]["prices"]) == (503, "missing")


async def test_the_daily_limit_is_the_plan_s(house: House, ann: Person):
    await house.script(PHONE, answers="busy")
    for _ in range(3):
        await house.until(ann, (await place(ann))["id"])
    fourth = await ann.client.post("/api/calls", json={"persona_id": "brad"})

    assert problem(fourth) == (429, "daily_limit")
    assert 0 < int(fourth.headers["retry-after"]) <= 25 * 3600
    assert (await ann.client.get("/api/credits")).json()["calls_today"] == 3


@pytest.mark.parametrize(
    ("answers", "status", "end_reason"),
    [("busy", "busy", "busy"), ("reject", "busy", "busy"), ("no_answer", "no_answer", "no_answer")],
)
async def test_a_call_that_nobody_takes_costs_nothing(
    house: House, ann: Person, answers: str, status: str, end_reason: str
):
    await house.script(PHONE, answers=answers)
    done = await house.until(ann, (await place(ann))["id"])

    assert (done["status"], done["end_reason"], done["duration_seconds"]) == (status, end_reason, 0)
    assert (done["cost_cents"], done["credits_used"], done["transcript"]) == ("0.00", 0, [])
    assert nothing_is_held(house)


async def test_c12_a_voicemail_is_hung_up_on_and_not_charged(house: House, ann: Person):
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 3, 'promotion', 'test:1')", (ann.id,))
    await house.script(PHONE, answers="voicemail", ring_seconds=0.1)
    done = await house.until(ann, (await place(ann))["id"])

    assert (done["status"], done["end_reason"], done["answered_by"]) == ("completed", "voicemail", "machine")
    assert done["credits_used"] == 0
    assert (await ann.client.get("/api/credits")).json()["available_credits"] == 3


async def test_c12_a_message_is_left_where_the_person_wants_one(house: House, ann: Person):
    await ann.client.put("/api/preferences", json={"voicemail_policy": "leave_message"})
    await house.script(PHONE, answers="voicemail", ring_seconds=0.1)
    done = await house.until(ann, (await place(ann))["id"])
    [heard] = (await house.client().get("/simulator/calls")).json()["items"]

    assert (done["status"], done["end_reason"], done["answered_by"]) == ("completed", "voicemail", "machine")
    assert "I tried to reach you" in heard["text"]


async def test_a_call_is_taken_back_before_it_is_dialled(house: House, ann: Person):
    house.books.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    placed = await place(ann)
    answer = await ann.client.post(f"/api/calls/{placed['id']}/hangup")
    again = await ann.client.post(f"/api/calls/{placed['id']}/hangup")

    assert answer.status_code == again.status_code == 202
    assert (answer.json()["status"], answer.json()["end_reason"]) == ("canceled", "canceled")
    assert again.json() == answer.json()
    assert nothing_is_held(house)


async def test_a_ringing_call_is_ended_at_the_carrier(house: House, ann: Person):
    await house.script(PHONE, ring_seconds=30)
    placed = await place(ann)
    await house.until(ann, placed["id"], {"calling"})
    answer = await ann.client.post(f"/api/calls/{placed['id']}/hangup")
    [carrier_call] = (await house.client().get("/simulator/calls")).json()["items"]

    assert answer.json()["status"] == "canceled"
    assert answer.json()["end_reason"] == "canceled"
    assert carrier_call["status"] in ("canceled", "completed")
    assert carrier_call["ended_by"] == "api"


async def test_a_talk_is_ended_by_request_and_settled(house: House, ann: Person):
    await house.script(PHONE, says=["Tell me a long story."], hangs_up=False, ring_seconds=0.1)
    placed = await place(ann)
    await house.until(ann, placed["id"], {"in_progress"})
    answer = await ann.client.post(f"/api/calls/{placed['id']}/hangup")
    done = await house.until(ann, placed["id"])

    assert answer.status_code == 202
    assert (done["status"], done["end_reason"]) == ("completed", "hang_up_requested")
    assert nothing_is_held(house)


async def test_s09_calls_of_others_are_not_there(house: House, ann: Person):
    ben = await house.person("ben@example.org")
    await house.script(PHONE, answers="busy")
    done = await house.until(ann, (await place(ann))["id"])
    for method, path in (("GET", ""), ("POST", "/hangup"), ("GET", "/events")):
        assert problem(await ben.client.request(method, f"/api/calls/{done['id']}{path}")) == (404, "not_found")

    assert (await ben.client.get("/api/calls")).json() == {"items": [], "next": None}
    assert (await ben.client.get("/api/costs")).json()["items"] == []
    assert (await ben.client.get("/api/analytics")).json()["calls"] == 0


async def test_calls_are_paged_by_key_newest_first(house: House, ann: Person):
    await house.script(PHONE, answers="busy")
    house.books.execute("SELECT set_tier(%s, 'unlimited')", (ann.id,))
    placed = []
    for _ in range(3):
        placed.append((await place(ann))["id"])
        await house.until(ann, placed[-1])
    first = (await ann.client.get("/api/calls", params={"limit": 2})).json()
    second = (await ann.client.get("/api/calls", params={"limit": 2, "cursor": first["next"]})).json()

    assert [call["id"] for call in first["items"] + second["items"]] == placed[::-1]
    assert second["next"] is None
    assert set(first["items"][0]) >= FIELDS


def parse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Events of a stream, comments left out."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))

    return found


async def test_a_call_is_watched_to_its_end(house: House, ann: Person):
    await house.script(PHONE, says=["Thank you for calling."], ring_seconds=0.1)
    placed = await place(ann)
    stream = await ann.client.get(f"/api/calls/{placed['id']}/events")
    events = parse(stream.text)
    done = (await ann.client.get(f"/api/calls/{placed['id']}")).json()
    statuses = [body["status"] for name, body in events if name == "status"]
    meters = [(body["duration_seconds"], Decimal(body["cost_cents"])) for name, body in events if name == "meter"]
    turns = [{key: body[key] for key in ("speaker", "text", "at")} for name, body in events if name == "turn"]

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert statuses[-1] == "completed"
    assert "in_progress" in statuses
    assert events[-1] == ("status", done)
    assert meters == sorted(meters)
    assert len(meters) >= 2
    assert turns == done["transcript"]
    assert re.findall(r"^id: (\d+)\r?$", stream.text, re.MULTILINE) == [str(seq) for seq in range(len(turns))]
    await goes_on_after_a_break(ann, done)


async def goes_on_after_a_break(ann: Person, done: dict[str, Any]) -> None:
    """No turn is told twice to who names the last one that they have, and the settled call comes last."""
    told = list(range(len(done["transcript"])))
    for last, expected in (("0", told[1:]), (str(told[-1]), []), ("nonsense", told), ("-1", told)):
        async with asyncio.timeout(PATIENCE_S):
            stream = await ann.client.get(f"/api/calls/{done['id']}/events", headers={"Last-Event-ID": last})
        events = parse(stream.text)

        assert [body["seq"] for name, body in events if name == "turn"] == expected, last
        assert events[-1] == ("status", done), last


async def test_a_watch_of_a_settled_call_ends_at_once(house: House, ann: Person):
    await house.script(PHONE, answers="busy")
    done = await house.until(ann, (await place(ann))["id"])
    async with asyncio.timeout(PATIENCE_S):
        events = parse((await ann.client.get(f"/api/calls/{done['id']}/events")).text)

    assert events == [("status", done)]


async def test_s07_a_watch_ends_when_its_session_is_revoked(house: House, ann: Person):
    await house.script(PHONE, ring_seconds=20)
    placed = await place(ann)
    path = f"/api/calls/{placed['id']}/events"
    async with asyncio.timeout(PATIENCE_S), house.client(ann.token).stream("GET", path) as stream:
        pieces = stream.aiter_text()
        text = await anext(pieces)
        await ann.client.post("/api/auth/logout")
        text += "".join([piece async for piece in pieces])

    assert parse(text)[-1][1]["status"] in ("initiating", "calling")


async def test_watches_are_bounded_by_person(house: House, ann: Person):
    await house.script(PHONE, ring_seconds=20)
    placed = await place(ann)
    path = f"/api/calls/{placed['id']}/events"
    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(house.client(ann.token).get(path)) for _ in range(6)]
        while house.services.watchers.total() < 6:
            await asyncio.sleep(0.02)
        seventh = await ann.client.get(path)
        await ann.client.post(f"/api/calls/{placed['id']}/hangup")

    assert problem(seventh) == (429, "rate_limited")
    assert {watch.result().status_code for watch in watches} == {200}
    assert house.services.watchers.total() == 0


async def test_erasing_oneself_waits_for_the_call(house: House, ann: Person):
    house.books.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    placed = await place(ann)
    refused = await ann.client.delete("/api/auth/me")
    await ann.client.post(f"/api/calls/{placed['id']}/hangup")
    erased = await ann.client.delete("/api/auth/me")

    assert problem(refused) == (429, "call_in_progress")
    assert erased.status_code == 204
