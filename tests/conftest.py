"""A real PostgreSQL for every test that asks for one: one server a run, one fresh database a test.

`database_url` is a clone of a migrated template, as its owner; `owner`, `api`, `worker`, `voice` and `readonly` are
pools of the roles on that same clone.
"""

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from callmeback.pg import roles
from callmeback.pg.pool import Database

START_TIMEOUT_S = 60.0
POOL_MAX = 8


def pytest_configure() -> None:
    """A shell that runs us in the background has us ignore Ctrl-C, and the programs that tests start inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Cluster(msgspec.Struct, frozen=True):
    """The server of this run; `template` is a migrated database to clone."""

    owner_dsn: str
    superuser_dsn: str
    template: str
    role_secret: str
    programs: str
    major: int


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with (folder / "users").open("w") as users:
        with (folder / "starting").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            # Waits for a keeper that is just ending; while we hold it, none ends.
            fcntl.flock(users, fcntl.LOCK_SH)
            facts = folder / "cluster.json"
            if not facts.exists():
                _start(folder)
        yield msgspec.convert(json.loads(facts.read_text()), Cluster)


def _start(folder: Path) -> None:
    log = folder / "keeper.log"
    with log.open("w") as output:
        keeper = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("cluster_keeper.py"), folder],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (folder / "cluster.json").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            keeper.terminate()
            pytest.fail(f"The tests' server did not start:\n{log.read_text()}", pytrace=False)
        time.sleep(0.02)
    # It outlives us; it is not ours to wait for.
    keeper.returncode = 0


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def superuser(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """The tests' own connection, to make and drop databases."""
    with psycopg.connect(cluster.superuser_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database_url(cluster: Cluster, superuser: psycopg.Connection) -> Iterator[str]:
    """A fresh migrated database, as its owner."""
    yield from _database(cluster, superuser, f"TEMPLATE {cluster.template} STRATEGY file_copy")


@pytest.fixture(scope="session")
def shared_database_url(cluster: Cluster, superuser: psycopg.Connection) -> Iterator[str]:
    """A migrated database for tests that change nothing, as its owner."""
    yield from _database(cluster, superuser, f"TEMPLATE {cluster.template} STRATEGY file_copy")


@pytest.fixture(scope="module")
def module_database_url(cluster: Cluster, superuser: psycopg.Connection) -> Iterator[str]:
    """A migrated database for tests of one module that clean up after themselves, as its owner."""
    yield from _database(cluster, superuser, f"TEMPLATE {cluster.template} STRATEGY file_copy")


@pytest.fixture
def empty_database_url(cluster: Cluster, superuser: psycopg.Connection) -> Iterator[str]:
    """A fresh database without anything of ours, as its owner."""
    yield from _database(cluster, superuser, "TEMPLATE template1 STRATEGY file_copy")


def _database(cluster: Cluster, superuser: psycopg.Connection, how: str) -> Iterator[str]:
    name = f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}"
    superuser.execute(f"CREATE DATABASE {name} OWNER {roles.OWNER} {how}")
    try:
        yield f"{cluster.owner_dsn.removesuffix('/callmeback')}/{name}"
    finally:
        superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def owner(cluster: Cluster, database_url: str) -> AsyncIterator[Database]:
    async with _pool(roles.OWNER, cluster, database_url) as database:
        yield database


@pytest.fixture
async def api(cluster: Cluster, database_url: str) -> AsyncIterator[Database]:
    async with _pool(roles.API, cluster, database_url) as database:
        yield database


@pytest.fixture
async def worker(cluster: Cluster, database_url: str) -> AsyncIterator[Database]:
    async with _pool(roles.WORKER, cluster, database_url) as database:
        yield database


@pytest.fixture
async def voice(cluster: Cluster, database_url: str) -> AsyncIterator[Database]:
    async with _pool(roles.VOICE, cluster, database_url) as database:
        yield database


@pytest.fixture
async def readonly(cluster: Cluster, database_url: str) -> AsyncIterator[Database]:
    async with _pool(roles.READONLY, cluster, database_url) as database:
        yield database


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's clock shows Berlin's time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _pool(role: str, cluster: Cluster, database_url: str) -> Database:
    dsn = roles.dsn_for(role, cluster.role_secret, database_url)

    return Database.open(dsn, name=role, max_size=POOL_MAX, wait_s=5.0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what this machine could not run, and for want of what."""
    reasons = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", []))
    if reasons:
        terminalreporter.section("not run on this machine")
        for reason, number in sorted(reasons.items()):
            terminalreporter.line(f"{reason}: {number}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration everything can run, so a skipped test is a failed one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    is_ci = os.environ.get("CI", "").lower() == "true"
    if is_ci and reporter is not None and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)

    return text.removeprefix("Skipped: ").removeprefix("capability: ")
