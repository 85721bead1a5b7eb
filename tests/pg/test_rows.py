"""Rows: a Struct gets exactly its columns, in any order, with the types that it says."""

import enum
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from callmeback.pg import rows
from callmeback.pg.pool import Database
from callmeback.pg.statements import parse

SQL = parse(
    """
-- name: one_call
-- p
SELECT 12.30::numeric AS cost, 'c1' AS id, '2026-01-01 01:00+01'::timestamptz AS at;
-- name: many
-- p
SELECT i AS id, i * 2 AS twice FROM generate_series(1, 3) AS i ORDER BY i;
-- name: nothing
-- p
SELECT 1 AS id, 2 AS twice WHERE false;
-- name: nested
-- p
SELECT '{"stability": 0.5}'::jsonb AS voice, '[{"stability": 1}]'::jsonb AS others, 'red' AS colour, NULL AS second;
-- name: twice_the_same
-- p
SELECT 1 AS id, 2 AS id
""",
    "test",
)


class Call(msgspec.Struct, frozen=True):
    id: str
    cost: Decimal
    at: datetime


class KeywordCall(msgspec.Struct, frozen=True, kw_only=True):
    cost: Decimal
    id: str
    at: datetime


class Pair(msgspec.Struct, frozen=True):
    id: int
    twice: int


class Voice(msgspec.Struct, frozen=True):
    stability: float


class Colour(enum.Enum):
    RED = "red"


class Nested(msgspec.Struct, frozen=True):
    voice: Voice
    others: list[Voice]
    colour: Colour
    second: Voice | None


@pytest.mark.anyio
@pytest.mark.parametrize("shape", [Call, KeywordCall])
async def test_columns_go_to_the_fields_of_their_name(owner: Database, shape: type[msgspec.Struct]):
    async with owner.transaction() as tx:
        found = await tx.one(SQL.one_call, shape)

    assert found == shape(id="c1", cost=Decimal("12.30"), at=datetime(2026, 1, 1, tzinfo=UTC))
    assert found.at.tzinfo is UTC  # type: ignore[attr-defined]  # both shapes have it


@pytest.mark.anyio
async def test_rows_keep_the_order_of_the_statement(owner: Database):
    async with owner.transaction() as tx:
        assert await tx.all(SQL.many, Pair) == [Pair(1, 2), Pair(2, 4), Pair(3, 6)]
        assert await tx.dicts(SQL.many) == [{"id": 1, "twice": 2}, {"id": 2, "twice": 4}, {"id": 3, "twice": 6}]
        assert await tx.all(SQL.nothing, Pair) == []
        assert await tx.maybe(SQL.nothing, Pair) is None


@pytest.mark.anyio
async def test_json_becomes_the_structs_of_the_field(owner: Database):
    async with owner.transaction() as tx:
        found = await tx.one(SQL.nested, Nested)

    assert found == Nested(Voice(0.5), [Voice(1.0)], Colour.RED, None)


@pytest.mark.anyio
async def test_a_shape_that_differs_is_a_mistake_that_names_the_difference(owner: Database):
    async with owner.transaction() as tx:
        with pytest.raises(rows.RowMismatch, match=r"Pair: no column for \['twice'\], no field for \['at', 'cost'\]"):
            await tx.one(SQL.one_call, Pair)
        with pytest.raises(rows.RowMismatch, match="there twice"):
            await tx.one(SQL.twice_the_same, Pair)
