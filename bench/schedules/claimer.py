"""One claimer of ours: `python -m bench.schedules.claimer DSN SECONDS`. Prints how many calls it claimed and completed.

What a worker does, with nothing between claim and completion, as for the peers; it begins the call there.
"""

import asyncio
import os
import sys
import time

from callmeback.domain import due
from callmeback.pg.pool import Database

BATCH = 100


async def main(dsn: str, seconds: float) -> int:
    """How many calls were claimed and completed."""
    name, done = f"bench {os.getpid()}", 0
    async with Database.open(dsn, name="bench", max_size=1) as db:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            async with db.transaction() as tx:
                claimed = await due.claim(tx, name, BATCH)
            if not claimed:
                break
            async with db.transaction() as tx:
                done += await due.finish(tx, claimed, "executed", "completed")

    return done


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], float(sys.argv[2]))))
