"""`neon-serverless` from PyPI: the same wire, read by another client."""

import datetime
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

import neon_serverless
import pytest
from tests.sqlproxy.conformance.conftest import Proxy

INSERT = "INSERT INTO call_scenario_templates (id, name, scenario_text) VALUES ($1, $2, $3)"
VALUES = """
SELECT
    1::int8 AS int8, 1.5::float8 AS float8, 0.70::numeric AS numeric, true AS yes, NULL::text AS nothing,
    '\\x00ff'::bytea AS bytes, '{"a": [1]}'::jsonb AS json, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS uuid,
    '2026-11-25 12:00:00+00'::timestamptz AS at, '{1,NULL,3}'::int4[] AS list
"""
COUNT = "SELECT count(*) AS n FROM call_scenario_templates WHERE id LIKE $1"


@pytest.fixture
def client(proxy: Proxy, key: str) -> Iterator[neon_serverless.Neon]:
    with neon_serverless.neon(
        f"postgresql://key:{key}@pg.callmeback.example/callmeback", endpoint=f"{proxy.url}/sql"
    ) as sql:
        yield sql


def test_rows_come_as_python_values(client: neon_serverless.Neon):
    [row] = client(VALUES)

    assert row == {
        "int8": 1,
        "float8": 1.5,
        "numeric": Decimal("0.70"),
        "yes": True,
        "nothing": None,
        "bytes": b"\x00\xff",
        "json": {"a": [1]},
        "uuid": UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "at": datetime.datetime(2026, 11, 25, 12, tzinfo=datetime.UTC),
        "list": [1, None, 3],
    }


def test_python_values_go_as_parameters(client: neon_serverless.Neon):
    [row] = client(
        "SELECT $1::numeric = 1.10 AS n, $2::bytea = '\\x00ff' AS b, $3::text[] = ARRAY['a\"b', NULL, 'NULL'] AS l, "
        "$4::jsonb = '{\"a\": null}' AS j",
        [Decimal("1.10"), b"\x00\xff", ['a"b', None, "NULL"], {"a": None}],
    )

    assert row == {"n": True, "b": True, "l": True, "j": True}


def test_a_transaction_holds_together_or_not_at_all(client: neon_serverless.Neon):
    [_, [row]] = client.transaction(
        [(INSERT, ["py-1", "Python", "Hello"]), (COUNT, ["py-%"])], isolation_level="Serializable"
    )

    assert row == {"n": 1}
    with pytest.raises(neon_serverless.NeonDbError) as refused:
        client.transaction([(INSERT, ["py-2", "Python", "Hello"]), (INSERT, ["py-2", "twice", "Hello"])])
    assert refused.value.code == "23505"
    assert client(COUNT, ["py-%"]) == [{"n": 1}]


def test_read_only_is_read_only(client: neon_serverless.Neon):
    with pytest.raises(neon_serverless.NeonDbError) as refused:
        client.transaction([(INSERT, ["py-3", "Python", "Hello"])], read_only=True)

    assert refused.value.code == "25006"


def test_full_results_have_command_and_count(client: neon_serverless.Neon):
    result = client("SELECT id FROM personas ORDER BY id", full_results=True)

    assert (result.command, result.row_count) == ("SELECT", 3)
    assert [field["name"] for field in result.fields] == ["id"]


def test_an_error_has_its_sqlstate_and_position(client: neon_serverless.Neon):
    with pytest.raises(neon_serverless.NeonDbError) as refused:
        client("SELECT * FROM nowhere")

    assert (refused.value.status, refused.value.code, refused.value.position) == (400, "42P01", "15")


def test_a_wrong_key_is_28p01(proxy: Proxy):
    with neon_serverless.neon("postgresql://key:cmb_no_key@h/d", endpoint=f"{proxy.url}/sql") as sql:
        with pytest.raises(neon_serverless.NeonDbError) as refused:
            sql("SELECT 1")

    assert (refused.value.status, refused.value.code) == (400, "28P01")


@pytest.mark.anyio
async def test_the_asynchronous_client_too(proxy: Proxy, key: str):
    async with neon_serverless.neon_async(f"postgresql://key:{key}@h/d", endpoint=f"{proxy.url}/sql") as sql:
        rows = await sql("SELECT $1::int4 AS n", [7])

    assert rows == [{"n": 7}]
