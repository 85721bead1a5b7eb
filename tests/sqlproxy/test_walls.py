"""Ways out of a key's role, tried from a real session of it: the role is the wall, whatever parses SQL before it."""

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import ANN, BOB, MakeKey, refusal

from callmeback.pg import migrate, roles

pytestmark = pytest.mark.anyio

DENIED = "42501"

# Statement → SQLSTATEs that it may be refused with. 42501 is a lacking privilege, 42883 a function and 3F000 a schema
# that isn't there, 0A000 a library that this build of PostgreSQL lacks, 58P01 a file that isn't there.
WAYS_OUT = {
    # Another role, another person, other rules.
    "SET ROLE callmeback_owner": {DENIED},
    "SET SESSION AUTHORIZATION callmeback_owner": {DENIED},
    "SELECT set_config('role', 'callmeback_owner', false)": {DENIED},
    "SELECT set_config('session_authorization', 'callmeback_owner', false)": {DENIED},
    "SELECT set_config('session_replication_role', 'replica', false)": {DENIED},
    "SELECT set_config('search_path', 'public', false), email FROM public.users": {DENIED},
    "GRANT callmeback_owner TO CURRENT_USER": {DENIED},
    "ALTER ROLE CURRENT_USER SUPERUSER": {DENIED},
    "ALTER ROLE CURRENT_USER BYPASSRLS": {DENIED},
    "CREATE ROLE mallory": {DENIED},
    "DROP POLICY house ON public.users": {DENIED},
    "ALTER TABLE public.users DISABLE ROW LEVEL SECURITY": {DENIED},
    "GRANT SELECT ON public.users TO CURRENT_USER": {DENIED},
    # A table through a text, a function, a block, a cursor.
    "SELECT query_to_xml('SELECT * FROM public.calls', true, true, '')": {DENIED, "0A000"},
    "SELECT table_to_xml('public.calls', true, true, '')": {DENIED, "0A000"},
    "SELECT cursor_to_xml('c', 1, true, true, '')": {"34000", "0A000"},
    "DO $$ BEGIN PERFORM FROM public.calls; END $$": {DENIED},
    "DO $$ BEGIN EXECUTE 'SELECT password_hash FROM public.users'; END $$": {DENIED},
    "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM public.calls": {DENIED},
    "PREPARE p AS SELECT * FROM public.calls; EXECUTE p": {DENIED},
    "COPY public.calls TO STDOUT": {DENIED},
    "COPY (SELECT password_hash FROM public.users) TO STDOUT": {DENIED},
    "TABLE public.calls": {DENIED},
    "SELECT u FROM public.users AS u": {DENIED},
    "SELECT row_to_json(u) FROM public.users AS u": {DENIED},
    "SELECT u.password_hash::text::bytea FROM public.users AS u": {DENIED},
    "SELECT u.ctid, u.xmin FROM public.users AS u": {DENIED},
    "SELECT * FROM public.users AS u NATURAL JOIN users": {DENIED},
    "WITH w AS (DELETE FROM public.users RETURNING *) SELECT * FROM w": {DENIED},
    "SELECT * FROM users FOR UPDATE": {DENIED},
    "MERGE INTO public.users AS u USING users AS m ON u.id = m.id WHEN MATCHED THEN DELETE": {DENIED},
    "EXPLAIN ANALYZE SELECT * FROM public.calls": {DENIED},
    "SELECT * FROM pg_catalog.pg_statistic": {DENIED},
    "DO $$ BEGIN LOCK TABLE public.users; END $$": {DENIED},
    "VACUUM FULL public.users; SELECT 1/0": {"25001", "22012"},
    "REINDEX TABLE public.users": {DENIED},
    "COMMENT ON COLUMN public.users.email IS ''": {DENIED},
    # Something of its own, with which to do more.
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'": {DENIED},
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'": {DENIED},
    "CREATE TEMP TABLE t (a int)": {DENIED},
    "CREATE TABLE public.t (a int)": {DENIED},
    "CREATE TABLE masked.t (a int)": {DENIED},
    "SELECT 1 AS a INTO public.t": {DENIED},
    "CREATE VIEW public.v AS SELECT 1": {DENIED},
    "CREATE OR REPLACE VIEW masked.users AS SELECT * FROM public.users": {DENIED},
    "ALTER VIEW masked.users SET (security_invoker = true)": {DENIED},
    "CREATE SCHEMA mine": {DENIED},
    "CREATE CAST (text AS int) WITH INOUT AS IMPLICIT": {DENIED},
    "CREATE OPERATOR public.=== (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)": {DENIED},
    "CREATE EXTENSION dblink": {DENIED, "0A000", "58P01"},
    "CREATE EXTENSION file_fdw": {DENIED, "0A000", "58P01"},
    "CREATE LANGUAGE plpython3u": {DENIED, "0A000", "58P01"},
    "CREATE FOREIGN DATA WRAPPER w": {DENIED},
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.touch_updated_at()": {DENIED},
    "CREATE TRIGGER t BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at()": {DENIED},
    "CREATE RULE r AS ON SELECT TO public.users DO INSTEAD SELECT 1": {DENIED},
    "CREATE PUBLICATION p FOR ALL TABLES": {DENIED},
    "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p": {DENIED},
    "SELECT dblink('host=127.0.0.1', 'SELECT 1')": {"42883"},
    "LOAD 'plpgsql'; LOAD '/tmp/evil.so'": {DENIED},
    # The machine below.
    "COPY (SELECT 1) TO PROGRAM 'id'": {DENIED},
    "COPY public.blocked_numbers FROM PROGRAM 'id'": {DENIED},
    "COPY (SELECT 1) TO '/tmp/callmeback-escape'": {DENIED},
    "COPY public.blocked_numbers FROM '/etc/passwd'": {DENIED},
    "SELECT pg_read_file('/etc/passwd')": {DENIED},
    "SELECT pg_read_binary_file('/etc/passwd')": {DENIED},
    "SELECT pg_ls_dir('/')": {DENIED},
    "SELECT pg_stat_file('/etc/passwd')": {DENIED},
    "SELECT pg_ls_logdir()": {DENIED},
    "SELECT pg_current_logfile()": {DENIED},
    "SELECT lo_import('/etc/passwd')": {DENIED},
    "SELECT lo_export(1, '/tmp/callmeback-escape')": {DENIED},
    "SELECT lo_from_bytea(0, '\\x00')": {DENIED},
    "SELECT lo_creat(-1)": {DENIED},
    "SELECT * FROM pg_largeobject": {DENIED},
    "ALTER SYSTEM SET log_statement = 'all'": {DENIED},
    "SELECT pg_reload_conf()": {DENIED},
    "SELECT pg_switch_wal()": {DENIED},
    "SELECT pg_create_physical_replication_slot('s')": {DENIED},
    "SELECT pg_create_logical_replication_slot('s', 'pgoutput')": {DENIED},
    "SELECT current_setting('data_directory')": {DENIED},
    "SHOW hba_file": {DENIED},
    # What the server knows of others.
    "SELECT * FROM pg_authid": {DENIED},
    "SELECT * FROM pg_shadow": {DENIED},
    "SELECT * FROM pg_user_mapping": {DENIED},
    "SELECT * FROM pg_hba_file_rules": {DENIED},
    "SELECT * FROM pg_file_settings": {DENIED},
    "SELECT * FROM monitoring.pg_stat_statements": {DENIED, "3F000", "42P01"},
    "SELECT pg_stat_reset()": {DENIED},
}


