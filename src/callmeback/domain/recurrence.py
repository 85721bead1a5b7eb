"""When a recurrence rule rings: local times by RFC 5545, and the instants that they are in a zone.

A rule is read in local time, and only then is a local time looked up in its zone: one that doesn't exist, because
clocks went forward, is the same elapsed instant (02:30 is 03:30); one that happens twice rings the first time. The
search begins at the period in question, however long ago the rule began, and gives up after SEARCH_DAYS without a ring.
Pure: nothing here knows the present.
"""

import calendar
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from callmeback import errors
from callmeback.domain import rrule
from callmeback.domain.rrule import Rule, Weekday

PREVIEWED: Final = 10
# 29 February is on the same weekday again after 28 years, after 40 across the year 2100.
SEARCH_DAYS: Final = 41 * 366
YEAR_MIN: Final = 1970
# Nothing rings after it, so that no date here is beyond the calendar.
YEAR_MAX: Final = 2199
_LAST: Final = datetime(YEAR_MAX, 12, 31, 23, 59, 59)
_LAST_DAY: Final = _LAST.toordinal()
_CACHED_MAX: Final = 4_096
# No zone ever went forward by more: Samoa left out the 30 December 2011.
_GAP_MAX: Final = timedelta(days=1)
_DAY_HOURS: Final = 24

# Of each, what was expanded last: a calendar asks for time after time of one year.
_CACHED_YEARS_MAX: Final = 128

# A period (a year, month, week, day or hour) by its first day, as an ordinal, with the days and the times of day that
# ring in it, in order. They are multiplied no further than somebody looks: a year may have 105,408 of them.
_Period = tuple[int, Sequence[date], Sequence[time]]


class Series(msgspec.Struct, frozen=True):
    """A rule with its start; what the rule leaves open is filled in. Nothing rings after the local time `last`."""

    rule: Rule
    start: datetime
    times: tuple[time, ...]
    last: datetime | None = None


class Ring(msgspec.Struct, frozen=True):
    """One time that a rule rings, with the zone's offset at that time."""

    at: datetime


