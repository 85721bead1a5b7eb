"""What Stripe tells us: events, their signature, and what they say in our words whatever version they were made for.

Events carry the version of their endpoint (`event.api_version`), so both shapes of what moved are read: the period of a
plan stood on the subscription until 2025-03-31 and stands on its items since, an invoice named its subscription at the
top and names it below `parent`.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import stripe
from msgspec import UNSET, UnsetType

from callmeback import errors

SIGNATURE_HEADER: Final = "Stripe-Signature"
TOLERANCE_SECONDS: Final = 300
ENDED: Final = "canceled"

Facts = dict[str, str | int | bool | None]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event: what it says in our words, and as it came."""

    id: str
    type: str
    created_at: datetime
    facts: Facts
    payload: dict[str, Any]


class _Data(msgspec.Struct):
    object: dict[str, Any]


class _Envelope(msgspec.Struct):
    id: str
    type: str
    created: int
    data: _Data


class _Named(msgspec.Struct):
    id: str


_Reference = str | _Named | None
_Metadata = dict[str, str] | None


class _Session(msgspec.Struct):
    id: str
    mode: str
    status: str | None = None
    payment_status: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    payment_intent: _Reference = None
    subscription: _Reference = None
    customer: _Reference = None
    metadata: _Metadata = None


class _Period(msgspec.Struct):
    start: int
    end: int


class _Line(msgspec.Struct):
    period: _Period
    amount: int = 0


class _Lines(msgspec.Struct):
    data: list[_Line] = []


class _Details(msgspec.Struct):
    subscription: _Reference = None
    metadata: _Metadata = None


class _Parent(msgspec.Struct):
    subscription_details: _Details | None = None


class _Paid(msgspec.Struct):
    payment_intent: _Reference = None


class _InvoicePayment(msgspec.Struct):
    id: str
    invoice: _Reference = None
    payment: _Paid | None = None


class _InvoicePayments(msgspec.Struct):
    data: list[_InvoicePayment] = []


class _Invoice(msgspec.Struct):
    id: str
    currency: str
    amount_paid: int
    status: str | None = None
    billing_reason: str | None = None
    customer: _Reference = None
    parent: _Parent | None = None
    subscription: _Reference = None
    subscription_details: _Details | None = None
    payment_intent: _Reference = None
    payments: _InvoicePayments | None = None
    lines: _Lines = msgspec.field(default_factory=_Lines)


class _Subscription(msgspec.Struct):
    id: str
    status: str
    cancel_at_period_end: bool = False
    customer: _Reference = None
    metadata: _Metadata = None


class _Intent(msgspec.Struct):
    id: str
    status: str
    currency: str
    amount: int
    amount_received: int = 0
    customer: _Reference = None
    metadata: _Metadata = None


class _Reversal(msgspec.Struct):
    """A refund or a dispute."""

    id: str
    amount: int
    currency: str
    status: str | None = None
    reason: str | None = None
    charge: _Reference = None
    payment_intent: _Reference = None
    balance_transaction: _Reference | UnsetType = UNSET


def verified(body: bytes, signature: str | None, secret: str) -> Event:
    """The event, if Stripe signed it within the last TOLERANCE_SECONDS.

    Raises ForgedWebhook, and ValidationFailed for one that is signed and can't be read.
    """
    try:
        text = body.decode("utf-8")
        stripe.WebhookSignature.verify_header(text, signature, secret, TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, UnicodeError, ValueError) as exc:
        raise errors.ForgedWebhook() from exc
    try:
        return event_of(msgspec.json.decode(text, type=dict[str, Any]))
    except errors.UNREADABLE as exc:
        raise errors.ValidationFailed("This is no event.") from exc


def event_of(payload: dict[str, Any]) -> Event:
    """An event as it came. Raises msgspec.ValidationError for what is none; an object that can't be read is a fact."""
    envelope = msgspec.convert(payload, _Envelope)
    thing = envelope.data.object

    return Event(
        id=envelope.id,
        type=envelope.type,
        created_at=datetime.fromtimestamp(envelope.created, UTC),
        facts=facts_of(thing),
        payload=payload,
    )


def facts_of(thing: dict[str, Any]) -> Facts:
    """What an object of Stripe's says, in our words."""
    reader = _READERS.get(str(thing.get("object")))
    if reader is None:
        return {"kind": str(thing.get("object"))[:64]}
    try:
        return reader(thing)
    except msgspec.ValidationError:
        return {"kind": "unreadable"}


