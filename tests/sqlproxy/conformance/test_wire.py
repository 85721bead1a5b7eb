"""Neon's wire as its own driver speaks it: what it sends, what it is answered, byte for byte where that matters."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.sqlproxy.conformance.conftest import Proxy, Script

DRIVER_HEADERS = {
    "authorization",
    "neon-connection-string",
    "neon-raw-text-output",
    "neon-array-mode",
    "neon-batch-isolation-level",
    "neon-batch-read-only",
    "neon-batch-deferrable",
}
ERROR_FIELDS = {
    "message", "code", "detail", "hint", "position", "internalPosition", "internalQuery", "severity", "where", "schema",
    "table", "column", "dataType", "constraint", "file", "line", "routine",
}  # fmt: skip


@pytest.fixture(scope="module")
def seen(script: Script) -> dict[str, Any]:
    return script("wire.mjs")


def test_the_driver_says_text_and_sends_json(seen: dict[str, Any]):
    [request] = seen["read"]

    assert request["method"] == "POST"
    assert urlsplit(request["url"]).path == "/sql"
    assert request["type"] == "text/plain;charset=UTF-8"
    assert request["body"] == {
        "query": "SELECT 1::int4 AS one, true AS yes, NULL::text AS nothing",
        "params": [],
    }
    assert set(request["headers"]) == {"neon-connection-string", "neon-raw-text-output", "neon-array-mode"}
    assert request["headers"]["neon-raw-text-output"] == request["headers"]["neon-array-mode"] == "true"


def test_an_answer_is_fields_and_rows_of_text(seen: dict[str, Any]):
    [request] = seen["read"]

    assert request["status"] == 200
    assert request["answer"] == {
        "fields": [field("one", 23, 4), field("yes", 16, 1), field("nothing", 25, -1)],
        "rows": [["1", "t", None]],
        "command": "SELECT",
        "rowCount": 1,
        "rowAsArray": True,
    }


def field(name: str, type_id: int, size: int) -> dict[str, object]:
    return {
        "name": name,
        "dataTypeID": type_id,
        "tableID": 0,
        "columnID": 0,
        "dataTypeSize": size,
        "dataTypeModifier": -1,
        "format": "text",
    }


def test_a_column_tells_its_table_and_modifier(seen: dict[str, Any]):
    [request] = seen["types"]
    name, tokens, temperature = request["answer"]["fields"]

    assert name["tableID"] == tokens["tableID"] > 0
    assert name["columnID"] == 3
    assert temperature["dataTypeID"] == 1700
    # numeric(3,2): precision and scale in one number, and four.
    assert temperature["dataTypeModifier"] == (3 << 16 | 2) + 4
    assert request["answer"]["rows"] == [["Brad", "150", "0.70"]]


def test_a_batch_is_one_request_with_its_transaction_in_headers(seen: dict[str, Any]):
    [request] = seen["batch"]
    headers = request["headers"]

    assert request["body"] == {
        "queries": [
            {"query": "SELECT $1::int4 AS a", "params": [1]},
            {"query": "SELECT $1::text[] AS b", "params": [[1, None, "x"]]},
        ]
    } or request["body"]["queries"][1]["params"] == ['{"1",NULL,"x"}']
    assert headers["neon-batch-isolation-level"] == "Serializable"
    assert headers["neon-batch-read-only"] == headers["neon-batch-deferrable"] == "true"
    assert [result["rows"] for result in request["answer"]["results"]] == [[["1"]], [["{1,NULL,x}"]]]


def test_a_token_comes_as_bearer_and_opens_the_door(seen: dict[str, Any]):
    [request] = seen["token"]

    assert request["headers"]["authorization"].startswith("Bearer cmb_")
    assert request["status"] == 200


def test_an_error_is_400_with_postgresql_s_fields(seen: dict[str, Any]):
    [request] = seen["refused"]
    answer = request["answer"]

    assert request["status"] == 400
    assert answer["code"] == "22012"
    assert answer["message"] == "division by zero"
    assert answer["severity"] == "ERROR"
    assert answer["routine"] == "int4div"
    assert set(answer) <= ERROR_FIELDS


def test_the_default_host_rule_needs_two_names(seen: dict[str, Any]):
    assert seen["endpoint"] == [
        "https://api.db.callmeback.example/sql",
        "https://apiauth.db.callmeback.example/sql",
    ]


@pytest.mark.parametrize("path", ["/sql", "/query", "/batch"])
def test_browsers_may_send_what_the_driver_sends(proxy: Proxy, path: str):
    answer = httpx.options(
        f"{proxy.url}{path}",
        headers={
            "Origin": "https://app.example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": ", ".join(sorted(DRIVER_HEADERS)),
        },
    )
    allowed = {word.strip().lower() for word in answer.headers["access-control-allow-headers"].split(",")}

    assert answer.status_code in (200, 204)
    assert DRIVER_HEADERS | {"content-type"} <= allowed
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example.org")


def test_an_answer_to_a_browser_may_be_read(proxy: Proxy, key: str):
    answer = httpx.post(
        f"{proxy.url}/sql",
        json={"query": "SELECT 1", "params": []},
        headers={"Origin": "https://app.example.org", "Neon-Connection-String": f"postgresql://k:{key}@h/d"},
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example.org")
