"""Backups of a living server: made, listed, restored beside it. What was deleted comes back, who was erased doesn't."""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psycopg
import pytest
from tests.ops.backups import bucket
from tests.ops.backups.house import House, built

from callmeback import errors
from callmeback.cli.parameters import Moment
from callmeback.ops import backup, backup_record, backup_wal, restore, restore_rows
from callmeback.ops.backup_mirror import mirror_of
from callmeback.ops.backup_repository import COMPLETE, Manifest
from callmeback.pg import segments, transfer

PEOPLE = 20


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with built() as made:
        for number in range(PEOPLE):
            made.sql(
                "SELECT register_user(%s, %s, 'x', 'Ann', 'UTC', %s)",
                f"user_{number}", f"ann{number}@example.org", f"+1202555{number:04}",
            )  # fmt: skip
        backup.now(made.site(), "full")
        yield made


def newest(house: House, kinds: Collection[str] | None = None) -> Manifest:
    """The newest backup, of these kinds: each test of this house may find those of the others."""
    return [each for each in house.site().repository.manifests() if kinds is None or each.kind in kinds][-1]


def run(house: House, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callmeback", *arguments],
        env=house.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_backup_is_listed_and_noted(house: House) -> None:
    listed = backup.listed(house.site())[-1]
    ((kind, state, stored),) = house.sql("SELECT kind, state, stored_bytes FROM backups WHERE id = %s", listed.id)

    assert (kind, state, stored) == (listed.kind, "done", listed.stored_bytes)
    assert backup_record.last_runs(house.home)["full"].done is not None


def test_nothing_in_the_repository_can_be_read(house: House) -> None:
    files = [path for path in house.settings().backup_folder.rglob("*") if path.is_file()]

    assert len(files) > 5
    assert not [path for path in files if b"example.org" in path.read_bytes()]
    assert not [path for path in files if path.stat().st_mode & 0o077 and path.suffix == ".json"]


def test_an_incremental_backup_builds_upon_the_whole_one(house: House) -> None:
    whole = newest(house, COMPLETE)
    house.sql("UPDATE users SET locale = 'de' WHERE id = 'user_1'")
    made = backup.now(house.site(), "incremental")

    assert made.kind == "incremental"
    assert made.parent == whole.id
    assert made.stored_bytes < whole.stored_bytes / 2


def test_d10_deleted_rows_come_back_with_their_keys_and_later_ones_stay(house: House) -> None:
    house.sql("INSERT INTO blocked_numbers (number, reason) VALUES ('+12025550111', 'one'), ('+12025550112', 'two')")
    before = house.clock()
    house.sql("DELETE FROM blocked_numbers WHERE number = '+12025550111'")
    house.sql("UPDATE blocked_numbers SET reason = 'changed' WHERE number = '+12025550112'")
    house.sql("INSERT INTO blocked_numbers (number, reason) VALUES ('+12025550113', 'later')")
    moved = restore_rows.rows(house.site(), "blocked_numbers", "true", before)

    assert (moved.found, moved.restored) == (2, 1)
    assert house.sql("SELECT reason FROM blocked_numbers ORDER BY number") == [("one",), ("changed",), ("later",)]


@pytest.mark.parametrize(
    ("table", "condition", "words"),
    [("nowhere", "true", "no table nowhere"), ("users", "nothing = 1", "nothing"), ("users", "true; DROP", "syntax")],
)
def test_a_wrong_table_or_condition_is_told(house: House, table: str, condition: str, words: str) -> None:
    assert house.running is not None
    dsn = house.running.superuser_dsn
    with pytest.raises(errors.RestoreRefused, match=words):
        transfer.copy_rows(dsn, dsn, table, condition)


def test_a_condition_writes_nothing(house: House) -> None:
    assert house.running is not None
    dsn = house.running.superuser_dsn
    with pytest.raises(errors.RestoreRefused, match="read-only"):
        transfer.copy_rows(dsn, dsn, "users", "set_tier(id, 'basic') IS NULL")


def test_who_was_erased_since_stays_erased(house: House) -> None:
    before = house.clock()
    house.sql("SELECT erase_user('user_3', 'person')")
    site = house.site()
    with restore.beside(site, before) as side, psycopg.connect(side.dsn) as connection:
        rows = connection.execute("SELECT id, email FROM users WHERE id IN ('user_3', 'user_4') ORDER BY id").fetchall()

    assert rows == [("user_3", "erased-user_3@invalid"), ("user_4", "ann4@example.org")]
    assert site.repository.erasures() == {"user_3": "person"}


def test_a_moment_that_cannot_be_reached_is_refused_before_anything_is_unpacked(house: House) -> None:
    site = house.site()
    future = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(errors.RestoreRefused, match="in the future"), restore.beside(site, future):
        pass
    past = datetime.now(UTC) - timedelta(days=1)
    with pytest.raises(errors.RestoreRefused, match="oldest backup"), restore.beside(site, past):
        pass

    assert not list(site.place.state.glob(".restore-*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0001-01-01", "nothing before can be restored"),
        ("0001-01-01T00:00:00+14:00", "nothing before can be restored"),
        ("9999-12-31T23:59:59.999999", "is in the future"),
        ("9999-12-31T23:59:59-12:00", "is in the future"),
    ],
)
def test_the_ends_of_the_calendar_are_moments_like_others(house: House, text: str, words: str) -> None:
    until = Moment().convert(text, None, None)
    with pytest.raises(errors.RestoreRefused, match=words), restore.beside(house.site(), until):
        pass


