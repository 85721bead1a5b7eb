"""The payment provider's webhook: verified over its raw body, stored, applied and acknowledged in one commit."""

from typing import Any

from litestar import Request, post
from litestar.datastructures import State
from litestar.di import NamedDependency

from callmeback.payments import events
from callmeback.payments.accounts import WEBHOOK_PATH
from callmeback.providers import stripe_events
from callmeback.web.services import Services


@post(WEBHOOK_PATH, status_code=200, include_in_schema=False)
async def receive(request: Request[Any, Any, State], services: NamedDependency[Services]) -> dict[str, bool]:
    """An event. What we can't use is acknowledged too, once it is stored: sent again it would be no better."""
    event = stripe_events.verified(
        await request.body(),
        request.headers.get(stripe_events.SIGNATURE_HEADER),
        services.cashier.config.webhook_secret,
    )
    await events.receive(services.voice, event)

    return {"received": True}


HANDLERS = (receive,)
