"""What goes wrong outside of the proxy: it never crashes, mixes up requests, or leaves anything for the next one."""

import asyncio
import os
import signal
import socket
import time
from typing import Any

import psycopg
import pytest
from tests.sqlproxy.conftest import MakeKey
from tests.sqlproxy.engine.conftest import share
from tests.sqlproxy.engine.running import PATIENCE_S, Running, serving

from callmeback.settings import Settings
from callmeback.sqlproxy import link

pytestmark = pytest.mark.anyio

# Long, busy, and allowed: the policy has no pg_sleep.
SLOW = "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b"


def head(proxy: Running, length: int, path: str = "/query", *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {proxy.token}", f"Content-Length: {length}"]
    lines += more
    return "\r\n".join([*lines, "", ""]).encode()


async def raw(proxy: Running, data: bytes) -> bytes:
    """Send bytes, and read until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    found = b""
    try:
        writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            found = await reader.read()
    finally:
        writer.close()
    return found


# Nothing of one request is left for the next.


async def admin(proxy: Running, hand: psycopg.Connection) -> str:
    made = await proxy.make_key(mode="admin", reads=("personas",), writes=("personas",), pii=True)
    share(hand, proxy.role)
    assert made.line.role == proxy.role
    return made.token


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN",
        "SET statement_timeout = 1",
        "SET search_path = pg_catalog",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SELECT set_config('statement_timeout', '1', false)",
        "PREPARE mine AS SELECT 1",
        "LISTEN something",
        "SELECT pg_advisory_lock(1)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ],
)
async def test_s04_no_state_crosses_requests(proxy: Running, hand: psycopg.Connection, statement: str) -> None:
    """An administrator's key may say it, on the same role; whoever comes next finds a session like new."""
    token = await admin(proxy, hand)
    zone = await proxy.value("SHOW TimeZone")
    await proxy.until(lambda: len(proxy.backends(hand)) == 1, "the look whether the role can log in is over")
    before = zone, proxy.backends(hand)
    await proxy.ask(statement, token=token)
    after = await proxy.value("SHOW TimeZone"), proxy.backends(hand)
    answer = await proxy.ask("UPDATE things SET size = 7 WHERE id = 7")

    assert after[0] == before[0]
    assert after[1] != before[1]
    assert answer.json()["rowCount"] == 1
    assert hand.execute("SELECT size FROM things WHERE id = 7").fetchone() == (7,)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
    assert hand.execute(f"{locks} WHERE datname = current_database())").fetchone() == (0,)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}])
async def test_s04_no_state_of_a_failed_batch_crosses_requests(
    proxy: Running, hand: psycopg.Connection, headers: dict[str, str]
) -> None:
    """What a rollback doesn't undo."""
    token = await admin(proxy, hand)
    queries = [
        {"query": "SELECT pg_advisory_lock(1)"},
        {"query": "PREPARE mine AS SELECT 1"},
        {"query": "SELECT 1 / 0"},
    ]
    answer = await proxy.post("/batch", {"queries": queries}, token, headers)
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"

    assert (answer.status_code, answer.json()["query"]) == (400, 2)
    await proxy.until(
        lambda: hand.execute(f"{locks} WHERE datname = current_database())").fetchone() == (0,), "its session ended"
    )


