"""The form that plans a call: what was typed as an order of the domain, an order's plan as a form, and the preview."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from callmeback import errors
from callmeback.domain import agenda, recurrence, zones
from callmeback.domain.agenda import ClockChange
from callmeback.domain.schedules import Schedule
from callmeback.domain.wishes import ScheduleOrder
from callmeback.web.pages import rule_words
from callmeback.web.pages.forms import Form

SENTENCES: Final = {
    "persona_id": "Choose who should call.",
    "phone_number": "Choose one of your numbers.",
    "at": "A day and a time to come, please.",
    "day": "A day such as 2027-03-28.",
    "time": "A time such as 07:00.",
    "rrule": "A rule such as FREQ=WEEKLY;BYDAY=MO,FR.",
    "timezone": "A zone such as Europe/Paris.",
    "ends_after": "A whole number of calls, from 1 to 10000.",
    "ends_on": "A day such as 2027-03-28.",
    "context": "At most 2,000 characters, please.",
    "max_minutes": "Whole minutes, or nothing.",
    "reminder_minutes": "Whole minutes from 0 to 1440, or nothing.",
    "retries_max": "A number from 0 to 5.",
    "retry_after": "Whole minutes from 1 to 240.",
    "quiet_from": "A time such as 22:00, with one at which it ends.",
}
# Where the domain's fields stand in the form.
BESIDE: Final = {
    "at": "time", "starts_at": "time", "ends_at": "ends_on", "quiet_hours": "quiet_from", "retries": "retries_max",
}  # fmt: skip
MORNING: Final = time(7)


class Pick(msgspec.Struct, frozen=True):
    """Something that many people want, as a link that fills in the form."""

    key: str
    name: str
    repeat: str
    at: time
    days_ahead: int = 0
    weekday: int | None = None


PICKS: Final = (
    Pick("tonight", "Tonight", "once", time(20)),
    Pick("tomorrow-morning", "Tomorrow morning", "once", time(8), 1),
    Pick("weekdays-7", "Every weekday at 7:00", "weekdays", MORNING),
    Pick("evenings", "Every evening at 21:00", "daily", time(21)),
    Pick("sundays", "Sundays at 10:00", "weekly", time(10), 0, 6),
    Pick("first-of-month", "The first of each month", "monthly", time(9)),
)


class Shown(msgspec.Struct, frozen=True):
    """A time of the preview. `is_changed`: the clocks went to another offset since the one before it; `is_moved`: the
    time that was asked for doesn't exist on that day."""

    at: datetime
    is_changed: bool
    is_moved: bool


class Preview(msgspec.Struct, frozen=True):
    """What an order would do: the next times, what is said of the rule, and the clock changes that it goes through."""

    sentence: str
    times: list[Shown]
    changes: list[ClockChange]
    zone: str


def picked(key: str, timezone: str, now: datetime | None = None) -> dict[str, str]:
    """The form's values for a quick pick, or for tomorrow morning."""
    here = (now or datetime.now(UTC)).astimezone(zones.zone_or_utc(timezone))
    pick = next((one for one in PICKS if one.key == key), PICKS[1])
    day = here.date() + timedelta(days=pick.days_ahead)
    if pick.repeat == "monthly":
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    elif pick.weekday is not None:
        day += timedelta(days=(pick.weekday - day.weekday()) % 7)
    if datetime.combine(day, pick.at) <= here.replace(tzinfo=None):
        day += timedelta(days=7 if pick.weekday is not None else 1)

    return {"day": day.isoformat(), "time": f"{pick.at:%H:%M}", "repeat": pick.repeat, **_untouched()}


