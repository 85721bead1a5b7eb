"""Long work in a terminal: what is being done, and how much of it. Elsewhere nothing is printed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from callmeback.ops.backup_site import Report, silent

MEGABYTE = 1 << 20


@contextmanager
def shown() -> Iterator[Report]:
    """A report that draws a bar on standard error, where the log goes too: standard output stays the answer's."""
    if not sys.stderr.isatty():
        yield silent
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, amount="")
            progress.update(tasks[what], completed=done, total=total, amount=_amount(done, total))

        yield report


def _amount(done: int, total: int | None) -> str:
    if not done:
        return ""
    if done < MEGABYTE and (total or 0) < MEGABYTE:
        return f"{done} of {total}" if total else str(done)

    return f"{done // MEGABYTE} MB" + (f" of {total // MEGABYTE} MB" if total else "")
