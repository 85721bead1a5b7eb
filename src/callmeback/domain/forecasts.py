"""What a person's month comes to if it goes on as until today."""

from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "forecasts.sql")


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`elapsed_days` counts today; cents are of the vendors' cost, `limit_cents` is the month's budget."""

    month: date
    elapsed_days: int
    month_days: int
    spent_cents: Decimal
    forecast_cents: Decimal
    limit_cents: Decimal


async def forecast(tx: Session, user_id: str) -> Forecast:
    """The person's month, by the view that the house's reports use too."""
    return await tx.one(SQL.forecast, Forecast, user_id=user_id)
