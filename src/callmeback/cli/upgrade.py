"""`callmeback upgrade`: the embedded server's data to the installed major version of PostgreSQL."""

from pathlib import Path

import click

from callmeback.cli import ending, progress
from callmeback.cli.output import json_option, show_json
from callmeback.ops import backup_site, upgrade
from callmeback.pg import binaries
from callmeback.settings import Settings


@click.command(name="upgrade")
@click.option(
    "--old-programs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The programs that wrote the data, where they aren't found.",
)
@json_option
def command(old_programs: Path | None, as_json: bool) -> None:
    """Move the data to the PostgreSQL that is installed now, by a dump that is compared; the old folder is kept.

    No `up` may run. If anything fails or differs, everything is as it was.
    """
    old = binaries.given(old_programs.absolute()) if old_programs is not None else None
    with ending.cleanly(), progress.shown() as report:
        done = upgrade.upgrade(backup_site.open_site(Settings.from_env(), make=True), old=old, report=report)
    if as_json:
        show_json(done)
    else:
        click.echo(done.words)
