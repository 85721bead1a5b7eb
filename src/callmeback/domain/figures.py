"""Figures of the whole house: calls by state, lateness, money moved, and whether the ledger adds up."""

from typing import Final

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "figures.sql")


class Figure(msgspec.Struct, frozen=True):
    """One figure; `label` tells those of one name apart, and is empty where there is only one."""

    name: str
    label: str
    value: float


async def house(tx: Session) -> list[Figure]:
    """Every figure, now."""
    return await tx.all(SQL.house, Figure)


async def unproved_accounts(tx: Session) -> int:
    """Accounts whose ledger or hold doesn't add up: 0, or something is badly wrong."""
    number = await tx.value(SQL.unproved_accounts)
    assert isinstance(number, int), "count(*) is a number"

    return number
