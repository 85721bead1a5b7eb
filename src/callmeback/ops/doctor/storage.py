"""What grows, wears out or falls behind: dead rows, old statistics, transaction numbers, WAL, replicas, the disk."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from callmeback.ops.doctor.verdicts import Check, Finding, Patient, Skip
from callmeback.pg import statements

SQL: Final = statements.load("callmeback.ops.doctor", "storage.sql")

DEAD_ROWS_MIN: Final = 10_000
DEAD_SHARE: Final = 0.3
CHANGED_ROWS_MIN: Final = 10_000
CHANGED_SHARE: Final = 0.25
# Autovacuum looks once a minute; what it is about to do isn't wrong yet.
STATISTICS_GRACE: Final = timedelta(minutes=5)
# Of 2^31; forced cleaning begins at 200 million, so past twice that it doesn't work.
OLD_AGE: Final = 500_000_000
CACHE_PAGES_MIN: Final = 5_000_000
CACHE_SHARE: Final = 0.9
SEGMENTS_WAITING_MAX: Final = 8
LAG: Final = timedelta(seconds=30)

GIB: Final = 1 << 30
FREE_SHARE_MIN: Final = 0.1
FREE_BYTES_MIN: Final = 2 * GIB
FREE_SHARE_RED: Final = 0.03
FREE_BYTES_RED: Final = GIB // 2


async def disk(patient: Patient) -> Sequence[Finding]:
    """Room on the disks of the data and of the home; on a large disk a share is much, so the bytes count as well."""
    assert patient.facts is not None, "probes of this area need the database"
    folders = [path for path in (patient.facts.data_directory, str(patient.settings.home)) if path is not None]
    rooms = await asyncio.to_thread(_rooms, folders)
    if not rooms:
        raise Skip("The data lie on another machine, or this role may not know where.")
    found = []
    seen: set[int] = set()
    for folder, room in rooms.items():
        if room.f_fsid in seen:
            continue
        seen.add(room.f_fsid)
        free, whole = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        if free < FREE_BYTES_MIN or (free < whole * FREE_SHARE_MIN and free < 10 * FREE_BYTES_MIN):
            is_red = free < FREE_BYTES_RED or free < whole * FREE_SHARE_RED
            found.append(Finding(folder, f"{free / GIB:.1f} GiB of {whole / GIB:.1f} are free", is_red))

    return found


def _rooms(folders: Sequence[str]) -> dict[str, os.statvfs_result]:
    """What the file system of each folder says; those that aren't on this machine are left out."""
    found = {}
    for folder in folders:
        with contextlib.suppress(OSError):
            found[folder] = os.statvfs(folder)

    return found


CHECKS: Final = (
    Check(
        "few rows are dead",
        "`--fix` vacuums. If they stay, something keeps them: see `no snapshot is old`.",
        SQL.dead_rows,
        parameters={"least_rows": DEAD_ROWS_MIN, "share": DEAD_SHARE},
    ),
    Check(
        "the planner's statistics are fresh",
        "`--fix` analyses. If it comes back, lower the table's autovacuum_analyze_scale_factor.",
        SQL.old_statistics,
        parameters={"least_rows": CHANGED_ROWS_MIN, "share": CHANGED_SHARE, "grace": STATISTICS_GRACE},
    ),
    Check(
        "transaction numbers last",
        "`--fix` freezes the tables. See what kept autovacuum from it: an old snapshot, a slot, autovacuum = off.",
        SQL.wraparound,
        parameters={"old_age": OLD_AGE},
    ),
    Check(
        "memory holds what is read",
        "`callmeback inspect cache` names the tables. More shared_buffers, more memory, or an index that is missing.",
        SQL.cache_misses,
        parameters={"least_pages": CACHE_PAGES_MIN, "share": CACHE_SHARE},
    ),
    Check(
        "pages are what was written",
        "Stop, copy the data folder, restore from the newest verified backup onto another disk: docs/runbook.md.",
        SQL.checksums,
    ),
    Check(
        "WAL is archived",
        "See the server's log for what archive_command said: a full disk, a folder without rights, a key that expired?",
        SQL.archive,
    ),
    Check(
        "the archive keeps up",
        "The archive's disk or network is slower than the writes, or the command fails. Until then the disk fills.",
        SQL.archive_backlog,
        parameters={"most_waiting": SEGMENTS_WAITING_MAX},
        needs=("statistics",),
    ),
    Check(
        "WAL doesn't pile up",
        "A slot that nobody reads, a failing archive, or checkpoints that don't get through keep it.",
        SQL.wal_size,
        needs=("statistics",),
    ),
    Check(
        "every slot is read",
        "Start its reader, or `SELECT pg_drop_replication_slot(NAME)`: until then no WAL is removed.",
        SQL.slots,
    ),
    Check(
        "replicas keep up",
        "Is it the network, the replica's disk, or a long query on it? Reads from it are that old.",
        SQL.replicas,
        parameters={"lag": LAG},
        needs=("statistics",),
    ),
    Check(
        "the disk has room",
        "`callmeback inspect tables` says what is large; backups have a retention. A full disk stops everything.",
        probe=disk,
    ),
)
