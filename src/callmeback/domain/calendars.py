"""What is to come, as a calendar: every call of the next weeks, those included that have no row yet.

Read by people's pages, and by calendar programs under a secret link of which the database knows a hash only. A feed
names personas and times, and nothing else that is personal.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from callmeback import errors, money
from callmeback.domain import icalendar_text, recurrence, tokens, zones
from callmeback.domain.icalendar_text import Event, Wanted
from callmeback.domain.wishes import ScheduleOrder
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "calendars.sql")

SHOWN_AHEAD: Final = timedelta(days=60)
# Of one schedule: a rule for every five minutes fills a day.
SHOWN_MAX: Final = 200
WAITING_MAX: Final = 1_000
JUST_NOW: Final = timedelta(hours=1)
MINUTES_DEFAULT: Final = 15
NAME: Final = "Call Me Back"


class ComingCall(msgspec.Struct, frozen=True):
    """A call that waits in its row."""

    id: str
    schedule_id: str | None
    occurrence: datetime | None
    scheduled_time: datetime
    updated_at: datetime
    requested_seconds: int | None
    attempt: int
    persona_name: str
    avatar_url: str | None


class ActiveSchedule(msgspec.Struct, frozen=True):
    """What repeats, with the newest occurrence that has its row."""

    id: str
    rrule: str
    starts_at_local: str
    timezone: str
    ends_at: datetime | None
    remaining_count: int | None
    updated_at: datetime
    requested_seconds: int | None
    materialised_until: datetime | None
    persona_name: str
    avatar_url: str | None


class SkippedOccurrence(msgspec.Struct, frozen=True):
    """A time that was left out."""

    schedule_id: str | None
    occurrence: datetime | None


class Coming(msgspec.Struct, frozen=True):
    """One call to come. `id` is its row's, None where a rule says it and no row does yet."""

    id: str | None
    schedule_id: str | None
    at: datetime
    persona_name: str
    avatar_url: str | None
    uid: str
    changed_at: datetime
    minutes: int
    attempt: int = 1


class Feed(msgspec.Struct, frozen=True):
    """Since when there is a link."""

    created_at: datetime


class FeedLink(msgspec.Struct, frozen=True):
    """The link itself, shown once."""

    url: str


async def coming(tx: Session, user_id: str, until: datetime | None = None) -> list[Coming]:
    """What rings until then, in order: all single calls, and what repeats up to SHOWN_AHEAD from now."""
    now = datetime.now(UTC)
    last = now + SHOWN_AHEAD if until is None else min(until, now + SHOWN_AHEAD)
    since = now - JUST_NOW
    calls = await tx.all(SQL.coming_calls, ComingCall, user_id=user_id, since=since, most=WAITING_MAX)
    schedules = await tx.all(SQL.active_schedules, ActiveSchedule, user_id=user_id)
    skipped = {
        (row.schedule_id, row.occurrence)
        for row in await tx.all(SQL.skipped, SkippedOccurrence, user_id=user_id, since=since)
    }
    found = [_of_row(call) for call in calls if call.schedule_id is None or call.scheduled_time <= last]
    for schedule in schedules:
        # The process carries live voice too, and a person may have fifty of these.
        await asyncio.sleep(0)
        found += [_of_rule(schedule, at) for at in _beyond(schedule, now, last) if (schedule.id, at) not in skipped]

    return sorted(found, key=lambda one: (one.at, one.uid))


async def feed(tx: Session, user_id: str) -> Feed | None:
    """Since when there is a link, or None."""
    created_at = await tx.value(SQL.feed, user_id=user_id)

    return None if created_at is None else Feed(created_at)


async def renew_feed(tx: Session, user_id: str) -> str:
    """The token of a new link; the one before is no longer good."""
    token, token_hash = tokens.one_time()
    await tx.run(SQL.renew_feed, user_id=user_id, token_hash=token_hash)

    return token


async def remove_feed(tx: Session, user_id: str) -> None:
    """Take the link away; none is no error."""
    await tx.run(SQL.remove_feed, user_id=user_id)


async def feed_user(tx: Session, token: str) -> str | None:
    """Whose calendar a link shows, None for one that is no longer good."""
    found: str | None = await tx.value(SQL.feed_user, token_hash=tokens.one_time_hash(token))

    return found


def text_of(calls: list[Coming]) -> str:
    """A calendar for programs."""
    return icalendar_text.write(
        NAME,
        (
            Event(
                uid=call.uid,
                begin=call.at,
                minutes=call.minutes,
                changed_at=call.changed_at,
                summary=f"{call.persona_name} calls",
            )
            for call in calls
        ),
    )


def order_of(wanted: Wanted, persona_id: str, timezone: str) -> ScheduleOrder:
    """What an event asks for, as an order; a single one by its instant, a local time in the zone that it names.

    Raises UnknownTimezone, ValidationFailed.
    """
    at = wanted.at
    if at is None and wanted.rrule is None:
        assert wanted.starts_at is not None, "an event has a start"
        zone = zones.zone(wanted.timezone or timezone).info
        at = recurrence.instant(recurrence.local_time(wanted.starts_at, "ics"), zone).isoformat()

    return ScheduleOrder(
        persona_id=persona_id,
        context=wanted.summary or None,
        at=at,
        rrule=wanted.rrule,
        starts_at=None if wanted.rrule is None else wanted.starts_at,
        timezone=None if wanted.rrule is None else wanted.timezone,
    )


def _beyond(schedule: ActiveSchedule, now: datetime, last: datetime) -> list[datetime]:
    """The times after the newest one that has its row."""
    try:
        start, zone = recurrence.local_time(schedule.starts_at_local), zones.zone(schedule.timezone).info
    except errors.UnknownTimezone:
        # Gone since it was planned by; the worker lets such a schedule rest, and one of them must not hide the others.
        return []
    most = SHOWN_MAX if schedule.remaining_count is None else min(SHOWN_MAX, schedule.remaining_count)
    end = last if schedule.ends_at is None else min(last, schedule.ends_at)
    found: list[datetime] = []
    at: datetime | None = max(now, schedule.materialised_until or now)
    while len(found) < most and at is not None:
        at = recurrence.next_after(schedule.rrule, start, zone, at)
        if at is None or at > end:
            break
        found.append(at)

    return found


def _of_row(call: ComingCall) -> Coming:
    named = call.id if call.schedule_id is None or call.occurrence is None else _uid(call.schedule_id, call.occurrence)

    return Coming(
        id=call.id,
        schedule_id=call.schedule_id,
        at=call.scheduled_time,
        persona_name=call.persona_name,
        avatar_url=call.avatar_url,
        uid=f"{named}@callmeback",
        changed_at=call.updated_at,
        minutes=_minutes(call.requested_seconds),
        attempt=call.attempt,
    )


def _of_rule(schedule: ActiveSchedule, at: datetime) -> Coming:
    return Coming(
        id=None,
        schedule_id=schedule.id,
        at=at,
        persona_name=schedule.persona_name,
        avatar_url=schedule.avatar_url,
        uid=f"{_uid(schedule.id, at)}@callmeback",
        changed_at=schedule.updated_at,
        minutes=_minutes(schedule.requested_seconds),
    )


def _uid(schedule_id: str, occurrence: datetime) -> str:
    """The same before and after the occurrence has its row, so that a calendar program sees one event."""
    return f"{schedule_id}-{occurrence:%Y%m%dT%H%M%SZ}"


def _minutes(requested_seconds: int | None) -> int:
    return MINUTES_DEFAULT if requested_seconds is None else requested_seconds // money.SECONDS_PER_CREDIT
