"""What tests of plans share: people with plans, over a database that knows what the models in use cost."""

from collections.abc import AsyncIterator

import pytest
from tests.worker.plans import SETTINGS, Plans

from callmeback.domain import costs
from callmeback.pg.pool import Database


@pytest.fixture
async def plans(database_url: str, worker: Database) -> AsyncIterator[Plans]:
    made = Plans(database_url)
    async with worker.transaction() as tx:
        await costs.ensure_card(tx, SETTINGS)
    yield made
    made.books.close()
