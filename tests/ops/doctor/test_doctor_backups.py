"""What the doctor says of backups: none, old ones, failed runs, a second place without them. Each mended and green."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from tests.ops.doctor.patients import look, named, said

from callmeback.ops import backup_repository
from callmeback.settings import Settings

MIRRORED = Settings(home=Path("/nonexistent"), backup_mirror="s3://elsewhere")


def note(dsn: str, kind: str, *, ago: str = "1 hour", state: str = "done", mirrored: bool = True) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO backups (id, kind, state, started_at, finished_at, is_mirrored, detail)"
            " SELECT 'backup-' || gen_random_uuid(), %s, %s, now() - %s::interval, now() - %s::interval, %s, 'why'",
            (kind, state, ago, ago, mirrored),
        )


def grow_old(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE schema_migrations SET applied_at = applied_at - interval '3 days'")


def test_a_new_installation_without_backups_is_warned(database_url: str) -> None:
    found = look(database_url, "backups")

    assert [verdict.verdict for verdict in found.values()] == ["green", "warning", "green", "warning", "skipped"]


def test_a_lost_key_is_red_until_it_is_back_or_the_passphrase_opens(tmp_path: Path, database_url: str) -> None:
    """Though every backup in there is fresh."""
    settings = Settings(home=tmp_path, backup_passphrase="correct horse battery")
    backup_repository.open_repository(settings.backup_folder, tmp_path, settings.backup_passphrase, make=True)
    key = tmp_path / "backup.key"
    kept = key.read_text()

    def verdict(**changes: Any) -> str:
        asked = msgspec.structs.replace(settings, **changes)
        return look(database_url, "backups", settings=asked)["the backups can be opened"].verdict

    assert verdict(backup_passphrase=None) == "green"
    key.unlink()
    assert [verdict(backup_passphrase=None), verdict(backup_passphrase="another " * 3), verdict()] == [
        "red",
        "red",
        "green",
    ]
    assert not key.exists(), "the doctor writes nothing"
    key.write_text("spoilt")
    assert verdict(backup_passphrase=None) == "red"
    key.write_text(kept)
    assert verdict(backup_passphrase=None) == "green"


def test_a_key_that_this_user_may_not_read_is_no_lost_key(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path)
    backup_repository.open_repository(settings.backup_folder, tmp_path, None, make=True)

    def refuse(home: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(home / "backup.key"))

    monkeypatch.setattr(backup_repository.cipher, "read_key", refuse)
    found = look(database_url, "backups", settings=settings)["the backups can be opened"]

    assert (found.verdict, found.what_to_do) == (
        "skipped",
        f"{tmp_path}/backup.key can't be read by this user (Permission denied).",
    )


def test_an_old_installation_without_backups_is_red_until_there_is_one(database_url: str) -> None:
    grow_old(database_url)
    assert look(database_url, "backups")["there is a fresh backup"].verdict == "red"
    note(database_url, "base", ago="27 hours")
    assert look(database_url, "backups")["there is a fresh backup"].verdict == "red"
    note(database_url, "full")
    assert look(database_url, "backups")["there is a fresh backup"].verdict == "green"


def test_a_restore_that_was_never_tried_is_red_until_it_was(database_url: str) -> None:
    grow_old(database_url)
    note(database_url, "drill", ago="9 days")
    assert look(database_url, "backups")["a restore was tried"].verdict == "red"
    note(database_url, "drill")
    assert look(database_url, "backups")["a restore was tried"].verdict == "green"


@pytest.mark.parametrize("kind", ["full", "logical", "verify", "drill"])
def test_a_failed_run_is_red_with_its_reason_until_one_goes_well(database_url: str, kind: str) -> None:
    note(database_url, kind, ago="2 hours", state="failed")
    verdict = look(database_url, "backups")["the last runs went well"]
    assert (verdict.verdict, named(verdict)) == ("red", [kind])
    assert "why" in said(verdict)
    note(database_url, kind)

    assert look(database_url, "backups")["the last runs went well"].verdict == "green"


def test_a_second_place_that_lacks_the_newest_is_a_warning(database_url: str) -> None:
    note(database_url, "full", ago="2 hours")
    note(database_url, "base", mirrored=False)
    assert look(database_url, "backups", settings=MIRRORED)["the second place has it"].verdict == "warning"
    note(database_url, "full", ago="1 minute")

    assert look(database_url, "backups", settings=MIRRORED)["the second place has it"].verdict == "green"
