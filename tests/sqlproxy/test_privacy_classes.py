"""Privacy classes: every column that could hold something personal was looked at, and what has a class is masked."""

import json
from pathlib import Path
from shutil import copytree

import psycopg
import pytest
from tests.sqlproxy.conftest import ANN, Made, MakeKey

from callmeback.pg import migrate, migration_files

# Columns that hold text, JSON or bytes and have no class, each because of what it holds. A new one is not in this list:
# give it a class in its comment ("pii:content. …", "secret. …"), or say here why it needs none.
REVIEWED = {
    "ids of the house, of vendors and of roles": (
        "api_keys.id", "api_keys.scope_id", "call_cost_breakdowns.id", "call_logs.twilio_call_sid",
        "calls.payment_intent_id", "calls.twilio_call_sid", "carrier_events.event_key", "credit_transactions.id",
        "credit_transactions.payment_intent_id", "idempotency_keys.resource_id", "named_statements.id",
        "payment_authorizations.payment_intent_id", "payment_authorizations.stripe_customer_id",
        "payment_events.waits_for", "payments.payment_intent_id", "purchases.checkout_url",
        "subscription_tiers.stripe_lookup_key", "subscriptions.checkout_url", "subscriptions.pending_key",
        "subscriptions.stripe_customer_id", "subscriptions.stripe_session_id", "subscriptions.stripe_subscription_id",
        "named_statements.key_id", "payment_events.id", "proxy_answers.key_id", "purchases.payment_intent_id",
        "purchases.stripe_customer_id", "purchases.stripe_session_id", "sql_scopes.id", "sql_scopes.role_name",
        "token_blacklist.token_id", "user_credits.subscription_stripe_id", "users.stripe_customer_id",
    ),
    "hashes of what is not secret, keyed where it is personal": (
        "sealed_days.batch_hash",
        "idempotency_keys.request_hash", "login_attempts.bucket", "named_statements.text_hash",
        "proxy_answers.request_hash", "schema_migrations.checksum", "schema_repeatable.checksum",
    ),
    "words of the house or of a vendor, none of a person": (
        "coupons.code", "coupons.currency", "credit_packs.currency", "credit_packs.name", "credit_packs.sku",
        "disputes.currency", "disputes.reason", "money_flows.currency", "money_flows.flow", "money_flows.kind",
        "money_flows.tier", "payment_authorizations.currency", "payments.currency", "payments.description",
        "payments.tier", "purchases.refused", "receipts.coupon", "receipts.currency", "receipts.description",
        "receipts.kind", "receipts.tier", "refunds.currency", "subscription_tiers.currency", "subscriptions.currency",
        "subscriptions.pending_tier", "subscriptions.tier", "tier_margin.tier",
        "admin_users.role", "call_logs.error_message", "calls.end_reason", "calls.error_message",
        "carrier_events.answered_by", "carrier_events.carrier_status", "carrier_events.reason", "credit_grants.cause",
        "credit_transactions.cause",
        "credit_transactions.description", "dial_buckets.carrier", "double_entry.account", "payment_events.effect",
        "payment_events.type", "purchases.coupon", "purchases.currency", "purchases.sku", "scheduled_calls.outcome",
        "call_schedules.problem", "jobs.last_error", "jobs.name",
        "service_rates.source", "subscription_tiers.tier", "user_credits.subscription_tier",
        "effective_limits.subscription_tier", "call_cost_events.metadata",
    ),
    "models, prices and voices": (
        "calls.voice_id", "effective_voices.voice_id", "effective_voices.voice_settings", "personas.default_voice_id",
        "personas.default_voice_settings", "personas.llm_model", "price_versions.brain_model", "price_versions.card",
        "price_versions.carrier_model", "price_versions.fallback_model", "price_versions.listener_model",
        "card_in_force.card", "price_versions.local_model", "price_versions.voice_model", "service_rates.model",
        "user_persona_relationships.voice_id", "user_persona_relationships.voice_settings",
    ),
    "the card of a persona or a scenario, which its owner chose to be seen": (
        "call_scenario_templates.icon", "call_scenario_templates.name", "personas.avatar_url", "personas.category",
        "personas.description", "personas.name", "personas.phone_number",
        "user_persona_relationships.relationship_type",
    ),
    "time": (
        "call_schedules.rrule", "call_schedules.starts_at_local", "call_schedules.timezone",
        "call_schedules.tzdata_version", "scheduled_calls.timezone", "users.locale", "users.timezone",
    ),
    "operators, machines and files": (
        "sealed_days.sealed_by", "backups.detail", "backups.id", "backups.parent_id",
        "admin_users.granted_by", "api_keys.cidrs", "api_keys.created_by", "api_keys.name",
        "jobs.claimed_by", "named_statements.parameter_types", "open_calls.dial_claimed_by",
        "scheduled_calls.claimed_by",
        "schema_migrations.name", "schema_repeatable.file", "sql_scopes.calls", "sql_scopes.reads", "sql_scopes.writes",
    ),
}  # fmt: skip

