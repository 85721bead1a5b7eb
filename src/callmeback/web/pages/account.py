"""The account: name and time zone, wishes for calls, password, logging out everywhere, erasure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.params import FromQuery

from callmeback import errors
from callmeback.domain import auth, planning, preferences, zones
from callmeback.domain.preferences import Preferences
from callmeback.web import accounts, problems, session
from callmeback.web.pages import doors, frame, mailbox, refusals, surroundings
from callmeback.web.pages.forms import Form, read_form
from callmeback.web.services import Services
from callmeback.web.session import Caller

Asked = Request[Any, Any, State]

SENTENCES: Final = {
    "call_reminder_minutes": "Minutes from 0 to 1440, as a whole number.",
    "voicemail_policy": "Choose one of the two.",
    "memory": "At most 4,000 characters, please.",
}
MESSAGES: Final = {
    "kept": "Saved.",
    "mailed": "Another link is on its way to your mail.",
    "password": "Your new password is set. Every other session is logged out.",
}


@get("/account")
async def show_account(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services], done: FromQuery[str] = ""
) -> Response[Any]:
    """Profile, wishes, password, sessions, and the end of the account."""
    refused, cookies = refusals.taken(request, services, caller)

    return await _account(
        request,
        caller,
        services,
        secrets=refused.get("secrets"),
        farewell=refused.get("farewell"),
        message=MESSAGES.get(done),
        cookies=cookies,
    )


@post("/account")
async def change_profile(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Write name and zone."""
    given = await read_form(request)
    form = Form(given)
    try:
        name = auth.check_name(given.get("name"))
        zone = auth.check_timezone(given.get("timezone", "").strip())
        async with caller.transaction() as tx:
            await auth.update_profile(tx, caller.user_id, set_name=True, name=name, timezone=zone, locale=None)
            await planning.follow_person(tx, caller.user_id, zone)
    except (errors.UnknownTimezone, errors.ValidationFailed) as exc:
        form.refuse(exc, ("name", "timezone"))
        return await _account(request, caller, services, form=form, status=problems.status_of(exc))

    return frame.go("/account?done=kept")


@post("/account/preferences")
async def change_preferences(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Write the wishes."""
    wishes = Form(await read_form(request))
    values = wishes.values
    given = {
        "email_notifications": values.get("email_notifications") == "yes",
        "sms_notifications": values.get("sms_notifications") == "yes",
        "call_reminder_minutes": values.get("call_reminder_minutes", "").strip(),
        "voicemail_policy": values.get("voicemail_policy", ""),
        "memory_enabled": values.get("memory_enabled") == "yes",
        "memory": values.get("memory", "").strip() or None,
    }
    change = wishes.shape(preferences.PreferencesChange, given, SENTENCES)
    if change is None:
        return await _account(request, caller, services, wishes=wishes, status=400)
    async with caller.transaction() as tx:
        await preferences.change(tx, caller.user_id, change)

    return frame.go("/account?done=kept")


@post("/account/confirm")
async def confirm_again(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """Mail another link that confirms the address."""
    async with caller.transaction(read_only=True):
        email, verified = caller.user.email, caller.user.email_verified
    if not verified:
        await accounts.resend_verification(services, email)

    return frame.go("/account?done=mailed")


@post("/account/password")
async def change_password(
    request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]
) -> Response[Any]:
    """Set another password by the one in force; only this browser stays logged in."""
    given = await read_form(request)
    secrets, claims = Form(), None
    async with caller.transaction(read_only=True):
        user = caller.user
    try:
        claims = await accounts.change_password(
            services, session.client_address(request), user, given.get("current", ""), given.get("password", "")
        )
    except errors.InvalidCredentials:
        secrets.wrong["current"] = "This isn't your password."
    except (errors.ValidationFailed, errors.AccountLocked, errors.RateLimited) as exc:
        doors.refuse(secrets, exc, ("password",))
    if claims is None:
        return refusals.show(services, caller, "/account#password-form", "secrets", secrets)

    return frame.go("/account?done=password", session.session_cookies(services, claims))


@post("/account/logout-everywhere")
async def logout_everywhere(caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """End every session."""
    async with caller.transaction() as tx:
        await auth.end_all_sessions(tx, caller.user_id)

    return frame.go("/login?done=everywhere", session.forget_cookies(services))


@post("/account/erase")
async def erase(request: Asked, caller: NamedDependency[Caller], services: NamedDependency[Services]) -> Response[Any]:
    """Erase the account; the e-mail is typed again as a proof that this is meant."""
    farewell = Form(await read_form(request))
    try:
        async with caller.transaction() as tx:
            if farewell.values.get("confirm", "").strip().lower() != caller.user.email.lower():
                raise errors.ValidationFailed(f"Type {caller.user.email} to be sure.", field="confirm")
            await auth.erase(tx, caller.user_id, "person")
    except (errors.ValidationFailed, errors.CallInProgress) as exc:
        farewell.refuse(exc, ("confirm",))
        return refusals.show(services, caller, "/account#erase", "farewell", farewell)

    return frame.go("/login?done=erased", session.forget_cookies(services))


async def _account(
    request: Asked,
    caller: Caller,
    services: Services,
    *,
    form: Form | None = None,
    wishes: Form | None = None,
    secrets: Form | None = None,
    farewell: Form | None = None,
    message: str | None = None,
    cookies: Sequence[Cookie] = (),
    status: int = 200,
) -> Response[Any]:
    async with caller.transaction(read_only=True) as tx:
        around = await surroundings.of(tx, caller, services)
        kept = await preferences.preferences(tx, caller.user_id)
    return frame.page(
        request,
        services,
        "account.html",
        status=status,
        cookies=cookies,
        caller=caller,
        place="account",
        surroundings=around,
        form=form or Form({"name": caller.user.name or "", "timezone": caller.user.timezone}),
        wishes=wishes or Form(_wishes(kept)),
        secrets=secrets or Form(),
        password_rule=doors.PASSWORD_RULE,
        farewell=farewell or Form(),
        message=message,
        mailbox=mailbox.address(services, caller.user.email),
        zones=_zones(),
    )


@lru_cache(maxsize=1)
def _zones() -> list[str]:
    """Zones by continent and city, which is how people look for theirs; any other that exists is taken too."""
    return [
        "UTC",
        *sorted(name for name in zones.names() if "/" in name and not name.startswith("Etc/")),
    ]


def _wishes(kept: Preferences) -> dict[str, str]:
    return {
        "email_notifications": "yes" if kept.email_notifications else "",
        "sms_notifications": "yes" if kept.sms_notifications else "",
        "call_reminder_minutes": str(kept.call_reminder_minutes),
        "voicemail_policy": kept.voicemail_policy,
        "memory_enabled": "yes" if kept.memory_enabled else "",
        "memory": kept.memory or "",
    }


HANDLERS: Final = (
    show_account,
    change_profile,
    change_preferences,
    confirm_again,
    change_password,
    logout_everywhere,
    erase,
)
