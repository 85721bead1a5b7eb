"""Backups as the house wants them: made, sent to the second place, pruned, noted, and done when they are due.

The one interface for every kind of server. How a copy is made is in `backup_take.py` and, where pgBackRest looks after
the server, in `backup_pgbackrest.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec

from callmeback import errors, logs
from callmeback.ops import (
    backup_drill,
    backup_due,
    backup_mirror,
    backup_record,
    backup_take,
    backup_verify,
    backup_wal,
    erasures,
)
from callmeback.ops.backup_drill import Drill
from callmeback.ops.backup_record import Run, RunKind
from callmeback.ops.backup_repository import COMPLETE, MANIFEST, PHYSICAL, Kind, Manifest
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.ops.backup_verify import Finding
from callmeback.pg import segments

log = logs.get_logger(__name__)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A backup as it is listed; whether it is in the second place isn't known while that is away."""

    id: str
    kind: Kind
    started_at: datetime
    finished_at: datetime
    database_bytes: int
    stored_bytes: int
    parent: str | None
    table: str | None
    is_mirrored: bool | None


def now(site: Site, kind: Kind = "full", *, table: str | None = None, report: Report = silent) -> Manifest:
    """Make a backup, send it to the second place, remove what is too old, and note how it went.

    Waits for a backup that runs. Raises BackupFailed; the run is noted then too. A second place that fails doesn't undo
    the backup: it is noted as not mirrored, and sent with the next one.
    """
    if table is not None:
        # What somebody wants of one table is none of the backups that have to be there, whatever becomes of it.
        manifest = backup_take.dump(site, table, report=report)
    else:
        with _noting_failure(site, kind):
            manifest = _taken(site, kind, report)
    with site.repository.locked():
        problem = _mirror(site, report, manifest.finished_at)
    if table is None:
        backup_record.record(
            site,
            Run(
                id=manifest.id,
                kind=manifest.kind,
                state="done",
                started_at=manifest.started_at,
                finished_at=manifest.finished_at,
                database_bytes=manifest.database_bytes,
                stored_bytes=manifest.stored_bytes,
                parent_id=manifest.parent,
                is_mirrored=site.mirror is not None and problem is None,
                detail=problem,
            ),
        )
    if problem is not None:
        raise errors.BackupFailed(f"Backup {manifest.id} is made, but not in the second place: {problem}")

    return manifest


def _taken(site: Site, kind: Kind, report: Report) -> Manifest:
    return backup_take.dump(site, report=report) if kind == "logical" else backup_take.take(site, kind, report=report)


def listed(site: Site) -> list[Line]:
    """Every backup, the newest first."""
    there: Mapping[str, int] | None = {}
    try:
        there = site.mirror.names("backups/") if site.mirror is not None else {}
    except errors.BackupFailed as exc:
        log.warning("the second place doesn't answer", reason=exc.detail)
        there = None

    return [
        Line(
            id=m.id,
            kind=m.kind,
            started_at=m.started_at,
            finished_at=m.finished_at,
            database_bytes=m.database_bytes,
            stored_bytes=m.stored_bytes,
            parent=m.parent,
            table=m.table,
            is_mirrored=None if there is None else f"backups/{m.id}/{MANIFEST}" in there,
        )
        for m in reversed(site.manifests())
    ]


def verified(site: Site, *, every: bool = False, report: Report = silent) -> list[Finding]:
    """Verify everything that is kept, and note how it went."""
    begun = datetime.now(UTC)
    with _noting_failure(site, "verify"):
        findings = backup_verify.verify(site, every=every, report=report)
    problem = "; ".join(f"{found.file}: {found.detail}" for found in findings) or None
    _note(site, "verify", begun, failed=problem)

    return findings


def drilled(site: Site, *, report: Report = silent) -> Drill:
    """Hold a drill, and note how it went. Raises what the restore raises."""
    begun = datetime.now(UTC)
    with _noting_failure(site, "drill"):
        found = backup_drill.drill(site, report=report)
    _note(site, "drill", begun, failed=", ".join(verdict.name for verdict in found.red) or None)

    return found


