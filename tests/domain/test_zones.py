"""Zones: names, the nearest ones to a wrong one, the fingerprint of their data, and which copy of the data is read."""

import shutil
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tzdata

from callmeback import errors
from callmeback.domain import recurrence, zones

PACKAGE = Path(tzdata.__file__).parent / "zoneinfo"


@pytest.fixture
def search_path(tmp_path: Path) -> Iterator[Path]:
    """A folder of zones that an operator named; afterwards everything is read anew."""
    zoneinfo.reset_tzpath([str(tmp_path)])
    zones.reload()
    yield tmp_path
    zoneinfo.reset_tzpath()
    zones.reload()


def put(folder: Path, name: str, data_of: str) -> None:
    """Give a zone the data of another one: a government changed its mind."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(PACKAGE / data_of, place)
    zones.reload()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Europe/Berlinn", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("America/NewYork", "America/New_York"),
        ("new york", "America/New_York"),
        ("Asia/Calcuta", "Asia/Calcutta"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_names(name: str, meant: str):
    with pytest.raises(errors.UnknownTimezone) as caught:
        zones.zone(name)

    assert meant in caught.value.detail
    assert caught.value.extra == {"field": "timezone"}


@pytest.mark.parametrize("name", ["", "?", "../../etc/passwd", "Europe/", "/Europe/Berlin", "x" * 5_000, "localtime"])
def test_what_is_near_to_nothing_is_refused_too(name: str):
    with pytest.raises(errors.UnknownTimezone, match=r"IANA name|did you mean"):
        zones.zone(name)


def test_every_zone_can_be_read():
    for name in zones.names():
        assert zones.zone(name).info.utcoffset(datetime(2027, 1, 1)) is not None


def test_the_newer_release_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    older, newer = tmp_path / "older", tmp_path / "newer"
    for folder, release in ((older, "2001a"), (newer, "2099a")):
        folder.mkdir()
        (folder / "tzdata.zi").write_text(f"# version {release}\n")
    monkeypatch.setattr(zones, "_PYTHONS_OWN", (str(older), str(newer)))
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(older), str(newer)))
    zones.reload()
    try:
        assert zones._folders() == (newer, None, older)
        assert zones.release() == "2099a"
    finally:
        monkeypatch.undo()
        zones.reload()


def test_without_a_newer_one_the_package_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zones, "_PYTHONS_OWN", (str(tmp_path),))
    monkeypatch.setattr(zoneinfo, "TZPATH", (str(tmp_path),))
    zones.reload()
    try:
        assert zones._folders() == (None, tmp_path)
        assert zones.release() == tzdata.IANA_VERSION
    finally:
        monkeypatch.undo()
        zones.reload()


def test_what_the_operator_names_comes_first_and_lacks_nothing(search_path: Path):
    put(search_path, "Europe/Berlin", "Asia/Tokyo")

    assert zones.zone("Europe/Berlin").info.utcoffset(datetime(2027, 7, 1)) == zones.zone("Asia/Tokyo").info.utcoffset(
        datetime(2027, 7, 1)
    )
    assert zones.zone("Europe/Paris").info.key == "Europe/Paris"


def test_new_data_of_a_zone_has_another_fingerprint_and_other_times(search_path: Path):
    start, after = datetime(2027, 1, 1, 7), datetime(2027, 7, 1, tzinfo=UTC)
    before = zones.zone("Europe/Berlin"), zones.zone("Europe/Paris")
    at_seven = recurrence.next_after("FREQ=DAILY", start, before[0].info, after)

    put(search_path, "Europe/Berlin", "Europe/London")
    now = zones.zone("Europe/Berlin"), zones.zone("Europe/Paris")

    assert now[0].version != before[0].version
    assert now[1].version == before[1].version
    assert at_seven == datetime(2027, 7, 1, 5, tzinfo=UTC)
    assert recurrence.next_after("FREQ=DAILY", start, now[0].info, after) == datetime(2027, 7, 1, 6, tzinfo=UTC)
