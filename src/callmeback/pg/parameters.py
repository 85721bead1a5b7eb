"""Python values as PostgreSQL's text format, without naming a type.

The server takes each parameter's type from the statement, exactly as when a test PREPAREs it. So one statement has one
plan whatever the size of an integer, and NULL is no other type than a value.
"""

import enum
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from callmeback import errors


class Json(msgspec.Struct, frozen=True):
    """A value for a json or jsonb parameter. Lists and scalars need it; dicts and Structs go as JSON anyway."""

    value: object


def encode(value: object) -> bytes | None:
    """The text format of `value`, None for NULL.

    Raises ValidationFailed for text that PostgreSQL can't hold (NUL, lone surrogates) and for a moment that has no date
    in UTC, TypeError for a naive datetime and for a type without a rule.
    """
    if value is None:
        return None
    rule = _RULES.get(type(value)) or _rule_of_parent(value)

    return rule(value)


def _rule_of_parent(value: object) -> Callable[..., bytes]:
    for parent in type(value).__mro__:
        if parent in _RULES:
            return _RULES[parent]

    raise TypeError(f"no rule to send {type(value).__name__} to PostgreSQL")


def _text(value: str) -> bytes:
    if "\0" in value:
        raise errors.ValidationFailed("A text can't contain the NUL character.")
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise errors.ValidationFailed("A text contains half a character.") from exc


def _enum(value: enum.Enum) -> bytes:
    encoded = encode(value.value)
    assert encoded is not None

    return encoded


def _moment(value: datetime) -> bytes:
    if value.tzinfo is None:
        raise TypeError("a datetime without a time zone is no moment in time")

    try:
        return value.astimezone(UTC).isoformat().encode()
    except OverflowError as exc:
        raise errors.ValidationFailed("A time lies beyond the end of the calendar.") from exc


def _interval(value: timedelta) -> bytes:
    return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds".encode()


def _array(value: list[object] | tuple[object, ...] | frozenset[object] | set[object]) -> bytes:
    return b"{" + b",".join(_element(item) for item in value) + b"}"


def _element(item: object) -> bytes:
    if isinstance(item, list | tuple):
        return _array(item)
    encoded = encode(item)
    if encoded is None:
        return b"NULL"

    return b'"' + encoded.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _json(value: object) -> bytes:
    encoded = msgspec.json.encode(value)
    if b"\\u0000" in encoded:  # jsonb holds text, and text has no NUL
        raise errors.ValidationFailed("A text can't contain the NUL character.")

    return encoded


_RULES: Final[dict[type, Callable[..., bytes]]] = {
    str: _text,
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: str(value).encode(),
    float: lambda value: repr(value).encode(),
    Decimal: lambda value: str(value).encode(),
    datetime: _moment,
    date: lambda value: value.isoformat().encode(),
    timedelta: _interval,
    uuid.UUID: lambda value: str(value).encode(),
    bytes: lambda value: b"\\x" + value.hex().encode(),
    list: _array,
    tuple: _array,
    set: _array,
    frozenset: _array,
    dict: _json,
    Json: lambda wrapped: _json(wrapped.value),
    msgspec.Struct: _json,
    enum.Enum: _enum,
}
