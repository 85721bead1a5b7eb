"""The interface of Checkout sessions and of the customer portal's."""

from collections.abc import Iterable
from typing import Final, Literal, cast

from callmeback.simulator.payments import checkout, wire_billing, wire_payments
from callmeback.simulator.payments.asking import Ask, page, session_lines
from callmeback.simulator.payments.book import HOUR_SECONDS, Book, Wire, named
from callmeback.simulator.payments.endpoints_catalogue import AMOUNT_MAX, existing, new_price
from callmeback.simulator.payments.form import Form
from callmeback.simulator.payments.records import Line, PortalSession, Price, Session
from callmeback.simulator.payments.refusals import Refusal, wrong

LIFE_SECONDS_MIN: Final = 30 * 60
LIFE_SECONDS_MAX: Final = 24 * HOUR_SECONDS
AMOUNT_MIN: Final = 50
"""The vendor's least charge, in cents."""
LINES_MAX: Final = 100
QUANTITY_MAX: Final = 10_000
REFERENCE_MAX: Final = 200
URL_MAX: Final = 5_000


def create_session(ask: Ask) -> Wire:
    """`POST /v1/checkout/sessions`: a hosted page for a payment or a subscription."""
    form, book = ask.form, ask.book
    mode = cast(Literal["payment", "subscription"], form.needed("mode", among=("payment", "subscription")))
    lines, currency = _lines(book, form, mode)
    session = Session(
        id=book.new_id("cs_test"),
        created=book.now(),
        metadata=form.metadata(),
        mode=mode,
        currency=currency,
        lines=lines,
        success_url=url_of(form, "success_url"),
        cancel_url=url_of(form, "cancel_url") if form.has("cancel_url") else None,
        expires_at=_expiry(book, form),
        origin=ask.origin,
        client_reference_id=_reference(form),
        customer_email=form.text("customer_email"),
        customer_creation=form.text("customer_creation", among=("always", "if_required")) or "if_required",
        allow_promotion_codes=form.flag("allow_promotion_codes") or False,
        locale=form.text("locale"),
    )
    customer = form.text("customer")
    if customer is not None:
        found = existing(book, customer)
        session.customer, session.customer_email = found.id, session.customer_email or found.email
    _details(form, session)
    session.coupon, session.promotion_code = discount_of(book, form)
    form.ignore("payment_method_types", "ui_mode", "billing_address_collection", "submit_type", "customer_update")
    form.ignore("payment_method_collection", "invoice_creation", "automatic_tax", "consent_collection", "currency")
    form.end()
    total = checkout.total(book, session)
    if 0 < total < AMOUNT_MIN or total > AMOUNT_MAX:
        code = "amount_too_small" if total < AMOUNT_MIN else "amount_too_large"
        raise Refusal(f"The Checkout Session's total amount can't be {total}.", code=code)
    book.sessions.add(session)
    book.clock.at(session.expires_at, lambda: checkout.run_out(book, session))
    return wire_payments.session(book, session)


def _lines(book: Book, form: Form, mode: str) -> tuple[list[Line], str]:
    parts = form.parts("line_items")
    if not parts or len(parts) > LINES_MAX:
        raise wrong("line_items", "You must pass between 1 and 100 line items.", "parameter_missing")
    priced: list[tuple[Price, int]] = []
    for part in parts:
        quantity = part.whole("quantity", least=1, most=QUANTITY_MAX)
        if quantity is None:
            raise wrong(part.param("quantity"), "Quantity is required.", "parameter_missing")
        part.ignore("adjustable_quantity")
        name = part.text("price")
        if name is None:
            price = book.prices.add(new_price(book, part.part("price_data"), least=0))
        else:
            price = named(book.prices, name, part.param("price"))
        if not price.active:
            raise wrong(part.param("price"), "The price specified is inactive.", "price_inactive")
        priced.append((price, quantity))
    recurring = [price.interval is not None for price, _ in priced]
    if mode == "payment" and any(recurring):
        raise Refusal(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode."
        )
    if mode == "subscription" and not all(recurring):
        raise Refusal("You must provide recurring prices in `subscription` mode.")
    if len({price.currency for price, _ in priced}) > 1:
        raise wrong("line_items", "All line items must have the same currency.")
    lines = [
        Line(
            id=book.new_id("li"),
            price=price.id,
            quantity=quantity,
            description=book.products[price.product].name,
            amount=price.unit_amount * quantity,
        )
        for price, quantity in priced
    ]
    return lines, priced[0][0].currency


def url_of(form: Form, name: str) -> str:
    """An address to send the customer to."""
    url = form.needed(name)
    if not url.startswith(("http://", "https://")) or len(url) > URL_MAX:
        raise Refusal(f"Not a valid URL: {name}", code="url_invalid", param=name)
    return url


def _expiry(book: Book, form: Form) -> int:
    at = form.whole("expires_at")
    if at is None:
        return book.now() + LIFE_SECONDS_MAX
    # The vendor takes a time that has lost a second on the way.
    if not book.now() + LIFE_SECONDS_MIN - 5 <= at <= book.now() + LIFE_SECONDS_MAX + 5:
        raise wrong("expires_at", "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.")
    return at


