"""Routes of admins: accounts, reports, live calls. They read only; changes are made by the command line."""

from typing import Annotated, Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from callmeback.domain import operators, reports
from callmeback.domain.operators import AccountLine
from callmeback.domain.reports import DAYS_MAX, ReportLine
from callmeback.ops.doctor import Verdict
from callmeback.web.api.pages import LIMIT_DEFAULT, Cursor, Limit, Page, cursor, key_of
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["admin"]

Days = Annotated[
    int | None,
    QueryParameter(ge=1, le=DAYS_MAX, description="How many UTC days, today included; without it the report's own."),
]
OneUser = Annotated[str | None, QueryParameter(max_length=254, description="E-mail or id: of this account alone.")]
Area = Annotated[str | None, QueryParameter(max_length=32, description="One area of checks.")]


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


@get("/api/admin/reports", tags=TAG, responses=documented(401, 403))
async def list_reports(caller: NamedDependency[Caller]) -> Page[ReportLine]:
    """Which reports there are, and how many days each looks back by itself."""
    async with caller.admin_transaction():
        return Page(reports.lines())


@get("/api/admin/reports/{name:str}", tags=TAG, responses=documented(401, 403, 404))
async def show_report(
    caller: NamedDependency[Caller], name: FromPath[str], days: Days = None, user: OneUser = None
) -> Page[dict[str, Any]]:
    """A report by its name: those of `GET /api/admin/reports`."""
    async with caller.admin_transaction() as tx:
        return Page(await reports.report(tx, name, days, user))


@get("/api/admin/doctor", tags=TAG, responses=documented(401, 403, 404))
async def examine(
    caller: NamedDependency[Caller], services: NamedDependency[Services], area: Area = None
) -> Page[Verdict]:
    """What the doctor finds, of one area or of all, as far as the web process may look."""
    async with caller.admin_transaction():
        pass

    return Page(await services.clinic.examine(area))


@get("/api/admin/calls/live", tags=TAG, responses=documented(401, 403))
async def list_live_calls(caller: NamedDependency[Caller]) -> Page[dict[str, Any]]:
    """Calls that go on, with what they have used so far."""
    async with caller.admin_transaction() as tx:
        return Page(await reports.live_calls(tx))


HANDLERS = (list_users, show_user, list_reports, show_report, examine, list_live_calls)
