"""Disputes: the bank takes a charge's money back, and gives it again when we win."""

from typing import Final, Literal

from callmeback.simulator.payments import balance
from callmeback.simulator.payments.book import DAY_SECONDS, Book
from callmeback.simulator.payments.records import Charge, Dispute
from callmeback.simulator.payments.refusals import state, wrong
from callmeback.simulator.payments.wire_payments import dispute as wire

EVIDENCE_DAYS: Final = 9
REASONS: Final = (
    "bank_cannot_process", "credit_not_processed", "customer_initiated", "debit_not_authorized", "duplicate",
    "fraudulent", "general", "incorrect_account_details", "insufficient_funds", "product_not_received",
    "product_unacceptable", "subscription_canceled", "unrecognized",
)  # fmt: skip
CLOSED: Final = frozenset({"won", "lost", "warning_closed", "prevented"})

Outcome = Literal["won", "lost"]


def open_dispute(
    book: Book, charge: Charge, reason: str, amount: int | None = None, *, is_inquiry: bool = False
) -> Dispute:
    """The customer goes to the bank. An inquiry asks only; a dispute takes the money and a fee. Raises Refusal."""
    if charge.dispute is not None and book.disputes[charge.dispute].status not in {"won", "warning_closed"}:
        raise state(f"Charge {charge.id} is disputed already.", "charge_disputed")
    if not charge.captured:
        raise state(f"Charge {charge.id} has not been captured.", "charge_not_disputable")
    wanted = charge.amount_captured if amount is None else amount
    if wanted > charge.amount_captured:
        raise wrong("amount", f"The charge was for {charge.amount_captured}.")
    dispute = Dispute(
        id=book.new_id("du"),
        created=book.now(),
        amount=wanted,
        currency=charge.currency,
        charge=charge.id,
        intent=charge.intent,
        reason=reason,
        status="warning_needs_response" if is_inquiry else "needs_response",
        due_by=book.now() + EVIDENCE_DAYS * DAY_SECONDS,
    )
    book.disputes.add(dispute)
    charge.dispute = dispute.id
    _tell(book, dispute, "created")
    if not is_inquiry:
        _withdraw(book, dispute)
    return dispute


def _withdraw(book: Book, dispute: Dispute) -> None:
    fee = balance.DISPUTE_FEE_CENTS
    dispute.balance_transactions.append(
        balance.move(book, "adjustment", dispute.id, -dispute.amount, fee, dispute.currency)
    )
    _tell(book, dispute, "funds_withdrawn")


def submit(book: Book, dispute: Dispute) -> None:
    """Our evidence goes to the bank. Raises Refusal when the dispute is over."""
    _refuse_closed(dispute)
    before = dispute.status
    dispute.is_submitted = True
    dispute.status = "warning_under_review" if before.startswith("warning") else "under_review"
    _tell(book, dispute, "updated", status=before)


def close(book: Book, dispute: Dispute, outcome: Outcome) -> None:
    """The bank decides. Won, the money comes back; the fee doesn't. Raises Refusal when it has decided before."""
    _refuse_closed(dispute)
    before = dispute.status
    if before.startswith("warning") and outcome == "won":
        dispute.status = "warning_closed"
        _tell(book, dispute, "closed", status=before)
        return
    if before.startswith("warning"):
        # The inquiry becomes a dispute, and that one is lost.
        _withdraw(book, dispute)
    dispute.status = outcome
    _tell(book, dispute, "closed", status=before)
    if outcome == "won":
        dispute.balance_transactions.append(
            balance.move(book, "adjustment", dispute.id, dispute.amount, 0, dispute.currency)
        )
        _tell(book, dispute, "funds_reinstated")


def _refuse_closed(dispute: Dispute) -> None:
    if dispute.status in CLOSED:
        raise state(f"This dispute is already closed, with the status {dispute.status}.", "dispute_closed")


def _tell(book: Book, dispute: Dispute, what: str, **previous: object) -> None:
    customer = book.charges[dispute.charge].customer
    book.emit(f"charge.dispute.{what}", customer or dispute.intent, wire(book, dispute), previous or None)
