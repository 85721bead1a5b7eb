"""Payments as they look on the wire: methods, intents, charges, refunds, disputes, movements of the balance, sessions
and events."""

from typing import Any, Final

import msgspec

from callmeback.simulator.payments import cards, records
from callmeback.simulator.payments.book import API_VERSION, Book, Wire

BANK_NAME: Final = "STRIPE TEST BANK"
RECEIPT_PATH: Final = "/receipts/"
CHECKOUT_PATH: Final = "/checkout/"
AUTHENTICATION_PATH: Final = "/authenticate/"


def head(record: records.Record, kind: str) -> Wire:
    """What every thing says of itself."""
    return {
        "id": record.id,
        "object": kind,
        "created": record.created,
        "livemode": False,
        "metadata": dict(record.metadata),
    }


def payment_method(book: Book, method: records.PaymentMethod) -> Wire:
    """A payment method."""
    details = {"address": None, "email": method.email, "name": None, "phone": None}
    body = head(method, "payment_method") | {
        "type": method.kind,
        "customer": method.customer,
        "billing_details": details,
    }
    if method.kind == "card":
        return body | {
            "card": _card(method) | {"country": "US", "funding": "credit", "fingerprint": method.number[-8:]}
        }
    return body | {"us_bank_account": {"bank_name": BANK_NAME, "last4": "6789", "account_type": "checking"}}


def _card(method: records.PaymentMethod) -> Wire:
    card = cards.CARDS[method.number]
    return {"brand": card.brand, "last4": card.number[-4:], "exp_month": 12, "exp_year": 2034}


def intent(book: Book, intent: records.Intent) -> Wire:
    """A payment intent."""
    return head(intent, "payment_intent") | {
        "amount": intent.amount,
        "amount_capturable": intent.amount_capturable,
        "amount_received": intent.amount_received,
        "canceled_at": intent.canceled_at,
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": intent.capture_method,
        "client_secret": f"{intent.id}_secret",
        "confirmation_method": "automatic",
        "currency": intent.currency,
        "customer": intent.customer,
        "description": intent.description,
        "last_payment_error": _payment_error(book, intent),
        "latest_charge": intent.latest_charge,
        "next_action": _next_action(intent),
        "payment_method": intent.method,
        "payment_method_types": ["card"],
        "receipt_email": intent.receipt_email,
        "setup_future_usage": None,
        "status": intent.status,
    }


def _payment_error(book: Book, intent: records.Intent) -> Wire | None:
    error = intent.last_error
    if error is None:
        return None
    method = book.methods.get(intent.method)
    return {
        "type": "card_error",
        "code": error.code,
        "decline_code": error.decline_code,
        "message": error.message,
        "charge": intent.latest_charge,
        "payment_method": None if method is None else payment_method(book, method),
    }


def _next_action(intent: records.Intent) -> Wire | None:
    if intent.status != "requires_action":
        return None
    url = f"{intent.origin}{AUTHENTICATION_PATH}{intent.id}"
    return {"type": "redirect_to_url", "redirect_to_url": {"url": url, "return_url": intent.return_url}}


def charge(book: Book, charge: records.Charge) -> Wire:
    """A charge."""
    failure = charge.failure
    method = book.methods[charge.method]
    return head(charge, "charge") | {
        "amount": charge.amount,
        "amount_captured": charge.amount_captured,
        "amount_refunded": charge.amount_refunded,
        "balance_transaction": charge.balance_transaction,
        "billing_details": {"address": None, "email": method.email, "name": None, "phone": None},
        "captured": charge.captured,
        "currency": charge.currency,
        "customer": charge.customer,
        "description": charge.description,
        "disputed": charge.dispute is not None,
        "failure_code": failure.code if failure else None,
        "failure_message": failure.message if failure else None,
        "outcome": _outcome(charge),
        "paid": charge.status == "succeeded",
        "payment_intent": charge.intent,
        "payment_method": charge.method,
        "payment_method_details": _details(charge, method),
        "receipt_email": charge.receipt_email,
        "receipt_url": f"{charge.origin}{RECEIPT_PATH}{charge.id}" if charge.status == "succeeded" else None,
        "refunded": charge.amount_refunded == charge.amount,
        "status": charge.status,
    }


def _outcome(charge: records.Charge) -> Wire:
    failure = charge.failure
    return {
        "network_status": "declined_by_network" if failure else "approved_by_network",
        "reason": (failure.decline_code or failure.code) if failure else None,
        "risk_level": "normal",
        "seller_message": failure.message if failure else "Payment complete.",
        "type": "issuer_declined" if failure else "authorized",
    }


