"""The command line itself: what it lists, how fast, and with which exit codes."""

import errno
import importlib
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.test_docs import commands

from callmeback import cli, errors, logs
from callmeback.cli import entrance, listening, psql
from callmeback.cli.entrance import Entrance
from callmeback.pg import rooms
from callmeback.pg.place import Place

# They run until a signal, become another program, write a file, or have nothing but their end to tell.
WITHOUT_JSON = {"up", "serve", "proxy", "worker", "psql", "books export", "reload"}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callmeback", *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_listed_command_exists_and_explains_itself(name: str) -> None:
    command = importlib.import_module(f"callmeback.cli.{name}").command

    assert isinstance(command, click.Command)
    assert command.help


def test_help_lists_every_command_and_waits_for_none_to_load() -> None:
    answer = run("--help", PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}

    assert answer.returncode == 0
    assert all(f"  {name} " in answer.stdout for name in cli.COMMANDS)
    assert {name for name in loaded if name.startswith("callmeback.")} == {"callmeback.cli", "callmeback.errors"}
    assert loaded & {"psycopg", "litestar", "structlog"} == set()


def test_whatever_has_a_result_tells_it_in_json() -> None:
    without = {
        name.removeprefix("callmeback ")
        for name, command in commands(cli.app, "callmeback")
        if not isinstance(command, click.Group) or command.invoke_without_command
        if all("--json" not in each.opts for each in command.params)
    }

    assert without == WITHOUT_JSON


def test_what_is_logged_stays_out_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def talkative() -> None:
        logs.get_logger(__name__).warning("a check broke", email="ann@example.org")
        click.echo("{}")

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: talkative)
    answer = CliRunner().invoke(cli.app, ["doctor"])

    assert answer.stdout == "{}\n"
    assert "a check broke" in answer.stderr
    assert "ann@example.org" not in answer.stderr


@pytest.mark.parametrize("arguments", [["jobs", "--json", "run", "x"], ["restore", "--in-place", "rows"]])
def test_an_option_before_a_subcommand_that_would_not_hear_it_is_wrong_usage(arguments: list[str]) -> None:
    answer = CliRunner().invoke(cli.app, arguments)

    assert (answer.exit_code, answer.stdout) == (2, "")
    assert f"{arguments[1]} says nothing before {arguments[2]}; say it after." in answer.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--nonsense"], ["migrate", "status", "extra"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    answer = run(*arguments)

    assert answer.returncode == 2
    assert "Usage:" in answer.stderr


