"""Packs, refunds and disputes: only what the provider says is paid brings credits, and what goes back takes them."""

import itertools
import random
from datetime import timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.payments.till import NOON, USER, Event, Till

PACK_CENTS = 1499


def test_m04_a_paid_checkout_brings_its_credits_and_all_repeats_bring_nothing(till: Till):
    purchase = till.begin()
    event = till.paid(purchase)
    answers = [till.apply(event) for _ in range(3)]
    again = till.apply(Event(id="evt_other", type="checkout.session.async_payment_succeeded", facts=event.facts))

    assert answers == [("applied", "purchase_completed")] * 3
    assert again == ("ignored", "already_completed")
    assert till.account() == (25, 0, 0)
    assert till.ledger() == [(f"purchase:{purchase}", 25)]
    assert till.row("SELECT status FROM purchases")["status"] == "completed"
    assert till.row("SELECT amount_cents, credits FROM payments") == {"amount_cents": PACK_CENTS, "credits": 25}
    till.proved()


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"payment_status": "unpaid"}, ("ignored", "not_paid")),
        ({"payment_status": "no_payment_required"}, ("ignored", "not_paid")),
        ({"payment_status": None}, ("ignored", "not_paid")),
        ({"amount_cents": PACK_CENTS - 1}, ("refused", "wrong_amount")),
        ({"amount_cents": PACK_CENTS + 1}, ("refused", "wrong_amount")),
        ({"amount_cents": 0}, ("refused", "wrong_amount")),
        ({"amount_cents": -PACK_CENTS}, ("refused", "wrong_amount")),
        ({"amount_cents": 10**30}, ("refused", "wrong_amount")),
        ({"amount_cents": None}, ("refused", "wrong_amount")),
        ({"currency": "eur"}, ("refused", "wrong_currency")),
        ({"currency": "USD"}, ("refused", "wrong_currency")),
        ({"currency": None}, ("refused", "wrong_currency")),
        ({"reference": "pur_unknown"}, ("unmatched", "unknown_session")),
        ({"user_id": "user_2"}, ("unmatched", "unknown_session")),
        ({"mode": "setup"}, ("ignored", "other_session")),
        ({"mode": None}, ("ignored", "other_session")),
        ({"kind": "unreadable"}, ("refused", "unreadable")),
        ({"kind": "customer"}, ("ignored", "not_ours")),
    ],
)
def test_m05_what_is_not_paid_as_agreed_brings_nothing(till: Till, changes: dict, answer: tuple[str, str]):
    found = till.apply(till.paid(till.begin(), **changes))

    assert found == answer
    assert till.account() == (0, 0, 0)
    assert till.ledger() == []
    till.proved()


def test_m05_a_checkout_that_expires_frees_its_coupon_and_money_that_comes_after_all_counts(till: Till):
    till.books.execute("INSERT INTO coupons (code, percent_off, max_redemptions) VALUES ('HALF', 50, 1)")
    first = till.begin(coupon="half")
    with pytest.raises(psycopg.Error) as taken:
        till.begin(coupon="HALF")
    paid = till.paid(first)
    expired = Event(id="evt_x", type="checkout.session.expired", facts=paid.facts | {"payment_status": "unpaid"})

    assert taken.value.sqlstate == "CM023"
    assert till.apply(expired) == ("applied", "purchase_failed")
    assert till.row("SELECT redemptions FROM coupons")["redemptions"] == 0
    assert till.apply(paid) == ("applied", "purchase_completed")
    assert till.row("SELECT redemptions FROM coupons")["redemptions"] == 1
    assert till.row("SELECT amount_cents FROM payments")["amount_cents"] == 750
    assert till.account() == (25, 0, 0)
    till.proved()


