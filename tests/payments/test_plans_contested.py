"""Plans where two things meet: a change in the second of its beginning, a person who is gone, a second checkout."""

import random
from datetime import timedelta

import psycopg
import pytest
from tests.payments.till import MONTH, NOON, PRICES, USER, Till


@pytest.mark.parametrize("is_reordered", [False, True])
def test_m07_an_upgrade_in_the_second_of_the_beginning_brings_both(till: Till, is_reordered: bool):
    """Periods begin at whole seconds: two that were paid can begin at the same."""
    plan = till.subscribe("basic")
    first = till.invoice(plan, "basic")
    if not is_reordered:
        till.apply(first)
        till.books.execute("SELECT request_tier(%s, 'premium', 'key_1')", (USER,))
    second = till.invoice(plan, "premium", id="in_2", payment_intent="pi_2")
    answers = [till.apply(second), till.apply(first)]
    again = till.apply(till.invoice(plan, "premium", id="in_3", payment_intent="pi_3"))

    assert answers == [("applied", "period_paid"), ("applied", "period_paid")]
    assert again == ("refused", "period_paid_twice")
    assert (till.tier(), till.account()) == (("premium", "active"), (600, 0, 0))
    till.proved()


def test_m05_the_refund_of_the_plan_before_leaves_the_one_in_force(till: Till):
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    till.books.execute("SELECT request_tier(%s, 'premium', 'key_1')", (USER,))
    till.apply(till.invoice(plan, "premium", id="in_2", payment_intent="pi_2"))
    till.apply(till.refund(f"pi_in_{plan}_{NOON:%m%d%H}", 999))

    assert (till.tier(), till.account()) == (("premium", "active"), (500, 0, 0))
    till.proved()


def test_m07_a_plan_that_charges_nothing_is_not_paid_twice_unseen(till: Till):
    plan = till.subscribe("unlimited")
    answers = [till.apply(till.invoice(plan, "unlimited", id=f"in_{n}", payment_intent=f"pi_{n}")) for n in (1, 2)]

    assert answers == [("applied", "period_paid"), ("refused", "period_paid_twice")]
    assert till.row("SELECT count(*) AS number FROM payments")["number"] == 2
    till.proved()


def test_m17_a_period_that_is_paid_after_its_person_is_gone_still_ends_the_plan(till: Till):
    """The page at the vendor may be open, or an event on its way, when somebody is erased."""
    plan = till.subscribe("basic")
    till.books.execute("SELECT erase_user(%s, 'person')", (USER,))
    paid = till.apply(till.invoice(plan, "basic"))
    due = till.books.execute("SELECT id, is_cancel FROM claim_subscription_work(5, '1 hour')").fetchall()

    assert paid == ("applied", "period_paid")
    assert due == [{"id": plan, "is_cancel": True}]
    till.proved()


def test_m17_nobody_upgrades_a_plan_of_a_person_who_is_gone(till: Till):
    """A request that had begun before would be charged after."""
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    till.books.execute("SELECT erase_user(%s, 'person')", (USER,))

    with pytest.raises(psycopg.Error) as refused:
        till.books.execute("SELECT request_tier(%s, 'premium', 'key_1')", (USER,))
    assert refused.value.sqlstate == "CM008"


def test_m05_a_second_plan_that_was_paid_is_written_down_and_ended(till: Till):
    """Its money can be given back, and nobody pays for it a second time."""
    left = till.subscribe("basic")
    till.books.execute("SELECT expire_checkout(%s, %s)", (USER, left))
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    second = till.apply(till.invoice(left, "basic", NOON + timedelta(hours=1)))
    due = till.books.execute("SELECT id, is_cancel FROM claim_subscription_work(5, '1 hour')").fetchall()
    refund = till.apply(till.refund(f"pi_in_{left}_{NOON + timedelta(hours=1):%m%d%H}", 999))

    assert second == ("refused", "second_subscription")
    assert due == [{"id": left, "is_cancel": True}]
    assert refund[0] == "applied"
    assert (till.tier(), till.account()) == (("basic", "active"), (100, 0, 0))
    till.proved()


def test_a_failure_told_in_the_second_of_the_payment_after_it_begins_no_grace(till: Till):
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))
    paid = till.invoice(plan, "basic", NOON + MONTH)
    till.apply(paid)
    till.apply(till.plan(plan, "updated", NOON + MONTH, status="past_due"))

    assert till.tier() == ("basic", "active")
    assert till.row("SELECT grace_until FROM subscriptions")["grace_until"] is None
    till.proved()


