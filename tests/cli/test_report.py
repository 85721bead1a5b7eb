"""`callmeback report` and `inspect`: every table there is, for people and for programs."""

import json
import threading
import time

import psycopg
import pytest
from click.testing import CliRunner, Result

from callmeback import cli
from callmeback.domain import reports
from callmeback.ops import inspection

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def house(module_database_url: str) -> str:
    """An account with few credits, and a call."""
    with psycopg.connect(module_database_url, autocommit=True) as books:
        books.execute("SELECT register_user('user_1', 'ann@example.org', 'x', 'Ann', 'UTC', '+12025550123')")
        books.execute("SELECT set_tier('user_1', 'basic')")
        books.execute("SELECT move_credits('user_1', 3, 'purchase', 'purchase:1')")
        books.execute(
            "INSERT INTO calls (id, user_id, persona_id, phone_number, status, duration_seconds)"
            " VALUES ('call_1', 'user_1', 'brad', '+12025550123', 'completed', 90)"
        )

    return module_database_url


def run(*arguments: str, url: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, env={"DATABASE_URL": url})


def items(*arguments: str, url: str) -> list[dict[str, object]]:
    answer = run(*arguments, "--json", url=url)
    assert answer.exit_code == 0, answer.output
    found: list[dict[str, object]] = json.loads(answer.stdout)["items"]

    return found


def test_every_report_of_section_13_answers(house: str):
    found = {name: items("report", name, url=house) for name in reports.REPORTS}

    assert [(row["user_id"], row["available_credits"]) for row in found["low_credits"]] == [("user_1", 3)]
    assert [(row["calls"], row["completed"]) for row in found["volume"]] == [(1, 1)]
    assert [(row["persona_id"], row["duration_seconds"]) for row in found["top_personas"]] == [("brad", 90)]
    assert {row["vendor"] for row in found["vendor_costs"]} >= {"twilio", "deepgram", "cerebras", "elevenlabs", "total"}
    assert [row["revenue_cents"] for row in found["margin"]] == ["0.00"]


def test_one_account_is_found_by_mail_or_id(house: str):
    by_mail = items("report", "balances", "--user", "ANN@example.org", url=house)
    by_id = items("report", "balances", "--user", "user_1", url=house)
    nobody = run("report", "balances", "--user", "ben@example.org", url=house)
    everybody = run("report", "margin", "--user", "user_1", url=house)

    assert by_mail == by_id
    assert [(row["email"], row["available_credits"], row["tier"]) for row in by_id] == [("ann@example.org", 3, "basic")]
    assert (nobody.exit_code, everybody.exit_code) == (1, 1)
    assert "no account" in nobody.output


def test_reports_are_listed_and_printed(house: str):
    listed = run("report", url=house)
    table = run("report", "low_credits", url=house)
    empty = run("report", "dearest_calls", url=house)

    assert all(name in listed.stdout for name in reports.REPORTS)
    assert "available_credits" in table.stdout and "ann@example.org" in table.stdout
    assert empty.stdout == "Nothing.\n"
    assert run("report", "secrets", url=house).exit_code == 2


def test_every_inspection_answers(house: str):
    found = {name: items("inspect", name, url=house) for name in inspection.TABLES}

    assert {row["table_name"] for row in found["tables"]} >= {"calls", "users"}
    assert {row["index_name"] for row in found["indexes"]} >= {"calls_pkey"}
    assert sum(int(str(row["sessions"])) for row in found["connections"]) >= 1


def test_who_waits_for_a_lock_is_shown_with_its_holder(house: str):
    with psycopg.connect(house) as holder, psycopg.connect(house) as waiting:
        pids = holder.info.backend_pid, waiting.info.backend_pid
        holder.execute("LOCK TABLE personas")
        waiter = threading.Thread(target=waiting.execute, args=("SELECT count(*) FROM personas",))
        waiter.start()
        # Those of the tests beside this one are shown as well.
        deadline = time.monotonic() + PATIENCE_S
        found: list[dict[str, object]] = []
        while not found and time.monotonic() < deadline:
            rows = items("inspect", "locks", url=house)
            found = [row for row in rows if row["waiting_pid"] == pids[1]]
        holder.rollback()
        waiter.join()

    assert [(row["lock_of"], row["held_by"]) for row in found] == [("personas", [pids[0]])]