@pytest.mark.parametrize(
    ("coupon", "columns"),
    [
        ("NONE", {}),
        ("LATE", {"percent_off": 10, "expires_at": NOON - timedelta(days=3000)}),
        ("EURO", {"amount_off_cents": 100, "currency": "eur"}),
        ("MORE", {"amount_off_cents": 1450, "currency": "usd"}),
        ("GONE", {"percent_off": 10, "max_redemptions": 1, "redemptions": 1}),
    ],
)
def test_a_coupon_that_can_not_be_used_is_refused(till: Till, coupon: str, columns: dict):
    if columns:
        names = ", ".join(columns)
        values = ", ".join(["%s"] * len(columns))
        till.books.execute(
            f"INSERT INTO coupons (code, {names}) VALUES (%s, {values})",
            (coupon, *columns.values()),  # type: ignore[arg-type]  # the names are ours
        )
    with pytest.raises(psycopg.Error) as refused:
        till.begin(coupon=coupon)

    assert refused.value.sqlstate == "CM023"
    assert till.row("SELECT count(*) AS n FROM purchases")["n"] == 0


def test_m05_a_refund_takes_back_in_proportion_and_what_was_talked_is_owed(till: Till):
    purchase = till.bought()
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.call()
    till.books.execute("SELECT advance_call(%s, 'call_1', 'in_progress', 'CA1')", (USER,))
    till.hang_up(seconds=600)
    half = till.refund(f"pi_{purchase}", 750, "re_half")
    before = till.account()
    first = till.apply(half)
    between = till.account()
    rest = till.apply(till.refund(f"pi_{purchase}", 749, "re_rest"))

    assert (before, first, between) == ((15, 0, 0), ("applied", "refunded"), (2, 0, 0))
    assert rest == ("applied", "refunded")
    assert till.account() == (0, 0, 10)
    assert till.row("SELECT status FROM purchases")["status"] == "refunded"
    with pytest.raises(psycopg.Error) as refused:
        till.call("call_2")
    assert refused.value.sqlstate == "CM011"
    assert till.apply(half) == ("applied", "refunded")
    assert till.account() == (0, 0, 10)
    till.bought()
    assert till.account() == (15, 0, 0)
    till.proved()


@pytest.mark.parametrize(
    ("changes", "effect"),
    [
        ({"amount_cents": 0}, "wrong_amount"),
        ({"amount_cents": -1}, "wrong_amount"),
        ({"amount_cents": PACK_CENTS + 1}, "wrong_amount"),
        ({"amount_cents": 10**40}, "wrong_amount"),
        ({"amount_cents": None}, "wrong_amount"),
        ({"currency": "eur"}, "wrong_currency"),
    ],
)
def test_m05_a_refund_that_contradicts_its_payment_is_refused(till: Till, changes: dict, effect: str):
    purchase = till.bought()

    assert till.apply(till.refund(f"pi_{purchase}", 100, **changes)) == ("refused", effect)
    assert till.account() == (25, 0, 0)
    till.proved()


def test_m04_a_refund_that_comes_before_its_payment_waits_for_it(till: Till):
    purchase = till.begin()
    early = till.refund(f"pi_{purchase}", PACK_CENTS)
    first = till.apply(early)
    till.apply(till.paid(purchase))

    assert first == ("unmatched", "unknown_payment")
    assert till.row("SELECT state, retry_at FROM payment_events WHERE id = %s", early.id) == {
        "state": "applied", "retry_at": None,
    }  # fmt: skip
    assert till.account() == (0, 0, 0)
    assert [amount for _, amount in till.ledger()] == [25, -25]
    till.proved()


def test_m17_an_event_that_finds_its_person_after_they_are_gone_keeps_nothing_of_them(till: Till):
    purchase = till.begin()
    till.apply(till.refund(f"pi_{purchase}", PACK_CENTS))
    till.books.execute("SELECT erase_user(%s, 'person')", (USER,))
    till.apply(till.paid(purchase))
    kept = till.books.execute("SELECT user_id, state, payload, facts FROM payment_events").fetchall()

    assert kept == [{"user_id": USER, "state": "applied", "payload": None, "facts": None}] * 2
    till.proved()


def test_m17_an_event_of_a_person_that_still_waits_keeps_only_what_it_needs_when_they_are_gone(till: Till):
    till.apply(till.paid(till.begin(), reference="pur_unknown"))
    till.books.execute("SELECT erase_user(%s, 'person')", (USER,))
    waiting = till.row("SELECT state, payload, facts ->> 'reference' AS reference FROM payment_events")

    assert waiting == {"state": "unmatched", "payload": None, "reference": "pur_unknown"}


