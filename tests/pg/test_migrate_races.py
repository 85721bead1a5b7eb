"""Several runners at once, and runners that are killed: real processes against one database."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.conftest import Cluster
from tests.pg.files import Folder

from callmeback.pg import migrate

RUNNERS = 8
LATE_S = 60.0
RUN = """
import os, pathlib, sys
from callmeback.pg import migrate
for step in migrate.apply(os.environ["DSN"], directory=pathlib.Path(sys.argv[1]), lock_wait_s=60):
    print(step.file)
"""


def start(dsn: str, folder: Folder) -> subprocess.Popen[str]:
    package = Path(migrate.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, folder.path],
        env={"DSN": dsn, "PYTHONPATH": str(package), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LATE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Observer:
    """Looks at the database from outside."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def value(self, query: str) -> object:
        row = self._connection.execute(query.encode()).fetchone()
        return row[0] if row else None

    def runs(self, what: str) -> bool:
        found = self._connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
            "AND application_name = 'callmeback migrate' AND query LIKE %s",
            [f"%{what}%"],
        ).fetchone()
        return found != (0,)

    def lock_is_free(self) -> bool:
        # Tests in other databases of this server hold locks of their own.
        return (
            self.value(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            == 0
        )

    def waiting(self) -> object:
        """How many wait for a lock."""
        return self.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )


@pytest.fixture
def observer(empty_database_url: str) -> Iterator[Observer]:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        # Our own server is set to notice lost clients anyway; another one may not be.
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET client_connection_check_interval = 0".encode())
        yield Observer(connection)


def test_eight_runners_apply_every_file_exactly_once(empty_database_url: str, folder: Folder, observer: Observer):
    folder.write("001_a.sql", "CREATE TABLE log (file integer, pid integer);")
    for number in range(2, 13):
        folder.write(
            f"{number:03}_n.sql", f"INSERT INTO log VALUES ({number}, pg_backend_pid()); SELECT pg_sleep(0.02);"
        )
    folder.write("013_i.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY log_file ON log (file);")
    folder.write("functions/f.sql", "INSERT INTO log VALUES (0, pg_backend_pid());")

    runners = [start(empty_database_url, folder) for _ in range(RUNNERS)]
    said = [runner.communicate(timeout=LATE_S) for runner in runners]

    assert [runner.returncode for runner in runners] == [0] * RUNNERS, said
    applied = sorted(line for out, _ in said for line in out.splitlines())
    assert applied == [
        *(path.name for path in sorted((folder.path / "migrations").iterdir())),
        "functions, views and access",
    ]
    assert observer.value("SELECT array_agg(file ORDER BY file) FROM log") == [0, *range(2, 13)]
    assert observer.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'log_file'::regclass") is True


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_runner_gives_the_lock_back_and_keeps_nothing(
    empty_database_url: str, folder: Folder, observer: Observer, killed: signal.Signals
):
    folder.write(
        "001_a.sql",
        "-- callmeback: statement_timeout 5min, because this test kills it\n"
        "CREATE TABLE a (b integer); SELECT pg_sleep(200);",
    )
    runner = start(empty_database_url, folder)
    until(lambda: observer.runs("pg_sleep"))
    runner.send_signal(killed)
    runner.communicate(timeout=LATE_S)

    until(observer.lock_is_free)
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    assert [step.file for step in migrate.apply(empty_database_url, directory=folder.path)] == ["001_a.sql"]


def test_a_runner_killed_while_it_waits_for_a_reader_gives_the_lock_back(
    empty_database_url: str, folder: Folder, observer: Observer
):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    migrate.apply(empty_database_url, directory=folder.path)
    folder.write(
        "002_b.sql",
        "-- callmeback: lock_timeout 5min, because this test kills it\n"
        "-- callmeback: statement_timeout 5min, because this test kills it\n"
        "ALTER TABLE a ADD COLUMN c integer;",
    )
    with psycopg.connect(empty_database_url) as reader:
        reader.execute("SELECT * FROM a")
        runner = start(empty_database_url, folder)
        until(lambda: observer.runs("ALTER TABLE"))
        runner.kill()
        runner.communicate(timeout=LATE_S)
        until(observer.lock_is_free)

    assert [step.file for step in migrate.apply(empty_database_url, directory=folder.path)] == ["002_b.sql"]


