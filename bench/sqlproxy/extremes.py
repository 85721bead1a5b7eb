"""What has no peer: a million rows in constant memory, a rush on a small pool, a batch beside a single statement."""

import contextlib
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator

import psycopg
from bench.sqlproxy import house as houses
from bench.sqlproxy import load
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from callmeback.pg.server import near_dsn

ROWS = 1_000_000
CLIENTS = 1_000
BATCH = 10
TURNS, REPEATS = 5, 100
SAMPLE_S = 0.01
MIB = 1 << 20
# About 20 ms of a core: enough that a thousand of them are far more than what may wait.
BUSY = "SELECT count(*) AS n FROM generate_series(1, 100000) AS n"
MANY = f"SELECT n, n * 2 AS twice, repeat('x', 20) AS text FROM generate_series(1, {ROWS}) AS n"
BRACKETS = ((b"begin", "BEGIN"), (b"commit", "COMMIT"))
ONE = "SELECT available_credits FROM user_credits WHERE user_id = $1"


def measure(house: houses.House) -> dict[str, object]:
    # The stream first, while the process has not grown by other work.
    figures = {**stream(house.proxy), **batch(house)}
    with houses.small(house) as proxy:
        figures.update(rush(proxy))
    print(f"extremes: {figures}", file=sys.stderr, flush=True)
    return figures


def batch(house: houses.House) -> dict[str, object]:
    """Milliseconds of a batch of ten, of a batch of one and of a query: at the client, in the database alone, and the
    same pipelines straight over libpq, as the owner and without row-level security: the least that a batch can take.
    """

    def of(count: int) -> bytes:
        queries = [{"query": ONE, "parameters": [str(number)]} for number in range(1, count + 1)]
        return load.post("/batch", proxy.key, json.dumps({"queries": queries}).encode())

    proxy = house.proxy
    single = load.post("/query", proxy.key, json.dumps({"query": ONE, "parameters": ["1"]}).encode())
    works = (("ten", of(BATCH), BATCH), ("one", of(1), 1), ("query", single, 0))
    client, server, bare = ({name: list[float]() for name, *_ in works} for _ in range(3))
    dsn = near_dsn(house.home, house.endpoint.owner_dsn) or house.endpoint.owner_dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, text in (*BRACKETS, (b"one", ONE)):
            connection.pgconn.prepare(name, text.encode())
        for _ in range(TURNS):
            for name, request, statements in works:
                for taken, in_database in load.timed(proxy.port, request, REPEATS):
                    client[name].append(taken)
                    server[name].append(in_database)
                bare[name] += [pipeline(connection.pgconn, statements) for _ in range(REPEATS)]
    figures: dict[str, object] = {}
    for place, found in (("client", client), ("server", server), ("libpq", bare)):
        middle = {name: statistics.median(taken) for name, taken in found.items()}
        figures |= {f"batch_{name}_{place}_ms": round(taken, 3) for name, taken in middle.items()}
        figures[f"batch_ten_to_one_{place}"] = round(middle["ten"] / middle["one"], 3)

    return figures


def pipeline(pgconn: PGconn, statements: int) -> float:
    """Milliseconds from the sending of this many statements in a transaction to the last answer; 0: one without it."""
    names = [b"begin", *[b"one"] * statements, b"commit"] if statements else [b"one"]
    pgconn.enter_pipeline_mode()
    for name in names:
        pgconn.send_query_prepared(name, [b"1"] if name == b"one" else [])
    at = time.perf_counter()
    pgconn.pipeline_sync()
    while (result := pgconn.get_result()) is None or result.status != ExecStatus.PIPELINE_SYNC:
        pass
    taken = 1_000 * (time.perf_counter() - at)
    pgconn.exit_pipeline_mode()

    return taken


def stream(proxy: houses.Process) -> dict[str, object]:
    """Added memory of the process while a million rows go through it, read as fast as they come."""
    body = json.dumps({"query": MANY, "parameters": []}).encode()
    before = load.memory_bytes(proxy.pid)
    begun, lines, size, tail = time.perf_counter(), 0, 0, b""
    with highest(proxy.pid) as peak, load.connect(proxy.port) as link:
        link.sendall(load.post("/query", proxy.key, body, "Accept: application/x-ndjson", "Connection: close"))
        while data := link.recv(load.CHUNK_BYTES):
            lines, size, tail = lines + data.count(b"\n"), size + len(data), (tail + data)[-1_000:]
    seconds = time.perf_counter() - begun
    if lines < ROWS or f'"rowCount":{ROWS}'.encode() not in tail:
        raise SystemExit(f"the stream ended after {lines} lines: {tail!r}")

    return {
        "ndjson_rows": ROWS,
        "ndjson_added_mib": round((peak[0] - before) / MIB, 1),
        "ndjson_seconds": round(seconds, 2),
        "ndjson_mib": round(size / MIB, 1),
    }


def rush(proxy: houses.Process) -> dict[str, object]:
    """A thousand clients at once: who is let in stays under the deadline, who isn't is told at once."""
    busy = load.post("/query", proxy.key, json.dumps({"query": BUSY, "parameters": []}).encode())
    answers = load.rush(proxy.port, busy, CLIENTS)
    admitted = [1_000 * answer.seconds for answer in answers if answer.status == b"200"]
    refused = [1_000 * answer.seconds for answer in answers if answer.status == b"503"]
    cheap = load.post("/query", proxy.key, json.dumps({"query": ONE, "parameters": ["1"]}).encode())
    [(after, _)] = load.timed(proxy.port, cheap, 1)

    return {
        "rush_clients": CLIENTS,
        "rush_pool": houses.SMALL_POOL,
        "rush_answers": load.counted(answers),
        "rush_admitted_ms_max": round(max(admitted, default=0.0), 1),
        "rush_refused_ms_max": round(max(refused, default=0.0), 1),
        "rush_refused_ms_p99": round(statistics.quantiles(refused, n=100)[98], 1) if len(refused) > 1 else 0.0,
        "rush_next_ms": round(after, 1),
    }


@contextlib.contextmanager
def highest(pid: int) -> Iterator[list[int]]:
    """The most memory that a process has meanwhile."""
    peak, over = [load.memory_bytes(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            peak[0] = max(peak[0], load.memory_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
