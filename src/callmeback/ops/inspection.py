"""Looking inside the database: long tables for people who look for what is large, slow or in the way."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from callmeback.pg import statements
from callmeback.pg.pool import Session
from callmeback.pg.statements import Statement

SQL: Final = statements.load("callmeback.ops", "inspection.sql")

ROWS_MAX: Final = 500
ROWS_DEFAULT: Final = 50

Row = dict[str, Any]

# What each table tells, by its name.
TABLES: Final[Mapping[str, str]] = {statement.name: statement.purpose for statement in SQL}
_STATEMENTS: Final[Mapping[str, Statement]] = {statement.name: statement for statement in SQL}


async def rows(tx: Session, name: str, most: int = ROWS_DEFAULT) -> list[Row]:
    """The first rows of one of TABLES; bytes and seconds as numbers."""
    found = await tx.dicts(_STATEMENTS[name], most=min(most, ROWS_MAX))

    return [{key: float(value) if isinstance(value, Decimal) else value for key, value in row.items()} for row in found]
