"""Credits: what a person has, the ledger of where they went, and the plans. One credit is a started minute of talk."""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from callmeback.domain import zones
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "credits.sql")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account. `max_calls_per_day` null is unlimited; where `charges_credits` is false, talking takes none.

    `subscription_tier` is `tier` under the specification's name of the column.
    """

    available_credits: int
    held_credits: int
    debt_credits: int
    tier: str
    subscription_tier: str
    subscription_status: str | None
    subscription_end_date: datetime | None
    charges_credits: bool
    monthly_credit_allowance: int
    calls_today: int
    max_calls_per_day: int | None
    max_call_duration_seconds: int


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger; `balance` is available + held - debt."""

    seq: int
    type: str
    amount: int
    balance_before: int
    balance_after: int
    cause: str
    call_id: str | None
    description: str | None
    created_at: datetime


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """A plan."""

    tier: str
    monthly_price_cents: Decimal
    monthly_credit_allowance: int
    max_calls_per_day: int | None
    max_call_duration_seconds: int
    charges_credits: bool


def local_day(timezone: str, at: datetime | None = None) -> date:
    """The person's day now, or at another moment."""
    return (at or datetime.now(UTC)).astimezone(zones.zone_or_utc(timezone)).date()


def seconds_to_midnight(timezone: str, at: datetime | None = None) -> int:
    """Whole seconds until the person's next day begins, at least one; a day may have 23 hours, or 25."""
    now = at or datetime.now(UTC)
    tomorrow = local_day(timezone, now) + timedelta(days=1)
    midnight = datetime.combine(tomorrow, time(), zones.zone_or_utc(timezone)).astimezone(UTC)

    return max(1, math.ceil((midnight - now).total_seconds()))


async def account(tx: Session, user_id: str, timezone: str) -> Account:
    """A person's account."""
    return await tx.one(SQL.account, Account, user_id=user_id, local_day=local_day(timezone))


async def transactions(tx: Session, user_id: str, before_seq: int | None, most: int) -> list[Transaction]:
    """A page of the ledger, newest first, from below a number on."""
    return await tx.all(SQL.transactions, Transaction, user_id=user_id, before_seq=before_seq, most=most)


async def tiers(tx: Session) -> list[Tier]:
    """The plans, cheapest first."""
    return await tx.all(SQL.tiers, Tier)
