"""Planning calls to come: the verbs of `schedules.py`, and what moves when a zone does.

What a rule means is in `recurrence.py`, what may be wished in `wishes.py`. Of a schedule only the next occurrence has a
row; whoever plans it anew holds its schedule's lock.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET

from callmeback import errors, ids
from callmeback.domain import personas, phones, recurrence, scenarios, schedules, wishes, zones
from callmeback.domain.schedules import OccurrenceRow, Schedule
from callmeback.domain.wishes import ScheduleChange, ScheduleOrder, Values
from callmeback.domain.zones import Zone
from callmeback.pg import statements
from callmeback.pg.pool import Database, Session

SQL: Final = statements.load("callmeback.domain", "planning.sql")

RECOMPUTED_AT_ONCE: Final = 200


class ZonedSchedule(msgspec.Struct, frozen=True):
    """What says when a schedule rings."""

    user_id: str
    id: str
    rrule: str
    starts_at_local: str
    timezone: str


class ZoneUse(msgspec.Struct, frozen=True):
    """Data of a zone by which something is planned."""

    timezone: str
    tzdata_version: str | None


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When a schedule rings: a rule, its local start, its zone, and its end."""

    rrule: str
    start: datetime
    zone: Zone
    follows: bool
    ends_at: datetime | None
    remaining: int | None

    def next_after(self, after: datetime) -> datetime | None:
        """The next instant; None past the end."""
        found = recurrence.next_after(self.rrule, self.start, self.zone.info, after)

        return None if found is None or (self.ends_at is not None and found > self.ends_at) else found

    def values(self) -> Values:
        """As the table holds them."""
        return {
            "rrule": self.rrule,
            "starts_at_local": self.start.isoformat(timespec="seconds"),
            "timezone": self.zone.name,
            "follows_user_zone": self.follows,
            "tzdata_version": self.zone.version,
            "ends_at": self.ends_at,
            "remaining_count": self.remaining,
        }


async def create(
    tx: Session, user_id: str, order: ScheduleOrder, *, phone_number: str | None, timezone: str
) -> Schedule:
    """Plan a call, or what repeats. `phone_number` is E.164, `timezone` the person's.

    Raises ValidationFailed, TimePast, Recurrence…, UnknownTimezone, PersonaNotFound, PhoneNotVerified, NotFound for a
    scenario, TooManySchedules.
    """
    now = datetime.now(UTC)
    values = wishes.values_of(order)
    at = None if order.at is None else wishes.coming(order.at, now)
    timing = None if at is not None else _timing_of(order, timezone)
    if at is not None and any((order.rrule, order.starts_at, order.timezone, order.ends_at, order.ends_after)):
        raise errors.ValidationFailed("A call is asked for by `at`, or by `rrule` and `starts_at`.", field="at")
    first = None if timing is None else timing.next_after(now)
    if timing is not None and first is None:
        raise errors.RecurrenceNever(field="rrule")
    values |= {
        "user_id": user_id,
        "persona_id": await _persona(tx, order.persona_id),
        "phone_number": await _verified(tx, user_id, phone_number),
        "context": order.context or None,
        "scenario": await _scenario(tx, user_id, order.scenario_id),
    }
    if timing is None:
        schedule_id = ids.new("sch")
        await tx.run(SQL.plan_call, id=schedule_id, at=at, **values)
    else:
        schedule_id = ids.new("rep")
        await tx.run(SQL.plan_schedule, id=schedule_id, **values, **timing.values())
        await _add(tx, user_id, schedule_id, first)

    return await schedules.schedule(tx, user_id, schedule_id)