def test_a_failure_is_1_and_one_line(tmp_path: Path) -> None:
    answer = run("psql", CALLMEBACK_HOME=str(tmp_path))

    assert answer.returncode == 1
    assert answer.stderr == "Error: There is no database: start `callmeback up`, or set DATABASE_URL.\n"
    assert answer.stdout == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_stream_rather_than_a_traceback(closed: str, tmp_path: Path) -> None:
    shell = f"{sys.executable} -m callmeback users erase nobody@example.org {closed}"

    answer = subprocess.run(
        ["sh", "-c", shell],
        env={"PATH": "/usr/bin:/bin", "CALLMEBACK_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode == 1
    assert "2>&-" in closed or "There is no database" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_full_disk_behind_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "callmeback", "report", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )

    assert answer.returncode == 1
    assert answer.stderr == "Error: Standard output, or a file, can't be written: No space left on device.\n"


def test_no_room_where_something_is_unpacked_is_said_of_that_place(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, None)

    with (
        pytest.raises(errors.RestoreRefused, match=f"There is no room left in {tmp_path}"),
        rooms.room(place, tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_can_not_be_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def misled() -> None:
        Path("/dev/null/x").mkdir()

    monkeypatch.setattr(psql, "command", click.Command("psql", callback=misled))
    answer = CliRunner().invoke(cli.app, ["psql"])

    assert (answer.exit_code, answer.stderr) == (1, "Error: /dev/null/x can't be written: Not a directory.\n")


@pytest.mark.parametrize("number", ["1_0", "１２", " 5", "+5", "1e1", "5.0"])
def test_a_number_that_only_python_reads_is_wrong_usage(number: str) -> None:
    answer = CliRunner().invoke(cli.app, ["coupons", "add", "SPRING", "--cents", number])

    assert answer.exit_code == 2
    assert f"{number!a} is not a whole number in digits, such as 1000." in answer.stderr


@pytest.mark.parametrize(
    "arguments", [["x y", "--percent", "5"], ["AB", "--percent", "5"], ["ABC", "--cents", "1" + "0" * 20]]
)
def test_a_coupon_that_can_not_be_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.app, ["coupons", "add", *arguments]).exit_code == 2


def test_a_table_of_a_journal_is_wrong_usage() -> None:
    answer = CliRunner().invoke(cli.app, ["books", "export", "--what", "costs"])

    assert answer.exit_code == 2
    assert "--what goes with --format csv." in answer.stderr


def test_an_argument_is_named_as_the_reference_names_it() -> None:
    wrong = [["rates", "set", "nobody"], ["rates", "set", "twilio", "m", "parsec"], ["users", "role", "a@b.c", "king"]]
    said = [CliRunner().invoke(cli.app, arguments).stderr.partition("Invalid value for ")[2] for arguments in wrong]

    assert [text.partition(":")[0] for text in said] == [
        "'VENDOR'",
        "'UNIT'",
        "'ROLE'",
    ]


async def _never_ready(scope: dict[str, str], receive: object, send: object) -> None:
    raise RuntimeError(scope["type"])


def test_a_server_that_can_not_begin_ends_with_1_and_says_which_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PORT_WAIT_S", 0)
    with listening.bind("127.0.0.1", 0) as taken:
        port = listening.port_of(taken)
        server = Entrance(entrance.configuration(_never_ready, host="127.0.0.1", port=port, grace_seconds=1))
        with pytest.raises(errors.ConfigurationError, match=f":{port} can't be .* set CALLMEBACK_HOST or THE_PORT"):
            server.listen(None, "THE_PORT")
    with pytest.raises(SystemExit) as ended:
        server.listen(None, "THE_PORT")

    assert ended.value.code == 1


def test_a_number_that_is_no_socket_is_one_line(tmp_path: Path) -> None:
    database = "postgresql://nobody:nothing@127.0.0.1:1/nowhere"

    answer = run("proxy", "--fd", "99", CALLMEBACK_HOME=str(tmp_path), DATABASE_URL=database)

    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == "Error: File 99 is no socket: Bad file descriptor."


def test_refused_settings_are_1_before_anything_starts(tmp_path: Path) -> None:
    answer = run("up", CALLMEBACK_HOME=str(tmp_path / "home"), CALLMEBACK_ENV="production")

    assert answer.returncode == 1
    assert "simulated" in answer.stderr
    assert not (tmp_path / "home").exists()


def test_no_traceback_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise errors.Overloaded()

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: failing)

    answer = CliRunner().invoke(cli.app, ["up"])

    assert answer.exit_code == 1
    assert answer.output == "Error: Too busy right now; try again in a moment.\n"


def test_psql_prints_the_address_and_ends(database_url: str) -> None:
    answer = run("psql", "--url", DATABASE_URL=database_url)

    assert answer.returncode == 0
    assert answer.stdout == f"{database_url}\n"


def test_psql_passes_its_arguments_on(database_url: str) -> None:
    answer = run("psql", "-At", "-c", "SELECT current_user", DATABASE_URL=database_url)

    assert (answer.returncode, answer.stdout) == (0, "callmeback_owner\n")


def test_psql_answers_with_the_exit_code_of_psql(database_url: str) -> None:
    assert run("psql", "-v", "ON_ERROR_STOP=1", "-c", "SELECT 1/0", DATABASE_URL=database_url).returncode == 1


@pytest.mark.parametrize(
    ("dsn", "address", "password"),
    [
        ("postgresql://u:p%40w@h:1/d?sslmode=require", "postgresql://u@h:1/d?sslmode=require", "p@w"),
        ("postgresql://u@h/d", "postgresql://u@h/d", None),
        ("postgresql://u:p@a:1,b:2/d", "postgresql://u@a:1,b:2/d", "p"),
        ("host=h dbname=d", "host=h dbname=d", None),
    ],
)
def test_the_password_stays_out_of_the_arguments(dsn: str, address: str, password: str | None) -> None:
    assert psql.without_password(dsn) == (address, password)


def test_apply_migrations_is_the_specifications_command(empty_database_url: str) -> None:
    script = Path(__file__).parents[2] / "apply-migrations.sh"
    results = [
        subprocess.run(
            [script, "--json"],
            env={"PATH": "/usr/bin:/bin", "DATABASE_URL": empty_database_url},
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    ]
    first, second = (json.loads(result.stdout)["items"] for result in results)

    assert next(step["file"] for step in first).startswith("001_")
    assert second == []
