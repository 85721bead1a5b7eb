"""Restoring: the right backups unpacked, put together, and recovered to a moment, beside the living database.

In place of the living one: `restore_in_place.py`. Single rows: `restore_rows.py`. Dumps: `restore_dump.py`.
"""

import contextlib
import gzip
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.ops import backup_wal, erasures
from callmeback.ops.backup_cipher import fsync_folder
from callmeback.ops.backup_pgbackrest import ENGINE
from callmeback.ops.backup_repository import COMPLETE, PHYSICAL, Manifest
from callmeback.ops.backup_site import Report, Site, programs_for, silent
from callmeback.ops.restore_unpack import unpack
from callmeback.pg import base_backups, lasting, recovery, remains, rooms, segments, transfer
from callmeback.pg.binaries import Binaries
from callmeback.pg.recovery import Side

READ_BYTES: Final = 1 << 20
# Quiet segments hold no commit; this many of them are three hours.
QUIET_SEGMENTS_MAX: Final = 1_080
# What a restore needs beside the database itself: WAL, and what recovery writes.
ROOM_FACTOR: Final = 1.2
PROBE_TIMEOUT_S: Final = 10

log = logs.get_logger(__name__)


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """A restored folder, not yet recovered, with the WAL that it needs."""

    data: Path
    wal: Path
    backup: Manifest
    programs: Binaries
    until: datetime | None


@contextmanager
def beside(site: Site, until: datetime | None, *, report: Report = silent) -> Iterator[Side]:
    """A server on what the database was at `until` (None: as far as the archive goes), with the erasures since.

    It lives as long as the block. Raises RestoreRefused before anything is unpacked when that moment can't be reached.
    """
    with unpacked(site, until, site.place.state, report=report) as found:
        report("Recovering", 0, None)
        with recovered(site, found) as side:
            yield side


def into(site: Site, until: datetime | None, target: Path, *, report: Report = silent) -> Manifest:
    """Make `target` a data folder of the database at `until`, recovered and shut down. Answers the backup it is from.

    Raises RestoreRefused when `target` is something already, or can't be reached by the server's account.
    """
    target = target.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise errors.RestoreRefused(f"{target} is not empty.")
    if target.is_mount():
        raise errors.RestoreRefused(f"A disk is mounted at {target}: choose a folder on it.")
    _check_reachable(site, target.parent)
    with unpacked(site, until, target.parent, durable=True, report=report) as found:
        report("Recovering", 0, None)
        with recovered(site, found):
            pass
        recovery.forget(site.place, found.data)
        report("Flushing to the disk", 0, None)
        _keep(found.data, target)

    return found.backup


def _keep(data: Path, target: Path) -> None:
    """Give the folder its name; from then on it lasts. Until then nobody needs it, so all is flushed once, here."""
    try:
        lasting.make_tree(data)
        if target.exists():
            target.rmdir()
        data.rename(target)
        fsync_folder(target.parent)
    except OSError as exc:
        raise errors.RestoreRefused(f"The disk doesn't keep {target}: {exc.strerror}.") from exc


@contextmanager
def recovered(site: Site, found: Unpacked) -> Iterator[Side]:
    """The server of an unpacked folder, recovered, with the erasures of the list applied again."""
    if found.backup.first_segment is not None:
        recovery.prepare(site.place, found.data, found.wal, found.until)
    with Side(site.place, found.programs.folder, found.data) as side:
        erasures.apply_again(side.dsn, site.repository.erasures())
        yield side


@contextmanager
def unpacked(
    site: Site, until: datetime | None, where: Path, *, durable: bool = False, report: Report = silent
) -> Iterator[Unpacked]:
    """The folder of the database's files, and their WAL, in a room below `where` that is removed at the end.

    `durable` where the folder is to be kept.
    """
    if site.source is not None:
        archive_up_to_now(site, until)
    with site.repository.shared():
        chain, names = planned(site, until, where)
        with rooms.room(site.place, where) as room:
            programs = programs_for(site, chain[-1].major)
            wal = _staged(site, names, room, report)
            if chain[-1].first_segment is not None and until is not None:
                check_reached(site, programs, wal, until)
            data = _unpack(site, programs, chain, room, until, durable, report)
            yield Unpacked(data=data, wal=wal, backup=chain[-1], programs=programs, until=until)


