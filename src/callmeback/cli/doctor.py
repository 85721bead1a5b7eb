"""`callmeback doctor`: what is wrong, and what to do about it."""

import asyncio
from typing import Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from callmeback.cli.installation import owner_dsn
from callmeback.cli.output import json_option, show_json
from callmeback.ops import doctor
from callmeback.ops.doctor import Verdict
from callmeback.pg.pool import Database
from callmeback.settings import Settings

_STYLES: Final = {"green": "green", "red": "bold red", "skipped": "yellow"}


@click.command(name="doctor")
@click.argument("area", required=False, type=click.Choice(list(doctor.AREAS)), metavar="[AREA]")
@json_option
def command(area: str | None, as_json: bool) -> None:
    """Examine AREA (money, payments), or everything; exit code 1 when a check is red."""
    verdicts = asyncio.run(_examine([area] if area else list(doctor.AREAS)))
    if as_json:
        show_json({"items": verdicts})
    else:
        _print(verdicts)
    if any(verdict.verdict == "red" for verdict in verdicts):
        raise SystemExit(1)


def _print(verdicts: list[Verdict]) -> None:
    table = Table("check", "verdict", "object", "what to do")
    for verdict in verdicts:
        objects = "\n".join(f"{symptom.object}: {symptom.detail}" for symptom in verdict.objects)
        if len(verdict.objects) == doctor.OBJECTS_MAX:
            objects += "\nand perhaps more"
        style = _STYLES[verdict.verdict]
        table.add_row(verdict.name, f"[{style}]{verdict.verdict}[/]", escape(objects), escape(verdict.what_to_do))
    Console().print(table)


async def _examine(areas: list[str]) -> list[Verdict]:
    async with Database.open(owner_dsn(Settings.from_env()), name="cli", max_size=1) as db:
        return await doctor.examine(db, areas)
