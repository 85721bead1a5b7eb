"""Rules as text: what is read, and what is refused with which words."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callmeback import errors
from callmeback.domain import rrule
from callmeback.domain.rrule import Rule, Weekday


def test_every_part_is_read():
    rule = rrule.read(
        "RRULE:freq=yearly;INTERVAL=2;UNTIL=20301231T235959Z;WKST=SU;BYMONTH=3,1,1;BYMONTHDAY=-1,15;BYYEARDAY=+100;"
        "BYWEEKNO=-2,20;BYHOUR=7,19;BYMINUTE=30;BYSECOND=5;BYSETPOS=1,-1"
    )

    assert rule == Rule(
        freq="YEARLY",
        interval=2,
        until_instant=datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC),
        week_start=6,
        by_month=(1, 3),
        by_month_day=(-1, 15),
        by_year_day=(100,),
        by_week_no=(-2, 20),
        by_hour=(7, 19),
        by_minute=(30,),
        by_second=(5,),
        by_set_pos=(-1, 1),
    )


def test_weekdays_are_read_with_their_count():
    assert rrule.read("FREQ=MONTHLY;BYDAY=MO,-1FR,+2SU").by_day == (Weekday(0), Weekday(4, -1), Weekday(6, 2))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "written as FREQ=DAILY"),
        ("every day", "written as FREQ=DAILY"),
        ("FREQ=", "written as FREQ=DAILY"),
        ("FREQ=DAILY;", "written as FREQ=DAILY"),
        ("FREQ=DAILY\nRRULE:FREQ=DAILY", "FREQ is needed"),
        ("INTERVAL=2", "FREQ is needed"),
        ("FREQ=FORTNIGHTLY", "FREQ is needed, one of HOURLY, DAILY"),
        ("FREQ=DAILY;BYEASTER=0", "BYEASTER is no part"),
        ("FREQ=DAILY;X-THING=1", "Unknown part"),
        ("FREQ=DAILY;DTSTART=20270101", "DTSTART is no part"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ is given twice"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL is a number from 1"),
        ("FREQ=DAILY;INTERVAL=-1", "INTERVAL is a number from 1"),
        ("FREQ=DAILY;INTERVAL=1001", "INTERVAL is a number from 1"),
        ("FREQ=DAILY;INTERVAL=" + "9" * 400, "INTERVAL is a number from 1"),
        ("FREQ=DAILY;INTERVAL=²", "INTERVAL is a number from 1"),
        ("FREQ=DAILY;COUNT=0", "COUNT is a number from 1"),
        ("FREQ=DAILY;COUNT=5001", "COUNT is a number from 1"),
        ("FREQ=DAILY;COUNT=1.5", "COUNT is a number from 1"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "not by both"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL is written as"),
        ("FREQ=DAILY;UNTIL=20270230", "no day of the calendar"),
        ("FREQ=DAILY;UNTIL=20270101T250000", "no day of the calendar"),
        ("FREQ=DAILY;UNTIL=00000101", "no day of the calendar"),
        ("FREQ=YEARLY;BYMONTH=13", "from 1 to 12"),
        ("FREQ=YEARLY;BYMONTH=-1", "from 1 to 12"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "from 1 to 31, or negative"),
        ("FREQ=MONTHLY;BYMONTHDAY=-32", "from 1 to 31, or negative"),
        ("FREQ=MONTHLY;BYMONTHDAY=x", "BYMONTHDAY is a list of numbers"),
        ("FREQ=MONTHLY;BYMONTHDAY=1,,2", "BYMONTHDAY is a list of numbers"),
        ("FREQ=YEARLY;BYYEARDAY=367", "from 1 to 366"),
        ("FREQ=YEARLY;BYWEEKNO=54", "from 1 to 53"),
        ("FREQ=DAILY;BYHOUR=24", "from 0 to 23"),
        ("FREQ=DAILY;BYMINUTE=60", "from 0 to 59"),
        ("FREQ=DAILY;BYSECOND=60", "from 0 to 59"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY is a list of MO"),
        ("FREQ=WEEKLY;BYDAY=1MO", "in a month or a year only"),
        ("FREQ=DAILY;BYDAY=-1MO", "in a month or a year only"),
        ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO", "in a month or a year only"),
        ("FREQ=MONTHLY;BYDAY=0MO", "from 1 to 53"),
        ("FREQ=YEARLY;BYDAY=54MO", "from 1 to 53"),
        ("FREQ=WEEKLY;WKST=1", "WKST is one of"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO makes no sense with FREQ=MONTHLY"),
        ("FREQ=DAILY;BYYEARDAY=1", "BYYEARDAY makes no sense with FREQ=DAILY"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY makes no sense with FREQ=WEEKLY"),
        ("FREQ=MONTHLY;BYSETPOS=1", "there is none"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "from 1 to 366"),
        ("FREQ=DAILY;BYHOUR=" + ",".join(["7"] * 300), "at most 500 characters"),
    ],
)
def test_what_is_no_rule_is_refused_in_a_sentence(text: str, sentence: str):
    with pytest.raises(errors.RecurrenceInvalid, match=sentence) as caught:
        rrule.read(text)

    assert caught.value.extra == {"field": "rrule"}


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;INTERVAL=60",
        "FREQ=HOURLY;BYMINUTE=0,4",
        "FREQ=HOURLY;BYMINUTE=0,58",
        "FREQ=DAILY;BYHOUR=7;BYMINUTE=0,1",
        "FREQ=DAILY;BYHOUR=0,23;BYMINUTE=0,57",
        "FREQ=DAILY;BYSECOND=0,30",
    ],
)
def test_nothing_rings_more_often_than_every_five_minutes(text: str):
    with pytest.raises(errors.RecurrenceTooFrequent, match="every 5 minutes"):
        rrule.read(text)


@pytest.mark.parametrize("text", ["FREQ=HOURLY;BYMINUTE=0,5,10,55", "FREQ=DAILY;BYHOUR=7;BYMINUTE=0,5"])
def test_every_five_minutes_is_allowed(text: str):
    assert rrule.read(text)


@given(st.text(max_size=600) | st.text(alphabet="FREQ=DAILYBYMONTHUNTILCOUNT0123456789;,:-+", max_size=120))
def test_any_text_is_a_rule_or_a_refusal(text: str):
    try:
        rule = rrule.read(text)
    except (errors.RecurrenceInvalid, errors.RecurrenceTooFrequent):
        return

    assert rule.freq in rrule.FREQUENCIES


def test_a_refusal_does_not_repeat_what_somebody_wrote():
    with pytest.raises(errors.RecurrenceInvalid) as caught:
        rrule.read("FREQ=DAILY;MY NUMBER IS +12025550100=1")

    assert "2025550100" not in caught.value.detail
