"""Keys of the SQL proxy: what one may be granted, how it is made, rotated, revoked, and which statements it may run.

A scope is a set of grants; keys with equal grants share it, and with it a login role. Making that role is not done
here (`ops/scopes.py`): it takes a superuser. The proxy reads keys by itself, with a role that can do nothing else.
"""

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

import msgspec

from callmeback import errors, ids
from callmeback.pg import roles, statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "keys.sql")

Mode = Literal["named", "exact", "policy", "admin"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
ALL: Final = "all"

ID_LENGTH: Final = 16
SECRET_BYTES: Final = 32
SCOPE_ID_LENGTH: Final = 16
NAME_LENGTH_MAX: Final = 100
RATE_MAX: Final = 1_000_000
CONCURRENCY_MAX: Final = 10_000
CIDRS_MAX: Final = 100
EXPIRES_MAX: Final = timedelta(days=3_660)
LEARN_MAX: Final = timedelta(days=31)
GRACE_MAX: Final = timedelta(days=31)
STATEMENT_BYTES_MAX: Final = 1_048_576
# As for learnt ones (learn_statement): every proxy holds them in memory.
STATEMENTS_MAX: Final = 1_000
# A grant waits this long for a table and then lets go: whoever comes later queues behind it.
LOCK_WAIT_MS: Final = 200

_IDENTIFIER: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TEXT: Final = re.compile(r"cmb_([0-9a-z]{16})_[0-9a-f]{64}")
_STATEMENT_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

# Why something can't be granted (grant_problems), by what was asked for.
_SENTENCES: Final[Mapping[tuple[str, str], str]] = {
    ("read", "unknown"): "There is no table or view {name} that a key may read.",
    ("read", "not_personal"): "{name} has no rows of one person, so a key of one person can't read it.",
    ("write", "unknown"): "There is no table {name} that a key may write.",
    ("write", "view"): "{name} is a view, which nobody writes.",
    ("write", "by_functions"): "{name} is written by functions only, which keep its rules: grant one with --call.",
    ("write", "not_personal"): "{name} has no rows of one person, so a key of one person can't write it.",
    ("write", "not_theirs"): "Nobody changes {name} through the API, so a key of one person can't write it.",
    ("call", "unknown"): "There is no function {name}.",
    ("call", "refused"): "{name} handles secrets or is a part of others, so no key may call it.",
    ("call", "not_personal"): "{name} doesn't ask whose it is, so a key of one person can't call it.",
}


class Scope(msgspec.Struct, frozen=True):
    """A set of grants, each list sorted; `as_user_id` is the one person whose rows it sees."""

    id: str
    pii: bool
    as_user_id: str | None
    reads: list[str]
    writes: list[str]
    calls: list[str]

    @property
    def role(self) -> str:
        """The login role."""
        return f"{roles.KEY_PREFIX}{self.id}"

    @property
    def settings(self) -> dict[str, str]:
        """What the role's sessions start with."""
        schema = f"scope_{self.id}" if self.as_user_id is not None else "clear" if self.pii else "masked"
        chosen = {**roles.KEY_SETTINGS, "search_path": f"{schema}, public"}
        if not self.writes and not self.calls:
            chosen["default_transaction_read_only"] = "on"

        return chosen


class Problem(msgspec.Struct, frozen=True):
    """Something that can't be granted, and why, as a stable word."""

    asked: str
    name: str
    problem: str


class GrantedScope(msgspec.Struct, frozen=True):
    """What became of a scope: granted, no_role, unneeded (its role is still there) or gone."""

    id: str
    role: str
    state: str


class KeyLine(msgspec.Struct, frozen=True):
    """A key as an operator sees it; its secret is shown once, when it is made."""

    id: str
    name: str
    mode: str
    state: str
    role: str
    read: list[str]
    write: list[str]
    call: list[str]
    as_user: str | None
    pii: bool
    cidrs: list[str]
    rate: int | None
    concurrency: int | None
    expires_at: datetime | None
    learning_until: datetime | None
    other_secret_until: datetime | None
    revoked_at: datetime | None
    statements: int
    created_by: str
    created_at: datetime


class StatementLine(msgspec.Struct, frozen=True):
    """A registered statement; `parameter_types` is None where each request tells."""

    id: str
    kind: str
    statement: str
    parameter_types: list[str] | None
    created_at: datetime


class Limits(msgspec.Struct, frozen=True):
    """Bounds of a key: how long it lives, where it may come from, requests a second and at a time. None is no bound."""

    expires_in: timedelta | None = None
    cidrs: tuple[str, ...] = ()
    rate: int | None = None
    concurrency: int | None = None


def scope(
    *,
    reads: Iterable[str] = (),
    writes: Iterable[str] = (),
    calls: Iterable[str] = (),
    as_user_id: str | None = None,
    pii: bool = False,
) -> Scope:
    """The scope of these grants, the same for the same grants in any order. Raises GrantRefused for what is no name."""
    read, write, call = (_names(names) for names in (reads, writes, calls))
    if ALL in read:
        read = [ALL]
    if ALL in write or ALL in call:
        raise errors.GrantRefused("Only reading can be granted for all.")
    canonical = msgspec.json.encode([pii, as_user_id, read, write, call])

    return Scope(hashlib.sha256(canonical).hexdigest()[:SCOPE_ID_LENGTH], pii, as_user_id, read, write, call)


def _names(names: Iterable[str]) -> list[str]:
    found = {name.strip().removeprefix("public.") for name in names}
    for name in sorted(found):
        if not _IDENTIFIER.fullmatch(name):
            raise errors.GrantRefused(f"{name!a} is not the name of a table, view or function.")

    return sorted(found)


async def check(tx: Session, wanted: Scope) -> None:
    """Raise GrantRefused, with a sentence for each grant that can't be given."""
    found = await tx.all(
        SQL.problems,
        Problem,
        reads=wanted.reads,
        writes=wanted.writes,
        calls=wanted.calls,
        as_user_id=wanted.as_user_id,
    )
    if found:
        raise errors.GrantRefused(
            " ".join(_SENTENCES[each.asked, each.problem].format(name=each.name) for each in found)
        )


async def take_turn(tx: Session) -> bool:
    """Whether this transaction, and nobody else, may grant until it ends."""
    await tx.run(SQL.wait_briefly, milliseconds=LOCK_WAIT_MS)

    return bool(await tx.value(SQL.take_turn))


async def grant(tx: Session, wanted: Scope) -> bool:
    """Keep the scope and grant its role what it says; False when there is no such role. Take a turn before."""
    await tx.run(
        SQL.keep_scope,
        id=wanted.id,
        role=wanted.role,
        pii=wanted.pii,
        as_user_id=wanted.as_user_id,
        reads=wanted.reads,
        writes=wanted.writes,
        calls=wanted.calls,
    )

    return bool(await tx.value(SQL.grant_scope, id=wanted.id))


async def grant_all(tx: Session) -> list[GrantedScope]:
    """Grant every scope that is needed, take everything from the others. Take a turn before."""
    return await tx.all(SQL.grant_scopes, GrantedScope)


async def needed(tx: Session) -> list[Scope]:
    """The scopes that living keys need."""
    return await tx.all(SQL.needed_scopes, Scope)


async def retire(tx: Session, key_id: str) -> None:
    """Take everything from the scope of a key, unless another living key needs it. Take a turn before."""
    await tx.run(SQL.retire_scope, id=await tx.value(SQL.scope_of, id=key_id))


def check_limits(name: str, mode: Mode, limits: Limits) -> None:
    """Raise ValidationFailed for a name or a bound that a key can't have."""
    if not 1 <= len(name.strip()) <= NAME_LENGTH_MAX or not name.isprintable():
        raise errors.ValidationFailed(f"The name must have 1 to {NAME_LENGTH_MAX} printable characters.")
    if mode not in MODES:
        raise errors.ValidationFailed(f"The mode must be one of {', '.join(MODES)}.")
    if limits.expires_in is not None:
        _within("The time until it expires", limits.expires_in, EXPIRES_MAX)
    for bound, value, most in (("rate", limits.rate, RATE_MAX), ("concurrency", limits.concurrency, CONCURRENCY_MAX)):
        if value is not None and not 1 <= value <= most:
            raise errors.ValidationFailed(f"The {bound} must be between 1 and {most}.")
    if len(limits.cidrs) > CIDRS_MAX:
        raise errors.ValidationFailed(f"A key has at most {CIDRS_MAX} networks.")
    for cidr in limits.cidrs:
        try:
            ipaddress.ip_network(cidr)
        except ValueError as exc:
            raise errors.ValidationFailed(f"{cidr!a} is not a network such as 192.0.2.0/24 or 2001:db8::/32.") from exc


def _within(what: str, given: timedelta, most: timedelta) -> None:
    if not timedelta(0) < given <= most:
        raise errors.ValidationFailed(f"{what} must be more than nothing and at most {most.days} days.")


async def create(
    tx: Session, wanted: Scope, *, name: str, mode: Mode, limits: Limits, created_by: str
) -> tuple[KeyLine, str]:
    """A new key for a scope that is granted; answers it with its text, which is kept nowhere.

    `created_by` is the system account that asked. Raises ValidationFailed.
    """
    check_limits(name, mode, limits)
    key_id = "".join(secrets.choice(ids.ALPHABET) for _ in range(ID_LENGTH))
    token, secret_hash = _new_secret(key_id)
    await tx.run(
        SQL.add_key,
        id=key_id,
        name=name.strip(),
        scope_id=wanted.id,
        mode=mode,
        secret_hash=secret_hash,
        expires_in=limits.expires_in,
        cidrs=list(limits.cidrs),
        rate=limits.rate,
        concurrency=limits.concurrency,
        created_by=created_by,
    )

    return await find(tx, key_id), token


def _new_secret(key_id: str) -> tuple[str, bytes]:
    """A key's text and the hash of its secret: 256 random bits need no slow hash."""
    secret = secrets.token_hex(SECRET_BYTES)

    return f"cmb_{key_id}_{secret}", hashlib.sha256(secret.encode()).digest()


async def lines(tx: Session, *, with_dead: bool = False) -> list[KeyLine]:
    """Every living key, or every key at all, newest first."""
    return await tx.all(SQL.keys, KeyLine, who=None, with_dead=with_dead)


async def find(tx: Session, who: str) -> KeyLine:
    """The key of an id or a name, a living one first; raises NotFound, ValidationFailed if several have that name.

    Whoever has only the text of a key, as `create` gave it, says that; its id stands in it.
    """
    written = _TEXT.fullmatch(who)
    who = written[1] if written else who
    found = await tx.all(SQL.keys, KeyLine, who=who, with_dead=True)
    exact = [key for key in found if key.id == who]
    living = [key for key in found if key.state == "live"]
    chosen = exact or living or found[:1]
    if not chosen:
        raise errors.NotFound("There is no key with this name or id.")
    if len(chosen) > 1:
        raise errors.ValidationFailed(
            f"Several keys have this name: say the id, {', '.join(key.id for key in chosen)}."
        )

    return chosen[0]


async def find_living(tx: Session, who: str) -> KeyLine:
    """As `find`; raises NotFound for a key that is revoked or expired."""
    key = await find(tx, who)
    if key.state != "live":
        raise errors.NotFound(f"This key is {key.state}.")

    return key


async def rotate(tx: Session, who: str, grace: timedelta) -> tuple[KeyLine, str]:
    """A new secret; the present one works on for `grace`, an older one ends now. Answers the key and its new text."""
    if grace:
        _within("The time that the old secret works on", grace, GRACE_MAX)
    key = await find_living(tx, who)
    token, secret_hash = _new_secret(key.id)
    await tx.run(SQL.rotate, id=key.id, grace=grace, secret_hash=secret_hash)

    return await find(tx, key.id), token


async def revoke(tx: Session, who: str) -> KeyLine:
    """No use from now on, for good. A key that was revoked before stays so."""
    key = await find(tx, who)
    await tx.run(SQL.revoke, id=key.id)

    return await find(tx, key.id)


async def learn(tx: Session, who: str, learn_for: timedelta | None) -> KeyLine:
    """Let an exact key remember what it is sent for a while; None ends it. Raises ValidationFailed for another mode."""
    if learn_for is not None:
        _within("The time to learn", learn_for, LEARN_MAX)
    key = await find_living(tx, who)
    if key.mode != "exact":
        raise errors.ValidationFailed(f"A key of mode {key.mode} doesn't learn; one of mode exact does.")
    await tx.run(SQL.learn, id=key.id, learn_for=learn_for)

    return await find(tx, key.id)


def check_statement(key: KeyLine, statement_id: str, statement: str) -> None:
    """Raise ValidationFailed for a name or a text that can't be registered for this key."""
    if not _STATEMENT_ID.fullmatch(statement_id):
        raise errors.ValidationFailed("A statement's name has 1 to 63 small letters, digits, hyphens and underscores.")
    if not statement.strip() or "\0" in statement or len(statement.encode()) > STATEMENT_BYTES_MAX:
        raise errors.ValidationFailed(f"A statement has 1 to {STATEMENT_BYTES_MAX} bytes, none of them NUL.")
    if key.mode == "admin":
        raise errors.ValidationFailed("A key of mode admin needs no registered statement.")
    if key.statements >= STATEMENTS_MAX:
        raise errors.ValidationFailed(f"A key has at most {STATEMENTS_MAX} statements.")


async def allow(tx: Session, key: KeyLine, statement_id: str, statement: str, parameter_types: list[str]) -> None:
    """Register a statement, by its exact text for a key of mode exact, else by its name; an old one is replaced.

    `parameter_types` are the names of its parameters' types, as the key's role sees them.
    """
    check_statement(key, statement_id, statement)
    is_exact = key.mode == "exact"
    await tx.run(SQL.forget_text, key_id=key.id, id=statement_id, statement=statement)
    await tx.run(
        SQL.allow,
        key_id=key.id,
        id=statement_id,
        kind="exact" if is_exact else "named",
        statement=statement,
        parameter_types=None if is_exact else parameter_types,
    )


async def registered(tx: Session, who: str) -> list[StatementLine]:
    """What a key may run, the newest first."""
    key = await find(tx, who)

    return await tx.all(SQL.statements, StatementLine, key_id=key.id)


async def forget(tx: Session, who: str, statement_id: str) -> KeyLine:
    """Let a key run a statement no more; raises NotFound."""
    key = await find(tx, who)
    if not await tx.run(SQL.forget, key_id=key.id, id=statement_id):
        raise errors.NotFound("The key has no statement with this name.")

    return key
