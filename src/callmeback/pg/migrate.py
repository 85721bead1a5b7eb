"""The migration runner: brings a database to what the files in `callmeback/sql/` say, and tells how far it is.

One runner at a time per database, by an advisory lock that is polled: a runner blocked in pg_advisory_lock would
deadlock with CREATE INDEX CONCURRENTLY. Each migration is one transaction together with its record; one marked
no-transaction is recorded `running` first and repeated until it ends. Then the repeatable set is applied, in one
transaction, when anything changed. People use the tables meanwhile: what a deadlock with them ended is done anew.
Synchronous: a service calls it in a thread.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row, scalar_row

from callmeback import errors
from callmeback.pg import lexer, migration_files, statements
from callmeback.pg.blockers import Watch
from callmeback.pg.errors import translate
from callmeback.pg.migration_files import SQL_DIRECTORY, Files, Migration, Repeatable
from callmeback.pg.statements import Statement

SQL: Final = statements.load("callmeback.pg", "migrate.sql")
HISTORY: Final = statements.load("callmeback.pg", "history.sql")

# Another runner may be building a large index.
LOCK_WAIT_S: Final = 600.0
LOCK_POLL_S: Final = 0.2
# How often a file is done anew that PostgreSQL ended since it and somebody waited for each other.
DEADLOCKS_MAX: Final = 5
CONNECT_TIMEOUT_S: Final = 10
# Settings of the runner's session. A server process whose runner was killed notices within a second, also in the
# middle of a statement, and so gives the lock back.
_OPTIONS: Final = (
    "-c client_connection_check_interval=1s -c search_path=public -c TimeZone=UTC -c DateStyle=ISO "
    "-c lock_timeout=4s -c statement_timeout=30s -c idle_in_transaction_session_timeout=1min "
    "-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)
_LOCK_NOT_AVAILABLE: Final = "55P03"
_QUERY_CANCELED: Final = "57014"

State = Literal["applied", "pending", "running", "edited", "unknown"]


class Applied(msgspec.Struct, frozen=True):
    """One thing that a run did: a migration, or the whole repeatable set."""

    file: str
    execution_ms: int


class FileStatus(msgspec.Struct, frozen=True):
    """How a file stands. `unknown` is a migration that the database has and this program doesn't."""

    file: str
    state: State
    applied_at: datetime | None = None
    execution_ms: int | None = None


class Status(msgspec.Struct, frozen=True):
    """Every migration and every file of the repeatable set."""

    migrations: list[FileStatus]
    repeatable: list[FileStatus]

    @property
    def is_current(self) -> bool:
        """Whether there is nothing left to apply and nothing that contradicts the files."""
        return all(file.state == "applied" for file in (*self.migrations, *self.repeatable))

    @property
    def is_drifted(self) -> bool:
        """Whether the database and the files contradict one another."""
        return any(file.state in ("edited", "unknown") for file in self.migrations)


class Recorded(msgspec.Struct, frozen=True):
    """A row of schema_migrations."""

    version: int
    name: str
    checksum: str
    applied_at: datetime
    execution_ms: int | None
    state: str

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.version:03}_{self.name}.sql"


class RecordedFile(msgspec.Struct, frozen=True):
    """A row of schema_repeatable."""

    file: str
    checksum: str
    applied_at: datetime


Runner = psycopg.Connection[Any]


def apply(dsn: str, *, directory: Path = SQL_DIRECTORY, lock_wait_s: float = LOCK_WAIT_S) -> list[Applied]:
    """Apply what is missing, as the user of `dsn`, who will own it; a direct connection, never through a pooler.

    Returns what was done, nothing when the database was current. Raises MigrationFailed for a file that is refused or
    fails (its transaction leaves nothing behind), and when another runner holds the lock for longer than `lock_wait_s`;
    DatabaseUnavailable without a server.
    """
    files = migration_files.read(directory)
    with _connect(dsn) as connection:
        _take_lock(connection, lock_wait_s)
        done: list[Applied] = []
        if not _value(connection, SQL.has_history):
            _create_history(connection)
        recorded = _recorded(connection)
        _check_history(files.migrations, recorded)
        applied = {row.version for row in recorded if row.state == "applied"}
        for migration in files.migrations:
            if migration.version not in applied:
                done.append(_apply_one(connection, dsn, migration))
        if _changed(connection, files.repeatable):
            done.append(_apply_repeatable(connection, dsn, files.repeatable))
        if _value(connection, SQL.has_partitions):
            _execute(connection, SQL.ensure_partitions)

        return done


