"""The interface of payments: intents, charges, refunds, disputes, movements of the balance."""

from collections.abc import Callable, Iterable
from typing import Final

from callmeback.simulator.payments import disputes, intents, invoices, methods, refunds, wire_payments
from callmeback.simulator.payments.asking import Ask, page
from callmeback.simulator.payments.book import Book, Wire, named
from callmeback.simulator.payments.endpoints_catalogue import AMOUNT_MAX, currency_of, existing
from callmeback.simulator.payments.endpoints_checkout import AMOUNT_MIN, capture_method_of
from callmeback.simulator.payments.form import Form
from callmeback.simulator.payments.intents import Presence
from callmeback.simulator.payments.records import Charge, Dispute, Intent, PaymentMethod, Refund
from callmeback.simulator.payments.refusals import Refusal, declined, state, wrong
from callmeback.simulator.payments.wire_payments import intent as wire

ABANDON_REASONS: Final = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")


def create_intent(ask: Ask) -> Wire:
    """`POST /v1/payment_intents`; with `confirm` it is attempted at once."""
    form, book = ask.form, ask.book
    amount = form.whole("amount")
    if amount is None:
        raise wrong("amount", "Missing required param: amount.", "parameter_missing")
    if amount < AMOUNT_MIN or amount > AMOUNT_MAX:
        code = "amount_too_small" if amount < AMOUNT_MIN else "amount_too_large"
        raise Refusal(f"Amount must be between {AMOUNT_MIN} and {AMOUNT_MAX} cents.", code=code, param="amount")
    customer = form.text("customer")
    intent = Intent(
        id=book.new_id("pi"),
        created=book.now(),
        metadata=form.metadata(),
        amount=amount,
        currency=currency_of(form),
        capture_method=capture_method_of(form),
        customer=existing(book, customer).id if customer is not None else None,
        description=form.text("description"),
        receipt_email=form.text("receipt_email"),
        origin=ask.origin,
    )
    confirm = form.flag("confirm") or False
    presence = _presence(form, confirm)
    intent.off_session = presence == "absent"
    intent.return_url = form.text("return_url")
    method = _method(book, form, intent)
    form.ignore("payment_method_types", "automatic_payment_methods", "setup_future_usage", "statement_descriptor")
    form.ignore("statement_descriptor_suffix", "confirmation_method", "error_on_requires_action")
    form.end()
    if confirm and method is None:
        raise state("You cannot confirm this PaymentIntent because it's missing a payment method.", "no_method")
    intents.add(book, intent)
    if method is not None:
        intent.method, intent.status = method.id, "requires_confirmation"
    if confirm and method is not None:
        _attempt(book, intent, method, presence)
    return wire(book, intent)


def _presence(form: Form, confirm: bool) -> Presence:
    if form.flag("off_session"):
        if not confirm:
            raise wrong("off_session", "You cannot set off_session without confirm=true.")
        return "absent"
    return "present"


def _method(book: Book, form: Form, intent: Intent) -> PaymentMethod | None:
    name = form.text("payment_method")
    if name is None:
        return None
    method = methods.resolve(book, name)
    if method.customer is not None and method.customer != intent.customer:
        raise Refusal("The payment method belongs to a customer. Please include the customer.", param="payment_method")
    return method


def _attempt(book: Book, intent: Intent, method: PaymentMethod, presence: Presence) -> None:
    """Charge; a decline is the request's answer."""
    decline = intents.attempt(book, intent, method, presence)
    invoices.follow(book, intent)
    if decline is not None:
        raise declined(decline, charge=intent.latest_charge, payment_intent=wire(book, intent))


def confirm_intent(ask: Ask) -> Wire:
    """`POST /v1/payment_intents/{id}/confirm`."""
    intent, form, book = named(ask.book.intents, ask.id), ask.form, ask.book
    presence = _presence(form, True)
    method = _method(book, form, intent) or book.methods.get(intent.method)
    return_url = form.text("return_url")
    form.ignore("setup_future_usage", "receipt_email", "error_on_requires_action")
    form.end()
    if intent.status not in intents.CONFIRMABLE:
        raise state(
            f"You cannot confirm this PaymentIntent because it has a status of {intent.status}.",
            "payment_intent_unexpected_state",
            {"payment_intent": wire(book, intent)},
        )
    if method is None:
        raise state("You cannot confirm this PaymentIntent because it's missing a payment method.", "no_method")
    intent.return_url = return_url or intent.return_url
    _attempt(book, intent, method, presence)
    return wire(book, intent)


