"""`callmeback users` against a real database: what it changes, what it prints, and what it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.rows import dict_row

from callmeback import cli

ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The owner's hand: Ann and Bob have accounts."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        for number, email in enumerate((ANN, BOB), 1):
            connection.execute(
                "SELECT register_user(%s, %s, 'x', 'Name', 'UTC', %s)",
                (f"user_{number}", email, f"+1202555010{number}"),
            )
        yield connection


@pytest.fixture
def users(database_url: str, books: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `callmeback users …` on that database, without a terminal."""

    def run(*arguments: str, **environ: str) -> Result:
        for name, value in {"DATABASE_URL": database_url, "CALLMEBACK_HOME": str(tmp_path), **environ}.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(cli.app, ["users", *arguments])
        # Anything else would be a traceback.
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info

        return result

    return run


def account(books: psycopg.Connection[dict[str, Any]], user_id: str = "user_1") -> dict[str, Any]:
    row = books.execute(
        "SELECT available_credits, held_credits, debt_credits, subscription_tier FROM user_credits WHERE user_id = %s",
        (user_id,),
    ).fetchone()
    assert row is not None

    return row


def balances(books: psycopg.Connection[dict[str, Any]]) -> tuple[int, int]:
    row = account(books)

    return row["available_credits"], row["debt_credits"]


def test_list_and_show_have_one_shape_of_json(users: Any) -> None:
    listed = json.loads(users("list", "--json").stdout)
    shown = json.loads(users("show", ANN.upper(), "--json").stdout)
    by_id = json.loads(users("show", "user_1", "--json").stdout)

    assert [item["id"] for item in listed["items"]] == ["user_2", "user_1"]
    assert listed["items"][1] == shown == by_id
    assert set(shown) == {
        "id", "email", "name", "tier", "available_credits", "held_credits", "debt_credits", "role", "is_blocked",
        "is_erased", "created_at",
    }  # fmt: skip
    assert (shown["tier"], shown["role"], shown["is_blocked"]) == ("free", "user", False)


def test_pages_follow_one_another(users: Any) -> None:
    first = json.loads(users("list", "--limit", "1", "--json").stdout)["items"]
    second = json.loads(users("list", "--limit", "1", "--before", first[0]["id"], "--json").stdout)["items"]
    third = json.loads(users("list", "--limit", "1", "--before", second[0]["id"], "--json").stdout)["items"]

    assert [item["id"] for item in (*first, *second, *third)] == ["user_2", "user_1"]


def test_a_table_in_a_pipe_is_whole(users: Any) -> None:
    table = users("list").stdout

    assert ANN in table and BOB in table
    assert "…" not in table


def test_s10_admin_is_a_role_given_here(users: Any, books: psycopg.Connection[dict[str, Any]]) -> None:
    answers = [users("role", ANN, role) for role in ("admin", "admin", "user", "user", "admin")]
    rows = books.execute("SELECT user_id, role, granted_by <> '' AS is_named FROM admin_users").fetchall()

    assert [(answer.exit_code, answer.stderr) for answer in answers] == [(0, "")] * 5
    assert answers[-1].stdout == f"{ANN} is now admin.\n"
    assert rows == [{"user_id": "user_1", "role": "admin", "is_named": True}]
    assert json.loads(users("show", ANN, "--json").stdout)["role"] == "admin"


def test_tier(users: Any, books: psycopg.Connection[dict[str, Any]]) -> None:
    assert users("tier", ANN, "premium").stdout == f"{ANN} is now on premium.\n"
    assert account(books)["subscription_tier"] == "premium"
    assert account(books, "user_2")["subscription_tier"] == "free"


def test_adjust_gives_and_takes_and_what_is_not_there_becomes_debt(
    users: Any, books: psycopg.Connection[dict[str, Any]]
) -> None:
    given = users("adjust", ANN, "+5", "--reason", "a present")
    taken = users("adjust", ANN, "-8", "--reason", "a mistake", "--json")
    in_debt = balances(books)
    repaid = users("adjust", ANN, "10", "--reason", "a payment", "--json")
    proof = books.execute("SELECT is_proved, balance FROM ledger_proof WHERE user_id = 'user_1'").fetchone()
    ledger = books.execute(
        "SELECT seq, amount, type, description FROM credit_transactions WHERE user_id = 'user_1' ORDER BY seq"
    ).fetchall()

    assert given.stdout == f"{ANN}: +5 credits, 5 now.\n"
    assert json.loads(taken.stdout) == {"amount": -8, "balance_after": -3}
    assert in_debt == (0, 3)
    assert json.loads(repaid.stdout) == {"amount": 10, "balance_after": 7}
    assert balances(books) == (7, 0)
    assert proof == {"is_proved": True, "balance": 7}
    assert [tuple(row.values()) for row in ledger] == [
        (1, 5, "admin_adjustment", "a present"),
        (2, -8, "admin_adjustment", "a mistake"),
        (3, 10, "admin_adjustment", "a payment"),
    ]


