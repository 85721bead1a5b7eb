"""One claimer of procrastinate: `peer_procrastinate.py DSN SECONDS`, or `DSN install`. Its own manager, without tasks.

It takes one job at a time; it has no batches.
"""

import asyncio
import sys
import time

from procrastinate import PsycopgConnector
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager


async def main(dsn: str, what: str) -> None:
    """Install the schema, or claim and complete until the time is over."""
    connector = PsycopgConnector(conninfo=dsn, min_size=1, max_size=1)
    await connector.open_async()
    try:
        if what == "install":
            await SchemaManager(connector).apply_schema_async()
        else:
            print(await claim(JobManager(connector), float(what)))
    finally:
        await connector.close_async()


async def claim(manager: JobManager, seconds: float) -> int:
    """How many jobs were claimed and completed."""
    worker, done = await manager.register_worker(), 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = await manager.fetch_job(queues=["calls"], worker_id=worker)
        if job is None:
            return done
        await manager.finish_job(job, Status.SUCCEEDED, delete_job=False)
        done += 1
    return done


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
