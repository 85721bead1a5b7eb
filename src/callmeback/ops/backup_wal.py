"""WAL into the repository and to the second place: every second, so that a lost disk costs seconds."""

import gzip
import time
from pathlib import Path
from typing import Final

from callmeback import errors
from callmeback.ops.backup_repository import Manifest
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.pg import segments

# The server archives a finished segment at once; when it doesn't, something is wrong with the archive's folder.
ARCHIVE_WAIT_S: Final = 60.0
POLL_S: Final = 0.05
LOCK_WAIT_S: Final = 120.0


def ship(site: Site) -> int:
    """Seal what the server archived into the repository, send it to the second place, and only then drop the original.

    Answers how many files went. Raises BackupFailed; what wasn't taken stays where it is and goes with the next turn.
    """
    shipped, problem = _take_over(site)
    if problem is not None:
        raise problem

    return shipped


def _take_over(site: Site) -> tuple[int, errors.BackupFailed | None]:
    """All that waits into the repository, and as far as possible to the second place; what that answered, if it failed.

    A second place that is away takes nothing else along: backups and restores need the repository alone.
    """
    archive = site.place.archive
    shipped = 0
    problem: errors.BackupFailed | None = None
    with site.repository.locked("wal.lock", wait_s=LOCK_WAIT_S):
        waiting = spooled(archive)
        system = segments.system_of(site.place.data, archive) if waiting else None
        if system is None:
            return 0, None
        for name, path in waiting.items():
            if problem is not None and site.repository.has_wal(system, name):
                continue
            try:
                ours = site.repository.put_wal(system, name, path)
            except OSError as exc:
                raise errors.BackupFailed(
                    f"WAL can't be kept in {site.repository.folder}: {exc.strerror}. It stays in {archive}. "
                    "Make room, or set CALLMEBACK_BACKUP_DIR to another disk."
                ) from exc
            problem = problem or _mirrored(site, ours)
            if problem is None:
                path.unlink(missing_ok=True)
                shipped += 1

    return shipped, problem


def _mirrored(site: Site, name: str) -> errors.BackupFailed | None:
    """What is wrong with the second place, if it doesn't take this."""
    if site.mirror is None:
        return None
    try:
        site.mirror.put(name, site.repository.folder / name)
    except errors.BackupFailed as exc:
        return exc

    return None


def spooled(archive: Path) -> dict[str, Path]:
    """WAL files that the server archived and that weren't shipped yet, by their name; oldest first."""
    return {path.name.removesuffix(".gz"): path for path in sorted(archive.glob("*.gz"))}


def ship_up_to(site: Site, segment: str, *, report: Report = silent) -> None:
    """Ship until a segment is in the repository, whatever the second place says.

    Raises BackupFailed when the server doesn't archive it in time.
    """
    deadline = time.monotonic() + ARCHIVE_WAIT_S
    system = segments.system_of(site.place.data, site.place.archive)
    assert system is not None, "the server runs on this folder"
    while not site.repository.has_wal(system, segment):
        _take_over(site)
        if time.monotonic() > deadline:
            raise errors.BackupFailed(
                f"The server has not archived WAL segment {segment} within {ARCHIVE_WAIT_S:.0f} s: is "
                f"{site.place.archive} full or read-only? The server's log has the reason; nothing is lost."
            )
        report("Waiting for the archive", 0, None)
        time.sleep(POLL_S)


def lineage(site: Site, system: str) -> dict[int, int]:
    """Where each older timeline of a cluster was left for the newest one, as positions; empty before any restore."""
    known = site.repository.wal(system)
    newest = max(filter(segments.is_history, known), default=None, key=segments.timeline)
    waiting = max(filter(segments.is_history, spooled(site.place.archive)), default=None, key=segments.timeline)
    if waiting is not None and (newest is None or waiting > newest):
        return segments.branches(gzip.decompress(spooled(site.place.archive)[waiting].read_bytes()).decode())
    if newest is None:
        return {}
    with site.repository.opened(known[newest]) as sealed:
        return segments.branches(gzip.decompress(sealed.read()).decode())


def is_on_line(manifest: Manifest, left: dict[int, int]) -> bool:
    """Whether a backup lies on the line that the cluster took, not on one that a restore has left."""
    if manifest.last_segment is None:
        return True
    end = left.get(segments.timeline(manifest.last_segment))

    return end is None or segments.position(manifest.last_segment) < end
