"""The interface of subscriptions and invoices."""

from collections.abc import Iterable
from typing import Final

from callmeback.simulator.payments import intents, invoices, methods, renewals, subscriptions, wire_billing
from callmeback.simulator.payments.asking import Ask, page
from callmeback.simulator.payments.book import Book, Wire, named
from callmeback.simulator.payments.endpoints_catalogue import existing
from callmeback.simulator.payments.endpoints_checkout import QUANTITY_MAX, discount_of
from callmeback.simulator.payments.form import Form
from callmeback.simulator.payments.records import Customer, InvoicePayment, Price, Subscription
from callmeback.simulator.payments.refusals import Decline, Refusal, declined, missing, state, wrong
from callmeback.simulator.payments.wire_billing import subscription as wire

ITEMS_MAX: Final = 20
PRORATIONS: Final = ("create_prorations", "always_invoice", "none")


def create_subscription(ask: Ask) -> Wire:
    """`POST /v1/subscriptions`: charges the customer's own method for the first period."""
    form, book = ask.form, ask.book
    customer = existing(book, form.needed("customer"))
    prices = _prices(book, form)
    name = form.text("default_payment_method")
    behavior = form.text("payment_behavior", among=("allow_incomplete", "default_incomplete", "error_if_incomplete"))
    coupon, code = discount_of(book, form)
    metadata, absent = form.metadata(), form.flag("off_session")
    form.ignore(
        "payment_settings", "collection_method", "proration_behavior", "description", "currency", "billing_mode"
    )
    form.end()
    method = methods.resolve(book, name, "default_payment_method") if name is not None else None
    if method is not None:
        methods.attach(book, method, customer)
    chosen = method or book.methods.get(customer.method)
    if chosen is None and behavior != "default_incomplete":
        raise state("This customer has no attached payment source or default payment method.", "resource_missing")
    presence: intents.Presence = "absent" if absent else "present"
    if behavior == "error_if_incomplete" and chosen is not None:
        decline = intents.foreseen(chosen, presence)
        if decline is not None:
            raise declined(decline)
    order = renewals.Order(
        customer=customer,
        prices=prices,
        method=method.id if method is not None else None,
        metadata=metadata,
        origin=ask.origin,
        coupon=coupon,
        promotion_code=code,
    )
    subscription = renewals.begin(book, order)
    renewals.first_invoice(book, subscription)
    if behavior == "default_incomplete":
        invoice = book.invoices[subscription.latest_invoice]
        if invoice.status == "open":
            invoices.intent_for(book, invoice)
    else:
        renewals.pay_first(book, subscription, presence)
    return wire(book, subscription)


def _prices(book: Book, form: Form) -> list[tuple[Price, int]]:
    parts = form.parts("items")
    if not parts or len(parts) > ITEMS_MAX:
        raise wrong("items", "Missing required param: items.", "parameter_missing")
    found = []
    for part in parts:
        price = _recurring(book, part, part.needed("price"))
        found.append((price, part.whole("quantity", least=1, most=QUANTITY_MAX) or 1))
        part.metadata()
    if len({(price.currency, price.interval, price.interval_count) for price, _ in found}) > 1:
        raise wrong("items", "All prices of a subscription need the same currency and interval.")
    return found


def _recurring(book: Book, form: Form, name: str) -> Price:
    price = named(book.prices, name, form.param("price"))
    if price.interval is None or not price.active:
        raise wrong(form.param("price"), f"The price {name} is not an active recurring price.")
    return price


