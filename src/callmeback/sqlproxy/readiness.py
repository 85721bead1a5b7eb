"""Whether the process lives, and whether it can serve: the database answers, keys are known, the queue has room."""

import asyncio
from typing import Final

import orjson

from callmeback import errors
from callmeback.sqlproxy.services import Services

HEALTHY: Final = orjson.dumps({"status": "ok"})
LOOK_S: Final = 2.0


async def report(services: Services) -> tuple[int, bytes]:
    """Status and body of /ready: 503 with the parts that are missing."""
    parts = await _parts(services)
    is_ready = all(state == "ok" for state in parts.values())

    return 200 if is_ready else 503, orjson.dumps({"status": "ready" if is_ready else "unready", "parts": parts})


async def is_ready(services: Services) -> bool:
    """Whether every part is there."""
    return all(state == "ok" for state in (await _parts(services)).values())


async def _parts(services: Services) -> dict[str, str]:
    return {
        "database": await _database(services),
        "pool": "saturated" if services.pools.is_saturated else "ok",
        "service": "draining" if services.is_draining else "ok",
    }


async def _database(services: Services) -> str:
    """Through the keyring, whose connections are no request's: a full pool is no dead database."""
    try:
        async with asyncio.timeout(LOOK_S):
            await services.keyring.ping()
    except (errors.CallMeBackError, TimeoutError):
        return "unreachable"

    return "ok"
