"""The hosted pages: Checkout, the bank's challenge, the customer portal, receipts. They need no script."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from jinja2 import Environment, FileSystemLoader
from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath

from callmeback.simulator.answers import Sim
from callmeback.simulator.payments import cards, checkout, intents, invoices, methods, subscriptions
from callmeback.simulator.payments.api import origin_of
from callmeback.simulator.payments.book import Book, named
from callmeback.simulator.payments.endpoints_billing import set_card, set_ending
from callmeback.simulator.payments.records import Intent, PaymentMethod, PortalSession, Price, Session
from callmeback.simulator.payments.refusals import Decline, Refusal
from callmeback.simulator.payments.wire_payments import discount

HERE: Final = Path(__file__).parent
FORM_BYTES_MAX: Final = 16_384
FIELDS_MAX: Final = 50
INVOICES_SHOWN_MAX: Final = 24
SYMBOLS: Final = {"usd": "$", "eur": "€", "gbp": "£"}
STYLE: Final = (HERE / "pages.css").read_text("utf-8")
_EXPIRY: Final = re.compile(r"(0?[1-9]|1[0-2])\s*/?\s*(?:20)?([0-9]{2})")
_CVC: Final = re.compile(r"[0-9]{3,4}")
_templates: Final = Environment(loader=FileSystemLoader(HERE), autoescape=True)

Page = Response[Any]


class Given(msgspec.Struct, kw_only=True):
    """What was typed into the Checkout page; at first a card that works."""

    email: str = ""
    method: str = "card"
    number: str = "4242 4242 4242 4242"
    expiry: str = "12 / 34"
    cvc: str = "123"
    name: str = ""
    outcome: str = "succeeds"
    code: str = ""


def money(cents: int, currency: str) -> str:
    """An amount as people read it."""
    sign, cents = ("−", -cents) if cents < 0 else ("", cents)
    symbol = SYMBOLS.get(currency, currency.upper() + " ")
    return f"{sign}{symbol}{cents // 100:,}.{cents % 100:02}"


def _page(
    request: Request[Any, Any, Any], name: str, *, status: int = 200, leads_to: Iterable[str] = (), **shown: Any
) -> Page:
    """A page that loads nothing from elsewhere. `leads_to`: addresses to which its forms may lead."""
    places = " ".join(
        sorted({f"{parts.scheme}://{parts.netloc}" for url in leads_to if (parts := urlsplit(url)).netloc})
    )
    headers = {
        "Content-Security-Policy": f"default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {places}",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    text = _templates.get_template(name).render(root=origin_of(request), **shown)
    return Response(text, status_code=status, media_type=MediaType.HTML, headers=headers)


def _message(request: Request[Any, Any, Any], title: str, text: str, *, status: int = 200, **more: Any) -> Page:
    return _page(request, "message.html", status=status, title=title, text=text, **more)


def _gone(request: Request[Any, Any, Any]) -> Page:
    return _message(request, "Nothing here", "This page doesn't exist (any more).", status=404)


def _to(url: str) -> Page:
    return Response(b"", status_code=303, headers={"Location": url})


async def _fields(request: Request[Any, Any, Any]) -> dict[str, str]:
    content = (await request.body())[:FORM_BYTES_MAX].decode("utf-8", "replace")
    try:
        return dict(parse_qsl(content, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError:
        return {}


@get("/payments/pages.css")
async def style() -> Response[str]:
    """How the pages look."""
    return Response(STYLE, media_type=MediaType.CSS)


@get("/payments/checkout/{session:str}")
async def show_checkout(request: Request[Any, Any, Any], session: FromPath[str], sim: Sim) -> Page:
    """The page on which a customer pays."""
    sim.payments.wake()
    found = sim.payments.book.sessions.get(session)
    if found is None:
        return _gone(request)
    return _closed(request, found) or _checkout_page(request, sim.payments.book, found)


def _closed(request: Request[Any, Any, Any], session: Session) -> Page | None:
    if session.status == "complete":
        text = "This payment has been made already."
        return _message(request, "All done", text, link=after(session), link_text="Go on")
    if session.status == "expired":
        text = "This page has expired, and nothing was charged."
        return _message(request, "Too late", text, link=session.cancel_url, link_text="Back")
    return None


def after(session: Session) -> str:
    """Where the customer goes on."""
    return session.success_url.replace("{CHECKOUT_SESSION_ID}", session.id)


def _checkout_page(
    request: Request[Any, Any, Any],
    book: Book,
    session: Session,
    given: Given | None = None,
    *,
    error: str | None = None,
    code_error: str | None = None,
    wrong: dict[str, str] | None = None,
) -> Page:
    intent = book.intents.get(session.intent)
    if intent is not None and intent.status == "requires_action":
        return _challenge(request, book, intent, (session.success_url,))
    subtotal = sum(line.amount for line in session.lines)
    off = discount(book, session.coupon, subtotal)
    coupon = book.coupons.get(session.coupon)
    total = money(subtotal - off, session.currency)
    price = book.prices[session.lines[0].price]
    return _page(
        request,
        "checkout.html",
        status=200 if error is None and not wrong and code_error is None else 402,
        leads_to=(session.success_url, session.cancel_url or ""),
        session=session,
        lines=[
            {"description": line.description, "quantity": line.quantity, "amount": money(line.amount, session.currency)}
            for line in session.lines
        ],
        subtotal=money(subtotal, session.currency),
        off=money(off, session.currency) if off else None,
        off_name=coupon.name if coupon is not None else None,
        total=total,
        period=_paid_again(book, session, price),
        button="Subscribe" if session.mode == "subscription" else f"Pay {total}",
        cards=[{"shown": _grouped(card.number), "does": card.does} for card in cards.CARDS.values()],
        debits=_takes_debits(session),
        given=given or Given(email=session.customer_email or session.payer_email or ""),
        error=error,
        code_error=code_error,
        wrong=wrong or {},
    )


def _paid_again(book: Book, session: Session, price: Price) -> str | None:
    """What comes after today's payment; a coupon that ends makes it dearer."""
    period = _period(price)
    coupon = book.coupons.get(session.coupon)
    if period is None or coupon is None or coupon.duration == "forever":
        return period
    return f"then {money(sum(line.amount for line in session.lines), session.currency)} {period}"


