"""Stripe, which takes the money: its REST interface by the official library. What it tells us is in `stripe_events.py`.

Every request has a deadline of ours, and every one that creates something a key of ours: asked twice, Stripe does it
once. Nothing here knows what a thing means to the house.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

import httpx
import msgspec
import stripe

from callmeback.providers.failures import VendorBroken, VendorRefused, VendorUnavailable, VendorUnclear
from callmeback.providers.nearby import on_this_machine
from callmeback.providers.observed import asking

VENDOR: Final = "payments"
BASE_URL: Final = "https://api.stripe.com"
RETRIES_MAX: Final = 2
# The shortest that the vendor allows; a checkout that is left alone frees its coupon after that.
CHECKOUT_LASTS: Final = timedelta(minutes=31)
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 20
# Of our balance: a million movements, ten thousand requests.
BALANCE_PAGES_MAX: Final = 10_000
MONTH: Final = "month"
# The vendor's words for "that has happened already".
GONE: Final = "resource_missing"
REFUNDED: Final = frozenset({"succeeded", "pending"})
OVER_CODES: Final = frozenset({"payment_intent_unexpected_state", GONE})

MovementKind = Literal["payment", "refund", "dispute", "other"]
_KINDS: Final[Mapping[str, MovementKind]] = {
    "charge": "payment",
    "refund": "refund",
    "dispute": "dispute",
}

T = TypeVar("T")


class CashierConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An account at Stripe."""

    api_key: str
    webhook_secret: str
    base_url: str = BASE_URL
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 20.0

    def __repr__(self) -> str:
        return f"CashierConfig(base_url={self.base_url!r}, …)"


class Checkout(msgspec.Struct, frozen=True):
    """A page of Stripe's on which somebody pays."""

    session_id: str
    url: str


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is sold: whole cents of a currency, and a name that the page shows."""

    name: str
    amount_cents: int
    currency: str


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """What every event about a thing brings back: whose it is, our own id of it, and what it is for."""

    user_id: str
    reference: str
    purpose: Literal["pack", "plan", "call"]
    tier: str | None = None

    def metadata(self) -> dict[str, str]:
        """As Stripe keeps it."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Money that is set aside, taken or let go. `status` in Stripe's words."""

    id: str
    status: str
    received_cents: int


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """A change of our balance at Stripe. `object_id` is the intent that was paid, the refund or the dispute."""

    kind: MovementKind
    object_id: str
    amount_cents: int
    fee_cents: int
    currency: str
    moved_at: datetime


class Declined(VendorRefused):
    """The card's bank said no, or wants to ask its owner first; `vendor_code` says which."""


class _Transport(stripe.HTTPXClient):
    """The library's own, with a bound on connecting, and without a proxy for a vendor on this machine."""

    def __init__(self, config: CashierConfig) -> None:
        super().__init__(timeout=httpx.Timeout(config.answer_timeout_s, connect=config.connect_timeout_s))
        if on_this_machine(config.base_url):
            self._client_async = httpx.AsyncClient(trust_env=False)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client_async.aclose()


