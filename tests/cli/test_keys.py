"""`callmeback keys` against a real database: what it makes, what it prints, and what it refuses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from tests.conftest import Cluster

from callmeback import cli
from callmeback.pg import roles

ANN = "ann@example.org"


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand: Ann has an account, and an erased person had one."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT register_user('user_1', %s, 'x', 'Ann', 'UTC', '+12025550101')", (ANN,))
        connection.execute("SELECT register_user('user_2', 'gone@example.org', 'x', 'Bob', 'UTC', '+12025550102')")
        connection.execute("SELECT erase_user('user_2', 'operator')")
        yield connection


@pytest.fixture
def callmeback_keys(
    cluster: Cluster, database_url: str, books: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Runs `callmeback keys …` on that database as a user who may make roles, without a terminal."""
    name = database_url.rpartition("/")[2]
    superuser = f"{cluster.superuser_dsn.removesuffix('/callmeback')}/{name}"

    def run(*arguments: str, stdin: str | bytes | None = None, **environ: str) -> Result:
        given = {
            "DATABASE_URL": superuser,
            "CALLMEBACK_HOME": str(tmp_path),
            "CALLMEBACK_ROLE_SECRET": cluster.role_secret,
        }
        for variable, value in {**given, **environ}.items():
            monkeypatch.setenv(variable, value)
        result = CliRunner().invoke(cli.app, ["keys", *arguments], input=stdin)
        # Anything else would be a traceback.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info

        return result

    return run


def made(result: Result) -> dict[str, Any]:
    assert (result.exit_code, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)

    return found


def test_create_prints_the_key_once(callmeback_keys: Any, books: psycopg.Connection) -> None:
    key = made(
        callmeback_keys(
            "create", "edge", "--mode", "policy", "--read", "users,calls", "--read", "personas", "--write",
            "user_preferences", "--call", "start_call", "--as-user", ANN.upper(), "--pii", "--expires", "30d", "--cidr",
            "192.0.2.0/24,2001:db8::/32", "--rate", "5", "--concurrency", "2", "--json",
        )
    )  # fmt: skip
    listed = json.loads(callmeback_keys("list", "--json").stdout)["items"]
    stored = books.execute("SELECT secret_hash FROM api_keys").fetchall()

    assert re.fullmatch(rf"cmb_{key['id']}_[0-9a-f]{{64}}", key["key"])
    assert listed == [{name: value for name, value in key.items() if name != "key"}]
    assert {name: key[name] for name in ("name", "mode", "state", "read", "write", "call", "as_user", "pii")} == {
        "name": "edge", "mode": "policy", "state": "live", "read": ["calls", "personas", "users"],
        "write": ["user_preferences"], "call": ["start_call"], "as_user": "user_1", "pii": True,
    }  # fmt: skip
    assert (key["rate"], key["concurrency"], key["cidrs"]) == (5, 2, ["192.0.2.0/24", "2001:db8::/32"])
    assert key["expires_at"] is not None
    assert key["key"][-64:].encode() not in stored[0][0]


def test_its_role_can_log_in(callmeback_keys: Any, cluster: Cluster, database_url: str) -> None:
    key = made(callmeback_keys("create", "reader", "--read", "subscription_tiers", "--json"))
    with psycopg.connect(roles.dsn_for(key["role"], cluster.role_secret, database_url)) as session:
        tiers = session.execute("SELECT count(*) FROM subscription_tiers").fetchone()

    assert key["mode"] == "named"
    assert tiers == (4,)


def test_without_json_the_key_stands_alone_on_its_line(callmeback_keys: Any) -> None:
    answer = callmeback_keys("create", "plain", "--read", "all")
    first, key = answer.stdout.splitlines()

    assert first.endswith("mode named: reads all; personal data masked")
    assert key.startswith("cmb_")
    assert "not shown again" in answer.stderr


