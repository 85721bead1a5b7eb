"""What an operator does to accounts, from the command line and as the owner of the database."""

from datetime import datetime
from typing import Final, Literal

import msgspec

from callmeback import errors, ids
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "operators.sql")

PAGE_MAX: Final = 200
CREDITS_MAX: Final = 1_000_000
REASON_LENGTH_MAX: Final = 200
CAUSE_LENGTH_MAX: Final = 100
# Greater than every id, so that the first page begins at the newest.
_NEWEST: Final = "~"

Role = Literal["admin", "user"]


class AccountLine(msgspec.Struct, frozen=True):
    """An account as an operator sees it; credits are started minutes."""

    id: str
    email: str
    name: str | None
    tier: str
    available_credits: int
    held_credits: int
    debt_credits: int
    role: str
    is_blocked: bool
    is_erased: bool
    created_at: datetime


async def accounts(tx: Session, *, limit: int = PAGE_MAX, before: str | None = None) -> list[AccountLine]:
    """The newest accounts, or those older than the id `before`; at most PAGE_MAX."""
    return await tx.all(SQL.accounts, AccountLine, before=before or _NEWEST, limit=min(limit, PAGE_MAX))


async def account(tx: Session, who: str) -> AccountLine:
    """The account of an e-mail or an id; raises NotFound."""
    found = await tx.maybe(SQL.account, AccountLine, who=who.strip())
    if found is None:
        raise errors.NotFound("There is no account with this e-mail or id.")

    return found


async def set_role(tx: Session, user_id: str, role: Role, granted_by: str) -> None:
    """Make somebody an admin or an ordinary user again; `granted_by` is the system account that asked."""
    if role == "admin":
        await tx.run(SQL.grant_admin, user_id=user_id, granted_by=granted_by)
    else:
        await tx.run(SQL.take_admin, user_id=user_id)


async def set_tier(tx: Session, user_id: str, tier: str) -> None:
    """Put an account on a tier; raises UnknownTier."""
    await tx.run(SQL.set_tier, user_id=user_id, tier=tier)


async def adjust(tx: Session, user_id: str, amount: int, reason: str) -> int:
    """Give (+) or take (-) credits, once per call of this function; answers the balance after.

    What is taken and isn't there becomes debt. `reason` stays in the ledger for ever, so it names no person. Raises
    ValidationFailed.
    """
    if amount == 0 or abs(amount) > CREDITS_MAX:
        raise errors.ValidationFailed(f"The amount must be between 1 and {CREDITS_MAX} credits, up or down.")
    if not 1 <= len(reason.strip()) <= REASON_LENGTH_MAX:
        raise errors.ValidationFailed(f"The reason must have 1 to {REASON_LENGTH_MAX} characters.")
    cause = f"adjust:{ids.new('txn')}"
    balance = await tx.value(SQL.adjust, user_id=user_id, amount=amount, cause=cause, reason=reason.strip())

    return int(balance)


async def grant(tx: Session, user_id: str, credits: int, cause: str, expires_at: datetime) -> bool:
    """Give credits that expire, once per `cause`; False where this cause gave them before. Raises ValidationFailed.

    `cause` stays in the ledger for ever, so it names no person.
    """
    if not 1 <= credits <= CREDITS_MAX:
        raise errors.ValidationFailed(f"A promotion gives 1 to {CREDITS_MAX} credits.")
    if not 1 <= len(cause.strip()) <= CAUSE_LENGTH_MAX:
        raise errors.ValidationFailed(f"The cause must have 1 to {CAUSE_LENGTH_MAX} characters.")
    given: bool = await tx.value(
        SQL.grant,
        user_id=user_id,
        grant_id=ids.new("grant"),
        credits=credits,
        cause=cause.strip(),
        expires_at=expires_at,
    )

    return given


async def block(tx: Session, user_id: str) -> None:
    """No login and no new calls from now on; open sessions end with their next request."""
    await tx.run(SQL.block, user_id=user_id)


async def unblock(tx: Session, user_id: str) -> None:
    """Allow login and calls again."""
    await tx.run(SQL.unblock, user_id=user_id)


async def erase(tx: Session, user_id: str) -> None:
    """Empty the person for good; raises CallInProgress while a call is open."""
    await tx.run(SQL.erase, user_id=user_id)
