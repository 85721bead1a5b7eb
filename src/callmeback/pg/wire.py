"""One connection, one round trip: several statements go out together, the last one's result comes back.

libpq's pipeline mode (PostgreSQL manual, 32.5) through psycopg's generators. Every statement is prepared on its first
use, in the same round trip, and stays prepared as long as the connection: the set of statements is fixed by our files.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import psycopg
from psycopg import abc, generators
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGresult

from callmeback.pg.statements import Statement

# After the deadline the server is asked to cancel; after this much longer the socket is cut. A stopped server never
# answers a cancellation, and it ignores its own statement_timeout.
GRACE_S: Final = 1.0


class Step(msgspec.Struct, frozen=True):
    """A statement with its parameters, encoded, in order."""

    statement: Statement
    values: Sequence[bytes | None] = ()


class Connection(psycopg.AsyncConnection[Any]):
    """A connection that remembers what it prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: set[bytes] = set()

    @functools.cached_property
    def transformer(self) -> abc.Transformer:
        """Turns results into values; made late, because psycopg gives a connection its loaders after it is made."""
        return Transformer(self)

    async def exchange(self, steps: Sequence[Step], alarm: "Alarm", *, closing: Sequence[Step] = ()) -> PGresult:
        """Run `steps`, and then `closing`, in one round trip; returns the result of the last of `steps`.

        Raises psycopg.Error, for the first step that fails; the later ones were then not run.
        """
        async with self.lock:
            with alarm:
                return await self.wait(_exchange(self, steps, closing))

    def is_alive(self) -> bool:
        """Whether an idle connection still has its server: a look at the socket, no round trip."""
        try:
            self.pgconn.consume_input()
            self.pgconn.is_busy()
            self.pgconn.consume_input()
        except psycopg.OperationalError:
            return False

        return not self.closed and not self.broken

    def is_idle(self) -> bool:
        """Whether the connection is outside any transaction."""
        return self.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def cut(self) -> None:
        """End the conversation at once, from this side; whoever waits for an answer sees the connection lost."""
        with contextlib.suppress(OSError, psycopg.OperationalError):
            with socket.fromfd(self.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as copy:
                copy.shutdown(socket.SHUT_RDWR)


class Alarm:
    """The client's own deadline for one round trip: cancels at the server first, then cuts the connection.

    No task is cancelled for it, so the waiting code always learns how its round trip ended. Once it rang, the
    connection must be closed: a late cancellation would hit the next statement.
    """

    def __init__(self, connection: Connection, deadline_s: float) -> None:
        self.rang = False
        self._connection = connection
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._cancelling: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._handle = self._loop.call_later(self._deadline_s, self._ring)

    def __exit__(self, *_: object) -> None:
        assert self._handle is not None
        self._handle.cancel()

    def _ring(self) -> None:
        self.rang = True
        self._cancelling = self._loop.create_task(self._cancel())
        self._handle = self._loop.call_later(GRACE_S, self._connection.cut)

    async def _cancel(self) -> None:
        with contextlib.suppress(psycopg.Error):  # cutting the connection is the second measure
            await self._connection.cancel_safe(timeout=GRACE_S)


def _exchange(connection: Connection, steps: Sequence[Step], closing: Sequence[Step]) -> abc.PQGen[PGresult]:
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    # What each answer makes true: a statement is prepared, or nothing.
    expected: list[bytes | None] = []
    wanted = 0
    for number, step in enumerate((*steps, *closing), 1):
        key = step.statement.key
        if key not in connection.prepared and key not in expected:
            pgconn.send_prepare(key, step.statement.native)
            expected.append(key)
        pgconn.send_query_prepared(key, step.values, result_format=Format.TEXT)
        expected.append(None)
        if number == len(steps):
            wanted = len(expected)
    pgconn.pipeline_sync()
    yield from generators.send(pgconn)
    result, failure = yield from _collect(connection, expected, wanted)
    if pgconn.status == ConnStatus.OK:
        pgconn.exit_pipeline_mode()
    if failure is not None:
        raise error_from_result(failure)
    if result is None:
        raise psycopg.OperationalError("the connection was lost")

    return result


def _collect(
    connection: Connection, expected: list[bytes | None], wanted: int
) -> abc.PQGen[tuple[PGresult | None, PGresult | None]]:
    """Read every answer up to the sync: the result that is wanted, and the first failure if there is one."""
    pgconn = connection.pgconn
    last: PGresult | None = None
    failure: PGresult | None = None
    answered = 0
    # Each answer is a result and a None; one more pair is the sync.
    for _ in range(2 * len(expected) + 2):
        result = yield from generators.fetch(pgconn)
        if result is None:
            if pgconn.status != ConnStatus.OK:
                break
            continue
        if result.status == ExecStatus.PIPELINE_SYNC:
            break
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            if (key := expected[answered]) is not None:
                connection.prepared.add(key)
            if answered < wanted:
                last = result
        elif failure is None:
            failure = result
        answered += 1

    return last, failure
