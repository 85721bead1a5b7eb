"""Caps, rates and concurrency; what is written about each request; what monitors see."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from tests.sqlproxy.conftest import MakeKey
from tests.sqlproxy.engine.running import Running, backends_of, serving
from tests.sqlproxy.engine.test_faults import SLOW, raw

from callmeback import logs
from callmeback.domain.keys import Limits
from callmeback.pg import home
from callmeback.settings import Settings
from callmeback.sqlproxy import link, sluice
from callmeback.sqlproxy.audit import Audit, Record

pytestmark = pytest.mark.anyio


async def test_rows_have_a_cap(proxy: Running) -> None:
    just = await proxy.ask("SELECT g FROM generate_series(1, 10000) AS g")
    answer = await proxy.ask("SELECT g FROM generate_series(1, 10001) AS g")
    neon = await proxy.post("/sql", {"query": "SELECT g FROM generate_series(1, 10001) AS g"})

    assert just.json()["rowCount"] == 10_000
    assert (answer.status_code, answer.json()["code"]) == (413, "answer_too_large")
    assert (neon.status_code, neon.json()["code"]) == (400, "54000")


async def test_a_batch_shares_one_cap(proxy: Running) -> None:
    query = {"query": "SELECT g FROM generate_series(1, 4000) AS g"}

    assert (await proxy.post("/batch", {"queries": [query] * 2})).status_code == 200
    assert (await proxy.post("/batch", {"queries": [query] * 3})).status_code == 413


async def test_bytes_have_a_cap_enforced_while_reading(proxy: Running, hand: psycopg.Connection) -> None:
    """neondatabase/serverless#41 and the Data API's megabyte: ten of them here, and no more is read than needed."""
    for query in (
        "SELECT repeat('x', 100000) AS x FROM generate_series(1, 5000)",
        "SELECT repeat('x', 11000000) AS x",
        f"SELECT repeat('x', {2 * link.UNFINISHED_BYTES_MAX}) AS x",
        "SELECT repeat(chr(1), 3000000) AS x",
    ):
        for path, status in (("/query", 413), ("/sql", 400)):
            answer = await proxy.post(path, {"query": query})
            assert answer.status_code == status, answer.text[:200]
        await proxy.until(lambda: not proxy.backends(hand, "active"), "nothing is sent to nobody")
    assert len(await proxy.value("SELECT repeat('x', 10000000) AS x")) == 10_000_000


async def test_one_value_that_is_too_large_is_never_in_memory_as_a_whole(proxy: Running) -> None:
    """libpq reads what there is and makes room for all of a message at its first byte: it must find little."""
    await proxy.ask("SELECT 1")
    for query in (
        "SELECT repeat('x', 200000000) AS x",
        "SELECT g, repeat('x', g / 2) FROM (VALUES (2), (400000000)) AS v (g)",
    ):
        Path("/proc/self/clear_refs").write_text("5")
        before = memory_peak_mb()
        answer = await proxy.ask(query)

        assert answer.status_code == 413
        assert memory_peak_mb() - before < 2 * (link.UNFINISHED_BYTES_MAX >> 20)


def memory_peak_mb() -> int:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) >> 10


