"""`callmeback up`: everything on one machine. The database first, then migrations, then the services, kept alive."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click
import msgspec
from rich.console import Console

from callmeback import errors, logs
from callmeback.cli import entrance, listening
from callmeback.cli.installation import keep_log
from callmeback.cli.supervisor import Service, Supervisor
from callmeback.ops import notify, scopes
from callmeback.pg import home, migrate, roles, server
from callmeback.pg.pool import Database
from callmeback.settings import VENDORS, Settings, near

READY_TIMEOUT_S: Final = 60.0
READY_POLL_S: Final = 0.05
PROBE_TIMEOUT_S: Final = 2.0
DATABASE_POLL_S: Final = 0.5
REVIVALS_MAX: Final = 10
# No tier's longest call takes more, its goodbye included.
LONGEST_CALL_S: Final = 5 * 3_600.0
PRETENDED_CALL_S: Final = 10.0
RELOAD: Final = signal.SIGUSR1

MAY_NOT_MAKE_ROLES: Final = (
    "The user of DATABASE_URL may not make the roles of the services: give it CREATEROLE for this start, or set "
    "CALLMEBACK_ROLE_SECRET to the secret that they were made with."
)

log = logs.get_logger(__name__)


@click.command()
def command() -> None:
    """Start everything and keep it running until Ctrl-C or SIGTERM.

    The database is DATABASE_URL, or else a PostgreSQL of its own in CALLMEBACK_HOME. A vendor without a key is
    simulated. Makes room for a restore in place, and goes on after it.
    """
    settings = home.complete(Settings.from_env())
    keep_log(settings, "up")
    home.await_restore(settings.home)
    while keep(settings):
        home.await_restore(settings.home)


def keep(settings: Settings) -> bool:
    """Keep everything running until a signal; whether it was the one of a restore, after which we go on."""
    with database(settings) as (dsn, running):
        settings = msgspec.structs.replace(settings, database_url=dsn)
        with listening.web(settings) as web, listening.proxy(settings) as proxy:
            settings = msgspec.structs.replace(settings, proxy_port=listening.port_of(proxy))
            kept = services(settings, web.fileno(), proxy.fileno())
            migrate.apply(dsn)
            asyncio.run(grant_keys(settings, running))
            try:
                return asyncio.run(supervise(settings, running, kept))
            finally:
                home.forget_run(settings.home)


@contextmanager
def database(settings: Settings) -> Iterator[tuple[str, server.Server | None]]:
    """The database with its roles, for as long as we run: the owner's DSN, and the server if it is ours."""
    assert settings.role_secret is not None
    if settings.database_url is None:
        with server.start(settings.home, role_secret=settings.role_secret) as running:
            asyncio.run(roles.ensure(running.superuser_dsn, settings.role_secret))
            yield running.owner_dsn, running
    else:
        held = home.lock(settings.home)
        try:
            # Of an `up` that was killed: its process number may be anybody's by now.
            home.forget_run(settings.home)
            try:
                asyncio.run(roles.ensure(settings.database_url, settings.role_secret))
            except errors.Forbidden as exc:
                raise errors.ConfigurationError(MAY_NOT_MAKE_ROLES) from exc
            yield settings.database_url, None
        finally:
            os.close(held)


async def grant_keys(settings: Settings, running: server.Server | None) -> None:
    """Put the roles behind the keys right, which a restored database lacks."""
    assert settings.database_url is not None and settings.role_secret is not None
    workshop = scopes.Workshop(running.superuser_dsn if running else settings.database_url, settings.role_secret)
    async with Database.open(settings.database_url, name="up", max_size=1) as owner:
        await scopes.synchronise(owner, workshop)


def services(settings: Settings, web: int, proxy: int) -> tuple[Service, ...]:
    """In the order in which they are stopped: no new calls, no more SQL, no more work, then the database.

    `web` and `proxy` are the numbers of their listening sockets. A web process that was replaced keeps its live calls
    to their end, unless the carrier lives in it, whose other half is in the new one then.
    """
    program = (sys.executable, "-m", "callmeback")
    patience_s = PRETENDED_CALL_S if settings.simulated("carrier") else LONGEST_CALL_S

    return (
        Service(
            "serve",
            (*program, "serve", "--fd", str(web)),
            stop_within_s=60.0,
            fds=(web,),
            retire=entrance.RETIRE,
            retire_within_s=patience_s,
        ),
        Service(
            "proxy",
            (*program, "proxy", "--fd", str(proxy), "--port", str(settings.proxy_port)),
            stop_within_s=20.0,
            fds=(proxy,),
            retire=entrance.RETIRE,
        ),
        Service("worker", (*program, "worker"), stop_within_s=20.0),
    )


