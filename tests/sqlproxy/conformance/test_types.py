"""Every type in and out: raw text at `/sql`, the driver's values over HTTP and WebSocket, typed JSON at `/query`."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.sqlproxy.conformance.conftest import Proxy, Script

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("types.json").read_text())
NAMES = [case["name"] for case in CASES]


@pytest.fixture(scope="module")
def driven(script: Script) -> dict[str, Any]:
    return script("types.mjs", cases=CASES)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_wire_carries_postgresql_s_own_text(proxy: Proxy, key: str, case: dict[str, Any]):
    answer = httpx.post(
        f"{proxy.url}/sql",
        # As JavaScript writes it: an object's text is what the client wrote, to the byte.
        content=json.dumps(
            {"query": case["sql"], "params": case["parameters"]}, ensure_ascii=False, separators=(",", ":")
        ),
        headers={"Authorization": f"Bearer {key}", "Neon-Array-Mode": "true"},
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"] == [[case["text"]]]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_query_answers_typed_json(proxy: Proxy, key: str, case: dict[str, Any]):
    answer = httpx.post(
        f"{proxy.url}/query",
        json={"query": case["sql"], "parameters": case["parameters"]},
        headers={"Authorization": f"Bearer {key}"},
    )

    assert answer.status_code == 200, answer.text
    [row] = answer.json()["rows"]
    [value] = row.values()
    assert value == case["json"]
    assert type(value) is type(case["json"])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_driver_reads_the_same_over_http(driven: dict[str, Any], case: dict[str, Any]):
    assert driven[case["name"]]["http"] == case["neon"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_driver_reads_the_same_over_websocket(driven: dict[str, Any], case: dict[str, Any]):
    assert driven[case["name"]]["socket"] == case["neon"]
