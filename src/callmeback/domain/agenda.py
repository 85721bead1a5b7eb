"""A person's calendar beside what is coming (`calendars.py`): what repeats, what didn't come about and why, and what a
change of the clocks does to a rule."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from callmeback.domain import recurrence
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "agenda.sql")

SHOWN_BACK: Final = timedelta(days=30)
PAST_MAX: Final = 50
SCHEDULES_MAX: Final = 100
CHANGES_SHOWN: Final = 2
CHANGES_WITHIN: Final = timedelta(days=400)


class Repeating(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule; `problem` is the word for why the house let it rest."""

    id: str
    persona_name: str
    avatar_url: str | None
    rrule: str
    starts_at_local: str
    timezone: str
    follows_user_zone: bool
    ends_at: datetime | None
    remaining_count: int | None
    paused_at: datetime | None
    problem: str | None


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was to ring; `outcome` is a stable word that says why it didn't. `plan_id` None for a second try."""

    id: str
    plan_id: str | None
    persona_name: str
    avatar_url: str | None
    at: datetime
    status: Literal["scheduled", "executing", "executed", "failed", "canceled", "missed"]
    outcome: str | None
    call_id: str | None


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a zone's clocks, and the times that ring last before it and first from it on, with their offsets."""

    at: datetime
    shift: timedelta
    last_before: datetime | None
    first_after: datetime | None


async def repeating(tx: Session, user_id: str) -> list[Repeating]:
    """A person's schedules that go on or rest, the oldest first."""
    return await tx.all(SQL.repeating, Repeating, user_id=user_id, most=SCHEDULES_MAX)


async def not_come_about(tx: Session, user_id: str) -> list[Past]:
    """Calls of the last weeks that were to ring and didn't, the newest first; not those that the person took back."""
    since = datetime.now(UTC) - SHOWN_BACK

    return await tx.all(SQL.not_come_about, Past, user_id=user_id, since=since, most=PAST_MAX)


def clock_changes(rule: str, local_start: datetime, zone: ZoneInfo, after: datetime) -> list[ClockChange]:
    """The next changes of a zone's clocks, with the times of a rule around each; raises as `recurrence.next_after`."""
    found: list[ClockChange] = []
    at = after
    while len(found) < CHANGES_SHOWN:
        change = _next_change(zone, at, after + CHANGES_WITHIN)
        if change is None:
            break
        before, instant = change
        shift = _offset(instant, zone) - _offset(before, zone)
        found.append(
            ClockChange(
                at=instant.astimezone(zone),
                shift=shift,
                last_before=_last_before(rule, local_start, zone, instant),
                first_after=_first_from(rule, local_start, zone, instant),
            )
        )
        at = instant

    return found


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None, "a zone always has one"

    return offset


def _next_change(zone: ZoneInfo, after: datetime, until: datetime) -> tuple[datetime, datetime] | None:
    """The last second before the next change, and the first one of it: by days, then by halves."""
    early = after
    while early < until:
        late = early + timedelta(days=1)
        if _offset(early, zone) != _offset(late, zone):
            break
        early = late
    else:
        return None
    early, late = early.replace(microsecond=0), late.replace(microsecond=0)
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // timedelta(seconds=2) * timedelta(seconds=1)
        if _offset(middle, zone) == _offset(early, zone):
            early = middle
        else:
            late = middle

    return early, late


def _first_from(rule: str, local_start: datetime, zone: ZoneInfo, instant: datetime) -> datetime | None:
    found = recurrence.next_after(rule, local_start, zone, instant - timedelta(seconds=1))

    return None if found is None else found.astimezone(zone)


def _last_before(rule: str, local_start: datetime, zone: ZoneInfo, instant: datetime) -> datetime | None:
    """The latest time within a month before; a rule that rings more seldom has none that tells anything."""
    last = None
    # By halves: a rule may ring 8,928 times in that month.
    early, late = instant - timedelta(days=31), instant
    while late - early > timedelta(seconds=1):
        at = recurrence.next_after(rule, local_start, zone, early if last is None else early + (late - early) / 2)
        if at is not None and at < instant:
            early = last = at
        elif last is None:
            break
        else:
            late = early + (late - early) / 2

    return None if last is None else last.astimezone(zone)
