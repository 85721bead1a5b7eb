"""Routes of credits, budget, costs and figures."""

from datetime import date
from typing import Annotated, Final

import msgspec
from litestar import get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter

from callmeback import money
from callmeback.domain import analytics, budgets, costs, credits
from callmeback.domain.analytics import DAYS_DEFAULT, DAYS_MAX, Analytics
from callmeback.domain.budgets import Budget, BudgetChange
from callmeback.domain.costs import CostGroup, GroupBy
from callmeback.domain.credits import Account, Transaction
from callmeback.web.api.pages import LIMIT_DEFAULT, Cursor, Limit, Page, cursor, key_of
from callmeback.web.problems import documented
from callmeback.web.session import Caller

TAG = ["money"]

# A full-date of RFC 3339, or a date-time with its offset; `costs.day_asked` reads it.
DAY_OR_TIME: Final = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])([Tt]\d{2}:\d{2}:\d{2}(\.\d{1,6})?([Zz]|[+-]\d{2}:\d{2}))?$"
)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """A cost report; `next` is always null, a period fits on one page."""

    items: list[CostGroup]
    next: str | None = None
    first_day: date
    last_day: date
    group_by: GroupBy
    total_cents: str


class _LedgerKey(msgspec.Struct, frozen=True):
    seq: int


@get("/api/credits", tags=TAG, responses=documented(401))
async def show_credits(caller: NamedDependency[Caller]) -> Account:
    """Your credits, and the limits of your plan."""
    async with caller.transaction(read_only=True) as tx:
        return await credits.account(tx, caller.user_id, caller.user.timezone)


@get("/api/credits/transactions", tags=TAG, responses=documented(401))
async def list_transactions(
    caller: NamedDependency[Caller], limit: Limit = LIMIT_DEFAULT, cursor_: Cursor = None
) -> Page[Transaction]:
    """The ledger, newest first."""
    key = key_of(cursor_, _LedgerKey)
    async with caller.transaction(read_only=True) as tx:
        found = await credits.transactions(tx, caller.user_id, None if key is None else key.seq, limit + 1)
    more = len(found) > limit

    return Page(found[:limit], cursor(_LedgerKey(found[limit - 1].seq)) if more else None)


@get("/api/budget", tags=TAG, responses=documented(401))
async def show_budget(caller: NamedDependency[Caller]) -> Budget:
    """Your limits and this month's spending; the defaults where none were set."""
    async with caller.transaction(read_only=True) as tx:
        return await budgets.budget(tx, caller.user_id, caller.user.timezone)


@put("/api/budget", tags=TAG, responses=documented(401, 403))
async def change_budget(caller: NamedDependency[Caller], data: JSONBody[BudgetChange]) -> Budget:
    """Change limits; a lowered one cuts a call in progress short, a raised one holds from the next call on."""
    async with caller.transaction() as tx:
        await budgets.change(tx, caller.user_id, data)
        return await budgets.budget(tx, caller.user_id, caller.user.timezone)


@get("/api/costs", tags=TAG, responses=documented(401))
async def show_costs(
    caller: NamedDependency[Caller],
    first: Annotated[
        str | None, QueryParameter(name="from", pattern=DAY_OR_TIME, description="First local day, or a time in it.")
    ] = None,
    last: Annotated[
        str | None,
        QueryParameter(name="to", pattern=DAY_OR_TIME, description="Last local day, included, or a time in it."),
    ] = None,
    group_by: Annotated[GroupBy, QueryParameter(description="What a line stands for.")] = "day",
) -> Costs:
    """What your calls cost, by day, persona or vendor; by default over the last 30 days."""
    async with caller.transaction(read_only=True) as tx:
        timezone = caller.user.timezone
        days = costs.period(timezone, costs.day_asked(first, timezone, "from"), costs.day_asked(last, timezone, "to"))
        lines, total = await costs.report(tx, caller.user_id, timezone, days, group_by)

    return Costs(
        items=lines,
        first_day=days.first,
        last_day=days.last,
        group_by=group_by,
        total_cents=money.format_cents(total),
    )


@get("/api/analytics", tags=TAG, responses=documented(401))
async def show_analytics(
    caller: NamedDependency[Caller],
    days: Annotated[int, QueryParameter(ge=1, le=DAYS_MAX, description="Local days, today included.")] = DAYS_DEFAULT,
) -> Analytics:
    """Figures over your calls: how many, how long, with whom, how they ended, at what cost."""
    async with caller.transaction(read_only=True) as tx:
        return await analytics.analytics(tx, caller.user_id, caller.user.timezone, days)


HANDLERS = (show_credits, list_transactions, show_budget, change_budget, show_costs, show_analytics)