def test_a_restored_folder_is_whole_and_its_own(house: House) -> None:
    target = house.home / "copy"
    answer = run(house, "restore", "--to", "now", "--into", str(target), "--json")

    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["folder"] == str(target)
    assert (target / "PG_VERSION").exists()
    assert not (target / "recovery.signal").exists()
    assert "restore_command" not in (target / "postgresql.auto.conf").read_text()
    assert run(house, "restore", "--into", str(target)).returncode == 1
    shutil.rmtree(target)


def test_a_drill_finds_books_that_do_not_agree(house: House) -> None:
    house.sql("UPDATE user_credits SET available_credits = available_credits + 5 WHERE user_id = 'user_5'")
    try:
        answer = run(house, "backup", "drill", "--json")
    finally:
        house.sql("UPDATE user_credits SET available_credits = available_credits - 5 WHERE user_id = 'user_5'")

    assert answer.returncode == 1, answer.stderr
    assert "ledger equals balance" in [each["name"] for each in json.loads(answer.stdout)["red"]]
    noted = house.sql("SELECT state, detail FROM backups WHERE kind = 'drill' ORDER BY started_at DESC LIMIT 1")
    assert noted == [("failed", "ledger equals balance")]


@pytest.mark.proof
def test_the_second_place_gets_everything_and_a_new_machine_restores_from_it(house: House, tmp_path: Path) -> None:
    with bucket.running() as shelf:
        aws = {
            "backup_mirror": "s3://safe/house",
            "backup_passphrase": "correct horse battery",
            "aws_access_key_id": bucket.KEY_ID,
            "aws_secret_access_key": bucket.SECRET,
            "aws_region": "eu-north-1",
            "aws_endpoint_url": shelf.endpoint,
        }
        made = backup.now(house.site(**aws), "incremental")
        assert [line.is_mirrored for line in backup.listed(house.site(**aws)) if line.id == made.id] == [True]
        assert backup.verified(house.site(**aws), every=True) == []
        with built(migrated=False) as other:
            other.stop()
            site = other.site(**aws)
            with restore.unpacked(site, None, site.place.state) as found, restore.recovered(site, found) as side:
                with psycopg.connect(side.dsn) as connection:
                    row = connection.execute("SELECT count(*) FROM users").fetchone()

    assert row is not None
    assert row[0] >= PEOPLE


