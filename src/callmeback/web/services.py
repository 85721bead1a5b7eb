"""What a web process holds while it lives: pools, vendors, keys, live calls. Built once, passed as an argument."""

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any, Final

from callmeback import errors, logs
from callmeback.domain import costs, installation
from callmeback.domain.attempts import Turns
from callmeback.domain.passwords import Hasher
from callmeback.domain.tokens import Keys
from callmeback.payments.accounts import simulated_webhook_url, stripe_account
from callmeback.pg import roles
from callmeback.pg.pool import Database
from callmeback.providers.mail import Mailer
from callmeback.providers.stripe import Cashier
from callmeback.providers.twilio import Carrier
from callmeback.settings import VENDORS, Settings
from callmeback.simulator import PaymentsConfig, Simulator, SimulatorConfig
from callmeback.voice import accounts
from callmeback.voice.accounts import Staff
from callmeback.voice.dialler import Dialler
from callmeback.web.clinic import Clinic
from callmeback.web.voice_host import VoiceHost
from callmeback.web.watch import Watchers

_log = logs.get_logger(__name__)

# What is done after an answer was sent (mails): more than this at once is shed, and logged.
BACKGROUND_MAX: Final = 200
BACKGROUND_SECONDS_MAX: Final = 30.0
VOICE_POOL_MAX: Final = 8
READONLY_POOL_MAX: Final = 4
CARD_RETRY_SECONDS: Final = 1.0
CUT_SECONDS: Final = 3.0


