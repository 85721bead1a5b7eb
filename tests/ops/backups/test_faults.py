"""Faults on purpose: full disks, damaged pages, closed folders, kills. Nothing acknowledged is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.ops.backups.house import House, built

from callmeback import errors
from callmeback.ops import backup, backup_take, backup_wal, restore
from callmeback.pg import transfer

IS_ROOT = os.geteuid() == 0
PATIENCE_S = 60.0
FAILING_FSYNC = ("strace", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with built(migrated=False) as made:
        made.sql("CREATE TABLE written (n integer PRIMARY KEY, filler text)")
        made.sql("INSERT INTO written SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 20000) AS n")
        backup_take.take(made.site(), "full")
        yield made


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        path.rmdir()


def wait_until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s until {what}"
        time.sleep(0.02)


@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_a_full_disk_fails_the_backup_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Once the copy doesn't fit, once the WAL that it needs doesn't."""
    with built(migrated=False) as house:
        for megabytes in (2, 4):
            with small_disk(tmp_path / "disk", megabytes) as disk:
                site = house.site(backup_dir=disk / "repository")
                with pytest.raises(errors.BackupFailed, match=r"No space left on device.*CALLMEBACK_BACKUP_DIR"):
                    backup_take.take(site, "full")

                assert site.repository.manifests() == []
                assert list((disk / "repository" / "backups").iterdir()) == []


def chmod_archive(house: House, mode: int) -> None:
    assert house.running is not None
    house.running.endpoint.archive.chmod(mode)


def test_an_archive_that_takes_nothing_is_told_and_loses_nothing(house: House) -> None:
    """The folder is read-only for the server's account."""
    site = house.site()
    backup.ship(site)
    chmod_archive(house, 0o500)
    try:
        house.sql("INSERT INTO written VALUES (0, 'while the archive was closed')")
        segment = transfer.mark(site.running().dsn)
        wait_until(
            lambda: house.sql("SELECT failed_count > 0 FROM pg_stat_archiver") == [(True,)], "archiving has failed"
        )
        with pytest.raises(errors.BackupFailed, match="full or read-only"):
            backup_take.take(site, "full")
    finally:
        chmod_archive(house, 0o700)
    backup_wal.ship_up_to(site, segment)
    with restore.beside(site, None) as side, transfer.connected(side.dsn) as connection:
        row = connection.execute("SELECT filler FROM written WHERE n = 0").fetchone()

    assert row == ("while the archive was closed",)


@pytest.mark.skipif(not shutil.which("strace"), reason="capability: strace")
@pytest.mark.skipif(not IS_ROOT, reason="capability: root")
def test_an_fsync_that_fails_is_no_backup(house: House) -> None:
    environ = house.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    before = [m.id for m in house.site().repository.manifests()]
    answer = subprocess.run(
        [*FAILING_FSYNC, sys.executable, "-m", "callmeback", "backup", "now"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert answer.returncode == 1
    assert "Input/output error" in answer.stderr
    assert [m.id for m in house.site().repository.manifests()] == before


def test_a_damaged_page_fails_the_backup_and_is_named(house: House) -> None:
    ((path,),) = house.sql("SELECT pg_relation_filepath('written')")
    house.sql("CHECKPOINT")
    assert house.running is not None
    file = house.running.endpoint.data / path
    good = file.read_bytes()
    with file.open("r+b") as damaged:
        damaged.seek(8192 * 3 + 4000)
        damaged.write(b"\xff\x00\xff\x00")
    try:
        with pytest.raises(errors.BackupFailed, match=f"checksum.*{path}"):
            backup_take.take(house.site(), "full")
    finally:
        with file.open("r+b") as mended:
            mended.write(good)


def test_a_backup_that_was_killed_leaves_nothing_that_counts(house: House) -> None:
    repository = house.site().repository
    before = [m.id for m in repository.manifests()]
    process = subprocess.Popen(
        [sys.executable, "-m", "callmeback", "backup", "now"], env=house.environ, stderr=subprocess.DEVNULL
    )
    drafts = repository.folder / "backups"
    wait_until(lambda: list(drafts.glob(".*.draft/*.sealed")) or process.poll() is not None, "it writes")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [m.id for m in repository.manifests()] == before
    made = backup_take.take(house.site(), "full")

    assert [m.id for m in repository.manifests()] == [*before, made.id]
    assert not list(drafts.glob(".*"))


@pytest.mark.proof
def test_a_restore_that_was_killed_is_simply_made_again(house: House) -> None:
    target = house.home / "restored"
    command = [sys.executable, "-m", "callmeback", "restore", "--into", str(target)]
    process = subprocess.Popen(command, env=house.environ, stderr=subprocess.DEVNULL)
    wait_until(lambda: list(house.home.glob(".restore-*/part0")) or process.poll() is not None, "it unpacks")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    answer = subprocess.run(command, env=house.environ, capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stderr
    assert (target / "PG_VERSION").exists()
    shutil.rmtree(target)


def test_a_damaged_backup_is_not_restored() -> None:
    with built(migrated=False) as house:
        backup_take.take(house.site(), "full")
        (path,) = house.settings().backup_folder.glob("backups/*/cluster.tar.zst.sealed")
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        refuse_damaged(house)


def refuse_damaged(house: House) -> None:
    site = house.site()
    with pytest.raises(errors.BackupDamaged, match=r"cluster\.tar\.zst\.sealed is damaged"), restore.beside(site, None):
        pass
    assert not list(site.place.state.glob(".restore-*/part0"))


@pytest.mark.proof
def test_two_backups_at_once_wait_for_each_other(house: House) -> None:
    command = [sys.executable, "-m", "callmeback", "backup", "now", "--logical"]
    both = [subprocess.Popen(command, env=house.environ, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]


def test_a_restore_that_lacks_room_is_refused_before_it_begins(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "ROOM_FACTOR", 1e9)
    with pytest.raises(errors.RestoreRefused, match="MB of room"), restore.beside(house.site(), None):
        pass
