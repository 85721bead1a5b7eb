"""`callmeback inspect WHAT`: long tables about the inside of the database."""

import asyncio

import click

from callmeback.cli.installation import owner_dsn
from callmeback.cli.output import json_option, show_json
from callmeback.cli.report import print_rows
from callmeback.ops import inspection
from callmeback.ops.inspection import ROWS_DEFAULT, ROWS_MAX, Row
from callmeback.pg.pool import Database
from callmeback.settings import Settings


@click.command(name="inspect")
@click.argument("what", type=click.Choice(list(inspection.TABLES)), metavar="WHAT")
@click.option(
    "--limit",
    type=click.IntRange(1, ROWS_MAX),
    metavar="N",
    default=ROWS_DEFAULT,
    show_default=True,
    help="How many rows.",
)
@json_option
def command(what: str, limit: int, as_json: bool) -> None:
    """Show WHAT: statements, indexes, bloat, locks, tables, cache or connections."""
    rows = asyncio.run(_rows(what, limit))
    if as_json:
        show_json({"items": rows})
    else:
        print_rows(rows)


async def _rows(what: str, limit: int) -> list[Row]:
    async with Database.open(owner_dsn(Settings.from_env()), name="cli", max_size=1) as db:
        async with db.transaction(read_only=True) as tx:
            return await inspection.rows(tx, what, limit)
