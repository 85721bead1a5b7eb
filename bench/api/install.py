"""The peer's packages in an environment of their own under `bench/out/`, which git ignores."""

import subprocess
import sys
import venv
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / "out" / "fastapi"
REQUIREMENTS = ("fastapi==0.165.0", "asyncpg==0.32.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")
INSTALL_SECONDS_MAX = 240
PROBE = "import fastapi, asyncpg, uvicorn, uvloop, httptools"


def python() -> Path:
    """The interpreter of the peer's environment."""
    return HOME / "bin" / "python"


def ready() -> bool:
    """Is it there, and does it import?"""
    if not python().exists():
        return False
    return subprocess.run([python(), "-c", PROBE], capture_output=True, check=False).returncode == 0


def install() -> str | None:
    """Install it unless it is there; answers why it could not be, or None."""
    if ready():
        return None
    print("installing FastAPI into bench/out/fastapi", file=sys.stderr, flush=True)
    venv.create(HOME, with_pip=True, clear=True)
    command = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=INSTALL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return "installing FastAPI took too long"
    if done.returncode != 0 or not ready():
        return "FastAPI could not be installed: " + (done.stderr.strip().splitlines() or ["unknown"])[-1]
    return None