def next_after(rule: str, local_start: datetime, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first instant later than `after` at which a rule rings, in UTC; None when there is none any more.

    `rule` is an RRULE, `local_start` its start without offset, read in `zone`. Raises RecurrenceInvalid,
    RecurrenceTooFrequent.
    """
    return _next(series(rule, local_start), zone, after)


def preview(rule: str, local_start: datetime, zone: ZoneInfo, after: datetime, count: int = PREVIEWED) -> list[Ring]:
    """The next times of a rule, with the zone's offsets; raises as `next_after`, and RecurrenceNever for none."""
    found = series(rule, local_start)
    rings: list[Ring] = []
    at = _next(found, zone, after)
    if at is None:
        raise errors.RecurrenceNever(field="rrule")
    while at is not None and len(rings) < count:
        rings.append(Ring(at.astimezone(zone)))
        at = _next(found, zone, at)

    return rings


@lru_cache(maxsize=_CACHED_MAX)
def series(text: str, start: datetime) -> Series:
    """A rule with its start; raises what `rrule.read` does."""
    rule = rrule.completed(rrule.read(text), start)
    hours = rule.by_hour if rule.freq != "HOURLY" else (0,)
    times = tuple(time(hour, minute, rule.by_second[0]) for hour in hours for minute in rule.by_minute)
    found = Series(rule, start, times)
    if _is_hopeless(found):
        return msgspec.structs.replace(found, last=datetime.min)
    if rule.count is None:
        return found
    # COUNT as an end in time: then nobody has to count from the start again.
    last = start
    for number, ring in enumerate(_local_times(found, start), 1):
        last = ring
        if number == rule.count:
            break

    return msgspec.structs.replace(found, last=last)


def _is_hopeless(found: Series) -> bool:
    """Whether no hour is ever reached, or no place in a day or hour: what a search would look for a long time."""
    rule = found.rule
    if rule.freq == "HOURLY" and rule.by_hour:
        step = math.gcd(rule.interval, _DAY_HOURS)
        if all((hour - found.start.hour) % step for hour in rule.by_hour):
            return True
    if rule.freq not in ("HOURLY", "DAILY"):
        return False

    return bool(rule.by_set_pos) and all(abs(position) > len(found.times) for position in rule.by_set_pos)


def local_time(text: str, field: str = "starts_at") -> datetime:
    """A local time such as 2027-03-28T02:30, without offset; raises ValidationFailed."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise errors.ValidationFailed("Write a local time such as 2027-03-28T07:00.", field=field) from exc
    if found.tzinfo is not None:
        raise errors.ValidationFailed("A local time has no offset; the zone is a field of its own.", field=field)
    if not YEAR_MIN <= found.year <= YEAR_MAX:
        raise errors.ValidationFailed(f"The year must be from {YEAR_MIN} to {YEAR_MAX}.", field=field)

    return found.replace(microsecond=0)


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a local time, in UTC: in a gap by the offset before it, else the first (RFC 5545, 3.3.5)."""
    return local.replace(tzinfo=zone).astimezone(UTC)


def _next(found: Series, zone: ZoneInfo, after: datetime) -> datetime | None:
    after = after.astimezone(UTC)
    first: datetime | None = None
    for local in _local_times(found, _earliest(zone, after)):
        # One that a gap moved forward comes after later ones that it didn't move.
        if first is not None and local >= first.astimezone(zone).replace(tzinfo=None):
            break
        at = instant(local, zone)
        if at > after and (first is None or at < first):
            first = at
    if first is None or (found.rule.until_instant is not None and first > found.rule.until_instant):
        return None

    return first


def _earliest(zone: ZoneInfo, after: datetime) -> datetime:
    """No local time before this one is later than `after`: by the clock of now, or by that before a gap just passed."""
    offsets = [after.astimezone(zone).utcoffset()]
    if after.year > 1:
        offsets.append((after - _GAP_MAX).astimezone(zone).utcoffset())

    return after.replace(tzinfo=None) + min(offset for offset in offsets if offset is not None)


def _local_times(found: Series, begin: datetime) -> Iterator[datetime]:
    """The local times of a rule from `begin` on, in order, each once."""
    begin = max(begin, found.start)
    end = min(found.last or found.rule.until or _LAST, _LAST)
    if begin > end:
        return
    positions = found.rule.by_set_pos
    give_up = begin.toordinal() + SEARCH_DAYS
    for first_day, days, times in _PERIODS[found.rule.freq](found, begin.date()):
        if first_day > give_up:
            return
        for ring in _positioned(days, times, positions) if positions else _from(days, times, begin.date()):
            if ring > end:
                return
            if ring >= begin:
                give_up = first_day + SEARCH_DAYS
                yield ring


def _from(days: Sequence[date], times: Sequence[time], begin: date) -> Iterator[datetime]:
    for place in range(bisect_left(days, begin), len(days)):
        for at in times:
            yield datetime.combine(days[place], at)


def _positioned(days: Sequence[date], times: Sequence[time], positions: tuple[int, ...]) -> Iterator[datetime]:
    count = len(days) * len(times)
    places = {position - 1 if position > 0 else count + position for position in positions}
    for place in sorted(places):
        if 0 <= place < count:
            day, at = divmod(place, len(times))
            yield datetime.combine(days[day], times[at])


def _aligned(first: int, begin: int, interval: int) -> int:
    """The first of first, first + interval, … that isn't before `begin`."""
    return first if begin <= first else first + -(-(begin - first) // interval) * interval


def _years(found: Series, begin: date) -> Iterator[_Period]:
    rule = found.rule
    for year in range(_aligned(found.start.year, begin.year, rule.interval), YEAR_MAX + 1, rule.interval):
        yield date(year, 1, 1).toordinal(), _days_of_year(rule, year), found.times


def _months(found: Series, begin: date) -> Iterator[_Period]:
    rule = found.rule
    first = _aligned(found.start.year * 12 + found.start.month - 1, begin.year * 12 + begin.month - 1, rule.interval)
    for number in range(first, (YEAR_MAX + 1) * 12, rule.interval):
        year, month = divmod(number, 12)
        yield date(year, month + 1, 1).toordinal(), _days_of_month(rule, year, month + 1), found.times


def _weeks(found: Series, begin: date) -> Iterator[_Period]:
    rule = found.rule
    offsets = sorted((weekday.day - rule.week_start) % 7 for weekday in rule.by_day)

    def first_of_week(day: date) -> int:
        return day.toordinal() - (day.weekday() - rule.week_start) % 7

    first = _aligned(first_of_week(found.start.date()), first_of_week(begin), 7 * rule.interval)
    for number in range(first, _LAST_DAY + 1, 7 * rule.interval):
        days = [date.fromordinal(number + offset) for offset in offsets]
        if rule.by_month:
            days = [day for day in days if day.month in rule.by_month]
        yield number, days, found.times


def _days(found: Series, begin: date) -> Iterator[_Period]:
    rule = found.rule
    start = found.start.toordinal()
    number = _aligned(start, begin.toordinal(), rule.interval)
    while number <= _LAST_DAY:
        day = date.fromordinal(number)
        if rule.by_month and day.month not in rule.by_month:
            yield number, (), ()
            number = _aligned(start, _next_month(day, rule.by_month), rule.interval)
        else:
            yield number, (day,) if _rings_on(rule, day) else (), found.times
            number += rule.interval


def _hours(found: Series, begin: date) -> Iterator[_Period]:
    """Hours are counted by the clock, so that a rule for every hour rings at each hour that the clock shows."""
    rule = found.rule
    start = found.start.toordinal() * _DAY_HOURS + found.start.hour
    number = _aligned(start, begin.toordinal() * _DAY_HOURS, rule.interval)
    while number < (_LAST_DAY + 1) * _DAY_HOURS:
        ordinal, hour = divmod(number, _DAY_HOURS)
        day = date.fromordinal(ordinal)
        if rule.by_month and day.month not in rule.by_month:
            yield ordinal, (), ()
            number = _aligned(start, _next_month(day, rule.by_month) * _DAY_HOURS, rule.interval)
        elif not _rings_on(rule, day):
            yield ordinal, (), ()
            number = _aligned(start, (ordinal + 1) * _DAY_HOURS, rule.interval)
        else:
            if not rule.by_hour or hour in rule.by_hour:
                yield ordinal, (day,), [at.replace(hour=hour) for at in found.times]
            number += rule.interval


_PERIODS: Final = {"YEARLY": _years, "MONTHLY": _months, "WEEKLY": _weeks, "DAILY": _days, "HOURLY": _hours}


def _next_month(day: date, months: tuple[int, ...]) -> int:
    """The first day, as an ordinal, of the next month that is among `months`."""
    ahead = min((month - day.month) % 12 or 12 for month in months)
    years, month = divmod(day.month - 1 + ahead, 12)

    return date(day.year + years, month + 1, 1).toordinal()


def _rings_on(rule: Rule, day: date) -> bool:
    """Whether the parts that only limit let a day through."""
    if rule.by_day and all(weekday.day != day.weekday() for weekday in rule.by_day):
        return False
    if rule.by_month_day and day.day not in rule.by_month_day:
        length = calendar.monthrange(day.year, day.month)[1]
        if day.day - length - 1 not in rule.by_month_day:
            return False

    return not rule.by_year_day or day in _year_days(day.year, rule.by_year_day)


@lru_cache(maxsize=_CACHED_YEARS_MAX)
def _days_of_year(rule: Rule, year: int) -> tuple[date, ...]:
    """What every part that is given agrees on."""
    chosen: list[set[date]] = []
    months = rule.by_month or range(1, 13)
    if rule.by_month or rule.by_month_day:
        chosen.append({day for month in months for day in _month_days(year, month, rule.by_month_day)})
    if rule.by_year_day:
        chosen.append(_year_days(year, rule.by_year_day))
    if rule.by_week_no:
        chosen.append(_week_days(year, rule.by_week_no, rule.week_start))
    if rule.by_day and rule.by_month:
        chosen.append({day for month in months for day in _weekdays(rule.by_day, *_month(year, month))})
    elif rule.by_day:
        chosen.append(_weekdays(rule.by_day, date(year, 1, 1), date(year, 12, 31)))

    return tuple(sorted(set.intersection(*chosen)))


def _days_of_month(rule: Rule, year: int, month: int) -> list[date]:
    if rule.by_month and month not in rule.by_month:
        return []
    days = _month_days(year, month, rule.by_month_day)
    if rule.by_day:
        days &= _weekdays(rule.by_day, *_month(year, month))

    return sorted(days)


def _month(year: int, month: int) -> tuple[date, date]:
    return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])


