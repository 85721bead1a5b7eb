"""How webhooks are signed, and their body put together."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

import msgspec

from callmeback.simulator.payments.book import Book, Wire
from callmeback.simulator.payments.records import Endpoint, Event
from callmeback.simulator.payments.wire_payments import event as event_wire

PERIODS_ON_ITEMS_SINCE = "2025-03-31"
"""The vendor's version from which a subscription's period stands on its items, and an invoice names its subscription
below `parent`."""


def signature(secrets: Iterable[str], body: bytes, at: int) -> str:
    """The value of `Stripe-Signature`: one `v1` for each secret in force."""
    signed = str(at).encode() + b"." + body
    parts = [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={at}", *parts])


def body(book: Book, event: Event, endpoint: Endpoint) -> bytes:
    """The event in the version that the endpoint was made for."""
    shown = event_wire(book, event, endpoint.api_version)
    if endpoint.api_version < PERIODS_ON_ITEMS_SINCE:
        shown["data"]["object"] = older(msgspec.json.decode(event.data))
    return msgspec.json.encode(shown)


def older(thing: Wire) -> Wire:
    """An object as versions before 2025-03-31 showed it."""
    if thing["object"] == "subscription":
        first: dict[str, Any] = thing["items"]["data"][0]
        names = ("current_period_start", "current_period_end")
        for item in thing["items"]["data"]:
            for name in names:
                thing[name] = first.get(name, thing.get(name))
                item.pop(name)
    if thing["object"] == "invoice":
        details = thing.pop("parent")["subscription_details"]
        thing["subscription"] = details["subscription"]
        thing["subscription_details"] = {"metadata": details["metadata"]}
        thing["paid"] = thing["status"] == "paid"
    return thing
