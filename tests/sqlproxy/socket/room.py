"""A proxy's sockets on the loopback, and what tests hold of them."""

import asyncio
import contextlib
import os
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import uvicorn
from tests.sqlproxy.socket.speaker import Speaker

from callmeback import errors
from callmeback.sqlproxy.audit import Audit, Record
from callmeback.sqlproxy.deadlines import Deadlines
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.limits import Limits as UseLimits
from callmeback.sqlproxy.policy import Verdicts
from callmeback.sqlproxy.pools import Pools
from callmeback.sqlproxy.relay import Limits
from callmeback.sqlproxy.socket import Sockets

START_TIMEOUT_S = 10.0
PATIENCE_S = 10.0
BUDGET = 8


class Ring:
    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.learnt: list[str] = []

    async def authenticate(self, token: str, peer: str) -> Key:
        if token not in self.keys:
            raise errors.Unauthorized()
        return self.keys[token]

    def current(self, key: Key) -> Key | None:
        return next((each for each in self.keys.values() if each.id == key.id), None)

    async def learn(self, key: Key, text: str) -> bool:
        self.learnt.append(text)
        return True


class Notes(Audit):
    """An audit whose lines are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)


class Room:
    """A running `/v2`."""

    def __init__(self, services: Any, books: psycopg.Connection, role: str) -> None:
        self.services = services
        self.books = books
        self.role = role
        self.sockets = Sockets()
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v2"

    def limit(self, limits: Limits) -> None:
        """Other bounds for the sessions that begin from now on."""
        self.sockets._limits = limits

    def key(self, mode: str = "policy", **more: Any) -> str:
        token = f"cmb_{os.urandom(8).hex()}_{os.urandom(32).hex()}"
        fields: dict[str, Any] = {"id": token[4:20], "name": "test", "mode": mode, "role": self.role, "masked": True}
        fields |= {"expires_at": None, "cidrs": (), "rate": None, "concurrency": None, "learning_until": None}
        fields |= {"statements": {}, "texts": {}, "proof": b""} | more
        self.services.keyring.keys[token] = Key(**fields)
        return token

    @asynccontextmanager
    async def client(self, key: str | None = None, **parameters: Any) -> AsyncIterator[Speaker]:
        """A client that is logged in."""
        async with Speaker(self.url) as speaker:
            await speaker.begin(key or self.key(), **parameters)
            yield speaker

    def backends(self) -> list[int]:
        """Processes of the server that work for the role."""
        found = self.books.execute("SELECT pid FROM pg_stat_activity WHERE usename = %s ORDER BY 1", [self.role])
        return [pid for (pid,) in found]

    async def until_gone(self) -> None:
        """Wait until nothing of any session is left, here and at the server."""
        async with asyncio.timeout(PATIENCE_S):
            while self.backends() or len(self.sockets) or self.services.pools.stats().sessions:
                await asyncio.sleep(0.02)


class QuietServer(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(dsn_for: Callable[[str], str], books: psycopg.Connection, role: str) -> AsyncIterator[Room]:
    """Serve as the proxy does, for as long as the block runs."""
    pools = Pools(dsn_for, Deadlines(), limit=BUDGET, wait_s=0.5, idle_s=5.0)
    services = types.SimpleNamespace(
        keyring=Ring(),
        verdicts=Verdicts(),
        limits=UseLimits(),
        audit=Notes(),
        is_draining=False,
        pools=pools,
        dsn_for=dsn_for,
    )
    room = Room(services, books, role)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await room.sockets.serve(services, scope, receive, send)

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        ws="websockets-sansio",
        lifespan="off",
        log_config=None,
        ws_max_size=1 << 20,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
    )
    server = QuietServer(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(START_TIMEOUT_S):
        while not server.started:
            assert not task.done(), "the application did not start"
            await asyncio.sleep(0.01)
    room.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield room
    finally:
        server.should_exit = True
        await task
        await pools.close()
