"""A proxy over a database of its own, with a table of things that its key may read and write."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.conftest import Cluster
from tests.sqlproxy.conftest import MakeKey
from tests.sqlproxy.engine.running import Running, serving

from callmeback.settings import Settings

THINGS = """
CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy, really');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE point3 AS (x int, label text);
CREATE TABLE things (id int PRIMARY KEY, word text NOT NULL UNIQUE, size int CHECK (size >= 0));
INSERT INTO things SELECT n, 'word ' || n, n FROM generate_series(1, 100) AS n;
"""


@pytest.fixture
def settings(cluster: Cluster, database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        database_url=database_url,
        jwt_secret="j" * 32,
        role_secret=cluster.role_secret,
        pool_max=4,
        pool_wait_s=0.5,
    )


@pytest.fixture
def hand(database_url: str) -> Iterator[psycopg.Connection]:
    """The owner's hand in the database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(THINGS)
        yield connection


@pytest.fixture
async def proxy(settings: Settings, make_key: MakeKey, hand: psycopg.Connection) -> AsyncIterator[Running]:
    async with serving(settings, make_key, reads=("personas",), writes=("personas",), pii=True) as running:
        share(hand, running.role)
        yield running


def share(hand: psycopg.Connection, role: str) -> None:
    """What the key's grants don't know: things."""
    hand.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON things TO {role}")
