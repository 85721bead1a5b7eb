"""`callmeback restore …`: a moment of the database in a folder, single rows, the whole in place, or a dump."""

import time
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from callmeback.cli import ending, progress
from callmeback.cli.output import json_option, show_json
from callmeback.cli.parameters import Moment, stands_alone
from callmeback.ops import backup_site, restore, restore_dump, restore_in_place, restore_rows
from callmeback.pg import home
from callmeback.settings import Settings

# A database that was just recovered starts within seconds.
UP_WITHIN_S: Final = 60.0
UP_POLL_S: Final = 0.1


@click.group(name="restore", invoke_without_command=True)
@click.option(
    "--to",
    "until",
    type=Moment(),
    help="2026-11-26T14:30:00+01:00, local without an offset, or 10m ago; by default as far as the archive goes.",
)
@click.option("--into", "target", type=click.Path(path_type=Path), metavar="DIR", help="Make DIR a data folder.")
@click.option("--in-place", is_flag=True, help="Replace the database; the old folder is kept.")
@click.option("--dump", metavar="FILE", help="A dump: a file, or the id of a logical backup.")
@click.option("--table", metavar="T", help="With --dump: this table alone; by default all.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    until: datetime | None,
    target: Path | None,
    in_place: bool,
    dump: str | None,
    table: str | None,
    as_json: bool,
) -> None:
    """Restore a moment into a folder (--into), in place (--in-place), a dump (--dump), or rows."""
    if not stands_alone(ctx):
        return
    if (target is not None) + in_place + (dump is not None) != 1:
        raise click.UsageError("Say one of --into DIR, --in-place, --dump FILE, or the subcommand rows.")
    if (table is not None and dump is None) or (until is not None and dump is not None):
        raise click.UsageError("--table goes with --dump, and --to without it.")
    with ending.cleanly(), progress.shown() as report:
        site = backup_site.open_site(Settings.from_env(), make=False)
        if target is not None:
            made = restore.into(site, until, target, report=report)
            answer: object = {"backup_id": made.id, "folder": str(target.absolute())}
            words = f"{target} is the database of backup {made.id}, recovered. Open it with PostgreSQL {made.major}."
        elif in_place:
            replaced = restore_in_place.in_place(site, until, report=report)
            answer = {
                "backup_id": replaced.backup.id,
                "kept": str(replaced.kept) if replaced.kept else None,
                "waiting_erasures": replaced.waiting_erasures,
                "up_goes_on": replaced.up_goes_on,
            }
            if replaced.up_goes_on:
                _await_up(site.settings.home)
            rest = "`callmeback up` goes on." if replaced.up_goes_on else "Start `callmeback up`."
            kept = f" The old folder is {replaced.kept}: remove it when all is well." if replaced.kept else ""
            words = f"The database is restored from backup {replaced.backup.id}. {rest}{kept}"
        else:
            assert dump is not None
            done = restore_dump.restore_dump(site, dump, table, report=report)
            answer, words = done, done.words
    if as_json:
        show_json(answer)
    else:
        click.echo(words)


def _await_up(folder: Path) -> None:
    """Return once the `up` that made room has its database again, so that the next command finds it."""
    deadline = time.monotonic() + UP_WITHIN_S
    while "pid" not in home.read_run(folder) and time.monotonic() < deadline:
        time.sleep(UP_POLL_S)


@command.command()
@click.option("--table", required=True, metavar="T", help="Of which table.")
@click.option("--where", "condition", required=True, metavar="SQL", help="Which rows, such as \"id = 'brad'\".")
@click.option(
    "--to",
    "until",
    required=True,
    type=Moment(),
    help="When they were there: a time, local without an offset, or 10m, 2h, 1d ago.",
)
@json_option
def rows(table: str, condition: str, until: datetime, as_json: bool) -> None:
    """Bring deleted rows back as they were at a moment; rows that are there stay as they are."""
    with ending.cleanly(), progress.shown() as report:
        site = backup_site.open_site(Settings.from_env(), make=False)
        moved = restore_rows.rows(site, table, condition, until, report=report)
    if as_json:
        show_json(moved)
    else:
        click.echo(f"Rows of {table} that were there then: {moved.found}; missing now, and back: {moved.restored}.")
