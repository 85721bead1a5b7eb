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
from callmeback.domain.payments import Offer, OpenCheckout, PackOrder
from callmeback.domain.plans import PlanOffer, PlanOrder, Subscription
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
    """Begin the purchase of a pack; raises NotFound, CouponInvalid, PaymentDeclined, PaymentsFailed."""
    purchase = ids.new("pur")

    async def begin(tx: Session) -> Offer:
        return await payments.begin_purchase(tx, desk.user_id, purchase, order)

    async def leave() -> bool:
        return order.coupon is not None and await _leave_purchase(desk, order.coupon)

    offer = await _begun(desk, begin, errors.CouponInvalid, leave)
    marks = Marks(user_id=desk.user_id, reference=purchase, purpose="pack")
    item = Item(name=offer.name, amount_cents=int(offer.amount_cents), currency=offer.currency)
    async with _asked(desk, lambda tx: payments.fail_purchase(tx, desk.user_id, purchase)):
        checkout = await _for_customer(
            desk, lambda customer: desk.cashier.pack_checkout(item, marks, customer, *_urls(desk))
        )
    async with desk.open() as tx:
        is_wanted = await payments.note_checkout(tx, desk.user_id, purchase, checkout.session_id, checkout.url)

    return await _page(desk, checkout, is_wanted=is_wanted)


async def choose_plan(desk: Desk, order: PlanOrder) -> Page:
    """Begin a plan, or change to another one.

    Raises UnknownTier, AlreadySubscribed, PlanChangeInProgress, PaymentDeclined, PaymentsFailed.
    An upgrade is paid and in force at once and its period begins now; credits of the old one stay. Anything else is in
    force from the next period on.
    """
    async with desk.open() as tx:
        current = await plans.subscription(tx, desk.user_id)
    if current is not None and current.is_live:
        await _change_plan(desk, order.tier)
        return Page(url=desk.base_url + PORTAL_RETURN_PATH, is_changed=True)
    subscription = ids.new("plan")

    async def begin(tx: Session) -> PlanOffer:
        return await plans.begin(tx, desk.user_id, subscription, order.tier)

    offer = await _begun(desk, begin, errors.AlreadySubscribed, lambda: _leave_plan(desk))
    item = _plan_item(order.tier, int(offer.price_cents), offer.currency)
    async with _asked(desk, lambda tx: plans.expire_checkout(tx, desk.user_id, subscription)):
        checkout = await _begin_plan(desk, subscription, order.tier, offer.lookup_key, item)
    async with desk.open() as tx:
        is_wanted = await plans.note_checkout(tx, desk.user_id, subscription, checkout.session_id, checkout.url)

    return await _page(desk, checkout, is_wanted=is_wanted)


async def _begun(
    desk: Desk,
    begin: Callable[[Session], Awaitable[T]],
    refusal: type[errors.CallMeBackError],
    leave: Callable[[], Awaitable[bool]],
) -> T:
    """Write what is wanted. What refuses it may be a checkout of their own that they left: `leave` ends that first.

    Raises the refusal where there is none, or where it was paid.
    """
    try:
        async with desk.open() as tx:
            return await begin(tx)
    except refusal:
        if not await leave():
            raise
    async with desk.open() as tx:
        return await begin(tx)


@asynccontextmanager
async def _asked(desk: Desk, withdraw: Callable[[Session], Awaitable[None]]) -> AsyncIterator[None]:
    """Ask the provider. What it refuses is withdrawn; what is unclear stays written, since its events may bring it."""
    try:
        async with _vendor():
            yield
    except (errors.PaymentDeclined, errors.PaymentsFailed) as exc:
        if isinstance(exc.__cause__, VendorRefused):
            async with desk.open() as tx:
                await withdraw(tx)
        raise


async def _page(desk: Desk, checkout: Checkout, *, is_wanted: bool) -> Page:
    """Where to pay. Unless it is wanted another request of this person's gave it up meanwhile: nobody pays on it.

    Raises PaymentsFailed then, unless it was paid: that counts.
    """
    if not is_wanted:
        async with _vendor():
            is_gone = await desk.cashier.expire_checkout(checkout.session_id)
        if is_gone:
            raise errors.PaymentsFailed()

    return Page(url=checkout.url, session_id=checkout.session_id)


async def _leave_purchase(desk: Desk, coupon: str) -> bool:
    """End the purchase in which a coupon is; False where there is none, or where it was paid."""
    async with desk.open() as tx:
        left = await payments.open_purchase(tx, desk.user_id, coupon)
    if left is None or not await _ends(desk, left):
        return False
    async with desk.open() as tx:
        await payments.fail_purchase(tx, desk.user_id, left.id)

    return True


async def _leave_plan(desk: Desk) -> bool:
    """End the checkout of a plan; False where there is none, or where it was paid."""
    async with desk.open() as tx:
        left = await plans.open_checkout(tx, desk.user_id)
    if left is None or not await _ends(desk, left):
        return False
    async with desk.open() as tx:
        await plans.expire_checkout(tx, desk.user_id, left.id)

    return True


async def _ends(desk: Desk, left: OpenCheckout) -> bool:
    if left.session_id is None:
        return True
    async with _vendor():
        return await desk.cashier.expire_checkout(left.session_id)


async def _begin_plan(desk: Desk, subscription: str, tier: str, lookup_key: str, item: Item) -> Checkout:
    price = await desk.cashier.plan_price(lookup_key, item)
    marks = Marks(user_id=desk.user_id, reference=subscription, purpose="plan", tier=tier)

    return await _for_customer(desk, lambda customer: desk.cashier.plan_checkout(price, marks, customer, *_urls(desk)))


async def _change_plan(desk: Desk, tier: str) -> None:
    async with desk.open() as tx:
        change = await plans.request_tier(tx, desk.user_id, tier, ids.new("plan"))
    item = _plan_item(tier, int(change.price_cents), change.currency)
    marks = Marks(user_id=desk.user_id, reference=change.subscription_id, purpose="plan", tier=tier)
    # What is unclear stays: if it was done after all, the invoice is for the plan that was asked for.
    async with _asked(desk, lambda tx: plans.withdraw_request(tx, desk.user_id, tier)):
        price = await desk.cashier.plan_price(change.lookup_key, item)
        await desk.cashier.change_plan(
            change.stripe_subscription_id, price, marks, now=change.is_upgrade, key=change.request_key
        )
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
