"""Logical backups by PostgreSQL's own tools: pg_dump's custom format, made and put back."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from psycopg.conninfo import make_conninfo

from callmeback import errors
from callmeback.pg.base_backups import connection_of
from callmeback.pg.complaints import without_values

# There before any database of ours.
MAINTENANCE: Final = "postgres"
READ_BYTES: Final = 1 << 20
LIST_TIMEOUT_S: Final = 120
RESTORE_TIMEOUT_S: Final = 14_400


def dump(programs: Path, dsn: str, table: str | None = None) -> Iterator[bytes]:
    """A compressed dump of the database, or of one table of it, in pieces. Raises BackupFailed at its end."""
    conninfo, environ = connection_of(dsn)
    command = [str(programs / "pg_dump"), "--format=custom", "--no-password", f"--dbname={conninfo}"]
    if table is not None:
        quoted = table.replace('"', '""')
        command.append(f'--table=public."{quoted}"')
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=environ)
        try:
            assert process.stdout is not None
            while block := process.stdout.read(READ_BYTES):
                yield block
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if code != 0:
            said.seek(0)
            raise errors.BackupFailed(f"pg_dump failed: {without_values(said.read().decode('utf-8', 'replace'))}")


def roles(programs: Path, dsn: str) -> str:
    """The commands that make a cluster's roles, with their passwords' verifiers and their memberships.

    Raises BackupFailed.
    """
    conninfo, environ = connection_of(dsn)
    command = [str(programs / "pg_dumpall"), "--roles-only", "--no-password", f"--dbname={conninfo}"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIST_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise errors.BackupFailed(f"pg_dumpall failed: {without_values(done.stderr)}")

    return done.stdout


def restore_roles(programs: Path, dsn: str, commands: str, superuser: str) -> None:
    """Make the roles of `roles` in a new cluster, all or none; its superuser is there. Raises RestoreRefused."""
    conninfo, environ = connection_of(make_conninfo(dsn, dbname=MAINTENANCE))
    makes_superuser = ["CREATE", "ROLE", f"{superuser};"]
    command = [
        str(programs / "psql"),
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        "--file=-",
        f"--dbname={conninfo}",
    ]
    done = subprocess.run(
        command,
        input="".join(line for line in commands.splitlines(True) if line.split() != makes_superuser),
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIST_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise errors.RestoreRefused(f"The roles can't be made: {without_values(done.stderr)}")


def contents(programs: Path, file: Path) -> list[str]:
    """The lines of a dump's table of contents. Raises BackupDamaged when it is no dump."""
    done = subprocess.run(
        [programs / "pg_restore", "--list", file], capture_output=True, text=True, timeout=LIST_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise errors.BackupDamaged(f"{file.name} is no dump that can be read: {without_values(done.stderr)}")

    return [line for line in done.stdout.splitlines() if line and not line.startswith(";")]


def restore(programs: Path, dsn: str, file: Path, *, only: list[str] | None = None, jobs: int = 2) -> None:
    """Put a dump, or `only` some lines of its contents, into a database. Raises RestoreRefused."""
    conninfo, environ = connection_of(dsn)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as chosen:
        chosen.write("\n".join(only or []))
        chosen.flush()
        command = [
            str(programs / "pg_restore"),
            "--exit-on-error",
            "--no-password",
            f"--dbname={conninfo}",
            *(["--single-transaction", f"--use-list={chosen.name}"] if only is not None else [f"--jobs={jobs}"]),
            str(file),
        ]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=RESTORE_TIMEOUT_S, check=False
        )
    if done.returncode != 0:
        raise errors.RestoreRefused(f"pg_restore failed: {without_values(done.stderr)}")
