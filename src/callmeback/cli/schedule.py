"""`callmeback schedule`: plan calls for somebody from the terminal, and see, move, pause, skip and cancel them."""

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import click
import msgspec

from callmeback.cli import person
from callmeback.cli.output import json_option, show, show_json
from callmeback.cli.parameters import Whole
from callmeback.domain import zones
from callmeback.domain.wishes import RETRIES_MAX

LISTED_MAX: Final = 100
PAGES_MAX: Final = 100
COLUMNS: Final = {
    "id": "id",
    "status": "status",
    "outcome": "outcome",
    "at": "at",
    "persona_name": "persona",
    "rrule": "rule",
    "timezone": "zone",
}


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What the terminal shows of a schedule; the API tells more."""

    id: str
    kind: str
    status: str
    outcome: str | None
    at: datetime | None
    persona_id: str
    persona_name: str
    phone_number: str
    rrule: str | None
    starts_at: str | None
    timezone: str | None


class Ring(msgspec.Struct, frozen=True):
    """One time of a preview."""

    at: datetime


class Schedules(msgspec.Struct, frozen=True):
    items: list[Schedule]
    next: str | None = None


class Rings(msgspec.Struct, frozen=True):
    items: list[Ring]


@click.group(name="schedule")
def command() -> None:
    """Calls to come: plan, list, preview, move, pause, skip, cancel. Through the running web process."""


@command.command(name="add")
@click.argument("persona", default="brad")
@person.who_option
@click.option("--at", metavar="TIME", help="Once, at this time with its offset: 2027-03-28T07:00:00+02:00.")
@click.option("--rule", metavar="RRULE", help="Again and again, by RFC 5545: FREQ=WEEKLY;BYDAY=MO,FR.")
@click.option("--start", metavar="LOCAL", help="Local time at which the rule begins: 2027-03-28T07:00.")
@click.option(
    "--zone", metavar="ZONE", help="IANA zone of the rule; by default the person's own, also when it changes."
)
@person.phone_option
@person.minutes_option
@click.option("--about", metavar="TEXT", help="What the calls are about.")
@click.option(
    "--retries", type=Whole(0, RETRIES_MAX), metavar="N",
    help="So many more tries if it is busy or nobody answers, ten minutes apart; by default none.",
)  # fmt: skip
@click.option("--ends-after", type=Whole(1), metavar="N", help="End after so many calls; by default never.")
@json_option
def add(persona: str, who: str, as_json: bool, **wanted: Any) -> None:
    """Plan a call of PERSONA's (brad by default), by --at, or what repeats, by --rule and --start."""
    is_once, repeats = wanted["at"] is not None, wanted["rule"] is not None and wanted["start"] is not None
    if is_once == repeats or (is_once and (wanted["rule"] is not None or wanted["start"] is not None)):
        raise click.UsageError("Say either --at, or both --rule and --start.")
    names = {"rule": "rrule", "start": "starts_at", "zone": "timezone", "phone": "phone_number"}
    names |= {"minutes": "max_minutes", "about": "context"}
    order = {names.get(name, name): value for name, value in wanted.items() if value is not None}
    if "retries" in order:
        order["retries"] = {"max": order["retries"]}
    _act(who, "POST", "/api/schedules", {"persona_id": persona, **order}, as_json=as_json)


@command.command(name="list")
@person.who_option
@json_option
def list_(who: str, as_json: bool) -> None:
    """Everything that somebody has planned, the newest first, with what was missed and why."""
    found: list[Schedule] = []
    query = {"limit": str(LISTED_MAX)}
    with person.session(who) as client:
        for _ in range(PAGES_MAX):
            page = msgspec.json.decode(person.ask(client, "GET", "/api/schedules", query=query), type=Schedules)
            found += page.items
            if page.next is None:
                break
            query["cursor"] = page.next
    _show(found, as_json=as_json)


@command.command(name="preview")
@click.argument("rule")
@click.argument("start")
@person.who_option
@click.option("--zone", metavar="ZONE", help="IANA zone of the rule; by default the person's own.")
@json_option
def preview(rule: str, start: str, who: str, zone: str | None, as_json: bool) -> None:
    """The next ten times of RULE from the local time START on; nothing is planned."""
    query = {"rrule": rule, "starts_at": start} | ({} if zone is None else {"timezone": zone})
    with person.session(who) as client:
        rings = msgspec.json.decode(person.ask(client, "GET", "/api/schedules/preview", query=query), type=Rings)
    show(rings.items, {"at": "at"}, as_json=as_json)


@command.command(name="pause")
@click.argument("schedule")
@person.who_option
@json_option
def pause(schedule: str, who: str, as_json: bool) -> None:
    """Let SCHEDULE rest; it keeps its place."""
    _act(who, "PATCH", _path(schedule), {"paused": True}, as_json=as_json)


@command.command(name="resume")
@click.argument("schedule")
@person.who_option
@json_option
def resume(schedule: str, who: str, as_json: bool) -> None:
    """Let SCHEDULE go on."""
    _act(who, "PATCH", _path(schedule), {"paused": False}, as_json=as_json)


@command.command(name="skip")
@click.argument("schedule")
@person.who_option
@json_option
def skip(schedule: str, who: str, as_json: bool) -> None:
    """Leave the next time of SCHEDULE out."""
    _act(who, "POST", f"{_path(schedule)}/skip", None, as_json=as_json)


@command.command(name="move")
@click.argument("schedule")
@click.argument("at")
@person.who_option
@json_option
def move(schedule: str, at: str, who: str, as_json: bool) -> None:
    """Move a single call, or the next one of SCHEDULE, to the time AT, with its offset."""
    _act(who, "PATCH", _path(schedule), {"at": at}, as_json=as_json)


@command.command(name="cancel")
@click.argument("schedule")
@person.who_option
@json_option
def cancel(schedule: str, who: str, as_json: bool) -> None:
    """Take SCHEDULE back. Ends with 1 if the call was placed first."""
    _act(who, "DELETE", _path(schedule), None, as_json=as_json)


def _path(schedule: str) -> str:
    """Whatever somebody calls a schedule stays one part of the path."""
    return f"/api/schedules/{quote(schedule, safe='', errors='replace')}"


def _act(who: str, method: str, path: str, body: dict[str, Any] | None, *, as_json: bool) -> None:
    with person.session(who) as client:
        content = person.ask(client, method, path, body)
    if as_json:
        show_json(msgspec.json.decode(content))
    else:
        _show([msgspec.json.decode(content, type=Schedule)], as_json=False)


def _show(found: list[Schedule], *, as_json: bool) -> None:
    if as_json:
        show(found, COLUMNS, as_json=True)
        return
    # For people on the clock of the rule's zone.
    lines = [
        msgspec.structs.replace(one, at=one.at and one.at.astimezone(zones.zone_or_utc(one.timezone or "UTC")))
        for one in found
    ]
    show(lines, COLUMNS, as_json=False)
