"""Accounts: registration, login, sessions, links by mail, the profile and its erasure.

Passwords are in `passwords.py`, tokens in `tokens.py`, limits of attempts in `attempts.py`, numbers in `phones.py`.
"""

import re
import unicodedata
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from callmeback import errors, ids
from callmeback.domain import passwords, tokens, zones
from callmeback.domain.passwords import Hasher
from callmeback.domain.tokens import Claims
from callmeback.pg import statements
from callmeback.pg.pool import Database, Session

SQL: Final = statements.load("callmeback.domain", "auth.sql")

EMAIL_LENGTH_MAX: Final = 254
NAME_LENGTH_MAX: Final = 200
# The form of the HTML standard's "valid e-mail address", with at least one dot in the domain.
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL: Final = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")
_LOCALE: Final = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")

VERIFICATION_VALID_FOR: Final = timedelta(days=3)
RESET_VALID_FOR: Final = timedelta(hours=1)

Purpose = Literal["email_verification", "password_reset"]


class Person(msgspec.Struct, frozen=True):
    """Whose session it is, as the database judges it; where it isn't valid the other fields may be None."""

    is_valid: bool
    is_admin: bool
    email: str | None
    name: str | None
    phone: str | None
    timezone: str | None
    locale: str | None
    email_verified_at: datetime | None
    created_at: datetime | None


class Account(msgspec.Struct, frozen=True):
    """What a login is checked against; None for an unknown e-mail."""

    user_id: str | None
    password_hash: str | None
    is_blocked: bool


class Proved(msgspec.Struct, frozen=True):
    """Whose password was right, and from when their tokens were valid then."""

    user_id: str
    valid_from: datetime


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the API shows it to itself."""

    id: str
    email: str
    name: str | None
    phone: str | None
    timezone: str
    locale: str
    email_verified: bool
    is_admin: bool
    created_at: datetime


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A checked registration: the e-mail and the zone are valid, the phone is E.164."""

    email: str
    password: str
    name: str | None
    phone: str | None
    timezone: str


async def check_session(tx: Session, claims: Claims) -> Person:
    """The person behind a token; raises Unauthorized if it was revoked, or its person is blocked or erased."""
    person = await tx.one(
        SQL.check_session, Person, user_id=claims.sub, token_id=claims.jti, issued_at=claims.issued_at
    )
    if not person.is_valid or person.email is None:
        raise errors.Unauthorized()

    return person


def user_of(claims: Claims, person: Person) -> User:
    """The person as JSON."""
    assert person.email is not None and person.created_at is not None, "a valid session has a person"

    return User(
        id=claims.sub,
        email=person.email,
        name=person.name,
        phone=person.phone,
        timezone=person.timezone or "UTC",
        locale=person.locale or "en",
        email_verified=person.email_verified_at is not None,
        is_admin=person.is_admin,
        created_at=person.created_at,
    )


async def register(db: Database, hasher: Hasher, order: Registration) -> str:
    """Write a new person and answer the id; raises EmailTaken, also for one that lost the race for an address."""
    kept = await hasher.hash(passwords.check(order.password))
    user_id = ids.new("user")
    async with db.transaction() as tx:
        await tx.run(
            SQL.register,
            user_id=user_id,
            email=order.email,
            password_hash=kept,
            name=order.name,
            timezone=order.timezone,
            phone=order.phone,
        )

    return user_id


async def authenticate(db: Database, hasher: Hasher, email: str, password: str) -> Proved:
    """Whom this e-mail and password belong to; raises InvalidCredentials, always after the same work."""
    user_id, known_hash = await _prove(db, hasher, email, password)
    try:
        return await _admit(db, hasher, user_id, known_hash, password)
    except errors.InvalidCredentials:
        # The hash is another one by now: that of a new password, or of this one, made anew by a login beside this one.
        user_id, known_hash = await _prove(db, hasher, email, password)
        return await _admit(db, hasher, user_id, known_hash, password)


async def _prove(db: Database, hasher: Hasher, email: str, password: str) -> tuple[str, str]:
    async with db.transaction(read_only=True) as tx:
        account = await tx.one(SQL.login_lookup, Account, email=email)
    matches = await hasher.matches(password, account.password_hash)
    if not matches or account.user_id is None or account.is_blocked:
        raise errors.InvalidCredentials()
    assert account.password_hash is not None, "it matched"

    return account.user_id, account.password_hash


async def _admit(db: Database, hasher: Hasher, user_id: str, known_hash: str, password: str) -> Proved:
    rehashed = await hasher.hash(password) if hasher.is_weak(known_hash) else None
    async with db.transaction(user_id) as tx:
        valid_from: datetime = await tx.value(SQL.admit, user_id=user_id, known_hash=known_hash, rehashed=rehashed)

    return Proved(user_id, valid_from)


async def change_password(db: Database, hasher: Hasher, user: User, current: str, password: str) -> datetime:
    """Set a new password by the one in force and log out everywhere; raises InvalidCredentials, ValidationFailed.

    Answers from when tokens are valid.
    """
    passwords.check(password)
    async with db.transaction(read_only=True) as tx:
        account = await tx.one(SQL.login_lookup, Account, email=user.email)
    if not await hasher.matches(current, account.password_hash) or account.user_id != user.id:
        raise errors.InvalidCredentials()
    kept = await hasher.hash(password)
    async with db.transaction(user.id) as tx:
        await tx.run(SQL.change_password, user_id=user.id, known_hash=account.password_hash, password_hash=kept)

        return await tokens_valid_from(tx, user.id)


