"""The claim `money`: five interleaved rounds of pgbench on one server of its own, then one line of JSON.

`tpcb.whole_call` is our whole calls a second (start and finish, all guards, two commits) ÷ TPC-B's transactions a
second (one commit, scale 20); `specification.whole_call` the same ÷ the specification's six unsafe statements. The
server is `pg/server.py`'s, with its settings, durable; pgbench runs prepared statements with eight clients in two
threads. Everybody logs in as the same ordinary role: a superuser skips checks that an application pays for. Each work
begins once the WAL of the one before is archived, so that nobody pays for another's.
"""

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from callmeback.pg import home, migrate, roles, server

HERE = Path(__file__).parent
ROUNDS = 5
SECONDS = 12
WARM_UP_SECONDS = 3
CLIENTS = 8
SCALE = 20
BATCH = 30
COMMAND_SECONDS_MAX = 300
ARCHIVE_SECONDS_MAX = 60
ARCHIVE_PAUSE_S = 0.2
WAITING = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"


class Bench:
    """The programs beside a running server, and how to reach its databases."""

    def __init__(self, endpoint: server.Endpoint) -> None:
        self._programs = endpoint.programs
        self.superuser = endpoint.superuser_dsn
        self.owner = endpoint.owner_dsn

    def in_database(self, dsn: str, name: str) -> str:
        return f"{dsn.rpartition('/')[0]}/{name}"

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{program} failed: {done.stderr[-2_000:]}")
        return done.stdout

    def script(self, dsn: str, name: str) -> None:
        self.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(HERE / name), dsn)

    def settle(self) -> None:
        """Wait until what was written before is archived."""
        deadline = time.monotonic() + ARCHIVE_SECONDS_MAX
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            while connection.execute(WAITING).fetchone() != (0,) and time.monotonic() < deadline:
                time.sleep(ARCHIVE_PAUSE_S)

    def rate(self, dsn: str, script: str | None, seconds: int = SECONDS) -> float:
        """Transactions a second; `None` is TPC-B."""
        which = ["-b", "tpcb-like"] if script is None else ["-f", str(HERE / script)]
        # A number of this run, so that ids never repeat; scripts count on from it.
        seed = str(int(time.time()) % 10_000_000)
        said = self.run(
            "pgbench", "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds),
            "-D", "n=0", "-D", f"r={seed}", *which, dsn,
        )  # fmt: skip
        failed = re.search(r"number of failed transactions: (\d+)", said)
        if failed is None or failed[1] != "0":
            raise SystemExit(f"{script or 'tpcb'}: transactions failed")
        found = re.search(r"tps = ([0-9.]+)", said)
        assert found is not None, said

        return float(found[1])


def main() -> None:
    place = Path(tempfile.mkdtemp(prefix="callmeback-money-"))
    place.chmod(0o711)
    os.environ.pop("DATABASE_URL", None)
    try:
        with server.start(place) as running:
            asyncio.run(roles.ensure(running.superuser_dsn, home.generated_secrets(place)["role_secret"]))
            print(json.dumps(measure(Bench(running.endpoint))))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def prepare(bench: Bench) -> tuple[str, str, str]:
    """Our database, TPC-B's and the specification's."""
    migrate.apply(bench.owner)
    bench.script(bench.owner, "our_accounts.sql")
    bench.script(bench.owner, "our_live_calls.sql")
    with psycopg.connect(bench.superuser, autocommit=True) as connection:
        connection.execute("CREATE DATABASE tpcb OWNER callmeback_owner")
        connection.execute("CREATE DATABASE specification OWNER callmeback_owner")
    tpcb, peer = (bench.in_database(bench.owner, name) for name in ("tpcb", "specification"))
    bench.run("pgbench", "-i", "-q", "-s", str(SCALE), tpcb)
    bench.script(peer, "peer_schema.sql")

    return bench.owner, tpcb, peer


def measure(bench: Bench) -> dict[str, object]:
    ours, tpcb, peer = prepare(bench)
    works = {
        "whole_calls_per_second": (ours, "our_call.sql"),
        "tpcb_transactions_per_second": (tpcb, None),
        "specification_calls_per_second": (peer, "peer_call.sql"),
        "metering_statements_per_second": (ours, "our_meter.sql"),
        "hot_account_movements_per_second": (ours, "our_hot_account.sql"),
    }
    for dsn, script in works.values():
        # Plans made for empty tables scan them as they grow, until autovacuum has looked. A house that runs is beyond.
        bench.rate(dsn, script, WARM_UP_SECONDS)
    for dsn in (ours, tpcb, peer):
        bench.run("psql", "-X", "-q", "-c", "VACUUM ANALYZE", dsn)
    rounds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS):
        for name, (dsn, script) in works.items():
            bench.settle()
            rounds[name].append(bench.rate(dsn, script))
        latest = ", ".join(f"{name} {rates[-1]:.0f}" for name, rates in rounds.items())
        print(f"round {number + 1}: {latest}", flush=True)
    prove(ours)
    figures = {name: round(statistics.median(rates), 1) for name, rates in rounds.items()}
    figures["call_meters_per_second"] = figures["metering_statements_per_second"] * BATCH

    return {
        "claim": "money",
        "ratios": {
            "tpcb.whole_call": ratio(rounds, "tpcb_transactions_per_second"),
            "specification.whole_call": ratio(rounds, "specification_calls_per_second"),
        },
        "figures": figures,
    }


def ratio(rounds: dict[str, list[float]], peer: str) -> float:
    """The median of the rounds' own ratios, since the machine's speed drifts from one round to the next."""
    pairs = zip(rounds["whole_calls_per_second"], rounds[peer], strict=True)
    return round(statistics.median(mine / theirs for mine, theirs in pairs), 3)


def prove(dsn: str) -> None:
    """A fast bench that broke the books would be worth nothing."""
    with psycopg.connect(dsn) as connection:
        broken = connection.execute("SELECT count(*) FROM ledger_proof WHERE NOT is_proved").fetchone()
    if broken != (0,):
        raise SystemExit(f"{broken} accounts are not proved")


if __name__ == "__main__":
    main()