async def change(
    tx: Session, user_id: str, schedule_id: str, wanted: ScheduleChange, *, phone_number: str | None, timezone: str
) -> Schedule:
    """Change what was planned; what is given is changed. `phone_number` is the wanted one in E.164.

    Raises what `create` does, NotFound, and NotWaiting for what was placed, missed, canceled or has ended.
    """
    await tx.run(SQL.lock_schedule, user_id=user_id, id=schedule_id)
    await tx.run(SQL.lock_waiting, user_id=user_id, id=schedule_id)
    now = await schedules.schedule(tx, user_id, schedule_id)
    values = wishes.changed(_values_of(now), wanted) | {
        "user_id": user_id,
        "id": schedule_id,
        "persona_id": now.persona_id if wanted.persona_id is UNSET else await _persona(tx, wanted.persona_id),
        "phone_number": now.phone_number if phone_number is None else await _verified(tx, user_id, phone_number),
        "context": now.context if wanted.context is UNSET else wanted.context or None,
        "scenario": now.scenario_text
        if wanted.scenario_id is UNSET
        else await _scenario(tx, user_id, wanted.scenario_id),
    }
    if now.kind == "once":
        await _change_call(tx, now, wanted, values)
    else:
        await _change_schedule(tx, user_id, now, wanted, values, timezone)

    return await schedules.schedule(tx, user_id, schedule_id)


async def skip(tx: Session, user_id: str, schedule_id: str) -> Schedule:
    """Leave the next occurrence out; raises NotFound, NotWaiting, ValidationFailed for a single call."""
    await tx.run(SQL.lock_schedule, user_id=user_id, id=schedule_id)
    now = await schedules.schedule(tx, user_id, schedule_id)
    if now.kind == "once":
        raise errors.ValidationFailed("This call doesn't repeat; cancel or move it.")
    next_one = await _waiting(tx, user_id, schedule_id)
    await _cancel(tx, user_id, next_one.id, "skipped")
    assert next_one.occurrence is not None, "the statement says so"
    timing = _timing_of_row(now)
    await _add(tx, user_id, schedule_id, timing.next_after(max(next_one.occurrence, datetime.now(UTC))))

    return await schedules.schedule(tx, user_id, schedule_id)


async def cancel(tx: Session, user_id: str, schedule_id: str) -> Schedule:
    """Take back what was planned. Raises NotFound, and NotWaiting where a single call was placed first, or missed."""
    now = await schedules.schedule(tx, user_id, schedule_id)
    if now.kind == "once":
        waiting = [attempt.id for attempt in now.occurrences if attempt.status in ("scheduled", "executing")]
        await _cancel(tx, user_id, waiting[-1] if waiting else schedule_id, "by_user")
    elif now.status != "ended":
        await tx.value(SQL.withdraw, user_id=user_id, schedule_id=schedule_id, outcome="by_user")
        await tx.run(SQL.end_schedule, user_id=user_id, id=schedule_id)

    return await schedules.schedule(tx, user_id, schedule_id)


async def follow_person(tx: Session, user_id: str, timezone: str) -> int:
    """Read the schedules that follow their person's zone in a new one; how many there were."""
    zone = zones.zone(timezone)
    moved = await tx.all(SQL.following, ZonedSchedule, user_id=user_id, timezone=timezone)
    for row in moved:
        await tx.run(SQL.move_to_zone, user_id=user_id, id=row.id, timezone=zone.name, tzdata_version=zone.version)
        await _replan(tx, user_id, row.id, _next_of(row, zone))

    return len(moved)


async def follow_tzdata(db: Database) -> int:
    """Plan anew what was planned by other data of its zone than these, where nobody has claimed it yet.

    Answers how many next occurrences are at another instant now. For the worker, which may begin again at any time.
    """
    zones.reload()
    async with db.transaction(read_only=True) as tx:
        used = await tx.all(SQL.zones_in_use, ZoneUse)
    known = zones.names()
    moved = 0
    for name in sorted({use.timezone for use in used if use.timezone in known}):
        zone = zones.zone(name)
        if any(use.timezone == name and use.tzdata_version != zone.version for use in used):
            moved += await _follow_zone(db, zone)

    return moved