def capture_intent(ask: Ask) -> Wire:
    """`POST /v1/payment_intents/{id}/capture`."""
    intent = named(ask.book.intents, ask.id)
    amount = ask.form.whole("amount_to_capture", least=1)
    metadata = ask.form.metadata(intent.metadata)
    ask.form.ignore("final_capture", "statement_descriptor")
    ask.form.end()
    intents.capture(ask.book, intent, amount, metadata)
    return wire(ask.book, intent)


def cancel_intent(ask: Ask) -> Wire:
    """`POST /v1/payment_intents/{id}/cancel`."""
    reason = ask.form.text("cancellation_reason", among=ABANDON_REASONS)
    ask.form.end()
    intent = named(ask.book.intents, ask.id)
    intents.cancel(ask.book, intent, reason)
    return wire(ask.book, intent)


def get_intent(ask: Ask) -> Wire:
    """`GET /v1/payment_intents/{id}`."""
    return wire(ask.book, named(ask.book.intents, ask.id))


def update_intent(ask: Ask) -> Wire:
    """`POST /v1/payment_intents/{id}`: notes and description."""
    intent, form = named(ask.book.intents, ask.id), ask.form
    metadata, description = form.metadata(intent.metadata), form.text("description")
    form.end()
    intent.metadata, intent.description = metadata, description or intent.description
    return wire(ask.book, intent)


def list_intents(ask: Ask) -> Wire:
    """`GET /v1/payment_intents`, by customer."""
    customer = ask.form.text("customer")
    keep: Callable[[Intent], bool] = lambda intent: customer in {None, intent.customer}  # noqa: E731 (as the others')
    return page(ask, ask.book.intents, wire, "/v1/payment_intents", keep)


def get_charge(ask: Ask) -> Wire:
    """`GET /v1/charges/{id}`."""
    return wire_payments.charge(ask.book, named(ask.book.charges, ask.id))


def list_charges(ask: Ask) -> Wire:
    """`GET /v1/charges`, by customer, payment_intent."""
    customer, intent = ask.form.text("customer"), ask.form.text("payment_intent")

    def keep(charge: Charge) -> bool:
        return customer in {None, charge.customer} and intent in {None, charge.intent}

    return page(ask, ask.book.charges, wire_payments.charge, "/v1/charges", keep)


def create_refund(ask: Ask) -> Wire:
    """`POST /v1/refunds`: of a charge or a payment intent, whole or in part."""
    form, book = ask.form, ask.book
    name, intent = form.text("charge"), form.text("payment_intent")
    amount = form.whole("amount", least=1)
    reason, metadata = form.text("reason", among=refunds.REASONS), form.metadata()
    form.end()
    if (name is None) == (intent is None):
        raise Refusal("One of the following params should be provided: payment_intent or charge.")
    if intent is not None:
        name = named(book.intents, intent, "payment_intent").latest_charge
        if name is None:
            raise state(f"This PaymentIntent ({intent}) does not have a successful charge to refund.", "no_charge")
    charge = named(book.charges, name or "", "charge")
    return wire_payments.refund(book, refunds.create(book, charge, amount, reason, metadata))


def get_refund(ask: Ask) -> Wire:
    """`GET /v1/refunds/{id}`."""
    return wire_payments.refund(ask.book, named(ask.book.refunds, ask.id))


def update_refund(ask: Ask) -> Wire:
    """`POST /v1/refunds/{id}`: its notes."""
    refund = named(ask.book.refunds, ask.id)
    metadata = ask.form.metadata(refund.metadata)
    ask.form.end()
    refund.metadata = metadata
    return wire_payments.refund(ask.book, refund)


