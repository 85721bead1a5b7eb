"""NDJSON: rows as they come, in constant memory, with a last line that says how it ended."""

import asyncio
import json
import resource
import socket
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from tests.sqlproxy.engine.running import Running
from tests.sqlproxy.engine.test_faults import SLOW, head, raw

from callmeback.sqlproxy import http

pytestmark = pytest.mark.anyio

NDJSON = {"Accept": "application/x-ndjson"}
MANY = "SELECT g AS id, md5(g::text) AS hash, now() AS at FROM generate_series(1, 1000000) AS g"


async def stream(proxy: Running, query: str, *parameters: Any) -> tuple[int, list[Any]]:
    answer = await proxy.post("/query", {"query": query, "parameters": list(parameters)}, headers=NDJSON)
    return answer.status_code, [json.loads(line) for line in answer.text.splitlines()]


async def test_rows_and_then_the_trailer(proxy: Running) -> None:
    for _ in range(3):
        assert await stream(proxy, "SELECT id, word FROM things WHERE id <= $1 ORDER BY id", 2) == (
            200,
            [{"id": 1, "word": "word 1"}, {"id": 2, "word": "word 2"}, {"rowCount": 2, "command": "SELECT"}],
        )
    assert await stream(proxy, "SELECT 1 WHERE false") == (200, [{"rowCount": 0, "command": "SELECT"}])
    assert proxy.services.pools.stats().idle == 1


async def test_no_cap_on_rows(proxy: Running) -> None:
    status, lines = await stream(proxy, "SELECT g FROM generate_series(1, 25000) AS g")

    assert (status, len(lines), lines[-1]) == (200, 25_001, {"rowCount": 25_000, "command": "SELECT"})
    assert [line["g"] for line in lines[:-1]] == list(range(1, 25_001))


async def test_a_stream_of_a_change_is_kept(proxy: Running, hand: psycopg.Connection) -> None:
    status, lines = await stream(proxy, "DELETE FROM things WHERE id <= 3 RETURNING id")

    assert (status, lines[-1]) == (200, {"rowCount": 3, "command": "DELETE"})
    assert hand.execute("SELECT count(*) FROM things").fetchone() == (97,)


async def test_an_error_before_the_first_row_has_its_status(proxy: Running) -> None:
    for _ in range(3):
        status, lines = await stream(proxy, "SELECT 1 / 0")
        assert (status, lines[0]["sqlstate"]) == (400, "22012")
    assert (await stream(proxy, "COMMIT"))[0] == 403
    assert proxy.services.pools.stats().busy == 0


async def test_an_error_after_rows_is_the_trailer(proxy: Running) -> None:
    query = "SELECT id, 10 / (3000 - id) AS x FROM generate_series(1, 4000) AS id"
    status, lines = await stream(proxy, query)

    assert status == 200
    assert 1 < len(lines) < 3000
    assert lines[-1]["error"]["sqlstate"] == "22012"
    assert [each.sqlstate for each in proxy.records] == ["22012"]
    assert await proxy.value("SELECT 1") == 1


async def test_json_with_line_breaks_stays_on_its_line(proxy: Running) -> None:
    status, lines = await stream(proxy, """SELECT E'{"a":\\n"b"}'::json AS j, E'x\\ny' AS t""")

    assert lines[0] == {"j": {"a": "b"}, "t": "x\ny"}
    assert len(lines) == 2
    assert status == 200


async def test_a_stream_doesn_t_expire_while_it_is_read(proxy: Running) -> None:
    """turso#7337, and a server's own timeout, which counts the reader's time."""
    proxy.services.deadline_s = 0.3
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1 << 12)
    body = json.dumps({"query": MANY.replace("1000000", "150000")}).encode()
    writer.write(head(proxy, len(body), "/query", "Accept: application/x-ndjson", "Connection: close") + body)
    size = 0
    last = b""
    while piece := await asyncio.wait_for(reader.read(1 << 17), 10):
        size += len(piece)
        last = (last + piece)[-200:]
        await asyncio.sleep(0.01)
    writer.close()

    assert b'{"rowCount":150000,"command":"SELECT"}' in last
    assert size > 10_000_000


