"""The house's periodic work at this worker: claimed, kept alive while it runs, and noted how it ended."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.domain import jobs
from callmeback.domain.jobs import Run
from callmeback.pg.pool import Database

# More than there are jobs, so that one that takes hours (a backup) delays no other.
AT_ONCE: Final = 16
LOOK_EVERY_S: Final = 1.0
# A worker that died leaves its job for so long; the heartbeat of a living one is three times faster.
LEASE: Final = timedelta(seconds=30)
EXTEND_EVERY_S: Final = LEASE.total_seconds() / 3
# After a failure (a vendor that is away, say) a job is tried again so soon, or at its next turn if that is sooner.
AGAIN_WITHIN: Final = timedelta(seconds=60)
# The database that a job failed for is away for its result, too.
NOTE_ATTEMPTS_MAX: Final = 60
NOTE_EVERY_S: Final = 0.5
# Those that are cut say so in the database within this.
CUT_S: Final = 2.0
BROKEN: Final = "broken"
STOPPED: Final = "stopped"

_log = logs.get_logger(__name__)


class Job(msgspec.Struct, frozen=True):
    """Work to be done again and again by one worker at a time; `work` answers how many things it did, if it counts."""

    name: str
    every: timedelta
    work: Callable[[], Awaitable[int | None]]


class JobRunner:
    """One per worker; `run` is its one task."""

    def __init__(self, db: Database, work: Sequence[Job], worker: str) -> None:
        self._db = db
        self._jobs = {job.name: job for job in work}
        self._worker = worker
        self._running: set[asyncio.Task[None]] = set()
        self._free = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Do what is due until `stopping`; then let what runs finish. Whoever cancels this cuts it."""
        is_known = False
        try:
            while not stopping.is_set():
                try:
                    if not is_known:
                        async with self._db.transaction() as tx:
                            await jobs.ensure(tx, {job.name: job.every for job in self._jobs.values()})
                        is_known = True
                    await self._begin()
                except (errors.CallMeBackError, OSError) as exc:
                    _log.warning("jobs_not_claimed", error=type(exc).__name__)
                await self._pause(stopping)
            if self._running:
                await asyncio.wait(self._running)
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=CUT_S)

    async def _pause(self, stopping: asyncio.Event) -> None:
        """Until the next look, a free place where there was none, or the end."""
        self._free.clear()
        waits = [asyncio.create_task(stopping.wait())]
        if len(self._running) >= AT_ONCE:
            waits.append(asyncio.create_task(self._free.wait()))
        await asyncio.wait(waits, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()

    async def _begin(self) -> None:
        room = AT_ONCE - len(self._running)
        if room <= 0:
            return
        async with self._db.transaction() as tx:
            runs = await jobs.claim(tx, self._worker, list(self._jobs), room, LEASE)
        for run in runs:
            task = asyncio.create_task(self._do(run), name=f"job {run.name}")
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free.set()

    async def _do(self, run: Run) -> None:
        heart = asyncio.create_task(self._keep_alive(run))
        count: int | None = None
        error: str | None = None
        try:
            count = await self._jobs[run.name].work()
        except errors.CallMeBackError as exc:
            error = exc.code
            _log.warning("job_failed", job=run.name, error=exc.code)
        except OSError as exc:
            error = errors.VendorFailed.code
            _log.warning("job_failed", job=run.name, error=type(exc).__name__)
        except asyncio.CancelledError:
            heart.cancel()
            await self._note(run, None, STOPPED, attempts_max=1)
            raise
        except Exception:
            # A fault in one job must not end the others; it is loud in the log, and tried again.
            error = BROKEN
            _log.exception("job_broke", job=run.name)
        heart.cancel()
        await self._note(run, count, error)

    async def _keep_alive(self, run: Run) -> None:
        while True:
            await asyncio.sleep(EXTEND_EVERY_S)
            try:
                async with self._db.transaction() as tx:
                    await jobs.extend(tx, run, LEASE)
            except errors.CallMeBackError as exc:
                _log.warning("job_not_extended", job=run.name, error=type(exc).__name__)

    async def _note(
        self, run: Run, count: int | None, error: str | None, attempts_max: int = NOTE_ATTEMPTS_MAX
    ) -> None:
        for _ in range(attempts_max):
            try:
                async with self._db.transaction() as tx:
                    await jobs.finish(tx, run, count, error, AGAIN_WITHIN)
                return
            except errors.CallMeBackError:
                await asyncio.sleep(NOTE_EVERY_S)
        _log.warning("job_not_noted", job=run.name)
