"""The second place: a folder (another disk, a mounted share) or a bucket, which holds a copy of the repository."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from callmeback import errors
from callmeback.ops import backup_cipher as cipher
from callmeback.ops.backup_repository import ERASURES, FACTS, MANIFEST, Repository
from callmeback.ops.backup_s3 import Access, Bucket
from callmeback.settings import Settings

DEFAULT_REGION: Final = "us-east-1"
SCHEME: Final = "s3://"
READ_BYTES: Final = 1 << 20


class Mirror(Protocol):
    """What a second place can do. Names are those of the repository; each method raises BackupFailed."""

    def put(self, name: str, source: Path) -> None:
        """Store a file; readers see all of it or nothing."""

    def get(self, name: str, target: Path) -> None:
        """Fetch a file."""

    def names(self, below: str = "") -> dict[str, int]:
        """Names that begin with `below`, with their sizes."""

    def delete(self, name: str) -> None:
        """Remove a name."""


class Folder:
    """A folder as the second place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, source: Path) -> None:
        """Copy a file into it, so that it lasts before it gets its name."""
        target = self._folder / name
        # The worker may send the same file at the same time.
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.draft")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with source.open("rb") as read, open(draft, "wb", opener=cipher.open_private) as file:
                shutil.copyfileobj(read, file, READ_BYTES)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(target)
            cipher.fsync_folder(target.parent)
        except OSError as exc:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise errors.BackupFailed(f"{self._folder} does not take {name}: {exc.strerror}.") from exc

    def get(self, name: str, target: Path) -> None:
        """Copy a file out of it."""
        draft = target.with_name(f".{target.name}.draft")
        try:
            shutil.copyfile(self._folder / name, draft)
        except OSError as exc:
            raise errors.BackupFailed(f"{self._folder} does not give {name}: {exc.strerror}.") from exc
        draft.rename(target)

    def names(self, below: str = "") -> dict[str, int]:
        """Names that begin with `below`."""
        start = self._folder / below
        root = start if start.is_dir() else start.parent
        paths = (p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
        found = {str(path.relative_to(self._folder)): path.stat().st_size for path in paths}

        return {name: size for name, size in found.items() if name.startswith(below)}

    def delete(self, name: str) -> None:
        """Remove it."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as exc:
            raise errors.BackupFailed(f"{self._folder} does not let go of {name}: {exc.strerror}.") from exc


def mirror_of(settings: Settings) -> Mirror | None:
    """The second place of the settings; None when none is set. Raises ConfigurationError."""
    place = settings.backup_mirror
    if place is None:
        return None
    if not place.startswith(SCHEME):
        return Folder(Path(place).expanduser())
    parts = urlsplit(place)
    if not parts.netloc or settings.aws_access_key_id is None or settings.aws_secret_access_key is None:
        raise errors.ConfigurationError(
            "CALLMEBACK_BACKUP_MIRROR=s3://bucket/folder needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY too."
        )
    region = settings.aws_region or DEFAULT_REGION
    access = Access(
        endpoint=(settings.aws_endpoint_url or f"https://s3.{region}.amazonaws.com").rstrip("/"),
        region=region,
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        key_id=settings.aws_access_key_id,
        secret=settings.aws_secret_access_key,
    )

    return Bucket(access)


def send(repository: Repository, mirror: Mirror) -> int:
    """Bring the second place up to the repository: what is missing or of another size is stored. How many files."""
    there = mirror.names()
    sent = 0
    for name, size in repository.files().items():
        # Erasures and the passphrase's box change in place.
        if there.get(name) != size or name in (FACTS, ERASURES):
            mirror.put(name, repository.folder / name)
            sent += 1

    return sent


def fetch_missing(folder: Path, mirror: Mirror) -> bool:
    """For a machine that lost its repository: bring facts and manifests back; the rest is fetched when needed.

    Whether the second place holds a repository.
    """
    names = mirror.names()
    if FACTS not in names:
        return False
    for name in names:
        if name in (FACTS, ERASURES) or name.endswith(f"/{MANIFEST}"):
            bring(folder, mirror, name)
    for below in ("backups", "wal"):
        (folder / below).mkdir(mode=0o700, parents=True, exist_ok=True)

    return True


def bring(folder: Path, mirror: Mirror | None, name: str) -> None:
    """Make sure that a file is in the repository; fetched when it isn't. Without a mirror nothing happens."""
    path = folder / name
    if path.exists() or mirror is None:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mirror.get(name, path)
