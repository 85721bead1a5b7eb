"""Billing as it looks on the wire: customers, the catalogue, subscriptions, invoices, portal sessions, endpoints."""

from callmeback.simulator.payments import records
from callmeback.simulator.payments.book import Book, Wire
from callmeback.simulator.payments.wire_payments import head

PORTAL_PATH = "/portal/"


def customer(book: Book, customer: records.Customer) -> Wire:
    """A customer, or what is left of one."""
    if customer.deleted:
        return {"id": customer.id, "object": "customer", "deleted": True}
    return head(customer, "customer") | {
        "balance": customer.balance,
        "currency": None,
        "default_source": None,
        "delinquent": customer.delinquent,
        "description": customer.description,
        "email": customer.email,
        "invoice_settings": {"default_payment_method": customer.method, "footer": None},
        "name": customer.name,
        "phone": None,
    }


def product(book: Book, product: records.Product) -> Wire:
    """A product."""
    return head(product, "product") | {
        "active": product.active,
        "default_price": None,
        "description": product.description,
        "images": [],
        "name": product.name,
        "type": "service",
        "updated": product.created,
    }


def price(book: Book, price: records.Price) -> Wire:
    """A price."""
    recurring = None
    if price.interval is not None:
        recurring = {
            "interval": price.interval,
            "interval_count": price.interval_count,
            "trial_period_days": None,
            "usage_type": "licensed",
        }
    return head(price, "price") | {
        "active": price.active,
        "billing_scheme": "per_unit",
        "currency": price.currency,
        "lookup_key": price.lookup_key,
        "nickname": price.nickname,
        "product": price.product,
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": price.unit_amount,
        "unit_amount_decimal": str(price.unit_amount),
    }


def coupon(book: Book, coupon: records.Coupon) -> Wire:
    """A coupon."""
    if coupon.deleted:
        return {"id": coupon.id, "object": "coupon", "deleted": True}
    return head(coupon, "coupon") | {
        "amount_off": coupon.amount_off,
        "currency": coupon.currency,
        "duration": coupon.duration,
        "duration_in_months": coupon.duration_in_months,
        "max_redemptions": coupon.max_redemptions,
        "name": coupon.name,
        "percent_off": coupon.percent_off,
        "redeem_by": coupon.redeem_by,
        "times_redeemed": coupon.times_redeemed,
        "valid": is_valid(book, coupon),
    }


def is_valid(book: Book, coupon: records.Coupon) -> bool:
    """Whether a coupon can be redeemed now."""
    in_time = coupon.redeem_by is None or book.now() < coupon.redeem_by
    has_room = coupon.max_redemptions is None or coupon.times_redeemed < coupon.max_redemptions
    return in_time and has_room and not coupon.deleted


def promotion_code(book: Book, code: records.PromotionCode) -> Wire:
    """A promotion code."""
    return head(code, "promotion_code") | {
        "active": code.active,
        "code": code.code,
        "customer": code.customer,
        "expires_at": code.expires_at,
        "max_redemptions": code.max_redemptions,
        "promotion": {"type": "coupon", "coupon": code.coupon},
        "restrictions": {"first_time_transaction": False, "minimum_amount": None, "minimum_amount_currency": None},
        "times_redeemed": code.times_redeemed,
    }


def subscription(book: Book, subscription: records.Subscription) -> Wire:
    """A subscription."""
    own = subscription
    return head(own, "subscription") | {
        "billing_cycle_anchor": own.anchor,
        "cancel_at": own.period_end if own.cancel_at_period_end else None,
        "cancel_at_period_end": own.cancel_at_period_end,
        "canceled_at": own.canceled_at,
        "cancellation_details": {"comment": None, "feedback": None, "reason": own.cancellation_reason},
        "collection_method": "charge_automatically",
        "currency": own.currency,
        "customer": own.customer,
        "default_payment_method": own.method,
        "description": None,
        "discounts": [] if own.coupon is None else [f"di_{own.id.removeprefix('sub_')}"],
        "ended_at": own.ended_at,
        "items": {
            "object": "list",
            "data": [_item(book, own, item) for item in own.items],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={own.id}",
        },
        "latest_invoice": own.latest_invoice,
        "pending_setup_intent": None,
        "schedule": None,
        "start_date": own.created,
        "status": own.status,
        "trial_end": None,
        "trial_start": None,
    }


