"""`callmeback rates …`: what vendors charge, since when, and what a past period would have cost at other rates."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import click

from callmeback import money
from callmeback.cli.installation import in_transaction
from callmeback.cli.output import json_option, show, show_json
from callmeback.cli.parameters import DAY, Moment, Whole, period
from callmeback.domain import rates
from callmeback.domain.rates import NewRate, RepriceBy

COLUMNS: Final = {
    "vendor": "Vendor",
    "model": "Model",
    "unit": "Unit",
    "price_cents": "Cents",
    "per": "for",
    "effective_from": "From",
    "effective_until": "Until",
    "source": "Source",
}
REPRICED: Final = {
    "key": "",
    "calls": "Calls",
    "unpriced_calls": "Without a rate",
    "booked_cents": "Booked cents",
    "repriced_cents": "Repriced cents",
}
REPRICE_DAYS: Final = 30
READ_SECONDS_MAX: Final = 300.0


class _Price(click.ParamType[Decimal]):
    name = "cents"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        price = money.parse_amount(str(value))
        if price is None:
            self.fail(f"{value!a} is no number of cents: {money.AMOUNT_FORM}.", param, ctx)

        return price


@click.group(name="rates")
def command() -> None:
    """Rates of vendors: list, set, history, reprice. The past is never edited."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """What holds now, and what is agreed for later."""
    show(asyncio.run(in_transaction(rates.in_force)), COLUMNS, as_json=as_json)


@command.command()
@click.argument("vendor", required=False, type=click.Choice(rates.VENDORS), metavar="[VENDOR]")
@click.argument("model", required=False)
@json_option
def history(vendor: str | None, model: str | None, as_json: bool) -> None:
    """Every rate that ever was, of VENDOR and MODEL or of all."""
    show(asyncio.run(in_transaction(lambda tx: rates.history(tx, vendor, model))), COLUMNS, as_json=as_json)


@command.command("set")
@click.argument("vendor", type=click.Choice(rates.VENDORS), metavar="VENDOR")
@click.argument("model")
@click.argument("unit", type=click.Choice(rates.UNITS), metavar="UNIT")
@click.argument("price", type=_Price(), required=False, metavar="[CENTS]")
@click.option("--per", type=Whole(1, rates.PER_MAX), default=1, show_default=True, help="For so many units.")
@click.option("--from", "since", type=Moment(), help="From when, local without an offset; by default now.")
@click.option("--end", is_flag=True, help="No price from then on: calls with this model are refused.")
@click.option("--source", required=True, help="Where the figure was read.")
@json_option
def set_(
    vendor: str, model: str, unit: str, price: Decimal | None, per: int, since: datetime | None, end: bool,
    source: str, as_json: bool,
) -> None:  # fmt: skip
    """Let a rate follow the one in force, from now or from a time to come on. A call keeps the rates of its start."""
    if (price is None) != end:
        raise click.UsageError("Say CENTS, or --end.")
    rate = NewRate(
        vendor=vendor,
        model=model,
        unit=unit,
        price_cents=price,
        per=per,
        effective_from=since,
        source=source,
    )
    effective_from = asyncio.run(in_transaction(lambda tx: rates.follow(tx, rate)))
    if as_json:
        show_json({**{name: getattr(rate, name) for name in rate.__struct_fields__}, "effective_from": effective_from})
    else:
        what = "has no price" if price is None else f"{price} ¢ for {per}"
        click.echo(f"{vendor} {model} {unit}: {what} from {effective_from:%Y-%m-%d %H:%M:%S}Z on.")


@command.command()
@click.option(
    "--from", "first", type=DAY, metavar="DAY", help=f"First day, UTC; by default {REPRICE_DAYS} days are taken."
)
@click.option("--to", "last", type=DAY, metavar="DAY", help="Last day, included; by default today.")
@click.option("--as-of", type=Moment(), help="The rates of which time, local without an offset; by default now.")
@click.option("--by", type=click.Choice(["vendor", "day"]), default="vendor", show_default=True)
@json_option
def reprice(
    first: datetime | None, last: datetime | None, as_of: datetime | None, by: RepriceBy, as_json: bool
) -> None:
    """What the calls of a period would have cost at the rates of another time. A report: no book is changed.

    Ends with 1 where calls used something that has no rate at that time: they are counted, never priced at zero.
    """
    moment = as_of or datetime.now(UTC)
    days = period(first, last, REPRICE_DAYS)
    found = asyncio.run(in_transaction(lambda tx: rates.reprice(tx, by, days, moment), deadline_s=READ_SECONDS_MAX))
    show(found, REPRICED | {"key": by.capitalize()}, as_json=as_json)
    if any(line.unpriced_calls for line in found):
        raise SystemExit(1)