def status(dsn: str, *, directory: Path = SQL_DIRECTORY) -> Status:
    """How every file stands in the database of `dsn`; changes nothing and waits for nobody."""
    files = migration_files.read(directory)
    with _connect(dsn) as connection:
        if not _value(connection, SQL.has_history):
            return _compare(files, [], [])

        return _compare(files, _recorded(connection), _recorded_files(connection))


def holder(dsn: str) -> str | None:
    """The session that migrates right now; None when nobody does."""
    with _connect(dsn) as connection:
        found = _value(connection, SQL.who_holds_the_lock)

    return None if found is None else str(found)


def _compare(files: Files, recorded: list[Recorded], repeatable: list[RecordedFile]) -> Status:
    rows = {row.version: row for row in recorded}
    migrations = [_status_of(migration, rows.pop(migration.version, None)) for migration in files.migrations]
    migrations += [FileStatus(row.file, "unknown", row.applied_at, row.execution_ms) for row in rows.values()]
    texts = {row.file: row for row in repeatable}
    functions = []
    for file in files.repeatable:
        row = texts.get(file.file)
        is_same = row is not None and row.checksum == file.checksum
        functions.append(FileStatus(file.file, "applied" if is_same else "pending", row.applied_at if row else None))

    return Status(migrations, functions)


def _status_of(migration: Migration, row: Recorded | None) -> FileStatus:
    if row is None:
        return FileStatus(migration.file, "pending")
    state: State = "running" if row.state == "running" else "applied"
    if state == "applied" and (row.checksum != migration.checksum or row.name != migration.name):
        state = "edited"

    return FileStatus(migration.file, state, row.applied_at, row.execution_ms)


def _connect(dsn: str) -> Runner:
    options = f"{conninfo_to_dict(dsn).get('options') or ''} {_OPTIONS}"
    try:
        connection = psycopg.connect(
            make_conninfo(dsn, options=options, application_name="callmeback migrate", client_encoding="utf8"),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            cursor_factory=psycopg.RawCursor,
            prepare_threshold=None,
        )
    except psycopg.Error as exc:
        raise translate(exc) from exc
    if _value(connection, SQL.backend) != connection.pgconn.backend_pid:
        connection.close()
        raise errors.MigrationFailed("Migrations need a direct connection: a pooler stands before this server.")

    return connection


