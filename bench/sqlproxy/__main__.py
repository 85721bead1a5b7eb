"""The claim `sqlproxy`: CPU of the proxy process and requests a second, beside Express, Fastify and bare libpq.

Works: `point_read`, `join20`, `rows1000`, `insert`, each POST /query with a bearer key over 16 keep-alive connections,
with the whole policy path on (`works.py`). Nine interleaved rounds, medians of each round's ratio. Before them what has
no peer: a million rows streamed, a batch of ten beside one, a rush of a thousand clients on a pool of ten. The very
last line is one object of JSON.
"""

import contextlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.sqlproxy import extremes, install, load, works
from bench.sqlproxy import house as houses

ROUNDS = 9
SECONDS = 1.5
WARM_UP_SECONDS = 0.5
PEERS = ("express", "fastify")

Rounds = dict[tuple[str, str], list[load.Round]]
Driver = Callable[[works.Work, float], load.Round]


def main() -> None:
    missing = install.install()
    place = Path(tempfile.mkdtemp(prefix="callmeback-sqlproxy-"))
    place.chmod(0o711)
    try:
        with contextlib.ExitStack() as stack:
            house = stack.enter_context(houses.house(place / "home"))
            floor = stack.enter_context(houses.floor(house))
            drivers = {"ours": http(house.proxy), "floor": http(floor), "libpq": libpq(house, place)}
            for name in PEERS if missing is None else ():
                drivers[name] = http(stack.enter_context(houses.peer(name, house.endpoint.owner_dsn)))
            figures = extremes.measure(house)
            rounds = measure(drivers)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if missing is not None:
        figures["peers_missing"] = missing
    report(rounds, figures)


def http(process: houses.Process) -> Driver:
    return lambda work, seconds: load.drive(process.port, process.pid, work.requests(process.key), seconds)


def libpq(house: houses.House, place: Path) -> Driver:
    bench = houses.Pgbench(house.endpoint, place)
    return lambda work, seconds: bench.drive(work.script(), {"name": works.NAME, "text": works.TEXT}, seconds)


def measure(drivers: dict[str, Driver]) -> Rounds:
    rounds: Rounds = {(work.name, name): [] for work in works.WORKS for name in drivers}
    for work in works.WORKS:
        for drive in drivers.values():
            drive(work, WARM_UP_SECONDS)
    for number in range(ROUNDS):
        for work in works.WORKS:
            for name, drive in drivers.items():
                found = drive(work, SECONDS)
                rounds[work.name, name].append(found)
                print(
                    f"round {number + 1} {work.name:>10} {name:>8}: {found.per_second:7.0f}/s  "
                    f"p99 {found.p99_ms:6.1f} ms  {found.cpu_us:6.1f} µs CPU a request",
                    file=sys.stderr,
                    flush=True,
                )

    return rounds


def report(rounds: Rounds, figures: dict[str, object]) -> None:
    """The last line: how many times less CPU than the peer a request takes, and how many times more are answered."""
    ratios = {}
    for (work, name), found in rounds.items():
        for field in ("per_second", "p99_ms", "cpu_us"):
            figures[f"{name}_{work}_{field}"] = round(statistics.median(getattr(one, field) for one in found), 1)
        if name != "ours":
            pairs = list(zip(rounds[work, "ours"], found, strict=True))
            ratios[f"{name}.{work}.cpu"] = statistics.median(peer.cpu_us / ours.cpu_us for ours, peer in pairs)
            ratios[f"{name}.{work}.rps"] = statistics.median(ours.per_second / peer.per_second for ours, peer in pairs)
    print(json.dumps({"claim": "sqlproxy", "ratios": {k: round(v, 3) for k, v in ratios.items()}, "figures": figures}))


if __name__ == "__main__":
    main()
