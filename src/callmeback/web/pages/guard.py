"""Who uses a page, and that a form came from one of ours.

A session's forms carry its CSRF token; forms before there is a session carry a keyed digest of a random cookie, so that
nobody can log a stranger's browser into an account of their own.
"""

import hmac
import secrets
from typing import Any, Final

from litestar import Request
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency

from callmeback import errors
from callmeback.domain import tokens
from callmeback.domain.tokens import Keys
from callmeback.web import session
from callmeback.web.pages.forms import read_form
from callmeback.web.services import Services
from callmeback.web.session import CSRF_HEADER, SAFE_METHODS, SESSION_COOKIE, Caller

FORM_COOKIE: Final = "form"
FORM_COOKIE_BYTES: Final = 16
FORM_COOKIE_LENGTH_MAX: Final = 64
FORM_COOKIE_SECONDS: Final = 24 * 3_600
CSRF_FIELD: Final = "csrf"


async def page_caller(request: Request[Any, Any, State], services: NamedDependency[Services]) -> Caller:
    """The person of the cookie; raises Unauthorized, and CsrfRefused for a form that isn't from this session."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        raise errors.Unauthorized()
    claims = tokens.read(services.keys.secret, token)
    if request.method not in SAFE_METHODS:
        await _require(request, session.csrf_token(services.keys, claims))

    return Caller(claims, services.api, services.reports, by_cookie=True)


async def page_visitor(request: Request[Any, Any, State], services: NamedDependency[Services]) -> Caller | None:
    """The person of the cookie, or None; for pages that everybody may open. Checks no form."""
    token = request.cookies.get(SESSION_COOKIE)
    if not token:
        return None
    try:
        caller = Caller(tokens.read(services.keys.secret, token), services.api, services.reports, by_cookie=True)
        async with caller.transaction(read_only=True):
            return caller
    except errors.Unauthorized:
        return None


async def require_form_token(request: Request[Any, Any, State], services: Services) -> None:
    """Raise CsrfRefused unless a form without a session was shown to this very browser."""
    cookie = request.cookies.get(FORM_COOKIE, "")
    if not cookie:
        raise errors.CsrfRefused("The form was open too long, or cookies are switched off. Please send it again.")
    await _require(request, form_token(services.keys, cookie))


def form_token(keys: Keys, cookie: str) -> str:
    """What a form must carry that was shown to the browser with this cookie."""
    return keys.digest("csrf", "form", cookie[:FORM_COOKIE_LENGTH_MAX]).hex()


def form_cookie(request: Request[Any, Any, State]) -> str:
    """The browser's cookie for forms, or a new one; set it with the page."""
    kept = request.cookies.get(FORM_COOKIE, "")

    return kept[:FORM_COOKIE_LENGTH_MAX] or secrets.token_hex(FORM_COOKIE_BYTES)


def keep_form_cookie(services: Services, value: str) -> Cookie:
    """The cookie to set."""
    return Cookie(
        key=FORM_COOKIE,
        value=value,
        path="/",
        httponly=True,
        samesite="lax",
        secure=services.is_https,
        max_age=FORM_COOKIE_SECONDS,
    )


async def _require(request: Request[Any, Any, State], expected: str) -> None:
    given = request.headers.get(CSRF_HEADER) or (await read_form(request)).get(CSRF_FIELD, "")
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass")):
        raise errors.CsrfRefused("This page is from before you logged in anew. Load it again, then send the form.")
