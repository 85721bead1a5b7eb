"""Figures over a person's calls: how many, how long, with whom, how they ended, at what cost."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from callmeback import money
from callmeback.domain import costs, credits
from callmeback.domain.costs import CostGroup
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "analytics.sql")

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 366
OUTCOMES_MAX: Final = 100


class TotalsRow(msgspec.Struct, frozen=True):
    """Sums and means of a period; a mean of nothing is None."""

    calls: int
    completed: int
    duration_seconds: int
    avg_duration_seconds: Decimal | None
    avg_turn_count: Decimal | None
    avg_response_time_ms: Decimal | None
    credits_used: int
    cost_cents: Decimal


class Outcome(msgspec.Struct, frozen=True):
    """How many calls ended so."""

    status: str
    end_reason: str | None
    calls: int


class Analytics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of whole local days, today the last; means to one decimal."""

    days: int
    first_day: date
    last_day: date
    calls: int
    completed: int
    duration_seconds: int
    avg_duration_seconds: float | None
    avg_turn_count: float | None
    avg_response_time_ms: float | None
    credits_used: int
    cost_cents: str
    by_day: list[CostGroup]
    by_persona: list[CostGroup]
    by_outcome: list[Outcome]


async def analytics(tx: Session, user_id: str, timezone: str, days: int) -> Analytics:
    """The last so many local days of a person."""
    today = credits.local_day(timezone)
    period = costs.period(timezone, today - timedelta(days=days - 1), today)
    bounds = {"user_id": user_id, "begins_at": period.begins_at, "ends_at": period.ends_at}
    totals = await tx.one(SQL.totals, TotalsRow, **bounds)
    outcomes = await tx.all(SQL.outcomes, Outcome, most=OUTCOMES_MAX, **bounds)
    by_day, _ = await costs.report(tx, user_id, timezone, period, "day")
    by_persona, _ = await costs.report(tx, user_id, timezone, period, "persona")

    return Analytics(
        days=days,
        first_day=period.first,
        last_day=period.last,
        calls=totals.calls,
        completed=totals.completed,
        duration_seconds=totals.duration_seconds,
        avg_duration_seconds=_mean(totals.avg_duration_seconds),
        avg_turn_count=_mean(totals.avg_turn_count),
        avg_response_time_ms=_mean(totals.avg_response_time_ms),
        credits_used=totals.credits_used,
        cost_cents=money.format_cents(totals.cost_cents),
        by_day=by_day,
        by_persona=by_persona,
        by_outcome=outcomes,
    )


def _mean(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 1)
