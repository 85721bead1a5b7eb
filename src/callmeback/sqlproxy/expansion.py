"""What a text may cost to parse, decided before it is: the parser has no bounds of its own.

Three things were measured to stall or fill a process (pglast 8.8): long runs of operator characters, which the scanner
reads again from each of them; `SET (a, b, …) = (…)`, whose right side the tree repeats once for each column, so that
nested ones multiply; and plain length.
"""

import re
from typing import Final

from pglast import parser

TEXT_BYTES_MAX: Final = 256 * 1024
# A run of n operator characters costs about 4 n² nanoseconds, also inside a comment.
RUN_LENGTH_NOTED: Final = 64
RUN_SQUARES_MAX: Final = 2_000_000
# To read a text's tokens costs 1.5 microseconds each.
SCANNED_BYTES_MAX: Final = 64 * 1024
# The tree as JSON. Dense SQL makes about 45 bytes of each byte of text; a list of 30,000 parameters fits.
TREE_BYTES_MAX: Final = 2 * 1024 * 1024

_OPERATORS: Final = b"~!@#^&|`?+-*/%<>="
_MARKED: Final = bytes(ord("x") if byte in _OPERATORS else ord(" ") for byte in range(256))
_LONG_RUN: Final = b"x" * RUN_LENGTH_NOTED
_RUN: Final = re.compile(rb"x+")
# Where an assignment to several columns may stand: a closing parenthesis before an equals sign or a comment.
_CLOSED: Final = re.compile(rb"\)\s*(?:=|--|/\*)")
_SET: Final = re.compile(rb"set", re.IGNORECASE)
_OPEN, _CLOSE, _COMMA, _EQUALS = "ASCII_40", "ASCII_41", "ASCII_44", "ASCII_61"
_COMMENTS: Final = frozenset({"SQL_COMMENT", "C_COMMENT"})


def refusal_of(text: bytes) -> str | None:
    """Why a text is too large to be parsed, or None."""
    if len(text) > TEXT_BYTES_MAX:
        return f"a statement has at most {TEXT_BYTES_MAX} bytes; this one has {len(text)}"
    marked = text.translate(_MARKED)
    if _LONG_RUN in marked and sum(len(run) ** 2 for run in _RUN.findall(marked)) > RUN_SQUARES_MAX:
        return "too many operator characters in a row"
    if _SET.search(text) and _CLOSED.search(text):
        if len(text) > SCANNED_BYTES_MAX:
            return f"a statement that may assign several columns at once has at most {SCANNED_BYTES_MAX} bytes"
        if _repeated(text) > TEXT_BYTES_MAX:
            return "assignments to several columns at once repeat too much; assign the columns one by one"

    return None


def _repeated(text: bytes) -> int:
    """At most how many bytes the text has once every assignment to several columns repeats its right side.

    Assignments that don't stand inside one another are counted as if they did.
    """
    size = len(text)
    before = ""
    opened: list[tuple[bool, int]] = []
    closed: tuple[bool, int] = (False, 0)
    try:
        tokens = parser.scan(text.decode())
    except parser.ParseError:
        return size  # the parser reads with the same scanner and says what is wrong

    for token in tokens:
        name = token.name
        if name in _COMMENTS:
            continue
        if name == _OPEN:
            opened.append((before in ("SET", _COMMA), 1))
        elif name == _COMMA and opened:
            opened[-1] = (opened[-1][0], opened[-1][1] + 1)
        elif name == _CLOSE and opened:
            closed = opened.pop()
        elif name == _EQUALS and before == _CLOSE and closed[0]:
            size *= closed[1]
            if size > TEXT_BYTES_MAX:
                break
        before = name

    return size
