"""How a session begins: what a client may say first, and who is let in."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
from tests.sqlproxy.socket.room import Room
from tests.sqlproxy.socket.speaker import Closed, Speaker, code, kinds
from websockets.exceptions import ConnectionClosed

from callmeback.sqlproxy import frames, socket

pytestmark = pytest.mark.anyio

HELLO = {"user": "anybody", "database": "anything"}


@pytest.fixture
async def room(shared_room: Room) -> AsyncIterator[Room]:
    async with shared_room.lent():
        yield shared_room


async def refused(room: Room, *messages: bytes) -> str:
    """The SQLSTATE with which these end."""
    async with Speaker(room.url) as client:
        await client.say(*messages)
        return (await client.ending())["C"]


async def test_a_password_that_comes_with_the_start_up_is_taken(room: Room):
    async with Speaker(room.url) as client:
        asked = frames.startup(HELLO) + frames.password(await room.key()) + frames.query(b"SELECT 42")
        await client.say(asked)
        heard = await client.hear(count=2)

        assert kinds(heard) == "RRKZTDCZ"


async def test_a_password_that_waits_until_it_is_asked_for_is_taken(room: Room):
    async with Speaker(room.url) as client:
        await client.say(frames.startup(HELLO))
        assert await client.hear("R") == [("R", struct.pack("!i", 3))]
        heard = await client.ask(frames.password(await room.key()))

        assert kinds(heard) == "RKZ"


async def test_frames_may_cut_messages_anywhere(room: Room):
    async with Speaker(room.url) as client:
        stream = frames.startup(HELLO) + frames.password(await room.key()) + frames.query(b"SELECT 'a', 'b'")
        for position in range(len(stream)):
            await client.say(stream[position : position + 1])
        heard = await client.hear(count=2)

        assert kinds(heard) == "RRKZTDCZ"


@pytest.mark.parametrize("given", ["", "cmb_", "cmb_0123456789abcdef_" + "0" * 64, "\udcff", "x" * 1_000])
async def test_a_wrong_key_is_a_wrong_password(room: Room, given: str):
    password = frames.message(b"p", given.encode(errors="surrogateescape") + b"\0")

    assert await refused(room, frames.startup(HELLO), password) == "28P01"
    assert room.backends() == []
    assert [(line.status, line.verdict, line.sqlstate) for line in room.notes.records] == [(401, "refused", "28P01")]


async def test_a_key_for_named_statements_has_no_session(room: Room):
    assert await refused(room, frames.startup(HELLO), frames.password(await room.key("named"))) == "42501"


async def test_encryption_inside_the_socket_is_declined_once(room: Room):
    async with Speaker(room.url) as client:
        await client.say(frames.ssl_request())
        assert await client.socket.recv() == b"N"
        await client.say(struct.pack("!iHH", 8, 1234, 5680))
        assert await client.socket.recv() == b"N"
        heard = await client.begin(await room.key())
        assert kinds(heard) == "RRKZ"

    async with Speaker(room.url) as client:
        await client.say(frames.ssl_request() * 3)
        assert [await client.socket.recv() for _ in range(2)] == [b"N", b"N"]
        assert (await client.ending())["C"] == "08P01"


@pytest.mark.parametrize(
    ("minor", "options", "newest", "unknown"),
    [(0, {}, None, []), (2, {}, None, []), (9_999, {}, 2, []), (0, {"_pq_.new": "1"}, 0, ["_pq_.new"])],
)
async def test_the_version_is_negotiated(
    room: Room, minor: int, options: dict[str, str], newest: int | None, unknown: list[str]
):
    async with Speaker(room.url) as client:
        heard = dict(await client.begin(await room.key(), minor, **options))
        wanted = None if newest is None else frames.negotiate(newest, unknown)[5:]

        assert heard.get("v") == wanted
        assert len(client.secret) == (32 if minor >= 2 else 4)


async def test_settings_of_the_start_up_are_ignored(room: Room):
    asked = {
        "options": "-c statement_timeout=0 -c search_path=pg_catalog",
        "search_path": "nowhere",
        "client_encoding": "LATIN1",
        "DateStyle": "German",
        "role": "callmeback_owner",
        "session_authorization": "callmeback_owner",
    }
    async with room.client(**asked) as client:
        assert client.settings["client_encoding"] == "UTF8"
        assert client.settings["DateStyle"].startswith("ISO")
        assert await client.value("SELECT current_user || '/' || session_user") == f"{room.role}/{room.role}"
        assert await client.value("SELECT count(*) FROM things") == "100"


@pytest.mark.parametrize("value", ["true", "database", "1", ""])
async def test_replication_is_refused(room: Room, value: str):
    assert await refused(room, frames.startup({**HELLO, "replication": value})) == "0A000"


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n",
        bytes(8),
        struct.pack("!i", frames.STARTUP_BYTES_MAX + 1) + b"\0\3\0\0",
        struct.pack("!iHH", 8, 2, 0),
        struct.pack("!iHH", 8, 3, 0),
        frames.startup(HELLO) + frames.query(b"SELECT 1"),
        frames.startup(HELLO) + frames.password("x" * 2_000),
    ],
)
async def test_what_is_no_start_up_is_refused(room: Room, stream: bytes):
    assert await refused(room, stream) == "08P01"


async def test_text_frames_are_refused(room: Room):
    async with Speaker(room.url) as client:
        await client.socket.send("SELECT 1")

        assert (await client.ending())["C"] == "08P01"
        assert client.socket.close_code == socket.UNSUPPORTED_DATA


async def test_a_client_that_says_nothing_is_not_waited_for(room: Room, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "STARTUP_S", 0.2)

    assert await refused(room, frames.startup(HELLO)) == "57014"


async def test_strangers_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "STRANGERS_MAX", 2)
    async with Speaker(room.url) as first, Speaker(room.url), Speaker(room.url) as third:
        assert (await third.ending())["C"] == "53300"
        await first.begin(await room.key())
        async with room.client():
            pass


async def test_silent_sockets_of_one_address_leave_places_to_others(room: Room, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "STRANGERS_PER_ADDRESS_MAX", 2)
    async with Speaker(room.url), Speaker(room.url) as second, Speaker(room.url) as third:
        assert (await third.ending())["C"] == "53300"
        room.sockets._strangers["192.0.2.1"] = socket.STRANGERS_MAX - 3
        await second.begin(await room.key())
        del room.sockets._strangers["192.0.2.1"]


@pytest.mark.parametrize(
    ("address", "counted_for"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("forwarded", "forwarded"),
        ("", ""),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, counted_for: str):
    assert socket._neighbourhood(address) == counted_for


async def test_nobody_begins_while_the_proxy_is_being_stopped(room: Room):
    room.services.is_draining = True

    assert await refused(room, frames.startup(HELLO), frames.password(await room.key())) == "57P03"


async def test_a_client_that_leaves_during_its_start_up_leaves_nothing(room: Room):
    for stream in (b"", frames.startup(HELLO)[:5], frames.startup(HELLO), frames.startup(HELLO) + b"p\0"):
        async with Speaker(room.url) as client:
            await client.say(stream)
    await room.until_gone()

    assert not room.sockets._strangers


# Cancel requests


async def sleeping(room: Room, client: Speaker) -> None:
    """Have the client's statement run."""
    await client.say(
        frames.query(b"SELECT count(*) FROM things AS a, things AS b, things AS c, things AS d, things AS e")
    )
    await room.until_active()


