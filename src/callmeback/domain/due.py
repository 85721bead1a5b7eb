"""Calls whose time has come: claimed, placed once, tried again as their owner wishes, and the next of what repeats.

The worker's side. What a person plans and sees is in `schedules.py`, when a rule rings in `recurrence.py`. All times
are the database's, so that workers whose clocks differ agree.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from callmeback import errors, ids, logs
from callmeback.domain import credits, recurrence, zones
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "due.sql")

# Placing takes milliseconds; a card that is asked first, seconds.
LEASE: Final = timedelta(seconds=15)
# What was missed while no worker ran is shown one by one, up to so many of a schedule; then it goes on.
MISSED_SHOWN_MAX: Final = 31
# Retries of calls that were busy in the same moment don't all ring in the same one.
RETRY_JITTER: Final = timedelta(seconds=20)
PERSONA_NAME_LENGTH_MAX: Final = 40

Status = Literal["executing", "executed", "failed", "missed", "canceled"]

_log = logs.get_logger(__name__)


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that this worker alone may place, as long as nobody has claimed it since: `claims` is the fence."""

    id: str
    user_id: str
    claims: int
    scheduled_time: datetime
    timezone: str
    claimed_at: datetime


class Placed(msgspec.Struct, frozen=True):
    """What became of a claimed call; executing is one that its owner pays by card first."""

    id: str
    user_id: str
    status: Status
    outcome: str | None


class Wish(msgspec.Struct, frozen=True):
    """What a call is to be."""

    persona_id: str
    requested_seconds: int | None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a call to come ended, and what its owner wishes to be done about it; `timezone` is that of quiet hours."""

    id: str
    user_id: str
    outcome: str | None
    attempt: int
    promised_at: datetime | None
    retries_max: int
    retry_after_minutes: int
    retry_within_minutes: int
    quiet_from: time | None
    quiet_until: time | None
    timezone: str
    settled_at: datetime


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule whose newest occurrence has come due."""

    user_id: str
    id: str
    rrule: str
    starts_at_local: str
    timezone: str
    materialised_until: datetime
    grace_minutes: int
    asked_at: datetime


class Reminder(msgspec.Struct, frozen=True, kw_only=True):
    """A text before a call."""

    id: str
    user_id: str
    phone_number: str
    persona_name: str
    scheduled_time: datetime
    timezone: str


async def claim(tx: Session, worker: str, most: int) -> list[Claimed]:
    """Take at most so many calls that are due, oldest first. Those past their latest start become missed."""
    return await tx.all(SQL.claim, Claimed, worker=worker, limit=most, lease=LEASE)


async def place(
    tx: Session, claimed: Sequence[Claimed], card: str, authorization_id: str | None = None
) -> list[Placed]:
    """Begin these calls by the gate of every call; what was claimed by somebody else since is not in the answer.

    `authorization_id` names money that was set aside for the one call that is given.
    """
    assert authorization_id is None or len(claimed) == 1, "money is set aside for one call"
    placed = await tx.all(
        SQL.place,
        Placed,
        ids=[one.id for one in claimed],
        claims=[one.claims for one in claimed],
        call_ids=[ids.new("call") for _ in claimed],
        local_days=[credits.local_day(one.timezone, one.claimed_at) for one in claimed],
        card=card,
        authorization_id=authorization_id,
    )
    busy = [one.id for one in placed if one.outcome == errors.CallInProgress.code]
    if busy:
        await _retry(tx, await tx.all(SQL.refused, Ended, ids=busy))

    return placed


async def wish(tx: Session, claimed: Claimed) -> Wish | None:
    """What a claimed call is to be; None when it is no longer ours."""
    return await tx.maybe(SQL.wish, Wish, id=claimed.id, user_id=claimed.user_id, claims=claimed.claims)


async def finish(tx: Session, claimed: Sequence[Claimed], status: Status, outcome: str) -> int:
    """Note what became of claimed calls that were not placed; answers how many still were this worker's."""
    noted = await tx.value(
        SQL.finish,
        ids=[one.id for one in claimed],
        user_ids=[one.user_id for one in claimed],
        claims=[one.claims for one in claimed],
        statuses=[status] * len(claimed),
        outcomes=[outcome] * len(claimed),
    )

    return int(noted)


async def settle(tx: Session, most: int) -> int:
    """Note how calls that were placed have ended, and plan the retries that their owners wish; how many ended."""
    ended = await tx.all(SQL.settle, Ended, limit=most)
    await _retry(tx, [one for one in ended if one.outcome in ("busy", "no_answer")])

    return len(ended)


