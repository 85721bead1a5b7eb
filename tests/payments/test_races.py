"""Money from several sides at once: duplicates, refunds against talks, upgrades against refills."""

import itertools
import json
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.payments.till import CARD, MONTH, NOON, PHONE, USER, Event, Till

THREADS = 6
RETRYABLE = ("40001", "40P01")


def together(database_url: str, works: list[Callable[[psycopg.Connection[dict[str, Any]]], None]]) -> list[str]:
    """Run each on a connection of its own, all at once; the SQLSTATEs that were not worth another try."""
    barrier = threading.Barrier(len(works))
    refused: list[str] = []

    def run(work: Callable[[psycopg.Connection[dict[str, Any]]], None]) -> None:
        with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
            barrier.wait()
            try:
                work(connection)
            except psycopg.Error as exc:
                refused.append(exc.sqlstate or "")

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    return refused


def deliver(events: list[Event], seed: int) -> Callable[[psycopg.Connection[dict[str, Any]]], None]:
    """Hand these events over in an order of one's own."""

    def work(connection: psycopg.Connection[dict[str, Any]]) -> None:
        for event in random.Random(seed).sample(events, len(events)):
            connection.execute(
                "SELECT apply_payment_event(%s, %s, %s, %s, '{}')",
                (event.id, event.type, event.at, json.dumps(event.facts)),
            )

    return work


def converged(till: Till) -> None:
    """What two deliveries could not see of each other is matched by the retry, which the worker does."""
    for _ in range(20):
        till.books.execute("UPDATE payment_events SET retry_at = now() WHERE state = 'unmatched'")
        till.books.execute("SELECT retry_payment_events(1)")


def test_m04_deliveries_at_once_are_applied_once(till: Till, database_url: str):
    purchases = [till.begin() for _ in range(8)]
    events = [till.paid(purchase) for purchase in purchases]
    events += [till.refund(f"pi_{purchase}", 1499, f"re_{purchase}") for purchase in purchases[:4]]
    refused = together(database_url, [deliver(events, seed) for seed in range(THREADS)])
    converged(till)

    assert refused == []
    assert till.account() == (100, 0, 0)
    assert till.row("SELECT count(*) AS n FROM payments")["n"] == 8
    assert till.row("SELECT count(*) AS n FROM payment_events WHERE state <> 'applied'")["n"] == 0
    till.proved()


def test_m07_renewals_told_to_several_processes_refill_once(till: Till, database_url: str):
    plan = till.subscribe("basic")
    events = [till.invoice(plan, "basic", NOON + number * MONTH) for number in range(5)]
    twins = [
        Event(id=f"{event.id}_twin", type="invoice.payment_succeeded", at=event.at, facts=event.facts)
        for event in events
    ]
    refused = together(database_url, [deliver(events + twins, seed) for seed in range(THREADS)])

    assert refused == []
    assert till.account() == (500, 0, 0)
    assert len(till.ledger()) == 5
    till.proved()


def test_m07_an_upgrade_against_a_refill_brings_both_periods_once(till: Till, database_url: str):
    for round_ in range(6):
        plan = till.subscribe("basic")
        start = NOON + round_ * timedelta(days=365)
        till.apply(till.invoice(plan, "basic", start))
        before = till.account()[0]
        till.books.execute("SELECT request_tier(%s, 'premium', 'key_1')", (USER,))
        events = [
            till.invoice(plan, "basic", start + MONTH),
            till.invoice(plan, "premium", start + MONTH + timedelta(hours=1)),
        ]
        refused = together(database_url, [deliver(events, seed) for seed in range(4)])

        assert refused == []
        assert till.account()[0] == before + 100 + 500
        assert till.tier() == ("premium", "active")
        till.apply(till.plan(plan, "deleted", start + 2 * MONTH, status="canceled"))
    till.proved()


@pytest.mark.parametrize("seed", range(4))
def test_m01_m05_refunds_and_disputes_against_talks_never_go_below_zero(till: Till, database_url: str, seed: int):
    """One thread talks, call after call; others buy, refund, dispute. What is left is what was paid and not talked."""
    till.books.execute("SELECT set_tier(%s, 'premium')", (USER,))
    purchases = [till.begin("minutes_50") for _ in range(6)]
    paid = [till.paid(purchase) for purchase in purchases]
    back = [till.refund(f"pi_{purchase}", 2499, f"re_{purchase}") for purchase in purchases[:2]]
    back += [
        till.dispute(f"pi_{purchases[2]}", 2499, "funds_withdrawn", "needs_response", "dp_won"),
        till.dispute(f"pi_{purchases[2]}", 2499, "closed", "won", "dp_won"),
        till.dispute(f"pi_{purchases[3]}", 2499, "closed", "lost", "dp_lost"),
    ]
    talked = itertools.count()
    minutes = [0]

    def talk(connection: psycopg.Connection[dict[str, Any]]) -> None:
        for _ in range(25):
            call = f"call_{next(talked)}"
            try:
                connection.execute(
                    "SELECT start_call(%s, %s, 'brad', %s, %s, %s)", (call, USER, PHONE, CARD, datetime.now(UTC).date())
                )
            except psycopg.Error as exc:
                assert exc.sqlstate in ("CM001", "CM011", *RETRYABLE), exc
                continue
            connection.execute("SELECT advance_call(%s, %s, 'in_progress', 'CA1')", (USER, call))
            row = connection.execute(
                "SELECT credits_used FROM finish_call(%s, %s, 'completed', 'hung_up', 1, 300)", (USER, call)
            ).fetchone()
            assert row is not None
            minutes[0] += row["credits_used"]

    refused = together(
        database_url, [talk, deliver(paid, seed), deliver(paid + back, seed + 9), deliver(back, seed + 5)]
    )
    converged(till)
    available, held, debt = till.account()

    assert refused == []
    assert available - debt == 3 * 50 - minutes[0]
    assert held == 0
    till.proved()


