"""Shadow databases: empty, beside the real one; files are tried in them, and they are dropped afterwards."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import scalar_row

from callmeback import errors
from callmeback.pg import roles, statements
from callmeback.pg.errors import translate
from callmeback.pg.statements import Statement

SQL: Final = statements.load("callmeback.pg", "shadow.sql")

CONNECT_TIMEOUT_S: Final = 10
# No check takes an hour, so an older shadow was left by a killed one.
LEFT_OVER_AFTER_S: Final = 3_600


@contextmanager
def database(dsn: str, *, owner: str = roles.OWNER) -> Iterator[str]:
    """An empty database on the server of `dsn`, whose user may create databases and act as `owner`.

    Yields a DSN that acts as `owner`. Raises ConfigurationError without that role, DatabaseUnavailable, Forbidden.
    """
    name = f"callmeback_shadow_{int(time.time())}_{secrets.token_hex(4)}"
    with _connect(dsn) as connection:
        _drop_left_over(connection)
        if not _column(connection, SQL.role_exists, role=owner)[0]:
            raise errors.ConfigurationError(f"The role {owner} is missing on this server; `callmeback up` makes it.")
        _command(connection, SQL.create_command, name=name, owner=owner)
    try:
        yield make_conninfo(dsn, dbname=name, options=f"-c role={owner}")
    finally:
        with _connect(dsn) as connection:
            _command(connection, SQL.drop_command, name=name)


def _drop_left_over(connection: psycopg.Connection[Any]) -> None:
    for name in _column(connection, SQL.left_over, before=int(time.time()) - LEFT_OVER_AFTER_S):
        _command(connection, SQL.drop_command, name=name)


def _connect(dsn: str) -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, cursor_factory=psycopg.RawCursor
        )
    except psycopg.Error as exc:
        raise translate(exc) from exc


def _command(connection: psycopg.Connection[Any], statement: Statement, **params: object) -> None:
    """Run the command that a statement writes."""
    (text,) = _column(connection, statement, **params)
    try:
        connection.execute(str(text).encode())
    except psycopg.errors.InsufficientPrivilege as exc:
        raise errors.ConfigurationError("This user of the server may not make a shadow database.") from exc
    except psycopg.Error as exc:
        raise translate(exc) from exc


def _column(connection: psycopg.Connection[Any], statement: Statement, **params: object) -> list[Any]:
    with connection.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(statement.native, [params[name] for name in statement.parameters] or None)
        return cursor.fetchall()
