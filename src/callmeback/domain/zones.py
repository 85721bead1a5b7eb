"""Time zones: which exist, and their data with a fingerprint, so that what was computed from older data can be found.

There may be two copies of the zone database on a machine: the system's and the package `tzdata`. The newer release is
read, whichever it is; where the operator has set PYTHONTZPATH, that comes first. Zones are read here and not through
ZoneInfo's own cache, so that a fingerprint always belongs to the data that is in use.
"""

import difflib
import hashlib
import importlib.resources
import io
import os
import re
import sysconfig
import zoneinfo
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import tzdata

from callmeback import errors

NAME_LENGTH_MAX: Final = 64
NEAREST_MAX: Final = 3
FINGERPRINT_LENGTH: Final = 16
# More than there are zones.
_CACHED_MAX: Final = 1_024
# Files of the zone database that are no zones of a place.
_NO_PLACES: Final = frozenset({"localtime", "posixrules", "Factory"})
# Where this Python looks unless somebody says otherwise.
_PYTHONS_OWN: Final = tuple(filter(None, (sysconfig.get_config_var("TZPATH") or "").split(os.pathsep)))
_RELEASE: Final = re.compile(r"\d{4}[a-z]{1,2}")
_RELEASE_FILES: Final = ("tzdata.zi", "+VERSION", "version")
_RELEASE_LINE_LENGTH: Final = 80


class Zone(msgspec.Struct, frozen=True):
    """A zone and the fingerprint of its data."""

    name: str
    info: zoneinfo.ZoneInfo
    version: str


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every zone that can be named."""
    return frozenset(zoneinfo.available_timezones() - _NO_PLACES)


@lru_cache(maxsize=_CACHED_MAX)
def zone(name: str) -> Zone:
    """The zone of this name; raises UnknownTimezone with the names nearest to it."""
    if name not in names():
        raise errors.UnknownTimezone(_advice(name), field="timezone")
    data = _data(name)

    return Zone(
        name,
        zoneinfo.ZoneInfo.from_file(io.BytesIO(data), key=name),
        hashlib.sha256(data).hexdigest()[:FINGERPRINT_LENGTH],
    )


def zone_or_utc(name: str) -> zoneinfo.ZoneInfo:
    """The zone of this name, or UTC where newer data have it no more: what was planned for others must go on."""
    return zone(name if name in names() else "UTC").info


def reload() -> None:
    """Forget what was read, so that data that came since is seen."""
    names.cache_clear()
    zone.cache_clear()
    _folders.cache_clear()


def release() -> str | None:
    """The release of the data in use, such as 2026f; None where its folder doesn't say."""
    first = _folders()[0]

    return tzdata.IANA_VERSION if first is None else _release_of(first)


def _advice(name: str) -> str:
    """What was meant, perhaps: by the whole name, or by its last part alone, as people write cities."""
    if len(name) > NAME_LENGTH_MAX:
        return "A time zone is an IANA name such as Europe/Berlin."
    wanted = name.strip().replace(" ", "_").lower()
    by_lower: dict[str, str] = {}
    for known in sorted(names()):
        by_lower.setdefault(known.lower(), known)
        by_lower.setdefault(known.rpartition("/")[2].lower(), known)
    found = dict.fromkeys(by_lower[near] for near in difflib.get_close_matches(wanted, by_lower, n=2 * NEAREST_MAX))
    nearest = list(found)[:NEAREST_MAX]
    if not nearest:
        return "There is no such time zone; it is an IANA name such as Europe/Berlin."

    return f"There is no such time zone; did you mean {' or '.join(nearest)}?"


def _data(name: str) -> bytes:
    for folder in _folders():
        if folder is None:
            place = importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
            if place.is_file():
                return place.read_bytes()
        elif (folder / name).is_file():
            return (folder / name).read_bytes()

    raise errors.UnknownTimezone(field="timezone")


@lru_cache(maxsize=1)
def _folders() -> tuple[Path | None, ...]:
    """Where zones are looked for, in order; None stands for the package."""
    system = tuple(folder for folder in map(Path, zoneinfo.TZPATH) if folder.is_dir())
    if zoneinfo.TZPATH != _PYTHONS_OWN:
        return (*system, None)
    newer = tuple(folder for folder in system if (_release_of(folder) or "") > tzdata.IANA_VERSION)

    return (*newer, None, *(folder for folder in system if folder not in newer))


def _release_of(folder: Path) -> str | None:
    for name in _RELEASE_FILES:
        if (folder / name).is_file():
            with (folder / name).open(encoding="ascii", errors="replace") as file:
                found = _RELEASE.search(file.readline(_RELEASE_LINE_LENGTH))
            if found is not None:
                return found[0]

    return None
