"""The doctor at a server of its own: filled, killed, set unsafely, its archive and its disk taken away."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from tests.ops.doctor.patients import check, mend, named, run, said

from callmeback.ops import doctor
from callmeback.ops.doctor import Verdict
from callmeback.pg import home, migrate, roles, server
from callmeback.settings import Settings

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0
CONNECTIONS = 12
IDLE_S = 5.5


class Ward:
    """A durable server of these tests alone, with few connections."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        with server.start(folder) as running:
            with psycopg.connect(running.superuser_dsn, autocommit=True) as hand:
                hand.execute(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}")
        self.running = server.start(folder)
        self.settings = Settings(home=folder, role_secret=home.generated_secrets(folder)["role_secret"])

    def look(self, area: str, name: str, **parameters: object) -> Verdict:
        """One check's verdict, with other thresholds than usual if they are given."""
        asked = check(area, name)
        asked = msgspec.structs.replace(asked, parameters={**asked.parameters, **parameters})

        async def consult() -> Verdict:
            running = self.running.endpoint
            async with doctor.visit(self.settings, running.owner_dsn, running.superuser_dsn) as patient:
                return await doctor.consult(patient, area, asked)

        return asyncio.run(consult())

    def until(self, area: str, name: str, is_so: Callable[[Verdict], bool]) -> Verdict:
        """The verdict once it is so, or as it is after a while."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            verdict = self.look(area, name)
            if is_so(verdict) or time.monotonic() > deadline:
                return verdict
            time.sleep(0.2)

    def hand(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.running.superuser_dsn, autocommit=True)


@pytest.fixture(scope="module")
def ward() -> Iterator[Ward]:
    folder = Path(tempfile.mkdtemp(prefix="callmeback-ward-"))
    folder.chmod(0o711)
    made = Ward(folder)
    try:
        asyncio.run(roles.ensure(made.running.superuser_dsn, made.settings.role_secret or ""))
        migrate.apply(made.running.owner_dsn)
        yield made
    finally:
        made.running.stop()
        shutil.rmtree(folder)


def is_green(verdict: Verdict) -> bool:
    return verdict.verdict == "green"


def is_ill(verdict: Verdict) -> bool:
    return verdict.verdict in ("warning", "red")


def test_a_healthy_server_has_nothing_red(ward: Ward):
    answer = run("doctor", "--json", CALLMEBACK_HOME=str(ward.home))
    items = json.loads(answer.stdout)["items"]

    assert [item for item in items if item["verdict"] == "red"] == []
    assert answer.returncode == 0
    assert len(items) > 60


def test_a_full_server_is_looked_at_by_the_superusers_door_and_emptied(ward: Ward):
    """The specification's second issue (section 14): sorry, too many clients already."""
    with contextlib.ExitStack() as stack:
        guests = [
            stack.enter_context(contextlib.closing(psycopg.connect(ward.running.owner_dsn, application_name="guest")))
            for _ in range(CONNECTIONS - 3)
        ]
        for guest in guests:
            guest.execute("SELECT 1")
        full = run("doctor", "connections", "--json", CALLMEBACK_HOME=str(ward.home))
        time.sleep(IDLE_S)
        mended = run("doctor", "connections", "--fix", "--json", CALLMEBACK_HOME=str(ward.home))
    before = {item["name"]: item for item in json.loads(full.stdout)["items"]}
    after = json.loads(mended.stdout)

    assert full.returncode == 1
    assert "Every connection is taken" in before["the database answers"]["objects"][0]["detail"]
    assert before["connections are left"]["verdict"] == "red"
    assert "most by guest" in before["connections are left"]["objects"][0]["detail"]
    assert mended.returncode == 0, mended.stdout
    assert len(after["mended"]) == len(guests)
    assert {each["error"] for each in after["mended"]} == {None}
    assert {item["verdict"] for item in after["items"]} <= {"green", "skipped"}


def test_a_killed_process_is_told_by_the_log(ward: Ward):
    before = ward.look("log", "statements don't fail inside")
    with psycopg.connect(ward.running.owner_dsn) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
    verdict = ward.until("log", "statements don't fail inside", lambda found: "signal 9" in named(found))
    answers = ward.until("connections", "the database answers", is_green)

    assert "signal 9" not in named(before)
    assert "was killed by this signal" in said(verdict)
    assert answers.verdict == "green"


@pytest.mark.proof
def test_a_stopped_server_is_silent_and_told_so(ward: Ward):
    os.kill(ward.running.pid, signal.SIGSTOP)
    try:
        verdict = ward.look("connections", "the database answers")
    finally:
        os.kill(ward.running.pid, signal.SIGCONT)
    after = ward.until("connections", "the database answers", is_green)

    assert verdict.verdict == "red"
    assert "state T" in said(verdict)
    assert after.verdict == "green"


def test_an_archive_that_takes_nothing_is_red(ward: Ward):
    folder = ward.running.endpoint.archive
    # Root of the tests passes every mode, but the server's account doesn't.
    folder.rename(folder.with_name("elsewhere"))
    try:
        with ward.hand() as hand:
            hand.execute("SELECT pg_switch_wal() FROM pg_create_restore_point('ward')")
        verdict = ward.until("storage", "WAL is archived", is_ill)
    finally:
        folder.with_name("elsewhere").rename(folder)
    with ward.hand() as hand:
        hand.execute("SELECT pg_switch_wal() FROM pg_create_restore_point('ward')")
    after = ward.until("storage", "WAL is archived", is_green)

    assert verdict.verdict == "red"
    assert "archive_command" in named(verdict)
    assert after.verdict == "green"


