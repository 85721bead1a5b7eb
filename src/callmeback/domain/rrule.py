"""A recurrence rule as text (RFC 5545 section 3.3.10), read strictly and within bounds, or refused in a sentence.

When a rule rings is in `recurrence.py`.
"""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal, get_args

import msgspec

from callmeback import errors

LENGTH_MAX: Final = 500
INTERVAL_MAX: Final = 1_000
COUNT_MAX: Final = 5_000
LEAST_INTERVAL: Final = timedelta(minutes=5)

Frequency = Literal["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]
FREQUENCIES: Final[tuple[Frequency, ...]] = get_args(Frequency)
TOO_FREQUENT: Final = frozenset({"SECONDLY", "MINUTELY"})
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

# Each list of numbers: its least and greatest; with a minus it counts from the end.
_LISTS: Final = {
    "BYMONTH": (1, 12, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYSETPOS": (1, 366, True),
    "BYHOUR": (0, 23, False),
    "BYMINUTE": (0, 59, False),
    "BYSECOND": (0, 59, False),
}
_PARTS: Final = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_LISTS}
# "N/A" in the table of RFC 5545, page 44.
_SENSELESS: Final = {
    "BYWEEKNO": {"HOURLY", "DAILY", "WEEKLY", "MONTHLY"},
    "BYYEARDAY": {"DAILY", "WEEKLY", "MONTHLY"},
    "BYMONTHDAY": {"WEEKLY"},
}
_NUMBER: Final = re.compile(r"[+-]?\d{1,4}")
_DAY: Final = re.compile(rf"(?P<nth>[+-]?\d{{1,2}})?(?P<day>{'|'.join(WEEKDAYS)})")
_UNTIL: Final = re.compile(r"(?P<date>\d{8})(?:T(?P<time>\d{6})(?P<utc>Z)?)?")
_LAST_SECOND: Final = time(23, 59, 59)
_DAY_SECONDS: Final = 24 * 3_600
_HOUR_SECONDS: Final = 3_600


class Weekday(msgspec.Struct, frozen=True):
    """A day of the week, Monday being 0; `nth` of its month or year, from the end where negative, each where 0."""

    day: int
    nth: int = 0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule says. `until` is the last local second and `until_instant` the last instant; one of them at most."""

    freq: Frequency
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    until_instant: datetime | None = None
    week_start: int = 0
    by_month: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_week_no: tuple[int, ...] = ()
    by_day: tuple[Weekday, ...] = ()
    by_hour: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_second: tuple[int, ...] = ()
    by_set_pos: tuple[int, ...] = ()


def read(text: str) -> Rule:
    """The rule that a text says; raises RecurrenceInvalid, RecurrenceTooFrequent."""
    parts = _parts(text)
    freq = _frequency(parts)
    for name, senseless in _SENSELESS.items():
        if name in parts and freq in senseless:
            raise _invalid(f"{name} makes no sense with FREQ={freq}.")
    if "COUNT" in parts and "UNTIL" in parts:
        raise _invalid("A rule ends by COUNT or by UNTIL, not by both.")
    if "BYSETPOS" in parts and not any(name.startswith("BY") and name != "BYSETPOS" for name in parts):
        raise _invalid("BYSETPOS chooses among what another BY… part gives; there is none.")
    until, until_instant = _until(parts.get("UNTIL"))
    lists = {name: _numbers(name, parts.get(name)) for name in _LISTS}
    rule = Rule(
        freq=freq,
        interval=_number("INTERVAL", parts.get("INTERVAL"), INTERVAL_MAX) or 1,
        count=_number("COUNT", parts.get("COUNT"), COUNT_MAX),
        until=until,
        until_instant=until_instant,
        week_start=_week_start(parts.get("WKST")),
        by_month=lists["BYMONTH"],
        by_month_day=lists["BYMONTHDAY"],
        by_year_day=lists["BYYEARDAY"],
        by_week_no=lists["BYWEEKNO"],
        by_day=_days(parts.get("BYDAY"), freq, within_week="BYWEEKNO" in parts),
        by_hour=lists["BYHOUR"],
        by_minute=lists["BYMINUTE"],
        by_second=lists["BYSECOND"],
        by_set_pos=lists["BYSETPOS"],
    )
    _require_rest(rule)

    return rule


def completed(rule: Rule, start: datetime) -> Rule:
    """The rule with what it leaves open taken from its start, as the RFC says: day, weekday, month, time."""
    given: dict[str, object] = {}
    if rule.freq != "HOURLY" and not rule.by_hour:
        given["by_hour"] = (start.hour,)
    if not rule.by_minute:
        given["by_minute"] = (start.minute,)
    if not rule.by_second:
        given["by_second"] = (start.second,)
    has_day = bool(rule.by_day or rule.by_month_day or rule.by_year_day)
    if (rule.freq == "WEEKLY" and not rule.by_day) or (rule.by_week_no and not has_day):
        given["by_day"] = (Weekday(start.weekday()),)
    elif rule.freq in ("MONTHLY", "YEARLY") and not has_day:
        given["by_month_day"] = (start.day,)
        if rule.freq == "YEARLY" and not rule.by_month:
            given["by_month"] = (start.month,)

    return msgspec.structs.replace(rule, **given)


def _invalid(sentence: str) -> errors.RecurrenceInvalid:
    return errors.RecurrenceInvalid(sentence, field="rrule")


def _parts(text: str) -> dict[str, str]:
    if len(text) > LENGTH_MAX:
        raise _invalid(f"A rule has at most {LENGTH_MAX} characters.")
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise _invalid("A rule is written as FREQ=DAILY, with further NAME=VALUE parts after a semicolon each.")
        if name not in _PARTS:
            # What somebody wrote is told back only where it is a plain word.
            raise _invalid(f"{name} is no part of a rule." if name.isalpha() and name.isascii() else "Unknown part.")
        if name in parts:
            raise _invalid(f"{name} is given twice.")
        parts[name] = value

    return parts


def _frequency(parts: dict[str, str]) -> Frequency:
    given = parts.get("FREQ")
    if given in TOO_FREQUENT:
        raise _too_frequent()
    for freq in FREQUENCIES:
        if given == freq:
            return freq

    raise _invalid(f"FREQ is needed, one of {', '.join(FREQUENCIES)}.")


def _too_frequent() -> errors.RecurrenceTooFrequent:
    minutes = LEAST_INTERVAL.seconds // 60

    return errors.RecurrenceTooFrequent(f"A rule rings every {minutes} minutes at most.", field="rrule")


def _number(name: str, value: str | None, most: int) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[: len(str(most)) + 1]) <= most:
        raise _invalid(f"{name} is a number from 1 to {most}.")

    return int(value)


def _numbers(name: str, value: str | None) -> tuple[int, ...]:
    """A list of numbers, each once and in order."""
    if value is None:
        return ()
    least, most, signed = _LISTS[name]
    found = set()
    for item in value.split(","):
        if not item.isascii() or not _NUMBER.fullmatch(item):
            raise _invalid(f"{name} is a list of numbers.")
        number = int(item)
        if not least <= (abs(number) if signed else number) <= most:
            raise _invalid(f"{name} takes numbers from {least} to {most}{', or negative ones' if signed else ''}.")
        found.add(number)

    return tuple(sorted(found))


def _days(value: str | None, freq: Frequency, *, within_week: bool) -> tuple[Weekday, ...]:
    if value is None:
        return ()
    found = set()
    for item in value.split(","):
        match = _DAY.fullmatch(item)
        if match is None:
            raise _invalid("BYDAY is a list of MO, TU, WE, TH, FR, SA, SU.")
        nth = int(match["nth"] or 0)
        if match["nth"] is not None:
            if freq not in ("MONTHLY", "YEARLY") or within_week:
                raise _invalid("BYDAY counts weekdays in a month or a year only.")
            if not 1 <= abs(nth) <= 53:
                raise _invalid("BYDAY counts weekdays from 1 to 53, or negative ones.")
        found.add((WEEKDAYS.index(match["day"]), nth))

    return tuple(Weekday(day, nth) for day, nth in sorted(found))


def _week_start(value: str | None) -> int:
    if value is None:
        return 0
    if value not in WEEKDAYS:
        raise _invalid("WKST is one of MO, TU, WE, TH, FR, SA, SU.")

    return WEEKDAYS.index(value)


def _until(value: str | None) -> tuple[datetime | None, datetime | None]:
    """The last local second, or the last instant."""
    if value is None:
        return None, None
    match = _UNTIL.fullmatch(value) if value.isascii() else None
    if match is None:
        raise _invalid("UNTIL is written as 20271231, 20271231T180000 or 20271231T170000Z.")
    try:
        if match["time"] is None:
            return datetime.combine(datetime.strptime(match["date"], "%Y%m%d"), _LAST_SECOND), None
        found = datetime.strptime(f"{match['date']}{match['time']}", "%Y%m%d%H%M%S")
    except ValueError as exc:
        raise _invalid("UNTIL is no day of the calendar.") from exc

    return (None, found.replace(tzinfo=UTC)) if match["utc"] else (found, None)


def _require_rest(rule: Rule) -> None:
    """Refuse times of day that are closer together than anybody is called."""
    if len(rule.by_second) > 1:
        raise _too_frequent()
    hourly = rule.freq == "HOURLY"
    minutes = rule.by_minute or (0,)
    hours = rule.by_hour if rule.by_hour and not hourly else (0,)
    seconds = sorted(hour * _HOUR_SECONDS + minute * 60 for hour in hours for minute in minutes)
    around = _HOUR_SECONDS if hourly else _DAY_SECONDS
    following = [*seconds[1:], seconds[0] + around]
    if min(after - before for before, after in zip(seconds, following, strict=True)) < LEAST_INTERVAL.seconds:
        raise _too_frequent()
