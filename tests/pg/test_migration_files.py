"""Migration files: what may stand in them, and that each refusal names the file."""

import pytest
from tests.pg.files import Folder

from callmeback import errors
from callmeback.pg import lexer, migration_files


def test_files_are_read_in_order_with_their_limits(folder: Folder):
    folder.write("002_more.sql", "-- callmeback: statement_timeout 60s, because it reads every row\nSELECT 1; SELECT 2")
    folder.write("001_first.sql", "SELECT 1;")
    folder.write("003_index.sql", "-- callmeback: no-transaction\nCREATE INDEX CONCURRENTLY i ON t (a);")
    folder.write("views/b.sql", "SELECT 1;")
    folder.write("functions/z.sql", "SELECT 1;")
    folder.write("functions/a.sql", "SELECT 1;")
    folder.write("access/a.sql", "SELECT 1;")

    files = folder.read()

    assert [migration.file for migration in files.migrations] == ["001_first.sql", "002_more.sql", "003_index.sql"]
    assert [len(migration.pieces) for migration in files.migrations] == [1, 2, 1]
    assert [migration.statement_timeout for migration in files.migrations] == ["5s", "60s", "5s"]
    assert [migration.lock_timeout for migration in files.migrations] == ["4s"] * 3
    assert [migration.in_transaction for migration in files.migrations] == [True, True, False]
    assert [file.file for file in files.repeatable] == [
        "functions/a.sql",
        "functions/z.sql",
        "views/b.sql",
        "access/a.sql",
    ]


def test_line_ends_do_not_change_a_checksum(folder: Folder):
    path = folder.write("001_a.sql", "SELECT 1;\nSELECT 2;\n")
    before = folder.read().migrations[0].checksum
    path.write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")

    assert folder.read().migrations[0].checksum == before


@pytest.mark.parametrize(
    "name", ["1_a.sql", "001-a.sql", "001_A.sql", "001_a.SQL", "001_.sql", "001_a.sql.bak", "a.sql"]
)
def test_a_bad_name_is_refused(folder: Folder, name: str):
    folder.write(name, "SELECT 1")

    with pytest.raises(errors.MigrationFailed, match=name):
        folder.read()


def test_a_duplicate_number_is_refused_and_both_files_are_named(folder: Folder):
    folder.write("001_a.sql", "SELECT 1")
    folder.write("001_b.sql", "SELECT 1")

    with pytest.raises(errors.MigrationFailed, match=r"001_a\.sql and 001_b\.sql have the same number"):
        folder.read()


@pytest.mark.parametrize("name", ["000_a.sql", "002_a.sql"])
def test_a_gap_is_refused(folder: Folder, name: str):
    folder.write(name, "SELECT 1")

    with pytest.raises(errors.MigrationFailed, match=f"{name} should have the number 001"):
        folder.read()


@pytest.mark.parametrize(
    "control",
    [
        "BEGIN",
        "begin transaction isolation level serializable",
        "COMMIT",
        "/* x */ commit work",
        "-- y\nROLLBACK",
        "End",
        "ABORT",
        "START TRANSACTION",
        "SAVEPOINT a",
        "RELEASE a",
        "ROLLBACK TO SAVEPOINT a",
        "PREPARE TRANSACTION 'x'",
        "SET TRANSACTION READ ONLY",
    ],
)
def test_d11_own_transaction_control_is_refused_with_its_line(folder: Folder, control: str):
    folder.write("001_a.sql", f"CREATE TABLE a (b integer);\n\n{control};\nSELECT 1")

    with pytest.raises(errors.MigrationFailed, match=r"001_a\.sql:\d: .*The runner opens and commits"):
        folder.read()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'BEGIN; COMMIT;'",
        'CREATE TABLE "begin" (a integer)',
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN; COMMIT; END; $$",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "-- BEGIN;\nSELECT 1",
        "/* COMMIT; /* BEGIN; */ */ SELECT 1",
        "PREPARE a AS SELECT 1",
        "SET work_mem = '8MB'",
        "SET LOCAL search_path = public",
    ],
)
def test_words_that_only_look_like_control_are_accepted(folder: Folder, sql: str):
    folder.write("001_a.sql", sql)

    assert len(folder.read().migrations[0].pieces) == 1


