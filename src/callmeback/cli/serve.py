"""`callmeback serve`: the web process. On SIGTERM it takes no new calls, lets live ones end, and then stops."""

import asyncio
from types import FrameType
from typing import Final

import click
import uvicorn

from callmeback import logs
from callmeback.cli.installation import service_settings
from callmeback.settings import Settings
from callmeback.web.app import create_app
from callmeback.web.services import Services

# How long live calls may go on after SIGTERM, goodbye included; they get the same again to settle. Then how long open
# requests may. `up` waits for the sum.
DRAIN_SECONDS: Final = 20.0
GRACE_SECONDS: Final = 5
BACKLOG: Final = 512
CONNECTIONS_MAX: Final = 2_000
HEADER_BYTES_MAX: Final = 32 * 1024
MESSAGE_BYTES_MAX: Final = 1 << 20
PING_SECONDS: Final = 20.0

log = logs.get_logger(__name__)


@click.command()
def command() -> None:
    """Serve the page, the API, the webhooks and the calls' media on CALLMEBACK_HOST and CALLMEBACK_PORT."""
    run(service_settings())


def run(settings: Settings) -> None:
    """Serve until a signal; returns when everything is closed. Exits with 3 when the application doesn't start."""
    app = create_app(settings)
    server = DrainingServer(configuration(settings, app), app.state.services)
    server.run()
    if not server.started:
        raise SystemExit(3)


def configuration(settings: Settings, app: object) -> uvicorn.Config:
    """How uvicorn runs it: bounded everywhere, its records through our redaction, forwarded headers ignored."""
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # Litestar types its ASGI callable more narrowly than uvicorn
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


class DrainingServer(uvicorn.Server):
    """uvicorn cuts WebSockets at the first signal; a live call is one, so this waits for the calls first."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # sockets unused
        """Note the loop that signals are handed to."""
        self._loop = asyncio.get_running_loop()
        await super().startup()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain, then stop. Second: stop now."""
        if self._loop is None or self._drain is not None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drained(), name="drain")

    async def _drained(self) -> None:
        log.info("draining", seconds=DRAIN_SECONDS)
        try:
            await self._services.drain(DRAIN_SECONDS)
        finally:
            self.should_exit = True
