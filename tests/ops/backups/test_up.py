"""`up` and its backups: the first one comes by itself, and one command puts yesterday in the place of today."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import ports

from callmeback.pg import server

pytestmark = pytest.mark.slow

PATIENCE_S = 90.0
SOURCES = Path(__file__).parents[3] / "src"


class Installation:
    """A home on which `up` runs, and commands are given."""

    def __init__(self, home: Path, port: int, proxy_port: int) -> None:
        self.home = home
        self.environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCES),
            "CALLMEBACK_HOME": str(home),
            "CALLMEBACK_PORT": str(port),
            "CALLMEBACK_PROXY_PORT": str(proxy_port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        with (self.home.parent / f"{self.home.name}.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "callmeback", "up"], env=self.environ, stdout=output, stderr=output
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "callmeback", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            check=False,
        )

    def sql(self, text: str) -> str:
        answer = self.command("psql", "-qtAc", text)
        assert answer.returncode == 0, answer.stderr

        return answer.stdout.strip()

    def backups(self) -> list[Path]:
        return list((self.home / "backups").glob("backups/*/manifest.json"))

    def is_there(self) -> bool:
        """Whether the database answers. No command is asked before there is one: each takes a second of a core."""
        return server.find(self.home) is not None and self.command("psql", "-qc", "SELECT 1").returncode == 0

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)


@pytest.fixture
def installation() -> Iterator[Installation]:
    home = Path(tempfile.mkdtemp(prefix="callmeback-backups-"))
    home.chmod(0o711)
    with ports.kept(2) as (port, proxy_port):
        made = Installation(home, port, proxy_port)
        yield made
        made.stop()
    shutil.rmtree(home)
    Path(f"{home}.log").unlink()


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s until {what}"
        time.sleep(0.3)


def test_d10_the_first_backup_comes_by_itself_and_one_command_goes_back(installation: Installation) -> None:
    installation.up()
    wait_until(installation.backups, "the worker has made the first backup")
    before = installation.sql("SELECT clock_timestamp()")
    installation.sql("DELETE FROM personas WHERE id = 'brad'")
    answer = installation.command("restore", "--in-place", "--to", before, "--json")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["up_goes_on"] is True
    wait_until(installation.is_there, "it answers again")
    assert installation.process is not None and installation.process.poll() is None

    assert installation.sql("SELECT count(*) FROM personas WHERE id = 'brad'") == "1"
    assert (Path(json.loads(answer.stdout)["kept"]) / "PG_VERSION").exists()