async def _retry(tx: Session, ended: Sequence[Ended]) -> None:
    for one in ended:
        at = retry_at(one)
        if at is not None:
            await tx.run(SQL.add_retry, user_id=one.user_id, of=one.id, id=ids.new("sch"), at=at)


def retry_at(ended: Ended) -> datetime | None:
    """When a call is tried again; None where its owner doesn't wish it, or it would be too late."""
    if ended.attempt > ended.retries_max or ended.promised_at is None:
        return None
    at = ended.settled_at + timedelta(minutes=ended.retry_after_minutes) + random.random() * RETRY_JITTER
    if ended.quiet_from is not None and ended.quiet_until is not None:
        at = after_quiet_hours(at, ended.quiet_from, ended.quiet_until, zones.zone_or_utc(ended.timezone))

    return at if at <= ended.promised_at + timedelta(minutes=ended.retry_within_minutes) else None


def after_quiet_hours(at: datetime, begin: time, end: time, zone: ZoneInfo) -> datetime:
    """This moment, or the end of the quiet hours that it is in; they may go over midnight."""
    local = at.astimezone(zone)
    now = local.time()
    is_quiet = begin <= now < end if begin <= end else now >= begin or now < end
    if not is_quiet:
        return at
    day = local.date() if now < end else local.date() + timedelta(days=1)
    until = datetime.combine(day, end)
    first = recurrence.instant(until, zone)

    # A clock that goes back shows the end twice; where the first one is past, the second is meant.
    return first if first > at else until.replace(tzinfo=zone, fold=1).astimezone(UTC)


async def materialise(tx: Session, most: int) -> int:
    """Give at most so many schedules their next occurrence; answers how many got one.

    What rang while no worker ran is shown as missed, and not rung. One whose rule can't be read is paused, with the
    reason, and stops no other.
    """
    waiting = await tx.all(SQL.claim_schedules, Waiting, limit=most)
    rows: list[dict[str, object]] = []
    for one in waiting:
        try:
            missed, following = occurrences(one)
        except errors.CallMeBackError as exc:
            _log.warning("schedule_halted", schedule_id=one.id, error=exc.code)
            await tx.run(SQL.halt, user_id=one.user_id, id=one.id, problem=exc.code)
            continue
        rows += [_occurrence(one, at, "missed", "downtime") for at in missed]
        rows.append(_occurrence(one, following, "scheduled", None))
    await tx.run_many(SQL.add_occurrence, rows)

    return len(waiting)


def _occurrence(schedule: Waiting, at: datetime | None, status: str, outcome: str | None) -> dict[str, object]:
    return {
        "user_id": schedule.user_id,
        "schedule_id": schedule.id,
        "id": ids.new("sch"),
        "occurrence": at,
        "status": status,
        "outcome": outcome,
    }


def occurrences(schedule: Waiting) -> tuple[list[datetime], datetime | None]:
    """What a schedule has missed since its newest occurrence, oldest first, and what comes next.

    What began within the grace still rings, so it is the next one. Raises RecurrenceInvalid and what reads a rule.
    """
    start = recurrence.local_time(schedule.starts_at_local)
    zone = zones.zone(schedule.timezone).info
    earliest = schedule.asked_at - timedelta(minutes=schedule.grace_minutes)
    missed: list[datetime] = []
    at = recurrence.next_after(schedule.rrule, start, zone, schedule.materialised_until)
    while at is not None and at < earliest:
        missed.append(at)
        after = at if len(missed) < MISSED_SHOWN_MAX else earliest
        at = recurrence.next_after(schedule.rrule, start, zone, after)

    return missed, at


async def claim_reminders(tx: Session, most: int) -> list[Reminder]:
    """Texts that are due; each is handed out once, so one that is lost on its way is not sent again."""
    return await tx.all(SQL.claim_reminders, Reminder, limit=most)


def reminder_text(reminder: Reminder) -> str:
    """What the text says: who calls, and when by the person's clock."""
    local = reminder.scheduled_time.astimezone(zones.zone_or_utc(reminder.timezone))
    name = reminder.persona_name[:PERSONA_NAME_LENGTH_MAX]

    return f"{name} will call you at {local:%H:%M}."


async def seconds_to_next(tx: Session) -> float | None:
    """Seconds until a call, a reminder or a schedule is due; not above 0 when one is, None when nothing is to come."""
    seconds: float | None = await tx.value(SQL.seconds_to_next)

    return seconds
