"""The peers in an environment of their own, `bench/out/schedules`, which git ignores: by their lock file."""

import subprocess
import sys
import venv
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / "out" / "schedules"
LOCK = Path(__file__).with_name("peers.txt")
INSTALL_SECONDS_MAX = 240


def python() -> Path:
    """The interpreter of the peers' environment."""
    return HOME / "bin" / "python"


def ready() -> bool:
    """Are the packages of this lock file there?"""
    installed = HOME / LOCK.name
    return installed.exists() and installed.read_bytes() == LOCK.read_bytes()


def install() -> str | None:
    """Install what is not there; answers why it could not be, or None."""
    if ready():
        return None
    print("installing procrastinate and pgqueuer into bench/out/schedules", file=sys.stderr, flush=True)
    venv.create(HOME, with_pip=True, clear=True)
    command = [
        python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
        "--only-binary", ":all:", "-r", LOCK,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=INSTALL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return "installing the peers took too long"
    if done.returncode != 0:
        return "the peers could not be installed: " + (done.stderr.strip().splitlines() or ["unknown"])[-1]
    (HOME / LOCK.name).write_bytes(LOCK.read_bytes())
    return None
