"""What the simulated vendor remembers of each thing. How it looks on the wire stands in `wire_payments.py` and
`wire_billing.py`. Amounts are cents, times are seconds since 1970."""

from typing import Literal

import msgspec

from callmeback.simulator.payments.refusals import Decline


class Record(msgspec.Struct, kw_only=True):
    """Anything with an id."""

    id: str
    created: int
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class Customer(Record):
    """Somebody who pays; `method` is charged for invoices, `balance` is what invoices still take or give."""

    email: str | None = None
    name: str | None = None
    description: str | None = None
    method: str | None = None
    balance: int = 0
    delinquent: bool = False
    deleted: bool = False


class Product(Record):
    """Something for sale."""

    name: str
    description: str | None = None
    active: bool = True


class Price(Record):
    """What a product costs, once or in each period."""

    product: str
    currency: str
    unit_amount: int
    interval: Literal["day", "week", "month", "year"] | None = None
    interval_count: int = 1
    lookup_key: str | None = None
    nickname: str | None = None
    active: bool = True


class Coupon(Record):
    """A discount: a share or an amount."""

    name: str | None = None
    percent_off: float | None = None
    amount_off: int | None = None
    currency: str | None = None
    duration: Literal["once", "repeating", "forever"] = "once"
    duration_in_months: int | None = None
    max_redemptions: int | None = None
    redeem_by: int | None = None
    times_redeemed: int = 0
    deleted: bool = False


class PromotionCode(Record):
    """A word that a customer types to get a coupon's discount."""

    code: str
    coupon: str
    customer: str | None = None
    active: bool = True
    max_redemptions: int | None = None
    expires_at: int | None = None
    times_redeemed: int = 0


class PaymentMethod(Record):
    """A card, or a bank account that is debited (`number` is then the outcome: succeeds or fails)."""

    number: str
    kind: Literal["card", "us_bank_account"] = "card"
    customer: str | None = None
    email: str | None = None
    authenticated: bool = False


class Intent(Record):
    """The intent to collect a payment, with all of its attempts."""

    amount: int
    currency: str
    status: str = "requires_payment_method"
    capture_method: str = "automatic_async"
    customer: str | None = None
    method: str | None = None
    amount_capturable: int = 0
    amount_received: int = 0
    description: str | None = None
    receipt_email: str | None = None
    return_url: str | None = None
    latest_charge: str | None = None
    last_error: Decline | None = None
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    invoice: str | None = None
    origin: str = ""
    off_session: bool = False


class Charge(Record):
    """One attempt to take money."""

    amount: int
    currency: str
    intent: str
    method: str
    status: str = "succeeded"
    customer: str | None = None
    description: str | None = None
    captured: bool = True
    amount_captured: int = 0
    amount_refunded: int = 0
    capture_before: int | None = None
    balance_transaction: str | None = None
    dispute: str | None = None
    failure: Decline | None = None
    receipt_email: str | None = None
    origin: str = ""


class Refund(Record):
    """Money given back, or, without a balance transaction, a hold that was released."""

    amount: int
    currency: str
    charge: str
    intent: str
    status: str = "succeeded"
    reason: str | None = None
    failure_reason: str | None = None
    balance_transaction: str | None = None


class Dispute(Record):
    """A charge that the customer disputes at the bank."""

    amount: int
    currency: str
    charge: str
    intent: str
    reason: str
    status: str
    due_by: int
    is_submitted: bool = False
    balance_transactions: list[str] = msgspec.field(default_factory=list)


class BalanceTransaction(Record):
    """A movement of our money at the vendor; `net` is amount less fee."""

    amount: int
    fee: int
    currency: str
    type: str
    source: str
    available_on: int


class Line(msgspec.Struct, kw_only=True):
    """A line of a Checkout session."""

    id: str
    price: str
    quantity: int
    description: str
    amount: int


class Session(Record):
    """A visit to the hosted Checkout page."""

    mode: Literal["payment", "subscription"]
    currency: str
    lines: list[Line]
    success_url: str
    cancel_url: str | None
    expires_at: int
    origin: str
    status: str = "open"
    payment_status: str = "unpaid"
    client_reference_id: str | None = None
    customer: str | None = None
    customer_email: str | None = None
    payer_email: str | None = None
    payer_name: str | None = None
    customer_creation: str = "if_required"
    coupon: str | None = None
    promotion_code: str | None = None
    allow_promotion_codes: bool = False
    intent: str | None = None
    subscription: str | None = None
    invoice: str | None = None
    payment_metadata: dict[str, str] = msgspec.field(default_factory=dict)
    payment_description: str | None = None
    keeps_method: bool = False
    capture_method: str = "automatic_async"
    subscription_metadata: dict[str, str] = msgspec.field(default_factory=dict)
    locale: str | None = None


class Item(msgspec.Struct, kw_only=True):
    """What a subscription is for."""

    id: str
    created: int
    price: str
    quantity: int = 1
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class InvoiceLine(msgspec.Struct, kw_only=True):
    """A line of an invoice; a proration is a credit for time that isn't used, or the price of what is left."""

    id: str
    amount: int
    description: str
    price: str
    quantity: int
    start: int
    end: int
    item: str
    proration: bool = False


class Subscription(Record):
    """What is paid again in each period."""

    customer: str
    currency: str
    items: list[Item]
    status: str
    anchor: int
    period_start: int
    period_end: int
    periods: int = 0
    """How many periods ended since the anchor."""
    method: str | None = None
    coupon: str | None = None
    promotion_code: str | None = None
    coupon_until: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    cancellation_reason: str | None = None
    ended_at: int | None = None
    latest_invoice: str | None = None
    pending: list[InvoiceLine] = msgspec.field(default_factory=list)
    """Prorations that wait for the next invoice."""
    failures: list[Decline] = msgspec.field(default_factory=list)
    """What the next charges come to, because a test asked for it."""
    origin: str = ""


class Invoice(Record):
    """What a customer owes for a subscription."""

    customer: str
    subscription: str
    subscription_metadata: dict[str, str]
    currency: str
    number: str
    billing_reason: str
    lines: list[InvoiceLine]
    subtotal: int
    discount: int
    period_start: int
    period_end: int
    coupon: str | None = None
    status: str = "draft"
    starting_balance: int = 0
    ending_balance: int | None = None
    amount_due: int = 0
    amount_paid: int = 0
    attempt_count: int = 0
    next_payment_attempt: int | None = None
    intent: str | None = None
    payment: str | None = None
    finalized_at: int | None = None
    paid_at: int | None = None
    auto_advance: bool = True
    origin: str = ""

    @property
    def total(self) -> int:
        """Of all lines, less the discount; negative when more is credited than owed."""
        return self.subtotal - self.discount


class InvoicePayment(Record):
    """Which intent pays an invoice."""

    invoice: str
    intent: str


class PortalSession(Record):
    """A visit to the page where a customer looks after subscriptions and cards."""

    customer: str
    return_url: str | None
    origin: str


class Endpoint(Record):
    """Where events are sent. `secrets` has two while one is being replaced."""

    url: str
    secrets: list[str]
    types: list[str]
    api_version: str
    description: str | None = None
    status: str = "enabled"


class Event(Record):
    """Something that happened, with the thing as it was then, as JSON."""

    type: str
    subject: str
    data: bytes
    previous: bytes | None
    request_id: str | None
    idempotency_key: str | None
    pending: int = 0
