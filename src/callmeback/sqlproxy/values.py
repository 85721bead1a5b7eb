"""Parameters from JSON to PostgreSQL's text, and results from PostgreSQL's text to JSON.

Parameters follow node-postgres, so that any client's habits work: null is NULL, a string goes as it is, a list becomes
an array literal, everything else goes as its own JSON text, never through a float.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format

from callmeback import errors

Fix = Callable[[Any], Any]

NESTING_MAX: Final = 32
SAFE_INTEGER_MAX: Final = 2**53 - 1
"""Beyond it a JavaScript number is no longer exact (ECMA-262, Number.MAX_SAFE_INTEGER)."""

_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_string: Final = msgspec.json.Decoder(str).decode
NOT_TEXT: Final = "A parameter holds a character that text in PostgreSQL can't hold."


def parameter(raw: msgspec.Raw) -> bytes | None:
    """One JSON value as the text of a parameter; raises ValidationFailed for what no text can hold."""
    json = bytes(raw)
    first = json[:1]
    if first == b'"':
        return json[1:-1] if b"\\" not in json else _unescaped(json)
    if json == b"null":
        return None
    if first == b"[":
        return _array(json, NESTING_MAX)

    return json


def _unescaped(json: bytes) -> bytes:
    try:
        text = _decode_string(json).encode()
    except (msgspec.MsgspecError, UnicodeError) as exc:
        raise errors.ValidationFailed(NOT_TEXT, sqlstate="22021") from exc
    if b"\0" in text:
        # libpq takes text up to the first NUL, so this would be cut without a word.
        raise errors.ValidationFailed(NOT_TEXT, sqlstate="22021")

    return text


def _array(json: bytes, depth: int) -> bytes:
    """A list as an array literal: every element quoted, so that no character in it means anything."""
    if not depth:
        raise errors.ValidationFailed("A parameter is nested too deeply.", sqlstate="22P02")
    parts = []
    for element in _decode_list(json):
        inner = bytes(element)
        if inner[:1] == b"[":
            parts.append(_array(inner, depth - 1))
        else:
            text = parameter(element)
            parts.append(b"NULL" if text is None else b'"%s"' % text.replace(b"\\", b"\\\\").replace(b'"', b'\\"'))

    return b"{%s}" % b",".join(parts)


# Oids of pg_type.dat that never change.
BOOL, INT8, INT2, INT4, TEXT, OID, JSON, FLOAT4, FLOAT8 = 16, 20, 21, 23, 25, 26, 114, 700, 701
TIMESTAMPTZ, JSONB = 1184, 3802
FIRST_OF_USERS: Final = 16_384
"""Types below it come with PostgreSQL (FirstNormalObjectId)."""


def timestamp(text: str) -> str:
    """PostgreSQL's timestamptz as RFC 3339; what that can't say (infinity, years before Christ) stays as it is."""
    if text[-3:] == "+00":
        return text.replace(" ", "T") + ":00"
    if " " not in text or text.endswith("BC"):
        return text
    # A session of ours is in UTC, except an administrator's that said otherwise.
    offset = ":00" if text[-3] in "+-" else ""

    return text.replace(" ", "T") + offset


def integer(value: int) -> int | str:
    """A bigint as a number as long as every client reads it exactly."""
    return value if -SAFE_INTEGER_MAX <= value <= SAFE_INTEGER_MAX else str(value)


def number(value: float) -> float | str:
    """A float; NaN and the infinities, which JSON lacks, by PostgreSQL's names."""
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"

    return value


def document(text: str) -> msgspec.Raw:
    """A json value as itself. A line break in it can only stand between tokens, and would break a line of NDJSON."""
    if "\n" in text or "\r" in text:
        text = text.replace("\n", " ").replace("\r", " ")

    return msgspec.Raw(text.encode())


# How psycopg's C loaders take a column (everything else as text), and what is done with a value afterwards.
LOADERS: Final = {BOOL: BOOL, INT2: INT4, INT4: INT4, OID: INT4, INT8: INT4, FLOAT4: FLOAT8, FLOAT8: FLOAT8}
FIXES: Final[dict[int, Fix]] = {
    INT8: integer,
    FLOAT4: number,
    FLOAT8: number,
    JSON: document,
    JSONB: document,
    TIMESTAMPTZ: timestamp,
}
_ELEMENTS: Final[dict[int, Fix]] = {
    BOOL: lambda text: text == "t",
    INT2: int,
    INT4: int,
    OID: int,
    INT8: lambda text: integer(int(text)),
    FLOAT4: lambda text: number(float(text)),
    FLOAT8: lambda text: number(float(text)),
    JSON: document,
    JSONB: document,
    TIMESTAMPTZ: timestamp,
}


class Arrays:
    """Which types are arrays, and of what. Those of users are looked up once, by whoever meets them first."""

    def __init__(self) -> None:
        self._fixes: dict[int, Fix | None] = {}
        for info in psycopg.adapters.types:
            if info.array_oid:
                self._fixes[info.array_oid] = array_fix(info.oid, info.delimiter)

    def is_unknown(self, oid: int) -> bool:
        """Whether a type has to be looked up first."""
        return oid >= FIRST_OF_USERS and oid not in self._fixes

    def fix(self, oid: int) -> Fix | None:
        """What makes a list of such a value's text; None when it is no array."""
        return self._fixes.get(oid)

    def learn(self, oid: int, element: int, delimiter: str, category: str) -> None:
        """What the catalogue says of a type."""
        self._fixes[oid] = array_fix(element, delimiter) if category == "A" and element else None


def array_fix(element: int, delimiter: str) -> Fix:
    """What makes lists of the array literals of one type."""
    convert = _ELEMENTS.get(element)

    return lambda text: array(text, convert, delimiter)


# A quoted element, a bare one, or a bracket; delimiters are what is skipped between them.
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([{}])|([^{}"]+)', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


TEXT_ARRAY: Final = 1009
# Written in C: forty times as fast as what follows, and no request may keep all others waiting for seconds.
_texts: Final = Transformer().get_loader(TEXT_ARRAY, Format.TEXT)


def array(text: str, convert: Fix | None, delimiter: str) -> list[Any]:
    """An array literal as lists of lists (PostgreSQL manual, 8.15.6)."""
    if delimiter == ",":
        plain: list[Any] = _texts.load(text.encode())
        return plain if convert is None else _converted(plain, convert)
    if not text.startswith("{"):
        # Bounds other than 1 are written before it.
        text = text[text.index("=") + 1 :]
    root: list[Any] = []
    stack = [root]
    for match in _TOKEN.finditer(text):
        quoted, bracket, bare = match.groups()
        if bracket == "{":
            inner: list[Any] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif bracket == "}":
            stack.pop()
        elif bare is not None:
            stack[-1].extend(
                None if each == "NULL" else (convert(each) if convert else each)
                for each in bare.split(delimiter)
                if each
            )
        else:
            value = _ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted
            stack[-1].append(convert(value) if convert else value)

    found: list[Any] = root[0]
    return found


def _converted(found: list[Any], convert: Fix) -> list[Any]:
    return [
        None if each is None else _converted(each, convert) if isinstance(each, list) else convert(each)
        for each in found
    ]


def parameters(raws: Sequence[msgspec.Raw] | None) -> list[bytes | None]:
    """All of a statement's parameters."""
    return [parameter(raw) for raw in raws] if raws else []
