"""`/v2` on the loopback over a database of its own; `room` is what a test holds of it."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.conftest import Cluster
from tests.sqlproxy.socket.room import Room, serving

from callmeback.pg import roles


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand in the database, with a table to play with."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE things (id int PRIMARY KEY, word text NOT NULL)")
        connection.execute("INSERT INTO things SELECT n, 'word ' || n FROM generate_series(1, 100) AS n")
        yield connection


@pytest.fixture
def role(cluster: Cluster, superuser: psycopg.Connection, books: psycopg.Connection) -> Iterator[str]:
    """A scope's role, which may read and write things."""
    name = f"callmeback_key_{os.urandom(4).hex()}"
    superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{roles.password(cluster.role_secret, name)}'")
    books.execute(f"GRANT USAGE ON SCHEMA public TO {name}")
    books.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON things TO {name}")
    yield name
    with contextlib.closing(psycopg.connect(books.info.dsn, password=books.info.password, autocommit=True)) as again:
        again.execute(f"REVOKE ALL ON things FROM {name}")
        again.execute(f"REVOKE ALL ON SCHEMA public FROM {name}")
    superuser.execute(f"DROP ROLE {name}")


@pytest.fixture
async def room(cluster: Cluster, books: psycopg.Connection, role: str, database_url: str) -> AsyncIterator[Room]:
    def dsn_for(name: str) -> str:
        return make_conninfo(database_url, user=name, password=roles.password(cluster.role_secret, name))

    async with serving(dsn_for, books, role) as room:
        yield room
