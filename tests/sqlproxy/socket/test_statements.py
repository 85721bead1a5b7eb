"""What passes through a session is what PostgreSQL says, message by message; a refusal behaves like its errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from tests.sqlproxy.socket.room import Room
from tests.sqlproxy.socket.speaker import Closed, Message, code, error, kinds, rows

from callmeback.domain import keys
from callmeback.sqlproxy import frames, relay, upstream
from callmeback.sqlproxy.frames import SYNC, Reader
from callmeback.sqlproxy.upstream import Upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(shared_room: Room) -> AsyncIterator[Room]:
    async with shared_room.lent():
        yield shared_room


class Direct:
    """The same conversation without a proxy, for comparison."""

    def __init__(self, server: Upstream) -> None:
        self._server = server
        self._reader = Reader(frames.SERVER_KINDS, 64 << 20)

    async def ask(self, asked: bytes, count: int = 1) -> list[Message]:
        await self._server.write(asked)
        heard: list[Message] = []
        while [kind for kind, _ in heard].count("Z") < count:
            while (message := self._reader.message()) is None:
                self._reader.feed(await self._server.read())
            heard.append((chr(message.kind), message.payload))

        return heard


@asynccontextmanager
async def directly(room: Room) -> AsyncIterator[Direct]:
    server = await upstream.log_in(room.services.dsn_for(room.role))
    try:
        yield Direct(server)
    finally:
        await server.close()


def query(text: str) -> bytes:
    return frames.query(text.encode())


def parse(text: str, name: str = "", *types: int) -> bytes:
    oids = len(types).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in types)

    return frames.parse(name.encode(), text.encode(), oids)


def run(name: str = "", *values: bytes | None, portal: bytes = b"", rows_max: int = 0) -> bytes:
    return frames.bind(portal, name.encode(), values) + frames.execute(portal, rows_max)


def extended(text: str, *values: bytes | None) -> bytes:
    return parse(text) + frames.bind(b"", b"", values) + frames.describe(b"P", b"") + frames.execute(b"")


CONVERSATIONS = {
    "simple": [query("SELECT id, word FROM things ORDER BY id LIMIT 3"), query("SELECT 1 WHERE false")],
    "empty": [query(""), query("  -- nothing\n"), extended("") + SYNC],
    "errors": [query("SELEC 1"), query("SELECT nothing FROM things"), query("SELECT 1/0"), query("SELECT 1")],
    "values": [
        extended("SELECT $1::text, $2::int, $3::jsonb, $4::text", "ä'\"\\".encode(), b"7", b'{"a": [1]}', None) + SYNC,
        extended("SELECT $1::int", b"seven") + SYNC,
        parse("SELECT $1", "typed", 23) + frames.describe(b"S", b"typed") + SYNC,
        run("typed", b"5") + SYNC,
    ],
    "named": [
        parse("SELECT id FROM things WHERE id = $1", "a") + SYNC,
        run("a", b"1") + run("a", b"2") + SYNC,
        parse("SELECT 2", "a") + SYNC,
        run("a", b"3") + SYNC,
        frames.close(b"S", b"a") + SYNC,
        run("a", b"4") + SYNC,
        frames.describe(b"S", b"never") + SYNC,
        frames.close(b"S", b"never") + frames.close(b"P", b"never") + SYNC,
    ],
    "deallocated": [
        parse("SELECT 1", "a") + parse("SELECT 2", "B b") + parse("SELECT 3", "c") + SYNC,
        query("DEALLOCATE a"),
        run("a") + SYNC,
        query('DEALLOCATE PREPARE "B b"') + query("DEALLOCATE never"),
        run("c") + SYNC,
        extended("DEALLOCATE ALL") + parse("SELECT 4", "d") + SYNC,
        run("d") + run("c") + SYNC,
    ],
    "portals": [
        query("BEGIN"),
        parse("SELECT id FROM things ORDER BY id", "a") + run("a", portal=b"p", rows_max=2) + SYNC,
        frames.describe(b"P", b"p") + frames.execute(b"p", 3) + SYNC,
        frames.close(b"P", b"p") + frames.execute(b"p", 3) + SYNC,
        query("ROLLBACK"),
        frames.execute(b"p") + SYNC,
    ],
    "transactions": [
        query("BEGIN"),
        query("INSERT INTO things VALUES (1001, 'x')"),
        query("SAVEPOINT s"),
        query("INSERT INTO things VALUES (1001, 'again')"),
        query("SELECT 1"),
        query("ROLLBACK TO SAVEPOINT s"),
        query("SELECT count(*) FROM things"),
        query("ROLLBACK"),
        query("COMMIT"),
        query("ROLLBACK"),
    ],
    "pipelines": [
        extended("SELECT 1")
        + SYNC
        + extended("SELECT 1/0")
        + extended("SELECT 2")
        + SYNC
        + extended("SELECT 3")
        + SYNC,
        extended("INSERT INTO things VALUES (1002, 'x')") + extended("SELECT 1/0") + SYNC,
        query("SELECT count(*) FROM things WHERE id = 1002"),
        extended("SELECT 1/0") + query("SELECT 'ignored'") + SYNC,
        extended("SELECT 1") + query("SELECT 'taken'"),
        SYNC + SYNC,
        frames.FLUSH + SYNC,
    ],
    "broken": [
        frames.message(b"B", b"\0") + SYNC,
        frames.bind(b"", b"", [b"1"]) + SYNC,
        parse("SELECT $1::int") + frames.bind(b"", b"") + SYNC,
        frames.message(b"B", b"\0\0\xff\xff") + SYNC,
        frames.message(b"D", b"S") + SYNC,
    ],
    "notices": [query("SELECT 1 AS " + "long" * 30), query("ROLLBACK")],
}


def comparable(heard: list[Message]) -> list[Message | dict[str, str]]:
    return [told(frames.read_fields(payload)) if kind in "EN" else (kind, payload) for kind, payload in heard]


def told(fields: dict[str, str]) -> dict[str, str]:
    """Without the place in the server's source, which our own errors have not, and what masked keys aren't told."""
    hidden = "FLRDHpqW" if "W" in fields else "FLR"

    return {letter: value for letter, value in fields.items() if letter not in hidden}


@pytest.mark.parametrize("name", [name for name in CONVERSATIONS if name != "broken"])
async def test_what_is_allowed_is_answered_as_without_a_proxy(room: Room, name: str):
    async with directly(room) as direct:
        expected = [await direct.ask(asked, count=answers(asked)) for asked in CONVERSATIONS[name]]
    async with room.client() as client:
        for asked, said in zip(CONVERSATIONS[name], expected, strict=True):
            await client.say(asked)

            assert comparable(await client.hear(count=answers(asked))) == comparable(said)


def answers(asked: bytes) -> int:
    """How many times readiness is told after these."""
    return max(1, asked.count(SYNC))


async def test_positions_are_those_of_the_clients_text(room: Room):
    """What is written to is given its schema on the way."""
    async with room.client() as client:
        for text in ("DELETE FROM things WHERE wrong = 1", "INSERT INTO things (id, wrong) VALUES (1, 2)"):
            for heard in (await client.query(text), await client.ask(extended(text), SYNC)):
                assert int(error(heard)["P"]) == text.index("wrong") + 1


# Refusals


REFUSED = ["COPY things TO STDOUT", "COPY things FROM STDIN", "SET search_path = pg_catalog", "DO $$ BEGIN END $$",
           "SELECT 1; SELECT 2", "COMMIT; DELETE FROM things", "LISTEN things", "PREPARE p AS SELECT 1"]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
async def test_a_refused_query_is_an_error_and_the_session_goes_on(room: Room, text: str):
    async with room.client() as client:
        heard = await client.query(text)

        assert kinds(heard) == "EZ"
        assert error(heard)["S"] == error(heard)["V"] == "ERROR"
        assert client.status == "I"
        assert await client.value("SELECT count(*) FROM things") == "100"


@pytest.mark.parametrize("text", REFUSED)
async def test_a_refusal_fails_the_transaction_as_an_error_does(room: Room, text: str):
    async with room.client() as client:
        await client.query("BEGIN")
        await client.query("DELETE FROM things")
        await client.query(text)
        assert client.status == "E"
        assert code(await client.query("SELECT 1")) == "25P02"
        assert (await client.query("COMMIT"))[0] == ("C", b"ROLLBACK\0")
        assert client.status == "I"
        assert await client.value("SELECT count(*) FROM things") == "100"


@pytest.mark.parametrize("text", REFUSED)
async def test_a_refused_parse_is_passed_over_up_to_sync(room: Room, text: str):
    async with room.client() as client:
        insert = extended("INSERT INTO things VALUES (1000, 'x')")
        await client.say(insert, extended(text), extended("SELECT 1"), SYNC, extended("SELECT 2"), SYNC)
        heard = await client.hear(count=2)

        assert kinds(heard) == "12nCEZ12TDCZ"
        # What came before it in the same implicit transaction is undone.
        assert room.books.execute("SELECT count(*) FROM things").fetchone() == (100,)


async def test_a_refused_statement_exists_under_no_name(room: Room):
    async with room.client() as client:
        assert code(await client.ask(parse("COPY things TO STDOUT", "a"), SYNC)) == "42501"
        assert code(await client.ask(run("a"), SYNC)) == "26000"
        assert code(await client.ask(frames.describe(b"S", b"a"), SYNC)) == "26000"
        # Nor does what the refusal was turned into.
        assert code(await client.ask(run("refused"), SYNC)) == "26000"
        await client.ask(parse("SELECT 7", "refused"), SYNC)
        assert code(await client.ask(parse("COPY things TO STDOUT"), SYNC)) == "42501"
        assert rows(await client.ask(run("refused"), SYNC)) == [["7"]]


async def test_a_transaction_may_not_be_ended_on_the_way(room: Room):
    """CVE-2026-12045 of a peer: `COMMIT; write` left a read-only transaction."""
    async with room.client() as client:
        await client.query("BEGIN READ ONLY")
        for asked in (query("COMMIT; DELETE FROM things"), parse("COMMIT; DELETE FROM things") + run() + SYNC):
            assert "C" not in kinds(await client.ask(asked))
        assert client.status == "E"
        await client.query("ROLLBACK")

        assert await client.value("SELECT count(*) FROM things") == "100"


async def test_text_behind_the_end_of_a_text_is_never_sent_on(room: Room):
    async with room.client() as client:
        await client.say(frames.message(b"Q", b"SELECT 1\0; DELETE FROM things\0"))
        assert (await client.ending())["C"] == "08P01"
    async with room.client() as client:
        await client.say(frames.message(b"P", b"\0SELECT 1\0DELETE FROM things\0\0\0"))
        assert (await client.ending())["C"] == "08P01"


@pytest.mark.parametrize("text", [b"SELECT '\xff'", b"SELECT '\xc3'", b"SELECT '\xed\xa0\x80'"])
async def test_text_that_is_not_utf8_is_refused(room: Room, text: bytes):
    async with room.client() as client:
        assert code(await client.ask(frames.query(text))) == "22021"
        assert code(await client.ask(frames.parse(b"", text), SYNC)) == "22021"
        assert await client.value("SELECT 1") == "1"


async def test_function_calls_are_refused(room: Room):
    async with room.client() as client:
        call = frames.message(b"F", (2_626).to_bytes(4, "big") + bytes(8))

        assert code(await client.ask(call)) == "0A000"
        assert await client.value("SELECT 1") == "1"


@pytest.mark.parametrize("kind", [b"d", b"c", b"f", b"p"])
async def test_copy_data_ends_the_session(room: Room, kind: bytes):
    async with room.client() as client:
        await client.say(frames.message(kind, b"1\tx\n\0"))

        assert (await client.ending())["C"] == "08P01"
    await room.until_gone()


@pytest.mark.parametrize("stream", [b"?\0\0\0\4", b"Q\0\0\0\0", b"Q\x7f\xff\xff\xff", frames.ssl_request()])
async def test_what_is_no_message_ends_the_session(room: Room, stream: bytes):
    async with room.client() as client:
        await client.say(stream)

        assert (await client.ending())["C"] == "08P01"
    await room.until_gone()


@pytest.mark.parametrize("asked", CONVERSATIONS["broken"])
async def test_a_broken_message_is_an_error_or_the_end(room: Room, asked: bytes):
    async with room.client() as client:
        await client.say(asked)
        try:
            heard = await client.hear()
        except Closed as exc:
            heard = exc.heard

        assert code(heard).startswith(("08", "26"))
    async with room.client() as client:
        assert await client.value("SELECT 1") == "1"


# Exact keys


async def test_an_exact_key_runs_its_texts_only(room: Room):
    text = "SELECT word FROM things WHERE id = $1"
    key = await room.key("exact")
    await room.allow(key, text)
    async with room.client(key) as client:
        assert rows(await client.ask(extended(text, b"7"), SYNC)) == [["word 7"]]
        for other in (text + " ", text.lower(), "SELECT 1", "DELETE FROM things"):
            assert code(await client.ask(extended(other), SYNC)) == "42501"
            assert code(await client.query(other)) == "42501"
        for needed in ("BEGIN", "SAVEPOINT a", "COMMIT", "DEALLOCATE ALL", ""):
            assert "E" not in kinds(await client.query(needed))


async def test_an_exact_key_that_learns_keeps_what_it_sent(room: Room):
    key = await room.key("exact")
    await room.change(key, keys.learn, timedelta(minutes=5))
    async with asyncio.timeout(10):
        while True:
            async with room.client(key) as client:
                if "E" not in kinds(await client.query("SELECT 'learnt'")):
                    break
    async with room.client(key) as client:
        assert code(await client.query("COPY things TO STDOUT")) == "42501"
        async with asyncio.timeout(10):
            while not room.books.execute("SELECT 1 FROM named_statements").fetchall():
                await asyncio.sleep(0.02)
    await room.change(key, keys.learn, None)
    assert room.books.execute("SELECT statement FROM named_statements").fetchall() == [("SELECT 'learnt'",)]


# Audit


async def test_each_statement_has_its_line(room: Room):
    room.notes.records.clear()
    async with room.client() as client:
        await client.query("SELECT id FROM things LIMIT 5")
        await client.query("COPY things TO STDOUT")
        await client.ask(extended("SELECT 1/0"), SYNC)
        await client.ask(parse("SELECT id FROM things WHERE id > $1", "a"), SYNC)
        await client.ask(run("a", b"90"), run("a", b"95"), SYNC)
    found = [(line.rows, line.verdict, line.sqlstate) for line in room.notes.records]

    assert found == [
        (5, "allowed", None),
        (0, "refused", "42501"),
        (0, "allowed", "22012"),
        (10, "allowed", None),
        (5, "allowed", None),
    ]
    assert len({line.hash for line in room.notes.records[3:]}) == 1
    assert all(line.hash and line.key and line.endpoint == "/v2" for line in room.notes.records)


# Sizes


async def test_large_values_pass_in_both_directions(room: Room):
    async with room.client() as client:
        large = b"x" * (relay.MESSAGE_BYTES_MAX - 1_000)
        for start in (0, 1):
            await client.say(parse("SELECT $1::text"), frames.bind(b"", b"", [large[start:]])[:500_000])
            await client.say(frames.bind(b"", b"", [large[start:]])[500_000:])
            await client.say(frames.execute(b""), SYNC)

            assert rows(await client.hear()) == [[large[start:].decode()]]


async def test_ten_thousand_statements_in_one_go_are_answered_in_order(room: Room):
    async with room.client() as client:
        await client.ask(parse("SELECT $1::int", "a"), SYNC)
        one = [frames.bind(b"", b"a", [b"%d" % number]) + frames.execute(b"") for number in range(10_000)]

        async def send() -> None:
            for start in range(0, len(one), 1_000):
                await client.say(*one[start : start + 1_000])
            await client.say(SYNC)

        sending = asyncio.create_task(send())
        heard = await client.hear()
        await sending

        assert [int(row[0]) for row in rows(heard)] == list(range(10_000))
