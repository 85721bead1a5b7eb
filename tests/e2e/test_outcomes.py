"""How calls end, against a whole installation: nobody there, limits, a hang-up; and what no client talks us into."""

import time
from decimal import Decimal
from typing import Any

import pytest
from tests.e2e.house import LINE, House, Person, cents, said_by

pytestmark = pytest.mark.slow

LONG_TALK = [LINE] * 40
WARNING = "Just so you know"
GOODBYE = "That's all the time we have today."
MESSAGE = "I tried to reach you"
# Between a limit and the person's hearing that it is over: the answer of the next metering (the rest is for a slow
# machine) and the goodbye. The talk would go on for minutes.
CUT_WITHIN_S = 15.0
GOODBYE_SECONDS_MAX = 9.0


def test_nobody_there_costs_no_credit(house: House) -> None:
    answers = ("busy", "reject", "no_answer", "voicemail", "voicemail")
    people = [house.person() for _ in answers]
    for person, what in zip(people, answers, strict=True):
        house.script(person, answers=what)
    leaves_message = people[-1]
    changed = leaves_message.client.put("/api/preferences", json={"voicemail_policy": "leave_message"})
    assert changed.status_code == 200, changed.text

    calls = [person.place() for person in people]
    ended = [person.ended(call["id"]) for person, call in zip(people, calls, strict=True)]

    assert [(call["status"], call["end_reason"]) for call in ended] == [
        ("busy", "busy"),
        ("busy", "busy"),
        ("no_answer", "no_answer"),
        ("completed", "voicemail"),
        ("completed", "voicemail"),
    ]
    assert [call["answered_by"] for call in ended] == [None, None, None, "machine", "machine"]
    # Whoever wants a message left has used the call.
    assert [call["credits_used"] for call in ended] == [0, 0, 0, 0, 1]
    assert [person.credits()["available_credits"] for person in people] == [100, 100, 100, 100, 99]
    assert [cents(call) > 0 for call in ended] == [False, False, False, True, True]
    assert MESSAGE in " ".join(said_by(ended[4], "persona"))
    assert MESSAGE not in " ".join(said_by(ended[3], "persona"))
    assert house.carried(leaves_message)[0]["audio_seconds"] > 3
    house.prove(*people)


def test_limits_are_warned_of_taken_leave_at_and_never_passed(house: House) -> None:
    """Four calls at once: two small budgets, a minute asked for, the last credit of an account."""
    small, smaller, minute = (house.person() for _ in range(3))
    last = house.person("basic", credits=1)
    people = [small, smaller, minute, last]
    for person in people:
        house.script(person, says=LONG_TALK)
        person.budget(warn_at_percent_per_call=40)
    small.budget(max_cost_per_call_cents="10")
    smaller.budget(max_cost_per_call_cents="6")

    placed = [small.place(), smaller.place(), minute.place(max_minutes=1), last.place()]
    ended = [person.ended(call["id"], 120) for person, call in zip(people, placed, strict=True)]
    heard = [house.carried(person)[0] for person in people]
    words = [" ".join(said_by(call, "persona")) for call in ended]
    warned = [text.count(WARNING) for text in words]
    refused = last.client.post("/api/calls", json={"persona_id": "brad"})

    assert [call["limited_by"] for call in placed] == ["call_budget", "call_budget", "request", "credits"]
    assert [call["granted_seconds"] for call in placed[2:]] == [60, 60]
    assert [(call["status"], call["end_reason"]) for call in ended] == [
        ("completed", "call_budget_reached"),
        ("completed", "call_budget_reached"),
        ("completed", "time_limit"),
        ("completed", "credits_used_up"),
    ]
    # Six cents are over before the persona speaks a second time.
    assert (warned[0], warned[2:]) == (1, [1, 1])
    assert warned[1] <= 1
    assert [text.count(GOODBYE) for text in words] == [1, 1, 1, 1]
    assert [call["ended_by"] for call in heard] == ["api"] * 4
    assert [call["credits_used"] for call in ended] == [1, 1, 1, 1]
    for call, carried in zip(ended, heard, strict=True):
        assert carried["duration_seconds"] <= call["granted_seconds"] <= carried["time_limit_seconds"]
        assert 0 < cents(call) <= Decimal(call["estimated_cost_cents"])
    assert cents(ended[0]) <= 10
    assert cents(ended[1]) <= 6
    assert last.credits()["available_credits"] == 0
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_credits")
    house.prove(*people)


