"""What a killed server leaves behind: processes that hold its shared memory, and the lock file of a dead one."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Final

from callmeback import errors

WAIT_S: Final = 60.0
POLL_S: Final = 0.02
PROC: Final = Path("/proc")


def clear(data: Path, sockets: Path) -> None:
    """Wait for an old server of this data folder to end, asking it to, and remove lock files that mislead.

    The caller holds the home's lock, so whatever still runs here belongs to a process that is gone. An orphaned
    postmaster is told to shut down; its children leave by themselves. Raises ServerFailed when they stay.
    """
    deadline = time.monotonic() + WAIT_S
    asked = False
    while users := _processes_in(data):
        postmaster = _locked_by(data)
        if postmaster in users and not asked:
            _ask(postmaster)
            asked = True
        if time.monotonic() > deadline:
            raise errors.ServerFailed(f"An earlier server still runs on {data}: processes {sorted(users)}.")
        time.sleep(POLL_S)
    # After a restart of the machine the number may belong to another program of the same user, or in a container to a
    # dead process that nobody buried, and PostgreSQL takes either for a running server. Nobody works in the folder, so
    # the files are of the past.
    stale = _locked_by(data)
    if PROC.exists() and stale is not None and (PROC / str(stale)).exists():
        (data / "postmaster.pid").unlink(missing_ok=True)
        for path in sockets.glob(".s.PGSQL.*"):
            path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder that an interrupted start left, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def _processes_in(data: Path) -> set[int]:
    """Processes whose working directory is the data folder, as a server's are; by /proc, so none elsewhere."""
    found = set()
    for entry in PROC.iterdir() if PROC.exists() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == data:
                    found.add(int(entry.name))

    return found


def _locked_by(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _ask(postmaster: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster, signal.SIGINT)
