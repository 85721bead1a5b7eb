"""Copies written out: the same bytes past the page cache and through it, and nothing outside the folder."""

import contextlib
import io
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from callmeback.ops import restore_unpack
from callmeback.pg.place import Place

MEGABYTE = 1 << 20
SIZES = (0, 1, 511, 512, 4_096, MEGABYTE - 1, MEGABYTE, MEGABYTE + 1, 3 * MEGABYTE + 4_097, 5 * MEGABYTE)


def packed(*members: tuple[str, bytes, bytes]) -> bytes:
    """Name, type, content."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, kind, data in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.mode = kind, len(data), 0o6_755
            tar.addfile(member, io.BytesIO(data))

    return sink.getvalue()


def unpack(stream: bytes, folder: Path, *, direct: bool = True) -> None:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(zstandard.compress(stream)))
    place = Place(folder, folder, None)
    with restore_unpack._made(place, folder) as root, restore_unpack._Writer(direct=direct) as writer:
        for _ in restore_unpack._extracted(place, reader, root, writer):
            pass


@pytest.mark.parametrize("direct", [True, False])
def test_every_byte_of_every_size_is_written(tmp_path: Path, direct: bool):
    files = {f"base/{size}": os.urandom(size) for size in SIZES}
    members = [(name, tarfile.REGTYPE, data) for name, data in files.items()]
    unpack(packed(("base", tarfile.DIRTYPE, b""), *members), tmp_path / "copy", direct=direct)
    found = {str(path.relative_to(tmp_path / "copy")): path for path in (tmp_path / "copy/base").iterdir()}

    assert {name: path.read_bytes() for name, path in found.items()} == files
    assert {path.stat().st_mode & 0o7_777 for path in found.values()} <= {0o750, 0o700}


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", tarfile.REGTYPE, b"x"),
        ("/tmp/outside", tarfile.REGTYPE, b"x"),
        ("link", tarfile.SYMTYPE, b""),
        ("a/../../outside", tarfile.DIRTYPE, b""),
    ],
)
def test_what_is_no_file_or_folder_of_a_copy_is_refused(tmp_path: Path, member: tuple[str, bytes, bytes]):
    with pytest.raises(tarfile.ReadError, match="neither a file nor a folder"):
        unpack(packed(member), tmp_path / "copy")

    assert list(tmp_path.rglob("*")) == [tmp_path / "copy"]


def test_a_stream_that_ends_too_early_is_noticed(tmp_path: Path):
    whole = packed(("data", tarfile.REGTYPE, os.urandom(2 * MEGABYTE)))
    for length in (0, 100, 600, MEGABYTE, 2 * MEGABYTE + 512):
        with pytest.raises(EOFError):
            unpack(whole[:length], tmp_path / str(length))


def test_a_disk_that_is_full_is_said_once_all_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(file: int, data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    def opened() -> list[Path]:
        found = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.append(Path(f"/proc/self/fd/{number}").readlink())
        return [path for path in found if path.is_relative_to(tmp_path)]

    monkeypatch.setattr(restore_unpack, "_write", full)
    many = [(str(number), tarfile.REGTYPE, b"x" * MEGABYTE) for number in range(2 * restore_unpack.BUFFERS)]
    for members in (many[:1], many):
        with pytest.raises(OSError, match="No space left"):
            unpack(packed(*members), tmp_path / f"{len(members)}")

    assert opened() == []
