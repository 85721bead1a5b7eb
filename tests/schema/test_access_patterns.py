"""Which index answers what the specification promises, on a large history, by the planner's own word.

Our statements are planned as the role that runs them, under its row-level security, and as the server itself chooses
for a statement that was prepared and run a few times; the specification's queries as they stand, as the owner.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql
from tests.conftest import Cluster
from tests.schema import bulk, specification

from callmeback.pg import roles, statements

pytestmark = pytest.mark.slow

LARGE: Final = {
    "calls", "call_cost_breakdowns", "credit_transactions", "user_persona_relationships", "scheduled_calls",
    "purchases",
}  # fmt: skip
USER: Final = "user_7"
# After five runs the server compares its plan for any values with those that it made for each.
RUNS_BEFORE_A_CHOICE: Final = 6

# The index that each must use; one of several where they begin with the same column, which is all that is asked by.
OURS: Final = {
    ("relationships", "relationships"): "idx_relationships_favorite",
    ("relationships", "relationship"): "user_persona_relationships_pkey",
    ("calls", "calls"): "idx_calls_user_created",
    ("calls", "call"): "calls_pkey",
    ("calls", "open_call"): "open_calls_pkey",
    ("credits", "account"): "user_credits_pkey",
    ("credits", "transactions"): "credit_transactions_pkey",
    ("budgets", "budget"): "idx_calls_user_created",
    ("costs", "by_day"): "idx_calls_user_created",
    ("costs", "by_persona"): "idx_calls_user_created",
    ("costs", "by_vendor"): "idx_calls_user_created",
    ("analytics", "totals"): "idx_calls_user_created",
    ("analytics", "outcomes"): "idx_calls_user_created",
    ("receipts", "bill"): "calls_pkey",
    ("tickets", "ticket"): "calls_pkey",
    ("personas", "catalogue"): "idx_personas_house",
}
REPORTS: Final = {
    ("reports", "volume"): "idx_calls_created",
    ("reports", "top_personas"): "idx_calls_created",
    ("reports", "vendor_costs"): "idx_cost_breakdowns_created",
    ("reports", "dearest_calls"): "idx_cost_breakdowns_created",
    ("reports", "live_calls"): None,
    ("reports", "balances"): "users_pkey",
    # By what each call changes, which no index follows: one pass over the accounts, on an admin's demand.
    ("reports", "low_credits"): None,
    ("books", "revenue"): "idx_purchases_completed",
    ("books", "margin_by_day"): "idx_calls_created",
    ("books", "margin_by_tier"): "idx_calls_created",
    ("books", "margin_by_persona"): "idx_calls_created",
    ("figures", "house"): "idx_calls_created",
}
# Each report of a margin, asked of its view instead, which reads everything.
MARGINS: Final = {
    "margin_by_day": "SELECT day, calls, revenue_cents, cost_cents, margin_cents FROM daily_margin WHERE {period}",
    "margin_by_tier": """
        SELECT tier, sum(calls), sum(revenue_cents), sum(cost_cents), sum(margin_cents)
        FROM tier_margin WHERE {period} GROUP BY tier""",
    "margin_by_persona": """
        SELECT m.persona_id, p.name, sum(calls), sum(credits), round(sum(revenue_cents), 10), sum(cost_cents),
            round(sum(revenue_cents), 10) - sum(cost_cents)
        FROM persona_margin AS m JOIN personas AS p ON p.id = m.persona_id
        WHERE {period} GROUP BY m.persona_id, p.name""",
}
THEIRS: Final = {
    "CALL_HISTORY": "idx_calls_user_created",
    "SCHEDULED_NOW": "idx_scheduled_calls_scheduled_time",
    "FAVORITES_WITH_SETTINGS": "idx_relationships_favorite",
    "USER_BY_EMAIL": "idx_users_email",
    "IS_REVOKED": "token_blacklist_pkey",
    "BALANCE_BEFORE_CALL": "user_credits_pkey",
    "TRANSACTION_HISTORY": "credit_transactions_pkey credit_transactions_cause_key",
    "RECENT_CALLS": "idx_calls_user_created",
    "DUE_CALLS": "idx_scheduled_calls_scheduled_time",
    "CALL_ANALYTICS": "idx_calls_user_created",
    "COSTS_BY_SERVICE": "idx_cost_breakdowns_created",
    "BUDGET_BEFORE_CALL": "user_budget_settings_pkey",
    "MONTH_SO_FAR": "idx_calls_user_created",
    "BUDGET_DURING_CALL": "calls_pkey",
    "PATTERN_FAVORITES": "idx_relationships_favorite",
    "PATTERN_HISTORY": "idx_calls_user_created",
    "PATTERN_CREDITS": "user_credits_pkey",
    "PATTERN_CALLS_TODAY": "idx_calls_user_created",
    "PATTERN_DUE": "idx_scheduled_calls_scheduled_time",
    "PATTERN_MONTH": "idx_calls_user_created",
    "USER_WITH_BALANCE": "idx_users_email",
    "LOW_CREDITS": None,
    "TOP_PERSONAS": "idx_calls_created",
    "REVENUE_BY_DAY": "idx_calls_created",
    "COSTS_IN_DOLLARS": "idx_cost_breakdowns_created",
    "DEAREST_CALLS": "idx_calls_created",
}

Plan = dict[str, Any]


@pytest.fixture(scope="module")
def large(lent_database_url: str) -> str:
    """The database with its history, for every test of this file."""
    bulk.load(lent_database_url)

    return lent_database_url


@pytest.fixture(scope="module")
def values() -> dict[str, object]:
    """What each parameter of our statements is asked with."""
    now = dt.datetime.now(dt.UTC)

    return {
        "user_id": USER, "persona_id": "brad", "call_id": "call_00000006", "favorite": True, "before_at": None,
        "before_id": None, "before_seq": None, "most": 20, "local_month": now.date().replace(day=1),
        "local_day": now.date(), "timezone": "Europe/Berlin", "begins_at": now - dt.timedelta(days=30), "ends_at": now,
        "since": now - dt.timedelta(days=7), "category": None,
    }  # fmt: skip


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def indexes(plan: Plan) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def read_through(plan: Plan) -> set[str]:
    """Large tables that the plan reads from end to end."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"} & LARGE