def test_m05_parts_of_one_payment_that_go_back_at_once_add_up(till: Till, database_url: str):
    purchase = till.bought("minutes_100")
    refunds = [till.refund(f"pi_{purchase}", 100, f"re_{number}") for number in range(42)]
    refused = together(database_url, [deliver(refunds[number::THREADS], number) for number in range(THREADS)])

    assert refused == []
    assert till.row("SELECT reversed_cents, reversed_credits FROM payments") == {
        "reversed_cents": 4200, "reversed_credits": 93,
    }  # fmt: skip
    assert till.account() == (7, 0, 0)
    till.proved()


def test_a_coupon_that_may_be_used_once_is_used_once(till: Till, database_url: str):
    till.books.execute("INSERT INTO coupons (code, percent_off, max_redemptions) VALUES ('FIRST', 10, 2)")
    for number in range(THREADS):
        till.books.execute(
            "SELECT register_user(%s, %s, 'x', 'B', 'UTC')", (f"user_b{number}", f"b{number}@example.org")
        )

    def buy(number: int) -> Callable[[psycopg.Connection[dict[str, Any]]], None]:
        return lambda connection: (
            connection.execute("SELECT begin_purchase(%s, 'pur_1', 'minutes_25', 'FIRST')", (f"user_b{number}",)),
            None,
        )[1]

    refused = together(database_url, [buy(number) for number in range(THREADS)])

    assert sorted(refused) == ["CM023"] * (THREADS - 2)
    assert till.row("SELECT redemptions FROM coupons")["redemptions"] == 2


def test_one_call_is_paid_by_one_authorization_however_many_ask(till: Till, database_url: str):
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.books.execute("INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true)", (USER,))
    till.books.execute("SELECT note_customer(%s, 'cus_1')", (USER,))
    numbers = itertools.count()

    def ask(connection: psycopg.Connection[dict[str, Any]]) -> None:
        name = f"auth_{next(numbers)}"
        connection.execute("SELECT begin_authorization(%s, %s, 'brad')", (USER, name))
        connection.execute("SELECT note_authorization(%s, %s, %s, true)", (USER, name, f"pi_{name}"))
        connection.execute(
            "SELECT start_paid_call(%s, %s, %s, 'brad', %s, %s, %s)",
            (name, f"call_{name}", USER, PHONE, CARD, datetime.now(UTC).date()),
        )

    refused = together(database_url, [ask] * THREADS)

    assert set(refused) <= {"CM004", "CM001"}
    assert till.row("SELECT count(*) AS n FROM open_calls")["n"] == 1
    assert till.row("SELECT count(*) AS n FROM payment_authorizations")["n"] == 1
    assert till.account() == (0, 10, 0)
    till.proved()


def test_taking_the_money_of_a_call_waits_for_its_late_usage_and_is_not_waited_for(till: Till, database_url: str):
    """Both touch the breakdown and the account: in one order, or the server would end one of them."""
    till.books.execute("SELECT set_tier(%s, 'basic')", (USER,))
    till.books.execute("INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true)", (USER,))
    till.books.execute("SELECT note_customer(%s, 'cus_1')", (USER,))
    till.books.execute("SELECT begin_authorization(%s, 'auth_1', 'brad')", (USER,))
    till.books.execute("SELECT note_authorization(%s, 'auth_1', 'pi_1', true)", (USER,))
    till.books.execute(
        "SELECT start_paid_call('auth_1', 'call_1', %s, 'brad', %s, %s, %s)",
        (USER, PHONE, CARD, datetime.now(UTC).date()),
    )
    till.books.execute("SELECT advance_call(%s, 'call_1', 'in_progress', 'CA1')", (USER,))
    till.hang_up(seconds=61)
    states: list[str] = []

    def take() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            row = connection.execute("SELECT end_authorization(%s, 'auth_1', 120, now())", (USER,)).fetchone()
            assert row is not None
            states.append(row[0])

    with psycopg.connect(database_url) as late:
        # As finish_call does when it is told more of a call that has ended.
        late.execute("SELECT FROM call_cost_breakdowns WHERE user_id = %s FOR NO KEY UPDATE", (USER,))
        taking = threading.Thread(target=take)
        taking.start()
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while till.books.execute(waiting).fetchone() is None:
            time.sleep(0.01)
        late.execute("UPDATE user_credits SET updated_at = now() WHERE user_id = %s", (USER,))
    taking.join()

    assert states == ["captured"]
    till.proved()
