"""What one session, one key and all of them together may use."""

import asyncio
import resource
import struct
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from tests.sqlproxy.socket.room import BUDGET, Room
from tests.sqlproxy.socket.speaker import Closed, Speaker, code, kinds, rows

from callmeback.sqlproxy import frames, limits, relay, socket
from callmeback.sqlproxy.frames import SYNC

pytestmark = pytest.mark.anyio

NUMBERS = "SELECT a.id FROM things AS a, things AS b, things AS c"  # a million rows
FOREVER = "SELECT count(*) FROM things AS a, things AS b, things AS c, things AS d, things AS e, things AS f"


def extended(text: str) -> bytes:
    return frames.parse(b"", text.encode()) + frames.bind(b"", b"") + frames.execute(b"")


@pytest.fixture
async def room(shared_room: Room) -> AsyncIterator[Room]:
    async with shared_room.lent():
        yield shared_room


# Answers


async def test_an_answer_of_too_many_rows_is_an_error(room: Room, monkeypatch: pytest.MonkeyPatch):
    """What still comes, of a million rows, is passed over."""
    read = 0
    take_row = relay.Relay._row

    def counted(self: relay.Relay, message: frames.Message, out: list[bytes]) -> None:
        nonlocal read
        read += 1
        take_row(self, message, out)

    monkeypatch.setattr(relay.Relay, "_row", counted)
    async with room.client() as client:
        for asked in (frames.query(NUMBERS.encode()), extended(NUMBERS) + SYNC):
            heard = await client.ask(asked)

            assert len(rows(heard)) == 10_000
            assert code(heard) == "54000"
            assert await client.value("SELECT 1") == "1"
    assert read < 25_000


async def test_an_answer_too_large_fails_the_transaction(room: Room):
    async with room.client() as client:
        await client.query("BEGIN")
        await client.query("DELETE FROM things WHERE id = 1")
        assert code(await client.query(NUMBERS.replace("a.id", "a.word"))) == "54000"
        assert client.status == "E"
        await client.query("COMMIT")

        assert await client.value("SELECT count(*) FROM things") == "100"


async def test_an_answer_of_too_many_bytes_is_an_error(room: Room):
    async with room.client() as client:
        heard = await client.query("SELECT repeat('x', 1000000) FROM things AS a, things AS b")

        assert len(rows(heard)) == 10
        assert code(heard) == "54000"
        assert await client.value("SELECT 1") == "1"


async def test_one_row_larger_than_an_answer_may_be_is_an_error(room: Room):
    async with room.client() as client:
        heard = await client.query("SELECT repeat('x', 50000000) FROM things AS a, things AS b")

        assert kinds(heard) == "TEZ"
        assert code(heard) == "54000"


async def test_a_portal_that_is_read_in_parts_is_not_too_large(room: Room):
    async with room.client() as client:
        await client.ask(frames.parse(b"a", NUMBERS.encode()), SYNC)
        await client.query("BEGIN")
        await client.ask(frames.bind(b"p", b"a"), SYNC)
        for _ in range(3):
            heard = await client.ask(frames.execute(b"p", 9_000), SYNC)
            assert len(rows(heard)) == 9_000
            assert kinds(heard[-2:]) == "sZ"


# Time


async def test_a_statement_has_its_deadline(room: Room):
    room.limit(statement_s=0.3)
    async with room.client() as client:
        heard = await client.query(FOREVER)

        assert code(heard) == "57014"
        assert "statement timeout" in str(heard)
        assert await client.value("SELECT 1") == "1"


@pytest.mark.parametrize("asked", [frames.query(b"BEGIN"), extended("SELECT 1"), extended("SELECT 1") + frames.FLUSH])
async def test_a_transaction_may_not_idle(room: Room, asked: bytes):
    room.limit(statement_s=0.3, idle_in_transaction_s=0.3)
    async with room.client() as client:
        await client.say(asked)

        assert (await client.ending())["C"] in ("25P03", "57014")
    await room.until_gone()


