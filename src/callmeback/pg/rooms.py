"""Rooms: folders for what is unpacked or unsealed for a while. None outlives its work, however that ends.

A room is locked by the process that works in it, so that the next one sees which were left by one that was killed.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from callmeback import errors
from callmeback.pg.place import Place

PREFIX: Final = ".restore-"
# A room gets its name when it is locked.
MAKING: Final = ".making"
LOCK: Final = "lock"
# Of those without a lock: killed within the moment of their making, or from before there were locks.
LEFT_OVER_AFTER_S: Final = 86_400


@contextmanager
def room(place: Place, where: Path, prefix: str = PREFIX) -> Iterator[Path]:
    """A new folder below `where`, the server's account's, that is removed at the end; raises RestoreRefused.

    Rooms of that prefix there of processes that were killed are removed first.
    """
    path = where / f"{prefix}{secrets.token_hex(6)}"
    making = path.with_suffix(MAKING)
    sweep(where, prefix)
    try:
        making.mkdir(mode=0o700)
        held = os.open(making / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise errors.RestoreRefused(f"Nothing can be written in {where}: {exc.strerror}.") from exc
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        place.own(making)
        making.rename(path)
        yield path
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise errors.RestoreRefused(f"There is no room left in {where}.") from exc
    finally:
        shutil.rmtree(making, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def sweep(where: Path, prefix: str = PREFIX) -> None:
    """Remove rooms in which nobody works any more; those of others, and what only looks like one, stay."""
    for path in where.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if _is_left(path):
                shutil.rmtree(path)


def _is_left(path: Path) -> bool:
    if path.suffix == MAKING or not (path / LOCK).exists():
        return time.time() - path.stat().st_mtime > LEFT_OVER_AFTER_S
    # Some lie in a folder where everybody may put things.
    held = os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(held)

    return True
