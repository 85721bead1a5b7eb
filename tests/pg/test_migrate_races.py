"""Several runners at once, and runners that are killed: real processes against one database."""

import signal
import subprocess
import sys
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
LATE_S = 20.0
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


def until(condition: Callable[[], bool], within_s: float = LATE_S) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within_s
        time.sleep(0.02)

    return time.monotonic() - begun


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

    def somebody_waits(self) -> bool:
        return (
            self.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            == 1
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
    said = [runner.communicate(timeout=60) for runner in runners]

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
    runner.communicate(timeout=10)

    assert until(observer.lock_is_free) < 5.0
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
        runner.communicate(timeout=10)
        assert until(observer.lock_is_free) < 5.0

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
        runner.communicate(timeout=10)
        # The writer still stands in the way of the broken index's removal: that waits, as it may.
        until(lambda: observer.runs("DROP INDEX CONCURRENTLY"))
    out, err = follower.communicate(timeout=30)

    assert (follower.returncode, out) == (0, "002_b.sql\n"), err
    assert observer.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_b'::regclass") is True
    assert observer.value("SELECT state FROM schema_migrations WHERE version = 2") == "applied"


@pytest.mark.parametrize("file", ["002_second.sql", "access/second.sql"])
def test_a_run_that_people_deadlock_with_gives_way_and_goes_on(
    cluster: Cluster, empty_database_url: str, folder: Folder, observer: Observer, file: str
):
    folder.write("001_first.sql", "CREATE TABLE a (b integer);\nCREATE TABLE c (d integer);\n")
    migrate.apply(empty_database_url, directory=folder.path)
    steps = ("ALTER TABLE c ADD COLUMN e integer;", "ALTER TABLE a ADD COLUMN e integer;")
    folder.write(file, "\n".join(steps))

    # PostgreSQL ends whoever looks for the deadlock first, which is the run: the person never looks.
    with psycopg.connect(
        cluster.superuser_dsn, dbname=conninfo_to_dict(empty_database_url)["dbname"], options="-c deadlock_timeout=1h"
    ) as person:
        person.execute("SELECT FROM a")
        runner = start(empty_database_url, folder)
        until(observer.somebody_waits)
        person.execute("SELECT FROM c")
    said, complained = runner.communicate(timeout=LATE_S)

    assert (runner.returncode, complained) == (0, "")
    assert said.strip() in {file, "functions, views and access"}
    assert observer.value("SELECT count(*) FROM pg_attribute WHERE attname = 'e' AND attnum > 0") == 2


def test_a_concurrent_index_that_people_deadlock_with_is_built_anew(
    empty_database_url: str, folder: Folder, observer: Observer
):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    migrate.apply(empty_database_url, directory=folder.path)
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY a_b ON a (b);")

    with psycopg.connect(empty_database_url) as person:
        person.execute("INSERT INTO a VALUES (1)")
        runner = start(empty_database_url, folder)
        until(lambda: observer.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
        time.sleep(0.3)
        person.execute("ANALYZE a")
    said, complained = runner.communicate(timeout=LATE_S)

    assert (runner.returncode, complained) == (0, "")
    assert said == "002_b.sql\n"
    assert observer.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_b'::regclass") is True
    assert observer.value("SELECT state FROM schema_migrations WHERE version = 2") == "applied"
