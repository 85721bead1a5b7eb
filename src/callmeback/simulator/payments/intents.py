"""Payment intents and their charges: attempts, authentication, holds, captures, releases."""

from typing import Final, Literal

from callmeback.simulator.payments import balance, cards, disputes, methods, refunds
from callmeback.simulator.payments.book import DAY_SECONDS, Book
from callmeback.simulator.payments.records import Charge, Intent, PaymentMethod
from callmeback.simulator.payments.refusals import Decline, state
from callmeback.simulator.payments.wire_payments import charge as charge_wire
from callmeback.simulator.payments.wire_payments import intent as wire

HOLD_DAYS: Final = 7
DEBIT_DAYS: Final = 3
CONFIRMABLE: Final = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})
CANCELABLE: Final = CONFIRMABLE | {"requires_capture"}
BANK_REFUSED: Final = Decline("The customer's bank account could not be debited.", "payment_method_provider_decline")

Presence = Literal["present", "authenticated", "absent"]
"""Whether the customer sits before the page, has just passed the authentication there, or isn't there at all."""


def add(book: Book, intent: Intent) -> Intent:
    """A new intent."""
    book.intents.add(intent)
    tell(book, intent, "created")
    return intent


def tell(book: Book, intent: Intent, what: str) -> None:
    """An event of the intent."""
    book.emit(f"payment_intent.{what}", intent.customer or intent.id, wire(book, intent))


def tell_charge(book: Book, charge: Charge, what: str, **previous: object) -> None:
    """An event of a charge."""
    book.emit(f"charge.{what}", charge.customer or charge.intent, charge_wire(book, charge), previous or None)


def attempt(
    book: Book, intent: Intent, method: PaymentMethod, presence: Presence, forced: Decline | None = None
) -> Decline | None:
    """Try to charge; answers what the bank said, if it said no. The intent's status tells the rest.

    `forced`: the bank says this, whatever the card is.
    """
    intent.method, intent.last_error = method.id, None
    card = methods.card_of(method)
    if card is None:
        _debit(book, intent, method)
        return None
    decline = forced or foreseen(method, presence)
    if decline is not None:
        _fail(book, intent, method, decline)
        return decline
    if presence == "present" and _asks(card, method):
        intent.status = "requires_action"
        tell(book, intent, "requires_action")
        return None
    method.authenticated = method.authenticated or presence == "authenticated"
    _succeed(book, intent, method)
    if card.dispute is not None and intent.status == "succeeded":
        disputes.open_dispute(book, book.charges[intent.latest_charge], card.dispute)
    return None


def foreseen(method: PaymentMethod, presence: Presence) -> Decline | None:
    """What the bank will say to a charge of this method; None when it says yes, or asks for authentication."""
    card = methods.card_of(method)
    if card is None:
        return None
    if card.decline is not None:
        return card.decline
    if presence == "absent":
        return cards.UNAUTHENTICATED if _asks(card, method) else card.later
    return None


def _asks(card: cards.Card, method: PaymentMethod) -> bool:
    return card.authentication == "always" or (card.authentication == "once" and not method.authenticated)


def _charge(book: Book, intent: Intent, method: PaymentMethod) -> Charge:
    charge = Charge(
        id=book.new_id("ch"),
        created=book.now(),
        metadata=dict(intent.metadata),
        amount=intent.amount,
        currency=intent.currency,
        intent=intent.id,
        method=method.id,
        customer=intent.customer,
        description=intent.description,
        receipt_email=intent.receipt_email,
        origin=intent.origin,
    )
    intent.latest_charge = charge.id
    return book.charges.add(charge)


def _succeed(book: Book, intent: Intent, method: PaymentMethod) -> None:
    charge = _charge(book, intent, method)
    if intent.capture_method == "manual":
        charge.captured = False
        charge.capture_before = book.now() + HOLD_DAYS * DAY_SECONDS
        intent.status, intent.amount_capturable = "requires_capture", intent.amount
        book.clock.at(charge.capture_before, lambda: _expire(book, intent))
        tell_charge(book, charge, "succeeded")
        tell(book, intent, "amount_capturable_updated")
        return
    charge.amount_captured = charge.amount
    balance.collect(book, charge, charge.amount)
    intent.status, intent.amount_received = "succeeded", intent.amount
    tell_charge(book, charge, "succeeded")
    tell(book, intent, "succeeded")


