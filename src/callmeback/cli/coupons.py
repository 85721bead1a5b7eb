"""`callmeback coupons …`: codes that make a pack cheaper."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from callmeback.cli.installation import in_transaction
from callmeback.cli.output import json_option, show, show_json
from callmeback.cli.parameters import Duration, Whole
from callmeback.domain import coupons
from callmeback.domain.coupons import NewCoupon

COLUMNS: Final = {
    "code": "Code",
    "percent_off": "%",
    "amount_off_cents": "Cents",
    "currency": "Currency",
    "redemptions": "Used",
    "max_redemptions": "At most",
    "expires_at": "Until",
    "created_at": "Since",
}

_CURRENCY: Final = re.compile(r"[A-Za-z]{3}")
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{3,32}")
# What a price and a count can be at most, by their columns.
CENTS_MAX: Final = 999_999_999
REDEMPTIONS_MAX: Final = 2**31 - 1


@click.group(name="coupons")
def command() -> None:
    """Codes that make a pack cheaper: list, add, end."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The newest codes, and how often they were used."""
    show(asyncio.run(in_transaction(coupons.coupons)), COLUMNS, as_json=as_json)


@command.command()
@click.argument("code")
@click.option("--percent", type=Whole(1, 99), metavar="N", help="Takes so many percent off.")
@click.option("--cents", type=Whole(1, CENTS_MAX), metavar="N", help="Takes so many cents off.")
@click.option("--currency", metavar="CODE", default="usd", show_default=True, help="Of the cents, by ISO 4217.")
@click.option(
    "--max", "most", type=Whole(1, REDEMPTIONS_MAX), metavar="N",
    help="How many purchases may use it; by default any number.",
)  # fmt: skip
@click.option("--expires", type=Duration(), metavar="LENGTH", help="Works this long, such as 30d; by default for ever.")
@json_option
def add(
    code: str, percent: int | None, cents: int | None, currency: str, most: int | None, expires: timedelta | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Make CODE (3 to 32 letters, digits, - and _), which each person may use once."""
    if (percent is None) == (cents is None):
        raise click.UsageError("Say either --percent or --cents.")
    if _CODE.fullmatch(code) is None:
        raise click.UsageError("CODE is 3 to 32 letters, digits, - and _.")
    if _CURRENCY.fullmatch(currency) is None:
        raise click.UsageError("--currency is three letters, such as usd.")
    coupon = NewCoupon(
        code=code.upper(),
        percent_off=percent,
        amount_off_cents=cents,
        currency=None if cents is None else currency.lower(),
        max_redemptions=most,
        expires_at=None if expires is None else datetime.now(UTC) + expires,
    )
    asyncio.run(in_transaction(lambda tx: coupons.add(tx, coupon)))
    if as_json:
        show_json(coupon)
    else:
        click.echo(f"{coupon.code} is there.")


@command.command()
@click.argument("code")
@json_option
def end(code: str, as_json: bool) -> None:
    """End CODE now. A checkout that has it already keeps its price."""
    ended = asyncio.run(in_transaction(lambda tx: coupons.expire(tx, code)))
    if as_json:
        show_json(ended)
    else:
        click.echo(f"{ended.code} has ended.")
