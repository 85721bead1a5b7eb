"""iCalendar (RFC 5545) as text: a calendar of calls to come is written, a simple event is read. Pure.

Times are written as UTC instants, one event each, so that every calendar program shows exactly what will ring, the
moved and the left-out ones included. What is read must say no more than a call can be: one event, one rule.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from callmeback import errors

PRODUCT: Final = "-//Call Me Back//Calls to come//EN"
MEDIA_TYPE: Final = "text/calendar"
LINE_OCTETS_MAX: Final = 75
READ_LENGTH_MAX: Final = 50_000
SUMMARY_LENGTH_MAX: Final = 500

_LINE: Final = re.compile(
    r"(?P<name>[A-Za-z0-9-]+)(?P<parameters>(?:;[A-Za-z0-9-]+=(?:\"[^\"]*\"|[^\";:]*))*):(?P<value>.*)"
)
_PARAMETER: Final = re.compile(r";([A-Za-z0-9-]+)=(?:\"([^\"]*)\"|([^\";:]*))")
_STAMP: Final = re.compile(r"(\d{8})T(\d{6})(Z?)")
_ESCAPES: Final = {"\\n": "\n", "\\N": "\n", "\\,": ",", "\\;": ";", "\\\\": "\\"}
_ESCAPED: Final = re.compile(r"\\[nN,;\\]")
# What an event may say that would change when it rings, beyond one rule.
_TOO_MUCH: Final = ("RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One call in a calendar."""

    uid: str
    begin: datetime
    minutes: int
    changed_at: datetime
    summary: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an event asks for: once `at` an instant, or by a rule from a local start; without a zone in the person's."""

    summary: str
    at: str | None = None
    rrule: str | None = None
    starts_at: str | None = None
    timezone: str | None = None


def write(name: str, events: Iterable[Event]) -> str:
    """A calendar, in the order of the events."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        f"PRODID:{PRODUCT}",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        f"X-WR-CALNAME:{_escape(name)}",
        "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
    ]
    for event in events:
        lines += [
            "BEGIN:VEVENT",
            f"UID:{event.uid}",
            f"DTSTAMP:{_stamp(event.changed_at)}",
            f"DTSTART:{_stamp(event.begin)}",
            f"DURATION:PT{event.minutes}M",
            f"SUMMARY:{_escape(event.summary)}",
            "TRANSP:TRANSPARENT",
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")

    return "".join(f"{_fold(line)}\r\n" for line in lines)


def read(text: str) -> Wanted:
    """The one event of a calendar; raises CalendarInvalid for what is none, or asks for more than a call can be."""
    if len(text) > READ_LENGTH_MAX:
        raise errors.CalendarInvalid(
            f"A calendar of one event has at most {READ_LENGTH_MAX:,} characters.", field="ics"
        )
    properties = _event(text)
    for name in _TOO_MUCH:
        if name in properties:
            raise errors.CalendarInvalid(f"{name} can't be taken over; plan such times one by one.", field="ics")
    if properties.get("STATUS", ("", {}))[0].upper() == "CANCELLED":
        raise errors.CalendarInvalid("This event is canceled.", field="ics")
    if "DTSTART" not in properties:
        raise errors.CalendarInvalid("The event has no DTSTART.", field="ics")
    value, parameters = properties["DTSTART"]
    match = _STAMP.fullmatch(value)
    if match is None or not value.isascii():
        raise errors.CalendarInvalid("DTSTART must be a day with a time, not a whole day.", field="ics")
    try:
        start = datetime.strptime(f"{match[1]}{match[2]}", "%Y%m%d%H%M%S")
    except ValueError as exc:
        raise errors.CalendarInvalid("DTSTART is no day of the calendar.", field="ics") from exc
    zone = "UTC" if match[3] else parameters.get("TZID")
    rule = properties.get("RRULE", (None, {}))[0]
    summary = _unescape(properties.get("SUMMARY", ("", {}))[0]).strip()[:SUMMARY_LENGTH_MAX]
    if rule is None and match[3]:
        return Wanted(summary=summary, at=start.replace(tzinfo=UTC).isoformat())

    return Wanted(summary=summary, rrule=rule, starts_at=start.isoformat(), timezone=zone)


def _event(text: str) -> dict[str, tuple[str, dict[str, str]]]:
    """The properties of the one event, those of what is inside it (alarms) left out."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    inside: list[str] = []
    events = 0
    for line in re.sub(r"\r?\n[ \t]", "", text).splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            if line.strip():
                raise errors.CalendarInvalid("This is no iCalendar text.", field="ics")
            continue
        name, value = match["name"].upper(), match["value"]
        if name == "BEGIN":
            inside.append(value.upper())
            events += value.upper() == "VEVENT"
        elif name == "END":
            if not inside or inside.pop() != value.upper():
                raise errors.CalendarInvalid("A part of the calendar ends that didn't begin.", field="ics")
        elif inside == ["VCALENDAR", "VEVENT"]:
            if name in found and name in ("RRULE", "DTSTART"):
                raise errors.CalendarInvalid(f"The event has more than one {name}.", field="ics")
            parameters = {
                key.upper(): quoted or plain for key, quoted, plain in _PARAMETER.findall(match["parameters"])
            }
            found[name] = (value, parameters)
    if inside or events != 1:
        raise errors.CalendarInvalid("A calendar with exactly one event is needed.", field="ics")

    return found


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _escape(text: str) -> str:
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")

    return re.sub(r"\r\n|\r|\n", r"\\n", text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text)


def _fold(line: str) -> str:
    """A line in pieces of at most 75 octets, no character cut (RFC 5545 section 3.1)."""
    pieces, piece, octets = [], "", 0
    for letter in line:
        size = len(letter.encode("utf-8", "replace"))
        if octets + size > LINE_OCTETS_MAX:
            pieces.append(piece)
            piece, octets = " ", 1
        piece += letter
        octets += size

    return "\r\n".join([*pieces, piece])
