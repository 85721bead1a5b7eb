"""Every kind of value, in as JSON and out as JSON: exact, or a string."""

import json
import math
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sqlproxy.engine.running import Running

from callmeback.sqlproxy import values

pytestmark = pytest.mark.anyio

ODD = "quote ' double \" back \\ slash / brace {} [] comma , semi ; null NULL \t\n\r é 漢 😀 \u2028 \x01\x7f $1 %s"


OUT: list[tuple[str, Any]] = [
    ("NULL", None),
    ("NULL::int", None),
    ("true", True),
    ("false", False),
    ("(-32768)::int2", -32768),
    ("2147483647", 2147483647),
    ("9007199254740991", 9007199254740991),
    ("9007199254740992", "9007199254740992"),
    ("-9007199254740992", "-9007199254740992"),
    ("4294967295::oid", 4294967295),
    ("1.10::numeric", "1.10"),
    ("'NaN'::numeric", "NaN"),
    ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
    ("1.5::float8", 1.5),
    ("0.1::float4", 0.1),
    ("1e300::float8", 1e300),
    ("5e-324::float8", 5e-324),
    ("'-0'::float8", -0.0),
    ("'NaN'::float8", "NaN"),
    ("'Infinity'::float8", "Infinity"),
    ("'-Infinity'::float4", "-Infinity"),
    ("''", ""),
    ("'x'::char(3)", "x  "),
    ("'\\x00ff'::bytea", "\\x00ff"),
    ("""'{"a": [1, null, "ü"]}'::jsonb""", {"a": [1, None, "ü"]}),
    ("""E'{"a":\\n 1}'::json""", {"a": 1}),
    ("'null'::jsonb", None),
    ("'\"text\"'::jsonb", "text"),
    ("12345678901234567890::text::jsonb", 12345678901234567890),
    ("'2026-11-25 10:00:00+02'::timestamptz", "2026-11-25T08:00:00+00:00"),
    ("'2026-11-25 10:00:00.123456+00'::timestamptz", "2026-11-25T10:00:00.123456+00:00"),
    ("'infinity'::timestamptz", "infinity"),
    ("'0044-03-15 12:00:00+00 BC'::timestamptz", "0044-03-15 12:00:00+00 BC"),
    ("'2026-11-25 10:00:00'::timestamp", "2026-11-25 10:00:00"),
    ("'2026-11-25'::date", "2026-11-25"),
    ("'10:00:01.5'::time", "10:00:01.5"),
    ("'1 day 02:03:04'::interval", "1 day 02:03:04"),
    ("'1 year 2 mons -3 days'::interval", "1 year 2 mons -3 days"),
    ("'550e8400-e29b-41d4-a716-446655440000'::uuid", "550e8400-e29b-41d4-a716-446655440000"),
    ("'192.168.0.1/24'::inet", "192.168.0.1/24"),
    ("'happy, really'::mood", "happy, really"),
    ("5::positive", 5),
    ("ROW(1, 'a \"b\"')::point3", '(1,"a ""b""")'),
    ("int4range(1, 5)", "[1,5)"),
    ("ARRAY[1, NULL, 3]", [1, None, 3]),
    ("'{}'::int[]", []),
    ("ARRAY[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
    ("'[0:1]={7,8}'::int[]", [7, 8]),
    ("ARRAY[true, false, NULL]", [True, False, None]),
    ("ARRAY[9007199254740993]", ["9007199254740993"]),
    ("ARRAY['NaN'::float8, 1.5]", ["NaN", 1.5]),
    ("ARRAY['NULL', NULL, '', 'a,b', '\"', '\\', ' x ', '{}']", ["NULL", None, "", "a,b", '"', "\\", " x ", "{}"]),
    ("""ARRAY['{"a": 1}'::jsonb, NULL]""", [{"a": 1}, None]),
    ("ARRAY['2026-11-25 10:00:00+00'::timestamptz]", ["2026-11-25T10:00:00+00:00"]),
    ("ARRAY['sad', 'happy, really']::mood[]", ["sad", "happy, really"]),
    ("ARRAY[1, 2]::positive[]", ["1", "2"]),
    ("ARRAY[ROW(1, 'a')::point3]", ["(1,a)"]),
    ("ARRAY['(1,1),(0,0)'::box, '(2,2),(0,0)'::box]", ["(1,1),(0,0)", "(2,2),(0,0)"]),
    ("'1 2'::int2vector", "1 2"),
]

# Value, type, and the text that the server makes of it.
IN: list[tuple[Any, str, str | None]] = [
    (None, "text", None),
    (True, "boolean", "true"),
    (False, "text", "false"),
    (12345678901234567890, "numeric", "12345678901234567890"),
    (1.5, "float8", "1.5"),
    ("", "text", ""),
    (ODD, "text", ODD),
    ({"a": [1, None, 'q"']}, "jsonb", '{"a": [1, null, "q\\""]}'),
    ([1, None, 2], "int[]", "{1,NULL,2}"),
    ([[1, 2], [3, 4]], "int[]", "{{1,2},{3,4}}"),
    ([], "text[]", "{}"),
    (["a", None, "NULL", 'q"\\'], "text[]", '{a,NULL,"NULL","q\\"\\\\"}'),
    ([True, False], "boolean[]", "{t,f}"),
    ([{"a": 1}, None], "jsonb[]", '{"{\\"a\\": 1}",NULL}'),
]


@pytest.fixture
def proxy(shared: Running) -> Running:
    return shared


@pytest.fixture
def hand(shared_hand: psycopg.Connection) -> psycopg.Connection:
    return shared_hand


async def test_every_value_comes_out_as_it_should(proxy: Running) -> None:
    # More than once each, since a statement that comes again takes other ways.
    found = {each: [await proxy.value(f"SELECT {each} AS value") for _ in range(4)] for each, _ in OUT}

    assert {each: json.dumps(values) for each, values in found.items()} == {
        each: json.dumps([expected] * 4) for each, expected in OUT
    }


async def test_every_parameter_arrives_as_it_should(proxy: Running) -> None:
    found = [await proxy.value(f"SELECT $1::{kind}::text AS value", each) for each, kind, _ in IN]

    assert found == [text for _, _, text in IN]


async def test_a_number_is_never_rounded(proxy: Running) -> None:
    body = b'{"query": "SELECT $1::numeric::text AS value", "parameters": [0.12345678901234567890123]}'

    assert (await proxy.post("/query", body)).json()["rows"] == [{"value": "0.12345678901234567890123"}]


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.one_of(st.none(), TEXT), max_size=6))
def test_an_array_literal_reads_as_it_was_written(words: list[str | None]) -> None:
    literal = values.parameter(msgspec.Raw(json.dumps(words).encode()))
    assert literal is not None

    assert values.array(literal.decode(), None, ",") == words