def plan_of(connection: psycopg.Connection, query: str, options: str = "") -> Plan:
    row = connection.execute(f"EXPLAIN ({options}FORMAT JSON) {query}".encode()).fetchone()
    assert row is not None
    plan: Plan = row[0][0]["Plan"]

    return plan


def plans(connection: psycopg.Connection, statement: statements.Statement, values: dict[str, object]) -> list[Plan]:
    """The plan for these values, and what the server has settled on after some runs."""
    given = ", ".join(sql.Literal(values[name]).as_string(connection) for name in statement.parameters)
    asked = f"EXECUTE asked({given})" if given else "EXECUTE asked"
    connection.execute(b"PREPARE asked AS " + statement.native)
    found = [plan_of(connection, asked) for _ in range(RUNS_BEFORE_A_CHOICE)]
    connection.execute("DEALLOCATE asked")

    return [found[0], found[-1]]


def connect(cluster: Cluster, dsn: str, role: str) -> psycopg.Connection:
    connection = psycopg.connect(roles.dsn_for(role, cluster.role_secret, dsn), options="-c timezone=UTC")
    connection.execute("SELECT set_config('callmeback.user_id', %s, false)", (USER,))

    return connection


def test_the_history_is_large(large: str):
    with psycopg.connect(large) as connection:
        counted = connection.execute("SELECT count(*), count(DISTINCT user_id) FROM calls").fetchone()

    assert counted == (bulk.CALLS, bulk.CALLERS)


@pytest.mark.parametrize(("file", "name"), OURS)
def test_d01_our_statements_of_a_person_use_their_index(
    cluster: Cluster, large: str, values: dict[str, object], file: str, name: str
):
    statement = getattr(statements.load("callmeback.domain", f"{file}.sql"), name)
    with connect(cluster, large, roles.VOICE if file == "tickets" else roles.API) as connection:
        first, settled = plans(connection, statement, values)

    assert indexes(first) & set(OURS[file, name].split())
    assert read_through(first) | read_through(settled) == set()


