"""WAL segments: their names, their order, and the last commit that is in them."""

import contextlib
import gzip
import re
import subprocess
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from callmeback import logs
from callmeback.pg import configuration
from callmeback.pg.place import Place

# Of 16 MB, as initdb makes them.
SEGMENTS_PER_LOG: Final = 256
DUMP_TIMEOUT_S: Final = 120
ARCHIVE_TIMEOUT_S: Final = 120
# Where the id of the cluster stands: in pg_control, and in a segment's first page (XLogLongPageHeaderData).
SYSTEM_BYTES: Final = 8
SYSTEM_OFFSET: Final = 24

_SEGMENT: Final = re.compile(r"[0-9A-F]{24}\Z")
_HISTORY: Final = re.compile(r"[0-9A-F]{8}\.history\Z")
_COMMIT: Final = re.compile(r"desc: COMMIT (?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")

log = logs.get_logger(__name__)


def is_segment(name: str) -> bool:
    """Whether a name is a whole segment's; not a partial one's, a history's or a backup label's."""
    return _SEGMENT.match(name) is not None


def is_history(name: str) -> bool:
    """Whether a name is that of a timeline's history."""
    return _HISTORY.match(name) is not None


def timeline(name: str) -> int:
    """Which timeline a segment or a history belongs to."""
    return int(name[:8], 16)


def position(name: str) -> int:
    """The place of a segment among all, whatever its timeline."""
    return int(name[8:16], 16) * SEGMENTS_PER_LOG + int(name[16:24], 16)


def name_of(line: int, place: int) -> str:
    """The segment of a timeline at a position."""
    return f"{line:08X}{place // SEGMENTS_PER_LOG:08X}{place % SEGMENTS_PER_LOG:08X}"


def branches(history: str) -> dict[int, int]:
    """Where each older timeline was left, as the position of the segment, by a timeline's history file."""
    found = {}
    for line in history.splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[0].isdigit() and "/" in parts[1]:
            high, _, low = parts[1].partition("/")
            found[int(parts[0])] = int(high, 16) * SEGMENTS_PER_LOG + (int(low, 16) >> 24)

    return found


def system_of(data: Path, archive: Path) -> str | None:
    """The id of the cluster in `data`, else of the one that archived the newest segment in `archive`; None without."""
    with contextlib.suppress(OSError):
        with (data / "global" / "pg_control").open("rb") as file:
            return str(int.from_bytes(file.read(SYSTEM_BYTES), "little"))
    for path in sorted(archive.glob("*.gz"), reverse=True):
        if is_segment(path.name.removesuffix(".gz")):
            with contextlib.suppress(OSError, EOFError, zlib.error), gzip.open(path) as file:
                head = file.read(SYSTEM_OFFSET + SYSTEM_BYTES)
                return str(int.from_bytes(head[SYSTEM_OFFSET:], "little"))

    return None


def gaps(names: Iterable[str], first: str) -> list[str]:
    """Segments that are missing from `first` on, up to the newest of each position; any timeline fills a position."""
    there = {position(name) for name in names if is_segment(name)}
    begin = position(first)
    after = [place for place in there if place >= begin]
    if not after:
        return [first]

    return [name_of(timeline(first), place) for place in range(begin, max(after)) if place not in there]


def last_commit(place: Place, programs: Path, segment: Path) -> datetime | None:
    """When the newest transaction in a segment committed, by the server's clock; None when none is in it."""
    done = subprocess.run(
        [programs / "pg_waldump", "--rmgr=Transaction", f"--path={segment.parent}", segment.name],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=DUMP_TIMEOUT_S,
        check=False,
        **place.as_account(),
    )
    # It ends with an error where the segment's records end, which is no error here.
    found = [match["at"] for match in _COMMIT.finditer(done.stdout)]

    return datetime.fromisoformat(max(found)).replace(tzinfo=UTC) if found else None


def archive_finished(place: Place) -> None:
    """Archive what the server of the data folder finished and didn't archive, as it will itself when it next runs.

    Nobody may run on the folder. What is refused or can't be read is logged and left to that server. Raises OSError
    where nothing can be archived at all.
    """
    written = place.data / "pg_wal"
    marks = sorted(written.glob("archive_status/*.ready"))
    if not marks:
        return
    place.make_folder(place.archive)
    script = configuration.archive_script(place)
    for mark in marks:
        done = subprocess.run(
            ["sh", script, written / mark.stem, mark.stem],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ARCHIVE_TIMEOUT_S,
            check=False,
            **place.as_account(),
        )
        if done.returncode != 0:
            log.warning("WAL wasn't archived", file=mark.stem, reason=done.stderr.strip()[-200:])
