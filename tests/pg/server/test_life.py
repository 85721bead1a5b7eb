"""The embedded server: made, found, stopped; as root and not; killed in every way; of a foreign version."""

import os
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest
from tests.pg.server.probes import PATIENCE_S, Start, count, fill, is_alive, settings, wait_until

from callmeback import errors
from callmeback.pg import binaries, home, place, server


def processor_seconds() -> float:
    """What this process and all its ended descendants have used."""
    used = os.times()

    return used.user + used.system + used.children_user + used.children_system


def test_a_first_start_costs_little_and_the_next_less(folder: Path) -> None:
    """In processor time, stop included, so that other work on this machine doesn't decide."""
    costs = []
    for _ in range(2):
        begun = processor_seconds()
        with server.start(folder):
            pass
        costs.append(processor_seconds() - begun)

    assert costs[0] < 3
    assert costs[1] < 1.5


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
        statistics = connection.execute("SELECT count(*) > 0 FROM pg_stat_statements").fetchone()

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
        "archive_timeout": "8",
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

        wait_until(lambda: bool({path.name for path in running.endpoint.archive.glob("*.gz")} - before), "archived")


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


def test_whoever_starts_while_the_database_is_replaced_waits_for_its_end(folder: Path) -> None:
    held = home.lock_restore(folder)
    starting = threading.Thread(target=home.await_restore, args=(folder,))
    with pytest.raises(errors.AlreadyRunning, match="is being replaced already"):
        home.lock_restore(folder)
    starting.start()
    starting.join(home.RESTORE_POLL_S)
    is_waiting = starting.is_alive()
    os.close(held)
    starting.join(30)

    assert is_waiting
    assert not starting.is_alive()
