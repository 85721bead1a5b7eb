"""The page: server-rendered HTML over the same domain functions as the API. No build step, no foreign host."""

from typing import Any

from litestar import Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from callmeback import errors
from callmeback.web.pages import (
    account,
    assets,
    budget,
    calendar,
    calls,
    costs,
    credits,
    doctor,
    doors,
    feeds,
    frame,
    guard,
    handset,
    home,
    mailbox,
    paying,
    personas,
    phones,
    plans,
    receipts,
    revenue,
    scenarios,
    voices,
)

EXCEPTION_HANDLERS: dict[Any, Any] = {
    NotFoundException: frame.nowhere,
    MethodNotAllowedException: frame.unseen,
}
"""For the whole application: what a browser sees at an address that nothing answers, or only forms are sent to."""


def route_handlers() -> list[Any]:
    """The pages, and the files that they link to."""
    pages = Router(
        path="/",
        route_handlers=[
            *doors.HANDLERS,
            *home.HANDLERS,
            *personas.HANDLERS,
            *calls.HANDLERS,
            *calendar.HANDLERS,
            *feeds.HANDLERS,
            *credits.HANDLERS,
            *plans.HANDLERS,
            *receipts.HANDLERS,
            *paying.HANDLERS,
            *budget.HANDLERS,
            *costs.HANDLERS,
            *revenue.HANDLERS,
            *doctor.HANDLERS,
            *phones.HANDLERS,
            *scenarios.HANDLERS,
            *account.HANDLERS,
            *voices.HANDLERS,
            *handset.HANDLERS,
            *mailbox.HANDLERS,
        ],
        dependencies={"caller": Provide(guard.page_caller), "visitor": Provide(guard.page_visitor)},
        exception_handlers={
            errors.CallMeBackError: frame.domain_error,
            HTTPException: frame.framework_error,
            Exception: frame.unforeseen,
        },
        include_in_schema=False,
    )

    return [pages, *assets.HANDLERS]
