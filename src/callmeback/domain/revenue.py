"""What the house takes in, what its calls cost, and what is left: by UTC day, tier and persona."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "revenue.sql")

ROWS_MAX: Final = 200

GroupBy = Literal["tier", "persona"]


class DayMargin(msgspec.Struct, frozen=True, kw_only=True):
    """A day; revenue is what was paid less what was given back, so it may be negative."""

    day: date
    calls: int
    revenue_cents: Decimal
    cost_cents: Decimal
    margin_cents: Decimal


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """A tier or a persona."""

    key: str
    name: str
    calls: int
    revenue_cents: Decimal
    cost_cents: Decimal
    margin_cents: Decimal


def first_day(days: int) -> date:
    """The first of so many UTC days, the last of which is today."""
    return datetime.now(UTC).date() - timedelta(days=days - 1)


async def by_day(tx: Session, first: date) -> list[DayMargin]:
    """Each day since the first on which there was a call or a payment, the newest first."""
    return await tx.all(SQL.by_day, DayMargin, since=_midnight(first), most=(datetime.now(UTC).date() - first).days + 1)


async def by_group(tx: Session, first: date, group_by: GroupBy) -> list[Margin]:
    """Tiers or personas over the days since the first."""
    statement = SQL.by_tier if group_by == "tier" else SQL.by_persona

    return await tx.all(statement, Margin, since=_midnight(first), most=ROWS_MAX)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
