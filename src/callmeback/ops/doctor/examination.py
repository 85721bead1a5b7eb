"""Asking the checks: each on its own, several at a time, so that one that hangs or breaks hides no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.ops.doctor import server
from callmeback.ops.doctor.areas import AREAS
from callmeback.ops.doctor.verdicts import OBJECTS_MAX, Check, Finding, Need, Patient, Skip, Symptom, Verdict
from callmeback.pg import reach
from callmeback.pg.pool import Database
from callmeback.settings import Settings

CONNECTIONS_MAX: Final = 3
# Of the three that a full server still has for superusers.
SUPERUSER_CONNECTIONS_MAX: Final = 2
HISTORY_MIN: Final = timedelta(days=7)
# SQLSTATEs of what the schema doesn't have: a table, a column, a function, an object.
_ABSENT: Final = frozenset({"42P01", "42703", "42883", "42704"})

_log = logs.get_logger(__name__)


@asynccontextmanager
async def visit(settings: Settings, dsn: str, superuser_dsn: str | None = None) -> AsyncIterator[Patient]:
    """The database of `dsn` as a patient, for as long as the block runs.

    `superuser_dsn` is of the embedded server; where every other connection is taken, its reserved ones still get in.
    """
    closed = await reach.knock(dsn)
    superuser = db = None
    async with AsyncExitStack() as stack:
        if superuser_dsn is not None and (closed is None or closed.kind == "full"):
            superuser = db = await stack.enter_async_context(_pool(superuser_dsn, SUPERUSER_CONNECTIONS_MAX))
        if closed is None:
            db = await stack.enter_async_context(_pool(dsn))
        # A pool that was never opened answers like a database that is away.
        patient = Patient(settings=settings, dsn=dsn, db=db or _pool(dsn), superuser=superuser, closed=closed)
        yield patient if db is None else await acquainted(patient)


def _pool(dsn: str, most: int = CONNECTIONS_MAX) -> Database:
    return Database.open(dsn, name="doctor", max_size=most, min_size=0)


async def acquainted(patient: Patient) -> Patient:
    """The patient with what must be known before the first check."""
    async with patient.db.transaction(read_only=True) as tx:
        facts = await server.facts_of(tx)
    age: timedelta | None = None
    try:
        async with patient.db.transaction(read_only=True) as tx:
            age = await server.age_of(tx)
    except errors.CallMeBackError as exc:
        if not _is_absent(exc):
            raise

    return msgspec.structs.replace(patient, facts=facts, age=age)


async def prove(db: Database, areas: Sequence[str]) -> list[Verdict]:
    """The verdicts of areas that look at nothing but the database."""
    return await examine(await acquainted(Patient(settings=Settings(home=Path()), dsn="", db=db)), areas)


async def examine(patient: Patient, areas: Sequence[str], seconds_max: float | None = None) -> list[Verdict]:
    """The verdicts of all checks of these areas, in their order; `seconds_max` bounds each further."""
    # As many at a time as there are connections: who waits in the pool's queue may be shed.
    slots = asyncio.Semaphore(patient.db.stats().max_size)

    async def in_turn(area: str, check: Check) -> Verdict:
        async with slots:
            return await consult(patient, area, check, seconds_max)

    return await asyncio.gather(*(in_turn(area, check) for area in areas for check in AREAS[area]))


async def consult(patient: Patient, area: str, check: Check, seconds_max: float | None = None) -> Verdict:
    """The verdict of one check; it never raises."""
    seconds = check.seconds_max if seconds_max is None else min(seconds_max, check.seconds_max)
    try:
        found = await _look(patient, check, seconds)
    except Skip as exc:
        return Verdict(area, check.name, "skipped", (), str(exc))
    except errors.Forbidden:
        return Verdict(area, check.name, "skipped", (), "This role may not read what the check needs.")
    except (errors.DeadlineExceeded, TimeoutError):
        return Verdict(area, check.name, "skipped", (), f"It took longer than {seconds:.0f} s.")
    except errors.Overloaded:
        return Verdict(area, check.name, "skipped", (), "It waited too long for a lock: see who holds one.")
    except errors.DatabaseUnavailable:
        return Verdict(area, check.name, "skipped", (), "The database doesn't answer.")
    except Exception as exc:
        if isinstance(exc, errors.CallMeBackError) and _is_absent(exc):
            return Verdict(area, check.name, "skipped", (), "The schema lacks what it looks at: see the migrations.")
        # A fault of the check's own, which must hide no other check.
        _log.exception("check_broke", check=check.name)
        failure = Symptom(check.name, f"the check itself failed ({type(exc).__name__})")
        return Verdict(area, check.name, "red", (failure,), "This is a fault of this program: please report it.")

    return _verdict(area, check, found)


async def _look(patient: Patient, check: Check, seconds: float) -> Sequence[Symptom | Finding]:
    if patient.facts is None and not check.is_beside:
        raise Skip("The database doesn't answer.")
    for need in check.needs:
        _require(patient, need)
    found: list[Symptom | Finding] = []
    if check.probe is not None:
        async with asyncio.timeout(seconds):
            found += await check.probe(patient)
    if check.question is not None:
        db = patient.superuser if "superuser" in check.needs and patient.superuser is not None else patient.db
        async with db.transaction(read_only=True, deadline_s=seconds) as tx:
            found += await tx.all(check.question, check.shape, **_parameters(check))

    return found


def _parameters(check: Check) -> dict[str, object]:
    assert check.question is not None, "asked for a question's"
    most = {"most": OBJECTS_MAX} if "most" in check.question.parameters else {}

    return {**check.parameters, **most}


def _require(patient: Patient, need: Need) -> None:
    assert patient.facts is not None, "looked at before"
    if need == "statistics" and not (patient.facts.sees_everything or patient.facts.is_superuser):
        raise Skip("This role doesn't see what other roles do: GRANT pg_monitor to it.")
    if need == "superuser" and patient.superuser is None and not patient.facts.is_superuser:
        raise Skip("Only a superuser may look at this.")
    if need == "history":
        known = patient.facts.statistics_age or patient.age
        if known is None or known < HISTORY_MIN:
            raise Skip(f"The statistics are younger than {HISTORY_MIN.days} days.")


def _verdict(area: str, check: Check, found: Sequence[Symptom | Finding]) -> Verdict:
    if not found:
        return Verdict(area, check.name, "green", (), "")
    is_red = any(each.is_red if isinstance(each, Finding) else check.level == "red" for each in found)
    symptoms = [Symptom(each.object, each.detail) for each in found[:OBJECTS_MAX]]
    mends = [each.mend for each in found[:OBJECTS_MAX] if isinstance(each, Finding) and each.mend is not None]

    return Verdict(area, check.name, "red" if is_red else "warning", symptoms, check.advice, mends)


def _is_absent(error: errors.CallMeBackError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in _ABSENT
