"""The books after the hammer: every proof holds, and no error but our refusals and the injected kills was seen."""

from typing import Any

import psycopg
import pytest
from tests.money import proofs
from tests.money.hammer import Answer, Outcome, Plan, hammer

SEED = 20261123
# What the run must have done, each at least once, so that it proves something.
WANTED = (
    "started", "replayed", "settled", "settled before", "reaped", "killed", "crashed", "dialled", "moved",
    "moved before", "rolled back", "CM001", "CM002", "CM003", "CM004", "CM005", "CM006", "CM007", "CM011",
)  # fmt: skip


def faults(outcome: Outcome, dsn: str) -> list[str]:
    """What is wrong with the answers that were given and with the books that were left."""
    with psycopg.connect(dsn) as connection:
        found = list(outcome.unexpected)
        found += [f"{name}: {rows}" for name, rows in proofs.broken(connection, proofs.ALWAYS | proofs.AT_REST).items()]
        found += [f"{key} was answered with {calls}" for key, calls in outcome.answers.items() if len(calls) > 1]
        found += [
            f"{key} is kept otherwise" for key, calls in outcome.answers.items() if calls != _stored(connection, key)
        ]
        found += [f"{call} was handed out {times} times" for call, times in outcome.dialled.items() if times > 1]
        found += [f"{row} calls in a day" for row in _over_the_day(connection, outcome)]

    return found


def check(outcome: Outcome, dsn: str) -> None:
    """Nothing is wrong, and enough happened for that to mean something."""
    assert faults(outcome, dsn) == []
    assert [what for what in WANTED if not outcome.counts[what]] == []
    with psycopg.connect(dsn) as connection:
        assert proofs.total_cost(connection) > 0
        assert connection.execute("SELECT count(*) FROM call_cost_events_default").fetchone() == (0,)


def _stored(connection: psycopg.Connection[Any], key: tuple[str, str]) -> set[Answer]:
    query = "SELECT resource_id, request_hash FROM idempotency_keys WHERE user_id = %s AND key = %s"

    return set(connection.execute(query, key))


def _over_the_day(connection: psycopg.Connection[Any], outcome: Outcome) -> list[Any]:
    """Days of strict accounts with more calls than their tier allows, whatever zones they flipped."""
    strict = [account.user_id for account in outcome.accounts if account.is_strict]

    return connection.execute(
        """
        SELECT c.user_id, c.local_day, count(*) FROM calls AS c
        INNER JOIN user_credits AS a ON c.user_id = a.user_id
        INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
        WHERE c.user_id = ANY(%s) AND NOT (c.status = 'failed' AND c.answered_at IS NULL)
        GROUP BY c.user_id, c.local_day, t.max_calls_per_day
        HAVING count(*) > t.max_calls_per_day
        """,
        (strict,),
    ).fetchall()


def test_m01_books_survive_the_hammer(database_url: str) -> None:
    outcome = hammer(database_url, Plan(attempts=3000, seed=SEED))

    check(outcome, database_url)


# A function, what is taken out of it, and what stands there instead: each a fault of the old system.
SABOTAGES = {
    "a call settles twice": ("finish_call", "IF u.settled_at IS NOT NULL THEN", "IF false THEN"),
    "late usage is forgotten": ("add_late_cost", "_cents + (p_cost_cents - p_cost_before)", "_cents"),
    "a hold is not released": ("finish_call", "held_credits - u.hold_credits", "held_credits - v_used"),
    "another zone begins a new day": (
        "start_call",
        "WHEN p_local_day > a.calls_day",
        "WHEN p_local_day <> a.calls_day",
    ),
    "another body gets the first answer": (
        "start_call",
        "v_key.request_hash IS DISTINCT FROM p_request_hash",
        "false",
    ),
    "two calls at once": ("start_call", "(user_id) DO NOTHING", "(user_id) DO UPDATE SET call_id = p_call_id"),
    "a cause moves credits twice": ("move_credits", "t.cause = p_cause", "false"),
    "a refund below zero": (
        "move_credits",
        "greatest(0, a.available_credits + p_amount)",
        "available_credits + p_amount",
    ),
    "a call is dialled twice": ("claim_dials", "o.dial_claimed_at IS NULL AND", ""),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_hammer_finds_what_is_sabotaged(database_url: str, name: str) -> None:
    function, old, new = SABOTAGES[name]
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_get_functiondef(%s::regproc)", (function,)).fetchone()
        assert row is not None and old in row[0]
        connection.execute(row[0].replace(old, new))

    assert faults(hammer(database_url, Plan(attempts=1500, seed=SEED, kill_every_s=1.0)), database_url) != []


@pytest.mark.proof
@pytest.mark.parametrize("seed", [SEED + 1, SEED + 2])
def test_m01_books_survive_the_long_hammer(database_url: str, seed: int) -> None:
    outcome = hammer(database_url, Plan(attempts=20_000, seed=seed, accounts=40))

    check(outcome, database_url)
