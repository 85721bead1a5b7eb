"""From one major version of PostgreSQL to another: the embedded server's data dumped, restored, compared, exchanged.

Until the last step, one exchange of two folders, nothing of the old data is changed but by the old server's own start
and shutdown.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.ops import backup_wal, doctor
from callmeback.ops.backup_cipher import fsync_folder
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.pg import (
    binaries,
    configuration,
    dumps,
    exchange,
    fingerprint,
    home,
    place,
    remains,
    replacement,
    schema,
    server,
)
from callmeback.pg.binaries import Binaries
from callmeback.pg.fingerprint import Fingerprint
from callmeback.pg.place import Place
from callmeback.pg.recovery import Side

ROOM: Final = ".upgrade-"
DUMP: Final = "dump"
# The new folder, as large as the old one, and the dump, which is compressed.
ROOM_FACTOR: Final = 1.5
# What a copy can be asked before anybody uses it.
AREAS: Final = ("money",)
DIFFERENCES_MAX: Final = 10

log = logs.get_logger(__name__)


class Upgraded(msgspec.Struct, frozen=True, kw_only=True):
    """What an upgrade did. `kept` is the old folder, None when there was nothing to do."""

    from_major: int
    to_major: int
    kept: str | None = None
    tables: int = 0
    rows: int = 0
    checks: int = 0
    red_before: list[str] = []
    left_databases: list[str] = []

    @property
    def words(self) -> str:
        """For people."""
        if self.kept is None:
            return f"The data are of PostgreSQL {self.to_major} already."
        lines = [
            f"The data are PostgreSQL {self.to_major}'s now: {self.rows} rows of {self.tables} tables, the schema and "
            f"{self.checks} proofs of the books were compared with those of PostgreSQL {self.from_major}.",
            f"The old folder is {self.kept}: remove it when all is well.",
            "Start `callmeback up`, then make a backup with `callmeback backup now`: those of before are of the old "
            "version.",
        ]
        if self.red_before:
            lines.append(f"Red before and after: {', '.join(self.red_before)}. See `callmeback doctor money`.")
        if self.left_databases:
            lines.append(f"Only in the old folder, since they aren't the house's: {', '.join(self.left_databases)}.")

        return "\n".join(lines)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What must be the same in both: rows, the schema's page, and which proofs of the books are red."""

    rows: Fingerprint
    schema: list[str]
    checks: int
    red: list[str]


def upgrade(
    site: Site,
    *,
    old: Binaries | None = None,
    candidates: list[Binaries] | None = None,
    report: Report = silent,
) -> Upgraded:
    """Move the data of this home to the version that a new home would get; no `up` may run.

    `old` are the programs that wrote the data, where they aren't found by themselves. Raises AlreadyRunning,
    ConfigurationError, RestoreRefused where something differs, BackupFailed where the old WAL can't be kept; whatever
    it raises, the old data are in their place.
    """
    if site.settings.database_url is not None:
        raise errors.ConfigurationError("DATABASE_URL's server isn't ours to upgrade: see PostgreSQL's pg_upgrade.")
    held = home.lock(site.settings.home)
    try:
        # What `run.json` says is of a process that is gone: we hold the home.
        site = msgspec.structs.replace(site, source=None)
        place.refuse_interrupted(site.place)
        found = _programs(site.place, old, candidates)
        if found is None:
            major = site.place.data_major()
            assert major is not None, "there are data"
            return Upgraded(from_major=major, to_major=major)
        remains.clear(site.place.data, site.place.state)
        _sweep(site.place)
        _check_space(site.place)
        with _room(site.place) as room:
            return _upgrade(site, *found, room, report)
    finally:
        os.close(held)


def _programs(
    where: Place, old: Binaries | None, candidates: list[Binaries] | None
) -> tuple[Binaries, Binaries] | None:
    """Those that wrote the data and those to come; None when they are of one version."""
    major = where.data_major()
    if major is None:
        raise errors.ConfigurationError(f"There are no data in {where.data}: `callmeback up` makes a new database.")
    new = binaries.choose(None, candidates)
    if new.major == major:
        return None
    if new.major < major:
        raise errors.ConfigurationError(
            f"The data are of PostgreSQL {major}, and {new.major} is the newest here: data never go back."
        )
    if old is not None and old.major != major:
        raise errors.ConfigurationError(f"{old.folder} has PostgreSQL {old.major}, and the data are of {major}.")

    return place.usable(old or binaries.choose(major, candidates), where), place.usable(new, where)


