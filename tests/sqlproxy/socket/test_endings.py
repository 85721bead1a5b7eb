"""How a session ends, and that nothing is left of it, here or at the server."""

import asyncio
import contextlib
import os
import signal
import socket as sockets

import msgspec
import psycopg
import pytest
from tests.sqlproxy.socket.room import Room
from tests.sqlproxy.socket.speaker import Closed, Speaker, code
from websockets.exceptions import ConnectionClosed

from callmeback.sqlproxy import frames
from callmeback.sqlproxy.relay import Limits

pytestmark = pytest.mark.anyio

FOREVER = frames.query(
    b"SELECT count(*) FROM things AS a, things AS b, things AS c, things AS d, things AS e, things AS f"
)


async def until_active(room: Room) -> None:
    async with asyncio.timeout(10):
        while not room.books.execute(
            "SELECT 1 FROM pg_stat_activity WHERE usename = %s AND state = 'active'", [room.role]
        ).fetchall():
            await asyncio.sleep(0.02)


async def test_goodbye_ends_everything(room: Room):
    async with Speaker(room.url) as client:
        await client.begin(room.key())
        await client.say(frames.TERMINATE)
        with pytest.raises(ConnectionClosed):
            await client.socket.recv()
    await room.until_gone()


async def test_a_client_that_leaves_in_a_transaction_leaves_nothing(room: Room):
    async with room.client() as client:
        await client.query("BEGIN")
        await client.query("DELETE FROM things")
    await room.until_gone()

    assert room.books.execute("SELECT count(*) FROM things").fetchone() == (100,)


async def test_a_statement_ends_with_its_client(room: Room):
    async with room.client() as client:
        await client.say(FOREVER)
        await until_active(room)
    await room.until_gone()


async def test_a_client_that_is_cut_off_leaves_nothing(room: Room):
    async with Speaker(room.url) as client:
        await client.begin(room.key())
        await client.query("BEGIN")
        await client.say(FOREVER)
        await until_active(room)
        client.socket.transport.abort()
        await room.until_gone()


async def test_a_half_closed_socket_is_a_closed_one(room: Room):
    async with Speaker(room.url) as client:
        await client.begin(room.key())
        client.socket.transport.get_extra_info("socket").shutdown(sockets.SHUT_WR)
        await room.until_gone()


async def test_what_one_session_did_is_unknown_to_the_next(room: Room):
    key = room.key()
    async with room.client(key) as client:
        await client.ask(frames.parse(b"a", b"SELECT 1"), frames.SYNC)
        await client.query("BEGIN")
    async with room.client(key) as client:
        assert code(await client.ask(frames.bind(b"", b"a"), frames.SYNC)) == "26000"
        assert client.status == "I"


@pytest.mark.parametrize("change", ["revoked", "mode", "role", "texts"])
async def test_a_key_that_is_revoked_or_changed_ends_its_sessions(room: Room, change: str):
    key = room.key("exact", texts={b"x": "SELECT 1"})
    ring = room.services.keyring
    async with room.client(key) as client, room.client() as other:
        if change == "revoked":
            del ring.keys[key]
        else:
            new = {"mode": "named", "role": "another", "texts": {}}[change]
            ring.keys[key] = msgspec.structs.replace(ring.keys[key], **{change: new})
        async with asyncio.timeout(1):
            assert (await client.ending())["C"] == "28000"

        assert await other.value("SELECT 1") == "1"


async def test_a_key_that_is_revoked_ends_what_it_runs(room: Room):
    key = room.key()
    async with room.client(key) as client:
        await client.say(FOREVER)
        await until_active(room)
        del room.services.keyring.keys[key]

        assert (await client.ending())["C"] == "28000"
    await room.until_gone()


async def test_a_terminated_backend_says_why(room: Room, superuser: psycopg.Connection):
    async with room.client() as client:
        await client.query("BEGIN")
        (pid,) = room.backends()
        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])

        assert (await client.ending())["C"] == "57P01"
    await room.until_gone()


async def test_a_killed_connection_is_told(room: Room):
    """The server is gone without a word, as when its machine is."""
    async with room.client() as client:
        (entry,) = room.sockets._sessions.values()
        entry[1]._server._stream.writer.transport.abort()

        assert (await client.ending())["C"] == "08006"
    await room.until_gone()


async def test_a_stopped_backend_does_not_hold_the_client(room: Room):
    """A stopped server ignores its own timeouts and every request to cancel."""
    room.limit(Limits(statement_s=0.3))
    async with room.client() as client:
        (pid,) = room.backends()
        os.kill(pid, signal.SIGSTOP)
        try:
            await client.say(frames.query(b"SELECT 1"))
            assert (await client.ending())["C"] == "57014"
        finally:
            os.kill(pid, signal.SIGCONT)
    await room.until_gone()


async def test_a_database_that_refuses_is_said_so(room: Room):
    room.books.execute(f"REVOKE CONNECT ON DATABASE {room.books.info.dbname} FROM PUBLIC")
    async with Speaker(room.url) as client:
        with pytest.raises(Closed) as caught:
            await client.begin(room.key())

        assert code(caught.value.heard) == "57P03"
    await room.until_gone()


async def test_a_hundred_rude_clients_leave_nothing(room: Room):
    key = room.key()
    endings = [
        b"",
        frames.TERMINATE,
        b"?",
        FOREVER,
        frames.query(b"BEGIN"),
        frames.parse(b"", b"SELECT 1"),
        FOREVER[:9],
    ]

    async def one(number: int) -> None:
        async with Speaker(room.url) as client:
            with contextlib.suppress(Closed, ConnectionClosed):
                await client.begin(key)
                await client.say(endings[number % len(endings)])
                if number % 2:
                    client.socket.transport.abort()

    for start in range(0, 100, 4):
        await asyncio.gather(*(one(number) for number in range(start, start + 4)))
    await room.until_gone()

    assert room.sockets._strangers == 0
    async with room.client(key) as client:
        assert await client.value("SELECT 1") == "1"
