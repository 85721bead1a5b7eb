"""The drill: the newest backup restored beside the living database and examined, so that it is known to work."""

import asyncio
import time
from typing import Final

import msgspec

from callmeback.ops import doctor, restore
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.pg import base_backups

# What a restored copy can be asked: the proofs of the books. Everything else is about a server in service.
AREAS: Final = ("money",)


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """How it went: from which backup, how long until the copy answered, and what the doctor found red."""

    backup_id: str
    seconds: float
    checks: int
    red: list[doctor.Verdict]

    @property
    def is_well(self) -> bool:
        """Whether the proofs could be held, and nothing was red."""
        return self.checks > 0 and not self.red


def drill(site: Site, *, report: Report = silent) -> Drill:
    """Restore the newest backup with all WAL since, run the doctor's proofs on it, and look at every page's checksum.

    Raises BackupDamaged and RestoreRefused where it can't be restored.
    """
    begun = time.monotonic()
    with restore.unpacked(site, None, site.place.state, report=report) as found:
        report("Recovering", 0, None)
        with restore.recovered(site, found) as side:
            seconds = time.monotonic() - begun
            report("Examining", 0, None)
            verdicts = asyncio.run(_examine(site, side.dsn))
        report("Looking at every page", 0, None)
        base_backups.check_pages(site.place, found.programs.folder, found.data)

    return Drill(
        backup_id=found.backup.id,
        seconds=round(seconds, 1),
        checks=sum(verdict.verdict != "skipped" for verdict in verdicts),
        red=[verdict for verdict in verdicts if verdict.verdict == "red"],
    )


async def _examine(site: Site, dsn: str) -> list[doctor.Verdict]:
    async with doctor.visit(site.settings, dsn) as patient:
        return await doctor.examine(patient, AREAS)
