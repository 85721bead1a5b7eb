"""A server of one's own that pgBackRest looks after: PostgreSQL 15 and pgBackRest 2.45 as Debian has them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.ops.backups.house import House

from callmeback import errors
from callmeback.ops import backup, backup_take, restore, restore_rows
from callmeback.ops.backup_site import Site
from callmeback.pg import binaries

FOUND = next((each for each in binaries.system() if each.major == 15), None)
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(os.geteuid() != 0, reason="capability: root"),
    pytest.mark.skipif(FOUND is None, reason="capability: PostgreSQL 15 of the system"),
    pytest.mark.skipif(shutil.which("pgbackrest") is None, reason="capability: pgBackRest"),
]

PORT = 25_999


class Own:
    """A cluster as an operator has it, and its stanza."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.configuration = folder / "pgbackrest.conf"
        self.dsn = f"postgresql://postgres@/callmeback?host={folder}&port={PORT}"

    def run(self, *command: object) -> None:
        subprocess.run([str(part) for part in command], check=True, user="postgres", cwd="/", stdout=subprocess.DEVNULL)

    def make(self) -> None:
        assert FOUND is not None
        self.run(FOUND.folder / "initdb", "-D", self.data, "-A", "trust", "-k", "-U", "postgres")
        self.configuration.write_text(
            f"[global]\nrepo1-path={self.folder}/repository\nlog-path={self.folder}\nlock-path={self.folder}/lock\n"
            f"repo1-retention-full=2\nstart-fast=y\nlog-level-console=error\n"
            f"[main]\npg1-path={self.data}\npg1-port={PORT}\npg1-socket-path={self.folder}\n"
        )
        push = f"pgbackrest --config={self.configuration} --stanza=main archive-push %p"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {PORT}\nunix_socket_directories = '{self.folder}'\nlisten_addresses = ''\nfsync = off\n"
                f"archive_mode = on\narchive_command = '{push}'\n"
            )
        self.run(FOUND.folder / "pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "start")
        self.run("createdb", "-h", self.folder, "-p", PORT, "-U", "postgres", "callmeback")
        self.run("pgbackrest", f"--config={self.configuration}", "--stanza=main", "stanza-create")

    def stop(self) -> None:
        assert FOUND is not None
        self.run(FOUND.folder / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    folder = Path(tempfile.mkdtemp(prefix="callmeback-own-"))
    shutil.chown(folder, "postgres")
    made = Own(folder)
    try:
        made.make()
        with psycopg.connect(made.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n integer PRIMARY KEY)")
            connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def site(own: Own) -> Iterator[Site]:
    home = Path(tempfile.mkdtemp(prefix="callmeback-backups-"))
    home.chmod(0o711)
    yield House(home).site(database_url=own.dsn, backup_stanza=f"main@{own.configuration}")
    shutil.rmtree(home)


def test_backups_of_all_kinds_are_made_and_listed(site: Site) -> None:
    kinds = [backup_take.take(site, kind).kind for kind in ("full", "base", "incremental")]
    listed = backup.listed(site)

    assert kinds == ["full", "base", "incremental"]
    assert [line.kind for line in reversed(listed)][-3:] == kinds
    assert listed[-1].stored_bytes > 1_000_000


def test_deleted_rows_come_back(own: Own, site: Site) -> None:
    backup_take.take(site, "full")
    with psycopg.connect(own.dsn, autocommit=True) as connection:
        row = connection.execute("SELECT clock_timestamp() FROM pg_sleep(0.01)").fetchone()
        assert row is not None
        connection.execute("DELETE FROM kept WHERE n <= 100")
        moved = restore_rows.rows(site, "kept", "n <= 100", row[0])
        left = connection.execute("SELECT count(*) FROM kept").fetchone()

    assert (moved.found, moved.restored) == (100, 100)
    assert left == (1000,)


def test_a_damaged_file_is_found_though_verify_ends_with_0(own: Own, site: Site) -> None:
    made = backup_take.take(site, "full")
    assert backup.verified(site) == []
    files = (own.folder / "repository" / "backup" / "main" / made.id).rglob("*.gz")
    file = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    findings = backup.verified(site)
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)

    assert [finding.detail for finding in findings if file.name in finding.detail]


def test_an_unknown_stanza_is_told(own: Own) -> None:
    home = Path(tempfile.mkdtemp(prefix="callmeback-backups-"))
    try:
        site = House(home).site(database_url=own.dsn, backup_stanza=f"other@{own.configuration}")
        with pytest.raises(errors.BackupFailed, match="does this stanza exist"):
            backup_take.take(site, "full")
    finally:
        shutil.rmtree(home)


def test_without_a_stanza_a_copy_is_restored_to_its_own_moment(own: Own) -> None:
    """A server whose WAL isn't archived here: pg_basebackup with the WAL it needs, and no other moment."""
    home = Path(tempfile.mkdtemp(prefix="callmeback-backups-"))
    home.chmod(0o711)
    try:
        site = House(home).site(database_url=own.dsn)
        made = backup_take.take(site, "full")
        with restore.beside(site, None) as side, psycopg.connect(side.dsn) as connection:
            row = connection.execute("SELECT count(*) FROM kept").fetchone()
        with pytest.raises(errors.RestoreRefused, match="only the moment of a backup"):
            with restore.beside(site, made.finished_at):
                pass
    finally:
        shutil.rmtree(home)

    assert row == (1000,)
