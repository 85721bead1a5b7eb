"""`callmeback migrate`: bring the database to what the files say, tell how it stands, look for faults, begin a file."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from callmeback.cli.installation import owner_dsn
from callmeback.cli.output import console, json_option, show, show_json, text_of
from callmeback.cli.parameters import stands_alone
from callmeback.pg import home, lint, migrate, migration_files, roles, schema, server
from callmeback.settings import Settings

_STYLES: Final = {"applied": "green", "pending": "yellow", "running": "magenta", "edited": "red", "unknown": "red"}


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Migrations of the database; without a command, applies what is missing."""
    if stands_alone(context):
        context.invoke(apply, as_json=as_json)


@command.command()
@json_option
def apply(as_json: bool) -> None:
    """Apply every migration that is missing, then functions, views and access."""
    done = migrate.apply(owner_dsn(Settings.from_env()))
    if done or as_json:
        show(done, {"file": "applied", "execution_ms": "ms"}, as_json=as_json)
    else:
        click.echo("The database is current.")


@command.command()
@json_option
def status(as_json: bool) -> None:
    """How each file stands; exit code 1 when the database and the files contradict one another."""
    found = migrate.status(owner_dsn(Settings.from_env()))
    if as_json:
        show_json(
            {
                "is_current": found.is_current,
                "is_drifted": found.is_drifted,
                "migrations": found.migrations,
                "repeatable": found.repeatable,
            }
        )
    else:
        table = Table("file", "state", "applied at", "ms")
        for file in (*found.migrations, *found.repeatable):
            state = f"[{_STYLES[file.state]}]{file.state}[/]"
            table.add_row(file.file, state, text_of(file.applied_at), text_of(file.execution_ms))
        console().print(table)
    if found.is_drifted:
        raise SystemExit(1)


@command.command("lint")
@json_option
def lint_files(as_json: bool) -> None:
    """Look for faults in the files, by their text and by trying them; exit code 1 when there are any."""
    with _workshop() as dsn:
        findings = lint.lint(dsn)
    if findings or as_json:
        show(findings, {"rule": "rule", "place": "where", "message": "what"}, as_json=as_json)
    else:
        click.echo("Nothing to mend.")
    if any(finding.severity == "error" for finding in findings):
        raise SystemExit(1)


@command.command()
@click.argument("name")
@json_option
def new(name: str, as_json: bool) -> None:
    """Begin the next migration, called NAME (small letters, digits and underscores)."""
    path = migration_files.new(name)
    if as_json:
        show_json({"file": str(path)})
    else:
        click.echo(str(path))


@command.command("schema")
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when schema.sql is stale.")
@json_option
def write_schema(check: bool, as_json: bool) -> None:
    """Generate sql/schema.sql, the whole database on one page, from the files."""
    with _workshop() as dsn:
        text = schema.of_the_files(dsn)
    present = schema.SCHEMA_FILE.read_text("utf-8") if schema.SCHEMA_FILE.exists() else ""
    is_fresh = text == present
    if check and not is_fresh:
        raise click.ClickException("schema.sql is stale: run `callmeback migrate schema`.")
    if not is_fresh:
        schema.SCHEMA_FILE.write_text(text, "utf-8")
    if as_json:
        show_json({"file": str(schema.SCHEMA_FILE), "is_written": not is_fresh})
    else:
        click.echo("schema.sql is fresh." if is_fresh else str(schema.SCHEMA_FILE))


@contextmanager
def _workshop() -> Iterator[str]:
    """A server that lives as long as this, so that trying the files never comes near anybody's data."""
    with tempfile.TemporaryDirectory(prefix="callmeback-lint-") as folder:
        place = Path(folder)
        # Another user runs the server when we are root, and must be able to reach it.
        place.chmod(0o711)
        with server.start(place, durable=False, archive=False) as temporary:
            asyncio.run(roles.ensure(temporary.superuser_dsn, home.generated_secrets(place)["role_secret"]))
            yield temporary.superuser_dsn
