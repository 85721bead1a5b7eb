"""Bytes on the wire: what a client may send, and what it gets for what it may not."""

import asyncio
import contextlib
import json
import os
import re
import socket
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sqlproxy.engine.running import Running
from tests.sqlproxy.engine.test_faults import head, raw

from callmeback.sqlproxy import http

pytestmark = pytest.mark.anyio

SELECT = b'{"query": "SELECT 1 AS n"}'
CLOSE = "Connection: close"


@pytest.fixture
def proxy(shared: Running) -> Running:
    return shared


@pytest.fixture
def hand(shared_hand: psycopg.Connection) -> psycopg.Connection:
    return shared_hand


async def status(proxy: Running, data: bytes) -> int:
    answer = await raw(proxy, data)
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"SELECT 1"', 400),
        (b'{"query": null}', 400),
        (b'{"sql": 123}', 400),
        (b'{"query": ["SELECT 1"]}', 400),
        (b'{"query": "SELECT 1", "parameters": {}}', 400),
        (b'{"query": "SELECT 1", "parameters": "x"}', 400),
        (b'{"query": "SELECT \xff"}', 400),
        (b'{"query": "SELECT $1", "parameters": ["\xff\xfe"]}', 400),
        (b'{"query": "SELECT \\u0000"}', 400),
        (b'{"query": "SELECT 1\0"}', 400),
        (b'{"query": "SELECT $1", "parameters": ["a\0b"]}', 400),
        (b'{"query": "SELECT $1", "parameters": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400),
        (b"[" * 500_000, 400),
        (b'{"query": "' + b"(" * 200_000 + b'"}', 400),
    ],
)
async def test_s03_a_bad_body_is_the_client_s_fault(proxy: Running, body: bytes, expected: int) -> None:
    for path in ("/query", "/sql", "/batch"):
        answer = await proxy.post(path, body)
        assert answer.status_code == expected, answer.text
        assert "SELECT" not in answer.text or answer.json().get("sqlstate", answer.json().get("code")) != "XX000"
    assert await proxy.value("SELECT 1") == 1


BODIES = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.sampled_from(["query", "parameters", "queries", "sql", "params"]), inner, max_size=4),
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)


async def test_s03_no_body_ends_the_process_or_is_our_fault(proxy: Running) -> None:
    """Hypothesis makes the bodies; they are sent from here, since it knows no asynchronous tests."""
    bodies: list[bytes] = []

    def keep(body: bytes) -> None:
        bodies.append(body)

    settings(max_examples=200, database=None)(given(body=BODIES)(keep))()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for body in bodies:
        for path in ("/query", "/batch", "/sql"):
            writer.write(head(proxy, len(body), path) + body)
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = re.search(rb"content-length: ([0-9]+)", answer)
            assert length is not None
            await reader.readexactly(int(length[1]))
            assert int(answer[9:12]) < 500, body
    writer.close()
    assert await proxy.value("SELECT 1") == 1


@pytest.mark.parametrize("size", [(1 << 20) + 1, 10_000_000, 70_000_000])
async def test_a_body_that_is_too_large_is_413(proxy: Running, size: int) -> None:
    """The answer is there although the sender is still sending, and isn't lost by a reset."""
    for path, code in (("/query", "body_too_large"), ("/sql", "54000")):
        answer = await raw_sending(proxy, head(proxy, size, path, CLOSE), size)
        assert answer.startswith(b"HTTP/1.1 413 "), answer[:100]
        assert code.encode() in answer


