"""The frame around every page: the templates, the headers that browsers obey, redirects, errors as pages."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jinja2
from litestar import Request, Response
from litestar.datastructures import Cookie, State
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.response import Redirect

from callmeback import errors, logs
from callmeback.domain import tokens
from callmeback.domain.auth import User
from callmeback.settings import VENDORS
from callmeback.web import problems, session
from callmeback.web.pages import assets, guard, rule_words, words
from callmeback.web.services import Services
from callmeback.web.session import Caller

_log = logs.get_logger(__name__)

NEXT_LENGTH_MAX: Final = 500

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), payment=()",
    # Pages are private and change with every call: neither a proxy nor the browser keeps them.
    "Cache-Control": "no-store",
    "Vary": "HX-Request",
}

_templates: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("callmeback", "ui/templates"),
    autoescape=True,
    auto_reload=False,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["asset"] = assets.url
_templates.filters.update(words.FILTERS | rule_words.FILTERS)


def page(
    request: Request[Any, Any, State],
    services: Services,
    template: str,
    *,
    status: int = 200,
    caller: Caller | None = None,
    place: str = "",
    surroundings: dict[str, Any] | None = None,
    cookies: Sequence[Cookie] = (),
    leads_to: Sequence[str] = (),
    **given: Any,
) -> Response[str]:
    """A page; `surroundings` is what `surroundings.of` gathered for a person who is logged in.

    `leads_to`: origins besides our own where a form of it may end. Browsers hold redirects to this too.
    """
    csrf = None if caller is None else session.csrf_token(services.keys, caller.claims)
    kept = list(cookies)
    form_token = None
    if caller is None:
        browser = guard.form_cookie(request)
        form_token = guard.form_token(services.keys, browser)
        kept.append(guard.keep_form_cookie(services, browser))
    user: User | None = None if caller is None else caller.user
    frame = {
        "user": user,
        "is_known": user is not None,
        "zone": user.timezone if user else "UTC",
        "csrf": csrf,
        "form_token": form_token,
        "place": place,
        "is_admin": user is not None and user.is_admin,
        "purse": None,
        "handset": None,
        "simulated": [vendor for vendor in VENDORS if services.settings.simulated(vendor)],
    }
    html = _templates.get_template(template).render(frame | (surroundings or {}) | given)
    headers = dict(HEADERS)
    if leads_to:
        own = "form-action 'self'"
        headers["Content-Security-Policy"] = POLICY.replace(own, " ".join((own, *leads_to)))
    if status >= 400:
        # The address in the browser stays that of the page with the form.
        headers["HX-Push-Url"] = "false"

    return Response(html, status_code=status, media_type="text/html", headers=headers, cookies=kept)


def go(path: str, cookies: Sequence[Cookie] = ()) -> Redirect:
    """See another page next (303, so that a reload sends nothing twice)."""
    return Redirect(path, status_code=303, headers={"Cache-Control": "no-store"}, cookies=list(cookies))


def own_path(path: str) -> str:
    """A path of this site to go to, or the first page: never another host."""
    if len(path) > NEXT_LENGTH_MAX or not path.startswith("/") or path.startswith(("//", "/\\")):
        return "/"

    return path if path.isprintable() else "/"


def services_of(request: Request[Any, Any, State]) -> Services:
    """The services, where a handler of errors needs them."""
    services = request.app.state.services
    assert isinstance(services, Services)

    return services


def _asked_from(request: Request[Any, Any, State]) -> str:
    """The page to come back to: the one asked for, or the one whose form was sent; browsers name it."""
    if request.method == "GET":
        return request.url.path
    try:
        page = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return "/"

    return own_path(page.path) if page.netloc == request.url.netloc else "/"


def domain_error(request: Request[Any, Any, State], error: errors.CallMeBackError) -> Response[Any]:
    """An error as a page; who isn't logged in is asked to, and comes back."""
    if isinstance(error, errors.Unauthorized):
        services = services_of(request)
        back = _asked_from(request)
        if request.headers.get("HX-Request"):
            # A swap would put the door into the frame of somebody who is gone.
            headers = {"HX-Redirect": f"/login?{urlencode({'next': back})}", "Cache-Control": "no-store"}
            return Response("", status_code=401, headers=headers, cookies=session.forget_cookies(services))
        return go(f"/login?{urlencode({'next': back})}", session.forget_cookies(services))
    status = problems.status_of(error)
    if status >= 500:
        _log.warning("page_failed", code=error.code, route=request.scope.get("path_template", ""), exc_info=error)

    return _word(request, status, error.detail)


def framework_error(request: Request[Any, Any, State], error: HTTPException) -> Response[Any]:
    """Litestar's errors as a page."""
    kind = problems.FRAMEWORK.get(error.status_code)
    if kind is None:
        return unforeseen(request, error)

    return domain_error(request, kind())


def nowhere(request: Request[Any, Any, State], error: NotFoundException) -> Response[Any]:
    """An address that nothing answers: a browser gets a page, a program the API's own answer."""
    if "text/html" not in request.headers.get("accept", ""):
        return problems.framework_error(request, error)

    return _word(request, 404, "There is no such page. It may have moved, or the address has a slip in it.")


def unseen(request: Request[Any, Any, State], error: MethodNotAllowedException) -> Response[Any]:
    """An address that only takes forms: a browser that comes back to it begins anew, a program is told."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return problems.framework_error(request, error)

    return go("/")


def unforeseen(request: Request[Any, Any, State], error: Exception) -> Response[Any]:
    """Everything else: logged in full, told in one sentence."""
    _log.error("page_crashed", route=request.scope.get("path_template", ""), exc_info=error)

    return _word(request, 500, errors.CallMeBackError().detail)


def word(
    request: Request[Any, Any, State],
    services: Services,
    status: int,
    *,
    heading: str,
    sentence: str,
    way: tuple[str, str] = ("/", "To the first page"),
) -> Response[str]:
    """A page that says one thing. It asks the database for nothing, so that it can say that the database is away."""
    return page(
        request,
        services,
        "word.html",
        status=status,
        heading=heading,
        sentence=sentence,
        bad=status >= 400,
        way=way[0],
        way_name=way[1],
        is_known=_is_known(request, services),
    )


def _is_known(request: Request[Any, Any, State], services: Services) -> bool:
    try:
        tokens.read(services.keys.secret, request.cookies.get(session.SESSION_COOKIE, ""))
    except errors.Unauthorized:
        return False

    return True


_HEADINGS: Final = {
    403: "That isn't allowed",
    404: "Nobody lives here",
    413: "That is too much",
    429: "Slowly, please",
    503: "One moment",
    504: "That took too long",
}


def _word(request: Request[Any, Any, State], status: int, sentence: str) -> Response[Any]:
    heading = _HEADINGS.get(status, "That didn't work")

    return word(request, services_of(request), status, heading=heading, sentence=sentence)