def test_unsafe_settings_and_those_that_wait_are_named(ward: Ward):
    with ward.hand() as hand:
        for command in ("SET synchronous_commit = off", "SET autovacuum = off", "SET max_connections = 50"):
            hand.execute(f"ALTER SYSTEM {command}")
        hand.execute("SELECT pg_reload_conf()")
        unsafe = ward.until("server", "settings are safe", is_ill)
        waiting = ward.until("server", "no setting waits for a restart", is_ill)
        for command in ("RESET synchronous_commit", "RESET autovacuum", f"SET max_connections = {CONNECTIONS}"):
            hand.execute(f"ALTER SYSTEM {command}")
        hand.execute("SELECT pg_reload_conf()")
    after = ward.until("server", "settings are safe", is_green)
    calm = ward.until("server", "no setting waits for a restart", is_green)

    assert set(named(unsafe)) >= {"autovacuum", "synchronous_commit"}
    assert unsafe.verdict == "red"
    assert named(waiting) == ["max_connections"]
    assert (after.verdict, calm.verdict) == ("green", "green")


def test_a_door_without_a_lock_is_named_by_its_line(ward: Ward):
    file = ward.running.endpoint.data / "pg_hba.conf"
    kept = file.read_text()
    file.write_text(kept + "host all all 10.0.0.0/8 trust\n")
    verdict = ward.look("server", "nobody comes in without a password")
    file.write_text(kept)
    after = ward.look("server", "nobody comes in without a password")

    assert (verdict.verdict, after.verdict) == ("red", "green")
    assert named(verdict) == [f"pg_hba.conf:{len(kept.splitlines()) + 1}"]


def test_a_migration_that_waits_names_who_stands_in_its_way(ward: Ward, tmp_path: Path):
    """The specification's fourth issue (section 14). The holder idles, so `--fix` lets the migration through."""
    dsn = ward.running.owner_dsn
    files = tmp_path / "sql"
    shutil.copytree(migrate.SQL_DIRECTORY, files)
    last = max(int(path.name[:3]) for path in (files / "migrations").glob("*.sql"))
    (files / "migrations" / f"{last + 1:03}_note.sql").write_text(
        "-- callmeback: lock_timeout 40s, because the test lets it wait\n"
        "-- callmeback: statement_timeout 40s, because the test lets it wait\n"
        "ALTER TABLE personas ADD COLUMN note text;\n"
    )
    with contextlib.closing(psycopg.connect(dsn, application_name="guest")) as guest:
        guest.execute("SELECT count(*) FROM personas")
        runner = subprocess.Popen(_apply(dsn, files), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        waiting = ward.until("connections", "nobody waits for a lock", is_ill)
        idle = ward.look("connections", "no transaction idles", idle_after="0 seconds")
        mended = mend(ward.running.superuser_dsn, idle)
        said_by_runner = runner.communicate(timeout=PATIENCE_S)
    behind = ward.look("migrations", "the files are those that were applied")
    with ward.hand() as hand:
        hand.execute("ALTER TABLE personas DROP COLUMN note CASCADE")
        hand.execute("DELETE FROM schema_migrations WHERE version = %s", (last + 1,))
    migrate.apply(dsn)

    assert "callmeback migrate" in named(waiting)[0]
    assert "for personas, held by" in said(waiting)
    assert "guest" in said(waiting)
    assert [each.error for each in mended] == [None]
    assert runner.returncode == 0, said_by_runner
    assert f"{last + 1:03}_note.sql" in named(behind)


def _apply(dsn: str, files: Path) -> list[str]:
    program = "import sys; from pathlib import Path; from callmeback.pg import migrate; "
    return [sys.executable, "-c", program + "migrate.apply(sys.argv[1], directory=Path(sys.argv[2]))", dsn, str(files)]


def test_a_migration_that_failed_is_told_with_the_servers_words(ward: Ward, tmp_path: Path):
    dsn = ward.running.owner_dsn
    files = tmp_path / "sql"
    shutil.copytree(migrate.SQL_DIRECTORY, files)
    last = max(int(path.name[:3]) for path in (files / "migrations").glob("*.sql"))
    (files / "migrations" / f"{last + 1:03}_wrong.sql").write_text("ALTER TABLE personas ADD COLUMN name text;\n")
    answer = subprocess.run(_apply(dsn, files), capture_output=True, text=True, check=False)
    with ward.hand() as hand:
        hand.execute("DELETE FROM schema_repeatable WHERE file = 'views/10_views.sql'")
    verdict = ward.until("migrations", "no migration failed lately", is_ill)
    migrate.apply(dsn)
    after = ward.look("migrations", "no migration failed lately")

    assert "MigrationFailed" in answer.stderr
    assert verdict.verdict == "warning"
    assert 'column "name" of relation "personas" already exists' in said(verdict)
    assert after.verdict == "green"