async def raw_sending(proxy: Running, start: bytes, size: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

    async def send() -> None:
        writer.write(start)
        sent = 0
        while sent < size:
            writer.write(b"a" * min(1 << 20, size - sent))
            sent += 1 << 20
            await writer.drain()

    sending = asyncio.create_task(send())
    answer = await asyncio.wait_for(reader.read(65_536), 10)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    return answer


async def test_a_body_of_just_the_size_is_taken(proxy: Running) -> None:
    body = b'{"query": "SELECT 1 AS n"' + b" " * ((1 << 20) - 26) + b"}"

    assert len(body) == 1 << 20
    assert (await proxy.post("/query", body)).json()["rows"] == [{"n": 1}]


async def test_chunks_make_a_body(proxy: Running) -> None:
    start = head(proxy, 0, "/query", "Transfer-Encoding: chunked", CLOSE).replace(b"Content-Length: 0\r\n", b"")
    chunks = b"".join(b"1\r\n%c\r\n" % each for each in SELECT) + b"0\r\n\r\n"
    endless = b"100000\r\n" + b"a" * (1 << 20) + b"\r\n"

    assert b'"n":1' in await raw(proxy, start + chunks)
    assert (await raw_sending(proxy, start + endless + endless, 0)).startswith(b"HTTP/1.1 413")


async def test_requests_on_one_connection_are_answered_in_order(proxy: Running) -> None:
    """Also when they come in one piece, or byte by byte."""
    bodies = [b'{"query": "SELECT %d AS n"}' % number for number in range(10)]
    pieces = [head(proxy, len(body)) + body for body in bodies[:-1]]
    pieces.append(head(proxy, len(bodies[-1]), "/query", CLOSE) + bodies[-1])
    together = await raw(proxy, b"".join(pieces))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for byte in b"".join(pieces[-2:]):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    slowly = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert [together.count(b'"n":%d}' % number) for number in range(10)] == [1] * 10
    assert together.index(b'"n":3}') < together.index(b'"n":4}')
    assert slowly.index(b'"n":8}') < slowly.index(b'"n":9}')


async def test_more_requests_at_once_than_anybody_needs_end_the_connection(proxy: Running) -> None:
    request = head(proxy, len(SELECT)) + SELECT
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request * 500)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(500 * 200), 10)
    writer.close()

    assert await proxy.value("SELECT 1") == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"POST /query HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /query HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        (b"POST /query HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
        (b"POST /nowhere HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 404),
        (b"GET /query HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        (b"DELETE /health HTTP/1.1\r\nConnection: close\r\n\r\n", 405),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
        (b"GET /health?x=%00 HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n", 200),
        (b"GET http://x:1/health?y HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
        (b"GET /v2 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"POST /v2 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", 404),
    ],
)
async def test_a_request_gets_its_status(proxy: Running, data: bytes, expected: int) -> None:
    assert await status(proxy, data) == expected


async def test_another_protocol_is_passed_over_and_the_body_is_not(proxy: Running) -> None:
    """Java's HttpClient asks for HTTP/2 in this way with every request."""
    ask = head(
        proxy, len(SELECT), "/query", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"
    )
    last = head(proxy, len(SELECT), "/query", CLOSE) + SELECT
    together = await raw(proxy, ask + SELECT + ask + SELECT + last)
    too_large = await raw_sending(proxy, head(proxy, 1 << 21, "/query", "Connection: Upgrade", "Upgrade: h2c"), 1 << 21)

    assert together.count(b'"n":1') == 3
    assert too_large.startswith(b"HTTP/1.1 413")
    assert too_large.count(b"HTTP/1.1 ") == 1


async def test_what_was_asked_before_nonsense_is_answered_first(proxy: Running) -> None:
    """Else the client would take the refusal for the answer to what was run."""
    asked = head(proxy, len(SELECT)) + SELECT
    for nonsense, status in (
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /v2 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"400"),
    ):
        answer = await raw(proxy, asked + asked + nonsense + asked)
        assert re.findall(rb"HTTP/1\.1 ([0-9]+)", answer) == [b"200", b"200", status]


async def test_a_refused_head_runs_nothing(proxy: Running, hand: psycopg.Connection) -> None:
    body = b'{"query": "DELETE FROM things WHERE id = 1"}'
    answer = await raw(proxy, head(proxy, len(body), "/query", "X: " + "a" * 40_000) + body)

    assert answer.startswith(b"HTTP/1.1 431")
    assert hand.execute("SELECT count(*) FROM things").fetchone() == (100,)
    assert not proxy.records


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /health HTTP/1.1\r\nX: ",
        b"GET /health HTTP/1.1\r\nX",
        b"POST /query HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        b"POST /query HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
)
async def test_a_header_without_end_is_not_kept(proxy: Running, beginning: bytes) -> None:
    """The parser would gather it, and copy all of it at every piece: one client would stop everybody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(beginning)
    sent = 0
    with contextlib.suppress(ConnectionError):
        for _ in range(500):
            writer.write(b"a" * 65_536)
            await writer.drain()
            sent += 65_536
            if writer.is_closing() or reader.at_eof():
                break
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert sent < 8 << 20
    assert not answer or answer.startswith(b"HTTP/1.1 431")


async def test_what_follows_a_body_says_nothing_of_the_request(proxy: Running) -> None:
    start = b"POST /query HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunks = b"%x\r\n%b\r\n0\r\nAuthorization: Bearer %b\r\n\r\n" % (len(SELECT), SELECT, proxy.token.encode())

    assert await status(proxy, start + chunks) == 401


async def test_no_content_has_no_length(proxy: Running) -> None:
    answer = await raw(proxy, b"OPTIONS /query HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 204")
    assert b"content-length" not in answer.lower()


async def test_head_has_no_body(proxy: Running) -> None:
    answer = await raw(proxy, b"HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert answer.endswith(b"\r\n\r\n")


async def test_a_client_that_asks_first_is_told_to_continue(proxy: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head(proxy, len(SELECT), "/query", "Expect: 100-continue", CLOSE))
    first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    writer.write(SELECT)
    rest = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    too_large = await raw(proxy, head(proxy, 1 << 21, "/query", "Expect: 100-continue", CLOSE))

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b'"n":1' in rest
    assert too_large.startswith(b"HTTP/1.1 413")


async def test_a_body_that_never_comes_is_not_waited_for(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_S", 0.1)
    half_a_body = await raw(proxy, head(proxy, 1_000) + b'{"query"')
    half_a_head = await raw(proxy, b"POST /query HTT")

    assert half_a_body.startswith(b"HTTP/1.1 408")
    assert half_a_head.startswith(b"HTTP/1.1 408")


async def test_an_idle_connection_ends(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.1)

    assert (await raw(proxy, head(proxy, len(SELECT)) + SELECT)).count(b"HTTP/1.1 200") == 1


async def test_a_client_that_doesn_t_read_holds_nothing_up(proxy: Running, hand: psycopg.Connection) -> None:
    body = b'{"query": "SELECT repeat(md5(g::text), 1000) AS x FROM generate_series(1, 300) AS g"}'
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.connect(("127.0.0.1", proxy.port))
    client.sendall(head(proxy, len(body)) + body)
    await proxy.until(lambda: [each.status for each in proxy.records] == [200], "it was answered")

    assert proxy.services.pools.stats().busy == 0
    assert await proxy.value("SELECT 1") == 1
    client.close()


async def test_no_file_stays_open(proxy: Running) -> None:
    async def once() -> None:
        await raw(proxy, head(proxy, len(SELECT), "/query", CLOSE) + SELECT)

    await once()
    before = len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))
    for _ in range(20):
        await asyncio.gather(*(once() for _ in range(10)))
    await proxy.until(
        lambda: len(list(Path(f"/proc/{os.getpid()}/fd").iterdir())) <= before + 5, "everything was closed"
    )
