"""Providers are asyncio code."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
