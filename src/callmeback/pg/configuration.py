"""The embedded server's configuration files, written anew at every start. Sizes are for one small machine."""

import shlex
from pathlib import Path
from typing import Final

from callmeback.pg.binaries import Binaries
from callmeback.pg.place import Place

INCLUDED: Final = "callmeback.conf"
MEBIBYTE: Final = 1 << 20
SHARED_BUFFERS_MIN_MB: Final = 64
SHARED_BUFFERS_MAX_MB: Final = 1_024
CONNECTIONS_MAX: Final = 100
# A path longer than this can't be a socket's (sun_path has 108 bytes on Linux, 104 elsewhere, and a name follows).
SOCKET_FOLDER_MAX: Final = 80

# Passwords always; `trust` never. The superuser may also copy the whole cluster (pg_basebackup).
HOST_BASED_ACCESS: Final = """\
# Written by callmeback at every start.
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
local replication postgres scram-sha-256
host replication postgres 127.0.0.1/32 scram-sha-256
"""

# Archives one finished WAL segment: written, fsynced, renamed, fsynced. A segment that was archived just before a crash
# is asked for again; the same one again is success, another one under its name is not.
ARCHIVE_SCRIPT: Final = """\
#!/bin/sh
# Written by callmeback at every start. Usage: archive.sh SEGMENT_PATH SEGMENT_NAME
set -eu
folder={folder}
target="$folder/$2.gz"
if [ -e "$target" ]; then
    gzip -dc "$target" | cmp -s - "$1"
    exit
fi
gzip -1 -c "$1" > "$folder/.$2.draft"
sync "$folder/.$2.draft"
mv "$folder/.$2.draft" "$target"
sync "$folder"
"""


def write(place: Place, binaries: Binaries, *, port: int, durable: bool, archive: bool) -> None:
    """Write callmeback.conf, pg_hba.conf and the archive script, and have postgresql.conf include the first."""
    for folder in (place.archive, place.logs):
        place.make_folder(folder)
    settings = _settings(place, binaries, port) | archiving(place, binaries, archive and durable)
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    lines = [f"{name} = {_quoted(value)}\n" for name, value in sorted(settings.items())]
    _put(place, place.data / INCLUDED, "# Written by callmeback at every start.\n" + "".join(lines))
    _put(place, place.data / "pg_hba.conf", HOST_BASED_ACCESS)
    main = place.data / "postgresql.conf"
    text = main.read_text("utf-8")
    include = f"include_if_exists '{INCLUDED}'\n"
    if include not in text:
        _put(place, main, f"{text}\n{include}")


def archive_script(place: Place) -> Path:
    """Write the archive script anew; where it is."""
    path = place.state / "archive.sh"
    _put(place, path, ARCHIVE_SCRIPT.format(folder=shlex.quote(str(place.archive))))

    return path


def socket_folder(place: Place) -> Path | None:
    """Where the Unix socket is; None when the path is too long for one."""
    return place.state if len(bytes(place.state)) <= SOCKET_FOLDER_MAX else None


def _settings(place: Place, binaries: Binaries, port: int) -> dict[str, str]:
    memory = _memory_mb()
    buffers = min(max(memory // 8, SHARED_BUFFERS_MIN_MB), SHARED_BUFFERS_MAX_MB)
    libraries = [name for name in ("pg_stat_statements",) if binaries.has_library(name)]

    return {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(socket_folder(place) or ""),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        "max_connections": str(CONNECTIONS_MAX),
        "shared_preload_libraries": ",".join(libraries),
        # A client that is gone must not keep its locks.
        "client_connection_check_interval": "1s",
        "tcp_keepalives_idle": "60",
        "shared_buffers": f"{buffers}MB",
        "effective_cache_size": f"{max(memory // 2, 2 * buffers)}MB",
        "work_mem": "8MB",
        "maintenance_work_mem": f"{min(max(memory // 16, 64), 256)}MB",
        "max_wal_size": "2GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "10min",
        # A restored folder is ready when it has recovered, not when it could be read on the way there.
        "hot_standby": "off",
        "random_page_cost": "1.1",
        "jit": "off",
        "track_io_timing": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "on",
        "log_directory": str(place.logs),
        # Seven files at most, each begun anew a week later.
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "log_lock_waits": "on",
        "log_temp_files": "10MB",
        "log_min_duration_statement": "1s",
        # Details quote the values of a row, and parameters are values: neither belongs into a log.
        "log_error_verbosity": "terse",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }


def archiving(place: Place, binaries: Binaries, on: bool) -> dict[str, str]:
    """The settings by which finished WAL segments go where the backups fetch them.

    Writes the script that they name: that of a home that was copied or moved leads to where it was.
    """
    if not on:
        return {"archive_mode": "off"}
    command = f"sh {shlex.quote(str(archive_script(place)))}".replace("%", "%%") + ' "%p" "%f"'
    settings = {"archive_mode": "on", "archive_command": command, "wal_level": "replica"}
    # The server counts in whole seconds and a segment has to be packed, and all in all no commit waits for 10 s.
    settings["archive_timeout"] = "8s"
    if binaries.major >= 17:
        settings["summarize_wal"] = "on"

    return settings


def _memory_mb() -> int:
    """The memory of this machine, or of our share of it where a control group says so."""
    with open("/proc/meminfo", encoding="ascii") as file:
        total = next(int(line.split()[1]) // 1_024 for line in file if line.startswith("MemTotal:"))
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("ascii").strip()
    except OSError:
        return total

    return min(total, int(limit) // MEBIBYTE) if limit.isdigit() else total


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _put(place: Place, path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.write_text(text, "utf-8")
    draft.chmod(0o600)
    place.own(draft)
    draft.replace(path)
