"""The three queues: how each is made, given a future and a backlog, and who claims from it."""

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psycopg
from bench.peers import Peers

from callmeback.pg import migrate

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
CLAIMERS = 4
PATIENCE_S = 120.0
LOCK = HERE / "peers.txt"
PEERS = Peers(
    "schedules",
    "procrastinate and pgqueuer",
    ("--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)),
    LOCK,
)

# Everybody has one call to come and some are due; the rows are as they would be made one by one.
OUR_PEOPLE = """
INSERT INTO users (id, email, password_hash)
SELECT 'user_' || n, 'user_' || n || '@example.org', 'x' FROM generate_series(0, 9999) AS n
"""
OUR_CALLS = """
INSERT INTO scheduled_calls (
    id, user_id, persona_id, phone_number, scheduled_time, latest_start_at, promised_at
)
SELECT
    'sch_' || %(prefix)s || lpad(n::text, 8, '0'), 'user_' || n %% 10000, 'brad', '+12025550100', t.at,
    t.at + interval '15 minutes', t.at
FROM generate_series(1, %(rows)s) AS n, LATERAL (SELECT now() + %(begin)s::interval + n * interval '2 ms' AS at) AS t
"""
PROCRASTINATE_JOBS = """
INSERT INTO procrastinate_jobs (queue_name, task_name, scheduled_at)
SELECT 'calls', 'call', now() + %(begin)s::interval + n * interval '2 ms' FROM generate_series(1, %(rows)s) AS n
"""
PGQUEUER_JOBS = """
INSERT INTO pgqueuer (priority, created, updated, heartbeat, execute_after, status, entrypoint)
SELECT 0, now(), now(), now(), now() + %(begin)s::interval + n * interval '2 ms', 'queued', 'calls'
FROM generate_series(1, %(rows)s) AS n
"""


class Queue(msgspec.Struct, frozen=True):
    """A queue in a database of its own. `table` is the one that holds its rows."""

    name: str
    dsn: str
    table: str
    load: str
    command: tuple[str, ...]

    def fill(self, rows: int, begin: str) -> None:
        """Add so many rows, two milliseconds apart, from an interval after now on."""
        values = {"rows": rows, "begin": begin, "prefix": f"{time.time_ns() // 1_000_000}_"}
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            # Triggers and foreign keys cost the loader, not the claimer.
            connection.execute("SET session_replication_role = replica")
            connection.execute(self.load.encode(), {key: values[key] for key in values if f"%({key})s" in self.load})

    def settle(self) -> None:
        """As after a while of service."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(f"VACUUM ANALYZE {self.table}".encode())

    def rate(self, seconds: float) -> float:
        """Claims with completion a second of four claimers, started together."""
        begun = time.monotonic()
        claimers = [
            subprocess.Popen([*self.command, self.dsn, str(seconds)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
            for _ in range(CLAIMERS)
        ]
        done = 0
        for claimer in claimers:
            said, _ = claimer.communicate(timeout=PATIENCE_S)
            if claimer.returncode != 0:
                raise SystemExit(f"a claimer of {self.name} failed")
            done += int(said)
        assert time.monotonic() - begun >= seconds or done, self.name

        return done / seconds


def ours(superuser_dsn: str, name: str, future: int) -> Queue:
    """Our schema with so many calls to come."""
    dsn = create(superuser_dsn, name)
    migrate.apply(dsn)
    queue = Queue(name, dsn, "scheduled_calls", OUR_CALLS, (sys.executable, "-m", "bench.schedules.claimer"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(OUR_PEOPLE.encode())
    queue.fill(future, "1 day")

    return queue


def peer(superuser_dsn: str, name: str, future: int) -> Queue:
    """A peer's schema, by its own installer, with so many jobs to come."""
    dsn = create(superuser_dsn, name)
    program = (str(PEERS.python), str(HERE / f"peer_{name}.py"))
    subprocess.run([*program, dsn, "install"], check=True, timeout=PATIENCE_S)
    table, load = {
        "procrastinate": ("procrastinate_jobs", PROCRASTINATE_JOBS),
        "pgqueuer": ("pgqueuer", PGQUEUER_JOBS),
    }[name]
    queue = Queue(name, dsn, table, load, program)
    queue.fill(future, "1 day")

    return queue


def create(superuser_dsn: str, name: str) -> str:
    """A database of this name; its address."""
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())

    return f"{superuser_dsn.rpartition('/')[0]}/{name}"
