"""What several tests of `callmeback.pg` need."""

import pytest
from tests.pg.notes import SQL

from callmeback.pg.pool import Database


@pytest.fixture
async def notes(owner: Database) -> Database:
    async with owner.transaction() as tx:
        await tx.run(SQL.make_table)

    return owner
