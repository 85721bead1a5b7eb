"""The claim `api`: requests a second, p99 and CPU per request of the web process that `callmeback up` starts.

Works over keep-alive connections: `health` and `personas`, reads without a login; `credits`, one whose session is
checked on every request; `place`, POST /api/calls, a whole call written with its hold, each by another person. The
peer is FastAPI over asyncpg, which answers the first two from the same database (`peer_fastapi.py`). Five interleaved
rounds, medians, one line of JSON at the end.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg
from bench.peers import Peers
from bench.start.__main__ import ROOT, is_ready

from callmeback.domain import tokens
from callmeback.pg import roles, server

ROUNDS = 5
SECONDS = 4.0
WARM_UP_SECONDS = 1.0
CONNECTIONS = 16
PEOPLE = 30_000
PATIENCE_S = 90.0
POLL_S = 0.05
SECRET = "bench-secret" * 4
ROLE_SECRET = "bench-roles" * 4
HERTZ = os.sysconf("SC_CLK_TCK")
PEERS = Peers(
    "fastapi",
    "FastAPI",
    ("fastapi==0.165.0", "asyncpg==0.32.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0"),
)


class Process(msgspec.Struct, frozen=True):
    """A web process that answers on the loopback."""

    port: int
    pid: int


class Work(msgspec.Struct):
    """What is sent to whom: the n-th request as bytes, and the status that answers it."""

    name: str
    process: Process
    request: Callable[[int], bytes]
    status: bytes
    next: int = 0


class Round(msgspec.Struct, frozen=True):
    """One round of one work."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def main() -> None:
    missing = PEERS.install()
    home = Path(tempfile.mkdtemp(prefix="callmeback-api-"))
    home.chmod(0o711)
    try:
        with contextlib.ExitStack() as stack:
            ours, dsn = stack.enter_context(house(home / "home"))
            people(dsn)
            works = [
                Work("health", ours, lambda _: get("/health"), b"200"),
                Work("personas", ours, lambda _: get("/api/personas"), b"200"),
                Work("credits", ours, lambda n: get("/api/credits", token(n % 100)), b"200"),
                Work("place", ours, lambda n: post("/api/calls", token(n), b'{"persona_id":"brad"}'), b"202"),
            ]
            if missing is None:
                theirs = stack.enter_context(peer(dsn))
                works += [
                    Work("fastapi_health", theirs, lambda _: get("/health"), b"200"),
                    Work("fastapi_personas", theirs, lambda _: get("/api/personas"), b"200"),
                ]
            rounds = measure(works)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report(rounds, missing)


def measure(works: list[Work]) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {work.name: [] for work in works}
    for work in works:
        asyncio.run(drive(work, WARM_UP_SECONDS))
    for number in range(ROUNDS):
        for work in works:
            found = asyncio.run(drive(work, SECONDS))
            rounds[work.name].append(found)
            print(
                f"round {number + 1} {work.name:>16}: {found.per_second:7.0f}/s  p99 {found.p99_ms:6.1f} ms  "
                f"{found.cpu_us:6.0f} µs CPU a request",
                file=sys.stderr,
                flush=True,
            )

    return rounds


def report(rounds: dict[str, list[Round]], missing: str | None) -> None:
    """The last line: how many times less CPU than FastAPI a request takes, and how many times more are answered."""

    def median(name: str, field: str) -> float:
        return float(statistics.median(getattr(found, field) for found in rounds[name]))

    figures: dict[str, object] = {
        f"{name}_{field}": round(median(name, field), 1)
        for name in rounds
        for field in ("per_second", "p50_ms", "p99_ms", "cpu_us")
    }
    ratios = {}
    for name in ("health", "personas") if missing is None else ():
        pairs = list(zip(rounds[name], rounds[f"fastapi_{name}"], strict=True))
        ratios[f"fastapi.{name}.cpu"] = statistics.median(peer.cpu_us / ours.cpu_us for ours, peer in pairs)
        ratios[f"fastapi.{name}.throughput"] = statistics.median(
            ours.per_second / peer.per_second for ours, peer in pairs
        )
    if missing is not None:
        figures["fastapi_missing"] = missing
    print(json.dumps({"claim": "api", "ratios": {k: round(v, 3) for k, v in ratios.items()}, "figures": figures}))


