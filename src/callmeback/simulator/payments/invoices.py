"""Invoices: drawn up, finalized, collected, and what follows when they can't be."""

from typing import Final

from callmeback.simulator.payments import intents, subscriptions
from callmeback.simulator.payments.book import DAY_SECONDS, Book
from callmeback.simulator.payments.intents import Presence
from callmeback.simulator.payments.records import (
    Intent,
    Invoice,
    InvoiceLine,
    InvoicePayment,
    PaymentMethod,
    Subscription,
)
from callmeback.simulator.payments.refusals import Decline, state
from callmeback.simulator.payments.wire_billing import invoice as wire
from callmeback.simulator.payments.wire_billing import invoice_payment
from callmeback.simulator.payments.wire_payments import discount

RETRY_DAYS: Final = (3, 5, 7)
"""After the first, second and third failure; the fourth is the last, and ends the subscription."""
NO_METHOD: Final = Decline("There is no payment method to charge.", "invoice_payment_method_missing")


def tell(book: Book, invoice: Invoice, what: str) -> None:
    """An event of the invoice."""
    book.emit(f"invoice.{what}", invoice.customer, wire(book, invoice))


def draw_up(book: Book, subscription: Subscription, reason: str, lines: list[InvoiceLine]) -> Invoice:
    """A draft; takes along what waits for the next invoice, and uses up a coupon that is for one."""
    lines = [*subscription.pending, *lines]
    subscription.pending = []
    subtotal = sum(line.amount for line in lines)
    coupon = _coupon(book, subscription)
    invoice = Invoice(
        id=book.new_id("in"),
        created=book.now(),
        customer=subscription.customer,
        subscription=subscription.id,
        subscription_metadata=dict(subscription.metadata),
        currency=subscription.currency,
        number=f"SIM-{len(book.invoices) + 1:06d}",
        billing_reason=reason,
        lines=lines,
        subtotal=subtotal,
        discount=discount(book, coupon, subtotal),
        coupon=coupon,
        period_start=subscription.period_start,
        period_end=subscription.period_end,
        origin=subscription.origin,
    )
    if coupon is not None and book.coupons[coupon].duration == "once":
        subscription.coupon = None
    invoice.amount_due = max(0, invoice.total)
    subscription.latest_invoice = invoice.id
    book.invoices.add(invoice)
    tell(book, invoice, "created")
    return invoice


def _coupon(book: Book, subscription: Subscription) -> str | None:
    until = subscription.coupon_until
    return subscription.coupon if until is None or book.now() < until else None


def finalize(book: Book, invoice: Invoice) -> None:
    """Fix what is owed; the customer's balance gives or takes its part. One that owes nothing is paid."""
    customer = book.customers[invoice.customer]
    invoice.starting_balance = customer.balance
    owed = invoice.total + customer.balance
    invoice.amount_due = max(0, owed)
    customer.balance = invoice.ending_balance = min(0, owed)
    invoice.status, invoice.finalized_at = "open", book.now()
    tell(book, invoice, "finalized")
    if invoice.amount_due == 0:
        settle(book, invoice)


def intent_for(book: Book, invoice: Invoice) -> Intent:
    """The intent that pays the invoice, made when it is first needed."""
    found = book.intents.get(invoice.intent)
    if found is not None:
        return found
    intent = Intent(
        id=book.new_id("pi"),
        created=book.now(),
        amount=invoice.amount_due,
        currency=invoice.currency,
        customer=invoice.customer,
        description="Subscription creation" if _is_first(invoice) else "Subscription update",
        origin=invoice.origin,
        off_session=not _is_first(invoice),
    )
    link(book, invoice, intent)
    return intents.add(book, intent)


def link(book: Book, invoice: Invoice, intent: Intent) -> None:
    """This intent is to pay the invoice."""
    payment = InvoicePayment(id=book.new_id("inpay"), created=book.now(), invoice=invoice.id, intent=intent.id)
    book.invoice_payments.add(payment)
    intent.invoice, invoice.intent, invoice.payment = invoice.id, intent.id, payment.id


