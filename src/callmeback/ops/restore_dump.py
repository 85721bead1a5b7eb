"""Logical backups put back: the whole database in the place of the living one, or one table with its key."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors
from callmeback.ops import erasures
from callmeback.ops.backup_repository import SEALED
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.ops.backup_take import DUMP
from callmeback.pg import dumps, replacement, rooms

READ_BYTES: Final = 1 << 20
# Lines of pg_restore's list that hold a table's name; those of indexes don't: hence a scratch copy.
_ROWS: Final = " TABLE DATA "
_REFERENCES: Final = " FK CONSTRAINT "


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a dump brought: the database that is kept under another name, or the rows of a table."""

    table: str | None = None
    kept_database: str | None = None
    found_rows: int | None = None
    restored_rows: int | None = None

    @property
    def words(self) -> str:
        """For people."""
        if self.kept_database is not None:
            return f"The database is restored. The old one is kept as {self.kept_database}: drop it when all is well."
        if self.found_rows is not None:
            return f"Rows of {self.table} in the dump: {self.found_rows}; missing here, and back: {self.restored_rows}."

        return f"{self.table} is back, with its key, its rules and its rows."


def restore_dump(site: Site, name: str, table: str | None, *, report: Report = silent) -> Restored:
    """Restore a dump, by the id of a logical backup or a file's path.

    Whole: into a database of its own, brought up to date and with the erasures since, that then takes the place of the
    living one, which is kept. One table: rows that are missing, or all of it with key, indexes and rules where the
    table is gone. Raises RestoreRefused, BackupDamaged, NotFound.
    """
    source = site.running()
    with _file(site, name) as file:
        if table is None:
            return _whole(site, file, report)
        report(f"Restoring {table}", 0, None)
        if replacement.has_table(source.dsn, table):
            moved = replacement.add_missing_rows(source.programs, source.dsn, file, table)
            done = Restored(table=table, found_rows=moved.found, restored_rows=moved.restored)
        else:
            _whole_table(site, file, table)
            done = Restored(table=table)
        erasures.apply_again(source.dsn, site.repository.erasures())

        return done


def _whole(site: Site, file: Path, report: Report) -> Restored:
    source = site.running()
    stamp = f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
    name, kept = replacement.restored_name(stamp), f"callmeback_before_{stamp}"
    erasures.note(site.repository, source.dsn)
    report("Restoring the dump", 0, None)
    with replacement.beside(source.programs, source.dsn, file, name) as made:
        replacement.bring_up_to_date(made)
        erasures.apply_again(made, site.repository.erasures())
        replacement.take_the_place(source.dsn, name, kept)

    return Restored(kept_database=kept)


def _whole_table(site: Site, file: Path, table: str) -> None:
    """A table that is gone, out of a scratch database that has all tables but only this one's rows."""
    source = site.running()
    lines = dumps.contents(source.programs, file)
    mine = f" public {table} "
    if not any(_ROWS in line and mine in line for line in lines):
        raise errors.RestoreRefused(f"The dump holds no table {table}.")
    references = [line for line in lines if _REFERENCES in line and mine in line]
    if sum(_ROWS in line for line in lines) == 1:
        dumps.restore(source.programs, source.dsn, file, only=lines)
        return
    chosen = [line for line in lines if _REFERENCES not in line and (_ROWS not in line or mine in line)]
    scratch = replacement.scratch_name(f"{datetime.now(UTC):%Y%m%d_%H%M%S}")
    with (
        replacement.beside(source.programs, source.dsn, file, scratch, only=chosen) as made,
        rooms.room(site.place, site.place.state) as room,
    ):
        alone = room / DUMP
        with alone.open("wb") as sink:
            for block in dumps.dump(source.programs, made, table):
                sink.write(block)
        dumps.restore(source.programs, source.dsn, alone, only=dumps.contents(source.programs, alone))
    if references:
        dumps.restore(source.programs, source.dsn, file, only=references)


@contextmanager
def _file(site: Site, name: str) -> Iterator[Path]:
    """The dump as a file: an unsealed copy of a logical backup's, or the operator's own."""
    path = Path(name)
    if path.is_file():
        yield path
        return
    try:
        manifest = site.repository.manifest(path.name)
    except errors.NotFound as exc:
        raise errors.NotFound(
            f"There is no file {name}, and no backup with that id: see `callmeback backup list`."
        ) from exc
    if manifest.kind != "logical":
        raise errors.RestoreRefused(f"{name} is no dump: restore it with --into or --in-place.")
    sealed_name = f"backups/{manifest.id}/{DUMP}{SEALED}"
    site.bring(sealed_name)
    with rooms.room(site.place, site.place.state) as room, site.repository.opened(sealed_name) as sealed:
        with (room / DUMP).open("wb") as file:
            shutil.copyfileobj(sealed, file, READ_BYTES)
        yield room / DUMP