@pytest.mark.parametrize("minor", [0, 2])
async def test_a_cancel_request_cancels(room: Room, minor: int):
    async with room.client(minor=minor) as client:
        await sleeping(room, client)
        async with Speaker(room.url) as other:
            await other.say(frames.cancel_request(client.process, client.secret))
            with pytest.raises(ConnectionClosed):
                await other.socket.recv()

        assert code(await client.hear()) == "57014"
        assert await client.value("SELECT 1") == "1"


async def test_a_cancel_request_must_know_the_secret(room: Room):
    async with room.client() as client:
        await sleeping(room, client)
        wrong = bytes(len(client.secret))
        for process, secret in ((client.process, wrong), (client.process ^ 1, client.secret), (client.process, b"x")):
            async with Speaker(room.url) as other:
                await other.say(frames.cancel_request(process, secret))
                with pytest.raises(ConnectionClosed):
                    await other.socket.recv()
        await asyncio.sleep(0.2)
        assert room.states() == ["active"]


async def test_the_servers_own_secret_is_never_shown(room: Room):
    async with room.client() as client:
        assert client.process not in room.backends()


async def test_a_closed_socket_says_so(room: Room):
    with pytest.raises(Closed):
        async with Speaker(room.url) as client:
            await client.begin("nothing")
