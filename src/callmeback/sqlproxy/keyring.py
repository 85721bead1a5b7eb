"""The keyring: which keys there are right now, and whether a request carries one of them.

The version of all keys is polled every half second, and LISTEN hastens that, so a revoked key ends everywhere within a
second. A key or a secret that isn't known waits for one more look, so that a new one works at once; all that wait share
that look, so guessing costs the database nothing. When the database doesn't answer, nobody is let in on old knowledge.
"""

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import msgspec
import psycopg

from callmeback import errors, logs
from callmeback.pg import statements
from callmeback.pg.pool import Database

SQL: Final = statements.load("callmeback.sqlproxy", "keyring.sql")

POLL_S: Final = 0.5
# Between two looks, however many ask for one.
PAUSE_S: Final = 0.02
# Older knowledge than this lets nobody in before another look.
FRESH_S: Final = 1.0
# How long a request waits for that look.
LOOK_WAIT_S: Final = 2.0
# Without a look for this long, open sockets end too.
LOST_S: Final = 5.0
LISTEN_PAUSE_S: Final = 1.0
CONNECT_TIMEOUT_S: Final = 5
POOL_MAX: Final = 2
TOKEN_LENGTH_MAX: Final = 128

REFUSED: Final = "The API key is missing, wrong, revoked or expired."
ELSEWHERE: Final = "This API key may not be used from this address."

_TOKEN: Final = re.compile(r"cmb_(?P<id>[0-9a-z]{16})_(?P<secret>[0-9a-f]{64})")
_NOTHING: Final = bytes(32)

