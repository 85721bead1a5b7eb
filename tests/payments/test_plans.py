"""Plans: a tier is in force because a period was paid; each period brings its credits once."""

import itertools
import random
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payments.till import MONTH, NOON, PRICES, USER, Event, Till


def test_m07_a_period_brings_its_credits_once(till: Till):
    plan = till.subscribe("basic")
    paid = till.invoice(plan, "basic")
    twin = Event(id="evt_twin", type="invoice.payment_succeeded", facts=paid.facts)
    answers = [till.apply(paid), till.apply(paid), till.apply(twin)]
    second = till.apply(till.invoice(plan, "basic", id="in_second"))

    assert answers == [("applied", "period_paid")] * 2 + [("ignored", "already_paid")]
    assert second == ("refused", "period_paid_twice")
    assert till.ledger() == [(f"period:sub_{plan}:{int(NOON.timestamp())}:basic", 100)]
    assert till.tier() == ("basic", "active")
    till.proved()


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"status": "open"}, ("ignored", "not_paid")),
        ({"amount_cents": 998}, ("refused", "wrong_amount")),
        ({"amount_cents": 0}, ("refused", "wrong_amount")),
        ({"amount_cents": -999}, ("refused", "wrong_amount")),
        ({"amount_cents": 10**25}, ("refused", "wrong_amount")),
        ({"amount_cents": 2999}, ("refused", "wrong_amount")),
        ({"tier": "unlimited"}, ("refused", "wrong_amount")),
        ({"currency": "eur"}, ("refused", "wrong_currency")),
        ({"period_end": 0}, ("refused", "wrong_period")),
        ({"period_start": None}, ("refused", "wrong_period")),
        ({"subscription": None}, ("ignored", "no_subscription")),
        ({"subscription": "sub_x", "reference": "plan_x"}, ("unmatched", "unknown_subscription")),
        ({"subscription": "sub_x", "user_id": "user_2"}, ("unmatched", "unknown_subscription")),
    ],
)
def test_m05_an_invoice_that_is_not_as_agreed_brings_nothing(till: Till, changes: dict, answer: tuple[str, str]):
    plan = till.subscribe("basic")

    assert till.apply(till.invoice(plan, "basic", **changes)) == answer
    assert till.ledger() == []
    assert till.tier() == ("free", None)
    till.proved()


def test_credits_of_a_plan_never_expire_and_the_plan_ends_with_its_period(till: Till):
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    till.apply(till.plan(plan, "updated", NOON + timedelta(days=1), cancel_at_period_end=True))
    ending = till.tier()
    till.apply(till.plan(plan, "deleted", NOON + MONTH, status="canceled"))
    late = till.apply(till.plan(plan, "updated", NOON + timedelta(days=2)))

    assert ending == ("basic", "active")
    assert till.tier() == ("free", "canceled")
    assert late == ("ignored", "ended")
    assert till.account() == (100, 0, 0)
    assert till.subscribe("premium")
    till.proved()


def test_an_upgrade_is_in_force_once_paid_and_a_downgrade_from_the_next_period(till: Till):
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    asked = till.row("SELECT is_upgrade FROM request_tier(%s, 'premium', 'key_1')", USER)["is_upgrade"]
    before = till.tier()
    # The vendor may label the invoice of a change with the plan before it.
    till.apply(till.invoice(plan, "premium", NOON + timedelta(days=3), tier="basic"))
    upgraded = (till.tier(), till.account())
    downgrade = till.row("SELECT is_upgrade FROM request_tier(%s, 'basic', 'key_2')", USER)["is_upgrade"]
    till.apply(till.plan(plan, "updated", NOON + timedelta(days=4), tier="basic"))
    waiting = till.tier()
    till.apply(till.invoice(plan, "basic", NOON + timedelta(days=33)))

    assert (asked, before) == (True, ("basic", "active"))
    assert upgraded == (("premium", "active"), (600, 0, 0))
    assert (downgrade, waiting) == (False, ("premium", "active"))
    assert (till.tier(), till.account()) == (("basic", "active"), (700, 0, 0))
    assert till.row("SELECT pending_tier FROM subscriptions")["pending_tier"] is None
    till.proved()


def test_a_failed_payment_leaves_a_week_and_then_the_free_tier(till: Till):
    plan = till.subscribe("premium")
    till.apply(till.invoice(plan, "premium"))
    failed = till.invoice(plan, "premium", NOON + MONTH, status="open")
    till.apply(Event(id="evt_f", type="invoice.payment_failed", at=failed.at, facts=failed.facts))
    grace = till.tier()
    till.books.execute("UPDATE subscriptions SET grace_until = now() + interval '1 minute'")
    too_early = till.row("SELECT end_grace() AS n")["n"]
    till.books.execute("UPDATE subscriptions SET grace_until = now() - interval '1 second'")
    ended = till.row("SELECT end_grace() AS n")["n"]
    work = till.row("SELECT id, is_cancel FROM claim_subscription_work(5, '1 hour')")

    assert grace == ("premium", "past_due")
    assert (too_early, ended) == (0, 1)
    assert till.tier() == ("free", "expired")
    assert work == {"id": plan, "is_cancel": True}
    assert till.account() == (500, 0, 0)
    till.proved()


