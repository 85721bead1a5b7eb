"""How the schema comes to be, what a second run leaves alone, what can be taken away, and the units in its names."""

import re
from graphlib import TopologicalSorter

import psycopg
import pytest
from psycopg import errors as postgres
from tests.schema.conftest import ask
from tests.schema.history import CARD, Connection

from callmeback.pg import migrate, migration_files

# What a figure counts is the last word of its name; of a rate, the one before `per`.
UNITS = re.compile(
    r"[._](cents|credits|seconds|ms|minutes|tokens|characters|calls|attempts|percent|count|rows|seq|version|id|position|days|redemptions|retries|claims|runs|failures|bytes)"
    r"(_per_(second|minute|day|call|credit))?$"
)
# Without a unit: how many units a price buys, what the model and the bucket take, how many at a time.
PLAIN = re.compile(
    r"_per$|^service_rates\.per$|^personas\.temperature$|^dial_buckets\.burst$|^coupons\.percent_off$|"
    r"^api_keys\.(concurrency|rate_per_second)$|\.attempt$|\.retries_max$"
)
# Named by the specification, or proofs over those: credits, and the costs of a log in cents.
SPECIFIED = {
    "credit_transactions.amount", "credit_transactions.balance_before", "credit_transactions.balance_after",
    "calls.credits_used", "user_credits.calls_in_day", "user_credits.monthly_credit_allowance",
    "subscription_tiers.monthly_credit_allowance", "effective_limits.monthly_credit_allowance",
    "ledger_proof.balance", "ledger_proof.ledger_sum", "ledger_proof.newest_balance", "ledger_proof.hold_sum",
    "call_logs.cost_stt", "call_logs.cost_llm", "call_logs.cost_tts", "call_logs.cost_twilio", "call_logs.cost_total",
}  # fmt: skip


def test_d04_the_files_make_the_whole_database_in_their_order(empty_database_url: str):
    done = [step.file for step in migrate.apply(empty_database_url)]
    written = [file.file for file in migrate.status(empty_database_url).migrations]

    assert done[: len(written)] == written == sorted(written)
    assert {file.state for file in migrate.status(empty_database_url).migrations} == {"applied"}


def test_d04_no_two_tables_refer_to_each_other(books: Connection):
    references = ask(
        books,
        "SELECT conrelid::regclass::text AS here, confrelid::regclass::text AS there FROM pg_constraint"
        " WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conrelid <> confrelid",
    )
    graph: dict[str, set[str]] = {}
    for reference in references:
        graph.setdefault(reference["here"], set()).add(reference["there"])

    assert {("scheduled_calls", "calls"), ("calls", "users")} <= {(r["here"], r["there"]) for r in references}
    # Raises CycleError where there is one; otherwise this is an order in which everything can be made and removed.
    assert set(TopologicalSorter(graph).static_order()) >= {"users", "calls", "scheduled_calls"}


def test_d04_a_scheduled_call_and_its_call_can_be_removed(books: Connection):
    ask(books, "INSERT INTO users (id, email, password_hash) VALUES ('user_1', 'a@example.org', 'x')")
    ask(books, "INSERT INTO calls (id, user_id, persona_id, phone_number) VALUES ('call_1', 'user_1', 'brad', '+1')")
    ask(
        books,
        "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time, call_id)"
        " VALUES ('sch_1', 'user_1', 'brad', '+1', now(), 'call_1')",
    )
    with pytest.raises(postgres.ForeignKeyViolation), books.transaction():
        ask(books, "DELETE FROM calls WHERE id = 'call_1'")
    ask(books, "DELETE FROM scheduled_calls WHERE id = 'sch_1'")
    ask(books, "DELETE FROM calls WHERE id = 'call_1'")
    ask(books, "DELETE FROM users WHERE id = 'user_1'")

    assert ask(books, "SELECT 1 FROM users") == []


