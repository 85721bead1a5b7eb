"""The repository: a folder of sealed files in which a backup is there as a whole or not at all.

repository.json             which key opens it, and that key sealed by the passphrase
backups/ID/manifest.json    what a backup consists of, signed; written last, in a folder that gets its name last
backups/ID/*.sealed         its parts
wal/SYSTEM/PREFIX/NAME.gz.sealed   WAL of one cluster, by its own id, as the server archived it
erasures.jsonl              who was erased, signed line by line
"""

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from callmeback import errors
from callmeback.ops import backup_cipher as cipher
from callmeback.ops.backup_cipher import Opener, Sealer, Wrapped

LOCK_WAIT_MAX_S: Final = 21_600.0
LOCK_POLL_S: Final = 0.1
# For the writing of one small file.
ERASURES_WAIT_S: Final = 30.0
READ_BYTES: Final = 1 << 20
FACTS: Final = "repository.json"
LOCK: Final = "lock"
MANIFEST: Final = "manifest.json"
ERASURES: Final = "erasures.jsonl"
SEALED: Final = ".sealed"

Kind = Literal["full", "base", "incremental", "logical"]
COMPLETE: Final[tuple[Kind, ...]] = ("full", "base")
PHYSICAL: Final[tuple[Kind, ...]] = ("full", "base", "incremental")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed file: the bytes that were put in, those on disk, and the SHA-256 of the latter."""

    name: str
    plain_bytes: int
    stored_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. Times are the server's; `parent` is what an incremental one builds upon."""

    id: str
    kind: Kind
    engine: str
    major: int
    started_at: datetime
    finished_at: datetime
    database_bytes: int
    parts: tuple[Part, ...]
    parent: str | None = None
    system: str | None = None
    first_segment: str | None = None
    last_segment: str | None = None
    table: str | None = None
    # Of a backup that another program keeps: its size there, and whether that program marked it as faulty.
    stored_elsewhere_bytes: int = 0
    is_marked: bool = False

    @property
    def stored_bytes(self) -> int:
        """On disk."""
        return self.stored_elsewhere_bytes + sum(part.stored_bytes for part in self.parts)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """repository.json."""

    id: str
    made_at: datetime
    fingerprint: str
    wrapped: Wrapped | None = None


class Signed(msgspec.Struct, frozen=True):
    """A text and its signature by the repository's key."""

    text: msgspec.Raw
    signature: str