async def tokens_valid_from(tx: Session, user_id: str) -> datetime:
    """From when a person's tokens are valid: those of before were logged out everywhere."""
    valid_from: datetime = await tx.value(SQL.tokens_valid_from, user_id=user_id)

    return valid_from


async def begin_session(db: Database, user_id: str, email: str, valid_from: datetime) -> tuple[Claims, Person]:
    """Claims of a new session of somebody whose tokens were valid from then when they were proved.

    Raises InvalidCredentials if they were logged out everywhere since. Who was a moment before gets a token of a second
    that is still to come: tokens carry whole seconds.
    """
    async with db.transaction(user_id, read_only=True) as tx:
        try:
            person = await check_session(tx, tokens.claims_for(user_id, email, int(valid_from.timestamp())))
        except errors.Unauthorized as exc:
            raise errors.InvalidCredentials() from exc
        assert person.email is not None, "check_session saw to it"
        claims = await claims_for(tx, user_id, person.email, valid_from)

    return claims, person


async def claims_for(tx: Session, user_id: str, email: str, valid_from: datetime) -> Claims:
    """Claims of a new session that begins now, by the clock that ends it too, or when tokens are valid."""
    now: datetime = await tx.value(SQL.now)

    return tokens.claims_for(user_id, email, int(max(now, valid_from).timestamp()))


async def end_session(tx: Session, claims: Claims) -> None:
    """Revoke this one token."""
    await tx.run(SQL.revoke_token, token_id=claims.jti, user_id=claims.sub, expires_at=claims.expires_at)


async def end_all_sessions(tx: Session, user_id: str) -> None:
    """Revoke every token of a person."""
    await tx.run(SQL.revoke_all_tokens, user_id=user_id)


async def issue_link(db: Database, email: str, purpose: Purpose) -> str | None:
    """The token of a link to be mailed; None where nobody has this e-mail, which must not be told."""
    token, token_hash = tokens.one_time()
    valid_for = VERIFICATION_VALID_FOR if purpose == "email_verification" else RESET_VALID_FOR
    async with db.transaction() as tx:
        user_id = await tx.value(
            SQL.issue_one_time_token, email=email, purpose=purpose, token_hash=token_hash, valid_for=valid_for
        )

    return token if user_id is not None else None


async def verify_email(tx: Session, token: str) -> None:
    """Open a verification link; raises InvalidToken."""
    await tx.run(
        SQL.use_one_time_token,
        purpose="email_verification",
        token_hash=tokens.one_time_hash(token),
        password_hash=None,
    )


async def reset_password(db: Database, hasher: Hasher, token: str, password: str) -> str | None:
    """Set a new password by a link and log out everywhere; raises InvalidToken.

    Answers the person's e-mail, None if an erasure came right after it.
    """
    kept = await hasher.hash(passwords.check(password))
    async with db.transaction() as tx:
        user_id: str = await tx.value(
            SQL.use_one_time_token,
            purpose="password_reset",
            token_hash=tokens.one_time_hash(token),
            password_hash=kept,
        )
    async with db.transaction(user_id, read_only=True) as tx:
        email: str | None = await tx.value(SQL.own_email, user_id=user_id)

    return email


async def update_profile(
    tx: Session, user_id: str, *, set_name: bool, name: str | None, timezone: str | None, locale: str | None
) -> None:
    """Change the profile; None leaves zone and locale, `set_name` tells a name taken away from one not given."""
    await tx.run(SQL.update_profile, user_id=user_id, set_name=set_name, name=name, timezone=timezone, locale=locale)


async def erase(tx: Session, user_id: str, requested_by: Literal["person", "operator"]) -> None:
    """Empty a person; raises CallInProgress while a call is open, NotFound for nobody."""
    if not await tx.value(SQL.erase, user_id=user_id, requested_by=requested_by):
        raise errors.NotFound()


def check_email(email: str) -> str:
    """The address in lower-case domain, as it is kept; raises ValidationFailed."""
    email = email.strip()
    if len(email) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(email):
        raise errors.ValidationFailed("This is no e-mail address that can be used.", field="email")
    local, _, domain = email.rpartition("@")
    if local.startswith(".") or local.endswith(".") or ".." in local:
        raise errors.ValidationFailed("This is no e-mail address that can be used.", field="email")

    return f"{local}@{domain.lower()}"


def check_name(name: str | None) -> str | None:
    """A name without surrounding space, None for an empty one; raises ValidationFailed."""
    name = (name or "").strip()
    if len(name) > NAME_LENGTH_MAX:
        raise errors.ValidationFailed(f"A name has at most {NAME_LENGTH_MAX} characters.", field="name")
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise errors.ValidationFailed("A name is one line without control characters.", field="name")

    return name or None


def check_timezone(name: str) -> str:
    """An IANA zone; raises ValidationFailed."""
    if name not in zones.names():
        raise errors.ValidationFailed("The time zone must be an IANA name such as Europe/Berlin.", field="timezone")

    return name


def check_locale(name: str) -> str:
    """A language tag (RFC 5646) such as `en` or `de-AT`; raises ValidationFailed."""
    if not _LOCALE.fullmatch(name):
        raise errors.ValidationFailed("The locale must be a language tag such as en or de-AT.", field="locale")

    return name