def _take_lock(connection: Runner, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not _value(connection, SQL.try_lock):
        if time.monotonic() >= deadline:
            holder = _value(connection, SQL.who_holds_the_lock) or "another session"
            raise errors.MigrationFailed(f"Another run has the lock since more than {wait_s:g} s: {holder}.")
        time.sleep(LOCK_POLL_S)


def _create_history(connection: Runner) -> None:
    """The runner's own tables, all or none."""
    with connection.transaction():
        for statement in HISTORY:
            connection.execute(statement.native)


def _check_history(migrations: Sequence[Migration], recorded: list[Recorded]) -> None:
    """Refuse to go on from a past that the files don't tell."""
    known = {migration.version: migration for migration in migrations}
    for expected, row in enumerate(recorded, 1):
        migration = known.get(row.version)
        if migration is None:
            raise errors.MigrationFailed(
                f"The database has {row.file}, which this program doesn't: the program is older than the database."
            )
        if row.version != expected:
            raise errors.MigrationFailed(f"{row.file} was applied but number {expected:03} was not.")
        if row.state == "applied" and (row.checksum != migration.checksum or row.name != migration.name):
            raise errors.MigrationFailed(
                f"{migration.file} was edited after it was applied (as {row.file}, {row.applied_at:%Y-%m-%d}). "
                "Restore its text and write a new migration."
            )


def _apply_one(connection: Runner, dsn: str, migration: Migration) -> Applied:
    started = time.monotonic()
    with Watch(dsn, connection.pgconn.backend_pid) as watch:
        run = _in_transaction if migration.in_transaction else _without_transaction
        _until_no_deadlock(lambda: run(connection, migration, started, watch))

    return Applied(migration.file, _ms_since(started))


def _until_no_deadlock(work: Callable[[], None]) -> None:
    """Do a file, and anew, as a later run would, where it was ended in a deadlock with people who use the tables."""
    for _ in range(DEADLOCKS_MAX):
        try:
            return work()
        except errors.MigrationFailed as exc:
            if not isinstance(exc.__cause__, psycopg.errors.DeadlockDetected):
                raise

    return work()


def _in_transaction(connection: Runner, migration: Migration, started: float, watch: Watch) -> None:
    _execute(connection, SQL.begin)
    _limit(connection, migration, is_local=True)
    for piece in migration.pieces:
        _run(connection, migration.file, piece, watch)
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.INTRANS:
        connection.close()
        raise errors.MigrationFailed(f"{migration.file} ended the runner's transaction.")
    _note_applied(connection, migration, started)
    _finish(connection, migration.file, watch)


def _without_transaction(connection: Runner, migration: Migration, started: float, watch: Watch) -> None:
    """One statement, repeated by later runs until it ends; what a failed CONCURRENTLY left is removed before."""
    (piece,) = migration.pieces
    index = migration_files.index_name(piece)
    before = {row.version: row.state for row in _recorded(connection)}.get(migration.version)
    is_valid = None if index is None else _value(connection, SQL.index_is_valid, index=index)
    if before is None and is_valid is not None:
        raise errors.MigrationFailed(f"{migration.file}: there is an index {index} already, made by something else.")
    noted = {"version": migration.version, "name": migration.name, "checksum": migration.checksum}
    _execute(connection, SQL.note_running, **noted)
    _limit(connection, migration, is_local=False)
    if is_valid is False:
        _drop_index(connection, migration.file, str(index), piece, watch)
    if "REINDEX" in piece.words:
        for left in _column(connection, SQL.broken_rebuilds):
            _drop_index(connection, migration.file, left, piece, watch)
    # A valid index after a `running` record: the runner died between the index and the record.
    if not is_valid:
        _run(connection, migration.file, piece, watch)
    _execute(connection, SQL.reset)
    _execute(connection, SQL.begin)
    _note_applied(connection, migration, started)
    _finish(connection, migration.file, watch)


def _drop_index(connection: Runner, file: str, index: str, piece: lexer.Piece, watch: Watch) -> None:
    command = str(_value(connection, SQL.drop_index_command, index=index))
    _run(connection, file, lexer.Piece(command, piece.line, ("DROP", "INDEX")), watch)


def _note_applied(connection: Runner, migration: Migration, started: float) -> None:
    """Record the migration; its functions, views, policies and grants may depend on it and are due again."""
    _execute(
        connection,
        SQL.note_applied,
        version=migration.version,
        name=migration.name,
        checksum=migration.checksum,
        execution_ms=_ms_since(started),
    )
    _execute(connection, SQL.forget_repeatable)


def _apply_repeatable(connection: Runner, dsn: str, files: Sequence[Repeatable]) -> Applied:
    started = time.monotonic()
    with Watch(dsn, connection.pgconn.backend_pid) as watch:
        _until_no_deadlock(lambda: _replace_repeatable(connection, files, watch))

    return Applied("functions, views and access", _ms_since(started))


def _replace_repeatable(connection: Runner, files: Sequence[Repeatable], watch: Watch) -> None:
    _execute(connection, SQL.begin)
    _value(connection, SQL.set_limit, setting="lock_timeout", value=migration_files.LOCK_TIMEOUT, is_local=True)
    _execute(connection, SQL.forget_repeatable)
    for file in files:
        _value(connection, SQL.set_limit, setting="statement_timeout", value=file.statement_timeout, is_local=True)
        for piece in file.pieces:
            _run(connection, file.file, piece, watch)
        _execute(connection, SQL.note_repeatable, file=file.file, checksum=file.checksum)
    _finish(connection, "functions, views and access", watch)


def _changed(connection: Runner, files: Sequence[Repeatable]) -> bool:
    present = {row.file: row.checksum for row in _recorded_files(connection)}
    return present != {file.file: file.checksum for file in files}


def _limit(connection: Runner, migration: Migration, *, is_local: bool) -> None:
    for setting, value in (
        ("lock_timeout", migration.lock_timeout),
        ("statement_timeout", migration.statement_timeout),
    ):
        _value(connection, SQL.set_limit, setting=setting, value=value, is_local=is_local)


def _run(connection: Runner, file: str, piece: lexer.Piece, watch: Watch) -> None:
    """One statement of a file; a failure rolls its transaction back and becomes MigrationFailed with file and line."""
    try:
        connection.execute(piece.text.encode())
    except psycopg.Error as exc:
        _forget(connection)
        raise errors.MigrationFailed(_explain(exc, file, piece, watch.seen)) from exc


def _finish(connection: Runner, file: str, watch: Watch) -> None:
    """Commit, where deferred constraints speak, and hand no setting on."""
    _run(connection, file, lexer.Piece(SQL.commit.text, 1, ()), watch)
    _execute(connection, SQL.reset)


def _forget(connection: Runner) -> None:
    if connection.closed or connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
        return
    try:
        _execute(connection, SQL.rollback)
    except errors.CallMeBackError:
        connection.close()


def _explain(error: psycopg.Error, file: str, piece: lexer.Piece, blockers: list[str]) -> str:
    if error.sqlstate is None:
        return f"{file}:{piece.line}: the connection was lost. Run migrate again."
    position = int(error.diag.statement_position or 1) - 1
    line = piece.line + piece.text.count("\n", 0, position)
    said = f"{error.diag.message_primary} ({error.sqlstate})"
    if error.diag.message_detail:
        said += f" {error.diag.message_detail}"
    if error.diag.message_hint:
        said += f" {error.diag.message_hint}"
    if error.sqlstate in (_LOCK_NOT_AVAILABLE, _QUERY_CANCELED) and blockers:
        said += f". In the way: {', '.join(blockers)}. Let it end, or end it, and run migrate again"

    return f"{file}:{line}: {said}"


def _execute(connection: Runner, statement: Statement, **params: object) -> None:
    try:
        connection.execute(statement.native, [params[name] for name in statement.parameters] or None)
    except psycopg.Error as exc:
        raise translate(exc) from exc


def _value(connection: Runner, statement: Statement, **params: object) -> Any:
    found = _column(connection, statement, **params)
    return found[0] if found else None


def _column(connection: Runner, statement: Statement, **params: object) -> list[Any]:
    try:
        with connection.cursor(row_factory=scalar_row) as cursor:
            cursor.execute(statement.native, [params[name] for name in statement.parameters] or None)
            return cursor.fetchall()
    except psycopg.Error as exc:
        raise translate(exc) from exc


def _recorded(connection: Runner) -> list[Recorded]:
    with connection.cursor(row_factory=class_row(Recorded)) as cursor:
        return cursor.execute(SQL.history.native).fetchall()


def _recorded_files(connection: Runner) -> list[RecordedFile]:
    with connection.cursor(row_factory=class_row(RecordedFile)) as cursor:
        return cursor.execute(SQL.repeatable.native).fetchall()


def _ms_since(started: float) -> int:
    return round((time.monotonic() - started) * 1_000)
