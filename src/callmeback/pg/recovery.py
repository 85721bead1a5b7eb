"""Restored data folders: told how far to recover, and opened by a server that nobody but us can reach."""

import contextlib
import getpass
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from psycopg.conninfo import make_conninfo

from callmeback import errors
from callmeback.pg import lifeline, rooms
from callmeback.pg.place import Place

# Recovery replays up to a day of WAL.
RECOVERY_TIMEOUT_S: Final = 14_400.0
STOP_TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.01
STATUS_LINE: Final = 7
LOG_TAIL_LINES: Final = 12
PORT: Final = 5432
DATABASE: Final = "callmeback"
TARGET_MISSED: Final = "recovery ended before configured recovery target"

# Its socket lies in a folder of mode 0700 and nothing listens on the network, so the operating system says who asks:
# `peer` believes it and no client, unlike `trust`. The superuser's password may be unknown, as on another machine.
HOST_BASED_ACCESS: Final = "local all all peer map=restore\n"
FETCH_SCRIPT: Final = """\
#!/bin/sh
# Usage: fetch.sh SEGMENT_NAME TARGET_PATH. A segment that isn't there is the end of the archive.
set -eu
test -f {folder}/"$1.gz" || exit 1
gzip -dc {folder}/"$1.gz" > "$2"
"""
# For a server that is read once; what a cluster must have to be opened by it, and nothing that reaches out.
SIDE_SETTINGS: Final = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "archive_mode": "off",
    "hot_standby": "off",
    "autovacuum": "off",
    "wal_level": "replica",
    "max_connections": "20",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
ROOM: Final = "callmeback-side-"
_OURS: Final = ("restore_command", "recovery_")


def prepare(place: Place, data: Path, wal: Path, until: datetime | None) -> None:
    """Tell a restored folder to recover from the segments in `wal` (gzip), up to `until` or as far as they go.

    `wal` also gets the script that fetches them. The next start of a server recovers and then takes writes.
    """
    script = wal / "fetch.sh"
    script.write_text(FETCH_SCRIPT.format(folder=shlex.quote(str(wal))), "utf-8")
    place.own(script)
    fetch = f"sh {shlex.quote(str(script))}".replace("%", "%%") + ' "%f" "%p"'
    settings = {"restore_command": fetch, "recovery_target_timeline": "latest"}
    if until is not None:
        settings |= {
            "recovery_target_time": until.astimezone(UTC).isoformat(sep=" "),
            "recovery_target_action": "promote",
        }
    _rewrite(place, data, settings)
    signal_file = data / "recovery.signal"
    signal_file.touch(mode=0o600)
    place.own(signal_file)


def forget(place: Place, data: Path) -> None:
    """Take the way of the recovery out of a folder's settings again, once it has recovered."""
    _rewrite(place, data, {})


class Side:
    """A server beside the living one, on a restored folder. `stop` shuts it down; so does the end of the process."""

    def __init__(
        self, place: Place, programs: Path, data: Path, *, durable: bool = False, more: Mapping[str, str] | None = None
    ) -> None:
        """Start it and wait until it has recovered; `durable` where the folder is to be kept, `more` its own settings.

        Call it from the main thread. Raises RestoreRefused when the archive ends before the target, BackupDamaged when
        it doesn't get that far.
        """
        self._data = data
        self._ended = contextlib.ExitStack()
        # Not beside the data: the path of a socket is short.
        self._room = self._ended.enter_context(rooms.room(place, Path(tempfile.gettempdir()), ROOM))
        try:
            _write_room(place, self._room, durable, more or {})
        except BaseException:
            self._ended.close()
            raise
        with (self._room / "log").open("wb") as output:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-c", f"config_file={self._room}/postgresql.conf"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lifeline.tie(signal.SIGINT),  # noqa: PLW1509 - one system call, looked up before
                **place.as_account(),
            )
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def dsn(self) -> str:
        """As its superuser, in our database."""
        return make_conninfo(host=str(self._room), port=PORT, user="postgres", dbname=DATABASE)

    def stop(self) -> None:
        """Shut it down in order; a second call does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        self._ended.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + RECOVERY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                said = self._said()
                if TARGET_MISSED in said:
                    raise errors.RestoreRefused("The archive ends before the time that was asked for.")
                raise errors.BackupDamaged(f"The restored copy doesn't start:\n{said}")
            with contextlib.suppress(FileNotFoundError):
                lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
                if len(lines) > STATUS_LINE and lines[0] == str(self._process.pid):
                    if lines[STATUS_LINE].strip() == "ready":
                        return
            time.sleep(POLL_S)

        raise errors.BackupDamaged(f"The restored copy was not ready after {RECOVERY_TIMEOUT_S:.0f} s.")

    def _said(self) -> str:
        text = (self._room / "log").read_text("utf-8", "replace")

        return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])


def _write_room(place: Place, room: Path, durable: bool, more: Mapping[str, str]) -> None:
    settings = {
        **SIDE_SETTINGS,
        **more,
        "unix_socket_directories": str(room),
        "hba_file": str(room / "hba.conf"),
        "ident_file": str(room / "ident.conf"),
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    texts = {
        "postgresql.conf": "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items()),
        "hba.conf": HOST_BASED_ACCESS,
        "ident.conf": f"restore {getpass.getuser()} postgres\n",
    }
    for name, text in texts.items():
        path = room / name
        path.write_text(text, "utf-8")
        place.own(path)


def _rewrite(place: Place, data: Path, settings: dict[str, str]) -> None:
    """postgresql.auto.conf without an earlier recovery's settings and with these."""
    path = data / "postgresql.auto.conf"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if not line.startswith(_OURS)]
    added = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    draft = path.with_name(".postgresql.auto.conf.draft")
    draft.write_text("\n".join([*kept, *added, ""]), "utf-8")
    draft.chmod(0o600)
    place.own(draft)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