def test_d02_a_persona_with_history_is_not_deleted(books: Connection):
    ask(books, "INSERT INTO users (id, email, password_hash) VALUES ('user_1', 'a@example.org', 'x')")
    ask(books, "INSERT INTO calls (id, user_id, persona_id, phone_number) VALUES ('call_1', 'user_1', 'brad', '+1')")

    with pytest.raises(postgres.ForeignKeyViolation) as caught:
        ask(books, "DELETE FROM personas WHERE id = 'brad'")
    assert caught.value.diag.constraint_name == "calls_persona_fkey"


def test_d05_a_second_run_destroys_nothing(empty_database_url: str):
    migrate.apply(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as books:
        books.execute("SELECT register_user('user_1', 'a@example.org', 'x', 'Ann', 'UTC')")
        books.execute("SELECT move_credits('user_1', 5, 'promotion', 'test:1')")
        books.execute("UPDATE personas SET description = 'By an operator' WHERE id = 'brad'")
        # The set of functions, views and grants is due again, as after a change.
        books.execute("DELETE FROM schema_repeatable")
        again = [step.file for step in migrate.apply(empty_database_url)]
        third = [step.file for step in migrate.apply(empty_database_url)]
        left = books.execute(
            "SELECT (SELECT count(*) FROM credit_transactions), (SELECT available_credits FROM user_credits),"
            " (SELECT description FROM personas WHERE id = 'brad'), (SELECT count(*) FROM personas)"
        ).fetchone()

    assert [file for file in again if re.match(r"\d{3}_", file)] == []
    assert again != []
    assert third == []
    assert left == (1, 5, "By an operator", 3)


def test_d05_no_file_drops_a_table_to_make_it():
    texts = {path.name: path.read_text("utf-8") for path in migration_files.SQL_DIRECTORY.glob("migrations/*.sql")}
    destructive = re.compile(r"\b(DROP\s+(TABLE|SCHEMA|DATABASE)|TRUNCATE|IF\s+NOT\s+EXISTS)\b", re.IGNORECASE)

    assert len(texts) >= 8
    assert [name for name, text in texts.items() if destructive.search(text)] == []


def test_m09_every_figure_says_what_it_counts(books: Connection):
    figures = {
        f"{row['table_name']}.{row['column_name']}"
        for row in ask(
            books,
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('integer', 'bigint', 'numeric', 'double precision', 'real', 'smallint')"
            " AND table_name !~ '^call_cost_events_'",
        )
    }
    unnamed = {figure for figure in figures - SPECIFIED if not (UNITS.search(figure) or PLAIN.search(figure))}

    assert sorted(unnamed) == []
    assert sorted(SPECIFIED - figures) == []


def test_m09_a_dearer_minute_takes_no_more_credits(books: Connection):
    """Credits follow time and cents follow rates: ten times the rates change what may be spent, not the credits."""
    ask(books, "SELECT ensure_card($1, $2, $3, $4, $5, $6, $7)", CARD, *CARD.split("|"))
    for user in ("user_1", "user_2"):
        number = f"+1202555010{user[-1]}"
        ask(books, "SELECT register_user($1, $2, 'x', NULL, 'UTC', $3)", user, f"{user}@example.org", number)
        ask(books, "UPDATE phones SET verified_at = now() WHERE user_id = $1", user)
        ask(books, "SELECT set_tier($1, 'basic')", user)
        ask(books, "SELECT move_credits($1, 3, 'promotion', 'test:1')", user)
        ask(
            books,
            "SELECT start_call($1, $2, 'brad', $3, $4, (now() AT TIME ZONE 'UTC')::date)",
            f"call_{user}", user, number, CARD,
        )  # fmt: skip
        ask(
            books,
            "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
            " SELECT vendor, model, unit, clock_timestamp(), price_cents * 10, per, 'test' FROM service_rates"
            " WHERE source <> 'test' ON CONFLICT DO NOTHING",
        )
    cheap, dear = ask(books, "SELECT * FROM calls ORDER BY id")

    assert (cheap["hold_credits"], cheap["granted_seconds"]) == (dear["hold_credits"], dear["granted_seconds"])
    assert (cheap["hold_credits"], cheap["granted_seconds"]) == (3, 180)
    assert dear["hold_cents"] == 10 * cheap["hold_cents"] > 0
