"""The doctor over money that comes in: green where all is well, red over each fault, with the object named."""

import pytest
from tests.ops.doctor.patients import look
from tests.payments.till import NOON, USER, Till

from callmeback.ops import doctor

EVENT = (
    "INSERT INTO payment_events (id, type, created_at, received_at, state, effect)"
    " VALUES ('evt_x', 'x', now(), now() - "
)
HOLD = (
    "INSERT INTO payment_authorizations (user_id, id, stripe_customer_id, credits, cents_per_credit, authorized_cents,"
    " currency, state, updated_at) VALUES ('user_1', 'auth_x', 'cus_1', 5, 60, 300, 'usd', 'capturing', now() - "
)
FAULTS = {
    "no event was refused": (EVENT + "interval '1 day', 'refused', 'wrong_amount')", "evt_x"),
    "events find their objects": (EVENT + "interval '2 hours', 'unmatched', 'unknown_payment')", "evt_x"),
    "what was set aside is settled": (HOLD + "interval '2 hours')", "auth_x"),
    "sealed days are intact": (
        "INSERT INTO sealed_days (day, ledger_rows, received_credits, taken_credits, batch_hash, sealed_by)"
        " VALUES ('2026-01-01', 0, 0, 0, sha256('forged'), 'x')",
        "2026-01-01",
    ),
    "plans are heard of": ("UPDATE subscriptions SET current_period_end = now() - interval '3 days'", "plan_1"),
    "people are told of their budget": (
        "INSERT INTO budget_notices (user_id, month, percent, noticed_at)"
        " VALUES ('user_1', '2026-11-01', 75, now() - interval '2 hours')",
        USER,
    ),
}  # fmt: skip


def red(database_url: str) -> dict[str, list[str]]:
    verdicts = look(database_url, "payments").values()
    assert {verdict.verdict for verdict in verdicts} <= {"green", "red"}

    return {one.name: [symptom.object for symptom in one.objects] for one in verdicts if one.verdict == "red"}


def in_use(till: Till) -> None:
    """A pack, a plan in force, an event that has just come and waits, an authorization that is being settled."""
    till.bought()
    plan = till.subscribe()
    till.apply(till.invoice(plan, "basic"))
    till.apply(till.refund("pi_of_nobody", 100))


def test_payments_in_use_are_green(till: Till, database_url: str):
    in_use(till)

    assert red(database_url) == {}


@pytest.mark.parametrize("check", FAULTS)
def test_each_fault_of_payments_is_red_and_names_its_object(till: Till, database_url: str, check: str):
    fault, name = FAULTS[check]
    plan = till.subscribe()
    till.apply(till.invoice(plan, "basic", NOON))
    till.books.execute(fault)

    assert red(database_url) == {check: [plan if name == "plan_1" else name]}


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("put_off_count = 3, claimed_until = now() + interval '1 hour'", "warning"),
        ("put_off_count = 3, claimed_until = now() - interval '2 hours'", "red"),
        ("put_off_count = 21, given_up_at = now() - interval '1 day'", "warning"),
        ("put_off_count = 21, given_up_at = now() - interval '40 days'", "green"),
    ],
)
def test_an_address_that_is_put_off_is_a_warning_while_the_worker_tries(
    till: Till, database_url: str, state: str, verdict: str
):
    till.books.execute(FAULTS["people are told of their budget"][0])
    till.books.execute(f"UPDATE budget_notices SET put_off_since = now() - interval '3 days', {state}")
    found = look(database_url, "payments")["people are told of their budget"]

    assert found.verdict == verdict
    assert [one.object for one in found.objects] == ([] if verdict == "green" else [USER])
    assert "@" not in str(found)


def test_every_check_of_payments_has_a_fault():
    assert set(FAULTS) == {check.name for check in doctor.AREAS["payments"]}