async def supervise(settings: Settings, running: server.Server | None, kept: Sequence[Service]) -> bool:
    """Keep the services and the database until a signal; whether it was the one of a restore.

    Raises ServerFailed when one of them can't be kept.
    """
    supervisor = Supervisor(kept)
    stopping, rested = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            supervisor.hurry()
        rested.clear()
        stopping.set()

    def rest() -> None:
        # Whoever was told to end ends, though a restore asks for room meanwhile.
        if not stopping.is_set():
            rested.set()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    asyncio.get_running_loop().add_signal_handler(home.REST, rest)
    wished = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(RELOAD, wished.set)
    # Only now: who reads the number may send a signal that would have ended us before.
    home.write_run(
        settings.home,
        url=settings.base_url,
        web_url=settings.near_url(settings.port),
        proxy_url=settings.near_url(settings.proxy_port),
        pid=os.getpid(),
        services=[service.name for service in kept],
        reloads=0,
        is_reloading=False,
        rests=True,
    )
    supervisor.start()
    watchers = [
        asyncio.create_task(supervisor.failed()),
        asyncio.create_task(announce(settings, running, supervisor)),
        asyncio.create_task(stopping.wait()),
        asyncio.create_task(reload(settings, supervisor, wished)),
    ]
    if running is not None:
        watchers.append(asyncio.create_task(revive(running)))
    try:
        # The announcement ends by itself; everything else that ends, ends us.
        ended: set[asyncio.Task[object]] = set()
        while not ended - {watchers[1]}:
            done, _ = await asyncio.wait(set(watchers) - ended, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            ended |= done
    finally:
        for task in watchers:
            task.cancel()
        await supervisor.stop()

    return rested.is_set()


async def reload(settings: Settings, supervisor: Supervisor, wished: asyncio.Event) -> None:
    """At each wish apply the migrations of today's code, then replace every service without a gap. Never returns."""
    reloads = 0
    while True:
        await wished.wait()
        wished.clear()
        home.write_run(settings.home, is_reloading=True)
        failed = [] if await migrates(settings) else ["migrations"]
        if not failed:
            failed = await supervisor.roll()
        reloads += 1
        home.write_run(settings.home, reloads=reloads, reload_failed=failed, is_reloading=False)
        log.info("reloaded", failed=failed)


async def migrates(settings: Settings) -> bool:
    """Apply the migrations by a process of their own, whose code is the new one; whether that worked."""
    assert settings.database_url is not None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "callmeback", "migrate", "apply", env=os.environ | {"DATABASE_URL": settings.database_url}
    )

    return await process.wait() == 0


async def revive(running: server.Server) -> None:
    """Start the database again when it was killed. Clients see DatabaseUnavailable meanwhile, and come back."""
    for _ in range(REVIVALS_MAX):
        while running.is_running:  # noqa: ASYNC110 - the end of a process sets no event
            await asyncio.sleep(DATABASE_POLL_S)
        log.error("the database ended and is started again")
        # In this thread, because the server lives as long as the thread that starts it.
        running.revive()

    raise errors.ServerFailed(f"The database was killed {REVIVALS_MAX} times.")


async def announce(settings: Settings, running: server.Server | None, supervisor: Supervisor) -> None:
    """Say where we are once everything answers; raises ServerFailed when it never does."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not await is_ready(settings.host, settings.port):
        if time.monotonic() > deadline:
            raise errors.ServerFailed(f"Not ready after {READY_TIMEOUT_S:.0f} s; see the messages above.")
        await asyncio.sleep(READY_POLL_S)
    supervisor.are_ready = True
    notify.ready()
    console = Console()
    for line in banner(settings, running):
        console.print(line, highlight=False, soft_wrap=True)


def banner(settings: Settings, running: server.Server | None) -> list[str]:
    """What somebody wants to know who has just started this."""
    simulated = [vendor for vendor in VENDORS if settings.simulated(vendor)]
    lines = ["", f"[bold]Call Me Back is ready: [link={settings.base_url}]{settings.base_url}[/link][/bold]"]
    if simulated:
        rings = "No real phone rings" if "carrier" in simulated else "Calls reach real phones and cost money"
        lines.append(f"Simulated, for want of keys: {', '.join(simulated)}. {rings}.")
    else:
        lines.append("All vendors are real: calls reach phones and cost money.")
    lines.append(
        f"SQL over HTTP: http://{settings.host}:{settings.proxy_port}. Its keys are made with `callmeback keys create`."
    )
    where = f"PostgreSQL {running.endpoint.major} of its own" if running else "DATABASE_URL"
    lines.append(f"Home: {settings.home}. Database: {where}. Stop with Ctrl-C.")

    return lines


async def is_ready(host: str, port: int) -> bool:
    """Whether GET /ready answers 200."""
    address = near(host)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False

    return status.split(b" ")[1:2] == [b"200"]
