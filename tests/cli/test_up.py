"""`callmeback up` as somebody uses it: first start, second start, another one, Ctrl-C, and every way of dying."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests import ports

from callmeback.cli import up
from callmeback.cli.supervisor import Supervisor
from callmeback.pg import home
from callmeback.settings import Settings

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0
SOURCES = Path(__file__).parents[2] / "src"


class Installation:
    """A home and ports of its own, and the processes that were started on it."""

    def __init__(self, home: Path, port: int, proxy_port: int) -> None:
        self.home = home
        self.port = port
        self.proxy_port = proxy_port
        self.log = home.with_name(f"{home.name}.log")
        self.processes: list[subprocess.Popen[bytes]] = []

    def environ(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCES),
            "CALLMEBACK_HOME": str(self.home),
            # Backups are their own tests'; here they would only take time.
            "CALLMEBACK_BACKUP_SCHEDULE": "no",
            "CALLMEBACK_PORT": str(self.port),
            "CALLMEBACK_PROXY_PORT": str(self.proxy_port),
            **more,
        }

    def up(self, **more: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "callmeback", "up"],
                env=self.environ(**more),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)

        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "callmeback", *arguments],
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self) -> float:
        begun = time.monotonic()
        while not self.is_ready():
            assert time.monotonic() - begun < PATIENCE_S, self.log.read_text()
            assert self.processes[-1].poll() is None, self.log.read_text()
            time.sleep(0.02)

        return time.monotonic() - begun

    def running(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "run.json").read_text())

        return found

    def family(self) -> dict[str, int]:
        """The children of the last `up`, by what they are."""
        found = {}
        parent = self.processes[-1].pid
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_text().split("\0")
                if int(fields[1]) == parent and fields[0] != "Z":
                    is_ours = "callmeback" in command
                    name = command[command.index("callmeback") + 1] if is_ours else Path(command[0]).name
                    found[name] = int(entry.name)

        return found


@pytest.fixture
def installation() -> Iterator[Installation]:
    folder = Path(tempfile.mkdtemp(prefix="callmeback-up-"))
    folder.chmod(0o711)
    with ports.kept(2) as (port, proxy_port):
        made = Installation(folder / "home", port, proxy_port)
        yield made
        for process in made.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
    wait_until(lambda: not users_of(folder), "nothing runs there")
    shutil.rmtree(folder)


def users_of(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(folder):
                found.append(entry.name)

    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s until {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def write_row(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (1)")


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def start_and_stop(installation: Installation) -> float:
    """Seconds to /ready, after which it is stopped again."""
    process = installation.up()
    seconds = installation.wait_ready()
    wait_until(lambda: "is ready" in installation.log.read_text(), "it says so")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0

    return seconds


def test_up_says_where_it_is_and_what_is_simulated(installation: Installation) -> None:
    start_and_stop(installation)

    said = installation.log.read_text()
    assert f"Call Me Back is ready: http://127.0.0.1:{installation.port}" in said
    assert "Simulated, for want of keys: carrier, listener, brain, voice, payments. No real phone rings." in said


def test_up_says_that_phones_ring_where_only_the_payments_are_simulated(tmp_path: Path) -> None:
    keys = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "x", "TWILIO_PHONE_NUMBER": "+12025550100"}
    keys |= {name: "x" for name in ("DEEPGRAM_API_KEY", "CEREBRAS_API_KEY", "ELEVENLABS_API_KEY")}
    said = up.banner(Settings.from_env({"CALLMEBACK_HOME": str(tmp_path), **keys}), None)

    assert "Simulated, for want of keys: payments. Calls reach real phones and cost money." in said


def test_a_second_up_on_the_same_home_says_so(installation: Installation) -> None:
    installation.up()
    installation.wait_ready()

    answer = installation.run("up")

    assert answer.returncode == 1
    assert "already running" in answer.stderr
    assert f"http://127.0.0.1:{installation.port}" in answer.stderr
    assert installation.is_ready()


def test_commands_find_the_running_up_through_its_home(installation: Installation) -> None:
    installation.up()
    installation.wait_ready()
    url = installation.run("psql", "--url").stdout.strip()
    status = json.loads(installation.run("migrate", "status", "--json").stdout)

    assert url.startswith("postgresql://callmeback_owner:")
    with psycopg.connect(url) as connection:
        assert connection.info.dbname == "callmeback"
    assert status["is_current"] is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_leaves_nothing(installation: Installation, number: signal.Signals) -> None:
    process = installation.up()
    installation.wait_ready()
    family = installation.family()

    process.send_signal(number)

    assert process.wait(PATIENCE_S) == 0
    assert set(family) == {"postgres", "serve", "proxy", "worker"}
    assert [name for name, pid in family.items() if is_alive(pid)] == []
    assert not (installation.home / "run.json").exists()


def test_everything_killed_comes_back_with_all_data(installation: Installation) -> None:
    process = installation.up()
    installation.wait_ready()
    dsn = installation.running()["owner_dsn"]
    write_row(dsn)
    family = installation.family()
    process.send_signal(signal.SIGSTOP)
    for pid in family.values():
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    installation.up()
    installation.wait_ready()

    assert rows(dsn) == 1
    assert installation.running()["owner_dsn"] == dsn


@pytest.mark.parametrize("victim", ["serve", "proxy", "worker", "postgres"])
def test_a_killed_part_comes_back(installation: Installation, victim: str) -> None:
    installation.up()
    installation.wait_ready()
    wait_until(lambda: "is ready" in installation.log.read_text(), "it is up")
    dsn = installation.running()["owner_dsn"]
    write_row(dsn)
    pid = installation.family()[victim]

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: installation.family().get(victim, pid) != pid, f"{victim} is back")
    installation.wait_ready()
    assert rows(dsn) == 1


def test_a_killed_up_takes_its_services_along(installation: Installation) -> None:
    process = installation.up()
    installation.wait_ready()
    family = installation.family()

    process.kill()

    wait_until(lambda: not any(is_alive(pid) for pid in family.values()), "all are gone")


def test_a_taken_port_is_named(installation: Installation) -> None:
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", installation.port))
        taker.listen()

        answer = installation.run("up")

    assert answer.returncode == 1
    assert "CALLMEBACK_PORT" in answer.stderr


def test_with_a_database_url_no_server_is_started(
    installation: Installation, cluster: Any, empty_database_url: str
) -> None:
    process = installation.up(DATABASE_URL=empty_database_url, CALLMEBACK_ROLE_SECRET=cluster.role_secret)
    installation.wait_ready()
    family = installation.family()
    process.send_signal(signal.SIGTERM)

    assert process.wait(PATIENCE_S) == 0
    assert set(family) == {"serve", "proxy", "worker"}
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM schema_migrations").fetchone() == (True,)


def test_a_database_whose_roles_have_other_passwords_is_explained(
    installation: Installation, empty_database_url: str
) -> None:
    process = installation.up(DATABASE_URL=empty_database_url)

    assert process.wait(PATIENCE_S) == 1
    assert "CALLMEBACK_ROLE_SECRET" in installation.log.read_text()


@pytest.mark.parametrize(
    ("first", "second", "goes_on"),
    [(home.REST, home.REST, True), (home.REST, signal.SIGTERM, False), (signal.SIGTERM, home.REST, False)],
)
def test_up_goes_on_after_a_restore_unless_it_was_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: signal.Signals, second: signal.Signals, goes_on: bool
) -> None:
    """Before the restore asked for room, or while the live calls that it waits for go on."""

    class Slow(Supervisor):
        def start(self) -> None:
            os.kill(os.getpid(), first)

        async def failed(self) -> None:
            await asyncio.Event().wait()

        async def stop(self) -> None:
            os.kill(os.getpid(), second)
            await asyncio.sleep(0.05)

    monkeypatch.setattr(up, "Supervisor", Slow)

    assert asyncio.run(up.supervise(Settings(home=tmp_path), None, ())) is goes_on
