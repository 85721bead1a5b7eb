"""The worker's life: duties go on beside one another whatever one of them does, and end within their bounds."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from callmeback import errors, worker
from callmeback.pg import home
from callmeback.worker import Duty

PATIENCE_S = 30.0
SOON_S = 0.01


async def run(*duties: Duty, until: Callable[[], bool]) -> None:
    """Keep the duties until that is so."""
    stopping = asyncio.Event()
    keeping = asyncio.create_task(worker.keep(duties, stopping))
    async with asyncio.timeout(PATIENCE_S):
        while not until():
            await asyncio.sleep(SOON_S)
    stopping.set()
    await keeping


class Counter:
    """Work that counts how often it was begun and done."""

    def __init__(self, work: Callable[[], Awaitable[object]] | None = None) -> None:
        self.begun = self.done = 0
        self._work = work

    async def __call__(self) -> None:
        self.begun += 1
        if self._work is not None:
            await self._work()
        self.done += 1


def failing(error: Exception) -> Callable[[], Awaitable[object]]:
    async def work() -> object:
        raise error

    return work


@pytest.mark.anyio
@pytest.mark.parametrize(
    "error", [errors.DatabaseUnavailable(), ConnectionResetError(), RuntimeError("a fault of ours"), KeyError("x")]
)
async def test_a_failing_duty_is_tried_again_and_stops_no_other(error: Exception) -> None:
    failed, fine = Counter(failing(error)), Counter()

    await run(
        Duty("fails", SOON_S, failed), Duty("works", SOON_S, fine), until=lambda: failed.begun > 3 and fine.done > 3
    )

    assert failed.done == 0


@pytest.mark.anyio
async def test_a_slow_duty_delays_no_other() -> None:
    go_on = asyncio.Event()
    slow, fine = Counter(go_on.wait), Counter()

    def is_enough() -> bool:
        if fine.done > 5:
            go_on.set()
        return go_on.is_set()

    await run(Duty("slow", SOON_S, slow), Duty("works", SOON_S, fine), until=is_enough)

    assert slow.begun == 1


@pytest.mark.anyio
async def test_a_failed_duty_does_not_wait_for_its_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_S", SOON_S)
    daily = Counter(failing(errors.DatabaseUnavailable()))

    await run(Duty("daily", 86_400, daily), until=lambda: daily.begun > 3)


@pytest.mark.anyio
async def test_what_runs_is_finished_at_the_end() -> None:
    work = Counter(lambda: asyncio.sleep(0.2))

    await run(Duty("work", SOON_S, work), until=lambda: work.begun == 1)

    assert work.done == 1


@pytest.mark.anyio
async def test_what_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "STOP_WITHIN_S", 0.1)
    stuck = Counter(asyncio.Event().wait)
    begun = time.monotonic()

    await run(Duty("stuck", SOON_S, stuck), until=lambda: stuck.begun == 1)

    assert stuck.done == 0
    assert time.monotonic() - begun < PATIENCE_S / 2


class Process:
    """`callmeback worker` on a database, with nothing where the carrier should be."""

    def __init__(self, folder: Path, database_url: str, role_secret: str) -> None:
        self.home = folder
        self.log = folder / "log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "callmeback", "worker"],
                env={
                    "PATH": os.environ["PATH"],
                    "CALLMEBACK_HOME": str(folder),
                    "CALLMEBACK_BACKUP_SCHEDULE": "no",
                    "DATABASE_URL": database_url,
                    "CALLMEBACK_ROLE_SECRET": role_secret,
                    "CALLMEBACK_PORT": "9",
                },
                stdout=output,
                stderr=output,
            )

    def is_beating(self) -> bool:
        return home.is_beating(self.home, "worker")

    def wait_until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < deadline, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(SOON_S)


@pytest.fixture
def process(tmp_path: Path, cluster: Any, database_url: str) -> Iterator[Process]:
    started = Process(tmp_path, database_url, cluster.role_secret)
    yield started
    started.process.kill()
    started.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_soon_and_its_heart_with_it(process: Process, number: signal.Signals) -> None:
    process.wait_until(process.is_beating)

    process.process.send_signal(number)

    assert process.process.wait(worker.STOP_WITHIN_S) == 0
    assert not process.is_beating()
    assert "Traceback" not in process.log.read_text()


def test_its_heart_stands_still_while_the_database_is_away(
    process: Process, database_url: str, superuser: psycopg.Connection
) -> None:
    """And it comes back with it, the process has not ended; /ready reads the heart."""
    process.wait_until(process.is_beating)
    name = database_url.rpartition("/")[2]

    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    process.wait_until(lambda: not process.is_beating())
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    process.wait_until(process.is_beating)

    assert "Traceback" not in process.log.read_text()


MONTHS = """
SELECT c.relname FROM pg_inherits AS i INNER JOIN pg_class AS c ON i.inhrelid = c.oid
WHERE i.inhparent = 'call_cost_events'::regclass ORDER BY 1
"""


def test_it_sweeps_and_makes_partitions_at_its_start(tmp_path: Path, cluster: Any, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as books:
        months = [row["relname"] for row in books.execute(MONTHS)]
        newest = max(name for name in months if name[-2:].isdigit())
        books.execute(f"DROP TABLE {newest}")
        books.execute("SELECT register_user('user_1', 'ann@example.org', 'x', NULL, 'UTC', NULL)")
        books.execute(
            "INSERT INTO token_blacklist (token_id, user_id, expires_at) VALUES ('x', 'user_1', '2020-01-01')"
        )
        process = Process(tmp_path, database_url, cluster.role_secret)
        try:
            # A month that has begun since the database was made brings one more.
            process.wait_until(lambda: {row["relname"] for row in books.execute(MONTHS)} >= set(months))
            process.wait_until(lambda: books.execute("SELECT FROM token_blacklist").fetchone() is None)
        finally:
            process.process.kill()
            process.process.wait()
