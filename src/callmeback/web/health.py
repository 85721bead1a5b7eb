"""Whether the process lives, and whether it can serve."""

from typing import Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from callmeback import errors
from callmeback.pg import home
from callmeback.web.services import Services

# The services beside this one that note their life in the home.
BEATING: Final = ("proxy", "worker")


class Health(msgspec.Struct, frozen=True):
    status: str


class Readiness(msgspec.Struct, frozen=True):
    """`ready`, or `unready` with what is missing, by part."""

    status: str
    parts: dict[str, str]


UNREADY: Final = {503: ResponseSpec(Readiness, description="Some part is missing.", generate_examples=False)}


@get("/health", tags=["service"], security=[{}])
async def health() -> Health:
    """The process answers."""
    return Health("ok")


@get("/ready", tags=["service"], responses=UNREADY, security=[{}])
async def ready(services: NamedDependency[Services]) -> Response[Readiness]:
    """Every part that a call needs is there; 503 with the parts that are not."""
    parts = {
        "database": await database_state(services),
        "schema": await services.schema_state(),
        "prices": "ok" if services.is_priced else "missing",
        "calls": "draining" if services.draining else "ok",
    }
    # Under `up` this address speaks for the whole house; a web process on its own only for itself.
    for service in home.read_run(services.settings.home).get("services", ()):
        if service in BEATING:
            parts[service] = "ok" if home.is_beating(services.settings.home, service) else "silent"
    is_ready = all(state == "ok" for state in parts.values())

    return Response(Readiness("ready" if is_ready else "unready", parts), status_code=200 if is_ready else 503)


async def database_state(services: Services) -> str:
    """ok, or a word for what is wrong."""
    try:
        await services.api.ping()
    except errors.Overloaded:
        return "saturated"
    except errors.CallMeBackError:
        return "unreachable"

    return "ok"


HANDLERS = (health, ready)
