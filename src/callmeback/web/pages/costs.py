"""What a month's calls cost, by day, by persona and by vendor."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, get_args

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback.domain import costs, credits
from callmeback.domain.costs import CostGroup, GroupBy
from callmeback.web.pages import charts, frame, surroundings, words
from callmeback.web.services import Services
from callmeback.web.session import Caller

FIRST_YEAR: Final = 2020
MONTH_LENGTH: Final = len("2026-11")
UNITS: Final = {"second": "seconds", "token": "tokens", "character": "characters"}
SERVICES: Final = {
    "twilio": "The line that rings you",
    "deepgram": "Hearing what you say",
    "cerebras": "Thinking of an answer",
    "elevenlabs": "The persona's voice",
}


class Share(msgspec.Struct, frozen=True):
    """A line of the page: what it stands for, what is said of it, and its part of the month."""

    name: str
    about: str
    cents: Decimal
    permille: int


@get("/costs")
async def show_costs(
    request: Request[Any, Any, State],
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    by: FromQuery[str] = "day",
    month: FromQuery[str] = "",
) -> Response[Any]:
    """One month, grouped one way. What can't be read in the address is what it is by default."""
    group_by: GroupBy = next((kind for kind in get_args(GroupBy) if kind == by), "day")
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        timezone = caller.user.timezone
        this_month = credits.local_day(timezone).replace(day=1)
        chosen = _month(month, this_month)
        days = costs.period(timezone, chosen, charts.next_month(chosen) - timedelta(days=1))
        lines, total = await costs.report(tx, caller.user_id, timezone, days, group_by)

    return frame.page(
        request,
        services,
        "costs.html",
        caller=caller,
        place="budget",
        surroundings=around,
        by=group_by,
        month=chosen,
        earlier=(chosen - timedelta(days=1)).replace(day=1) if chosen.year > FIRST_YEAR else None,
        later=charts.next_month(chosen) if chosen < this_month else None,
        shares=[_share(line, total, group_by) for line in lines],
        total=total,
    )


def _month(text: str, this_month: date) -> date:
    """The month that an address names, if it is one that may have calls."""
    try:
        found = date.fromisoformat(f"{text[:MONTH_LENGTH]}-01")
    except ValueError:
        return this_month

    return found if FIRST_YEAR <= found.year and found <= this_month else this_month


def _share(line: CostGroup, total: Decimal, group_by: GroupBy) -> Share:
    cents = Decimal(line.cost_cents)
    if group_by == "vendor":
        quantity = words.number(Decimal(line.quantity or "0"))
        name, about = f"{line.name}", f"{SERVICES[line.key]}: {quantity} {UNITS[line.unit or 'second']}"
    else:
        name = words.weekday_of(date.fromisoformat(line.key)) if group_by == "day" else line.name
        about = f"{words.plural(line.calls or 0, 'call')}, {words.duration(line.duration_seconds)}"

    return Share(name, about, cents, int(cents * 1000 / total) if total else 0)


HANDLERS: Final = (show_costs,)
