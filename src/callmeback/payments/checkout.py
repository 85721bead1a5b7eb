"""Buying: a pack, a plan, another plan, the end of one.

Each is the same story: write what is wanted and commit, ask the provider, write its answer and commit. Whoever dies in
between has charged nobody twice: the provider knows each request by our id, and its events bring the rest.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

import msgspec

from callmeback import errors, ids
from callmeback.domain import payments, plans
from callmeback.domain.payments import PackOrder
from callmeback.domain.plans import PlanOrder, Subscription
from callmeback.pg.pool import Session
from callmeback.providers import stripe
from callmeback.providers.failures import VendorRefused
from callmeback.providers.stripe import Cashier, Checkout, Declined, Item, Marks

T = TypeVar("T")

Open = Callable[[], AbstractAsyncContextManager[Session]]

RETURN_PATH: Final = "/credits?paid={CHECKOUT_SESSION_ID}"
CANCEL_PATH: Final = "/credits?canceled=1"
PORTAL_RETURN_PATH: Final = "/credits"


class Desk(msgspec.Struct, frozen=True):
    """Where somebody buys: the provider, how to open a transaction as this person, and where our pages are."""

    cashier: Cashier
    open: Open
    user_id: str
    base_url: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser. `session_id` None and `is_changed` where nothing is left to be paid on a page."""

    url: str
    session_id: str | None = None
    is_changed: bool = False


async def buy_pack(desk: Desk, order: PackOrder) -> Page:
    """Begin the purchase of a pack; raises NotFound, CouponInvalid, PaymentsFailed."""
    purchase = ids.new("pur")
    try:
        async with desk.open() as tx:
            offer = await payments.begin_purchase(tx, desk.user_id, purchase, order)
    except errors.CouponInvalid:
        # Perhaps it is in a checkout of their own that they left: that one ends, unless it was paid.
        if order.coupon is None or not await _leave_purchase(desk, order.coupon):
            raise
        async with desk.open() as tx:
            offer = await payments.begin_purchase(tx, desk.user_id, purchase, order)
    marks = Marks(user_id=desk.user_id, reference=purchase, purpose="pack")
    item = Item(name=offer.name, amount_cents=int(offer.amount_cents), currency=offer.currency)
    try:
        async with _vendor():
            checkout = await _for_customer(
                desk, lambda customer: desk.cashier.pack_checkout(item, marks, customer, *_urls(desk))
            )
    except errors.PaymentsFailed as exc:
        if isinstance(exc.__cause__, VendorRefused):
            async with desk.open() as tx:
                await payments.fail_purchase(tx, desk.user_id, purchase)
        raise
    async with desk.open() as tx:
        is_wanted = await payments.note_checkout(tx, desk.user_id, purchase, checkout.session_id, checkout.url)
    if not is_wanted:
        await _take_away(desk, checkout)

    return Page(url=checkout.url, session_id=checkout.session_id)


async def _leave_purchase(desk: Desk, coupon: str) -> bool:
    async with desk.open() as tx:
        left = await payments.open_purchase(tx, desk.user_id, coupon)
    if left is None:
        return False
    if left.session_id is not None:
        async with _vendor():
            if not await desk.cashier.expire_checkout(left.session_id):
                return False
    async with desk.open() as tx:
        await payments.fail_purchase(tx, desk.user_id, left.id)

    return True


async def _take_away(desk: Desk, checkout: Checkout) -> None:
    """Another request of this person's has given the checkout up before its page was there: nobody pays on it.

    Raises PaymentsFailed, unless it was paid: that counts.
    """
    async with _vendor():
        is_gone = await desk.cashier.expire_checkout(checkout.session_id)
    if is_gone:
        raise errors.PaymentsFailed()


async def choose_plan(desk: Desk, order: PlanOrder) -> Page:
    """Begin a plan, or change to another one; raises UnknownTier, AlreadySubscribed, PaymentDeclined, PaymentsFailed.

    An upgrade is paid and in force at once and its period begins now; credits of the old one stay. Anything else is in
    force from the next period on.
    """
    async with desk.open() as tx:
        current = await plans.subscription(tx, desk.user_id)
    if current is not None and current.is_live:
        await _change_plan(desk, order.tier)
        return Page(url=desk.base_url + PORTAL_RETURN_PATH, is_changed=True)
    subscription = ids.new("plan")
    try:
        async with desk.open() as tx:
            offer = await plans.begin(tx, desk.user_id, subscription, order.tier)
    except errors.AlreadySubscribed:
        if not await _leave_plan(desk):
            raise
        async with desk.open() as tx:
            offer = await plans.begin(tx, desk.user_id, subscription, order.tier)
    item = _plan_item(order.tier, int(offer.price_cents), offer.currency)
    try:
        async with _vendor():
            checkout = await _begin_plan(desk, subscription, order.tier, offer.lookup_key, item)
    except errors.PaymentsFailed as exc:
        if isinstance(exc.__cause__, VendorRefused):
            async with desk.open() as tx:
                await plans.expire_checkout(tx, desk.user_id, subscription)
        raise
    async with desk.open() as tx:
        is_wanted = await plans.note_checkout(tx, desk.user_id, subscription, checkout.session_id, checkout.url)
    if not is_wanted:
        await _take_away(desk, checkout)

    return Page(url=checkout.url, session_id=checkout.session_id)