def planned(site: Site, until: datetime | None, where: Path) -> tuple[list[Manifest], dict[str, str | Path]]:
    """The backups and the WAL that it takes. Raises RestoreRefused when they, or room in `where`, are missing."""
    chain = choose(site, until)
    names = needed_wal(site, chain[-1], until)
    _check_space(where, chain)

    return chain, names


def archive_up_to_now(site: Site, until: datetime | None) -> None:
    """Have a living server commit a mark and archive it, so that every moment up to now can be reached.

    Raises RestoreRefused for a moment in the future, BackupFailed when archiving doesn't work.
    """
    source = site.running()
    if until is not None and until > (now := transfer.facts(source.dsn).at):
        raise errors.RestoreRefused(f"{_said(until)} is in the future: the server's clock says {_said(now)}.")
    try:
        erasures.note(site.repository, source.dsn)
    except errors.CallMeBackError as exc:
        # What is to be restored may be too broken to be asked. The worker wrote the list every few seconds until now.
        log.warning("the database can't say who was erased; the list beside the backups is used", error=exc.code)
    if site.stanza is not None:
        # Its check ends a segment, but only what was committed before ends a recovery.
        transfer.commit_mark(source.dsn)
        site.stanza.archive_now()
    elif source.is_ours:
        backup_wal.ship_up_to(site, transfer.mark(source.dsn))


def choose(site: Site, until: datetime | None) -> list[Manifest]:
    """The backups to build upon, oldest first: the newest one that was finished by then, and what it builds upon.

    Raises RestoreRefused that says from when on there is one.
    """
    known = {m.id: m for m in site.manifests() if m.kind in PHYSICAL}
    if site.stanza is not None:
        known = {m.id: m for m in known.values() if m.engine == ENGINE}
    left = {system: backup_wal.lineage(site, system) for system in {m.system or "" for m in known.values()}}
    known = {m.id: m for m in known.values() if backup_wal.is_on_line(m, left[m.system or ""])}
    fitting = [m for m in known.values() if until is None or m.finished_at <= until]
    whole = [m for m in fitting if m.kind in COMPLETE or m.parent in known]
    if not known:
        raise errors.RestoreRefused("There is no backup of the cluster: `callmeback backup now` makes one.")
    if not whole:
        first = min(m.finished_at for m in known.values())
        raise errors.RestoreRefused(
            f"The oldest backup was finished at {_said(first)}: nothing before can be restored."
        )
    newest = max(whole, key=lambda m: m.started_at)
    if newest.engine == ENGINE:
        return [newest]
    if until is not None and newest.first_segment is None:
        raise errors.RestoreRefused(
            f"This server's WAL isn't archived here, so only the moment of a backup can be restored: leave out --to "
            f"for that of {_said(newest.finished_at)}."
        )

    return [known[newest.parent], newest] if newest.parent else [newest]


def needed_wal(site: Site, newest: Manifest, until: datetime | None) -> dict[str, str | Path]:
    """WAL from a backup's start to the moment, by the server's names: ours in the repository, or where it still waits.

    Raises RestoreRefused when a segment between is missing.
    """
    if newest.first_segment is None:
        return {}
    assert newest.system is not None, "whose WAL is archived here has an id"
    there: dict[str, str | Path] = dict(site.repository.wal(newest.system))
    for name in _names_in_mirror(site, f"wal/{newest.system}/"):
        there.setdefault(Path(name).name.removesuffix(".gz.sealed"), name)
    if segments.system_of(site.place.data, site.place.archive) in (newest.system, None):
        there |= {name: path for name, path in backup_wal.spooled(site.place.archive).items() if name not in there}
    first, last = segments.position(newest.first_segment), _last_position(site, newest, until)
    chosen = {
        name: place
        for name, place in there.items()
        if segments.is_history(name) or (segments.is_segment(name) and first <= segments.position(name) <= last)
    }
    missing = segments.gaps(chosen, newest.first_segment)
    if missing:
        raise errors.RestoreRefused(
            f"WAL segment {missing[0]} is missing, and nothing after it can be restored from backup {newest.id}. "
            "`callmeback backup verify` lists all that is missing."
        )

    return chosen


def _names_in_mirror(site: Site, below: str) -> list[str]:
    """What the second place holds; nothing when it is away, for all may be here."""
    if site.mirror is None:
        return []
    try:
        return list(site.mirror.names(below))
    except errors.BackupFailed as exc:
        log.warning("the second place doesn't answer; what is here is used", reason=exc.detail)
        return []


