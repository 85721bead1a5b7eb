"""The operator's page: revenue, what calls cost, and what is left, by day, tier and persona. For admins alone."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback.domain import revenue
from callmeback.domain.revenue import DayMargin
from callmeback.web.pages import charts, frame, surroundings
from callmeback.web.services import Services
from callmeback.web.session import Caller

SPANS: Final = (7, 30, 90)
SPAN_DEFAULT: Final = 30


class Totals(msgspec.Struct, frozen=True):
    """Three figures, and how many calls stand behind them."""

    calls: int
    revenue_cents: Decimal
    cost_cents: Decimal
    margin_cents: Decimal


@get("/admin/revenue")
async def show_revenue(
    request: Request[Any, Any, State],
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    days: FromQuery[int] = SPAN_DEFAULT,
) -> Response[Any]:
    """The last so many UTC days, today included."""
    span = days if days in SPANS else SPAN_DEFAULT
    first = revenue.first_day(span)
    async with caller.admin_transaction() as tx:
        by_day = await revenue.by_day(tx, first)
        by_tier = await revenue.by_group(tx, first, "tier")
        by_persona = await revenue.by_group(tx, first, "persona")
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)

    return frame.page(
        request,
        services,
        "revenue.html",
        caller=caller,
        place="revenue",
        surroundings=around,
        span=span,
        spans=SPANS,
        totals=_totals(by_day),
        chart=_chart(first, span, by_day),
        by_day=by_day,
        by_tier=by_tier,
        by_persona=by_persona,
    )


def _totals(by_day: list[DayMargin]) -> Totals:
    revenue_cents = sum((day.revenue_cents for day in by_day), Decimal(0))
    cost_cents = sum((day.cost_cents for day in by_day), Decimal(0))

    return Totals(sum(day.calls for day in by_day), revenue_cents, cost_cents, revenue_cents - cost_cents)


def _chart(first: date, span: int, by_day: list[DayMargin]) -> charts.PairChart:
    shown = [first + timedelta(days=day) for day in range(span)]

    return charts.pairs(
        shown,
        {day.day: day.revenue_cents for day in by_day},
        {day.day: day.cost_cents for day in by_day},
    )


HANDLERS: Final = (show_revenue,)