async def _follow_zone(db: Database, zone: Zone) -> int:
    moved, after_id = 0, ""
    while True:
        async with db.transaction() as tx:
            found = await tx.all(
                SQL.planned_by,
                ZonedSchedule,
                timezone=zone.name,
                tzdata_version=zone.version,
                after_id=after_id,
                most=RECOMPUTED_AT_ONCE,
            )
            for row in found:
                moved += await tx.value(
                    SQL.recompute,
                    user_id=row.user_id,
                    schedule_id=row.id,
                    tzdata_version=zone.version,
                    id=ids.new("sch"),
                    occurrence=_next_of(row, zone),
                )
        if len(found) < RECOMPUTED_AT_ONCE:
            return moved
        after_id = found[-1].id


def _next_of(row: ZonedSchedule, zone: Zone) -> datetime | None:
    start = recurrence.local_time(row.starts_at_local)

    return recurrence.next_after(row.rrule, start, zone.info, datetime.now(UTC))


async def _change_call(tx: Session, now: Schedule, wanted: ScheduleChange, values: Values) -> None:
    for name in ("rrule", "starts_at", "timezone", "ends_at", "ends_after", "paused"):
        if getattr(wanted, name) is not UNSET:
            raise errors.ValidationFailed("A single call has a time only.", field=name)
    if wanted.at is not UNSET:
        at = wishes.coming(wanted.at, datetime.now(UTC))
        await tx.run(SQL.move_call, user_id=values["user_id"], id=now.id, at=at)
    if not await tx.run(SQL.change_call, **values):
        raise errors.NotWaiting()


async def _change_schedule(
    tx: Session, user_id: str, now: Schedule, wanted: ScheduleChange, values: Values, timezone: str
) -> None:
    if now.status == "ended":
        raise errors.NotWaiting("This schedule has ended; make a new one.")
    before, timing = _timing_of_row(now), _timing_of_change(now, wanted, timezone)
    is_anew = timing != before
    first = timing.next_after(datetime.now(UTC)) if is_anew else None
    if is_anew and first is None:
        raise errors.RecurrenceNever(field="rrule")
    if is_anew:
        await tx.value(SQL.withdraw, user_id=user_id, schedule_id=now.id, outcome=None)
    await tx.run(SQL.change_schedule, is_anew=is_anew, **values, **timing.values())
    if is_anew:
        await _replan(tx, user_id, now.id, first)
    else:
        await tx.run(SQL.carry_wishes, user_id=user_id, id=now.id)
    if wanted.at is not UNSET:
        at = wishes.coming(wanted.at, datetime.now(UTC))
        waiting = await _waiting(tx, user_id, now.id)
        await tx.run(SQL.move_call, user_id=user_id, id=waiting.id, at=at)
        assert waiting.occurrence is not None, "the statement says so"
        # The worker adds the next one when this one's own time has come; until then nothing would be to come.
        if at < waiting.occurrence and now.paused_at is None:
            await _add(tx, user_id, now.id, timing.next_after(waiting.occurrence))
    if wanted.paused is not UNSET and wanted.paused != (now.status == "paused"):
        await tx.run(SQL.pause, user_id=user_id, id=now.id, paused=wanted.paused)
        if not wanted.paused:
            await _add(tx, user_id, now.id, timing.next_after(datetime.now(UTC)))


def _timing_of(order: ScheduleOrder, timezone: str) -> Timing:
    if order.rrule is None or order.starts_at is None:
        missing = "rrule" if order.rrule is None else "starts_at"
        raise errors.ValidationFailed("A call is asked for by `at`, or by `rrule` and `starts_at`.", field=missing)

    return _checked(
        Timing(
            rrule=order.rrule.strip(),
            start=recurrence.local_time(order.starts_at),
            zone=zones.zone(order.timezone or timezone),
            follows=order.timezone is None,
            ends_at=None if order.ends_at is None else wishes.moment(order.ends_at, "ends_at"),
            remaining=order.ends_after,
        )
    )


