"""The doors: sign up, log in, log out, a forgotten password, a link from a mail."""

from collections.abc import Callable
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors
from callmeback.domain import auth, passwords
from callmeback.domain.auth import Registration
from callmeback.domain.tokens import Claims
from callmeback.web import accounts, letters, problems, session
from callmeback.web.pages import frame, guard, mailbox
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

SIGNED: Final = ("email", "password", "name")
PASSWORD_RULE: Final = f"At least {passwords.LENGTH_MIN} characters. A short sentence is easy to keep in mind."
TOKEN_LENGTH_MAX: Final = 500

Asked = Request[Any, Any, State]


@get("/signup")
async def show_signup(
    request: Asked, services: NamedDependency[Services], visitor: NamedDependency[Caller | None]
) -> Response[Any]:
    """The form; who is logged in has no use for it."""
    return frame.go("/") if visitor else _signup(request, services, Form())


@post("/signup")
async def signup(request: Asked, services: NamedDependency[Services]) -> Response[Any]:
    """Make an account and go on to the first number."""
    given = await read_form(request)
    form = Form(given)
    try:
        await guard.require_form_token(request, services)
        order = _registration(given, form)
        if order is None:
            return _signup(request, services, form, problems.status_of(errors.ValidationFailed()))
        claims, _ = await accounts.register(services, session.client_address(request), order)
    except errors.EmailTaken as exc:
        form.wrong["email"] = f"{exc.detail} Log in instead, or ask for a new password."
        return _signup(request, services, form, problems.status_of(exc))
    except errors.CallMeBackError as exc:
        _refuse(form, exc, SIGNED)
        return _signup(request, services, form, problems.status_of(exc))

    return _enter(services, claims, "/")


def _registration(given: dict[str, str], form: Form) -> Registration | None:
    """What was typed, or None with a sentence beside every field that is wrong: nobody is sent back twice."""
    checks: dict[str, Callable[[str], str | None]] = {
        "email": auth.check_email, "password": passwords.check, "name": auth.check_name,
    }  # fmt: skip
    found: dict[str, Any] = {}
    for field, check in checks.items():
        try:
            found[field] = check(given.get(field, ""))
        except errors.CallMeBackError as exc:
            form.refuse(exc, SIGNED)
    if not form.is_good:
        return None

    return Registration(phone=None, timezone=_zone(given.get("timezone", "")), **found)


@get("/login")
async def show_login(
    request: Asked,
    services: NamedDependency[Services],
    visitor: NamedDependency[Caller | None],
    next: FromQuery[str] = "/",
    done: FromQuery[str] = "",
) -> Response[Any]:
    """The form; `next` is where the person wanted to go."""
    if visitor:
        return frame.go(frame.own_path(next))

    return _login(request, services, Form({"next": frame.own_path(next)}), message=_MESSAGES.get(done))


@post("/login")
async def login(request: Asked, services: NamedDependency[Services]) -> Response[Any]:
    """Begin a session."""
    given = await read_form(request)
    form = Form(given)
    email, password = given.get("email", "").strip(), given.get("password", "")
    if not email:
        form.wrong["email"] = "Write your e-mail."
    if not password:
        form.wrong |= {"password": "Write your password."}
    if not form.is_good:
        return _login(request, services, form, status=400)
    try:
        await guard.require_form_token(request, services)
        claims, _ = await accounts.login(services, session.client_address(request), email, password)
    except errors.CallMeBackError as exc:
        _refuse(form, exc, ("email", "password"))
        return _login(request, services, form, status=problems.status_of(exc))

    return _enter(services, claims, frame.own_path(given.get("next", "/")))


