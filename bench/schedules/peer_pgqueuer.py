"""One claimer of pgqueuer: `peer_pgqueuer.py DSN SECONDS`, or `DSN install`. Its own queries alone.

Batches of a hundred, as ours.
"""

import asyncio
import sys
import time
import uuid
from datetime import timedelta

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import EntrypointExecutionParameter, Queries

BATCH = 100
HEARTBEAT = timedelta(seconds=30)


async def main(dsn: str, what: str) -> None:
    """Install the schema, or claim and complete until the time is over."""
    connection = await asyncpg.connect(dsn)
    try:
        queries = Queries(AsyncpgDriver(connection))
        if what == "install":
            await queries.install()
        else:
            print(await claim(queries, float(what)))
    finally:
        await connection.close()


async def claim(queries: Queries, seconds: float) -> int:
    """How many jobs were claimed and completed."""
    done, manager = 0, uuid.uuid4()
    calls = {"calls": EntrypointExecutionParameter(concurrency_limit=0)}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        jobs = await queries.dequeue(BATCH, calls, manager, None, HEARTBEAT)
        if not jobs:
            return done
        await queries.log_jobs([(job, "successful", None) for job in jobs])
        done += len(jobs)
    return done


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
