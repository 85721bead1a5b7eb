"""The straight way of an ordinary statement: the same answers, the same walls, and nothing left behind."""

import asyncio
import re
from email.utils import parsedate_to_datetime

import psycopg
import pytest
from tests.sqlproxy.engine.running import Running, backends_of
from tests.sqlproxy.engine.test_faults import SLOW, head, raw

from callmeback.domain.keys import Limits
from callmeback.sqlproxy import heads, pools, service
from callmeback.sqlproxy.deadlines import Deadlines
from callmeback.sqlproxy.errand import Errand
from callmeback.sqlproxy.heads import Heads
from callmeback.sqlproxy.keyring import Key, Shown
from callmeback.sqlproxy.link import Link
from callmeback.sqlproxy.requests import Request

pytestmark = pytest.mark.anyio

KEY = Key("id", "test", "policy", "role", True, None, (), None, None, None, {}, {}, b"proof")
ROWS = "SELECT a.id AS n FROM things AS a, things AS b, things AS c LIMIT $1::int"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the service began, request by request: an Errand where one went straight."""
    found: list[object] = []
    begin = service.Service.begin

    def noted(self: service.Service, *arguments: object) -> object:
        found.append(begin(self, *arguments))  # type: ignore[arg-type]  # passed on as they came
        return found[-1]

    monkeypatch.setattr(service.Service, "begin", noted)
    return found


async def talk(proxy: Running, *requests: bytes) -> list[bytes]:
    """Requests on one connection, each after the answer to the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    found = []
    for request in requests:
        writer.write(request)
        start = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = re.search(rb"content-length: ([0-9]+)", start)
        assert length is not None
        found.append(start + await reader.readexactly(int(length[1])))
    writer.close()
    return found


def post(proxy: Running, body: bytes, *more: str, token: str | None = None, path: str = "/query") -> bytes:
    start = head(proxy, len(body), path, *more)
    return (start if token is None else start.replace(proxy.token.encode(), token.encode())) + body


async def test_the_third_time_goes_straight_and_says_the_same(proxy: Running, begun: list[object]) -> None:
    for path, body in (
        ("/query", b'{"query": "SELECT id, word FROM things WHERE id = $1", "parameters": [7]}'),
        ("/sql", b'{"query": "SELECT id, word FROM things WHERE id = $1", "params": ["7"]}'),
        ("/query", b'{"query": "UPDATE things SET size = 3 WHERE id = $1", "parameters": [9]}'),
        ("/query", b'{"query": "SELECT id FROM things WHERE id = $1", "parameters": [1000]}'),
    ):
        begun.clear()
        answers = await talk(proxy, *[post(proxy, body, path=path)] * 4)
        bodies = {answer.partition(b"\r\n\r\n")[2] for answer in answers}

        assert len(bodies) == 1, bodies
        assert isinstance(begun[-1], Errand)
    assert [record.rows for record in proxy.records[:4]] == [1] * 4
    assert {record.verdict for record in proxy.records} == {"allowed"}
    assert {record.statements for record in proxy.records} == {1}
    assert len({record.request for record in proxy.records}) == 16


async def test_named_statements_go_straight_too(proxy: Running, begun: list[object], hand: psycopg.Connection) -> None:
    named = await proxy.make_key(mode="policy", reads=("personas",))
    body = b'{"query": "SELECT count(*) AS n FROM personas"}'
    await talk(proxy, *[post(proxy, body, token=named.token)] * 3)

    assert isinstance(begun[-1], Errand)
    assert proxy.records[-1].role == named.line.role


async def test_a_repeated_head_is_one_s_own(proxy: Running, hand: psycopg.Connection) -> None:
    """Keys that come in turn over one connection, as through a proxy in front, stay who they are."""
    other = await proxy.make_key(reads=("personas",))
    body = b'{"query": "SELECT count(*) AS n FROM things"}'
    mine, theirs = post(proxy, body), post(proxy, body, token=other.token)
    answers = await talk(proxy, *[mine, theirs] * 4)
    statuses = [answer.split(b" ")[1] for answer in answers]

    assert statuses == [b"200", b"403"] * 4
    assert [record.role for record in proxy.records] == [proxy.role, other.line.role] * 4


