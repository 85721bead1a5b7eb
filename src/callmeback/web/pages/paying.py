"""How a person pays: the saved card, which the payment provider keeps, and calls that are paid one by one."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors
from callmeback.domain import authorizations, preferences
from callmeback.domain.preferences import PreferencesChange
from callmeback.payments import checkout
from callmeback.web.pages import frame, refusals, surroundings, till
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]


@get("/paying")
async def show_paying(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], done: FromQuery[str] = ""
) -> Response[Any]:
    """The choice to pay call by call, and the way to the saved cards."""
    refused, cookies = refusals.taken(request, services, caller)
    form, message = refused.get("paying") or Form(), "Saved." if done == "kept" else None

    return await _paying(request, caller, services, form, message=message, cookies=cookies)


@post("/paying")
async def change_paying(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Write the wish."""
    given = await read_form(request)
    async with caller.transaction() as tx:
        wish = PreferencesChange(pay_as_you_go=given.get("pay_as_you_go") == "yes")
        await preferences.change(tx, caller.user_id, wish)

    return frame.go("/paying?done=kept")


@post("/paying/portal")
async def open_portal(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """To the provider's page for cards and invoices."""
    try:
        payment = await checkout.portal(till.desk(request, services, caller))
    except errors.PaymentsFailed as exc:
        form = Form()
        form.trouble = till.sentence_of(exc)
        return refusals.show(services, caller, "/paying", "paying", form)

    return till.go_and_pay(request, services, payment)


async def _paying(
    request: Asked, caller: Caller, services: Services, form: Form, *, message: str | None, cookies: Sequence[Cookie]
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        kept = await preferences.preferences(tx, caller.user_id)
        price: Decimal | None = await authorizations.cents_a_minute(tx, caller.user_id)

    return frame.page(
        request,
        services,
        "paying.html",
        cookies=cookies,
        caller=caller,
        place="credits",
        surroundings=around,
        leads_to=till.leads_to(services),
        form=form,
        message=message,
        pays_by_call=kept.pay_as_you_go,
        cents_a_minute=price,
    )


HANDLERS: Final = (show_paying, change_paying, open_portal)
