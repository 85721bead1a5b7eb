"""The audit: one JSON line per request, and per statement of a WebSocket session.

A line is made of ids, numbers and words from closed lists; nothing of a statement, a parameter or a row is in it, so
the logger's redaction has nothing to hide in it (a test holds every field against it). That is why lines may go to the
log's stream in bundles: through the logger, one costs as much as the whole request.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import msgspec

from callmeback import logs

FLUSH_S: Final = 0.05
LINES_MAX: Final = 500
PARAMETER_LENGTH_MAX: Final = 200


class Record(msgspec.Struct, omit_defaults=True):
    """What is known of a request at its end. Times in milliseconds; `hash` is the statement's SHA-256, in hex."""

    request: str
    endpoint: str
    status: int = 0
    key: str | None = None
    role: str | None = None
    trace: str | None = None
    verdict: str | None = None
    rule: str | None = None
    hash: str | None = None
    named: str | None = None
    statements: int = 0
    rows: int = 0
    bytes: int = 0
    queue_ms: float = 0.0
    database_ms: float = 0.0
    total_ms: float = 0.0
    sqlstate: str | None = None
    parameters: list[str] | None = None


class _Line(msgspec.Struct):
    """Around a record, the same fields as any line of the log."""

    event: str
    level: str
    logger: str
    timestamp: str
    sql: Record


class Audit:
    """Collects lines and writes them a few at a time; `close` writes what is left."""

    def __init__(self, *, with_parameters: bool = False) -> None:
        self.with_parameters = with_parameters
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        self._handle: asyncio.TimerHandle | None = None
        self._stamp = ""
        self._millisecond = 0
        self._time = ""
        self._second = 0

    def write(self, record: Record) -> None:
        """Note it; it is in the log within FLUSH_S."""
        self._lines.append(self._encoder.encode(_Line("sql", "info", __name__, self._now(), record)))
        if len(self._lines) >= LINES_MAX:
            self.flush()
        elif self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write now."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        lines, self._lines = self._lines, []
        if lines:
            logs.write_lines(lines)

    def close(self) -> None:
        """The end."""
        self.flush()

    def _now(self) -> str:
        """The time to a millisecond; what was made of it is kept for others of the same moment."""
        millisecond = int(time.time() * 1_000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second = millisecond // 1_000
            if second != self._second:
                self._second = second
                self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._time = f"{self._stamp}.{millisecond % 1_000:03d}Z"

        return self._time


def milliseconds(seconds: float) -> float:
    """To the microsecond. `round` does the same by way of decimal digits, ten times as slowly."""
    return int(seconds * 1_000_000) / 1_000


def readable(values: list[bytes | None]) -> list[str]:
    """Parameters for a log whose operator asked for them: redacted, and cut."""
    return [
        "NULL" if value is None else logs.redact_text(value[:PARAMETER_LENGTH_MAX].decode(errors="replace"))
        for value in values
    ]
