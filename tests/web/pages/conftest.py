"""People with a browser before the pages."""

from collections.abc import AsyncIterator

import pytest
from tests.web.house import House
from tests.web.pages.browser import PHONE, Browser


@pytest.fixture
async def stranger(house: House) -> Browser:
    return Browser(house)


@pytest.fixture
async def mia(house: House) -> Browser:
    """Somebody who has just signed up."""
    browser = Browser(house)
    assert (await browser.sign_up()).status_code == 303

    return browser


@pytest.fixture
async def ready(mia: Browser) -> AsyncIterator[Browser]:
    """Somebody with a number; what rings there rings until it is taken back."""
    await mia.prove_phone()
    await mia.house.script(PHONE, answers="no_answer", ring_seconds=60)
    yield mia
