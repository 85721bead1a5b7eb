"""When rules ring: RFC 5545's own examples, both clock changes, odd zones, and rules that never do."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from callmeback import errors
from callmeback.domain import recurrence, zones

NEW_YORK = "America/New_York"
BERLIN = "Europe/Berlin"


def zone(name: str) -> ZoneInfo:
    return zones.zone(name).info


def rings(rule: str, start: str, timezone: str, after: datetime | None = None, count: int = 10) -> list[str]:
    """The next times of a rule, as the clock of the zone shows them, with offsets."""
    begin = recurrence.local_time(start)
    found = recurrence.preview(
        rule, begin, zone(timezone), after or recurrence.instant(begin, zone(timezone)) - timedelta(seconds=1), count
    )

    return [ring.at.isoformat() for ring in found]


def days(rule: str, start: str = "1997-09-02T09:00", count: int = 10) -> list[str]:
    return [ring[:10] for ring in rings(rule, start, NEW_YORK, count=count)]


# RFC 5545, section 3.8.5.3. Days and local hours are compared, since offsets are those of the zone's data of its day.
RFC = [
    ("FREQ=DAILY;COUNT=3", "1997-09-02T09:00", ["1997-09-02", "1997-09-03", "1997-09-04"]),
    ("FREQ=DAILY;UNTIL=19970904T130000Z", "1997-09-02T09:00", ["1997-09-02", "1997-09-03", "1997-09-04"]),
    ("FREQ=DAILY;INTERVAL=10;COUNT=5", "1997-09-02T09:00",
     ["1997-09-02", "1997-09-12", "1997-09-22", "1997-10-02", "1997-10-12"]),
    ("FREQ=WEEKLY;INTERVAL=2;UNTIL=19971001T000000Z;WKST=SU;BYDAY=MO,WE,FR", "1997-09-01T09:00",
     ["1997-09-01", "1997-09-03", "1997-09-05", "1997-09-15", "1997-09-17", "1997-09-19", "1997-09-29"]),
    ("FREQ=MONTHLY;COUNT=10;BYDAY=1FR", "1997-09-05T09:00",
     ["1997-09-05", "1997-10-03", "1997-11-07", "1997-12-05", "1998-01-02",
      "1998-02-06", "1998-03-06", "1998-04-03", "1998-05-01", "1998-06-05"]),
    ("FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU", "1997-09-07T09:00",
     ["1997-09-07", "1997-09-28", "1997-11-02", "1997-11-30", "1998-01-04",
      "1998-01-25", "1998-03-01", "1998-03-29", "1998-05-03", "1998-05-31"]),
    ("FREQ=MONTHLY;BYMONTHDAY=-3;COUNT=3", "1997-09-28T09:00", ["1997-09-28", "1997-10-29", "1997-11-28"]),
    ("FREQ=MONTHLY;COUNT=5;BYMONTHDAY=1,-1", "1997-09-30T09:00",
     ["1997-09-30", "1997-10-01", "1997-10-31", "1997-11-01", "1997-11-30"]),
    ("FREQ=YEARLY;COUNT=4;BYMONTH=6,7", "1997-06-10T09:00", ["1997-06-10", "1997-07-10", "1998-06-10", "1998-07-10"]),
    ("FREQ=YEARLY;INTERVAL=3;COUNT=5;BYYEARDAY=1,100,200", "1997-01-01T09:00",
     ["1997-01-01", "1997-04-10", "1997-07-19", "2000-01-01", "2000-04-09"]),
    ("FREQ=YEARLY;BYDAY=20MO;COUNT=3", "1997-05-19T09:00", ["1997-05-19", "1998-05-18", "1999-05-17"]),
    ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;COUNT=3", "1997-05-12T09:00", ["1997-05-12", "1998-05-11", "1999-05-17"]),
    ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH;COUNT=4", "1997-03-13T09:00",
     ["1997-03-13", "1997-03-20", "1997-03-27", "1998-03-05"]),
    ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13;COUNT=3", "1997-09-02T09:00", ["1998-02-13", "1998-03-13", "1998-11-13"]),
    ("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8;COUNT=3", "1996-11-05T09:00",
     ["1996-11-05", "2000-11-07", "2004-11-02"]),
    ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "1997-09-04T09:00", ["1997-09-04", "1997-10-07", "1997-11-06"]),
    ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2;COUNT=4", "1997-09-29T09:00",
     ["1997-09-29", "1997-10-30", "1997-11-27", "1997-12-30"]),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "1997-08-05T09:00",
     ["1997-08-05", "1997-08-10", "1997-08-19", "1997-08-24"]),
    ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "1997-08-05T09:00",
     ["1997-08-05", "1997-08-17", "1997-08-19", "1997-08-31"]),
    ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "2007-01-15T09:00",
     ["2007-01-15", "2007-01-30", "2007-02-15", "2007-03-15", "2007-03-30"]),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "start", "expected"), RFC)
def test_the_rfc_s_examples(rule: str, start: str, expected: list[str]):
    found = rings(rule, start, NEW_YORK, count=len(expected))

    assert [ring[:10] for ring in found] == expected
    assert {ring[11:16] for ring in found} == {"09:00"}


def test_the_rfc_s_hourly_example_ends_by_an_instant():
    found = rings("FREQ=HOURLY;INTERVAL=3;UNTIL=19970902T210000Z", "1997-09-02T09:00", NEW_YORK)

    assert [ring[11:16] for ring in found] == ["09:00", "12:00", "15:00"]


def test_c06_seven_o_clock_stays_seven_over_both_clock_changes():
    spring = rings("FREQ=DAILY", "2027-03-27T07:00", BERLIN, count=2)
    autumn = rings("FREQ=DAILY", "2027-10-30T07:00", BERLIN, count=2)

    assert spring == ["2027-03-27T07:00:00+01:00", "2027-03-28T07:00:00+02:00"]
    assert autumn == ["2027-10-30T07:00:00+02:00", "2027-10-31T07:00:00+01:00"]


def test_c06_a_time_that_does_not_exist_moves_to_the_same_elapsed_instant():
    found = rings("FREQ=DAILY", "2027-03-27T02:30", BERLIN, count=3)

    assert found == ["2027-03-27T02:30:00+01:00", "2027-03-28T03:30:00+02:00", "2027-03-29T02:30:00+02:00"]


def test_c06_a_time_that_happens_twice_rings_once_the_first_time():
    found = rings("FREQ=DAILY", "2027-10-30T02:30", BERLIN, count=3)

    assert found == ["2027-10-30T02:30:00+02:00", "2027-10-31T02:30:00+02:00", "2027-11-01T02:30:00+01:00"]


def test_from_within_the_second_hour_the_first_one_is_past():
    second = datetime(2027, 10, 31, 1, 15, tzinfo=UTC)

    found = recurrence.next_after("FREQ=DAILY", datetime(2027, 10, 1, 2, 30), zone(BERLIN), second)

    assert found == datetime(2027, 11, 1, 1, 30, tzinfo=UTC)


def test_an_hourly_rule_rings_no_instant_twice_and_none_backward():
    spring = rings("FREQ=HOURLY;BYMINUTE=0,30", "2027-03-28T01:00", BERLIN, count=6)
    autumn = rings("FREQ=HOURLY", "2027-10-31T01:00", BERLIN, count=4)

    assert [ring[11:16] for ring in spring] == ["01:00", "01:30", "03:00", "03:30", "04:00", "04:30"]
    assert [ring[11:] for ring in autumn] == ["01:00:00+02:00", "02:00:00+02:00", "03:00:00+01:00", "04:00:00+01:00"]


def test_a_moved_time_comes_in_its_place_among_those_that_were_not_moved():
    found = rings("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=20", "2027-03-28T01:00", BERLIN, count=2)
    # Lord Howe goes forward by half an hour: 02:20 is 02:50, and 02:40 comes before it.
    half = rings("FREQ=DAILY;BYHOUR=2;BYMINUTE=20,40", "2027-10-03T00:00", "Australia/Lord_Howe", count=3)

    assert found == ["2027-03-28T03:20:00+02:00", "2027-03-29T02:20:00+02:00"]
    assert [ring[:19] for ring in half] == ["2027-10-03T02:40:00", "2027-10-03T02:50:00", "2027-10-04T02:20:00"]


def test_lord_howe_s_half_hour():
    spring = rings("FREQ=DAILY", "2027-10-02T02:15", "Australia/Lord_Howe", count=2)
    autumn = rings("FREQ=DAILY", "2027-04-03T01:45", "Australia/Lord_Howe", count=2)

    assert spring == ["2027-10-02T02:15:00+10:30", "2027-10-03T02:45:00+11:00"]
    assert autumn == ["2027-04-03T01:45:00+11:00", "2027-04-04T01:45:00+11:00"]


@pytest.mark.parametrize(
    ("timezone", "offset"),
    [("Asia/Kathmandu", "+05:45"), ("Asia/Kolkata", "+05:30"), ("Asia/Tokyo", "+09:00"), ("Etc/UTC", "+00:00")],
)
def test_zones_without_changes(timezone: str, offset: str):
    found = rings("FREQ=WEEKLY;BYDAY=SU", "2027-03-21T02:30", timezone, count=4)

    assert {ring[10:] for ring in found} == {f"T02:30:00{offset}"}


def test_a_day_that_a_zone_left_out_is_rung_with_the_next_one():
    """Samoa had no 30 December 2011; both its 07:00 and the 31st's are one instant, and so ring once."""
    found = rings("FREQ=DAILY", "2011-12-29T07:00", "Pacific/Apia", count=3)

    assert found == ["2011-12-29T07:00:00-10:00", "2011-12-31T07:00:00+14:00", "2012-01-01T07:00:00+14:00"]