def _item(book: Book, subscription: records.Subscription, item: records.Item) -> Wire:
    return {
        "id": item.id,
        "object": "subscription_item",
        "created": item.created,
        "current_period_end": subscription.period_end,
        "current_period_start": subscription.period_start,
        "metadata": dict(item.metadata),
        "price": price(book, book.prices[item.price]),
        "quantity": item.quantity,
        "subscription": subscription.id,
    }


def invoice(book: Book, invoice: records.Invoice) -> Wire:
    """An invoice."""
    details = {"subscription": invoice.subscription, "metadata": dict(invoice.subscription_metadata)}
    finalized = invoice.finalized_at is not None
    return head(invoice, "invoice") | {
        "amount_due": invoice.amount_due,
        "amount_paid": invoice.amount_paid,
        "amount_remaining": invoice.amount_due - invoice.amount_paid,
        "attempt_count": invoice.attempt_count,
        "attempted": invoice.attempt_count > 0,
        "auto_advance": invoice.auto_advance,
        "billing_reason": invoice.billing_reason,
        "collection_method": "charge_automatically",
        "currency": invoice.currency,
        "customer": invoice.customer,
        "ending_balance": invoice.ending_balance,
        "hosted_invoice_url": f"{invoice.origin}/invoices/{invoice.id}" if finalized else None,
        "lines": {
            "object": "list",
            "data": [_line(invoice, line) for line in invoice.lines],
            "has_more": False,
            "url": f"/v1/invoices/{invoice.id}/lines",
        },
        "next_payment_attempt": invoice.next_payment_attempt,
        "number": invoice.number if finalized else None,
        "parent": {"type": "subscription_details", "subscription_details": details, "quote_details": None},
        "period_end": invoice.period_end,
        "period_start": invoice.period_start,
        "starting_balance": invoice.starting_balance,
        "status": invoice.status,
        "status_transitions": {
            "finalized_at": invoice.finalized_at,
            "marked_uncollectible_at": None,
            "paid_at": invoice.paid_at,
            "voided_at": None,
        },
        "subtotal": invoice.subtotal,
        "total": invoice.total,
        "total_discount_amounts": [{"amount": invoice.discount}] if invoice.discount else [],
    }


def _line(invoice: records.Invoice, line: records.InvoiceLine) -> Wire:
    details = {"subscription": invoice.subscription, "subscription_item": line.item, "proration": line.proration}
    return {
        "id": line.id,
        "object": "line_item",
        "amount": line.amount,
        "currency": invoice.currency,
        "description": line.description,
        "invoice": invoice.id,
        "livemode": False,
        "metadata": dict(invoice.subscription_metadata),
        "parent": {"type": "subscription_item_details", "subscription_item_details": details},
        "period": {"start": line.start, "end": line.end},
        "pricing": {"type": "price_details", "price_details": {"price": line.price}},
        "quantity": line.quantity,
        "subtotal": line.amount,
    }


def invoice_payment(book: Book, payment: records.InvoicePayment) -> Wire:
    """How an invoice is paid: by which intent."""
    invoice = book.invoices[payment.invoice]
    paid = invoice.status == "paid"
    return {
        "id": payment.id,
        "object": "invoice_payment",
        "amount_paid": invoice.amount_paid if paid else None,
        "amount_requested": invoice.amount_due,
        "created": payment.created,
        "currency": invoice.currency,
        "invoice": invoice.id,
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": payment.intent},
        "status": "paid" if paid else "open",
        "status_transitions": {"canceled_at": None, "paid_at": invoice.paid_at},
    }


def portal_session(book: Book, portal: records.PortalSession) -> Wire:
    """A visit to the customer's own page."""
    return {
        "id": portal.id,
        "object": "billing_portal.session",
        "configuration": "bpc_simulated",
        "created": portal.created,
        "customer": portal.customer,
        "livemode": False,
        "locale": None,
        "on_behalf_of": None,
        "return_url": portal.return_url,
        "url": f"{portal.origin}{PORTAL_PATH}{portal.id}",
    }


def endpoint(book: Book, endpoint: records.Endpoint) -> Wire:
    """Where events are sent."""
    return head(endpoint, "webhook_endpoint") | {
        "api_version": endpoint.api_version,
        "application": None,
        "description": endpoint.description,
        "enabled_events": endpoint.types,
        "status": endpoint.status,
        "url": endpoint.url,
    }