async def test_s01_no_statement_leads_out_of_a_role(
    books: psycopg.Connection, database_url: str, make_key: MakeKey
) -> None:
    """The key may even write, so that no refusal is only that of a read-only transaction."""
    key = await make_key(reads=("users", "subscription_tiers"), writes=("user_preferences",))
    # A clone of the template forgets who may use the database; the grants, given again, say it.
    books.execute("DELETE FROM schema_repeatable")
    migrate.apply(database_url)
    before = fingerprint(books, key.line.role)
    with key.login() as session:
        found = {statement: refusal(session, statement) for statement in WAYS_OUT}
    way_out = {statement: state for statement, state in found.items() if state not in WAYS_OUT[statement]}

    assert way_out == {}
    assert fingerprint(books, key.line.role) == before


def fingerprint(books: psycopg.Connection, role: str) -> object:
    """What a way out would have changed: rows, relations and functions of the database, roles by their names."""
    return books.execute(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc),"
        " (SELECT array_agg(r::text) FROM pg_roles AS r WHERE r.rolname IN (%(role)s, 'mallory')),"
        " (SELECT count(*) FROM pg_auth_members WHERE member = %(role)s::regrole), (SELECT count(*) FROM pg_policy),"
        " (SELECT count(*) FROM pg_rewrite), (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_namespace)",
        {"role": role},
    ).fetchone()


async def test_what_is_dumped_as_xml_is_what_was_granted(books: psycopg.Connection, make_key: MakeKey) -> None:
    """These functions, where PostgreSQL was built with libxml, put out every table that the role may read."""
    key = await make_key(reads=("users",))
    with key.login() as session:
        for statement in (
            "SELECT database_to_xml(true, true, '')::text",
            "SELECT schema_to_xml('public', true, true, '')::text",
            "SELECT query_to_xml('SELECT * FROM users', true, true, '')::text",
        ):
            try:
                (xml,) = session.execute(statement).fetchone() or ("",)
            except psycopg.errors.FeatureNotSupported:
                continue

            assert "x.example" not in xml and "hash" not in xml and "call_ann" not in xml


async def test_no_function_of_the_house_is_callable_without_a_grant(
    books: psycopg.Connection, make_key: MakeKey
) -> None:
    key = await make_key(reads=("all",), writes=("user_preferences",), calls=("start_call",))
    with key.login() as session:
        callable_ = {
            str(row[0])
            for row in session.execute(
                "SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace"
                " AND has_function_privilege(p.oid, 'EXECUTE')"
            )
        }

        forecast = session.execute("SELECT count(*) FROM masked.month_forecast").fetchone()

    # zone_or_utc is asked by the view.
    assert callable_ == {"start_call", "claim_answer", "keep_answer", "zone_or_utc"}
    assert forecast is not None


