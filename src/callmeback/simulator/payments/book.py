"""The vendor's memory: every thing of every kind, the clock, ids, and events as they happen."""

import random
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec

from callmeback.simulator.payments import records
from callmeback.simulator.payments.clock import Clock
from callmeback.simulator.payments.records import Event
from callmeback.simulator.payments.refusals import missing
from callmeback.simulator.payments.shelf import R, Shelf

RECORDS_MAX: Final = 400_000
"""Of each kind; a month of 10,000 customers is well below."""
EVENTS_MAX: Final = 400_000
API_VERSION: Final = "2026-10-28.endive"
DAY_SECONDS: Final = 86_400
HOUR_SECONDS: Final = 3_600

_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"
_ID_CHARACTERS: Final = 24

Wire = dict[str, Any]


class Request(msgspec.Struct, frozen=True):
    """The request whose doing an event is; both None for what happens by itself."""

    id: str | None = None
    idempotency_key: str | None = None


class Book:
    """The account. `tell` hands an event to whoever sends it out."""

    def __init__(self, seed: int | None = None) -> None:
        self.clock = Clock()
        self.request = Request()
        self.tell: Callable[[Event], None] = lambda event: None
        # Without a seed no id comes twice, were the process started again over the same database.
        self._chance = random.Random(secrets.randbits(256) if seed is None else seed)
        self.customers: Shelf[records.Customer] = Shelf("customer", RECORDS_MAX)
        self.products: Shelf[records.Product] = Shelf("product", RECORDS_MAX)
        self.prices: Shelf[records.Price] = Shelf("price", RECORDS_MAX)
        self.coupons: Shelf[records.Coupon] = Shelf("coupon", RECORDS_MAX)
        self.promotion_codes: Shelf[records.PromotionCode] = Shelf("promotion_code", RECORDS_MAX)
        self.methods: Shelf[records.PaymentMethod] = Shelf("PaymentMethod", RECORDS_MAX)
        self.sessions: Shelf[records.Session] = Shelf("checkout.session", RECORDS_MAX)
        self.intents: Shelf[records.Intent] = Shelf("payment_intent", RECORDS_MAX)
        self.charges: Shelf[records.Charge] = Shelf("charge", RECORDS_MAX)
        self.refunds: Shelf[records.Refund] = Shelf("refund", RECORDS_MAX)
        self.disputes: Shelf[records.Dispute] = Shelf("dispute", RECORDS_MAX)
        self.balance: Shelf[records.BalanceTransaction] = Shelf("balance_transaction", RECORDS_MAX)
        self.subscriptions: Shelf[records.Subscription] = Shelf("subscription", RECORDS_MAX)
        self.invoices: Shelf[records.Invoice] = Shelf("invoice", RECORDS_MAX)
        self.invoice_payments: Shelf[records.InvoicePayment] = Shelf("invoice_payment", RECORDS_MAX)
        self.portals: Shelf[records.PortalSession] = Shelf("billing_portal.session", RECORDS_MAX)
        self.endpoints: Shelf[records.Endpoint] = Shelf("webhook_endpoint", RECORDS_MAX)
        self.events: Shelf[Event] = Shelf("event", EVENTS_MAX)

    def new_id(self, prefix: str) -> str:
        """An id that nothing else has; with a seed, the same in every run."""
        return prefix + "_" + "".join(self._chance.choices(_ALPHABET, k=_ID_CHARACTERS))

    def now(self) -> int:
        """The vendor's time."""
        return self.clock.now()

    def emit(self, kind: str, subject: str, shown: Wire, previous: Wire | None = None) -> None:
        """Record that something happened to a thing, and have it sent. `previous`: the fields that changed."""
        event = Event(
            id=self.new_id("evt"),
            created=self.now(),
            type=kind,
            subject=subject,
            data=msgspec.json.encode(shown),
            previous=None if previous is None else msgspec.json.encode(previous),
            request_id=self.request.id,
            idempotency_key=self.request.idempotency_key,
        )
        self.events.add(event)
        self.tell(event)


def named(shelf: Shelf[R], name: str, param: str = "id") -> R:
    """The thing with this id; raises Refusal. `param` is the parameter that names it, `id` for the path."""
    record = shelf.get(name)
    if record is None:
        raise missing(shelf.kind, name, param)
    return record
