"""How a subscription begins, is renewed, changes its plan, and what is charged for it.

Prorations: time that isn't used is credited and time that is left is charged by the second, half a cent away from zero.
`create_prorations` (the vendor's default) puts both on the next invoice, `always_invoice` on one of their own at once,
`none` charges nothing until the next period. With `billing_cycle_anchor=now`, or another interval, a new period begins
at once: its whole price is charged then, less the credit (which `none` leaves out).
"""

from typing import Final

import msgspec

from callmeback.simulator.payments import intents, invoices, subscriptions
from callmeback.simulator.payments.book import HOUR_SECONDS, Book
from callmeback.simulator.payments.intents import Presence
from callmeback.simulator.payments.records import Customer, Intent, InvoiceLine, Item, Price, Subscription
from callmeback.simulator.payments.refusals import declined

DRAFT_SECONDS: Final = HOUR_SECONDS
INCOMPLETE_SECONDS: Final = 23 * HOUR_SECONDS


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription begins with."""

    customer: Customer
    prices: list[tuple[Price, int]]
    method: str | None
    metadata: dict[str, str]
    origin: str
    coupon: str | None = None
    promotion_code: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of plan: the item's new price and quantity."""

    item: Item
    price: Price
    quantity: int
    proration: str = "create_prorations"
    restart: bool = False
    only_if_paid: bool = False


def begin(book: Book, order: Order) -> Subscription:
    """A subscription that waits for its first payment."""
    now = book.now()
    subscription = Subscription(
        id=book.new_id("sub"),
        created=now,
        metadata=order.metadata,
        customer=order.customer.id,
        currency=order.prices[0][0].currency,
        items=[
            Item(id=book.new_id("si"), created=now, price=price.id, quantity=quantity)
            for price, quantity in order.prices
        ],
        status="incomplete",
        anchor=now,
        period_start=now,
        period_end=now,
        method=order.method,
        coupon=order.coupon,
        promotion_code=order.promotion_code,
        origin=order.origin,
    )
    subscription.period_end = subscriptions.period_end(book, subscription)
    _limit_coupon(book, subscription)
    book.subscriptions.add(subscription)
    subscriptions.tell(book, subscription, "created")
    book.clock.at(now + INCOMPLETE_SECONDS, lambda: subscriptions.expire(book, subscription))
    _plan_renewal(book, subscription)
    return subscription


def _limit_coupon(book: Book, subscription: Subscription) -> None:
    coupon = book.coupons.get(subscription.coupon)
    if coupon is not None and coupon.duration == "repeating":
        months = msgspec.structs.replace(subscription, periods=(coupon.duration_in_months or 1) - 1)
        subscription.coupon_until = subscriptions.period_end(book, months)


def first_invoice(book: Book, subscription: Subscription) -> None:
    """What the first period costs, ready to be paid."""
    invoice = invoices.draw_up(book, subscription, "subscription_create", _period_lines(book, subscription))
    invoices.finalize(book, invoice)


def pay_first(book: Book, subscription: Subscription, presence: Presence) -> None:
    """Charge for the first period, with the method that the subscription has."""
    invoice = book.invoices[subscription.latest_invoice]
    if invoice.status == "open":
        invoices.collect(book, invoice, presence)


def paid_by(book: Book, subscription: Subscription, intent: Intent) -> None:
    """The first period was paid with this intent, in Checkout."""
    invoice = book.invoices[subscription.latest_invoice]
    if invoice.status == "open":
        invoices.link(book, invoice, intent)
        invoices.follow(book, intent)


def _period_lines(book: Book, subscription: Subscription) -> list[InvoiceLine]:
    return [_line(book, subscription, item) for item in subscription.items]


def _line(book: Book, subscription: Subscription, item: Item) -> InvoiceLine:
    price = book.prices[item.price]
    return InvoiceLine(
        id=book.new_id("il"),
        amount=price.unit_amount * item.quantity,
        description=f"{item.quantity} × {book.products[price.product].name}",
        price=price.id,
        quantity=item.quantity,
        start=subscription.period_start,
        end=subscription.period_end,
        item=item.id,
    )


