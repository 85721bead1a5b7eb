"""Bodies and statuses of /query, /named and /sql: what clients are told, and in which words."""

from typing import Any

import psycopg
import pytest
from tests.sqlproxy.engine.conftest import share
from tests.sqlproxy.engine.running import Running

from callmeback import errors
from callmeback.sqlproxy import problems
from callmeback.web import problems as web_problems

pytestmark = pytest.mark.anyio


@pytest.fixture
def proxy(shared: Running) -> Running:
    return shared


@pytest.fixture
def hand(shared_hand: psycopg.Connection) -> psycopg.Connection:
    return shared_hand


async def test_the_specification_s_request_works_as_printed(proxy: Running) -> None:
    answer = await proxy.post("/query", b'{"query": "SELECT 1", "parameters": []}')

    assert answer.status_code == 200
    assert answer.json() == {"rows": [{"?column?": 1}], "rowCount": 1, "command": "SELECT"}


async def test_older_clients_names_are_understood(proxy: Running) -> None:
    answer = await proxy.post("/query", {"sql": "SELECT $1::int + 1 AS n", "params": [4]})

    assert answer.json()["rows"] == [{"n": 5}]


@pytest.mark.parametrize(
    ("statement", "command", "count"),
    [
        ("SELECT 1 WHERE false", "SELECT", 0),
        ("INSERT INTO things VALUES (1000, 'new', 1), (1001, 'newer', 1)", "INSERT", 2),
        ("UPDATE things SET size = 2 WHERE id <= 3", "UPDATE", 3),
        ("DELETE FROM things WHERE id <= 4 RETURNING id", "DELETE", 4),
        ("", "", None),
        ("-- nothing but a comment", "", None),
    ],
)
async def test_command_and_count(proxy: Running, statement: str, command: str, count: int | None) -> None:
    for path in ("/query", "/sql"):
        answer = await proxy.post(path, {"query": statement})
        assert answer.status_code == 200, answer.text
        # Run the second time, a change finds less to change.
        found = answer.json()
        assert found["command"] == command
        if path == "/query":
            assert found["rowCount"] == count
            if "INSERT" in statement:
                return


@pytest.mark.parametrize(
    ("statement", "parameters", "status", "state"),
    [
        ("SELEC 1", [], 400, "42601"),
        ("SELECT foo", [], 400, "42703"),
        ("SELECT * FROM no_such_table", [], 400, "42P01"),
        ("SELECT * FROM users", [], 403, "42501"),
        ("SELECT $1::int", ["x"], 400, "22P02"),
        ("SELECT $1::int", [], 400, "08P01"),
        ("SELECT 1", [1], 400, "08P01"),
        ("SELECT 1 / 0", [], 400, "22012"),
        ("INSERT INTO things VALUES (1, 'again', 1)", [], 409, "23505"),
        ("INSERT INTO things VALUES (2000, 'bad', -1)", [], 400, "23514"),
        ("INSERT INTO things (id) VALUES (2000)", [], 400, "23502"),
        ("BEGIN", [], 403, "42501"),
        ("SET statement_timeout = 0", [], 403, "42501"),
        ("SELECT 1; SELECT 2", [], 403, "42501"),
        ("SELECT pg_sleep(1)", [], 403, "42501"),
        ("COPY things TO STDOUT", [], 403, "42501"),
        ("DO $$BEGIN END$$", [], 403, "42501"),
    ],
)
async def test_s06_an_error_has_its_status_and_sqlstate(
    proxy: Running, statement: str, parameters: list[Any], status: int, state: str
) -> None:
    answer = await proxy.ask(statement, *parameters)
    neon = await proxy.post("/sql", {"query": statement, "params": parameters})

    assert (answer.status_code, answer.json()["sqlstate"]) == (status, state)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("statement_failed", "statement_refused")
    assert (neon.status_code, neon.json()["code"]) == (400, state)
    assert await proxy.value("SELECT 1") == 1


async def test_a_syntax_error_says_where(proxy: Running) -> None:
    answer = (await proxy.ask("SELECT 1 FRO things")).json()
    neon = (await proxy.post("/sql", {"query": "SELECT 1 FRO things"})).json()

    assert (answer["position"], neon["position"]) == (14, "14")
    assert answer["detail"] == neon["message"] == 'syntax error at or near "things"'


async def test_a_position_is_in_the_text_that_was_sent(proxy: Running) -> None:
    """The policy writes the schema before a target, which moves what the server says."""
    statement = "INSERT INTO things VALUES (1, nonsense)"

    assert (await proxy.ask(statement)).json()["position"] == statement.index("nonsense") + 1


