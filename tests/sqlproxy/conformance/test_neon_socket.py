"""`@neondatabase/serverless` over WebSocket: `Pool` and `Client`, a PostgreSQL session of one's own."""

from typing import Any

import pytest
from tests.sqlproxy.conformance.conftest import Script


@pytest.fixture(scope="module")
def results(script: Script) -> dict[str, Any]:
    return script("socket.mjs")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("simple", {"command": "SELECT", "rowCount": 1, "rows": [{"one": 1}]}),
        ("extended", {"command": "SELECT", "rowCount": 1, "rows": [{"two": 2}]}),
        ("unpipelined", [{"one": 1}]),
        ("committed", [1, 1]),
        ("rolledBack", 0),
        ("left", 0),
        ("savepoint", 2),
        ("afterFailure", ["22012", [{"two": 2}]]),
        ("named", ["Brad", "Sarah"]),
        ("stillThere", [{"one": 1}]),
        ("large", 2000),
        ("pool", True),
        ("poolViaFetch", [{"n": 5}]),
        ("otherNames", [{"ours": True}]),
    ],
)
def test_a_session_answers(results: dict[str, Any], case: str, expected: object):
    assert results[case] == expected


@pytest.mark.parametrize("case", ["badKey", "badKeyUnpipelined"])
def test_a_wrong_key_gets_28p01(results: dict[str, Any], case: str):
    assert results[case]["error"]["code"] == "28P01"


def test_an_error_names_its_constraint(results: dict[str, Any]):
    assert results["failure"]["error"]["code"] == "23514"
    assert results["failure"]["error"]["constraint"] == "call_scenario_templates_name_length"


def test_what_the_policy_refuses_is_42501(results: dict[str, Any]):
    assert results["refused"] == ["42501"] * 5
    assert results["refusedPrepared"]["error"]["code"] == "42501"


def test_a_session_describes_its_columns(results: dict[str, Any]):
    assert results["fields"] == [
        {"name": "id", "dataTypeID": 25, "format": "text"},
        {"name": "max_tokens", "dataTypeID": 23, "format": "text"},
    ]
