"""The embedded PostgreSQL: made, started, found and stopped. It lives as long as the process that started it.

    with server.start(home) as running:
        connect(running.owner_dsn)

Where its programs come from is in `binaries.py`, where it lives in `place.py`, how it is set in `configuration.py`.
"""

import atexit
import contextlib
import functools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
import psycopg
from psycopg.conninfo import make_conninfo

from callmeback import errors, logs
from callmeback.pg import configuration, lifeline, remains, roles, statements
from callmeback.pg import home as homes
from callmeback.pg import place as places
from callmeback.pg.binaries import Binaries, choose
from callmeback.pg.place import Memory, Place

SQL: Final = statements.load("callmeback.pg", "server.sql")

DATABASE: Final = "callmeback"
SUPERUSER: Final = "postgres"
STATISTICS: Final = "pg_stat_statements"
# Crash recovery replays up to max_wal_size and may take far longer than a start; it is bounded all the same.
START_TIMEOUT_S: Final = 600.0
SLOW_START_S: Final = 5.0
INITDB_TIMEOUT_S: Final = 120
# How long what a killed server left behind may hold its shared memory.
RETRY_TIMEOUT_S: Final = 20.0
RETRY_PAUSE_S: Final = 0.1
POLL_S: Final = 0.005
STOP_TIMEOUT_S: Final = 60.0
QUIT_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 10
# Below the ports that the system hands out to outgoing connections.
PORT_MIN: Final = 20_000
PORT_COUNT: Final = 10_000
PORT_ATTEMPTS: Final = 50
LOG_TAIL_LINES: Final = 12
STATUS_LINE: Final = 7

log = logs.get_logger(__name__)


Postmaster = subprocess.Popen[bytes]
Launch = Callable[[], Postmaster]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a running server, and where its parts are. The DSNs hold passwords."""

    owner_dsn: str
    superuser_dsn: str
    port: int
    major: int
    programs: Path
    data: Path
    archive: Path


class Server:
    """A server that this process started. `stop` ends it; so does the end of the process, in any way."""

    def __init__(self, place: Place, launch: Launch, process: Postmaster, endpoint: Endpoint, lock: int) -> None:
        self.place = place
        self.endpoint = endpoint
        self._launch = launch
        self._process = process
        self._lock = lock
        atexit.register(self.stop)

    @property
    def owner_dsn(self) -> str:
        """As callmeback_owner, who owns the database."""
        return self.endpoint.owner_dsn

    @property
    def superuser_dsn(self) -> str:
        """As postgres, who makes roles; nothing in service uses it."""
        return self.endpoint.superuser_dsn

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the postmaster is alive."""
        return self._process.poll() is None

    def revive(self) -> None:
        """Start the postmaster again after it ended by itself: killed, say, for want of memory.

        Blocks until crash recovery is done. The address stays. Raises ServerFailed, also when the port was taken.
        """
        assert not self.is_running, "the postmaster still runs"
        self._process = self._launch()
        if places.recall(self.place).port != self.endpoint.port:
            raise errors.ServerFailed(f"The port {self.endpoint.port} was taken in the meantime.")

    def stop(self) -> None:
        """Shut down: clients are cut off, everything committed is kept. A second call does nothing."""
        if self._lock < 0:
            return
        atexit.unregister(self.stop)
        _end(self._process)
        homes.forget_run(self.place.home)
        os.close(self._lock)
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def start(
    home: Path,
    *,
    role_secret: str | None = None,
    candidates: list[Binaries] | None = None,
    durable: bool = True,
    archive: bool = True,
    held: int | None = None,
) -> Server:
    """Start the server of a home, after making it if it is new; ready for connections when this returns.

    Call it from the main thread: the kernel stops the server when the thread that started it ends. The owner's password
    is made from `role_secret`, or from the home's generated one. `candidates` are the programs to choose from; a server
    that isn't `durable` may lose everything in a crash, for tests. `held` is the home's lock of a caller who has it; it
    is the server's to close from now on.
    Raises AlreadyRunning, ConfigurationError, ServerFailed.
    """
    home = homes.prepare(home)
    lock = homes.lock(home) if held is None else held
    try:
        homes.forget_run(home)
        place = places.find(home)
        binaries = places.usable(choose(place.data_major(), candidates), place)
        memory = places.recall(place)
        places.refuse_interrupted(place)
        if not place.data.exists():
            _refuse_emptiness(place, memory)
            initialise(place, binaries, memory)
        if not memory.has_data:
            memory.has_data = True
            places.remember(place, memory)
        launch = functools.partial(_launch, place, binaries, memory, durable=durable, archive=archive)
        process = launch()
    except BaseException:
        os.close(lock)
        raise
    secret = role_secret or homes.generated_secrets(home)["role_secret"]
    server = Server(place, launch, process, _endpoint(place, binaries, memory, secret), lock)
    try:
        furnish(server.endpoint.superuser_dsn, secret, binaries)
        homes.write_run(home, **msgspec.to_builtins(server.endpoint, enc_hook=str))
    except BaseException:
        server.stop()
        raise

    return server