def test_a_table_in_a_pipe_is_whole(callmeback_keys: Any) -> None:
    key = made(callmeback_keys("create", "edge", "--write", "blocked_numbers", "--rate", "3", "--json"))
    table = callmeback_keys("list").stdout

    assert key["id"] in table
    assert "writes blocked_numbers; personal data masked" in table
    assert "3/s" in table
    assert key["key"] not in table


def test_rotate_and_revoke(callmeback_keys: Any, books: psycopg.Connection) -> None:
    key = made(callmeback_keys("create", "edge", "--read", "users", "--json"))
    rotated = made(callmeback_keys("rotate", "edge", "--grace", "2h", "--json"))
    ended = made(callmeback_keys("rotate", key["id"], "--grace", "0s", "--json"))
    # The text of a key names it too, whichever of its secrets it holds.
    revoked = callmeback_keys("revoke", rotated["key"])
    again = callmeback_keys("revoke", key["id"], "--json")
    living = json.loads(callmeback_keys("list", "--json").stdout)["items"]
    everyone = json.loads(callmeback_keys("list", "--all", "--json").stdout)["items"]
    granted = books.execute(
        "SELECT count(*) FROM pg_shdepend WHERE refobjid = to_regrole(%s) AND deptype = 'a'"
        " AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())", (key["role"],),
    ).fetchone()  # fmt: skip

    assert len({key["key"], rotated["key"], ended["key"]}) == 3
    assert rotated["other_secret_until"] is not None
    assert ended["other_secret_until"] is None
    assert revoked.stdout == f"edge ({key['id']}) is revoked.\n"
    assert json.loads(again.stdout)["state"] == "revoked"
    assert (living, [item["state"] for item in everyone]) == ([], ["revoked"])
    assert granted == (0,)
    assert callmeback_keys("rotate", "edge").stderr == "Error: This key is revoked.\n"


def test_allow_registers_what_the_role_may_run(callmeback_keys: Any, tmp_path: Path) -> None:
    key = made(callmeback_keys("create", "edge", "--read", "personas,users", "--json"))
    file = tmp_path / "persona.sql"
    file.write_text("-- One persona.\nSELECT id, name FROM personas WHERE id = $1 AND max_tokens >= $2;\n")
    first = made(callmeback_keys("allow", "edge", "--name", "persona", "--sql", str(file), "--json"))
    second = made(callmeback_keys("allow", "edge", "--name", "persona", "--sql", "-", "--json", stdin="SELECT 'é'"))
    listed = json.loads(callmeback_keys("statements", "edge", "--json").stdout)["items"]
    table = callmeback_keys("statements", "edge").stdout
    forgotten = made(callmeback_keys("forget", "edge", "--name", "persona", "--json"))

    assert (first["parameter_types"], second["parameter_types"]) == (["text", "integer"], [])
    assert [(item["id"], item["kind"], item["statement"], item["parameter_types"]) for item in listed] == [
        ("persona", "named", "SELECT 'é'", [])
    ]
    assert "SELECT 'é'" in table
    assert forgotten == {"key": key["id"], "name": "persona"}
    assert json.loads(callmeback_keys("statements", "edge", "--json").stdout)["items"] == []


def test_allow_takes_writes_to_tables_that_are_read_through_a_view(callmeback_keys: Any) -> None:
    """A masked key reads a view of the table's name; what it writes is the table, as when the statement runs."""
    grants = ("--read", "call_scenario_templates", "--write", "call_scenario_templates")
    made(callmeback_keys("create", "edge", *grants, "--json"))
    statement = "UPDATE call_scenario_templates SET scenario_text = $2 WHERE id = $1 RETURNING id"
    allowed = made(callmeback_keys("allow", "edge", "--name", "one", "--sql", "-", "--json", stdin=statement))
    listed = json.loads(callmeback_keys("statements", "edge", "--json").stdout)["items"]

    assert allowed["parameter_types"] == ["text", "text"]
    assert [item["statement"] for item in listed] == [statement]


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("SELECT pg_sleep(1)", "pg_sleep"),
        ("SELECT set_config('role', 'none', false)", "set_config"),
        ("SELECT (u).password_hash FROM users AS u", "password_hash"),
        ("EXPLAIN (SETTINGS) SELECT 1", "syntax error"),
        ("SHOW data_directory", "syntax error"),
    ],
)
def test_allow_refuses_what_would_be_refused_at_every_use(callmeback_keys: Any, statement: str, word: str) -> None:
    made(callmeback_keys("create", "edge", "--read", "users", "--json"))
    answer = callmeback_keys("allow", "edge", "--name", "one", "--sql", "-", stdin=statement)

    assert answer.exit_code == 1
    assert word in answer.stderr


