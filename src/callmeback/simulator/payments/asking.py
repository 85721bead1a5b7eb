"""A request to the vendor's interface as its doing sees it, lists with their pages and filters, and `expand`."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from callmeback.simulator.payments import wire_billing, wire_payments
from callmeback.simulator.payments.book import Book, Wire, named
from callmeback.simulator.payments.form import Form
from callmeback.simulator.payments.refusals import Refusal, wrong
from callmeback.simulator.payments.shelf import R, Shelf

PAGE_DEFAULT: Final = 10
PAGE_MAX: Final = 100
EXPAND_DEPTH_MAX: Final = 4

Show = Callable[[Book, R], Wire]


class Ask(msgspec.Struct, frozen=True):
    """What is asked: the form (or query), and the ids in the path. `origin`: where the hosted pages are."""

    book: Book
    form: Form
    names: dict[str, str]
    origin: str

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.names["id"]


def page(ask: Ask, shelf: Shelf[R], show: Show[R], url: str, keep: Callable[[R], bool] = lambda _: True) -> Wire:
    """A page of a list, newest first: limit, starting_after, ending_before, created."""
    form = ask.form
    limit = form.whole("limit", least=1, most=PAGE_MAX) or PAGE_DEFAULT
    after, before = form.text("starting_after"), form.text("ending_before")
    in_time = _in_time(form)
    form.end()
    for name, value in (("starting_after", after), ("ending_before", before)):
        if value is not None:
            named(shelf, value, name)
    found: Iterator[R] = shelf.older_than(after) if before is None else shelf.newer_than(before)
    chosen = list(islice((record for record in found if in_time(record.created) and keep(record)), limit + 1))
    shown = chosen[:limit] if before is None else list(reversed(chosen[:limit]))
    return {
        "object": "list",
        "data": [show(ask.book, record) for record in shown],
        "has_more": len(chosen) > limit,
        "url": url,
    }


def _in_time(form: Form) -> Callable[[int], bool]:
    """The filter `created`: a time, or its bounds."""
    if not form.has("created"):
        return lambda _: True
    try:
        exact = form.whole("created")
    except Refusal:
        part = form.part("created")
        least = part.whole("gte"), part.whole("gt")
        most = part.whole("lte"), part.whole("lt")
        low = max(least[0] or 0, (least[1] or -1) + 1)
        high = min(
            value for value in (most[0], most[1] - 1 if most[1] is not None else None, 1 << 60) if value is not None
        )
        return lambda created: low <= created <= high
    return lambda created: created == exact


def expand(book: Book, body: Wire, form: Form) -> Wire:
    """Put whole objects where the answer has ids, as `expand` asks; raises Refusal for what can't be."""
    for path in form.texts("expand"):
        steps = path.split(".")
        if len(steps) > EXPAND_DEPTH_MAX + 1:
            raise wrong("expand", "You cannot expand more than 4 levels.")
        _expand(book, body, steps, path)
    return body


def _expand(book: Book, body: Any, steps: list[str], path: str) -> None:
    if isinstance(body, list):
        for element in body:
            _expand(book, element, steps, path)
        return
    if not steps or body is None:
        return
    step, *rest = steps
    if not isinstance(body, dict) or (step not in body and (body.get("object"), step) not in LISTS):
        raise wrong("expand", f"This property cannot be expanded ({path}).")
    value = body.get(step)
    if (body.get("object"), step) in LISTS:
        body[step] = LISTS[body["object"], step](book, body["id"])
    elif isinstance(value, str):
        body[step] = _find(book, value, path)
    elif value is not None and not isinstance(value, dict | list):
        raise wrong("expand", f"This property cannot be expanded ({path}).")
    _expand(book, body[step], rest, path)


def _find(book: Book, name: str, path: str) -> Wire:
    """The object with this id, by the id's prefix."""
    prefix = "cs" if name.startswith("cs_") else name.partition("_")[0]
    kinds: dict[str, tuple[Shelf[Any], Show[Any]]] = {
        "cus": (book.customers, wire_billing.customer),
        "prod": (book.products, wire_billing.product),
        "price": (book.prices, wire_billing.price),
        "pm": (book.methods, wire_payments.payment_method),
        "pi": (book.intents, wire_payments.intent),
        "ch": (book.charges, wire_payments.charge),
        "re": (book.refunds, wire_payments.refund),
        "du": (book.disputes, wire_payments.dispute),
        "txn": (book.balance, wire_payments.balance_transaction),
        "cs": (book.sessions, wire_payments.session),
        "sub": (book.subscriptions, wire_billing.subscription),
        "in": (book.invoices, wire_billing.invoice),
        "promo": (book.promotion_codes, wire_billing.promotion_code),
    }
    shelf, show = kinds.get(prefix, (None, None))
    record = shelf.get(name) if shelf is not None else None
    if record is None or show is None:
        raise wrong("expand", f"This property cannot be expanded ({path}).")
    return show(book, record)


def whole_list(data: list[Wire], url: str) -> Wire:
    """A list within an object."""
    return {"object": "list", "data": data, "has_more": False, "url": url}


def session_lines(book: Book, name: str) -> Wire:
    """The lines of a Checkout session."""
    session = book.sessions[name]
    subtotal = sum(line.amount for line in session.lines)
    left = wire_payments.discount(book, session.coupon, subtotal)
    data = []
    for line in session.lines:
        # The discount is spread over the lines in their order, in whole cents.
        off = min(left, line.amount)
        left -= off
        data.append(
            {
                "id": line.id,
                "object": "item",
                "amount_discount": off,
                "amount_subtotal": line.amount,
                "amount_tax": 0,
                "amount_total": line.amount - off,
                "currency": session.currency,
                "description": line.description,
                "price": wire_billing.price(book, book.prices[line.price]),
                "quantity": line.quantity,
            }
        )
    return whole_list(data, f"/v1/checkout/sessions/{name}/line_items")


def _invoice_payments(book: Book, name: str) -> Wire:
    invoice = book.invoices[name]
    payment = book.invoice_payments.get(invoice.payment)
    data = [] if payment is None else [wire_billing.invoice_payment(book, payment)]
    return whole_list(data, f"/v1/invoice_payments?invoice={name}")


def _charge_refunds(book: Book, name: str) -> Wire:
    found = [wire_payments.refund(book, refund) for refund in book.refunds if refund.charge == name]
    return whole_list(found[:PAGE_DEFAULT], f"/v1/refunds?charge={name}")


LISTS: Final[dict[tuple[str, str], Callable[[Book, str], Wire]]] = {
    ("checkout.session", "line_items"): session_lines,
    ("invoice", "payments"): _invoice_payments,
    ("charge", "refunds"): _charge_refunds,
}
"""Lists that an object shows only when they are asked for."""
