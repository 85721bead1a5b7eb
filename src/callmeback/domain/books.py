"""Books that close: sealed days, money as it flowed, what vendors cost, margins. Reads, but for the seal of a day.

A day is UTC here. Money is exact decimals in cents, credits are integers, and they stand in no sum together.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from callmeback import errors
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "books.sql")

ROWS_MAX: Final = 1_000
PERIOD_DAYS_MAX: Final = 3_660
LEDGER_PAGE: Final = 5_000

Sealing = Literal["sealed", "waiting", "not_over", "too_late"]
FlowKind = Literal["payment", "refund", "dispute"]
MarginBy = Literal["day", "tier", "persona"]
Row = dict[str, Any]


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """A closed day as it was sealed: figures and hash of its ledger, chained to the sealed day before."""

    day: date
    ledger_rows: int
    received_credits: int
    taken_credits: int
    batch_hash: str
    sealed_at: datetime
    sealed_by: str


class SealedDay(Seal, frozen=True, kw_only=True):
    """A closed day, and whether its rows are still what was sealed."""

    is_intact: bool


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Money that came in (+) or went back (-). `object_id` is the provider's intent, refund or dispute."""

    flow: FlowKind
    object_id: str
    id: str
    kind: str
    tier: str | None
    user_id: str
    flowed_at: datetime
    currency: str
    amount_cents: Decimal


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the credit ledger; `contra` is the account on its other side."""

    user_id: str
    seq: int
    created_at: datetime
    type: str
    cause: str
    amount: int
    balance_after: int
    call_id: str | None
    payment_intent_id: str | None
    contra: str


class VendorCosts(msgspec.Struct, frozen=True, kw_only=True):
    """Cents of each vendor."""

    twilio_cents: Decimal
    deepgram_cents: Decimal
    cerebras_cents: Decimal
    elevenlabs_cents: Decimal


class DayCosts(VendorCosts, frozen=True, kw_only=True):
    """Cents of each vendor for the calls that were placed in a day."""

    day: date
    calls: int


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What had come in of a currency, less what went back."""

    currency: str
    cents: Decimal


class Dialled(msgspec.Struct, frozen=True, kw_only=True):
    """A settled call that the carrier knows too."""

    call_id: str
    carrier_sid: str
    status: str
    duration_seconds: int
    created_at: datetime


class Repriced(msgspec.Struct, frozen=True, kw_only=True):
    """What calls of a day cost at one vendor, and at other rates; None where some of them have no rate then."""

    day: date
    vendor: str
    calls: int
    unpriced_calls: int
    booked_cents: Decimal
    repriced_cents: Decimal | None


class Period(msgspec.Struct, frozen=True):
    """Whole UTC days, the last included."""

    first: date
    last: date

    @property
    def begins_at(self) -> datetime:
        """The first moment."""
        return midnight(self.first)

    @property
    def ends_at(self) -> datetime:
        """The first moment that is no longer in it."""
        return midnight(self.last + timedelta(days=1))


def midnight(day: date) -> datetime:
    """The beginning of a UTC day."""
    return datetime.combine(day, time(), UTC)


def period(first: date, last: date) -> Period:
    """The days from `first` to `last`; raises ValidationFailed."""
    if not 0 <= (last - first).days < PERIOD_DAYS_MAX or last == date.max:
        raise errors.ValidationFailed(f"A period ends after it begins and has at most {PERIOD_DAYS_MAX} days.")

    return Period(first, last)


async def seal(tx: Session, day: date, sealed_by: str) -> Sealing:
    """Close a day once nothing can be written into it; called until it is no longer `waiting`."""
    state: Sealing = await tx.value(SQL.seal_day, day=day, sealed_by=sealed_by)

    return state


async def sealed_day(tx: Session, day: date) -> Seal:
    """A closed day; raises NotFound."""
    return await tx.one(SQL.sealed_day, Seal, day=day)


async def newest_sealed_day(tx: Session) -> date | None:
    """The day up to which the books are closed; None before the first."""
    found: date | None = await tx.value(SQL.newest_sealed_day)

    return found


async def sealed_days(tx: Session) -> list[SealedDay]:
    """Every closed day, its hash computed anew."""
    return await tx.all(SQL.sealed_days, SealedDay)


async def flows(tx: Session, begins_at: datetime, ends_at: datetime) -> list[Flow]:
    """Money of a period, in its order."""
    return await tx.all(SQL.flows, Flow, begins_at=begins_at, ends_at=ends_at)


async def flow_of(tx: Session, flow: FlowKind, object_id: str, invoice_id: str | None = None) -> Decimal:
    """What one object of the provider comes to in our books, whenever it flowed."""
    cents: Decimal = await tx.value(SQL.flow_of, flow=flow, object_id=object_id, invoice_id=invoice_id)

    return cents


async def ledger_of_day(tx: Session, day: date) -> AsyncIterator[LedgerRow]:
    """Rows of the credit ledger of a day by account and number, a page at a time."""
    user, seq = "", 0
    while True:
        page = await tx.all(
            SQL.ledger,
            LedgerRow,
            begins_at=midnight(day),
            ends_at=midnight(day + timedelta(days=1)),
            after_user=user,
            after_seq=seq,
            most=LEDGER_PAGE,
        )
        for row in page:
            yield row
        if len(page) < LEDGER_PAGE:
            return
        user, seq = page[-1].user_id, page[-1].seq


async def costs_of_days(tx: Session, days: Period) -> list[DayCosts]:
    """What vendors cost in a period, by the day of the call."""
    return await tx.all(SQL.costs_of_days, DayCosts, begins_at=days.begins_at, ends_at=days.ends_at)


async def dialled(tx: Session, begins_at: datetime, ends_at: datetime) -> list[Dialled]:
    """Settled calls of a period that the carrier knows."""
    return await tx.all(SQL.dialled, Dialled, begins_at=begins_at, ends_at=ends_at)


async def known_calls(tx: Session, carrier_sids: Sequence[str]) -> frozenset[str]:
    """Those of the carrier's ids that are of a call of ours."""
    found: list[str] = await tx.value(SQL.known_calls, carrier_sids=list(carrier_sids))

    return frozenset(found)


async def miscosted(tx: Session, begins_at: datetime, ends_at: datetime) -> list[Repriced]:
    """Days and vendors whose costs aren't their quantities at the rates of their time."""
    return await tx.all(SQL.miscosted, Repriced, begins_at=begins_at, ends_at=ends_at)


async def margin(tx: Session, by: MarginBy, days: Period) -> list[Row]:
    """Revenue, vendors' cost and margin of a period, by day, tier or persona."""
    bounds = {"begins_at": days.begins_at, "ends_at": days.ends_at, "most": ROWS_MAX}
    if by == "day":
        return await tx.dicts(SQL.margin_by_day, **bounds)
    if by == "tier":
        return await tx.dicts(SQL.margin_by_tier, **bounds)

    return await tx.dicts(SQL.margin_by_persona, **bounds)


async def revenue(tx: Session, days: Period) -> list[Row]:
    """Money of a period by day and kind: received, refunded, disputed."""
    return await tx.dicts(SQL.revenue, begins_at=days.begins_at, ends_at=days.ends_at, most=ROWS_MAX)
