"""One command outside any transaction, as VACUUM and CREATE INDEX CONCURRENTLY want it."""

from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callmeback.pg.errors import translate

CONNECT_TIMEOUT_S: Final = 10


async def run(dsn: str, text: str, *, seconds_max: int, lock_seconds_max: int) -> None:
    """Run `text`, a command that the server itself wrote from its catalogue; raises domain errors."""
    options = (
        f"{conninfo_to_dict(dsn).get('options') or ''} -c statement_timeout={seconds_max}s "
        f"-c lock_timeout={lock_seconds_max}s -c client_connection_check_interval=1s"
    )
    try:
        async with await psycopg.AsyncConnection.connect(
            make_conninfo(dsn, options=options, application_name="callmeback doctor"),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
        ) as connection:
            await connection.execute(text.encode(), prepare=False)
    except psycopg.Error as exc:
        raise translate(exc) from exc
