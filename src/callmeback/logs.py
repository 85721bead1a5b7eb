"""Logging: structlog, JSON or for people, with personal data removed by the logger instead of by discipline.

A value is hidden by its key (`phone`, `token`, `prompt`, …), by its type (secrets wrapped in `Hidden`) or by its
pattern (phone numbers, e-mail addresses, keys and tokens inside any text). Other libraries' records pass here too.
"""

import contextlib
import fcntl
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

import structlog

HIDDEN: Final = "[hidden]"
MAX_TEXT: Final = 2_000
MAX_DEPTH: Final = 6
MAX_ITEMS: Final = 100
# Of a kept file; with those set aside a service keeps six times as much.
FILE_BYTES_MAX: Final = 16 << 20
FILES_KEPT: Final = 5

# Words that make a key's value personal or secret, as whole parts of a snake_case name.
_SECRET_WORDS: Final = frozenset(
    {
        "password", "passwd", "secret", "token", "jwt", "authorization", "cookie", "apikey", "credentials", "dsn",
        "phone", "number", "caller", "email", "mail", "recipient", "ip", "prompt", "text", "body", "context",
        "transcript", "message", "utterance", "says", "params", "signature",
    }
)  # fmt: skip
# Keys that are personal only as a whole.
_SECRET_KEYS: Final = frozenset({"to", "from", "name", "user_name", "full_name", "display_name"})
# Last parts that turn one of the words above into a count, an id or a measure again.
_PLAIN_WORDS: Final = frozenset({"count", "id", "kind", "type", "seconds", "ms", "bytes", "length", "status", "tokens"})
# What structlog itself needs to be left as it is.
_META_KEYS: Final = frozenset({"_record", "_from_structlog"})

_PATTERNS: Final = (
    # A JWT: three Base64URL parts, the first of which is a JSON object.
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),
    # Keys with a vendor's prefix, and what follows the word Bearer or Basic.
    re.compile(r"\b(?:sk|pk|rk|whsec|AC|SK|csk|cmb)[_-]?[A-Za-z0-9_]{16,}\b"),
    re.compile(r"(?i)\b(?:bearer|basic|token)\s+[\w.~+/=-]{8,}"),
    # The user part of a URL.
    re.compile(r"(?<=://)[^\s/@]+(?=@)"),
    re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+"),
    # E.164, also percent-encoded, then national spellings with separators.
    re.compile(r"(?:\+|%2[Bb])\d[\d\s().-]{6,18}\d"),
    re.compile(r"(?<![\w.:-])\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}(?![\w.-])"),
)


class Hidden:
    """Something that must never be written: `str` and `repr` don't show it; `value` does."""

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return HIDDEN


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose records carry `logger=name`; the event is a short constant sentence, the rest are keys."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)

    return logger


def _shared() -> list[structlog.typing.Processor]:
    """What every record goes through, whoever wrote it and wherever it goes."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]


def configure(*, json: bool, level: str = "INFO") -> None:
    """Send structlog's and the standard library's records through the redaction to standard error."""
    shared = _shared()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Libraries that log each request with its whole URL, at a level that is ours to use.
    for noisy in ("stripe", "httpx", "httpcore", "websockets", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def keep(path: Path) -> None:
    """Write records into this file too, as JSON lines; the folder is made, others than its owner can't read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = KeptFile(path)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )
    )
    logging.getLogger().addHandler(handler)


class KeptFile(logging.Handler):
    """A file of lines that several processes append to; the full one is set aside under a number, the oldest ends."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._descriptor = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record; a disk that refuses it stops nothing."""
        try:
            self.write(self.format(record).encode() + b"\n")
        except OSError:
            self.handleError(record)

    def write(self, lines: bytes) -> None:
        """Append whole lines by one call of the system, so that those of several processes never mix."""
        with self._guard():
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.write(self._descriptor, lines)
            if os.fstat(self._descriptor).st_size >= FILE_BYTES_MAX:
                self._set_aside()

    def close(self) -> None:
        """Let go of the file."""
        with self._guard():
            self._let_go()
        super().close()

    def _guard(self) -> threading.RLock:
        assert self.lock is not None, "made by the class above"
        return self.lock

    def _set_aside(self) -> None:
        """Under a lock, and only by the first of several processes that find it full."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if self._path.exists() and self._path.stat().st_ino == os.fstat(self._descriptor).st_ino:
            for number in range(FILES_KEPT - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor: hides by key, type and pattern, to a bounded depth."""
    return {key: _clean(key, value, 0) for key, value in event.items()}


def redact_text(text: str) -> str:
    """A text without phone numbers, e-mail addresses, keys and tokens."""
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)

    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _clean(key: str, value: Any, depth: int) -> Any:
    if key in _META_KEYS or value is None or isinstance(value, bool | int | float):
        # Numbers are measures, except where the key says otherwise (a code that was sent, say).
        return HIDDEN if isinstance(value, int) and not isinstance(value, bool) and _is_secret(key) else value
    if isinstance(value, Hidden) or _is_secret(key):
        return HIDDEN
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ITEMS]
        return {str(name): _clean(str(name), inner, depth + 1) for name, inner in pairs}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("item", inner, depth + 1) for inner in list(value)[:MAX_ITEMS]]

    return redact_text(repr(value))


def _is_secret(key: str) -> bool:
    words = key.lower().replace("-", "_").split("_")
    if words[-1] in _PLAIN_WORDS:
        return False

    return key.lower() in _SECRET_KEYS or not _SECRET_WORDS.isdisjoint(words) or {"api", "key"} <= set(words)


def write_lines(lines: list[bytes]) -> None:
    """Write finished JSON lines to where records go. They must need no redaction: their maker proves that by a test."""
    handlers = logging.getLogger().handlers
    for handler in handlers:
        if isinstance(handler, KeptFile):
            with contextlib.suppress(OSError):
                handler.write(b"\n".join(lines) + b"\n")
    # A handler whose file was not opened yet has no stream.
    streams = (each.stream for each in handlers if isinstance(each, logging.StreamHandler))
    stream = next((stream for stream in streams if stream is not None), sys.stderr)
    stream.flush()
    binary = getattr(stream, "buffer", None)
    if binary is None:
        stream.write(b"\n".join(lines).decode() + "\n")
    else:
        binary.write(b"\n".join(lines) + b"\n")
    stream.flush()