async def test_a_revoked_key_is_refused_on_a_connection_that_knows_its_head(
    proxy: Running, hand: psycopg.Connection
) -> None:
    body = b'{"query": "SELECT 1 AS n"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

    async def ask() -> bytes:
        writer.write(post(proxy, body))
        return (await asyncio.wait_for(reader.read(65_536), 10))[9:12]

    before = [await ask() for _ in range(4)]
    hand.execute("UPDATE api_keys SET revoked_at = now()")
    await asyncio.sleep(1.0)
    after = await ask()
    writer.close()

    assert (before, after) == ([b"200"] * 4, b"401")


async def test_only_heads_of_known_keys_are_kept(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    remember = Heads.remember

    def noted(self: Heads, data: bytes, request: Request) -> None:
        remember(self, data, request)
        kept.extend(self._known)

    monkeypatch.setattr(Heads, "remember", noted)
    body = b'{"query": "SELECT 1"}'
    strange = post(proxy, body, token="cmb_" + "0" * 16 + "_" + "0" * 64)
    large = post(proxy, body, "X: " + "a" * heads.HEAD_BYTES_MAX)
    answers = await talk(proxy, strange, large, *(post(proxy, body, f"X: {number}") for number in range(20)))

    assert [answer[9:12] for answer in answers] == [b"401"] + [b"200"] * 21
    assert kept and all(b"X: " in head and len(head) <= heads.HEAD_BYTES_MAX for head in kept)


async def test_a_head_is_known_over_a_new_connection(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd comes over new ones; but what ends its connection with the first answer stays what it is."""
    found: list[bool] = []
    repeated = Heads.repeated

    def noted(self: Heads, data: bytes, peer: str) -> Request | None:
        request = repeated(self, data, peer)
        found.append(request is not None)
        return request

    monkeypatch.setattr(Heads, "repeated", noted)
    fine = post(proxy, b'{"query": "SELECT 1 AS n"}')
    old = fine.replace(b"HTTP/1.1", b"HTTP/1.0")
    answers = [await talk(proxy, fine) for _ in range(3)] + [[await raw(proxy, old)] for _ in range(2)]

    assert found == [False, True, True, False, False]
    assert [b'"n":1' in answer for [answer] in answers] == [True] * 5


def test_a_known_head_says_nothing_of_where_it_came_from() -> None:
    known = Heads()
    ours = Request(b"POST", "/query", {b"content-length": b"2"}, "192.0.2.1")
    ours.key, ours.shown, ours.body = KEY, (Shown("id", b"proof"), "192.0.2.1"), b"{}"
    data = b"POST /query HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    known.remember(data, ours)
    here, elsewhere = known.repeated(data, "192.0.2.1"), known.repeated(data, "192.0.2.2")

    assert here is not None and elsewhere is not None
    assert (here.peer, here.shown) == ("192.0.2.1", ours.shown)
    assert (elsewhere.peer, elsewhere.shown) == ("192.0.2.2", None)
    assert here.key is elsewhere.key is None


def test_heads_are_bounded_and_the_latest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEADS_MAX", 10)
    known = Heads()

    def seen(number: int) -> bool:
        data = b"POST /%d HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}" % number
        if known.repeated(data, "") is not None:
            return True
        request = Request(b"POST", f"/{number}", {b"content-length": b"2"}, "")
        request.key, request.body = KEY, b"{}"
        known.remember(data, request)
        return False

    again = [(seen(0), seen(number))[0] for number in range(1, 100)]

    assert again == [False] + [True] * 98
    assert not seen(50)
    assert len(known._known) + len(known._older) <= 20


async def test_bodies_are_cut_by_their_own_length(proxy: Running) -> None:
    """A known head before less, more, or several bodies says nothing about them."""
    first, second = b'{"query": "SELECT 1 AS n"}', b'{"query": "SELECT 2 AS n"}'
    start = head(proxy, len(first))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    found = b""
    for pieces in (
        (start + first,),
        (start + first,),
        (start + first[:5], first[5:]),
        (start[:20], start[20:] + second),
    ):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.05)
        found += await asyncio.wait_for(reader.read(65_536), 10)
    writer.write((start + first + start + second) * 3 + start.replace(b"Host", b"Connection: close\r\nHost") + second)
    found += await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert b"".join(re.findall(rb'"n":([0-9])', found)) == b"1112" + b"121212" + b"2"


async def test_a_small_answer_that_grows_is_still_capped(proxy: Running) -> None:
    """Once it was a few rows it is taken whole; what then comes is held against the caps all the same."""
    assert len(await proxy.rows(ROWS, 3)) == len(await proxy.rows(ROWS, 3)) == len(await proxy.rows(ROWS, 3)) == 3
    many = await proxy.ask(ROWS, 3_000)
    too_many = await proxy.ask(ROWS, 10_001)
    again = [len(await proxy.rows(ROWS, 3)) for _ in range(3)]
    endless = await proxy.ask(ROWS, 1_000_000)

    assert (many.status_code, many.json()["rowCount"]) == (200, 3_000)
    assert (too_many.status_code, endless.status_code) == (413, 413)
    assert again == [3] * 3
    assert (await proxy.ask(ROWS, 3)).status_code == 200


async def test_what_goes_wrong_on_the_straight_way_ends_there(
    proxy: Running, hand: psycopg.Connection, superuser: psycopg.Connection, begun: list[object]
) -> None:
    """A deadline, and a server that ends the session."""
    pairs = "SELECT count(*) AS n FROM generate_series(1, $1::bigint) AS a, generate_series(1, $1::bigint) AS b"
    for _ in range(3):
        assert await proxy.rows(pairs, 2) == [{"n": 4}]
    proxy.services.deadline_s = 0.3
    late = await proxy.ask(pairs, 100_000)
    is_straight = isinstance(begun[-1], Errand)
    await proxy.until(lambda: not proxy.backends(hand, "active"), "it was cancelled")
    proxy.services.deadline_s = 10.0
    for _ in range(3):
        assert await proxy.rows(pairs, 2) == [{"n": 4}]
    task = asyncio.create_task(proxy.ask(pairs, 100_000))
    await proxy.until(lambda: bool(proxy.backends(hand, "active")), "it runs")
    for pid in proxy.backends(hand):
        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])
    ended = await task

    assert is_straight and isinstance(begun[-1], Errand)
    assert (late.status_code, ended.status_code) == (504, 503)
    assert await proxy.rows(pairs, 2) == [{"n": 4}]
    assert proxy.services.pools.stats().busy == 0


async def test_a_client_that_leaves_stops_its_statement(proxy: Running, hand: psycopg.Connection) -> None:
    limited = await proxy.make_key(reads=("personas",), limits=Limits(concurrency=1))
    slow = "SELECT count(*) AS n FROM generate_series(1, $1::bigint) AS a, generate_series(1, $1::bigint) AS b"
    body = b'{"query": "%b", "parameters": [2]}' % slow.encode()
    await talk(proxy, *[post(proxy, body, token=limited.token)] * 3)
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(post(proxy, body.replace(b"[2]", b"[100000]"), token=limited.token))
    await proxy.until(lambda: len(backends_of(hand, limited.line.role, "active")) == 1, "it runs")
    writer.close()
    await proxy.until(lambda: not backends_of(hand, limited.line.role, "active"), "it was cancelled")
    await proxy.until(lambda: proxy.records[-1].status == 499, "its line is written")
    [after] = await talk(proxy, post(proxy, body, token=limited.token))

    assert after.startswith(b"HTTP/1.1 200")
    assert proxy.services.limits._uses[limited.id].running == 0


async def test_errors_come_back_by_both_ways_alike(proxy: Running) -> None:
    divide = "SELECT 1 / $1::int AS n"
    fine = [(await proxy.ask(divide, 1)).json()["rows"] for _ in range(3)]
    failed = await proxy.ask(divide, 0)
    neon = await proxy.post("/sql", {"query": divide, "params": ["0"]})
    conflict = "INSERT INTO things (id, word) VALUES ($1, $2)"
    made = [(await proxy.ask(conflict, 200 + n, f"new {n}")).status_code for n in range(3)]
    twice = await proxy.ask(conflict, 200, "again")

    assert fine == [[{"n": 1}]] * 3
    assert (failed.status_code, failed.json()["sqlstate"]) == (400, "22012")
    assert (neon.status_code, neon.json()["code"]) == (400, "22012")
    assert made == [200] * 3
    assert (twice.status_code, twice.json()["constraint"]) == (409, "things_pkey")


async def test_s05_a_crowd_is_refused_before_anything_is_done_for_it(
    proxy: Running, hand: psycopg.Connection, begun: list[object]
) -> None:
    """With everybody busy and the queue full, also those who asked for Neon's shape are told at once."""
    assert await proxy.value("SELECT 1") == 1
    clients = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(60)]
    body = b'{"query": "%b"}' % SLOW.encode()
    for _, writer in clients:
        writer.write(post(proxy, body))
    await proxy.until(lambda: len(proxy.records) >= 60 - proxy.services.pools.crowd_max, "the rest is refused")
    [plain] = await talk(proxy, post(proxy, b'{"query": "SELECT 1"}'))
    [neon] = await talk(proxy, post(proxy, b'{"query": "SELECT 1"}', path="/sql"))
    for _, writer in clients:
        writer.close()
    await proxy.until(lambda: proxy.services.pools.stats().busy == 0, "all have left")

    assert plain.startswith(b"HTTP/1.1 503") and b"retry-after: 1\r\n" in plain and b'"code":"overloaded"' in plain
    assert neon.startswith(b"HTTP/1.1 503") and b"retry-after: 1\r\n" in neon and b'"code":"53300"' in neon
    assert {record.sqlstate for record in proxy.records if record.status == 503} == {"53300"}
    assert {record.key for record in proxy.records} == {proxy.token.split("_")[1]}
    assert await proxy.value("SELECT 2") == 2


async def test_s05_logins_of_a_crowd_come_one_by_one(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes milliseconds in which nobody hears anything; the crowd still gets the whole pool in the end."""
    monkeypatch.setattr(pools, "LOGIN_PAUSE_S", 0.05)
    crowd = proxy.services.pools
    log_in, loop = Link.open, asyncio.get_running_loop()
    is_enough = asyncio.Event()
    begun: list[tuple[int, float]] = []
    ended: list[float] = []

    async def noted(dsn: str, role: str, deadlines: Deadlines) -> Link:
        begun.append((len(begun) - len(ended), loop.time()))
        link = await log_in(dsn, role, deadlines)
        ended.append(loop.time())
        if len(ended) == crowd.stats().limit:
            is_enough.set()
        return link

    async def hold() -> None:
        async with crowd.lease(proxy.role):
            await asyncio.wait_for(is_enough.wait(), 10)

    monkeypatch.setattr(Link, "open", noted)
    await asyncio.gather(*(hold() for _ in range(16)))

    assert [others for others, _ in begun] == [0, 1, 0, 0]
    assert all(at - before >= 0.04 for (_, at), before in zip(begun[2:], ended[1:], strict=False))
    assert crowd.stats().idle == 4


async def test_answers_carry_their_date(proxy: Running) -> None:
    fine = await proxy.ask("SELECT 1")
    refused = await raw(proxy, b"nonsense\r\n\r\n")

    assert parsedate_to_datetime(fine.headers["date"]).tzinfo is not None
    assert re.search(rb"\r\ndate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n", refused)
