"""The data folder is lost: one command brings everything back, and what is lost is counted in seconds."""

import gzip
import os
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from tests.ops.backups.house import House, built

from callmeback import errors
from callmeback.ops import backup, erasures, restore_in_place

# What may be lost with the data folder: archive_timeout, its rounding, and the second between two turns of the worker.
LOST_MAX = timedelta(seconds=10)


@pytest.fixture
def house() -> Iterator[House]:
    with built(migrated=False, prepared=write_and_keep) as made:
        yield made


def write_and_keep(house: House) -> None:
    house.sql("CREATE TABLE written (at timestamptz PRIMARY KEY DEFAULT clock_timestamp())")
    backup.now(house.site(), "full")


def write_for(house: House, seconds: float) -> datetime:
    """Commit ten times a second and ship as the worker does; the last commit that was acknowledged."""
    assert house.running is not None
    site = house.site()
    end = time.monotonic() + seconds
    shipped = time.monotonic()
    with psycopg.connect(house.running.superuser_dsn, autocommit=True) as connection:
        while time.monotonic() < end:
            row = connection.execute("INSERT INTO written DEFAULT VALUES RETURNING at").fetchone()
            assert row is not None
            if time.monotonic() - shipped > 1:
                backup.ship(site)
                shipped = time.monotonic()
            time.sleep(0.1)

    at = row[0]
    assert isinstance(at, datetime)
    return at


def kill(house: House) -> None:
    assert house.running is not None
    os.kill(house.running.pid, signal.SIGKILL)
    while house.running.is_running:
        time.sleep(0.01)
    house.stop()


def last_written(house: House) -> datetime:
    ((at,),) = house.sql("SELECT max(at) FROM written")
    assert isinstance(at, datetime)

    return at


def test_a_server_that_was_killed_lost_nothing(house: House) -> None:
    last = write_for(house, 1)
    kill(house)
    house.start()

    assert last_written(house) == last


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.proof)])
def test_a_lost_data_folder_costs_ten_seconds_at_most_from_the_first_minute_on(house: House, seconds: float) -> None:
    house.stop()
    house.start()
    last = write_for(house, seconds)
    kill(house)
    shutil.rmtree(house.home / "postgres" / "data")
    replaced = restore_in_place.in_place(house.site(), None)
    house.start()

    assert replaced.kept is None
    assert last - last_written(house) <= LOST_MAX


def test_a_broken_database_loses_nothing_when_its_wal_is_left(house: House) -> None:
    """The old folder is kept, what it never archived is taken over, and backups go on from the new timeline."""
    last = write_for(house, 1)
    kill(house)
    for path in (house.home / "postgres" / "data" / "base").rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            path.write_bytes(b"noise" * 20_000)
    replaced = restore_in_place.in_place(house.site(), None)
    house.start()

    assert last_written(house) == last
    assert replaced.kept is not None
    assert replaced.kept.exists()
    before = house.clock()
    house.sql("DELETE FROM written")
    assert backup.now(house.site(), "incremental").kind in ("base", "incremental")
    house.stop()
    restore_in_place.in_place(house.site(), before)
    house.start()
    assert last_written(house) == last


def test_a_moment_after_the_last_commit_is_refused_and_nothing_is_touched(house: House) -> None:
    last = write_for(house, 0.5)
    kill(house)
    data = house.home / "postgres" / "data"
    inode = data.stat().st_ino

    with pytest.raises(errors.RestoreRefused, match="The archive ends with the commit of"):
        restore_in_place.in_place(house.site(), last + timedelta(minutes=5))
    assert data.stat().st_ino == inode
    house.start()
    assert last_written(house) == last


def test_a_home_of_another_key_is_refused(house: House) -> None:
    house.stop()
    (house.home / "backup.key").unlink()
    Path(house.home / "backup.key").write_text("A" * 43 + "=")

    with pytest.raises(errors.ConfigurationError, match=r"sealed with another key: put its backup\.key"):
        house.site()


def test_what_cannot_be_restored_stops_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[object] = []
    monkeypatch.setattr(restore_in_place, "_stop", stopped.append)

    with pytest.raises(errors.RestoreRefused, match="The oldest backup was finished at"):
        restore_in_place.in_place(house.site(), house.clock() - timedelta(days=400))
    assert stopped == []


def test_a_data_folder_that_is_gone_is_never_replaced_by_an_empty_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by `up`, and not by a restore that is broken off, whose half would pass for the whole."""

    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    last = write_for(house, 0.3)
    backup.now(house.site(), "incremental")
    kill(house)
    data = house.home / "postgres" / "data"
    shutil.rmtree(data)

    with pytest.raises(errors.ConfigurationError, match="is gone"):
        house.start()
    with monkeypatch.context() as patched:
        patched.setattr(restore_in_place, "_recover", broken_off)
        with pytest.raises(KeyboardInterrupt):
            restore_in_place.in_place(house.site(), None)
    assert not data.exists()
    restore_in_place.in_place(house.site(), None)
    house.start()
    assert last_written(house) == last


def test_wal_that_cannot_be_taken_over_for_want_of_room_refuses_the_restore(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    last = write_for(house, 0.3)
    kill(house)
    with monkeypatch.context() as patched:
        patched.setattr(gzip, "compress", full)
        with pytest.raises(errors.RestoreRefused, match="No space left on device"):
            restore_in_place.in_place(house.site(), None)
    house.start()

    assert last_written(house) == last


def test_a_restore_that_broke_off_takes_nothing_from_the_next(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server had begun a timeline of its own, which is not the one that the old database goes on with."""

    def broken_off(*_: object) -> list[str]:
        raise KeyboardInterrupt

    before = house.clock()
    write_for(house, 0.3)
    house.stop()
    with monkeypatch.context() as patched:
        patched.setattr(erasures, "apply_again", broken_off)
        with pytest.raises(KeyboardInterrupt):
            restore_in_place.in_place(house.site(), before)
    house.start()
    last = write_for(house, 1.5)
    house.stop()
    restore_in_place.in_place(house.site(), None)
    house.start()

    assert last_written(house) == last


def test_a_restore_right_after_a_restore_leaves_no_gap_in_the_archive(house: House) -> None:
    """No server ran in between that could have archived what the first one wrote, and none before either."""
    write_for(house, 0.3)
    kill(house)
    for _ in range(2):
        restore_in_place.in_place(house.site(), None)
    house.start()
    last = write_for(house, 1.5)
    house.stop()
    restore_in_place.in_place(house.site(), None)
    house.start()

    assert last_written(house) == last