def test_learn_is_for_exact_keys(callmeback_keys: Any, books: psycopg.Connection) -> None:
    key = made(callmeback_keys("create", "orm", "--mode", "exact", "--read", "users", "--json"))
    made(callmeback_keys("create", "other", "--json"))
    learning = made(callmeback_keys("learn", "orm", "--for", "10m", "--json"))
    learnt = books.execute("SELECT learn_statement(%s, 'SELECT 1')", (key["id"],)).fetchone()
    named = made(callmeback_keys("allow", "orm", "--name", "one", "--sql", "-", "--json", stdin="SELECT 1"))
    stopped = callmeback_keys("learn", "orm", "--stop")
    refused = callmeback_keys("learn", "other")
    listed = json.loads(callmeback_keys("statements", "orm", "--json").stdout)["items"]

    assert learning["learning_until"] is not None
    assert learnt == (True,)
    assert named["parameter_types"] == []
    assert stopped.stdout == "orm knows 1 statements and learns no more.\n"
    assert (refused.exit_code, refused.stderr) == (
        1, "Error: A key of mode named doesn't learn; one of mode exact does.\n"
    )  # fmt: skip
    assert [(item["id"], item["kind"], item["parameter_types"]) for item in listed] == [("one", "exact", None)]


def test_sync_makes_what_a_restore_lacks(
    callmeback_keys: Any, books: psycopg.Connection, superuser: psycopg.Connection, cluster: Cluster, database_url: str
) -> None:
    """A dump has keys and scopes; roles belong to the cluster, and without them a restore leaves their grants out."""
    key = made(callmeback_keys("create", "edge", "--read", "users,token_blacklist", "--as-user", ANN, "--json"))
    dead = made(callmeback_keys("create", "dead", "--read", "login_attempts,erasures", "--json"))
    books.execute("SELECT take_scope(%s, true)", (key["role"],))
    books.execute("UPDATE api_keys SET revoked_at = now() WHERE id = %s", (dead["id"],))
    superuser.execute(f"DROP ROLE {key['role']}")
    synced = json.loads(callmeback_keys("sync", "--json").stdout)["items"]
    again = json.loads(callmeback_keys("sync", "--json").stdout)["items"]
    with psycopg.connect(roles.dsn_for(key["role"], cluster.role_secret, database_url)) as session:
        seen = session.execute("SELECT id FROM users").fetchall()

    assert {item["role"]: item["state"] for item in synced} == {key["role"]: "granted", dead["role"]: "dropped"}
    assert {item["role"]: item["state"] for item in again} == {key["role"]: "granted"}
    assert seen == [("user_1",)]


def test_sync_mends_a_role_that_changed_itself(callmeback_keys: Any, cluster: Cluster, database_url: str) -> None:
    """PostgreSQL lets every role set its own password and defaults."""
    key = made(callmeback_keys("create", "edge", "--read", "users", "--write", "user_preferences", "--json"))
    dsn = roles.dsn_for(key["role"], cluster.role_secret, database_url)
    with psycopg.connect(dsn, autocommit=True) as session:
        session.execute("ALTER ROLE CURRENT_USER SET statement_timeout = 0")
        session.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
    callmeback_keys("sync")
    with psycopg.connect(dsn, autocommit=True) as session:
        timeout = session.execute("SHOW statement_timeout").fetchone()
        seen = session.execute("SELECT id FROM users ORDER BY id LIMIT 1").fetchone()

    assert (timeout, seen) == (("10s",), ("user_1",))