@pytest.mark.parametrize(("lowered_to", "goodbyes"), [("3.8", 1), ("1", 0)])
def test_a_limit_lowered_in_a_call_cuts_it(house: House, ann: Person, lowered_to: str, goodbyes: int) -> None:
    """With what is left it says goodbye; below what was spent it is cut."""
    house.script(ann, says=LONG_TALK)
    call = ann.place()
    # The greeting has been paid for, and nobody has said anything else yet.
    spent = cents(ann.until(call["id"], lambda c: Decimal(c["cost_cents"]) >= Decimal("1.5")))

    ann.budget(max_cost_per_call_cents=lowered_to)
    lowered_at = time.monotonic()
    ended = ann.ended(call["id"])
    took = time.monotonic() - lowered_at
    ann.budget(max_cost_per_call_cents="1000")

    assert (ended["status"], ended["end_reason"]) == ("completed", "call_budget_reached")
    assert took < CUT_WITHIN_S + goodbyes * GOODBYE_SECONDS_MAX
    assert " ".join(said_by(ended, "persona")).count(GOODBYE) == goodbyes
    assert cents(ended) <= max(Decimal(lowered_to), spent + 1)
    assert ended["credits_used"] == 1
    house.prove(ann)


def test_a_hang_up_ends_a_call_that_rings_and_one_that_talks(house: House, ann: Person, bob: Person) -> None:
    house.script(ann, answers="no_answer", ring_seconds=30)
    house.script(bob, says=LONG_TALK)
    ringing, talking = ann.place(), bob.place()
    ann.until(ringing["id"], lambda c: c["status"] == "calling")
    bob.talking(talking["id"])

    answers = [
        person.client.post(f"/api/calls/{call['id']}/hangup") for person, call in ((ann, ringing), (bob, talking))
    ]
    ended = [ann.ended(ringing["id"]), bob.ended(talking["id"])]
    again = bob.client.post(f"/api/calls/{talking['id']}/hangup")
    others = ann.client.post(f"/api/calls/{talking['id']}/hangup")
    carried = [house.carried(person)[0] for person in (ann, bob)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [(call["status"], call["end_reason"]) for call in ended] == [
        ("canceled", "canceled"),
        ("completed", "hang_up_requested"),
    ]
    assert [call["credits_used"] for call in ended] == [0, 1]
    assert [(call["status"], call["ended_by"]) for call in carried] == [("canceled", "api"), ("completed", "api")]
    assert (again.status_code, again.json()["end_reason"]) == (202, "hang_up_requested")
    assert (others.status_code, others.json()["code"]) == (404, "not_found")
    house.prove(ann, bob)


def test_one_call_at_a_time_and_one_call_for_a_key(house: House, ann: Person) -> None:
    house.script(ann, answers="no_answer", ring_seconds=30)
    before = len(house.carried(ann))
    key = {"Idempotency-Key": "once"}
    first = ann.client.post("/api/calls", json={"persona_id": "brad"}, headers=key)
    second = ann.client.post("/api/calls", json={"persona_id": "brad"})
    replay = ann.client.post("/api/calls", json={"persona_id": "brad"}, headers=key)
    other = ann.client.post("/api/calls", json={"persona_id": "sarah"}, headers=key)
    call_id = first.json()["id"]
    ann.until(call_id, lambda c: c["status"] == "calling")
    ann.client.post(f"/api/calls/{call_id}/hangup")
    ann.ended(call_id)
    late = ann.client.post("/api/calls", json={"persona_id": "brad"}, headers=key)

    assert first.status_code == 202
    assert (second.status_code, second.json()["code"]) == (429, "call_in_progress")
    assert (replay.status_code, replay.json()["id"]) == (202, call_id)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert (late.status_code, late.json()["id"], late.json()["status"]) == (202, call_id, "canceled")
    assert len(house.carried(ann)) - before == 1
    house.prove(ann)


def test_m06_a_client_names_no_price_and_no_time(house: House, bob: Person) -> None:
    house.script(bob, says=["Hello Brad."])
    wishes: dict[str, Any] = {
        "payment_method": "admin_bypass", "paymentMethod": "admin_bypass", "payment_status": "free", "price": 0,
        "user_id": "user_other", "userId": "user_other", "hold_credits": 0, "granted_seconds": 100_000,
        "cost_cents": "0", "tier": "unlimited", "created_at": "1999-12-31T23:59:59Z", "local_day": "1999-12-31",
    }  # fmt: skip
    answer = bob.client.post(
        "/api/calls",
        json={"persona_id": "brad", "max_minutes": 1, **wishes},
        headers={"Date": "Fri, 31 Dec 1999 23:59:59 GMT"},
    )
    ended = bob.ended(answer.json()["id"])
    with house.books() as books:
        row = books.execute(
            "SELECT user_id, payment_method, payment_status, local_day = (now() AT TIME ZONE 'UTC')::date AS is_today,"
            " now() - created_at < '5 minutes' AS is_now, price_version_id FROM calls WHERE id = %s",
            (ended["id"],),
        ).fetchone()

    assert answer.status_code == 202
    assert (ended["granted_seconds"], ended["hold_credits"], ended["credits_used"]) == (60, 1, 1)
    assert cents(ended) > 0
    assert row is not None
    assert (row["user_id"], row["payment_method"], row["payment_status"]) == (bob.id, "credit", "credit_used")
    assert row["is_today"] and row["is_now"]
    house.prove(bob)
