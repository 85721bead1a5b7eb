"""Registration and login as a whole, for the API and the pages alike: limits, account, session, mails and texts."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from callmeback import errors
from callmeback.domain import attempts, auth, passwords, phones, tokens
from callmeback.domain.auth import Person, Registration, User
from callmeback.domain.tokens import Claims
from callmeback.web import letters
from callmeback.web.services import Services

ResultT = TypeVar("ResultT")


async def register(services: Services, address: str, order: Registration) -> tuple[Claims, Person]:
    """A new account and its first session; raises EmailTaken, RateLimited, ValidationFailed."""
    await attempts.require(services.api, services.keys, attempts.REGISTER_BY_ADDRESS, address)
    user_id = await auth.register(services.api, services.hasher, order)
    claims, person = await auth.begin_session(services.api, user_id, order.email, tokens.FIRST_VALID_FROM)
    await letters.send_verification(services, order.email)
    if order.phone is not None:
        number = order.phone
        services.later("text a code", send_code(services, user_id, number))

    return claims, person


async def login(services: Services, address: str, email: str, password: str) -> tuple[Claims, Person]:
    """A new session; raises InvalidCredentials, AccountLocked, RateLimited, with the same work for any e-mail."""
    proved = await _proved(
        services, address, email, lambda: auth.authenticate(services.api, services.hasher, email, password)
    )

    return await auth.begin_session(services.api, proved.user_id, email, proved.valid_from)


async def change_password(services: Services, address: str, user: User, current: str, password: str) -> Claims:
    """Set a new password and answer the one session that is left, a new one.

    Raises InvalidCredentials for a wrong `current`, ValidationFailed for the new one, and what a login does for too
    many attempts: they count together, as whoever found an open page would try passwords here instead.
    """
    passwords.check(password)
    valid_from = await _proved(
        services,
        address,
        user.email,
        lambda: auth.change_password(services.api, services.hasher, user, current, password),
    )
    claims, _ = await auth.begin_session(services.api, user.id, user.email, valid_from)

    return claims


async def _proved(services: Services, address: str, email: str, proof: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """What `proof` answers, within the limits of wrong passwords."""
    by_address, by_account = (attempts.LOGIN_BY_ADDRESS, address), (attempts.LOGIN_BY_ACCOUNT, email)
    await attempts.require_room(services.readonly, services.keys, *by_address)
    async with services.turns.of(attempts.bucket(services.keys, *by_account)):
        await attempts.require_room(services.readonly, services.keys, *by_account, errors.AccountLocked)
        try:
            found = await proof()
        except errors.InvalidCredentials:
            for limit, whom in (by_address, by_account):
                await attempts.count(services.api, services.keys, limit, whom)
            raise
        await attempts.forget(services.api, services.keys, *by_account)

    return found


async def forgot(services: Services, address: str, email: str) -> None:
    """Mail a reset link to whom it may concern; raises RateLimited."""
    await attempts.require(services.api, services.keys, attempts.MAIL_BY_ADDRESS, address)
    # Past the limit of one address the answer is still the same: only no more mail goes out.
    if await attempts.count(services.api, services.keys, attempts.MAIL_BY_ACCOUNT, email) == 0:
        await letters.send_reset(services, email)
    else:
        await letters.send_nothing()


async def reset(services: Services, address: str, token: str, password: str) -> None:
    """Set a new password by a mailed token; raises InvalidToken, RateLimited.

    It ends a lockout too: who forgot a password has tried it often, and anybody can lock an address that is known.
    """
    await attempts.require(services.api, services.keys, attempts.LINK_BY_ADDRESS, address)
    email = await auth.reset_password(services.api, services.hasher, token, password)
    if email is not None:
        await attempts.forget(services.api, services.keys, attempts.LOGIN_BY_ACCOUNT, email)


async def verify_email(services: Services, address: str, token: str) -> None:
    """Confirm an address by a mailed token; raises InvalidToken, RateLimited."""
    await attempts.require(services.api, services.keys, attempts.LINK_BY_ADDRESS, address)
    async with services.api.transaction() as tx:
        await auth.verify_email(tx, token)


async def send_code(services: Services, user_id: str, number: str) -> None:
    """Text a code to a number; raises PhoneTaken, NumberBlocked, RateLimited, VendorFailed."""
    await attempts.require(services.api, services.keys, attempts.CODE_BY_ACCOUNT, user_id)
    await attempts.require(services.api, services.keys, attempts.CODE_BY_NUMBER, number)
    async with services.api.transaction(user_id) as tx:
        code = await phones.request_code(tx, services.keys, user_id, number)
    # Outside of the transaction: a text that isn't sent leaves a code that nobody knows.
    await services.carrier.send_text(number, phones.text_of(code))


async def resend_verification(services: Services, email: str) -> None:
    """Mail another verification link; raises RateLimited."""
    await attempts.require(services.api, services.keys, attempts.MAIL_BY_ACCOUNT, email)
    await letters.send_verification(services, email)