def test_who_may_not_make_roles_is_told_so(callmeback_keys: Any, database_url: str) -> None:
    answer = callmeback_keys("create", "edge", "--read", "phones,users,calls", "--pii", DATABASE_URL=database_url)

    assert answer.exit_code == 1
    assert "give it CREATEROLE" in answer.stderr
    assert json.loads(callmeback_keys("list", "--json").stdout)["items"] == []


def test_an_ambiguous_name_is_not_guessed(callmeback_keys: Any) -> None:
    ids = [made(callmeback_keys("create", "edge", "--json"))["id"] for _ in range(2)]
    answer = callmeback_keys("revoke", "edge")
    callmeback_keys("revoke", ids[0])
    only = callmeback_keys("revoke", "edge", "--json")

    assert answer.exit_code == 1
    assert all(key_id in answer.stderr for key_id in ids)
    assert json.loads(only.stdout)["id"] == ids[1]


NOBODY = "There is no key with this name or id."


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["create"], 2, "Missing argument"),
        (["create", ""], 1, "1 to 100 printable characters"),
        (["create", "x" * 101], 1, "1 to 100 printable characters"),
        (["create", "x\ny"], 1, "1 to 100 printable characters"),
        (["create", "x", "--mode", "root"], 2, "not one of 'named'"),
        (["create", "x", "--read", "nosuch"], 1, "There is no table or view nosuch that a key may read."),
        (["create", "x", "--read", "api_keys"], 1, "There is no table or view api_keys that a key may read."),
        (["create", "x", "--read", "schema_migrations"], 1, "that a key may read."),
        (["create", "x", "--read", "masked.users"], 1, "'masked.users' is not the name of a table"),
        (["create", "x", "--read", "users; DROP TABLE users"], 1, "is not the name of a table"),
        (["create", "x", "--read", "\udcff"], 1, "is not the name of a table"),
        (["create", "x", "--write", "all"], 1, "Only reading can be granted for all."),
        (["create", "x", "--write", "call_logs"], 1, "call_logs is a view, which nobody writes."),
        (["create", "x", "--write", "user_credits"], 1, "user_credits is written by functions only"),
        (["create", "x", "--write", "sql_scopes"], 1, "There is no table sql_scopes that a key may write."),
        (["create", "x", "--call", "pg_read_file"], 1, "There is no function pg_read_file."),
        (["create", "x", "--call", "login_lookup"], 1, "login_lookup handles secrets"),
        (["create", "x", "--call", "touch_updated_at"], 1, "no key may call it."),
        (["create", "x", "--call", "proxy_keys"], 1, "no key may call it."),
        (["create", "x", "--as-user", "nobody"], 1, "There is no account with this e-mail or id."),
        (["create", "x", "--as-user", "user_2"], 1, "This person was erased."),
        (["create", "x", "--as-user", ANN, "--read", "daily_margin"], 1, "daily_margin has no rows of one person"),
        (["create", "x", "--as-user", ANN, "--write", "blocked_numbers"], 1, "has no rows of one person"),
        (["create", "x", "--as-user", ANN, "--call", "finish_call"], 1, "finish_call doesn't ask whose it is"),
        (["create", "x", "--expires", "30"], 2, "is not a length of time such as 90s"),
        (["create", "x", "--expires", "-1d"], 2, "is not a length of time such as 90s"),
        (["create", "x", "--expires", "0d"], 2, "it has to be above zero"),
        (["create", "x", "--expires", "99999w"], 1, "at most 3660 days"),
        (["create", "x", "--cidr", "192.0.2.1/24"], 1, "is not a network such as"),
        (["create", "x", "--cidr", "everywhere"], 1, "is not a network such as"),
        (["create", "x", "--rate", "0"], 2, "is not in the range"),
        (["create", "x", "--rate", "many"], 2, "is not a whole number"),
        (["create", "x", "--concurrency", "-1"], 2, "is not a whole number"),
        (["rotate"], 2, "Missing argument"),
        (["rotate", "nobody"], 1, NOBODY),
        (["rotate", "nobody", "--grace", "60d"], 1, "at most 31 days"),
        (["revoke", "nobody"], 1, NOBODY),
        (["revoke", ""], 1, NOBODY),
        (["revoke", "\udcff"], 1, "A text contains half a character."),
        (["learn", "nobody"], 1, NOBODY),
        (["learn", "nobody", "--for", "0s"], 2, "it has to be above zero"),
        (["allow", "nobody", "--name", "x", "--sql", "-"], 1, NOBODY),
        (["allow", "nobody", "--sql", "-"], 2, "Missing option '--name'"),
        (["allow", "nobody", "--name", "x"], 2, "Missing option '--sql'"),
        (["allow", "nobody", "--name", "x", "--sql", "/nowhere"], 2, "No such file"),
        (["statements", "nobody"], 1, NOBODY),
        (["forget", "nobody", "--name", "x"], 1, NOBODY),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_wrong_input_is_a_sentence(
    callmeback_keys: Any, books: psycopg.Connection, arguments: list[str], code: int, sentence: str
) -> None:
    answer = callmeback_keys(*arguments, stdin="SELECT 1")

    assert answer.exit_code == code
    assert sentence in answer.stderr
    assert answer.stdout == ""
    assert books.execute("SELECT count(*) FROM api_keys").fetchone() == (0,)


