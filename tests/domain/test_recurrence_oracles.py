"""Rules against two independent judges: dateutil for what a rule says, and a walk through every minute for zones.

dateutil knows no zones here and is asked from the rule's start, so that it proves the jump to the period in question
too. The walk goes from instants to local times, the other way round than the code under test.

Of weeks 52 and 53 a walk through every day judges in dateutil's place. Whether the first days of January lie in the
last week of the year before is what dateutil (2.9 and 4.0) gets wrong: it takes that week's number from the length of
the new year, see https://github.com/dateutil/dateutil/pull/1537.
"""

from calendar import isleap, monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import dateutil.rrule
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callmeback import errors
from callmeback.domain import recurrence, rrule, zones

COMPARED = 8
YEARS = range(2026, 2031)
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
CALENDAR_END = 2050
LOCAL_TIMES = ("00:00", "00:30", "01:00", "01:59", "02:00", "02:15", "02:30", "03:00", "12:00", "23:59")
# The last weeks of a year.
DISPUTED_WEEKS = {52, 53}
# One of each kind: whole and half hours, north and south, a change at midnight, at 01:00, none, one that is negative.
KINDS = (
    "America/New_York", "America/Sao_Paulo", "America/Santiago", "America/St_Johns", "Asia/Beirut", "Asia/Kathmandu",
    "Atlantic/Azores", "Australia/Lord_Howe", "Europe/Berlin", "Europe/Dublin", "Pacific/Chatham",
)  # fmt: skip


def numbers(least: int, most: int, *, signed: bool = False) -> st.SearchStrategy[str]:
    one = st.integers(least, most)
    if signed:
        one = one | one.map(lambda number: -number)
    return st.lists(one, min_size=1, max_size=3).map(lambda found: ",".join(map(str, found)))


