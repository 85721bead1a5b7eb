"""A proxy over a database of its own, with a table of things that its key may read and write.

Where a module's tests leave nothing behind they share one, `shared`: to make it takes longer than most of them.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import MakeKey, key_maker, workshop_of
from tests.sqlproxy.engine.running import Running, serving

from callmeback.pg.pool import Database
from callmeback.settings import Settings

THINGS = """
CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy, really');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE point3 AS (x int, label text);
CREATE TABLE things (id int PRIMARY KEY, word text NOT NULL UNIQUE, size int CHECK (size >= 0));
"""
HUNDRED = "INSERT INTO things SELECT n, 'word ' || n, n FROM generate_series(1, 100) AS n"


@pytest.fixture
def settings(cluster: Cluster, database_url: str, tmp_path: Path) -> Settings:
    return settings_of(cluster, database_url, tmp_path)


def settings_of(cluster: Cluster, database_url: str, home: Path) -> Settings:
    """A small proxy's."""
    return Settings(
        home=home,
        database_url=database_url,
        jwt_secret="j" * 32,
        role_secret=cluster.role_secret,
        pool_max=4,
        pool_wait_s=5.0,
    )


@pytest.fixture
def hand(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand in the database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(THINGS)
        connection.execute(HUNDRED)
        yield connection


@pytest.fixture
async def proxy(settings: Settings, make_key: MakeKey, hand: psycopg.Connection) -> AsyncIterator[Running]:
    async with serving(settings, make_key, reads=("personas",), writes=("personas",), pii=True) as running:
        share(hand, running.role)
        yield running


@pytest.fixture(scope="module")
def shared_hand(module_database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand in the database of `shared`."""
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute(THINGS)
        yield connection


@pytest.fixture(scope="module")
async def shared_proxy(
    cluster: Cluster,
    module_database_url: str,
    shared_hand: psycopg.Connection,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    settings = settings_of(cluster, module_database_url, tmp_path_factory.mktemp("home"))
    async with Database.open(module_database_url, name="owner", max_size=2, wait_s=5.0) as owner:
        make_key = key_maker(owner, workshop_of(cluster, module_database_url), module_database_url)
        async with serving(settings, make_key, reads=("personas",), writes=("personas",), pii=True) as running:
            share(shared_hand, running.role)
            yield running


@pytest.fixture
def shared(shared_proxy: Running, shared_hand: psycopg.Connection) -> Running:
    """The module's proxy, as if it were new: a hundred things, nothing in the audit."""
    shared_hand.execute("TRUNCATE things")
    shared_hand.execute(HUNDRED)
    shared_proxy.records.clear()

    return shared_proxy


def share(hand: psycopg.Connection, role: str) -> None:
    """What the key's grants don't know: things."""
    hand.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON things TO {role}")
