"""Connections under stress: too many tasks, slow, stopped and restarted servers, cancelled tasks."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.pg.notes import SQL, count

from callmeback import errors
from callmeback.pg import binaries, pool, server
from callmeback.pg.pool import Database

LATE = 10.0
SOON = 0.1


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Database]:
    """Two connections, one task may wait for 0.2 s."""
    async with Database.open(database_url, name="small", max_size=2, wait_s=0.2, max_waiting=1) as db:
        yield db


async def hold(database: Database, release: asyncio.Event, held: asyncio.Semaphore) -> None:
    async with database.transaction() as tx:
        await tx.value(SQL.backend)
        held.release()
        await release.wait()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LATE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.anyio
async def test_a_full_pool_sheds_after_a_bounded_wait(small: Database):
    release, held = asyncio.Event(), asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(hold(small, release, held))
            await held.acquire()
        begun = time.monotonic()
        with pytest.raises(errors.Overloaded) as waited:
            async with small.transaction():
                pass
        assert 0.15 < time.monotonic() - begun < LATE
        assert waited.value.extra == {"retry_after": 1}
        release.set()
    async with small.transaction() as tx:
        await tx.value(SQL.backend)

    assert small.stats().size <= 2


@pytest.mark.anyio
async def test_a_full_queue_sheds_at_once(database_url: str):
    release, held = asyncio.Event(), asyncio.Semaphore(0)
    async with Database.open(database_url, name="full", max_size=2, wait_s=10 * LATE, max_waiting=1) as full:
        async with asyncio.timeout(LATE), asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(hold(full, release, held))
                await held.acquire()
            waiting = tasks.create_task(hold(full, release, held))
            await until(lambda: full.stats().waiting == 1)
            with pytest.raises(errors.Overloaded):
                async with full.transaction():
                    pass
            release.set()
            await waiting


@pytest.mark.anyio
async def test_a_slow_statement_ends_at_the_deadline(owner: Database):
    begun = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        async with owner.transaction(deadline_s=0.2) as tx:
            await tx.run(SQL.sleep, seconds=30)

    assert time.monotonic() - begun < LATE
    async with owner.transaction() as tx:
        assert await tx.value(SQL.open_transactions) == 0


@pytest.mark.anyio
async def test_a_stopped_server_process_does_not_stop_us(database_url: str):
    """It answers neither a statement nor a cancellation."""
    async with Database.open(database_url, name="one", max_size=1) as db:
        async with db.transaction() as tx:
            stopped = await tx.value(SQL.backend)
        begun = time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        try:
            with pytest.raises(errors.DeadlineExceeded):
                async with db.transaction(deadline_s=0.3) as tx:
                    await tx.value(SQL.backend)
            async with db.transaction() as tx:
                assert await tx.value(SQL.backend) != stopped
            assert time.monotonic() - begun < LATE
        finally:
            os.kill(stopped, signal.SIGCONT)


@pytest.mark.anyio
@pytest.mark.parametrize("level", ["asyncio", "anyio"])
async def test_a_cancelled_task_leaves_no_transaction(notes: Database, level: str):
    async def work() -> None:
        async with notes.transaction() as tx:
            await tx.run(SQL.write, id=1, text="a")
            await tx.run(SQL.sleep, seconds=30)

    for _ in range(3):
        task = asyncio.create_task(work())
        await asyncio.sleep(0.1)
        task.cancel()
        if level == "anyio":  # which cancels again at every await
            for _ in range(5):
                await asyncio.sleep(0)
                task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    deadline = time.monotonic() + LATE
    open_transactions = 1
    while open_transactions and time.monotonic() < deadline:
        async with notes.transaction() as tx:
            open_transactions = await tx.value(SQL.open_transactions)

    assert open_transactions == 0
    assert await count(notes) == 0


@pytest.mark.anyio
async def test_cancelled_tasks_lose_no_connection(small: Database):
    async def work() -> None:
        async with small.transaction() as tx:
            await tx.run(SQL.sleep, seconds=0.05)

    for turn in range(12):
        tasks = [asyncio.create_task(work()) for _ in range(2)]
        await asyncio.sleep(0.004 * turn)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    release, held = asyncio.Event(), asyncio.Semaphore(0)
    async with asyncio.timeout(LATE), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(hold(small, release, held))
            await held.acquire()
        release.set()


@pytest.mark.anyio
async def test_a_cancellation_that_comes_with_the_connection_is_not_lost(small: Database):
    async def work() -> None:
        async with small.transaction() as tx:
            await tx.value(SQL.backend)
            await asyncio.Event().wait()

    for ticks in range(10):
        release, held = asyncio.Event(), asyncio.Semaphore(0)
        async with asyncio.timeout(LATE), asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(hold(small, release, held))
                await held.acquire()
            waiting = asyncio.create_task(work())
            await until(lambda: small.stats().waiting == 1)
            release.set()
            # From the step on in which the pool hands the connection over.
            while small.stats().waiting:
                await asyncio.sleep(0)
            for _ in range(ticks):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})

        assert waiting.cancelled()


@pytest.mark.anyio
async def test_a_terminated_connection_is_passed_over(owner: Database, superuser: psycopg.Connection):
    pids = []
    for _ in range(3):
        async with owner.transaction() as tx:
            pids.append(await tx.value(SQL.backend))
        superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pids[-1]])

    assert len(set(pids)) == 3


@pytest.mark.anyio
async def test_a_connection_lost_in_a_transaction_is_unavailable_and_then_replaced(
    notes: Database,
    superuser: psycopg.Connection,
):
    with pytest.raises(errors.DatabaseUnavailable):
        async with notes.transaction() as tx:
            await tx.run(SQL.write, id=1, text="a")
            superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [await tx.value(SQL.backend)])
            await tx.run(SQL.write, id=2, text="a")

    assert await count(notes) == 0


@pytest.mark.anyio
async def test_no_server_is_unavailable():
    async with Database.open("postgresql://nobody@127.0.0.1:1/none", name="none", wait_s=0.3) as db:
        async with asyncio.timeout(LATE):
            with pytest.raises(errors.DatabaseUnavailable):
                await db.ping()


@pytest.mark.anyio
async def test_an_outage_that_outlasts_the_attempts_to_connect_is_survived(
    database_url: str, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    """More tasks than may wait gave up waiting, and the pool gave up connecting, before the server is back."""
    monkeypatch.setattr(pool, "RECONNECT_TIMEOUT_S", SOON)
    name = database_url.rpartition("/")[2]
    async with Database.open(database_url, name="outage", max_size=2, wait_s=SOON, max_waiting=3) as db:
        await db.ping()
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        superuser.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
        for _ in range(40):
            with pytest.raises((errors.DatabaseUnavailable, errors.Overloaded)):
                await db.ping()
            await asyncio.sleep(SOON / 2)
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        async with asyncio.timeout(LATE):
            while not await answers(db):
                await asyncio.sleep(SOON)


async def answers(database: Database) -> bool:
    try:
        await database.ping()
    except (errors.DatabaseUnavailable, errors.Overloaded):
        return False

    return True


@pytest.fixture
def own_home(cluster: object) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="callmeback-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_restarted_server_is_used_again(own_home: Path):
    programs = [binaries.choose(None)]
    running = server.start(own_home, candidates=programs, archive=False)
    try:
        async with Database.open(running.owner_dsn, name="restart", max_size=4, wait_s=3.0) as db:
            await asyncio.gather(*[db.ping() for _ in range(8)])
            with pytest.raises(errors.DatabaseUnavailable):
                async with db.transaction() as tx:
                    await tx.value(SQL.backend)
                    running.stop()
                    await tx.value(SQL.backend)
            with pytest.raises(errors.DatabaseUnavailable):
                await db.ping()
            running = server.start(own_home, candidates=programs, archive=False)
            async with asyncio.timeout(LATE):
                await asyncio.gather(*[db.ping() for _ in range(8)])
    finally:
        running.stop()