def test_two_adjusts_alike_are_two(users: Any, books: psycopg.Connection[dict[str, Any]]) -> None:
    """Each run is its own cause; only a retry inside one run would be the same."""
    for _ in range(2):
        users("adjust", ANN, "5", "--reason", "a present")

    assert balances(books) == (10, 0)


def test_block_and_unblock(users: Any, books: psycopg.Connection[dict[str, Any]]) -> None:
    assert users("block", ANN).stdout == f"{ANN} is blocked.\n"
    assert json.loads(users("show", ANN, "--json").stdout)["is_blocked"] is True
    assert users("unblock", ANN).stdout == f"{ANN} may log in and call again.\n"
    assert json.loads(users("show", ANN, "--json").stdout)["is_blocked"] is False


def test_each_change_answers_the_account_in_json(users: Any) -> None:
    changed = [
        json.loads(users(*words, "--json").stdout)
        for words in (
            ("role", ANN, "admin"), ("tier", ANN, "basic"), ("block", ANN), ("unblock", ANN), ("erase", ANN, "--yes"),
        )
    ]  # fmt: skip

    assert [(one["role"], one["tier"], one["is_blocked"], one["is_erased"]) for one in changed[:-1]] == [
        ("admin", "free", False, False),
        ("admin", "basic", False, False),
        ("admin", "basic", True, False),
        ("admin", "basic", False, False),
    ]
    assert (changed[-1]["id"], changed[-1]["is_erased"]) == ("user_1", True)
    assert changed[-1]["email"] != ANN


def test_erase_asks_nobody_where_there_is_no_terminal(users: Any, books: psycopg.Connection[dict[str, Any]]) -> None:
    done = users("erase", ANN)
    again = users("erase", "user_1", "--yes")
    left = books.execute("SELECT email, erased_at IS NOT NULL AS is_erased FROM users WHERE id = 'user_1'").fetchone()

    assert (done.exit_code, done.stdout) == (0, "Erased.\n")
    assert left is not None
    assert left["is_erased"] and left["email"] != ANN
    assert (again.exit_code, again.stderr) == (1, "Error: This person was erased.\n")


# What an argument that is no UTF-8 becomes.
HALF = "\udcff"
NOBODY = "There is no account with this e-mail or id."


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["show", "nobody@example.org"], 1, NOBODY),
        (["show", ""], 1, NOBODY),
        (["show", HALF], 1, "A text contains half a character."),
        (["show"], 2, "Missing argument"),
        (["list", "--limit", "0"], 2, "is not in the range"),
        (["list", "--limit", "many"], 2, "is not a whole number"),
        (["role", ANN, "king"], 2, "not one of 'admin', 'user'"),
        (["role", "nobody", "admin"], 1, NOBODY),
        (["tier", ANN, "gold"], 2, "There is no such plan."),
        (["tier", ANN, HALF], 1, "A text contains half a character."),
        (["adjust", ANN, "5"], 2, "Missing option '--reason'"),
        (["adjust", ANN, "5", "--reason", "  "], 1, "1 to 200 characters"),
        (["adjust", ANN, "5", "--reason", "x" * 201], 1, "1 to 200 characters"),
        (["adjust", ANN, "0", "--reason", "x"], 2, "Nothing would move"),
        (["adjust", ANN, "9" * 30, "--reason", "x"], 2, "is not in the range"),
        (["adjust", ANN, "1.5", "--reason", "x"], 2, "is not a whole number"),
        (["adjust", ANN, "--bogus", "--reason", "x"], 2, "is not a whole number"),
        (["adjust", "nobody", "5", "--reason", "x"], 1, NOBODY),
        (["erase", "nobody", "--yes"], 1, NOBODY),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_wrong_input_is_a_sentence(
    users: Any, books: psycopg.Connection[dict[str, Any]], arguments: list[str], code: int, sentence: str
) -> None:
    answer = users(*arguments)

    assert answer.exit_code == code
    assert sentence in answer.stderr
    assert answer.stdout == ""
    assert balances(books) == (0, 0)


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DATABASE_URL": ""}, "There is no database"),
        ({"DATABASE_URL": "garbage"}, "DATABASE_URL must be"),
        ({"DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:1/nowhere"}, "The database can't be reached"),
        ({"DATABASE_URL": "", "CALLMEBACK_HOME": "/dev/null/home"}, "There is no database"),
        ({"CALLMEBACK_PORT": "99999999"}, "CALLMEBACK_PORT"),
    ],
)
def test_an_installation_that_is_not_there_is_a_sentence(users: Any, environ: dict[str, str], sentence: str) -> None:
    answer = users("list", **environ)

    assert answer.exit_code == 1
    assert f"Error: {sentence}" in answer.stderr
    assert "nothing@" not in answer.stderr


def test_the_operators_hand_needs_the_owner(database_url: str, users: Any) -> None:
    """A role of the services is told so, and changes nothing."""
    address = database_url.replace("callmeback_owner", "callmeback_readonly", 1)

    answer = users("adjust", ANN, "5", "--reason", "x", DATABASE_URL=address)

    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1].startswith("Error: ")