def test_a_rule_that_rings_only_on_the_day_that_was_left_out():
    found = rings("FREQ=YEARLY", "2009-12-30T07:00", "Pacific/Apia", count=4)

    assert [ring[:10] for ring in found] == ["2009-12-30", "2010-12-30", "2011-12-31", "2012-12-30"]


def test_kwajalein_left_out_a_day_too():
    found = rings("FREQ=DAILY", "1993-08-20T12:00", "Pacific/Kwajalein", count=2)

    assert [ring[:10] for ring in found] == ["1993-08-20", "1993-08-22"]


def test_29_february_waits_for_its_year():
    assert days("FREQ=YEARLY", "2096-02-29T08:00", 2) == ["2096-02-29", "2104-02-29"]
    assert days("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", "2026-01-01T08:00", 3) == [
        "2044-02-29", "2072-02-29", "2112-02-29",
    ]  # fmt: skip
    assert days("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29", "2026-01-01T08:00", 2) == ["2028-02-29", "2032-02-29"]


def test_the_31st_skips_short_months():
    assert days("FREQ=MONTHLY", "2027-01-31T08:00", 4) == ["2027-01-31", "2027-03-31", "2027-05-31", "2027-07-31"]


def test_a_week_s_rule_without_days_keeps_its_weekday():
    assert days("FREQ=YEARLY;BYWEEKNO=1", "2026-12-31T08:00", 3) == ["2027-01-07", "2028-01-06", "2029-01-04"]
    assert days("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", "2024-12-01T08:00", 3) == ["2024-12-30", "2025-12-29", "2027-01-04"]
    assert days("FREQ=YEARLY;BYWEEKNO=-1;BYDAY=SU", "2026-01-01T08:00", 3) == ["2027-01-03", "2028-01-02", "2028-12-31"]


