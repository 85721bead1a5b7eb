"""What somebody wishes of a call to come: when, by whom, and what is to be done if nobody answers.

Orders and changes as they come from outside, and the values that the tables hold. The verbs are in `schedules.py`.
"""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callmeback import errors, money
from callmeback.domain import rrule, zones
from callmeback.domain.calls import CONTEXT_MAX, MINUTES_MAX, Id

# The last year that a call may be asked for in leaves room for its grace.
LAST_YEAR: Final = 9_998
TIME_LENGTH_MAX: Final = 40
DAY_MINUTES: Final = 1_440
RETRIES_MAX: Final = 5
RETRY_AFTER_MAX: Final = 240
ENDS_AFTER_MAX: Final = 10_000

Moment = Annotated[str, Meta(min_length=1, max_length=TIME_LENGTH_MAX, description="RFC 3339, with an offset.")]
LocalTime = Annotated[
    str, Meta(min_length=1, max_length=TIME_LENGTH_MAX, description="Local time without offset: 2027-03-28T07:00.")
]
RuleText = Annotated[str, Meta(min_length=1, max_length=rrule.LENGTH_MAX, description="RFC 5545: FREQ=DAILY.")]
ZoneName = Annotated[str, Meta(min_length=1, max_length=zones.NAME_LENGTH_MAX, description="IANA: Europe/Berlin.")]
Number = Annotated[str, Meta(min_length=1, max_length=40)]
Context = Annotated[str, Meta(max_length=CONTEXT_MAX)]
Minutes = Annotated[int, Meta(ge=1, le=MINUTES_MAX)]
Reminder = Annotated[int, Meta(ge=0, le=DAY_MINUTES)]
Grace = Annotated[int, Meta(ge=1, le=DAY_MINUTES)]
EndsAfter = Annotated[int, Meta(ge=1, le=ENDS_AFTER_MAX)]
ClockTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="Local time: 22:00.")]

_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}.*")


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a busy or unanswered call is tried again: so often, after so long, until so long after its time."""

    max: Annotated[int, Meta(ge=0, le=RETRIES_MAX)] = 0
    after_minutes: Annotated[int, Meta(ge=1, le=RETRY_AFTER_MAX)] = 10
    within_minutes: Annotated[int, Meta(ge=1, le=DAY_MINUTES)] = 120
    on_busy: bool = True
    on_no_answer: bool = True


class QuietHours(msgspec.Struct, frozen=True, rename={"begin": "from"}):
    """Local times between which no retry rings, over midnight too. The times that were asked for always ring."""

    begin: ClockTime
    until: ClockTime


class ScheduleOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A call to come: once, by `at`; or again and again, by `rrule` and `starts_at`.

    Without a `timezone` a rule follows the person's own zone. Without a number the primary one is called.
    """

    persona_id: Id
    phone_number: Number | None = None
    at: Moment | None = None
    rrule: RuleText | None = None
    starts_at: LocalTime | None = None
    timezone: ZoneName | None = None
    ends_at: Moment | None = None
    ends_after: EndsAfter | None = None
    context: Context | None = None
    scenario_id: Id | None = None
    max_minutes: Minutes | None = None
    retries: Retries = Retries()
    quiet_hours: QuietHours | None = None
    reminder_minutes: Reminder | None = None
    grace_minutes: Grace = 15


class ScheduleChange(msgspec.Struct, frozen=True, kw_only=True):
    """Only what is given is changed; null takes away what may be absent.

    `at` moves a single call, or the next one of a schedule. `timezone: null` follows the person's own zone.
    """

    persona_id: Id | UnsetType = UNSET
    phone_number: Number | UnsetType = UNSET
    at: Moment | UnsetType = UNSET
    rrule: RuleText | UnsetType = UNSET
    starts_at: LocalTime | UnsetType = UNSET
    timezone: ZoneName | UnsetType | None = UNSET
    ends_at: Moment | UnsetType | None = UNSET
    ends_after: EndsAfter | UnsetType | None = UNSET
    context: Context | UnsetType | None = UNSET
    scenario_id: Id | UnsetType | None = UNSET
    max_minutes: Minutes | UnsetType | None = UNSET
    retries: Retries | UnsetType = UNSET
    quiet_hours: QuietHours | UnsetType | None = UNSET
    reminder_minutes: Reminder | UnsetType | None = UNSET
    grace_minutes: Grace | UnsetType = UNSET
    paused: bool | UnsetType = UNSET


# What both tables hold alike, by the name of the parameter.
Values = dict[str, Any]


def moment(text: str, field: str) -> datetime:
    """An instant; raises ValidationFailed for one without offset."""
    try:
        found = datetime.fromisoformat(text.strip().upper()) if _MOMENT.fullmatch(text.strip()) else None
    except ValueError:
        found = None
    if found is None or not found.year <= LAST_YEAR:
        raise errors.ValidationFailed("Write a time such as 2027-03-28T07:00:00+02:00.", field=field)
    if found.tzinfo is None:
        raise errors.ValidationFailed("The time needs an offset, such as +02:00 or Z.", field=field)
    try:
        return found.astimezone(UTC)
    except OverflowError as exc:
        raise errors.ValidationFailed("This is before the beginning of time.", field=field) from exc


def coming(text: str, now: datetime, field: str = "at") -> datetime:
    """An instant to come; raises ValidationFailed, TimePast."""
    found = moment(text, field)
    if found <= now:
        raise errors.TimePast(field=field)

    return found


def values_of(order: ScheduleOrder) -> Values:
    """What an order says beside when, whom and about what."""
    return {
        "requested_seconds": _seconds(order.max_minutes),
        "reminder_minutes": order.reminder_minutes,
        "grace": timedelta(minutes=order.grace_minutes),
        **_retry_values(order.retries),
        **_quiet_values(order.quiet_hours),
    }


def changed(values: Values, wanted: ScheduleChange) -> Values:
    """The values with what a change says."""
    found = dict(values)
    if wanted.max_minutes is not UNSET:
        found["requested_seconds"] = _seconds(wanted.max_minutes)
    if wanted.reminder_minutes is not UNSET:
        found["reminder_minutes"] = wanted.reminder_minutes
    if wanted.grace_minutes is not UNSET:
        found["grace"] = timedelta(minutes=wanted.grace_minutes)
    if wanted.retries is not UNSET:
        found |= _retry_values(wanted.retries)
    if wanted.quiet_hours is not UNSET:
        found |= _quiet_values(wanted.quiet_hours)

    return found


def quiet_hours(quiet_from: time | None, quiet_until: time | None) -> QuietHours | None:
    """As the API shows them."""
    if quiet_from is None or quiet_until is None:
        return None

    return QuietHours(f"{quiet_from:%H:%M}", f"{quiet_until:%H:%M}")


def _seconds(minutes: int | None) -> int | None:
    return None if minutes is None else minutes * money.SECONDS_PER_CREDIT


def _retry_values(retries: Retries) -> Values:
    return {
        "retries_max": retries.max,
        "retry_after_minutes": retries.after_minutes,
        "retry_within_minutes": retries.within_minutes,
        "retry_on_busy": retries.on_busy,
        "retry_on_no_answer": retries.on_no_answer,
    }


def _quiet_values(hours: QuietHours | None) -> Values:
    if hours is not None and hours.begin == hours.until:
        raise errors.ValidationFailed("Quiet hours end at another time than they begin.", field="quiet_hours")

    return {
        "quiet_from": None if hours is None else hours.begin,
        "quiet_until": None if hours is None else hours.until,
    }