Mode = Literal["named", "exact", "policy", "admin"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_log = logs.get_logger(__name__)


class Registered(msgspec.Struct, frozen=True):
    """A registered statement; `types` are the OIDs of its parameters, None where each request tells."""

    id: str
    text: str
    types: tuple[int, ...] | None


class Key(msgspec.Struct, frozen=True):
    """A key as a request meets it. `role` is the login role of its scope; `masked` says that it sees no personal data.

    `calls` are the functions that it was granted, `statements` are by id, `texts` by the SHA-256 of the text in UTF-8.
    `proof` is the hash of the secret that was shown: an open socket ends with the secret that it was opened with.
    """

    id: str
    name: str
    mode: Mode
    role: str
    masked: bool
    expires_at: datetime | None
    cidrs: tuple[Network, ...]
    rate: int | None
    concurrency: int | None
    learning_until: datetime | None
    statements: Mapping[str, Registered]
    texts: Mapping[bytes, str]
    proof: bytes
    calls: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Key(id={self.id!r}, mode={self.mode!r})"


class KeyRow(msgspec.Struct, frozen=True):
    """A key as the database gives it."""

    id: str
    name: str
    mode: Mode
    role_name: str
    is_masked: bool
    secret_hash: bytes
    other_secret_hash: bytes | None
    other_secret_until: datetime | None
    expires_at: datetime | None
    cidrs: list[str]
    rate_per_second: int | None
    concurrency: int | None
    learning_until: datetime | None
    calls: list[str]
    version: int


class StatementRow(msgspec.Struct, frozen=True):
    """A statement as the database gives it."""

    key_id: str
    id: str
    kind: Literal["named", "exact"]
    statement: str
    text_hash: bytes
    parameter_types: list[int] | None


class Entry(msgspec.Struct, frozen=True):
    """What is known of a key: one Key for each of its living secrets.

    `is_plain` says that it has one secret, works until it is revoked, and may come from anywhere.
    """

    version: int
    newest: Key
    other: Key | None
    other_until: datetime | None
    is_plain: bool

    def living(self) -> tuple[Key, ...]:
        """The key as each secret that works at this moment gives it."""
        now = datetime.now(UTC)
        if self.newest.expires_at is not None and self.newest.expires_at <= now:
            return ()
        if self.other is None or self.other_until is None or self.other_until <= now:
            return (self.newest,)

        return (self.newest, self.other)


class Shown(NamedTuple):
    """What a request showed: a key's id, and the hash of a secret."""

    key_id: str
    proof: bytes


class Keyring:
    """`ring = await Keyring.open(dsn)` with the DSN of callmeback_proxy, and `await ring.close()` at the end."""

    def __init__(self, dsn: str, database: Database) -> None:
        self._dsn = dsn
        self._database = database
        self._entries: dict[str, Entry] = {}
        self._version: int | None = None
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()
        # When the last look, and the last that succeeded, began (time.monotonic).
        self._tried_at = self._confirmed_at = -LOST_S
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, dsn: str) -> "Keyring":
        """Read the keys and keep watching them; raises DatabaseUnavailable when they can't be read."""
        database = await Database.open(dsn, name="proxy keys", max_size=POOL_MAX, wait_s=LOOK_WAIT_S)
        ring = cls(dsn, database)
        try:
            await ring._look()
        except BaseException:
            await database.close()
            raise
        ring._tasks = [asyncio.create_task(ring._poll()), asyncio.create_task(ring._listen())]

        return ring

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._database.close()

    async def authenticate(self, token: str, peer: str) -> Key:
        """The key of this text, shown from this address (the client's IP).

        Raises Unauthorized, the same for a key that is unknown, wrong, revoked or expired; Forbidden for another
        address than the key's; DatabaseUnavailable when it can't be known.
        """
        shown = read(token)
        if shown is None:
            raise errors.Unauthorized(REFUSED)
        key = self._matching(shown) if self._is_fresh() else None
        if key is None:
            # It may have been made, or given this secret, since the last look.
            await self._look_again()
            key = self._matching(shown)
        if key is None:
            raise errors.Unauthorized(REFUSED)
        if not _may_come_from(key, peer):
            raise errors.Forbidden(ELSEWHERE)

        return key

    def known(self, shown: Shown, peer: str) -> Key | None:
        """The key, where nothing has to be waited for and nothing is refused; otherwise `authenticate` finds out."""
        if time.monotonic() - self._confirmed_at > FRESH_S:
            return None
        key_id, proof = shown
        entry = self._entries.get(key_id)
        if entry is not None and entry.is_plain:
            return entry.newest if hmac.compare_digest(proof, entry.newest.proof) else None
        key = self._matching(shown)

        return key if key is not None and _may_come_from(key, peer) else None

    def current(self, key: Key) -> Key | None:
        """The same key as it is now; None when it, or the secret that it was shown with, works no more."""
        entry = self._entries.get(key.id)
        if entry is None or time.monotonic() - self._confirmed_at > LOST_S:
            return None

        return next((each for each in entry.living() if each.proof == key.proof), None)

    def is_confirmed(self) -> bool:
        """Whether the database answered a look of the last second or so."""
        return time.monotonic() - self._confirmed_at <= FRESH_S + POLL_S

    async def learn(self, key: Key, text: str) -> bool:
        """Remember a text that an exact key sent; False when it isn't learning, or has learnt enough."""
        async with self._database.transaction() as tx:
            is_kept = bool(await tx.value(SQL.learn, key_id=key.id, statement=text))
        self._wanted.set()

        return is_kept

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._confirmed_at <= FRESH_S

    def _matching(self, shown: Shown) -> Key | None:
        """The key whose living secret has this hash."""
        entry = self._entries.get(shown.key_id)
        candidates = entry.living() if entry is not None else ()
        key = None
        # Each is compared, and something is compared where there is none: the time tells nothing.
        for candidate in candidates or (None,):
            if hmac.compare_digest(shown.proof, candidate.proof if candidate else _NOTHING):
                key = candidate

        return key

    async def _look_again(self) -> None:
        """Wait for a look that begins after this moment; raises DatabaseUnavailable when it fails."""
        asked_at = time.monotonic()
        self._wanted.set()
        try:
            async with asyncio.timeout(LOOK_WAIT_S):
                while self._tried_at < asked_at:
                    await self._looked.wait()
        except TimeoutError as exc:
            raise errors.DatabaseUnavailable() from exc
        if self._confirmed_at < asked_at:
            raise errors.DatabaseUnavailable()

    async def _poll(self) -> None:
        """Look every POLL_S, sooner when somebody wants to know."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wanted.wait()
            self._wanted.clear()
            begun_at = time.monotonic()
            try:
                await self._look()
            except Exception as exc:
                # Whatever it was, the next look may succeed; until then nobody is let in on old knowledge.
                _log.warning("the keys can't be read", error=type(exc).__name__)
            self._tried_at = begun_at
            self._looked.set()
            self._looked = asyncio.Event()
            await asyncio.sleep(PAUSE_S)

    async def _look(self) -> None:
        """Read what changed since the last look."""
        begun_at = time.monotonic()
        async with self._database.transaction(read_only=True, single=True) as tx:
            version = int(await tx.value(SQL.version))
        if version != self._version:
            await self._read()
        self._confirmed_at = begun_at

    async def _read(self) -> None:
        """All keys anew; statements of those that changed only."""
        async with self._database.transaction(snapshot=True) as tx:
            version = int(await tx.value(SQL.version))
            rows = await tx.all(SQL.keys, KeyRow)
            changed = [row.id for row in rows if not self._is_known(row)]
            statements = await tx.all(SQL.statements, StatementRow, keys=changed) if changed else []
        registered: dict[str, list[StatementRow]] = {}
        for statement in statements:
            registered.setdefault(statement.key_id, []).append(statement)
        self._entries = {
            row.id: self._entries[row.id] if self._is_known(row) else _entry(row, registered.get(row.id, []))
            for row in rows
        }
        self._version = version

    def _is_known(self, row: KeyRow) -> bool:
        known = self._entries.get(row.id)

        return known is not None and known.version == row.version

    async def _listen(self) -> None:
        """Look at once when a change is announced; without this connection the poll alone finds out."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._dsn,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    application_name="callmeback proxy keys",
                ) as connection:
                    await connection.execute(SQL.listen.native)
                    async for _ in connection.notifies():
                        self._wanted.set()
            except psycopg.Error as exc:
                _log.warning("changes of keys are not announced", error=type(exc).__name__)
            await asyncio.sleep(LISTEN_PAUSE_S)


