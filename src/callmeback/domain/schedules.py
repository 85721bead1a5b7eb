"""Calls to come as their owner sees them: single ones, and schedules that repeat by a rule.

How they are planned is in `planning.py`. Claiming and placing is the worker's.
"""

from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal

import msgspec

from callmeback import errors, money
from callmeback.domain import recurrence, wishes, zones
from callmeback.domain.recurrence import Ring
from callmeback.domain.wishes import QuietHours, Retries
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "schedules.sql")

# So much of the past is shown with a schedule.
SHOWN_FOR: Final = timedelta(days=30)
SHOWN_MAX: Final = 10

OccurrenceStatus = Literal["scheduled", "executing", "executed", "failed", "canceled", "missed"]
Status = Literal["active", "paused", "ended"] | OccurrenceStatus


class OccurrenceRow(msgspec.Struct, frozen=True):
    """One call to come, or what became of it, with the schedule or single call that it belongs to."""

    schedule_id: str
    id: str
    at: datetime
    occurrence: datetime | None
    status: OccurrenceStatus
    outcome: str | None
    call_id: str | None
    attempt: int


class Occurrence(msgspec.Struct, frozen=True):
    """One call to come, or what became of it; `outcome` is a stable word that says why."""

    id: str
    at: datetime
    status: OccurrenceStatus
    outcome: str | None
    call_id: str | None
    attempt: int


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule or a single call as the database has it."""

    id: str
    persona_id: str
    persona_name: str
    avatar_url: str | None
    phone_number: str
    status: Status
    at: datetime | None
    rrule: str | None
    starts_at_local: str | None
    timezone: str | None
    follows_user_zone: bool
    ends_at: datetime | None
    remaining_count: int | None
    paused_at: datetime | None
    problem: str | None
    context: str | None
    scenario_text: str | None
    requested_seconds: int | None
    grace: timedelta
    reminder_minutes: int | None
    retries_max: int
    retry_after_minutes: int
    retry_within_minutes: int
    retry_on_busy: bool
    retry_on_no_answer: bool
    quiet_from: time | None
    quiet_until: time | None
    outcome: str | None
    call_id: str | None
    created_at: datetime
    updated_at: datetime


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A single call to come (`once`), or what repeats (`recurring`).

    `at` is when it rings next, or rang; what repeats says it, here and in `occurrences`, with its zone's offset at that
    time, as the preview does. A schedule is active, paused or ended; a single call has the status of its row.
    `occurrences` are what is to come and what became of the last ones, the latest first; of a single call its attempts.
    """

    id: str
    kind: Literal["once", "recurring"]
    persona_id: str
    persona_name: str
    avatar_url: str | None
    phone_number: str
    status: Status
    outcome: str | None
    at: datetime | None
    rrule: str | None
    starts_at: str | None
    timezone: str | None
    follows_user_zone: bool
    ends_at: datetime | None
    ends_after: int | None
    paused_at: datetime | None
    problem: str | None
    context: str | None
    scenario_text: str | None
    max_minutes: int | None
    retries: Retries
    quiet_hours: QuietHours | None
    reminder_minutes: int | None
    grace_minutes: int
    call_id: str | None
    occurrences: list[Occurrence]
    created_at: datetime
    updated_at: datetime


def preview(rule: str, starts_at: str, timezone: str) -> list[Ring]:
    """The next ten times of a rule; raises what `recurrence.preview` does, UnknownTimezone, ValidationFailed."""
    zone = zones.zone(timezone).info

    return recurrence.preview(rule, recurrence.local_time(starts_at), zone, datetime.now(UTC))


async def schedules(
    tx: Session,
    user_id: str,
    *,
    before_at: datetime | None = None,
    before_id: str | None = None,
    most: int,
) -> list[Schedule]:
    """A page of what a person has planned, the newest first."""
    return await _read(tx, user_id, schedule_id=None, before_at=before_at, before_id=before_id, most=most)


async def schedule(tx: Session, user_id: str, schedule_id: str) -> Schedule:
    """One schedule or single call; raises NotFound, also for another person's."""
    found = await _read(tx, user_id, schedule_id=schedule_id, before_at=None, before_id=None, most=1)
    if not found:
        raise errors.NotFound()

    return found[0]


async def _read(
    tx: Session,
    user_id: str,
    *,
    schedule_id: str | None,
    before_at: datetime | None,
    before_id: str | None,
    most: int,
) -> list[Schedule]:
    rows = await tx.all(
        SQL.schedules,
        ScheduleRow,
        user_id=user_id,
        schedule_id=schedule_id,
        before_at=before_at,
        before_id=before_id,
        most=most,
    )
    found: defaultdict[str, list[Occurrence]] = defaultdict(list)
    repeating = [row.id for row in rows if row.rrule is not None]
    single = [row.id for row in rows if row.rrule is None]
    parts: list[OccurrenceRow] = []
    if repeating:
        since = datetime.now(UTC) - SHOWN_FOR
        parts += await tx.all(
            SQL.occurrences, OccurrenceRow, user_id=user_id, schedule_ids=repeating, since=since, most=SHOWN_MAX
        )
    if single:
        parts += await tx.all(SQL.attempts, OccurrenceRow, user_id=user_id, schedule_ids=single)
    for part in parts:
        found[part.schedule_id].append(
            Occurrence(part.id, part.at, part.status, part.outcome, part.call_id, part.attempt)
        )

    return [_schedule(row, found[row.id]) for row in rows]


def _schedule(row: ScheduleRow, occurrences: list[Occurrence]) -> Schedule:
    zone = None if row.timezone is None else zones.zone_or_utc(row.timezone)

    return Schedule(
        id=row.id,
        kind="once" if row.rrule is None else "recurring",
        persona_id=row.persona_id,
        persona_name=row.persona_name,
        avatar_url=row.avatar_url,
        phone_number=row.phone_number,
        status=row.status,
        outcome=row.outcome,
        at=row.at if row.at is None or zone is None else row.at.astimezone(zone),
        rrule=row.rrule,
        starts_at=row.starts_at_local,
        timezone=row.timezone,
        follows_user_zone=row.follows_user_zone,
        ends_at=row.ends_at,
        ends_after=row.remaining_count,
        paused_at=row.paused_at,
        problem=row.problem,
        context=row.context,
        scenario_text=row.scenario_text,
        max_minutes=None if row.requested_seconds is None else row.requested_seconds // money.SECONDS_PER_CREDIT,
        retries=Retries(
            max=row.retries_max,
            after_minutes=row.retry_after_minutes,
            within_minutes=row.retry_within_minutes,
            on_busy=row.retry_on_busy,
            on_no_answer=row.retry_on_no_answer,
        ),
        quiet_hours=wishes.quiet_hours(row.quiet_from, row.quiet_until),
        reminder_minutes=row.reminder_minutes,
        grace_minutes=row.grace // timedelta(minutes=1),
        call_id=row.call_id,
        occurrences=[
            one if zone is None else msgspec.structs.replace(one, at=one.at.astimezone(zone)) for one in occurrences
        ],
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
