"""A new data folder in the place of the old one, which is kept: in one step where the filesystem can do it."""

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from callmeback import errors
from callmeback.pg.binaries import Binaries
from callmeback.pg.place import Place

# Of linux/fcntl.h and linux/fs.h; see renameat2(2).
AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2
SYNC_TIMEOUT_S: Final = 3_600

_renameat2: Final = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None


def take_the_place(place: Place, new: Path, kept: Path) -> None:
    """Put `new` where the data are and keep what is there as `kept`.

    A kill leaves the old folder in its place or the new one, never none and never a part. Only on a filesystem that
    can't exchange two folders there is a moment without either, after which `place.refuse_interrupted` says so.
    """
    if _can_exchange(new.parent):
        new.rename(kept)
        try:
            _exchange(kept, place.data)
        except OSError:
            kept.rename(new)
            raise
    else:
        place.data.rename(kept)
        new.rename(place.data)


def make_last(place: Place, programs: Binaries, data: Path) -> None:
    """Bring a folder that a server wrote without waiting for the disk onto the disk. Raises ServerFailed."""
    done = subprocess.run(
        [programs.program("initdb"), "--sync-only", f"--pgdata={data}"],
        capture_output=True,
        text=True,
        timeout=SYNC_TIMEOUT_S,
        check=False,
        **place.as_account(),
    )
    if done.returncode != 0:
        raise errors.ServerFailed(f"The new folder can't be written to the disk: {done.stderr.strip()[-500:]}")


def _exchange(one: Path, other: Path) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, "this system can't exchange two folders")
    if _renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "two folders can't be exchanged")


def _can_exchange(room: Path) -> bool:
    """Whether this filesystem can, by trying it on two empty folders."""
    probes = [room / "probe.one", room / "probe.other"]
    for probe in probes:
        probe.mkdir()
    try:
        _exchange(*probes)
    except OSError:
        return False
    finally:
        for probe in probes:
            probe.rmdir()

    return True
