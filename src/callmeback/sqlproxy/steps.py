"""Statements on their way through a link, and what comes of them."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

from psycopg.pq.abc import PGresult

TAGS_MAX: Final = 4_096


class Sink(Protocol):
    """Takes a statement's rows as they arrive; may raise a domain error, which ends the request and the link."""

    def add(self, result: PGresult, statement: "Prepared | None") -> None:
        """Some rows; the last call may bring none, but always the columns."""


class Prepared:
    """A statement that this link prepared, and what its results look like, kept by whoever encodes them.

    `is_known` says that it ran, and what its answers look like; `is_small` that its last one was a single chunk: the
    next is then taken whole, which costs a result less.
    """

    __slots__ = ("fields", "is_known", "is_small", "name", "shape")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.shape: Any = None
        self.fields: bytes | None = None
        self.is_small = False
        self.is_known = False


class Step:
    """A statement to run, and then what came of it: its tag, or the error result.

    Rows of a stream come in chunks, however many there were the last time.
    """

    __slots__ = ("error", "is_stream", "key", "prepared", "rows", "sink", "tag", "text", "types", "values", "was_run")

    def __init__(
        self,
        text: bytes,
        values: Sequence[bytes | None] = (),
        sink: Sink | None = None,
        types: tuple[int, ...] | None = None,
        *,
        is_stream: bool = False,
    ) -> None:
        self.text = text
        self.types = types
        # The same text with other types is another statement.
        self.key: object = text if types is None else (text, types)
        self.values = values
        self.sink = sink
        self.is_stream = is_stream
        self.prepared: Prepared | None = None
        self.tag = b""
        self.rows = 0
        self.error: PGresult | None = None
        self.was_run = False

    @property
    def wants_chunks(self) -> bool:
        """Whether its rows are to be taken while they arrive."""
        prepared = self.prepared
        return self.sink is not None and (self.is_stream or prepared is None or not prepared.is_small)


class Upkeep:
    """A message of our own between statements: prepare or close one."""

    __slots__ = ("error", "wants_chunks")

    def __init__(self) -> None:
        self.error: PGresult | None = None
        self.wants_chunks = False


@lru_cache(TAGS_MAX)
def tag(command: bytes) -> tuple[bytes, bytes]:
    """Command and number of rows, as JSON, of a command tag such as `INSERT 0 1`, `SELECT 5` or `CREATE TABLE`."""
    words = command.split(b" ")
    count = words[-1]

    return words[0], count if count.isdigit() else b"null"
