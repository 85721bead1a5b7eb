"""Which routes there are."""

from typing import Any

from litestar import Response, Router

from callmeback.simulator import routes as simulator_routes
from callmeback.web import health, media, metrics, pages, payment_webhook, problems, session, webhooks
from callmeback.web.api import admin, auth, billing, calendars, calls, money, personas, phones, scenarios, schedules
from callmeback.web.services import Services


def handlers(services: Services) -> list[Any]:
    """Every route handler of the web entrance; the simulator's only where a vendor is simulated."""
    subjects = (
        health,
        metrics,
        auth,
        phones,
        personas,
        scenarios,
        money,
        billing,
        calls,
        schedules,
        calendars,
        admin,
        webhooks,
        payment_webhook,
        media,
    )
    api = Router(
        path="/",
        route_handlers=[handler for subject in subjects for handler in subject.HANDLERS],
        guards=[session.nobody_unknown],
        after_request=_keep_private,
    )
    simulated = [] if services.simulator is None else [simulator_routes(services.simulator)]

    return [api, *simulated, *pages.route_handlers()]


async def _keep_private(response: Response[Any]) -> Response[Any]:
    """Answers are one person's: no cache on the way may keep them, no browser may guess another type."""
    for name, value in problems.PRIVATE.items():
        response.headers.setdefault(name, value)

    return response
