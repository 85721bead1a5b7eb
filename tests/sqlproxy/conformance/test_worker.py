"""The Workers of `deploy/worker` in real workerd, against the proxy."""

import shutil
import subprocess
from typing import Any

import pytest
from tests.sqlproxy.conformance.conftest import SCRIPT_TIMEOUT_S, WORKER, Proxy, forget_written, require_node, run_node

REQUESTS = {
    "persona": ("persona-manager", "GET", "/personas/brad"),
    "nobody": ("persona-manager", "GET", "/personas/nobody"),
    "read": ("standard-driver", "GET", "/read?id=brad"),
    "transaction": ("standard-driver", "GET", "/transaction?id=edge-1"),
    "batch": ("persona-manager", "PUT", "/scenarios/edge-1?name=Renamed"),
    "refused_batch": ("persona-manager", "PUT", "/scenarios/edge-1?name="),
    "error": ("standard-driver", "GET", "/error?id=edge-2"),
    "drizzle": ("standard-driver", "GET", "/drizzle?id=brad"),
    "drizzle_batch": ("standard-driver", "GET", "/drizzle/transaction?id=edge-3"),
    "session": ("standard-driver", "GET", "/session?id=edge-1"),
}


@pytest.fixture(scope="module")
def answers(proxy: Proxy, key: str) -> dict[str, Any]:
    forget_written(proxy)
    requests = [{"worker": worker, "method": method, "path": path} for worker, method, path in REQUESTS.values()]
    said = run_node(WORKER, WORKER / "test/workerd.mjs", {"proxy": proxy.url, "key": key, "requests": requests})

    return {"outside": said["outside"], **dict(zip(REQUESTS, said["answers"], strict=True))}


def test_a_service_reads_through_the_worker_that_holds_the_key(answers: dict[str, Any]):
    assert answers["persona"]["status"] == 200
    assert answers["persona"]["body"]["name"] == "Brad"
    assert answers["nobody"] == {"status": 404, "body": {"error": "not_found"}}


def test_a_batch_holds_together(answers: dict[str, Any]):
    assert answers["batch"] == {"status": 200, "body": {"id": "edge-1", "name": "Renamed", "use_count": 1}}


def test_the_stable_code_crosses_the_service_binding(answers: dict[str, Any]):
    assert answers["refused_batch"]["status"] == 500
    assert answers["refused_batch"]["body"] == {"error": "statement_failed"}


def test_a_wrong_key_is_told_by_its_code(proxy: Proxy):
    request = {"worker": "persona-manager", "method": "GET", "path": "/personas/brad"}
    given = {"proxy": proxy.url, "key": "cmb_nobody_secret", "requests": [request]}
    said = run_node(WORKER, WORKER / "test/workerd.mjs", given)

    assert said["answers"] == [{"status": 500, "body": {"error": "unauthorized"}}]


def test_nobody_at_home_is_told_by_its_code():
    request = {"worker": "persona-manager", "method": "GET", "path": "/personas/brad"}
    given = {"proxy": "http://127.0.0.1:1", "key": "cmb_nobody_secret", "requests": [request]}
    said = run_node(WORKER, WORKER / "test/workerd.mjs", given)

    assert said["answers"] == [{"status": 502, "body": {"error": "unreachable"}}]


def test_the_worker_with_the_key_answers_nobody_outside(answers: dict[str, Any]):
    assert answers["outside"] >= 500


def test_the_standard_driver_reads(answers: dict[str, Any]):
    body = answers["read"]["body"]

    assert {name: body[name] for name in ("id", "is_active", "max_tokens", "temperature")} == {
        "id": "brad",
        "is_active": True,
        "max_tokens": 150,
        "temperature": "0.70",
    }


def test_the_standard_driver_writes_in_a_transaction(answers: dict[str, Any]):
    assert answers["transaction"]["body"] == {"made": [{"id": "edge-1"}], "counted": [{"count": 1}]}


def test_the_standard_driver_sees_the_constraint(answers: dict[str, Any]):
    assert answers["error"]["body"] == {
        "code": "23514",
        "constraint": "call_scenario_templates_name_length",
        "table": "call_scenario_templates",
    }


def test_drizzle_reads_and_batches(answers: dict[str, Any]):
    assert answers["drizzle"]["body"]["persona"]["isActive"] is True
    assert [row["name"] for row in answers["drizzle"]["body"]["names"]] == ["Sarah", "Brad", "Alex"]
    assert answers["drizzle_batch"]["body"] == {
        "made": [{"id": "edge-3"}],
        "found": [{"name": "Drizzle", "useCount": 0}],
    }


def test_a_session_over_websocket_decides_between_statements(answers: dict[str, Any]):
    assert answers["session"] == {"status": 200, "body": {"use_count": 11}}


def test_the_types_hold():
    require_node(WORKER)
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, "node_modules/typescript/bin/tsc", "--noEmit"],
        cwd=WORKER, capture_output=True, check=False, text=True, timeout=SCRIPT_TIMEOUT_S,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
