"""The books after the hammer: every proof holds, and no error but our refusals and the injected kills was seen."""

from typing import Any

import psycopg
import pytest
from tests.money import proofs
from tests.money.hammer import Answer, Outcome, Plan, hammer

SEED = 20261123
# What the run must have done, each at least once, so that it proves something.
WANTED = (
    "started", "replayed", "settled", "settled before", "reaped", "killed", "crashed", "rolled back",
    "CM001", "CM002", "CM003", "CM004", "CM005", "CM006", "CM007", "CM011",
)  # fmt: skip


def check(outcome: Outcome, dsn: str) -> None:
    """All proofs over what the run left."""
    with psycopg.connect(dsn) as connection:
        assert outcome.unexpected == []
        assert [what for what in WANTED if not outcome.counts[what]] == []
        assert proofs.broken(connection, proofs.ALWAYS | proofs.AT_REST) == {}
        assert proofs.total_cost(connection) > 0
        assert {key: calls for key, calls in outcome.answers.items() if len(calls) > 1} == {}
        assert {key: calls for key, calls in outcome.answers.items() if calls != _stored(connection, key)} == {}
        assert [call for call, times in outcome.dialled.items() if times > 1] == []
        assert _over_the_day(connection, outcome) == []
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


@pytest.mark.proof
@pytest.mark.parametrize("seed", [SEED + 1, SEED + 2])
def test_m01_books_survive_the_long_hammer(database_url: str, seed: int) -> None:
    outcome = hammer(database_url, Plan(attempts=20_000, seed=seed, accounts=40))

    check(outcome, database_url)
