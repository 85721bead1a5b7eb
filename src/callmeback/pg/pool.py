"""A role's connections, and transactions on them.

    async with db.transaction(user_id) as tx:
        call = await tx.one(SQL.call_of_user, Call, call_id=call_id)

BEGIN, the user's id and the first statement share one round trip. An entrance opens transactions; domain code takes a
Session. Nothing of one transaction is seen by the next: the user's id is local to it, and a connection whose
transaction did not end cleanly is closed. Errors are domain errors, see `errors.py`.
"""

import asyncio
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import msgspec
import psycopg
from opentelemetry.trace import SpanKind
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq.abc import PGresult
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from callmeback import errors, traces
from callmeback.pg import parameters, rows, statements
from callmeback.pg.errors import is_stale_plan, overloaded, translate
from callmeback.pg.statements import Statement
from callmeback.pg.wire import Alarm, Connection, Step

SQL: Final = statements.load("callmeback.pg", "session.sql")

CONNECT_TIMEOUT_S: Final = 5
RECONNECT_TIMEOUT_S: Final = 2.0
CLOSE_TIMEOUT_S: Final = 5.0
DEADLINE_S: Final = 10.0
# A queue longer than this waits longer than anybody does: shed at once instead.
WAITING_PER_CONNECTION: Final = 4
MAX_LIFETIME_S: Final = 3_600.0
# Between two looks of a task for a connection that the pool makes.
KNOCK_S: Final = 0.05
# Rows of one `run_many` that share a round trip.
BATCH_MAX: Final = 500

# Of OpenTelemetry's semantic conventions for databases; a statement goes by its name, never by its text.
_DATABASE: Final[dict[str, traces.Value]] = {"db.system.name": "postgresql"}

ShapeT = TypeVar("ShapeT", bound=msgspec.Struct)
Mode = Literal["write", "read", "snapshot"]
_BEGIN: Final = {"write": SQL.begin, "read": SQL.begin_read_only, "snapshot": SQL.begin_snapshot}


class PoolStats(msgspec.Struct, frozen=True):
    """Connections open, of these idle, and tasks that wait for one; `max_size` is the bound."""

    size: int
    idle: int
    waiting: int
    max_size: int


class Session:
    """One open transaction. Statements run one after another; each has `deadline_s` seconds."""

    def __init__(self, connection: Connection, opening: list[Step], closing: list[Step], deadline_s: float) -> None:
        self._connection = connection
        self._opening = opening
        self._closing = closing
        self._deadline_s = deadline_s
        self._failure: Exception | None = None

    async def one(self, statement: Statement, shape: type[ShapeT], /, **params: object) -> ShapeT:
        """The one row; raises NotFound when there is none."""
        found = await self.maybe(statement, shape, **params)
        if found is None:
            raise errors.NotFound()

        return found

    async def maybe(self, statement: Statement, shape: type[ShapeT], /, **params: object) -> ShapeT | None:
        """The one row, or None."""
        found = await self.all(statement, shape, **params)
        assert len(found) <= 1, f"{statement.name} gave {len(found)} rows where one was expected"

        return found[0] if found else None

    async def all(self, statement: Statement, shape: type[ShapeT], /, **params: object) -> list[ShapeT]:
        """Every row, in the statement's order."""
        result = await self._run(statement, params)
        make = rows.maker(shape, rows.columns(result))
        transformer = self._connection.transformer
        transformer.set_pgresult(result)

        return transformer.load_rows(0, result.ntuples, make)

    async def dicts(self, statement: Statement, /, **params: object) -> list[dict[str, Any]]:
        """Every row as a dict by column name: for reports, whose columns nobody names in code."""
        result = await self._run(statement, params)
        names = rows.columns(result)
        transformer = self._connection.transformer
        transformer.set_pgresult(result)

        return transformer.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))

    async def value(self, statement: Statement, /, **params: object) -> Any:
        """The first column of the first row, or None without a row."""
        result = await self._run(statement, params)
        if not result.ntuples:
            return None
        transformer = self._connection.transformer
        transformer.set_pgresult(result)

        return transformer.load_row(0, lambda values: values[0])

    async def run(self, statement: Statement, /, **params: object) -> int:
        """Run it for its effect; returns the number of rows it changed (or gave)."""
        result = await self._run(statement, params)

        return result.command_tuples or 0

    async def run_many(self, statement: Statement, many: Sequence[dict[str, object]], /) -> None:
        """Run it once per set of parameters, in order, BATCH_MAX to a round trip."""
        steps = [_step(statement, params) for params in many]
        for start in range(0, len(steps), BATCH_MAX):
            await self._exchange(steps[start : start + BATCH_MAX])

    async def _run(self, statement: Statement, params: dict[str, object]) -> PGresult:
        step = _step(statement, params)
        if not traces.is_on():
            return await self._exchange([step])
        with traces.span(statement.name, SpanKind.CLIENT, _DATABASE | {"db.query.summary": statement.name}):
            return await self._exchange([step])

    async def _exchange(self, steps: list[Step]) -> PGresult:
        if self._failure is not None:
            raise self._failure
        opening, self._opening = self._opening, []
        alarm = Alarm(self._connection, self._deadline_s)
        try:
            result = await self._connection.exchange([*opening, *steps], alarm, closing=self._closing)
        except psycopg.Error as exc:
            failure = errors.DeadlineExceeded() if alarm.rang else translate(exc)
            if alarm.rang or is_stale_plan(exc):
                await self._connection.close()
            self._failure = failure
            raise failure from exc
        if alarm.rang:
            self._failure = errors.DeadlineExceeded()
            await self._connection.close()
            raise self._failure
        if self._closing:
            self._failure = RuntimeError("a single statement was announced")

        return result

    async def _commit(self) -> None:
        """Raises the error that a statement raised before, when the caller caught it: nothing was kept."""
        if self._closing and self._connection.is_idle():
            return
        if self._failure is not None:
            raise self._failure
        if self._opening:
            return
        result = await self._exchange([Step(SQL.commit)])
        assert result.command_status == b"COMMIT", "a failed transaction was caught above"

    async def _roll_back(self) -> None:
        """Leave the connection idle, or closed."""
        if self._connection.closed or self._connection.is_idle():
            return
        alarm = Alarm(self._connection, self._deadline_s)
        try:
            await self._connection.exchange([Step(SQL.rollback)], alarm)
        except psycopg.Error:
            await self._connection.close()
        if alarm.rang:
            await self._connection.close()


