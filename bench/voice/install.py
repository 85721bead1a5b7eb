"""Pipecat in an environment of its own under `bench/out/`, which git ignores: half a gigabyte for nobody else."""

import subprocess
import sys
import venv
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / "out" / "pipecat"
REQUIREMENTS = ("pipecat-ai==1.14.0", "websockets", "uvicorn", "fastapi")
INSTALL_SECONDS_MAX = 240
PROBE = "import pipecat.services.deepgram.flux.stt, pipecat.services.elevenlabs.tts, fastapi, uvicorn"


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
    print("installing Pipecat into bench/out/pipecat", file=sys.stderr, flush=True)
    venv.create(HOME, with_pip=True, clear=True)
    command = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=INSTALL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return "installing Pipecat took too long"
    if done.returncode != 0 or not ready():
        return "Pipecat could not be installed: " + (done.stderr.strip().splitlines() or ["unknown"])[-1]
    return None
