"""A repository in which one thing is wrong: verify finds it, names the file, and ends with 1."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.ops.backups.house import House, built

from callmeback.ops import backup
from callmeback.ops.backup_repository import ERASURES, FACTS
from callmeback.pg import rooms


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with built() as made:
        made.sql("SELECT register_user('user_1', 'ann@example.org', 'x', 'Ann', 'UTC', '+12025550100')")
        made.sql("SELECT erase_user('user_1', 'person')")
        site = made.site(backup_passphrase="correct horse battery")
        backup.now(site, "full")
        backup.now(site, "incremental")
        backup.now(site, "logical")
        backup.run_due(site)
        yield made


@pytest.fixture
def copied(house: House, tmp_path: Path) -> Path:
    target = tmp_path / "repository"
    shutil.copytree(house.settings().backup_folder, target)

    return target


def found(house: House, copied: Path) -> dict[str, str]:
    site = house.site(backup_dir=copied)

    return {finding.file: finding.detail for finding in backup.verified(site)}


def test_nothing_is_found_where_nothing_is_wrong(house: House, copied: Path) -> None:
    assert found(house, copied) == {}


def test_a_flipped_bit_in_any_file_is_found_and_the_file_is_named(house: House, copied: Path) -> None:
    """One bit in the middle of every file at once, except the facts that open the repository."""
    files = [path for path in copied.rglob("*") if path.is_file() and "lock" not in path.name and path.name != FACTS]
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data)
    expected = {str(path.relative_to(copied)) for path in files}
    # What a damaged manifest lists isn't known any more.
    lost = {name for name in expected if name.startswith("backups/") and not name.endswith("manifest.json")}

    assert len(expected) > 8
    assert ERASURES in expected
    assert found(house, copied).keys() == expected - lost


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is not what was written"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "is not what was written"),
        (lambda path: path.unlink(), "is missing"),
    ],
    ids=["cut", "longer", "missing"],
)
def test_a_part_that_was_changed_is_found(
    house: House, copied: Path, harm: Callable[[Path], object], words: str
) -> None:
    (path,) = copied.glob("backups/*-full-*/cluster.tar.zst.sealed")
    harm(path)
    problems = found(house, copied)

    assert words in problems[str(path.relative_to(copied))]


def test_a_part_of_another_backup_does_not_pass(house: House, copied: Path) -> None:
    (whole,) = copied.glob("backups/*-full-*/house.json.sealed")
    (other,) = copied.glob("backups/*-incremental-*/house.json.sealed")
    shutil.copy(other, whole)

    assert str(whole.relative_to(copied)) in found(house, copied)


def test_a_missing_segment_is_found(house: House, copied: Path) -> None:
    segments = sorted(copied.glob("wal/*/*/*.gz.sealed"))
    segments[len(segments) // 2].unlink()

    assert ["This segment is missing."] == list(found(house, copied).values())


def test_the_command_names_the_file_and_ends_with_1(house: House, copied: Path) -> None:
    (path,) = copied.glob("backups/*-logical-*/database.dump.sealed")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    answer = subprocess.run(
        [sys.executable, "-m", "callmeback", "backup", "verify", "--json"],
        env=house.environ | {"CALLMEBACK_BACKUP_DIR": str(copied)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert answer.returncode == 1
    assert [each["file"] for each in json.loads(answer.stdout)["items"]] == [str(path.relative_to(copied))]


# Waits, with a copy unpacked, for a signal that ends it.
SLOW_VERIFY = """
import time
from callmeback.__main__ import main
from callmeback.pg import rooms, base_backups
base_backups.verify = lambda *_: (print("unpacked", flush=True), time.sleep(600))
main()
"""


@pytest.mark.parametrize(("number", "code", "left"), [(signal.SIGTERM, 143, 0), (signal.SIGKILL, -9, 1)])
def test_s16_nothing_unsealed_stays_behind_a_verify_that_is_ended(
    house: House, number: signal.Signals, code: int, left: int
) -> None:
    """What a kill leaves is removed by the next run, and only then: another one may be at work."""
    site = house.site()

    def rooms_left() -> int:
        return len(list(site.place.state.glob(f"{rooms.PREFIX}*")))

    command = [sys.executable, "-c", SLOW_VERIFY, "backup", "verify"]
    with subprocess.Popen(command, env=house.environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "unpacked\n"
        rooms.sweep(site.place.state)
        assert rooms_left() == 1
        process.send_signal(number)
        assert process.wait() == code
    assert rooms_left() == left
    rooms.sweep(site.place.state)

    assert rooms_left() == 0


@pytest.mark.proof
def test_what_the_second_place_lacks_is_found(house: House, copied: Path, tmp_path: Path) -> None:
    site = house.site(backup_dir=copied, backup_mirror=str(tmp_path / "mirror"))
    backup.now(site, "incremental")
    (path,) = (tmp_path / "mirror").glob("backups/*-full-*/cluster.tar.zst.sealed")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert backup.verified(site) == []
    assert [finding.detail for finding in backup.verified(site, every=True)] == [
        "In the second place it is another file."
    ]
    path.unlink()
    assert "it is missing" in backup.verified(site)[0].detail
