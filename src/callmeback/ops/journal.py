"""Books as files that other programs read: CSV, and a journal of double entry for ledger, hledger and beancount.

Two commodities that never mix: money, and CREDIT, the started minutes that the house owes. A journal begins with what
stood before its period and ends with what stands after it, asked of the database by other statements than its entries:
a program that reads it finds any difference. It holds ids, and nothing else of people.
"""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback.domain import books
from callmeback.domain.books import DayCosts, Flow, LedgerRow, Period, VendorCosts
from callmeback.pg.pool import Session

Dialect = Literal["ledger", "beancount"]
Sheet = Literal["money", "credits", "costs"]

CREDIT: Final = "CREDIT"
# Vendors are priced in US cents.
COST_CURRENCY: Final = "USD"
PAID: Final = "Assets:Payments"
OWED_CREDITS: Final = "Liabilities:Credits"
OWED_VENDORS: Final = "Liabilities:Vendors"
OPENING: Final = "Equity:Opening"
INCOME: Final = {
    "purchase": "Income:Packs",
    "subscription": "Income:Plans",
    "call": "Income:Calls",
    "refund": "Income:Refunds",
    "dispute": "Income:Disputes",
}
VENDORS: Final = ("Twilio", "Deepgram", "Cerebras", "Elevenlabs")
# The other side of the credit ledger, as the view double_entry names it.
CONTRA: Final = {
    "assets:payments": "Assets:Credits:Sold",
    "assets:subscriptions": "Assets:Credits:Plans",
    "revenue:calls": "Income:Talk",
    "equity:adjustments": "Equity:Adjustments",
    "expenses:promotions": "Expenses:Promotions",
}
_NOT_IN_TEXT: Final = str.maketrans({'"': "'", ";": ",", "|": "/", "\n": " ", "\r": " ", "\\": "/"})


class Posting(msgspec.Struct, frozen=True):
    """An amount on an account; plus is a debit."""

    account: str
    amount: Decimal
    commodity: str


async def journal(tx: Session, days: Period, dialect: Dialect) -> AsyncIterator[str]:
    """The journal of a period, in pieces. `tx` is a snapshot, so that all of it is of one moment."""
    yield _head(days, dialect)
    opening = await _standing(tx, days.first)
    if opening:
        legs = [leg for held in opening for leg in (held, Posting(OPENING, -held.amount, held.commodity))]
        yield _entry(dialect, days.first, "opening", f"what stood before {days.first}", legs)
    flows = await books.flows(tx, days.begins_at, days.ends_at)
    costs = {line.day: line for line in await books.costs_of_days(tx, days)}
    position = 0
    for offset in range((days.last - days.first).days + 1):
        day = days.first + timedelta(days=offset)
        while position < len(flows) and flows[position].flowed_at.date() == day:
            yield _money_entry(dialect, flows[position])
            position += 1
        async for row in books.ledger_of_day(tx, day):
            yield _credit_entry(dialect, day, row)
        if day in costs:
            yield _cost_entry(dialect, costs[day])
    after = days.last + timedelta(days=1)
    for held in await _standing(tx, after):
        yield _assertion(dialect, after, held)


async def _standing(tx: Session, day: date) -> list[Posting]:
    """What stands at the beginning of a day, asked of the tables as sums."""
    at = books.midnight(day)
    money = await tx.all(books.SQL.money_before, books.Held, at=at)
    credits: int = await tx.value(books.SQL.credits_before, at=at)
    costs = await tx.one(books.SQL.costs_before, VendorCosts, at=at)
    standing = [Posting(PAID, held.cents / 100, held.currency.upper()) for held in money]
    standing += [
        Posting(OWED_CREDITS, Decimal(-credits), CREDIT),
        Posting(OWED_VENDORS, -sum(_legs(costs), Decimal(0)) / 100, COST_CURRENCY),
    ]

    return [held for held in standing if held.amount]


def _legs(costs: VendorCosts) -> tuple[Decimal, ...]:
    """In the order of VENDORS."""
    return costs.twilio_cents, costs.deepgram_cents, costs.cerebras_cents, costs.elevenlabs_cents


