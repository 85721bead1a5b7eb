"""`callmeback doctor`: what is wrong, what to do about it, and with `--fix` what is safe to do at once."""

import asyncio
from collections.abc import Sequence
from typing import Final

import click
from rich.text import Text

from callmeback.cli.installation import known_settings, owner_dsn
from callmeback.cli.output import console, folding, json_option, plain, show_json
from callmeback.ops import doctor
from callmeback.ops.doctor import Mended, Verdict
from callmeback.pg import server
from callmeback.settings import Settings

_STYLES: Final = {"green": "green", "warning": "yellow", "red": "bold red", "skipped": "dim"}


@click.command(name="doctor")
@click.argument("areas", nargs=-1, type=click.Choice(list(doctor.AREAS)), metavar="[AREA]...")
@click.option("--fix", is_flag=True, help="Mend what is safe to mend, and look again.")
@click.option("--all", "show_all", is_flag=True, help="Show green and skipped checks too, one a line.")
@json_option
def command(areas: tuple[str, ...], fix: bool, show_all: bool, as_json: bool) -> None:
    """Examine each AREA, or everything; exit code 1 when a check is red. Warnings and skipped checks end with 0.

    The areas are connections, services, migrations, money, payments, calls, schema, storage, backups, server and log.
    """
    settings = known_settings(Settings.from_env())
    verdicts, mended = asyncio.run(_examine(settings, areas or tuple(doctor.AREAS), fix=fix))
    if as_json:
        show_json({"items": verdicts, "mended": mended} if fix else {"items": verdicts})
    else:
        _print(verdicts, mended, show_all=show_all)
    if any(verdict.verdict == "red" for verdict in verdicts):
        raise SystemExit(1)


async def _examine(settings: Settings, areas: Sequence[str], *, fix: bool) -> tuple[list[Verdict], list[Mended]]:
    dsn = owner_dsn(settings)
    running = server.find(settings.home)
    superuser_dsn = running.superuser_dsn if running is not None and running.owner_dsn == dsn else None
    async with doctor.visit(settings, dsn, superuser_dsn) as patient:
        verdicts = await doctor.examine(patient, areas)
    # Outside: on a full server our own connections would be the last ones.
    mended = await doctor.mend(superuser_dsn or dsn, verdicts) if fix else []
    if not mended:
        return verdicts, []
    # Anew, since what was mended may have been the connection itself.
    async with doctor.visit(settings, dsn, superuser_dsn) as patient:
        return await doctor.examine(patient, areas), mended


def _print(verdicts: Sequence[Verdict], mended: Sequence[Mended], *, show_all: bool) -> None:
    out = console()
    for each in mended:
        out.print(plain(f"{each.name}: {each.command}: {each.error or 'done'}"), soft_wrap=True)
    shown = [verdict for verdict in verdicts if show_all or verdict.verdict in ("red", "warning")]
    if shown:
        table = folding("area", "check", "verdict", "object", "what to do")
        for verdict in shown:
            table.add_row(*_cells(verdict))
        out.print(table)
    numbers = {word: sum(verdict.verdict == word for verdict in verdicts) for word in _STYLES}
    out.print(", ".join(f"[{_STYLES[word]}]{number} {word}[/]" for word, number in numbers.items()))


def _cells(verdict: Verdict) -> tuple[str | Text, ...]:
    objects = "\n".join(f"{symptom.object}: {symptom.detail}" for symptom in verdict.objects)
    if len(verdict.objects) == doctor.OBJECTS_MAX:
        objects += "\nand perhaps more"
    style = _STYLES[verdict.verdict]

    return (
        verdict.area,
        verdict.name,
        f"[{style}]{verdict.verdict}[/]",
        plain(objects),
        plain(verdict.what_to_do),
    )