def _upgrade(site: Site, old: Binaries, new: Binaries, room: Place, report: Report) -> Upgraded:
    secret = home.complete(site.settings).role_secret
    assert secret is not None
    report(f"Starting PostgreSQL {old.major}", 0, None)
    archiving = configuration.archiving(site.place, old, True)
    with Side(site.place, old.folder, site.place.data, durable=True, more=archiving) as side:
        before = _facts(site, new, side.dsn, f"Reading PostgreSQL {old.major}", report)
        left = fingerprint.other_databases(side.dsn)
        # By the old version's own programs: Debian's 15.20 marks columns in its catalogue (pg_attver), and only its own
        # pg_dump leaves that out, which no other server takes.
        roles = dumps.roles(old.folder, side.dsn)
        _dump(old, side.dsn, room.state / DUMP, report)
    report("Keeping the last WAL", 0, None)
    # In the archive's folder it would be taken for the new cluster's, whose segments have the same names.
    backup_wal.ship(site)

    report(f"Making PostgreSQL {new.major}", 0, None)
    server.initialise(room, new, place.recall(site.place))
    with Side(room, new.folder, room.data) as side:
        # With its own names and passwords, so that nothing has to be told anew: ours, and those that somebody added.
        dumps.restore_roles(new.folder, side.dsn, roles, server.SUPERUSER)
        server.make_database(side.dsn, secret)
        report("Restoring", 0, None)
        dumps.restore(new.folder, side.dsn, room.state / DUMP)
        after = _facts(site, new, side.dsn, f"Reading PostgreSQL {new.major}", report)
        _compare(before, after)
        report("Finishing", 0, None)
        if new.has_library(server.STATISTICS):
            server.keep_statistics(side.dsn)
        replacement.bring_up_to_date(side.dsn)
        fingerprint.analyse(side.dsn)
    exchange.make_last(room, new, room.data)

    report("Exchanging the folders", 0, None)
    kept = site.place.state / f"{_prefix(old.major)}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    exchange.take_the_place(site.place, room.data, kept)
    fsync_folder(site.place.state)

    return Upgraded(
        from_major=old.major,
        to_major=new.major,
        kept=str(kept),
        tables=len(after.rows.tables),
        rows=after.rows.row_count,
        checks=after.checks,
        red_before=after.red,
        left_databases=left,
    )


def _facts(site: Site, programs: Binaries, dsn: str, what: str, report: Report) -> Facts:
    """Of a server that nobody else can reach. Both are asked by the same programs, so that they are comparable."""
    rows = fingerprint.of(dsn, lambda done, total: report(what, done, total))
    verdicts = asyncio.run(_examine(site, dsn))

    return Facts(
        rows=rows,
        schema=schema.comparable(schema.schema_sql(dsn, programs)),
        checks=sum(verdict.verdict != "skipped" for verdict in verdicts),
        red=[verdict.name for verdict in verdicts if verdict.verdict == "red"],
    )


async def _examine(site: Site, dsn: str) -> list[doctor.Verdict]:
    async with doctor.visit(site.settings, dsn) as patient:
        return await doctor.examine(patient, AREAS)


def _compare(before: Facts, after: Facts) -> None:
    """Raise RestoreRefused that says what differs."""
    found = fingerprint.differences(before.rows, after.rows)
    lost, added = Counter(before.schema) - Counter(after.schema), Counter(after.schema) - Counter(before.schema)
    found += [f"gone from the schema: {line}" for line in lost]
    found += [f"new in the schema: {line}" for line in added]
    if before.checks != after.checks:
        found.append(f"{before.checks} proofs of the books could be held before and {after.checks} after")
    found += [f"the proof {name} is red" for name in after.red if name not in before.red]
    if found:
        raise errors.RestoreRefused(
            f"The restored copy isn't what was dumped, so the old data stay: {'; '.join(found[:DIFFERENCES_MAX])}."
        )


def _dump(programs: Binaries, dsn: str, target: Path, report: Report) -> None:
    done = 0
    with target.open("wb") as file:
        target.chmod(0o600)
        for block in dumps.dump(programs.folder, dsn):
            file.write(block)
            done += len(block)
            report("Dumping", done, None)


@contextmanager
def _room(where: Place) -> Iterator[Place]:
    """A place beside the data for the new server, which is removed at the end with what is left in it."""
    state = where.state / f"{ROOM}{secrets.token_hex(6)}"
    where.make_folder(state)
    try:
        yield msgspec.structs.replace(where, state=state)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _sweep(where: Place) -> None:
    """Remove what a killed upgrade left: its room, and a new folder that already had the old one's coming name."""
    for room in where.state.glob(f"{ROOM}*"):
        remains.clear(room / "data", room)
        log.warning("an upgrade was interrupted; what it left is removed", folder=str(room))
        remains.remove_tree(room)
    major = where.data_major()
    for folder in where.state.glob(f"{_prefix(major)}*") if major is not None else ():
        with contextlib.suppress(FileNotFoundError):
            if (folder / "PG_VERSION").read_text("ascii").strip() != str(major):
                remains.remove_tree(folder)


def _prefix(major: int) -> str:
    return f"data.postgresql-{major}-"


def _check_space(where: Place) -> None:
    needed = int(sum(p.stat().st_size for p in (where.data / "base").rglob("*") if p.is_file()) * ROOM_FACTOR)
    free = shutil.disk_usage(where.state).free
    if free < needed:
        raise errors.RestoreRefused(
            f"{where.state} has {free >> 20} MB of room and the upgrade needs about {needed >> 20} MB."
        )