def _step(statement: Statement, params: dict[str, object]) -> Step:
    if len(params) != len(statement.parameters):
        raise TypeError(f"{statement.name} takes {statement.parameters}, not {tuple(params)}")
    try:
        return Step(statement, [parameters.encode(params[name]) for name in statement.parameters])
    except KeyError as exc:
        raise TypeError(f"{statement.name} takes {statement.parameters}, not {tuple(params)}") from exc


class Transaction:
    """`async with` this for a Session: commits at the end, rolls back on any error."""

    def __init__(self, database: "Database", opening: list[Step], closing: list[Step], deadline_s: float) -> None:
        self._database = database
        self._opening = opening
        self._closing = closing
        self._deadline_s = deadline_s

    async def __aenter__(self) -> Session:
        self._connection = await self._database._take()
        self._session = Session(self._connection, self._opening, self._closing, self._deadline_s)

        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, connection = self._session, self._connection
        try:
            if error is None:
                await session._commit()
            elif isinstance(error, Exception):
                await session._roll_back()
        except Exception:
            await session._roll_back()
            raise
        finally:
            # Reached after a cancellation too, when nothing may be awaited that could be cancelled again: a connection
            # that is still in a transaction is cut, and the server rolls back.
            session._failure = RuntimeError("this transaction is over")
            if not connection.closed and not connection.is_idle():
                connection.pgconn.finish()
            await self._database._give_back(connection)


