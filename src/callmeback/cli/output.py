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
from rich.measure import Measurement
from rich.table import Column, Table
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
    _print(list(columns.values()), [[plain(text_of(getattr(item, field))) for field in columns] for item in items])


def show_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows whose columns nobody names in code: as `{"items":[…]}`, or as a table headed by the first row's."""
    if as_json:
        show_json({"items": rows})
        return
    if not rows:
        console().print("Nothing.")
        return
    _print(list(rows[0]), [[plain(text_of(value)) for value in row.values()] for row in rows])


def _print(headings: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """A table, or where it doesn't fit into the terminal a block of lines for each row, so that an id stays whole."""
    out = console()
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    if not rows or Measurement.get(out, out.options.update(max_width=TABLE_WIDTH_MAX), table).maximum <= out.width:
        out.print(table)
        return
    for number, row in enumerate(rows):
        block = Table.grid("", Column(overflow="fold"), padding=(0, 2, 0, 0))
        for heading, cell in zip(headings, row, strict=True):
            block.add_row(Text(heading, "bold"), cell)
        if number:
            out.print()
        out.print(block)


def folding(*headings: str) -> Table:
    """A table of sentences: what doesn't fit into a cell goes on in its next line, so that a command stays whole."""
    return Table(*(Column(heading, overflow="fold") for heading in headings))


def show_json(value: object) -> None:
    """Print one JSON document; Structs, times and decimals as the API writes them."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def console() -> Console:
    """Standard output. A file or a pipe is as wide as what it gets."""
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
