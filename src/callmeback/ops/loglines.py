"""Lines of logs: those that our services keep in the home, and PostgreSQL's own. Reading, filtering, following."""

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from callmeback import logs

FOLDER: Final = "log"
SERVICES: Final = ("up", "serve", "proxy", "worker")
SERVER: Final = "postgres"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
# Of each file, from its end.
READ_BYTES_MAX: Final = 8 << 20

# As log_line_prefix of pg/configuration.py has it; lines of the server's own processes lack the middle.
_SERVER_LINE: Final = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(?P<part>\d+))? UTC \[\d+\] "
    r"(?:(?P<role>\S*)@(?P<database>\S+) (?P<program>.*?) )?"
    r"(?P<level>ERROR|FATAL|PANIC|LOG|WARNING):  (?P<text>.*)"
)
_SERVER_LEVELS: Final = {
    "LOG": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "critical",
    "PANIC": "critical",
}


class ServerLine(msgspec.Struct, frozen=True):
    """A line of PostgreSQL's log that begins with a time; its text may quote values of rows."""

    at: datetime
    role: str | None
    database: str | None
    program: str
    level: str
    text: str


class Entry(msgspec.Struct, frozen=True):
    """A line of a service's log."""

    at: datetime
    service: str
    level: str
    event: str
    facts: dict[str, Any]

    @property
    def request(self) -> str | None:
        """The request that it belongs to, by whichever entrance."""
        audit = self.facts.get("sql")
        found = audit.get("request") if isinstance(audit, dict) else self.facts.get("request_id")

        return None if found is None else str(found)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: of these services, of this level or a worse one, of one request, since then."""

    services: Sequence[str] = SERVICES
    level: str = "debug"
    request: str | None = None
    since: datetime | None = None

    def __call__(self, entry: Entry) -> bool:
        """Whether it is one of them."""
        return (
            entry.service in self.services
            and _weight(entry.level) >= _weight(self.level)
            and (self.request is None or self.request in (entry.request, entry.facts.get("call_id")))
            and (self.since is None or entry.at >= self.since)
        )


def file_of(home: Path, service: str) -> Path:
    """Where a service keeps its lines."""
    return home / FOLDER / f"{service}.log"


def read(home: Path, wanted: Wanted, server_folder: Path | None = None) -> list[Entry]:
    """Every kept entry that is wanted, oldest first; PostgreSQL's own from the folder of its log."""
    found: list[Entry] = []
    for service in SERVICES:
        if service in wanted.services:
            newest = file_of(home, service)
            for path in (*sorted(newest.parent.glob(f"{newest.name}.*"), reverse=True), newest):
                if path.exists():
                    found += entries(service, tail(path, READ_BYTES_MAX))
    if server_folder is not None and SERVER in wanted.services:
        for path in sorted(server_folder.glob("*.log")):
            found += entries(SERVER, tail(path, READ_BYTES_MAX))

    return sorted((entry for entry in found if wanted(entry)), key=lambda entry: entry.at)


def entries(service: str, text: str) -> Iterator[Entry]:
    """The entries of a text; a line that is none is passed over."""
    if service == SERVER:
        for line in server_lines(text):
            facts = {"program": line.program} if line.program else {}
            yield Entry(line.at, SERVER, _SERVER_LEVELS[line.level], logs.redact_text(line.text), facts)
        return
    for raw in text.splitlines():
        try:
            facts = msgspec.json.decode(raw, type=dict[str, Any])
            at = datetime.fromisoformat(str(facts.pop("timestamp")))
        except (msgspec.MsgspecError, KeyError, ValueError):
            continue
        yield Entry(at, service, str(facts.pop("level", "info")), str(facts.pop("event", "")), facts)


def server_lines(text: str) -> Iterator[ServerLine]:
    """The lines of PostgreSQL's log that begin with a time."""
    for raw in text.splitlines():
        match = _SERVER_LINE.match(raw)
        if match is not None:
            at = datetime.strptime(match["at"], "%Y-%m-%d %H:%M:%S").replace(
                microsecond=int((match["part"] or "0")[:6].ljust(6, "0")), tzinfo=UTC
            )
            yield ServerLine(
                at, match["role"], match["database"], match["program"] or "", match["level"], match["text"]
            )


def tail(path: Path, most: int) -> str:
    """The end of a file, so many bytes at most."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - most))

        return file.read().decode("utf-8", "replace")


class Follower:
    """What is added to a file, look by look; a file that was set aside is read to its end, then the new one."""

    def __init__(self, service: str, path: Path) -> None:
        self._service = service
        self._path = path
        self._file = self._open(at_end=True)
        self._rest = ""

    def news(self) -> list[Entry]:
        """Entries since the last look, whole lines only."""
        text = self._rest + self._read()
        if self._is_replaced():
            self.close()
            self._file = self._open(at_end=False)
            text += self._read()
        whole, newline, self._rest = text.rpartition("\n")

        return list(entries(self._service, whole + newline))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> str:
        return "" if self._file is None else self._file.read().decode("utf-8", "replace")

    def _is_replaced(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is None:
            return True

        return os.fstat(self._file.fileno()).st_ino != there.st_ino

    def _open(self, *, at_end: bool) -> Any:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return None
        if at_end:
            file.seek(0, 2)

        return file


def _weight(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else 1
