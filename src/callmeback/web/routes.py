"""Which routes there are."""

import importlib
import importlib.util
from typing import Any

from callmeback.simulator import routes as simulator_routes
from callmeback.web import health, media, metrics, webhooks
from callmeback.web.api import admin, auth, calls, money, personas, phones, scenarios
from callmeback.web.services import Services


def handlers(services: Services) -> list[Any]:
    """Every route handler of the web entrance; the simulator's only where a vendor is simulated."""
    subjects = (health, metrics, auth, phones, personas, scenarios, money, calls, admin, webhooks, media)
    api_handlers = [handler for subject in subjects for handler in subject.HANDLERS]
    simulated = [] if services.simulator is None else [simulator_routes(services.simulator)]

    return [*api_handlers, *simulated, *_pages()]


def _pages() -> list[Any]:
    if importlib.util.find_spec("callmeback.web.pages") is None:
        return []
    found: list[Any] = importlib.import_module("callmeback.web.pages").route_handlers()

    return found
