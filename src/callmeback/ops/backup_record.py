"""What became of backups, checks and drills: a row in the database, and the last of each kind in a file of the home.

The file tells it without a database, and what is due from it; the table tells it to whoever only sees the database.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import msgspec

from callmeback import errors, logs
from callmeback.ops.backup_site import Site
from callmeback.pg import home, statements
from callmeback.pg.pool import Database

SQL: Final = statements.load("callmeback.ops", "backup_record.sql")

FILE: Final = "backups.json"
DETAIL_LENGTH_MAX: Final = 1_000
# Longer than any backup is kept by default, so that a year's drills can be shown.
ROWS_KEPT: Final = timedelta(days=400)

RunKind = Literal["full", "base", "incremental", "logical", "verify", "drill"]

log = logs.get_logger(__name__)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of something, and how it ended."""

    id: str
    kind: RunKind
    state: Literal["done", "failed"]
    started_at: datetime
    finished_at: datetime
    database_bytes: int | None = None
    stored_bytes: int | None = None
    parent_id: str | None = None
    is_mirrored: bool = False
    detail: str | None = None


class Last(msgspec.Struct, frozen=True):
    """Of a kind: the last run that was done, and the last one of all."""

    done: Run | None
    tried: Run


def last_runs(folder: Path) -> dict[str, Last]:
    """The last runs of each kind, by the file in the home; empty before the first."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, Last])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def record(site: Site, run: Run) -> None:
    """Write a run down, in the file and, while there is a database, in it."""
    run = msgspec.structs.replace(run, detail=run.detail[:DETAIL_LENGTH_MAX] if run.detail else None)
    known = last_runs(site.settings.home)
    before = known.get(run.kind)
    done = run if run.state == "done" else before.done if before else None
    known[run.kind] = Last(done, run)
    home.write_private(site.settings.home / FILE, msgspec.json.encode(known).decode())
    if site.source is not None:
        try:
            asyncio.run(_record(site.source.dsn, run))
        except errors.CallMeBackError as exc:
            # The database may be the very thing that is broken; the file has it.
            log.warning("a run could not be noted in the database", error=exc.code)


async def _record(dsn: str, run: Run) -> None:
    async with Database.open(dsn, name="backup", max_size=1) as db, db.transaction() as tx:
        await tx.run(SQL.record, **msgspec.structs.asdict(run))
        await tx.run(SQL.forget, before=datetime.now(UTC) - ROWS_KEPT)