def _fail(book: Book, intent: Intent, method: PaymentMethod, decline: Decline) -> None:
    charge = _charge(book, intent, method)
    charge.status, charge.failure, charge.captured = "failed", decline, False
    intent.status, intent.last_error = "requires_payment_method", decline
    tell_charge(book, charge, "failed")
    tell(book, intent, "payment_failed")


def _debit(book: Book, intent: Intent, method: PaymentMethod) -> None:
    charge = _charge(book, intent, method)
    charge.status, charge.captured = "pending", False
    intent.status = "processing"
    tell_charge(book, charge, "pending")
    tell(book, intent, "processing")
    book.clock.at(book.now() + DEBIT_DAYS * DAY_SECONDS, lambda: _settle_debit(book, intent, charge, method))


def _settle_debit(book: Book, intent: Intent, charge: Charge, method: PaymentMethod) -> None:
    """What the bank says days later. Whoever waits for it looks at the intent afterwards: it is asked for later."""
    if method.number == "succeeds":
        charge.status, charge.captured, charge.amount_captured = "succeeded", True, charge.amount
        balance.collect(book, charge, charge.amount)
        intent.status, intent.amount_received = "succeeded", intent.amount
        tell_charge(book, charge, "succeeded")
        tell(book, intent, "succeeded")
        return
    charge.status, charge.failure = "failed", BANK_REFUSED
    intent.status, intent.last_error = "requires_payment_method", BANK_REFUSED
    tell_charge(book, charge, "failed")
    tell(book, intent, "payment_failed")


def refuse_authentication(book: Book, intent: Intent) -> None:
    """The customer fails the bank's challenge."""
    intent.status, intent.last_error = "requires_payment_method", cards.FAILED_CHALLENGE
    tell(book, intent, "payment_failed")


def capture(book: Book, intent: Intent, amount: int | None, metadata: dict[str, str]) -> None:
    """Take a hold's money, or a part of it; what isn't taken is released. Raises Refusal.

    As at the vendor, the released part is a refund of the charge that moved no balance.
    """
    if intent.status != "requires_capture":
        raise _unexpected(book, intent, "captured", "requires_capture")
    taken = intent.amount_capturable if amount is None else amount
    if taken > intent.amount_capturable:
        raise state(
            f"The payment could not be captured because the requested capture amount is greater than the authorized "
            f"amount: {taken} is more than {intent.amount_capturable}.",
            "amount_too_large",
        )
    intent.metadata = metadata
    charge = book.charges[intent.latest_charge]
    charge.captured, charge.amount_captured = True, taken
    balance.collect(book, charge, taken)
    intent.status, intent.amount_capturable, intent.amount_received = "succeeded", 0, taken
    if taken < charge.amount:
        refunds.release(book, charge, charge.amount - taken)
    tell_charge(book, charge, "captured", captured=False, amount_captured=0)
    tell(book, intent, "succeeded")


def cancel(book: Book, intent: Intent, reason: str | None) -> None:
    """Give an intent up; a hold is released. Raises Refusal when it is too late."""
    if intent.status not in CANCELABLE:
        raise _unexpected(book, intent, "canceled", ", ".join(sorted(CANCELABLE)))
    _give_up(book, intent, reason)


def _expire(book: Book, intent: Intent) -> None:
    if intent.status == "requires_capture":
        tell_charge(book, book.charges[intent.latest_charge], "expired")
        _give_up(book, intent, "automatic")


def _give_up(book: Book, intent: Intent, reason: str | None) -> None:
    was_held = intent.status == "requires_capture"
    intent.status, intent.amount_capturable = "canceled", 0
    intent.canceled_at, intent.cancellation_reason = book.now(), reason
    if was_held:
        charge = book.charges[intent.latest_charge]
        refunds.release(book, charge, charge.amount)
    tell(book, intent, "canceled")


def _unexpected(book: Book, intent: Intent, what: str, wanted: str) -> Exception:
    message = (
        f"This PaymentIntent could not be {what} because it has a status of {intent.status}. "
        f"Only a PaymentIntent with one of the following statuses may be {what}: {wanted}."
    )
    return state(message, "payment_intent_unexpected_state", {"payment_intent": wire(book, intent)})
