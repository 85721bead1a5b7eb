"""What is asked of the history: our own statements, and the specification's five patterns as they stand."""

import datetime as dt
import random
from typing import Any, Final

import msgspec
from bench.access.history import LIVE, Scale, call_id, user_id
from tests.schema import specification

from callmeback.pg import roles, statements
from callmeback.pg.statements import Statement

PEOPLE_ASKED: Final = 100
PERSON_GOAL_MS: Final = 5.0
HOUSE_GOAL_MS: Final = 300.0

# Statements about one person, by their file; asked for a hundred people, each as the API's role for this person.
OF_A_PERSON: Final = {
    "relationships": ("relationships", "relationship"),
    "calls": ("calls", "call", "open_call"),
    "credits": ("account", "transactions"),
    "budgets": ("budget",),
    "costs": ("by_day", "by_persona", "by_vendor"),
    "analytics": ("totals", "outcomes"),
    "schedules": ("schedules",),
    "personas": ("catalogue", "card"),
    "receipts": ("bill",),
    "auth": ("login_lookup", "own_email"),
}
# What the worker and an admin look up by an index; the claim is taken back.
OF_THE_QUEUE: Final = {"due": ("claim", "seconds_to_next"), "reports": ("balance", "live_calls")}
# The dashboards' aggregates over everybody.
OF_THE_HOUSE: Final = {
    "reports": ("balances", "low_credits", "volume", "top_personas", "vendor_costs", "dearest_calls"),
    "books": ("revenue", "margin_by_day", "margin_by_tier", "margin_by_persona"),
    "figures": ("house",),
}
PATTERNS: Final = (
    "PATTERN_FAVORITES", "PATTERN_HISTORY", "PATTERN_CREDITS", "PATTERN_CALLS_TODAY", "PATTERN_DUE", "PATTERN_MONTH",
)  # fmt: skip
# The specification's own numbers of days.
REPORT_DAYS: Final = {
    "volume": 1, "top_personas": 30, "vendor_costs": 30, "dearest_calls": 7, "revenue": 7, "margin_by_day": 7,
    "margin_by_tier": 30, "margin_by_persona": 30,
}  # fmt: skip


class Question(msgspec.Struct, frozen=True):
    """A statement, who asks it, and in how many milliseconds half of the answers must be there."""

    name: str
    statement: Statement
    role: str
    goal_ms: float
    of_a_person: bool


def every() -> list[Question]:
    """All questions, in the order of the tables."""
    found = [_specified(name) for name in PATTERNS]
    for files, role, goal, of_a_person in (
        (OF_A_PERSON, roles.API, PERSON_GOAL_MS, True),
        (OF_THE_QUEUE, roles.WORKER, PERSON_GOAL_MS, False),
        (OF_THE_HOUSE, roles.WORKER, HOUSE_GOAL_MS, False),
    ):
        for file, names in files.items():
            loaded = statements.load("callmeback.domain", f"{file}.sql")
            found += [
                Question(f"{file}.{name}", getattr(loaded, name), role, goal, of_a_person=of_a_person) for name in names
            ]

    return found


def _specified(name: str) -> Question:
    """A query of the document, word for word."""
    text = getattr(specification, name).replace("$1", "%(user_id)s")
    block = f"-- name: {name.lower()}\n-- As the specification has it.\n{text}"
    statement = getattr(statements.parse(block, "the specification"), name.lower())

    return Question(
        name=f"spec.{name.removeprefix('PATTERN_').lower()}",
        statement=statement,
        role=roles.OWNER,
        goal_ms=PERSON_GOAL_MS,
        of_a_person="user_id" in statement.parameters,
    )


def values(scale: Scale, question: Question) -> list[dict[str, Any]]:
    """The parameters of each time that a question is asked in a round."""
    known = _everybody(scale) | _of_time(scale, REPORT_DAYS.get(question.statement.name, 30))
    people = random.Random(7).sample(range(scale.people), PEOPLE_ASKED) if question.of_a_person else [0]

    return [
        {name: (known | _of_person(scale, person))[name] for name in question.statement.parameters} for person in people
    ]


def _everybody(scale: Scale) -> dict[str, Any]:
    return {
        "persona_id": "brad", "favorite": True, "before_at": None, "before_id": None, "before_seq": None, "most": 20,
        "timezone": "Europe/Berlin", "category": None, "schedule_id": None, "worker": "bench", "limit": 10,
        "lease": dt.timedelta(seconds=30), "who": f"person{scale.people // 2}@example.org",
    }  # fmt: skip


def _of_time(scale: Scale, days: int) -> dict[str, Any]:
    """The last so many days, today with them."""
    today = dt.datetime.fromtimestamp(scale.ends_at, dt.UTC).date()
    midnight = dt.datetime.combine(today, dt.time(), dt.UTC)
    since = midnight - dt.timedelta(days=days - 1)
    return {
        "local_month": today.replace(day=1), "local_day": today, "since": since, "begins_at": since,
        "ends_at": midnight + dt.timedelta(days=1),
    }  # fmt: skip


def _of_person(scale: Scale, person: int) -> dict[str, Any]:
    settled = [n for n in range(person, scale.calls, scale.people) if n < scale.calls - LIVE]

    return {
        "user_id": user_id(person),
        "call_id": call_id(settled[len(settled) * 3 // 4]),
        "email": f"person{person}@example.org",
    }