def run_due(site: Site, at: datetime | None = None, *, report: Report = silent) -> list[RunKind]:
    """Do what is due by the clock, one after another, and whatever an erasure still waits for.

    Answers what was done. A failure is noted and logged, and doesn't keep the rest from its turn.
    """
    at = at or datetime.now(UTC)
    erasures.apply_again(site.running().dsn, site.repository.erasures())
    erasures.note(site.repository, site.running().dsn)
    done: list[RunKind] = []
    for kind in due(site, at):
        try:
            _do(site, kind, report)
        except errors.CallMeBackError as exc:
            log.error("a scheduled backup failed", kind=kind, reason=exc.detail)
        else:
            done.append(kind)

    return done


def _do(site: Site, kind: RunKind, report: Report) -> None:
    if kind == "verify":
        verified(site, report=report)
    elif kind == "drill":
        drilled(site, report=report)
    else:
        now(site, kind, report=report)


def due(site: Site, at: datetime) -> list[RunKind]:
    """What is due at a moment."""
    runs = backup_record.last_runs(site.settings.home)

    return backup_due.due(runs, site.repository.facts.made_at, at, has_incrementals=site.running().has_incrementals)


def prune(site: Site, at: datetime) -> list[str]:
    """Remove what is older than it is to be kept, here and in the second place; what is left can always be restored.

    The caller holds the lock. Answers the names that went. Raises BackupFailed, and removes nothing here, when the
    second place lets go of nothing.
    """
    before = at - timedelta(days=site.settings.backup_days)
    manifests = site.repository.manifests()
    kept = {m.id for m in manifests if m.finished_at >= before}
    whole = [m for m in manifests if m.kind in COMPLETE]
    kept |= {m.id for m in whole[-1:]}
    kept |= {m.parent for m in manifests if m.id in kept and m.parent is not None}
    names = [
        name
        for m in manifests
        if m.id not in kept
        for name in [f"backups/{m.id}/{MANIFEST}", *(f"backups/{m.id}/{part.name}" for part in m.parts)]
    ]
    for folder in (site.repository.folder / "wal").glob("*"):
        firsts = [
            segments.position(m.first_segment)
            for m in manifests
            if m.id in kept and m.kind in PHYSICAL and m.system == folder.name and m.first_segment
        ]
        if firsts:
            names += [
                ours
                for name, ours in site.repository.wal(folder.name).items()
                if not segments.is_history(name) and segments.position(name) < min(firsts)
            ]
    if site.mirror is not None:
        # First there: what is gone here is never thought of again.
        for name in sorted(names, key=lambda name: not name.endswith(MANIFEST)):
            site.mirror.delete(name)
    site.repository.remove(names)

    return names


def ship(site: Site) -> int:
    """Take over the WAL that the server archived; see `backup_wal.ship`."""
    return backup_wal.ship(site)


def _mirror(site: Site, report: Report, at: datetime) -> str | None:
    """Bring the second place up to date and remove what is too old; what is wrong with that place, if something is."""
    try:
        if site.mirror is not None:
            report("Sending to the second place", 0, None)
            backup_mirror.send(site.repository, site.mirror)
        prune(site, at)
    except errors.BackupFailed as exc:
        return exc.detail

    return None


@contextmanager
def _noting_failure(site: Site, kind: RunKind) -> Iterator[None]:
    """Whatever breaks it is noted: what nobody knows to have failed is tried again without end."""
    begun = datetime.now(UTC)
    try:
        yield
    except Exception as exc:
        failed = exc.detail if isinstance(exc, errors.CallMeBackError) else type(exc).__name__
        _note(site, kind, begun, failed=failed)
        raise


def _note(site: Site, kind: RunKind, begun: datetime, *, failed: str | None) -> None:
    backup_record.record(
        site,
        Run(
            id=backup_take.new_id(kind, begun),
            kind=kind,
            state="failed" if failed else "done",
            started_at=begun,
            finished_at=datetime.now(UTC),
            detail=failed,
        ),
    )
