"""pgBackRest, where it looks after a server of one's own: asked and understood here, never configured.

Its configuration (what it archives, where to, encrypted with what) is the operator's. `CALLMEBACK_BACKUP_STANZA` names
the stanza, and with `NAME@FILE` another configuration file. Tried with 2.45; where it says one thing and does another,
a comment says so.
"""

import os
import pwd
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from callmeback import errors
from callmeback.ops.backup_repository import Kind, Manifest

BACKUP_TIMEOUT_S: Final = 86_400
INFO_TIMEOUT_S: Final = 120
WORDS_MAX: Final = 1_000
# Debian's account; pgBackRest must be the one that owns the server's files.
ACCOUNT: Final = "postgres"
ENGINE: Final = "pgbackrest"
# What our kinds are there. A differential one builds upon the last whole one, as our incrementals do.
TYPES: Final[dict[Kind, str]] = {"full": "full", "base": "diff", "incremental": "incr"}
_PROBLEM: Final = re.compile(r"(?:INFO|WARN|ERROR): ((?:invalid|missing|unable|no |path|file|duplicate)[^\n]*)")
_KINDS: Final[dict[str, Kind]] = {"full": "full", "diff": "base", "incr": "incremental"}


class _Moments(msgspec.Struct):
    start: int
    stop: int


class _Sizes(msgspec.Struct):
    delta: int


class _Info(msgspec.Struct):
    size: int
    repository: _Sizes


class _Database(msgspec.Struct):
    id: int


class _Backup(msgspec.Struct):
    label: str
    type: str
    timestamp: _Moments
    info: _Info
    database: _Database
    prior: str | None = None
    error: bool | None = None


class _Cluster(msgspec.Struct, rename="kebab"):
    id: int
    version: str
    system_id: int


class _Status(msgspec.Struct):
    code: int
    message: str


class _Stanza(msgspec.Struct):
    name: str
    status: _Status
    backup: list[_Backup] = []
    db: list[_Cluster] = []


class Stanza(msgspec.Struct, frozen=True):
    """One server as pgBackRest knows it."""

    name: str
    configuration: str | None = None

    @classmethod
    def named(cls, text: str) -> "Stanza":
        """By the setting: `NAME` or `NAME@FILE`."""
        name, _, file = text.partition("@")

        return cls(name, file or None)

    def backup(self, kind: Kind) -> Manifest:
        """Make a backup, and answer it. Raises BackupFailed with its words."""
        self._run("backup", f"--type={TYPES[kind]}", timeout_s=BACKUP_TIMEOUT_S)
        made = self.backups()
        if not made:
            raise errors.BackupFailed("pgBackRest made a backup and doesn't list it.")

        return made[-1]

    def backups(self) -> list[Manifest]:
        """All backups, the oldest first."""
        text = self._run("info", "--output=json", timeout_s=INFO_TIMEOUT_S)
        try:
            stanzas = msgspec.json.decode(text, type=list[_Stanza])
        except msgspec.MsgspecError as exc:
            raise errors.BackupFailed("pgBackRest describes its backups in a way that isn't known here.") from exc
        found = [stanza for stanza in stanzas if stanza.name == self.name]
        if not found or found[0].status.code == 1:
            raise errors.BackupFailed(f"pgBackRest knows no stanza {self.name}: `pgbackrest stanza-create` makes it.")
        clusters = {cluster.id: cluster for cluster in found[0].db}

        return [_manifest(each, clusters[each.database.id]) for each in found[0].backup]

    def archive_now(self) -> None:
        """End the current WAL segment and see it archived, by pgBackRest's own check. Raises BackupFailed."""
        self._run("check", timeout_s=INFO_TIMEOUT_S)

    def problems(self) -> list[str]:
        """What is wrong with what it keeps. Its `verify` ends with 0 on a damaged repository, so its words are read."""
        text = self._run("verify", "--output=text", "--log-level-console=info", timeout_s=BACKUP_TIMEOUT_S)
        said = text.decode("utf-8", "replace")
        marked = [f"backup {each.id}: pages were damaged when it was made" for each in self.backups() if each.is_marked]
        named = [match[1] for match in _PROBLEM.finditer(said)]
        if "status: error" in said and not named:
            named = [said.strip()[-WORDS_MAX:]]

        return named + marked

    def restore(self, target: Path, until: datetime | None, backup_id: str) -> None:
        """Unpack a backup into an empty folder, told to recover to a moment. Raises RestoreRefused with its words."""
        moment = until.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00") if until else None
        arguments = [f"--pg1-path={target}", f"--set={backup_id}", "--archive-mode=off"]
        if moment is not None:
            arguments += ["--type=time", f"--target={moment}", "--target-action=promote"]
        try:
            self._run("restore", *arguments, timeout_s=BACKUP_TIMEOUT_S)
        except errors.BackupFailed as exc:
            raise errors.RestoreRefused(exc.detail) from exc

    def _run(self, command: str, *arguments: str, timeout_s: float) -> bytes:
        where = [f"--config={self.configuration}"] if self.configuration else []
        try:
            done: subprocess.CompletedProcess[bytes] = subprocess.run(
                ["pgbackrest", *where, f"--stanza={self.name}", *arguments, command],
                capture_output=True,
                timeout=timeout_s,
                check=False,
                **_as_account(),
            )
        except FileNotFoundError as exc:
            raise errors.ConfigurationError("CALLMEBACK_BACKUP_STANZA is set and pgbackrest is not installed.") from exc
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
            raise errors.BackupFailed(f"pgbackrest {command} failed: {said[-WORDS_MAX:]}")

        return done.stdout


def _manifest(each: _Backup, cluster: _Cluster) -> Manifest:
    return Manifest(
        id=each.label,
        kind=_KINDS[each.type],
        engine=ENGINE,
        major=int(cluster.version.partition(".")[0]),
        started_at=datetime.fromtimestamp(each.timestamp.start, UTC),
        finished_at=datetime.fromtimestamp(each.timestamp.stop, UTC),
        database_bytes=each.info.size,
        stored_elsewhere_bytes=each.info.repository.delta,
        parts=(),
        parent=each.prior,
        system=str(cluster.system_id),
        is_marked=bool(each.error),
    )


def _as_account() -> dict[str, Any]:
    """As root it runs as the server's account, who owns what it reads and writes."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise errors.ConfigurationError(f"pgBackRest runs as {ACCOUNT}, and there is no such user.") from None

    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}