def test_a_payment_that_succeeds_in_the_week_ends_the_grace_in_any_order(till: Till):
    plan = till.subscribe("premium")
    till.apply(till.invoice(plan, "premium"))
    paid = till.invoice(plan, "premium", NOON + MONTH)
    failed = Event(id="evt_f", type="invoice.payment_failed", at=paid.at - timedelta(hours=1), facts=paid.facts)
    till.apply(paid)
    late = till.apply(failed)
    till.apply(till.plan(plan, "updated", paid.at - timedelta(minutes=30), status="past_due"))

    assert late == ("ignored", "already_paid")
    assert till.tier() == ("premium", "active")
    assert till.account() == (1000, 0, 0)


def test_m05_a_refunded_period_is_not_in_force_and_a_won_dispute_brings_it_back(till: Till):
    plan = till.subscribe("premium")
    paid = till.invoice(plan, "premium")
    till.apply(paid)
    intent = str(paid.facts["payment_intent"])
    till.apply(till.dispute(intent, 2999, "funds_withdrawn", "needs_response"))
    disputed = (till.tier(), till.account())
    till.apply(till.dispute(intent, 2999, "closed", "won"))

    assert disputed == (("free", "past_due"), (0, 0, 0))
    assert (till.tier(), till.account()) == (("premium", "active"), (500, 0, 0))
    till.apply(till.refund(intent, 2999))
    assert (till.tier(), till.account()) == (("free", "past_due"), (0, 0, 0))
    till.apply(till.invoice(plan, "premium", NOON + MONTH))
    assert (till.tier(), till.account()) == (("premium", "active"), (500, 0, 0))
    till.proved()


def test_m05_a_refund_that_names_an_intent_finds_the_invoice_that_it_paid(till: Till):
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic", payment_intent=None))
    early = till.apply(till.refund("pi_later", 999))
    facts = {"kind": "invoice_payment", "id": "inpay_1", "payment_intent": "pi_later"}
    named = Event(id="evt_n", type="invoice_payment.paid", facts=facts | {"invoice": f"in_{plan}_{NOON:%m%d%H}"})
    till.apply(named)

    assert early == ("unmatched", "unknown_payment")
    assert till.account() == (0, 0, 0)
    till.proved()


def test_there_is_one_plan_at_a_time(till: Till):
    first = till.subscribe("basic")
    with pytest.raises(psycopg.Error) as refused:
        till.subscribe("premium")
    till.books.execute("SELECT expire_checkout(%s, %s)", (USER, first))
    second = till.subscribe("premium")
    money_after_all = till.apply(till.invoice(first, "basic"))
    till.apply(till.invoice(second, "premium"))

    assert refused.value.sqlstate == "CM024"
    assert money_after_all == ("refused", "second_subscription")
    assert till.tier() == ("premium", "active")


@pytest.mark.parametrize("tier", ["free", "gold", "", None])
def test_only_tiers_with_a_price_are_sold(till: Till, tier: str | None):
    with pytest.raises(psycopg.Error) as refused:
        till.subscribe(tier)  # type: ignore[arg-type]  # what a client may send

    assert refused.value.sqlstate == "CM022"


_runs = itertools.count(1)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(min_value=0, max_value=10**9), months=st.integers(min_value=1, max_value=4))
def test_m04_m07_events_of_a_plan_converge_whatever_their_order(till: Till, seed: int, months: int):
    """Every period's credits once, and the tier of the newest paid one; then the end, whenever that is told."""
    shuffled = random.Random(seed)
    run = next(_runs)
    before = till.account()[0]
    plan = till.subscribe("basic")
    session = Event(
        id=f"evt_s{run}", type="checkout.session.completed",
        facts={
            "kind": "session", "id": f"cs_{plan}", "mode": "subscription", "user_id": USER, "reference": plan,
            "payment_status": "paid", "status": "complete", "subscription": f"sub_{plan}", "customer": "cus_1",
        },
    )  # fmt: skip
    events = [session, *(till.invoice(plan, "basic", NOON + number * MONTH) for number in range(months))]
    events += [till.plan(plan, "updated", NOON + number * MONTH) for number in range(months)]
    events += shuffled.choices(events, k=4)
    shuffled.shuffle(events)
    for event in events:
        till.apply(event)

    assert till.account()[0] == before + 100 * months
    assert till.tier() == ("basic", "active")
    newest = till.row("SELECT current_period_start FROM subscriptions WHERE id = %s", plan)["current_period_start"]
    assert newest == NOON + (months - 1) * MONTH
    till.apply(till.plan(plan, "deleted", NOON + months * MONTH, status="canceled"))
    till.apply(shuffled.choice(events))
    assert till.tier() == ("free", "canceled")
    assert PRICES["basic"] * months == till.row(
        "SELECT sum(amount_cents) AS cents FROM payments WHERE subscription_id = %s", plan
    )["cents"]  # fmt: skip
    till.proved()
