"""What the tests of the voice share: a price card like the seeded one."""

from decimal import Decimal

import pytest

from callmeback.voice.meter import Price, PriceCard


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def card():
    """The specification's rates: 1.30 cents a minute, 0.43, 10 per million tokens, 15 per 1,000 characters."""
    million = 1_000_000
    return PriceCard(
        carrier_second=Price(Decimal("1.30"), 60),
        listener_second=Price(Decimal("0.43"), 60),
        brain_input=Price(Decimal(10), million),
        brain_output=Price(Decimal(10), million),
        voice_character=Price(Decimal(15), 1000),
        fallback_input=Price(Decimal(10), million),
        fallback_output=Price(Decimal(10), million),
        local_character=Price(Decimal(0), 1000),
    )