# Written by keys that are granted them; every other table has functions that keep its rules (key_relations).
WRITABLE = {
    "blocked_numbers", "call_scenario_templates", "call_schedules", "personas", "scheduled_calls", "transcripts",
    "unknown_caller_attempts", "user_budget_settings", "user_persona_relationships", "user_preferences", "users",
}  # fmt: skip
# Called by keys that are granted them; every other function handles secrets or is a part of one (key_functions).
CALLABLE = {
    "add_occurrence", "advance_call", "call_rank", "cancel_scheduled_call", "carrier_event", "claim_dials",
    "count_attempt", "drop_old_partitions", "ensure_card", "ensure_partitions", "erase_user", "finish_call",
    "forget_attempts", "lease_stale_calls", "meter_calls", "move_credits", "price_of", "rate_in_force",
    "record_cost_events", "register_user", "remove_phone", "reprice_calls", "revoke_all_tokens", "revoke_token",
    "set_tier", "start_call", "sweep_expired", "withdraw_occurrences",
}  # fmt: skip

# A text column whose CHECK, or whose domain's, lists its words holds nothing else.
UNCLASSIFIED = r"""
SELECT t.relname || '.' || a.attname
FROM pg_attribute AS a
INNER JOIN pg_class AS t ON a.attrelid = t.oid
INNER JOIN pg_type AS d ON a.atttypid = d.oid
INNER JOIN pg_type AS y ON coalesce(nullif(d.typbasetype, 0), d.oid) = y.oid
WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p', 'v') AND NOT t.relispartition
    AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid <> 'id'::regtype
    AND (y.typcategory IN ('S', 'A', 'I') OR y.typname IN ('json', 'jsonb', 'bytea'))
    AND coalesce(col_description(t.oid, a.attnum), '') !~ '^(pii:[a-z]+|secret)[.]'
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS k
        WHERE k.contype = 'c' AND pg_get_constraintdef(k.oid) ~ 'ANY \(+ARRAY'
            AND (k.contypid = d.oid OR (k.conrelid = t.oid AND k.conkey = ARRAY[a.attnum]))
    )
ORDER BY 1
"""

# What tells nothing by itself, so that finding it elsewhere means nothing.
SHORTEST = 5


def unclassified(connection: psycopg.Connection) -> set[str]:
    return {row[0] for row in connection.execute(UNCLASSIFIED)}


def test_every_column_that_could_be_personal_was_looked_at(books: psycopg.Connection) -> None:
    reviewed = [column for columns in REVIEWED.values() for column in columns]

    assert len(reviewed) == len(set(reviewed))
    assert unclassified(books) == set(reviewed)


def test_a_new_column_without_a_class_is_noticed(books: psycopg.Connection) -> None:
    before = unclassified(books)
    books.execute("ALTER TABLE users ADD COLUMN nickname text, ADD COLUMN extras jsonb, ADD COLUMN last_address inet")
    found = unclassified(books) - before
    books.execute("COMMENT ON COLUMN users.nickname IS 'pii:name. How friends call the person.'")

    assert found == {"users.extras", "users.last_address", "users.nickname"}
    assert unclassified(books) - before == {"users.extras", "users.last_address"}


def test_every_table_and_function_was_looked_at(books: psycopg.Connection) -> None:
    writable = books.execute("SELECT name FROM key_relations() WHERE NOT is_view AND NOT is_written_by_functions")
    callable_ = books.execute("SELECT DISTINCT name FROM key_functions() WHERE NOT is_refused")

    assert {row[0] for row in writable} == WRITABLE
    assert {row[0] for row in callable_} == CALLABLE


@pytest.mark.anyio
@pytest.mark.parametrize("as_user", [None, ANN])
async def test_nothing_personal_passes_the_masks(
    books: psycopg.Connection, make_key: MakeKey, as_user: str | None
) -> None:
    """Whatever stands in a classified column is found nowhere in all that a key without --pii can read."""
    personal, secret = classified(books, "pii:"), classified(books, "secret")
    masked = everything(await make_key(reads=("all",), as_user=as_user), books)
    clear = everything(await make_key(reads=("all",), as_user=as_user, pii=True), books)

    assert len(personal) > 15 and len(secret) > 1
    assert {value for value in personal if value in masked} == set()
    assert {value for value in secret if value in masked or value in clear} == set()
    assert {value for value in personal if value in clear} != set()


