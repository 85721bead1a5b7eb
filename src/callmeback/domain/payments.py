"""What people pay for: packs, customers, purchases, receipts, and the provider's events. Plans are in `plans.py`.

Credits move in the database's functions alone. An amount is in whole cents of its currency, as a Decimal.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from callmeback.pg import statements
from callmeback.pg.parameters import Json
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "payments.sql")

Sku = Annotated[str, Meta(min_length=1, max_length=64)]
Coupon = Annotated[str, Meta(min_length=1, max_length=32)]


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """Credits for sale."""

    sku: str
    name: str
    credits: int
    price_cents: Decimal
    currency: str


class PackOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A pack to be bought, perhaps with a code that makes it cheaper."""

    sku: Sku
    coupon: Coupon | None = None


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the provider knows them; `customer_id` None until they first pay."""

    user_id: str
    email: str
    customer_id: str | None


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be paid, and for what."""

    name: str
    amount_cents: Decimal
    currency: str


class OpenCheckout(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was begun and not paid; `session_id` None where the provider's answer was never heard."""

    id: str
    session_id: str | None


class ErasedCheckout(msgspec.Struct, frozen=True, kw_only=True):
    """A page at the provider on which somebody who was erased could still pay, for a pack or for a plan."""

    user_id: str
    id: str
    session_id: str
    is_purchase: bool


class CheckoutOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a page of the provider's. `id`: of the purchase or the plan; `tier` of a plan alone."""

    id: str
    kind: Literal["pack", "plan"]
    status: Literal["pending", "completed", "failed", "refunded", "active", "past_due", "canceled", "expired"]
    tier: str | None
    credits: int
    amount_cents: Decimal
    currency: str

    @property
    def is_paid(self) -> bool:
        return self.status in ("completed", "refunded", "active", "past_due")


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was paid, with what was given back of it."""

    id: str
    kind: Literal["purchase", "subscription", "call"]
    description: str
    tier: str | None
    amount_cents: Decimal
    reversed_cents: Decimal
    discount_cents: Decimal
    currency: str
    credits: int
    reversed_credits: int
    coupon: str | None
    period_start: datetime | None
    period_end: datetime | None
    paid_at: datetime


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What an event did. unmatched: kept, and tried again; refused: it contradicts our own rows."""

    state: Literal["applied", "ignored", "unmatched", "refused"]
    effect: str | None
    is_duplicate: bool


class UnknownIntent(msgspec.Struct, frozen=True):
    """An intent that an event names and no payment has."""

    payment_intent: str


async def packs(tx: Session) -> list[Pack]:
    """What is for sale."""
    return await tx.all(SQL.packs, Pack)


async def customer(tx: Session, user_id: str) -> Customer:
    """A person as the provider knows them."""
    return await tx.one(SQL.customer, Customer, user_id=user_id)


async def note_customer(tx: Session, user_id: str, customer_id: str) -> None:
    """Keep the person's id at the provider."""
    await tx.run(SQL.note_customer, user_id=user_id, customer_id=customer_id)


async def forget_customer(tx: Session, user_id: str, customer_id: str) -> None:
    """The provider knows this customer no longer."""
    await tx.run(SQL.forget_customer, user_id=user_id, customer_id=customer_id)


async def begin_purchase(tx: Session, user_id: str, purchase_id: str, order: PackOrder) -> Offer:
    """Write what somebody wants to buy, before the provider is asked; raises NotFound, CouponInvalid."""
    return await tx.one(
        SQL.begin_purchase, Offer, user_id=user_id, purchase_id=purchase_id, sku=order.sku, coupon=order.coupon or None
    )


async def note_checkout(tx: Session, user_id: str, purchase_id: str, session_id: str, url: str) -> bool:
    """Keep the provider's page for a purchase; False where it was given up meanwhile."""
    found: bool = await tx.value(
        SQL.note_checkout, user_id=user_id, purchase_id=purchase_id, session_id=session_id, url=url
    )

    return found


async def fail_purchase(tx: Session, user_id: str, purchase_id: str) -> None:
    """A purchase ended unpaid; its coupon is free again."""
    await tx.run(SQL.fail_purchase, user_id=user_id, purchase_id=purchase_id)


async def open_purchase(tx: Session, user_id: str, coupon: str) -> OpenCheckout | None:
    """The purchase in which this coupon is, unpaid."""
    return await tx.maybe(SQL.open_purchase, OpenCheckout, user_id=user_id, coupon=coupon)


async def erased_checkouts(tx: Session, most: int) -> list[ErasedCheckout]:
    """What people who were erased had begun and not paid."""
    return await tx.all(SQL.erased_checkouts, ErasedCheckout, limit=most)


async def receipts(
    tx: Session, user_id: str, *, before_at: datetime | None, before_id: str | None, most: int
) -> list[Receipt]:
    """A page of what a person paid for, newest first, from after (paid_at, id) on."""
    return await tx.all(SQL.receipts, Receipt, user_id=user_id, before_at=before_at, before_id=before_id, most=most)


async def receipt(tx: Session, user_id: str, receipt_id: str) -> Receipt:
    """One thing that a person paid for; raises NotFound, also for another person's."""
    return await tx.one(SQL.receipt, Receipt, user_id=user_id, receipt_id=receipt_id)


async def checkout_outcome(tx: Session, user_id: str, session_id: str) -> CheckoutOutcome | None:
    """What became of a checkout of this person's, as the provider's own events have told; None for any other."""
    return await tx.maybe(SQL.checkout_outcome, CheckoutOutcome, user_id=user_id, session_id=session_id)


async def apply_event(
    tx: Session, event_id: str, kind: str, created_at: datetime, facts: dict[str, Any], payload: dict[str, Any]
) -> Applied:
    """Store an event and do what it means, once, whatever the number and the order of its deliveries."""
    return await tx.one(
        SQL.apply_event,
        Applied,
        id=event_id,
        type=kind,
        created_at=created_at,
        facts=Json(facts),
        payload=Json(payload),
    )
