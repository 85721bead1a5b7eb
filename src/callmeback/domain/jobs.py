"""The house's periodic work: claimed by one worker at a time, with what its last run did. Who works is in `worker/`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "jobs.sql")


class Run(msgspec.Struct, frozen=True):
    """A job that this worker alone does; `run` is its number and the fence."""

    name: str
    run: int


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """A job as an operator sees it; `failures` counts those since the last success."""

    name: str
    every: timedelta
    next_run_at: datetime
    claimed_by: str | None
    is_running: bool | None
    runs: int
    failures: int
    last_started_at: datetime | None
    last_finished_at: datetime | None
    last_duration_ms: int | None
    last_result_count: int | None
    last_error: str | None


async def ensure(tx: Session, rhythms: dict[str, timedelta]) -> None:
    """Make jobs known by name, with how often each is to run."""
    await tx.run(SQL.ensure, names=list(rhythms), every=list(rhythms.values()))


async def claim(tx: Session, worker: str, names: Sequence[str], most: int, lease: timedelta) -> list[Run]:
    """Take at most so many of these jobs that are due, until they end or the lease is over."""
    return await tx.all(SQL.claim, Run, worker=worker, names=list(names), limit=most, lease=lease)


async def extend(tx: Session, run: Run, lease: timedelta) -> bool:
    """A run goes on; false when another worker has the job by now."""
    return bool(await tx.value(SQL.extend, name=run.name, run=run.run, lease=lease))


async def finish(tx: Session, run: Run, result_count: int | None, error: str | None, again_within: timedelta) -> bool:
    """Note how a run ended; `error` is a stable word. False for a run that another worker has taken over."""
    return bool(
        await tx.value(
            SQL.finish,
            name=run.name,
            run=run.run,
            result_count=result_count,
            error=error,
            again_within=again_within,
        )
    )


async def request(tx: Session, name: str) -> int:
    """Make a job due now; answers the number of its latest run. Raises NotFound."""
    return int(await tx.value(SQL.request, name=name))


async def jobs(tx: Session) -> list[JobState]:
    """Every job, by name."""
    return await tx.all(SQL.jobs, JobState)
