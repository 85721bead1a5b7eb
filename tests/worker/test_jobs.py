"""The house's periodic work, shared by workers: each run is one worker's, and none is lost with its worker."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from callmeback import errors
from callmeback.domain import jobs
from callmeback.pg.pool import Database
from callmeback.worker import jobs as runners
from callmeback.worker.jobs import Job, JobRunner

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0
HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=30)


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "LOOK_EVERY_S", 0.02)


def job(books: psycopg.Connection[dict[str, Any]], name: str = "work") -> dict[str, Any]:
    row = books.execute("SELECT * FROM jobs WHERE name = %s", (name,)).fetchone()
    assert row is not None

    return row


async def ensure(worker: Database, **rhythms: timedelta) -> None:
    async with worker.transaction() as tx:
        await jobs.ensure(tx, rhythms)


async def claim(worker: Database, *names: str, lease: timedelta = LEASE) -> list[jobs.Run]:
    async with worker.transaction() as tx:
        return await jobs.claim(tx, "test", names, 10, lease)


async def finish(worker: Database, run: jobs.Run, error: str | None = None) -> bool:
    async with worker.transaction() as tx:
        return await jobs.finish(tx, run, 3, error, timedelta(seconds=60))


async def run(worker: Database, *work: Job, until: Callable[[], bool], workers: int = 1) -> None:
    """Let so many workers share the jobs until that is so."""
    stopping = asyncio.Event()
    tasks = [asyncio.create_task(JobRunner(worker, work, f"w{n}").run(stopping)) for n in range(workers)]
    async with asyncio.timeout(PATIENCE_S):
        while not until():
            await asyncio.sleep(0.01)
    stopping.set()
    await asyncio.gather(*tasks)


async def test_a_job_is_one_worker_s_until_it_ends(books: psycopg.Connection[dict[str, Any]], worker: Database) -> None:
    await ensure(worker, work=HOUR)
    runs = await asyncio.gather(*(claim(worker, "work") for _ in range(8)))
    [mine] = [one for some in runs for one in some]
    begun = job(books)
    assert await finish(worker, mine)
    ended = job(books)

    assert (begun["claimed_by"], begun["runs"]) == ("test", 1)
    assert (ended["claimed_by"], ended["lease_until"], ended["last_result_count"]) == (None, None, 3)
    assert ended["last_duration_ms"] >= 0
    assert ended["next_run_at"] - begun["next_run_at"] == HOUR
    assert await claim(worker, "work") == []


async def test_who_lost_a_job_does_not_end_the_run_of_another(
    books: psycopg.Connection[dict[str, Any]], worker: Database
) -> None:
    await ensure(worker, work=HOUR)
    [stopped] = await claim(worker, "work", lease=timedelta(0))
    [taken_over] = await claim(worker, "work")
    async with worker.transaction() as tx:
        kept = await jobs.extend(tx, stopped, LEASE)

    assert (kept, await finish(worker, stopped)) == (False, False)
    assert await finish(worker, taken_over)
    assert not await finish(worker, taken_over)


async def test_what_was_missed_while_no_worker_ran_is_run_once(
    books: psycopg.Connection[dict[str, Any]], worker: Database
) -> None:
    await ensure(worker, work=HOUR)
    books.execute("UPDATE jobs SET next_run_at = now() - interval '9 days 30 minutes'")
    due_at = job(books)["next_run_at"]
    [only] = await claim(worker, "work")
    await finish(worker, only)
    next_run = job(books)["next_run_at"]

    assert next_run - due_at == timedelta(days=9, hours=1)
    assert await claim(worker, "work") == []


async def test_a_failure_is_tried_again_before_its_next_turn(
    books: psycopg.Connection[dict[str, Any]], worker: Database
) -> None:
    await ensure(worker, work=HOUR)
    for failures in (1, 2):
        [once] = await claim(worker, "work")
        await finish(worker, once, "vendor_failed")
        state = job(books)
        assert (state["failures"], state["last_error"]) == (failures, "vendor_failed")
        assert state["next_run_at"] - state["last_finished_at"] == timedelta(seconds=60)
        books.execute("UPDATE jobs SET next_run_at = now()")
    [once] = await claim(worker, "work")
    await finish(worker, once)

    assert (job(books)["failures"], job(books)["last_error"]) == (0, None)


async def test_a_worker_leaves_jobs_alone_that_it_does_not_know(worker: Database) -> None:
    await ensure(worker, work=HOUR, newer=HOUR)

    assert [one.name for one in await claim(worker, "work")] == ["work"]


async def test_another_rhythm_is_followed(books: psycopg.Connection[dict[str, Any]], worker: Database) -> None:
    await ensure(worker, work=timedelta(days=30))
    [once] = await claim(worker, "work")
    await finish(worker, once)
    await ensure(worker, work=HOUR)
    state = job(books)

    assert state["every"] == HOUR
    assert state["next_run_at"] - state["last_finished_at"] < HOUR + timedelta(seconds=PATIENCE_S)


class Work:
    """Counts its runs, and how many of them there were at once."""

    def __init__(self, work: Callable[[], Awaitable[None]] | None = None) -> None:
        self.runs = self.at_once = self.most_at_once = 0
        self._work = work

    async def __call__(self) -> int:
        self.runs += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self._work is not None:
                await self._work()
        finally:
            self.at_once -= 1

        return self.runs


async def test_workers_share_their_jobs(books: psycopg.Connection[dict[str, Any]], worker: Database) -> None:
    often, daily = Work(), Work()
    await run(
        worker,
        Job("often", timedelta(seconds=1), often),
        Job("daily", timedelta(days=1), daily),
        until=lambda: often.runs >= 3,
        workers=4,
    )

    assert (often.most_at_once, daily.runs) == (1, 1)
    assert job(books, "daily")["last_result_count"] == 1


@pytest.mark.parametrize(
    ("error", "word"),
    [(errors.CarrierFailed(), "carrier_failed"), (RuntimeError("ours"), "broken"), (OSError(), "vendor_failed")],
)
async def test_a_failing_job_is_noted_and_stops_no_other(
    books: psycopg.Connection[dict[str, Any]], worker: Database, error: Exception, word: str
) -> None:
    async def fail() -> None:
        raise error

    failing, fine = Work(fail), Work()
    await run(
        worker, Job("failing", HOUR, failing), Job("fine", HOUR, fine), until=lambda: bool(failing.runs and fine.runs)
    )

    assert (job(books, "failing")["last_error"], job(books, "fine")["last_error"]) == (word, None)


async def test_a_long_job_keeps_its_lease(
    books: psycopg.Connection[dict[str, Any]], worker: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(runners, "EXTEND_EVERY_S", 0.05)
    ended = asyncio.Event()

    async def take_long() -> None:
        await asyncio.sleep(2.5)
        ended.set()

    work = Work(take_long)
    await run(worker, Job("work", HOUR, work), until=ended.is_set, workers=3)

    assert work.runs == 1
    assert job(books)["last_error"] is None


async def test_a_job_whose_worker_is_cut_says_so(books: psycopg.Connection[dict[str, Any]], worker: Database) -> None:
    work = Work(asyncio.Event().wait)  # type: ignore[arg-type]  # it never ends
    runner = asyncio.create_task(JobRunner(worker, [Job("work", HOUR, work)], "w").run(asyncio.Event()))
    async with asyncio.timeout(PATIENCE_S):
        while not work.runs:
            await asyncio.sleep(0.01)
    runner.cancel()
    await asyncio.gather(runner, return_exceptions=True)

    assert (job(books)["claimed_by"], job(books)["last_error"]) == (None, "stopped")


async def test_a_job_asked_for_by_an_operator_is_due_at_once(
    books: psycopg.Connection[dict[str, Any]], owner: Database, worker: Database
) -> None:
    await ensure(worker, work=HOUR)
    [once] = await claim(worker, "work")
    await finish(worker, once)
    async with owner.transaction() as tx:
        before = await jobs.request(tx, "work")
    with pytest.raises(errors.NotFound):
        async with owner.transaction() as tx:
            await jobs.request(tx, "no_such_job")

    assert before == 1
    assert [one.run for one in await claim(worker, "work")] == [2]


async def test_a_job_asked_for_while_it_runs_runs_once_more(
    books: psycopg.Connection[dict[str, Any]], owner: Database, worker: Database
) -> None:
    await ensure(worker, work=HOUR)
    [once] = await claim(worker, "work")
    async with owner.transaction() as tx:
        await jobs.request(tx, "work")
    await finish(worker, once)
    [again] = await claim(worker, "work")
    await finish(worker, again)

    assert again.run == 2
    assert await claim(worker, "work") == []
