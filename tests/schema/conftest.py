"""The owner's hand in a migrated database, and the same with a known history inside one transaction."""

import itertools
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from tests.conftest import Cluster
from tests.schema import history
from tests.schema.history import Connection

from callmeback.pg import roles

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def lent_database_url(cluster: Cluster, superuser: psycopg.Connection) -> Iterator[str]:
    """One migrated database for a whole module, whose tests leave it as it was or make all of it themselves."""
    name = f"test_schema_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}"
    superuser.execute(f"CREATE DATABASE {name} OWNER {roles.OWNER} TEMPLATE {cluster.template} STRATEGY file_copy")
    try:
        yield make_conninfo(cluster.owner_dsn, dbname=name)
    finally:
        superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def books(lent_database_url: str) -> Iterator[Connection]:
    """One transaction as the owner, in UTC, never committed: now() and CURRENT_DATE stand still in it."""
    with psycopg.connect(lent_database_url, row_factory=dict_row, options="-c timezone=UTC") as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def now(books: Connection) -> datetime:
    """The known history, written; the time that its ages count from."""
    return history.write(books)


def ask(connection: Connection, query: str, *parameters: object) -> list[dict[str, Any]]:
    """Run a query as the specification has it, with `$1` for parameters and percent signs as they stand."""
    with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
        cursor.execute(query.encode(), parameters or None)

        return cursor.fetchall() if cursor.description else []
