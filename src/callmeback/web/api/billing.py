"""Routes of what is paid: packs, plans, receipts. Prices are the house's; a body never names one."""

from datetime import datetime

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from callmeback import errors
from callmeback.domain import payments, plans
from callmeback.domain.payments import Pack, PackOrder, Receipt
from callmeback.domain.plans import PlanOrder, Subscription
from callmeback.payments import checkout
from callmeback.payments.checkout import Page as Payment
from callmeback.web.api.pages import LIMIT_DEFAULT, Cursor, Limit, Page, cursor, key_of
from callmeback.web.calls import desk_of
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller

TAG = ["payments"]


class _ReceiptKey(msgspec.Struct, frozen=True):
    paid_at: datetime
    id: str


@get("/api/credits/packs", tags=TAG, responses=documented(401))
async def list_packs(caller: NamedDependency[Caller]) -> Page[Pack]:
    """Credits for sale."""
    async with caller.transaction(read_only=True) as tx:
        return Page(await payments.packs(tx), None)


@post("/api/credits/checkout", tags=TAG, status_code=201, responses=documented(401, 403, 404, 502))
async def buy_pack(
    caller: NamedDependency[Caller], services: NamedDependency[Services], data: JSONBody[PackOrder]
) -> Payment:
    """Begin to buy a pack; the credits are there once the payment provider says that it is paid."""
    return await checkout.buy_pack(desk_of(services, caller), data)


@get("/api/subscription", tags=TAG, responses=documented(401, 404))
async def show_subscription(caller: NamedDependency[Caller]) -> Subscription:
    """Your newest plan, also one that has ended; 404 before the first."""
    async with caller.transaction(read_only=True) as tx:
        found = await plans.subscription(tx, caller.user_id)
    if found is None:
        raise errors.NotFound("There is no plan.")

    return found


@post("/api/subscription/checkout", tags=TAG, status_code=201, responses=documented(401, 402, 403, 409, 502))
async def choose_plan(
    caller: NamedDependency[Caller], services: NamedDependency[Services], data: JSONBody[PlanOrder]
) -> Payment:
    """Begin a plan, or change to another: a dearer one is paid and in force now, a cheaper one from the next period."""
    return await checkout.choose_plan(desk_of(services, caller), data)


@delete("/api/subscription", tags=TAG, status_code=200, responses=documented(401, 403, 404, 502))
async def end_plan(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Subscription:
    """End your plan with the period that is paid for."""
    return await checkout.cancel_plan(desk_of(services, caller))


@post("/api/subscription/portal", tags=TAG, status_code=201, responses=documented(401, 403, 502))
async def open_portal(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Payment:
    """The payment provider's page for your cards and invoices."""
    return await checkout.portal(desk_of(services, caller))


@get("/api/receipts", tags=TAG, responses=documented(401))
async def list_receipts(
    caller: NamedDependency[Caller], limit: Limit = LIMIT_DEFAULT, cursor_: Cursor = None
) -> Page[Receipt]:
    """What you paid for, newest first, with what was given back of it."""
    key = key_of(cursor_, _ReceiptKey)
    async with caller.transaction(read_only=True) as tx:
        found = await payments.receipts(
            tx,
            caller.user_id,
            before_at=None if key is None else key.paid_at,
            before_id=None if key is None else key.id,
            most=limit + 1,
        )
    more = len(found) > limit
    last = found[limit - 1] if more else None

    return Page(found[:limit], None if last is None else cursor(_ReceiptKey(last.paid_at, last.id)))


HANDLERS = (list_packs, buy_pack, show_subscription, choose_plan, end_plan, open_portal, list_receipts)
