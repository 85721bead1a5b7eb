"""A request and its answer, between the protocol that carries them and the endpoints that make sense of them."""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from callmeback import errors
from callmeback.sqlproxy.audit import Record
from callmeback.sqlproxy.keyring import Key, Shown

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
NDJSON: Final = b"application/x-ndjson"
METRICS: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Request:
    """One request, complete. `headers` are by lower-case name; of repeated ones the first counts.

    `began` is of time.perf_counter, which is fine enough to measure; `expires_at` of the loop's clock, which isn't.
    `error` is what the protocol already knows to be wrong (a body that is too large, say). `shown` are the credentials
    and the address that they came from, as the gate read them; `key` is known where nothing had to be waited for.
    """

    __slots__ = (
        "began", "body", "error", "expires_at", "headers", "key", "method", "path", "peer", "record", "shown",
    )  # fmt: skip

    def __init__(self, method: bytes, path: str, headers: dict[bytes, bytes], peer: str) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.peer = peer
        self.body = b""
        self.error: errors.CallMeBackError | None = None
        self.shown: tuple[Shown, str] | None = None
        self.key: Key | None = None
        self.began = self.expires_at = 0.0
        self.record = Record("", path)


class Stream(Protocol):
    """Pieces of a body; `on_close` is called once when it ended or was given up."""

    on_close: Callable[[], None]

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """No more is wanted."""


class Answer:
    """Status, type and body, or a stream of pieces that follow the head one by one; `headers` are whole lines."""

    __slots__ = ("body", "content_type", "headers", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON,
        headers: bytes = b"",
        stream: Stream | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.stream = stream


class QueryBody(msgspec.Struct):
    """Of /query and /sql: a statement and its parameters, also by the names of older clients."""

    query: str | None = None
    sql: str | None = None
    parameters: list[msgspec.Raw] | None = None
    params: list[msgspec.Raw] | None = None


class BatchBody(msgspec.Struct):
    """Of /batch, and of /sql with several statements."""

    queries: list[QueryBody]
    isolation: str | None = None
    readOnly: bool | None = None  # noqa: N815 - the wire's name
    deferrable: bool | None = None


class NamedBody(msgspec.Struct):
    """Of /named/{id}."""

    parameters: list[msgspec.Raw] | None = None
    params: list[msgspec.Raw] | None = None
