"""What happens without a request: schedules that ring, the reaper, and the house's periodic jobs. `run` until a signal.

What must not wait (the heart, calls that stopped, money that was set aside, calls that are due) has a loop of its own
in each worker. The rest are jobs: many workers share them, see `jobs.py`.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
import structlog
import uvloop

from callmeback import errors, logs, traces
from callmeback.domain import planning, reaping, upkeep
from callmeback.ops import books, notify
from callmeback.payments import events as payment_events
from callmeback.payments import upkeep as payments_upkeep
from callmeback.payments import warnings as budget_warnings
from callmeback.payments.accounts import stripe_account
from callmeback.pg import home, roles
from callmeback.pg.pool import Database
from callmeback.providers.mail import Mailer
from callmeback.providers.stripe import Cashier
from callmeback.providers.twilio import Carrier
from callmeback.settings import Settings
from callmeback.voice import accounts
from callmeback.worker.backups import Backups
from callmeback.worker.figures import LOOK_EVERY_S, Figures, open_to
from callmeback.worker.jobs import Job, JobRunner
from callmeback.worker.ringing import Ringer
from callmeback.worker.witness import Witness

# The heart, the reaper, settlement, ringing, tending, a look for jobs and some of them hold a connection for moments.
POOL_MAX: Final = 8
BEAT_EVERY_S: Final = 1.0
REAP_EVERY_S: Final = 2.0
SETTLE_EVERY_S: Final = 1.0
# A lost disk costs what was not shipped yet: at most this and archive_timeout.
SHIP_EVERY_S: Final = 1.0
NOTE_ERASURES_EVERY_S: Final = 5.0
BACKUPS_EVERY_S: Final = 20.0
# After a failure (the database restarts, say) the work is tried again at this pace.
RETRY_S: Final = 1.0
STOP_WITHIN_S: Final = 15.0

_log = logs.get_logger(__name__)


class Duty(msgspec.Struct, frozen=True):
    """Work that each worker does again and again, the first time at once."""

    name: str
    every_s: float
    work: Callable[[], Awaitable[object]]


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; what has begun is finished within STOP_WITHIN_S."""
    uvloop.run(serve(settings))


async def serve(settings: Settings, stopping: asyncio.Event | None = None) -> None:
    """The worker's life in a running loop; `stopping` ends it, as do SIGTERM and SIGINT when it isn't given."""
    assert settings.database_url is not None and settings.role_secret is not None, "a service's settings are complete"
    if stopping is None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    dsn = roles.dsn_for(roles.WORKER, settings.role_secret, settings.database_url)
    carrier = Carrier(accounts.carrier_config(settings))
    cashier = Cashier(stripe_account(settings))
    mailer = Mailer(accounts.mail_config(settings))
    name = f"{socket.gethostname()} {os.getpid()}"
    try:
        async with Database.open(dsn, name="worker", max_size=POOL_MAX, wait_s=settings.pool_wait_s) as db:
            ringer = Ringer(db, carrier, cashier, settings, name)
            runner = JobRunner(db, jobs_of(settings, db, carrier, cashier, mailer), name)
            shown = Figures(db, settings.home)
            figures = Duty("figures", LOOK_EVERY_S, shown.look)
            work = [*duties(settings, db, carrier, cashier), figures]
            async with open_to(settings, shown):
                await keep(work, stopping, ringer.ring, ringer.tend, runner.run, shown=shown)
    finally:
        await carrier.aclose()
        await cashier.aclose()
        home.stop_beating(settings.home, "worker")