def values_of(plan: Schedule, timezone: str) -> dict[str, str]:
    """The form's values for what is planned already."""
    values = {
        "persona_id": plan.persona_id,
        "phone_number": plan.phone_number,
        "context": plan.context or "",
        "max_minutes": "" if plan.max_minutes is None else str(plan.max_minutes),
        "reminder_minutes": "" if plan.reminder_minutes is None else str(plan.reminder_minutes),
        "retries_max": str(plan.retries.max),
        "retry_after": str(plan.retries.after_minutes),
        "quiet_from": "" if plan.quiet_hours is None else plan.quiet_hours.begin,
        "quiet_until": "" if plan.quiet_hours is None else plan.quiet_hours.until,
        "ends": "never",
    }
    if plan.rrule is None:
        assert plan.at is not None, "a single call has a time"
        at = plan.at.astimezone(zones.zone_or_utc(timezone))
        return values | {"repeat": "once", "day": at.date().isoformat(), "time": _clock(at)}
    assert plan.starts_at is not None and plan.timezone is not None, "it repeats"
    start = recurrence.local_time(plan.starts_at)
    known = next((word for word, rule in rule_words.RULES.items() if rule == plan.rrule), "custom")
    values |= {
        "repeat": known,
        "rrule": plan.rrule if known == "custom" else "",
        "day": start.date().isoformat(),
        "time": _clock(start),
        "timezone": "" if plan.follows_user_zone else plan.timezone,
    }
    if plan.ends_after is not None:
        values |= {"ends": "after", "ends_after": str(plan.ends_after)}
    elif plan.ends_at is not None:
        values |= {
            "ends": "on",
            "ends_on": plan.ends_at.astimezone(zones.zone_or_utc(plan.timezone)).date().isoformat(),
        }

    return values


def values_of_order(wanted: ScheduleOrder, timezone: str) -> dict[str, str]:
    """The form's values for an order from elsewhere; raises UnknownTimezone, ValidationFailed."""
    values = {"persona_id": wanted.persona_id, "context": wanted.context or "", **_untouched()}
    if wanted.rrule is None or wanted.starts_at is None:
        at = datetime.fromisoformat(wanted.at or "").astimezone(zones.zone_or_utc(timezone))
        return values | {"repeat": "once", "day": at.date().isoformat(), "time": _clock(at)}
    start = recurrence.local_time(wanted.starts_at)
    known = next((word for word, rule in rule_words.RULES.items() if rule == wanted.rrule), "custom")
    zone = zones.zone(wanted.timezone or timezone).name

    return values | {
        "repeat": known,
        "rrule": wanted.rrule if known == "custom" else "",
        "day": start.date().isoformat(),
        "time": _clock(start),
        "timezone": "" if zone == timezone else zone,
    }


def order(form: Form, timezone: str) -> ScheduleOrder | None:
    """What was typed as an order, or None with sentences beside the fields."""
    start = _start(form)
    repeat = form.values.get("repeat", "once")
    zone = _zone(form, timezone) if repeat != "once" else zones.zone_or_utc(timezone)
    given: dict[str, Any] = {
        "persona_id": form.values.get("persona_id", ""),
        "phone_number": form.values.get("phone_number") or None,
        "context": form.values.get("context", "").strip() or None,
        "scenario_id": form.values.get("scenario_id") or None,
        "max_minutes": form.values.get("max_minutes", "").strip() or None,
        "reminder_minutes": form.values.get("reminder_minutes", "").strip() or None,
        "retries": {
            "max": form.values.get("retries_max", "").strip() or "0",
            "after_minutes": form.values.get("retry_after", "").strip() or "10",
        },
        "quiet_hours": _quiet(form),
    }
    if start is not None and zone is not None:
        if repeat == "once":
            given["at"] = recurrence.instant(start, zone).isoformat()
        else:
            given |= _repeats(form, repeat, start, zone)
    sentences = SENTENCES | {field: SENTENCES[beside] for field, beside in BESIDE.items()}
    made = form.shape(ScheduleOrder, given, sentences)
    form.move(BESIDE)

    return made if form.is_good else None


def wanted(form: Form, timezone: str) -> ScheduleOrder | None:
    """The order of a form whose button plans it; None where it only asks when that would ring, or can't be read."""
    return order(form, timezone) if form.values.get("step") == "plan" else None


def refuse(form: Form, error: errors.CallMeBackError) -> None:
    """Put a refusal beside its field."""
    form.refuse(error, (*SENTENCES, *BESIDE))
    form.move(BESIDE)


