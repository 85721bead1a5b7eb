"""`callmeback rates` and `coupons` against a real database: what they refuse, and with which words."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from callmeback import cli


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command on that database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CALLMEBACK_HOME", str(tmp_path))

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli.app, arguments)

    return invoke


def test_a_code_that_is_there_is_said_to_be_there(run: Any) -> None:
    first = run("coupons", "add", "SPRING", "--percent", "10")
    again = run("coupons", "add", "spring", "--percent", "20")

    assert (first.exit_code, first.stdout) == (0, "SPRING is there.\n")
    assert again.exit_code == 1
    assert again.stderr == "Error: There is a code SPRING already; one that has ended keeps its name.\n"


@pytest.mark.parametrize("source", ["", " ", "x" * 501])
def test_a_rate_says_where_it_was_read(run: Any, source: str) -> None:
    answer = run("rates", "set", "twilio", "m", "second", "1", "--source", source)

    assert answer.exit_code == 1
    assert answer.stderr == "Error: The source must have 1 to 500 characters.\n"