async def test_a_session_without_a_word_ends(room: Room):
    room.limit(idle_s=0.3)
    async with room.client() as client:
        assert (await client.ending())["C"] == "57P05"


async def test_a_session_has_its_time(room: Room):
    room.limit(life_s=0.3)
    async with room.client() as client:
        assert (await client.ending())["C"] == "57P01"


# Keys and the budget


async def test_a_keys_concurrency_counts_its_sessions(room: Room):
    key = await room.key(concurrency=2)
    async with room.client(key) as first, room.client(key):
        async with Speaker(room.url) as third:
            with pytest.raises(Closed) as caught:
                await third.begin(key)
            assert code(caught.value.heard) == "53400"
        assert await first.value("SELECT 1") == "1"
        async with room.client():
            pass
    await room.until_gone()
    async with room.client(key):
        pass


async def test_a_keys_rate_counts_statements(room: Room, monkeypatch: pytest.MonkeyPatch):
    """The clock of the bucket stands, so that nothing flows back into it."""
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: 0.0))
    async with room.client(await room.key(rate=5)) as client:
        await client.ask(frames.parse(b"a", b"SELECT 1"), SYNC)
        answers = [await client.ask(frames.bind(b"", b"a"), frames.execute(b""), SYNC) for _ in range(8)]
        refused = [code(heard) for heard in answers if "E" in kinds(heard)]

        assert len(refused) >= 3
        assert set(refused) == {"53400"}
        assert code(await client.query("SELECT 1")) == "53400"


async def test_sessions_have_their_share_of_the_budget(room: Room):
    share = BUDGET // 2
    clients = [room.client() for _ in range(share)]
    for client in clients:
        await client.__aenter__()
    try:
        async with Speaker(room.url) as other:
            with pytest.raises(Closed) as caught:
                await other.begin(await room.key())
            assert code(caught.value.heard) == "53300"
        assert len(room.backends()) == share
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
    await room.until_gone()
    async with room.client():
        pass


async def test_a_thousand_clients_at_once_get_a_session_or_a_reason(room: Room):
    key = await room.key()

    async def one() -> str:
        async with Speaker(room.url) as client:
            try:
                await client.begin(key)
                return await client.value("SELECT 1")
            except Closed as exc:
                return code(exc.heard)

    found = await asyncio.gather(*(one() for _ in range(300)))

    assert set(found) <= {"1", "53300"}
    assert "1" in found
    await room.until_gone()


# Sizes


async def test_a_message_too_large_ends_the_session(room: Room):
    async with room.client() as client:
        await client.say(b"Q" + struct.pack("!i", relay.MESSAGE_BYTES_MAX + 5))

        assert (await client.ending())["C"] == "08P01"


# Back pressure


async def test_a_client_that_does_not_read_stops_the_server_and_costs_no_memory(
    room: Room, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(socket, "SEND_S", 1.0)
    room.limit(rows=1_000_000_000, bytes=1 << 40, statement_s=1.0)
    async with Speaker(room.url) as client:
        await client.begin(await room.key())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        client.socket.transport.pause_reading()
        await client.say(frames.query(b"SELECT repeat('x', 10000) FROM things AS a, things AS b, things AS c"))
        await room.until_gone()
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

        client.socket.transport.abort()

        assert grown_kb < 32 * 1024


async def test_a_server_that_does_not_read_stops_the_client(room: Room):
    room.limit(statement_s=1.0)
    async with Speaker(room.url) as client:
        await client.begin(await room.key())
        await client.say(frames.query(FOREVER.encode()))
        chunk = frames.parse(b"", b"SELECT 1 -- " + b"x" * 100_000) + SYNC
        sent = 0

        async def push() -> None:
            nonlocal sent
            for _ in range(1_000):
                await client.socket.send(chunk)
                sent += len(chunk)

        pushing = asyncio.create_task(push())
        try:
            heard = await client.hear()
            assert code(heard) == "57014"
            assert sent < 60 << 20
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
