"""Heads of HTTP messages: those that a client sends again and again, and those of our answers."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from callmeback.sqlproxy.requests import Answer, Request

# What is remembered, twice: clients repeat their heads, but for the length of the body and the like.
HEADS_MAX: Final = 500
HEAD_BYTES_MAX: Final = 4 * 1024

CORS: Final = (
    b"access-control-allow-origin: *\r\naccess-control-expose-headers: retry-after, server-timing, x-request-id\r\n"
)
END: Final = b"\r\n\r\n"
KEEP_ALIVE: Final = b"keep-alive"
VERSION: Final = b" HTTP/1.1"
NOT_QUEUED: Final = b"0.00"
CLOSE: Final = b"connection: close\r\n"
STATUS: Final = {status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
# What asks for more than an answer.
NEVER_REPEATED: Final = frozenset({b"expect", b"trailer", b"transfer-encoding", b"upgrade"})


class Head:
    """A head that came before: the same bytes say the same."""

    __slots__ = ("headers", "length", "method", "path", "peer", "shown")

    def __init__(self, request: Request, length: int) -> None:
        self.method = request.method
        self.path = request.path
        self.headers = request.headers
        self.peer = request.peer
        self.length = length
        self.shown = request.shown

    def request(self, body: bytes, peer: str) -> Request:
        """The request that it begins, from this address."""
        request = Request(self.method, self.path, self.headers, peer)
        if peer == self.peer:
            request.shown = self.shown
        request.body = body

        return request


class Heads:
    """The heads of all connections: a crowd comes over new ones. The parser isn't asked about a head again, and neither
    is who shows which key in it; whether that key works is asked every time.

    They are looked up by their keyed hash, so that the time it takes tells nothing of anybody's key. Those that came
    lately stay: the older half goes when the newer one is full.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._older: dict[bytes, Head] = {}

    def repeated(self, data: bytes, peer: str) -> Request | None:
        """The request, if this is one whole request whose head came before."""
        end = data.find(END) + len(END)
        head = self._known.get(data[:end]) or self._older_head(data[:end])

        return head.request(data[end:], peer) if head is not None and head.length == len(data) - end else None

    def remember(self, data: bytes, request: Request) -> None:
        """Keep the head of what was one request of a known key, if nothing but a header says how long its body is."""
        length, headers = len(request.body), request.headers
        head = data[: len(data) - length]
        if (
            request.key is not None
            and len(head) <= HEAD_BYTES_MAX
            and head.endswith(END)
            # Before that version a connection ends with its first answer.
            and head.partition(b"\r\n")[0].endswith(VERSION)
            and headers.get(b"content-length") == b"%d" % length
            and headers.get(b"connection", KEEP_ALIVE).lower() == KEEP_ALIVE
            and headers.keys().isdisjoint(NEVER_REPEATED)
        ):
            self._keep(head, Head(request, length))

    def _older_head(self, data: bytes) -> Head | None:
        head = self._older.pop(data, None)
        if head is not None:
            self._keep(data, head)

        return head

    def _keep(self, data: bytes, head: Head) -> None:
        if len(self._known) >= HEADS_MAX:
            self._older, self._known = self._known, {}
        self._known[data] = head


class Clock:
    """The Date of answers (RFC 9110, 6.6.1), made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """The whole line."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()

        return self._line


_clock: Final = Clock()


def of_answer(request: Request, answer: Answer, length: bytes, *, is_last: bool) -> bytes:
    """The head of an answer; `length` is the line that tells where its body ends."""
    record = request.record
    return b"%b%bcontent-type: %b\r\n%bx-request-id: %b\r\nserver-timing: queue;dur=%b, db;dur=%.3f\r\n%b%b%b\r\n" % (
        STATUS[answer.status],
        _clock.line(),
        answer.content_type,
        length,
        record.request.encode(),
        b"%.2f" % record.queue_ms if record.queue_ms else NOT_QUEUED,
        record.database_ms,
        CORS,
        answer.headers,
        CLOSE if is_last else b"",
    )


def last_words(status: int, reason: bytes) -> bytes:
    """A short answer to what isn't even a request; the connection ends after it."""
    return b"%b%bcontent-type: text/plain\r\ncontent-length: %d\r\n%b\r\n%b" % (
        STATUS[status],
        _clock.line(),
        len(reason),
        CLOSE,
        reason,
    )
