"""What a proxy process holds while it lives: keys, verdicts, pools, limits, audit, figures. Built once, passed along."""

from typing import Final

from callmeback import errors
from callmeback.pg import home, roles
from callmeback.settings import Settings
from callmeback.sqlproxy.audit import Audit
from callmeback.sqlproxy.deadlines import Deadlines
from callmeback.sqlproxy.figures import Figures
from callmeback.sqlproxy.keyring import Keyring
from callmeback.sqlproxy.limits import Limits
from callmeback.sqlproxy.policy import Verdicts
from callmeback.sqlproxy.pools import Pools

SERVICE: Final = "proxy"


class Services:
    """Opened at the application's start, closed at its end."""

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None or settings.role_secret is None:
            raise errors.ConfigurationError("The SQL proxy needs a database and a role secret.")
        self.settings = settings
        self._dsn = settings.database_url
        self._secret = settings.role_secret
        self.deadlines = Deadlines()
        self.keyring = Keyring(roles.dsn_for(roles.PROXY, self._secret, self._dsn))
        self.verdicts = Verdicts()
        self.limits = Limits()
        self.audit = Audit(with_parameters=settings.proxy_audit_parameters)
        self.pools = Pools(
            self.dsn_for,
            self.deadlines,
            limit=settings.pool_max,
            wait_s=settings.pool_wait_s,
            idle_s=settings.pool_idle_s,
        )
        self.figures = Figures(self)
        self.is_draining = False

    def dsn_for(self, role: str) -> str:
        """How a scope's role logs in: its password is made from the role secret and kept nowhere."""
        return roles.login(role, self._secret, self._dsn)

    async def open(self) -> None:
        """Begin to follow the keys; without a database it is tried again and again."""
        await self.keyring.open()

    async def close(self) -> None:
        """Let go of everything."""
        await self.pools.close()
        await self.keyring.close()
        self.audit.close()
        home.stop_beating(self.settings.home, SERVICE)
