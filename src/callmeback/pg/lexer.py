"""A lexer for PostgreSQL's SQL: enough to find comments, strings, words and the ends of statements, without a parser.

It follows PostgreSQL's scanner with standard_conforming_strings on (src/backend/parser/scan.l) and psql's rule for the
semicolons inside `BEGIN ATOMIC … END` bodies (src/fe_utils/psqlscan.l). It judges no grammar; the server does that.
"""

import re
from typing import Final

import msgspec

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<escape>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>(?:[uU]&|[bBxXnN])?'(?:[^']|'')*')
    | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")*")
    | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$)
    | (?P<parameter>\$\d+)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*|\.\d[\w.]*)
    | (?P<end>;)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK: Final = re.compile(r"/\*|\*/")
_SILENT: Final = frozenset({"space", "comment", "block"})
_ROUTINES: Final = frozenset({"FUNCTION", "PROCEDURE"})


class Token(msgspec.Struct, frozen=True):
    """One token: what it is, its text as written, and where it starts (characters from 0, lines from 1)."""

    kind: str
    text: str
    start: int
    line: int


class Piece(msgspec.Struct, frozen=True):
    """One statement of a file, without its semicolon and the comments before it.

    `words` are its leading words in upper case (at most `LEADING_WORDS`); `line` is the line of the first one.
    """

    text: str
    line: int
    words: tuple[str, ...]


LEADING_WORDS: Final = 12


class UnfinishedText(ValueError):
    """A string, quoted name, comment or dollar quote that never ends."""


def tokens(sql: str) -> list[Token]:
    """Cut `sql` into tokens that join to the same text; raises UnfinishedText with the line."""
    found: list[Token] = []
    position, line = 0, 1
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None, "the last alternative takes any character"
        kind = match.lastgroup if match.lastgroup != "tag" else "dollar"
        assert kind is not None
        end = _end_of(sql, match, kind, line)
        text = sql[position:end]
        found.append(Token(kind, text, position, line))
        line += text.count("\n")
        position = end

    return found


def _end_of(sql: str, match: re.Match[str], kind: str, line: int) -> int:
    if kind == "block":
        return _end_of_block(sql, match.end(), line)
    if kind == "dollar":
        closing = sql.find(match.group(0), match.end())
        if closing < 0:
            raise UnfinishedText(f"line {line}: {match.group(0)} is never closed")
        return closing + len(match.group(0))
    if kind == "other" and match.group(0) in "'\"":
        raise UnfinishedText(f"line {line}: a {match.group(0)} is never closed")

    return match.end()


def _end_of_block(sql: str, position: int, line: int) -> int:
    """Block comments nest (PostgreSQL manual, 4.1.5)."""
    depth = 1
    for mark in _BLOCK.finditer(sql, position):
        depth += 1 if mark.group(0) == "/*" else -1
        if depth == 0:
            return mark.end()

    raise UnfinishedText(f"line {line}: /* is never closed")


def pieces(sql: str) -> list[Piece]:
    """The statements of a file in order; empty ones are left out. Raises UnfinishedText."""
    found: list[Piece] = []
    current: list[Token] = []
    for token in tokens(sql):
        if token.kind == "end" and not _inside_atomic_body(current):
            _close(found, current)
            current = []
        else:
            current.append(token)
    _close(found, current)

    return found


def _close(found: list[Piece], current: list[Token]) -> None:
    first = next((index for index, token in enumerate(current) if token.kind not in _SILENT), None)
    if first is None:
        return
    kept = current[first:]
    words = tuple(token.text.upper() for token in kept if token.kind == "word")[:LEADING_WORDS]
    found.append(Piece("".join(token.text for token in kept).rstrip(), kept[0].line, words))


def _inside_atomic_body(current: list[Token]) -> bool:
    """Whether a semicolon here belongs to the SQL-standard body of a routine (CREATE … BEGIN ATOMIC …; … END)."""
    words = [token.text.upper() for token in current if token.kind == "word"]
    if not words or words[0] != "CREATE" or not _ROUTINES.intersection(words[1:4]):
        return False
    depth = 0
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if (word == "BEGIN" and following == "ATOMIC") or (word == "CASE" and depth):
            depth += 1
        elif word == "END" and depth:
            depth -= 1

    return depth > 0
