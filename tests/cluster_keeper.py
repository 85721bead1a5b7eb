"""One embedded server for a whole test run: started by its first worker, ended when the last one has gone.

    python cluster_keeper.py FOLDER

Each worker holds a shared lock on FOLDER/users; when this program gets the exclusive one, nobody is left, however the
workers ended. It is a program of its own because a server ends with the process that started it.
"""

import asyncio
import fcntl
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import psycopg

from callmeback.pg import binaries, home, migrate, roles, server

TEMPLATE = "callmeback_template"
MEMORY = Path("/dev/shm")
# What the databases of a run take at most, with their WAL, and as much again for everybody else.
MEMORY_MIN_BYTES = 4 << 30


def main() -> None:
    folder = Path(sys.argv[1])
    # Not below pytest's folder: that is 0700, and a server that runs as another user could not reach it.
    place = Path(tempfile.mkdtemp(prefix="callmeback-tests-", dir=roomy_memory()))
    place.chmod(0o711)
    try:
        keep(folder, place)
    finally:
        shutil.rmtree(place)


def roomy_memory() -> Path | None:
    """Where files live in memory: each test makes and drops a database of 13 MB. None where there is none or little."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_MIN_BYTES:
        return MEMORY

    return None


def keep(folder: Path, place: Path) -> None:
    major = int(os.environ.get("CALLMEBACK_TEST_POSTGRES", "0")) or None
    programs = binaries.choose(major)
    with server.start(place, candidates=[programs], durable=False) as running:
        secret = home.generated_secrets(place)["role_secret"]
        asyncio.run(roles.ensure(running.superuser_dsn, secret))
        template = f"{running.owner_dsn.removesuffix('/callmeback')}/{TEMPLATE}"
        with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER {roles.OWNER}")
        migrate.apply(template)
        facts = {
            "owner_dsn": running.owner_dsn,
            "superuser_dsn": running.superuser_dsn,
            "template": TEMPLATE,
            "role_secret": secret,
            "programs": str(running.endpoint.programs),
            "major": running.endpoint.major,
        }
        home.write_private(folder / "cluster.json", json.dumps(facts))
        with (folder / "users").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "cluster.json").unlink()


if __name__ == "__main__":
    main()
