"""HTTP/1.1 as the proxy speaks it: httptools parses, one task answers a connection's requests in their order.

uvicorn starts it, listens, and ends it, and takes over a connection that becomes a WebSocket. Its own HTTP protocol and
ASGI cost 35 µs a request, this 11 (docs/decisions has the measurement), of some 70 for everything.
"""

import asyncio
import contextlib
import time
from collections import deque
from typing import Any, Final

import httptools

from callmeback import errors, logs
from callmeback.sqlproxy import heads
from callmeback.sqlproxy.errand import Errand
from callmeback.sqlproxy.heads import Heads
from callmeback.sqlproxy.limits import BODY_BYTES_MAX
from callmeback.sqlproxy.requests import Answer, Request, Stream
from callmeback.sqlproxy.service import Service

HEAD_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 100
# The parser keeps a header until it is whole, however long that takes, so what it was fed is counted too: beside the
# body, one more read, and what the smallest chunks add to the body that they carry.
READ_BYTES_MAX: Final = 256 * 1024
CHUNK_OVERHEAD: Final = 8
PIPELINED_MAX: Final = 16
# From the first byte of a request to its last, and between two requests.
REQUEST_S: Final = 10.0
KEEP_ALIVE_S: Final = 65.0
# A reader that takes nothing for so long is gone.
STALL_S: Final = 10.0
SWEEP_S: Final = 1.0
# What is still read of a body that was refused, so that its sender gets to read why.
DISCARDED_BYTES_MAX: Final = 64 << 20
WRITE_TOGETHER_BYTES_MAX: Final = 64 * 1024
FORWARDED_FOR: Final = b"x-forwarded-for"
_NEVER: Final = float("inf")

_log = logs.get_logger(__name__)


class Door:
    """Makes the protocol of each connection (uvicorn calls it like a class), and closes those that do nothing."""

    def __init__(self, service: Service, connections_max: int) -> None:
        self.service = service
        self.connections_max = connections_max
        self.heads = Heads()
        self._sweeper: asyncio.TimerHandle | None = None
        self._state: Any = None

    def __call__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> "Connection":
        loop = _loop or asyncio.get_running_loop()
        self._state = server_state
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop)

        return Connection(self, config, server_state, app_state, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._state.connections):
            if isinstance(connection, Connection) and connection.expires_at <= now:
                connection.give_up()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep, loop) if self._state.connections else None


