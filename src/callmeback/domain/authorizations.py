"""Calls that are paid one by one: the worst case is set aside on a card, what was used is taken, the rest let go."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "authorizations.sql")


class WorstCase(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may cost at the most, and whose card is asked."""

    customer_id: str
    credits: int
    amount_cents: Decimal
    currency: str


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done at the provider; `payment_intent_id` None where its answer was never heard."""

    user_id: str
    id: str
    payment_intent_id: str | None
    customer_id: str
    state: Literal["capturing", "releasing"]
    capture_cents: Decimal
    created_at: datetime


async def begin(
    tx: Session, user_id: str, authorization_id: str, persona_id: str, requested_seconds: int | None
) -> WorstCase:
    """Write the worst case of a call, before the card is asked.

    Raises InsufficientCredits where this person doesn't pay so, CardMissing, DebtOutstanding, CallInProgress,
    AccountBlocked.
    """
    return await tx.one(
        SQL.begin,
        WorstCase,
        user_id=user_id,
        authorization_id=authorization_id,
        persona_id=persona_id,
        requested_seconds=requested_seconds,
    )


async def cents_a_minute(tx: Session, user_id: str) -> Decimal | None:
    """What a started minute costs in a call of this person's that is paid by itself; None where that isn't offered."""
    price: Decimal | None = await tx.value(SQL.cents_a_minute, user_id=user_id)

    return price


async def note(tx: Session, user_id: str, authorization_id: str, intent: str | None, *, is_authorized: bool) -> bool:
    """What the card said; False where the worker has given it up meanwhile."""
    noted = await tx.value(
        SQL.note,
        user_id=user_id,
        authorization_id=authorization_id,
        payment_intent_id=intent,
        is_authorized=is_authorized,
    )

    return bool(noted)


async def release(tx: Session, user_id: str, authorization_id: str) -> None:
    """No call came of it: the worker lets go of what is set aside."""
    await tx.run(SQL.release, user_id=user_id, authorization_id=authorization_id)


async def claim(tx: Session, most: int, again_after: timedelta) -> list[Due]:
    """What is to be done at the provider; handed out again later if nothing comes of it."""
    return await tx.all(SQL.claim, Due, limit=most, again_after=again_after)


async def finish(tx: Session, due: Due, captured_cents: int, at: datetime) -> str:
    """Note what the provider confirmed, once; answers the state that it is in now, or wrong_amount."""
    state: str = await tx.value(
        SQL.finish, user_id=due.user_id, authorization_id=due.id, captured_cents=captured_cents, at=at
    )

    return state
