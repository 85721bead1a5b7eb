"""`/v2` on the loopback over a database of its own; `room` is what a test holds of it.

Where a module's tests leave nothing behind they share one, `shared_room`: to make it takes longer than most of them.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import MakeKey, key_maker, workshop_of
from tests.sqlproxy.socket.room import BUDGET, HUNDRED, THINGS, Room, serving

from callmeback.pg.pool import Database
from callmeback.settings import Settings


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand in the database, with a table to play with."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(THINGS)
        connection.execute(HUNDRED)
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
    async with serving(_settings(cluster, database_url, tmp_path), books, owner, make_key) as room:
        yield room


@pytest.fixture(scope="module")
async def shared_room(
    cluster: Cluster, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Room]:
    settings = _settings(cluster, module_database_url, tmp_path_factory.mktemp("home"))
    with psycopg.connect(module_database_url, autocommit=True) as books:
        books.execute(THINGS)
        async with Database.open(module_database_url, name="owner", max_size=2, wait_s=5.0) as owner:
            make_key = key_maker(owner, workshop_of(cluster, module_database_url), module_database_url)
            async with serving(settings, books, owner, make_key) as room:
                yield room


def _settings(cluster: Cluster, database_url: str, home: Path) -> Settings:
    return Settings(
        home=home, database_url=database_url, role_secret=cluster.role_secret, pool_max=BUDGET, pool_wait_s=0.5
    )
