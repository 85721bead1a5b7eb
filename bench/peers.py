"""Peers from PyPI: those of a claim in an environment of their own below `bench/out/`, which git ignores."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

OUT = Path(__file__).resolve().parent / "out"
INSTALL_SECONDS_MAX = 240


class Peers(NamedTuple):
    """What a claim is measured against. `wanted` are pip's arguments, `lock` the file of hashes among them, if any."""

    folder: str
    title: str
    wanted: tuple[str, ...]
    lock: Path | None = None

    @property
    def python(self) -> Path:
        """The interpreter of their environment."""
        return OUT / self.folder / "bin" / "python"

    def install(self) -> str | None:
        """Install what isn't there; answers why it could not be, or None."""
        mark, installed = OUT / self.folder / "installed", self._asked_for()
        if mark.exists() and mark.read_bytes() == installed:
            return None
        print(f"installing {self.title} into bench/out/{self.folder}", file=sys.stderr, flush=True)
        venv.create(OUT / self.folder, with_pip=True, clear=True)
        command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.wanted]
        try:
            done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=INSTALL_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return f"installing {self.title} took too long"
        if done.returncode != 0:
            return f"{self.title} could not be installed: " + (done.stderr.strip().splitlines() or ["unknown"])[-1]
        mark.write_bytes(installed)
        return None

    def _asked_for(self) -> bytes:
        locked = b"" if self.lock is None else self.lock.read_bytes()
        return " ".join(self.wanted).encode() + b"\n" + locked
