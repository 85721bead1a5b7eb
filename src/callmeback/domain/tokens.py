"""Session tokens: JWTs that say who somebody is, and the keys that are derived from the one secret behind them.

Whether a token was revoked is asked of the database on every request, see `auth.py`.
"""

import hashlib
import hmac
import secrets
import time
from datetime import UTC, datetime
from typing import Final, Literal

import jwt
import msgspec

from callmeback import errors

ALGORITHM: Final = "HS256"
LIFETIME_SECONDS: Final = 7 * 24 * 3_600
# Clocks of two of our own machines may differ by so much; a client's clock is never looked at.
LEEWAY_SECONDS: Final = 5
# A session is dated a second on for each logout everywhere of the last moments: so many of them are believed.
AHEAD_SECONDS_MAX: Final = 60
TOKEN_LENGTH_MAX: Final = 2_048
ONE_TIME_BYTES: Final = 32
# As the database has it of a new person, whom nobody has logged out everywhere yet.
FIRST_VALID_FROM: Final = datetime.fromtimestamp(0, UTC)

Use = Literal["csrf", "stream", "attempts", "phone_code", "refusal"]


class Claims(msgspec.Struct, frozen=True):
    """The claims of a session; `iat` and `exp` in whole seconds since 1970."""

    jti: str
    sub: str
    email: str
    iat: int
    exp: int

    @property
    def issued_at(self) -> datetime:
        return datetime.fromtimestamp(self.iat, UTC)

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.exp, UTC)


class Keys:
    """The one secret, and a key of its own for each other use, so that none can be taken for another."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._derived: dict[str, bytes] = {}

    def digest(self, use: Use, *parts: str) -> bytes:
        """HMAC-SHA256 of the parts under the key for this use."""
        key = self._derived.get(use)
        if key is None:
            key = self._derived[use] = hmac.digest(self.secret.encode(), f"callmeback:{use}".encode(), "sha256")
        text = "\0".join(parts).encode("utf-8", "surrogatepass")

        return hmac.digest(key, text, "sha256")


def claims_for(user_id: str, email: str, issued_at: int | None = None) -> Claims:
    """Claims of a new session that begins now, or at another second."""
    at = int(time.time()) if issued_at is None else issued_at

    return Claims(secrets.token_urlsafe(16), user_id, email, at, at + LIFETIME_SECONDS)


def sign(secret: str, claims: Claims) -> str:
    """The token that carries the claims."""
    return jwt.encode(msgspec.to_builtins(claims), secret, algorithm=ALGORITHM)


def read(secret: str, token: str) -> Claims:
    """The claims of a token that we signed and that has not expired; raises Unauthorized for any other."""
    if len(token) > TOKEN_LENGTH_MAX:
        raise errors.Unauthorized()
    try:
        found = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            leeway=LEEWAY_SECONDS,
            options={"require": ["jti", "sub", "email", "iat", "exp"], "verify_iat": False},
        )
        claims = msgspec.convert(found, Claims)
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError) as exc:
        raise errors.Unauthorized() from exc
    if claims.iat > time.time() + AHEAD_SECONDS_MAX:
        raise errors.Unauthorized()

    return claims


def one_time() -> tuple[str, bytes]:
    """A token for a link, and the hash under which the database knows it."""
    token = secrets.token_urlsafe(ONE_TIME_BYTES)

    return token, one_time_hash(token)


def one_time_hash(token: str) -> bytes:
    """SHA-256: the token has 256 random bits, so that nothing slower is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