async def test_neon_s_error_has_every_field_of_node_postgres(proxy: Running) -> None:
    found = (await proxy.post("/sql", {"query": "INSERT INTO things VALUES (1, 'again', 1)"})).json()

    assert set(found) == {
        "message", "code", "severity", "detail", "hint", "position", "internalPosition", "internalQuery", "where",
        "schema", "table", "column", "dataType", "constraint", "file", "line", "routine",
    }  # fmt: skip
    assert found["code"] == "23505"
    assert (found["severity"], found["schema"], found["table"]) == ("ERROR", "public", "things")
    assert found["constraint"] == "things_pkey"
    assert found["detail"] == "Key (id)=(1) already exists."


async def test_a_masked_key_learns_nothing_from_inside_a_function(proxy: Running, hand: psycopg.Connection) -> None:
    hand.execute(
        "CREATE FUNCTION tell() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS "
        "$$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = 'the secret row'; END $$"
    )
    masked = await proxy.make_key(reads=("personas",), mode="exact")
    for role in (masked.line.role, proxy.role):
        hand.execute(f"GRANT EXECUTE ON FUNCTION tell() TO {role}")
    result = psycopg.connect(masked.dsn, autocommit=True)
    with result:
        found = result.pgconn.exec_params(b"SELECT tell()", [])

    hidden = problems.failure(found, None, is_masked=True).extra["diagnosis"]
    shown = problems.failure(found, None, is_masked=False).extra["diagnosis"]
    assert isinstance(hidden, problems.Diagnosis) and isinstance(shown, problems.Diagnosis)
    assert (hidden.detail, hidden.where) == (None, None)
    assert shown.detail == "the secret row"


# Neon's wire.


async def test_neon_gets_raw_text_and_fields(proxy: Running, hand: psycopg.Connection) -> None:
    (oid,) = hand.execute("SELECT 'things'::regclass::oid").fetchone() or (None,)
    body = {"query": "SELECT id, word, true AS yes, NULL AS nothing, ARRAY[1] AS list FROM things WHERE id = $1"}
    answer = await proxy.post("/sql", body | {"params": [7]}, headers={"Neon-Array-Mode": "true"})

    assert answer.json() == {
        "fields": [
            {"name": "id", "dataTypeID": 23, "tableID": oid, "columnID": 1, "dataTypeSize": 4,
             "dataTypeModifier": -1, "format": "text"},
            {"name": "word", "dataTypeID": 25, "tableID": oid, "columnID": 2, "dataTypeSize": -1,
             "dataTypeModifier": -1, "format": "text"},
            {"name": "yes", "dataTypeID": 16, "tableID": 0, "columnID": 0, "dataTypeSize": 1,
             "dataTypeModifier": -1, "format": "text"},
            {"name": "nothing", "dataTypeID": 25, "tableID": 0, "columnID": 0, "dataTypeSize": -1,
             "dataTypeModifier": -1, "format": "text"},
            {"name": "list", "dataTypeID": 1007, "tableID": 0, "columnID": 0, "dataTypeSize": -1,
             "dataTypeModifier": -1, "format": "text"},
        ],
        "rows": [["7", "word 7", "t", None, "{1}"]],
        "command": "SELECT",
        "rowCount": 1,
        "rowAsArray": True,
    }  # fmt: skip


async def test_neon_without_array_mode_gets_objects_of_text(proxy: Running) -> None:
    found = [(await proxy.post("/sql", {"query": "SELECT 1 AS n, false AS no"})).json() for _ in range(3)]

    assert [(each["rows"], each["rowAsArray"]) for each in found] == [([{"n": "1", "no": "f"}], False)] * 3


async def test_neon_has_fields_without_rows(proxy: Running) -> None:
    found = (await proxy.post("/sql", {"query": "SELECT id FROM things WHERE false"})).json()

    assert [field["name"] for field in found["fields"]] == ["id"]
    assert (found["rows"], found["rowCount"]) == ([], 0)


async def test_the_key_is_the_password_of_neon_s_connection_string(proxy: Running) -> None:
    string = f"postgresql://anybody:{proxy.token}@db.example.com/whatever?sslmode=require&options=-c%20role%3Dpostgres"
    for content_type in ("text/plain;charset=UTF-8", "application/json"):
        answer = await proxy.client.post(
            "/sql",
            content=b'{"query": "SELECT current_user AS me", "params": []}',
            headers={"Neon-Connection-String": string, "Content-Type": content_type},
        )
        assert answer.json()["rows"] == [{"me": proxy.role}]


async def test_a_wrong_key_is_401_and_for_neon_28p01(proxy: Running) -> None:
    wrong = proxy.token[:-1] + ("0" if proxy.token[-1] != "0" else "1")
    answer = await proxy.ask("SELECT 1", token=wrong)
    neon = await proxy.post("/sql", {"query": "SELECT 1"}, wrong)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (neon.status_code, neon.json()["code"]) == (400, "28P01")
    assert (await proxy.client.post("/query", content=b"{}")).status_code == 401


