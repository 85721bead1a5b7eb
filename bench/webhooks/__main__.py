"""The claim `webhooks`: paid checkouts a second that the web process applies, three deliveries in ten a repeat.

Signed events come over keep-alive connections, as the provider sends them; a repeat comes at the same moment as its
original, on another connection. The peer is a handler as guides write it (`peer_naive.py`), in the same framework, over
the same server. Five interleaved rounds; afterwards every purchase must have brought its credits exactly once.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
from bench.api.__main__ import PATIENCE_S, POLL_S, cpu_seconds, free_port, is_listening
from bench.month.__main__ import is_up
from bench.start.__main__ import ROOT

from callmeback.pg import home, migrate, roles, server

ROUNDS = 5
EVENTS = 1_200
WARM_UP_EVENTS = 200
CONNECTIONS = 16
REPEATED_OF_DELIVERIES = 0.3
PEOPLE = 2_000
CREDITS, CENTS = 25, 1499
SECRET = "whsec_" + "b" * 32
SEED = 20_261_125

OURS = """
SELECT register_user('user_w' || n, 'w' || n || '@example.org', 'x', NULL, 'UTC', NULL)
FROM generate_series(0, %(people)s - 1) AS n
"""
THEIRS = """
CREATE TABLE naive_users (id text PRIMARY KEY, credits integer NOT NULL DEFAULT 0);
CREATE TABLE naive_purchases (id text PRIMARY KEY, user_id text REFERENCES naive_users, credits integer, status text);
CREATE TABLE naive_transactions (
    id bigserial PRIMARY KEY, user_id text REFERENCES naive_users, amount integer, reference text,
    at timestamptz DEFAULT now()
);
CREATE TABLE naive_events (id text PRIMARY KEY, at timestamptz DEFAULT now());
"""


BEGIN_OURS = """
SELECT begin_purchase('user_w' || n %% %(people)s, 'pur_' || %(round)s || '_' || n, 'minutes_25')
FROM generate_series(1, %(count)s) AS n
"""
BEGIN_THEIRS = """
INSERT INTO naive_purchases (id, user_id, credits, status)
SELECT 'pur_' || %(round)s || '_' || n, 'user_w' || n %% %(people)s, %(credits)s, 'pending'
FROM generate_series(1, %(count)s) AS n
"""


class Web(msgspec.Struct, frozen=True):
    """A web process that takes webhooks."""

    name: str
    port: int
    pid: int


class Round(msgspec.Struct, frozen=True):
    """One round: different events and deliveries a second, and CPU of the web process a delivery."""

    events_per_second: float
    deliveries_per_second: float
    p99_ms: float
    cpu_us: float


def main() -> None:
    place = Path(tempfile.mkdtemp(prefix="callmeback-webhooks-"))
    place.chmod(0o711)
    os.environ.pop("DATABASE_URL", None)
    try:
        with server.start(place) as running, contextlib.ExitStack() as stack:
            secret = home.generated_secrets(place)["role_secret"]
            asyncio.run(roles.ensure(running.superuser_dsn, secret))
            migrate.apply(running.owner_dsn)
            with psycopg.connect(running.owner_dsn, autocommit=True) as hand:
                prepare(hand)
                webs = [
                    stack.enter_context(ours(running.owner_dsn, secret, place)),
                    stack.enter_context(peer(running.owner_dsn)),
                ]
                rounds = measure(hand, webs)
                report(rounds, hand)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def prepare(hand: psycopg.Connection) -> None:
    """People on both sides; the web process is granted nothing of the peer's tables, nor the peer of ours."""
    hand.execute(OURS, {"people": PEOPLE})
    hand.execute(THEIRS)
    hand.execute("INSERT INTO naive_users (id) SELECT 'user_w' || n FROM generate_series(0, %s) AS n", (PEOPLE - 1,))
    hand.execute("VACUUM ANALYZE")


@contextlib.contextmanager
def ours(dsn: str, role_secret: str, place: Path) -> Iterator[Web]:
    """`callmeback serve`."""
    port = free_port()
    environ = {
        **os.environ, "CALLMEBACK_HOME": str(place / "home"), "DATABASE_URL": dsn, "CALLMEBACK_PORT": str(port),
        "CALLMEBACK_ROLE_SECRET": role_secret, "STRIPE_API_KEY": "sk_test_bench", "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_BASE_URL": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT / "src"),
    }  # fmt: skip
    with running([sys.executable, "-m", "callmeback", "serve"], environ) as pid:
        await_(lambda: is_up(port))
        yield Web("ours", port, pid)


@contextlib.contextmanager
def peer(dsn: str) -> Iterator[Web]:
    """The handler as guides write it."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("peer_naive.py")), str(port), dsn, SECRET]
    with running(command, dict(os.environ)) as pid:
        await_(lambda: is_listening(port))
        yield Web("naive", port, pid)


@contextlib.contextmanager
def running(command: list[str], environ: dict[str, str]) -> Iterator[int]:
    """A program, ended with the block."""
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def await_(is_there: Callable[[], bool]) -> None:
    """Wait for a process to listen."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_there():
        if time.monotonic() > deadline:
            raise SystemExit("a web process did not start")
        time.sleep(POLL_S)