def weekdays(*, counted: bool) -> st.SearchStrategy[str]:
    """A list of weekdays, all plain or all counted: of the two kinds together dateutil takes what is in both."""
    plain = st.sampled_from(WEEKDAYS)
    kinds = st.lists(plain, min_size=1, max_size=4, unique=True)
    if counted:
        nth = st.tuples(st.sampled_from((1, 2, 4, 5, -1, -2)), plain).map(lambda pair: f"{pair[0]}{pair[1]}")
        kinds = kinds | st.lists(nth, min_size=1, max_size=3, unique=True)
    return kinds.map(",".join)


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules as the RFC allows them, without those few that dateutil reads otherwise."""
    freq = draw(st.sampled_from(rrule.FREQUENCIES))
    parts = {"FREQ": freq}
    maybe = {"INTERVAL": st.integers(1, 6).map(str), "BYMONTH": numbers(1, 12), "WKST": st.sampled_from(WEEKDAYS)}
    maybe["BYHOUR"] = numbers(0, 23)
    if freq != "WEEKLY":
        maybe["BYMONTHDAY"] = numbers(1, 31, signed=True)
    if freq in ("YEARLY", "HOURLY"):
        maybe["BYYEARDAY"] = numbers(1, 366, signed=True)
    maybe["BYDAY"] = weekdays(counted=freq in ("YEARLY", "MONTHLY"))
    for name in draw(st.lists(st.sampled_from(sorted(maybe)), max_size=3, unique=True)):
        parts[name] = draw(maybe[name])
    if freq == "YEARLY" and draw(st.integers(0, 4)) == 0:
        # dateutil takes every day of the week where the RFC takes the start's; and misses some negative numbers.
        parts |= {"BYWEEKNO": draw(numbers(1, 53)), "BYDAY": draw(weekdays(counted=False))}
    if any(name.startswith("BY") for name in parts) and draw(st.integers(0, 3)) == 0:
        parts["BYSETPOS"] = draw(numbers(1, 3, signed=True))
    ending = draw(st.sampled_from(("", "", "COUNT", "UNTIL")))
    if ending == "COUNT":
        parts["COUNT"] = str(draw(st.integers(1, 400)))
    elif ending == "UNTIL":
        parts["UNTIL"] = draw(st.datetimes(datetime(2010, 1, 1), datetime(2045, 1, 1))).strftime("%Y%m%dT%H%M%S")
    return ";".join(f"{name}={value}" for name, value in parts.items())


starts = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(microsecond=0))
distances = st.timedeltas(timedelta(0), timedelta(days=3_650)).map(lambda far: far - far % timedelta(seconds=1))


@pytest.fixture(autouse=True, scope="module")
def calendar_of_dateutil() -> Iterator[None]:
    """Let dateutil's calendar end in CALENDAR_END: it looks for a rule's next time to the end of the calendar."""
    known = dateutil.rrule.datetime
    dateutil.rrule.datetime = SimpleNamespace(**{**vars(known), "MAXYEAR": CALENDAR_END})
    yield
    dateutil.rrule.datetime = known


def said_by_dateutil(rule: str, start: datetime) -> Iterator[datetime]:
    parts = dict(part.split("=") for part in rule.split(";"))
    begin, count = start, None
    if parts["FREQ"] == "WEEKLY" and "BYSETPOS" in parts:
        # It counts positions of the first week from the start; the RFC from the beginning of the interval (3.3.10).
        begin -= timedelta(days=(start.weekday() - WEEKDAYS.index(parts.get("WKST", "MO"))) % 7)
        count = int(parts.pop("COUNT", 0)) or None
        parts.setdefault("BYDAY", WEEKDAYS[start.weekday()])
        rule = ";".join(f"{name}={value}" for name, value in parts.items())
    try:
        yield from islice((at for at in dateutil.rrule.rrulestr(rule, dtstart=begin) if at >= start), count)
    except ValueError as exc:
        # Its word for hours that are never reached.
        assert "empty set" in str(exc)


def said_by_a_walk(rule: str, start: datetime) -> Iterator[datetime]:
    """A yearly rule with BYWEEKNO and plain weekdays: every day of its years is asked whether each part lets it in."""
    parts = dict(part.split("=") for part in rule.split(";"))
    lists = {name: {int(one) for one in value.split(",")} for name, value in parts.items() if is_list(name)}
    clocks = [start.replace(hour=hour) for hour in sorted(lists.get("BYHOUR", {start.hour}))]
    until = datetime.strptime(parts.get("UNTIL", f"{CALENDAR_END}0101T000000"), "%Y%m%dT%H%M%S")
    left = int(parts.get("COUNT", 10_000))
    for year in range(start.year, CALENDAR_END, int(parts.get("INTERVAL", 1))):
        days = [datetime(year, 1, 1) + timedelta(days=day) for day in range(365 + isleap(year))]
        rings = [
            clock.replace(year, day.month, day.day) for day in days if lets_in(parts, lists, day) for clock in clocks
        ]
        if "BYSETPOS" in lists:
            places = {place - 1 if place > 0 else len(rings) + place for place in lists["BYSETPOS"]}
            rings = [ring for place, ring in enumerate(rings) if place in places]
        for ring in rings:
            if ring >= start and ring <= until and left:
                left -= 1
                yield ring


def is_list(name: str) -> bool:
    return name.startswith("BY") and name != "BYDAY"


def lets_in(parts: dict[str, str], lists: dict[str, set[int]], day: datetime) -> bool:
    months, month_days, year_days = (lists.get(name) for name in ("BYMONTH", "BYMONTHDAY", "BYYEARDAY"))
    month, year = monthrange(day.year, day.month)[1], 365 + isleap(day.year)
    number = day_of_year(day)

    return (
        week_of(day, WEEKDAYS.index(parts.get("WKST", "MO"))) in lists["BYWEEKNO"]
        and WEEKDAYS[day.weekday()] in parts["BYDAY"].split(",")
        and (months is None or day.month in months)
        and (month_days is None or bool({day.day, day.day - month - 1} & month_days))
        and (year_days is None or bool({number, number - year - 1} & year_days))
    )


def week_of(day: datetime, week_start: int) -> int:
    """A week belongs to the year of its fourth day, and is numbered by how many fourth days came before (3.3.10)."""
    fourth = day + timedelta(days=3 - (day.weekday() - week_start) % 7)

    return (day_of_year(fourth) - 1) // 7 + 1


def day_of_year(day: datetime) -> int:
    return (day - datetime(day.year, 1, 1)).days + 1


def judge_of(rule: str) -> Callable[[str, datetime], Iterator[datetime]]:
    weeks = dict(part.split("=") for part in rule.split(";")).get("BYWEEKNO", "")

    return said_by_a_walk if {int(week) for week in weeks.split(",") if week} & DISPUTED_WEEKS else said_by_dateutil


def compare(rule: str, start: datetime, distance: timedelta) -> None:
    begin = start + distance
    try:
        found = recurrence.series(rule, start)
    except errors.RecurrenceTooFrequent:
        return

    def compared(times: Iterator[datetime]) -> list[datetime]:
        return list(islice((at for at in times if at >= begin and at.year < CALENDAR_END), COMPARED))

    assert compared(recurrence._local_times(found, begin)) == compared(judge_of(rule)(rule, start))


@given(rules(), starts, distances)
@settings(max_examples=300, deadline=None)
def test_dateutil_says_the_same(rule: str, start: datetime, distance: timedelta):
    compare(rule, start, distance)


@pytest.mark.proof
@given(rules(), starts, distances)
@settings(max_examples=3_000, deadline=None)
def test_dateutil_says_the_same_of_many_rules(rule: str, start: datetime, distance: timedelta):
    compare(rule, start, distance)


@pytest.mark.parametrize("week_start", WEEKDAYS)
def test_the_last_weeks_of_years_are_those_of_a_walk(week_start: str):
    """Through the 28 years after which the days of the week come again."""
    start = datetime(2000, 1, 1, 8)

    def compared(times: Iterator[datetime]) -> list[datetime]:
        return list(takewhile(lambda at: at.year < start.year + 28, times))

    for weeks in ("BYWEEKNO=52;BYDAY=SU,MO,TU,WE,TH,FR,SA", "BYWEEKNO=53;BYDAY=SU,WE,FR;BYSETPOS=1"):
        rule = f"FREQ=YEARLY;{weeks};WKST={week_start}"

        assert compared(recurrence._local_times(recurrence.series(rule, start), start)) == compared(
            said_by_a_walk(rule, start)
        ), rule


def test_the_positions_of_the_first_week_are_counted_from_its_beginning():
    """By hand: 1 January 2000 is a Saturday, the second of its week's two days."""
    rule, start = "FREQ=WEEKLY;BYDAY=MO,SA;BYSETPOS={}", datetime(2000, 1, 1)
    first, second = (
        [f"{at:%F}" for at in islice(recurrence._local_times(recurrence.series(rule.format(place), start), start), 2)]
        for place in (1, 2)
    )

    assert first == ["2000-01-03", "2000-01-10"]
    assert second == ["2000-01-01", "2000-01-08"]


