"""Whether the process lives, and whether it can serve: the database answers, keys are known, the queue has room."""

from typing import Final

import orjson

from callmeback import errors
from callmeback.sqlproxy.services import Services

HEALTHY: Final = orjson.dumps({"status": "ok"})


def report(services: Services) -> tuple[int, bytes]:
    """Status and body of /ready: 503 with the parts that are missing."""
    found = parts(services)
    is_whole = all(state == "ok" for state in found.values())

    return 200 if is_whole else 503, orjson.dumps({"status": "ready" if is_whole else "unready", "parts": found})


def is_ready(services: Services) -> bool:
    """Whether every part is there."""
    return all(state == "ok" for state in parts(services).values())


def parts(services: Services) -> dict[str, str]:
    """Each part with ok, or a word for what is wrong."""
    return {
        "database": _database(services),
        "pool": "saturated" if services.pools.is_saturated else "ok",
        "service": "draining" if services.is_draining else "ok",
    }


def _database(services: Services) -> str:
    """As the keyring finds it twice a second, on a connection that is no request's: a full pool is no dead database."""
    try:
        return "ok" if services.keyring.is_confirmed() else "unreachable"
    except errors.DatabaseUnavailable:
        return "unreachable"