def _reference(form: Form) -> str | None:
    reference = form.text("client_reference_id")
    if reference is not None and len(reference) > REFERENCE_MAX:
        raise wrong("client_reference_id", "client_reference_id can have up to 200 characters.")
    return reference


def _details(form: Form, session: Session) -> None:
    """What goes on to the intent or the subscription."""
    payment, subscription = form.part("payment_intent_data"), form.part("subscription_data")
    session.payment_metadata = payment.metadata()
    session.payment_description = payment.text("description")
    session.capture_method = capture_method_of(payment)
    session.keeps_method = payment.text("setup_future_usage", among=("off_session", "on_session")) is not None
    payment.ignore("receipt_email", "statement_descriptor", "statement_descriptor_suffix")
    session.subscription_metadata = subscription.metadata()
    subscription.ignore("description", "billing_mode")
    if session.mode == "subscription" and form.has("payment_intent_data"):
        raise wrong("payment_intent_data", "You can not pass `payment_intent_data` in `subscription` mode.")
    if session.mode == "payment" and form.has("subscription_data"):
        raise wrong("subscription_data", "You can not pass `subscription_data` in `payment` mode.")


def capture_method_of(form: Form) -> str:
    """When the money is taken."""
    return form.text("capture_method", among=("automatic", "automatic_async", "manual")) or "automatic_async"


def discount_of(book: Book, form: Form) -> tuple[str | None, str | None]:
    """Coupon and promotion code of `discounts`; raises Refusal for one that can't be redeemed."""
    parts = form.parts("discounts")
    if len(parts) > 1:
        raise wrong("discounts", "You can pass one discount.")
    if not parts:
        return None, None
    code = parts[0].text("promotion_code")
    if code is None:
        name = parts[0].needed("coupon")
    else:
        promotion = named(book.promotion_codes, code, parts[0].param("promotion_code"))
        name = promotion.coupon
        used_up = promotion.max_redemptions is not None and promotion.times_redeemed >= promotion.max_redemptions
        if not promotion.active or used_up or (promotion.expires_at is not None and book.now() >= promotion.expires_at):
            raise wrong(parts[0].param("promotion_code"), f"Promotion code {code} is not active.")
    coupon = named(book.coupons, name, parts[0].param("coupon"))
    if not wire_billing.is_valid(book, coupon):
        raise Refusal(f"Coupon {name} is expired and can't be applied.", code="coupon_expired")
    return coupon.id, code


def get_session(ask: Ask) -> Wire:
    """`GET /v1/checkout/sessions/{id}`."""
    return wire_payments.session(ask.book, named(ask.book.sessions, ask.id))


def update_session(ask: Ask) -> Wire:
    """`POST /v1/checkout/sessions/{id}`: its notes."""
    session = named(ask.book.sessions, ask.id)
    metadata = ask.form.metadata(session.metadata)
    ask.form.end()
    session.metadata = metadata
    return wire_payments.session(ask.book, session)


def list_sessions(ask: Ask) -> Wire:
    """`GET /v1/checkout/sessions`, by customer, payment_intent, subscription, status."""
    wanted = {name: ask.form.text(name) for name in ("customer", "subscription", "status")}
    intent = ask.form.text("payment_intent")

    def keep(session: Session) -> bool:
        return all(value in {None, getattr(session, name)} for name, value in wanted.items()) and (
            intent in {None, session.intent}
        )

    return page(ask, ask.book.sessions, wire_payments.session, "/v1/checkout/sessions", keep)


def expire_session(ask: Ask) -> Wire:
    """`POST /v1/checkout/sessions/{id}/expire`."""
    ask.form.end()
    session = named(ask.book.sessions, ask.id)
    checkout.expire(ask.book, session)
    return wire_payments.session(ask.book, session)


def list_lines(ask: Ask) -> Wire:
    """`GET /v1/checkout/sessions/{id}/line_items`."""
    return session_lines(ask.book, named(ask.book.sessions, ask.id).id)


def create_portal(ask: Ask) -> Wire:
    """`POST /v1/billing_portal/sessions`: a page where a customer looks after subscriptions and cards."""
    form, book = ask.form, ask.book
    customer = existing(book, form.needed("customer"))
    back = url_of(form, "return_url") if form.has("return_url") else None
    form.ignore("configuration", "locale", "flow_data", "on_behalf_of")
    form.end()
    portal = PortalSession(
        id=book.new_id("bps"), created=book.now(), customer=customer.id, return_url=back, origin=ask.origin
    )
    return wire_billing.portal_session(book, book.portals.add(portal))


ROUTES: Iterable[tuple[str, str, object]] = (
    ("POST", "/checkout/sessions", create_session),
    ("GET", "/checkout/sessions", list_sessions),
    ("GET", "/checkout/sessions/{id:str}", get_session),
    ("POST", "/checkout/sessions/{id:str}", update_session),
    ("POST", "/checkout/sessions/{id:str}/expire", expire_session),
    ("GET", "/checkout/sessions/{id:str}/line_items", list_lines),
    ("POST", "/billing_portal/sessions", create_portal),
)
