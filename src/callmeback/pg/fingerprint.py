"""The fingerprint of a database: two that share it hold the same rows, whichever versions of PostgreSQL serve them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row

from callmeback.pg import statements, transfer
from callmeback.pg.errors import translate

SQL: Final = statements.load("callmeback.pg", "fingerprint.sql")

# Rows are digested as text, which settings of a database or a role would write differently.
_OPTIONS: Final = (
    "-c statement_timeout=0 -c timezone=UTC -c datestyle=ISO,YMD -c intervalstyle=postgres -c bytea_output=hex "
    "-c extra_float_digits=1 -c row_security=off"
)


class Table(msgspec.Struct, frozen=True):
    """A table, and the command that counts and digests its rows."""

    name: str
    command: str


class Sequence(msgspec.Struct, frozen=True):
    """A sequence, and the number that it gave last; 0 before the first."""

    name: str
    last_value: int


class Rows(msgspec.Struct, frozen=True):
    """How many rows a table has, and the sum of their hashes."""

    number: int
    digest: int


class Fingerprint(msgspec.Struct, frozen=True):
    """Rows by table, and the last values of sequences."""

    tables: dict[str, Rows]
    sequences: dict[str, int]

    @property
    def row_count(self) -> int:
        """Rows of all tables."""
        return sum(rows.number for rows in self.tables.values())


def of(dsn: str, report: Callable[[int, int], object]) -> Fingerprint:
    """Read every row of a database that nobody writes to, as its superuser; `report` hears how many tables are done."""
    with _asking(make_conninfo(dsn, options=_OPTIONS)) as connection:
        with connection.cursor(row_factory=class_row(Table)) as cursor:
            found = cursor.execute(SQL.table_commands.text.encode()).fetchall()
        tables: dict[str, Rows] = {}
        for table in found:
            row = connection.execute(table.command.encode()).fetchone()
            assert row is not None, table.name
            tables[table.name] = Rows(int(row[0]), int(row[1]))
            report(len(tables), len(found))
        with connection.cursor(row_factory=class_row(Sequence)) as cursor:
            sequences = cursor.execute(SQL.sequences.text.encode()).fetchall()

    return Fingerprint(tables, {sequence.name: sequence.last_value for sequence in sequences})


def differences(old: Fingerprint, new: Fingerprint) -> list[str]:
    """What isn't the same, a line each; a table that is missing has no rows."""
    found = []
    for name in sorted(old.tables.keys() | new.tables.keys()):
        before, after = old.tables.get(name), new.tables.get(name)
        if before != after:
            numbers = [rows.number if rows is not None else "no table" for rows in (before, after)]
            found.append(f"{name}: {numbers[0]} rows before, {numbers[1]} after, or other ones")
    for name in sorted(old.sequences.keys() | new.sequences.keys()):
        if old.sequences.get(name) != new.sequences.get(name):
            found.append(f"{name} stood at {old.sequences.get(name)} and stands at {new.sequences.get(name)}")

    return found


def other_databases(dsn: str) -> list[str]:
    """Databases beside the one of `dsn` that somebody made in its cluster."""
    with _asking(dsn) as connection:
        return [name for (name,) in connection.execute(SQL.other_databases.text.encode()).fetchall()]


def analyse(dsn: str) -> None:
    """Have the planner know the tables of a database that was just filled."""
    with _asking(dsn) as connection:
        connection.execute(SQL.analyse.text.encode())


@contextmanager
def _asking(dsn: str) -> Iterator[transfer.Connection]:
    """A connection whose errors are ours; raises DatabaseUnavailable, and others for a page that can't be read."""
    with transfer.connected(dsn) as connection:
        try:
            yield connection
        except psycopg.Error as exc:
            raise translate(exc) from exc
