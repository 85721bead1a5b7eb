"""Writing to the table itself: the target of a change gets its schema, nothing else in a text is ever rewritten.

A key reads through views that bear the tables' names and come first in its search path; a change goes to the table.
"""

from collections.abc import Iterable
from typing import Final

# Where the application's tables live. No quoting is needed, so what is inserted has as many characters as bytes.
QUALIFIER: Final = b"public."


def qualify(text: bytes, offsets: Iterable[int]) -> bytes:
    """Insert the schema at each byte offset, which must be where a name begins."""
    parts: list[bytes] = []
    done = 0
    for offset in sorted(offsets):
        parts += (text[done:offset], QUALIFIER)
        done = offset

    return b"".join((*parts, text[done:]))


def shift_of(text: bytes, offsets: Iterable[int]) -> tuple[int, ...]:
    """The same places counted in characters from 0, for `original_position`."""
    return tuple(len(text[:offset].decode()) for offset in sorted(offsets))


def original_position(position: int, shift: tuple[int, ...]) -> int:
    """Where a position in the text that was sent (characters from 1, as PostgreSQL reports it) stood in the caller's.

    A position inside what was inserted is that of the name which follows.
    """
    for inserted, offset in enumerate(shift):
        begin = offset + inserted * len(QUALIFIER)
        if position <= begin:
            return position - inserted * len(QUALIFIER)
        if position <= begin + len(QUALIFIER):
            return offset + 1

    return position - len(shift) * len(QUALIFIER)
