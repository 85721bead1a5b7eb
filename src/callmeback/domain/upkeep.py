"""Periodic clean-up: what expired is removed, partitions are made ahead and dropped in time."""

from typing import Final

from callmeback.pg import statements
from callmeback.pg.pool import Database, Session

SQL: Final = statements.load("callmeback.domain", "upkeep.sql")

SWEEP_ROWS_MAX: Final = 10_000
ERASURES_MAX: Final = 1_000


async def sweep(tx: Session) -> int:
    """Remove expired tokens, attempt counters and idempotency keys; answers how many rows went."""
    removed = await tx.value(SQL.sweep, limit=SWEEP_ROWS_MAX)

    return int(removed)


async def erase_again(db: Database) -> int:
    """Empty people of what was being written while they were erased; answers how many."""
    for done in range(ERASURES_MAX):
        async with db.transaction() as tx:
            if not await tx.value(SQL.erase_again):
                return done

    return ERASURES_MAX


async def keep_partitions(tx: Session) -> int:
    """Make the months of cost events to come and drop those past 90 days; answers how many were made or dropped."""
    made = await tx.value(SQL.make_partitions)
    dropped = await tx.value(SQL.drop_partitions)

    return int(made) + int(dropped)