class Cashier:
    """The account's REST interface; one for the process. Raises VendorError; money that was refused is Declined."""

    def __init__(self, config: CashierConfig) -> None:
        self.config = config
        self._transport = _Transport(config)
        client = stripe.StripeClient(
            config.api_key,
            base_addresses={"api": config.base_url.rstrip("/")},
            http_client=self._transport,
            max_network_retries=RETRIES_MAX,
        )
        self._v1 = client.v1

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def create_customer(self, user_id: str, email: str, after: str | None = None) -> str:
        """The person as Stripe knows them; the same person again is the same customer for a day.

        `after` names the one before, which Stripe knows no longer.
        """
        params: Any = {"email": email, "metadata": {"user_id": user_id}}
        address = hashlib.sha256(email.encode()).hexdigest()[:16]
        options: Any = {"idempotency_key": f"customer:{user_id}:{address}:{after}"}
        made = await _asked("create a customer", self._v1.customers.create_async(params, options))

        return str(made.id)

    async def pack_checkout(
        self, item: Item, marks: Marks, customer: str, success_url: str, cancel_url: str
    ) -> Checkout:
        """A page on which a pack is paid once. The card is kept for calls that are paid one by one."""
        params: Any = {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": _price_data(item)}],
            "payment_intent_data": {"metadata": marks.metadata(), "setup_future_usage": "off_session"},
            **_page(marks, customer, success_url, cancel_url),
        }

        return await self._checkout(params, marks)

    async def plan_checkout(
        self, price: str, marks: Marks, customer: str, success_url: str, cancel_url: str
    ) -> Checkout:
        """A page on which a plan is begun."""
        params: Any = {
            "mode": "subscription",
            "line_items": [{"quantity": 1, "price": price}],
            "subscription_data": {"metadata": marks.metadata()},
            **_page(marks, customer, success_url, cancel_url),
        }

        return await self._checkout(params, marks)

    async def _checkout(self, params: Any, marks: Marks) -> Checkout:
        options: Any = {"idempotency_key": f"checkout:{marks.reference}:{params['customer']}"}
        made = await _asked("begin a checkout", self._v1.checkout.sessions.create_async(params, options))
        if made.url is None:
            raise VendorBroken(VENDOR, "begin a checkout")

        return Checkout(made.id, made.url)

    async def expire_checkout(self, session_id: str) -> bool:
        """Take the page away; False where it was paid, or taken away, before."""
        try:
            await _asked("end a checkout", self._v1.checkout.sessions.expire_async(session_id))
        except VendorRefused:
            return False

        return True

    async def plan_price(self, lookup_key: str, item: Item) -> str:
        """The id of a plan's monthly price, made at its first use or when the price has changed."""
        query: Any = {"lookup_keys": [lookup_key], "active": True}
        found = await _asked("find a price", self._v1.prices.list_async(query))
        for price in found.data:
            if price.unit_amount == item.amount_cents and price.currency == item.currency:
                return str(price.id)
        params: Any = {
            "currency": item.currency,
            "unit_amount": item.amount_cents,
            "recurring": {"interval": MONTH},
            "product_data": {"name": item.name},
            "lookup_key": lookup_key,
            "transfer_lookup_key": True,
        }
        options: Any = {"idempotency_key": f"price:{lookup_key}:{item.currency}:{item.amount_cents}"}
        made = await _asked("create a price", self._v1.prices.create_async(params, options))

        return str(made.id)

    async def change_plan(self, subscription: str, price: str, marks: Marks, *, now: bool, key: str) -> None:
        """Another plan: at once, with a period that begins now and is paid now, or from the next period on.

        Raises Declined where it is to be paid now and can't be; nothing has changed then.
        """
        current = await _asked("look at a plan", self._v1.subscriptions.retrieve_async(subscription))
        item = current["items"].data[0]
        params: Any = {"metadata": marks.metadata(), "cancel_at_period_end": False}
        options: Any = {}
        # It may be that plan already, by a request whose answer or whose key was lost: then nothing is paid again, and
        # without a key an end that was asked for since is taken back.
        if item.price.id != price:
            params |= {"items": [{"id": item.id, "price": price}], "proration_behavior": "none"}
            if now:
                params |= {"billing_cycle_anchor": "now", "payment_behavior": "error_if_incomplete"}
            options = {"idempotency_key": f"change:{key}"}
        await _asked("change a plan", self._v1.subscriptions.update_async(subscription, params, options))

    async def end_plan_with_period(self, subscription: str, ends: bool) -> None:
        """Let a plan run out with the period that is paid, or go on after all."""
        params: Any = {"cancel_at_period_end": ends}
        await _asked("end a plan", self._v1.subscriptions.update_async(subscription, params))

    async def end_plan(self, subscription: str) -> None:
        """End a plan now; one that has ended already is no error."""
        try:
            await _asked("end a plan", self._v1.subscriptions.cancel_async(subscription))
        except VendorRefused as exc:
            if exc.http_status not in (400, 404):
                raise

    async def plan(self, subscription: str) -> dict[str, Any]:
        """A plan as Stripe has it now, as an event of it would show it."""
        found = await _asked("look at a plan", self._v1.subscriptions.retrieve_async(subscription))

        return dict(found.to_dict())

    async def portal(self, customer: str, return_url: str) -> str:
        """A page on which a person looks after cards and invoices."""
        params: Any = {"customer": customer, "return_url": return_url}
        made = await _asked("open the portal", self._v1.billing_portal.sessions.create_async(params))

        return str(made.url)

    async def set_aside(self, amount_cents: int, currency: str, marks: Marks, customer: str) -> Intent:
        """Set money aside on the person's saved card. Raises Declined; also without a card, as `no_card`."""
        query: Any = {"customer": customer, "type": "card", "limit": 1}
        methods = await _asked("find a card", self._v1.payment_methods.list_async(query))
        if not methods.data:
            raise Declined(VENDOR, "find a card", vendor_code="no_card")
        params: Any = {
            "amount": amount_cents,
            "currency": currency,
            "customer": customer,
            "payment_method": methods.data[0].id,
            "capture_method": "manual",
            "confirm": True,
            "off_session": True,
            "metadata": marks.metadata(),
        }
        options: Any = {"idempotency_key": f"set_aside:{marks.reference}"}

        return _intent(await _asked("set money aside", self._v1.payment_intents.create_async(params, options)))

    async def take(self, intent: str, amount_cents: int, reference: str) -> Intent:
        """Take what was used of the money that is set aside; the rest is let go. Taken already is no error."""
        params: Any = {"amount_to_capture": amount_cents}
        options: Any = {"idempotency_key": f"take:{reference}"}

        return await self._end(intent, "take money", self._v1.payment_intents.capture_async(intent, params, options))

    async def let_go(self, intent: str, reference: str) -> Intent:
        """Let go of all that is set aside. Let go already is no error."""
        options: Any = {"idempotency_key": f"let_go:{reference}"}

        return await self._end(intent, "let money go", self._v1.payment_intents.cancel_async(intent, {}, options))

    async def _end(self, intent: str, doing: str, request: Awaitable[stripe.PaymentIntent]) -> Intent:
        try:
            return _intent(await _asked(doing, request))
        except VendorRefused as exc:
            if exc.vendor_code not in OVER_CODES:
                raise
            # Done by an earlier try, or run out: only the intent itself can tell.
            return await self.intent(intent)

    async def intent(self, intent: str) -> Intent:
        """Money that was set aside, as it stands now."""
        return _intent(await _asked("look at money", self._v1.payment_intents.retrieve_async(intent)))

    async def find_intent(self, customer: str, reference: str, since: datetime) -> Intent | None:
        """What became of a request to set money aside whose answer was never heard."""
        query: Any = {
            "customer": customer,
            "created": {"gte": int((since - timedelta(minutes=1)).timestamp())},
            "limit": PAGE_SIZE,
        }
        found = await _asked("find money", self._v1.payment_intents.list_async(query))

        return next(
            (_intent(one) for one in found.data if one.to_dict()["metadata"].get("reference") == reference), None
        )

    async def events(self, since: datetime) -> list[dict[str, Any]]:
        """Every event since, the oldest first; at most PAGES_MAX pages, of which the newest are kept."""
        found: list[dict[str, Any]] = []
        query: Any = {"created": {"gte": int(since.timestamp())}, "limit": PAGE_SIZE}
        for _ in range(PAGES_MAX):
            page = await _asked("list events", self._v1.events.list_async(query))
            found += [event.to_dict() for event in page.data]
            if not page.has_more or not page.data:
                break
            query = query | {"starting_after": page.data[-1].id}

        return found[::-1]

    async def movements(self, since: datetime, until: datetime) -> AsyncIterator[list[Movement]]:
        """Every change of our balance in a period, a page at a time, the newest first. Raises VendorError."""
        query: Any = {
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())},
            "limit": PAGE_SIZE,
            "expand": ["data.source"],
        }
        for _ in range(BALANCE_PAGES_MAX):
            page = await _asked("list our balance", self._v1.balance_transactions.list_async(query))
            yield [_movement(one.to_dict()) for one in page.data]
            if not page.has_more or not page.data:
                return
            query = query | {"starting_after": page.data[-1].id}
        # A list that was cut would look like money that is missing.
        raise VendorBroken(VENDOR, "list our balance")

    async def net_of(self, kind: str, object_id: str) -> int:
        """What one payment, refund or dispute has come to by now, in cents; 0 for one that Stripe doesn't know."""
        try:
            if kind == "payment":
                return (await self.intent(object_id)).received_cents
            if kind == "refund":
                refund = await _asked("look at a refund", self._v1.refunds.retrieve_async(object_id))
                moved = refund.balance_transaction is not None and refund.status in REFUNDED
                return -refund.amount if moved else 0
            dispute = await _asked("look at a dispute", self._v1.disputes.retrieve_async(object_id))
            return sum(one.amount for one in dispute.balance_transactions)
        except VendorRefused as exc:
            if exc.vendor_code != GONE:
                raise
            return 0

    async def invoice_of(self, intent: str) -> str | None:
        """The invoice that an intent has paid: a refund names the intent alone."""
        query: Any = {"payment": {"type": "payment_intent", "payment_intent": intent}}
        found = await _asked("find an invoice", self._v1.invoice_payments.list_async(query))

        return str(found.data[0].invoice) if found.data else None