def read(token: str) -> Shown | None:
    """What this text shows; None when it is no key."""
    found = _TOKEN.fullmatch(token) if len(token) <= TOKEN_LENGTH_MAX else None

    return None if found is None else Shown(found["id"], hashlib.sha256(found["secret"].encode()).digest())


def _entry(row: KeyRow, statements: list[StatementRow]) -> Entry:
    newest = Key(
        id=row.id,
        name=row.name,
        mode=row.mode,
        role=row.role_name,
        masked=row.is_masked,
        expires_at=row.expires_at,
        cidrs=tuple(ipaddress.ip_network(cidr) for cidr in row.cidrs),
        rate=row.rate_per_second,
        concurrency=row.concurrency,
        learning_until=row.learning_until,
        statements={each.id: _registered(each) for each in statements},
        texts={each.text_hash: each.statement for each in statements if each.kind == "exact"},
        proof=row.secret_hash,
        calls=frozenset(row.calls),
    )
    other = None
    if row.other_secret_hash is not None:
        other = msgspec.structs.replace(newest, proof=row.other_secret_hash)

    is_plain = other is None and newest.expires_at is None and not newest.cidrs and newest.mode != "admin"

    return Entry(row.version, newest, other, row.other_secret_until, is_plain)


def _registered(row: StatementRow) -> Registered:
    return Registered(row.id, row.statement, None if row.parameter_types is None else tuple(row.parameter_types))


def _may_come_from(key: Key, peer: str) -> bool:
    """Whether the address is one of the key's networks, and the loopback for a key of mode admin."""
    if not key.cidrs and key.mode != "admin":
        return True
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    # A socket that listens on both families shows an IPv4 client as ::ffff:192.0.2.1.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    if key.mode == "admin" and not address.is_loopback:
        return False

    return not key.cidrs or any(address in network for network in key.cidrs)