def test_1_january_2023_is_in_week_52_and_2_january_2039_in_no_week_53():
    """By hand: both are Sundays at the end of a week that began in December, of years that begin after a Thursday."""
    weeks = {
        week: [f"{at:%F}" for at in said_by_a_walk(f"FREQ=YEARLY;BYWEEKNO={week};BYDAY=SU", datetime(2023, 1, 1))]
        for week in sorted(DISPUTED_WEEKS)
    }

    assert weeks[52][:3] == ["2023-01-01", "2023-12-31", "2024-12-29"]
    assert weeks[53] == ["2027-01-03", "2033-01-02", "2038-01-03", "2044-01-03", "2049-01-03"]
    # When it no longer says so, it can judge these weeks again.
    assert datetime(2039, 1, 2) in islice(said_by_dateutil("FREQ=YEARLY;BYWEEKNO=53;BYDAY=SU", datetime(2023, 1, 1)), 5)


def changes(zone: ZoneInfo) -> list[datetime]:
    """The days of 2026 to 2030 in which a zone's offset changes."""
    days = [datetime(YEARS[0], 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(366 * len(YEARS))]
    offsets = [day.astimezone(zone).utcoffset() for day in days]

    return [days[place] for place in range(len(days) - 1) if offsets[place] != offsets[place + 1]]


def walked(zone: ZoneInfo, begin: datetime, end: datetime, clocks: tuple[str, ...]) -> dict[str, list[datetime]]:
    """When a clock in that zone shows each of these times first on each day, minute by minute.

    Where it skips the time, so many minutes after the last one before it as if it hadn't.
    """
    found: dict[str, dict[str, datetime]] = {clock: {} for clock in clocks}
    at, before = begin, begin.astimezone(zone).replace(tzinfo=None)
    while at < end:
        at += timedelta(minutes=1)
        now = at.astimezone(zone).replace(tzinfo=None)
        shown = f"{now:%H:%M}"
        if shown in found:
            found[shown].setdefault(str(now.date()), at)
        if now - before > timedelta(minutes=1):
            for clock in clocks:
                for day in {before.date(), now.date()}:
                    wanted = datetime.fromisoformat(f"{day}T{clock}")
                    if before < wanted < now:
                        found[clock].setdefault(str(day), at - timedelta(minutes=1) + (wanted - before))
        before = now

    return {clock: sorted(set(times.values())) for clock, times in found.items()}


def compare_zone(name: str, clocks: tuple[str, ...]) -> int:
    zone = zones.zone(name).info
    days = changes(zone)
    for change in days:
        begin, end = change - timedelta(days=1), change + timedelta(days=2)
        expected = walked(zone, begin, end, clocks)
        for clock in clocks:
            start = datetime.fromisoformat(f"2020-01-01T{clock}")
            found, at = [], begin
            while (at := recurrence.next_after("FREQ=DAILY", start, zone, at)) is not None and at <= end:
                found.append(at)

            assert found == expected[clock], (name, change, clock)

    return len(days)


@pytest.mark.parametrize("name", KINDS)
def test_c06_every_minute_around_both_changes(name: str):
    compare_zone(name, LOCAL_TIMES)


@pytest.mark.proof
def test_c06_every_zone_and_both_changes_of_2026_to_2030():
    by_data = {zones.zone(name).version: name for name in sorted(zones.names())}
    compared = sum(compare_zone(name, LOCAL_TIMES) for name in by_data.values())

    assert len(by_data) > 300
    assert compared > 400
