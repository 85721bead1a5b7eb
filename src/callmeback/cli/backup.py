"""`callmeback backup …`: made, listed, verified, and restored for a trial."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from callmeback.cli import ending, progress
from callmeback.cli.output import json_option, show, show_json
from callmeback.ops import backup, backup_site
from callmeback.ops.backup_site import Report, Site
from callmeback.settings import Settings

NICENESS: Final = 10
COLUMNS: Final = {
    "id": "Id",
    "kind": "Kind",
    "finished_at": "Finished",
    "database_bytes": "Database, bytes",
    "stored_bytes": "Stored, bytes",
    "parent": "Builds upon",
    "table": "Table",
    "is_mirrored": "In the second place",
}


@click.group(name="backup")
def command() -> None:
    """Backups of the database: now, list, verify, drill."""


@command.command()
@click.option("--incremental", is_flag=True, help="Only what changed since the last whole backup (PostgreSQL 17+).")
@click.option("--logical", is_flag=True, help="A dump, for moving and for single tables.")
@click.option("--table", metavar="T", help="With --logical: this table alone; by default all.")
@json_option
def now(incremental: bool, logical: bool, table: str | None, as_json: bool) -> None:
    """Make a backup at once; waits for one that runs."""
    if table is not None and not logical:
        raise click.UsageError("--table goes with --logical.")
    if incremental and logical:
        raise click.UsageError("Either --incremental or --logical.")
    with _site(make=True) as (site, report):
        made = backup.now(
            site, "logical" if logical else "incremental" if incremental else "full", table=table, report=report
        )
    if as_json:
        show_json(made)
    else:
        megabytes = made.stored_bytes / (1 << 20)
        click.echo(f"Backup {made.id} is made: {megabytes:.1f} MB in {site.repository.folder}.")


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """All backups, the newest first."""
    with _site(make=False) as (site, _):
        show(backup.listed(site), COLUMNS, as_json=as_json)


@command.command()
@click.option("--all", "every", is_flag=True, help="Unpack every copy, and read the second place byte by byte.")
@json_option
def verify(every: bool, as_json: bool) -> None:
    """Read all that is kept; exit code 1, with the file's name, when something isn't what was written."""
    with _site(make=False) as (site, report):
        findings = backup.verified(site, every=every, report=report)
    if as_json:
        show_json({"items": findings})
    for found in () if as_json else findings:
        click.echo(f"{found.file}: {found.detail}")
    if findings:
        raise SystemExit(1)
    if not as_json:
        click.echo("All that is kept is as it was written.")


@command.command()
@json_option
def drill(as_json: bool) -> None:
    """Restore the newest backup beside the database, and examine it; exit code 1 when a proof fails."""
    with _site(make=False) as (site, report):
        found = backup.drilled(site, report=report)
    if as_json:
        show_json(found)
    else:
        click.echo(f"Backup {found.backup_id} was restored in {found.seconds} s; {found.checks} checks.")
        for verdict in found.red:
            click.echo(f"{verdict.name}: red. {verdict.what_to_do}")
    if not found.is_well:
        raise SystemExit(1)


@command.command()
@json_option
def due(as_json: bool) -> None:
    """Do what the schedule says is due; the worker runs this."""
    # Calls come first.
    os.nice(NICENESS)
    with _site(make=True) as (site, report):
        done = backup.run_due(site, report=report)
    if as_json:
        show_json({"items": done})


@contextmanager
def _site(*, make: bool) -> Iterator[tuple[Site, Report]]:
    with ending.cleanly(), progress.shown() as report:
        yield backup_site.open_site(Settings.from_env(), make=make), report
