"""Who was erased, kept outside the database too: a restore brings people back, and this takes them out again.

The list holds ids only. It lies in the repository of backups and in the second place.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from callmeback import errors, logs
from callmeback.domain import auth
from callmeback.ops.backup_repository import Repository
from callmeback.pg import statements
from callmeback.pg.pool import Database

SQL: Final = statements.load("callmeback.ops", "erasures.sql")

# An erasure is dated by the begin of its transaction and seen at its end.
OVERLAP: Final = timedelta(hours=1)
ERASE_TIMEOUT_S: Final = 300.0

log = logs.get_logger(__name__)


class Erased(msgspec.Struct, frozen=True):
    """Somebody who was erased."""

    user_id: str
    requested_by: Literal["person", "operator"]
    erased_at: datetime


def note(repository: Repository, dsn: str) -> bool:
    """Write down whom the database knows as erased; whether there was anybody new."""
    return asyncio.run(_note(repository, dsn))


def apply_again(dsn: str, erased: dict[str, str]) -> list[str]:
    """Erase again whoever is on the list and not erased in a restored database.

    Answers the ids that couldn't be, because a call of theirs is open there: the worker does it once that is settled.
    """
    return asyncio.run(_apply_again(dsn, erased)) if erased else []


async def erased_since(db: Database, since: datetime | None) -> list[Erased]:
    """Who was erased from a moment on, or ever."""
    async with db.transaction(read_only=True) as tx:
        return await tx.all(SQL.erased_since, Erased, since=since)


async def erase_again(db: Database, erased: dict[str, str]) -> list[str]:
    """As `apply_again`, on an open database."""
    waiting = []
    async with db.transaction(read_only=True) as tx:
        missing = [row for row in await tx.all(SQL.to_erase, ToErase, ids=sorted(erased))]
    for row in missing:
        requested_by: Literal["person", "operator"] = "person" if erased[row.id] == "person" else "operator"
        try:
            async with db.transaction(deadline_s=ERASE_TIMEOUT_S) as tx:
                await auth.erase(tx, row.id, requested_by)
        except errors.CallInProgress:
            waiting.append(row.id)
    if missing:
        log.info("erasures were applied again", done=len(missing) - len(waiting), waiting=len(waiting))

    return waiting


class ToErase(msgspec.Struct, frozen=True):
    """Somebody on the list who is back."""

    id: str


async def _note(repository: Repository, dsn: str) -> bool:
    async with Database.open(dsn, name="backup", max_size=1) as db:
        found = await erased_since(db, None)

    return repository.note_erasures({row.user_id: row.requested_by for row in found})


async def _apply_again(dsn: str, erased: dict[str, str]) -> list[str]:
    async with Database.open(dsn, name="restore", max_size=1) as db:
        return await erase_again(db, erased)