def _timing_of_row(row: Schedule) -> Timing:
    assert row.rrule is not None and row.starts_at is not None and row.timezone is not None, "it repeats"

    return Timing(
        rrule=row.rrule,
        start=recurrence.local_time(row.starts_at),
        zone=zones.zone(row.timezone),
        follows=row.follows_user_zone,
        ends_at=row.ends_at,
        remaining=row.ends_after,
    )


def _timing_of_change(row: Schedule, wanted: ScheduleChange, timezone: str) -> Timing:
    found = _timing_of_row(row)
    if wanted.rrule is not UNSET:
        found = msgspec.structs.replace(found, rrule=wanted.rrule.strip())
    if wanted.starts_at is not UNSET:
        found = msgspec.structs.replace(found, start=recurrence.local_time(wanted.starts_at))
    if wanted.timezone is not UNSET:
        found = msgspec.structs.replace(
            found, zone=zones.zone(wanted.timezone or timezone), follows=wanted.timezone is None
        )
    if wanted.ends_at is not UNSET:
        ends_at = None if wanted.ends_at is None else wishes.moment(wanted.ends_at, "ends_at")
        found = msgspec.structs.replace(found, ends_at=ends_at)
    if wanted.ends_after is not UNSET:
        found = msgspec.structs.replace(found, remaining=wanted.ends_after)

    return _checked(found)


def _checked(timing: Timing) -> Timing:
    """The rule is read now, so that what is wrong with it is said before anything is written."""
    recurrence.series(timing.rrule, timing.start)

    return timing


async def _replan(tx: Session, user_id: str, schedule_id: str, first: datetime | None) -> None:
    """What waits goes, moved times too, and the next occurrence comes."""
    await tx.value(SQL.withdraw, user_id=user_id, schedule_id=schedule_id, outcome=None)
    await tx.run(SQL.begin_anew, user_id=user_id, id=schedule_id)
    await _add(tx, user_id, schedule_id, first)


async def _add(tx: Session, user_id: str, schedule_id: str, occurrence: datetime | None) -> None:
    await tx.value(
        SQL.add_occurrence, user_id=user_id, schedule_id=schedule_id, id=ids.new("sch"), occurrence=occurrence
    )


async def _waiting(tx: Session, user_id: str, schedule_id: str) -> OccurrenceRow:
    found = await tx.maybe(SQL.waiting, OccurrenceRow, user_id=user_id, schedule_id=schedule_id)
    if found is None:
        raise errors.NotWaiting()

    return found


async def _cancel(tx: Session, user_id: str, call_id: str, outcome: str) -> None:
    if await tx.value(SQL.cancel_call, user_id=user_id, id=call_id, outcome=outcome) != "canceled":
        raise errors.NotWaiting()


async def _persona(tx: Session, persona_id: str) -> str:
    try:
        return (await personas.card(tx, persona_id)).id
    except errors.NotFound as exc:
        raise errors.PersonaNotFound(field="persona_id") from exc


async def _verified(tx: Session, user_id: str, number: str | None) -> str:
    phone = None if number is None else await phones.find(tx, user_id, number)
    if phone is None or not phone.verified:
        raise errors.PhoneNotVerified(field="phone_number")

    return phone.number


async def _scenario(tx: Session, user_id: str, scenario_id: str | None) -> str | None:
    if scenario_id is None:
        return None
    scenario = await scenarios.scenario(tx, scenario_id)
    await scenarios.note_use(tx, user_id, scenario.id)

    return scenario.scenario_text


def _values_of(row: Schedule) -> Values:
    """The values that a schedule has, as `wishes.values_of` has those of an order."""
    return wishes.values_of(
        ScheduleOrder(
            persona_id=row.persona_id,
            max_minutes=row.max_minutes,
            retries=row.retries,
            quiet_hours=row.quiet_hours,
            reminder_minutes=row.reminder_minutes,
            grace_minutes=row.grace_minutes,
        )
    )
