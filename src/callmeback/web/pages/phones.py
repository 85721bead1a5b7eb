"""The page of numbers, and the two steps by which a number is verified."""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors
from callmeback.domain import phones
from callmeback.domain.phones import Phone
from callmeback.web import accounts, problems
from callmeback.web.pages import frame, home, surroundings
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]


@get("/phones")
async def show_phones(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], number: FromQuery[str] = ""
) -> Response[Any]:
    """All numbers; `number=another` shows the form for a new one even while a code is awaited."""
    return await _phones(request, caller, services, Form(), wants_another=bool(number))


@post("/phones")
async def add_phone(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Text a code to a number."""
    given = await read_form(request)
    form = Form(given)
    back = frame.own_path(given.get("back", "/phones"))
    try:
        async with caller.transaction(read_only=True):
            pass
        number = phones.normalise(given.get("number", ""), services.settings.allowed_regions)
        await accounts.send_code(services, caller.user_id, number)
    except errors.CallMeBackError as exc:
        if isinstance(exc, errors.Unauthorized):
            raise
        sentence = exc.detail
        if isinstance(exc, errors.PhoneTaken) and services.settings.simulated("carrier"):
            # It was proposed by the form, which can't see whose it is: the next one may be free.
            sentence = f"{sentence} Here is another."
            form.values.pop("number", None)
        form.refuse(errors.CallMeBackError(sentence, field="number"), ("number",))
        return await _again(request, caller, services, form, back, problems.status_of(exc))

    return frame.go(back)


@post("/phones/verify")
async def verify_phone(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Try the code."""
    given = await read_form(request)
    form = Form(given)
    back = frame.own_path(given.get("back", "/phones"))
    code = "".join(given.get("code", "").split())
    try:
        if not code.isascii() or not code.isdigit() or len(code) != phones.CODE_DIGITS:
            raise errors.ValidationFailed(f"The code is {phones.CODE_DIGITS} digits.", field="code")
        number = phones.normalise(given.get("number", ""), services.settings.allowed_regions)
        async with caller.transaction() as tx:
            verdict = await phones.verify(tx, services.keys, caller.user_id, number, code)
        phones.require_verified(verdict)
    except errors.CallMeBackError as exc:
        if isinstance(exc, errors.Unauthorized):
            raise
        form.refuse(errors.CallMeBackError(exc.detail, field="code"), ("code",))
        return await _again(request, caller, services, form, back, problems.status_of(exc))

    return frame.go(f"{back}?done=phone" if back == "/" else back)


@post("/phones/remove")
async def remove_phone(request: Asked, caller: NamedDependency[Caller]) -> Response[Any]:
    """Take a number away."""
    given = await read_form(request)
    async with caller.transaction() as tx:
        await phones.remove(tx, caller.user_id, given.get("number", ""))

    return frame.go("/phones")


async def _again(
    request: Asked, caller: Caller, services: Services, form: Form, back: str, status: int
) -> Response[Any]:
    if back == "/":
        return await home.show(request, caller, services, form, status=status)

    return await _phones(request, caller, services, form, status=status)


async def _phones(
    request: Asked,
    caller: Caller,
    services: Services,
    form: Form,
    *,
    status: int = 200,
    wants_another: bool = False,
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
    numbers: list[Phone] = around["numbers"]

    return frame.page(
        request,
        services,
        "phones.html",
        status=status,
        caller=caller,
        place="phones",
        surroundings=around,
        form=home.with_suggestion(form, services, numbers),
        pending=None if wants_another or form.wrong.get("number") else home.pending_number(numbers),
        back="/phones",
    )


HANDLERS: Final = (show_phones, add_phone, verify_phone, remove_phone)
