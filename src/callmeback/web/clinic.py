"""The doctor inside a web process: what it may see there, one examination at a time, its answer kept for a moment."""

import asyncio
import time
from typing import Final

from callmeback import errors
from callmeback.ops import doctor
from callmeback.ops.doctor import Patient, Verdict
from callmeback.pg.pool import Database
from callmeback.settings import Settings

# The proofs of the books read whole tables: from a page they are tried only as long as a page may take.
CHECK_SECONDS_MAX: Final = 5.0
# Whoever reloads within this time sees the same answer.
KEPT_S: Final = 5.0


class Clinic:
    """Examines the house as its read-only role; what that may not see is skipped and says so."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings = settings
        self._db = db
        self._lock = asyncio.Lock()
        self._kept: dict[str | None, tuple[float, list[Verdict]]] = {}

    async def examine(self, area: str | None) -> list[Verdict]:
        """The verdicts of an area, or of all; raises NotFound for an unknown one. Who asks must be an admin."""
        if area is not None and area not in doctor.AREAS:
            raise errors.NotFound(f"The areas are {', '.join(doctor.AREAS)}.")
        async with self._lock:
            made, verdicts = self._kept.get(area, (0.0, []))
            if not verdicts or time.monotonic() - made > KEPT_S:
                verdicts = await self._examine([area] if area else list(doctor.AREAS))
                self._kept[area] = (time.monotonic(), verdicts)

        return verdicts

    async def _examine(self, areas: list[str]) -> list[Verdict]:
        assert self._settings.database_url is not None, "a service's settings are complete"
        patient = Patient(settings=self._settings, dsn=self._settings.database_url, db=self._db)

        return await doctor.examine(await doctor.acquainted(patient), areas, CHECK_SECONDS_MAX)
