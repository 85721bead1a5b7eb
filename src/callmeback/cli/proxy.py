"""`callmeback proxy`: SQL over HTTP. On SIGTERM it answers what it has begun, and stops."""

import contextlib
import gc
import resource
from typing import Final

import click
import msgspec
import uvicorn

from callmeback.cli import entrance
from callmeback.cli.entrance import Entrance
from callmeback.cli.installation import service_settings
from callmeback.cli.parameters import Whole
from callmeback.pg import server
from callmeback.settings import MAX_PORT, Settings
from callmeback.sqlproxy.app import App
from callmeback.sqlproxy.http import Door
from callmeback.sqlproxy.service import Service
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.socket import Sockets

GRACE_SECONDS: Final = 12
"""Longer than any request may take."""

BACKLOG: Final = 2_048
CONNECTIONS_MAX: Final = 4_000
FILES_WANTED: Final = 16_384
# A frame may join messages, of which each may have as many bytes as a body.
FRAME_BYTES_MAX: Final = 2 << 20
# A request makes some hundred objects and almost no cycles; looking for those at every 700th object cost a tenth.
GC_THRESHOLDS: Final = (50_000, 20, 50)


@click.command()
@click.option("--port", type=Whole(1, MAX_PORT), metavar="N", help="Instead of CALLMEBACK_PROXY_PORT.")
@entrance.fd_option
def command(port: int | None, fd: int | None) -> None:
    """Answer SQL over HTTP on CALLMEBACK_HOST and CALLMEBACK_PROXY_PORT."""
    settings = service_settings("proxy")
    run(settings if port is None else msgspec.structs.replace(settings, proxy_port=port), fd)


def run(settings: Settings, fd: int | None = None) -> None:
    """Serve until a signal; returns when everything is closed."""
    allow_files()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    running = Entrance(configuration(settings, Services(settings, near(settings))))
    running.listen(fd, "CALLMEBACK_PROXY_PORT")


def near(settings: Settings) -> str | None:
    """The embedded server's Unix socket, where the database is that server and we may use it."""
    return None if settings.database_url is None else server.near_dsn(settings.home, settings.database_url)


def configuration(settings: Settings, services: Services) -> uvicorn.Config:
    """How uvicorn runs it: our HTTP, everything bounded."""
    return entrance.configuration(
        App(services, Sockets().serve),
        host=settings.host,
        port=settings.proxy_port,
        grace_seconds=GRACE_SECONDS,
        http=Door(Service(services), CONNECTIONS_MAX),
        ws_max_size=FRAME_BYTES_MAX,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
    )


def allow_files() -> None:
    """Every client is a file; the usual 1,024 would be the real limit of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