def update_subscription(ask: Ask) -> Wire:
    """`POST /v1/subscriptions/{id}`: another plan, an end with the period, another card, notes."""
    form, book = ask.form, ask.book
    subscription = named(book.subscriptions, ask.id)
    proration = form.text("proration_behavior", among=PRORATIONS) or "create_prorations"
    restart = form.text("billing_cycle_anchor", among=("now", "unchanged")) == "now"
    strict = form.text("payment_behavior", among=("allow_incomplete", "error_if_incomplete")) == "error_if_incomplete"
    parts = form.parts("items")
    plans = [(part, part.text("id"), part.text("price"), part.whole("quantity", least=1)) for part in parts]
    ends, name = form.flag("cancel_at_period_end"), form.text("default_payment_method")
    metadata = form.metadata(subscription.metadata)
    form.ignore("off_session", "cancellation_details", "description", "payment_settings")
    form.end()
    if subscription.status in subscriptions.OVER:
        raise state("A canceled subscription can only update its cancellation_details and metadata.", "canceled")
    if len(plans) > 1:
        raise wrong("items", "The simulator changes one item at a time.")
    if name is not None:
        method = methods.resolve(book, name, "default_payment_method")
        methods.attach(book, method, book.customers[subscription.customer])
        subscription.method = method.id
    for part, item_id, price_id, quantity in plans:
        item = next((known for known in subscription.items if known.id == item_id), None)
        if item is None:
            raise missing("subscription_item", item_id or "", part.param("id"))
        price = book.prices[item.price] if price_id is None else _recurring(book, part, price_id)
        if price.currency != subscription.currency:
            raise wrong(part.param("price"), "The price specified has another currency.")
        change = renewals.Change(
            item=item,
            price=price,
            quantity=quantity or item.quantity,
            proration=proration,
            restart=restart,
            only_if_paid=strict,
        )
        renewals.change(book, subscription, change)
    subscription.metadata = metadata
    if ends is not None:
        set_ending(book, subscription, ends)
    elif not plans:
        subscriptions.tell(book, subscription, "updated")
    return wire(book, subscription)


def set_ending(book: Book, subscription: Subscription, ends: bool) -> None:
    """End it with its period, or don't after all."""
    before = {
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "canceled_at": subscription.canceled_at,
    }
    subscription.cancel_at_period_end = ends
    subscription.canceled_at = book.now() if ends else None
    subscription.cancellation_reason = "cancellation_requested" if ends else None
    subscriptions.tell(book, subscription, "updated", **before)


def delete_subscription(ask: Ask) -> Wire:
    """`DELETE /v1/subscriptions/{id}`: now."""
    prorate = ask.form.flag("prorate") or False
    ask.form.ignore("invoice_now", "cancellation_details")
    ask.form.end()
    subscription = named(ask.book.subscriptions, ask.id)
    if subscription.status in subscriptions.OVER:
        raise missing("subscription", ask.id)
    renewals.cancel(ask.book, subscription, prorate=prorate)
    return wire(ask.book, subscription)


def get_subscription(ask: Ask) -> Wire:
    """`GET /v1/subscriptions/{id}`."""
    return wire(ask.book, named(ask.book.subscriptions, ask.id))


def list_subscriptions(ask: Ask) -> Wire:
    """`GET /v1/subscriptions`, by customer, price, status; without a status those that aren't over."""
    form = ask.form
    customer, price, status = form.text("customer"), form.text("price"), form.text("status")

    def keep(subscription: Subscription) -> bool:
        is_over = subscription.status in subscriptions.OVER
        shown = status == "all" or (not is_over if status is None else _has_status(subscription, status))
        plans = {item.price for item in subscription.items}
        return shown and customer in {None, subscription.customer} and (price is None or price in plans)

    return page(ask, ask.book.subscriptions, wire, "/v1/subscriptions", keep)


def _has_status(subscription: Subscription, status: str) -> bool:
    return subscription.status in subscriptions.OVER if status == "ended" else subscription.status == status


def get_invoice(ask: Ask) -> Wire:
    """`GET /v1/invoices/{id}`."""
    return wire_billing.invoice(ask.book, named(ask.book.invoices, ask.id))


