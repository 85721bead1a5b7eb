"""What happens without a request: the reaper, clean-up, partitions. `run` until a signal.

Each kind of work has its own loop, so that a slow carrier never delays the clean-up, nor a failure of one another.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import uvloop

from callmeback import errors, logs
from callmeback.domain import reaping, upkeep
from callmeback.ops import notify
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
from callmeback.worker.witness import Witness

POOL_MAX: Final = 4
BEAT_EVERY_S: Final = 1.0
REAP_EVERY_S: Final = 2.0
SWEEP_EVERY_S: Final = 600.0
PARTITIONS_EVERY_S: Final = 86_400.0
RETRY_EVENTS_EVERY_S: Final = 2.0
SETTLE_EVERY_S: Final = 1.0
PLANS_EVERY_S: Final = 10.0
ACCOUNTS_EVERY_S: Final = 10.0
# Lost webhooks are found by this look at the provider's own list.
CATCH_UP_EVERY_S: Final = 300.0
BUDGETS_EVERY_S: Final = 60.0
# A lost disk costs what was not shipped yet: at most this and archive_timeout.
SHIP_EVERY_S: Final = 1.0
NOTE_ERASURES_EVERY_S: Final = 5.0
BACKUPS_EVERY_S: Final = 20.0
# After a failure (the database restarts, say) the work is tried again at this pace.
RETRY_S: Final = 1.0
STOP_WITHIN_S: Final = 15.0

_log = logs.get_logger(__name__)


class Duty(msgspec.Struct, frozen=True):
    """Work to be done again and again, the first time at once."""

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
    try:
        async with Database.open(dsn, name="worker", max_size=POOL_MAX, wait_s=settings.pool_wait_s) as db:
            await keep(duties(settings, db, carrier, cashier, mailer), stopping)
    finally:
        await carrier.aclose()
        await cashier.aclose()
        home.stop_beating(settings.home, "worker")


def duties(settings: Settings, db: Database, carrier: Carrier, cashier: Cashier, mailer: Mailer) -> Sequence[Duty]:
    """What this worker does."""

    async def beat() -> None:
        await db.ping()
        home.beat(settings.home, "worker")
        notify.ready()

    async def reap() -> None:
        await reaping.reap(db, Witness(carrier))

    async def sweep() -> None:
        async with db.transaction() as tx:
            await upkeep.sweep(tx)

    async def partitions() -> None:
        async with db.transaction() as tx:
            await upkeep.keep_partitions(tx)

    async def retry_events() -> None:
        await payment_events.retry(db)

    async def settle() -> None:
        await payments_upkeep.settle(db, cashier)

    async def look_after_plans() -> None:
        await payments_upkeep.look_after_plans(db, cashier)

    async def keep_accounts() -> None:
        await payments_upkeep.keep_accounts(db)

    async def catch_up() -> None:
        try:
            await payment_events.catch_up(db, cashier)
        except errors.VendorFailed as exc:
            # A look beside the webhooks: it waits for its turn, and doesn't ask a vendor that is down every second.
            _log.warning("catch_up_failed", error=exc.code)

    async def warn_of_budgets() -> None:
        try:
            await budget_warnings.warn(db, mailer, carrier, settings.base_url)
        except errors.VendorFailed as exc:
            # The lease brings it again: a mail server that is down isn't asked every second.
            _log.warning("budget_warning_failed", error=exc.code)

    backups = Backups(settings, db)
    safety = (
        Duty("ship", SHIP_EVERY_S, backups.ship),
        Duty("note erasures", NOTE_ERASURES_EVERY_S, backups.note_erasures),
        Duty("backups", BACKUPS_EVERY_S, backups.schedule),
    )

    return (
        Duty("beat", BEAT_EVERY_S, beat),
        Duty("reap", REAP_EVERY_S, reap),
        Duty("sweep", SWEEP_EVERY_S, sweep),
        Duty("partitions", PARTITIONS_EVERY_S, partitions),
        Duty("payment events", RETRY_EVENTS_EVERY_S, retry_events),
        Duty("settle", SETTLE_EVERY_S, settle),
        Duty("plans", PLANS_EVERY_S, look_after_plans),
        Duty("accounts", ACCOUNTS_EVERY_S, keep_accounts),
        Duty("catch up", CATCH_UP_EVERY_S, catch_up),
        Duty("budget warnings", BUDGETS_EVERY_S, warn_of_budgets),
        *(safety if settings.backup_schedule else ()),
    )


async def keep(work: Sequence[Duty], stopping: asyncio.Event) -> None:
    """Do every duty in its rhythm until `stopping`; then let what runs finish, within its bound."""
    tasks = [asyncio.create_task(_keep(duty, stopping), name=duty.name) for duty in work]
    await stopping.wait()
    _, late = await asyncio.wait(tasks, timeout=STOP_WITHIN_S)
    for task in late:
        _log.warning("cut_at_stop", duty=task.get_name())
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(duty: Duty, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        pause = duty.every_s
        try:
            await duty.work()
        except (errors.CallMeBackError, OSError) as exc:
            _log.warning("duty_failed", duty=duty.name, error=type(exc).__name__)
            pause = min(pause, RETRY_S)
        except Exception:
            # A fault in one duty must not end the others; it is loud in the log, and tried again.
            _log.exception("duty_broke", duty=duty.name)
        try:
            await asyncio.wait_for(stopping.wait(), pause)
        except TimeoutError:
            continue