async def drive(work: Work, seconds: float) -> Round:
    """Ask over all connections for so long; each waits for its answer before it asks again."""
    taken: list[float] = []
    cpu, begun = cpu_seconds(work.process.pid), time.perf_counter()
    deadline = begun + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", work.process.port)
        while time.perf_counter() < deadline:
            number = work.next
            work.next += 1
            at = time.perf_counter()
            writer.write(work.request(number))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            taken.append(time.perf_counter() - at)
            if head.split(b" ", 2)[1] != work.status:
                raise SystemExit(f"{work.name}: {head!r} {body!r}")
        writer.close()

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    took = time.perf_counter() - begun
    used = cpu_seconds(work.process.pid) - cpu
    percents = statistics.quantiles(taken, n=100)

    return Round(len(taken) / took, 1_000 * percents[49], 1_000 * percents[98], 1_000_000 * used / len(taken))


def get(path: str, bearer: str = "") -> bytes:
    login = f"Authorization: Bearer {bearer}\r\n" if bearer else ""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{login}\r\n".encode()


def post(path: str, bearer: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {bearer}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def token(number: int) -> str:
    if number >= PEOPLE:
        raise SystemExit("more people are needed")
    return tokens.sign(SECRET, tokens.claims_for(f"user_bench_{number}", f"p{number}@example.org"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def people(dsn: str) -> None:
    """Accounts with a verified phone, and a carrier too slow to dial while we measure."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001")
        connection.execute(
            "SELECT register_user('user_bench_' || n, 'p' || n || '@example.org', 'x', NULL, 'UTC', "
            "'+1202' || (5550000000 + n)) FROM generate_series(0, %s) AS n",
            (PEOPLE - 1,),
        )
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("UPDATE users AS u SET phone = h.number FROM phones AS h WHERE h.user_id = u.id")
        connection.execute("VACUUM ANALYZE")


@contextlib.contextmanager
def house(home: Path) -> Iterator[tuple[Process, str]]:
    """A running `callmeback up`: its web process, and the owner's DSN."""
    port = free_port()
    environ = {
        **os.environ,
        "CALLMEBACK_HOME": str(home),
        "CALLMEBACK_BACKUP_SCHEDULE": "no",
        "CALLMEBACK_PORT": str(port),
        "CALLMEBACK_JWT_SECRET": SECRET,
        "CALLMEBACK_ROLE_SECRET": ROLE_SECRET,
        "PYTHONPATH": str(ROOT / "src"),
    }
    environ.pop("DATABASE_URL", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "callmeback", "up"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("`callmeback up` did not get ready")
            time.sleep(POLL_S)
        running = server.find(home)
        assert running is not None
        yield Process(port, web_process(process.pid)), running.owner_dsn
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def peer(dsn: str) -> Iterator[Process]:
    """The peer, running on the same database as the role that our requests have."""
    port, server_at = free_port(), urlsplit(dsn)
    login = f"{roles.API}:{roles.password(ROLE_SECRET, roles.API)}"
    address = f"postgresql://{login}@{server_at.hostname}:{server_at.port}{server_at.path}"
    command = [PEERS.python, Path(__file__).with_name("peer_fastapi.py"), str(port), address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the peer did not start")
            time.sleep(POLL_S)
        yield Process(port, process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def web_process(parent: int) -> int:
    """The child that serves."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"serve" in words and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    return int(entry.name)
    raise SystemExit("there is no web process")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / HERTZ


if __name__ == "__main__":
    main()
