"""A proxy on the loopback, and what tests of its sockets hold of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psycopg
import uvicorn
from tests.sqlproxy.conftest import Made, MakeKey
from tests.sqlproxy.socket.speaker import Speaker

from callmeback.cli import proxy
from callmeback.domain import keys
from callmeback.domain.keys import Limits as KeyLimits
from callmeback.pg.pool import Database
from callmeback.settings import Settings
from callmeback.sqlproxy.app import App
from callmeback.sqlproxy.audit import Audit, Record
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.socket import Sockets

START_TIMEOUT_S = 10.0
PATIENCE_S = 30.0
BUDGET = 8
THINGS = "CREATE TABLE things (id int PRIMARY KEY, word text NOT NULL)"
HUNDRED = "INSERT INTO things SELECT n, 'word ' || n FROM generate_series(1, 100) AS n"


class Notes(Audit):
    """An audit whose lines are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)


class Room:
    """A running proxy."""

    def __init__(self, services: Services, books: psycopg.Connection, owner: Database, make_key: MakeKey) -> None:
        self.services = services
        self.books = books
        self.owner = owner
        self.notes = Notes()
        services.audit = self.notes
        self.sockets = Sockets()
        self.port = 0
        self._make_key = make_key
        self._made: dict[str, Made] = {}

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v2"

    @property
    def role(self) -> str:
        """The login role of the keys that may read and write things."""
        return next(iter(self._made.values())).line.role

    def role_of(self, token: str) -> str:
        """The login role of a key."""
        return self._made[token].line.role

    def limit(self, **limits: float) -> None:
        """Other bounds for the sessions that begin from now on."""
        self.sockets._limits = msgspec.structs.replace(self.sockets._limits, **limits)

    async def key(
        self, mode: str = "policy", *, writes: tuple[str, ...] = ("things",), pii: bool = False, **limits: Any
    ) -> str:
        """A new key."""
        made = await self._make_key(
            mode=mode, reads=("things",), writes=writes, pii=pii, limits=KeyLimits(**limits) if limits else None
        )
        self._made[made.token] = made

        return made.token

    async def change(self, token: str, verb: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Do something to a key, as the command line does."""
        async with self.owner.transaction() as tx:
            await verb(tx, self._made[token].line.id, *arguments)

    async def allow(self, token: str, text: str) -> None:
        """Register a text for an exact key."""
        async with self.owner.transaction() as tx:
            line = await keys.find(tx, self._made[token].line.id)
            await keys.allow(tx, line, f"s{len(text)}", text, [])
        async with asyncio.timeout(PATIENCE_S):
            while text not in (await self.services.keyring.authenticate(token, "127.0.0.1")).texts.values():
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def client(self, key: str | None = None, **parameters: Any) -> AsyncIterator[Speaker]:
        """A client that is logged in."""
        async with Speaker(self.url) as speaker:
            await speaker.begin(key or next(iter(self._made)), **parameters)
            yield speaker

    def backends(self) -> list[int]:
        """Processes of the server that work for the keys' role."""
        return [pid for pid, _ in self._activity()]

    def states(self) -> list[str]:
        """What each of these does."""
        return [state for _, state in self._activity()]

    async def until_active(self) -> None:
        """Wait until a statement runs."""
        async with asyncio.timeout(PATIENCE_S):
            while "active" not in self.states():
                await asyncio.sleep(0.02)

    def _activity(self) -> list[tuple[int, str]]:
        # A role may be another test's too, in another database.
        asked = "SELECT pid, state FROM pg_stat_activity WHERE usename = %s AND datname = current_database()"

        return self.books.execute(asked, [self.role]).fetchall()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator["Room"]:
        """For one test among several, which finds it as if it were new, and leaves nothing behind."""
        limits = self.sockets._limits
        self.books.execute("DELETE FROM named_statements")
        self.books.execute("TRUNCATE things")
        self.books.execute(HUNDRED)
        self.notes.records.clear()
        yield self
        self.services.is_draining = False
        self.sockets._limits = limits
        await self.until_gone()

    async def until_gone(self) -> None:
        """Wait until nothing of any session is left, here and at the server."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sockets) or self.services.pools.stats().sessions or self.backends():
                await asyncio.sleep(0.02)


class QuietServer(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    settings: Settings, books: psycopg.Connection, owner: Database, make_key: MakeKey
) -> AsyncIterator[Room]:
    """Serve as `callmeback proxy` does, for as long as the block runs."""
    services = Services(settings)
    room = Room(services, books, owner, make_key)
    await room.key()
    config = proxy.configuration(settings, services)
    config.app, config.port = App(services, room.sockets.serve), 0
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
