"""Refunds: asked for, failed later, and those by which a hold is released."""

from typing import Final

from callmeback.simulator.payments import balance, methods
from callmeback.simulator.payments.book import DAY_SECONDS, Book
from callmeback.simulator.payments.records import Charge, Refund
from callmeback.simulator.payments.refusals import Refusal, state
from callmeback.simulator.payments.wire_payments import charge as charge_wire
from callmeback.simulator.payments.wire_payments import refund as wire

FAILS_AFTER_SECONDS: Final = 60
PENDING_DAYS: Final = 2
REASONS: Final = ("duplicate", "fraudulent", "requested_by_customer")


def create(
    book: Book, charge: Charge, amount: int | None, reason: str | None = None, metadata: dict[str, str] | None = None
) -> Refund:
    """Give a charge's money back, or a part of it. Raises Refusal."""
    left = charge.amount - charge.amount_refunded
    if not charge.captured:
        raise state(f"Charge {charge.id} has not been captured, and can't be refunded.", "charge_not_refundable")
    dispute = book.disputes.get(charge.dispute)
    if dispute is not None and dispute.status != "won" and not dispute.status.startswith("warning"):
        raise state(f"Charge {charge.id} has been charged back; cannot issue a refund.", "charge_disputed")
    if left == 0:
        raise state(f"Charge {charge.id} has already been refunded.", "charge_already_refunded")
    wanted = left if amount is None else amount
    if wanted > left:
        raise Refusal(f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({left})", param="amount")
    refund = _add(book, charge, wanted, reason, metadata or {})
    card = methods.card_of(book.methods[charge.method])
    manner = card.refunds if card is not None else "succeed"
    if manner == "wait":
        refund.status = "pending"
        book.clock.at(book.now() + PENDING_DAYS * DAY_SECONDS, lambda: _arrive(book, refund))
    else:
        refund.balance_transaction = balance.move(book, "refund", refund.id, -wanted, 0, charge.currency)
    if manner == "fail":
        book.clock.at(book.now() + FAILS_AFTER_SECONDS, lambda: fail(book, refund))
    _tell_both(book, charge, refund)
    return refund


def release(book: Book, charge: Charge, amount: int) -> None:
    """Release a hold or the part of it that isn't captured: to the vendor that is a refund without a movement."""
    refund = _add(book, charge, amount, None, {})
    _tell_both(book, charge, refund)


def _add(book: Book, charge: Charge, amount: int, reason: str | None, metadata: dict[str, str]) -> Refund:
    charge.amount_refunded += amount
    refund = Refund(
        id=book.new_id("re"),
        created=book.now(),
        metadata=metadata,
        amount=amount,
        currency=charge.currency,
        charge=charge.id,
        intent=charge.intent,
        reason=reason,
    )
    return book.refunds.add(refund)


def _tell_both(book: Book, charge: Charge, refund: Refund) -> None:
    before = charge.amount_refunded - refund.amount
    subject = charge.customer or charge.intent
    book.emit("refund.created", subject, wire(book, refund))
    book.emit("charge.refunded", subject, charge_wire(book, charge), {"amount_refunded": before})


def _arrive(book: Book, refund: Refund) -> None:
    if refund.status == "pending":
        charge = book.charges[refund.charge]
        refund.status = "succeeded"
        refund.balance_transaction = balance.move(book, "refund", refund.id, -refund.amount, 0, refund.currency)
        book.emit("refund.updated", charge.customer or charge.intent, wire(book, refund), {"status": "pending"})


def cancel(book: Book, refund: Refund) -> None:
    """Take a refund back that is still under way. Raises Refusal."""
    if refund.status != "pending":
        raise state(f"Refund {refund.id} can't be canceled: its status is {refund.status}.", "refund_not_cancelable")
    charge = book.charges[refund.charge]
    refund.status = "canceled"
    charge.amount_refunded -= refund.amount
    book.emit("refund.updated", charge.customer or charge.intent, wire(book, refund), {"status": "pending"})


def fail(book: Book, refund: Refund) -> None:
    """The bank sends a refund back: the money is ours again. Nothing happens to one that is over."""
    if refund.status not in {"succeeded", "pending"}:
        return
    before = refund.status
    charge = book.charges[refund.charge]
    refund.status, refund.failure_reason = "failed", "lost_or_stolen_card"
    charge.amount_refunded -= refund.amount
    if refund.balance_transaction is not None:
        balance.move(book, "refund_failure", refund.id, refund.amount, 0, refund.currency)
    subject = charge.customer or charge.intent
    book.emit("refund.failed", subject, wire(book, refund), {"status": before})
    book.emit("refund.updated", subject, wire(book, refund), {"status": before})
