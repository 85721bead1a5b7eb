"""A copy's files written out of its sealed stream: while one thread opens and inflates, another writes.

A copy is a tar file of plain files and folders, as pg_basebackup sends it. Large files of a folder that is to last go
past the page cache: that takes a tenth of the processor's time, leaves the living server its cache, and nothing has to
be flushed at the end.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import queue
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import zstandard

from callmeback import errors
from callmeback.ops.backup_repository import Manifest
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.ops.backup_take import CLUSTER
from callmeback.pg.place import Place

BUFFER_BYTES: Final = 1 << 20
BUFFERS: Final = 6
# What a disk wants the length and the place of a direct write to be a multiple of; none wants more.
DIRECT_UNIT_BYTES: Final = 4_096
# Smaller files are flushed faster together.
DIRECT_FROM_BYTES: Final = 1 << 20
# Of a member's mode: nothing for others, and no set-id.
MODE_MASK: Final = 0o770
# Not everywhere; then everything goes through the cache.
_O_DIRECT: Final = getattr(os, "O_DIRECT", 0)


def unpack(site: Site, manifest: Manifest, folder: Path, *, durable: bool = False, report: Report = silent) -> None:
    """Unpack one backup's files into a new folder, which is the server's account's at the end.

    `durable` for files that are to last, though only the server that recovers them makes sure that they do. Raises
    BackupDamaged that names the part, RestoreRefused where it can't be written.
    """
    part = next(part for part in manifest.parts if part.name.startswith(CLUSTER))
    name = f"backups/{manifest.id}/{part.name}"
    site.bring(name)
    try:
        with site.repository.opened(name) as sealed, _made(site.place, folder) as root:
            stream = zstandard.ZstdDecompressor().stream_reader(sealed, read_across_frames=True)  # type: ignore[arg-type]  # it only reads
            with _Writer(direct=durable) as writer:
                for done in _extracted(site.place, stream, root, writer):
                    report("Unpacking", done, max(done, manifest.database_bytes))
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as exc:
        raise errors.BackupDamaged(f"{name} is damaged: {exc}.") from exc
    except OSError as exc:
        raise errors.RestoreRefused(f"The backup can't be unpacked into {folder}: {exc.strerror}.") from exc


@contextmanager
def _made(place: Place, folder: Path) -> Iterator[int]:
    """A folder by its descriptor. It is ours alone while it is filled, so that nobody leads us elsewhere by a link."""
    folder.mkdir(mode=0o700)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(root).st_uid != os.geteuid():
            raise errors.RestoreRefused(f"{folder} was exchanged meanwhile.")
        yield root
        if place.account is not None:
            os.fchown(root, place.account.uid, place.account.gid)
    finally:
        os.close(root)


def _extracted(place: Place, stream: zstandard.ZstdDecompressionReader, root: int, writer: "_Writer") -> Iterator[int]:
    """Write the members of a tar stream below a folder; answers the bytes so far, again and again."""
    done = 0
    while (header := _taken(stream, tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        if member.name.startswith("/") or ".." in member.name.split("/") or not (member.isdir() or member.isreg()):
            raise tarfile.ReadError(f"{member.name} is neither a file nor a folder of a copy")
        if member.isdir():
            _make_folder(place, member, root)
            continue
        file = writer.create(place, member, root)
        missing = member.size
        while missing:
            count = min(missing, BUFFER_BYTES)
            writer.write(file, stream, count)
            missing -= count
            done += count
            yield done
        writer.finish(file)
        _taken(stream, -member.size % tarfile.BLOCKSIZE)
    # To the end, so that the last chunk is opened, too.
    while stream.read(BUFFER_BYTES):
        pass


def _make_folder(place: Place, member: tarfile.TarInfo, root: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(member.name, member.mode & MODE_MASK, dir_fd=root)
    if place.account is not None:
        os.chown(member.name, place.account.uid, place.account.gid, dir_fd=root, follow_symlinks=False)


def _taken(stream: zstandard.ZstdDecompressionReader, count: int) -> bytes:
    data: bytes = stream.read(count) if count else b""
    if len(data) != count:
        raise EOFError("it ends too early")

    return data


class _Writer:
    """Writes what it is given by a thread of its own, so that the next bytes are inflated meanwhile."""

    def __init__(self, *, direct: bool) -> None:
        self._direct = _O_DIRECT if direct else 0
        # Memory of our own, because a direct write wants it at the beginning of a page.
        self._memory = mmap.mmap(-1, BUFFERS * BUFFER_BYTES)
        self._free: queue.SimpleQueue[memoryview | OSError] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[int, memoryview, int] | int | None] = queue.SimpleQueue()
        self._open: set[int] = set()
        self._thread = threading.Thread(target=self._work, name="write files")

    def __enter__(self) -> "_Writer":
        view = memoryview(self._memory)
        for number in range(BUFFERS):
            self._free.put(view[number * BUFFER_BYTES : (number + 1) * BUFFER_BYTES])
        self._thread.start()

        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Everything is written when this ends; raises the OSError of what couldn't be."""
        self._full.put(None)
        self._thread.join()
        for file in self._open:
            os.close(file)
        while kind is None and not self._free.empty():
            if isinstance(found := self._free.get(), OSError):
                raise found

    def create(self, place: Place, member: tarfile.TarInfo, root: int) -> int:
        """A new file of the account."""
        flags, mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, member.mode & MODE_MASK
        direct = self._direct if member.size >= DIRECT_FROM_BYTES else 0
        try:
            file = os.open(member.name, flags | direct, mode, dir_fd=root)
        except OSError as exc:
            if not direct or exc.errno != errno.EINVAL:
                raise
            # A file system that only knows its cache.
            self._direct = 0
            with contextlib.suppress(FileNotFoundError):
                os.unlink(member.name, dir_fd=root)
            file = os.open(member.name, flags, mode, dir_fd=root)
        self._open.add(file)
        if place.account is not None:
            os.fchown(file, place.account.uid, place.account.gid)

        return file

    def write(self, file: int, stream: zstandard.ZstdDecompressionReader, count: int) -> None:
        """Add the next bytes of a stream to a file; waits for a buffer. Raises the OSError of an earlier write."""
        buffer = self._free.get()
        if isinstance(buffer, OSError):
            raise buffer
        if stream.readinto(buffer[:count]) != count:
            raise EOFError("it ends too early")
        self._full.put((file, buffer, count))

    def finish(self, file: int) -> None:
        """Nothing is added to a file any more."""
        self._full.put(file)

    def _work(self) -> None:
        """The thread: write and close until None comes or a write fails."""
        try:
            while (work := self._full.get()) is not None:
                if isinstance(work, int):
                    self._open.discard(work)
                    os.close(work)
                    continue
                file, buffer, count = work
                _write(file, buffer[:count])
                self._free.put(buffer)
        except OSError as exc:
            self._free.put(exc)


def _write(file: int, data: memoryview) -> None:
    """Write all of it; a file's end that isn't a multiple of the disk's unit goes through the cache."""
    rest = len(data) % DIRECT_UNIT_BYTES
    _write_whole(file, data[: len(data) - rest])
    if rest:
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) & ~_O_DIRECT)
        _write_whole(file, data[len(data) - rest :])


def _write_whole(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]
