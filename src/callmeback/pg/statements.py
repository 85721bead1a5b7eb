"""Statements: named blocks of a `.sql` file beside the module that runs them, read once at import.

    -- name: call_of_user
    -- One call as its owner sees it.
    -- returns: Call
    SELECT c.id, c.status
    FROM calls AS c
    WHERE c.id = %(call_id)s

Placeholders are `%(name)s`, a literal percent sign is `%%`. Nothing here talks to a server.
"""

import hashlib
import re
from collections.abc import Iterator
from importlib import resources
from typing import Final

import msgspec

from callmeback.pg import lexer

_NAME: Final = re.compile(r"--\s*name:\s*(?P<name>.*?)\s*\Z")
_RETURNS: Final = re.compile(r"--\s*returns:\s*(?P<shape>.*?)\s*\Z")
_PLACEHOLDER: Final = re.compile(r"%(?:(?P<literal>%)|\((?P<name>[a-z][a-z0-9_]*)\)s)?")
_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


class StatementError(ValueError):
    """A `.sql` file that can't be read as named statements; the message names the file and the line."""


class Statement(msgspec.Struct, frozen=True):
    """One statement.

    `text` is as written, `native` the same with `$1…` in the order of `parameters`; `returns` names a Struct of the
    module beside the file, or is None. `key` names it in a connection's prepared statements.
    """

    name: str
    text: str
    purpose: str
    returns: str | None
    parameters: tuple[str, ...]
    native: bytes
    key: bytes


class Statements:
    """The statements of one file, as attributes."""

    def __init__(self, source: str, found: dict[str, Statement]) -> None:
        self._source = source
        self._found = found

    def __getattr__(self, name: str) -> Statement:
        try:
            return self._found[name]
        except KeyError:
            raise AttributeError(f"{self._source} has no statement named {name!r}") from None

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)


def load(package: str, filename: str) -> Statements:
    """Read `filename` of `package`; raises StatementError for a malformed one."""
    source = f"{package.replace('.', '/')}/{filename}"
    return parse(resources.files(package).joinpath(filename).read_text("utf-8"), source)


def parse(text: str, source: str) -> Statements:
    """Cut `text` into its statements; `source` is what errors call it."""
    found: dict[str, Statement] = {}
    start, name = 0, ""
    lines = text.splitlines()
    for number, line in enumerate([*lines, "-- name: end"], 1):
        match = _NAME.match(line)
        if match is None:
            if not name and line.strip() and not line.lstrip().startswith("--"):
                raise StatementError(f"{source}:{number}: text before the first `-- name:`")
            continue
        if name:
            statement = _read(name, lines[start : number - 1], f"{source}:{start}")
            if name in found:
                raise StatementError(f"{source}:{start}: {name} is there twice")
            found[name] = statement
        start, name = number, match["name"]
        if number <= len(lines) and not _IDENTIFIER.match(name):
            raise StatementError(f"{source}:{number}: {name!r} is no name for a statement")

    return Statements(source, found)


def _read(name: str, lines: list[str], place: str) -> Statement:
    header = 0
    while header < len(lines) and lines[header].startswith("--"):
        header += 1
    comments, body = lines[:header], "\n".join(lines[header:]).strip()
    shapes = [match["shape"] for line in comments if (match := _RETURNS.match(line))]
    purpose = " ".join(line.lstrip("- ").strip() for line in comments if not _RETURNS.match(line)).strip()
    if not purpose:
        raise StatementError(f"{place}: {name} has no line of purpose")
    if len(shapes) > 1 or (shapes and not shapes[0].isidentifier()):
        raise StatementError(f"{place}: {name} must name one Struct after `-- returns:`")
    body = _single(body, f"{place}: {name}")
    native, parameters = _native(body, f"{place}: {name}")
    key = f"{name}_{hashlib.sha256(native).hexdigest()[:12]}"[-60:]  # a name has at most 63 bytes

    return Statement(name, body, purpose, shapes[0] if shapes else None, parameters, native, key.encode())


def _single(body: str, place: str) -> str:
    """The one statement of a block, without its semicolon."""
    try:
        found = lexer.pieces(body)
    except lexer.UnfinishedText as exc:
        raise StatementError(f"{place}: {exc}") from exc
    if len(found) != 1:
        raise StatementError(f"{place} must be exactly one statement, found {len(found)}")
    if any(token.kind == "parameter" for token in lexer.tokens(body)):
        raise StatementError(f"{place} must name its parameters: %(name)s, not $1")

    return found[0].text


def _native(text: str, place: str) -> tuple[bytes, tuple[str, ...]]:
    """Replace `%(name)s` by `$n`; a percent sign that is neither that nor doubled is refused, as psycopg does."""
    order: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        if match["literal"]:
            return "%"
        if match["name"] is None:
            raise StatementError(f"{place}: a percent sign must be doubled or be %(name)s")
        return f"${order.setdefault(match['name'], len(order) + 1)}"

    native = _PLACEHOLDER.sub(number, text)

    return native.encode(), tuple(order)
