"""Recurrence in words: the rules that the form knows, what is said of any rule, and why a call didn't come about."""

from datetime import datetime
from typing import Final

from callmeback import errors
from callmeback.domain import recurrence, rrule
from callmeback.domain.rrule import Rule
from callmeback.web.pages import words

# What the form offers, by its word; the weekday and the day of the month are those of the first call.
RULES: Final = {
    "daily": "FREQ=DAILY",
    "weekdays": "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    "weekends": "FREQ=WEEKLY;BYDAY=SA,SU",
    "weekly": "FREQ=WEEKLY",
    "monthly": "FREQ=MONTHLY",
}
WEEKDAYS: Final = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
WORKDAYS: Final = (0, 1, 2, 3, 4)
UNITS: Final = {"HOURLY": "hour", "DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}

WHY: Final = {
    "too_late": "its time was over before it could ring",
    "downtime": "we were down at that time",
    "dial_expired": "no line was free in time",
    "changed": "its schedule was changed when it was due",
    "too_close": "it was too close to another one",
    "paused": "its schedule was resting",
    "busy": "the line was busy, or the call was declined",
    "no_answer": "nobody picked up",
    "failed": "the call could not be connected",
    "insufficient_credits": "no credits were left",
    "budget_exceeded": "your budget left no room for it",
    "debt_outstanding": "credits were owed",
    "daily_limit": "the calls of that day were used up",
    "call_in_progress": "you were in another call",
    "phone_not_verified": "the number is no longer yours",
    "number_blocked": "this number can't be called",
    "persona_not_found": "the persona is gone",
    "account_blocked": "the account is blocked",
}


def why(outcome: str | None) -> str:
    """Why a call didn't come about, to go on in a sentence."""
    return WHY.get(outcome or "", (outcome or "it didn't ring").replace("_", " "))


def of_rule(text: str, starts_at: str) -> str:
    """`every weekday at 7:00`; a rule that has no short sentence is shown as it is written."""
    start = recurrence.local_time(starts_at)
    try:
        rule = rrule.read(text)
    except errors.CallMeBackError:
        return text
    when = _when(rule, start)
    if when is None:
        return f"by the rule {text.removeprefix('RRULE:')}"
    times = f", {rule.count} times" if rule.count is not None else ""

    return f"{when} at {start:%-H:%M}{f':{start:%S}' if start.second else ''}{times}"


def _when(rule: Rule, start: datetime) -> str | None:
    if rule.by_month or rule.by_year_day or rule.by_week_no or rule.by_set_pos or rule.by_hour or rule.by_minute:
        return None
    every = f"every {UNITS[rule.freq]}" if rule.interval == 1 else f"every {rule.interval} {UNITS[rule.freq]}s"
    if rule.freq == "WEEKLY":
        days = sorted(one.day for one in rule.by_day) or [start.weekday()]
        if tuple(days) == WORKDAYS and rule.interval == 1:
            return "every weekday"
        named = words.listed([WEEKDAYS[day] for day in days])
        return f"on {named}" if rule.interval == 1 else f"{every} on {named}"
    if rule.by_day or (rule.by_month_day and rule.freq != "MONTHLY"):
        return None
    if rule.freq == "MONTHLY":
        numbers = rule.by_month_day or (start.day,)
        if min(numbers) < 0:
            return None
        return f"{every} on the {words.listed([words.ordinal(number) for number in numbers])}"
    if rule.freq == "YEARLY":
        return f"{every} on {start.day} {start:%B}"

    return every if rule.freq == "DAILY" else None


FILTERS: Final = {"why": why, "of_rule": of_rule}
