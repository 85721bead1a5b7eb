"""Rows as they come, one JSON object a line: constant memory, however many there are.

The last line is the trailer: `{"rowCount": n, "command": "SELECT"}`, or `{"error": {…}}`. A stream is a transaction of
its own. It has no cap and lasts as long as rows come and are read; the server's timeout of a statement is switched off
within it, because that would also count a slow reader's time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from psycopg.pq.abc import PGresult

from callmeback import errors
from callmeback.sqlproxy import problems, transactions, types
from callmeback.sqlproxy.audit import milliseconds
from callmeback.sqlproxy.gate import Allowed
from callmeback.sqlproxy.keyring import Key
from callmeback.sqlproxy.link import Link
from callmeback.sqlproxy.requests import NDJSON, Answer, Request
from callmeback.sqlproxy.services import Services
from callmeback.sqlproxy.shapes import Shape, lines
from callmeback.sqlproxy.steps import Prepared, Step, tag

# Chunks that wait for the reader before the server is read no further.
CHUNKS_MAX: Final = 4
STREAM_S_MAX: Final = 3_600.0
ENDED: Final = "The API key was revoked, or has expired."


async def answer(
    services: Services, request: Request, key: Key, allowed: Allowed, given: Sequence[bytes | None]
) -> Answer:
    """The answer with its stream; an error before the first row is an ordinary answer, with its status."""
    record = request.record
    asked_at = time.perf_counter()
    link = await services.pools.take(key.role)
    taken_at = time.perf_counter()
    record.queue_ms = milliseconds(taken_at - asked_at)
    found = Lines(services, request, key, allowed, link)
    try:
        found.begin(given)
        await found.first()
        record.database_ms = milliseconds(time.perf_counter() - taken_at)
    except BaseException:
        await found.aclose()
        raise

    return Answer(200, b"", NDJSON, stream=found)


class Lines:
    """The lines of one answer, and the sink that they come from. `on_close` is called once at the end."""

    def __init__(self, services: Services, request: Request, key: Key, allowed: Allowed, link: Link) -> None:
        self.on_close: Callable[[], None] = _nothing
        self._services = services
        self._record = request.record
        self._key = key
        self._allowed = allowed
        self._link = link
        self._step = Step(b"")
        self._chunks: deque[tuple[Shape, PGresult]] = deque()
        self._wake = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._ends_at = link.now() + STREAM_S_MAX
        self._is_over = False
        self._is_closed = False

    def begin(self, given: Sequence[bytes | None]) -> None:
        """Ask, in a transaction whose statement may take its time."""
        self._step = Step(self._allowed.text, given, self, self._allowed.types, is_stream=True)
        opening = [Step(transactions.SQL.begin.native), Step(transactions.SQL.no_statement_timeout.native)]
        steps = [*opening, self._step, Step(transactions.SQL.commit.native)]
        self._work = asyncio.create_task(self._run(steps))
        self._work.add_done_callback(self._ended)

    def add(self, result: PGresult, statement: Prepared | None) -> None:
        """Some rows came; when enough wait, no more are read."""
        if result.ntuples:
            self._chunks.append((self._services.shapes.of(result, statement), result))
            self._wake.set()
        if len(self._chunks) >= CHUNKS_MAX:
            self._link.pause()
            self._link.expires_at = self._ends_at
        else:
            self._extend()

    async def first(self) -> None:
        """Wait for rows, or for the end; raises what went wrong before any row."""
        assert self._work is not None
        await self._wake.wait()
        if not self._chunks:
            await self._work
        else:
            await self._learn(self._chunks[0][0])

    def __aiter__(self) -> "Lines":
        return self

    async def __anext__(self) -> bytes:
        """Lines of one chunk; the trailer at last, which may come early: the key has to work until then."""
        assert self._work is not None
        if not self._is_over and self._services.keyring.current(self._key) is None:
            self._chunks.clear()
            self._is_over = True
            return self._last(errors.Unauthorized(ENDED))
        while not self._chunks:
            if self._is_over:
                raise StopAsyncIteration
            if self._work.done():
                self._is_over = True
                return self._trailer(self._work)
            self._wake.clear()
            await self._wake.wait()
        shape, result = self._chunks.popleft()
        if len(self._chunks) < CHUNKS_MAX // 2:
            self._extend()
            self._link.resume()
        self._record.rows += result.ntuples

        return lines(shape.objects(result))

    async def aclose(self) -> None:
        """The end, however it came: what still runs is stopped, and the link goes back.

        Nothing is awaited, because the client may leave in this very moment, and that would be cancelled too.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._chunks.clear()
        if self._work is not None:
            self._work.cancel()
        if not self._allowed.is_judged:
            self._link.taint()
        self._services.pools.give(self._link)
        self.on_close()

    async def _run(self, steps: Sequence[Step]) -> None:
        link = self._link
        await link.pipeline(steps, link.now() + self._services.deadline_s)
        failed = next((step for step in steps if step.error is not None), None)
        if failed is None:
            return
        if not link.is_idle:
            await link.pipeline([Step(transactions.SQL.rollback.native)], link.now() + self._services.deadline_s)
        assert failed.error is not None
        verdict = self._allowed.verdict if failed is self._step else None
        raise problems.failure(failed.error, verdict, is_masked=self._key.masked)

    async def _learn(self, shape: Shape) -> None:
        """Look up unknown types on another link, since this one is busy with the rows."""
        if unknown := shape.unknown():
            async with self._services.pools.lease(self._key.role) as other:
                await types.learn(other, self._services.shapes, unknown, other.now() + self._services.deadline_s)

    def _ended(self, work: "asyncio.Task[None]") -> None:
        if not work.cancelled():
            # Looked at here, since a reader who left never asks how it ended.
            work.exception()
        self._wake.set()

    def _extend(self) -> None:
        self._link.expires_at = min(self._link.now() + self._services.deadline_s, self._ends_at)

    def _trailer(self, work: "asyncio.Task[None]") -> bytes:
        try:
            work.result()
        except errors.CallMeBackError as exc:
            return self._last(exc)
        command, count = tag(self._step.tag)

        return b'{"rowCount":%b,"command":"%b"}\n' % (count, command)

    def _last(self, exc: errors.CallMeBackError) -> bytes:
        self._record.sqlstate = problems.sqlstate_of(exc)
        _, body = problems.problem(exc)

        return b'{"error":%b}\n' % body


def _nothing() -> None:
    """Nobody wants to know."""
