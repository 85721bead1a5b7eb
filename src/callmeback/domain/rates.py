"""What vendors charge, and from when. The past is never edited; a call keeps the rates of its time."""

from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback import errors
from callmeback.domain.books import Period
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "rates.sql")

VENDORS: Final = ("twilio", "deepgram", "cerebras", "elevenlabs", "espeak")
UNITS: Final = ("second", "input_token", "output_token", "character")
PRICE_CENTS_MAX: Final = Decimal(1_000_000)
PER_MAX: Final = 1_000_000_000
SOURCE_LENGTH_MAX: Final = 500
# As many as numeric(18, 8) keeps.
PRICE_DIGITS_MAX: Final = 8

RepriceBy = Literal["vendor", "day"]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Cents for `per` units, from and until when; `price_cents` None: such a model can't be called from then on."""

    vendor: str
    model: str
    unit: str
    effective_from: datetime
    effective_until: datetime | None
    price_cents: Decimal | None
    per: int
    source: str


class NewRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate to come; `effective_from` None is now, `price_cents` None ends the one before."""

    vendor: str
    model: str
    unit: str
    price_cents: Decimal | None
    per: int
    effective_from: datetime | None
    source: str


class RepricedLine(msgspec.Struct, frozen=True, kw_only=True):
    """What calls cost, and would have cost; None where some of them use what has no rate then."""

    key: str
    calls: int
    unpriced_calls: int
    booked_cents: Decimal
    repriced_cents: Decimal | None


async def in_force(tx: Session) -> list[Rate]:
    """What holds now, and what is agreed for later."""
    return await tx.all(SQL.in_force, Rate)


async def history(tx: Session, vendor: str | None = None, model: str | None = None) -> list[Rate]:
    """Every rate that ever was."""
    return await tx.all(SQL.history, Rate, vendor=vendor, model=model)


async def follow(tx: Session, rate: NewRate) -> datetime:
    """Write a rate that follows the one in force; answers from when. Raises ValidationFailed, RateUnchangeable."""
    if not 1 <= len(rate.source.strip()) <= SOURCE_LENGTH_MAX:
        raise errors.ValidationFailed(f"The source must have 1 to {SOURCE_LENGTH_MAX} characters.")
    price = rate.price_cents
    if price is not None:
        exponent = price.normalize().as_tuple().exponent if price.is_finite() else None
        if exponent is None or not 0 <= price <= PRICE_CENTS_MAX or int(exponent) < -PRICE_DIGITS_MAX:
            raise errors.ValidationFailed(
                f"A price lies between 0 and {PRICE_CENTS_MAX} cents, with at most {PRICE_DIGITS_MAX} decimals."
            )
    if not 1 <= rate.per <= PER_MAX:
        raise errors.ValidationFailed(f"A price is for 1 to {PER_MAX} units.")
    since: datetime = await tx.value(SQL.set, **msgspec.structs.asdict(rate))

    return since


async def reprice(tx: Session, by: RepriceBy, days: Period, as_of: datetime) -> list[RepricedLine]:
    """What the calls of a period would have cost at the rates of another time. Changes nothing."""
    statement = SQL.reprice_by_vendor if by == "vendor" else SQL.reprice_by_day

    return await tx.all(statement, RepricedLine, begins_at=days.begins_at, ends_at=days.ends_at, as_of=as_of)
