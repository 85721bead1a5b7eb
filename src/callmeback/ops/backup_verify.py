"""Whether what is kept is what was written: every byte, the newest copies as a whole, the second place."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors
from callmeback.ops import backup_wal, restore_unpack
from callmeback.ops.backup_repository import COMPLETE, ERASURES, MANIFEST, PHYSICAL, Manifest, Part
from callmeback.ops.backup_site import Report, Site, programs_for, silent
from callmeback.ops.backup_take import DUMP
from callmeback.pg import base_backups, dumps, rooms, segments

READ_BYTES: Final = 1 << 20


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong: the file by its name in the repository, and what is wrong with it."""

    file: str
    detail: str


def verify(site: Site, *, every: bool = False, report: Report = silent) -> list[Finding]:
    """Read everything that is kept; nothing is found where all is well.

    Each file is opened (a changed, moved or missing byte doesn't), each part compared with its manifest, and the WAL
    looked at for gaps. The newest copies are unpacked and compared with PostgreSQL's own manifest of them; with `every`
    all of them, and the second place is read byte by byte instead of by names and sizes.
    """
    findings: list[Finding] = []
    rooms.sweep(site.place.state)
    with site.repository.shared():
        manifests = _manifests(site, findings)
        with _noting(findings, ERASURES):
            site.repository.erasures()
        chosen = manifests if every else _newest_of_each_kind(manifests)
        for number, manifest in enumerate(manifests, 1):
            report(f"Backup {manifest.id}", number, len(manifests))
            _verify_backup(site, manifest, findings, as_a_whole=manifest in chosen)
        _verify_wal(site, manifests, findings, report)
        if site.stanza is not None:
            findings += [Finding(f"pgBackRest {site.stanza.name}", problem) for problem in site.stanza.problems()]
        if site.mirror is not None:
            with _noting(findings, "the second place"):
                _verify_mirror(site, findings, report, every=every)

    return findings


def _manifests(site: Site, findings: list[Finding]) -> list[Manifest]:
    found = []
    for path in sorted((site.repository.folder / "backups").glob("[!.]*")):
        with _noting(findings, f"backups/{path.name}/{MANIFEST}"):
            found.append(site.repository.manifest(path.name))

    return found


def _newest_of_each_kind(manifests: list[Manifest]) -> list[Manifest]:
    return list({m.kind: m for m in sorted(manifests, key=lambda m: m.started_at)}.values())


def _verify_backup(site: Site, manifest: Manifest, findings: list[Finding], *, as_a_whole: bool) -> None:
    folder = f"backups/{manifest.id}"
    before = len(findings)
    for part in manifest.parts:
        with _noting(findings, f"{folder}/{part.name}"):
            _read_part(site, manifest, part)
    if manifest.parent is not None and not (site.repository.folder / "backups" / manifest.parent).exists():
        findings.append(Finding(folder, f"It builds upon {manifest.parent}, which is missing."))
    if len(findings) == before and as_a_whole:
        with _noting(findings, folder):
            if manifest.kind in PHYSICAL:
                _compare_copy(site, manifest)
            else:
                _list_dump(site, manifest)


def _read_part(site: Site, manifest: Manifest, part: Part) -> None:
    name = f"backups/{manifest.id}/{part.name}"
    site.bring(name)
    site.repository.check_part(manifest.id, part)
    _read(site, name)


def _read(site: Site, name: str) -> None:
    with site.repository.opened(name) as sealed:
        while sealed.read(READ_BYTES):
            pass


def _compare_copy(site: Site, manifest: Manifest) -> None:
    """Unpack a copy and have PostgreSQL compare it with its manifest, which is of that copy's own files."""
    programs = programs_for(site, manifest.major)
    with rooms.room(site.place, site.place.state) as room:
        restore_unpack.unpack(site, manifest, room / "copy")
        base_backups.verify(site.place, programs.folder, room / "copy")


def _list_dump(site: Site, manifest: Manifest) -> None:
    programs = programs_for(site, manifest.major)
    with (
        rooms.room(site.place, site.place.state) as room,
        site.repository.opened(f"backups/{manifest.id}/{DUMP}.sealed") as sealed,
    ):
        with (room / DUMP).open("wb") as file:
            shutil.copyfileobj(sealed, file, READ_BYTES)
        dumps.contents(programs.folder, room / DUMP)


def _verify_wal(site: Site, manifests: list[Manifest], findings: list[Finding], report: Report) -> None:
    for folder in sorted((site.repository.folder / "wal").glob("*")):
        system = folder.name
        known = site.repository.wal(system)
        for number, name in enumerate(known.values(), 1):
            report("WAL", number, len(known))
            with _noting(findings, name):
                _read(site, name)
        firsts = [m.first_segment for m in manifests if m.system == system and m.first_segment and m.kind in COMPLETE]
        if not firsts:
            continue
        there = [*known, *backup_wal.spooled(site.place.archive)]
        for name in segments.gaps(there, min(firsts, key=segments.position)):
            findings.append(Finding(f"wal/{system}/{name[:16]}/{name}", "This segment is missing."))


def _verify_mirror(site: Site, findings: list[Finding], report: Report, *, every: bool) -> None:
    assert site.mirror is not None
    there = site.mirror.names()
    ours = site.repository.files()
    for number, (name, size) in enumerate(ours.items(), 1):
        report("The second place", number, len(ours))
        if there.get(name) != size:
            what = "is missing" if name not in there else f"has {there[name]} bytes instead of {size}"
            findings.append(Finding(name, f"In the second place it {what}; `callmeback backup now` sends it again."))
        elif every:
            with _noting(findings, name), tempfile.TemporaryDirectory() as room:
                fetched = Path(room) / "fetched"
                site.mirror.get(name, fetched)
                if not _same(fetched, site.repository.folder / name):
                    findings.append(Finding(name, "In the second place it is another file."))


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(READ_BYTES):
            if block != right.read(READ_BYTES):
                return False

        return not right.read(1)


@contextmanager
def _noting(findings: list[Finding], file: str) -> Iterator[None]:
    """What is damaged, missing or can't be read becomes a finding."""
    try:
        yield
    except (errors.BackupDamaged, errors.BackupFailed, errors.NotFound) as exc:
        findings.append(Finding(file, exc.detail))
    except OSError as exc:
        findings.append(Finding(file, f"It can't be read: {exc.strerror}."))
