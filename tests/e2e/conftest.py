"""Whole installations for whole stories, people in one for faults and endings, and a browser before them."""

from collections.abc import Iterator

import pytest
from tests.cli.test_up import installation
from tests.e2e.browser import chromium, site
from tests.e2e.house import House, Person, opened

__all__ = ["chromium", "installation", "site"]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with opened() as house:
        yield house


@pytest.fixture(scope="module")
def ann(house: House) -> Person:
    return house.person()


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person()