def find(home: Path) -> Endpoint | None:
    """The embedded server that a running process of this home started; None when there is none."""
    if not homes.is_locked(home):
        return None
    try:
        return msgspec.convert(homes.read_run(home), Endpoint, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError:
        return None


def near_dsn(home: Path, dsn: str) -> str | None:
    """The same as `dsn` over the Unix socket, which costs half of what TCP does; None unless it is of this home."""
    endpoint = find(home)
    if endpoint is None or endpoint.owner_dsn != dsn:
        return None
    folder = endpoint.data.parent
    if not os.access(folder / f".s.PGSQL.{endpoint.port}", os.W_OK):
        return None

    # TCP stays the second choice, for a server that was started again without a socket.
    return make_conninfo(dsn, host=f"{folder},127.0.0.1", port=f"{endpoint.port},{endpoint.port}")


def _endpoint(place: Place, binaries: Binaries, memory: Memory, secret: str) -> Endpoint:
    address = f"127.0.0.1:{memory.port}"

    return Endpoint(
        owner_dsn=f"postgresql://{roles.OWNER}:{roles.password(secret, roles.OWNER)}@{address}/{DATABASE}",
        superuser_dsn=f"postgresql://{SUPERUSER}:{memory.superuser_password}@{address}/{DATABASE}",
        port=memory.port,
        major=binaries.major,
        programs=binaries.folder,
        data=place.data,
        archive=place.archive,
    )


def _refuse_emptiness(place: Place, memory: Memory) -> None:
    """Where data were, an empty database would be taken for them, and its backups for newer ones."""
    if memory.has_data:
        raise errors.ConfigurationError(
            f"The data folder {place.data} is gone. `callmeback restore --in-place` brings the database back; to begin "
            f"with an empty one, remove {place.state / 'server.json'} too."
        )


def initialise(place: Place, binaries: Binaries, memory: Memory) -> None:
    """Make the data folder beside its place and move it there, so that half a one is never taken for a whole."""
    draft = place.state / "data.draft"
    remains.remove_tree(draft)
    place.make_folder(draft)
    password = place.state / "password.draft"
    owner = (place.account.uid, place.account.gid) if place.account else None
    homes.write_private(password, memory.superuser_password, owner=owner)
    # Built into the server since 17, so no update of the system changes the order of an index.
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [
        str(binaries.program("initdb")),
        f"--pgdata={draft}",
        f"--username={SUPERUSER}",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        *(locale if binaries.major >= 17 else ["--locale=C.UTF-8", "--lc-messages=C"]),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INITDB_TIMEOUT_S, check=False, **place.as_account()
        )
    finally:
        password.unlink()
    if done.returncode != 0:
        raise errors.ServerFailed(f"initdb failed: {done.stderr.strip()[-500:]}")
    draft.rename(place.data)


def _launch(place: Place, binaries: Binaries, memory: Memory, *, durable: bool, archive: bool) -> Postmaster:
    """Start the postmaster and wait until it accepts connections, past what a killed one left behind."""
    remains.clear(place.data, place.state)
    deadline = time.monotonic() + RETRY_TIMEOUT_S
    while True:
        _take_port(place, memory)
        configuration.write(place, binaries, port=memory.port, durable=durable, archive=archive)
        process = _spawn(place, binaries)
        try:
            if _wait_ready(place, process):
                return process
        except BaseException:
            _end(process)
            raise
        said = _tail(place)
        passing = "shared memory" in said or "postmaster.pid" in said or not _is_free(memory.port)
        if not passing or time.monotonic() > deadline:
            raise errors.ServerFailed(f"PostgreSQL {binaries.major} did not start:\n{said}")
        time.sleep(RETRY_PAUSE_S)


def _spawn(place: Place, binaries: Binaries) -> Postmaster:
    """The postmaster in a session of its own: a Ctrl-C in our terminal is ours to handle."""
    with (place.state / "start.log").open("wb") as output:
        return subprocess.Popen(
            [binaries.program("postgres"), "-D", place.data],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # SIGINT is PostgreSQL's fast shutdown.
            preexec_fn=lifeline.tie(signal.SIGINT),  # noqa: PLW1509 - one system call, looked up before
            **place.as_account(),
        )


def _wait_ready(place: Place, process: Postmaster) -> bool:
    """Whether it got ready; False when it ended instead. It says so itself, in its lock file."""
    begun = time.monotonic()
    told = False
    while time.monotonic() - begun < START_TIMEOUT_S:
        if process.poll() is not None:
            return False
        with contextlib.suppress(FileNotFoundError):
            lines = (place.data / "postmaster.pid").read_text("utf-8").splitlines()
            if len(lines) > STATUS_LINE and lines[0] == str(process.pid) and lines[STATUS_LINE].strip() == "ready":
                return True
        if not told and time.monotonic() - begun > SLOW_START_S:
            log.warning("the database is recovering from a crash; this can take a while")
            told = True
        time.sleep(POLL_S)

    raise errors.ServerFailed(f"PostgreSQL was not ready after {START_TIMEOUT_S:.0f} s:\n{_tail(place)}")


def furnish(superuser_dsn: str, secret: str, binaries: Binaries) -> None:
    """What must be there before migrations; cheap when it is. Raises ServerFailed."""
    try:
        if make_database(superuser_dsn, secret) and binaries.has_library(STATISTICS):
            keep_statistics(superuser_dsn)
    except psycopg.Error as exc:
        raise errors.ServerFailed(f"PostgreSQL runs, but could not be set up ({exc.sqlstate}).") from exc


def make_database(superuser_dsn: str, secret: str) -> bool:
    """The owner and the empty database, closed to everybody else; whether the database had to be made."""
    with _connect(superuser_dsn, "postgres") as connection:
        password = roles.password(secret, roles.OWNER).encode()
        verifier = connection.pgconn.encrypt_password(password, roles.OWNER.encode(), b"scram-sha-256").decode()
        found = connection.execute(SQL.owner_to_make.text.encode(), {"verifier": verifier}).fetchone()
        if found is not None:
            connection.execute(found[0])
            connection.execute(SQL.watch_itself.text.encode())
        is_there = connection.execute(SQL.has_database.text.encode()).fetchone() == (True,)
        if is_there and connection.execute(SQL.is_closed.text.encode()).fetchone() == (True,):
            connection.execute(SQL.open_database.text.encode())
        if not is_there:
            with _connect(superuser_dsn, "template1") as template:
                template.execute(SQL.close_large_objects.text.encode())
            connection.execute(SQL.make_database.text.encode())
            connection.execute(SQL.close_postgres.text.encode())
            connection.execute(SQL.close_template.text.encode())
        connection.execute(SQL.checkpoint.text.encode())

    return not is_there


def keep_statistics(superuser_dsn: str) -> None:
    """The statistics of statements, if they aren't there."""
    with _connect(superuser_dsn, DATABASE) as connection:
        for statement in (SQL.make_monitoring, SQL.open_monitoring, SQL.keep_statistics):
            connection.execute(statement.text.encode())


def _connect(dsn: str, database: str) -> psycopg.Connection:
    return psycopg.connect(
        dsn, dbname=database, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="callmeback up"
    )


def _end(process: Postmaster) -> None:
    """Fast shutdown, then immediate, then none of its choice; each bounded."""
    for number, seconds in (
        (signal.SIGINT, STOP_TIMEOUT_S),
        (signal.SIGQUIT, QUIT_TIMEOUT_S),
        (signal.SIGKILL, QUIT_TIMEOUT_S),
    ):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _take_port(place: Place, memory: Memory) -> None:
    """Keep the port of the last run if it is still free, else take another and remember it."""
    if memory.port and _is_free(memory.port):
        return
    first = int.from_bytes(os.urandom(4)) % PORT_COUNT
    for step in range(PORT_ATTEMPTS):
        port = PORT_MIN + (first + step) % PORT_COUNT
        if _is_free(port):
            memory.port = port
            places.remember(place, memory)
            return

    raise errors.ServerFailed(f"No free port among {PORT_ATTEMPTS} from {PORT_MIN + first} on.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False

    return True


def _tail(place: Place) -> str:
    """The last lines of what it said: before its log was open, and in it."""
    text = (place.state / "start.log").read_text("utf-8", "replace")
    logged = sorted(place.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
    if logged:
        text += logged[-1].read_text("utf-8", "replace")[-4_096:]

    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:])
