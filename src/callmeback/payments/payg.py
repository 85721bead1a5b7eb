"""A call that pays for itself: its worst case is set aside on the person's card before it begins."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from callmeback import errors, ids
from callmeback.domain import authorizations
from callmeback.payments.checkout import Desk
from callmeback.pg.pool import Session
from callmeback.providers.stripe import Declined, Marks

T = TypeVar("T")

SET_ASIDE = "requires_capture"


async def pay_call(
    desk: Desk, persona_id: str, requested_seconds: int | None, start: Callable[[Session, str], Awaitable[T]]
) -> T:
    """Set money aside, then begin the call in one commit by `start(tx, authorization_id)`; its answer.

    Raises InsufficientCredits where this person doesn't pay so, CardMissing, PaymentDeclined, PaymentsFailed, and what
    `start` raises. Whatever fails after the money was set aside lets go of it; if this process dies, the worker does.
    """
    authorization = ids.new("auth")
    async with desk.open() as tx:
        worst = await authorizations.begin(tx, desk.user_id, authorization, persona_id, requested_seconds)
    marks = Marks(user_id=desk.user_id, reference=authorization, purpose="call")
    try:
        intent = await desk.cashier.set_aside(int(worst.amount_cents), worst.currency, marks, worst.customer_id)
    except Declined as exc:
        async with desk.open() as tx:
            await authorizations.note(tx, desk.user_id, authorization, None, is_authorized=False)
        raise (errors.CardMissing() if exc.vendor_code == "no_card" else errors.PaymentDeclined()) from exc
    except errors.VendorFailed as exc:
        await _release(desk, authorization)
        raise errors.PaymentsFailed() from exc
    is_authorized = intent.status == SET_ASIDE
    async with desk.open() as tx:
        noted = await authorizations.note(tx, desk.user_id, authorization, intent.id, is_authorized=is_authorized)
    if not is_authorized or not noted:
        raise errors.PaymentDeclined()
    try:
        async with desk.open() as tx:
            return await start(tx, authorization)
    except errors.CallMeBackError:
        await _release(desk, authorization)
        raise


async def _release(desk: Desk, authorization: str) -> None:
    async with desk.open() as tx:
        await authorizations.release(tx, desk.user_id, authorization)