def cancel_refund(ask: Ask) -> Wire:
    """`POST /v1/refunds/{id}/cancel`: one that is under way."""
    ask.form.end()
    refund = named(ask.book.refunds, ask.id)
    refunds.cancel(ask.book, refund)
    return wire_payments.refund(ask.book, refund)


def list_refunds(ask: Ask) -> Wire:
    """`GET /v1/refunds`, by charge, payment_intent."""
    charge, intent = ask.form.text("charge"), ask.form.text("payment_intent")

    def keep(refund: Refund) -> bool:
        return charge in {None, refund.charge} and intent in {None, refund.intent}

    return page(ask, ask.book.refunds, wire_payments.refund, "/v1/refunds", keep)


def get_dispute(ask: Ask) -> Wire:
    """`GET /v1/disputes/{id}`."""
    return wire_payments.dispute(ask.book, named(ask.book.disputes, ask.id))


def list_disputes(ask: Ask) -> Wire:
    """`GET /v1/disputes`, by charge, payment_intent."""
    charge, intent = ask.form.text("charge"), ask.form.text("payment_intent")

    def keep(dispute: Dispute) -> bool:
        return charge in {None, dispute.charge} and intent in {None, dispute.intent}

    return page(ask, ask.book.disputes, wire_payments.dispute, "/v1/disputes", keep)


def update_dispute(ask: Ask) -> Wire:
    """`POST /v1/disputes/{id}`: with `submit` the evidence goes to the bank."""
    dispute = named(ask.book.disputes, ask.id)
    metadata, submits = ask.form.metadata(dispute.metadata), ask.form.flag("submit")
    ask.form.ignore("evidence")
    ask.form.end()
    dispute.metadata = metadata
    if submits is not False:
        disputes.submit(ask.book, dispute)
    return wire_payments.dispute(ask.book, dispute)


def close_dispute(ask: Ask) -> Wire:
    """`POST /v1/disputes/{id}/close`: we give in."""
    ask.form.end()
    dispute = named(ask.book.disputes, ask.id)
    disputes.close(ask.book, dispute, "lost")
    return wire_payments.dispute(ask.book, dispute)


def get_movement(ask: Ask) -> Wire:
    """`GET /v1/balance_transactions/{id}`."""
    return wire_payments.balance_transaction(ask.book, named(ask.book.balance, ask.id))


def list_movements(ask: Ask) -> Wire:
    """`GET /v1/balance_transactions`, by type, source, currency."""
    wanted = {name: ask.form.text(name) for name in ("type", "source", "currency")}
    return page(
        ask,
        ask.book.balance,
        wire_payments.balance_transaction,
        "/v1/balance_transactions",
        lambda movement: all(value in {None, getattr(movement, name)} for name, value in wanted.items()),
    )


ROUTES: Iterable[tuple[str, str, object]] = (
    ("POST", "/payment_intents", create_intent),
    ("GET", "/payment_intents", list_intents),
    ("GET", "/payment_intents/{id:str}", get_intent),
    ("POST", "/payment_intents/{id:str}", update_intent),
    ("POST", "/payment_intents/{id:str}/confirm", confirm_intent),
    ("POST", "/payment_intents/{id:str}/capture", capture_intent),
    ("POST", "/payment_intents/{id:str}/cancel", cancel_intent),
    ("GET", "/charges", list_charges),
    ("GET", "/charges/{id:str}", get_charge),
    ("POST", "/refunds", create_refund),
    ("GET", "/refunds", list_refunds),
    ("GET", "/refunds/{id:str}", get_refund),
    ("POST", "/refunds/{id:str}", update_refund),
    ("POST", "/refunds/{id:str}/cancel", cancel_refund),
    ("GET", "/disputes", list_disputes),
    ("GET", "/disputes/{id:str}", get_dispute),
    ("POST", "/disputes/{id:str}", update_dispute),
    ("POST", "/disputes/{id:str}/close", close_dispute),
    ("GET", "/balance_transactions", list_movements),
    ("GET", "/balance_transactions/{id:str}", get_movement),
)
