"""The migration runner on one database: what it applies, refuses, keeps and says."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from tests.pg.files import Folder

from callmeback import errors
from callmeback.pg import migrate


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def run(dsn: str, folder: Folder) -> list[str]:
    return [step.file for step in migrate.apply(dsn, directory=folder.path)]


def refusal(dsn: str, folder: Folder, **options: float) -> str:
    with pytest.raises(errors.MigrationFailed) as caught:
        migrate.apply(dsn, directory=folder.path, **options)

    return caught.value.detail


def states(dsn: str, folder: Folder) -> dict[str, str]:
    found = migrate.status(dsn, directory=folder.path)
    return {file.file: file.state for file in (*found.migrations, *found.repeatable)}


def test_each_file_is_applied_once_and_recorded(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    folder.write("002_b.sql", "-- 100 % of it\nINSERT INTO a VALUES (1); INSERT INTO a VALUES (2);")

    assert run(empty_database_url, folder) == ["001_a.sql", "002_b.sql"]
    assert run(empty_database_url, folder) == []
    assert rows(empty_database_url, "SELECT sum(b) FROM a") == [(3,)]
    assert rows(
        empty_database_url,
        "SELECT version, name, length(checksum), execution_ms >= 0, state, applied_at <= clock_timestamp() "
        "FROM schema_migrations ORDER BY version",
    ) == [(1, "a", 64, True, "applied", True), (2, "b", 64, True, "applied", True)]


def test_the_runners_own_tables_are_commented(empty_database_url: str, folder: Folder):
    run(empty_database_url, folder)

    assert (
        rows(
            empty_database_url,
            "SELECT a.attrelid::regclass::text, a.attname FROM pg_attribute AS a "
            "WHERE a.attrelid IN ('schema_migrations'::regclass, 'schema_repeatable'::regclass) AND a.attnum > 0 "
            "AND col_description(a.attrelid, a.attnum) IS NULL",
        )
        == []
    )


def test_a_failure_in_the_middle_keeps_nothing_of_its_file(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    folder.write("002_b.sql", "CREATE TABLE c (d integer);\nINSERT INTO a\nVALUES ('no number');")
    folder.write("003_c.sql", "CREATE TABLE e (f integer);")

    assert re.match(
        r"002_b\.sql:3: invalid input syntax for type integer.*\(22P02\)", refusal(empty_database_url, folder)
    )
    assert rows(empty_database_url, "SELECT to_regclass('a'), to_regclass('c'), to_regclass('e')") == [
        ("a", None, None)
    ]
    assert states(empty_database_url, folder) == {
        "001_a.sql": "applied",
        "002_b.sql": "pending",
        "003_c.sql": "pending",
    }

    folder.write("002_b.sql", "CREATE TABLE c (d integer);")
    assert run(empty_database_url, folder) == ["002_b.sql", "003_c.sql"]


def test_a_failure_at_commit_keeps_nothing_either(empty_database_url: str, folder: Folder):
    folder.write(
        "001_a.sql", "CREATE TABLE a (b integer PRIMARY KEY, c integer REFERENCES a DEFERRABLE INITIALLY DEFERRED);"
    )
    folder.write("002_b.sql", "INSERT INTO a VALUES (1, 2);")

    assert "002_b.sql" in refusal(empty_database_url, folder)
    assert rows(empty_database_url, "SELECT * FROM a") == []
    assert states(empty_database_url, folder)["002_b.sql"] == "pending"


def test_an_edited_file_is_refused_and_named(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    run(empty_database_url, folder)
    folder.write("001_a.sql", "CREATE TABLE a (b integer); ")
    folder.write("002_b.sql", "CREATE TABLE c (d integer);")

    assert refusal(empty_database_url, folder).startswith("001_a.sql was edited after it was applied")
    assert migrate.status(empty_database_url, directory=folder.path).is_drifted
    assert states(empty_database_url, folder) == {"001_a.sql": "edited", "002_b.sql": "pending"}


def test_a_renamed_file_is_an_edited_one(empty_database_url: str, folder: Folder):
    path = folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    run(empty_database_url, folder)
    path.rename(path.with_name("001_z.sql"))

    assert "001_z.sql was edited after it was applied (as 001_a.sql" in refusal(empty_database_url, folder)


def test_a_database_that_is_newer_than_the_program_is_refused(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    later = folder.write("002_b.sql", "CREATE TABLE c (b integer);")
    run(empty_database_url, folder)
    later.unlink()

    assert "The database has 002_b.sql" in refusal(empty_database_url, folder)
    assert states(empty_database_url, folder) == {"001_a.sql": "applied", "002_b.sql": "unknown"}


def test_limits_are_those_of_the_house_unless_the_file_says_why(empty_database_url: str, folder: Folder):
    limits = "SELECT current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s"
    folder.write("001_a.sql", f"CREATE TABLE a AS {limits};")
    folder.write(
        "002_b.sql", f"-- callmeback: statement_timeout 1min, because it is a test\nCREATE TABLE b AS {limits};"
    )
    folder.write("functions/f.sql", f"CREATE OR REPLACE VIEW v AS SELECT 1 AS x; INSERT INTO a {limits};")
    run(empty_database_url, folder)

    assert rows(empty_database_url, "SELECT * FROM a UNION ALL SELECT * FROM b") == [
        ("4s", "5s"),
        ("4s", "5s"),
        ("4s", "1min"),
    ]


def test_a_slow_file_is_ended_by_its_limit(empty_database_url: str, folder: Folder):
    folder.write(
        "001_a.sql", "-- callmeback: statement_timeout 200ms, because this test is quick\nSELECT pg_sleep(30);"
    )

    assert refusal(empty_database_url, folder).startswith(
        "001_a.sql:2: canceling statement due to statement timeout (57014)"
    )


def test_no_setting_of_a_file_reaches_the_next(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE SCHEMA other; SET search_path = other; SET work_mem = '9MB';")
    folder.write("002_b.sql", "CREATE TABLE a AS SELECT current_setting('work_mem') AS w;")
    run(empty_database_url, folder)

    assert rows(empty_database_url, "SELECT w <> '9MB' FROM public.a") == [(True,)]


def test_a_commit_hidden_in_a_block_is_stopped_by_the_server(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);\nDO $$ BEGIN COMMIT; END $$;")

    assert refusal(empty_database_url, folder).startswith("001_a.sql:2: invalid transaction termination")
    assert rows(empty_database_url, "SELECT to_regclass('a')") == [(None,)]


def test_a_reader_in_the_way_is_named_and_nothing_is_half_applied(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    run(empty_database_url, folder)
    folder.write(
        "002_b.sql",
        "-- callmeback: lock_timeout 900ms, because this test is quick\n"
        "CREATE TABLE c (d integer);\nALTER TABLE a ADD COLUMN e integer;",
    )
    with psycopg.connect(empty_database_url, application_name="a long report") as reader:
        reader.execute("SELECT * FROM a")
        said = refusal(empty_database_url, folder)

        assert said.startswith("002_b.sql:3: canceling statement due to lock timeout (55P03)")
        assert (
            f"In the way: pid {reader.info.backend_pid} (callmeback_owner, a long report, idle in transaction" in said
        )
        assert rows(empty_database_url, "SELECT to_regclass('c')") == [(None,)]

    assert run(empty_database_url, folder) == ["002_b.sql"]


def test_another_run_is_waited_for_and_named(empty_database_url: str, folder: Folder):
    key = "hashtextextended('callmeback migrate', 0)"
    with psycopg.connect(empty_database_url, autocommit=True, application_name="other run") as other:
        other.execute(f"SELECT pg_advisory_lock({key})")
        holder = f"pid {other.info.backend_pid} (callmeback_owner, other run)"

        assert refusal(empty_database_url, folder, lock_wait_s=0.3) == (
            f"Another run has the lock since more than 0.3 s: {holder}."
        )

    assert run(empty_database_url, folder) == []


def test_a_failed_concurrent_index_is_dropped_and_built_again(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer); INSERT INTO a VALUES (1), (1);")
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY a_b ON a (b);")
    valid = "SELECT indisvalid, indisunique FROM pg_index WHERE indexrelid = to_regclass('a_b')"

    assert "could not create unique index" in refusal(empty_database_url, folder)
    assert rows(empty_database_url, valid) == [(False, True)]
    assert states(empty_database_url, folder)["002_b.sql"] == "running"
    assert "could not create unique index" in refusal(empty_database_url, folder)

    rows(empty_database_url, "DELETE FROM a WHERE ctid = '(0,1)' RETURNING b")
    assert run(empty_database_url, folder) == ["002_b.sql"]
    assert rows(empty_database_url, valid) == [(True, True)]
    assert states(empty_database_url, folder)["002_b.sql"] == "applied"


def test_a_file_that_never_ended_may_be_edited(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer); INSERT INTO a VALUES (1), (1);")
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY a_b ON a (b);")
    refusal(empty_database_url, folder)
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY a_b ON a (b);")

    assert run(empty_database_url, folder) == ["002_b.sql"]
    assert run(empty_database_url, folder) == []


def test_a_runner_that_died_after_its_index_is_believed(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY a_b ON a (b);")
    run(empty_database_url, folder)
    rows(empty_database_url, "UPDATE schema_migrations SET state = 'running' WHERE version = 2 RETURNING 1")
    (before,) = rows(empty_database_url, "SELECT to_regclass('a_b')::oid")

    assert run(empty_database_url, folder) == ["002_b.sql"]
    assert rows(empty_database_url, "SELECT to_regclass('a_b')::oid") == [before]


def test_an_index_of_that_name_made_by_somebody_else_is_not_taken_for_ours(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer, c integer); CREATE INDEX a_b ON a (c);")
    folder.write("002_b.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY a_b ON a (b);")

    assert "there is an index a_b already" in refusal(empty_database_url, folder)
    assert states(empty_database_url, folder)["002_b.sql"] == "pending"


def test_what_a_failed_reindex_left_is_removed(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer); CREATE INDEX a_b ON a (b);")
    run(empty_database_url, folder)
    folder.write(
        "002_b.sql",
        "-- callmeback: no-transaction\n-- callmeback: lock_timeout 900ms, because this test is quick\n"
        "REINDEX INDEX CONCURRENTLY a_b;",
    )
    left = "SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)'"
    with psycopg.connect(empty_database_url) as writer:
        writer.execute("INSERT INTO a VALUES (1)")
        assert "In the way: pid" in refusal(empty_database_url, folder)
    assert rows(empty_database_url, left) != []

    assert run(empty_database_url, folder) == ["002_b.sql"]
    assert rows(empty_database_url, left) == []


FUNCTION = "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql AS $$ SELECT {} $$;"


def test_functions_views_and_access_follow_their_files(empty_database_url: str, folder: Folder):
    folder.write("access/a.sql", "GRANT SELECT ON v TO callmeback_readonly;")
    folder.write("views/v.sql", "CREATE OR REPLACE VIEW v AS SELECT answer() AS a;")
    folder.write("functions/f.sql", FUNCTION.format(41))
    everything = ["functions, views and access"]

    assert run(empty_database_url, folder) == everything
    assert run(empty_database_url, folder) == []
    folder.write("functions/f.sql", FUNCTION.format(42))
    assert states(empty_database_url, folder)["functions/f.sql"] == "pending"
    assert run(empty_database_url, folder) == everything
    assert rows(empty_database_url, "SELECT a FROM v") == [(42,)]
    (folder.path / "access" / "a.sql").unlink()
    assert run(empty_database_url, folder) == everything


def test_a_broken_function_leaves_the_old_set(empty_database_url: str, folder: Folder):
    folder.write("functions/f.sql", FUNCTION.format(1))
    folder.write("functions/g.sql", "SELECT 1;")
    run(empty_database_url, folder)
    folder.write("functions/f.sql", FUNCTION.format(2))
    folder.write("functions/g.sql", "SELECT 1;\n\nSELECT nothing();")

    assert refusal(empty_database_url, folder).startswith(
        "functions/g.sql:3: function nothing() does not exist (42883)"
    )
    assert rows(empty_database_url, "SELECT answer()") == [(1,)]


def test_a_migration_makes_the_set_due_again_even_if_the_run_ends_between(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    folder.write("access/a.sql", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO callmeback_readonly;")
    run(empty_database_url, folder)
    folder.write("002_b.sql", "CREATE TABLE c (d integer);")
    folder.write("003_c.sql", "SELECT nothing();")
    refusal(empty_database_url, folder)
    folder.write("003_c.sql", "SELECT 1;")
    run(empty_database_url, folder)

    assert rows(empty_database_url, "SELECT has_table_privilege('callmeback_readonly', 'c', 'SELECT')") == [(True,)]


def test_partitions_are_made_at_every_run_where_there_is_a_function_for_it(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")
    folder.write(
        "functions/p.sql",
        "CREATE OR REPLACE FUNCTION ensure_partitions() RETURNS void LANGUAGE sql AS $$ INSERT INTO a VALUES (1) $$;",
    )
    run(empty_database_url, folder)
    run(empty_database_url, folder)

    assert rows(empty_database_url, "SELECT count(*) FROM a") == [(2,)]


def test_status_of_an_empty_database_changes_nothing(empty_database_url: str, folder: Folder):
    folder.write("001_a.sql", "CREATE TABLE a (b integer);")

    assert states(empty_database_url, folder) == {"001_a.sql": "pending"}
    assert not migrate.status(empty_database_url, directory=folder.path).is_current
    assert rows(empty_database_url, "SELECT to_regclass('schema_migrations')") == [(None,)]


def test_our_own_files_make_a_current_database(database_url: str):
    assert migrate.status(database_url).is_current
    assert migrate.apply(database_url) == []


def test_no_server_is_unavailable(folder: Folder):
    with pytest.raises(errors.DatabaseUnavailable):
        migrate.apply("postgresql://nobody@127.0.0.1:1/none", directory=folder.path)


def test_a_pooler_in_between_is_refused(empty_database_url: str, folder: Folder):
    with pooler(empty_database_url) as pooled, pytest.raises(errors.MigrationFailed, match="need a direct connection"):
        migrate.apply(pooled, directory=folder.path)


@contextmanager
def pooler(dsn: str) -> Iterator[str]:
    """A proxy that, like a pooler, tells its clients a process number of its own in BackendKeyData."""
    target = conninfo_to_dict(dsn)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=_serve, args=(listener, str(target["host"]), int(str(target["port"]))))
        thread.start()
        try:
            yield make_conninfo(dsn, port=port)
        finally:
            thread.join(10)


def _serve(listener: socket.socket, host: str, port: int) -> None:
    client, _ = listener.accept()
    with client, socket.create_connection((host, port)) as upstream:
        back = threading.Thread(target=_pass_on, args=(client, upstream, False))
        back.start()
        _pass_on(upstream, client, True)
        back.join(10)


def _pass_on(source: socket.socket, target: socket.socket, renumber: bool) -> None:
    while data := source.recv(65_536):
        if renumber:
            data = re.sub(
                rb"(K\x00\x00\x00\x0c)....", lambda found: found[1] + bytes([0, 0, 0, 7]), data, flags=re.DOTALL
            )
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