@pytest.mark.parametrize("back", [1, 2])
def test_m05_of_a_period_that_was_paid_twice_either_money_can_go_back(till: Till, back: int):
    """One of the two stays, whichever it is, and so do the plan and its credits."""
    plan = till.subscribe("basic")
    for number in (1, 2):
        till.apply(till.invoice(plan, "basic", id=f"in_{number}", payment_intent=f"pi_{number}"))
    parts = [till.apply(till.refund(f"pi_{back}", cents)) for cents in (500, 499)]
    assert parts == [("applied", "refunded")] * 2
    assert (till.tier(), till.account()) == (("basic", "active"), (100, 0, 0))
    till.apply(till.refund(f"pi_{3 - back}", 999))

    assert (till.tier(), till.account()) == (("free", "past_due"), (0, 0, 0))
    till.proved()


def test_m03_while_an_upgrade_may_be_being_paid_no_other_plan_is_asked_for(till: Till):
    """Nor is the wish taken back: its invoice may be on its way. The same wish again is the same request."""
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic"))

    def wish(tier: str) -> str:
        try:
            return str(
                till.row("SELECT request_key FROM request_tier(%s, %s, %s)", USER, tier, f"key_{tier}")["request_key"]
            )
        except psycopg.Error as exc:
            return str(exc.sqlstate)

    answers = [wish(tier) for tier in ("premium", "unlimited", "basic", "premium")]
    till.books.execute("UPDATE subscriptions SET pending_since = now() - interval '10 minutes'")
    assert answers == ["key_premium", "CM027", "CM027", "key_premium"]
    assert wish("unlimited") == "key_unlimited"
    till.books.execute("SELECT withdraw_tier_request(%s, 'unlimited')", (USER,))
    assert wish("premium") == "key_premium"
    till.apply(till.invoice(plan, "premium", NOON + timedelta(days=1)))
    # One that waits for the next period charges nothing now.
    assert [wish(tier) for tier in ("basic", "unlimited")] == ["key_basic", "key_unlimited"]
    assert till.tier() == ("premium", "active")
    till.proved()


def test_m05_a_period_that_is_paid_again_after_its_money_went_back_is_in_force(till: Till):
    plan = till.subscribe("basic")
    till.apply(till.invoice(plan, "basic", id="in_1", payment_intent="pi_1"))
    till.apply(till.refund("pi_1", 999, "re_1"))
    before = (till.tier(), till.account())
    again = till.apply(till.invoice(plan, "basic", id="in_2", payment_intent="pi_2"))
    assert (before, again) == ((("free", "past_due"), (0, 0, 0)), ("applied", "period_paid_again"))
    assert (till.tier(), till.account()) == (("basic", "active"), (100, 0, 0))
    # The bank sends the first one's refund back, so that both are paid; then the second goes.
    till.apply(till.refund("pi_1", 999, "re_1", status="failed"))
    till.apply(till.refund("pi_2", 999))

    assert (till.tier(), till.account()) == (("basic", "active"), (100, 0, 0))
    till.proved()


@pytest.mark.parametrize("seed", range(8))
def test_m05_a_period_is_worth_its_credits_as_long_as_one_money_for_it_stays(till: Till, seed: int):
    """Invoices of one period, refunds in parts, refunds that fail: in any order, the books know what is paid."""
    choice = random.Random(seed)
    plan = till.subscribe("basic")
    back: dict[str, int] = {}
    for number in range(16):
        intents = [intent for intent, cents in back.items() if cents < PRICES["basic"]]
        if not intents or choice.random() < 0.25:
            till.apply(till.invoice(plan, "basic", id=f"in_{number}", payment_intent=f"pi_{number}"))
            back[f"pi_{number}"] = 0
            continue
        intent = choice.choice(intents)
        cents = choice.choice([PRICES["basic"] - back[intent], 1 + (PRICES["basic"] - back[intent]) // 2])
        till.apply(till.refund(intent, cents, f"re_{number}"))
        if choice.random() < 0.3:
            till.apply(till.refund(intent, cents, f"re_{number}", status="failed"))
        else:
            back[intent] += cents

    wholly = [cents == PRICES["basic"] for cents in back.values()]
    assert till.tier()[0] == ("free" if all(wholly) else "basic")
    if 0 in back.values():
        assert till.account() == (100, 0, 0)
    elif all(wholly):
        assert till.account() == (0, 0, 0)
    till.proved()
