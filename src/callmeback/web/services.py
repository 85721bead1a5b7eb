"""What a web process holds while it lives: pools, vendors, keys, live calls. Built once, passed as an argument."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from callmeback import errors, logs
from callmeback.domain.passwords import Hasher
from callmeback.domain.tokens import Keys
from callmeback.pg import roles
from callmeback.pg.pool import Database
from callmeback.providers.twilio import Carrier
from callmeback.settings import VENDORS, Settings
from callmeback.simulator import Simulator
from callmeback.simulator import state as simulator_state
from callmeback.voice import accounts

_log = logs.get_logger(__name__)

# What is done after an answer was sent (mails): more than this at once is shed, and logged.
BACKGROUND_MAX: Final = 200
BACKGROUND_SECONDS_MAX: Final = 30.0


class Services:
    """Opened in the application's lifespan, closed at its end."""

    def __init__(self, settings: Settings, hasher: Hasher) -> None:
        if settings.database_url is None or settings.jwt_secret is None or settings.role_secret is None:
            raise errors.ConfigurationError("The web entrance needs a database, a JWT secret and a role secret.")
        self.settings = settings
        self.keys = Keys(settings.jwt_secret)
        self.hasher = hasher
        self.api = _database(settings, settings.role_secret, settings.database_url, roles.API, settings.pool_max)
        self.voice = _database(settings, settings.role_secret, settings.database_url, roles.VOICE, VOICE_POOL_MAX)
        self.readonly = _database(
            settings, settings.role_secret, settings.database_url, roles.READONLY, READONLY_POOL_MAX
        )
        self.simulator = (
            Simulator(accounts.simulator_config(settings))
            if any(settings.simulated(vendor) for vendor in VENDORS)
            else None
        )
        self.carrier = Carrier(accounts.carrier_config(settings))
        self.draining = False
        self._background: set[asyncio.Task[None]] = set()

    @property
    def is_https(self) -> bool:
        return self.settings.base_url.startswith("https://")

    async def open(self) -> None:
        """Open the pools; the database may still be on its way up."""
        for database in (self.api, self.voice, self.readonly):
            await database

    async def drain(self, within_seconds: float) -> None:
        """Take no new calls from now on, before the process stops within `within_seconds`."""
        self.draining = True

    async def close(self) -> None:
        """Finish what runs in the background, within its bound, and close everything."""
        if self._background:
            await asyncio.wait(self._background, timeout=BACKGROUND_SECONDS_MAX)
        for task in list(self._background):
            task.cancel()
        await self.carrier.aclose()
        if self.simulator is not None:
            await self.simulator.aclose()
        for database in (self.readonly, self.voice, self.api):
            await database.close()
        self.hasher.close()

    async def send_mail(self, to: str, subject: str, body: str) -> None:
        """Send a mail; raises VendorFailed."""
        if self.simulator is None:
            raise errors.VendorFailed("There is no mail server.")
        self.simulator.mails.appendleft(
            simulator_state.Letter(to=to, body=body, sent_at=simulator_state.now_text(), subject=subject)
        )

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


VOICE_POOL_MAX: Final = 8
READONLY_POOL_MAX: Final = 4


def _database(settings: Settings, role_secret: str, dsn: str, role: str, size: int) -> Database:
    return Database.open(
        roles.dsn_for(role, role_secret, dsn),
        name=role.removeprefix("callmeback_"),
        max_size=min(size, settings.pool_max),
        wait_s=settings.pool_wait_s,
        idle_s=settings.pool_idle_s,
    )


async def _guarded(name: str, work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(BACKGROUND_SECONDS_MAX):
            await work
    except (errors.CallMeBackError, TimeoutError, OSError) as exc:
        _log.warning("background_failed", doing=name, error=type(exc).__name__)