async def test_s04_a_session_whose_role_was_made_anew_is_given_up(
    proxy: Running, hand: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `keys sync` an old session is still the old role's, and under load it would never be idle for long."""
    monkeypatch.setattr(link, "DOUBTED_AFTER_S", 0.0)
    assert await proxy.value("SELECT count(*) FROM things") == 100
    hand.execute(f"REVOKE ALL ON things FROM {proxy.role}")
    await proxy.until(lambda: len(proxy.backends(hand)) == 1, "the look whether the role can log in is over")
    before = proxy.backends(hand)
    refused = await proxy.ask("SELECT count(*) FROM things")
    share(hand, proxy.role)

    assert refused.status_code == 403
    assert await proxy.value("SELECT count(*) FROM things") == 100
    assert not set(before) & set(proxy.backends(hand))


async def test_s03_a_terminated_backend_costs_one_request_at_most(
    proxy: Running, hand: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    task = asyncio.create_task(proxy.ask(SLOW))
    await proxy.until(lambda: bool(proxy.backends(hand, "active")), "it runs")
    for pid in proxy.backends(hand):
        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
    answer = await task

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    for _ in range(5):
        assert await proxy.value("SELECT 1") == 1


async def test_idle_connections_that_died_are_passed_over(
    proxy: Running, hand: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    await asyncio.gather(*(proxy.value("SELECT count(*) FROM things") for _ in range(8)))
    for pid in proxy.backends(hand):
        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
    await proxy.until(lambda: not proxy.backends(hand), "all are gone")
    await asyncio.sleep(0.05)

    assert await asyncio.gather(*(proxy.value("SELECT 1") for _ in range(8))) == [1] * 8


async def test_a_lost_connection_leaves_alone_who_has_its_number_now(
    proxy: Running, hand: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    """libpq closes the socket of a lost connection, and the next client or connection gets the same descriptor."""
    held = await proxy.services.pools.take(proxy.role)
    number = held._socket
    await proxy.until(lambda: len(proxy.backends(hand)) == 1, "it alone is there")
    superuser.execute("SELECT pg_terminate_backend(%s)", [proxy.backends(hand)[0]])
    await proxy.until(lambda: held.is_lost, "the loss was noticed")
    pair = socket.socketpair()
    mine, other = pair if pair[0].fileno() != number else pair[::-1]
    if other.fileno() != number:
        os.dup2(other.fileno(), number)
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(number, heard.set)
    try:
        proxy.services.pools.give(held)
        mine.send(b"x")
        await asyncio.wait_for(heard.wait(), PATIENCE_S)
    finally:
        loop.remove_reader(number)
        if other.fileno() != number:
            os.close(number)
        mine.close()
        other.close()

    assert proxy.services.pools.stats().busy == 0
    assert await proxy.value("SELECT 1") == 1


async def test_s05_a_stopped_server_is_given_up_at_the_deadline(proxy: Running, hand: psycopg.Connection) -> None:
    proxy.services.deadline_s = 0.3
    await proxy.ask("SELECT 1")
    await proxy.until(lambda: len(proxy.backends(hand)) == 1, "the look whether the role can log in is over")
    [pid] = proxy.backends(hand)
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = await proxy.ask("SELECT 1")
        proxy.services.deadline_s = PATIENCE_S
        neon_answers = asyncio.gather(*(proxy.post("/sql", {"query": "SELECT 1 AS n"}) for _ in range(3)))
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        # The others go on meanwhile.
        assert {each.status_code for each in await neon_answers} == {200}
    finally:
        os.kill(pid, signal.SIGCONT)
    await proxy.until(lambda: pid not in proxy.backends(hand), "its connection was closed")


async def test_s05_a_deadline_cancels_the_statement(proxy: Running, hand: psycopg.Connection) -> None:
    proxy.services.deadline_s = 0.3
    answer = await proxy.ask(SLOW)
    neon = await proxy.post("/sql", {"query": SLOW})

    assert answer.status_code == 504
    assert (neon.status_code, neon.json()["code"]) == (400, "57014")
    await proxy.until(lambda: not proxy.backends(hand, "active"), "nothing runs on")
    await proxy.until(lambda: proxy.services.pools.stats().busy == 0, "no place is held")


async def test_the_role_s_own_timeout_is_a_deadline_too(proxy: Running, hand: psycopg.Connection) -> None:
    hand.execute("CREATE FUNCTION slow() RETURNS bigint LANGUAGE sql SET statement_timeout = 1 AS $$ SELECT 1 $$")
    proxy.services.pools.give(await proxy.services.pools.take(proxy.role))
    token = await admin(proxy, hand)
    body = {"queries": [{"query": "SET LOCAL statement_timeout = 20"}, {"query": SLOW}]}
    answer = await proxy.post("/batch", body, token)

    assert (answer.status_code, answer.json()["sqlstate"]) == (504, "57014")


async def test_s05_a_client_that_leaves_ends_its_statement(proxy: Running, hand: psycopg.Connection) -> None:
    """postgrest#3517: queries that run on after their client is gone."""
    body = b'{"query": "%s"}' % SLOW.encode()
    for how in ("close", "half-close", "reset"):
        client = socket.create_connection(("127.0.0.1", proxy.port))
        client.sendall(head(proxy, len(body)) + body)
        await proxy.until(lambda: bool(proxy.backends(hand, "active")), f"it runs ({how})")
        if how == "half-close":
            client.shutdown(socket.SHUT_WR)
        elif how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if how != "half-close":
            client.close()
        await proxy.until(lambda: not proxy.backends(hand, "active"), f"it was cancelled ({how})")
        client.close()
    await proxy.until(lambda: [each.status for each in proxy.records].count(499) == 3, "each has its line")
    await proxy.until(lambda: proxy.services.pools.stats().busy == 0, "its connection is closed")


async def test_a_batch_whose_client_leaves_is_rolled_back(proxy: Running, hand: psycopg.Connection) -> None:
    body = b'{"queries": [{"query": "DELETE FROM things"}, {"query": "%s"}]}' % SLOW.encode()
    client = socket.create_connection(("127.0.0.1", proxy.port))
    client.sendall(head(proxy, len(body), "/batch") + body)
    await proxy.until(lambda: bool(proxy.backends(hand, "active")), "it runs")
    client.close()
    await proxy.until(lambda: not proxy.backends(hand), "its session ended")

    assert hand.execute("SELECT count(*) FROM things").fetchone() == (100,)


async def test_somebody_who_leaves_while_waiting_takes_nothing_along(proxy: Running, hand: psycopg.Connection) -> None:
    body = b'{"query": "%s"}' % SLOW.encode()
    running = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(4)]
    for each in running:
        each.sendall(head(proxy, len(body)) + body)
    await proxy.until(lambda: len(proxy.backends(hand, "active")) == 4, "all places are taken")
    waiting = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(4)]
    for each in waiting:
        each.sendall(head(proxy, len(body)) + body)
    await proxy.until(lambda: proxy.services.pools.stats().waiting == 4, "they wait")
    for each in (*waiting, *running):
        each.close()
    await proxy.until(lambda: not proxy.backends(hand, "active"), "nothing runs")

    assert await asyncio.gather(*(proxy.value("SELECT 1") for _ in range(8))) == [1] * 8
    assert proxy.services.pools.stats().busy == 0


# Overload.


async def test_s05_a_full_queue_sheds_at_once(settings: Settings, make_key: MakeKey, hand: psycopg.Connection) -> None:
    """A thousand at once on a pool of four: some are served, the rest hear 503 with Retry-After, nothing breaks."""
    crowd = 1_000
    async with serving(settings, make_key, reads=("personas",)) as proxy:
        body = b'{"query": "SELECT count(*) AS n FROM generate_series(1, 20000)"}'
        request = head(proxy, len(body), "/query", "Connection: close") + body
        answers = await asyncio.gather(*(raw(proxy, request) for _ in range(crowd)))
        statuses = [answer.split(b" ")[1] if answer else b"" for answer in answers]
        shed = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]

        assert set(statuses) <= {b"200", b"503"}
        assert statuses.count(b"200") >= 4
        assert all(b"retry-after: " in answer for answer in shed)
        assert all(b'"n":20000' in answer for answer in answers if answer.startswith(b"HTTP/1.1 200"))
        assert await proxy.value("SELECT 1") == 1
        assert proxy.services.pools.stats().waiting == 0


async def test_shedding_needs_no_wait(proxy: Running, hand: psycopg.Connection) -> None:
    """With the queue full the answer doesn't wait for the pool: it is there although nothing moves."""
    slow = [asyncio.create_task(proxy.ask(SLOW)) for _ in range(4)]
    await proxy.until(lambda: len(proxy.backends(hand, "active")) == 4, "all places are taken")
    proxy.services.pools._waiting_max = 0
    answer = await proxy.ask("SELECT 1")
    ready = await proxy.client.get("/ready")

    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "1")
    assert (ready.status_code, ready.json()["parts"]["pool"]) == (503, "saturated")
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_waiting_has_its_end(proxy: Running, hand: psycopg.Connection) -> None:
    slow = [asyncio.create_task(proxy.ask(SLOW)) for _ in range(4)]
    await proxy.until(lambda: len(proxy.backends(hand, "active")) == 4, "all places are taken")
    proxy.services.pools._wait_s = 0.1
    answer = await proxy.ask("SELECT 1")

    assert answer.status_code == 503
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_another_scope_gets_its_share(proxy: Running, hand: psycopg.Connection) -> None:
    """The least recently used connection of one role gives way to another role; a crowd of one doesn't starve it."""
    other = await proxy.make_key(reads=("personas",))
    await asyncio.gather(*(proxy.value("SELECT 1") for _ in range(8)))
    assert (await proxy.ask("SELECT 1", token=other.token)).status_code == 200
    stop = False

    async def crowd() -> None:
        while not stop:
            await proxy.ask("SELECT count(*) FROM generate_series(1, 20000)")

    crowds = [asyncio.create_task(crowd()) for _ in range(8)]
    answers = [await proxy.ask("SELECT 1", token=other.token) for _ in range(10)]
    stop = True
    await asyncio.gather(*crowds)

    assert [each.status_code for each in answers] == [200] * 10
    total = proxy.services.pools.stats()
    assert total.busy + total.idle <= total.limit == 4