def _period(price: Price) -> str | None:
    if price.interval is None:
        return None
    if price.interval_count == 1:
        return f"per {price.interval}"
    return f"every {price.interval_count} {price.interval}s"


def _takes_debits(session: Session) -> bool:
    return session.mode == "payment" and session.capture_method != "manual"


def _grouped(number: str) -> str:
    sizes = (4, 6, 5) if len(number) == 15 else (4, 4, 4, 4)
    pieces, start = [], 0
    for size in sizes:
        pieces.append(number[start : start + size])
        start += size
    return " ".join(pieces)


def _challenge(request: Request[Any, Any, Any], book: Book, intent: Intent, leads_to: Iterable[str]) -> Page:
    last4 = book.methods[intent.method].number[-4:]
    amount = money(intent.amount, intent.currency)
    return _page(request, "challenge.html", leads_to=leads_to, amount=amount, last4=last4)


@post("/payments/checkout/{session:str}", status_code=200)
async def use_checkout(request: Request[Any, Any, Any], session: FromPath[str], sim: Sim) -> Page:
    """A button of that page: pay, apply a code, answer the bank's challenge."""
    book = sim.payments.book
    fields = await _fields(request)
    found = book.sessions.get(session)
    if found is None:
        return _gone(request)
    closed = _closed(request, found)
    if closed is not None:
        return closed
    given = Given(**{name: fields[name] for name in Given.__struct_fields__ if name in fields})
    action = fields.get("action", "pay")
    if action == "code":
        return _checkout_page(request, book, found, code_error=checkout.redeem(book, found, given.code))
    if action in {"passed", "refused"}:
        intent = book.intents.get(found.intent)
        if intent is None or intent.status != "requires_action":
            return _checkout_page(request, book, found)
        decline = checkout.authenticate(book, found, action == "passed")
    else:
        wrong = _mistakes(book, found, given)
        if wrong:
            return _checkout_page(request, book, found, given, wrong=wrong)
        method = _method(book, found, given)
        if isinstance(method, Decline):
            return _checkout_page(request, book, found, given, wrong={"number": method.message})
        decline = checkout.pay(book, found, method, email=given.email, name=given.name or None)
    if found.status == "complete":
        return _to(after(found))
    return _checkout_page(request, book, found, given, error=decline.message if decline else None)


def _mistakes(book: Book, session: Session, given: Given) -> dict[str, str]:
    wrong = {}
    if not session.customer_email and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", given.email):
        wrong["email"] = "Your email is incomplete."
    if given.method == "bank" or checkout.total(book, session) == 0:
        return wrong
    expiry = _EXPIRY.fullmatch(given.expiry.strip())
    today = datetime.fromtimestamp(book.now(), UTC)
    if expiry is None:
        wrong["expiry"] = "Your card's expiration date is incomplete."
    elif (2000 + int(expiry[2]), int(expiry[1])) < (today.year, today.month):
        wrong["expiry"] = "Your card's expiration year is in the past."
    if not _CVC.fullmatch(given.cvc.strip()):
        wrong["cvc"] = "Your card's security code is incomplete."
    return wrong


def _method(book: Book, session: Session, given: Given) -> PaymentMethod | Decline:
    if given.method == "bank" and _takes_debits(session):
        return methods.new_bank_debit(book, "fails" if given.outcome == "fails" else "succeeds")
    return methods.new_card(book, given.number)


@get("/payments/authenticate/{intent:str}")
async def show_challenge(request: Request[Any, Any, Any], intent: FromPath[str], sim: Sim) -> Page:
    """The bank's question about an intent that was confirmed through the interface."""
    found = sim.payments.book.intents.get(intent)
    if found is None or found.status != "requires_action":
        return _gone(request)
    return _challenge(request, sim.payments.book, found, (found.return_url or "",))


