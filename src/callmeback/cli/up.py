"""`callmeback up`: everything on one machine. The database first, then migrations, then the services, kept alive."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click
import msgspec
from rich.console import Console

from callmeback import errors, logs
from callmeback.cli.supervisor import Service, Supervisor
from callmeback.ops import scopes
from callmeback.pg import home, migrate, roles, server
from callmeback.pg.pool import Database
from callmeback.settings import PROXY_PORT, VENDORS, Settings

READY_TIMEOUT_S: Final = 60.0
READY_POLL_S: Final = 0.05
PROBE_TIMEOUT_S: Final = 2.0
DATABASE_POLL_S: Final = 0.5
# A killed `up` takes its services along, but not within the same instant.
PORT_WAIT_S: Final = 5.0
REVIVALS_MAX: Final = 10
ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to reach what listens there

MAY_NOT_MAKE_ROLES: Final = (
    "The user of DATABASE_URL may not make the roles of the services: give it CREATEROLE for this start, or set "
    "CALLMEBACK_ROLE_SECRET to the secret that they were made with."
)

log = logs.get_logger(__name__)


@click.command()
def command() -> None:
    """Start everything and keep it running until Ctrl-C or SIGTERM.

    The database is DATABASE_URL, or else a PostgreSQL of its own in CALLMEBACK_HOME. A vendor without a key is
    simulated.
    """
    logs.configure(json=not sys.stderr.isatty())
    settings = home.complete(Settings.from_env())
    with database(settings) as (dsn, running):
        settings = msgspec.structs.replace(settings, database_url=dsn)
        wait_for_port(settings.host, settings.port, "CALLMEBACK_PORT")
        port = proxy_port(settings)
        migrate.apply(dsn)
        asyncio.run(grant_keys(settings, running))
        home.write_run(
            settings.home,
            url=settings.base_url,
            proxy_url=f"http://{settings.host}:{port}",
            pid=os.getpid(),
            services=[service.name for service in services(settings, port)],
        )
        try:
            asyncio.run(
                supervise(msgspec.structs.replace(settings, proxy_port=port), running, services(settings, port))
            )
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


def services(settings: Settings, port: int) -> tuple[Service, ...]:
    """In the order in which they are stopped: no new calls, no more SQL, no more work, then the database."""
    program = (sys.executable, "-m", "callmeback")
    elsewhere = () if port == settings.proxy_port else ("--port", str(port))

    return (
        Service("serve", (*program, "serve"), stop_within_s=60.0),
        Service("proxy", (*program, "proxy", *elsewhere), stop_within_s=20.0),
        Service("worker", (*program, "worker"), stop_within_s=20.0),
    )


def proxy_port(settings: Settings) -> int:
    """The proxy's port. The usual one is many programs' usual one: where another has it, any free one will do."""
    if settings.proxy_port != PROXY_PORT or can_listen(settings.host, settings.proxy_port) is None:
        wait_for_port(settings.host, settings.proxy_port, "CALLMEBACK_PROXY_PORT")
        return settings.proxy_port
    with socket.socket(family_of(settings.host)) as probe:
        probe.bind((settings.host, 0))
        free: int = probe.getsockname()[1]

    return free


def wait_for_port(host: str, port: int, variable: str) -> None:
    """Make sure that a service will get its port; raises ConfigurationError when another program has it."""
    deadline = time.monotonic() + PORT_WAIT_S
    while (problem := can_listen(host, port)) is not None:
        if time.monotonic() > deadline:
            raise errors.ConfigurationError(
                f"{host}:{port} can't be listened on ({problem.strerror}): set CALLMEBACK_HOST or {variable}."
            ) from problem
        time.sleep(READY_POLL_S)


def can_listen(host: str, port: int) -> OSError | None:
    """None when the port is free, else what is wrong with it."""
    with socket.socket(family_of(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            return exc

    return None


def family_of(host: str) -> socket.AddressFamily:
    """Of the addresses that a host is written as."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def supervise(settings: Settings, running: server.Server | None, kept: Sequence[Service]) -> None:
    """Keep the services and the database until a signal; raises ServerFailed when one of them can't be kept."""
    supervisor = Supervisor(kept)
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            supervisor.hurry()
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    supervisor.start()
    watchers = [
        asyncio.create_task(supervisor.failed()),
        asyncio.create_task(announce(settings, running, supervisor)),
        asyncio.create_task(stopping.wait()),
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
    console = Console()
    for line in banner(settings, running):
        console.print(line, highlight=False, soft_wrap=True)


def banner(settings: Settings, running: server.Server | None) -> list[str]:
    """What somebody wants to know who has just started this."""
    simulated = [vendor for vendor in VENDORS if settings.simulated(vendor)]
    lines = ["", f"[bold]Call Me Back is ready: [link={settings.base_url}]{settings.base_url}[/link][/bold]"]
    if simulated:
        lines.append(f"Simulated, for want of keys: {', '.join(simulated)}. No real phone will ring for that.")
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
    address = ANY_ADDRESS.get(host, host)
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
