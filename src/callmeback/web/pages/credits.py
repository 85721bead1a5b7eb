"""Credits: what there is, what the plan allows, and every movement."""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback.domain import credits
from callmeback.web.pages import frame, surroundings
from callmeback.web.services import Services
from callmeback.web.session import Caller

ROWS_A_PAGE: Final = 50


@get("/credits")
async def show_credits(
    request: Request[Any, Any, State],
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    before: FromQuery[int | None] = None,
) -> Response[Any]:
    """The account and a page of the ledger, from below a number on."""
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        rows = await credits.transactions(tx, caller.user_id, before, ROWS_A_PAGE + 1)

    return frame.page(
        request,
        services,
        "credits.html",
        caller=caller,
        place="credits",
        surroundings=around,
        credits=around["account"],
        rows=rows[:ROWS_A_PAGE],
        next=rows[ROWS_A_PAGE - 1].seq if len(rows) > ROWS_A_PAGE else None,
    )


HANDLERS: Final = (show_credits,)
