"""Whether a new connection gets in, and in one word why it doesn't: for people who look for the cause.

A refusal at the door carries no SQLSTATE that libpq would hand on, so the server's English words are read.
"""

import asyncio
from typing import Final, Literal

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

from callmeback.pg import statements

SQL: Final = statements.load("callmeback.pg", "session.sql")

KNOCK_WITHIN_S: Final = 5
SAID_LENGTH_MAX: Final = 200
DEFAULT_HOST: Final = "localhost"
DEFAULT_PORT: Final = "5432"

Kind = Literal["refused", "silent", "full", "password", "database", "starting", "other"]
# Parts of what libpq or the server says, the first that fits.
_SAID: Final[tuple[tuple[str, Kind], ...]] = (
    ("too many clients", "full"),
    ("remaining connection slots are reserved", "full"),
    ("too many connections", "full"),
    ("password authentication failed", "password"),
    ("no password supplied", "password"),
    ("does not exist", "database"),
    ("not currently accepting connections", "database"),
    ("starting up", "starting"),
    ("shutting down", "starting"),
    ("in recovery mode", "starting"),
    ("timeout expired", "silent"),
    ("timed out", "silent"),
    ("onnection refused", "refused"),
    ("No such file", "refused"),
    ("ould not translate host name", "refused"),
    ("ame or service not known", "refused"),
)


class Closed(msgspec.Struct, frozen=True):
    """Why nobody gets in: a word, and what was said, which never has the password in it."""

    kind: Kind
    said: str


async def knock(dsn: str, within_s: int = KNOCK_WITHIN_S) -> Closed | None:
    """None when a new connection is answered within the time."""
    try:
        async with asyncio.timeout(within_s + 1):
            connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, connect_timeout=within_s)
            async with connection:
                await connection.execute(SQL.ping.text.encode(), prepare=False)
    except TimeoutError:
        return Closed("silent", f"No answer within {within_s} s.")
    except psycopg.Error as exc:
        return _closed(str(exc), within_s)

    return None


def hosts(dsn: str) -> list[tuple[str, str]]:
    """Host and port of each server that the DSN names; one port may be that of all."""
    parts = conninfo_to_dict(dsn)
    names = str(parts.get("host") or parts.get("hostaddr") or DEFAULT_HOST).split(",")
    ports = str(parts.get("port") or DEFAULT_PORT).split(",")
    if len(ports) == 1:
        ports *= len(names)

    return [(name, port or DEFAULT_PORT) for name, port in zip(names, ports, strict=True)]


def address(dsn: str) -> str:
    """Hosts, ports and database, without the login."""
    places = ",".join(f"{name}:{port}" for name, port in hosts(dsn))

    return f"{places}/{conninfo_to_dict(dsn).get('dbname', '')}"


def _closed(text: str, within_s: int) -> Closed:
    last = text.strip().splitlines()[-1] if text.strip() else "The connection was refused."
    kind: Kind = next((kind for part, kind in _SAID if part in text), "other")
    if kind == "silent":
        return Closed(kind, f"No answer within {within_s} s.")

    return Closed(kind, f"{last[-SAID_LENGTH_MAX:].rstrip('.')}.")
