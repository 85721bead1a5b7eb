"""`/v2` on the loopback over a database of its own; `room` is what a test holds of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import MakeKey
from tests.sqlproxy.socket.room import BUDGET, Room, serving

from callmeback.pg.pool import Database
from callmeback.settings import Settings


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand in the database, with a table to play with."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE things (id int PRIMARY KEY, word text NOT NULL)")
        connection.execute("INSERT INTO things SELECT n, 'word ' || n FROM generate_series(1, 100) AS n")
        yield connection


@pytest.fixture
async def room(
    cluster: Cluster,
    books: psycopg.Connection,
    owner: Database,
    make_key: MakeKey,
    database_url: str,
    tmp_path: Path,
) -> AsyncIterator[Room]:
    settings = Settings(
        home=tmp_path,
        database_url=database_url,
        role_secret=cluster.role_secret,
        pool_max=BUDGET,
        pool_wait_s=0.5,
    )
    async with serving(settings, books, owner, make_key) as room:
        yield room
