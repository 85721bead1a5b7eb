"""Copies of a cluster by PostgreSQL's own tools: taken, put together, verified. Where they are kept is not here."""

import os
import select
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import msgspec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from callmeback import errors
from callmeback.pg.place import Place

READ_BYTES: Final = 1 << 20
# A server that sends nothing for so long waits for an archive that doesn't work, or is stopped.
SILENCE_MAX_S: Final = 120.0
END_WAIT_S: Final = 30.0
COMBINE_TIMEOUT_S: Final = 3_600
# pg_basebackup sends them as members of its tar file like any other.
MANIFEST: Final = "backup_manifest"
LABEL: Final = "backup_label"
WORDS_MAX: Final = 2_000

Sink = Callable[[bytes], object]


class Copied(msgspec.Struct, frozen=True):
    """What a copy says about itself: its manifest, and the first WAL segment that its recovery needs."""

    manifest: bytes
    first_segment: str


def connection_of(dsn: str) -> tuple[str, dict[str, str]]:
    """A DSN for a program's arguments, which everybody can see, and the environment that holds its password."""
    parts = conninfo_to_dict(dsn)
    password = str(parts.pop("password", None) or "")
    environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "PGCONNECT_TIMEOUT": "10"}
    if password:
        environ["PGPASSWORD"] = password

    return make_conninfo("", **parts), environ


def copy(programs: Path, dsn: str, sink: Sink, *, since: Path | None = None, with_wal: bool = False) -> Copied:
    """Copy the cluster of `dsn` as one tar stream into `sink`; every page's checksum is looked at on the way.

    `since` is the manifest of an earlier copy: only what changed is sent (PostgreSQL 17 and newer). `with_wal` puts the
    WAL that the copy needs into it, for a server whose archive isn't ours. Raises BackupFailed with the tool's own
    words, which name the file whose page is damaged.
    """
    conninfo, environ = connection_of(dsn)
    command = [
        str(programs / "pg_basebackup"),
        "--pgdata=-",
        "--format=tar",
        f"--wal-method={'fetch' if with_wal else 'none'}",
        "--checkpoint=fast",
        "--no-password",
        f"--dbname={conninfo}",
        *([f"--incremental={since}"] if since else []),
    ]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=environ)
        try:
            assert process.stdout is not None
            kept = _stream(process.stdout, sink)
            code = process.wait(END_WAIT_S)
        except tarfile.TarError:
            # It ended in the middle: its own words say why.
            code = _end(process) or 1
            kept = {}
        except (subprocess.TimeoutExpired, TimeoutError) as exc:
            _end(process)
            raise errors.BackupFailed(
                f"PostgreSQL sent nothing for {SILENCE_MAX_S:.0f} s. Does archiving work? {_words(said)}"
            ) from exc
        finally:
            _end(process)
        if code != 0 or not kept.keys() >= {MANIFEST, LABEL}:
            raise errors.BackupFailed(f"pg_basebackup failed: {_words(said)}")

    return Copied(kept[MANIFEST], first_segment(kept[LABEL]))


def first_segment(label: bytes) -> str:
    """The WAL segment where the recovery of a copy begins, by its backup_label."""
    for line in label.decode("utf-8", "replace").splitlines():
        if " WAL LOCATION: " in line and "(file " in line:
            return line.partition("(file ")[2].rstrip(")")

    raise errors.BackupDamaged("The copy's backup_label doesn't say where its WAL begins.")


def combine(place: Place, programs: Path, parts: list[Path], target: Path) -> None:
    """Put a full copy and its incrementals, oldest first, together as a new folder. Raises BackupDamaged."""
    linking = ["--link"] if _knows(programs / "pg_combinebackup", "--link") else []
    _run(
        place,
        [programs / "pg_combinebackup", "--no-sync", *linking, "--output", target, *parts],
        "the incremental backups can't be put together",
    )


def verify(place: Place, programs: Path, folder: Path) -> None:
    """Compare a copy, unpacked and never started, with its manifest. Raises BackupDamaged that names the file."""
    _run(
        place,
        [programs / "pg_verifybackup", "--no-parse-wal", "--exit-on-error", folder],
        "pg_verifybackup found a difference",
    )


def check_pages(place: Place, programs: Path, data: Path) -> None:
    """Look at the checksum of every page of a cluster that was shut down. Raises BackupDamaged that names the file."""
    _run(place, [programs / "pg_checksums", "--check", "--pgdata", data], "pages are damaged")


def _run(place: Place, command: list[Path | str], problem: str) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=COMBINE_TIMEOUT_S,
        check=False,
        **place.as_account(),
    )
    if done.returncode != 0:
        raise errors.BackupDamaged(f"{problem}: {(done.stderr or done.stdout).strip()[-WORDS_MAX:]}")


def _knows(program: Path, option: str) -> bool:
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=END_WAIT_S, check=False)

    return option in answer.stdout


class _Tee:
    """A pipe that shows all that is read from it to `sink`, and whose silence is bounded."""

    def __init__(self, pipe: IO[bytes], sink: Sink) -> None:
        self._descriptor = pipe.fileno()
        self._sink = sink

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        parts: list[bytes] = []
        missing = size
        while missing:
            ready, _, _ = select.select([self._descriptor], [], [], SILENCE_MAX_S)
            if not ready:
                raise TimeoutError("the server is silent")
            part = os.read(self._descriptor, missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
        self._sink(data)

        return data


def _stream(pipe: IO[bytes], sink: Sink) -> dict[str, bytes]:
    """Pass a tar stream on, and keep the two members that describe it."""
    tee = _Tee(pipe, sink)
    kept: dict[str, bytes] = {}
    with tarfile.open(fileobj=tee, mode="r|", bufsize=READ_BYTES) as tar:  # type: ignore[call-overload]  # reads only
        for member in tar:
            name = member.name.removeprefix("./")
            content = tar.extractfile(member) if name in (MANIFEST, LABEL) else None
            if content is not None:
                kept[name] = content.read()
    while tee.read(READ_BYTES):
        pass

    return kept


def _end(process: subprocess.Popen[bytes]) -> int:
    """Make sure that it is over; what it ended with."""
    if process.poll() is None:
        deadline = time.monotonic() + 1.0
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    if process.stdout is not None:
        process.stdout.close()

    return process.wait()


def _words(said: IO[bytes]) -> str:
    said.seek(0)
    lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if "NOTICE" not in line]

    return " ".join(lines)[-WORDS_MAX:] or "it said nothing"