@post("/payments/authenticate/{intent:str}", status_code=200)
async def answer_challenge(request: Request[Any, Any, Any], intent: FromPath[str], sim: Sim) -> Page:
    """The customer's answer to it."""
    book, fields = sim.payments.book, await _fields(request)
    found = book.intents.get(intent)
    if found is None or found.status != "requires_action":
        return _gone(request)
    if fields.get("action") == "passed":
        intents.attempt(book, found, book.methods[found.method], "authenticated")
        invoices.follow(book, found)
    else:
        intents.refuse_authentication(book, found)
    if found.return_url is None:
        return _message(request, "Thank you", "You can close this page.")
    mark = "&" if "?" in found.return_url else "?"
    return _to(f"{found.return_url}{mark}payment_intent={found.id}")


@get("/payments/portal/{portal:str}")
async def show_portal(request: Request[Any, Any, Any], portal: FromPath[str], sim: Sim) -> Page:
    """The page on which a customer looks after subscriptions and cards."""
    found = sim.payments.book.portals.get(portal)
    return _gone(request) if found is None else _portal_page(request, sim.payments.book, found)


def _portal_page(request: Request[Any, Any, Any], book: Book, portal: PortalSession, error: str | None = None) -> Page:
    customer = book.customers[portal.customer]
    own = [one for one in book.subscriptions if one.customer == customer.id and one.status not in subscriptions.OVER]
    method = book.methods.get(customer.method)
    bills = [one for one in book.invoices if one.customer == customer.id and one.finalized_at is not None]
    return _page(
        request,
        "portal.html",
        status=200 if error is None else 402,
        back=portal.return_url,
        error=error,
        card=f"Card ending in {method.number[-4:]}" if method is not None else None,
        subscriptions=[_plan(book, one) for one in own],
        invoices=[
            {
                "number": one.number,
                "on": _day(one.created),
                "status": one.status,
                "amount": money(one.amount_due, one.currency),
                "url": f"{origin_of(request)}/invoices/{one.id}",
            }
            for one in bills[:INVOICES_SHOWN_MAX]
        ],
    )


def _plan(book: Book, subscription: Any) -> dict[str, Any]:
    price = book.prices[subscription.items[0].price]
    ends = subscription.cancel_at_period_end
    return {
        "id": subscription.id,
        "name": book.products[price.product].name,
        "status": subscription.status.replace("_", " "),
        "amount": money(price.unit_amount * subscription.items[0].quantity, price.currency),
        "period": _period(price),
        "note": f"{'ends' if ends else 'renews'} on {_day(subscription.period_end)}",
        "ends": ends,
    }


def _day(at: int) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment.day} {moment:%B %Y}"


@post("/payments/portal/{portal:str}", status_code=200)
async def use_portal(request: Request[Any, Any, Any], portal: FromPath[str], sim: Sim) -> Page:
    """A button of that page: cancel, keep, another card."""
    book, fields = sim.payments.book, await _fields(request)
    found = book.portals.get(portal)
    if found is None:
        return _gone(request)
    action = fields.get("action")
    try:
        if action == "card":
            set_card(book, book.customers[found.customer], fields.get("number", ""))
        elif action in {"cancel", "resume"}:
            subscription = named(book.subscriptions, fields.get("subscription", ""))
            if subscription.customer != found.customer or subscription.status in subscriptions.OVER:
                return _gone(request)
            set_ending(book, subscription, action == "cancel")
    except Refusal as refusal:
        return _portal_page(request, book, found, str(refusal))
    return _to(f"{origin_of(request)}/portal/{found.id}")


@get("/payments/receipts/{charge:str}")
async def show_receipt(request: Request[Any, Any, Any], charge: FromPath[str], sim: Sim) -> Page:
    """What was paid."""
    found = sim.payments.book.charges.get(charge)
    if found is None or not found.captured:
        return _gone(request)
    rows = [
        ("Amount paid", money(found.amount_captured, found.currency)),
        ("On", _day(found.created)),
        ("Card", f"ending in {sim.payments.book.methods[found.method].number[-4:]}"),
    ]
    return _message(request, "Receipt", found.description or "Thank you.", rows=rows)


@get("/payments/invoices/{invoice:str}")
async def show_invoice(request: Request[Any, Any, Any], invoice: FromPath[str], sim: Sim) -> Page:
    """What is owed for a subscription, or was paid."""
    found = sim.payments.book.invoices.get(invoice)
    if found is None or found.finalized_at is None:
        return _gone(request)
    rows = [(line.description, money(line.amount, found.currency)) for line in found.lines]
    if found.discount:
        rows.append(("Discount", money(-found.discount, found.currency)))
    rows.append(("Amount due", money(found.amount_due, found.currency)))
    rows.append(("Paid", money(found.amount_paid, found.currency)))
    return _message(request, f"Invoice {found.number}", f"{_day(found.created)} · {found.status}", rows=rows)


HANDLERS: Iterable[Any] = (
    style,
    show_checkout,
    use_checkout,
    show_challenge,
    answer_challenge,
    show_portal,
    use_portal,
    show_receipt,
    show_invoice,
)
