"""`callmeback migrate`: what it prints, and its exit codes."""

import json
from functools import partial
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from callmeback import cli
from callmeback.pg import migration_files, schema


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli.app, ["migrate", *arguments], env={"DATABASE_URL": "", **environ})


def test_apply_then_status_then_nothing(empty_database_url: str):
    first = run("apply", "--json", DATABASE_URL=empty_database_url)
    status = run("status", "--json", DATABASE_URL=empty_database_url)
    again = run(DATABASE_URL=empty_database_url)
    bare = run("--json", DATABASE_URL=empty_database_url)

    files = [migration.file for migration in migration_files.read().migrations]
    assert (first.exit_code, status.exit_code, again.exit_code) == (0, 0, 0)
    assert [item["file"] for item in json.loads(first.output)["items"]] == [*files, "functions, views and access"]
    found = json.loads(status.output)
    assert (found["is_current"], found["is_drifted"]) == (True, False)
    assert [file["file"] for file in found["migrations"]] == files
    assert again.output == "The database is current.\n"
    assert json.loads(bare.stdout) == {"items": []}


def test_status_shows_a_table_and_says_1_when_files_were_edited(database_url: str):
    assert "001_foundations.sql" in run("status", DATABASE_URL=database_url).output
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 1")

    edited = run("status", DATABASE_URL=database_url)
    refused = run("apply", DATABASE_URL=database_url)

    assert (edited.exit_code, refused.exit_code) == (1, 1)
    assert "edited" in edited.output
    assert refused.stderr.startswith("Error: 001_foundations.sql was edited after it was applied")


def test_without_a_database_it_says_what_to_do(tmp_path: Path):
    answer = run("status", CALLMEBACK_HOME=str(tmp_path))

    assert answer.exit_code == 1
    assert "start `callmeback up`, or set DATABASE_URL" in answer.stderr


@pytest.mark.parametrize("arguments", [["new"], ["new", "a", "b"], ["nonsense"], ["apply", "x"]])
def test_wrong_usage_is_2(arguments: list[str]):
    assert run(*arguments).exit_code == 2


def test_new_refuses_a_bad_name():
    answer = run("new", "Bad-Name")

    assert answer.exit_code == 1
    assert "is no name for a migration" in answer.stderr


def test_new_begins_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "migrations").mkdir()
    monkeypatch.setattr(migration_files, "new", partial(migration_files.new, directory=tmp_path))

    answer = run("new", "first_thing", "--json")

    assert json.loads(answer.output) == {"file": str(tmp_path / "migrations" / "001_first_thing.sql")}


@pytest.mark.slow
def test_lint_needs_no_database_and_finds_nothing_in_our_files(tmp_path: Path):
    answer = run("lint", "--json", CALLMEBACK_HOME=str(tmp_path))

    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output) == {"items": []}


@pytest.mark.slow
def test_a_stale_schema_is_told_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stale = tmp_path / "schema.sql"
    stale.write_text("-- old\n")
    monkeypatch.setattr(schema, "SCHEMA_FILE", stale)

    assert run("schema", "--check").exit_code == 1
    assert stale.read_text() == "-- old\n"
    assert json.loads(run("schema", "--json").stdout) == {"file": str(stale), "is_written": True}
    assert run("schema", "--check").output == "schema.sql is fresh.\n"
