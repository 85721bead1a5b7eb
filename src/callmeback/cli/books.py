"""`callmeback books …`: days that are closed, books that are checked and exported, margins."""

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar

import click

from callmeback import errors, money
from callmeback.cli.installation import in_transaction, owner_database
from callmeback.cli.output import console, folding, json_option, plain, show_json, show_rows
from callmeback.cli.parameters import DAY, period
from callmeback.domain import books
from callmeback.domain.books import MarginBy, Period
from callmeback.ops import books as checks
from callmeback.ops import journal
from callmeback.ops.books import Finding, Vendors
from callmeback.payments.accounts import stripe_account
from callmeback.pg import home
from callmeback.pg.pool import Session
from callmeback.providers.stripe import Cashier
from callmeback.providers.twilio import Carrier
from callmeback.settings import Settings
from callmeback.voice import accounts

CHECK_DAYS: Final = 7
MARGIN_DAYS: Final = 30
READ_SECONDS_MAX: Final = 300.0
_STYLES: Final = {"green": "green", "red": "bold red", "unknown": "yellow"}

ResultT = TypeVar("ResultT")


@click.group(name="books")
def command() -> None:
    """Books: close, check, export, margin, revenue. Days are UTC."""


def _period_options(days: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--from` and `--to`, which are this many days by default."""

    def options(function: Callable[..., Any]) -> Callable[..., Any]:
        first = f"First day; by default {days} days are taken."
        function = click.option("--to", "last", type=DAY, metavar="DAY", help="Last day, included; by default today.")(
            function
        )

        return click.option("--from", "first", type=DAY, metavar="DAY", help=first)(function)

    return options


@command.command()
@click.option("--day", type=DAY, metavar="DAY", help="The day to close; by default yesterday.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the published file; by default `books` in the home.",
)
@json_option
def close(day: datetime | None, out: Path | None, as_json: bool) -> None:
    """Seal a day with a hash over its ledger, and publish that outside the database."""
    settings = Settings.from_env()
    wanted = day.date() if day else datetime.now(UTC).date() - timedelta(days=1)

    async def work() -> tuple[books.Seal, Path]:
        async with owner_database(settings) as db:
            seal = await checks.close(db, wanted, getpass.getuser(), asyncio.sleep)
        return seal, checks.publish(out or settings.home / checks.FOLDER, seal)

    seal, path = asyncio.run(work())
    if as_json:
        show_json(seal)
    else:
        click.echo(
            f"{seal.day} is sealed: {seal.ledger_rows} rows, {seal.received_credits:+d} and {seal.taken_credits} "
            f"credits, {seal.batch_hash}. Published in {path}."
        )


@command.command()
@_period_options(CHECK_DAYS)
@click.option("--own", is_flag=True, help="Ours alone; ask neither the payment provider nor the carrier.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the published file; by default `books` in the home.",
)
@json_option
def check(first: datetime | None, last: datetime | None, own: bool, out: Path | None, as_json: bool) -> None:
    """Compare the books with one another, with what was sealed, and with the provider's and the carrier's.

    Ends with 1 unless every check is green: what could not be asked is not in order.
    """
    settings = home.complete(Settings.from_env())
    days = period(first, last, CHECK_DAYS)
    found = asyncio.run(_check(settings, days, out or settings.home / checks.FOLDER, own=own))
    if as_json:
        show_json({"items": found, "first_day": days.first, "last_day": days.last})
    else:
        _print(found)
    if any(finding.verdict != "green" for finding in found):
        raise SystemExit(1)


async def _check(settings: Settings, days: Period, folder: Path, *, own: bool) -> list[Finding]:
    async with owner_database(settings) as db:
        found = await checks.check_own(db, days, folder)
        if own:
            return found
        cashier, carrier = Cashier(stripe_account(settings)), Carrier(accounts.carrier_config(settings))
        try:
            vendors = await _vendors(settings, cashier, carrier)
            return found + await checks.check_vendors(db, days, vendors)
        except errors.VendorFailed as exc:
            return [*found, Finding(name="vendors", verdict="unknown", summary=exc.detail)]
        finally:
            await cashier.aclose()
            await carrier.aclose()


async def _vendors(settings: Settings, cashier: Cashier, carrier: Carrier) -> Vendors:
    """Simulated vendors forget all when they are started anew: what was before can't be compared."""
    simulated = {name: settings.simulated(name) for name in ("payments", "carrier")}
    began = None
    if any(simulated.values()):
        began = await checks.simulator_began(accounts.simulator_url(settings, "http", "").rstrip("/"))

    return Vendors(
        cashier,
        carrier,
        payments_since=began if simulated["payments"] else None,
        carrier_since=began if simulated["carrier"] else None,
    )


def _print(found: list[Finding]) -> None:
    table = folding("check", "verdict", "what was found")
    for finding in found:
        lines = [*finding.objects, *([finding.summary] if finding.summary else [])]
        if len(finding.objects) == checks.OBJECTS_MAX:
            lines.insert(len(finding.objects), "and perhaps more")
        table.add_row(finding.name, f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]", plain("\n".join(lines)))
    console().print(table)


@command.command()
@_period_options(MARGIN_DAYS)
@click.option(
    "--format", "form", type=click.Choice(["ledger", "beancount", "csv"]), default="ledger", show_default=True,
    help="A journal for ledger and hledger, or for beancount, or a table.",
)  # fmt: skip
@click.option(
    "--what", type=click.Choice(["money", "credits", "costs"]),
    help="Which table, with --format csv; by default money.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; by default standard output.")
def export(
    first: datetime | None, last: datetime | None, form: str, what: journal.Sheet | None, out: Path | None
) -> None:
    """Write a period as a double-entry journal that accounting programs read, or as CSV."""
    if what is not None and form != "csv":
        raise click.UsageError("--what goes with --format csv.")
    days = period(first, last, MARGIN_DAYS)

    async def work(file: TextIO) -> None:
        async def write(tx: Session) -> None:
            pieces: AsyncIterator[str] = (
                journal.sheet(tx, days, what or "money")
                if form == "csv"
                else journal.journal(tx, days, "beancount" if form == "beancount" else "ledger")
            )
            async for piece in pieces:
                file.write(piece)

        await in_transaction(write, snapshot=True, deadline_s=READ_SECONDS_MAX)

    if out is None:
        asyncio.run(work(sys.stdout))
        return
    draft = out.with_name(f".{out.name}.draft")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            asyncio.run(work(file))
        draft.replace(out)
    except OSError as exc:
        raise click.ClickException(f"{out} can't be written: {exc.strerror}.") from exc
    finally:
        draft.unlink(missing_ok=True)


@command.command()
@_period_options(MARGIN_DAYS)
@click.option("--by", type=click.Choice(["day", "tier", "persona"]), default="day", show_default=True)
@json_option
def margin(first: datetime | None, last: datetime | None, by: MarginBy, as_json: bool) -> None:
    """Revenue, vendors' cost and margin: three figures, in cents."""
    days = period(first, last, MARGIN_DAYS)
    show_rows(_rows(lambda tx: books.margin(tx, by, days)), as_json=as_json)


@command.command()
@_period_options(MARGIN_DAYS)
@json_option
def revenue(first: datetime | None, last: datetime | None, as_json: bool) -> None:
    """What was received, refunded and disputed, by day and kind, in cents."""
    days = period(first, last, MARGIN_DAYS)
    show_rows(_rows(lambda tx: books.revenue(tx, days)), as_json=as_json)


def _rows(work: Callable[[Session], Awaitable[list[books.Row]]]) -> list[dict[str, object]]:
    """Rows with their money as the API writes it."""
    found = asyncio.run(in_transaction(work, snapshot=True, deadline_s=READ_SECONDS_MAX))

    return [
        {name: money.format_cents(value) if isinstance(value, Decimal) else value for name, value in row.items()}
        for row in found
    ]
