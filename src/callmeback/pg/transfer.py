"""What a backup and a restore ask the server, and rows that go from a restored cluster into the living one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg.rows import class_row

from callmeback import errors
from callmeback.pg import complaints, statements
from callmeback.pg.errors import translate
from callmeback.pg.statements import Statement

SQL: Final = statements.load("callmeback.pg", "transfer.sql")

CONNECT_TIMEOUT_S: Final = 10

Connection = psycopg.Connection[Any]
ShapeT = TypeVar("ShapeT", bound=msgspec.Struct)


class Facts(msgspec.Struct, frozen=True):
    """Of a running server: its clock, its major version, the id of its cluster, and the bytes of its databases."""

    at: datetime
    major: int
    system: str
    copy_bytes: int


class ServerFacts(msgspec.Struct, frozen=True):
    """A running server's clock, its version as a number, and the id of its cluster."""

    at: datetime
    version: int
    system: str


class Archiver(msgspec.Struct, frozen=True):
    """Whether a server archives its WAL, whether its last attempt failed, and on which segment."""

    is_on: bool
    is_failing: bool
    segment: str | None


class Moved(msgspec.Struct, frozen=True):
    """How many rows a condition chose, and how many of them were missing and are back."""

    found: int
    restored: int


def facts(dsn: str) -> Facts:
    """Ask the server. Raises DatabaseUnavailable."""
    with connected(dsn) as connection:
        found = _one(connection, SQL.server_facts, ServerFacts)
        (size,) = _row(connection, SQL.copy_size)

    return Facts(found.at, found.version // 10_000, found.system, int(size))


def commit_mark(dsn: str) -> None:
    """Commit a mark: a commit after every moment up to now."""
    with connected(dsn) as connection:
        _row(connection, SQL.mark)


def mark(dsn: str) -> str:
    """Commit a mark, end the segment that holds it, and name that segment. For a superuser."""
    with connected(dsn) as connection:
        _row(connection, SQL.mark)
        (segment,) = _row(connection, SQL.switch)

    return str(segment)


def check_archiving(dsn: str) -> None:
    """Raise BackupFailed when the archive is off or its newest attempt failed."""
    with connected(dsn) as connection:
        found = _one(connection, SQL.archiver, Archiver)
    if not found.is_on:
        raise errors.BackupFailed("The server doesn't archive its WAL (archive_mode is off).")
    if found.is_failing:
        raise errors.BackupFailed(
            f"The server can't archive its WAL: segment {found.segment} failed. Is the archive's folder full or "
            "read-only? Nothing is lost while the server's own disk holds; its log has the reason."
        )


def copy_rows(source: str, target: str, table: str, condition: str) -> Moved:
    """Bring rows of `table` that are in `source` and missing in `target` back; what is there stays as it is.

    `condition` is the operator's own SQL, read in `source` and in a transaction that can't write. One transaction in
    `target`: all or nothing. Raises RestoreRefused with PostgreSQL's words for an unknown table or a wrong condition.
    """
    with connected(source) as old, connected(target) as new:
        common = _common_columns(old, new, table)
        try:
            with new.transaction():
                _command(new, SQL.landing_command, names=common, name=table)
                with old.transaction():
                    old.execute(SQL.read_only.text.encode())
                    found = _stream(
                        old, new, _text(old, SQL.read_command, names=common, name=table, condition=condition)
                    )
                restored = _command(new, SQL.keep_command, names=common, name=table)
        except psycopg.Error as exc:
            raise errors.RestoreRefused(f"The rows can't be restored: {complaints.of(exc)}.") from exc

    return Moved(found, restored)


def add_missing(dsn: str, table: str, names: list[str], lines: Iterator[bytes]) -> Moved:
    """Bring rows (of COPY's text format, with these columns) back that are missing; what is there stays as it is."""
    with connected(dsn) as connection:
        here = {name for (name,) in _rows(connection, SQL.columns, name=table)}
        gone = [name for name in names if name not in here]
        if gone:
            raise errors.RestoreRefused(f"{table} has no column {gone[0]} any more: restore the dump as a whole.")
        try:
            with connection.transaction(), connection.cursor() as cursor:
                _command(connection, SQL.landing_command, names=names, name=table)
                with cursor.copy(SQL.write_landing_text.text.encode()) as sink:
                    for line in lines:
                        sink.write(line)
                found = cursor.rowcount
                restored = _command(connection, SQL.keep_command, names=names, name=table)
        except psycopg.Error as exc:
            raise errors.RestoreRefused(f"The rows can't be restored: {complaints.of(exc)}.") from exc

        return Moved(found, restored)


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    """A connection that commits by itself. Raises DatabaseUnavailable."""
    try:
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="callmeback backup"
        )
    except psycopg.Error as exc:
        raise translate(exc) from exc
    with connection:
        yield connection


def _common_columns(old: Connection, new: Connection, table: str) -> list[str]:
    there = [name for (name,) in _rows(old, SQL.columns, name=table)]
    here = {name for (name,) in _rows(new, SQL.columns, name=table)}
    if not there or not here:
        raise errors.RestoreRefused(f"There is no table {table} {'in the backup' if here else 'here'}.")

    return [name for name in there if name in here]


def _stream(old: Connection, new: Connection, command: str) -> int:
    """Send what a command reads into the landing table; the number of rows."""
    with old.cursor() as reading, new.cursor() as writing:
        with (
            reading.copy(command.encode()) as source,
            writing.copy(SQL.write_landing.text.encode()) as sink,
        ):
            for block in source:
                sink.write(block)

        return writing.rowcount


def _command(connection: Connection, statement: Statement, **params: object) -> int:
    """Run the command that a statement writes; the number of rows it touched."""
    return connection.execute(_text(connection, statement, **params).encode()).rowcount


def _text(connection: Connection, statement: Statement, **params: object) -> str:
    return str(_row(connection, statement, **params)[0])


def _one(connection: Connection, statement: Statement, shape: type[ShapeT]) -> ShapeT:
    with connection.cursor(row_factory=class_row(shape)) as cursor:
        found = cursor.execute(statement.text.encode()).fetchone()
    assert found is not None, statement.name

    return found


def _row(connection: Connection, statement: Statement, **params: object) -> Any:
    found = _rows(connection, statement, **params)
    assert len(found) == 1, statement.name

    return found[0]


def _rows(connection: Connection, statement: Statement, **params: object) -> list[Any]:
    try:
        return connection.execute(statement.text.encode(), params or None).fetchall()
    except psycopg.Error as exc:
        raise translate(exc) from exc
