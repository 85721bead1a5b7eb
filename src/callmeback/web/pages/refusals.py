"""What a form was refused for, kept in a cookie while the browser fetches its page anew.

A page that answers a form itself lies in the browser's history as that answer, which isn't kept: going back there ends
at an error of the browser's. It is for forms that aren't sent by htmx.
"""

import base64
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import Cookie, State
from litestar.response import Redirect

from callmeback.web.pages import frame
from callmeback.web.pages.forms import Form
from callmeback.web.services import Services
from callmeback.web.session import Caller

COOKIE: Final = "refused"
SECONDS: Final = 60
LENGTH_MAX: Final = 3_000
VALUE_LENGTH_MAX: Final = 100


class Refusal(msgspec.Struct, frozen=True):
    """The name of a form, sentences by field, the one over all, and of what was typed the little that is kept."""

    name: str
    wrong: dict[str, str]
    trouble: str | None
    values: dict[str, str] = {}


def show(services: Services, caller: Caller, path: str, name: str, form: Form, kept: Iterable[str] = ()) -> Redirect:
    """Go to the page of a form, where `taken` has its sentences, and what was typed in the fields that are `kept`."""
    values = {field: form.values[field][:VALUE_LENGTH_MAX] for field in kept if field in form.values}
    refusal = Refusal(name, form.wrong, form.trouble, values)
    text = base64.urlsafe_b64encode(msgspec.json.encode(refusal)).decode()
    value = f"{text}.{_seal(services, caller, text)}"

    return frame.go(path, [_cookie(services, value, SECONDS)])


def taken(
    request: Request[Any, Any, State], services: Services, caller: Caller
) -> tuple[Mapping[str, Form], list[Cookie]]:
    """The form that was just refused to this session, by its name, and the cookie that forgets it."""
    value = request.cookies.get(COOKIE, "")
    text, _, seal = value[:LENGTH_MAX].partition(".")
    if not hmac.compare_digest(seal.encode(), _seal(services, caller, text).encode()):
        return {}, []
    found = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Refusal)
    form = Form(found.values)
    form.wrong, form.trouble = found.wrong, found.trouble

    return {found.name: form}, [_cookie(services, "", 0)]


def _seal(services: Services, caller: Caller, text: str) -> str:
    return services.keys.digest("refusal", caller.claims.jti, text).hex()


def _cookie(services: Services, value: str, seconds: int) -> Cookie:
    return Cookie(
        key=COOKIE, value=value, path="/", httponly=True, samesite="lax", secure=services.is_https, max_age=seconds
    )
