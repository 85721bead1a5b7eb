"""`migrate lint`: each fault is found by its rule, and good files have none."""

import psycopg
import pytest
from tests.conftest import Cluster
from tests.pg.files import Folder

from callmeback import errors
from callmeback.pg import lint, roles, shadow

TABLES = "CREATE TABLE a (b bigint CONSTRAINT a_pkey PRIMARY KEY, c text NOT NULL, d timestamptz NOT NULL);"


def rules(cluster: Cluster, folder: Folder) -> dict[str, str]:
    """Rule and place of each finding, squawk's taste aside."""
    findings = lint.lint(cluster.superuser_dsn, directory=folder.path)

    return {finding.rule: finding.place for finding in findings if not finding.rule.startswith("squawk")}


def test_our_own_files_have_no_fault(cluster: Cluster):
    assert lint.lint(cluster.superuser_dsn) == []


@pytest.mark.parametrize(
    ("sql", "rule", "place"),
    [
        (
            "CREATE TABLE e (f bigint PRIMARY KEY, g bigint NOT NULL);"
            "ALTER TABLE e ADD CONSTRAINT e_g_fkey FOREIGN KEY (g) REFERENCES a ON DELETE SET NULL;"
            "CREATE INDEX e_g ON e (g);",
            "set-null-on-not-null",
            "e.e_g_fkey",
        ),
        (
            "CREATE TABLE e (f bigint PRIMARY KEY, g bigint CONSTRAINT e_g_fkey REFERENCES a);",
            "foreign-key-without-index",
            "e.e_g_fkey",
        ),
        (
            "CREATE TABLE e (f bigint PRIMARY KEY, g bigint CONSTRAINT e_g_fkey REFERENCES a);"
            "CREATE INDEX e_fg ON e (f, g);",
            "foreign-key-without-index",
            "e.e_g_fkey",
        ),
        ("CREATE INDEX a_c ON a (c); CREATE INDEX a_cd ON a (c, d);", "redundant-index", "a_c"),
        ("CREATE INDEX a_c ON a (c); CREATE INDEX a_c2 ON a (c);", "redundant-index", "a_c2"),
        ("CREATE INDEX a_b ON a (b);", "redundant-index", "a_b"),
        ("ALTER TABLE a ADD CONSTRAINT a_c CHECK (c <> '') NOT VALID;", "constraint-not-validated", "a.a_c"),
        ("CREATE TABLE e (f integer);", "table-without-primary-key", "e"),
        ("ALTER TABLE a ADD COLUMN e timestamp;", "time-without-zone", "a.e"),
        ("ALTER TABLE a FORCE ROW LEVEL SECURITY;", "row-security-forced", "a"),
        (
            "CREATE SCHEMA other; CREATE TABLE other.t (x integer PRIMARY KEY); CREATE INDEX a_c ON a (c);"
            "CREATE INDEX a_c ON other.t (x);",
            "duplicate-index-name",
            "a_c",
        ),
    ],
)
def test_a_fault_of_the_schema_is_found_and_named(cluster: Cluster, folder: Folder, sql: str, rule: str, place: str):
    folder.write("001_a.sql", TABLES)
    folder.write("002_b.sql", sql)

    assert rules(cluster, folder) == {rule: place}


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX a_c ON a (c); CREATE INDEX a_cd ON a (c DESC, d);",
        "CREATE INDEX a_c ON a (c) WHERE d IS NULL; CREATE INDEX a_cd ON a (c, d);",
        "CREATE UNIQUE INDEX a_c ON a (c); CREATE INDEX a_cd ON a (c, d);",
        'CREATE INDEX a_c ON a (c COLLATE "C"); CREATE INDEX a_cd ON a (c, d);',
        "CREATE TABLE e (f bigint PRIMARY KEY REFERENCES a, g bigint REFERENCES a); "
        "CREATE INDEX e_g ON e (g) WHERE g IS NOT NULL;",
        "CREATE TABLE e (f bigint PRIMARY KEY, g bigint REFERENCES a ON DELETE SET NULL); CREATE INDEX e_g ON e (g);",
        "CREATE INDEX a_c ON a (c); DROP INDEX a_c; CREATE INDEX a_c ON a (c);",
    ],
)
def test_what_only_looks_like_a_fault_is_left_alone(cluster: Cluster, folder: Folder, sql: str):
    folder.write("001_a.sql", TABLES)
    folder.write("002_b.sql", sql)

    assert rules(cluster, folder) == {}


def test_d01_an_index_name_used_twice_is_found_in_the_text(cluster: Cluster, folder: Folder):
    """IF NOT EXISTS: the second table silently has no index, and no catalogue can show what isn't there."""
    folder.write("001_a.sql", f"{TABLES}\nCREATE INDEX IF NOT EXISTS idx_status ON a (c);")
    folder.write("002_b.sql", "CREATE TABLE e (f text PRIMARY KEY);\nCREATE INDEX IF NOT EXISTS idx_status ON e (f);")

    assert rules(cluster, folder) == {"duplicate-index-name": "002_b.sql:2"}


def test_squawk_reads_the_migrations(folder: Folder):
    folder.write("001_a.sql", TABLES)
    folder.write("002_b.sql", "-- A comment.\n\nALTER TABLE a ADD COLUMN e text NOT NULL;")

    findings = lint.lint(None, directory=folder.path)

    assert ("squawk-adding-required-field", "002_b.sql:3") in {(found.rule, found.place) for found in findings}
    assert [found.rule for found in findings if found.severity == "skipped"] == ["shadow-database"]


def test_a_refused_file_is_the_only_finding(folder: Folder):
    folder.write("001_a.sql", "BEGIN;")

    (finding,) = lint.lint(None, directory=folder.path)

    assert finding.rule == "file"
    assert "001_a.sql:1" in finding.message


def test_a_file_that_can_not_be_applied_is_found(cluster: Cluster, folder: Folder):
    folder.write("001_a.sql", "SELECT nothing();")

    assert rules(cluster, folder) == {"shadow-database": "migrations"}


def test_a_set_that_can_not_be_repeated_is_found(cluster: Cluster, folder: Folder):
    folder.write("001_a.sql", TABLES)
    folder.write("functions/f.sql", "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;")

    assert rules(cluster, folder) == {"not-repeatable": "functions, views and access"}


def test_a_broken_index_of_a_real_database_is_found(empty_database_url: str):
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE a (b integer PRIMARY KEY, c integer)")
        connection.execute("INSERT INTO a VALUES (1, 1), (2, 1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY a_c ON a (c)")

    assert [(found.rule, found.place) for found in lint.catalogue(empty_database_url)] == [("invalid-index", "a_c")]


def test_the_shadow_is_gone_afterwards_and_old_ones_are_cleared(cluster: Cluster, superuser: psycopg.Connection):
    old = "callmeback_shadow_1000_abcdef"
    superuser.execute(f"CREATE DATABASE {old}")
    with pytest.raises(RuntimeError), shadow.database(cluster.superuser_dsn) as dsn:
        with psycopg.connect(dsn) as connection:
            made = connection.info.dbname
            assert connection.execute("SELECT current_user").fetchone() == (roles.OWNER,)
        raise RuntimeError

    left = superuser.execute("SELECT datname FROM pg_database WHERE datname IN (%s, %s)", (old, made)).fetchall()
    assert made.startswith("callmeback_shadow_")
    assert left == []


def test_who_may_not_make_a_shadow_is_told(database_url: str, folder: Folder):
    with pytest.raises(errors.ConfigurationError, match="may not make a shadow database"):
        lint.lint(database_url, directory=folder.path)
