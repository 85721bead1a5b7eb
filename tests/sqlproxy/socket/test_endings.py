"""How a session ends, and that nothing is left of it, here or at the server."""

import asyncio
import contextlib
import os
import signal
import socket as sockets
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
import pytest
from tests.sqlproxy.socket.room import PATIENCE_S, Room
from tests.sqlproxy.socket.speaker import Closed, Speaker, code, kinds
from websockets.exceptions import ConnectionClosed

from callmeback.domain import keys
from callmeback.sqlproxy import frames

pytestmark = pytest.mark.anyio

FOREVER = frames.query(
    b"SELECT count(*) FROM things AS a, things AS b, things AS c, things AS d, things AS e, things AS f"
)


async def test_goodbye_ends_everything(room: Room):
    async with Speaker(room.url) as client:
        await client.begin(await room.key())
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
        await room.until_active()
    await room.until_gone()


async def test_a_client_that_is_cut_off_leaves_nothing(room: Room):
    async with Speaker(room.url) as client:
        await client.begin(await room.key())
        await client.query("BEGIN")
        await client.say(FOREVER)
        await room.until_active()
        client.socket.transport.abort()
        await room.until_gone()


async def test_a_half_closed_socket_is_a_closed_one(room: Room):
    async with Speaker(room.url) as client:
        await client.begin(await room.key())
        client.socket.transport.get_extra_info("socket").shutdown(sockets.SHUT_WR)
        await room.until_gone()


async def test_what_one_session_did_is_unknown_to_the_next(room: Room):
    key = await room.key()
    async with room.client(key) as client:
        await client.ask(frames.parse(b"a", b"SELECT 1"), frames.SYNC)
        await client.query("BEGIN")
    async with room.client(key) as client:
        assert code(await client.ask(frames.bind(b"", b"a"), frames.SYNC)) == "26000"
        assert client.status == "I"


async def revoke(room: Room, key: str) -> None:
    await room.change(key, keys.revoke)


async def rotate(room: Room, key: str) -> None:
    await room.change(key, keys.rotate, timedelta(0))


async def withdraw(room: Room, key: str) -> None:
    room.books.execute("DELETE FROM named_statements")


async def change_mode(room: Room, key: str) -> None:
    room.books.execute("UPDATE api_keys SET mode = 'policy' WHERE mode = 'exact'")


@pytest.mark.parametrize("change", [revoke, rotate, withdraw, change_mode], ids=lambda change: change.__name__)
async def test_a_key_that_is_revoked_or_changed_ends_its_sessions(
    room: Room, change: Callable[[Room, str], Awaitable[None]]
):
    key = await room.key("exact")
    await room.allow(key, "SELECT 1")
    async with room.client(key) as client, room.client() as other:
        assert await client.value("SELECT 1") == "1"
        await change(room, key)
        assert (await client.ending())["C"] == "28000"
        assert await other.value("SELECT 1") == "1"


async def test_a_key_that_is_given_more_keeps_its_sessions(room: Room):
    key = await room.key("exact")
    async with room.client(key) as client:
        assert code(await client.query("SELECT 1")) == "42501"
        await room.allow(key, "SELECT 1")
        async with asyncio.timeout(PATIENCE_S):
            while "E" in kinds(await client.query("SELECT 1")):
                await asyncio.sleep(0.05)


async def test_a_key_that_is_revoked_ends_what_it_runs(room: Room):
    key = await room.key()
    async with room.client(key) as client:
        await client.say(FOREVER)
        await room.until_active()
        await revoke(room, key)

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
    room.limit(statement_s=0.3)
    async with room.client() as client:
        (pid,) = room.backends()
        os.kill(pid, signal.SIGSTOP)
        try:
            await client.say(frames.query(b"SELECT 1"))
            assert (await client.ending())["C"] == "57014"
        finally:
            os.kill(pid, signal.SIGCONT)
    await room.until_gone()


async def test_a_database_that_refuses_is_said_so(room: Room, superuser: psycopg.Connection):
    key = await room.key(writes=())
    # From this database alone: the role may be another test's too, in another one.
    superuser.execute(f"REVOKE CONNECT ON DATABASE {room.books.info.dbname} FROM PUBLIC, {room.role_of(key)}")
    async with Speaker(room.url) as client:
        with pytest.raises(Closed) as caught:
            await client.begin(key)

    assert code(caught.value.heard) == "57P03"
    await room.until_gone()


async def test_a_hundred_rude_clients_leave_nothing(room: Room):
    key = await room.key()
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

    assert not room.sockets._strangers
    async with room.client(key) as client:
        assert await client.value("SELECT 1") == "1"