class Connection(asyncio.Protocol):
    """One client. `expires_at` is when its silence becomes too long."""

    def __init__(
        self, door: Door, config: Any, server_state: Any, app_state: Any, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.expires_at = _NEVER
        self._door = door
        self._service = door.service
        self._uvicorn = (config, server_state, app_state)
        self._loop = loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set when the connection is made
        self._peer = ""
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._running: asyncio.Task[None] | Errand | None = None
        self._heads = door.heads
        # Requests that were complete in what is read now, and the last of them.
        self._complete = 0
        self._last: Request | None = None
        self._drained: asyncio.Future[None] | None = None
        self._keep_alive = True
        self._is_writable = True
        # Said after all answers that are still to come; then nothing that arrives is looked at.
        self._last_words = b""
        self._reset()

    # What the transport says.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what TCP gives
        """A client is there."""
        self._transport = transport
        connections = self._uvicorn[1].connections
        connections.add(self)
        address = transport.get_extra_info("peername")
        self._peer = str(address[0]) if isinstance(address, tuple) else ""
        self.expires_at = self._loop.time() + REQUEST_S
        if len(connections) > self._door.connections_max:
            self._refuse(503, b"too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left: what runs for it is stopped."""
        self._uvicorn[1].connections.discard(self)
        self._waiting.clear()
        if self._running is not None:
            self._running.cancel()
            if isinstance(self._running, Errand):
                self._service.finish(self._running.request, CLIENT_GONE, 0)
        self.resume_writing()
        self._parser = None

    def eof_received(self) -> bool:
        """It will send no more, and is taken to be gone: a client that was killed looks the same."""
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """It caught up."""
        self._is_writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._last_words:
            return
        if not self._is_receiving and self._running is None:
            request = self._heads.repeated(data, self._peer)
            if request is not None:
                self._start(request, True)
                return
        is_whole = not self._is_receiving
        self._complete = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._upgrade(data[exc.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, b"this is not HTTP/1.1")
        self._fed += len(data)
        if self._is_receiving and self._fed - CHUNK_OVERHEAD * self._size > HEAD_BYTES_MAX + READ_BYTES_MAX:
            self._refuse(431, TOO_LARGE)
        elif is_whole and self._complete == 1 and not self._is_receiving and self._last is not None:
            self._heads.remember(data, self._last)
        self._last = None

    def shutdown(self) -> None:
        """The server ends: after the answer, if there is one to come."""
        self._keep_alive = False
        if self._running is None:
            self._transport.close()

    def give_up(self) -> None:
        """Too long a silence: in the middle of a request it is told so, else the connection just ends."""
        self.expires_at = _NEVER
        if self._is_receiving and self._running is None:
            self._refuse(408, b"the request did not arrive in time")
        else:
            self._transport.abort()

    # What the parser says.

    def on_message_begin(self) -> None:
        """The first bytes of a request."""
        self._reset()
        self._is_receiving = self._is_head = True
        if self._running is None:
            self.expires_at = self._loop.time() + REQUEST_S

    def on_url(self, url: bytes) -> None:
        """A piece of the address."""
        self._url += url
        self._grow_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; what follows a body has no say."""
        self._grow_head(len(name) + len(value))
        if not self._is_head:
            return
        name = name.lower()
        known = self._headers.setdefault(name, value)
        if known is not value and name == FORWARDED_FOR:
            # Some proxies add a line instead of a word, and the last word is theirs.
            self._headers[name] = b"%b, %b" % (known, value)

    def on_headers_complete(self) -> None:
        """The body follows, or what is to be refused without it."""
        self._is_head = False
        if self._last_words or self._is_upgrade():
            return
        headers = self._headers
        length = headers.get(b"content-length")
        if length is not None and int(length) > BODY_BYTES_MAX:
            self._refuse_body()
        elif headers.get(b"expect", b"").lower() == b"100-continue" and self._running is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._is_refused:
            if self._size > DISCARDED_BYTES_MAX:
                self._transport.close()
        elif self._size > BODY_BYTES_MAX:
            self._refuse_body()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._is_receiving = False
        if self._is_refused or self._last_words or self._is_upgrade():
            return
        request = self._request()
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._complete += 1
        self._last = request
        self._begin(request)

    # Requests, one after another.

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = self._fed = 0
        self._head_bytes = 0
        self._is_head = False
        self._is_receiving = False
        self._is_refused = False

    def _grow_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > HEAD_BYTES_MAX or len(self._headers) > HEADERS_MAX:
            self._refuse(431, TOO_LARGE)

    def _request(self) -> Request:
        url = self._url
        if not url.startswith(b"/"):
            # With its origin before the path, as it is sent to a proxy (RFC 9112, 3.2.2).
            url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
        path = url.partition(b"?")[0].decode("latin-1")

        return Request(self._parser.get_method(), path, self._headers, self._peer)

    def _begin(self, request: Request) -> None:
        keep_alive = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        if self._running is None:
            self._start(request, keep_alive)
        elif len(self._waiting) < PIPELINED_MAX:
            self._waiting.append((request, keep_alive))
        else:
            self._transport.abort()

    def _start(self, request: Request, keep_alive: bool) -> None:
        self.expires_at = _NEVER
        request.began = time.perf_counter()
        request.expires_at = self._loop.time() + self._service.deadline_s
        if not keep_alive:
            self._keep_alive = False
        begun = self._service.begin(request, self._on_answer)
        if begun is None:
            self._running = self._loop.create_task(self._answer(request))
        elif isinstance(begun, Errand):
            self._running = begun
            begun.start()
        else:
            self._on_answer(request, begun)

    def _on_answer(self, request: Request, answer: Answer | Exception | None) -> None:
        """The answer of a request that had no task, what it failed with, or None: it needs one."""
        if answer is None:
            self._running = self._loop.create_task(self._answer(request))
            return
        if not isinstance(answer, Answer):
            answer = self._service.failure(request, answer)
        self._write(request, answer)
        self._service.finish(request, answer.status, len(answer.body))
        self._go_on()

    async def _answer(self, request: Request) -> None:
        service = self._service
        try:
            answer = await service.answer(request)
            if answer.stream is None:
                self._write(request, answer)
                service.finish(request, answer.status, len(answer.body))
            else:
                await self._stream(request, answer, answer.stream)
        except asyncio.CancelledError:
            service.finish(request, CLIENT_GONE, 0)
            return
        self._go_on()

    def _go_on(self) -> None:
        """After an answer: with the next request, or the end."""
        self._running = None
        if self._transport.is_closing():
            return
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            self._start(*self._waiting.popleft())
        elif self._last_words:
            self._transport.write(self._last_words)
            self._transport.close()
        else:
            self.expires_at = self._loop.time() + KEEP_ALIVE_S

    def _write(self, request: Request, answer: Answer) -> None:
        """The whole answer at once."""
        body = answer.body
        # RFC 9110, 8.6: what has no content by its status has no length of it either.
        length = b"" if answer.status == NO_CONTENT else b"content-length: %d\r\n" % len(body)
        head = heads.of_answer(request, answer, length, is_last=not self._keep_alive)
        if request.method == b"HEAD":
            self._transport.write(head)
        elif len(body) <= WRITE_TOGETHER_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def _stream(self, request: Request, answer: Answer, stream: Stream) -> None:
        """Head first, then pieces as they come; whoever doesn't read them is let go."""
        is_chunked = self._parser is not None and self._parser.get_http_version() != "1.0"
        if not is_chunked:
            self._keep_alive = False
        length = b"transfer-encoding: chunked\r\n" if is_chunked else b""
        self._transport.write(heads.of_answer(request, answer, length, is_last=not self._keep_alive))
        size = 0
        async with contextlib.aclosing(stream):
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    piece = await anext(stream)
                    size += len(piece)
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                    if not self._is_writable:
                        await self._drain()
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")
        self._service.finish(request, answer.status, size)

    async def _drain(self) -> None:
        self._drained = self._loop.create_future()
        try:
            async with asyncio.timeout(STALL_S):
                await self._drained
        except TimeoutError:
            self._transport.abort()
            raise asyncio.CancelledError from None
        finally:
            self._drained = None

    # What can't be answered by the service.

    def _refuse_body(self) -> None:
        """Answer at once; the rest of the body is read and dropped, so that the sender isn't cut off while sending."""
        self._is_refused = True
        self._body.clear()
        request = self._request()
        request.error = errors.BodyTooLarge(f"A body has at most {BODY_BYTES_MAX} bytes.")
        self._begin(request)

    def _refuse(self, status: int, reason: bytes) -> None:
        """A short answer to what isn't even a request, after the answers to what was; then the end."""
        if self._last_words:
            return
        self._last_words = heads.last_words(status, reason)
        if self._running is None:
            self._transport.write(self._last_words)
            self._transport.close()

    def _is_upgrade(self) -> bool:
        """Whether the parser will stop after this head. (It also does for CONNECT, which nobody answers otherwise.)"""
        return bool(self._parser.should_upgrade()) and self._parser.get_method() != b"CONNECT"

    def _upgrade(self, rest: bytes) -> None:
        """What was asked for with Upgrade, and `rest`, which came after that head."""
        method, headers = self._parser.get_method(), self._headers
        if self._last_words or method == b"CONNECT":
            return
        if headers.get(b"upgrade", b"").lower() != b"websocket":
            # Anything else is passed over, as RFC 9110, 7.8, allows; the parser has left out the body.
            del headers[b"upgrade"]
            again = self._head_again(self._parser.get_http_version().encode()) + rest
            self._parser = httptools.HttpRequestParser(self)
            self.data_received(again)
        elif (
            method != b"GET" or headers.keys() & {b"content-length", b"transfer-encoding"} or self._running is not None
        ):
            self._refuse(400, b"a WebSocket begins with a GET without a body, on a connection of its own")
        else:
            self._hand_over(self._head_again(b"1.1") + rest)

    def _head_again(self, version: bytes) -> bytes:
        lines = [b"%b %b HTTP/%b\r\n" % (self._parser.get_method(), self._url, version)]

        return b"".join([*lines, *(b"%b: %b\r\n" % each for each in self._headers.items()), b"\r\n"])

    def _hand_over(self, data: bytes) -> None:
        """The connection is uvicorn's from now on, with the request as it came."""
        config, server_state, app_state = self._uvicorn
        self.expires_at = _NEVER
        server_state.connections.discard(self)
        protocol = config.ws_protocol_class(config=config, server_state=server_state, app_state=app_state)
        protocol.connection_made(self._transport)
        protocol.data_received(data)
        self._transport.set_protocol(protocol)


TOO_LARGE: Final = b"the head of the request is too large"
NO_CONTENT: Final = 204
CLIENT_GONE: Final = 499
"""In the log only: nobody is there to read a status."""
