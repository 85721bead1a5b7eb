"""Who is asking: a session from the Authorization header or the page's cookie, and the proof that a page asked.

`current_user` only reads the token; whether it was revoked is asked of the database in the same transaction as the
request's own statements, see `Caller.transaction`. The caller is the token's subject, whatever a body says.
"""

import hmac
import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler

from callmeback import errors
from callmeback.domain import auth, tokens
from callmeback.domain.auth import Person
from callmeback.domain.tokens import Claims, Keys
from callmeback.pg.pool import Database, Session
from callmeback.web.services import Services

# The dependency's name, and where the guard leaves the person for it.
CALLER: Final = "caller"
SESSION_COOKIE: Final = "session"
CSRF_COOKIE: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
IPV6_PREFIX: Final = 64
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Caller:
    """The person of a request. `person` is known once a transaction was opened."""

    __slots__ = ("_api", "_reports", "by_cookie", "claims", "person")

    def __init__(self, claims: Claims, api: Database, reports: Database, *, by_cookie: bool) -> None:
        self.claims = claims
        self.by_cookie = by_cookie
        self.person: Person | None = None
        self._api = api
        self._reports = reports

    @property
    def user_id(self) -> str:
        return self.claims.sub

    @property
    def user(self) -> auth.User:
        """Name, e-mail, zone and so on; a transaction must have been opened before."""
        assert self.person is not None, "open a transaction first"

        return auth.user_of(self.claims, self.person)

    @asynccontextmanager
    async def transaction(self, *, read_only: bool = False) -> AsyncIterator[Session]:
        """A transaction as this person; raises Unauthorized if the session was revoked."""
        async with self._api.transaction(self.user_id, read_only=read_only) as tx:
            self.person = await auth.check_session(tx, self.claims)
            yield tx

    @asynccontextmanager
    async def admin_transaction(self) -> AsyncIterator[Session]:
        """A transaction that sees everybody and changes nothing; raises Forbidden for anybody but an admin.

        What it sees may be some seconds old (DATABASE_READ_URL); whether this is an admin may not.
        """
        async with self.transaction(read_only=True):
            assert self.person is not None
            if not self.person.is_admin:
                raise errors.Forbidden()
        async with self._reports.transaction(read_only=True) as tx:
            yield tx


async def nobody_unknown(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """The guard of every route that needs a person: who isn't logged in learns that, and not what is wrong with a
    body, which is read only after it. Raises Unauthorized, CsrfRefused.
    """
    if CALLER in handler.parsed_fn_signature.parameters:
        connection.scope["state"][CALLER] = _caller_of(connection, connection.app.state.services)


async def current_user(request: Request[Any, Any, State], services: NamedDependency[Services]) -> Caller:
    """The dependency of every route that needs a person; raises Unauthorized, CsrfRefused."""
    known: Caller | None = request.scope["state"].get(CALLER)

    return known or _caller_of(request, services)


def _caller_of(request: ASGIConnection[Any, Any, Any, State], services: Services) -> Caller:
    token, by_cookie = _token_of(request)
    if token is None:
        raise errors.Unauthorized()
    claims = tokens.read(services.keys.secret, token)
    if by_cookie and request.scope.get("method") not in SAFE_METHODS:
        require_csrf(services.keys, claims, request.headers)

    return Caller(claims, services.api, services.reports, by_cookie=by_cookie)


async def optional_user(request: Request[Any, Any, State], services: NamedDependency[Services]) -> Caller | None:
    """The person, or None where nobody is logged in or the token is no longer good."""
    try:
        caller = await current_user(request, services)
        async with caller.transaction(read_only=True):
            return caller
    except errors.Unauthorized:
        return None


def csrf_token(keys: Keys, claims: Claims) -> str:
    """What a page of this session must send in the header X-CSRF-Token with every unsafe request."""
    return keys.digest("csrf", claims.jti).hex()


def require_csrf(keys: Keys, claims: Claims, headers: Mapping[str, str]) -> None:
    """Raise CsrfRefused unless the header carries this session's token."""
    given = headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(csrf_token(keys, claims).encode(), given.encode("utf-8", "surrogatepass")):
        raise errors.CsrfRefused()


def session_cookies(services: Services, claims: Claims) -> list[Cookie]:
    """The cookies of a page's session: the token, hidden from scripts, and the CSRF token, which htmx reads."""
    token = tokens.sign(services.keys.secret, claims)
    return [
        _cookie(services, SESSION_COOKIE, token, httponly=True, max_age=tokens.LIFETIME_SECONDS),
        _cookie(
            services, CSRF_COOKIE, csrf_token(services.keys, claims), httponly=False, max_age=tokens.LIFETIME_SECONDS
        ),
    ]


def forget_cookies(services: Services) -> list[Cookie]:
    """Cookies that take the session away from the browser."""
    return [
        _cookie(services, SESSION_COOKIE, "", httponly=True, max_age=0),
        _cookie(services, CSRF_COOKIE, "", httponly=False, max_age=0),
    ]


def _cookie(services: Services, name: str, value: str, *, httponly: bool, max_age: int) -> Cookie:
    secure = services.is_https

    return Cookie(key=name, value=value, path="/", httponly=httponly, samesite="lax", secure=secure, max_age=max_age)


def client_address(request: Request[Any, Any, State]) -> str:
    """Where a request comes from, for limits.

    A proxy is believed only where the operator has said that there is one (a public URL) and it runs on this machine:
    anybody can write the header. Of IPv6 the network counts, since one person has 2^64 addresses.
    """
    services: Services = request.app.state.services
    peer = _address(request.client.host if request.client else "")
    if peer is not None and peer.is_loopback and services.settings.public_url is not None:
        nearest = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        peer = _address(nearest) or peer
    if peer is None:
        return "unknown"
    if isinstance(peer, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((peer, IPV6_PREFIX), strict=False))

    return str(peer)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _token_of(request: ASGIConnection[Any, Any, Any, State]) -> tuple[str | None, bool]:
    """The token, and whether the browser sent it by itself."""
    header = request.headers.get("authorization")
    if header is not None:
        kind, _, token = header.partition(" ")
        return (token.strip() or None if kind.lower() == "bearer" else None), False

    return request.cookies.get(SESSION_COOKIE) or None, True
