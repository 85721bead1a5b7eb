"""Rows into frozen Structs by column name: the columns of a result are exactly the fields of its Struct.

numeric becomes Decimal, timestamptz an aware datetime in UTC, json whatever the field's type says.
"""

import enum
import inspect
import typing
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from psycopg import adapters
from psycopg.adapt import AdaptersMap
from psycopg.pq.abc import PGresult
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextLoader

ShapeT = TypeVar("ShapeT", bound=msgspec.Struct)
Maker = Callable[[Sequence[Any]], ShapeT]

# More (Struct, columns) pairs than the whole package has statements.
_PLANS_MAX: Final = 1_024


class RowMismatch(TypeError):
    """The columns of a result are not the fields of the Struct it was asked as."""


class Types:
    """psycopg's loaders with ours, as the `context` of a connection: JSON by msgspec, network addresses as text."""

    connection = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap(adapters)
        set_json_loads(msgspec.json.decode, self)
        for name in ("inet", "cidr"):
            self.adapters.register_loader(name, TextLoader)


def columns(result: PGresult) -> tuple[str, ...]:
    """The column names of a result, in order."""
    return tuple((result.fname(index) or b"").decode() for index in range(result.nfields))


@lru_cache(maxsize=_PLANS_MAX)
def maker(shape: type[ShapeT], names: tuple[str, ...]) -> Maker[ShapeT]:
    """How to build `shape` from a row with these columns; raises RowMismatch that names the difference.

    Worked out once per pair; afterwards a row costs one call of the Struct.
    """
    fields = msgspec.structs.fields(shape)
    _compare(shape, [field.name for field in fields], names)
    conversions = [(field.name, field.type) for field in fields if _needs_conversion(field.type)]
    if conversions:
        return _converting(shape, names, conversions)
    if names == tuple(inspect.signature(shape).parameters) and _is_positional(shape):
        return lambda values: shape(*values)

    return lambda values: shape(**dict(zip(names, values, strict=True)))


def _compare(shape: type[msgspec.Struct], fields: list[str], names: tuple[str, ...]) -> None:
    if len(set(names)) != len(names):
        raise RowMismatch(f"{shape.__name__}: a column is there twice among {', '.join(names)}")
    missing, extra = set(fields) - set(names), set(names) - set(fields)
    if missing or extra:
        raise RowMismatch(
            f"{shape.__name__}: no column for {sorted(missing) or 'nothing'}, no field for {sorted(extra) or 'nothing'}"
        )


def _is_positional(shape: type[msgspec.Struct]) -> bool:
    kinds = {parameter.kind for parameter in inspect.signature(shape).parameters.values()}
    return kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def _needs_conversion(kind: Any) -> bool:
    """Whether a field holds Structs or enums, which no loader makes."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct | enum.Enum):
        return True

    return any(_needs_conversion(part) for part in typing.get_args(kind))


def _converting(shape: type[ShapeT], names: tuple[str, ...], conversions: list[tuple[str, Any]]) -> Maker[ShapeT]:
    def make(values: Sequence[Any]) -> ShapeT:
        row = dict(zip(names, values, strict=True))
        for name, kind in conversions:
            row[name] = msgspec.convert(row[name], kind)

        return shape(**row)

    return make