def test_a_runner_killed_in_a_concurrent_index_is_followed_by_one_that_ends_it(
    empty_database_url: str, folder: Folder, observer: Observer
):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    migrate.apply(empty_database_url, directory=folder.path)
    folder.write(
        "002_b.sql",
        "-- callmeback: no-transaction\n-- callmeback: lock_timeout 5min, because it waits for every transaction\n"
        "-- callmeback: statement_timeout 5min, because it waits for every transaction\n"
        "CREATE INDEX CONCURRENTLY a_b ON a (b);",
    )
    with psycopg.connect(empty_database_url) as writer:
        writer.execute("INSERT INTO a VALUES (1)")
        runner = start(empty_database_url, folder)
        until(lambda: observer.value("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('a_b')") == 1)
        follower = start(empty_database_url, folder)
        time.sleep(0.5)  # the follower polls for the lock and so takes no part in a deadlock
        runner.kill()
        runner.communicate(timeout=LATE_S)
        # The writer still stands in the way of the broken index's removal: that waits, as it may.
        until(lambda: observer.runs("DROP INDEX CONCURRENTLY"))
    out, err = follower.communicate(timeout=LATE_S)

    assert (follower.returncode, out) == (0, "002_b.sql\n"), err
    assert observer.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_b'::regclass") is True
    assert observer.value("SELECT state FROM schema_migrations WHERE version = 2") == "applied"


@pytest.fixture
def person(cluster: Cluster, empty_database_url: str) -> Iterator[psycopg.Connection]:
    """Who uses the tables. PostgreSQL ends whoever looks for a deadlock first: the run, since this one never looks."""
    name = conninfo_to_dict(empty_database_url)["dbname"]
    with psycopg.connect(cluster.superuser_dsn, dbname=name, options="-c deadlock_timeout=1h") as connection:
        yield connection


@pytest.mark.parametrize("file", ["002_second.sql", "access/second.sql"])
def test_a_run_that_people_deadlock_with_gives_way_and_goes_on(
    empty_database_url: str, folder: Folder, observer: Observer, person: psycopg.Connection, file: str
):
    folder.write("001_first.sql", "CREATE TABLE a (b integer);\nCREATE TABLE c (d integer);\n")
    migrate.apply(empty_database_url, directory=folder.path)
    held = "SELECT pg_advisory_xact_lock(1);"
    folder.write(file, f"ALTER TABLE c ADD COLUMN e integer;\n{held}\nALTER TABLE a ADD COLUMN e integer;")

    person.execute("SELECT FROM a")
    observer.value("SELECT pg_advisory_lock(1)")
    runner = start(empty_database_url, folder)
    until(lambda: observer.waiting() == 1)
    asking = threading.Thread(target=person.execute, args=("SELECT FROM c",))
    asking.start()
    until(lambda: observer.waiting() == 2)
    # From here on each waits for the other.
    observer.value("SELECT pg_advisory_unlock(1)")
    asking.join(LATE_S)
    person.commit()
    said, complained = runner.communicate(timeout=LATE_S)

    assert (runner.returncode, complained) == (0, "")
    assert said.strip() in {file, "functions, views and access"}
    assert observer.value("SELECT count(*) FROM pg_attribute WHERE attname = 'e' AND attnum > 0") == 2


def test_a_concurrent_index_that_people_deadlock_with_is_built_anew(
    empty_database_url: str, folder: Folder, observer: Observer, person: psycopg.Connection
):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    migrate.apply(empty_database_url, directory=folder.path)
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY a_b ON a (b);")

    # Time enough for the person to ask before the run looks for a deadlock, which it does once.
    person.execute(f"ALTER DATABASE {person.info.dbname} SET deadlock_timeout = '2s'")
    person.commit()
    person.execute("INSERT INTO a VALUES (1)")
    runner = start(empty_database_url, folder)
    until(lambda: observer.waiting() == 1)
    person.execute("ANALYZE a")
    person.commit()
    said, complained = runner.communicate(timeout=LATE_S)

    assert (runner.returncode, complained) == (0, "")
    assert said == "002_b.sql\n"
    assert observer.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_b'::regclass") is True
    assert observer.value("SELECT state FROM schema_migrations WHERE version = 2") == "applied"
