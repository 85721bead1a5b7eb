"""Which routes there are."""

from typing import Any

from callmeback.simulator import routes as simulator_routes
from callmeback.web import health, media, metrics, pages, webhooks
from callmeback.web.api import admin, auth, calls, money, personas, phones, scenarios
from callmeback.web.services import Services


def handlers(services: Services) -> list[Any]:
    """Every route handler of the web entrance; the simulator's only where a vendor is simulated."""
    subjects = (health, metrics, auth, phones, personas, scenarios, money, calls, admin, webhooks, media)
    api_handlers = [handler for subject in subjects for handler in subject.HANDLERS]
    simulated = [] if services.simulator is None else [simulator_routes(services.simulator)]

    return [*api_handlers, *simulated, *pages.route_handlers()]
