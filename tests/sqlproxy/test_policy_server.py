"""The policy's verdicts against a real server: what reads runs in a READ ONLY transaction, what writes does not."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors as postgres
from psycopg import sql
from tests.sqlproxy import statements

from callmeback.sqlproxy import functions, policy

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def server(shared_database_url: str) -> Iterator[Connection]:
    with psycopg.connect(shared_database_url, autocommit=True, prepare_threshold=None) as connection:
        yield connection


def run_read_only(server: Connection, text: str) -> str | None:
    """Run one text, its parameters null, in a READ ONLY transaction that is rolled back; answers the SQLSTATE."""
    count = max((int(number) for number in re.findall(r"\$(\d+)", text)), default=0)
    parameters = [] if "generic_plan" in text else [None] * count
    server.execute("BEGIN READ ONLY")
    try:
        server.cursor().execute("SET LOCAL statement_timeout = '10s'")
        psycopg.RawCursor(server).execute(sql.SQL(text), parameters or None)
    except psycopg.Error as error:
        return error.sqlstate
    finally:
        server.execute("ROLLBACK")

    return None


# Errors of the made-up objects in the statements, or of newer SQL on an older server; none is about writing.
OTHER_ERRORS = {"42P01", "42703", "42883", "42601", "42704", "42804", "42P18", "42809", "2202H", "22023", "42P02"}
READ_ONLY_TRANSACTION = "25006"


@pytest.mark.parametrize("text", [*statements.CLIENTS_READ, *statements.CATALOGUE_READS, *statements.READS])
def test_what_is_judged_to_read_runs_read_only(server: Connection, text: str):
    found = policy.judge(text, session=False)

    sqlstate = run_read_only(server, found.text)
    newest = server.info.server_version >= 180_000
    assert found.kind == "read"
    assert sqlstate is None or (not newest and sqlstate in OTHER_ERRORS), sqlstate


@pytest.mark.parametrize("text", statements.CLIENTS_WRITE)
def test_what_is_judged_to_write_cannot_run_read_only(server: Connection, text: str):
    found = policy.judge(text, session=False)

    sqlstate = run_read_only(server, found.text)
    assert found.kind == "write"
    assert sqlstate == READ_ONLY_TRANSACTION or (server.info.server_version < 180_000 and sqlstate in OTHER_ERRORS)


READS = (
    "select 1 as a",
    "select id as a from {r}",
    "select max(created_at) as a from {r} where exists (select from {r})",
    "select 1 as a from {r} union all select 2",
    "values (1)",
    "table {r}",
)
LOCKS = ("select id as a from personas for update", "select id as a from personas for share of personas")
CHANGES = (
    "update personas set name = name where id in (select id from {r}) returning id as a",
    "delete from personas where id in (select id from {r}) returning id as a",
    "insert into personas select * from personas where id in (select id from {r}) returning id as a",
)


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, str]:
    """A query over some WITH queries, and what of it writes: "changes", "locks" or nothing."""
    parts: list[str] = []
    shapes: list[str] = []
    relations = ["personas", "users"]
    for number in range(draw(st.integers(0, 3))):
        shape = draw(st.sampled_from([*READS, *LOCKS, *CHANGES]))
        shapes.append(shape)
        how = draw(st.sampled_from(["", "materialized ", "not materialized "])) if shape not in CHANGES else ""
        parts.append(f"q{number} as {how}({shape.format(r=draw(st.sampled_from(relations)))})")
    shape = draw(st.sampled_from([*READS, *LOCKS, *CHANGES]))
    shapes.append(shape)
    writes = "changes" if {*shapes} & {*CHANGES} else "locks" if {*shapes} & {*LOCKS} else ""
    begin = f"with {', '.join(parts)} " if parts else ""

    return begin + shape.format(r=draw(st.sampled_from(relations))), writes


@given(queries())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_the_class_agrees_with_the_server(server: Connection, drawn: tuple[str, str]):
    text, writes = drawn
    found = policy.judge(text, session=False)

    sqlstate = run_read_only(server, found.text)
    assert (found.rule, found.kind) == (None, "write" if writes else "read")
    if writes == "changes":
        assert sqlstate == READ_ONLY_TRANSACTION
    elif not writes:
        assert sqlstate is None
    else:
        # PostgreSQL leaves out a query that nothing refers to, its locks too.
        assert sqlstate in (None, READ_ONLY_TRANSACTION)


@pytest.mark.parametrize(
    "text",
    [
        *statements.REFUSED["syntax"],
        "selec 1",
        "select * fro users",
        "select (1",
        "select é from x where )",
        "select 'é' 'b'",
        "update users set",
        "select 1 from",
        "with x as (select 1",
        "values (1",
        'select ""',
        "select 123abc",
        "select U&'\\00g'",
        "select E'\\u00g'",
        "select 1\u00a0+ )",
        "\ufeffselect 1",
        "select 😀 from x y z",
        "grant all",
        "select all all",
    ],
)
def test_what_does_not_parse_answers_as_postgresql_does(server: Connection, text: str):
    found = policy.judge(text, session=False)
    with pytest.raises(psycopg.Error) as refused:
        server.execute(sql.SQL(text))
    diagnosis = refused.value.diag

    assert found.sqlstate == "42601"
    assert found.message == diagnosis.message_primary
    assert str(found.position) == diagnosis.statement_position


def test_a_column_s_form_calls_a_function(server: Connection):
    """Why names after a dot are held against the list of refused functions: the server calls them."""
    assert (
        server.execute("select ('server_version'::text).current_setting").fetchone()
        == server.execute("select current_setting('server_version')").fetchone()
    )
    assert server.execute("select f.pg_sleep::text from generate_series(0, 0) as f").fetchone() == ("",)


def test_every_function_of_one_argument_is_decided_or_out_of_reach(server: Connection):
    """`(x).f` can name any function of one argument; what is on no list takes or gives only what no caller holds."""
    rows = server.execute(
        "SELECT DISTINCT p.proname FROM pg_proc AS p WHERE p.pronamespace = 'pg_catalog'::regnamespace"
        " AND p.pronargs - p.pronargdefaults <= 1 AND p.pronargs > 0 AND p.provolatile = 'v'"
        " AND NOT 'internal'::regtype = ANY (p.proargtypes) AND NOT 'cstring'::regtype = ANY (p.proargtypes)"
    ).fetchall()
    reachable = {str(name) for (name,) in rows}
    undecided = {name for name in reachable if name not in functions.CALLABLE and functions.refusal_of(name) is None}

    # Validators look at a function that already exists; they run nothing of it.
    assert {name for name in undecided if not name.endswith("_validator")} <= {"plpgsql_call_handler"}


@pytest.mark.parametrize("text", statements.TRANSACTIONS)
def test_what_a_session_may_send_is_understood(server: Connection, text: str):
    found = policy.judge(text, session=True)
    if text.lower().startswith(("savepoint", "release", "rollback to")):
        server.execute("begin")
        server.execute("savepoint sp1")
    try:
        server.execute(sql.SQL(found.text))
    except postgres.NoActiveSqlTransaction:
        assert "CHAIN" in text or "chain" in text
    finally:
        server.execute("rollback")
