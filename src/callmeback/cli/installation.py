"""Which installation a command works on: DATABASE_URL, or the running `up` of CALLMEBACK_HOME."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from callmeback import errors, logs
from callmeback.ops import loglines
from callmeback.ops.scopes import Workshop
from callmeback.pg import home, reach, server
from callmeback.pg.pool import Database, Session
from callmeback.settings import Settings

ResultT = TypeVar("ResultT")


def owner_dsn(settings: Settings) -> str:
    """The database, as its owner; raises ConfigurationError when there is none."""
    if settings.database_url is not None:
        return settings.database_url
    running = server.find(settings.home)
    if running is None:
        raise errors.ConfigurationError("There is no database: start `callmeback up`, or set DATABASE_URL.")

    return running.owner_dsn


def owner_database(settings: Settings) -> Database:
    """A pool of one connection as the database's owner; raises ConfigurationError when there is no database."""
    return Database.open(owner_dsn(settings), name="cli", max_size=1)


async def in_transaction(
    work: Callable[[Session], Awaitable[ResultT]],
    *,
    read_only: bool = False,
    snapshot: bool = False,
    deadline_s: float | None = None,
) -> ResultT:
    """What `work` answers in one transaction of the database's owner, opened as `Database.transaction` says."""
    async with (
        owner_database(Settings.from_env()) as db,
        db.transaction(read_only=read_only, snapshot=snapshot, deadline_s=deadline_s) as tx,
    ):
        return await work(tx)


def workshop(settings: Settings) -> Workshop:
    """Who makes login roles: the superuser of the running `up` of this home, else the user of DATABASE_URL."""
    role_secret = home.complete(settings).role_secret
    assert role_secret is not None
    running = server.find(settings.home)
    given = settings.database_url
    if running is not None and (given is None or reach.hosts(given) == [("127.0.0.1", str(running.port))]):
        return Workshop(running.superuser_dsn, role_secret)

    return Workshop(owner_dsn(settings), role_secret)


def known_settings(settings: Settings) -> Settings:
    """The settings with the secrets that this home has already; none are made, and nothing is refused."""
    if settings.role_secret is None and settings.jwt_secret is None and not (settings.home / home.SECRETS).exists():
        return settings

    return home.with_secrets(settings)


def keep_log(settings: Settings, name: str) -> None:
    """Keep what this service writes in the home too, for `callmeback logs`."""
    try:
        logs.keep(loglines.file_of(settings.home, name))
    except OSError as exc:
        logs.get_logger(__name__).warning("the log is not kept in the home", error=exc.strerror)


def service_settings(name: str) -> Settings:
    """The settings of a service: checked, with its secrets and its database filled in, and its log kept."""
    settings = home.complete(Settings.from_env())
    keep_log(settings, name)

    return msgspec.structs.replace(settings, database_url=owner_dsn(settings))
