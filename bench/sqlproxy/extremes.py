"""What has no peer: a million rows in constant memory, a rush on a small pool, a batch beside a single statement."""

import contextlib
import json
import statistics
import sys
import threading
import time
from collections.abc import Iterator

from bench.sqlproxy import house as houses
from bench.sqlproxy import load

ROWS = 1_000_000
CLIENTS = 1_000
BATCH = 10
TURNS, REPEATS = 5, 100
SAMPLE_S = 0.01
MIB = 1 << 20
# About 20 ms of a core: enough that a thousand of them are far more than what may wait.
BUSY = "SELECT count(*) AS n FROM generate_series(1, 100000) AS n"
MANY = f"SELECT n, n * 2 AS twice, repeat('x', 20) AS text FROM generate_series(1, {ROWS}) AS n"
ONE = "SELECT available_credits FROM user_credits WHERE user_id = $1"


def measure(house: houses.House) -> dict[str, object]:
    # The stream first, while the process has not grown by other work.
    figures = {**stream(house.proxy), **batch(house.proxy)}
    with houses.small(house) as proxy:
        figures.update(rush(proxy))
    print(f"extremes: {figures}", file=sys.stderr, flush=True)
    return figures


def batch(proxy: houses.Process) -> dict[str, object]:
    """Milliseconds of a batch of ten, of a batch of one and of a query: at the client, and in the database alone."""

    def of(count: int) -> bytes:
        queries = [{"query": ONE, "parameters": [str(number)]} for number in range(1, count + 1)]
        return load.post("/batch", proxy.key, json.dumps({"queries": queries}).encode())

    single = load.post("/query", proxy.key, json.dumps({"query": ONE, "parameters": ["1"]}).encode())
    client: dict[str, list[float]] = {"ten": [], "one": [], "query": []}
    server: dict[str, list[float]] = {"ten": [], "one": [], "query": []}
    for _ in range(TURNS):
        for name, request in (("ten", of(BATCH)), ("one", of(1)), ("query", single)):
            for taken, in_database in load.timed(proxy.port, request, REPEATS):
                client[name].append(taken)
                server[name].append(in_database)
    figures: dict[str, object] = {}
    for place, found in (("client", client), ("server", server)):
        middle = {name: statistics.median(taken) for name, taken in found.items()}
        figures |= {f"batch_{name}_{place}_ms": round(taken, 3) for name, taken in middle.items()}
        figures[f"batch_ten_to_one_{place}"] = round(middle["ten"] / middle["one"], 3)

    return figures


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