async def test_row_security_can_not_be_switched_off(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(reads=("user_budget_settings",), as_user=ANN)
    with key.login() as session:
        session.execute("SELECT set_config('row_security', 'off', false)")
        refused = refusal(session, "SELECT * FROM user_budget_settings")
        session.execute(
            "SELECT set_config('row_security', 'on', false), set_config('callmeback.user_id', %s, false)", (BOB,)
        )
        seen = session.execute("SELECT user_id FROM user_budget_settings").fetchall()

    assert refused == DENIED
    assert seen == [(ANN,)]


# Of a table where Ann has no row, nothing can fail.
EMPTY_FOR_ANN = ("transcripts", "payment_events")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM transcripts WHERE call_id::text::int = 1",
        "SELECT 1 FROM payment_events WHERE id::text::int = 1",
        "SELECT 1 FROM user_credits WHERE user_id::text::date = current_date",
        "SELECT 1 FROM calls WHERE to_number(id, '9') = 1 AND id::text::int = 1",
        "SELECT 1 FROM call_logs WHERE id::text::int = 1",
        "SELECT 1 FROM monthly_spend WHERE user_id::text::int = 1",
        "SELECT 1 FROM public.user_preferences WHERE user_id::text::int = 1",
    ],
)
async def test_an_error_tells_nothing_of_another_persons_row(
    books: psycopg.Connection, make_key: MakeKey, statement: str
) -> None:
    """A condition that fails on the row that it sees names the row's value; it must never see Bob's."""
    key = await make_key(reads=("all",), writes=("user_preferences",), as_user=ANN)
    for table in EMPTY_FOR_ANN:
        books.execute(f"DELETE FROM {table} WHERE user_id = '{ANN}'")
    with key.login() as session:
        try:
            rows = session.execute(statement).fetchall()  # type: ignore[arg-type]  # the statements are ours
        except psycopg.Error as exc:
            rows, message = [], str(exc)
        else:
            message = ""

    assert rows == []
    assert "bob" not in message
    assert bool(message) is not any(table in statement for table in EMPTY_FOR_ANN)


async def test_a_conflict_shows_nothing_of_the_other_row(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(writes=("user_preferences",), as_user=ANN)
    masked = await make_key(reads=("blocked_numbers",), writes=("blocked_numbers",))
    books.execute("INSERT INTO blocked_numbers (number, reason) VALUES ('+12025550150', 'private note')")
    messages = []
    for made, statement in (
        (key, f"INSERT INTO public.user_preferences (user_id) VALUES ('{BOB}')"),
        (masked, "INSERT INTO public.blocked_numbers (number, reason) VALUES ('+12025550150', 'x')"),
        (masked, "UPDATE public.blocked_numbers SET number = 'not a number'"),
    ):
        with made.login() as session, pytest.raises(psycopg.Error) as caught:
            session.execute(statement)  # type: ignore[arg-type]  # the statements are ours
        messages.append(str(caught.value))

    assert not any("private" in message or "likes tea" in message for message in messages)


async def test_others_statements_are_not_seen(books: psycopg.Connection, make_key: MakeKey) -> None:
    key = await make_key(reads=("users",))
    with key.login() as session:
        texts = session.execute(
            "SELECT query FROM pg_stat_activity WHERE usename IS DISTINCT FROM current_user AND query <> ''"
        ).fetchall()
        statistics = session.execute(
            "SELECT count(*) FROM pg_stats WHERE schemaname IN ('public', 'masked')"
        ).fetchone()
        ended = refusal(session, "SELECT pg_terminate_backend(%s)", books.info.backend_pid)

    assert {text for (text,) in texts} <= {"<insufficient privilege>"}
    assert texts
    assert statistics == (0,)
    assert ended == DENIED


async def test_the_proxys_own_role_asks_four_questions(
    books: psycopg.Connection, cluster: Cluster, database_url: str
) -> None:
    with psycopg.connect(roles.dsn_for(roles.PROXY, cluster.role_secret, database_url), autocommit=True) as session:
        functions = {
            str(row[0])
            for row in session.execute(
                "SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'public'::regnamespace"
                " AND has_function_privilege(p.oid, 'EXECUTE')"
            )
        }
        relations = session.execute(
            "SELECT c.oid::regclass::text FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
            " WHERE n.nspname IN ('public', 'masked', 'clear') AND c.relkind IN ('r', 'p', 'v')"
            " AND (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
            " OR has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))"
        ).fetchall()
        refused = [refusal(session, statement) for statement in ("SELECT * FROM api_keys", "CREATE ROLE mallory")]

    assert functions == {"proxy_version", "proxy_keys", "proxy_statements", "learn_statement"}
    assert relations == []
    assert refused == [DENIED, DENIED]
