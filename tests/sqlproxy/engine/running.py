"""A whole proxy on the loopback, in the test's own process, and what tests hold of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import uvicorn
from tests.sqlproxy.conftest import MakeKey

from callmeback.cli import proxy
from callmeback.settings import Settings
from callmeback.sqlproxy.audit import Record
from callmeback.sqlproxy.services import Services

PATIENCE_S = 30.0


class Running:
    """`ask` sends a statement with the key `token`, which a test may change; `records` are the audit's."""

    def __init__(self, services: Services, port: int, token: str, role: str, make_key: MakeKey) -> None:
        self.services = services
        self.port = port
        self.token = token
        self.role = role
        self.make_key = make_key
        self.records: list[Record] = []
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S)
        write = services.audit.write

        def keep(record: Record) -> None:
            self.records.append(record)
            write(record)

        services.audit.write = keep  # type: ignore[method-assign]  # a look over its shoulder

    async def post(
        self, path: str, body: Any, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = {"Authorization": f"Bearer {token or self.token}"}
        return await self.client.post(path, content=content, headers=bearer | dict(headers or {}))

    async def ask(self, query: str, *parameters: Any, token: str | None = None) -> httpx.Response:
        return await self.post("/query", {"query": query, "parameters": list(parameters)}, token)

    async def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        answer = await self.ask(query, *parameters)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["rows"]
        return found

    async def value(self, query: str, *parameters: Any) -> Any:
        [row] = await self.rows(query, *parameters)
        return next(iter(row.values()))

    def backends(self, books: psycopg.Connection, state: str = "%") -> list[int]:
        """The server's processes that work for the key's role, in some state."""
        return backends_of(books, self.role, state)

    async def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for something that will be so."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_so():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"never: {what}") from None


def backends_of(books: psycopg.Connection, role: str, state: str = "%") -> list[int]:
    """The server's processes that work for a role in this database: it may be another test's too, in another one."""
    found = books.execute(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = %s AND state LIKE %s ORDER BY 1",
        [role, state],
    )

    return [pid for (pid,) in found]


class QuietServer(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(settings: Settings, make_key: MakeKey, **grants: Any) -> AsyncIterator[Running]:
    """The proxy, as `callmeback proxy` runs it, and a key."""
    made = await make_key(**grants)
    services = Services(settings)
    config = proxy.configuration(settings, services)
    config.port = 0
    server = QuietServer(config)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE_S):
        while not server.started:
            assert not task.done(), "the proxy did not start"
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    running = Running(services, port, made.token, made.line.role, make_key)
    try:
        yield running
    finally:
        await running.client.aclose()
        server.should_exit = True
        await task
