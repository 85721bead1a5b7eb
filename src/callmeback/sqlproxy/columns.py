"""Columns of a result, from what psycopg's loaders give to what JSON has: a whole column at a time.

What every value of a column needs is looked at once, by functions written in C, and most columns need nothing more.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any, Final

from callmeback.sqlproxy import values
from callmeback.sqlproxy.values import SAFE_INTEGER_MAX, Arrays, Fix

FixAll = Callable[[Sequence[Any]], Sequence[Any]]

UTC: Final = "+00"
RFC_UTC: Final = "+00:00"


def each(fix: Fix, column: Sequence[Any]) -> Sequence[Any]:
    """One value after another."""
    return [None if value is None else fix(value) for value in column]


def integers(column: Sequence[Any]) -> Sequence[Any]:
    """bigint."""
    if None in column or max(column) > SAFE_INTEGER_MAX or min(column) < -SAFE_INTEGER_MAX:
        return each(values.integer, column)

    return column


def numbers(column: Sequence[Any]) -> Sequence[Any]:
    """float4 and float8."""
    if None in column or not all(map(isfinite, column)):
        return each(values.number, column)

    return column


def timestamps(column: Sequence[Any]) -> Sequence[Any]:
    """timestamptz, where all of it is as a session in UTC writes a moment of our era."""
    if None not in column:
        joined = "\n".join(column)
        count = len(column)
        is_plain = joined.count(" ") == joined.count(UTC) == count and joined.count("+00\n") == count - 1
        if is_plain and joined.endswith(UTC):
            return joined.replace(" ", "T").replace(UTC, RFC_UTC).split("\n")

    return each(values.timestamp, column)


_WHOLE: Final[dict[int, FixAll]] = {
    values.INT8: integers,
    values.FLOAT4: numbers,
    values.FLOAT8: numbers,
    values.TIMESTAMPTZ: timestamps,
}


def fix_of(oid: int, arrays: Arrays) -> FixAll | None:
    """What a column of this type needs; None where nothing."""
    whole = _WHOLE.get(oid)
    if whole is not None:
        return whole
    fix = values.FIXES.get(oid) or arrays.fix(oid)

    return None if fix is None else partial(each, fix)