def _money_entry(dialect: Dialect, flow: Flow) -> str:
    amount, commodity = flow.amount_cents / 100, flow.currency.upper()
    account = INCOME[flow.kind if flow.flow == "payment" else flow.flow]

    return _entry(
        dialect,
        flow.flowed_at.date(),
        flow.user_id,
        f"{flow.flow} {flow.id}",
        [Posting(PAID, amount, commodity), Posting(account, -amount, commodity)],
    )


def _credit_entry(dialect: Dialect, day: date, row: LedgerRow) -> str:
    return _entry(
        dialect,
        day,
        row.user_id,
        f"{row.type} {row.cause}",
        [
            Posting(CONTRA[row.contra], Decimal(row.amount), CREDIT),
            Posting(OWED_CREDITS, Decimal(-row.amount), CREDIT),
        ],
    )


def _cost_entry(dialect: Dialect, costs: DayCosts) -> str:
    legs = [
        Posting(f"Expenses:Vendors:{vendor}", cents / 100, COST_CURRENCY)
        for vendor, cents in zip(VENDORS, _legs(costs), strict=True)
        if cents
    ]
    owed = -sum((leg.amount for leg in legs), Decimal(0))

    return _entry(
        dialect, costs.day, "vendors", f"{costs.calls} calls", [*legs, Posting(OWED_VENDORS, owed, COST_CURRENCY)]
    )


def _head(days: Period, dialect: Dialect) -> str:
    title = f"; The books of {days.first} to {days.last}, days in UTC.\n"
    if dialect == "ledger":
        return title
    accounts = {PAID, OWED_CREDITS, OWED_VENDORS, OPENING, *INCOME.values(), *CONTRA.values()}
    accounts |= {f"Expenses:Vendors:{vendor}" for vendor in VENDORS}

    return title + "".join(f"{days.first} open {account}\n" for account in sorted(accounts))


def _entry(dialect: Dialect, day: date, who: str, what: str, legs: Sequence[Posting]) -> str:
    who, what = who.translate(_NOT_IN_TEXT), what.translate(_NOT_IN_TEXT)
    first = f'{day} * "{who}" "{what}"' if dialect == "beancount" else f"{day} * {who} | {what}"
    lines = [f"    {leg.account}  {leg.amount:f} {leg.commodity}" for leg in legs]

    return "\n".join(["", first, *lines, ""])


def _assertion(dialect: Dialect, day: date, held: Posting) -> str:
    if dialect == "beancount":
        return f"\n{day} balance {held.account}  {held.amount:f} {held.commodity}\n"

    return (
        f"\n{day} * check | what stands\n    {held.account}  0 {held.commodity} = {held.amount:f} {held.commodity}\n"
        f"    {OPENING}  0 {held.commodity}\n"
    )


async def sheet(tx: Session, days: Period, what: Sheet) -> AsyncIterator[str]:
    """A table of a period as CSV (RFC 4180), in pieces: the money, the credit ledger, or what vendors cost by day."""
    columns: tuple[str, ...]
    if what == "money":
        columns = ("flowed_at", "flow", "kind", "id", "object_id", "user_id", "tier", "currency", "amount_cents")
        yield _lines([columns])
        yield _lines([_cells(flow, columns) for flow in await books.flows(tx, days.begins_at, days.ends_at)])
    elif what == "costs":
        columns = ("day", "calls", "twilio_cents", "deepgram_cents", "cerebras_cents", "elevenlabs_cents")
        yield _lines([columns])
        yield _lines([_cells(line, columns) for line in await books.costs_of_days(tx, days)])
    else:
        columns = (
            "created_at", "user_id", "seq", "type", "cause", "amount", "balance_after", "call_id", "payment_intent_id",
        )  # fmt: skip
        yield _lines([columns])
        for offset in range((days.last - days.first).days + 1):
            async for row in books.ledger_of_day(tx, days.first + timedelta(days=offset)):
                yield _lines([_cells(row, columns)])


def _cells(row: msgspec.Struct, columns: Sequence[str]) -> list[str]:
    return ["" if (value := getattr(row, name)) is None else str(value) for name in columns]


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)

    return text.getvalue()
