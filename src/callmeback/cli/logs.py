"""`callmeback logs`: what the services of this home wrote, filtered and followed."""

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.text import Text

from callmeback.cli.output import plain
from callmeback.cli.parameters import Moment, Whole
from callmeback.ops import loglines
from callmeback.ops.loglines import Entry, Follower, Wanted
from callmeback.pg import server
from callmeback.settings import Settings

LINES_DEFAULT: Final = 200
LINES_MAX: Final = 100_000
LOOK_EVERY_S: Final = 0.25
_STYLES: Final = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red", "critical": "bold red"}


@click.command(name="logs")
@click.option(
    "--service",
    "services",
    multiple=True,
    type=click.Choice([*loglines.SERVICES, loglines.SERVER]),
    help="Of this one; can be said again. By default of all but postgres.",
)
@click.option(
    "--level", type=click.Choice(loglines.LEVELS), default="debug", show_default=True, help="This one and worse."
)
@click.option("--request", metavar="ID", help="Of one request or call.")
@click.option(
    "--since",
    type=Moment(),
    help="10m, 2h, 1d ago, or a time, local without an offset; by default since the oldest line kept.",
)
@click.option(
    "--lines",
    type=Whole(1, LINES_MAX),
    metavar="N",
    default=LINES_DEFAULT,
    show_default=True,
    help="The last so many.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(
    services: tuple[str, ...],
    level: str,
    request: str | None,
    since: datetime | None,
    lines: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show what up, serve, proxy and worker of this home wrote; with --service postgres the server's own log too."""
    home = Settings.from_env().home
    wanted = Wanted(services=services or loglines.SERVICES, level=level, request=request, since=since)
    running = server.find(home)
    folder = running.data.parent / loglines.FOLDER if running is not None else None
    followed = [service for service in wanted.services if follow and service != loglines.SERVER]
    followers = [Follower(service, loglines.file_of(home, service)) for service in followed]
    entries = loglines.read(home, wanted, folder)[-lines:]
    _print(entries, as_json=as_json)
    if not entries and not follow:
        click.echo(f"Nothing of that kind is kept in {home}.", err=True)
    try:
        while followers:
            time.sleep(LOOK_EVERY_S)
            news = [entry for follower in followers for entry in follower.news() if wanted(entry)]
            _print(sorted(news, key=lambda entry: entry.at), as_json=as_json)
    except KeyboardInterrupt:
        pass
    finally:
        for follower in followers:
            follower.close()


def _print(entries: Sequence[Entry], *, as_json: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    for entry in entries:
        if as_json:
            line = {"at": entry.at, "service": entry.service, "level": entry.level, "event": entry.event}
            click.echo(msgspec.json.encode(line | {"facts": entry.facts}))
        else:
            console.print(_line(entry), style=_STYLES.get(entry.level, ""))
    sys.stdout.flush()


def _line(entry: Entry) -> Text:
    facts = entry.facts.get("sql") if isinstance(entry.facts.get("sql"), dict) else entry.facts
    told = " ".join(f"{name}={value}" for name, value in (facts or {}).items() if name not in ("logger", "exception"))
    exception = entry.facts.get("exception")
    at = entry.at.astimezone()
    text = f"{at:%Y-%m-%d %H:%M:%S.%f%z} {entry.service:8} {entry.level:8} {entry.event} {told}".rstrip()

    return plain(text + (f"\n{exception}" if exception else ""))