def classified(books: psycopg.Connection, prefix: str) -> set[str]:
    """The values, as text, of every column of a class."""
    found: set[str] = set()
    for table, column in books.execute(
        "SELECT c.oid::regclass::text, quote_ident(a.attname) FROM pg_class AS c"
        " INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"
        " AND starts_with(col_description(c.oid, a.attnum), %s)",
        (prefix,),
    ).fetchall():
        rows = books.execute(f"SELECT DISTINCT {column}::text FROM {table} WHERE {column} IS NOT NULL")
        found |= {str(row[0]) for row in rows}
    # The same words may stand, unclassified, in a scenario's or a persona's card.
    return {value for value in found if len(value) >= SHORTEST}


def everything(key: Made, books: psycopg.Connection) -> str:
    """All rows of all tables and views that a key may read, as one text; SELECT * must work on each."""
    names = [str(row[0]) for row in books.execute("SELECT name FROM key_relations()")]
    read = []
    with key.login() as session:
        readable = [
            name for name in names
            if (session.execute("SELECT has_table_privilege(%s, 'SELECT')", (name,)).fetchone() or (False,))[0]
        ]  # fmt: skip
        for name in readable:
            read.append(
                json.dumps(session.execute(f"SELECT * FROM {name}").fetchall(), default=str, ensure_ascii=False)
            )
    assert len(readable) > 20, readable

    return "\n".join(read)


@pytest.mark.anyio
async def test_a_migration_remakes_views_and_grants(
    books: psycopg.Connection, database_url: str, make_key: MakeKey, tmp_path: Path
) -> None:
    """A new personal column is masked, a new secret one left out, a dropped one gone, a new table granted to all."""
    everybody = await make_key(reads=("all",))
    ann = await make_key(reads=("users", "user_budget_settings"), writes=("user_budget_settings",), as_user=ANN)
    clear = await make_key(reads=("subscription_tiers", "personas"), pii=True)
    directory = tmp_path / "sql"
    copytree(migration_files.SQL_DIRECTORY, directory)
    (directory / "migrations" / f"{len(list((directory / 'migrations').glob('*.sql'))) + 1:03}_more.sql").write_text(
        "ALTER TABLE users ADD COLUMN nickname text DEFAULT 'Annie';\n"
        "ALTER TABLE unknown_caller_attempts DROP COLUMN notes CASCADE;\n"
        "COMMENT ON COLUMN users.nickname IS 'pii:name. How friends call the person.';\n"
        "ALTER TABLE subscription_tiers ADD COLUMN coupon_hash text DEFAULT 'hidden';\n"
        "COMMENT ON COLUMN subscription_tiers.coupon_hash IS 'secret. For the page.';\n"
        "ALTER TABLE user_budget_settings ADD COLUMN note text DEFAULT 'a note';\n"
        "COMMENT ON COLUMN user_budget_settings.note IS 'pii:content. A note.';\n"
        "CREATE TABLE gadgets (id id CONSTRAINT gadgets_pkey PRIMARY KEY);\n"
        "COMMENT ON TABLE gadgets IS 'Something new.';\n"
    )
    migrate.apply(database_url, directory=directory)
    with everybody.login() as session:
        nicknames = session.execute("SELECT nickname, email FROM users").fetchall()
        tiers = [column.name for column in session.execute("SELECT * FROM subscription_tiers").description or ()]
        gadgets = session.execute("SELECT * FROM gadgets").fetchall()
        with pytest.raises(psycopg.errors.UndefinedColumn):
            session.execute("SELECT notes FROM unknown_caller_attempts")
    with ann.login() as session:
        own = session.execute("SELECT id, nickname FROM users").fetchall()
        note = session.execute("SELECT user_id, note FROM user_budget_settings").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT note FROM public.user_budget_settings")
        written = session.execute("UPDATE public.user_budget_settings SET warn_at_percent_per_call = 50").rowcount
    with clear.login() as session:
        shown = [column.name for column in session.execute("SELECT * FROM subscription_tiers").description or ()]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT coupon_hash FROM public.subscription_tiers")

    assert nicknames == [("***", "***")] * 2
    assert "coupon_hash" not in tiers and "coupon_hash" not in shown and "tier" in shown
    assert gadgets == []
    assert own == [(ANN, "***")]
    assert note == [(ANN, "***")]
    assert written == 1