def _details(charge: records.Charge, method: records.PaymentMethod) -> Wire:
    if method.kind != "card":
        return {"type": method.kind, method.kind: {"bank_name": BANK_NAME, "last4": "6789"}}
    return {"type": "card", "card": _card(method) | {"capture_before": charge.capture_before, "network": "visa"}}


def refund(book: Book, refund: records.Refund) -> Wire:
    """A refund."""
    return head(refund, "refund") | {
        "amount": refund.amount,
        "balance_transaction": refund.balance_transaction,
        "charge": refund.charge,
        "currency": refund.currency,
        "failure_reason": refund.failure_reason,
        "payment_intent": refund.intent,
        "reason": refund.reason,
        "receipt_number": None,
        "status": refund.status,
    }


def dispute(book: Book, dispute: records.Dispute) -> Wire:
    """A dispute."""
    return head(dispute, "dispute") | {
        "amount": dispute.amount,
        "balance_transactions": [
            balance_transaction(book, book.balance[name]) for name in dispute.balance_transactions
        ],
        "charge": dispute.charge,
        "currency": dispute.currency,
        "evidence_details": {
            "due_by": dispute.due_by,
            "has_evidence": dispute.is_submitted,
            "past_due": book.now() > dispute.due_by,
            "submission_count": int(dispute.is_submitted),
        },
        "is_charge_refundable": dispute.status.startswith("warning"),
        "payment_intent": dispute.intent,
        "reason": dispute.reason,
        "status": dispute.status,
    }


def balance_transaction(book: Book, movement: records.BalanceTransaction) -> Wire:
    """A movement of the balance."""
    return {
        "id": movement.id,
        "object": "balance_transaction",
        "amount": movement.amount,
        "available_on": movement.available_on,
        "created": movement.created,
        "currency": movement.currency,
        "description": None,
        "exchange_rate": None,
        "fee": movement.fee,
        "fee_details": [],
        "net": movement.amount - movement.fee,
        "reporting_category": "dispute" if movement.type == "adjustment" else movement.type,
        "source": movement.source,
        "status": "available" if movement.available_on <= book.now() else "pending",
        "type": movement.type,
    }


def session(book: Book, session: records.Session) -> Wire:
    """A Checkout session."""
    subtotal = sum(line.amount for line in session.lines)
    off = discount(book, session.coupon, subtotal)
    email = session.payer_email or session.customer_email
    return head(session, "checkout.session") | {
        "allow_promotion_codes": session.allow_promotion_codes or None,
        "amount_subtotal": subtotal,
        "amount_total": subtotal - off,
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "currency": session.currency,
        "customer": session.customer,
        "customer_creation": session.customer_creation if session.mode == "payment" else None,
        "customer_details": {"email": email, "name": session.payer_name, "phone": None} if email else None,
        "customer_email": session.customer_email,
        "discounts": [{"coupon": session.coupon, "promotion_code": session.promotion_code}] if session.coupon else [],
        "expires_at": session.expires_at,
        "invoice": session.invoice,
        "locale": session.locale,
        "mode": session.mode,
        "payment_intent": session.intent,
        "payment_method_types": ["card"],
        "payment_status": session.payment_status,
        "status": session.status,
        "subscription": session.subscription,
        "success_url": session.success_url,
        "total_details": {"amount_discount": off, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{session.origin}{CHECKOUT_PATH}{session.id}" if session.status == "open" else None,
    }


def discount(book: Book, coupon: str | None, amount: int) -> int:
    """What a coupon takes off an amount; half a cent is taken off too."""
    found = book.coupons.get(coupon)
    if found is None or amount <= 0:
        return 0
    if found.amount_off is not None:
        return min(found.amount_off, amount)
    hundredths = round((found.percent_off or 0) * 100)
    return min(amount, (amount * hundredths + 5_000) // 10_000)


def event(book: Book, event: records.Event, version: str = API_VERSION) -> Wire:
    """An event, with the thing as it was."""
    data: dict[str, Any] = {"object": msgspec.Raw(event.data)}
    if event.previous is not None:
        data["previous_attributes"] = msgspec.Raw(event.previous)
    return {
        "id": event.id,
        "object": "event",
        "api_version": version,
        "created": event.created,
        "data": data,
        "livemode": False,
        "pending_webhooks": event.pending,
        "request": {"id": event.request_id, "idempotency_key": event.idempotency_key},
        "type": event.type,
    }
