"""The way to the payment provider's pages and back."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State

from callmeback import errors
from callmeback.payments.accounts import origin_of, page_origins
from callmeback.payments.checkout import Desk
from callmeback.payments.checkout import Page as Payment
from callmeback.settings import Settings
from callmeback.web.calls import desk_of
from callmeback.web.pages import frame
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]


def desk(request: Asked, services: Services, caller: Caller) -> Desk:
    """Where this person pays, and comes back to the site as their browser calls it."""
    return msgspec.structs.replace(desk_of(services, caller), base_url=_site(request, services.settings))


def _site(request: Asked, settings: Settings) -> str:
    """This machine has two names, and the browser sends its cookies to the one they came from only."""
    near = f"localhost:{settings.port}"
    if settings.public_url is None and request.headers.get("host") == near:
        return f"http://{near}"

    return settings.base_url


def leads_to(services: Services) -> tuple[str, ...]:
    """Where a form may lead that ends on the provider's page."""
    return page_origins(services.settings)


def go_and_pay(request: Asked, services: Services, payment: Payment) -> Response[Any]:
    """On to the provider's page. At an address of the operator's own there the person presses once more."""
    if payment.is_changed or origin_of(payment.url) in leads_to(services):
        return frame.go(payment.url)

    return frame.word(
        request,
        services,
        200,
        heading="One more step",
        sentence="The page on which you pay stands with our payment provider.",
        way=(payment.url, "Go on to it"),
    )


def sentence_of(error: errors.CallMeBackError) -> str:
    """What a refusal means for somebody who was about to pay."""
    if isinstance(error, errors.PaymentsFailed):
        return "The payment service didn't answer as it should. Nothing was charged; please try again in a moment."

    return error.detail
