"""Logical backups: the whole database in the place of the living one, rows of a table, a table that is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from tests.ops.backups.house import House, built

from callmeback import errors
from callmeback.ops import backup_take, restore_dump
from callmeback.ops.backup_repository import Manifest
from callmeback.pg import replacement
from callmeback.pg.statements import Statement
from callmeback.pg.transfer import Connection


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with built() as made:
        made.sql("SELECT register_user('user_1', 'ann@example.org', 'x', 'Ann', 'UTC', '+12025550100')")
        made.sql("SELECT register_user('user_2', 'bob@example.org', 'x', 'Bob', 'UTC', '+12025550101')")
        yield made


@pytest.fixture(scope="module")
def dump(house: House) -> Manifest:
    return backup_take.dump(house.site())


def described(house: House, table: str) -> list[object]:
    """A table's columns, rules, indexes and who may do what with it."""
    return house.sql(
        "SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k WHERE k.conrelid = %s::regclass"
        " UNION ALL SELECT indexdef FROM pg_indexes WHERE tablename = %s"
        " UNION ALL SELECT unnest(coalesce(relacl, acldefault('r', relowner)))::text FROM pg_class"
        " WHERE oid = %s::regclass"
        " UNION ALL SELECT concat(attname, format_type(atttypid, atttypmod), attnotnull, attacl) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY 1",
        *[table] * 4,
    )


def test_missing_rows_of_a_table_come_back_and_the_others_stay(house: House, dump: Manifest) -> None:
    house.sql("UPDATE users SET name = 'Anna' WHERE id = 'user_1'")
    house.sql("DELETE FROM user_preferences WHERE user_id = 'user_2'")
    before = house.sql("SELECT count(*) FROM users")
    done = restore_dump.restore_dump(house.site(), dump.id, "users")

    assert done.restored_rows == 0
    assert house.sql("SELECT count(*) FROM users") == before
    assert house.sql("SELECT name FROM users WHERE id = 'user_1'") == [("Anna",)]


@pytest.mark.parametrize("alone", [False, True], ids=["of the whole dump", "of a dump of its own"])
def test_d10_a_table_that_is_gone_comes_back_with_its_key(house: House, dump: Manifest, alone: bool) -> None:
    house.sql("INSERT INTO blocked_numbers (number, reason) VALUES ('+12025550111', 'x') ON CONFLICT DO NOTHING")
    before = described(house, "blocked_numbers")
    made = backup_take.dump(house.site(), "blocked_numbers" if alone else None)
    house.sql("DROP TABLE blocked_numbers CASCADE")
    restore_dump.restore_dump(house.site(), made.id, "blocked_numbers")

    assert described(house, "blocked_numbers") == before
    assert house.sql("SELECT count(*) FROM blocked_numbers") == [(1,)]


def test_a_whole_dump_takes_the_place_of_the_database_without_who_was_erased_since(
    house: House, dump: Manifest
) -> None:
    house.sql("SELECT erase_user('user_2', 'person')")
    house.sql("UPDATE users SET locale = 'xx' WHERE id = 'user_1'")
    done = restore_dump.restore_dump(house.site(), dump.id, None)
    kept = str(done.kept_database)

    assert house.sql("SELECT locale FROM users WHERE id = 'user_1'") == [("en",)]
    assert house.sql("SELECT email FROM users WHERE id = 'user_2'") == [("erased-user_2@invalid",)]
    assert house.sql("SELECT datname FROM pg_database WHERE datname ~ '^callmeback' ORDER BY 1") == [
        ("callmeback",),
        (kept,),
    ]
    # What belongs to a database itself is in no dump, and is there all the same.
    assert house.sql("SELECT has_database_privilege('callmeback_api', 'callmeback', 'CONNECT')") == [(True,)]
    assert house.sql("SELECT has_database_privilege('public', 'callmeback', 'TEMPORARY')") == [(False,)]


def test_what_a_killed_restore_left_goes_with_the_next_and_what_another_one_makes_stays(
    house: House, dump: Manifest
) -> None:
    names = [
        "callmeback_restored_20260101_000000",
        "callmeback_scratch_20260101_000000",
        "callmeback_before_20260101_000000",
    ]
    for name in names:
        house.sql(f"CREATE DATABASE {name}")
    assert house.running is not None
    with replacement.transfer.connected(make_conninfo(house.running.superuser_dsn, dbname="postgres")) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [names[1]])
        house.sql("DROP TABLE user_preferences CASCADE")
        restore_dump.restore_dump(house.site(), dump.id, "user_preferences")
        left = {name for (name,) in house.sql("SELECT datname::text FROM pg_database WHERE datname ~ '_20260101_'")}
    for name in names[1:]:
        house.sql(f"DROP DATABASE {name}")

    assert left == set(names[1:])


def test_a_restore_that_is_stopped_while_it_exchanges_leaves_the_database_open(
    house: House, dump: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = replacement._run

    def stopped(connection: Connection, statement: Statement, **params: object) -> None:
        if statement.name == "rename_command":
            raise SystemExit(143)
        run(connection, statement, **params)

    monkeypatch.setattr(replacement, "_run", stopped)
    with pytest.raises(SystemExit):
        restore_dump.restore_dump(house.site(), dump.id, None)

    assert house.sql("SELECT count(*) FROM pg_database WHERE datname ~ '^callmeback_restored'") == [(0,)]


def test_the_next_start_opens_what_a_killed_restore_closed(house: House) -> None:
    assert house.running is not None
    with replacement.transfer.connected(make_conninfo(house.running.superuser_dsn, dbname="postgres")) as maintenance:
        maintenance.execute("ALTER DATABASE callmeback WITH ALLOW_CONNECTIONS false")
    house.stop()
    house.start()

    assert house.sql("SELECT 1") == [(1,)]


def test_what_is_no_dump_is_refused(house: House, dump: Manifest, tmp_path: Path) -> None:
    (tmp_path / "no.dump").write_bytes(b"PGDMP and no more")
    with pytest.raises((errors.BackupDamaged, errors.RestoreRefused)):
        restore_dump.restore_dump(house.site(), str(tmp_path / "no.dump"), None)
    with pytest.raises(errors.NotFound):
        restore_dump.restore_dump(house.site(), "20200101T000000Z-logical-0000", None)

    assert house.sql("SELECT count(*) FROM pg_database WHERE datname ~ '_restored_'") == [(0,)]
