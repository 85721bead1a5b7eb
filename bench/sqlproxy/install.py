"""The peers from npm, in `bench/out/sqlproxy`, which git ignores: the very versions of their lock file."""

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("peers")
HOME = Path(__file__).resolve().parents[1] / "out" / "sqlproxy"
INSTALL_SECONDS_MAX = 240
LOCK = "package-lock.json"


def script(name: str) -> Path:
    """A peer's program, beside the packages that it requires."""
    return HOME / name


def ready() -> bool:
    """Are the packages of this lock file there?"""
    installed = HOME / "node_modules" / ".package-lock.json"
    return installed.exists() and (HOME / LOCK).read_bytes() == (SOURCE / LOCK).read_bytes()


def install() -> str | None:
    """Install what is not there; answers why it could not be, or None."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not installed"
    if not ready():
        print("installing Express, Fastify and node-postgres into bench/out/sqlproxy", file=sys.stderr, flush=True)
        shutil.rmtree(HOME, ignore_errors=True)
    shutil.copytree(SOURCE, HOME, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    if ready() and (HOME / "node_modules" / "pg").exists():
        return None
    try:
        done = subprocess.run(
            ["npm", "ci", "--loglevel=error"],
            cwd=HOME, capture_output=True, check=False, text=True, timeout=INSTALL_SECONDS_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "installing the peers took too long"
    if done.returncode != 0:
        return "the peers could not be installed: " + (done.stderr.strip().splitlines() or ["unknown"])[-1]
    return None
