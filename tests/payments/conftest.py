"""A person with an account, and the payment provider's events as facts, handed straight to the database."""

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from tests.payments.till import CARD, PHONE, USER, Till


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The owner's hand in the database, and Ann, who has a verified number and no credits."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SELECT register_user(%s, 'ann@example.org', 'x', 'Ann', 'UTC', %s)", (USER, PHONE))
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        yield connection


@pytest.fixture
def till(books: psycopg.Connection[dict[str, Any]]) -> Till:
    return Till(books, itertools.count(1))
