"""Backups: whether there is one of yesterday, whether one was restored for a trial lately, and whether any is damaged.

They are read from the file in which each run is written down, so that they are known without a database too.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from callmeback.ops.backup_record import last_runs
from callmeback.ops.doctor.verdicts import Check, Finding, Patient

# A base backup is made daily, a drill weekly; each may be late by the time that it takes and a restart.
BACKUP_EVERY: Final = timedelta(hours=26)
DRILL_EVERY: Final = timedelta(days=8)
# On an installation this young nothing had to be made yet.
YOUNG: Final = timedelta(days=1)
BASES: Final = ("full", "base")


async def fresh(patient: Patient) -> Sequence[Finding]:
    """Whether there is a backup to begin from that is at most a day old."""
    runs = last_runs(patient.settings.home)
    done = [run for kind in BASES if (last := runs.get(kind)) is not None and (run := last.done) is not None]

    return _late(patient, max((run.finished_at for run in done), default=None), BACKUP_EVERY, "backup")


async def drilled(patient: Patient) -> Sequence[Finding]:
    """Whether the newest backup was restored beside the server within the last week, and found good."""
    last = last_runs(patient.settings.home).get("drill")
    done = last.done if last is not None else None

    return _late(patient, done.finished_at if done is not None else None, DRILL_EVERY, "drill")


async def unbroken(patient: Patient) -> Sequence[Finding]:
    """Runs whose last attempt failed: a verification that failed is a backup that is damaged."""
    return [
        Finding(
            kind,
            f"{last.tried.id} failed at {last.tried.finished_at:%Y-%m-%d %H:%M:%S} UTC"
            + (f": {last.tried.detail}" if last.tried.detail else ""),
            kind in ("verify", "drill"),
        )
        for kind, last in last_runs(patient.settings.home).items()
        if last.tried.state == "failed"
    ]


def _late(patient: Patient, at: datetime | None, every: timedelta, what: str) -> Sequence[Finding]:
    if at is not None and datetime.now(UTC) - at <= every:
        return ()
    told = "there is none" if at is None else f"the last one is of {at:%Y-%m-%d %H:%M:%S} UTC"
    is_young = patient.age is not None and patient.age < YOUNG

    return [Finding(what, f"{told}, in {patient.settings.home}", not is_young)]


CHECKS: Final = (
    Check(
        "there is a backup of today",
        "`callmeback backup now`. The worker makes them: is it running, has it room? `callmeback backup list`.",
        probe=fresh,
        is_beside=True,
    ),
    Check(
        "a backup was restored lately",
        "`callmeback backup drill` restores the newest one beside the server and examines it.",
        probe=drilled,
        is_beside=True,
    ),
    Check(
        "no backup is damaged",
        "`callmeback backup verify` names the file; make another one, and find out what the disk says.",
        probe=unbroken,
        is_beside=True,
    ),
)
