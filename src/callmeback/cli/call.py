"""`callmeback call`: place a call from the terminal, through the running web process, and watch it."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Any, Final

import click
import httpx
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from callmeback import errors
from callmeback.cli.installation import owner_dsn
from callmeback.cli.output import json_option, show_json
from callmeback.domain import operators, tokens
from callmeback.pg import home
from callmeback.pg.pool import Database
from callmeback.settings import Settings

POLL_S: Final = 0.5
REQUEST_TIMEOUT_S: Final = 15.0
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
@click.option("--as", "who", required=True, metavar="EMAIL|ID", help="Whose call it is.")
@click.option("--phone", metavar="NUMBER", help="A verified number; by default the primary one.")
@click.option("--minutes", type=click.IntRange(1, 240), help="Longest talk.")
@click.option("--about", metavar="TEXT", help="What the call is about.")
@json_option
def command(persona: str, who: str, phone: str | None, minutes: int | None, about: str | None, as_json: bool) -> None:
    """Place a call and show it live. Ctrl-C hangs up. Ends with 1 unless somebody answered."""
    settings = home.complete(Settings.from_env())
    order = {"persona_id": persona, "phone_number": phone, "max_minutes": minutes, "context": about}
    token = asyncio.run(_token(settings, who))
    base_url = home.read_run(settings.home).get("url") or settings.base_url
    with httpx.Client(
        base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_TIMEOUT_S
    ) as client:
        try:
            call = _ask(client, "POST", "/api/calls", {key: value for key, value in order.items() if value is not None})
            call = _follow(client, call, Console(stderr=as_json))
        finally:
            # The session ends with the command, unless nobody is there to end it any more.
            with contextlib.suppress(httpx.TransportError):
                client.post("/api/auth/logout")
    if as_json:
        show_json(call)
    if call.status != "completed":
        raise SystemExit(1)


async def _token(settings: Settings, who: str) -> str:
    """A session of that person: whoever reads the house's secret may act for its people."""
    assert settings.jwt_secret is not None, "complete() saw to it"
    async with (
        Database.open(owner_dsn(settings), name="cli", max_size=1) as db,
        db.transaction(read_only=True) as tx,
    ):
        account = await operators.account(tx, who)

    return tokens.sign(settings.jwt_secret, tokens.claims_for(account.id, account.email))


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

    return call


def _ask(client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> Call:
    """One request; a refusal becomes an error with the problem's own sentence."""
    try:
        response = client.request(method, path, json=body)
    except UnicodeEncodeError as exc:
        raise errors.ValidationFailed("A text contains half a character.") from exc
    except httpx.TransportError as exc:
        if method == "GET":
            raise
        raise errors.ConfigurationError("The web process doesn't answer: is `callmeback up` running?") from exc
    if response.is_error:
        problem = response.json() if "json" in response.headers.get("content-type", "") else {}
        raise click.ClickException(str(problem.get("detail") or problem.get("title") or response.reason_phrase))

    return msgspec.json.decode(response.content, type=Call)


def _picture(call: Call) -> Group:
    """The call as it stands: its state, its meter, and what was said."""
    head = Table.grid(padding=(0, 3))
    state = STATUS_WORDS.get(call.status, call.status)
    if call.end_reason and call.status in TERMINAL:
        state += f" ({call.end_reason.replace('_', ' ')})"
    head.add_row(
        f"[bold]{escape(call.persona_name)}[/bold]",
        state,
        f"{call.duration_seconds or 0} s",
        f"{call.cost_cents or '0.00'} of at most {call.estimated_cost_cents or '?'} cents",
        f"{call.credits_used or 0} credits",
        datetime.now(UTC).astimezone().strftime("%H:%M:%S"),
    )
    lines = [Text(f"{line.speaker:>8}  {line.text}") for line in call.transcript]
    if call.status in TERMINAL and call.costs:
        lines.append(Text("   ".join(f"{vendor} {cents}" for vendor, cents in call.costs.items()), style="dim"))

    return Group(head, *lines)