def _plan_renewal(book: Book, subscription: Subscription) -> None:
    at = subscription.period_end
    book.clock.at(at, lambda: _renew(book, subscription, at))


def _renew(book: Book, subscription: Subscription, at: int) -> None:
    if subscription.period_end != at or subscription.status in {*subscriptions.OVER, "incomplete"}:
        return
    if subscription.cancel_at_period_end:
        subscriptions.end(book, subscription, "cancellation_requested")
        return
    before = {"current_period_start": subscription.period_start, "current_period_end": subscription.period_end}
    subscription.periods += 1
    subscription.period_start, subscription.period_end = at, subscriptions.period_end(book, subscription)
    invoice = invoices.draw_up(book, subscription, "subscription_cycle", _period_lines(book, subscription))
    subscriptions.tell(book, subscription, "updated", items={"data": [before]}, latest_invoice=None)
    _plan_renewal(book, subscription)

    def finish() -> None:
        if subscription.status in subscriptions.OVER or invoice.status != "draft":
            return
        invoices.finalize(book, invoice)
        if invoice.status == "open":
            invoices.collect(book, invoice)

    book.clock.at(at + DRAFT_SECONDS, finish)


def change(book: Book, subscription: Subscription, change: Change) -> None:
    """Change the plan, and charge as asked. Raises Refusal when it is to be done only if paid, and won't be."""
    item, old = change.item, book.prices[change.item.price]
    same_interval = (old.interval, old.interval_count) == (change.price.interval, change.price.interval_count)
    restart = change.restart or not same_interval
    at_once = restart or change.proration == "always_invoice"
    if change.only_if_paid and at_once:
        _refuse_unpaid(book, subscription)
    was = {"price": old.id, "quantity": item.quantity}
    lines = [] if change.proration == "none" else [_credit(book, subscription, item)]
    item.price, item.quantity = change.price.id, change.quantity
    if restart:
        _restart(book, subscription)
        lines.append(_line(book, subscription, item))
    elif change.proration != "none":
        lines.append(_remainder(book, subscription, item))
    if not at_once:
        subscription.pending += lines
    subscriptions.tell(book, subscription, "updated", items={"data": [was]})
    if at_once and lines:
        invoice = invoices.draw_up(book, subscription, "subscription_update", lines)
        invoices.finalize(book, invoice)
        if invoice.status == "open":
            invoices.collect(book, invoice)


def _refuse_unpaid(book: Book, subscription: Subscription) -> None:
    method = book.methods.get(subscription.method or book.customers[subscription.customer].method)
    decline = invoices.NO_METHOD if method is None else intents.foreseen(method, "absent")
    if subscription.failures:
        decline = subscription.failures.pop(0)
    if decline is not None:
        raise declined(decline)


def _restart(book: Book, subscription: Subscription) -> None:
    subscription.anchor = subscription.period_start = book.now()
    subscription.periods = 0
    subscription.period_end = subscriptions.period_end(book, subscription)
    _plan_renewal(book, subscription)


def _credit(book: Book, subscription: Subscription, item: Item) -> InvoiceLine:
    line = _remainder(book, subscription, item)
    return msgspec.structs.replace(
        line, amount=-line.amount, description=line.description.replace("Remaining", "Unused", 1)
    )


def _remainder(book: Book, subscription: Subscription, item: Item) -> InvoiceLine:
    """The item's price for what is left of the period."""
    whole = subscription.period_end - subscription.period_start
    left = max(0, subscription.period_end - book.now())
    line = _line(book, subscription, item)
    return msgspec.structs.replace(
        line,
        amount=(2 * line.amount * left + whole) // (2 * whole),
        description=f"Remaining time on {line.description}",
        start=book.now(),
        proration=True,
    )


def cancel(book: Book, subscription: Subscription, *, prorate: bool = False) -> None:
    """End it now; what was paid for time to come is credited to the customer if asked."""
    if prorate:
        customer = book.customers[subscription.customer]
        customer.balance += sum(_credit(book, subscription, item).amount for item in subscription.items)
    latest = book.invoices.get(subscription.latest_invoice)
    if latest is not None and latest.status in {"draft", "open"}:
        latest.auto_advance, latest.next_payment_attempt = False, None
    subscriptions.end(book, subscription, "cancellation_requested")
