"""The claim `access`: the five access patterns, the common queries and the dashboards cost the same at any size.

Histories of 100 thousand, a million and ten million calls, or as many as the argument says, each in a database of its
own on a server of its own, which needn't survive a power cut and is deleted at the end. There is no peer: the goals of
the claim are what the ratios compare with.
"""

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from bench.access import loading, plans, questions
from bench.access.history import Scale
from bench.access.questions import Question
from bench.month.__main__ import CARD

from callmeback.domain import costs
from callmeback.pg import home, migrate, roles, server
from callmeback.pg.server import DATABASE

CALLS: Final = 10_000_000
SMALLEST: Final = 100_000
STEP: Final = 10
# Without an argument the largest is cut to what is loaded by then, reckoned from the size before it. A history that
# no longer fits into memory takes longer for each call.
LOADED_BY_S: Final = 570.0
SLOWER: Final = 1.3
ROUND_CALLS: Final = 1_000_000
ROUNDS: Final = 5
GROWTH_GOAL: Final = 1.5


class Answer(msgspec.Struct, frozen=True):
    """How a question was answered at a size: how many rows, in how many milliseconds, and by which way."""

    rows: float
    first_ms: float
    p50_ms: float
    p99_ms: float
    way: plans.Way


Answers = dict[str, Answer]


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else None
    begun = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="callmeback-access-"))
    place.chmod(0o711)
    os.environ.pop("DATABASE_URL", None)
    every = questions.every()
    found: dict[int, Answers] = {}
    megabytes: dict[int, float] = {}
    seconds: dict[int, float] = {}
    try:
        prepare(place)
        with server.start(place, durable=False, archive=False) as running:
            secret = home.generated_secrets(place)["role_secret"]
            for size in sizes(most or CALLS):
                left_s = LOADED_BY_S - (time.monotonic() - begun)
                calls = size if most else affordable(size, left_s, seconds)
                with database(running.superuser_dsn, calls) as dsn:
                    scale = Scale(calls=calls, ends_at=int(time.time()) // 60 * 60)
                    seconds[calls] = timed(loading.load, dsn, scale)
                    megabytes[calls] = size_mb(dsn)
                    found[calls] = ask(dsn, secret, scale, every)
                show(calls, every, found[calls])
    finally:
        shutil.rmtree(place, ignore_errors=True)
    figures = {f"load_seconds_{calls}": taken for calls, taken in seconds.items()}
    figures |= {f"database_mb_{calls}": size for calls, size in megabytes.items()}
    print(json.dumps(verdict(every, found, figures)))


def sizes(most: int) -> list[int]:
    """Powers of ten from the smallest on, and the largest."""
    found = []
    calls = min(SMALLEST, most)
    while calls < most:
        found.append(calls)
        calls *= STEP

    return [*found, most]


def affordable(calls: int, left_s: float, seconds: dict[int, float]) -> int:
    """So many calls, or as many whole millions, at least two, as can be loaded in the time that is left."""
    if calls <= ROUND_CALLS:
        return calls
    before = max(seconds)
    possible = int(left_s / (SLOWER * seconds[before] / before)) // ROUND_CALLS * ROUND_CALLS
    if possible < calls:
        loading.say(
            f"{calls:,} calls don't fit into {left_s:.0f} s here; `python -m bench.access {calls}` takes its time"
        )

    return min(calls, max(possible, 2 * ROUND_CALLS))


def timed(work: Callable[..., None], *arguments: Any) -> float:
    """The seconds that a piece of work took."""
    begun = time.monotonic()
    work(*arguments)

    return round(time.monotonic() - begun, 1)


def prepare(place: Path) -> None:
    """A migrated database to copy, on a server that needn't log what it loads."""
    with server.start(place, durable=False, archive=False) as running:
        asyncio.run(roles.ensure(running.superuser_dsn, home.generated_secrets(place)["role_secret"]))
        migrate.apply(running.owner_dsn)
        with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
            models = dict(zip(costs.SQL.ensure_card.parameters, (CARD, *CARD.split("|")), strict=True))
            connection.execute(costs.SQL.ensure_card.text.encode(), models)
            # A night's vacuum is asked for by name, so that none begins while questions are timed.
            for setting in ("wal_level = minimal", "max_wal_senders = 0", "autovacuum = off"):
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())


@contextlib.contextmanager
def database(dsn: str, calls: int) -> Iterator[str]:
    """A copy of the migrated database, dropped afterwards."""
    name = f"access_{calls}"
    maintenance = f"{dsn.removesuffix(DATABASE)}postgres"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE} OWNER {roles.OWNER}".encode())
    yield f"{dsn.removesuffix(DATABASE)}{name}"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def size_mb(dsn: str) -> float:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None

    return float(round(row[0] / 1e6))