def duties(settings: Settings, db: Database, carrier: Carrier, cashier: Cashier) -> Sequence[Duty]:
    """What each worker does by itself."""

    async def beat() -> None:
        await db.ping()
        home.beat(settings.home, "worker")
        notify.ready()

    async def reap() -> None:
        await reaping.reap(db, Witness(carrier))

    async def settle() -> None:
        await payments_upkeep.settle(db, cashier)

    backups = Backups(settings, db)
    safety = (
        Duty("ship", SHIP_EVERY_S, backups.ship),
        Duty("note erasures", NOTE_ERASURES_EVERY_S, backups.note_erasures),
        Duty("backups", BACKUPS_EVERY_S, backups.schedule),
    )

    return (
        Duty("beat", BEAT_EVERY_S, beat),
        Duty("reap", REAP_EVERY_S, reap),
        Duty("settle", SETTLE_EVERY_S, settle),
        *(safety if settings.backup_schedule else ()),
    )


def jobs_of(settings: Settings, db: Database, carrier: Carrier, cashier: Cashier, mailer: Mailer) -> Sequence[Job]:
    """What the workers share."""

    async def sweep() -> int:
        async with db.transaction() as tx:
            removed = await upkeep.sweep(tx)

        return removed + await upkeep.erase_again(db)

    async def partitions() -> int:
        async with db.transaction() as tx:
            return await upkeep.keep_partitions(tx)

    async def payment_retries() -> int:
        return await payment_events.retry(db)

    async def plans() -> int:
        return await payments_upkeep.look_after_plans(db, cashier)

    async def erased_checkouts() -> int:
        return await payments_upkeep.take_pages_away(db, cashier)

    async def keep_accounts() -> int:
        return await payments_upkeep.keep_accounts(db)

    async def catch_up() -> int:
        return await payment_events.catch_up(db, cashier)

    async def warn_of_budgets() -> int:
        return await budget_warnings.warn(db, mailer, carrier, settings.base_url)

    async def time_zones() -> int:
        return await planning.follow_tzdata(db)

    async def close_day() -> int:
        return await books.close_yesterday(db, settings.home / books.FOLDER, "worker", asyncio.sleep)

    return (
        Job("sweep", timedelta(minutes=10), sweep),
        Job("partitions", timedelta(days=1), partitions),
        Job("payment_events", timedelta(seconds=2), payment_retries),
        Job("plans", timedelta(seconds=10), plans),
        Job("erased_checkouts", timedelta(seconds=10), erased_checkouts),
        Job("accounts", timedelta(seconds=10), keep_accounts),
        # Lost webhooks are found by this look at the provider's own list.
        Job("catch_up", timedelta(minutes=5), catch_up),
        Job("budget_warnings", timedelta(minutes=1), warn_of_budgets),
        Job("close_day", timedelta(hours=1), close_day),
        # New data of a zone move what nobody has claimed yet.
        Job("time_zones", timedelta(hours=1), time_zones),
    )


async def keep(
    work: Sequence[Duty],
    stopping: asyncio.Event,
    *loops: Callable[[asyncio.Event], Coroutine[Any, Any, None]],
    shown: Figures | None = None,
) -> None:
    """Do every duty in its rhythm, and run these loops, until `stopping`; then let what runs finish, within bounds."""
    tasks = [asyncio.create_task(_keep(duty, stopping, shown), name=duty.name) for duty in work]
    tasks += [asyncio.create_task(loop(stopping), name=loop.__name__) for loop in loops]
    await stopping.wait()
    _, late = await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
    for task in late:
        _log.warning("cut_at_stop", duty=task.get_name())
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(duty: Duty, stopping: asyncio.Event, shown: Figures | None) -> None:
    structlog.contextvars.bind_contextvars(duty=duty.name)
    while not stopping.is_set():
        pause, begun, failed = duty.every_s, time.monotonic(), True
        try:
            with traces.span(duty.name):
                await duty.work()
            failed = False
        except (errors.CallMeBackError, OSError) as exc:
            _log.warning("duty_failed", duty=duty.name, error=type(exc).__name__)
            pause = min(pause, RETRY_S)
        except Exception:
            # A fault in one duty must not end the others; it is loud in the log, and tried again.
            _log.exception("duty_broke", duty=duty.name)
        if shown is not None:
            shown.note(duty.name, time.monotonic() - begun, failed=failed)
        try:
            await asyncio.wait_for(stopping.wait(), pause)
        except TimeoutError:
            continue
