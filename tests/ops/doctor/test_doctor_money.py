"""The doctor: green over books that the hammer has used, red over each fault, with the object named."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.conftest import Cluster
from tests.money.hammer import CARD, Plan, hammer
from tests.ops.doctor.patients import look, run

from callmeback.ops import doctor
from callmeback.ops.doctor import Verdict

Connection = psycopg.Connection[Any]

USER, PHONE = "user_1", "+12025550123"
TODAY = datetime.now(UTC).date()


@pytest.fixture
def books(cluster: Cluster, database_url: str) -> Iterator[Connection]:
    """A superuser's hand that no trigger and no constraint stops, in a house with a settled call and an open one."""
    dsn = make_conninfo(cluster.superuser_dsn, dbname=conninfo_to_dict(database_url)["dbname"])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT ensure_partitions()")
        connection.execute("SELECT register_user(%s, 'ann@example.org', 'x', 'Ann', 'UTC', %s)", (USER, PHONE))
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT set_tier(%s, 'basic')", (USER,))
        connection.execute("SELECT move_credits(%s, 20, 'purchase', 'purchase:1')", (USER,))
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        start(connection, "call_1")
        connection.execute(
            "SELECT finish_call(%s, 'call_1', 'completed', 'hung_up', 1, 90, 90, 5000, 300, 800)", (USER,)
        )
        start(connection, "call_2")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def start(connection: Connection, call_id: str) -> None:
    connection.execute("SELECT start_call(%s, %s, 'brad', %s, %s, %s, 300)", (call_id, USER, PHONE, CARD, TODAY))


def examined(database_url: str) -> dict[str, Verdict]:
    """The verdicts by name."""
    return look(database_url, "money")