async def _begin_plan(desk: Desk, subscription: str, tier: str, lookup_key: str, item: Item) -> Checkout:
    price = await desk.cashier.plan_price(lookup_key, item)
    marks = Marks(user_id=desk.user_id, reference=subscription, purpose="plan", tier=tier)

    return await _for_customer(desk, lambda customer: desk.cashier.plan_checkout(price, marks, customer, *_urls(desk)))


async def _leave_plan(desk: Desk) -> bool:
    async with desk.open() as tx:
        left = await plans.open_checkout(tx, desk.user_id)
    if left is None:
        return False
    if left.session_id is not None:
        async with _vendor():
            if not await desk.cashier.expire_checkout(left.session_id):
                return False
    async with desk.open() as tx:
        await plans.expire_checkout(tx, desk.user_id, left.id)

    return True


async def _change_plan(desk: Desk, tier: str) -> None:
    async with desk.open() as tx:
        change = await plans.request_tier(tx, desk.user_id, tier, ids.new("plan"))
    item = _plan_item(tier, int(change.price_cents), change.currency)
    marks = Marks(user_id=desk.user_id, reference=change.subscription_id, purpose="plan", tier=tier)
    try:
        async with _vendor():
            price = await desk.cashier.plan_price(change.lookup_key, item)
            await desk.cashier.change_plan(
                change.stripe_subscription_id, price, marks, now=change.is_upgrade, key=change.request_key
            )
    except (errors.PaymentDeclined, errors.PaymentsFailed) as exc:
        # What is unclear stays written: if it was done after all, the invoice is for the plan that was asked for.
        if isinstance(exc.__cause__, VendorRefused):
            async with desk.open() as tx:
                await plans.withdraw_request(tx, desk.user_id, tier)
        raise
    async with desk.open() as tx:
        await plans.note_cancellation(tx, desk.user_id, change.subscription_id, ends=False)


async def cancel_plan(desk: Desk) -> Subscription:
    """Let a person's plan end with the period that is paid; raises NotFound without one, PaymentsFailed."""
    async with desk.open() as tx:
        current = await plans.subscription(tx, desk.user_id)
    if current is None or not current.is_live:
        raise errors.NotFound("There is no plan to end.")
    async with _vendor():
        await desk.cashier.end_plan_with_period(current.stripe_subscription_id, ends=True)
    async with desk.open() as tx:
        await plans.note_cancellation(tx, desk.user_id, current.id, ends=True)
        found = await plans.subscription(tx, desk.user_id)
    assert found is not None, "a plan is never deleted"

    return found


async def portal(desk: Desk) -> Page:
    """The provider's page for cards and invoices; raises PaymentsFailed."""
    async with _vendor():
        return Page(
            url=await _for_customer(
                desk, lambda customer: desk.cashier.portal(customer, desk.base_url + PORTAL_RETURN_PATH)
            )
        )


async def _for_customer(desk: Desk, ask: Callable[[str], Awaitable[T]]) -> T:
    """Ask for this person, whom the provider gets to know at the first need; anew if it knows them no longer."""
    async with desk.open() as tx:
        known = await payments.customer(tx, desk.user_id)
    if known.customer_id is not None:
        try:
            return await ask(known.customer_id)
        except VendorRefused as exc:
            if exc.vendor_code != stripe.GONE:
                raise
        async with desk.open() as tx:
            await payments.forget_customer(tx, desk.user_id, known.customer_id)
    made = await desk.cashier.create_customer(known.user_id, known.email, known.customer_id)
    async with desk.open() as tx:
        await payments.note_customer(tx, desk.user_id, made)

    return await ask(made)


def _plan_item(tier: str, cents: int, currency: str) -> Item:
    return Item(name=f"{tier.capitalize()} plan", amount_cents=cents, currency=currency)


def _urls(desk: Desk) -> tuple[str, str]:
    return desk.base_url + RETURN_PATH, desk.base_url + CANCEL_PATH


@asynccontextmanager
async def _vendor() -> AsyncIterator[None]:
    """What the provider couldn't do is told in our words."""
    try:
        yield
    except Declined as exc:
        raise errors.PaymentDeclined() from exc
    except errors.VendorFailed as exc:
        raise errors.PaymentsFailed() from exc