@pytest.mark.parametrize(
    "setting", ["SET statement_timeout = 0", "set local LOCK_TIMEOUT to '1h'", "RESET lock_timeout"]
)
def test_limits_are_marks_and_not_settings(folder: Folder, setting: str):
    folder.write("001_a.sql", setting)

    with pytest.raises(errors.MigrationFailed, match=r"001_a\.sql:1: say `-- callmeback: statement_timeout"):
        folder.read()


@pytest.mark.parametrize(
    "mark",
    [
        "statement_timeout 60s",
        "statement_timeout 60s, because",
        "statement_timeout 60s, because slow",
        "statement_timeout 0, because it may take for ever",
        "statement_timeout forever, because it may take for ever",
        "work_mem 1GB, because it sorts a large table",
        "notransaction",
        "",
    ],
)
def test_a_mark_without_a_meaning_or_a_reason_is_refused(folder: Folder, mark: str):
    folder.write("001_a.sql", f"SELECT 1;\n-- callmeback: {mark}\n")

    with pytest.raises(errors.MigrationFailed, match=r"001_a\.sql:2: .* is no mark"):
        folder.read()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a); CREATE INDEX CONCURRENTLY j ON t (b)", "exactly one statement, not 2"),
        ("", "exactly one statement, not 0"),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)", "leave IF NOT EXISTS out"),
        ("CREATE INDEX CONCURRENTLY ON t (a)", "give the index a name"),
    ],
)
def test_a_file_without_a_transaction_holds_one_statement_that_can_be_repeated(folder: Folder, sql: str, message: str):
    folder.write("001_a.sql", f"-- callmeback: no-transaction\n{sql}")

    with pytest.raises(errors.MigrationFailed, match=rf"001_a\.sql.*{message}"):
        folder.read()


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("CREATE INDEX i ON t (a)", "i"),
        ("create unique index concurrently Some_Name on t (a)", "some_name"),
        ('CREATE INDEX CONCURRENTLY "Quoted ""name""" ON t (a)', 'Quoted "name"'),
        ("CREATE INDEX IF NOT EXISTS i ON t (a)", "i"),
        ("CREATE INDEX ON t (a)", None),
        ("CREATE TABLE index (a integer)", None),
        ("DROP INDEX i", None),
    ],
)
def test_the_name_of_an_index_is_found(sql: str, name: str | None):
    (piece,) = lexer.pieces(sql)

    assert migration_files.index_name(piece) == name


@pytest.mark.parametrize("content", [b"SELECT '\xff'", b"SELECT 'open", b"SELECT 1 /* open"])
def test_a_file_that_can_not_be_read_is_refused(folder: Folder, content: bytes):
    folder.write("001_a.sql", "").write_bytes(content)

    with pytest.raises(errors.MigrationFailed, match=r"001_a\.sql"):
        folder.read()


def test_a_stray_file_in_the_repeatable_set_is_refused(folder: Folder):
    folder.write("functions/a.txt", "x")

    with pytest.raises(errors.MigrationFailed, match=r"functions/a\.txt is no \.sql file"):
        folder.read()


def test_a_file_of_the_repeatable_set_may_say_its_time(folder: Folder):
    folder.write("functions/a.sql", "-- callmeback: statement_timeout 5min, because there are many\nSELECT 1")
    folder.write("views/b.sql", "SELECT 1")

    assert [file.statement_timeout for file in folder.read().repeatable] == ["5min", "5s"]


@pytest.mark.parametrize("mark", ["no-transaction", "lock_timeout 9s, because this one is busy"])
def test_the_repeatable_set_is_one_transaction_with_one_lock_timeout(folder: Folder, mark: str):
    folder.write("functions/a.sql", f"-- callmeback: {mark}\nSELECT 1")

    with pytest.raises(errors.MigrationFailed, match=r"functions/a\.sql: .* only statement_timeout"):
        folder.read()


def test_a_new_file_has_the_next_number(folder: Folder):
    folder.write("001_a.sql", "SELECT 1")

    path = migration_files.new("add_things", folder.path)

    assert path.name == "002_add_things.sql"
    assert path.read_text("utf-8") == "-- Add things: what it changes, and why.\n"
    assert [migration.file for migration in folder.read().migrations] == ["001_a.sql", "002_add_things.sql"]


@pytest.mark.parametrize("name", ["", "Add", "a-b", "../x", "1a", "a" * 61])
def test_a_new_file_with_a_bad_name_is_refused(folder: Folder, name: str):
    with pytest.raises(errors.MigrationFailed, match="is no name for a migration"):
        migration_files.new(name, folder.path)


def test_our_own_files_are_good():
    assert migration_files.read().migrations
