"""psycopg, and so libpq, over `/v2`: through a bridge that puts its bytes into frames and takes them out again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import websockets
from tests.sqlproxy.socket.room import Room

pytestmark = pytest.mark.anyio

PIECE_BYTES = 65_536


@pytest.fixture
async def room(shared_room: Room) -> AsyncIterator[Room]:
    async with shared_room.lent():
        yield shared_room


@asynccontextmanager
async def bridge(url: str) -> AsyncIterator[int]:
    """A port on the loopback whose connections end at the WebSocket."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(websockets.ConnectionClosed, ConnectionError):
            async with websockets.connect(url, max_size=None) as socket, asyncio.TaskGroup() as pumps:
                pumps.create_task(inwards(reader, socket))
                async for frame in socket:
                    writer.write(bytes(frame) if isinstance(frame, bytes) else frame.encode())
        writer.close()

    async def inwards(reader: asyncio.StreamReader, socket: websockets.ClientConnection) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await socket.send(piece)
        await socket.close()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_psycopg_prepares_fails_rolls_back_and_goes_on(room: Room) -> None:
    """After a rollback psycopg says DEALLOCATE ALL once it has prepared something."""
    key = await room.key()
    async with (
        bridge(room.url) as port,
        await psycopg.AsyncConnection.connect(
            host="127.0.0.1", port=port, user="any", password=key, dbname="any", sslmode="disable", prepare_threshold=0
        ) as client,
    ):
        for number in (1, 2):
            read = await client.execute("SELECT word FROM things WHERE id = %s", (number,))
            assert await read.fetchone() == (f"word {number}",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await client.execute("SELECT pg_sleep(%s)", (1,))
        await client.rollback()
        async with client.transaction(force_rollback=True):
            await client.execute("UPDATE things SET word = %s WHERE id = %s", ("other", 3))
        read = await client.execute("SELECT word FROM things WHERE id = %s", (3,))

        assert await read.fetchone() == ("word 3",)