def test_m04_an_event_of_nothing_we_know_is_kept_tried_again_and_given_up(till: Till):
    event = till.refund("pi_unknown", 100)
    till.apply(event)
    first = till.row("SELECT attempts, retry_at > now() AS waits FROM payment_events")
    too_early = till.row("SELECT retry_payment_events(10) AS tried")["tried"]
    till.books.execute("UPDATE payment_events SET retry_at = now() - interval '1 second'")
    tried = till.row("SELECT retry_payment_events(10) AS tried")["tried"]
    till.books.execute("UPDATE payment_events SET retry_at = now(), received_at = now() - interval '5 days'")
    till.row("SELECT retry_payment_events(10)")
    last = till.row("SELECT state, attempts, retry_at FROM payment_events")

    assert first == {"attempts": 1, "waits": True}
    assert (too_early, tried) == (0, 1)
    assert last == {"state": "unmatched", "attempts": 3, "retry_at": None}


def test_m05_a_dispute_takes_and_a_won_one_gives_back_in_any_order(till: Till):
    purchase = till.bought()
    intent = f"pi_{purchase}"
    story = [
        till.dispute(intent, PACK_CENTS, "created", "needs_response"),
        till.dispute(intent, PACK_CENTS, "funds_withdrawn", "needs_response"),
        till.dispute(intent, PACK_CENTS, "updated", "under_review"),
        till.dispute(intent, PACK_CENTS, "closed", "won"),
        till.dispute(intent, PACK_CENTS, "funds_reinstated", "won"),
    ]
    till.apply(story[0])
    taken = till.account()
    for event in story[1:]:
        till.apply(event)

    assert taken == (0, 0, 0)
    assert till.account() == (25, 0, 0)
    till.proved()


def test_m05_an_inquiry_takes_nothing_and_a_lost_dispute_is_owed(till: Till):
    purchase = till.bought()
    till.books.execute("SELECT move_credits(%s, -20, 'admin_adjustment', 'adjust:1')", (USER,))
    asked = till.apply(till.dispute(f"pi_{purchase}", PACK_CENTS, "created", "warning_needs_response", "dp_ask"))
    lost = till.apply(till.dispute(f"pi_{purchase}", PACK_CENTS, "closed", "lost", "dp_lost"))

    assert asked == ("ignored", "nothing_new")
    assert lost == ("applied", "disputed")
    assert till.account() == (0, 0, 20)
    till.proved()


orders = st.integers(min_value=0, max_value=10**9)
_runs = itertools.count(1)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=orders, parts=st.lists(st.integers(min_value=1, max_value=700), min_size=1, max_size=4))
def test_m04_events_converge_whatever_their_order_and_however_often(till: Till, seed: int, parts: list[int]):
    """The same events, shuffled and repeated, end in the same books: in proportion to what is left of the money."""
    shuffled = random.Random(seed)
    run = next(_runs)
    start = till.account()
    purchase = till.begin("minutes_100")
    intent = f"pi_{purchase}"
    refunds = [till.refund(intent, cents, f"re_{run}_{number}") for number, cents in enumerate(parts)]
    undone = till.refund(intent, parts[0], f"re_{run}_0", status="failed")
    disputed = [
        till.dispute(intent, 4499, what, status, f"dp_{run}")
        for what, status in (("created", "needs_response"), ("funds_withdrawn", "under_review"), ("closed", "won"))
    ]
    events = [till.paid(purchase), *refunds, undone, *disputed]
    events += shuffled.choices(events, k=4)
    shuffled.shuffle(events)
    for event in events:
        till.apply(event)
    kept = 4499 - sum(parts[1:])
    gone = (100 * (4499 - kept) * 2 + 4499) // (2 * 4499)

    assert sum(till.account()[:2]) - till.account()[2] == sum(start[:2]) - start[2] + 100 - gone
    till.proved()
