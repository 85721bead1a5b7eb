"""What the web process and the proxy share as servers: a socket handed over, word when ready, leaving without a gap."""

import asyncio
import signal
import socket
from types import FrameType
from typing import Final

import uvicorn

from callmeback import logs
from callmeback.ops import notify

_log = logs.get_logger(__name__)

RETIRE: Final = signal.SIGUSR1
"""Somebody else listens now: accept nothing more, and end when what has begun is done."""


class Entrance(uvicorn.Server):
    """A server of uvicorn's that can listen on a socket which outlives it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._is_hurried = False

    def listen(self, fd: int | None) -> None:
        """Serve until a signal, on the socket of that number or on one of our own."""
        self.run(None if fd is None else [socket.socket(fileno=fd)])

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