async def test_a_long_answer_comes_whole_through_a_narrow_sluice(
    proxy: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much fits into the pair, and wherever a stretch ends; then the link goes on as ever."""
    for stretch in (1, 4097, 1 << 20):
        monkeypatch.setattr(sluice, "STRETCH_BYTES", stretch)
        rows = await proxy.rows(
            f"SELECT g, repeat(chr(65 + g % 26), 40000) AS x FROM generate_series(1, {min(200, stretch)}) AS g"
        )
        again = await proxy.value("SELECT 7")

        assert [(row["g"], row["x"]) for row in rows] == [
            (g, chr(65 + g % 26) * 40_000) for g in range(1, min(200, stretch) + 1)
        ]
        assert again == 7


async def test_s05_temporary_files_have_a_cap(proxy: Running, superuser: psycopg.Connection) -> None:
    """A stream runs for an hour, and what it gathers meanwhile fills the disk of the whole database."""
    made = await proxy.make_key(reads=("dial_buckets", "login_attempts", "purchases"))
    superuser.execute(f"ALTER ROLE {made.line.role} SET temp_file_limit = '1MB'")
    big = "SELECT repeat('x', 100000) AS v FROM generate_series(1, 1000)"
    query = f"WITH big AS MATERIALIZED ({big}) SELECT length(v) FROM big"
    answer = await proxy.ask(query, token=made.token)
    stream = await proxy.post("/query", {"query": query}, made.token, headers={"Accept": "application/x-ndjson"})

    assert (answer.status_code, answer.json()["sqlstate"]) == (413, "53400")
    assert '"sqlstate":"53400"' in stream.text.splitlines()[-1]
    assert (await proxy.ask("SELECT 1", token=made.token)).status_code == 200


async def test_a_rate_is_a_bucket(proxy: Running) -> None:
    """postgrest#249: a burst of N, then N a second, and the rest hears when to come again."""
    limited = await proxy.make_key(reads=("personas",), limits=Limits(rate=5))
    answers = await asyncio.gather(*(proxy.ask("SELECT 1", token=limited.token) for _ in range(20)))
    neon = await proxy.post("/sql", {"query": "SELECT 1"}, limited.token)
    refused = [each for each in answers if each.status_code == 429]

    assert 5 <= sum(each.status_code == 200 for each in answers) < 20
    assert {each.json()["code"] for each in refused} == {"rate_limited"}
    assert {each.headers["retry-after"] for each in refused} == {"1"}
    assert (neon.status_code, neon.headers.get("retry-after")) in ((429, "1"), (200, None))
    assert (await proxy.ask("SELECT 1")).status_code == 200


async def test_concurrency_is_counted_and_given_back(proxy: Running, hand: psycopg.Connection) -> None:
    limited = await proxy.make_key(reads=("personas",), limits=Limits(concurrency=1))
    slow = asyncio.create_task(proxy.ask(SLOW, token=limited.token))
    await proxy.until(lambda: bool(backends_of(hand, limited.line.role, "active")), "the first one runs")
    second = await proxy.ask("SELECT 1", token=limited.token)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    await proxy.until(lambda: proxy.services.limits._uses[limited.id].running == 0, "its place is free")
    stream = await proxy.post(
        "/query", {"query": "SELECT 1"}, limited.token, headers={"Accept": "application/x-ndjson"}
    )

    assert (second.status_code, second.json()["code"]) == (429, "rate_limited")
    assert stream.status_code == 200
    for query in ("SELECT 1", "SELEC", "SELECT 1 / 0", "BEGIN", "SELECT 1"):
        assert (await proxy.ask(query, token=limited.token)).status_code != 429


async def test_a_revoked_key_is_refused_within_a_second(proxy: Running, hand: psycopg.Connection) -> None:
    """eliza#11126: authorisation that was cached for too long."""
    assert await proxy.value("SELECT 1") == 1
    hand.execute("UPDATE api_keys SET revoked_at = now()")
    await asyncio.sleep(1.0)

    assert (await proxy.ask("SELECT 1")).status_code == 401


# The audit.


async def test_each_request_has_its_line(proxy: Running) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = await proxy.post(
        "/query",
        {"query": "SELECT id FROM things WHERE id <= $1", "parameters": [3]},
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    await proxy.ask("BEGIN")
    await proxy.ask("SELECT 1 / 0")
    await proxy.ask("SELECT 1", token="cmb_nothing")
    await proxy.client.get("/health")
    await proxy.client.get("/secret/path")
    read, refused, failed, unknown, lost = proxy.records

    assert read.request == answer.headers["x-request-id"]
    assert (read.endpoint, read.status, read.verdict, read.rows, read.trace) == ("/query", 200, "allowed", 3, trace)
    assert (read.key, read.role) == (proxy.token.split("_")[1], proxy.role)
    assert len(read.hash or "") == 64
    assert read.bytes == len(answer.content)
    assert 0 < read.database_ms <= read.total_ms
    assert (refused.status, refused.verdict, refused.sqlstate) == (403, "refused", "42501")
    assert refused.rule
    assert (failed.status, failed.sqlstate) == (400, "22012")
    assert (unknown.status, unknown.key, unknown.sqlstate) == (401, None, "28P01")
    assert (lost.status, lost.endpoint) == (404, "unknown")
    assert len({each.request for each in proxy.records}) == 5


async def test_s02_whoever_adds_a_line_has_the_last_word(
    settings: Settings, make_key: MakeKey, hand: psycopg.Connection
) -> None:
    """HAProxy adds a line of its own to what the client sent, instead of a word to its line."""
    behind = msgspec.structs.replace(settings, public_url="https://db.example.com")
    async with serving(behind, make_key, reads=("personas",)) as proxy:
        bound = await make_key(mode="policy", reads=("personas",), limits=Limits(cidrs=("10.0.0.0/8",)))
        body = b'{"query": "SELECT 1 AS n"}'
        lines = [
            "POST /query HTTP/1.1", f"Authorization: Bearer {bound.token}", f"Content-Length: {len(body)}",
            "Connection: close", "X-Forwarded-For: 10.0.0.1",
        ]  # fmt: skip

        async def answer(*more: str) -> bytes:
            return (await raw(proxy, "\r\n".join([*lines, *more, "", ""]).encode() + body))[:12]

        assert await answer() == b"HTTP/1.1 200"
        assert await answer("X-Forwarded-For: 198.51.100.7") == b"HTTP/1.1 403"


async def test_s16_an_unknown_address_is_kept_nowhere(proxy: Running) -> None:
    """Also where the body is refused before anybody looks at the address: there is no end of addresses."""
    big = b"x" * ((1 << 20) + 1)
    answers = [await proxy.post(path, big) for path in ("/hidden", "/named/hidden", "/query")]
    options = await proxy.client.options("/hidden")
    figures = (await proxy.client.get("/metrics")).text

    assert [answer.status_code for answer in (*answers, options)] == [413, 413, 413, 204]
    assert [each.endpoint for each in proxy.records] == ["unknown", "/named/", "/query", "unknown"]
    assert "hidden" not in figures


async def test_server_timing_says_where_the_time_went(proxy: Running) -> None:
    timing = (await proxy.ask("SELECT count(*) FROM generate_series(1, 100000)")).headers["server-timing"]
    found = {part.split(";")[0].strip(): float(part.split("=")[1]) for part in timing.split(",")}

    assert set(found) == {"queue", "db"}
    assert found["db"] > 0


async def test_s16_nothing_of_statements_and_rows_is_logged(proxy: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lines: list[bytes] = []
    write, logs.write_lines = logs.write_lines, lines.extend  # type: ignore[assignment]  # kept instead of written
    try:
        for path in ("/query", "/sql", "/batch", "/named/hush-hush"):
            await proxy.post(path, {"query": "SELECT 'hush-hush', $1", "parameters": ["+12025550101 hush-hush"]})
            await proxy.post(path, b'{"query": "SELECT hush-hush')
        string = f"postgresql://u:{proxy.token}@hush-hush/db"
        await proxy.client.post("/sql", content=b"{}", headers={"Neon-Connection-String": string})
        proxy.services.audit.flush()
    finally:
        logs.write_lines = write
    ours = [each.getMessage() for each in caplog.records if each.name.startswith(("callmeback", "uvicorn", "asyncio"))]
    text = b"\n".join(lines).decode() + "\n".join(ours)

    assert len(lines) == 9
    assert "hush-hush" not in text
    assert "+1202555" not in text
    assert proxy.token not in text


def test_a_line_needs_no_redaction() -> None:
    """Every field as it may be at its worst: the redaction would leave it as it is."""
    record = Record(
        request="0123456789ab0000ffff",
        endpoint="/named/",
        status=200,
        key="0123456789abcdef",
        role="callmeback_key_0123456789abcdef",
        trace="4bf92f3577b34da6a3ce929d0e0e4736",
        verdict="refused",
        rule="one_statement",
        hash="0" * 64,
        named="one-word",
        statements=1_000,
        rows=10_000,
        bytes=10_000_000,
        queue_ms=1.5,
        database_ms=2.5,
        total_ms=9.0,
        sqlstate="42501",
    )
    fields = msgspec.to_builtins(record)

    assert set(fields) | {"parameters"} == set(Record.__struct_fields__)
    assert logs.redact(None, "info", dict(fields)) == fields


async def test_lines_are_written_soon_and_are_json(proxy: Running) -> None:
    lines: list[bytes] = []
    write, logs.write_lines = logs.write_lines, lines.extend  # type: ignore[assignment]  # kept instead of written
    try:
        await proxy.ask("SELECT 1")
        await proxy.until(lambda: len(lines) == 1, "it is written")
    finally:
        logs.write_lines = write
    line: dict[str, Any] = json.loads(lines[0])

    assert (line["event"], line["level"], line["sql"]["rows"]) == ("sql", "info", 1)
    assert line["timestamp"].endswith("Z")


async def test_parameters_are_written_where_the_operator_wants_them(proxy: Running) -> None:
    proxy.services.audit = Audit(with_parameters=True)
    records: list[Record] = []
    proxy.services.audit.write = records.append  # type: ignore[method-assign]  # kept instead of written
    await proxy.ask("SELECT $1::text, $2::text, $3::text", "plain", None, "call +12025550101")

    assert records[0].parameters == ["plain", "NULL", "call [hidden]"]


# For monitors.


async def test_health_readiness_and_figures(proxy: Running) -> None:
    await proxy.ask("SELECT 1")
    await proxy.ask("BEGIN")
    health = await proxy.client.get("/health")
    ready = await proxy.client.get("/ready")
    figures = (await proxy.client.get("/metrics")).text

    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    for line in (
        'callmeback_proxy_requests_total{endpoint="/query",status="200"} 1.0',
        'callmeback_proxy_requests_total{endpoint="/query",status="403"} 1.0',
        'callmeback_proxy_connections{state="idle"} 1.0',
        'callmeback_proxy_connections{state="limit"} 4.0',
        "callmeback_proxy_waiting 0.0",
        'callmeback_proxy_request_seconds_bucket{endpoint="/query",le="+Inf"} 2.0',
        'callmeback_proxy_request_seconds_count{endpoint="/query"} 2.0',
    ):
        assert line in figures.splitlines(), figures


async def test_s02_it_beats_while_it_can_work(proxy: Running) -> None:
    await proxy.until(lambda: home.is_beating(proxy.services.settings.home, "proxy"), "it beats")
