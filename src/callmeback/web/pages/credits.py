"""Credits: what there is, what can be bought, every movement; and the way back from a payment.

Whoever comes back from the provider's page is believed nothing: what was paid is what the provider's events have
written into our own rows.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors
from callmeback.domain import credits, payments
from callmeback.domain.credits import Account
from callmeback.domain.payments import CheckoutOutcome, Pack, PackOrder
from callmeback.payments import checkout
from callmeback.payments.checkout import Desk
from callmeback.payments.checkout import Page as Payment
from callmeback.web.pages import frame, refusals, surroundings, till
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

ROWS_A_PAGE: Final = 50
# How often a page that waits for the provider's word looks again, every two seconds, before it says that it takes long.
LOOKS_MAX: Final = 30
SESSION_LENGTH_MAX: Final = 255
SENTENCES: Final = {"coupon": "A code has at most 32 letters and digits.", "sku": "Choose one of these."}


class Offer(msgspec.Struct, frozen=True):
    """A pack, and what a minute of it costs."""

    pack: Pack
    cents_a_minute: Decimal


@get("/credits")
async def show_credits(
    request: Asked,
    caller: NamedDependency[Caller],
    services: NamedDependency[Services],
    before: FromQuery[int | None] = None,
    paid: FromQuery[str] = "",
    canceled: FromQuery[str] = "",
    look: FromQuery[int] = 0,
) -> Response[Any]:
    """The account and a page of the ledger, from below a number on; or the wait for a payment."""
    if not paid:
        note = "You left the payment page. Nothing was charged there." if canceled else None
        refused, cookies = refusals.taken(request, services, caller)
        form = refused.get("packs")
        return await _credits(request, caller, services, form=form, before=before, note=note, cookies=cookies)
    async with caller.transaction(read_only=True) as tx:
        outcome = await payments.checkout_outcome(tx, caller.user_id, paid[:SESSION_LENGTH_MAX])
    if outcome is not None and outcome.status == "pending":
        return await _wait(request, caller, services, paid, max(0, look))

    return await _credits(request, caller, services, outcome=outcome, is_back=True)


@post("/credits/checkout")
async def buy(request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """Begin to buy a pack, and go to the page on which it is paid."""
    form = Form(await read_form(request))
    given = {"sku": form.values.get("sku", ""), "coupon": form.values.get("coupon", "").strip() or None}
    order = form.shape(PackOrder, given, SENTENCES)
    payment = None if order is None else await _begun(till.desk(request, services, caller), order, form)
    if payment is None:
        return refusals.show(services, caller, "/credits", "packs", form, kept=("coupon",))

    return till.go_and_pay(request, services, payment)


async def _begun(desk: Desk, order: PackOrder, form: Form) -> Payment | None:
    """Where it is paid, or None with the refusal in the form."""
    try:
        return await checkout.buy_pack(desk, order)
    except errors.CouponInvalid:
        form.wrong["coupon"] = "This code can't be used: it isn't known, is used up, has expired, or isn't for this."
    except errors.NotFound:
        form.trouble = "This pack is no longer for sale."
    except errors.PaymentsFailed as exc:
        form.trouble = till.sentence_of(exc)

    return None


async def _wait(request: Asked, caller: Caller, services: Services, session: str, look: int) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)

    return frame.page(
        request,
        services,
        "payment_wait.html",
        caller=caller,
        place="credits",
        surroundings=around,
        session=session,
        next_look=look + 1 if look < LOOKS_MAX else None,
    )


async def _credits(
    request: Asked,
    caller: Caller,
    services: Services,
    *,
    form: Form | None = None,
    before: int | None = None,
    note: str | None = None,
    outcome: CheckoutOutcome | None = None,
    is_back: bool = False,
    cookies: Sequence[Cookie] = (),
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        packs = await payments.packs(tx)
        rows = await credits.transactions(tx, caller.user_id, before, ROWS_A_PAGE + 1)
    account: Account = around["account"]

    return frame.page(
        request,
        services,
        "credits.html",
        cookies=cookies,
        caller=caller,
        place="credits",
        surroundings=around,
        leads_to=till.leads_to(services),
        credits=account,
        offers=[Offer(pack, pack.price_cents / pack.credits) for pack in packs],
        form=form or Form(),
        note=note,
        outcome=outcome,
        is_back=is_back,
        rows=rows[:ROWS_A_PAGE],
        next=rows[ROWS_A_PAGE - 1].seq if len(rows) > ROWS_A_PAGE else None,
    )


HANDLERS: Final = (show_credits, buy)