async def test_browsers_may_ask_from_anywhere(proxy: Running) -> None:
    wanted = "authorization, content-type, neon-connection-string, neon-raw-text-output, neon-array-mode, "
    wanted += "neon-batch-isolation-level, neon-batch-read-only, neon-batch-deferrable"
    asked = await proxy.client.options(
        "/sql",
        headers={
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": wanted,
        },
    )
    answer = await proxy.post("/sql", {"query": "SELECT 1"}, headers={"Origin": "https://app.example.com"})

    assert asked.status_code == 204
    assert {each.strip() for each in wanted.split(",")} <= {
        each.strip() for each in asked.headers["access-control-allow-headers"].split(",")
    }
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == "*"


# Modes and names.


async def test_a_named_key_runs_what_it_was_given(proxy: Running, hand: psycopg.Connection) -> None:
    made = await proxy.make_key(mode="named", reads=("personas",))
    share(hand, made.line.role)
    hand.execute(
        "INSERT INTO named_statements (key_id, id, kind, statement, text_hash, parameter_types) VALUES "
        "(%s, 'one-word', 'named', 'SELECT word FROM things WHERE id = $1', sha256('x'), '{integer}'),"
        "(%s, 'all', 'named', 'SELECT count(*) AS n FROM things', sha256('y'), NULL)",
        [made.id, made.id],
    )

    async def named(name: str, body: bytes) -> Any:
        answer = await proxy.post(f"/named/{name}", body, made.token)
        return answer.status_code, answer.json().get("rows", answer.json().get("code"))

    await proxy.ask("SELECT 1", token=made.token)
    await proxy.until(lambda: bool(proxy.services.keyring._entries[made.id].newest.statements), "the key knows them")
    for _ in range(3):
        assert await named("one-word", b'{"parameters": [7]}') == (200, [{"word": "word 7"}])
    assert await named("all", b"") == (200, [{"n": 100}])
    assert await named("one-word", b'{"parameters": ["seven"]}') == (400, "statement_failed")
    for body in (b"", b"{}", b'{"parameters": []}', b'{"parameters": [7, 8]}'):
        assert await named("one-word", body) == (400, "validation_failed")
    assert await named("other", b"{}") == (404, "not_found")
    assert (await proxy.ask("SELECT count(*) AS n FROM things", token=made.token)).status_code == 403
    assert (await proxy.post("/sql", {"query": "SELECT 1"}, made.token)).json()["code"] == "42501"


async def test_an_exact_key_learns_and_then_stays_with_what_it_knows(proxy: Running, hand: psycopg.Connection) -> None:
    made = await proxy.make_key(mode="exact", reads=("personas",))
    share(hand, made.line.role)
    assert (await proxy.ask("SELECT 1 AS n", token=made.token)).status_code == 403
    hand.execute("UPDATE api_keys SET learning_until = now() + interval '1 hour' WHERE id = %s", [made.id])

    async def is_learning() -> bool:
        return (await proxy.ask("SELECT 1 AS n", token=made.token)).status_code == 200

    for _ in range(100):
        if await is_learning():
            break
    refused = await proxy.ask("SELECT pg_sleep(0)", token=made.token)
    hand.execute("UPDATE api_keys SET learning_until = NULL WHERE id = %s", [made.id])
    await proxy.until(
        lambda: proxy.services.keyring._entries[made.id].newest.learning_until is None, "it learns no more"
    )

    assert refused.status_code == 403
    assert (await proxy.ask("SELECT 1 AS n", token=made.token)).status_code == 200
    assert (await proxy.ask("SELECT 1 AS m", token=made.token)).status_code == 403


async def test_a_granted_function_can_be_called(proxy: Running) -> None:
    made = await proxy.make_key(reads=("personas",), calls=("start_call",))

    answer = await proxy.ask("SELECT start_call('u', 'c')", token=made.token)

    # It is the server that has no such version of it, not the policy that refuses.
    assert answer.json()["sqlstate"] == "42883"
    assert (await proxy.ask("SELECT start_call('u', 'c')")).json()["sqlstate"] == "42501"


# Tables of statuses.


def test_both_entrances_answer_an_error_with_the_same_status() -> None:
    shared = set(problems.STATUSES) & set(web_problems.STATUSES)

    assert {kind: problems.STATUSES[kind] for kind in shared} == {kind: web_problems.STATUSES[kind] for kind in shared}


def test_every_error_of_the_proxy_has_an_sqlstate() -> None:
    missing = {kind for kind in problems.STATUSES if problems.sqlstate_of(kind()) == "XX000"}

    assert missing == {errors.StatementFailed}, "which has that of the server"
