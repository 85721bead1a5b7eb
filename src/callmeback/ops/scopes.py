"""Scopes and their login roles: made together, granted together, put right after a restore.

Roles belong to the cluster and are made by a superuser (or CREATEROLE); grants belong to the database and are given by
its owner. Both are repeated until they hold, so several may work at once, and again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from callmeback import errors
from callmeback.domain import keys
from callmeback.domain.keys import GrantedScope, Scope
from callmeback.pg import roles
from callmeback.pg.pool import Database, Session

ATTEMPTS_MAX: Final = 60
PAUSE_S: Final = 0.25

MAY_NOT_MAKE_ROLES: Final = (
    "A key's grants are those of a login role, and the user of DATABASE_URL may not make one: give it CREATEROLE, or "
    "run this where `callmeback up` runs its own database."
)

ResultT = TypeVar("ResultT")


class Workshop(msgspec.Struct, frozen=True):
    """Who makes roles (a superuser's DSN, or that of a role with CREATEROLE), and the secret of all passwords."""

    dsn: str
    secret: str


class RoleMissing(Exception):
    """A role went away while it was being granted something."""


async def establish(
    owner: Database, workshop: Workshop, wanted: Scope, work: Callable[[Session], Awaitable[ResultT]]
) -> ResultT:
    """Make the scope's role, grant it what it says, and do `work` in the same transaction.

    Raises GrantRefused before anything is made, ConfigurationError when roles can't be made, Overloaded when a table
    stays busy.
    """
    async with owner.transaction(read_only=True) as tx:
        await keys.check(tx, wanted)

    async def both(tx: Session) -> ResultT:
        if not await keys.grant(tx, wanted):
            raise RoleMissing()
        return await work(tx)

    await make_roles(workshop, [wanted])
    try:
        return await in_turn(owner, both)
    except RoleMissing:
        # Somebody's clean-up dropped it in between; it is made anew, and now it is needed.
        await make_roles(workshop, [wanted])
        return await in_turn(owner, both)


async def retire(owner: Database, key_id: str) -> None:
    """Take the grants of a revoked key's scope, unless another key lives on them."""
    await in_turn(owner, lambda tx: keys.retire(tx, key_id))


async def synchronise(owner: Database, workshop: Workshop) -> list[GrantedScope]:
    """Make every role that a living key needs, grant it what its scope says, and drop the roles that none needs.

    Raises ConfigurationError when a role is missing and can't be made.
    """
    async with owner.transaction(read_only=True) as tx:
        needed = await keys.needed(tx)
    await make_roles(workshop, needed)
    found = await in_turn(owner, keys.grant_all)
    unneeded = [scope.role for scope in found if scope.state == "unneeded"]
    if unneeded:
        try:
            dropped = await roles.drop(workshop.dsn, unneeded)
        except errors.Forbidden:
            # They own nothing and may do nothing; whoever may drop roles does it at the next occasion.
            dropped = []
        found = [msgspec.structs.replace(s, state="dropped") if s.role in dropped else s for s in found]

    return [scope for scope in found if scope.state != "gone"]


async def make_roles(workshop: Workshop, scopes: list[Scope]) -> None:
    """Make or mend the login roles of these scopes; raises ConfigurationError when we may not."""
    if not scopes:
        return
    try:
        await roles.ensure(workshop.dsn, workshop.secret, {scope.role: scope.settings for scope in scopes})
    except errors.Forbidden as exc:
        raise errors.ConfigurationError(MAY_NOT_MAKE_ROLES) from exc


async def in_turn(owner: Database, work: Callable[[Session], Awaitable[ResultT]]) -> ResultT:
    """Do `work` in a transaction that alone may grant; raises Overloaded when others never let it.

    Waiting is by trying again: a transaction that waits would hold back CREATE INDEX CONCURRENTLY, and one that waits
    for a table would stop everybody who comes after it.
    """
    for _ in range(ATTEMPTS_MAX):
        try:
            async with owner.transaction() as tx:
                if await keys.take_turn(tx):
                    return await work(tx)
        except errors.Overloaded:
            pass
        await asyncio.sleep(PAUSE_S)

    raise errors.Overloaded("The tables are busy, or migrations are under way; try again in a moment.")