class Services:
    """Opened in the application's lifespan, closed at its end."""

    def __init__(self, settings: Settings, hasher: Hasher) -> None:
        if settings.database_url is None or settings.jwt_secret is None or settings.role_secret is None:
            raise errors.ConfigurationError("The web entrance needs a database, a JWT secret and a role secret.")
        self.settings = settings
        self.keys = Keys(settings.jwt_secret)
        self.hasher = hasher
        self.turns = Turns()
        self.api = _database(settings, settings.role_secret, settings.database_url, roles.API, settings.pool_max)
        self.voice = _database(settings, settings.role_secret, settings.database_url, roles.VOICE, VOICE_POOL_MAX)
        self.readonly = _database(
            settings, settings.role_secret, settings.database_url, roles.READONLY, READONLY_POOL_MAX
        )
        self.reports = _reports(settings, settings.role_secret) or self.readonly
        self.carrier = Carrier(accounts.carrier_config(settings))
        self.cashier = Cashier(stripe_account(settings))
        self.simulator = _simulator(settings, self.carrier)
        self.mailer = Mailer(accounts.mail_config(settings))
        self.staff = Staff(settings, self.carrier)
        self.host = VoiceHost(self.voice, self.staff)
        name = f"web {socket.gethostname()} {os.getpid()}"
        self.dialler = Dialler(
            self.voice,
            self.carrier,
            settings.base_url,
            name,
            self.host.room,
            allowed_regions=settings.allowed_regions,
        )
        self.watchers = Watchers()
        self.clinic = Clinic(settings, self.readonly)
        self.is_priced = False
        self._has_schema = False
        self._loops: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def is_https(self) -> bool:
        return self.settings.base_url.startswith("https://")

    @property
    def draining(self) -> bool:
        """Whether the process is about to end: no new calls."""
        return self.host.admission.draining

    async def open(self) -> None:
        """Open the pools and start the loops; the database may still be on its way up."""
        for database in self._databases():
            await database
        if not await self._ensure_card():
            self._start("card", self._card_loop())
        self._start("meter", self.host.run())
        self._start("dialler", self.dialler.run())

    async def schema_state(self) -> str:
        """ok once every migration of this code was applied, which is asked until it is so."""
        if not self._has_schema:
            try:
                async with self.readonly.transaction(read_only=True) as tx:
                    self._has_schema = not await installation.missing_migrations(tx)
            except errors.CallMeBackError:
                return "unknown"

        return "ok" if self._has_schema else "behind"

    async def drain(self, within_seconds: float) -> bool:
        """Take no new calls, and let live ones say goodbye; whether all have ended within twice that time."""
        self._stop_dialling()

        return await self.host.admission.drain(within_seconds)

    async def retire(self) -> None:
        """Dial no more, and wait for the live calls to end as their people like."""
        for loop in self._stop_dialling():
            await asyncio.wait({loop})
        await self.host.admission.emptied()

    async def close(self) -> None:
        """Finish what runs in the background, within its bound, and close everything."""
        if self.host.admission.live:
            # Cut by the server's own bound: they hang up and settle now, and need vendors and database for it.
            await self.host.admission.drain(CUT_SECONDS)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._background:
            await asyncio.wait(self._background, timeout=BACKGROUND_SECONDS_MAX)
        for task in list(self._background):
            task.cancel()
        await self.staff.aclose()
        await self.carrier.aclose()
        await self.cashier.aclose()
        if self.simulator is not None:
            await self.simulator.aclose()
        for database in reversed(self._databases()):
            await database.close()
        self.hasher.close()

    def later(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Do this beside the request; a failure is logged. None when there is too much to do already."""
        if len(self._background) >= BACKGROUND_MAX:
            work.close()
            _log.warning("background_full", doing=name)
            return None
        task = asyncio.create_task(_guarded(name, work), name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

        return task

    def _databases(self) -> list[Database]:
        """Each pool once: reports share the one of the readers unless they go to replicas."""
        return list(dict.fromkeys((self.api, self.voice, self.readonly, self.reports)))

    def _stop_dialling(self) -> list[asyncio.Task[None]]:
        loops = [loop for loop in self._loops if loop.get_name() == "dialler"]
        for loop in loops:
            loop.cancel()

        return loops

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._loops.append(asyncio.create_task(work, name=name))

    async def _card_loop(self) -> None:
        """Until the database is there."""
        while not await self._ensure_card():  # noqa: ASYNC110 - the database sends no event
            await asyncio.sleep(CARD_RETRY_SECONDS)

    async def _ensure_card(self) -> bool:
        """Make the models in use known to the prices; False when the database can't be reached."""
        try:
            async with self.voice.transaction() as tx:
                self.is_priced = await costs.ensure_card(tx, self.settings)
        except errors.CallMeBackError as exc:
            _log.warning("card_not_ensured", error=type(exc).__name__)
            return False
        if not self.is_priced:
            _log.error("models_without_a_rate", card=costs.card_name(self.settings))

        return True


def _simulator(settings: Settings, carrier: Carrier) -> Simulator | None:
    """The vendors that have no key; the customer of the simulated carrier and of the simulated payments is us."""
    if not any(settings.simulated(vendor) for vendor in VENDORS):
        return None
    payments, plays_payments = _simulated_payments(settings), settings.simulated("payments")
    if not settings.simulated("carrier"):
        return Simulator(SimulatorConfig(payments=payments, plays_payments=plays_payments))
    config = carrier.config

    return Simulator(
        SimulatorConfig(
            account_sid=config.account_sid,
            auth_token=config.auth_token,
            number=config.number,
            payments=payments,
            plays_payments=plays_payments,
        )
    )


def _simulated_payments(settings: Settings) -> PaymentsConfig:
    if not settings.simulated("payments"):
        return PaymentsConfig()
    account = stripe_account(settings)

    return PaymentsConfig(
        api_key=account.api_key,
        webhook_secret=account.webhook_secret,
        webhook_url=simulated_webhook_url(settings),
    )


def _database(settings: Settings, role_secret: str, dsn: str, role: str, size: int) -> Database:
    return Database.open(
        roles.dsn_for(role, role_secret, dsn),
        name=role.removeprefix("callmeback_"),
        max_size=min(size, settings.pool_max),
        wait_s=settings.pool_wait_s,
        idle_s=settings.pool_idle_s,
    )


def _reports(settings: Settings, role_secret: str) -> Database | None:
    """The pool of what may be some seconds old; None where it goes where everything goes."""
    if settings.database_read_url is None:
        return None

    return _database(settings, role_secret, settings.database_read_url, roles.READONLY, READONLY_POOL_MAX)


async def _guarded(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(BACKGROUND_SECONDS_MAX):
            await work
    except (errors.CallMeBackError, TimeoutError, OSError) as exc:
        _log.warning("background_failed", doing=name, error=type(exc).__name__)