@pytest.mark.parametrize(
    ("name", "statement", "sentence"),
    [
        ("X", b"SELECT 1", "small letters, digits"),
        ("a/b", b"SELECT 1", "small letters, digits"),
        ("", b"SELECT 1", "small letters, digits"),
        ("x", b"", "1 to 1048576 bytes"),
        ("x", b"SELECT '" + b"x" * 1_048_576 + b"'", "1 to 1048576 bytes"),
        ("x", b"SELECT '\0'", "none of them NUL"),
        ("x", b"SELECT '\xff'", "The statement is not UTF-8."),
        ("x", b"SELECT 1; SELECT 2", "cannot insert multiple commands into a prepared statement (42601)"),
        ("x", b"COMMIT", "(42601)"),
        ("x", b"SET ROLE callmeback_owner", "(42601)"),
        ("x", b"COPY users TO PROGRAM 'id'", "(42601)"),
        ("x", b"SELEC 1", "(42601)"),
        ("x", b"SELECT 1 FROM nowhere", "(42P01)"),
        ("x", b"SELECT 1 FROM calls", "permission denied for"),
        ("x", b"SELECT password_hash FROM public.users", "permission denied for"),
        ("x", b"UPDATE public.users SET name = 'x'", "permission denied for"),
        ("x", b"SELECT $1", None),
        ("x", b"SELECT $2::int", "(42P18)"),
    ],
)
def test_a_statement_that_is_refused_says_why(
    callmeback_keys: Any, books: psycopg.Connection, name: str, statement: bytes, sentence: str | None
) -> None:
    made(callmeback_keys("create", "edge", "--read", "users", "--json"))
    answer = callmeback_keys("allow", "edge", "--name", name, "--sql", "-", stdin=statement)
    (kept,) = books.execute("SELECT count(*) FROM named_statements").fetchone() or (None,)

    assert (answer.exit_code, kept) == ((0, 1) if sentence is None else (1, 0))
    assert (sentence or "") in answer.stderr


def test_a_statement_is_examined_and_never_run(callmeback_keys: Any, books: psycopg.Connection) -> None:
    made(callmeback_keys("create", "edge", "--write", "blocked_numbers", "--json"))
    answer = callmeback_keys(
        "allow", "edge", "--name", "block", "--sql", "-", "--json",
        stdin="INSERT INTO public.blocked_numbers (number, reason) VALUES ('+12025550150', $1)",
    )  # fmt: skip

    assert made(answer)["parameter_types"] == ["text"]
    assert books.execute("SELECT count(*) FROM blocked_numbers").fetchone() == (0,)