def preview(wanted: ScheduleOrder, timezone: str) -> Preview:
    """What an order would do; raises what planning it would."""
    if wanted.rrule is None or wanted.starts_at is None:
        zone = zones.zone(timezone)
        at = datetime.fromisoformat(wanted.at or "").astimezone(zone.info)
        if at <= datetime.now(UTC):
            raise errors.TimePast(field="at")
        return Preview("once", [Shown(at, is_changed=False, is_moved=False)], [], zone.name)
    zone = zones.zone(wanted.timezone or timezone)
    start, now = recurrence.local_time(wanted.starts_at), datetime.now(UTC)
    count = recurrence.PREVIEWED if wanted.ends_after is None else min(recurrence.PREVIEWED, wanted.ends_after)
    rings = recurrence.preview(wanted.rrule, start, zone.info, now, count)
    if wanted.ends_at is not None:
        end = datetime.fromisoformat(wanted.ends_at)
        rings = [ring for ring in rings if ring.at <= end]
    if not rings:
        raise errors.RecurrenceNever(field="ends_at")
    times: list[Shown] = []
    before = rings[0].at.utcoffset()
    asks_hours = "BYHOUR" in wanted.rrule.upper() or "HOURLY" in wanted.rrule.upper()
    for ring in rings:
        is_moved = not asks_hours and ring.at.time().replace(tzinfo=None) != start.time()
        times.append(Shown(ring.at, ring.at.utcoffset() != before, is_moved))
        before = ring.at.utcoffset()

    return Preview(
        rule_words.of_rule(wanted.rrule, wanted.starts_at),
        times,
        agenda.clock_changes(wanted.rrule, start, zone.info, now),
        zone.name,
    )


def moved_values(plan: Schedule, timezone: str) -> dict[str, str]:
    """Day and time of the next call, for the form that moves it."""
    if plan.at is None:
        return {}
    at = plan.at.astimezone(zones.zone_or_utc(timezone))

    return {"move_day": at.date().isoformat(), "move_time": _clock(at)}


def _clock(at: datetime) -> str:
    """As a field of the browser's has it: with seconds where there are any, so that saving a form moves nothing."""
    return f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"


def moment(form: Form, timezone: str, day: str, at: str) -> datetime | None:
    """An instant by a day and a time of the person's, or None with sentences beside the fields."""
    start = _start(form, day, at)

    return None if start is None else recurrence.instant(start, zones.zone_or_utc(timezone))


def _untouched() -> dict[str, str]:
    return {"ends": "never", "retries_max": "0", "retry_after": "10"}


def _start(form: Form, day_field: str = "day", time_field: str = "time") -> datetime | None:
    day, at = form.values.get(day_field, "").strip(), form.values.get(time_field, "").strip()
    try:
        date.fromisoformat(day)
    except ValueError:
        form.wrong[day_field] = SENTENCES["day"]
    try:
        time.fromisoformat(at)
    except ValueError:
        form.wrong[time_field] = SENTENCES["time"]
    if day_field in form.wrong or time_field in form.wrong:
        return None
    try:
        return recurrence.local_time(f"{day}T{at}")
    except errors.ValidationFailed as exc:
        form.wrong[day_field] = exc.detail
        return None


def _zone(form: Form, timezone: str) -> ZoneInfo | None:
    try:
        return zones.zone(form.values.get("timezone", "").strip() or timezone).info
    except errors.UnknownTimezone as exc:
        form.wrong["timezone"] = exc.detail
        return None


def _quiet(form: Form) -> dict[str, str] | None:
    begin, until = form.values.get("quiet_from", "").strip(), form.values.get("quiet_until", "").strip()

    return None if not begin and not until else {"from": begin, "until": until}


def _repeats(form: Form, repeat: str, start: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Rule, start, zone and end."""
    given: dict[str, Any] = {
        "rrule": rule_words.RULES.get(repeat) or form.values.get("rrule", "").strip(),
        "starts_at": start.isoformat(),
        "timezone": form.values.get("timezone", "").strip() or None,
    }
    ends = form.values.get("ends", "never")
    if ends == "after":
        given["ends_after"] = form.values.get("ends_after", "").strip()
    elif ends == "on":
        try:
            last = date.fromisoformat(form.values.get("ends_on", "").strip())
        except ValueError:
            form.wrong["ends_on"] = SENTENCES["ends_on"]
        else:
            given["ends_at"] = datetime.combine(last, time(23, 59, 59), zone).isoformat()

    return given