def test_plain_and_counted_weekdays_are_united():
    assert days("FREQ=MONTHLY;BYDAY=MO,-1FR", "2027-02-01T08:00", 5) == [
        "2027-02-01", "2027-02-08", "2027-02-15", "2027-02-22", "2027-02-26",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "last"),
    [
        ("FREQ=DAILY;UNTIL=20270105", "2027-01-05"),
        ("FREQ=DAILY;UNTIL=20270105T070000", "2027-01-05"),
        ("FREQ=DAILY;UNTIL=20270105T065959", "2027-01-04"),
        ("FREQ=DAILY;UNTIL=20270105T060000Z", "2027-01-05"),
        ("FREQ=DAILY;UNTIL=20270105T055959Z", "2027-01-04"),
        ("FREQ=DAILY;COUNT=5", "2027-01-05"),
    ],
)
def test_ends_are_inclusive(rule: str, last: str):
    found = rings(rule, "2027-01-01T07:00", BERLIN)

    assert found[-1][:10] == last
    assert len(found) < 10


def test_count_counts_from_the_start_wherever_one_looks_from():
    start = datetime(2022, 1, 1, 7)
    after = datetime(2026, 11, 25, tzinfo=UTC)
    days_so_far = (after.replace(tzinfo=None) - start).days + 1

    one_left = recurrence.next_after(f"FREQ=DAILY;COUNT={days_so_far + 1}", start, zone("UTC"), after)
    none_left = recurrence.next_after(f"FREQ=DAILY;COUNT={days_so_far - 1}", start, zone("UTC"), after)

    assert one_left == datetime(2026, 11, 25, 7, tzinfo=UTC)
    assert none_left is None


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30,31",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTHDAY=31;BYMONTH=4,6,9,11",
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;INTERVAL=12;BYMONTH=1",
        "FREQ=MONTHLY;INTERVAL=2;BYMONTH=3",
        "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
        "FREQ=HOURLY;INTERVAL=2;BYHOUR=1",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=7",
        "FREQ=MONTHLY;BYDAY=6MO",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=7",
        "FREQ=DAILY;BYHOUR=7;BYSETPOS=2",
        "FREQ=HOURLY;BYMINUTE=30;BYSETPOS=-2",
        "FREQ=YEARLY;BYYEARDAY=1;BYMONTH=12",
        "FREQ=YEARLY;BYWEEKNO=30;BYMONTH=1",
        "FREQ=DAILY;UNTIL=20270101T000000Z",
    ],
)
def test_a_rule_that_never_rings_is_refused(rule: str):
    """Starts on Saturday 2 January 2027, 08:00. Bounded: the slowest takes some hundredths of a second."""
    with pytest.raises(errors.RecurrenceNever):
        rings(rule, "2027-02-06T08:00", BERLIN)