async def test_an_array_of_texts_goes_there_and_back(proxy: Running) -> None:
    words = [ODD, "", "NULL", None, "null", "{", "}", ",", '"', "\\", "a" * 10_000]

    assert await proxy.value("SELECT $1::text[] AS value", words) == words


@pytest.mark.parametrize(
    ("parameter", "state"),
    [("a\0b", "22021"), (["a\0b"], "22021")],
)
async def test_what_text_can_t_hold_is_refused(proxy: Running, parameter: Any, state: str) -> None:
    answer = await proxy.ask("SELECT $1::text[] AS value", parameter)

    assert answer.status_code == 400
    assert answer.json()["sqlstate"] == state


async def test_a_lone_surrogate_is_refused(proxy: Running) -> None:
    answer = await proxy.post("/query", b'{"query": "SELECT $1", "parameters": ["\\ud800"]}')

    assert answer.status_code == 400


async def test_of_columns_with_one_name_the_last_stays(proxy: Running) -> None:
    found = [await proxy.rows('SELECT 1 AS a, 2 AS b, 3 AS a, 4 AS "quo""te"') for _ in range(3)]

    assert found == [[{"a": 3, "b": 2, 'quo"te': 4}]] * 3


async def test_a_type_made_later_is_known(proxy: Running, hand: psycopg.Connection) -> None:
    assert await proxy.value("SELECT ARRAY['sad']::mood[] AS value") == ["sad"]
    hand.execute("CREATE TYPE colour AS ENUM ('red', 'blue')")

    assert await proxy.value("SELECT ARRAY['red', 'blue']::colour[] AS value") == ["red", "blue"]


async def test_many_columns_and_rows_keep_their_places(proxy: Running) -> None:
    columns = ", ".join(f"g * {n} AS c{n}" for n in range(300))
    found = await proxy.rows(f"SELECT {columns} FROM generate_series(1, 1000) AS g")

    assert len(found) == 1000
    assert found[999]["c299"] == 1000 * 299
    assert math.prod(found[0].values()) == 0
