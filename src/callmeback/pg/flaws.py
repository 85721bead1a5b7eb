"""Flaws of a schema, by its catalogue: `migrate lint` looks for them in the files, the doctor in a living database."""

from typing import Final

import msgspec

from callmeback.pg import statements

SQL: Final = statements.load("callmeback.pg", "flaws.sql")


class Flaw(msgspec.Struct, frozen=True):
    """What is wrong with an object, how much it matters, and the command that mends it (None: a person must decide)."""

    object: str
    detail: str
    is_red: bool
    mend: str | None = None
