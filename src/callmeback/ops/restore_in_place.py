"""The corrupted database: writers are stopped, the old folder is kept, and what the backups hold takes its place."""

import contextlib
import gzip
import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.ops import backup_wal, erasures, restore
from callmeback.ops.backup_cipher import fsync_folder
from callmeback.ops.backup_repository import Manifest
from callmeback.ops.backup_site import Report, Site, silent
from callmeback.ops.backup_take import HOUSE, Kept
from callmeback.ops.restore import Unpacked
from callmeback.pg import exchange, home, lasting, recovery, remains, segments
from callmeback.pg.recovery import Side

# `up` lets live calls end for 30 s, then stops the proxy, the worker and the database.
STOP_WAIT_S: Final = 240.0
POLL_S: Final = 0.05
SERVER_FILE: Final = "server.json"
SECRETS_FILE: Final = "secrets.json"

log = logs.get_logger(__name__)


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """What an in-place restore did: from which backup, where the old folder is, and whose erasure has to wait.

    `up_goes_on` where a running `up` made room, and comes back by itself.
    """

    backup: Manifest
    kept: Path | None
    waiting_erasures: list[str]
    up_goes_on: bool


def in_place(site: Site, until: datetime | None, *, report: Report = silent) -> Replaced:
    """Put the database of `until` (None: everything that there is) in the place of the living one.

    The `up` of this home makes room if one runs, and not for what can't be done; it comes back at the end. The old
    folder is in its place until the new one is recovered, whatever breaks off before, and is kept beside it then.

    Raises RestoreRefused, BackupDamaged, ConfigurationError, AlreadyRunning.
    """
    if site.settings.database_url is not None and (site.source is None or not site.source.is_ours):
        raise errors.RestoreRefused(
            "DATABASE_URL's server isn't ours to stop: restore into a folder, and start it there."
        )
    turn = home.lock_restore(site.settings.home)
    try:
        return _replace(site, until, report)
    finally:
        os.close(turn)


def _replace(site: Site, until: datetime | None, report: Report) -> Replaced:
    goes_on = False
    if site.source is not None:
        # While it lives it can still bring everything up to now into the archive; a broken one can't, and needn't.
        with contextlib.suppress(errors.BackupFailed, errors.DatabaseUnavailable):
            restore.archive_up_to_now(site, until)
        with site.repository.shared():
            restore.planned(site, until, site.place.state)
        report("Stopping the services", 0, None)
        goes_on = _stop(site)
    held = _take_home(site)
    try:
        offline = msgspec.structs.replace(site, source=None)
        # The server of an `up` that was killed may still be ending.
        remains.clear(site.place.data, site.place.state)
        _archive_finished(offline)
        _remember_house(offline, until)
        with restore.unpacked(offline, until, site.place.state, durable=True, report=report) as found:
            if until is None:
                _take_over_unarchived(offline, found)
            report("Recovering", 0, None)
            waiting = _recover(offline, found)
            report("Exchanging the folders", 0, None)
            kept = _exchange(offline, found)
            _archive_finished(offline)

            return Replaced(backup=found.backup, kept=kept, waiting_erasures=waiting, up_goes_on=goes_on)
    finally:
        os.close(held)


def _stop(site: Site) -> bool:
    """Ask the `up` of this home to make room; whether it will come back."""
    run = home.read_run(site.settings.home)
    pid, rests = run.get("pid"), run.get("rests") is True
    if not isinstance(pid, int):
        raise errors.RestoreRefused("Something holds this home and can't be asked to stop: stop it first.")
    with contextlib.suppress(ProcessLookupError):
        # One that began before it was updated only knows how to end.
        os.kill(pid, home.REST if rests else signal.SIGTERM)

    return rests


def _take_home(site: Site) -> int:
    deadline = time.monotonic() + STOP_WAIT_S
    while True:
        try:
            return home.lock(site.settings.home)
        except errors.AlreadyRunning:
            if time.monotonic() > deadline or site.source is None:
                raise
            time.sleep(POLL_S)


def _remember_house(site: Site, until: datetime | None) -> None:
    """On a machine that never saw this database: its superuser's password and the home's secrets, from the backup."""
    newest = restore.choose(site, until)[-1]
    name = f"backups/{newest.id}/{HOUSE}.sealed"
    site.bring(name)
    with site.repository.opened(name) as sealed:
        kept = msgspec.json.decode(sealed.read(), type=Kept)
    owner = (site.place.account.uid, site.place.account.gid) if site.place.account else None
    for file, path, belongs in (
        (SERVER_FILE, site.place.state / SERVER_FILE, owner),
        (SECRETS_FILE, site.settings.home / SECRETS_FILE, None),
    ):
        if file in kept.files and (not path.exists() or (file == SERVER_FILE and not site.place.data.exists())):
            home.write_private(path, kept.files[file], owner=belongs)


def _take_over_unarchived(site: Site, found: Unpacked) -> None:
    """WAL that the old folder wrote and never archived, its last segment above all: nothing committed is lost."""
    if found.backup.system != segments.system_of(site.place.data, site.place.archive):
        return
    for path in sorted((site.place.data / "pg_wal").glob("*")):
        target = found.wal / f"{path.name}.gz"
        if not (segments.is_segment(path.name) or segments.is_history(path.name)) or target.exists():
            continue
        try:
            content = path.read_bytes()
        except OSError as exc:
            # The disk may be the very thing that broke.
            log.warning("WAL can't be read; what was committed last is lost", file=path.name, reason=exc.strerror)
            continue
        try:
            target.write_bytes(gzip.compress(content, 1))
        except OSError as exc:
            raise errors.RestoreRefused(f"WAL can't be written in {found.wal}: {exc.strerror}.") from exc
        site.place.own(target)


def _recover(site: Site, found: Unpacked) -> list[str]:
    """Have a server recover the folder where it is, and erase again who was erased since; whose erasure has to wait.

    It begins a timeline, of which nothing may be archived before the folder is in its place: were the restore broken
    off, every later one would follow that timeline and lose what the old database went on to write.
    """
    if found.backup.first_segment is not None:
        recovery.prepare(site.place, found.data, found.wal, found.until)
    with Side(site.place, found.programs.folder, found.data, more={"archive_mode": "on"}) as side:
        waiting = erasures.apply_again(side.dsn, site.repository.erasures())
    recovery.forget(site.place, found.data)

    return waiting


def _exchange(site: Site, found: Unpacked) -> Path | None:
    """Put the recovered folder in the place of the old one, in one step; where the old one is now."""
    kept = site.place.state / f"data.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" if site.place.data.exists() else None
    try:
        lasting.make_tree(found.data)
        if kept is not None:
            exchange.take_the_place(site.place, found.data, kept)
        else:
            found.data.rename(site.place.data)
        fsync_folder(site.place.state)
    except OSError as exc:
        raise errors.RestoreRefused(f"{site.place.data} can't be replaced: {exc.strerror}.") from exc

    return kept


def _archive_finished(site: Site) -> None:
    """Archive and ship what the server in the data folder finished and didn't archive.

    Of the old one: a later restore begins before it, and may need each segment. Of the new one: the history of its
    timeline, without which that would not find its way. A disk that is broken or full stops no restore.
    """
    with contextlib.suppress(OSError, subprocess.TimeoutExpired, errors.BackupFailed):
        segments.archive_finished(site.place)
        backup_wal.ship(site)
