"""What happens on the hosted Checkout page: paid, declined, authenticated, abandoned. The page stands in `pages.py`,
the session's interface in `endpoints_checkout.py`."""

from typing import Final

from callmeback.simulator.payments import intents, methods, renewals
from callmeback.simulator.payments.book import DAY_SECONDS, Book
from callmeback.simulator.payments.intents import DEBIT_DAYS
from callmeback.simulator.payments.records import Customer, Intent, PaymentMethod, Session
from callmeback.simulator.payments.refusals import Decline, state
from callmeback.simulator.payments.wire_billing import customer as customer_wire
from callmeback.simulator.payments.wire_billing import is_valid
from callmeback.simulator.payments.wire_payments import discount
from callmeback.simulator.payments.wire_payments import session as wire

CODE_UNKNOWN: Final = "This code is invalid."


def total(book: Book, session: Session) -> int:
    """What is to be paid, in cents."""
    subtotal = sum(line.amount for line in session.lines)
    return subtotal - discount(book, session.coupon, subtotal)


def tell(book: Book, session: Session, what: str) -> None:
    """An event of the session."""
    book.emit(f"checkout.session.{what}", session.customer or session.intent or session.id, wire(book, session))


def expire(book: Book, session: Session) -> None:
    """Nobody can pay any more. Raises Refusal for a session that isn't open."""
    if session.status != "open":
        raise state(f"Only Checkout Sessions with a status of open can be expired: {session.status}.", "not_open")
    session.status = "expired"
    tell(book, session, "expired")


def run_out(book: Book, session: Session) -> None:
    """Its time is over."""
    if session.status == "open":
        expire(book, session)


def redeem(book: Book, session: Session, text: str) -> str | None:
    """Take a code that the customer typed; answers what is wrong with it."""
    code = next((found for found in book.promotion_codes if found.code.lower() == text.strip().lower()), None)
    coupon = book.coupons.get(code.coupon) if code is not None else None
    if code is None or coupon is None or not code.active or not is_valid(book, coupon):
        return CODE_UNKNOWN
    if code.expires_at is not None and book.now() >= code.expires_at:
        return CODE_UNKNOWN
    if code.max_redemptions is not None and code.times_redeemed >= code.max_redemptions:
        return CODE_UNKNOWN
    if code.customer not in {None, session.customer}:
        return CODE_UNKNOWN
    if coupon.amount_off is not None and coupon.currency != session.currency:
        return CODE_UNKNOWN
    session.coupon, session.promotion_code = coupon.id, code.id
    return None


def pay(
    book: Book, session: Session, method: PaymentMethod, *, email: str | None, name: str | None = None
) -> Decline | None:
    """The customer presses the button; answers what the bank said, if it said no.

    The session is complete afterwards, unless the bank asks for authentication: then its intent waits for
    `authenticate`. Raises Refusal for a session that isn't open.
    """
    if session.status != "open":
        raise state(f"This Checkout Session is {session.status}.", "not_open")
    session.payer_email = session.customer_email or email or session.payer_email
    session.payer_name = name or session.payer_name
    method.email = session.payer_email
    if total(book, session) == 0:
        session.payment_status = "no_payment_required"
        _complete(book, session, method, None)
        return None
    intent = book.intents.get(session.intent) or _new_intent(book, session)
    decline = intents.attempt(book, intent, method, "present")
    if decline is None and intent.status != "requires_action":
        _complete(book, session, method, intent)
    return decline


def authenticate(book: Book, session: Session, passed: bool) -> Decline | None:
    """The customer comes back from the bank's challenge."""
    intent = book.intents.get(session.intent)
    if session.status != "open" or intent is None or intent.status != "requires_action":
        raise state("Nothing waits for authentication.", "not_open")
    if not passed:
        intents.refuse_authentication(book, intent)
        return intent.last_error
    method = book.methods[intent.method]
    decline = intents.attempt(book, intent, method, "authenticated")
    if decline is None:
        _complete(book, session, method, intent)
    return decline


def _new_intent(book: Book, session: Session) -> Intent:
    if session.mode == "subscription" or session.customer_creation == "always":
        _customer(book, session)
    intent = Intent(
        id=book.new_id("pi"),
        created=book.now(),
        metadata=dict(session.payment_metadata),
        amount=total(book, session),
        currency=session.currency,
        capture_method=session.capture_method,
        customer=session.customer,
        description=session.payment_description
        or ("Subscription creation" if session.mode == "subscription" else None),
        receipt_email=session.payer_email,
        origin=session.origin,
    )
    session.intent = intent.id
    return intents.add(book, intent)


def _customer(book: Book, session: Session) -> Customer:
    """Who pays, made when nobody was named."""
    if session.customer is not None:
        return book.customers[session.customer]
    customer = Customer(id=book.new_id("cus"), created=book.now(), email=session.payer_email, name=session.payer_name)
    session.customer = book.customers.add(customer).id
    book.emit("customer.created", customer.id, customer_wire(book, customer))
    return customer


def _complete(book: Book, session: Session, method: PaymentMethod, intent: Intent | None) -> None:
    if session.coupon is not None:
        book.coupons[session.coupon].times_redeemed += 1
    if session.promotion_code is not None:
        book.promotion_codes[session.promotion_code].times_redeemed += 1
    if session.mode == "subscription":
        _subscribe(book, session, method, intent)
    elif session.keeps_method:
        methods.attach(book, method, _customer(book, session))
    session.status = "complete"
    if intent is None or intent.status == "succeeded":
        session.payment_status = "paid" if intent is not None else "no_payment_required"
    tell(book, session, "completed")
    if intent is not None and intent.status == "processing":
        # After what the bank says at the same moment, which was planned before.
        at = book.now() + DEBIT_DAYS * DAY_SECONDS
        book.clock.at(at, lambda: _hear_from_bank(book, session, intent))


def _hear_from_bank(book: Book, session: Session, intent: Intent) -> None:
    if intent.status == "succeeded":
        session.payment_status = "paid"
        tell(book, session, "async_payment_succeeded")
    else:
        tell(book, session, "async_payment_failed")


def _subscribe(book: Book, session: Session, method: PaymentMethod, intent: Intent | None) -> None:
    customer = _customer(book, session)
    methods.attach(book, method, customer)
    customer.method = customer.method or method.id
    order = renewals.Order(
        customer=customer,
        prices=[(book.prices[line.price], line.quantity) for line in session.lines],
        method=method.id,
        metadata=dict(session.subscription_metadata),
        origin=session.origin,
        coupon=session.coupon,
        promotion_code=session.promotion_code,
    )
    subscription = renewals.begin(book, order)
    renewals.first_invoice(book, subscription)
    if intent is not None:
        renewals.paid_by(book, subscription, intent)
    session.subscription, session.invoice = subscription.id, subscription.latest_invoice
    # The intent belongs to the invoice, as at the vendor.
    session.intent = None