@pytest.mark.parametrize(("file", "name"), REPORTS)
def test_d07_our_reports_ask_for_a_range_of_time(
    cluster: Cluster, large: str, values: dict[str, object], file: str, name: str
):
    statement = getattr(statements.load("callmeback.domain", f"{file}.sql"), name)
    expected = REPORTS[file, name]
    with connect(cluster, large, roles.READONLY) as connection:
        first, settled = plans(connection, statement, values)

    assert expected is None or expected in indexes(first)
    assert read_through(first) | read_through(settled) == set()


@pytest.mark.parametrize("name", MARGINS)
def test_a_margin_of_a_period_is_what_its_view_says(cluster: Cluster, large: str, name: str):
    statement = getattr(statements.load("callmeback.domain", "books.sql"), name)
    last = dt.datetime.now(dt.UTC).date()
    begins_at = dt.datetime.combine(last - dt.timedelta(days=29), dt.time(), dt.UTC)
    period = f"day >= '{begins_at.date()}' AND day <= '{last}'"
    given = {"begins_at": begins_at, "ends_at": begins_at + dt.timedelta(days=30), "most": bulk.CALLS}
    with connect(cluster, large, roles.READONLY) as connection:
        ours = connection.execute(statement.text.encode(), given).fetchall()
        theirs = connection.execute(MARGINS[name].format(period=period).encode()).fetchall()

    assert len(ours) > 1
    assert set(ours) == set(theirs)


@pytest.mark.parametrize(("name", "expected"), THEIRS.items())
def test_d01_the_specification_s_queries_use_their_index_as_they_stand(large: str, name: str, expected: str | None):
    query = getattr(specification, name).replace("user_123", USER).replace("call_12345", "call_00000006")
    with psycopg.connect(large, options="-c timezone=UTC") as connection:
        plan = plan_of(connection, query.replace("$1", f"'{USER}'"))

    assert expected is None or indexes(plan) & set(expected.split())
    assert read_through(plan) == set()


def test_d07_a_date_of_a_column_can_t_use_an_index_so_ours_doesn_t_ask_that_way(large: str):
    """The one query of the document that stays what it is; `reports.volume` is asked instead."""
    with psycopg.connect(large, options="-c timezone=UTC") as connection:
        theirs = plan_of(connection, specification.TODAYS_VOLUME)

    assert read_through(theirs) == {"calls"}


def rows_read(
    cluster: Cluster, large: str, statement: statements.Statement, values: dict[str, object]
) -> dict[str, int]:
    """How many rows of each large table a statement of a person looks at."""
    given = {name: values[name] for name in statement.parameters}
    with connect(cluster, large, roles.API) as connection:
        query = psycopg.ClientCursor(connection).mogrify(statement.text.encode(), given)
        run = plan_of(connection, query, "ANALYZE, ")

    return {
        node["Relation Name"]: node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        for node in nodes(run)
        if node.get("Relation Name") in LARGE
    }


def test_a_page_of_a_history_reads_no_more_than_a_page(cluster: Cluster, large: str, values: dict[str, object]):
    """However many calls a person has, and however many others have called the same persona."""
    most = values["most"]
    assert isinstance(most, int)
    rows = rows_read(cluster, large, statements.load("callmeback.domain", "calls.sql").calls, values)

    assert rows["calls"] <= most + 2
    assert rows["call_cost_breakdowns"] <= most + 2


def test_a_budget_reads_no_more_than_its_month(cluster: Cluster, large: str, values: dict[str, object]):
    """However many months a person has called before."""
    rows = rows_read(cluster, large, statements.load("callmeback.domain", "budgets.sql").budget, values)

    # A person calls once in twenty days.
    assert rows["calls"] <= 3
    assert rows["call_cost_breakdowns"] <= 3
