"""What the doctor's tests do with a database: look, mend, look again."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callmeback.ops import doctor
from callmeback.ops.doctor import Mended, Verdict
from callmeback.ops.doctor.verdicts import Check
from callmeback.settings import Settings

NOWHERE = Path("/nonexistent")


def superuser_of(superuser_dsn: str, database_url: str) -> str:
    """The superuser in that database."""
    return make_conninfo(superuser_dsn, dbname=conninfo_to_dict(database_url)["dbname"])


def look(
    dsn: str, *areas: str, superuser_dsn: str | None = None, settings: Settings | None = None
) -> dict[str, Verdict]:
    """The verdicts of these areas by name."""

    async def examine() -> list[Verdict]:
        async with doctor.visit(settings or Settings(home=NOWHERE), dsn, superuser_dsn) as patient:
            return await doctor.examine(patient, areas)

    return {verdict.name: verdict for verdict in asyncio.run(examine())}


def mend(dsn: str, verdict: Verdict) -> list[Mended]:
    """Run what a verdict asks for."""
    return asyncio.run(doctor.mend(dsn, [verdict]))


def check(area: str, name: str) -> Check:
    """One of the checks."""
    return next(each for each in doctor.AREAS[area] if each.name == name)


def named(verdict: Verdict) -> list[str]:
    """The objects of a verdict."""
    return [symptom.object for symptom in verdict.objects]


def said(verdict: Verdict) -> str:
    """Everything that a verdict says of its objects."""
    return "\n".join(f"{symptom.object}: {symptom.detail}" for symptom in verdict.objects)


def run(*arguments: str, within_s: float = 60, **environ: str) -> "subprocess.CompletedProcess[str]":
    """`callmeback` as a program."""
    return subprocess.run(
        [sys.executable, "-m", "callmeback", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(NOWHERE), "COLUMNS": "200", **environ},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