def test_what_is_too_old_goes_and_what_is_left_can_be_restored(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    site = house.site(backup_mirror=str(folder))
    backup.now(site, "base")
    before = {m.id for m in site.repository.manifests()}
    gone = backup.prune(site, datetime.now(UTC) + timedelta(days=31))
    left = site.repository.manifests()

    assert len(before) > 1
    assert [m.kind for m in left] == ["base"]
    assert {name.split("/")[1] for name in gone if name.startswith("backups/")} == before - {left[0].id}
    assert not [name for name in gone if (site.repository.folder / name).exists() or (folder / name).exists()]
    mirror = mirror_of(site.settings)
    assert mirror is not None
    assert f"backups/{left[0].id}/manifest.json" in mirror.names()
    with restore.beside(site, None):
        pass
    assert segments.gaps(site.repository.wal(str(left[0].system)), str(left[0].first_segment)) == []


def test_wal_stays_until_the_second_place_has_it(house: House, tmp_path: Path) -> None:
    blocker = tmp_path / "mirror"
    blocker.write_text("no folder")
    site = house.site(backup_mirror=str(blocker))
    house.sql("SELECT pg_switch_wal() FROM pg_logical_emit_message(true, 'test', 'x')")
    while not (waiting := backup_wal.spooled(site.place.archive)):
        pass
    with pytest.raises(errors.BackupFailed, match="does not take"):
        backup.ship(site)

    assert backup_wal.spooled(site.place.archive).keys() >= waiting.keys()
    assert site.repository.wal(str(newest(house, COMPLETE).system)).keys() >= waiting.keys()
    blocker.unlink()
    assert backup.ship(site) >= 1
    # The server may have filed another one by now.
    assert not backup_wal.spooled(site.place.archive).keys() & waiting.keys()


def test_a_second_place_that_is_away_keeps_nothing_from_being_made_or_restored(house: House, tmp_path: Path) -> None:
    blocker = tmp_path / "mirror"
    blocker.write_text("no folder")
    site = house.site(backup_mirror=str(blocker))
    before = house.clock()
    with pytest.raises(errors.BackupFailed, match=r"is made, but not in the second place: .* does not take"):
        backup.now(site, "incremental")
    run = backup_record.last_runs(house.home)["incremental"].tried

    assert (run.state, run.is_mirrored) == ("done", False)
    assert run.id == newest(house).id
    with restore.beside(site, before):
        pass
    blocker.unlink()
    backup.now(site, "incremental")
    assert backup.verified(site) == []


class Away:
    """A second place that doesn't answer, as a bucket behind a broken line."""

    def put(self, name: str, source: Path) -> None:
        raise errors.BackupFailed("The second place doesn't answer.")

    def get(self, name: str, target: Path) -> None:
        raise errors.BackupFailed("The second place doesn't answer.")

    def names(self, below: str = "") -> dict[str, int]:
        raise errors.BackupFailed("The second place doesn't answer.")

    def delete(self, name: str) -> None:
        raise errors.BackupFailed("The second place doesn't answer.")


def test_without_an_answer_of_the_second_place_backups_are_listed_verified_and_restored(house: House) -> None:
    site = msgspec.structs.replace(house.site(), mirror=Away())

    assert {line.is_mirrored for line in backup.listed(site)} == {None}
    assert [found.file for found in backup.verified(site)] == ["the second place"]
    with restore.beside(site, house.clock()):
        pass


class Keeper(Away):
    """A second place that takes everything and lets go of nothing."""

    def put(self, name: str, source: Path) -> None:
        pass

    def names(self, below: str = "") -> dict[str, int]:
        return {}


def test_a_second_place_that_lets_go_of_nothing_makes_no_backup_undone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too old stays in both until then; a run that nobody noted would be made again and again."""
    site = msgspec.structs.replace(house.site(backup_days=0), mirror=Keeper())
    kept = {m.id for m in site.repository.manifests()}
    with pytest.raises(errors.BackupFailed, match="is made, but not in the second place"):
        backup.now(site, "base")
    run = backup_record.last_runs(house.home)["base"].tried

    assert (run.state, run.id) == ("done", newest(house).id)
    assert {m.id for m in site.repository.manifests()} > kept


def test_a_dump_of_one_table_is_not_the_nightly_one(house: House) -> None:
    before = backup_record.last_runs(house.home).get("logical")
    backup.now(house.site(), "logical", table="personas")
    answer = run(house, "backup", "now", "--logical", "--table", "no_such_table")

    assert answer.returncode == 1
    assert "no matching tables were found" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert backup_record.last_runs(house.home).get("logical") == before


def test_a_drill_that_breaks_is_noted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(restore, "stage_wal", full)
    with pytest.raises(errors.RestoreRefused, match="No space left on device"):
        backup.drilled(house.site())

    assert backup_record.last_runs(house.home)["drill"].tried.state == "failed"


def test_the_same_segment_packed_anew_is_the_same(house: House, tmp_path: Path) -> None:
    repository = house.site().repository
    names = ("0000000900000009000000A1", tmp_path / "one.gz")
    names[1].write_bytes(gzip.compress(b"wal" * 100, mtime=1))
    repository.put_wal("1", *names)
    names[1].write_bytes(gzip.compress(b"wal" * 100, mtime=2))
    repository.put_wal("1", *names)
    names[1].write_bytes(gzip.compress(b"law" * 100, mtime=1))
    with pytest.raises(errors.BackupFailed, match="two servers use it"):
        repository.put_wal("1", *names)
    shutil.rmtree(repository.folder / "wal" / "1")