def measure(hand: psycopg.Connection, webs: list[Web]) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {web.name: [] for web in webs}
    for number in range(ROUNDS + 1):
        for web in webs:
            count = EVENTS if number else WARM_UP_EVENTS
            found = asyncio.run(drive(web, deliveries(hand, web, number, count), count))
            if number:
                rounds[web.name].append(found)
                print(
                    f"round {number} {web.name:>6}: {found.events_per_second:6.0f} events/s in "
                    f"{found.deliveries_per_second:6.0f} deliveries/s  p99 {found.p99_ms:6.1f} ms  "
                    f"{found.cpu_us:6.0f} µs CPU a delivery",
                    file=sys.stderr,
                    flush=True,
                )

    return rounds


def deliveries(hand: psycopg.Connection, web: Web, number: int, count: int) -> list[bytes]:
    """Requests in the order in which they are sent: a repeat stands right behind its original."""
    chance = random.Random(SEED + number)
    people = {"people": PEOPLE, "round": number, "count": count, "credits": CREDITS}
    hand.execute(BEGIN_OURS if web.name == "ours" else BEGIN_THEIRS, people)
    repeats = round(count * REPEATED_OF_DELIVERIES / (1 - REPEATED_OF_DELIVERIES))
    repeated = set(chance.sample(range(1, count + 1), repeats))
    now = int(time.time())
    sent: list[bytes] = []
    for n in range(1, count + 1):
        sent += [request(number, n, now)] * (2 if n in repeated else 1)

    return sent


def request(number: int, n: int, now: int) -> bytes:
    """A signed event that a checkout of a pack was paid, as large as they are."""
    name = f"{number}_{n}"
    session = {
        "object": "checkout.session", "id": f"cs_{name}", "mode": "payment", "status": "complete",
        "payment_status": "paid", "amount_total": CENTS, "amount_subtotal": CENTS, "currency": "usd",
        "payment_intent": f"pi_{name}", "customer": f"cus_{n % PEOPLE}", "livemode": False, "locale": None,
        "metadata": {"user_id": f"user_w{n % PEOPLE}", "reference": f"pur_{name}", "purpose": "pack"},
        "success_url": "https://call.example.com/credits?paid={CHECKOUT_SESSION_ID}", "url": None,
        "customer_details": {"email": f"w{n % PEOPLE}@example.org", "name": "Somebody", "phone": None, "address": None},
        "payment_method_types": ["card"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    }  # fmt: skip
    event = {
        "id": f"evt_{name}", "object": "event", "type": "checkout.session.completed", "created": now, "livemode": False,
        "api_version": "2026-10-28.endive", "pending_webhooks": 1, "request": {"id": None, "idempotency_key": None},
        "data": {"object": session},
    }  # fmt: skip
    body = json.dumps(event, indent=2).encode()
    digest = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    head = (
        f"POST /webhooks/stripe HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Stripe-Signature: t={now},v1={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    return head.encode() + body


async def drive(web: Web, sent: list[bytes], events: int) -> Round:
    """Send it all over CONNECTIONS; each waits for its answer before it sends the next."""
    taken: list[float] = []
    queue = iter(sent)
    cpu, begun = cpu_seconds(web.pid), time.perf_counter()

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
        for content in queue:
            at = time.perf_counter()
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            taken.append(time.perf_counter() - at)
            if head.split(b" ", 2)[1] != b"200":
                raise SystemExit(f"{web.name}: {head!r} {body!r}")
        writer.close()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    took = time.perf_counter() - begun
    used = cpu_seconds(web.pid) - cpu

    return Round(
        events / took, len(sent) / took, 1_000 * statistics.quantiles(taken, n=100)[98], 1e6 * used / len(sent)
    )


def report(rounds: dict[str, list[Round]], hand: psycopg.Connection) -> None:
    """The last line. Whatever was credited twice, or not at all, fails the bench where it is ours."""

    def median(name: str, field: str) -> float:
        return round(float(statistics.median(getattr(found, field) for found in rounds[name])), 1)

    def number(sql: str) -> int:
        row = hand.execute(sql).fetchone()
        assert row is not None
        return int(row[0])

    wrong = number(
        "SELECT count(*) FROM purchases AS x LEFT JOIN credit_transactions AS t ON t.user_id = x.user_id"
        " AND t.cause = 'purchase:' || x.id WHERE x.status <> 'completed' OR t.amount IS DISTINCT FROM x.credits"
    )
    wrong += number("SELECT count(*) FROM ledger_proof WHERE NOT is_proved")
    twice = number("SELECT count(*) - count(DISTINCT reference) FROM naive_transactions")
    pairs = list(zip(rounds["ours"], rounds["naive"], strict=True))
    figures = {
        f"{name}_{field}": median(name, field)
        for name in rounds
        for field in ("events_per_second", "deliveries_per_second", "p99_ms", "cpu_us")
    }
    ratios = {
        "naive.throughput": statistics.median(a.events_per_second / b.events_per_second for a, b in pairs),
        "naive.cpu": statistics.median(b.cpu_us / a.cpu_us for a, b in pairs),
    }
    figures |= {"ours_wrong": wrong, "naive_credited_twice": twice}
    print(json.dumps({"claim": "webhooks", "ratios": {k: round(v, 3) for k, v in ratios.items()}, "figures": figures}))
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
