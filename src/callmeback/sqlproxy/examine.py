"""A statement examined before it is registered: as the role that will run it, parsed and planned, never run."""

from typing import Any, Final

import psycopg

from callmeback import errors
from callmeback.pg import statements
from callmeback.pg.errors import translate
from callmeback.pg.statements import Statement
from callmeback.sqlproxy import policy

SQL: Final = statements.load("callmeback.sqlproxy", "examine.sql")

CONNECT_TIMEOUT_S: Final = 5


async def parameter_types(dsn: str, statement: str, calls: frozenset[str]) -> list[str]:
    """The names of the types of its parameters, in order; `dsn` logs in as the key's role, which may call `calls`.

    Raises ValidationFailed, with the policy's or PostgreSQL's own words, for a statement that would be refused at every
    use, or that the role lacks a privilege for; DatabaseUnavailable.
    """
    verdict = policy.judge(statement, session=False, calls=calls)
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, connect_timeout=CONNECT_TIMEOUT_S, cursor_factory=psycopg.AsyncRawCursor
        ) as connection:
            try:
                # Without parameters psycopg would send a simple query, which may hold several statements.
                await _run(connection, str(await _value(connection, SQL.prepare_command, verdict.text)))
                found: list[str] = await _value(connection, SQL.parameter_types)
                await _run(connection, str(await _value(connection, SQL.explain_command)))
            finally:
                await connection.rollback()
    except psycopg.Error as exc:
        if exc.sqlstate is None or exc.sqlstate.startswith(("08", "28", "53", "57")):
            raise translate(exc) from exc
        raise errors.ValidationFailed(
            f"The statement is refused: {exc.diag.message_primary} ({exc.sqlstate})."
        ) from exc
    if verdict.rule is not None:
        raise errors.ValidationFailed(f"The statement is refused: {verdict.message} ({verdict.sqlstate}).")

    return found


async def _run(connection: psycopg.AsyncConnection[Any], command: str) -> None:
    await connection.execute(command.encode(), prepare=True)


async def _value(connection: psycopg.AsyncConnection[Any], statement: Statement, *values: object) -> Any:
    cursor = await connection.execute(statement.native, values)
    row = await cursor.fetchone()
    assert row is not None, statement.name

    return row[0]