async def test_without_a_database_it_says_so_and_comes_back(
    settings: Settings, make_key: MakeKey, hand: psycopg.Connection, superuser: psycopg.Connection
) -> None:
    name = hand.info.dbname
    async with serving(settings, make_key, reads=("personas",)) as proxy:
        assert await proxy.value("SELECT 1") == 1
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename LIKE %s",
            [name, "callmeback_%"],
        )
        answer = await proxy.ask("SELECT 1")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert (await proxy.client.get("/health")).status_code == 200
        superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        deadline = time.monotonic() + 10
        while (answer := await proxy.ask("SELECT 1")).status_code != 200 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert answer.json()["rows"] == [{"?column?": 1}]
        while (ready := await proxy.client.get("/ready")).status_code != 200 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert ready.status_code == 200


async def test_a_migration_under_a_prepared_statement_is_no_error(proxy: Running, hand: psycopg.Connection) -> None:
    async def ask() -> Any:
        answer = await proxy.ask("SELECT * FROM things WHERE id = 1")
        batch = await proxy.post("/batch", {"queries": [{"query": "SELECT * FROM things WHERE id = 1"}]})
        neon = await proxy.post("/sql", {"queries": [{"query": "SELECT * FROM things WHERE id = 1"}]})
        return [answer.status_code, batch.status_code, neon.status_code], answer.json()["rows"][0].keys()

    for _ in range(3):
        await ask()
    hand.execute("ALTER TABLE things ADD COLUMN colour text")

    assert await ask() == ([200] * 3, {"id", "word", "size", "colour"})
    hand.execute("ALTER TABLE things DROP COLUMN colour")
    assert await ask() == ([200] * 3, {"id", "word", "size"})


async def test_many_requests_at_once_get_their_own_rows(proxy: Running) -> None:
    proxy.services.pools._wait_s = 20.0
    proxy.services.pools._waiting_max = 1_000

    async def ask(number: int) -> bool:
        size = 1 + number % 7 * 300
        found = await proxy.rows("SELECT $1::int AS mine, g FROM generate_series(1, $2::int) AS g", number, size)
        return {row["mine"] for row in found} == {number} and len(found) == size

    assert all(await asyncio.gather(*(ask(number) for number in range(100))))
