"""What commands print: a table for people, or with `--json` one document for programs."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from callmeback import money

TABLE_WIDTH_MAX: Final = 1_000
# What a terminal obeys, but for line ends and tabs.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def json_option(function: FunctionT) -> FunctionT:
    """`--json`, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")(function)


def show(items: Sequence[msgspec.Struct], columns: Mapping[str, str], *, as_json: bool) -> None:
    """Print Structs: as `{"items":[…]}`, or as a table with a column for each field of `columns` (field: heading)."""
    if as_json:
        show_json({"items": items})
        return
    table = Table(*columns.values())
    for item in items:
        table.add_row(*(plain(text_of(getattr(item, field))) for field in columns))
    console().print(table)


def show_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows whose columns nobody names in code: as `{"items":[…]}`, or as a table headed by the first row's."""
    if as_json:
        show_json({"items": rows})
        return
    if not rows:
        console().print("Nothing.")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(plain(text_of(value)) for value in row.values()))
    console().print(table)


def show_json(value: object) -> None:
    """Print one JSON document; Structs, times and decimals as the API writes them."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console() -> Console:
    """Standard output. A terminal shortens what doesn't fit; a file or a pipe gets all of it."""
    return Console(width=None if sys.stdout.isatty() else TABLE_WIDTH_MAX)


def plain(text: str) -> Text:
    """A text of whomever as it is: without markup or emoji read into it, and with control characters written out."""
    return Text(_CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text))


def text_of(value: object) -> str:
    """A value in a table: nothing for None, yes or no for a flag, times to the second, every digit that matters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, Decimal):
        return money.format_cents(value)

    return str(value)
