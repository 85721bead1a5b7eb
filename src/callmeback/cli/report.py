"""`callmeback report NAME`: the questions of the specification's section 13, and those asked beside them."""

import asyncio
from typing import Final

import click

from callmeback.cli.installation import in_transaction
from callmeback.cli.output import json_option, show, show_rows
from callmeback.cli.parameters import Whole
from callmeback.domain import reports
from callmeback.domain.reports import DAYS_MAX

DAYS_HELP: Final = "How many UTC days, today included; by default as many as the list of reports says."


@click.command(name="report")
@click.argument("name", required=False, type=click.Choice(list(reports.REPORTS)), metavar="[NAME]")
@click.option("--days", type=Whole(1, DAYS_MAX), metavar="N", help=DAYS_HELP)
@click.option("--user", metavar="EMAIL|ID", help="One account alone (balances).")
@json_option
def command(name: str | None, days: int | None, user: str | None, as_json: bool) -> None:
    """Print the report NAME, or without one which there are."""
    if name is None:
        show(reports.lines(), {"name": "report", "days": "days", "about": "tells"}, as_json=as_json)
        return
    show_rows(
        asyncio.run(in_transaction(lambda tx: reports.report(tx, name, days, user), read_only=True)), as_json=as_json
    )