def _is_first(invoice: Invoice) -> bool:
    return invoice.billing_reason == "subscription_create"


def collect(
    book: Book, invoice: Invoice, presence: Presence = "absent", method: PaymentMethod | None = None
) -> Decline | None:
    """Charge what is owed; answers what the bank said, if it said no. Raises Refusal for one that isn't open."""
    if invoice.status != "open":
        raise state(f"Invoice {invoice.id} is {invoice.status}, and can't be paid.", "invoice_not_open")
    subscription = book.subscriptions[invoice.subscription]
    chosen = method or _method(book, subscription)
    intent = intent_for(book, invoice)
    forced = subscription.failures.pop(0) if subscription.failures else None
    decline = NO_METHOD if chosen is None else intents.attempt(book, intent, chosen, presence, forced)
    if decline is not None:
        _fail(book, invoice, subscription, decline)
    elif intent.status == "requires_action":
        tell(book, invoice, "payment_action_required")
    follow(book, intent)
    return decline


def _method(book: Book, subscription: Subscription) -> PaymentMethod | None:
    return book.methods.get(subscription.method or book.customers[subscription.customer].method)


def follow(book: Book, intent: Intent) -> None:
    """An intent succeeded, perhaps: then its invoice is paid."""
    invoice = book.invoices.get(intent.invoice)
    if invoice is not None and invoice.status == "open" and intent.status == "succeeded":
        settle(book, invoice)


def settle(book: Book, invoice: Invoice) -> None:
    """The invoice is paid; its subscription is active, and the customer owes nothing."""
    invoice.status, invoice.paid_at, invoice.amount_paid = "paid", book.now(), invoice.amount_due
    invoice.next_payment_attempt = None
    invoice.attempt_count += 1 if invoice.amount_due else 0
    book.customers[invoice.customer].delinquent = False
    tell(book, invoice, "paid")
    tell(book, invoice, "payment_succeeded")
    if invoice.payment is not None:
        book.emit(
            "invoice_payment.paid", invoice.customer, invoice_payment(book, book.invoice_payments[invoice.payment])
        )
    subscription = book.subscriptions[invoice.subscription]
    if subscription.latest_invoice == invoice.id:
        subscriptions.set_status(book, subscription, "active")


def _fail(book: Book, invoice: Invoice, subscription: Subscription, decline: Decline) -> None:
    invoice.attempt_count += 1
    invoice.next_payment_attempt = None
    if not _is_first(invoice) and invoice.attempt_count <= len(RETRY_DAYS):
        at = book.now() + RETRY_DAYS[invoice.attempt_count - 1] * DAY_SECONDS
        invoice.next_payment_attempt = at
        book.clock.at(at, lambda: _retry(book, invoice, at))
    tell(book, invoice, "payment_failed")
    if decline.code == "authentication_required":
        tell(book, invoice, "payment_action_required")
    if _is_first(invoice):
        return
    book.customers[invoice.customer].delinquent = True
    if invoice.next_payment_attempt is None:
        invoice.auto_advance = False
        subscriptions.end(book, subscription, "payment_failed")
    else:
        subscriptions.set_status(book, subscription, "past_due")


def _retry(book: Book, invoice: Invoice, at: int) -> None:
    is_over = book.subscriptions[invoice.subscription].status in subscriptions.OVER
    if invoice.status == "open" and invoice.next_payment_attempt == at and not is_over:
        collect(book, invoice)


def void(book: Book, invoice: Invoice) -> None:
    """Nobody will pay it. Raises Refusal for one that isn't open."""
    if invoice.status != "open":
        raise state(f"Invoice {invoice.id} is {invoice.status}, and can't be voided.", "invoice_not_open")
    invoice.status, invoice.next_payment_attempt, invoice.auto_advance = "void", None, False
    tell(book, invoice, "voided")
