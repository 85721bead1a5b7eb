"""Codes that make a pack cheaper, as the operator makes and ends them. What they take off is `begin_purchase`'s."""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from callmeback import errors
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "coupons.sql")

LIST_MAX: Final = 1_000


class CouponLine(msgspec.Struct, frozen=True, kw_only=True):
    """A code; `redemptions` are the purchases with it that are paid or may still be."""

    code: str
    percent_off: int | None
    amount_off_cents: Decimal | None
    currency: str | None
    max_redemptions: int | None
    redemptions: int
    expires_at: datetime | None
    created_at: datetime


class NewCoupon(msgspec.Struct, frozen=True, kw_only=True):
    """A code to be made: a whole percentage, or whole cents of a currency."""

    code: str
    percent_off: int | None
    amount_off_cents: int | None
    currency: str | None
    max_redemptions: int | None
    expires_at: datetime | None


async def coupons(tx: Session) -> list[CouponLine]:
    """The newest codes, at most LIST_MAX."""
    return await tx.all(SQL.coupons, CouponLine, most=LIST_MAX)


async def add(tx: Session, coupon: NewCoupon) -> None:
    """Make a code; raises ValidationFailed for a form or figures that no code has, Conflict where it is there."""
    try:
        await tx.run(SQL.add, **msgspec.structs.asdict(coupon))
    except errors.Conflict as exc:
        raise errors.Conflict(f"There is a code {coupon.code} already; one that has ended keeps its name.") from exc


async def expire(tx: Session, code: str) -> CouponLine:
    """End a code now, unless it has ended already; raises NotFound."""
    ended = await tx.maybe(SQL.expire, CouponLine, code=code)
    if ended is None:
        raise errors.NotFound("There is no such code.")

    return ended
