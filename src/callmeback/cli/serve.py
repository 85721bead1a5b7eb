"""`callmeback serve`: the web process. On SIGTERM it takes no new calls, lets live ones end, and then stops."""

from typing import Final

import click
import uvicorn

from callmeback import logs
from callmeback.cli import entrance
from callmeback.cli.entrance import Entrance
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

log = logs.get_logger(__name__)


@click.command()
@entrance.fd_option
def command(fd: int | None) -> None:
    """Serve the page, the API, the webhooks and the calls' media on CALLMEBACK_HOST and CALLMEBACK_PORT."""
    run(service_settings("serve"), fd)


def run(settings: Settings, fd: int | None = None) -> None:
    """Serve until a signal; returns when everything is closed."""
    app = create_app(settings)
    server = WebServer(configuration(settings, app), app.state.services)
    server.listen(fd, "CALLMEBACK_PORT")


def configuration(settings: Settings, app: object) -> uvicorn.Config:
    """How uvicorn runs it: bounded everywhere."""
    return entrance.configuration(
        app,
        host=settings.host,
        port=settings.port,
        grace_seconds=GRACE_SECONDS,
        http="httptools",
        ws_max_size=MESSAGE_BYTES_MAX,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
    )


class WebServer(Entrance):
    """uvicorn cuts WebSockets at the first signal; a live call is one, so this waits for the calls first."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def finish(self, is_hurried: bool) -> None:
        """Let live calls end: by themselves where another process takes the new ones, else after a goodbye."""
        if not is_hurried:
            log.info("retiring")
            await self._services.retire()
        else:
            log.info("draining", seconds=DRAIN_SECONDS)
            await self._services.drain(DRAIN_SECONDS)
