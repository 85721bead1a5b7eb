"""Databases made from dumps: beside the living one, in its place, or one table of it."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callmeback import errors
from callmeback.pg import dumps, migrate, roles, statements, transfer
from callmeback.pg.errors import translate
from callmeback.pg.statements import Statement
from callmeback.pg.transfer import Connection, Moved

SQL: Final = statements.load("callmeback.pg", "replacement.sql")

MAINTENANCE: Final = "postgres"
_MADE: Final = "^callmeback_(restored|scratch)_[0-9]{8}_[0-9]{6}$"
# What pg_restore writes before a table's rows and after them.
_ROWS: Final = re.compile(rb"(?:COPY) public\.\S+ \((?P<names>.*)\) FROM stdin;\n\Z")
_ROWS_END: Final = b"\\.\n"


@contextmanager
def beside(programs: Path, dsn: str, file: Path, name: str, *, only: list[str] | None = None) -> Iterator[str]:
    """A database made from a dump, as the DSN of whoever makes it; dropped unless it was renamed.

    `name` is one of `restored_name` or `scratch_name`. Databases of such a name that a killed process left are dropped.
    """
    maintenance = make_conninfo(dsn, dbname=MAINTENANCE)
    with transfer.connected(maintenance) as holding:
        for (left,) in holding.execute(SQL.left_over.text.encode(), {"form": _MADE}).fetchall():
            _run(holding, SQL.drop_command, name=left)
        holding.execute(SQL.hold.text.encode(), {"name": name})
        _command(maintenance, SQL.create_command, name=name)
        try:
            made = make_conninfo(dsn, dbname=name)
            dumps.restore(programs, made, file, only=only)
            yield made
        finally:
            _command(maintenance, SQL.drop_command, name=name)


def restored_name(stamp: str) -> str:
    """Of a whole database until it takes the living one's place."""
    return f"callmeback_restored_{stamp}"


def scratch_name(stamp: str) -> str:
    """Of one that a table is taken out of."""
    return f"callmeback_scratch_{stamp}"


def bring_up_to_date(dsn: str) -> None:
    """Apply the migrations that came since a dump, and once more all functions, views and grants."""
    with transfer.connected(dsn) as connection:
        connection.execute(SQL.apply_again.text.encode())
    migrate.apply(make_conninfo(dsn, options=f"-c role={roles.OWNER}"))


def take_the_place(dsn: str, name: str, kept_name: str) -> None:
    """Give a database the name of the one of `dsn`, which is kept under `kept_name`: both renamed, or none.

    Whoever is connected is sent away, and comes back to the new one.
    """
    living = str(conninfo_to_dict(dsn)["dbname"])
    maintenance = make_conninfo(dsn, dbname=MAINTENANCE)
    with transfer.connected(maintenance) as connection:
        try:
            _run(connection, SQL.close_command, name=living)
            connection.execute(SQL.send_away.text.encode(), {"names": [living, name]})
            with connection.transaction():
                _run(connection, SQL.rename_command, name=living, new_name=kept_name)
                _run(connection, SQL.rename_command, name=name, new_name=living)
        except BaseException as exc:
            # Over a connection of its own, for this one may be in the middle of something.
            _command(maintenance, SQL.open_command, name=living)
            if isinstance(exc, psycopg.Error):
                raise translate(exc) from exc
            raise
        _run(connection, SQL.open_command, name=kept_name)


def has_table(dsn: str, table: str) -> bool:
    """Whether a table of ours is there."""
    with transfer.connected(dsn) as connection:
        row = connection.execute(SQL.has_table.text.encode(), {"name": table}).fetchone()
        assert row is not None

        return bool(row[0])


def add_missing_rows(programs: Path, dsn: str, file: Path, table: str) -> Moved:
    """Bring the rows of a table in a dump that are missing back; what is there stays as it is."""
    command: list[Path | str] = [programs / "pg_restore", "--data-only", f"--table={table}", "--file=-", file]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None
        try:
            names = _names(process.stdout)
            return transfer.add_missing(dsn, table, names, iter(process.stdout.readline, _ROWS_END))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _names(lines: "Iterator[bytes]") -> list[str]:
    for line in lines:
        match = _ROWS.match(line)
        if match is not None:
            return [name.strip().strip('"') for name in match["names"].decode().split(",")]

    raise errors.RestoreRefused("The dump holds no rows of this table.")


def _command(dsn: str, statement: Statement, **params: object) -> None:
    with transfer.connected(dsn) as connection:
        try:
            _run(connection, statement, **params)
        except psycopg.Error as exc:
            raise translate(exc) from exc


def _run(connection: Connection, statement: Statement, **params: object) -> None:
    """Run the command that a statement writes."""
    row = connection.execute(statement.text.encode(), params).fetchone()
    assert row is not None, statement.name
    connection.execute(str(row[0]).encode())
