"""The worker's part in backups: WAL and erasures go out at once, and what the schedule says is due is started.

A backup runs as a process of its own, so that a long one never delays the rest, and ends with the worker.
"""

import asyncio
import contextlib
import signal
import sys
import time
from datetime import UTC, datetime
from typing import Final

from callmeback import errors, logs
from callmeback.ops import backup, backup_site, erasures
from callmeback.ops.backup_repository import ERASURES
from callmeback.ops.backup_site import Site
from callmeback.pg import lifeline
from callmeback.pg.pool import Database
from callmeback.settings import Settings

END_WAIT_S: Final = 5.0
# What is wrong with a disk or a second place stays wrong for a while; it is said this often.
COMPLAIN_EVERY_S: Final = 60.0

_log = logs.get_logger(__name__)


class Backups:
    """What it knows from one turn to the next."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings = settings
        self._db = db
        self._site: Site | None = None
        self._noted_at: datetime | None = None
        self._complained_at = -COMPLAIN_EVERY_S

    async def ship(self) -> None:
        """Take over the WAL that our server archived since the last turn."""
        try:
            site = await asyncio.to_thread(self._open)
            if site.running().is_ours:
                await asyncio.to_thread(backup.ship, site)
        except errors.CallMeBackError as exc:
            if time.monotonic() - self._complained_at > COMPLAIN_EVERY_S:
                self._complained_at = time.monotonic()
                _log.error("wal_not_shipped", reason=exc.detail)

    async def note_erasures(self) -> None:
        """Write down outside the database who was erased since the last turn."""
        begun = datetime.now(UTC)
        since = self._noted_at - erasures.OVERLAP if self._noted_at is not None else None
        erased = {row.user_id: row.requested_by for row in await erasures.erased_since(self._db, since)}
        site = await asyncio.to_thread(self._open)
        if await asyncio.to_thread(site.repository.note_erasures, erased) and site.mirror is not None:
            await asyncio.to_thread(site.mirror.put, ERASURES, site.repository.folder / ERASURES)
        self._noted_at = begun

    async def schedule(self) -> None:
        """Start what is due, and wait for its end."""
        site = await asyncio.to_thread(self._open)
        if not backup.due(site, datetime.now(UTC)):
            return
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "callmeback", "backup", "due"), preexec_fn=lifeline.tie(signal.SIGKILL)
        )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), END_WAIT_S)

    def _open(self) -> Site:
        if self._site is None or self._site.source is None:
            self._site = backup_site.open_site(self._settings, make=True)

        return self._site
