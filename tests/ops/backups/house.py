"""A house of its own for tests of backups: an embedded server that is durable and archives, and its repository."""

import asyncio
import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from callmeback.ops import backup_site
from callmeback.ops.backup_site import Site
from callmeback.pg import home, migrate, roles, server
from callmeback.settings import Settings


class House:
    """A home and, while it runs, its server."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.running: server.Server | None = None

    def start(self, **options: Any) -> server.Server:
        self.running = server.start(self.home, **options)

        return self.running

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None

    def settings(self, **changes: Any) -> Settings:
        return Settings(home=self.home, **changes)

    def site(self, **changes: Any) -> Site:
        return backup_site.open_site(self.settings(**changes), make=True)

    def sql(self, text: str, *parameters: object) -> list[Any]:
        """Run a statement as the superuser and commit; its rows."""
        assert self.running is not None
        with psycopg.connect(self.running.superuser_dsn, autocommit=True) as connection:
            cursor = connection.execute(text, parameters or None)

            return cursor.fetchall() if cursor.description else []

    def clock(self) -> datetime:
        """The server's, after which a moment passes, so that what follows is later."""
        ((at,),) = self.sql("SELECT clock_timestamp() FROM pg_sleep(0.01)")
        self.sql("SELECT pg_sleep(0.01)")
        assert isinstance(at, datetime)

        return at

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "CALLMEBACK_HOME": str(self.home), "COLUMNS": "200"}


@contextmanager
def built(*, migrated: bool = True, prepared: Callable[[House], object] | None = None) -> Iterator[House]:
    """A new house with a running server; with `migrated`, the whole schema; what `prepared` did to it is done.

    It is a copy of one that is made once in this process, so two of them have the same cluster's id.
    """
    folder = _folder()
    house = House(folder)
    try:
        subprocess.run(["cp", "-a", f"{_model(migrated, prepared)}/.", folder], check=True)
        house.start()
        yield house
    finally:
        house.stop()
        shutil.rmtree(folder)


@functools.cache
def _model(migrated: bool, prepared: Callable[[House], object] | None) -> Path:
    """The home that is copied; its server is shut down."""
    folder = _folder()
    atexit.register(shutil.rmtree, folder)
    house = House(folder)
    try:
        running = house.start()
        if migrated:
            asyncio.run(roles.ensure(running.superuser_dsn, home.generated_secrets(folder)["role_secret"]))
            migrate.apply(running.owner_dsn)
        if prepared is not None:
            prepared(house)
    finally:
        house.stop()

    return folder


def _folder() -> Path:
    # Not below pytest's folder: that is 0700, and a server that runs as another user could not reach it.
    folder = Path(tempfile.mkdtemp(prefix="callmeback-backups-"))
    folder.chmod(0o711)

    return folder
