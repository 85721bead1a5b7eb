"""`@neondatabase/serverless` over HTTP: reads, writes, errors, and transactions in one request."""

from typing import Any

import pytest
from tests.sqlproxy.conformance.conftest import Script

PERSONAS = 3


@pytest.fixture(scope="module")
def results(script: Script) -> dict[str, Any]:
    return script("http.mjs")


def code(result: dict[str, Any]) -> str:
    return str(result["error"].get("code"))


@pytest.mark.parametrize(
    ("case", "rows"),
    [
        ("template", [{"id": "brad", "name": "Brad"}]),
        ("composed", [{"id": "sarah"}]),
        ("query", [{"id": "alex"}]),
        ("arrays", [["alex", True]]),
        ("otherNames", [{"one": 1}]),
        ("token", [{"one": 1}]),
        ("isolation", [[{"one": 1}]]),
        ("columnsOfOneName", [[1, 2]]),
        ("noColumns", [[]] * PERSONAS),
        ("write", [{"id": "http-1", "use_count": 0}]),
    ],
)
def test_a_statement_answers_its_rows(results: dict[str, Any], case: str, rows: list[Any]):
    assert results[case] == rows


def test_full_results_have_command_and_count(results: dict[str, Any]):
    assert results["full"] == {"command": "SELECT", "rowCount": PERSONAS, "rowAsArray": False, "rows": PERSONAS}
    assert results["counted"] == {"command": "UPDATE", "rowCount": 1}


def test_the_empty_statement_answers_nothing(results: dict[str, Any]):
    assert results["empty"]["rows"] == []
    assert results["empty"]["rowCount"] in (None, 0)


@pytest.mark.parametrize(
    ("case", "sqlstate"),
    [
        ("unique", "23505"),
        ("check", "23514"),
        ("syntax", "42601"),
        ("unknownTable", "42P01"),
        ("unknownColumn", "42703"),
        ("division", "22012"),
        ("cast", "22P02"),
        ("two", "42501"),
        ("forbidden", "42501"),
        ("setting", "42501"),
        ("transactionControl", "42501"),
        ("badKey", "28P01"),
        ("transactionFails", "23505"),
        ("readOnly", "25006"),
        ("readOnlyEscape", "42501"),
    ],
)
def test_a_refusal_reaches_the_client_with_its_sqlstate(results: dict[str, Any], case: str, sqlstate: str):
    assert results[case]["error"]["name"] == "NeonDbError"
    assert code(results[case]) == sqlstate


def test_an_error_names_constraint_and_table(results: dict[str, Any]):
    error = results["check"]["error"]

    assert error["constraint"] == "call_scenario_templates_name_length"
    assert error["table"] == "call_scenario_templates"
    assert error["schema"] == "public"


def test_an_error_points_into_the_client_s_own_text(results: dict[str, Any]):
    assert results["syntax"]["error"]["position"] == "13"
    assert results["unknownTable"]["error"]["position"] == "15"
    assert results["unknownColumn"]["error"]["position"] == "8"


def test_a_transaction_holds_together(results: dict[str, Any]):
    transaction = results["transaction"]

    assert [len(rows) for rows in transaction["results"]] == [1, 1, 1]
    assert transaction["after"] == 2
    assert results["transactionFunction"] == [[[1]], [[2]]]
    assert results["transactionFull"] == ["SELECT", 1, "INSERT", 1]


def test_a_transaction_fails_the_same_however_often_it_was_sent(results: dict[str, Any]):
    assert results["transactionsFail"] == ["23514"] * 5


def test_a_failed_transaction_leaves_nothing(results: dict[str, Any]):
    assert results["afterFailure"] == 0
    assert results["afterReadOnly"] == 0


def test_a_snapshot_holds_over_a_transaction(results: dict[str, Any]):
    assert results["snapshot"] is True


def test_a_hundred_at_once_get_their_own_answers(results: dict[str, Any]):
    assert results["many"] is True


def test_long_texts_arrive_whole(results: dict[str, Any]):
    assert results["long"] == 100_000