@post("/logout")
async def logout(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """End this session."""
    async with caller.transaction() as tx:
        await auth.end_session(tx, caller.claims)

    return frame.go("/login?done=out", session.forget_cookies(services))


@get("/forgot-password")
async def show_forgot(request: Asked, services: NamedDependency[Services]) -> Response[Any]:
    """Ask for the address."""
    return _forgot(request, services, Form())


@post("/forgot-password")
async def forgot(request: Asked, services: NamedDependency[Services]) -> Response[Any]:
    """Send a link, if the address has an account; the answer is the same if it hasn't."""
    given = await read_form(request)
    form = Form(given)
    try:
        await guard.require_form_token(request, services)
        form.values["email"] = auth.check_email(given.get("email", ""))
        await accounts.forgot(services, session.client_address(request), form.values["email"])
    except errors.CallMeBackError as exc:
        _refuse(form, exc, ("email",))
        return _forgot(request, services, form, problems.status_of(exc))

    return _forgot(request, services, form, sent=True)


@get(letters.RESET_PATH)
async def show_reset(request: Asked, services: NamedDependency[Services], token: FromQuery[str] = "") -> Response[Any]:
    """The form behind a mailed link."""
    return _reset(request, services, Form({"token": token[:TOKEN_LENGTH_MAX]}))


@post(letters.RESET_PATH)
async def reset(request: Asked, services: NamedDependency[Services]) -> Response[Any]:
    """Set the new password; every session ends."""
    given = await read_form(request)
    form = Form(given)
    try:
        await guard.require_form_token(request, services)
        await accounts.reset(
            services, session.client_address(request), given.get("token", ""), given.get("password", "")
        )
    except errors.CallMeBackError as exc:
        _refuse(form, exc, ("password",))
        return _reset(request, services, form, problems.status_of(exc))

    return frame.go("/login?done=reset", session.forget_cookies(services))


@get(letters.VERIFY_PATH)
async def verify_email(
    request: Asked, services: NamedDependency[Services], token: FromQuery[str] = ""
) -> Response[Any]:
    """A link from a mail was opened."""
    try:
        await accounts.verify_email(services, session.client_address(request), token[:TOKEN_LENGTH_MAX])
    except errors.InvalidToken as exc:
        return frame.word(
            request,
            services,
            problems.status_of(exc),
            heading="This link is used up",
            sentence="It was opened before, or it is too old. Your account's page sends you another.",
            way=("/account", "To my account"),
        )

    return frame.word(
        request,
        services,
        200,
        heading="Thank you",
        sentence="Your e-mail address is confirmed.",
        way=("/", "To the personas"),
    )


_MESSAGES: Final = {
    "out": "You are logged out.",
    "everywhere": "You are logged out everywhere.",
    "reset": "Your new password is set. Log in with it.",
    "erased": "Your account is erased. Take care.",
}


def _refuse(form: Form, error: errors.CallMeBackError, fields: tuple[str, ...]) -> None:
    wait = error.extra.get("retry_after")
    form.refuse(error, fields)
    if form.trouble and isinstance(wait, int):
        form.trouble = f"{form.trouble} Wait {max(1, -(-wait // 60))} min."


def _zone(name: str) -> str:
    """The browser's zone; the person can correct it later, so a strange one isn't worth a refusal."""
    try:
        return auth.check_timezone(name)
    except errors.ValidationFailed:
        return "UTC"


def _enter(services: Services, claims: Claims, path: str) -> Response[Any]:
    return frame.go(path, session.session_cookies(services, claims))


def _signup(request: Asked, services: Services, form: Form, status: int = 200) -> Response[Any]:
    return frame.page(
        request, services, "signup.html", status=status, place="signup", form=form, password_rule=PASSWORD_RULE
    )


def _login(
    request: Asked, services: Services, form: Form, *, status: int = 200, message: str | None = None
) -> Response[Any]:
    return frame.page(request, services, "login.html", status=status, place="login", form=form, message=message)


def _forgot(request: Asked, services: Services, form: Form, status: int = 200, *, sent: bool = False) -> Response[Any]:
    address = mailbox.address(services, form.values["email"]) if sent else None

    return frame.page(request, services, "forgot.html", status=status, form=form, sent=sent, mailbox=address)


def _reset(request: Asked, services: Services, form: Form, status: int = 200) -> Response[Any]:
    return frame.page(request, services, "reset.html", status=status, form=form, password_rule=PASSWORD_RULE)


HANDLERS: Final = (
    show_signup, signup, show_login, login, logout, show_forgot, forgot, show_reset, reset, verify_email,
)  # fmt: skip
