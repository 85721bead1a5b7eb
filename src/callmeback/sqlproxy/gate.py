"""Who asks, and whether this key may send this statement. What a statement may touch is said by its role's grants."""

import ipaddress
import re
from collections import OrderedDict
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

import msgspec

from callmeback import errors
from callmeback.sqlproxy import keyring
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.policy import Verdict, digest
from callmeback.sqlproxy.requests import Request

if TYPE_CHECKING:
    from callmeback.sqlproxy.services import Services

KNOWN_MAX: Final = 2_000
KNOWN_TEXT_LENGTH_MAX: Final = 16 * 1024
PEERS_MAX: Final = 4_096

# W3C Trace Context, level 1: version, trace id, parent id, flags.
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NO_TRACE: Final = b"0" * 32
FORWARDED: Final = "forwarded"
# What a proxy says that doesn't say for whom, or not in the one way that is read.
OTHER_SIGNS: Final = frozenset({b"forwarded", b"via", b"x-real-ip"})

NO_KEY: Final = "An API key is needed: Authorization: Bearer cmb_…"
ONLY_NAMED: Final = "This key may run its registered statements only, at /named/{id}."
UNKNOWN_TEXT: Final = "This key may send the statements that it was given only; this text is none of them."


class Allowed(msgspec.Struct, frozen=True):
    """A statement that may run: what is sent on, its verdict, the SHA-256 of what was sent to us, in hex.

    `is_judged` is false where the policy wasn't asked, so that the session behind it has to be thrown away.
    """

    text: bytes
    verdict: Verdict
    hash: str
    is_judged: bool = True
    types: tuple[int, ...] | None = None


class Gate:
    """Statements that were allowed lately, by their text: one look-up instead of a hash, a parse and a walk."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, frozenset[str]], Allowed] = OrderedDict()

    def judged(self, services: "Services", key: Key, text: str) -> Allowed:
        """What the policy says; raises StatementRefused."""
        # The verdict depends on nothing else of the key than the functions that it was granted.
        known_as = (text, key.calls)
        found = self._known.get(known_as)
        if found is not None:
            return found
        verdict = services.verdicts.get(text, False, key.calls)
        if verdict.rule is not None:
            raise refused(services, verdict)
        found = Allowed(verdict.text.encode(), verdict, digest(text).hex())
        if len(text) <= KNOWN_TEXT_LENGTH_MAX:
            self._known[known_as] = found
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)

        return found

    def known(self, key: Key, text: str) -> Allowed | None:
        """What `permit` would say at once, where it allowed the same lately; None where it has more to do."""
        if key.mode == "policy" or (key.mode == "exact" and digest(text) in key.texts):
            return self._known.get((text, key.calls))

        return None

    def known_named(self, key: Key, name: str) -> Allowed | None:
        """The same of `registered`."""
        found = key.statements.get(name)
        allowed = None if found is None else self._known.get((found.text, key.calls))
        if found is None or allowed is None or found.types is None:
            return allowed

        return msgspec.structs.replace(allowed, types=found.types)

    async def permit(self, services: "Services", key: Key, text: str) -> Allowed:
        """Whether the key may send this text; raises StatementRefused."""
        if key.mode == "policy":
            return self.judged(services, key, text)
        if key.mode == "admin":
            return self._unjudged(services, key, text)
        if key.mode == "exact":
            if digest(text) not in key.texts:
                await self._learn(services, key, text)
            return self.judged(services, key, text)

        raise _refused_by(services, "named_only", ONLY_NAMED)

    def registered(self, services: "Services", key: Key, name: str) -> Allowed:
        """A statement by its name; raises NotFound when this key has none of that name."""
        found = key.statements.get(name)
        if found is None:
            raise errors.NotFound("This key has no statement of that name.")
        allowed = self.judged(services, key, found.text)

        return allowed if found.types is None else msgspec.structs.replace(allowed, types=found.types)

    def _unjudged(self, services: "Services", key: Key, text: str) -> Allowed:
        """An administrator's: what the policy refuses runs as it is, and nobody uses that session again."""
        verdict = services.verdicts.get(text, False, key.calls)
        is_judged = verdict.rule is None

        return Allowed((verdict.text if is_judged else text).encode(), verdict, digest(text).hex(), is_judged)

    async def _learn(self, services: "Services", key: Key, text: str) -> None:
        """Remember an unknown text while the key is learning; what the policy refuses is never learnt."""
        is_learning = key.learning_until is not None and key.learning_until > datetime.now(UTC)
        if not is_learning:
            raise _refused_by(services, "unknown_text", UNKNOWN_TEXT)
        self.judged(services, key, text)
        if not await services.keyring.learn(key, text):
            raise _refused_by(services, "unknown_text", UNKNOWN_TEXT)


