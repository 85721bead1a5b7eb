"""`callmeback call`: place a call from the terminal, through the running web process, and watch it."""

import time
from datetime import UTC, datetime
from typing import Any, Final

import click
import httpx
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from callmeback import errors
from callmeback.cli import person
from callmeback.cli.output import json_option, plain, show_json

POLL_S: Final = 0.5
# The longest call that a tier may allow is four hours; no watch goes on for ever.
WATCH_MAX_S: Final = 5 * 3_600
LOST_MAX: Final = 60
TERMINAL: Final = frozenset({"completed", "failed", "no_answer", "busy", "canceled"})
STATUS_WORDS: Final = {
    "initiating": "waiting to be dialled",
    "calling": "ringing",
    "connected": "picked up",
    "in_progress": "talking",
    "completed": "ended",
    "failed": "failed",
    "no_answer": "nobody answered",
    "busy": "busy",
    "canceled": "canceled",
}


class Line(msgspec.Struct, frozen=True):
    speaker: str
    text: str


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What the terminal shows of a call; the API tells more."""

    id: str
    status: str
    persona_name: str
    end_reason: str | None = None
    duration_seconds: int | None = None
    credits_used: int | None = None
    cost_cents: str | None = None
    estimated_cost_cents: str | None = None
    costs: dict[str, str] = {}
    transcript: list[Line] = []


@click.command(name="call")
@click.argument("persona", default="brad")
@person.who_option
@person.phone_option
@person.minutes_option
@click.option("--about", metavar="TEXT", help="What the call is about.")
@json_option
def command(persona: str, who: str, phone: str | None, minutes: int | None, about: str | None, as_json: bool) -> None:
    """Have PERSONA (brad by default) call, and show it live. Ctrl-C hangs up. Ends with 1 unless somebody answered."""
    order = {"persona_id": persona, "phone_number": phone, "max_minutes": minutes, "context": about}
    with person.session(who) as client:
        call = _ask(client, "POST", "/api/calls", {key: value for key, value in order.items() if value is not None})
        call = _follow(client, call, Console(stderr=as_json))
    if as_json:
        show_json(call)
    if call.status != "completed":
        raise SystemExit(1)


def _follow(client: httpx.Client, call: Call, console: Console) -> Call:
    """Show the call until it has ended; an interrupt hangs up and goes on watching."""
    deadline = time.monotonic() + WATCH_MAX_S
    lost = 0
    with Live(_picture(call), console=console, refresh_per_second=4) as live:
        while call.status not in TERMINAL and time.monotonic() < deadline:
            try:
                time.sleep(POLL_S)
                call = _ask(client, "GET", f"/api/calls/{call.id}")
                lost = 0
            except KeyboardInterrupt:
                _ask(client, "POST", f"/api/calls/{call.id}/hangup")
            except httpx.TransportError as exc:
                lost += 1
                if lost > LOST_MAX:
                    raise errors.DatabaseUnavailable("The web process doesn't answer any more.") from exc
            live.update(_picture(call))
    if not console.is_terminal:
        # Into a file or a pipe the picture is written once, without the end of its last line.
        console.print()

    return call


def _ask(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> Call:
    return msgspec.json.decode(person.ask(client, method, path, body), type=Call)


def _picture(call: Call) -> Group:
    """The call as it stands: its state, its meter, and what was said."""
    head = Table.grid(padding=(0, 3))
    name = plain(call.persona_name)
    name.stylize("bold")
    state = STATUS_WORDS.get(call.status, call.status)
    if call.end_reason and call.status in TERMINAL:
        state += f" ({call.end_reason.replace('_', ' ')})"
    head.add_row(
        name,
        state,
        f"{call.duration_seconds or 0} s",
        f"{call.cost_cents or '0.00'} of at most {call.estimated_cost_cents or '?'} cents",
        "1 credit" if call.credits_used == 1 else f"{call.credits_used or 0} credits",
        datetime.now(UTC).astimezone().strftime("%H:%M:%S"),
    )
    lines = [plain(f"{line.speaker:>8}  {line.text}") for line in call.transcript]
    if call.status in TERMINAL and call.costs:
        lines.append(Text("   ".join(f"{vendor} {cents}" for vendor, cents in call.costs.items()), style="dim"))

    return Group(head, *lines)
