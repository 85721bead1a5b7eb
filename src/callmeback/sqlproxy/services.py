"""What a proxy process holds while it lives: keys, verdicts, pools, limits, audit, figures. Built once."""

import asyncio
from typing import Final

from callmeback import errors, logs
from callmeback.pg import home, roles
from callmeback.settings import Settings
from callmeback.sqlproxy.audit import Audit
from callmeback.sqlproxy.deadlines import Deadlines
from callmeback.sqlproxy.figures import Figures
from callmeback.sqlproxy.gate import Gate
from callmeback.sqlproxy.keyring import Keyring
from callmeback.sqlproxy.limits import DEADLINE_S, Limits
from callmeback.sqlproxy.policy import Verdicts
from callmeback.sqlproxy.pools import Pools
from callmeback.sqlproxy.shapes import Shapes

SERVICE: Final = "proxy"
RETRY_S: Final = 1.0

_log = logs.get_logger(__name__)


class Services:
    """Opened at the application's start, closed at its end."""

    def __init__(self, settings: Settings, near_dsn: str | None = None) -> None:
        """`near_dsn` reaches the same database by a shorter way, if there is one: a Unix socket."""
        if settings.database_url is None or settings.role_secret is None:
            raise errors.ConfigurationError("The SQL proxy needs a database and a role secret.")
        self.settings = settings
        self._dsn = settings.database_url
        self._near_dsn = near_dsn or settings.database_url
        self._secret = settings.role_secret
        self.deadlines = Deadlines()
        self._keyring: Keyring | None = None
        self._opening: asyncio.Task[None] | None = None
        self.shapes = Shapes()
        self.gate = Gate()
        self.verdicts = Verdicts()
        self.limits = Limits()
        self.audit = Audit(with_parameters=settings.proxy_audit_parameters)
        self.pools = Pools(
            self._near_dsn_for,
            self.deadlines,
            limit=settings.pool_max,
            wait_s=settings.pool_wait_s,
            idle_s=settings.pool_idle_s,
        )
        self.figures = Figures(self)
        self.deadline_s = DEADLINE_S
        self.is_draining = False

    def dsn_for(self, role: str) -> str:
        """How a scope's role logs in: its password is made from the role secret and kept nowhere."""
        return roles.dsn_for(role, self._secret, self._dsn)

    def _near_dsn_for(self, role: str) -> str:
        return roles.dsn_for(role, self._secret, self._near_dsn)

    @property
    def keyring(self) -> Keyring:
        """The keys; raises DatabaseUnavailable as long as they were never read."""
        if self._keyring is None:
            raise errors.DatabaseUnavailable()

        return self._keyring

    @property
    def has_keys(self) -> bool:
        """Whether the keys were ever read."""
        return self._keyring is not None

    async def open(self) -> None:
        """Begin to follow the keys; without a database it is tried again and again."""
        if not await self._read_keys():
            self._opening = asyncio.create_task(self._keep_reading(), name="keys")

    async def _keep_reading(self) -> None:
        while not await self._read_keys():  # noqa: ASYNC110 - the database sends no event
            await asyncio.sleep(RETRY_S)

    async def _read_keys(self) -> bool:
        try:
            self._keyring = await Keyring.open(roles.dsn_for(roles.PROXY, self._secret, self._dsn))
        except errors.CallMeBackError as exc:
            _log.warning("keys_not_read", error=type(exc).__name__)
            return False

        return True

    async def close(self) -> None:
        """Let go of everything."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self.pools.close()
        if self._keyring is not None:
            await self._keyring.close()
        self.audit.close()
        home.stop_beating(self.settings.home, SERVICE)