def list_invoices(ask: Ask) -> Wire:
    """`GET /v1/invoices`, by customer, subscription, status."""
    wanted = {name: ask.form.text(name) for name in ("customer", "subscription", "status")}
    return page(
        ask,
        ask.book.invoices,
        wire_billing.invoice,
        "/v1/invoices",
        lambda invoice: all(value in {None, getattr(invoice, name)} for name, value in wanted.items()),
    )


def pay_invoice(ask: Ask) -> Wire:
    """`POST /v1/invoices/{id}/pay`: now, with another method if one is named; a decline is the answer."""
    form, book = ask.form, ask.book
    name = form.text("payment_method")
    form.ignore("off_session", "forgive")
    form.end()
    invoice = named(book.invoices, ask.id)
    method = methods.resolve(book, name) if name is not None else None
    if invoice.status == "draft":
        invoices.finalize(book, invoice)
    decline = invoices.collect(book, invoice, method=method)
    if decline is not None:
        raise declined(decline)
    return wire_billing.invoice(book, invoice)


def finalize_invoice(ask: Ask) -> Wire:
    """`POST /v1/invoices/{id}/finalize`: before its hour."""
    ask.form.ignore("auto_advance")
    ask.form.end()
    invoice = named(ask.book.invoices, ask.id)
    if invoice.status != "draft":
        raise Refusal(f"This invoice is already finalized: {invoice.status}.", code="invoice_not_editable")
    invoices.finalize(ask.book, invoice)
    if invoice.status == "open":
        invoices.collect(ask.book, invoice)
    return wire_billing.invoice(ask.book, invoice)


def void_invoice(ask: Ask) -> Wire:
    """`POST /v1/invoices/{id}/void`."""
    ask.form.end()
    invoice = named(ask.book.invoices, ask.id)
    invoices.void(ask.book, invoice)
    return wire_billing.invoice(ask.book, invoice)


def list_invoice_payments(ask: Ask) -> Wire:
    """`GET /v1/invoice_payments`, by invoice, payment intent, status: which invoice an intent has paid."""
    invoice, payment = ask.form.text("invoice"), ask.form.part("payment")
    payment.text("type", among=("payment_intent",))
    intent, status = payment.text("payment_intent"), ask.form.text("status")

    def keep(payment: InvoicePayment) -> bool:
        paid = "paid" if ask.book.invoices[payment.invoice].status == "paid" else "open"
        return invoice in {None, payment.invoice} and intent in {None, payment.intent} and status in {None, paid}

    return page(ask, ask.book.invoice_payments, wire_billing.invoice_payment, "/v1/invoice_payments", keep)


def set_card(book: Book, customer: Customer, number: str) -> None:
    """The customer puts another card in, for everything; what is owed is tried again with it. Raises Refusal."""
    method = methods.new_card(book, number, customer.email)
    if isinstance(method, Decline):
        raise declined(method)
    methods.attach(book, method, customer)
    customer.method = method.id
    for subscription in book.subscriptions:
        if subscription.customer != customer.id or subscription.status in subscriptions.OVER:
            continue
        subscription.method = method.id
        invoice = book.invoices.get(subscription.latest_invoice)
        if invoice is not None and invoice.status == "open" and invoice.attempt_count > 0:
            invoices.collect(book, invoice)


ROUTES: Iterable[tuple[str, str, object]] = (
    ("POST", "/subscriptions", create_subscription),
    ("GET", "/subscriptions", list_subscriptions),
    ("GET", "/subscriptions/{id:str}", get_subscription),
    ("POST", "/subscriptions/{id:str}", update_subscription),
    ("DELETE", "/subscriptions/{id:str}", delete_subscription),
    ("GET", "/invoices", list_invoices),
    ("GET", "/invoices/{id:str}", get_invoice),
    ("POST", "/invoices/{id:str}/pay", pay_invoice),
    ("POST", "/invoices/{id:str}/finalize", finalize_invoice),
    ("POST", "/invoices/{id:str}/void", void_invoice),
    ("GET", "/invoice_payments", list_invoice_payments),
)