class Database:
    """The bounded pool of one role. `async with Database.open(…) as db` or `db = await Database.open(…)`, `close()`."""

    def __init__(self, pool: AsyncConnectionPool[Connection], wait_s: float, deadline_s: float) -> None:
        self._pool = pool
        self._wait_s = wait_s
        self._deadline_s = deadline_s
        self._lent = 0
        self._knocking = 0

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        name: str,
        max_size: int = 20,
        wait_s: float = 2.0,
        idle_s: float = 30.0,
        max_waiting: int | None = None,
        min_size: int = 1,
        deadline_s: float = DEADLINE_S,
    ) -> "Database":
        """At most `max_size` connections; a task waits at most `wait_s` for one, and at most `max_waiting` tasks do.

        `deadline_s` bounds each statement. Connecting happens in the background: an absent server shows at the first
        transaction, as DatabaseUnavailable.
        """
        pool = AsyncConnectionPool(
            dsn,
            connection_class=Connection,
            kwargs={
                "autocommit": True,
                "context": rows.Types(),
                "application_name": f"callmeback {name}",
                "connect_timeout": CONNECT_TIMEOUT_S,
                "options": f"{conninfo_to_dict(dsn).get('options') or ''} -c TimeZone=UTC",
            },
            min_size=min(min_size, max_size),
            max_size=max_size,
            timeout=wait_s,
            max_waiting=WAITING_PER_CONNECTION * max_size if max_waiting is None else max_waiting,
            max_idle=idle_s,
            max_lifetime=MAX_LIFETIME_S,
            reconnect_timeout=RECONNECT_TIMEOUT_S,
            name=name,
            open=False,
        )
        return cls(pool, wait_s, deadline_s)

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def close(self) -> None:
        """Close the idle connections now, the others when their transactions end."""
        await self._pool.close(CLOSE_TIMEOUT_S)

    def transaction(
        self,
        user_id: str | None = None,
        *,
        read_only: bool = False,
        snapshot: bool = False,
        single: bool = False,
        deadline_s: float | None = None,
    ) -> Transaction:
        """A transaction as `user_id` (what row-level security sees; None is nobody).

        `snapshot` (implies read only) shows every statement the same moment. `single` (of one that reads) announces
        that there is one statement, so its COMMIT shares its round trip; a second one raises RuntimeError. Raises
        Overloaded when no connection comes free in time, DatabaseUnavailable when there is no server, and at its end
        what COMMIT raises.
        """
        mode: Mode = "snapshot" if snapshot else "read" if read_only else "write"
        assert mode != "write" or not single, "what was written is kept by a COMMIT of its own"
        opening = [Step(_BEGIN[mode]), Step(SQL.take_user, [parameters.encode(user_id or "")])]
        closing = [Step(SQL.commit)] if single else []

        return Transaction(self, opening, closing, self._deadline_s if deadline_s is None else deadline_s)

    async def ping(self) -> None:
        """Raise what a transaction would raise when the database doesn't answer."""
        async with self.transaction(read_only=True, single=True) as tx:
            await tx.run(SQL.ping)

    def stats(self) -> PoolStats:
        """What the pool holds right now."""
        now = self._pool.get_stats()
        return PoolStats(
            size=now["pool_size"],
            idle=now["pool_available"],
            waiting=now["requests_waiting"],
            max_size=now["pool_max"],
        )

    async def _take(self) -> Connection:
        """A living connection. After a restart of the server the dead ones are passed over, each at most once."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "who waits for a connection is a task"
        deadline = loop.time() + self._wait_s
        refused, cancelled = self._refusals(), task.cancelling()
        for _ in range(self._pool.max_size + 1):
            try:
                connection = await self._getconn(deadline)
            except TooManyRequests as exc:
                raise (overloaded() if self._lent else errors.DatabaseUnavailable()) from exc
            except PoolTimeout as exc:
                raise (errors.DatabaseUnavailable() if self._refusals() > refused else overloaded()) from exc
            except PoolClosed as exc:
                raise errors.DatabaseUnavailable() from exc
            if task.cancelling() > cancelled:
                # The pool waits with wait_for, which up to Python 3.11 swallows a cancellation that comes together with
                # the connection; a loop that was told to end would go on for ever.
                await self._pool.putconn(connection)
                raise asyncio.CancelledError()
            if connection.is_alive():
                self._lent += 1
                return connection
            await connection.close()
            await self._pool.putconn(connection)

        raise errors.DatabaseUnavailable()

    async def _getconn(self, deadline: float) -> Connection:
        """The pool's next connection; raises TooManyRequests when too many tasks wait for one.

        The pool counts those who gave up waiting as waiting still, until a connection comes. While nobody has one, none
        comes back, and the pool, which gives up connecting after some time, would refuse everybody for ever: who is
        refused then has it connect again, and waits a little.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await self._pool.getconn(deadline - loop.time())
            except TooManyRequests:
                if self._lent:
                    raise
                await self._pool.check()
                if self._knocking >= self._pool.max_waiting or loop.time() + KNOCK_S > deadline:
                    raise
            self._knocking += 1
            try:
                await asyncio.sleep(KNOCK_S)
            finally:
                self._knocking -= 1

    def _refusals(self) -> int:
        return self._pool.get_stats().get("connections_errors", 0)

    async def _give_back(self, connection: Connection) -> None:
        """Never suspends: the pool's lock is free between two steps of the loop, so no cancellation can lose a slot."""
        assert connection.closed or connection.is_idle(), "a transaction would leak into the next"
        self._lent -= 1
        await self._pool.putconn(connection)
