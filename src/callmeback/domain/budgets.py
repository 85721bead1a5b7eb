"""Budgets: limits a person sets on the vendors' cost, per call and per month, and what was spent of them.

The defaults stand in the schema and its view `effective_limits`; 0 means no spending (specification, section 8.2).
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callmeback import errors, money
from callmeback.domain import credits
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "budgets.sql")

CALL_CENTS_MAX: Final = 1_000_000
MONTH_CENTS_MAX: Final = 10_000_000
_HUNDREDTH: Final = -2

Amount = Annotated[str, Meta(max_length=40, description="Cents, with at most two decimals.")] | int | float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as the database has it."""

    max_cost_per_call_cents: Decimal
    max_monthly_spend_cents: Decimal
    warn_at_percent_per_call: int
    enable_auto_cutoff: bool
    month: date
    spent_cents: Decimal
    forecast_cents: Decimal
    calls: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A budget as JSON. Spending is of the person's month, every call whatever its end, the open one included.

    `forecast_cents`: what the month comes to if it goes on as until today, in whole hundredths of a cent.
    """

    max_cost_per_call_cents: str
    max_monthly_spend_cents: str
    warn_at_percent_per_call: int
    enable_auto_cutoff: bool
    month: date
    spent_this_month_cents: str
    remaining_this_month_cents: str
    forecast_cents: str
    calls_this_month: int


class BudgetChange(msgspec.Struct, frozen=True, kw_only=True):
    """Only what is given is changed; amounts as decimal strings or numbers, in cents with at most two decimals."""

    max_cost_per_call_cents: Amount | UnsetType = UNSET
    max_monthly_spend_cents: Amount | UnsetType = UNSET
    warn_at_percent_per_call: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    enable_auto_cutoff: bool | UnsetType = UNSET


async def budget(tx: Session, user_id: str, timezone: str) -> Budget:
    """What holds for a person, and what is left of it."""
    month = credits.local_day(timezone).replace(day=1)
    row = await tx.one(SQL.budget, Row, user_id=user_id, local_month=month)

    return Budget(
        max_cost_per_call_cents=money.format_cents(row.max_cost_per_call_cents),
        max_monthly_spend_cents=money.format_cents(row.max_monthly_spend_cents),
        warn_at_percent_per_call=row.warn_at_percent_per_call,
        enable_auto_cutoff=row.enable_auto_cutoff,
        month=row.month,
        spent_this_month_cents=money.format_cents(row.spent_cents),
        remaining_this_month_cents=money.format_cents(max(Decimal(0), row.max_monthly_spend_cents - row.spent_cents)),
        forecast_cents=money.format_cents(row.forecast_cents),
        calls_this_month=row.calls,
    )


async def change(tx: Session, user_id: str, wanted: BudgetChange) -> None:
    """Write what was given; raises ValidationFailed."""
    warn_at = wanted.warn_at_percent_per_call
    cutoff = wanted.enable_auto_cutoff
    await tx.run(
        SQL.change,
        user_id=user_id,
        max_cost_per_call_cents=_amount("max_cost_per_call_cents", wanted.max_cost_per_call_cents, CALL_CENTS_MAX),
        max_monthly_spend_cents=_amount("max_monthly_spend_cents", wanted.max_monthly_spend_cents, MONTH_CENTS_MAX),
        warn_at_percent_per_call=None if warn_at is UNSET else warn_at,
        enable_auto_cutoff=None if cutoff is UNSET else cutoff,
    )


def _amount(field: str, value: Amount | UnsetType, most: int) -> Decimal | None:
    if isinstance(value, UnsetType):
        return None
    # JSON's own numbers are finite, and have one way to be read.
    cents = money.parse_amount(value) if isinstance(value, str) else Decimal(str(value))
    if cents is None or not 0 <= cents <= most:
        raise errors.ValidationFailed(
            f"An amount in cents lies between 0 and {most}: {money.AMOUNT_FORM}.", field=field
        )
    exponent = cents.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < _HUNDREDTH:
        raise errors.ValidationFailed("An amount in cents has at most two decimals.", field=field)

    return cents
