"""Subscriptions: their periods, what changes their status, and their end. Invoices stand in `invoices.py`, renewals
and changes of plan in `renewals.py`."""

from datetime import UTC, datetime
from typing import Final

from dateutil.relativedelta import relativedelta

from callmeback.simulator.payments.book import Book
from callmeback.simulator.payments.records import Price, Subscription
from callmeback.simulator.payments.wire_billing import subscription as wire

OVER: Final = frozenset({"canceled", "incomplete_expired"})


def tell(book: Book, subscription: Subscription, what: str, **previous: object) -> None:
    """An event of the subscription."""
    kind = f"customer.subscription.{what}"
    book.emit(kind, subscription.customer, wire(book, subscription), previous or None)


def period_end(book: Book, subscription: Subscription) -> int:
    """When the present period ends: so many months after the anchor, on its day or the month's last."""
    price: Price = book.prices[subscription.items[0].price]
    assert price.interval is not None, "a subscription has recurring prices"
    count = price.interval_count * (subscription.periods + 1)
    step = relativedelta(**{f"{price.interval}s": count})  # type: ignore[arg-type]  # days, weeks, months or years
    return int((datetime.fromtimestamp(subscription.anchor, UTC) + step).timestamp())


def set_status(book: Book, subscription: Subscription, status: str) -> None:
    """Another status, told if it is one."""
    before = subscription.status
    if before != status and before not in OVER:
        subscription.status = status
        tell(book, subscription, "updated", status=before)


def end(book: Book, subscription: Subscription, reason: str) -> None:
    """The subscription is over, now."""
    if subscription.status in OVER:
        return
    subscription.status = "canceled"
    subscription.ended_at = book.now()
    subscription.canceled_at = subscription.canceled_at or book.now()
    subscription.cancellation_reason = reason
    tell(book, subscription, "deleted")


def expire(book: Book, subscription: Subscription) -> None:
    """The first payment never came."""
    if subscription.status == "incomplete":
        subscription.ended_at = book.now()
        set_status(book, subscription, "incomplete_expired")