def told_as(facts: Facts) -> str:
    """What an event of a plan would be called that tells what we have looked up ourselves."""
    return f"customer.subscription.{'deleted' if facts.get('status') == ENDED else 'updated'}"


def _session(thing: dict[str, Any]) -> Facts:
    session = msgspec.convert(thing, _Session)
    marks = session.metadata or {}

    return {
        "kind": "session",
        "id": session.id,
        "mode": session.mode,
        "status": session.status,
        "payment_status": session.payment_status,
        "amount_cents": session.amount_total,
        "currency": session.currency,
        "reference": marks.get("reference") or session.client_reference_id,
        "user_id": marks.get("user_id"),
        "payment_intent": _id(session.payment_intent),
        "subscription": _id(session.subscription),
        "customer": _id(session.customer),
    }


def _invoice(thing: dict[str, Any]) -> Facts:
    invoice = msgspec.convert(thing, _Invoice)
    details = (invoice.parent and invoice.parent.subscription_details) or invoice.subscription_details or _Details()
    marks = details.metadata or {}
    # The invoice's own period is the one before; a change may add lines of the old one, which ends sooner.
    newest = max((line.period for line in invoice.lines.data), key=lambda period: period.end, default=None)
    paid = [payment.payment for payment in (invoice.payments or _InvoicePayments()).data if payment.payment]

    return {
        "kind": "invoice",
        "id": invoice.id,
        "status": invoice.status,
        "reason": invoice.billing_reason,
        "amount_cents": invoice.amount_paid,
        "currency": invoice.currency,
        "subscription": _id(details.subscription) or _id(invoice.subscription),
        "reference": marks.get("reference"),
        "user_id": marks.get("user_id"),
        "tier": marks.get("tier"),
        "period_start": newest.start if newest else None,
        "period_end": newest.end if newest else None,
        "payment_intent": _id(invoice.payment_intent) or next((_id(one.payment_intent) for one in paid), None),
        "customer": _id(invoice.customer),
    }


def _invoice_payment(thing: dict[str, Any]) -> Facts:
    payment = msgspec.convert(thing, _InvoicePayment)

    return {
        "kind": "invoice_payment",
        "id": payment.id,
        "invoice": _id(payment.invoice),
        "payment_intent": _id(payment.payment.payment_intent) if payment.payment else None,
    }


def _subscription(thing: dict[str, Any]) -> Facts:
    subscription = msgspec.convert(thing, _Subscription)
    marks = subscription.metadata or {}

    return {
        "kind": "subscription",
        "id": subscription.id,
        "subscription": subscription.id,
        "status": subscription.status,
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "reference": marks.get("reference"),
        "user_id": marks.get("user_id"),
        "tier": marks.get("tier"),
        "customer": _id(subscription.customer),
    }


def _intent(thing: dict[str, Any]) -> Facts:
    intent = msgspec.convert(thing, _Intent)
    marks = intent.metadata or {}

    return {
        "kind": "intent",
        "id": intent.id,
        "status": intent.status,
        "amount_cents": intent.amount,
        "received_cents": intent.amount_received,
        "currency": intent.currency,
        "purpose": marks.get("purpose"),
        "reference": marks.get("reference"),
        "user_id": marks.get("user_id"),
        "customer": _id(intent.customer),
    }


def _reversal(thing: dict[str, Any]) -> Facts:
    reversal = msgspec.convert(thing, _Reversal)

    return {
        "kind": str(thing["object"]),
        "id": reversal.id,
        "amount_cents": reversal.amount,
        "currency": reversal.currency,
        "status": reversal.status,
        "reason": reversal.reason,
        "charge": _id(reversal.charge),
        # What is let go of a hold is a refund too, of money that was never taken.
        "moves_money": reversal.balance_transaction is not None,
        "payment_intent": _id(reversal.payment_intent),
    }


def _id(reference: _Reference) -> str | None:
    """An object is named by its id, or stands there whole."""
    return reference.id if isinstance(reference, _Named) else reference


_READERS: Final = {
    "checkout.session": _session,
    "invoice": _invoice,
    "invoice_payment": _invoice_payment,
    "subscription": _subscription,
    "payment_intent": _intent,
    "refund": _reversal,
    "dispute": _reversal,
}
