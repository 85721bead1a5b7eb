"""What the web process and the proxy share as servers: a socket handed over, word when ready, leaving without a gap."""

import asyncio
import os
import signal
import socket
from types import FrameType
from typing import Any, Final

import click
import uvicorn

from callmeback import errors, logs
from callmeback.cli import listening
from callmeback.cli.parameters import Whole
from callmeback.ops import notify

_log = logs.get_logger(__name__)

RETIRE: Final = signal.SIGUSR1
"""Somebody else listens now: accept nothing more, and end when what has begun is done."""


PING_SECONDS: Final = 20.0

fd_option = click.option(
    "--fd", type=Whole(min=0), metavar="N", help="The number of a listening socket that it was started with."
)


def configuration(app: Any, *, host: str, port: int, grace_seconds: int, **bounds: Any) -> uvicorn.Config:
    """How uvicorn runs both: its loop and WebSockets, records through our redaction, forwarded headers ignored.

    `bounds` are further options of uvicorn's: its protocol, and how much it takes at once.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=grace_seconds,
        **bounds,
    )


class Entrance(uvicorn.Server):
    """A server of uvicorn's that can listen on a socket which outlives it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._is_hurried = False

    def listen(self, fd: int | None, variable: str) -> None:
        """Serve until a signal, on the socket of that number or on one of our own, whose port `variable` says.

        Raises ConfigurationError where it can't be listened on. Ends with 1 when the application doesn't start.
        """
        config = self.config
        own = listening.listen(config.host, config.port, variable) if fd is None else _handed_over(fd)
        with own:
            try:
                self.run([own])
            except SystemExit as exc:
                # uvicorn's own code for an application that doesn't start is 3, which is none of ours.
                raise SystemExit(1) from exc
        if not self.started:
            raise SystemExit(1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Note the loop that signals are handed to, and say when connections are taken."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(RETIRE, self._leave, False)
        await super().startup(sockets)
        if self.started:
            notify.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: finish, then stop. Second: stop now."""
        if self._loop is None or self._is_hurried:
            self.should_exit = True
        else:
            self._is_hurried = True
            self._loop.call_soon_threadsafe(self._leave, True)

    async def finish(self, is_hurried: bool) -> None:
        """What is to be done between the signal and the end; `is_hurried` unless somebody else has taken over."""

    def _leave(self, is_hurried: bool) -> None:
        if self._leaving is not None:
            if not is_hurried:
                return
            self._leaving.cancel()
        self._leaving = asyncio.get_running_loop().create_task(self._left(is_hurried), name="leave")

    async def _left(self, is_hurried: bool) -> None:
        if not is_hurried:
            # The kernel keeps the socket for the process that shares it, so that no connection is lost.
            for server in self.servers:
                server.close()
        try:
            await self.finish(is_hurried)
        except Exception:
            _log.exception("finish_broke")
        self.should_exit = True


def _handed_over(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=fd)
    except OSError as exc:
        raise errors.ConfigurationError(f"File {fd} is no socket: {os.strerror(exc.errno or 0)}.") from exc
