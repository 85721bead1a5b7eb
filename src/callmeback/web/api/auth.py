"""Routes of the account: register, login, logout, the profile, links by mail."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from callmeback.domain import auth, phones, planning, tokens
from callmeback.domain.auth import Registration, User
from callmeback.web import accounts
from callmeback.web.problems import documented
from callmeback.web.services import Services
from callmeback.web.session import Caller, client_address, forget_cookies

Email = Annotated[str, Meta(min_length=3, max_length=320)]
Password = Annotated[str, Meta(min_length=1, max_length=1_000)]
Token = Annotated[str, Meta(min_length=1, max_length=500)]
Name = Annotated[str, Meta(max_length=200)]
Zone = Annotated[str, Meta(min_length=1, max_length=64)]
Number = Annotated[str, Meta(min_length=1, max_length=40)]

TAG = ["account"]


class RegisterBody(msgspec.Struct, frozen=True):
    """E-mail and password; the rest may follow later."""

    email: Email
    password: Password
    name: Name | None = None
    phone: Number | None = None
    timezone: Zone | None = None


class LoginBody(msgspec.Struct, frozen=True):
    email: Email
    password: Password


class ForgotBody(msgspec.Struct, frozen=True):
    email: Email


class ResetBody(msgspec.Struct, frozen=True):
    token: Token
    password: Password


class VerifyBody(msgspec.Struct, frozen=True):
    token: Token


class ProfileBody(msgspec.Struct, frozen=True):
    """Only what is given is changed."""

    name: Name | UnsetType | None = UNSET
    timezone: Zone | UnsetType = UNSET
    locale: Annotated[str, Meta(min_length=2, max_length=35)] | UnsetType = UNSET


class Entry(msgspec.Struct, frozen=True):
    """A new session: the token goes into the header `Authorization: Bearer …`."""

    token: str
    user: User


@post("/api/auth/register", tags=TAG, responses=documented(409), security=[{}])
async def register(
    request: Request[Any, Any, State], services: NamedDependency[Services], data: JSONBody[RegisterBody]
) -> Entry:
    """Make an account. It is on the free plan, and can be called as soon as a number is verified."""
    regions = services.settings.allowed_regions
    order = Registration(
        email=auth.check_email(data.email),
        password=data.password,
        name=auth.check_name(data.name),
        phone=None if data.phone is None else phones.normalise(data.phone, regions, field="phone"),
        timezone="UTC" if data.timezone is None else auth.check_timezone(data.timezone),
    )
    claims, person = await accounts.register(services, client_address(request), order)

    return Entry(tokens.sign(services.keys.secret, claims), auth.user_of(claims, person))


@post("/api/auth/login", status_code=200, tags=TAG, responses=documented(401), security=[{}])
async def login(
    request: Request[Any, Any, State], services: NamedDependency[Services], data: JSONBody[LoginBody]
) -> Entry:
    """Begin a session of seven days."""
    claims, person = await accounts.login(services, client_address(request), data.email.strip(), data.password)

    return Entry(tokens.sign(services.keys.secret, claims), auth.user_of(claims, person))


@post("/api/auth/logout", status_code=204, tags=TAG, responses=documented(401, 403))
async def logout(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[None]:
    """End this session."""
    async with caller.transaction() as tx:
        await auth.end_session(tx, caller.claims)

    return Response(None, status_code=204, cookies=forget_cookies(services) if caller.by_cookie else None)


@post("/api/auth/logout-everywhere", status_code=204, tags=TAG, responses=documented(401, 403))
async def logout_everywhere(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[None]:
    """End every session of this person."""
    async with caller.transaction() as tx:
        await auth.end_all_sessions(tx, caller.user_id)

    return Response(None, status_code=204, cookies=forget_cookies(services) if caller.by_cookie else None)


@get("/api/auth/me", tags=TAG, responses=documented(401))
async def show_me(caller: NamedDependency[Caller]) -> User:
    """Your profile."""
    async with caller.transaction(read_only=True):
        return caller.user


@patch("/api/auth/me", tags=TAG, responses=documented(401, 403))
async def change_me(caller: NamedDependency[Caller], data: JSONBody[ProfileBody]) -> User:
    """Change name, zone or locale. The zone decides which day and month the next call belongs to.

    Schedules without a zone of their own follow.
    """
    name = None if data.name is UNSET else auth.check_name(data.name)
    timezone = None if data.timezone is UNSET else auth.check_timezone(data.timezone)
    locale = None if data.locale is UNSET else auth.check_locale(data.locale)
    async with caller.transaction() as tx:
        await auth.update_profile(
            tx, caller.user_id, set_name=data.name is not UNSET, name=name, timezone=timezone, locale=locale
        )
        if timezone is not None:
            await planning.follow_person(tx, caller.user_id, timezone)
        caller.person = await auth.check_session(tx, caller.claims)

    return caller.user


@delete("/api/auth/me", status_code=204, tags=TAG, responses=documented(401, 403))
async def erase_me(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[None]:
    """Erase your account for good; refused while a call is open. The ledger stays, without the person."""
    async with caller.transaction() as tx:
        await auth.erase(tx, caller.user_id, "person")

    return Response(None, status_code=204, cookies=forget_cookies(services) if caller.by_cookie else None)


@post("/api/auth/password/forgot", status_code=204, tags=TAG, responses=documented(), security=[{}])
async def forgot_password(
    request: Request[Any, Any, State], services: NamedDependency[Services], data: JSONBody[ForgotBody]
) -> None:
    """Ask for a mail with a link; the answer is the same for every address."""
    await accounts.forgot(services, client_address(request), auth.check_email(data.email))


@post("/api/auth/password/reset", status_code=204, tags=TAG, responses=documented(), security=[{}])
async def reset_password(
    request: Request[Any, Any, State], services: NamedDependency[Services], data: JSONBody[ResetBody]
) -> None:
    """Set a new password by a mailed token; every session of the person ends."""
    await accounts.reset(services, client_address(request), data.token, data.password)


@post("/api/auth/email/verify", status_code=204, tags=TAG, responses=documented(), security=[{}])
async def verify_email(
    request: Request[Any, Any, State], services: NamedDependency[Services], data: JSONBody[VerifyBody]
) -> None:
    """Confirm an e-mail address by a mailed token."""
    await accounts.verify_email(services, client_address(request), data.token)


@post("/api/auth/email/resend", status_code=204, tags=TAG, responses=documented(401, 403))
async def resend_verification(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> None:
    """Mail another verification link to your address."""
    async with caller.transaction(read_only=True):
        email, verified = caller.user.email, caller.user.email_verified
    if not verified:
        await accounts.resend_verification(services, email)


HANDLERS = (
    register, login, logout, logout_everywhere, show_me, change_me, erase_me, forgot_password, reset_password,
    verify_email, resend_verification,
)  # fmt: skip
