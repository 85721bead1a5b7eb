"""A column as a whole becomes what its values become one by one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback.sqlproxy import columns, values
from callmeback.sqlproxy.values import Arrays

ARRAYS = Arrays()
MOMENTS = st.sampled_from(
    [
        "2026-11-25 10:34:56.789123+00",
        "2026-11-25 00:00:00+00",
        "10000-01-01 00:00:00+00",
        "0044-03-15 12:00:00+00 BC",
        "infinity",
        "-infinity",
        "2026-11-25 10:34:56+05:30",
        "2026-11-25 10:34:56-08",
    ]
)
CELLS: dict[int, st.SearchStrategy[Any]] = {
    values.INT8: st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53 - 1, 2**53, -(2**53) + 1, -(2**53)]),
    values.FLOAT4: st.floats(width=32),
    values.FLOAT8: st.floats(),
    values.TIMESTAMPTZ: st.just("2026-11-25 10:34:56.7+00") | MOMENTS,
    values.JSONB: st.sampled_from(['{"a": 1}', "null", "[1,\n2]"]),
    1007: st.sampled_from(["{1,2,NULL}", "{}", "{{1},{2}}"]),
}


@pytest.mark.parametrize("oid", CELLS)
def test_a_column_is_fixed_like_its_values(oid: int) -> None:
    one = values.FIXES.get(oid) or ARRAYS.fix(oid)
    whole = columns.fix_of(oid, ARRAYS)
    assert one is not None and whole is not None

    @given(st.lists(CELLS[oid], min_size=1, max_size=6) | st.lists(CELLS[oid] | st.none(), min_size=1, max_size=6))
    def check(column: list[Any]) -> None:
        expected = [None if value is None else one(value) for value in column]

        assert msgspec.json.encode(list(whole(tuple(column)))) == msgspec.json.encode(expected)

    check()


def test_most_types_need_nothing() -> None:
    assert [columns.fix_of(oid, ARRAYS) for oid in (values.TEXT, values.INT4, values.BOOL)] == [None] * 3
