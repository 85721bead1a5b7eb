"""Drizzle, Kysely and Prisma through the standard driver, over HTTP and over WebSocket."""

import fcntl
import os
import subprocess
from typing import Any

import pytest
from tests.sqlproxy.conformance.conftest import HERE, SCRIPT_TIMEOUT_S, Proxy, Script, require_node


@pytest.fixture(scope="module")
def drizzle(script: Script) -> dict[str, Any]:
    return script("drizzle.mjs")


@pytest.fixture(scope="module")
def kysely(script: Script) -> dict[str, Any]:
    return script("kysely.mjs")


@pytest.fixture(scope="module")
def prisma(proxy: Proxy, script: Script) -> dict[str, Any]:
    require_node(HERE)
    with (HERE / "node_modules" / ".generating").open("w") as turn:
        # Workers of one run share the folder.
        fcntl.flock(turn, fcntl.LOCK_EX)
        done = subprocess.run(
            ["node", "node_modules/prisma/build/index.js", "generate", "--schema", "schema.prisma"],
            # It wants a schema engine, which it would download, and never runs it to generate.
            cwd=HERE, env={**os.environ, "PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "CHECKPOINT_DISABLE": "1"},
            capture_output=True, check=False, text=True, timeout=SCRIPT_TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

        masked_key = proxy.create_key("--mode", "policy", "--read", "call_scenario_templates")

        return script("prisma.mjs", maskedKey=masked_key)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("ordered", [{"name": "Sarah"}, {"name": "Brad"}]),
        ("relational", {"name": "Sarah"}),
        ("raw", [{"one": 1}]),
        ("insert", [{"id": "dz-1", "name": "Drizzle", "scenarioText": "Hello", "useCount": 0}]),
        ("update", [{"n": 3}]),
        ("upsert", [{"name": "Upserted"}]),
        ("remove", [{"id": "dz-1"}]),
        ("batch", ["dz-b1", "dz-b2"]),
        ("batchFails", "23505"),
        ("afterFailure", 0),
        ("prepared", [{"id": "alex"}]),
        ("socketTransaction", 1),
        ("socketRollback", 0),
        ("socketNested", 1),
        ("socketReadOnly", "25006"),
    ],
)
def test_drizzle(drizzle: dict[str, Any], case: str, expected: object):
    assert drizzle[case] == expected


def test_drizzle_reads_typed_columns(drizzle: dict[str, Any]):
    [row] = drizzle["select"]

    assert row["isActive"] is True
    assert row["temperature"] == "0.70"
    assert set(row["voice"]) == {"speed", "style", "stability", "similarity_boost"}
    assert set(row["createdAt"]) == {"date"}
    assert drizzle["socketSelect"] == [{"id": "brad", "createdAt": row["createdAt"]}]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("select", [{"id": "brad", "name": "Brad", "is_active": True}]),
        ("join", [{"id": name.lower(), "name": name} for name in ("Alex", "Brad", "Sarah")]),
        ("insert", {"id": "ky-1", "use_count": 0}),
        ("update", {"bigint": "1"}),
        ("remove", {"bigint": "1"}),
        ("socketTransaction", 2),
        ("socketRollback", 0),
        ("socketSerializable", [{"id": "alex"}, {"id": "brad"}, {"id": "sarah"}]),
    ],
)
def test_kysely(kysely: dict[str, Any], case: str, expected: object):
    assert kysely[case] == expected


def test_kysely_sees_the_sqlstate(kysely: dict[str, Any]):
    assert kysely["unique"]["error"]["code"] == "23505"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("many", [{"id": "alex"}, {"id": "brad"}, {"id": "sarah"}]),
        ("create", {"id": "pr-1", "name": "Prisma", "scenarioText": "Hello", "useCount": 0}),
        ("update", {"useCount": 2}),
        # Prisma's own word for a unique violation, which it tells by the SQLSTATE.
        ("unique", {"code": "P2002"}),
        ("upsert", {"name": "Upserted"}),
        ("batch", 2),
        ("interactive", 5),
        ("rollback", 0),
        ("raw", [{"one": 1, "text": "x", "list": [1, 2]}]),
        ("remove", 2),
        ("httpFind", {"name": "Sarah", "temperature": {"decimal": "0.7"}}),
        ("httpCreate", {"id": "pr-h1"}),
    ],
)
def test_prisma(prisma: dict[str, Any], case: str, expected: object):
    assert prisma[case] == expected


def test_prisma_reads_typed_columns(prisma: dict[str, Any]):
    row = prisma["find"]

    assert row["isActive"] is True
    assert row["temperature"] == {"decimal": "0.7"}
    assert set(row["createdAt"]) == {"date"}


def test_prisma_reads_masked_views_by_their_schema(prisma: dict[str, Any]):
    row = prisma["masked"]

    assert row["id"] == "pr-h1"
    assert row["scenarioText"] != "Hello"
    assert prisma["past"] == {"refused": True}
