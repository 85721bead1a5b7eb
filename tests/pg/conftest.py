"""What several tests of `callmeback.pg` need."""

from pathlib import Path

import pytest
from tests.pg.files import Folder
from tests.pg.notes import SQL

from callmeback.pg.pool import Database


@pytest.fixture
async def notes(owner: Database) -> Database:
    async with owner.transaction() as tx:
        await tx.run(SQL.make_table)

    return owner


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder for migration files."""
    return Folder(tmp_path)