# Each fault: what is done past every guard, the check that must be red, the object that it must name.
NO_CHECKS = (
    "ALTER DOMAIN credits DROP CONSTRAINT credits_not_negative;"
    " ALTER TABLE user_credits DROP CONSTRAINT user_credits_debt_first"
)
FAULTS = {
    "balance without a ledger row": (
        "UPDATE user_credits SET available_credits = available_credits + 5",
        "ledger equals balance", USER,
    ),
    "ledger row removed": (
        "DELETE FROM credit_transactions WHERE seq = 1",
        "ledger without gaps", USER,
    ),
    "ledger row added past the account": (
        "INSERT INTO credit_transactions (user_id, seq, amount, balance_before, balance_after, type, cause)"
        " VALUES ('user_1', 7, 1, 18, 19, 'promotion', 'promotion:1')",
        "ledger without gaps", USER,
    ),
    "ledger row changed": (
        "UPDATE credit_transactions SET balance_before = 19, balance_after = 17 WHERE seq = 2",
        "ledger without breaks", "user_1 #2",
    ),
    "call deducted again under another cause": (
        "INSERT INTO credit_transactions (user_id, seq, amount, balance_before, balance_after, type, cause, call_id)"
        " VALUES ('user_1', 3, -2, 18, 16, 'call_deduction', 'call:again', 'call_1')",
        "deducted at most once", "call_1",
    ),
    "call charged beyond its hold": (
        "UPDATE calls SET credits_used = 9 WHERE id = 'call_1'",
        "charged as held and written", "call_1",
    ),
    "deduction of another amount": (
        "UPDATE calls SET credits_used = 1 WHERE id = 'call_1'",
        "charged as held and written", "call_1",
    ),
    "hold without an open call": (
        "DELETE FROM open_calls",
        "holds belong to open calls", USER,
    ),
    "open call that nobody looks after": (
        "DELETE FROM open_calls",
        "holds belong to open calls", "call_2",
    ),
    "settled call among the open ones": (
        "UPDATE open_calls SET call_id = 'call_1'",
        "holds belong to open calls", "call_1",
    ),
    "held credits lost": (
        "UPDATE user_credits SET held_credits = 0, available_credits = available_credits + 5",
        "holds belong to open calls", USER,
    ),
    "call with an old heartbeat": (
        "WITH o AS (UPDATE open_calls SET dial_claimed_at = now() - interval '20 minutes')"
        " UPDATE call_cost_breakdowns SET seen_at = now() - interval '20 minutes'",
        "open calls are alive", "call_2",
    ),
    "call that was never dialled nor canceled": (
        "WITH o AS (UPDATE open_calls SET dial_before = now() - interval '20 minutes')"
        " UPDATE call_cost_breakdowns SET seen_at = now() - interval '30 minutes'",
        "open calls are alive", "call_2",
    ),
    "cost event lost": (
        "DELETE FROM call_cost_events",
        "breakdowns equal events", "call_1",
    ),
    "cost event counted twice": (
        "INSERT INTO call_cost_events SELECT (jsonb_populate_record(e, '{\"seq\": 2}')).* FROM call_cost_events AS e",
        "breakdowns equal events", "call_1",
    ),
    "event in a month without partition": (
        "UPDATE call_cost_events SET call_month = '2031-05-01'",
        "every month has a partition", "2031-05",
    ),
    "negative balance": (
        f"{NO_CHECKS}; UPDATE user_credits SET available_credits = -1",
        "nothing is negative", USER,
    ),
    "debt beside credits": (
        f"{NO_CHECKS}; UPDATE user_credits SET debt_credits = 3",
        "nothing is negative", USER,
    ),
    "negative cost": (
        "UPDATE call_cost_breakdowns SET twilio_cost_cents = -1, total_cost_cents = total_cost_cents"
        " - twilio_cost_cents - 1 WHERE call_id = 'call_1'",
        "nothing is negative", "call_1",
    ),
    "month that forgot a call": (
        "UPDATE user_credits SET spent_in_month_cents = 0",
        "months equal their calls", USER,
    ),
    "call ended past finish_call": (
        "UPDATE calls SET status = 'completed' WHERE id = 'call_2'",
        "calls end with a settlement", "call_2",
    ),
    "call closed past finish_call": (
        "UPDATE calls SET status = 'completed', hold_open = false WHERE id = 'call_2'",
        "calls end with a settlement", "call_2",
    ),
    "settled call that rings again": (
        "UPDATE calls SET status = 'calling' WHERE id = 'call_1'",
        "calls end with a settlement", "call_1",
    ),
    "open call whose price is gone": (
        "DELETE FROM price_versions",
        "calls end with a settlement", "call_2",
    ),
    "open call without a breakdown": (
        "DELETE FROM call_cost_breakdowns WHERE call_id = 'call_2'",
        "calls end with a settlement", "call_2",
    ),
    "open call with another hold beside its breakdown": (
        "UPDATE call_cost_breakdowns SET hold_credits = hold_credits + 1 WHERE call_id = 'call_2'",
        "calls end with a settlement", "call_2",
    ),
    "call that costs something else": (
        "UPDATE calls SET actual_cost_cents = 1 WHERE id = 'call_1'",
        "calls end with a settlement", "call_1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_red_and_names_its_object(books: Connection, database_url: str, fault: str) -> None:
    sabotage, check, named = FAULTS[fault]
    before = {name for name, verdict in examined(database_url).items() if verdict.verdict != "green"}
    for statement in sabotage.split("; "):
        books.execute(statement)
    verdict = examined(database_url)[check]

    assert before == set()
    assert verdict.verdict == "red"
    assert named in [symptom.object for symptom in verdict.objects]
    assert verdict.what_to_do


def test_every_check_has_a_fault() -> None:
    assert {check.name for check in doctor.AREAS["money"]} == {check for _, check, _ in FAULTS.values()}


def test_m02_installation_in_use_is_green(database_url: str) -> None:
    hammer(database_url, Plan(attempts=400, seed=7, workers=4, accounts=8))

    assert {name: verdict.verdict for name, verdict in examined(database_url).items()} == {
        check.name: "green" for check in doctor.AREAS["money"]
    }


def test_check_without_privilege_is_skipped(books: Connection, cluster: Cluster, database_url: str) -> None:
    books.execute("REVOKE SELECT ON open_calls FROM callmeback_owner")
    verdict = examined(database_url)["open calls are alive"]

    assert verdict.verdict == "skipped"
    assert verdict.what_to_do


def test_command_ends_with_0_when_all_is_green(books: Connection, database_url: str) -> None:
    answer = run("doctor", "money", "--json", DATABASE_URL=database_url)
    verdicts = json.loads(answer.stdout)["items"]

    assert answer.returncode == 0
    assert [verdict["name"] for verdict in verdicts] == [check.name for check in doctor.AREAS["money"]]
    assert {verdict["verdict"] for verdict in verdicts} == {"green"}


def test_command_ends_with_1_and_a_table_when_something_is_red(books: Connection, database_url: str) -> None:
    books.execute("UPDATE user_credits SET available_credits = available_credits + 1")
    answer = run("doctor", "money", DATABASE_URL=database_url)

    assert answer.returncode == 1
    assert answer.stderr == ""
    assert all(word in answer.stdout for word in ("ledger equals balance", "red", USER, "callmeback users adjust"))


def test_unknown_area_is_wrong_usage(database_url: str) -> None:
    answer = run("doctor", "weather", DATABASE_URL=database_url)

    assert answer.returncode == 2
    assert "money" in answer.stderr
