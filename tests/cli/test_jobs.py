"""`callmeback jobs`: what is shown, and a job that is asked for."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from callmeback import cli, errors
from callmeback.cli import jobs as command
from callmeback.pg.pool import Database
from callmeback.worker.jobs import Job, JobRunner

pytestmark = pytest.mark.anyio


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `callmeback jobs …` on that database, without a terminal."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CALLMEBACK_HOME", str(tmp_path))

    return lambda *arguments: CliRunner().invoke(cli.app, ["jobs", *arguments])


async def work(worker: Database, stopping: asyncio.Event) -> None:
    """A worker with two jobs, one of which fails."""

    async def sweep() -> int:
        return 7

    async def fail() -> int:
        raise errors.CarrierFailed()

    hour = timedelta(hours=1)
    await JobRunner(worker, [Job("sweep", hour, sweep), Job("calls", timedelta(seconds=90), fail)], "w").run(stopping)


async def known(worker: Database) -> bool:
    async with worker.transaction(read_only=True) as tx:
        return bool(await command.jobs.jobs(tx))


async def test_jobs_are_shown_and_run_by_a_worker(worker: Database, run: Callable[..., Result]) -> None:
    stopping = asyncio.Event()
    working = asyncio.create_task(work(worker, stopping))
    while not await known(worker):
        await asyncio.sleep(0.01)
    done = await asyncio.to_thread(run, "run", "sweep", "--json")
    failed = await asyncio.to_thread(run, "run", "calls")
    shown = await asyncio.to_thread(run, "--json")
    table = await asyncio.to_thread(run)
    stopping.set()
    await working
    calls, sweep = json.loads(shown.output)["items"]

    assert (done.exit_code, json.loads(done.stdout)["items"][0]["last_result_count"]) == (0, 7)
    assert failed.exit_code == 1
    assert "The job failed: carrier_failed." in failed.output
    assert (sweep["name"], sweep["every"], sweep["every_seconds"], sweep["last_error"]) == ("sweep", "1 h", 3600, None)
    assert (calls["every"], calls["state"], calls["last_error"]) == ("90 s", "failed", "carrier_failed")
    assert "carrier_failed" in table.output


async def test_without_a_worker_a_job_is_not_waited_for(
    worker: Database, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "BEGIN_WITHIN_S", 0.1)
    stopping = asyncio.Event()
    stopping.set()
    await work(worker, stopping)
    unknown = await asyncio.to_thread(run, "run", "sweep")
    async with worker.transaction() as tx:
        await command.jobs.ensure(tx, {"sweep": timedelta(hours=1)})
    alone = await asyncio.to_thread(run, "run", "sweep")

    assert (unknown.exit_code, alone.exit_code) == (1, 1)
    assert "No worker took it" in alone.output