def _page(marks: Marks, customer: str, success_url: str, cancel_url: str) -> dict[str, Any]:
    return {
        "customer": customer,
        "success_url": success_url,
        "cancel_url": cancel_url,
        "client_reference_id": marks.reference,
        "metadata": marks.metadata(),
        "expires_at": int((datetime.now(UTC) + CHECKOUT_LASTS).timestamp()),
    }


def _price_data(item: Item) -> Mapping[str, Any]:
    return {"currency": item.currency, "unit_amount": item.amount_cents, "product_data": {"name": item.name}}


def _movement(found: dict[str, Any]) -> Movement:
    source = found.get("source")
    thing = source if isinstance(source, dict) else {"object": None, "id": source}
    kind: MovementKind = _KINDS.get(str(thing.get("object")), "other")
    # What was charged without an intent is nothing of ours, and is told as such.
    name = (thing.get("payment_intent") or thing.get("id")) if kind == "payment" else thing.get("id")

    return Movement(
        kind=kind,
        object_id=str(name or found["id"]),
        amount_cents=found["amount"],
        fee_cents=found["fee"],
        currency=found["currency"],
        moved_at=datetime.fromtimestamp(found["created"], UTC),
    )


def _intent(found: stripe.PaymentIntent) -> Intent:
    return Intent(id=found.id, status=found.status, received_cents=found.amount_received)


async def _asked(doing: str, request: Awaitable[T]) -> T:
    """The answer, or what went wrong in our four ways. The vendor's own text stays out: it may quote what we sent."""
    with asking(VENDOR, doing):
        return await _answered(doing, request)


async def _answered(doing: str, request: Awaitable[T]) -> T:
    try:
        return await request
    except stripe.CardError as exc:
        raise Declined(VENDOR, doing, vendor_code=exc.code, status=exc.http_status) from exc
    except stripe.RateLimitError as exc:
        raise VendorUnavailable(VENDOR, doing, vendor_code=exc.code, status=exc.http_status) from exc
    except stripe.APIConnectionError as exc:
        raise VendorUnclear(VENDOR, doing) from exc
    except stripe.StripeError as exc:
        status = exc.http_status
        if status is None or status >= 500 or status == 409:
            raise VendorUnclear(VENDOR, doing, vendor_code=exc.code, status=status) from exc
        raise VendorRefused(VENDOR, doing, vendor_code=exc.code, status=status) from exc