def _month_days(year: int, month: int, numbers: tuple[int, ...]) -> set[date]:
    """Days of a month by their numbers, those that it has; all of them without numbers."""
    length = calendar.monthrange(year, month)[1]
    days = numbers or range(1, length + 1)

    return {
        date(year, month, number if number > 0 else length + 1 + number)
        for number in days
        if 1 <= (number if number > 0 else length + 1 + number) <= length
    }


def _year_days(year: int, numbers: tuple[int, ...]) -> set[date]:
    first, length = date(year, 1, 1).toordinal(), 365 + calendar.isleap(year)
    days = (number if number > 0 else length + 1 + number for number in numbers)

    return {date.fromordinal(first - 1 + day) for day in days if 1 <= day <= length}


def _week_days(year: int, numbers: tuple[int, ...], week_start: int) -> set[date]:
    """Days of a calendar year that lie in these weeks, also of weeks that are numbered in the year before or after."""
    first, last = date(year, 1, 1).toordinal(), date(year, 12, 31).toordinal()
    found: set[date] = set()
    for week_year in (year - 1, year, year + 1):
        begin, end = _first_week(week_year, week_start), _first_week(week_year + 1, week_start)
        count = (end - begin) // 7
        for number in numbers:
            week = number if number > 0 else count + 1 + number
            if 1 <= week <= count:
                monday = begin + 7 * (week - 1)
                found.update(date.fromordinal(day) for day in range(monday, monday + 7) if first <= day <= last)

    return found


def _first_week(year: int, week_start: int) -> int:
    """Where week 1 begins: the one that has at least four days in the year, so the one with 4 January."""
    fourth = date(year, 1, 4)

    return fourth.toordinal() - (fourth.weekday() - week_start) % 7


def _weekdays(wanted: tuple[Weekday, ...], first: date, last: date) -> set[date]:
    """Days from first to last that are a wanted weekday, or the wanted one of its kind."""
    found: set[date] = set()
    for weekday in wanted:
        begin = first.toordinal() + (weekday.day - first.weekday()) % 7
        all_of_kind = range(begin, last.toordinal() + 1, 7)
        if weekday.nth == 0:
            found.update(map(date.fromordinal, all_of_kind))
        elif abs(weekday.nth) <= len(all_of_kind):
            place = weekday.nth - 1 if weekday.nth > 0 else weekday.nth
            found.add(date.fromordinal(all_of_kind[place]))

    return found
