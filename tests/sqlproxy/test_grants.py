"""What the role of a key may do: exactly what it was granted, seen from a real session of that role."""

from datetime import timedelta

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import ANN, BOB, CARD, NUMBERS, MakeKey, refusal

from callmeback import errors
from callmeback.pg import roles

DENIED = "42501"

pytestmark = pytest.mark.anyio


def column(connection: psycopg.Connection, statement: str) -> list[object]:
    return [row[0] for row in connection.execute(statement)]  # type: ignore[arg-type]  # the statements are ours


async def test_a_key_reads_what_it_was_granted_and_no_more(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(reads=("subscription_tiers", "users", "call_logs"))
    with key.login() as session:
        tiers = column(session, "SELECT tier FROM subscription_tiers ORDER BY position")
        people = column(session, "SELECT id FROM users ORDER BY id")
        logs = column(session, "SELECT id FROM call_logs ORDER BY id")
        refused = {
            table: refusal(session, f"SELECT 1 FROM {table}")
            for table in (
                "calls", "public.users", "public.call_logs", "clear.users", "masked.calls", "transcripts", "api_keys",
                "sql_scopes", "proxy_state", "schema_migrations", "pg_authid", "pg_catalog.pg_file_settings",
            )
        }  # fmt: skip

    assert tiers == ["free", "basic", "premium", "unlimited"]
    assert people == [ANN, BOB]
    assert logs == ["call_ann", "call_bob"]
    assert refused == dict.fromkeys(refused, DENIED)


async def test_personal_columns_are_masked_and_secrets_left_out(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(reads=("all",))
    with key.login() as session:
        cursor = session.execute("SELECT * FROM users ORDER BY id")
        names = [description.name for description in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
        phones = column(session, "SELECT number FROM phones ORDER BY user_id")
        logged = column(session, "SELECT phone_number FROM call_logs ORDER BY id")
        said = column(session, "SELECT text FROM transcripts")
        payload = column(session, "SELECT payload FROM payment_events")
        reasons = session.execute("SELECT call_pretext, custom_instructions FROM calls").fetchall()
        secret = refusal(session, "SELECT password_hash FROM users")
    everything = [name for name in column(books, "SELECT attname::text FROM pg_attribute"
                  " WHERE attrelid = 'users'::regclass AND attnum > 0 ORDER BY attnum")]  # fmt: skip

    assert [(row["email"], row["name"], row["phone"]) for row in rows] == [
        ("***", "***", "***01"),
        ("***", "***", "***02"),
    ]
    assert names == [name for name in everything if name != "password_hash"]
    assert (phones, logged) == (["***01", "***02"], ["***01", "***02"])
    assert (said, payload) == (["***", "***"], ["***", "***"])
    assert reasons == [("***", None), ("***", None)]
    assert secret == "42703"


async def test_pii_shows_personal_columns_and_still_no_secret(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(reads=("all",), pii=True)
    with key.login() as session:
        people = session.execute("SELECT email, phone FROM users ORDER BY id").fetchall()
        said = column(session, "SELECT text FROM transcripts")
        refused = [
            refusal(session, "SELECT password_hash FROM users"),
            refusal(session, "SELECT password_hash FROM public.users"),
            refusal(session, "SELECT token_hash FROM public.one_time_tokens"),
            refusal(session, "SELECT code_hash FROM phones"),
        ]

    assert people == [("ann@x.example", NUMBERS[ANN]), ("bob@x.example", NUMBERS[BOB])]
    assert said == ["private words", "private words"]
    assert refused == ["42703", DENIED, DENIED, "42703"]


async def test_s09_a_key_of_one_person_sees_what_the_api_shows_that_person(
    books: psycopg.Connection, cluster: Cluster, database_url: str, make_key: MakeKey
) -> None:
    """The same rows of every view as row-level security gives the API, which asks with its own rights."""
    key = await make_key(reads=("all",), as_user=ANN, pii=True)
    views = ("effective_voices", "effective_limits", "call_logs", "monthly_spend")
    books.execute(
        "INSERT INTO user_persona_relationships (user_id, persona_id, voice_id) VALUES (%s, 'per_bob', 'v')", (BOB,)
    )
    with (
        key.login() as session,
        psycopg.connect(roles.dsn_for(roles.API, cluster.role_secret, database_url)) as api,
    ):
        api.execute("SELECT set_config('callmeback.user_id', %s, true)", (ANN,))
        for view in views:
            mine = session.execute(f"SELECT * FROM {view} ORDER BY 1, 2").fetchall()
            expected = api.execute(f"SELECT * FROM {view} ORDER BY 1, 2").fetchall()

            assert mine == expected != []


async def test_a_key_of_one_person_sees_that_persons_rows(books: psycopg.Connection, make_key: MakeKey) -> None:
    """Of every table and view that has rows of both."""
    key = await make_key(reads=("all",), as_user=ANN)
    shown = keys_of_rows(books)
    with key.login() as session:
        seen = {table: set(column(session, f"SELECT {owner} FROM {table}")) for table, owner in shown.items()}
        personas = set(column(session, "SELECT id FROM personas WHERE owner_user_id IS NOT NULL"))
        house = column(session, "SELECT count(*) FROM personas WHERE owner_user_id IS NULL")
        voices = set(column(session, "SELECT persona_id FROM effective_voices"))
        email = column(session, "SELECT email FROM users")
        refused = {
            table: refusal(session, f"SELECT 1 FROM {table}")
            for table in (
                "blocked_numbers", "daily_margin", "login_attempts", "masked.users", "clear.users", "public.users"
            )
        }  # fmt: skip

    assert seen == {table: {ANN} for table in shown}
    assert personas == {"per_ann"}
    assert house != [0]
    assert "per_ann" in voices and "per_bob" not in voices
    assert email == ["***"]
    assert refused == dict.fromkeys(refused, DENIED)


def keys_of_rows(books: psycopg.Connection) -> dict[str, str]:
    """Every table and view with rows of both people, and the column that tells whose they are."""
    found = {"users": "id"}
    for table in column(books, "SELECT DISTINCT table_name::text FROM information_schema.columns"
                        " WHERE table_schema = 'public' AND column_name = 'user_id'"):  # fmt: skip
        owners = set(column(books, f"SELECT user_id FROM {table}"))
        if {ANN, BOB} <= owners and table not in ("call_scenario_templates",):
            found[str(table)] = "user_id"
    assert len(found) > 12, found

    return found


async def test_writes_reach_the_table_and_only_the_granted_one(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(reads=("user_preferences",), writes=("user_preferences", "blocked_numbers"))
    with key.login() as session:
        session.execute("UPDATE public.user_preferences SET call_reminder_minutes = 9 WHERE user_id = %s", (ANN,))
        session.execute("INSERT INTO public.blocked_numbers (number, reason) VALUES ('+12025550199', 'spam')")
        returned = session.execute(
            "INSERT INTO public.user_preferences (user_id, sms_notifications) VALUES (%s, true)"
            " ON CONFLICT (user_id) DO UPDATE SET sms_notifications = excluded.sms_notifications"
            " RETURNING user_id, call_reminder_minutes",
            (ANN,),
        ).fetchall()
        refused = [
            # What is masked can't be found out by a condition or by RETURNING either.
            refusal(session, "UPDATE public.user_preferences SET memory = 'x' WHERE memory LIKE 'l%%'"),
            refusal(session, "UPDATE public.user_preferences SET memory = 'x' RETURNING memory"),
            refusal(session, "DELETE FROM public.blocked_numbers WHERE number = '+12025550199'"),
            refusal(session, "UPDATE public.users SET name = 'x'"),
            refusal(session, "INSERT INTO public.user_budget_settings (user_id) VALUES ('x')"),
            refusal(session, "TRUNCATE public.user_preferences"),
        ]
        session.execute("DELETE FROM public.user_preferences WHERE user_id = %s", (BOB,))
    left = books.execute("SELECT user_id, call_reminder_minutes, sms_notifications FROM user_preferences").fetchall()

    assert returned == [(ANN, 9)]
    assert refused == [DENIED] * 6
    assert left == [(ANN, 9, True)]
    assert column(books, "SELECT reason FROM blocked_numbers") == ["spam"]


async def test_a_key_of_one_person_writes_that_persons_rows(books: psycopg.Connection, make_key: MakeKey) -> None:
    tables = ("personas", "user_preferences", "users", "call_scenario_templates")
    key = await make_key(reads=tables, writes=tables, as_user=ANN)
    with key.login() as session:
        changed = [
            session.execute(statement).rowcount
            for statement in (
                "UPDATE public.user_preferences SET sms_notifications = true",
                "UPDATE public.personas SET name = 'Q' WHERE id = 'per_ann'",
                "UPDATE public.personas SET name = 'Q' WHERE id = 'per_bob'",
                "UPDATE public.personas SET name = 'Q' WHERE id = 'brad'",
                "UPDATE public.users SET timezone = 'Europe/Berlin'",
                "DELETE FROM public.call_scenario_templates WHERE id IN ('scn_bob', 'scn_ann')",
            )
        ]
        refused = [
            refusal(session, "INSERT INTO public.user_preferences (user_id) VALUES ('user_carl')"),
            refusal(session, "INSERT INTO public.personas (id, owner_user_id, name, core_system_prompt)"
                             " VALUES ('per_x', 'user_bob', 'P', 'p')"),
            # What the person may not change through the API: blocked, verified, whose it is, which model is paid for.
            refusal(session, "UPDATE public.users SET blocked_at = NULL"),
            refusal(session, "UPDATE public.users SET email_verified_at = now()"),
            refusal(session, "UPDATE public.personas SET llm_model = 'dear' WHERE id = 'per_ann'"),
            refusal(session, "UPDATE public.personas SET owner_user_id = 'user_bob' WHERE id = 'per_ann'"),
        ]  # fmt: skip

    assert changed == [1, 1, 0, 0, 1, 1]
    assert refused == [DENIED] * 6
    assert column(books, "SELECT name FROM personas WHERE id IN ('per_ann', 'per_bob') ORDER BY id") == ["Q", "P"]


async def test_a_key_of_one_person_writes_no_more_than_the_api_may(
    books: psycopg.Connection, make_key: MakeKey
) -> None:
    """Table by table and column by column; a table that the API's role doesn't change is refused at once."""
    wanted = column(
        books,
        "SELECT name FROM key_relations() WHERE written_by IS NOT NULL AND NOT is_view AND NOT is_written_by_functions",
    )
    refused = set(
        column(books, f"SELECT name FROM grant_problems('{{}}', '{{{','.join(map(str, wanted))}}}', '{{}}', '{ANN}')")
    )
    granted = tuple(sorted({str(name) for name in wanted} - {str(name) for name in refused}))
    key = await make_key(writes=granted, as_user=ANN)
    excess = column(
        books,
        f"""
        SELECT format('%s %s.%s', p.privilege, c.relname, a.attname)
        FROM pg_class AS c
        INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
        CROSS JOIN (VALUES ('INSERT'), ('UPDATE')) AS p (privilege)
        WHERE c.relnamespace = 'public'::regnamespace
            AND has_column_privilege('{key.line.role}', c.oid, a.attnum, p.privilege)
            AND NOT has_column_privilege('callmeback_api', c.oid, a.attnum, p.privilege)
        UNION ALL
        SELECT 'DELETE ' || c.relname
        FROM pg_class AS c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
            AND has_table_privilege('{key.line.role}', c.oid, 'DELETE')
            AND NOT has_table_privilege('callmeback_api', c.oid, 'DELETE')
        """,
    )

    assert "transcripts" in refused
    assert {"call_scenario_templates", "personas", "user_preferences", "users"} <= set(granted)
    assert excess == []
    with pytest.raises(errors.GrantRefused, match="through the API"):
        await make_key(writes=("transcripts",), as_user=ANN)


async def test_a_key_calls_what_it_was_granted(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(calls=("start_call", "revoke_all_tokens"))
    statement = "SELECT call_id FROM public.start_call('call_2', %s, 'brad', %s, %s, (now() AT TIME ZONE 'UTC')::date)"
    with key.login() as session:
        # Ann's call is open, so the function ran, and kept its rules.
        refused = refusal(session, statement, ANN, NUMBERS[ANN], "no card")
        session.execute("SELECT revoke_all_tokens(%s)", (BOB,))
        denied = [
            refusal(session, "SELECT move_credits('user_ann', 100, 'promotion', 'mine:1')"),
            refusal(session, "SELECT proxy_keys()"),
            refusal(session, "SELECT grant_scopes(true)"),
            refusal(session, "SELECT login_lookup('ann@x.example')"),
        ]

    assert refused == "CM009"
    assert denied == [DENIED] * 4
    assert column(books, "SELECT id FROM users WHERE tokens_valid_from > to_timestamp(0)") == [BOB]


async def test_m11_a_key_neither_chooses_the_price_nor_waits_for_ever(
    books: psycopg.Connection, make_key: MakeKey
) -> None:
    """A cheap card of the past is still known, and a hold that waits for years blocks its person for as long."""
    books.execute("SELECT finish_call(%s, 'call_ann', 'canceled', 'canceled')", (ANN,))
    old = f"{CARD}|old"
    books.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (old, *CARD.split("|")))
    books.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
    key = await make_key(calls=("start_call", "ensure_card"))
    statement = (
        "SELECT call_id FROM public.start_call('call_2', %s, 'brad', %s, %s, (now() AT TIME ZONE 'UTC')::date,"
        " p_dial_within => '10 years')"
    )
    with key.login() as session:
        refused = refusal(session, statement, ANN, NUMBERS[ANN], old)
        # What a key makes known isn't in force by that.
        session.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (old, *CARD.split("|")))
        still_refused = refusal(session, statement, ANN, NUMBERS[ANN], old)
        placed = session.execute(statement, (ANN, NUMBERS[ANN], CARD)).fetchone()

    assert (refused, still_refused) == ("CM009", "CM009")
    assert placed == ("call_2",)
    assert column(books, "SELECT dial_before - created_at FROM open_calls WHERE call_id = 'call_2'") == [
        timedelta(minutes=10)
    ]
    assert column(books, "SELECT card FROM card_in_force") == [CARD]


async def test_s09_a_function_refuses_another_person(books: psycopg.Connection, make_key: MakeKey) -> None:
    """Every function that a key of one person may call, with another's id; also with the API's own setting forged."""
    personal = column(
        books, "SELECT DISTINCT f.name FROM key_functions() AS f WHERE f.is_personal AND NOT f.is_refused"
    )
    key = await make_key(calls=tuple(str(name) for name in personal), as_user=ANN)
    calls = {
        "add_occurrence": "SELECT add_occurrence('user_bob', 'rep_x', 'sch_x', now())",
        "cancel_scheduled_call": "SELECT cancel_scheduled_call('user_bob', 'sch_x')",
        "withdraw_occurrences": "SELECT withdraw_occurrences('user_bob', 'rep_x')",
        "erase_user": "SELECT erase_user('user_bob', 'person')",
        "remove_phone": "SELECT remove_phone('user_bob', '+12025550102')",
        "revoke_all_tokens": "SELECT revoke_all_tokens('user_bob')",
        "start_call": f"SELECT start_call('call_x', 'user_bob', 'brad', '+12025550102', '{CARD}', current_date)",
    }
    with key.login() as session:
        session.execute("SELECT set_config('callmeback.user_id', 'user_bob', false)")
        refused = {name: refusal(session, statement) for name, statement in calls.items()}
        own = session.execute("SELECT remove_phone('user_ann', '+12025550177')").fetchone()

    assert set(calls) == set(personal)
    assert refused == dict.fromkeys(calls, "CM008")
    assert own == (False,)


async def test_equal_grants_are_one_role(books: psycopg.Connection, make_key: MakeKey) -> None:
    one = await make_key(reads=("users", "calls"), pii=True)
    two = await make_key(reads=("calls", "public.users", "calls"), pii=True)
    other = await make_key(reads=("calls", "users"))

    assert one.line.role == two.line.role != other.line.role
    assert one.token != two.token
    assert column(books, "SELECT count(*) FROM sql_scopes") == [2]


async def test_a_role_is_plain_and_starts_with_its_limits(books: psycopg.Connection, make_key: MakeKey) -> None:
    reader = await make_key(reads=("users",))
    writer = await make_key(writes=("user_preferences",), as_user=ANN)
    with reader.login() as session, writer.login() as writing:
        shown = {
            name: (session.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("",))[0]
            for name in (
                "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "work_mem",
                "temp_file_limit", "TimeZone", "default_transaction_read_only", "search_path",
            )
        }  # fmt: skip
        path = writing.execute("SHOW search_path").fetchone()
        is_reading_only = writing.execute("SHOW default_transaction_read_only").fetchone()
    plain = books.execute(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication FROM pg_roles"
        " WHERE rolname = %s", (reader.line.role,)
    ).fetchone()  # fmt: skip
    member = books.execute(
        "SELECT count(*) FROM pg_auth_members WHERE member = %s::regrole", (reader.line.role,)
    ).fetchone()

    assert shown == {
        "statement_timeout": "10s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s",
        "work_mem": "16MB", "temp_file_limit": "3GB", "TimeZone": "UTC", "default_transaction_read_only": "on",
        "search_path": "masked, public",
    }  # fmt: skip
    assert path == (f"scope_{writer.line.role.removeprefix('callmeback_key_')}, public",)
    assert is_reading_only == ("off",)
    assert plain == (True, False, False, False, False, False)
    assert member == (0,)
