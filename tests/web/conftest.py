"""A web process on the loopback with every vendor simulated, over a database of its own."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import uvicorn
from litestar import Litestar
from psycopg.rows import dict_row
from tests.web.house import Build, House, Person

from callmeback.cli import listening
from callmeback.cli.serve import configuration
from callmeback.domain.passwords import Hasher
from callmeback.settings import Settings
from callmeback.voice import pauses
from callmeback.web.app import create_app

JWT_SECRET = "j" * 40
# Fewer rounds than a real process: the tests are about what surrounds bcrypt, and tests/domain holds its cost.
HASHER_ROUNDS = 4
START_TIMEOUT_S = 10.0


class QuietServer(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: Litestar, settings: Settings, listener: socket.socket) -> AsyncIterator[None]:
    """Serve as `callmeback serve` does, for as long as the block runs."""
    server = QuietServer(configuration(settings, app))
    with pytest.MonkeyPatch.context() as patched:
        # It sets aside all that exists, for a process that serves once: done again, it would keep every application.
        if gc.get_freeze_count():
            patched.setattr(pauses, "shorten", gc.collect)
        task = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not server.started:
                    assert not task.done(), "the application did not start"
                    await asyncio.sleep(0.01)
            yield
        finally:
            server.should_exit = True
            await task


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The owner's hand in the database."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        # The carrier's pace would make every test wait for the one before it.
        connection.execute("UPDATE dial_buckets SET calls_per_second = 100, burst = 100, tokens = 100")
        yield connection


@pytest.fixture
async def build(
    cluster: Any, database_url: str, books: psycopg.Connection[dict[str, Any]], tmp_path: Path
) -> AsyncIterator[Build]:
    """Starts a web process with settings of one's own."""
    async with AsyncExitStack() as stack:

        async def start(**changes: Any) -> House:
            # Held from here on: a port that is given back may be another's before it is taken again.
            listener = stack.enter_context(listening.bind("127.0.0.1", 0))
            port = listening.port_of(listener)
            settings = Settings(
                home=tmp_path,
                database_url=database_url,
                jwt_secret=JWT_SECRET,
                role_secret=cluster.role_secret,
                port=port,
                env="test",
            )
            settings = msgspec.structs.replace(settings, **changes)
            app = create_app(settings, hasher=Hasher(HASHER_ROUNDS))
            await stack.enter_async_context(serving(app, settings, listener))

            return House(f"http://127.0.0.1:{port}", settings, app.state.services, stack, books)

        yield start


@pytest.fixture
async def house(build: Build) -> House:
    """A web process as `make up` has it."""
    return await build()


@pytest.fixture
async def ann(house: House) -> Person:
    """Somebody with a verified phone."""
    return await house.person(phone="+12025550101", timezone="Europe/Berlin", name="Ann")