def known_key(services: "Services", request: Request) -> Key | None:
    """The key of a request, where it is known and let in without waiting; for all others there is `key_of`."""
    shown = request.shown
    if shown is None:
        token = _token(request.headers)
        credentials = None if token is None else keyring.read(token)
        if credentials is None:
            return None
        shown = request.shown = (credentials, peer_of(services, request.headers, request.peer))
    key = services.keyring.known(*shown)
    if key is not None:
        request.record.key = key.id
        request.record.role = key.role

    return key


async def key_of(services: "Services", request: Request) -> Key:
    """The key of a request; raises Unauthorized, Forbidden."""
    token = _token(request.headers)
    if token is None:
        raise errors.Unauthorized(NO_KEY)
    key = await services.keyring.authenticate(token, peer_of(services, request.headers, request.peer))
    request.record.key = key.id
    request.record.role = key.role

    return key


def trace_of(headers: dict[bytes, bytes]) -> str | None:
    """The trace that a request belongs to."""
    trace = headers.get(b"traceparent")
    if trace is not None and (match := _TRACEPARENT.fullmatch(trace)) and match[1] != _NO_TRACE:
        return match[1].decode()

    return None


def refused(services: "Services", verdict: Verdict) -> errors.StatementRefused:
    """The policy's refusal as an error."""
    rule = verdict.rule or ""
    services.figures.refused[rule] += 1

    return errors.StatementRefused(
        verdict.message, rule=rule, sqlstate=verdict.sqlstate or "42501", position=verdict.position
    )


def _refused_by(services: "Services", rule: str, message: str) -> errors.StatementRefused:
    services.figures.refused[rule] += 1

    return errors.StatementRefused(message, rule=rule, sqlstate="42501")


def _token(headers: dict[bytes, bytes]) -> str | None:
    """The key, as a bearer token or as the password of the connection string that Neon's driver sends."""
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip().decode("latin-1")
    connection = headers.get(b"neon-connection-string")
    if connection is None:
        return None
    # Host, database and options are ignored: what the key may reach is said by the key alone.
    authority = connection.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0]
    password = authority.rpartition(b"@")[0].partition(b":")[2]

    return unquote_to_bytes(password).decode("latin-1") or None


def peer_of(services: "Services", headers: dict[bytes, bytes], peer: str) -> str:
    """Where a request comes from, for keys that are bound to addresses.

    A proxy in front is believed where the operator says that there is one and it runs on this machine; otherwise what
    it forwards comes from nowhere in particular. Nothing that was forwarded comes from this machine: the word of a
    second proxy would make the whole world local.
    """
    if not _is_loopback(peer):
        return peer
    forwarded = headers.get(b"x-forwarded-for")
    if forwarded is None:
        return FORWARDED if headers.keys() & OTHER_SIGNS else peer
    if services.settings.public_url is None:
        return FORWARDED
    last = forwarded.rpartition(b",")[2].strip().decode("latin-1")

    return FORWARDED if _is_loopback(last) else last


@lru_cache(PEERS_MAX)
def _is_loopback(peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None

    return (mapped or address).is_loopback