async def test_s02_a_stream_ends_with_its_key(proxy: Running, hand: psycopg.Connection) -> None:
    """Within a second, as everything else does; not when the rows end, which is never."""
    endless = "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t"
    body = json.dumps({"query": endless}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head(proxy, len(body), "/query", "Accept: application/x-ndjson", "Connection: close") + body)
    await asyncio.wait_for(reader.readuntil(b'{"n":1}\n'), 10)
    hand.execute("UPDATE api_keys SET revoked_at = now()")
    last = b""
    async with asyncio.timeout(10):
        while piece := await reader.read(1 << 16):
            last = (last + piece)[-500:]
    writer.close()
    trailer = json.loads(last.split(b"\r\n")[-4].splitlines()[-1])

    assert (trailer["error"]["status"], trailer["error"]["code"]) == (401, "unauthorized")
    await proxy.until(lambda: not proxy.backends(hand, "active"), "nothing runs on")
    await proxy.until(lambda: proxy.services.pools.stats().busy == 0, "no place is held")
    assert proxy.records[-1].sqlstate == "28P01"


async def test_a_reader_who_stops_is_let_go(
    proxy: Running, hand: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "STALL_S", 0.3)
    body = json.dumps({"query": MANY}).encode()
    client = socket.create_connection(("127.0.0.1", proxy.port))
    client.sendall(head(proxy, len(body), "/query", "Accept: application/x-ndjson") + body)
    await proxy.until(lambda: bool(proxy.backends(hand)), "it runs")
    await proxy.until(lambda: not proxy.backends(hand), "its session ended")
    await proxy.until(lambda: proxy.services.pools.stats().busy == 0, "no place is held")
    client.close()


async def test_a_reader_who_leaves_ends_it(proxy: Running, hand: psycopg.Connection) -> None:
    limited = await proxy.make_key(reads=("personas",), pii=True, writes=("personas",))
    assert limited.line.role == proxy.role
    body = json.dumps({"query": MANY}).encode()
    for _ in range(6):
        client = socket.create_connection(("127.0.0.1", proxy.port))
        client.sendall(head(proxy, len(body), "/query", "Accept: application/x-ndjson") + body)
        await asyncio.to_thread(client.recv, 1_000)
        client.close()
    await proxy.until(lambda: not proxy.backends(hand, "active"), "nothing runs")
    await proxy.until(lambda: proxy.services.pools.stats().busy == 0, "no place is held")

    assert await proxy.value("SELECT 1") == 1


async def test_a_stream_that_never_begins_has_the_deadline(proxy: Running) -> None:
    proxy.services.deadline_s = 0.3

    assert (await stream(proxy, SLOW))[0] == 504


async def test_http_1_0_gets_it_without_chunks(proxy: Running) -> None:
    body = b'{"query": "SELECT 1 AS n"}'
    start = head(proxy, len(body), "/query", "Accept: application/x-ndjson").replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = await raw(proxy, start + body)

    assert answer.endswith(b'\r\n\r\n{"n":1}\n{"rowCount":1,"command":"SELECT"}\n')


ADDED_MAX = 64 << 20

# Reads a stream of a million rows in a process of its own, so that the memory measured here is the proxy's.
READER = """
import socket, sys
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(sys.stdin.buffer.read())
lines, last = 0, b""
while piece := client.recv(1 << 18):
    lines += piece.count(b"\\n{")
    last = (last + piece)[-100:]
print(lines, last.decode())
"""


async def test_a_million_rows_take_constant_memory(proxy: Running) -> None:
    body = json.dumps({"query": MANY}).encode()
    request = head(proxy, len(body), "/query", "Accept: application/x-ndjson", "Connection: close") + body
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, str(proxy.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await reader.communicate(request)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert b'{"rowCount":1000000,"command":"SELECT"}' in output
    assert (after - before) * 1024 < ADDED_MAX, (before, after)
