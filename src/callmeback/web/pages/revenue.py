"""The operator's page: revenue, what calls cost, and what is left, by day, tier and persona. For admins alone."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback.domain import books
from callmeback.domain.books import Row
from callmeback.web.pages import charts, frame, surroundings, words
from callmeback.web.services import Services
from callmeback.web.session import Caller

SPANS: Final = (7, 30, 90)
SPAN_DEFAULT: Final = 30


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Three figures of something, and how many calls stand behind them."""

    name: str
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
    today = datetime.now(UTC).date()
    shown = [today - timedelta(days=back) for back in reversed(range(span))]
    period = books.period(shown[0], today)
    async with caller.admin_transaction() as tx:
        by_day = await books.margin(tx, "day", period)
        by_tier = await books.margin(tx, "tier", period)
        by_persona = await books.margin(tx, "persona", period)
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
    lines = [_line(row, words.weekday_of(row["day"])) for row in by_day]

    return frame.page(
        request,
        services,
        "revenue.html",
        caller=caller,
        place="revenue",
        surroundings=around,
        span=span,
        spans=SPANS,
        totals=_total(lines),
        chart=_chart(shown, by_day),
        by_day=lines,
        by_tier=[_line(row, row["tier"].capitalize()) for row in by_tier],
        by_persona=[_line(row, row["persona_name"]) for row in by_persona],
    )


def _line(row: Row, name: str) -> Line:
    figures = {key: row[key] for key in ("calls", "revenue_cents", "cost_cents", "margin_cents")}

    return Line(name=name, **figures)


def _total(lines: Sequence[Line]) -> Line:
    return Line(
        name="",
        calls=sum(line.calls for line in lines),
        revenue_cents=sum((line.revenue_cents for line in lines), Decimal(0)),
        cost_cents=sum((line.cost_cents for line in lines), Decimal(0)),
        margin_cents=sum((line.margin_cents for line in lines), Decimal(0)),
    )


def _chart(shown: list[date], by_day: Sequence[Row]) -> charts.PairChart:
    revenue = {row["day"]: row["revenue_cents"] for row in by_day}

    return charts.pairs(shown, revenue, {row["day"]: row["cost_cents"] for row in by_day})


HANDLERS: Final = (show_revenue,)
