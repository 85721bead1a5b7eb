"""Taking a backup: the whole cluster or what changed, as one compressed and sealed stream; or a dump of tables."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from callmeback import errors, logs
from callmeback.ops import backup_wal
from callmeback.ops.backup_repository import COMPLETE, Kind, Manifest, Part
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.pg import base_backups, dumps, transfer
from callmeback.pg.base_backups import Copied

CLUSTER: Final = "cluster.tar.zst"
CLUSTER_MANIFEST: Final = "backup_manifest"
HOUSE: Final = "house.json"
DUMP: Final = "database.dump"
# Fast on one core, and a third of the size.
COMPRESSION_LEVEL: Final = 1
COMPRESSION_THREADS: Final = 2
# Files of the home and the server's folder without which a restored database can't be opened on another machine.
HOUSE_FILES: Final = ("secrets.json", "server.json")

log = logs.get_logger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What belongs to the data and isn't in the database: files by their name."""

    files: dict[str, str]


def take(site: Site, kind: Kind, *, report: Report = silent) -> Manifest:
    """Make a backup of the cluster and keep it; waits for one that runs.

    An incremental one without anything to build upon, or on PostgreSQL before 17, becomes a base. Raises BackupFailed,
    and leaves nothing behind then.
    """
    source = site.running()
    with site.repository.locked():
        if site.stanza is not None:
            report("pgBackRest copies the cluster", 0, None)
            return site.stanza.backup(kind)
        if source.is_ours:
            transfer.check_archiving(source.dsn)
        parent = _parent(site) if kind == "incremental" else None
        if parent is None:
            return _take(site, "base" if kind == "incremental" else kind, None, report)
        try:
            return _take(site, kind, parent, report)
        except errors.BackupFailed as exc:
            # What changed since isn't known any more: another timeline, another cluster, a summary that is gone.
            log.warning("an incremental backup is not possible; a whole one is made", reason=exc.detail)
            return _take(site, "base", None, report)


def dump(site: Site, table: str | None = None, *, report: Report = silent) -> Manifest:
    """Make a logical backup of the database, or of one table; waits for a backup that runs. Raises BackupFailed."""
    source = site.running()
    with site.repository.locked():
        facts = transfer.facts(source.dsn)
        backup_id = new_id("logical", facts.at)
        parts: list[Part] = []
        with site.repository.drafting(backup_id) as draft, _failing_clearly():
            with site.repository.sealing(draft, backup_id, DUMP, parts) as writer:
                for block in dumps.dump(source.programs, source.dsn, table):
                    writer.write(block)
                    report("Dumping the database", writer.plain_bytes, None)
            manifest = Manifest(
                id=backup_id,
                kind="logical",
                engine="pg_dump",
                major=facts.major,
                started_at=facts.at,
                finished_at=transfer.facts(source.dsn).at,
                database_bytes=facts.copy_bytes,
                parts=tuple(parts),
                system=facts.system,
                table=table,
            )
            site.repository.keep(draft, manifest)

    return manifest


def new_id(kind: str, at: datetime) -> str:
    """A name that sorts by time: 20261126T030000Z-base-1f2e."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(2)}"


def _take(site: Site, kind: Kind, parent: Manifest | None, report: Report) -> Manifest:
    source, repository = site.running(), site.repository
    if source.is_ours:
        # A commit before every backup: recovery to a moment ends at the first commit after it, so the WAL up to here
        # reaches every moment before it.
        transfer.mark(source.dsn)
    facts = transfer.facts(source.dsn)
    backup_id = new_id(kind, facts.at)
    parts: list[Part] = []
    with repository.drafting(backup_id) as draft, _failing_clearly():
        copied = _copy(site, draft, backup_id, parts, parent, facts.copy_bytes, report)
        for name, text in ((CLUSTER_MANIFEST, copied.manifest), (HOUSE, msgspec.json.encode(_house(site)))):
            with repository.sealing(draft, backup_id, name, parts) as writer:
                writer.write(text)
        last = transfer.mark(source.dsn) if source.is_ours else None
        if last is not None:
            # Without the WAL that was written meanwhile a copy can't be opened.
            backup_wal.ship_up_to(site, last, report=report)
        manifest = Manifest(
            id=backup_id,
            kind=kind,
            engine="pg_basebackup",
            major=facts.major,
            started_at=facts.at,
            finished_at=transfer.facts(source.dsn).at,
            database_bytes=facts.copy_bytes,
            parts=tuple(parts),
            parent=parent.id if parent else None,
            system=facts.system,
            first_segment=copied.first_segment if source.is_ours else None,
            last_segment=last,
        )
        repository.keep(draft, manifest)

    return manifest


def _copy(
    site: Site,
    draft: Path,
    backup_id: str,
    parts: list[Part],
    parent: Manifest | None,
    total: int,
    report: Report,
) -> Copied:
    source, repository = site.running(), site.repository
    words = "Copying what changed" if parent else "Copying the cluster"
    with _manifest_of(site, parent) as since, repository.sealing(draft, backup_id, CLUSTER, parts) as writer:
        compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, threads=COMPRESSION_THREADS).compressobj()
        done = 0

        def sink(block: bytes) -> None:
            nonlocal done
            writer.write(compressor.compress(block))
            done += len(block)
            report(words, done, None if parent else max(total, done))

        copied = base_backups.copy(source.programs, source.dsn, sink, since=since, with_wal=not source.is_ours)
        writer.write(compressor.flush())

    return copied


@contextmanager
def _manifest_of(site: Site, parent: Manifest | None) -> Iterator[Path | None]:
    if parent is None:
        yield None
        return
    name = f"backups/{parent.id}/{CLUSTER_MANIFEST}.sealed"
    site.bring(name)
    with tempfile.NamedTemporaryFile() as file, site.repository.opened(name) as sealed:
        file.write(sealed.read())
        file.flush()
        yield Path(file.name)


def _parent(site: Site) -> Manifest | None:
    """The newest whole backup of the same cluster."""
    source = site.running()
    if not source.has_incrementals:
        return None
    system = transfer.facts(source.dsn).system
    found = [m for m in site.repository.manifests() if m.kind in COMPLETE and m.system == system]

    return found[-1] if found else None


def _house(site: Site) -> Kept:
    paths = [folder / name for folder in (site.settings.home, site.place.state) for name in HOUSE_FILES]

    return Kept({path.name: path.read_text("utf-8") for path in paths if path.exists()})


@contextmanager
def _failing_clearly() -> Iterator[None]:
    """A disk that is full or broken is a failed backup, with what to do."""
    try:
        yield
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        raise errors.BackupFailed(
            f"The backup can't be written{where}: {exc.strerror}. Make room, or set CALLMEBACK_BACKUP_DIR to another "
            "disk. Earlier backups are untouched."
        ) from exc
