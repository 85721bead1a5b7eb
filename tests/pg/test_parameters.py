"""Parameters: what goes to the server comes back the same, for every type and every odd value."""

import enum
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callmeback import errors
from callmeback.pg import parameters
from callmeback.pg.parameters import Json, encode
from callmeback.pg.pool import Database
from callmeback.pg.statements import parse

SQL = parse(
    """
-- name: echo_text
-- p
SELECT %(v)s::text;
-- name: echo_numeric
-- p
SELECT %(v)s::numeric;
-- name: echo_moment
-- p
SELECT %(v)s::timestamptz;
-- name: echo_date
-- p
SELECT %(v)s::date;
-- name: echo_interval
-- p
SELECT %(v)s::interval;
-- name: echo_bool
-- p
SELECT %(v)s::boolean;
-- name: echo_int
-- p
SELECT %(v)s::bigint;
-- name: echo_float
-- p
SELECT %(v)s::float8;
-- name: echo_bytes
-- p
SELECT %(v)s::bytea;
-- name: echo_uuid
-- p
SELECT %(v)s::uuid;
-- name: echo_texts
-- p
SELECT %(v)s::text[];
-- name: echo_numbers
-- p
SELECT %(v)s::integer[];
-- name: echo_json
-- p
SELECT %(v)s::jsonb;
-- name: echo_address
-- p
SELECT %(v)s::inet
""",
    "test",
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


class Colour(enum.Enum):
    RED = "red"


class Name(enum.StrEnum):
    BRAD = "brad"


class Voice(msgspec.Struct, frozen=True):
    stability: float
    name: str | None = None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("echo_text", ""),
        ("echo_text", 'it\'s "quoted" \\ ünïcödé 📞\n'),
        ("echo_text", None),
        ("echo_numeric", Decimal("-12345678901234567890.0123456789")),
        ("echo_numeric", Decimal("0E-10")),
        ("echo_moment", datetime(2026, 3, 29, 1, 59, 59, 999999, tzinfo=UTC)),
        ("echo_moment", datetime(1, 1, 1, tzinfo=UTC)),
        ("echo_date", date(9999, 12, 31)),
        ("echo_interval", timedelta(days=-3, seconds=5, microseconds=1)),
        ("echo_bool", True),
        ("echo_bool", False),
        ("echo_int", 2**63 - 1),
        ("echo_int", -(2**63)),
        ("echo_float", 1e-300),
        ("echo_bytes", b"\x00\xff'\\"),
        ("echo_bytes", b""),
        ("echo_uuid", uuid.UUID(int=7)),
        ("echo_texts", ["a", "", 'b"c', "d\\e", "NULL", None, "{x,y}", " "]),
        ("echo_texts", []),
        ("echo_numbers", [[1, 2], [3, None]]),
        ("echo_json", {"a": [1, None, {"b": 'ü\\n"'}], "c": True}),
        ("echo_json", {}),
        ("echo_address", "10.0.0.0/8"),
    ],
)
async def test_a_value_comes_back_the_same(owner: Database, statement: str, value: object):
    async with owner.transaction() as tx:
        found = await tx.value(getattr(SQL, statement), v=value)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.anyio
async def test_values_without_a_type_of_their_own_go_as_what_they_hold(owner: Database):
    async with owner.transaction() as tx:
        assert await tx.value(SQL.echo_text, v=Colour.RED) == "red"
        assert await tx.value(SQL.echo_text, v=Name.BRAD) == "brad"
        assert await tx.value(SQL.echo_texts, v=("a", "b")) == ["a", "b"]
        assert await tx.value(SQL.echo_json, v=Voice(0.5)) == {"stability": 0.5, "name": None}
        assert await tx.value(SQL.echo_json, v=Json([1, "x"])) == [1, "x"]
        assert await tx.value(SQL.echo_json, v=Json(None)) is None
        assert await tx.value(SQL.echo_moment, v=datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))) == (
            datetime(2026, 1, 1, tzinfo=UTC)
        )


@pytest.mark.anyio
@given(value=TEXT)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_comes_back(owner: Database, value: str):
    async with owner.transaction() as tx:
        assert await tx.value(SQL.echo_text, v=value) == value
        assert await tx.value(SQL.echo_texts, v=[value, value]) == [value, value]
        assert await tx.value(SQL.echo_json, v={"t": value}) == {"t": value}


@pytest.mark.parametrize("value", ["a\0b", "\ud800", ["x", "\0"], {"a": "\0"}])
def test_text_that_no_database_holds_is_refused(value: object):
    with pytest.raises(errors.ValidationFailed):
        encode(value)


@pytest.mark.parametrize("value", [datetime(2026, 1, 1), object(), [object()]])
def test_a_value_without_a_meaning_is_a_mistake(value: object):
    with pytest.raises(TypeError):
        encode(value)


def test_every_rule_gives_bytes():
    assert encode(None) is None
    assert parameters.encode(True) == b"t"
