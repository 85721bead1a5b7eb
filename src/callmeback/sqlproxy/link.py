"""One connection of a scope's role: libpq with a reader that stays, statements prepared at their second use.

Text goes in and text comes out. Rows are taken in chunks while they arrive, so that a cap is enforced while reading
and a stream needs constant memory. A link that isn't idle after its request is never used again: whoever gives it back
finds `is_idle` false and closes it, and the server rolls back.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from callmeback import errors, logs
from callmeback.sqlproxy.deadlines import Deadlines
from callmeback.sqlproxy.sluice import Sluice
from callmeback.sqlproxy.steps import Prepared, Sink, Step, Upkeep

CONNECT_TIMEOUT_S: Final = 5
# A cancel request that isn't answered by then is not waited for: the socket is closed.
GRACE_S: Final = 1.0
CHUNK_ROWS: Final = 250
PREPARED_MAX: Final = 100
SEEN_MAX: Final = 500
PREPARED_TEXT_BYTES_MAX: Final = 16 * 1024
# Bytes that may wait in libpq for a chunk to be complete. Only enormous values get there.
UNFINISHED_BYTES_MAX: Final = 24 << 20

# libpq makes so much room before it reads: less than this needs no second look.
READ_BYTES_MIN: Final = 8 * 1024
# What a session of a role that was dropped answers: nothing is there, and nothing is allowed. An old session that
# answers so isn't used again; a client that asks for what it may not have costs a login now and then.
DOUBTFUL: Final = (b"42501", b"42P01", b"42704", b"42883", b"3F000")
DOUBTED_AFTER_S: Final = 5.0

OPTIONS: Final = (
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex "
    "-c standard_conforming_strings=on"
)

# Plain numbers: looking up and comparing an enumeration's members costs more than what is done with them.
_TUPLES: Final = int(ExecStatus.TUPLES_OK)
_ROWS: Final = (_TUPLES, int(ExecStatus.TUPLES_CHUNK))
_DONE: Final = (int(ExecStatus.COMMAND_OK), int(ExecStatus.EMPTY_QUERY))
_SYNC: Final = int(ExecStatus.PIPELINE_SYNC)
_ABORTED: Final = int(ExecStatus.PIPELINE_ABORTED)
_FAILED: Final = int(ExecStatus.FATAL_ERROR)
_IDLE: Final = int(TransactionStatus.IDLE)
_OK: Final = int(ConnStatus.OK)

Done = Callable[[Exception | None], None]

_log = logs.get_logger(__name__)


class Link:
    """See the module. One request at a time; `expires_at` is the moment at which what runs is given up."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], role: str, deadlines: Deadlines) -> None:
        self.role = role
        self.opened_at = self.used_at = asyncio.get_running_loop().time()
        self.expires_at = 0.0
        # What the request that has it waited for the server, from the sending to the last of the answer.
        self.database_s = 0.0
        self.is_lost = False
        self._is_tainted = self._is_detached = False
        self._connection = connection
        self._pgconn = connection.pgconn
        self._deadlines = deadlines
        self._loop = asyncio.get_running_loop()
        self._sluice = Sluice(self._pgconn)
        self._socket = self._sluice.fileno()
        self._on_done: Done | None = None
        self._steps: Sequence[Step | Upkeep] = ()
        self._at = 0
        self._is_pipeline = False
        self._is_paused = self._is_flushing = False
        self._sent_at = self._answered_at = 0.0
        self._reads = 0
        self._unfinished_bytes = 0
        self._prepared: OrderedDict[object, Prepared] = OrderedDict()
        self._seen: OrderedDict[object, None] = OrderedDict()
        self._stale: list[bytes] = []
        self._number = 0
        self._loop.add_reader(self._socket, self._on_readable)

    @classmethod
    async def open(cls, dsn: str, role: str, deadlines: Deadlines) -> "Link":
        """Log in as the role; raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(
            dsn,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            client_encoding="UTF8",
            application_name="callmeback sqlproxy",
            options=OPTIONS,
        )

        return cls(connection, role, deadlines)

    @property
    def is_idle(self) -> bool:
        """Whether the next request may have it: nothing runs, and no transaction is open."""
        return (
            not (self.is_lost or self._is_tainted)
            and self._on_done is None
            and not self._steps
            and self._pgconn.transaction_status == _IDLE
        )

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def lend(self) -> None:
        """A request begins, with nothing on its account."""
        self.used_at = self._loop.time()
        self.database_s = 0.0

    def is_ready_for(self, key: object, *, needs_types: bool) -> bool:
        """Whether the statement of this key was prepared here, its columns are known, and their types if need be."""
        prepared = self._prepared.get(key)
        if prepared is None or not prepared.is_known:
            return False

        return not needs_types or prepared.shape is None or bool(prepared.shape.is_known)

    def begin(self, step: Step, expires_at: float, on_done: Done) -> None:
        """Run a statement that is ready; `on_done` is called once, with what `run` raises, unless `drop` comes first.

        Raises DatabaseUnavailable, and then calls nobody.
        """
        prepared = self._prepared[step.key]
        self._prepared.move_to_end(step.key)
        step.prepared = prepared
        self._sent_at = time.perf_counter()
        try:
            self._pgconn.send_query_prepared(prepared.name, step.values)
            if step.wants_chunks:
                self._pgconn.set_chunked_rows_mode(CHUNK_ROWS)
        except psycopg.Error as exc:
            raise self._lose() from exc
        self._begin([step], expires_at, on_done)

    def drop(self) -> None:
        """Nobody waits any more for what runs."""
        self._on_done = None
        self._deadlines.forget(self)

    async def run(
        self,
        text: bytes,
        values: Sequence[bytes | None],
        sink: Sink | None,
        expires_at: float,
        types: tuple[int, ...] | None = None,
    ) -> Step:
        """Run one statement in a transaction of its own.

        The Step has the tag or the error. Raises DeadlineExceeded, DatabaseUnavailable, and what the sink raises.
        """
        step = Step(text, values, sink, types)
        prepared = self._prepared.get(step.key)
        if prepared is None and step.key in self._seen:
            await self.pipeline([step], expires_at)
            return step
        pgconn = self._pgconn
        self._sent_at = time.perf_counter()
        try:
            if prepared is not None:
                self._prepared.move_to_end(step.key)
                step.prepared = prepared
                pgconn.send_query_prepared(prepared.name, values)
            else:
                self._note(step)
                pgconn.send_query_params(text, values, types)
            if step.wants_chunks:
                pgconn.set_chunked_rows_mode(CHUNK_ROWS)
        except psycopg.Error as exc:
            raise self._lose() from exc
        await self._wait([step], expires_at)

        return step

    async def close(self) -> None:
        """End it: ask the server to stop what still runs, wait a moment for that, and close the socket."""
        self._detach()
        if not self.is_lost and self._pgconn.transaction_status == TransactionStatus.ACTIVE:
            with contextlib.suppress(psycopg.Error):
                await self._connection.cancel_safe(timeout=GRACE_S)
        self.is_lost = True
        await self._connection.close()

    def taint(self) -> None:
        """What ran may have changed the session, so nobody uses it again."""
        self._is_tainted = True

    def cut(self) -> None:
        """End it without waiting for anything."""
        self._detach()
        self.is_lost = True
        self._pgconn.finish()

    def pause(self) -> None:
        """Stop reading: the sink has enough for now."""
        if not self._is_paused and not self._is_detached:
            self._is_paused = True
            self._loop.remove_reader(self._socket)

    def resume(self) -> None:
        """Go on reading, with what libpq already has."""
        if self._is_paused and not self._is_detached:
            self._is_paused = False
            self._loop.add_reader(self._socket, self._on_readable)
            self._loop.call_soon(self._go_on)

    def expire(self) -> None:
        """The deadline passed: whoever waits learns it now; the link is not idle, and will be closed."""
        self.fail(errors.DeadlineExceeded())

    def fail(self, error: Exception) -> None:
        """End the wait of the request that runs with an error; the link can't be used again."""
        self._settle(error)

    async def pipeline(self, steps: Sequence[Step], expires_at: float) -> None:
        """Run statements in one round trip; what follows a failed one is not run. Raises as `run` does."""
        pgconn = self._pgconn
        sent: list[Step | Upkeep] = []
        try:
            pgconn.enter_pipeline_mode()
            for step in steps:
                self._send(step, sent)
            first = sent[0]
            self._sent_at = time.perf_counter()
            pgconn.pipeline_sync()
            if first.wants_chunks:
                pgconn.set_chunked_rows_mode(CHUNK_ROWS)
        except psycopg.Error as exc:
            raise self._lose() from exc
        self._is_pipeline = True
        await self._wait(sent, expires_at)
        self._forget_failed(sent)

    def _send(self, step: Step, sent: list[Step | Upkeep]) -> None:
        """Put one statement into the pipeline, prepared where it was seen before."""
        key = step.key
        prepared = self._prepared.get(key)
        if prepared is None and key in self._seen:
            if len(self._prepared) >= PREPARED_MAX:
                self._stale.append(self._prepared.popitem(last=False)[1].name)
            while self._stale:
                self._pgconn.send_close_prepared(self._stale.pop())
                sent.append(Upkeep())
            self._number += 1
            prepared = self._prepared[key] = Prepared(b"s%d" % self._number)
            self._pgconn.send_prepare(prepared.name, step.text, step.types)
            sent.append(Upkeep())
        if prepared is not None:
            self._prepared.move_to_end(key)
            step.prepared = prepared
            self._pgconn.send_query_prepared(prepared.name, step.values)
        else:
            self._note(step)
            self._pgconn.send_query_params(step.text, step.values, step.types)
        sent.append(step)

    def _forget_failed(self, sent: Sequence[Step | Upkeep]) -> None:
        """What came of a pipeline that failed somewhere is not certain, so nothing new of it is taken for prepared."""
        failed = False
        for place, each in enumerate(sent):
            if isinstance(each, Upkeep):
                failed = failed or each.error is not None
                following = sent[place + 1] if place + 1 < len(sent) else None
                if isinstance(following, Step) and (each.error is not None or not following.was_run):
                    following.error = following.error or each.error
                    self._prepared.pop(following.key, None)

    def forget(self, step: Step) -> None:
        """Prepare this statement anew at its next use: the tables behind it were changed."""
        prepared = self._prepared.pop(step.key, None)
        if prepared is not None:
            self._stale.append(prepared.name)

    def _note(self, step: Step) -> None:
        if len(step.text) <= PREPARED_TEXT_BYTES_MAX:
            self._seen[step.key] = None
            if len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)

    async def _wait(self, steps: Sequence[Step | Upkeep], expires_at: float) -> None:
        """Sleep until every answer is there."""
        future = self._loop.create_future()

        def on_done(error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._begin(steps, expires_at, on_done)
        try:
            await future
        finally:
            # Whoever was cancelled after the answer came has no say in what the link does now.
            if self._on_done is on_done:
                self.drop()

    def _begin(self, steps: Sequence[Step | Upkeep], expires_at: float, on_done: Done) -> None:
        """Send what libpq holds; `on_done` hears of the end, maybe at once."""
        self._steps = steps
        self._at = self._reads = self._unfinished_bytes = 0
        self._on_done = on_done
        self.expires_at = expires_at
        self._deadlines.watch(self)
        self._flush()

    def _settle(self, error: Exception | None) -> None:
        on_done = self._on_done
        if on_done is not None:
            self._on_done = None
            self._deadlines.forget(self)
            self.database_s += (self._answered_at if error is None else time.perf_counter()) - self._sent_at
            on_done(error)

    def _flush(self) -> None:
        try:
            if self._pgconn.flush():
                self._is_flushing = True
                self._loop.add_writer(self._socket, self._on_writable)
        except psycopg.Error:
            self._lose()

    def _on_writable(self) -> None:
        self._is_flushing = False
        self._loop.remove_writer(self._socket)
        self._flush()

    def _on_readable(self) -> None:
        if self._reads and self._steps and not self._is_flushing:
            self._on_more()
            return
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
        except psycopg.Error:
            self._lose()
            return
        if not self._steps:
            # Nothing was asked: a notice, or the server's last words.
            if pgconn.is_busy() == 0 and pgconn.status == ConnStatus.BAD:
                self._lose()
            return
        self._reads += 1
        self._answered_at = time.perf_counter()
        self._advance()

    def _on_more(self) -> None:
        """An answer goes on after its first read: from here on its bytes are counted before libpq has them."""
        try:
            count = self._sluice.let_through()
        except OSError:
            self._lose()
            return
        self._unfinished_bytes += count
        if self._unfinished_bytes > UNFINISHED_BYTES_MAX:
            self._detach()
            self.fail(errors.AnswerTooLarge())
            return
        self._read_through(is_little=0 < count <= READ_BYTES_MIN)

    def _read_through(self, *, is_little: bool) -> None:
        """Have libpq read what was let through."""
        is_left = True
        while is_left:
            try:
                self._pgconn.consume_input()
            except psycopg.Error:
                self._lose()
                return
            self._answered_at = time.perf_counter()
            self._advance()
            is_left = not is_little and self._sluice.has_left() and not self._is_paused

    def _go_on(self) -> None:
        """Nobody holds us up any more: take what libpq has, and have it read what is left."""
        self._advance()
        if self._sluice.has_left() and not self._is_paused:
            self._read_through(is_little=False)

    def _advance(self) -> None:
        """Take every answer that is complete."""
        pgconn = self._pgconn
        try:
            while self._steps and not (self._is_paused or self.is_lost) and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    self._next()
                else:
                    self._take(result)
        except psycopg.Error:
            self._lose()
        except Exception as exc:
            # What a sink raises is its request's; the rest of the answer is read by nobody.
            self._detach()
            self.fail(exc)
        else:
            if not self._steps:
                self._sluice.lift()
                # Last, because whoever waited may begin something new at once.
                self._settle(None)

    def _take(self, result: PGresult) -> None:
        status = result.status
        step = self._steps[self._at]
        if status in _ROWS:
            self._unfinished_bytes = 0
            assert isinstance(step, Step)
            step.rows += result.ntuples
            if step.sink is not None:
                step.sink.add(result, step.prepared)
            # In a chunk that isn't full the tag came already, and the last, empty result lacks it.
            step.tag = result.command_status or step.tag
            if status == _TUPLES:
                self._note_run(step, has_columns=True)
        elif status in _DONE:
            if isinstance(step, Step):
                step.tag = result.command_status or b""
                self._note_run(step, has_columns=False)
        elif status == _SYNC:
            self._pgconn.exit_pipeline_mode()
            self._is_pipeline = False
            self._steps = ()
        elif status == _ABORTED:
            pass
        elif status == _FAILED and self._pgconn.status == _OK:
            step.error = result
            self._doubt(result)
        else:
            # COPY, which the policy refuses, or the end of the connection.
            self._lose(result)

    def _note_run(self, step: Step, *, has_columns: bool) -> None:
        step.was_run = True
        prepared = step.prepared
        if prepared is not None:
            prepared.is_known = prepared.shape is not None or not has_columns
            prepared.is_small = step.rows < CHUNK_ROWS

    def _doubt(self, result: PGresult) -> None:
        """A refusal may be the session's own fault: its role was made anew, and it is still the old one's."""
        state = result.error_field(DiagnosticField.SQLSTATE)
        if state in DOUBTFUL and self.now() - self.opened_at > DOUBTED_AFTER_S:
            self._is_tainted = True

    def _next(self) -> None:
        """One statement's answers are complete."""
        if not self._is_pipeline:
            if self._pgconn.status == _OK:
                self._steps = ()
            else:
                self._lose()
            return
        if self._pgconn.status != _OK:
            self._lose()
            return
        if self._at + 1 < len(self._steps):
            self._at += 1
            # After a failure nothing more is run, so there are no rows to come in chunks.
            is_aborted = self._pgconn.pipeline_status == PipelineStatus.ABORTED
            if self._steps[self._at].wants_chunks and not is_aborted:
                self._pgconn.set_chunked_rows_mode(CHUNK_ROWS)

    def _lose(self, result: PGresult | None = None) -> errors.DatabaseUnavailable:
        """The connection is gone, or can't be understood any more."""
        error = errors.DatabaseUnavailable()
        if not self.is_lost:
            sqlstate = (result.error_field(DiagnosticField.SQLSTATE) if result is not None else None) or b""
            _log.warning("connection_lost", role=self.role, sqlstate=sqlstate.decode(), in_use=bool(self._steps))
            self.is_lost = True
            self._detach()
            self.fail(error)

        return error

    def _detach(self) -> None:
        """The loop looks at the socket no longer. Once: libpq closes its own, and the number may be somebody else's."""
        if self._is_detached:
            return
        self._is_detached = True
        for remove in (self._loop.remove_reader, self._loop.remove_writer):
            with contextlib.suppress(OSError, ValueError):
                remove(self._socket)
        self._sluice.end()
