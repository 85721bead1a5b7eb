"""The interface of events, and of the endpoints that they are sent to."""

import secrets
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

from callmeback.simulator.payments import wire_billing, wire_payments
from callmeback.simulator.payments.asking import Ask, page
from callmeback.simulator.payments.book import API_VERSION, Book, Wire, named
from callmeback.simulator.payments.endpoints_checkout import url_of
from callmeback.simulator.payments.records import Endpoint, Event
from callmeback.simulator.payments.refusals import Refusal, wrong

ENDPOINTS_MAX: Final = 16
TYPES_MAX: Final = 20


def list_events(ask: Ask) -> Wire:
    """`GET /v1/events`, by type (a star stands for the rest of a name), types, delivery_success, created."""
    form = ask.form
    pattern, types, delivered = form.text("type"), form.texts("types"), form.flag("delivery_success")
    if len(types) > TYPES_MAX or (pattern is not None and types):
        raise wrong("types", "You can pass type, or up to 20 types.")

    def keep(event: Event) -> bool:
        return (
            (pattern is None or fnmatchcase(event.type, pattern))
            and (not types or event.type in types)
            and (delivered is None or delivered == (event.pending == 0))
        )

    return page(ask, ask.book.events, wire_payments.event, "/v1/events", keep)


def get_event(ask: Ask) -> Wire:
    """`GET /v1/events/{id}`."""
    return wire_payments.event(ask.book, named(ask.book.events, ask.id))


def create_endpoint(ask: Ask) -> Wire:
    """`POST /v1/webhook_endpoints`: answers its secret, this once."""
    form, book = ask.form, ask.book
    endpoint = Endpoint(
        id=book.new_id("we"),
        created=book.now(),
        url=url_of(form, "url"),
        secrets=["whsec_" + secrets.token_hex(16)],
        types=form.texts("enabled_events"),
        api_version=form.text("api_version") or API_VERSION,
        description=form.text("description"),
        metadata=form.metadata(),
    )
    form.end()
    if not endpoint.types:
        raise wrong("enabled_events", "Missing required param: enabled_events.", "parameter_missing")
    if len(_living(book)) >= ENDPOINTS_MAX:
        raise Refusal("You have reached the maximum of 16 webhook endpoints.")
    book.endpoints.add(endpoint)
    return wire_billing.endpoint(book, endpoint) | {"secret": endpoint.secrets[0]}


def _living(book: Book) -> list[Endpoint]:
    return [endpoint for endpoint in book.endpoints if endpoint.status != "deleted"]


def get_endpoint(ask: Ask) -> Wire:
    """`GET /v1/webhook_endpoints/{id}`."""
    return wire_billing.endpoint(ask.book, named(ask.book.endpoints, ask.id))


def list_endpoints(ask: Ask) -> Wire:
    """`GET /v1/webhook_endpoints`."""
    return page(
        ask,
        ask.book.endpoints,
        wire_billing.endpoint,
        "/v1/webhook_endpoints",
        lambda endpoint: endpoint.status != "deleted",
    )


def update_endpoint(ask: Ask) -> Wire:
    """`POST /v1/webhook_endpoints/{id}`: switches it off and on, or moves it."""
    endpoint, form = named(ask.book.endpoints, ask.id), ask.form
    disabled, types = form.flag("disabled"), form.texts("enabled_events")
    url = url_of(form, "url") if form.has("url") else endpoint.url
    form.end()
    endpoint.url, endpoint.types = url, types or endpoint.types
    if disabled is not None:
        endpoint.status = "disabled" if disabled else "enabled"
    return wire_billing.endpoint(ask.book, endpoint)


def delete_endpoint(ask: Ask) -> Wire:
    """`DELETE /v1/webhook_endpoints/{id}`."""
    endpoint = named(ask.book.endpoints, ask.id)
    endpoint.status = "deleted"
    return {"id": endpoint.id, "object": "webhook_endpoint", "deleted": True}


ROUTES: Iterable[tuple[str, str, object]] = (
    ("GET", "/events", list_events),
    ("GET", "/events/{id:str}", get_event),
    ("POST", "/webhook_endpoints", create_endpoint),
    ("GET", "/webhook_endpoints", list_endpoints),
    ("GET", "/webhook_endpoints/{id:str}", get_endpoint),
    ("POST", "/webhook_endpoints/{id:str}", update_endpoint),
    ("DELETE", "/webhook_endpoints/{id:str}", delete_endpoint),
)