def ask(dsn: str, secret: str, scale: Scale, every: list[Question]) -> Answers:
    """Each question in each round, a round to begin with for itself: it finds less in memory.

    Asker and server share a processor meanwhile: to wake one on another costs as much as half of the smallest answers,
    and where the kernel puts them would decide more than the history does.
    """
    asked = {question.name: questions.values(scale, question) for question in every}
    taken: dict[str, list[list[float]]] = {question.name: [] for question in every}
    rows: dict[str, float] = {}
    ways: dict[str, plans.Way] = {}
    with contextlib.ExitStack() as stack:
        by_role = {role: stack.enter_context(connect(dsn, secret, role)) for role in {q.role for q in every}}
        stack.enter_context(together(by_role.values()))
        for number in range(ROUNDS + 1):
            for question in every:
                answers = [time_ms(by_role[question.role], question, given) for given in asked[question.name]]
                taken[question.name].append([answer[0] for answer in answers])
                rows[question.name] = statistics.mean(answer[1] for answer in answers)
            loading.say(f"  {scale.calls:,} calls: round {number} of {ROUNDS}")
        for question in every:
            given = asked[question.name][0]
            connection = by_role[question.role]
            become(connection, given)
            ways[question.name] = plans.settled(connection, question.statement, given)
            connection.rollback()

    return {name: summed_up(rounds, rows[name], ways[name]) for name, rounds in taken.items()}


@contextlib.contextmanager
def connect(dsn: str, secret: str, role: str) -> Iterator[psycopg.Connection]:
    """As the application connects: the role, its settings, statements prepared."""
    with psycopg.connect(roles.dsn_for(role, secret, dsn), options="-c timezone=UTC") as connection:
        yield connection
        connection.rollback()


@contextlib.contextmanager
def together(connections: Iterable[psycopg.Connection]) -> Iterator[None]:
    """This process and the server's for the connections on one processor."""
    before = os.sched_getaffinity(0)
    one = {min(before)}
    os.sched_setaffinity(0, one)
    for connection in connections:
        os.sched_setaffinity(connection.info.backend_pid, one)
    yield
    os.sched_setaffinity(0, before)


def become(connection: psycopg.Connection, given: dict[str, Any]) -> None:
    """The person that row-level security is to let through."""
    connection.execute("SELECT set_config('callmeback.user_id', %s, true)", (given.get("user_id", ""),), prepare=True)


def time_ms(connection: psycopg.Connection, question: Question, given: dict[str, Any]) -> tuple[float, int]:
    """One question from its sending to its last row, and its rows; whatever it changed is taken back."""
    become(connection, given)
    begun = time.perf_counter()
    rows = connection.execute(question.statement.text.encode(), given, prepare=True).fetchall()
    taken = 1_000 * (time.perf_counter() - begun)
    connection.rollback()

    return taken, len(rows)


def summed_up(rounds: list[list[float]], rows: float, way: plans.Way) -> Answer:
    later = rounds[1:]
    everything = sorted(taken for one in later for taken in one)

    return Answer(
        rows=rows,
        first_ms=statistics.median(rounds[0]),
        p50_ms=statistics.median(statistics.median(one) for one in later),
        p99_ms=everything[min(len(everything) - 1, len(everything) * 99 // 100)],
        way=way,
    )


def show(calls: int, every: list[Question], answers: Answers) -> None:
    print(f"\n{calls:,} calls\n{'':26}{'rows':>7}{'first':>9}{'p50':>9}{'p99':>9}  goal  way (milliseconds)")
    for question in every:
        answer = answers[question.name]
        missed = "" if answer.p50_ms <= question.goal_ms else "  MISSED"
        print(
            f"{question.name:26}{answer.rows:7.1f}{answer.first_ms:9.2f}{answer.p50_ms:9.2f}{answer.p99_ms:9.2f}"
            f"{question.goal_ms:6.0f}  {answer.way.line}{missed}"
        )


def verdict(every: list[Question], found: dict[int, Answers], figures: dict[str, float]) -> dict[str, Any]:
    """The last line: goals over what was measured, so that above 1 is better than promised."""
    smallest, largest = found[min(found)], found[max(found)]
    growth: dict[str, float] = {}
    for question in every:
        name, answer = question.name, largest[question.name]
        figures |= {f"{name}_p50_ms": round(answer.p50_ms, 3), f"{name}_p99_ms": round(answer.p99_ms, 3)}
        if question.goal_ms == questions.PERSON_GOAL_MS:
            growth[name] = answer.p50_ms / smallest[name].p50_ms
            figures[f"{name}_growth"] = round(growth[name], 2)
    quick = max(largest[q.name].p50_ms for q in every if q.goal_ms == questions.PERSON_GOAL_MS)
    slow = max(largest[q.name].p50_ms for q in every if q.goal_ms == questions.HOUSE_GOAL_MS)
    figures |= {
        "calls": max(found),
        "plans_that_scan": sum(answer.way.scans for answers in found.values() for answer in answers.values()),
    }
    ratios = {
        "goal.growth": round(GROWTH_GOAL / max(growth.values()), 3),
        "goal.access": round(questions.PERSON_GOAL_MS / quick, 3),
        "goal.dashboards": round(questions.HOUSE_GOAL_MS / slow, 3),
    }

    return {"claim": "access", "ratios": ratios, "figures": figures}


if __name__ == "__main__":
    main()
