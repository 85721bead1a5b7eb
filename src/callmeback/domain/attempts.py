"""How often something may be tried. Counters are kept under a keyed hash: nobody can read an address out of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import msgspec

from callmeback import errors
from callmeback.domain.tokens import Keys
from callmeback.pg import statements
from callmeback.pg.pool import Database

SQL: Final = statements.load("callmeback.domain", "attempts.sql")


class Limit(msgspec.Struct, frozen=True):
    """`most` attempts in a fixed window."""

    name: str
    most: int
    window: timedelta


REGISTER_BY_ADDRESS: Final = Limit("register", 20, timedelta(hours=1))
LOGIN_BY_ACCOUNT: Final = Limit("login_account", 10, timedelta(minutes=15))
"""Failures only: whoever knows the password may be in a hurry. Attempts take `Turns`, so that each is judged after
those before it have ended."""

LOGIN_BY_ADDRESS: Final = Limit("login_address", 100, timedelta(minutes=15))
"""Failures only: many people may share an address."""

MAIL_BY_ACCOUNT: Final = Limit("mail_account", 5, timedelta(hours=1))
MAIL_BY_ADDRESS: Final = Limit("mail_address", 30, timedelta(hours=1))
LINK_BY_ADDRESS: Final = Limit("link_address", 60, timedelta(hours=1))
CODE_BY_ACCOUNT: Final = Limit("code_account", 10, timedelta(hours=1))
CODE_BY_NUMBER: Final = Limit("code_number", 10, timedelta(hours=1))

WAITING_MAX: Final = 64
RETRY_AFTER_S: Final = 2


class Turns:
    """One attempt of an account at a time: each sees how those before it ended, so that a right one never counts.

    In this process alone: each further process may let one more wrong attempt past a counter that has just become full.
    """

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._there: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, account: str) -> AsyncIterator[None]:
        """Wait for the account's turn; raises Overloaded when too many wait already."""
        if self._there[account] > WAITING_MAX:
            raise errors.Overloaded(retry_after=RETRY_AFTER_S)
        lock = self._locks.setdefault(account, asyncio.Lock())
        self._there[account] += 1
        try:
            async with lock:
                yield
        finally:
            self._there[account] -= 1
            if not self._there[account]:
                del self._there[account], self._locks[account]


def bucket(keys: Keys, limit: Limit, whom: str) -> str:
    """The counter's name: readable is only what is limited, not whom."""
    return f"{limit.name}:{keys.digest('attempts', limit.name, whom.lower()).hex()}"


async def count(db: Database, keys: Keys, limit: Limit, whom: str) -> int:
    """Count an attempt, in a commit of its own so that a failure keeps it; 0, or the seconds to wait."""
    async with db.transaction() as tx:
        wait = await tx.value(SQL.count_attempt, bucket=bucket(keys, limit, whom), most=limit.most, window=limit.window)

    return int(wait)


async def require(
    db: Database,
    keys: Keys,
    limit: Limit,
    whom: str,
    refusal: type[errors.CallMeBackError] = errors.RateLimited,
) -> None:
    """Count an attempt; raises `refusal` with `retry_after` when there were too many."""
    wait = await count(db, keys, limit, whom)
    if wait:
        raise refusal(retry_after=wait)


async def require_room(
    readonly: Database,
    keys: Keys,
    limit: Limit,
    whom: str,
    refusal: type[errors.CallMeBackError] = errors.RateLimited,
) -> None:
    """Raise `refusal` if the counter is full, without counting: for limits that count failures only."""
    async with readonly.transaction(read_only=True) as tx:
        wait = await tx.value(SQL.seconds_to_wait, bucket=bucket(keys, limit, whom), most=limit.most)
    if wait:
        raise refusal(retry_after=int(wait))


async def forget(db: Database, keys: Keys, limit: Limit, whom: str) -> None:
    """A success clears the counter."""
    async with db.transaction() as tx:
        await tx.run(SQL.forget_attempts, bucket=bucket(keys, limit, whom))
