"""`callmeback jobs …`: the house's periodic work, by the operator. The workers do it; here it is seen and asked for."""

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

import click
import msgspec

from callmeback import errors
from callmeback.cli.installation import in_transaction, owner_database
from callmeback.cli.output import json_option, show
from callmeback.cli.parameters import Whole, stands_alone
from callmeback.domain import jobs
from callmeback.domain.jobs import JobState
from callmeback.settings import Settings

# A worker looks every second; one that doesn't begin within this isn't there.
BEGIN_WITHIN_S: Final = 10.0
LOOK_EVERY_S: Final = 0.2
COLUMNS: Final = {
    "name": "Job",
    "every": "Every",
    "state": "State",
    "last_started_at": "Last run",
    "last_duration_ms": "ms",
    "last_result_count": "Did",
    "next_run_at": "Next run",
    "failures": "Failures",
    "last_error": "Last error",
}


class JobLine(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is printed; times are UTC, `every_seconds` is for programs."""

    name: str
    every: str
    every_seconds: float
    state: str
    claimed_by: str | None
    runs: int
    failures: int
    last_started_at: datetime | None
    last_finished_at: datetime | None
    last_duration_ms: int | None
    last_result_count: int | None
    last_error: str | None
    next_run_at: datetime


@click.group(name="jobs", invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Every job with its last and its next run. `jobs run NAME` has a worker do one now."""
    if stands_alone(context):
        _show(asyncio.run(in_transaction(jobs.jobs)), as_json)


@command.command("run")
@click.argument("name")
@click.option(
    "--wait", type=Whole(1, 86_400), metavar="N", default=600, show_default=True, help="Seconds for it to end."
)
@json_option
def run_(name: str, wait: int, as_json: bool) -> None:
    """Have a worker do this job now, and wait for its end."""
    done = asyncio.run(_run(name, wait))
    _show([done], as_json)
    if done.last_error is not None:
        raise click.ClickException(f"The job failed: {done.last_error}.")


async def _run(name: str, wait_s: float) -> JobState:
    async with owner_database(Settings.from_env()) as db:
        try:
            async with db.transaction() as tx:
                before = await jobs.request(tx, name)
        except errors.NotFound as exc:
            raise errors.NotFound(f"There is no job {name}; `callmeback jobs` names them.") from exc
        begun = time.monotonic()
        while True:
            async with db.transaction(read_only=True) as tx:
                state = next(one for one in await jobs.jobs(tx) if one.name == name)
            waited = time.monotonic() - begun
            if state.runs - (state.claimed_by is not None) > before:
                return state
            if state.runs == before and state.claimed_by is None and waited > BEGIN_WITHIN_S:
                raise errors.WorkerMissing()
            if waited > wait_s:
                raise errors.DeadlineExceeded("The job has begun and goes on.")
            await asyncio.sleep(LOOK_EVERY_S)


def _show(states: list[JobState], as_json: bool) -> None:
    show([_line(state) for state in states], COLUMNS, as_json=as_json)


def _line(state: JobState) -> JobLine:
    if state.claimed_by is not None:
        word = "running" if state.is_running else "left behind"
    else:
        word = "failed" if state.failures else "waiting"

    return JobLine(
        name=state.name,
        every=_rhythm(state.every),
        every_seconds=state.every.total_seconds(),
        state=word,
        claimed_by=state.claimed_by,
        runs=state.runs,
        failures=state.failures,
        last_started_at=state.last_started_at,
        last_finished_at=state.last_finished_at,
        last_duration_ms=state.last_duration_ms,
        last_result_count=state.last_result_count,
        last_error=state.last_error,
        next_run_at=state.next_run_at,
    )


def _rhythm(every: timedelta) -> str:
    """The largest unit that says it in whole numbers."""
    seconds = int(every.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"

    return f"{seconds} s"
