"""CALLMEBACK_HOME: the folder of one installation, its generated secrets, its lock, and where to find what runs in it.

Files, all 0600: `secrets.json` (generated once), `up.lock` (held while something runs), `run.json` (how to reach it),
`restore.lock` (held while the database is being replaced: `up` waits for its end).
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import math
import os
import secrets
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from callmeback import errors, logs
from callmeback.settings import Settings

LOCK: Final = "up.lock"
RESTORE: Final = "restore.lock"
RUN: Final = "run.json"
# Asks an `up` to make room for a restore, and to come back after it.
REST: Final = signal.SIGUSR2
SECRETS: Final = "secrets.json"
SECRET_BYTES: Final = 32
LOCK_ATTEMPTS: Final = 10
LOCK_PAUSE_S: Final = 0.02
RESTORE_POLL_S: Final = 0.2
# Five beats missed are no hiccup.
BEAT_MAX_AGE_S: Final = 5.0

log = logs.get_logger(__name__)


def prepare(home: Path) -> Path:
    """Make the folder if it isn't there, and answer its real path; the modes of one that is there stay as they are.

    A folder made by root can be passed through by the account that PostgreSQL runs under, but not listed.
    """
    try:
        if not home.exists():
            home.mkdir(parents=True, exist_ok=True)
            home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as exc:
        raise errors.ConfigurationError(f"CALLMEBACK_HOME {home} can't be made: {exc.strerror}.") from exc
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        raise errors.ConfigurationError(f"CALLMEBACK_HOME {home} is not a folder that this user can write to.")

    return home.resolve()


def complete(settings: Settings) -> Settings:
    """The settings with their secrets: those given, else those generated at the first start.

    A role secret that isn't given is made from a given JWT secret, so that one setting suffices in production.
    Raises ConfigurationError for settings that `check` refuses.
    """
    settings.check()

    return with_secrets(settings)


def with_secrets(settings: Settings) -> Settings:
    """The same without the check, for whoever only looks."""
    if settings.jwt_secret is None:
        kept = generated_secrets(prepare(settings.home))
        settings = msgspec.structs.replace(
            settings, jwt_secret=kept["jwt_secret"], role_secret=settings.role_secret or kept["role_secret"]
        )
    assert settings.jwt_secret is not None
    if settings.role_secret is None:
        settings = msgspec.structs.replace(settings, role_secret=_derived(settings.jwt_secret, "roles"))

    return settings


def generated_secrets(home: Path) -> dict[str, str]:
    """`jwt_secret` and `role_secret` as generated; the first of several processes that start at once makes them."""
    path = home / SECRETS
    if not path.exists():
        fresh = {name: secrets.token_urlsafe(SECRET_BYTES) for name in ("jwt_secret", "role_secret")}
        draft = home / f".{SECRETS}.{secrets.token_hex(8)}"
        write_private(draft, json.dumps(fresh))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    try:
        kept: dict[str, str] = json.loads(path.read_text("utf-8"))
    except PermissionError as exc:
        raise errors.ConfigurationError(f"CALLMEBACK_HOME {home} belongs to another user.") from exc

    return kept


def lock(home: Path) -> int:
    """Take the home for this process and answer the descriptor that holds it; raises AlreadyRunning.

    The kernel lets go of it when the process ends, however it ends.
    """
    descriptor = _hold(prepare(home), LOCK)
    if descriptor is not None:
        return descriptor
    where = read_run(home).get("url")

    raise errors.AlreadyRunning(f"`callmeback up` is already running on {home}{f', at {where}' if where else ''}.")


def lock_restore(home: Path) -> int:
    """Begin to replace the database of this home; the same as `lock`, of what `await_restore` waits for."""
    descriptor = _hold(prepare(home), RESTORE)
    if descriptor is None:
        raise errors.AlreadyRunning(f"The database of {home} is being replaced already.")

    return descriptor


def await_restore(home: Path) -> None:
    """Return once nobody replaces the database of this home; a restore takes as long as its backup is large."""
    if not _is_held(home, RESTORE):
        return
    log.warning("the database is being replaced; this starts when that is done")
    while _is_held(home, RESTORE):
        time.sleep(RESTORE_POLL_S)


def is_locked(home: Path) -> bool:
    """Whether some process holds the home."""
    return _is_held(home, LOCK)


def _hold(home: Path, name: str) -> int | None:
    """The descriptor that holds this lock now, or None where somebody else has it."""
    descriptor = _open_lock(home, name)
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # `_is_held` of another command holds it for a moment.
            time.sleep(LOCK_PAUSE_S)
        else:
            return descriptor
    os.close(descriptor)

    return None


def _is_held(home: Path, name: str) -> bool:
    if not (home / name).exists():
        return False
    descriptor = _open_lock(home, name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)

    return False


def write_run(home: Path, **values: object) -> None:
    """Add to what is known of the running process: addresses and logins, so 0600."""
    write_private(home / RUN, json.dumps(read_run(home) | values))


def read_run(home: Path) -> dict[str, Any]:
    """What `write_run` noted last; empty when nothing did. It may be of a process that is gone."""
    try:
        found: dict[str, Any] = json.loads((home / RUN).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}

    return found


def forget_run(home: Path) -> None:
    """Remove the note at the end."""
    with contextlib.suppress(FileNotFoundError):
        (home / RUN).unlink()


def beat(home: Path, name: str) -> None:
    """Note that a service of this home lives and can do its work; to be repeated every second."""
    _beat_of(home, name).touch(mode=0o600)


def is_beating(home: Path, name: str) -> bool:
    """Whether a process of that service noted its life lately."""
    return any(_age_s(path) < BEAT_MAX_AGE_S for path in home.glob(f"{name}.*.beat"))


def stop_beating(home: Path, name: str) -> None:
    """This process of the service ends; what others left that were killed goes too."""
    _beat_of(home, name).unlink(missing_ok=True)
    for path in home.glob(f"{name}.*.beat"):
        if _age_s(path) >= BEAT_MAX_AGE_S:
            path.unlink(missing_ok=True)


def _beat_of(home: Path, name: str) -> Path:
    # A file for each process: in a reload the one that goes must not take the word of the one that came.
    return home / f"{name}.{os.getpid()}.beat"


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None = None) -> None:
    """Write a file that only its owner can read, so that a reader sees the old text or the new one, never a part."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _open_lock(home: Path, name: str) -> int:
    try:
        return os.open(home / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as exc:
        raise errors.ConfigurationError(f"CALLMEBACK_HOME {home} belongs to another user.") from exc


def _derived(secret: str, purpose: str) -> str:
    return hmac.new(secret.encode(), f"callmeback {purpose}".encode(), hashlib.sha256).hexdigest()
