"""Routes of admins: accounts, reports, live calls. They read only; changes are made by the command line."""

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from callmeback.domain import operators, reports
from callmeback.domain.operators import AccountLine
from callmeback.domain.reports import DAYS_DEFAULT, DAYS_MAX
from callmeback.web.api.pages import LIMIT_DEFAULT, Cursor, Limit, Page, cursor, key_of
from callmeback.web.problems import documented
from callmeback.web.session import Caller

TAG = ["admin"]

Days = Annotated[int, QueryParameter(ge=1, le=DAYS_MAX, description="How many UTC days, today included.")]


class _AccountKey(msgspec.Struct, frozen=True):
    id: str


@get("/api/admin/users", tags=TAG, responses=documented(401, 403))
async def list_users(
    caller: NamedDependency[Caller], limit: Limit = LIMIT_DEFAULT, cursor_: Cursor = None
) -> Page[AccountLine]:
    """Accounts with their balance, newest first."""
    key = key_of(cursor_, _AccountKey)
    async with caller.admin_transaction() as tx:
        found = await operators.accounts(tx, limit=limit + 1, before=None if key is None else key.id)
    more = len(found) > limit

    return Page(found[:limit], cursor(_AccountKey(found[limit - 1].id)) if more else None)


@get("/api/admin/users/{user_id:str}", tags=TAG, responses=documented(401, 403, 404))
async def show_user(caller: NamedDependency[Caller], user_id: FromPath[str]) -> AccountLine:
    """One account, by id or e-mail."""
    async with caller.admin_transaction() as tx:
        return await operators.account(tx, user_id)


@get("/api/admin/reports/{name:str}", tags=TAG, responses=documented(401, 403, 404))
async def show_report(
    caller: NamedDependency[Caller], name: FromPath[str], days: Days = DAYS_DEFAULT
) -> Page[dict[str, Any]]:
    """A report: balances, low_credits, volume, top_personas, revenue, margin, margin_by_tier, margin_by_persona,
    vendor_costs or dearest_calls."""
    async with caller.admin_transaction() as tx:
        return Page(await reports.report(tx, name, days))


@get("/api/admin/calls/live", tags=TAG, responses=documented(401, 403))
async def list_live_calls(caller: NamedDependency[Caller]) -> Page[dict[str, Any]]:
    """Calls that go on, with what they have used so far."""
    async with caller.admin_transaction() as tx:
        return Page(await reports.live_calls(tx))


HANDLERS = (list_users, show_user, show_report, list_live_calls)
