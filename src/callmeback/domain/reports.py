"""Reports of the house over everybody, for admins: one statement each, rows as dicts, money as decimal strings."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from callmeback import errors, money
from callmeback.domain import books
from callmeback.domain.books import Period
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "reports.sql")

ROWS_MAX: Final = 200
DAYS_MAX: Final = 366
DAYS_DEFAULT: Final = 30

REPORTS: Final = (
    "balances", "low_credits", "volume", "top_personas", "revenue", "margin", "margin_by_tier", "margin_by_persona",
    "vendor_costs", "dearest_calls",
)  # fmt: skip

Row = dict[str, Any]


async def report(tx: Session, name: str, days: int = DAYS_DEFAULT) -> list[Row]:
    """The rows of a report over the last so many days; raises NotFound for an unknown name."""
    since = _midnight() - timedelta(days=days - 1)
    match name:
        case "balances":
            found = await tx.dicts(SQL.balances, most=ROWS_MAX)
        case "low_credits":
            found = await tx.dicts(SQL.low_credits, most=ROWS_MAX)
        case "volume":
            found = await tx.dicts(SQL.volume, since=since, most=DAYS_MAX)
        case "top_personas":
            found = await tx.dicts(SQL.top_personas, since=since, most=ROWS_MAX)
        case "revenue":
            found = await books.revenue(tx, _until_today(since))
        case "margin":
            found = await books.margin(tx, "day", _until_today(since))
        case "margin_by_tier":
            found = await books.margin(tx, "tier", _until_today(since))
        case "margin_by_persona":
            found = await books.margin(tx, "persona", _until_today(since))
        case "vendor_costs":
            found = await tx.dicts(SQL.vendor_costs, since=since, most=ROWS_MAX)
        case "dearest_calls":
            found = await tx.dicts(SQL.dearest_calls, since=since, most=ROWS_MAX)
        case _:
            raise errors.NotFound(f"The reports are {', '.join(REPORTS)}.")

    return [_plain(row) for row in found]


async def live_calls(tx: Session) -> list[Row]:
    """Calls that go on, oldest first."""
    return [_plain(row) for row in await tx.dicts(SQL.live_calls, most=ROWS_MAX)]


def _until_today(since: datetime) -> Period:
    return Period(since.date(), datetime.now(UTC).date())


def _midnight() -> datetime:
    """The beginning of today's UTC day: the house's days are UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _plain(row: Row) -> Row:
    """Numerics as the API writes them: cents with two decimals or more, other figures as numbers."""
    return {name: _figure(name, value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _figure(name: str, value: Decimal) -> str | float:
    return money.format_cents(value) if name.endswith("_cents") else float(value)
