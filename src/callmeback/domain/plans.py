"""Plans that people pay by the month. A tier is in force because a period at its price was paid."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from callmeback.domain.payments import OpenCheckout
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "plans.sql")


class PlanOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that somebody wants."""

    tier: Annotated[str, Meta(min_length=1, max_length=64)]


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """A person's plan.

    `pending_tier` is in force from the next paid period on; `grace_until`: a payment failed, and the plan stays in
    force until then; `suspended_at`: the money of this period was taken back.
    """

    id: str
    tier: str
    status: Literal["active", "past_due", "canceled", "expired"]
    price_cents: Decimal
    currency: str
    current_period_start: datetime
    current_period_end: datetime
    cancel_at_period_end: bool
    pending_tier: str | None
    grace_until: datetime | None
    suspended_at: datetime | None
    stripe_subscription_id: str

    @property
    def is_live(self) -> bool:
        return self.status in ("active", "past_due")


class PlanOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What a period costs, and the provider's key of that price."""

    price_cents: Decimal
    currency: str
    lookup_key: str


class PlanChange(msgspec.Struct, frozen=True, kw_only=True):
    """Another plan: an upgrade is paid and in force at once, all else from the next period on.

    By `request_key` the provider knows the request, asked once or again.
    """

    subscription_id: str
    stripe_subscription_id: str
    lookup_key: str
    price_cents: Decimal
    currency: str
    is_upgrade: bool
    request_key: str


class PlanWork(msgspec.Struct, frozen=True, kw_only=True):
    """A plan to cancel at the provider, or to ask it about."""

    user_id: str
    id: str
    stripe_subscription_id: str
    is_cancel: bool


async def subscription(tx: Session, user_id: str) -> Subscription | None:
    """A person's newest plan."""
    return await tx.maybe(SQL.subscription, Subscription, user_id=user_id)


async def begin(tx: Session, user_id: str, subscription_id: str, tier: str) -> PlanOffer:
    """Write which plan a person wants, before the provider is asked; raises UnknownTier, AlreadySubscribed."""
    return await tx.one(SQL.begin, PlanOffer, user_id=user_id, subscription_id=subscription_id, tier=tier)


async def open_checkout(tx: Session, user_id: str) -> OpenCheckout | None:
    """The plan whose checkout goes on."""
    return await tx.maybe(SQL.open_checkout, OpenCheckout, user_id=user_id)


async def note_checkout(tx: Session, user_id: str, subscription_id: str, session_id: str, url: str) -> bool:
    """Keep the provider's page for a plan; False where its checkout no longer goes on."""
    found: bool = await tx.value(
        SQL.note_checkout, user_id=user_id, subscription_id=subscription_id, session_id=session_id, url=url
    )

    return found


async def expire_checkout(tx: Session, user_id: str, subscription_id: str) -> None:
    """The checkout of a plan ended unpaid."""
    await tx.run(SQL.expire_checkout, user_id=user_id, subscription_id=subscription_id)


async def request_tier(tx: Session, user_id: str, tier: str, key: str) -> PlanChange:
    """Note the plan that a person wants instead; raises NotFound without one, UnknownTier, PlanChangeInProgress."""
    return await tx.one(SQL.request_tier, PlanChange, user_id=user_id, tier=tier, key=key)


async def withdraw_request(tx: Session, user_id: str, tier: str) -> None:
    """The provider said no to the change."""
    await tx.run(SQL.withdraw_request, user_id=user_id, tier=tier)


async def note_cancellation(tx: Session, user_id: str, subscription_id: str, *, ends: bool) -> None:
    """What the provider answered when it was asked to end a plan with its period, or not to."""
    await tx.run(SQL.note_cancellation, user_id=user_id, subscription_id=subscription_id, ends=ends)


async def claim_work(tx: Session, most: int, again_after: timedelta) -> list[PlanWork]:
    """Plans to look after at the provider; handed out again later if nothing comes of it."""
    return await tx.all(SQL.claim_work, PlanWork, limit=most, again_after=again_after)
