"""Rules and reasons in words, and quick picks."""

from datetime import UTC, datetime

import pytest

from callmeback.web.pages import planner, rule_words, words

SAID = [
    ("FREQ=DAILY", "every day at 7:05"),
    ("FREQ=DAILY;INTERVAL=3", "every 3 days at 7:05"),
    ("FREQ=DAILY;COUNT=5", "every day at 7:05, 5 times"),
    ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "every weekday at 7:05"),
    ("FREQ=WEEKLY;BYDAY=FR,MO", "on Mondays and Fridays at 7:05"),
    ("FREQ=WEEKLY", "on Mondays at 7:05"),
    ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", "every 2 weeks on Tuesdays at 7:05"),
    ("FREQ=MONTHLY", "every month on the 5th at 7:05"),
    ("FREQ=MONTHLY;BYMONTHDAY=1,15", "every month on the 1st and 15th at 7:05"),
    ("FREQ=YEARLY", "every year on 5 January at 7:05"),
    ("FREQ=MONTHLY;BYDAY=1MO", "by the rule FREQ=MONTHLY;BYDAY=1MO"),
    ("FREQ=DAILY;BYHOUR=8,20", "by the rule FREQ=DAILY;BYHOUR=8,20"),
    ("no rule", "no rule"),
]


@pytest.mark.parametrize(("rule", "sentence"), SAID)
def test_rules_are_said_as_people_say_them(rule: str, sentence: str):
    assert rule_words.of_rule(rule, "2026-01-05T07:05:00") == sentence


def test_a_reason_without_a_sentence_is_shown_as_its_word():
    assert rule_words.why("too_late") == "its time was over before it could ring"
    assert rule_words.why("something_new") == "something new"


NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 26, 22, 30, tzinfo=UTC)
PICKED = [
    ("tonight", NOON, "2026-11-26"),
    ("tonight", NIGHT, "2026-11-27"),
    ("tomorrow-morning", NOON, "2026-11-27"),
    ("sundays", NOON, "2026-11-29"),
    ("sundays", datetime(2026, 11, 29, 12, tzinfo=UTC), "2026-12-06"),
    ("first-of-month", NOON, "2026-12-01"),
    ("nonsense", NOON, "2026-11-27"),
]


@pytest.mark.parametrize(("key", "now", "day"), PICKED)
def test_quick_picks_lie_ahead_on_the_person_s_clock(key: str, now: datetime, day: str):
    assert planner.picked(key, "UTC", now)["day"] == day


def test_a_pick_is_of_the_person_s_day():
    assert planner.picked("tomorrow-morning", "Pacific/Auckland", NOON)["day"] == "2026-11-28"


def test_offsets_are_written_as_people_write_them():
    kolkata = datetime.fromisoformat("2026-01-01T00:00:00+05:30")

    assert (words.offset(kolkata), words.offset(NOON)) == ("UTC+5:30", "UTC+0")
