"""Metering under contention: batches of many calls, from many processes, in any order, while calls are settled."""

import random
import threading
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from tests.money import proofs
from tests.money.hammer import CARD, FINISH, METER, usage

CALLS, THREADS, ROUNDS, SETTLERS = 120, 6, 25, 2


@pytest.fixture
def open_calls(database_url: str) -> list[tuple[str, str]]:
    """Many open calls, and statistics that know how many."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        connection.execute(
            "SELECT register_user('user_' || n, n || '@example.org', 'x', NULL, 'UTC', '+12025550' || n)"
            " FROM generate_series(100, %s) AS s (n)",
            (99 + CALLS,),
        )
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("UPDATE user_credits SET subscription_tier = 'unlimited'")
        started = connection.execute(
            "SELECT u.id, s.call_id FROM users AS u CROSS JOIN LATERAL start_call("
            " replace(u.id, 'user', 'call'), u.id, 'brad', replace(u.id, 'user_', '+12025550'), %s, %s, 300) AS s",
            (CARD, datetime.now(UTC).date()),
        ).fetchall()
        connection.execute("ANALYZE")

    return [(user_id, call_id) for user_id, call_id in started]


def batch_of(calls: list[tuple[str, str]], seq: int) -> dict[str, list[Any]]:
    batch: dict[str, list[Any]] = {
        "users": [user_id for user_id, _ in calls],
        "calls": [call_id for _, call_id in calls],
        "seqs": [seq for _ in calls],
    }
    states = [usage(call_id, seq) for _, call_id in calls]

    return batch | {name: [state[name] for state in states] for name in states[0]}


def test_overlapping_batches_in_any_order_never_block_one_another(
    database_url: str, open_calls: list[tuple[str, str]]
) -> None:
    failures: list[str] = []
    start = threading.Barrier(THREADS + SETTLERS)

    def meter(number: int) -> None:
        choice = random.Random(number)
        with psycopg.connect(database_url, autocommit=True) as connection:
            start.wait()
            for seq in range(1, ROUNDS + 1):
                calls = choice.sample(open_calls, CALLS)
                try:
                    connection.execute(METER, batch_of(calls, seq))
                    users, ids = [user_id for user_id, _ in calls], [call_id for _, call_id in calls]
                    connection.execute("SELECT record_cost_events(%s, %s, 'turn')", (users, ids))
                except psycopg.Error as exc:
                    failures.append(f"{number}: {exc}")

    def settle(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            start.wait()
            for user_id, call_id in random.Random(-number).sample(open_calls, CALLS):
                last = {"user_id": user_id, "call_id": call_id, "status": "completed", "reason": "hung_up"}
                try:
                    connection.execute(FINISH, last | {"seq": ROUNDS, "charged": True} | usage(call_id, ROUNDS))
                except psycopg.Error as exc:
                    failures.append(f"{number}: {exc}")

    threads = [threading.Thread(target=meter, args=(n,)) for n in range(THREADS)]
    threads += [threading.Thread(target=settle, args=(n,)) for n in range(SETTLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    with psycopg.connect(database_url) as connection:
        assert proofs.broken(connection, proofs.ALWAYS | proofs.AT_REST) == {}
        assert proofs.total_cost(connection) > 0
