"""The ASGI application around what `http.py` doesn't answer itself: the process's life, and WebSockets.

HTTP requests never come here: they are answered by the protocol in `http.py`, where a request costs a third of what it
costs over ASGI. A WebSocket comes as ASGI from uvicorn and goes to `sockets`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from callmeback import logs
from callmeback.pg import home
from callmeback.sqlproxy import readiness
from callmeback.sqlproxy.services import SERVICE, Services

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Sockets = Callable[[Services, Scope, Receive, Send], Awaitable[None]]

BEAT_EVERY_S: Final = 1.0
NOT_FOUND: Final = 4404

_log = logs.get_logger(__name__)


class App:
    """Lifespan and WebSockets. `sockets` serves `GET /v2` as `await sockets(services, scope, receive, send)`."""

    def __init__(self, services: Services, sockets: Sockets) -> None:
        self.services = services
        self._sockets = sockets
        self._beating: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI conversation."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket" and scope["path"] == "/v2":
            await self._sockets(self.services, scope, receive, send)
        else:
            assert scope["type"] == "websocket", "HTTP is answered by the protocol"
            await receive()
            await send({"type": "websocket.close", "code": NOT_FOUND})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.services.open()
        self._note()
        self._beating = asyncio.create_task(self._beat(), name="beat")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.services.is_draining = True
        self._beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beating
        await self.services.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _beat(self) -> None:
        """Tell the house once a second that this service can do its work."""
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            self._note()

    def _note(self) -> None:
        try:
            if readiness.is_ready(self.services):
                home.beat(self.services.settings.home, SERVICE)
        except OSError as exc:
            _log.warning("beat_failed", error=type(exc).__name__)
