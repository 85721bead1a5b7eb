"""`callmeback report NAME`: the questions of the specification's section 13, and those asked beside them."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from callmeback.cli.installation import owner_dsn
from callmeback.cli.output import TABLE_WIDTH_MAX, json_option, show, show_json, text_of
from callmeback.domain import reports
from callmeback.domain.reports import DAYS_MAX, Row
from callmeback.pg.pool import Database
from callmeback.settings import Settings

DAYS_HELP: Final = "How many UTC days, today included; by default as many as the list of reports says."


@click.command(name="report")
@click.argument("name", required=False, type=click.Choice(list(reports.REPORTS)), metavar="[NAME]")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), metavar="N", help=DAYS_HELP)
@click.option("--user", metavar="EMAIL|ID", help="One account alone (balances).")
@json_option
def command(name: str | None, days: int | None, user: str | None, as_json: bool) -> None:
    """Print the report NAME, or without one which there are."""
    if name is None:
        show(reports.lines(), {"name": "report", "days": "days", "about": "tells"}, as_json=as_json)
        return
    rows = asyncio.run(_rows(name, days, user))
    if as_json:
        show_json({"items": rows})
    else:
        print_rows(rows)


def print_rows(rows: Sequence[Row]) -> None:
    """A table with the columns of the first row; a sentence where there is none."""
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH_MAX)
    if not rows:
        console.print("Nothing.")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(escape(text_of(value)) for value in row.values()))
    console.print(table)


async def _rows(name: str, days: int | None, user: str | None) -> list[Row]:
    async with Database.open(owner_dsn(Settings.from_env()), name="cli", max_size=1) as db:
        async with db.transaction(read_only=True) as tx:
            return await reports.report(tx, name, days, user)
