"""Warnings that a month's budget is being used up: once for each month and percentage, as the person chose."""

from datetime import date, datetime
from decimal import Decimal
from typing import Final

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "warnings.sql")


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A warning that this worker is to give; `month` is the first day of the person's month."""

    user_id: str
    month: date
    percent: int


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """How a person is told, and what of. `number` is their primary one, if it is verified."""

    email: str
    wants_mail: bool
    wants_text: bool
    number: str | None
    noticed_at: datetime
    spent_cents: Decimal
    limit_cents: Decimal


async def notice(tx: Session, limit: int) -> int:
    """Note who has reached the percentage that they set; answers how many are new."""
    found: int = await tx.value(SQL.notice, limit=limit)

    return found


async def claim(tx: Session) -> Due | None:
    """One warning, which nobody else is handed until its lease is over."""
    return await tx.maybe(SQL.claim, Due)


async def recipient(tx: Session, due: Due) -> Recipient | None:
    """Whom to tell; None once the person is erased."""
    return await tx.maybe(SQL.recipient, Recipient, **msgspec.structs.asdict(due))


async def put_off(tx: Session, due: Due) -> bool:
    """The mail server takes it later, it says: the next attempt is further away each time. Whether it was the last."""
    is_over: bool = await tx.value(SQL.put_off, **msgspec.structs.asdict(due))

    return is_over


async def told(tx: Session, due: Due) -> None:
    """It is over with this warning."""
    await tx.run(SQL.told, **msgspec.structs.asdict(due))