class Repository:
    """An open repository. Writers hold `locked`, those who read it for long `shared`."""

    def __init__(self, folder: Path, key: bytes, facts: Facts) -> None:
        self.folder = folder
        self.facts = facts
        self._key = key

    # Reading

    def manifests(self) -> list[Manifest]:
        """All backups, the oldest first. Raises BackupDamaged for one whose manifest is."""
        found = [self.manifest(path.name) for path in self._folders()]

        return sorted(found, key=lambda manifest: (manifest.started_at, manifest.id))

    def manifest(self, backup_id: str) -> Manifest:
        """One backup. Raises NotFound, BackupDamaged."""
        name = f"backups/{backup_id}/{MANIFEST}"
        try:
            return msgspec.json.decode(self.signed(name), type=Manifest)
        except FileNotFoundError:
            raise errors.NotFound(f"There is no backup {backup_id}.") from None
        except msgspec.MsgspecError as exc:
            raise errors.BackupDamaged(f"{name} is damaged.") from exc

    def signed(self, name: str) -> bytes:
        """The text of a signed file. Raises BackupDamaged, FileNotFoundError."""
        try:
            found = msgspec.json.decode((self.folder / name).read_bytes(), type=Signed)
        except msgspec.MsgspecError as exc:
            raise errors.BackupDamaged(f"{name} is damaged: it can't be read.") from exc
        if cipher.signature(self._key, bytes(found.text), name) != found.signature:
            raise errors.BackupDamaged(f"{name} is damaged: its signature is of another text.")

        return bytes(found.text)

    @contextmanager
    def opened(self, name: str) -> Iterator[Opener]:
        """Read a sealed file. Raises BackupDamaged, also when it isn't there."""
        try:
            file = (self.folder / name).open("rb")
        except FileNotFoundError:
            raise errors.BackupDamaged(f"{name} is missing.") from None
        with file:
            yield Opener(file, self._key, name.removesuffix(SEALED), name)

    def check_part(self, backup_id: str, part: Part) -> None:
        """Compare a part with what its manifest says of it. Raises BackupDamaged that names it."""
        name = f"backups/{backup_id}/{part.name}"
        try:
            with (self.folder / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except FileNotFoundError:
            raise errors.BackupDamaged(f"{name} is missing.") from None
        if (digest, size) != (part.sha256, part.stored_bytes):
            raise errors.BackupDamaged(f"{name} is damaged: it is not what was written.")

    def wal(self, system: str) -> dict[str, str]:
        """WAL files of a cluster by the server's name for them, with our name."""
        return {
            path.name.removesuffix(f".gz{SEALED}"): str(path.relative_to(self.folder))
            for path in sorted((self.folder / "wal" / system).glob(f"*/*.gz{SEALED}"))
        }

    def has_wal(self, system: str, name: str) -> bool:
        """Whether a WAL file of a cluster is here, by the server's name for it."""
        return (self.folder / wal_name(system, name)).exists()

    def files(self) -> dict[str, int]:
        """Every file that is part of it and its size; a backup's manifest after its parts."""
        paths = [self.folder / FACTS, *sorted((self.folder / "wal").glob(f"*/*/*{SEALED}"))]
        for folder in self._folders():
            paths += sorted(folder.glob(f"*{SEALED}"))
            paths.append(folder / MANIFEST)
        paths.append(self.folder / ERASURES)

        return {str(p.relative_to(self.folder)): p.stat().st_size for p in paths if p.exists()}

    # Writing

    @contextmanager
    def locked(self, name: str = LOCK, *, wait_s: float = LOCK_WAIT_MAX_S) -> Iterator[None]:
        """Alone in it. Waits for whoever is, at most `wait_s`; raises BackupFailed then."""
        with _flock(self.folder / name, fcntl.LOCK_EX, wait_s):
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Nothing is removed meanwhile."""
        with _flock(self.folder / LOCK, fcntl.LOCK_SH, LOCK_WAIT_MAX_S):
            yield

    @contextmanager
    def drafting(self, backup_id: str) -> Iterator[Path]:
        """A folder for a backup's parts. `keep` makes it one; whatever else happens, it is removed."""
        self.sweep()
        draft = self.folder / "backups" / f".{backup_id}.draft"
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed backups left. The caller holds the lock."""
        for path in (self.folder / "backups").glob(".*.draft"):
            shutil.rmtree(path)

    @contextmanager
    def sealing(self, folder: Path, backup_id: str, name: str, parts: list[Part]) -> Iterator["PartWriter"]:
        """Write one part into a draft; it lasts, and is noted in `parts`, when this ends well."""
        with open(folder / f"{name}{SEALED}", "xb", opener=cipher.open_private) as file:
            writer = PartWriter(Sealer(file, self._key, f"backups/{backup_id}/{name}"))
            yield writer
            writer.sealer.close()
            file.flush()
            os.fsync(file.fileno())
        parts.append(
            Part(
                name=f"{name}{SEALED}",
                plain_bytes=writer.plain_bytes,
                stored_bytes=writer.sealer.sealed_bytes,
                sha256=writer.sealer.digest.hexdigest(),
            )
        )

    def keep(self, draft: Path, manifest: Manifest) -> None:
        """Write the manifest and give the draft its name: from now on the backup is there, and lasts."""
        name = f"backups/{manifest.id}/{MANIFEST}"
        _write(draft / MANIFEST, self._sign(name, msgspec.json.encode(manifest)))
        cipher.fsync_folder(draft)
        draft.rename(self.folder / "backups" / manifest.id)
        cipher.fsync_folder(self.folder / "backups")

    def put_wal(self, system: str, name: str, source: Path) -> str:
        """Keep a WAL file that the server archived (gzip). The same once more is fine; raises BackupFailed for another.

        Answers our name for it.
        """
        ours = wal_name(system, name)
        path = self.folder / ours
        if path.exists():
            with self.opened(ours) as kept:
                # Packed anew after a crash, the same segment has another head.
                if gzip.decompress(kept.read()) != gzip.decompress(source.read_bytes()):
                    raise errors.BackupFailed(f"Another WAL segment {name} is in the repository: two servers use it.")
            return ours
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, parents=True)
            cipher.fsync_folder(path.parent.parent)
            cipher.fsync_folder(self.folder / "wal")
        draft = path.with_name(f".{path.name}.draft")
        with open(draft, "wb", opener=cipher.open_private) as file:
            sealer = Sealer(file, self._key, ours.removesuffix(SEALED))
            sealer.write(source.read_bytes())
            sealer.close()
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        cipher.fsync_folder(path.parent)

        return ours

    def remove(self, names: list[str]) -> None:
        """Remove files; a backup's folder loses its manifest first, so that half a one is none."""
        for name in sorted(names, key=lambda name: not name.endswith(MANIFEST)):
            path = self.folder / name
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    # Who was erased

    def erasures(self) -> dict[str, str]:
        """Who was erased, by id, and who asked for it. Raises BackupDamaged for a line that was changed."""
        found: dict[str, str] = {}
        try:
            lines = (self.folder / ERASURES).read_bytes().splitlines()
        except FileNotFoundError:
            return found
        for number, line in enumerate(lines, 1):
            try:
                signed = msgspec.json.decode(line, type=Signed)
                user_id, requested_by = msgspec.json.decode(signed.text, type=tuple[str, str])
            except msgspec.MsgspecError as exc:
                raise errors.BackupDamaged(f"{ERASURES} is damaged in line {number}.") from exc
            if cipher.signature(self._key, bytes(signed.text), ERASURES) != signed.signature:
                raise errors.BackupDamaged(f"{ERASURES} is damaged in line {number}.")
            found[user_id] = requested_by

        return found

    def note_erasures(self, erased: Mapping[str, str]) -> bool:
        """Add those that aren't there yet, for good; whether there were any. The worker and a restore do it at once."""
        if not erased.keys() - self.erasures().keys():
            return False
        with self.locked("erasures.lock", wait_s=ERASURES_WAIT_S):
            known = self.erasures()
            added = {user_id: by for user_id, by in erased.items() if user_id not in known}
            lines = [self._sign(ERASURES, msgspec.json.encode(pair)) for pair in (known | added).items()]
            _write(self.folder / ERASURES, b"\n".join(lines) + b"\n")

        return True

    def _sign(self, name: str, text: bytes) -> bytes:
        return msgspec.json.encode(Signed(msgspec.Raw(text), cipher.signature(self._key, text, name)))

    def _folders(self) -> list[Path]:
        return sorted(p for p in (self.folder / "backups").glob("*") if p.is_dir() and not p.name.startswith("."))


def wal_name(system: str, name: str) -> str:
    """Our name for a WAL file of a cluster."""
    return f"wal/{system}/{name[:16]}/{name}.gz{SEALED}"


class PartWriter:
    """Counts what goes into a sealed part."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer
        self.plain_bytes = 0

    def write(self, data: bytes) -> int:
        """Add some bytes."""
        self.plain_bytes += len(data)

        return self.sealer.write(data)


def open_repository(folder: Path, home: Path, passphrase: str | None, *, make: bool) -> Repository:
    """Open it, or `make` it if it isn't there, with the key of this home or the passphrase.

    Raises ConfigurationError for a wrong key or passphrase and when none is known, NotFound without a repository.
    """
    path = folder / FACTS
    if not path.exists():
        if not make:
            raise errors.NotFound(f"There are no backups in {folder} yet: `callmeback backup now` makes one.")
        _make(folder, home, passphrase)
    facts, key = _facts_and_key(folder, home, passphrase)
    if cipher.read_key(home) != key:
        cipher.write_key(home, key)
    opened = Repository(folder, key, facts)
    if passphrase and make and (facts.wrapped is None or cipher.unwrap(facts.wrapped, passphrase) is None):
        # The passphrase is new or another one now; the key stays, so all that is there stays readable.
        opened.facts = msgspec.structs.replace(facts, wrapped=cipher.wrap(key, passphrase))
        _write(path, msgspec.json.encode(opened.facts))

    return opened


def check_key(folder: Path, home: Path, passphrase: str | None) -> None:
    """Whether what is there could be opened: raises what opening it would. Nothing is changed."""
    if (folder / FACTS).exists():
        _facts_and_key(folder, home, passphrase)


def _facts_and_key(folder: Path, home: Path, passphrase: str | None) -> tuple[Facts, bytes]:
    path = folder / FACTS
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=Facts)
    except msgspec.MsgspecError as exc:
        raise errors.BackupDamaged(f"{path} is damaged. Take it from the second place, or from a copy.") from exc
    key = cipher.read_key(home)
    if (key is None or cipher.fingerprint(key) != facts.fingerprint) and passphrase and facts.wrapped:
        key = cipher.unwrap(facts.wrapped, passphrase)
    if key is None or cipher.fingerprint(key) != facts.fingerprint:
        raise errors.ConfigurationError(
            f"The backups in {folder} were sealed with another key: put its {cipher.KEY_FILE} into {home}, or set "
            "CALLMEBACK_BACKUP_PASSPHRASE to the passphrase that they were made with."
        )

    return facts, key


def _make(folder: Path, home: Path, passphrase: str | None) -> None:
    """Make the repository, or find that somebody else just did.

    The duties of the first worker and a first `backup now` come at once: two keys would leave one of them unreadable.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("backups", "wal"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise errors.ConfigurationError(f"The folder for backups {folder} can't be made: {exc.strerror}.") from exc
    with _flock(folder / LOCK, fcntl.LOCK_EX, LOCK_WAIT_MAX_S):
        key = cipher.read_key(home)
        if (folder / FACTS).exists():
            return
        if key is None:
            key = cipher.new_key()
            cipher.write_key(home, key)
        facts = Facts(
            id=os.urandom(12).hex(),
            made_at=datetime.now(UTC),
            fingerprint=cipher.fingerprint(key),
            wrapped=cipher.wrap(key, passphrase) if passphrase else None,
        )
        _write(folder / FACTS, msgspec.json.encode(facts))


@contextmanager
def _flock(path: Path, kind: int, wait_s: float) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise errors.BackupFailed("Another backup or restore is still running.") from None
                time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, text: bytes) -> None:
    """Write a small file so that a reader sees the old text or the new one, and so that it lasts."""
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb", opener=cipher.open_private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    cipher.fsync_folder(path.parent)
