"""`callmeback inspect WHAT`: long tables about the inside of the database."""

import asyncio

import click

from callmeback.cli.installation import in_transaction
from callmeback.cli.output import json_option, show_rows
from callmeback.cli.parameters import Whole
from callmeback.ops import inspection
from callmeback.ops.inspection import ROWS_DEFAULT, ROWS_MAX


@click.command(name="inspect")
@click.argument("what", type=click.Choice(list(inspection.TABLES)), metavar="WHAT")
@click.option(
    "--limit",
    type=Whole(1, ROWS_MAX),
    metavar="N",
    default=ROWS_DEFAULT,
    show_default=True,
    help="How many rows.",
)
@json_option
def command(what: str, limit: int, as_json: bool) -> None:
    """Show WHAT: statements, indexes, bloat, locks, tables, cache or connections."""
    show_rows(asyncio.run(in_transaction(lambda tx: inspection.rows(tx, what, limit), read_only=True)), as_json=as_json)
