"""The whole database held against the rules of the house: comments, keys, names, and the walls between roles."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from tests.conftest import Cluster

from callmeback.pg import lint, roles

SERVICES = (roles.API, roles.WORKER, roles.VOICE, roles.READONLY, roles.PROXY)
# What their names say needs no comment.
PLAIN = re.compile(
    r"^(id|user_id|call_id|persona_id|schedule_id|created_at|updated_at|received_at|expires_at|granted_at|name|description|"
    r"status|type|kind|state|purpose|amount|seq|speaker|at|category|avatar_url|direction|role|number|used_at|verified_at|"
    r"tier|email_verified_at|terms_accepted_at|last_login_at|locale|default_voice_id|default_voice_settings|max_tokens|"
    r"temperature|is_active|is_system_persona|relationship_type|total_duration_seconds|last_call_at|is_favorite|"
    r"is_archived|use_count|last_used_at|subscription_\w+|warn_at_percent_per_call|vendor|model|unit|effective_from|"
    r"\w+_model|\w+_(cents|per)|granted_by|payment_\w+|credits|cause|stripe_\w+|sku|currency|coupon|completed_at|"
    r"start_time|end_time|error_message|turn_count|interrupt_count|\w+_tokens|elevenlabs_characters|event_type|metadata|"
    r"carrier|calls_per_second|burst|tokens|refilled_at|carrier_status|verdict|dial_claimed_by|resource_id|request_hash|"
    r"attempts|window_started_at|code_expires_at|code_attempts|email_notifications|sms_notifications|"
    r"call_reminder_minutes|requested_by|erased_at|balance_after|rrule|ends_at|remaining_count|paused_at|scheduled_time|"
    r"executed_at|claimed_by|latest_start_at|effect|retry_at|first_call_at|converted_user_id|blocked_at|monthly_\w+|"
    r"max_call_duration_seconds|position|held_credits|twilio_duration_seconds|deepgram_audio_seconds|local_characters|"
    r"version|checksum|applied_at|execution_ms|key_id|scope_id|concurrency|statement|reminder_minutes|retry_on_\w+|"
    r"retry_after_minutes|every|next_run_at|last_(started|finished)_at|last_duration_ms)$"
)
# Rows of everybody, or known before there is a user: e-mail links, queues, catalogues.
GLOBAL_TABLES = {
    "users", "personas", "call_scenario_templates", "api_keys", "sql_scopes", "named_statements", "proxy_answers",
    "proxy_state", "subscription_tiers", "service_rates", "price_versions", "card_in_force",
    "dial_buckets", "blocked_numbers", "login_attempts", "token_blacklist", "one_time_tokens", "payment_events",
    "unknown_caller_attempts", "schema_migrations", "schema_repeatable", "call_cost_events",
    "credit_packs", "coupons", "sealed_days", "closing_days", "jobs", "backups",
}  # fmt: skip
# Kept without a foreign key, each with its reason in a decision record: a month is dropped at once; a version is never
# deleted once a call points at it.
NO_FOREIGN_KEY = {"call_cost_events", "price_version_id"}


@pytest.fixture
def schema(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def names(connection: psycopg.Connection, query: str) -> list[str]:
    return [row[0] for row in connection.execute(query)]  # type: ignore[arg-type]  # the queries are ours


def test_catalogue_checks_find_nothing(database_url: str) -> None:
    found = lint.catalogue(database_url)

    assert [f"{finding.rule} {finding.place}: {finding.message}" for finding in found] == []


def test_every_table_view_and_function_is_commented(schema: psycopg.Connection) -> None:
    silent = names(
        schema,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
        " AND obj_description(oid, 'pg_class') IS NULL",
    )
    silent += names(
        schema,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND obj_description(oid, 'pg_proc') IS NULL",
    )

    assert silent == []


def test_every_column_that_is_not_obvious_is_commented(schema: psycopg.Connection) -> None:
    silent = names(
        schema,
        "SELECT t.relname || '.' || a.attname FROM pg_attribute AS a INNER JOIN pg_class AS t ON a.attrelid = t.oid"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition"
        " AND a.attnum > 0 AND NOT a.attisdropped AND col_description(t.oid, a.attnum) IS NULL",
    )

    assert [column for column in silent if not PLAIN.match(column.partition(".")[2])] == []


def test_personal_columns_carry_their_privacy_class(schema: psycopg.Connection) -> None:
    personal = re.compile(
        r"^(email|phone|phone_number|number|text|\w*(prompt|pretext|scenario_text|instructions|memory))$"
    )
    plain = names(
        schema,
        "SELECT t.relname || '.' || a.attname FROM pg_attribute AS a INNER JOIN pg_class AS t ON a.attrelid = t.oid"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND a.attnum > 0"
        " AND NOT a.attisdropped AND coalesce(col_description(t.oid, a.attnum), '') !~ '^(pii:[a-z]+|secret)[.]'",
    )

    assert [column for column in plain if personal.match(column.partition(".")[2])] == ["personas.phone_number"]


def test_d03_every_reference_is_a_foreign_key(schema: psycopg.Connection) -> None:
    loose = names(
        schema,
        "SELECT t.relname || '.' || a.attname FROM pg_attribute AS a INNER JOIN pg_class AS t ON a.attrelid = t.oid"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND NOT t.relispartition"
        " AND a.attname IN ('user_id', 'call_id', 'persona_id', 'schedule_id', 'owner_user_id', 'price_version_id')"
        " AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conrelid = t.oid AND c.contype = 'f'"
        " AND a.attnum = ANY (c.conkey))",
    )

    assert [column for column in loose if not NO_FOREIGN_KEY & set(column.split("."))] == []


def test_user_id_stands_in_the_key_of_every_table_that_a_user_owns(schema: psycopg.Connection) -> None:
    keyless = names(
        schema,
        "SELECT t.relname FROM pg_class AS t INNER JOIN pg_constraint AS c ON c.conrelid = t.oid AND c.contype = 'p'"
        " WHERE t.relnamespace = 'public'::regnamespace AND NOT t.relispartition AND NOT EXISTS ("
        " SELECT FROM pg_attribute AS a"
        " WHERE a.attrelid = t.oid AND a.attname = 'user_id' AND a.attnum = ANY (c.conkey))",
    )

    assert set(keyless) - GLOBAL_TABLES == set()


def test_d09_ids_have_one_type(schema: psycopg.Connection) -> None:
    other = names(
        schema,
        "SELECT t.relname || '.' || a.attname FROM pg_attribute AS a INNER JOIN pg_class AS t ON a.attrelid = t.oid"
        " WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p')"
        " AND a.attname IN ('user_id', 'call_id', 'persona_id', 'schedule_id') AND a.atttypid <> 'id'::regtype",
    )

    assert other == []


def test_constraints_and_indexes_are_named_after_their_table(schema: psycopg.Connection) -> None:
    # PostgreSQL's own names for constraints end in _check, and a number from the second on.
    unnamed = names(
        schema,
        "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'u')"
        " AND conname ~ '_check[0-9]*$'",
    )

    assert unnamed == []


def test_s01_roles_in_service_have_no_power_over_the_cluster(schema: psycopg.Connection) -> None:
    in_service = ", ".join(f"'{role}'" for role in roles.ROLES if role != roles.OWNER)
    strong = names(
        schema,
        f"SELECT rolname FROM pg_roles WHERE rolname IN ({in_service})"
        " AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication)",
    )
    members = names(
        schema,
        f"SELECT m.member::regrole::text FROM pg_auth_members AS m WHERE m.member::regrole::text IN ({in_service})",
    )

    assert (strong, members) == ([], [])


def test_row_level_security_is_on_everywhere_and_forced_nowhere(schema: psycopg.Connection) -> None:
    open_tables = names(
        schema,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
        " AND (NOT relrowsecurity OR relforcerowsecurity) AND relname NOT LIKE 'schema_%'",
    )

    assert open_tables == []


def test_nobody_runs_a_function_that_was_not_granted(schema: psycopg.Connection) -> None:
    public = names(
        schema,
        "SELECT p.proname FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a"
        " WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0",
    )

    assert public == []


def test_functions_with_their_owners_rights_trust_no_search_path(schema: psycopg.Connection) -> None:
    loose = names(
        schema,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND NOT coalesce(array_to_string(proconfig, ';'), '') ~ 'search_path=[^;]*pg_temp(;|$)'",
    )

    assert loose == []


def test_views_run_with_the_rights_of_who_asks(schema: psycopg.Connection) -> None:
    loose = names(
        schema,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'"
        " AND NOT coalesce(array_to_string(reloptions, ',') LIKE '%security_invoker=true%', false)",
    )

    assert loose == []


def test_no_service_reads_a_secret_column(schema: psycopg.Connection) -> None:
    readable = [
        row
        for role in SERVICES
        for row in names(
            schema,
            f"SELECT '{role} ' || t.relname || '.' || a.attname FROM pg_attribute AS a"
            " INNER JOIN pg_class AS t ON a.attrelid = t.oid WHERE t.relnamespace = 'public'::regnamespace"
            " AND col_description(t.oid, a.attnum) LIKE 'secret%'"
            f" AND has_column_privilege('{role}', t.oid, a.attnum, 'SELECT')",
        )
    ]

    assert readable == []


def test_services_change_money_by_functions_only(schema: psycopg.Connection) -> None:
    tables = ("user_credits", "credit_transactions", "calls", "call_cost_breakdowns", "call_cost_events", "open_calls",
              "service_rates", "price_versions", "subscription_tiers", "credit_packs", "coupons", "purchases",
              "payments", "subscriptions", "payment_authorizations", "payment_events", "refunds", "disputes",
              "credit_grants", "sealed_days")  # fmt: skip
    granted = [
        f"{role} {privilege} {table}"
        for role in SERVICES
        for table in tables
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
        if names(schema, f"SELECT has_table_privilege('{role}', '{table}', '{privilege}')")[0]
        or (
            privilege in ("INSERT", "UPDATE")
            and names(schema, f"SELECT has_any_column_privilege('{role}', '{table}', '{privilege}')")[0]
        )
    ]

    assert granted == []


def test_temporary_tables_and_large_objects_are_nobodys(cluster: Cluster) -> None:
    # The template itself, which was migrated: a clone doesn't take over who may use the database.
    with psycopg.connect(cluster.superuser_dsn.replace("/callmeback", f"/{cluster.template}")) as schema:
        powers = powers_of(schema)

    assert powers == []


def powers_of(schema: psycopg.Connection) -> list[str]:
    return [
        f"{role} {what}"
        for role in SERVICES
        for what, query in (
            ("TEMP", f"SELECT has_database_privilege('{role}', current_database(), 'TEMP')"),
            ("lo_import", f"SELECT has_function_privilege('{role}', 'lo_import(text)', 'EXECUTE')"),
            ("lo_create", f"SELECT has_function_privilege('{role}', 'lo_create(oid)', 'EXECUTE')"),
            ("lo_from_bytea", f"SELECT has_function_privilege('{role}', 'lo_from_bytea(oid, bytea)', 'EXECUTE')"),
        )
        if names(schema, query)[0]
    ]


def test_s09_a_request_sees_its_own_rows_only(cluster: Cluster, database_url: str, schema: psycopg.Connection) -> None:
    card = "voice-outbound|flux-general-en|gpt-oss-120b|eleven_flash_v2_5|qwen-3-235b-a22b-instruct-2507|espeak-ng"
    schema.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (card, *card.split("|")))
    for who, number in (("user_a", "+12025550101"), ("user_b", "+12025550102")):
        schema.execute("SELECT register_user(%s, %s, 'x', %s, 'UTC', %s)", (who, f"{who}@x.example", who, number))
        schema.execute("UPDATE phones SET verified_at = now() WHERE user_id = %s", (who,))
        schema.execute("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (who,))
        schema.execute(
            "SELECT start_call(%s, %s, 'brad', %s, %s, (now() AT TIME ZONE 'UTC')::date)",
            (f"call_{who}", who, number, card),
        )
        schema.execute("INSERT INTO transcripts VALUES (%s, %s, 0, 'user', 'words', now())", (who, f"call_{who}"))
        schema.execute("INSERT INTO user_preferences (user_id) VALUES (%s)", (who,))
        schema.execute("INSERT INTO user_budget_settings (user_id) VALUES (%s)", (who,))
        schema.execute("INSERT INTO user_persona_relationships (user_id, persona_id) VALUES (%s, 'brad')", (who,))
        schema.execute(
            "INSERT INTO personas (id, owner_user_id, name, core_system_prompt) VALUES (%s, %s, 'P', 'p')",
            (f"per_{who}", who),
        )
        schema.execute(
            "INSERT INTO call_scenario_templates (id, user_id, name, scenario_text) VALUES (%s, %s, 'S', 's')",
            (f"scn_{who}", who),
        )
    owned = {
        "users": "id", "user_credits": "user_id", "credit_transactions": "user_id", "calls": "user_id",
        "call_cost_breakdowns": "user_id", "transcripts": "user_id", "phones": "user_id", "call_logs": "user_id",
        "user_preferences": "user_id", "user_budget_settings": "user_id", "user_persona_relationships": "user_id",
        "monthly_spend": "user_id", "effective_limits": "user_id",
    }  # fmt: skip
    with psycopg.connect(roles.dsn_for(roles.API, cluster.role_secret, database_url)) as api:
        api.execute("SELECT set_config('callmeback.user_id', 'user_a', true)")
        seen = {table: {row[0] for row in api.execute(f"SELECT {key} FROM {table}")} for table, key in owned.items()}  # type: ignore[arg-type]  # the names are ours
        mine = {row[0] for row in api.execute("SELECT id FROM personas WHERE owner_user_id IS NOT NULL")}
        mine |= {row[0] for row in api.execute("SELECT id FROM call_scenario_templates WHERE user_id IS NOT NULL")}
        api.rollback()
        strangers = {table: api.execute(f"SELECT count(*) FROM {table}").fetchone() for table in owned}  # type: ignore[arg-type]  # the names are ours

    assert seen == {table: {"user_a"} for table in owned}
    assert mine == {"per_user_a", "scn_user_a"}
    assert strangers == {table: (0,) for table in owned}
