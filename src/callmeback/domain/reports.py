"""Reports of the house over everybody, for admins: one statement each, rows as dicts, money as decimal strings."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from callmeback import errors, money
from callmeback.domain import books
from callmeback.domain.books import Period
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "reports.sql")

ROWS_MAX: Final = 200
DAYS_MAX: Final = 366

Row = dict[str, Any]


class Report(msgspec.Struct, frozen=True):
    """What a report tells, how many days it looks back unless it is told otherwise (0: it tells of now), and its rows.

    `of_one` is the report of a single account; its argument is an e-mail or an id.
    """

    about: str
    days: int
    read: Callable[[Session, datetime], Awaitable[list[Row]]]
    of_one: Callable[[Session, str], Awaitable[list[Row]]] | None = None


class ReportLine(msgspec.Struct, frozen=True):
    """A report in the list of them."""

    name: str
    about: str
    days: int


# Section 13 of the specification, and what the operator asks beside it. The days are the specification's.
REPORTS: Final[Mapping[str, Report]] = {
    "balances": Report(
        "accounts with their balance, newest first; or one of them",
        0,
        lambda tx, _: tx.dicts(SQL.balances, most=ROWS_MAX),
        lambda tx, who: tx.dicts(SQL.balance, who=who),
    ),
    "low_credits": Report(
        "accounts that pay by credits and have fewer than ten",
        0,
        lambda tx, _: tx.dicts(SQL.low_credits, most=ROWS_MAX),
    ),
    "volume": Report(
        "calls by day, and how they ended", 1, lambda tx, since: tx.dicts(SQL.volume, since=since, most=DAYS_MAX)
    ),
    "top_personas": Report(
        "personas by completed calls", 30, lambda tx, since: tx.dicts(SQL.top_personas, since=since, most=ROWS_MAX)
    ),
    "revenue": Report(
        "what came in and went back, by day, kind and currency",
        7,
        lambda tx, since: books.revenue(tx, _until_today(since)),
    ),
    "margin": Report(
        "revenue, vendors' cost and margin by day", 7, lambda tx, since: books.margin(tx, "day", _until_today(since))
    ),
    "margin_by_tier": Report("the same by plan", 30, lambda tx, since: books.margin(tx, "tier", _until_today(since))),
    "margin_by_persona": Report(
        "the same by persona", 30, lambda tx, since: books.margin(tx, "persona", _until_today(since))
    ),
    "vendor_costs": Report(
        "what each vendor cost", 30, lambda tx, since: tx.dicts(SQL.vendor_costs, since=since, most=ROWS_MAX)
    ),
    "dearest_calls": Report(
        "the calls that cost most", 7, lambda tx, since: tx.dicts(SQL.dearest_calls, since=since, most=ROWS_MAX)
    ),
}


async def report(tx: Session, name: str, days: int | None = None, who: str | None = None) -> list[Row]:
    """The rows of a report over the last so many days (None: its own number), or of one account by e-mail or id.

    Raises NotFound for an unknown name or account, ValidationFailed where a report tells of no single account, or looks
    at no days.
    """
    found = REPORTS.get(name)
    if found is None:
        raise errors.NotFound(f"The reports are {', '.join(REPORTS)}.")
    if days is not None and not found.days:
        raise errors.ValidationFailed("This report tells how things stand, whatever the days.", field="days")
    if who is None:
        since = _midnight() - timedelta(days=(days or found.days or 1) - 1)
        return [_plain(row) for row in await found.read(tx, since)]
    if found.of_one is None:
        raise errors.ValidationFailed("This report tells of everybody.", field="user")
    rows = await found.of_one(tx, who.strip())
    if not rows:
        raise errors.NotFound("There is no account with this e-mail or id.")

    return [_plain(row) for row in rows]


def lines() -> list[ReportLine]:
    """Every report."""
    return [ReportLine(name, report.about, report.days) for name, report in REPORTS.items()]


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