def test_a_rule_that_never_rings_is_found_out_by_few_steps(monkeypatch: pytest.MonkeyPatch):
    """Counted, not timed: the days looked at while searching for a 30 February, day by day."""
    looked_at = 0
    rings_on = recurrence._rings_on

    def counting(*given):
        nonlocal looked_at
        looked_at += 1
        return rings_on(*given)

    monkeypatch.setattr(recurrence, "_rings_on", counting)
    with pytest.raises(errors.RecurrenceNever):
        rings("FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30", "2027-01-01T08:00", BERLIN)

    assert looked_at < 2 * recurrence.SEARCH_DAYS


def test_nothing_rings_after_the_last_year():
    after = datetime(2199, 12, 31, 12, tzinfo=UTC)

    found = [
        recurrence.next_after(f"FREQ={freq}", datetime(2027, 12, 31, 11), zone("UTC"), after)
        for freq in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
    ]

    assert found == [None] * 4
    assert recurrence.next_after("FREQ=HOURLY", datetime(2199, 12, 31, 11), zone("UTC"), after) == after.replace(
        hour=13
    )


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("2027-01-01T07:00Z", "no offset"),
        ("2027-01-01T07:00+01:00", "no offset"),
        ("tomorrow", "local time such as"),
        ("2027-02-30T07:00", "local time such as"),
        ("1969-12-31T07:00", "year must be"),
        ("2200-01-01T07:00", "year must be"),
        ("", "local time such as"),
    ],
)
def test_a_local_start_is_read_strictly(start: str, sentence: str):
    with pytest.raises(errors.ValidationFailed, match=sentence):
        recurrence.local_time(start)


def test_looking_from_any_instant_finds_the_same_rings():
    """From every quarter of an hour around both changes the next ring is the first later one of the whole list."""
    rule, start = "FREQ=HOURLY;INTERVAL=3;BYMINUTE=10,50", datetime(2027, 1, 1)
    for begin in (datetime(2027, 3, 27, tzinfo=UTC), datetime(2027, 10, 30, tzinfo=UTC)):
        everything = [ring.at for ring in recurrence.preview(rule, start, zone(BERLIN), begin, 60)]
        for quarter in range(3 * 96):
            after = begin + timedelta(minutes=15 * quarter)
            expected = next(ring for ring in everything if ring > after)

            assert recurrence.next_after(rule, start, zone(BERLIN), after) == expected


def test_a_rule_of_ten_years_ago_costs_no_more_than_one_of_today():
    """Counted in periods that are looked at, since a loaded machine tells no time."""
    after = datetime(2026, 11, 25, tzinfo=UTC)
    for rule in ("FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=HOURLY"):
        found = recurrence.series(rule, datetime(2016, 11, 25, 7))
        periods = recurrence._PERIODS[found.rule.freq](found, after.date())
        first = next(periods)[0]

        assert abs(first - after.toordinal()) <= 31


def test_what_rings_often_is_expanded_no_further_than_somebody_looks(monkeypatch: pytest.MonkeyPatch):
    """A year of calls every five minutes has 105,120 of them; the process that looks carries live voice."""
    made: list[datetime] = []

    class Counted(datetime):
        @classmethod
        def combine(cls, *parts: Any) -> datetime:  # type: ignore[override]  # it counts what is made
            made.append(datetime.combine(*parts))
            return made[-1]

    monkeypatch.setattr(recurrence, "datetime", Counted)
    often = f"BYHOUR={','.join(map(str, range(24)))};BYMINUTE={','.join(map(str, range(0, 60, 5)))}"
    every_day = "BYDAY=MO,TU,WE,TH,FR,SA,SU"
    after = datetime(2026, 11, 26, 17, 2, tzinfo=UTC)
    for freq in ("YEARLY", "MONTHLY", "WEEKLY", "DAILY"):
        rule = f"FREQ={freq};{every_day};{often}"

        assert recurrence.next_after(rule, datetime(2016, 1, 1), zone(NEW_YORK), after) == after.replace(minute=5)
    last = recurrence.next_after(
        f"FREQ=YEARLY;{every_day};{often};BYSETPOS=-1", datetime(2016, 1, 1), zone("UTC"), after
    )

    assert last == datetime(2026, 12, 31, 23, 55, tzinfo=UTC)
    assert len(made) < 5 * 2 * 24 * 12