def _staged(site: Site, names: dict[str, str | Path], room: Path, report: Report) -> Path:
    try:
        return stage_wal(site, names, room, report)
    except OSError as exc:
        raise errors.RestoreRefused(f"WAL can't be written in {room.parent}: {exc.strerror}.") from exc


def stage_wal(site: Site, names: dict[str, str | Path], room: Path, report: Report) -> Path:
    """Put WAL files, opened and still compressed, where the server fetches them."""
    wal = room / "wal"
    site.place.make_folder(wal)
    for number, (name, place) in enumerate(sorted(names.items()), 1):
        target = wal / f"{name}.gz"
        if isinstance(place, Path):
            shutil.copyfile(place, target)
        else:
            site.bring(place)
            with site.repository.opened(place) as sealed, target.open("wb") as file:
                shutil.copyfileobj(sealed, file, READ_BYTES)
        site.place.own(target)
        report("Fetching WAL segments", number, len(names))

    return wal


def check_reached(site: Site, programs: Binaries, wal: Path, until: datetime) -> None:
    """Raise RestoreRefused when no commit in the staged WAL is as late as `until`, where PostgreSQL would give up."""
    room = wal.parent / "look"
    site.place.make_folder(room)
    names = [path.name.removesuffix(".gz") for path in wal.glob("*.gz")]
    ordered = sorted(filter(segments.is_segment, names), key=lambda n: (segments.timeline(n), segments.position(n)))
    for name in reversed(ordered[-QUIET_SEGMENTS_MAX:]):
        plain = room / name
        with gzip.open(wal / f"{name}.gz") as packed, plain.open("wb") as file:
            shutil.copyfileobj(packed, file, READ_BYTES)
        site.place.own(plain)
        last = segments.last_commit(site.place, programs.folder, plain)
        plain.unlink()
        if last is None:
            continue
        if last < until:
            raise errors.RestoreRefused(
                f"The archive ends with the commit of {_said(last)}, before {_said(until)}: ask for that moment, or "
                "leave out --to for everything that there is."
            )
        return


def _unpack(
    site: Site,
    programs: Binaries,
    chain: list[Manifest],
    room: Path,
    until: datetime | None,
    durable: bool,
    report: Report,
) -> Path:
    if site.stanza is not None and chain[-1].engine == ENGINE:
        report("pgBackRest restores", 0, None)
        data = room / "data"
        site.place.make_folder(data)
        site.stanza.restore(data, until, chain[-1].id)
        return data
    folders: list[Path] = []
    for manifest in chain:
        folder = room / f"part{len(folders)}"
        unpack(site, manifest, folder, durable=durable, report=report)
        folders.append(folder)
    if len(folders) == 1:
        return folders[0]
    report("Putting backups together", 0, None)
    target = room / "combined"
    base_backups.combine(site.place, programs.folder, folders, target)
    for folder in folders:
        remains.remove_tree(folder)

    return target


def _last_position(site: Site, newest: Manifest, until: datetime | None) -> int:
    """The last segment that can matter: each backup begins with a mark, a commit that is later than `until`."""
    later = [
        segments.position(m.first_segment)
        for m in site.repository.manifests()
        if until is not None and m.system == newest.system and m.first_segment is not None and m.started_at > until
    ]

    return min(later, default=1 << 62)


def _check_space(where: Path, chain: list[Manifest]) -> None:
    needed = int(sum(m.parts[0].plain_bytes if m.parent else m.database_bytes for m in chain) * ROOM_FACTOR)
    free = shutil.disk_usage(where).free
    if free < needed:
        raise errors.RestoreRefused(
            f"{where} has {free >> 20} MB of room and the restore needs about {needed >> 20} MB."
        )


def _check_reachable(site: Site, folder: Path) -> None:
    if not folder.is_dir():
        raise errors.RestoreRefused(f"There is no folder {folder}.")
    probe = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder],
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
        **site.place.as_account(),
    )
    if probe.returncode != 0:
        account = site.place.account.name if site.place.account else "this user"
        raise errors.RestoreRefused(
            f"{folder} can't be entered by {account}, as whom PostgreSQL runs: choose a folder such as one in /var/tmp."
        )


def _said(at: datetime) -> str:
    with contextlib.suppress(OverflowError, ValueError):
        at = at.astimezone()

    return at.isoformat(sep=" ", timespec="milliseconds")
