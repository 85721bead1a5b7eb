"""The specification's queries about money, against our schema and a known history.

What would break the books is refused to every service; the tests and `docs/differences.md` say what takes its place.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg import errors as postgres
from tests.conftest import Cluster
from tests.schema import history, specification
from tests.schema.conftest import ask
from tests.schema.history import CALLS, CARD, Connection

from callmeback.pg import roles, statements

SERVICES = (roles.API, roles.WORKER, roles.VOICE, roles.READONLY)
MONTHS = "SELECT * FROM monthly_spend WHERE user_id = 'user_123'"


# Section 6


def test_a_balance_is_read_before_a_call(books: Connection, now: datetime):
    [balance] = ask(books, specification.BALANCE_BEFORE_CALL)
    [pattern] = ask(books, specification.PATTERN_CREDITS, "user_123")
    [everything] = ask(books, specification.CREDITS, "user_123")

    assert (balance["available_credits"], balance["subscription_tier"]) == (95, "basic")
    # What the tier says isn't copied into the account: NULL inherits, the view has the figure that holds.
    assert (balance["max_call_duration_seconds"], pattern["max_calls_per_day"]) == (None, None)
    assert everything["held_credits"] == everything["debt_credits"] == 0
    [limits] = ask(books, "SELECT * FROM effective_limits WHERE user_id = 'user_123'")
    assert (limits["max_call_duration_seconds"], limits["max_calls_per_day"]) == (600, 10)


def test_m01_the_unguarded_deduction_never_goes_below_zero(books: Connection, now: datetime):
    for _ in range(19):
        ask(books, specification.DEDUCT_CREDITS)

    with pytest.raises(postgres.CheckViolation, match="credits_not_negative"):
        ask(books, specification.DEDUCT_CREDITS)


@pytest.mark.parametrize(
    "query",
    [
        "DEDUCT_CREDITS", "ADD_CREDITS", "LOG_DEDUCTION", "CREATE_CALL", "CALL_IS_DIALLED", "CALL_HAS_ENDED",
        "INSERT_BREAKDOWN",
    ],
)  # fmt: skip
@pytest.mark.parametrize("role", SERVICES)
def test_m02_no_service_writes_balance_ledger_cost_or_call_by_hand(
    cluster: Cluster, lent_database_url: str, role: str, query: str
):
    dsn = roles.dsn_for(role, cluster.role_secret, lent_database_url)
    # A reading role is read-only by its own setting, which it may change: what it may write is another matter.
    writing = "-c default_transaction_read_only=off"
    with psycopg.connect(dsn, options=writing) as connection, pytest.raises(postgres.InsufficientPrivilege):
        connection.execute(getattr(specification, query).encode())


def test_m02_a_balance_moved_by_the_owner_s_hand_is_shown_by_the_proof(books: Connection, now: datetime):
    before = ask(books, "SELECT user_id FROM ledger_proof WHERE NOT is_proved")
    ask(books, specification.ADD_CREDITS)
    after = ask(books, "SELECT user_id FROM ledger_proof WHERE NOT is_proved")

    assert (before, after) == ([], [{"user_id": "user_123"}])


def test_m02_a_ledger_row_without_number_and_cause_is_refused_even_to_the_owner(books: Connection, now: datetime):
    with pytest.raises(postgres.NotNullViolation, match="seq"):
        ask(books, specification.LOG_DEDUCTION)


def test_the_history_of_transactions_is_newest_first(books: Connection, now: datetime):
    ask(books, "SELECT move_credits('user_123', -5, 'admin_adjustment', 'adjust:1', 'Put right')")
    rows = ask(books, specification.TRANSACTION_HISTORY)

    assert [(row["type"], row["amount"], row["balance_after"]) for row in rows] == [
        ("admin_adjustment", -5, 90),
        ("purchase", 95, 95),
    ]
    assert rows[0]["description"] == "Put right"


def test_m08_tiers_are_rows_with_the_specification_s_figures(books: Connection):
    tiers = ask(books, "SELECT * FROM subscription_tiers ORDER BY position")

    assert [
        (
            tier["tier"],
            tier["monthly_price_cents"],
            tier["monthly_credit_allowance"],
            tier["max_calls_per_day"],
            tier["max_call_duration_seconds"],
            tier["charges_credits"],
        )
        for tier in tiers
    ] == [
        ("free", 0, 0, 3, 300, False),
        ("basic", 999, 100, 10, 600, True),
        ("premium", 2999, 500, None, 1800, True),
        ("unlimited", 9999, 0, None, 3600, False),
    ]


def test_d13_a_new_account_is_limited_by_its_tier(books: Connection):
    ask(books, "INSERT INTO users (id, email, password_hash) VALUES ('user_1', 'a@example.org', 'x')")
    ask(books, "INSERT INTO user_credits (user_id) VALUES ('user_1')")
    [limits] = ask(books, "SELECT * FROM effective_limits")
    ask(books, "UPDATE user_credits SET max_call_duration_seconds = 120")
    [own] = ask(books, "SELECT * FROM effective_limits")

    assert (limits["subscription_tier"], limits["max_call_duration_seconds"], limits["max_calls_per_day"]) == (
        "free", 300, 3,
    )  # fmt: skip
    assert own["max_call_duration_seconds"] == 120


def start_of_month(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


# Section 8


def test_a_breakdown_is_not_written_by_hand_with_figures_of_one_s_own(books: Connection, now: datetime):
    with pytest.raises(postgres.NotNullViolation, match="user_id"):
        ask(books, specification.INSERT_BREAKDOWN)


def test_m10_the_worked_example_costs_13_17_through_the_database(books: Connection):
    ask(books, "SELECT register_user('user_1', 'a@example.org', 'x', 'Ann', 'UTC', '+12025550101')")
    ask(books, "UPDATE phones SET verified_at = now()")
    ask(books, "SELECT ensure_card($1, $2, $3, $4, $5, $6, $7)", CARD, *CARD.split("|"))
    ask(
        books,
        "SELECT start_call('call_1', 'user_1', 'brad', '+12025550101', $1, (now() AT TIME ZONE 'UTC')::date)",
        CARD,
    )
    ask(
        books,
        "SELECT meter_calls('{user_1}', '{call_1}', '{1}', '{300}', '{300}', '{800}', '{1200}', '{300}', '{0}', '{0}',"
        " '{0}')",
    )
    [cost] = ask(books, "SELECT * FROM call_cost_breakdowns")

    assert (cost["twilio_cost_cents"], cost["deepgram_cost_cents"]) == (Decimal("6.50"), Decimal("2.15"))
    assert (cost["cerebras_cost_cents"], cost["elevenlabs_cost_cents"]) == (Decimal("0.02"), Decimal("4.50"))
    assert cost["total_cost_cents"] == Decimal("13.17")


def test_the_specification_s_rates_are_seeded_from_2025(books: Connection):
    rates = ask(
        books,
        "SELECT vendor, model, unit, price_cents, per FROM service_rates"
        " WHERE source LIKE 'specification%' AND effective_from = '2025-01-01T00:00:00Z'",
    )

    assert {(r["vendor"], r["model"], r["unit"]): (r["price_cents"], r["per"]) for r in rates} == {
        ("twilio", "voice-outbound", "second"): (Decimal("1.30"), 60),
        ("deepgram", "nova-2", "second"): (Decimal("0.43"), 60),
        ("cerebras", "llama3.1-8b", "input_token"): (10, 1_000_000),
        ("cerebras", "llama3.1-8b", "output_token"): (10, 1_000_000),
        ("elevenlabs", "eleven_turbo_v2_5", "character"): (15, 1000),
    }


def test_costs_are_summed_by_service(books: Connection, now: datetime):
    [cents] = ask(books, specification.COSTS_BY_SERVICE)
    [dollars] = ask(books, specification.COSTS_IN_DOLLARS)
    costs = [call.costs for call in CALLS if call.costs is not None and call.age <= timedelta(days=30)]
    legs = ("twilio", "deepgram", "cerebras", "elevenlabs")

    assert {leg: cents[f"{leg}_total"] for leg in legs} == {leg: sum(getattr(c, leg) for c in costs) for leg in legs}
    assert cents["grand_total"] == sum(c.total for c in costs)
    assert dollars["grand_total_usd"] == round(sum((c.total for c in costs), Decimal(0)) / 100, 2)
    assert dollars["twilio_total_usd"] == round(sum((c.twilio for c in costs), Decimal(0)) / 100, 2)


def test_budgets_default_to_ten_and_a_hundred_dollars(books: Connection, now: datetime):
    none = ask(books, specification.BUDGET_BEFORE_CALL)
    [effective] = ask(books, "SELECT * FROM effective_limits WHERE user_id = 'user_123'")
    ask(books, "INSERT INTO user_budget_settings (user_id) VALUES ('user_123')")
    [budget] = ask(books, specification.BUDGET_BEFORE_CALL)
    [settings] = ask(books, "SELECT * FROM user_budget_settings")

    assert none == []
    assert (budget["max_cost_per_call_cents"], budget["max_monthly_spend_cents"]) == (1000, 10000)
    assert (settings["warn_at_percent_per_call"], settings["enable_auto_cutoff"]) == (75, True)
    for column in ("max_cost_per_call_cents", "max_monthly_spend_cents", "warn_at_percent_per_call"):
        assert effective[column] == settings[column]


def test_m13_spending_of_the_month_has_one_definition(books: Connection, now: datetime):
    [spent] = ask(books, specification.MONTH_SO_FAR)
    [pattern] = ask(books, specification.PATTERN_MONTH, "user_123")
    view = ask(
        books, "SELECT * FROM monthly_spend WHERE user_id = 'user_123' AND month = $1", now.date().replace(day=1)
    )
    known = history.of("user_123", since=start_of_month(now), now=now)
    total = sum(call.costs.total for call in known if call.costs is not None)

    assert spent["monthly_spend"] == total
    assert [(row["spend_cents"], row["calls"]) for row in view] == [(total, len(known))]
    # The specification's second definition leaves out what failed calls cost; here these had none.
    assert pattern["total_spend_cents"] == total
    assert pattern["total_calls"] == len(history.of("user_123", since=start_of_month(now), now=now, status="completed"))


def test_m13_a_month_is_the_person_s_own_and_counts_failed_calls(books: Connection, now: datetime):
    # 30 June, 23:30 in New York, is July in UTC; the call belongs to June, as start_call wrote it.
    ask(
        books,
        "UPDATE calls SET local_month = '2026-06-01', created_at = '2026-07-01T03:30:00Z', status = 'failed'"
        " WHERE id = 'call_67890'",
    )
    view = ask(books, f"{MONTHS} AND month = '2026-06-01'")

    assert [(row["spend_cents"], row["calls"]) for row in view] == [(Decimal("13.17"), 1)]


def test_m12_the_running_cost_is_seen_against_the_budget(books: Connection, now: datetime):
    ask(books, "INSERT INTO user_budget_settings (user_id) VALUES ('user_123')")
    ask(books, specification.CREATE_CALL)
    before = ask(books, specification.BUDGET_DURING_CALL)
    ask(
        books,
        "INSERT INTO call_cost_breakdowns (call_id, user_id, price_version_id, seen_at, twilio_cost_cents,"
        " total_cost_cents) VALUES ('call_12345', 'user_123', 1, now(), 750, 750)",
    )
    [during] = ask(books, specification.BUDGET_DURING_CALL)

    assert before == []
    assert (during["max_cost_per_call_cents"], during["current_cost"], during["percent_used"]) == (1000, 750, 75)


# Section 13


def test_a_user_is_shown_with_the_balance(books: Connection, now: datetime):
    [row] = ask(books, specification.USER_WITH_BALANCE)

    assert (row["id"], row["name"], row["phone"]) == ("user_123", "Ann", history.PHONE)
    assert (row["available_credits"], row["subscription_tier"]) == (95, "basic")


def test_users_with_low_credits_come_lowest_first(books: Connection, now: datetime):
    ask(books, "SELECT move_credits('user_789', -500, 'admin_adjustment', 'adjust:1')")
    rows = ask(books, specification.LOW_CREDITS)

    assert [(row["id"], row["available_credits"]) for row in rows] == [("user_789", 0), ("user_456", 3)]


def test_m14_what_the_specification_calls_revenue_is_cost_and_ours_are_three_figures(books: Connection, now: datetime):
    by_day = ask(books, specification.REVENUE_BY_DAY)
    ask(
        books,
        "INSERT INTO purchases (user_id, id, sku, credits, amount_cents, currency, status, completed_at)"
        " VALUES ('user_123', 'pur_1', 'credits_100', 100, 999, 'usd', 'completed', now()),"
        " ('user_123', 'pur_2', 'credits_100', 100, 999, 'usd', 'pending', NULL),"
        " ('user_456', 'pur_3', 'credits_100', 100, 999, 'usd', 'refunded', now())",
    )
    margins = {row["day"]: row for row in ask(books, "SELECT * FROM daily_margin")}
    today = margins[now.date()]
    cost = sum(call.costs.total for call in CALLS if call.costs is not None and not call.age)

    newest = by_day[0]

    assert (newest["call_date"], newest["total_calls"], newest["revenue_cents"]) == (now.date(), 2, cost)
    assert (today["calls"], today["revenue_cents"], today["cost_cents"]) == (2, 999, cost)
    assert today["margin_cents"] == 999 - cost
    assert margins[(now - timedelta(days=2)).date()]["revenue_cents"] == 0


def test_m14_the_report_of_margins_is_the_view_from_a_time_on(books: Connection, now: datetime):
    report = statements.load("callmeback.domain", "books.sql").margin_by_day
    since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=6)
    given = {"begins_at": since, "ends_at": since + timedelta(days=7), "most": 100}
    rows = books.execute(report.text.encode(), given).fetchall()
    view = ask(books, "SELECT * FROM daily_margin WHERE day >= $1 ORDER BY day DESC", since.date())

    assert rows == view
    assert len(rows) == 4
