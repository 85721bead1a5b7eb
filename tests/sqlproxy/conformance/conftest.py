"""A running proxy on a real database, and node with the clients that people install from npm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from tests import ports
from tests.conftest import Cluster
from tests.sources import ROOT

from callmeback.pg import roles

HERE = Path(__file__).parent
WORKER = ROOT / "deploy/worker"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
SCRIPT_TIMEOUT_S = 120.0
POLL_S = 0.05

# Types of a schema's own, for what only the database knows by name.
TYPES = """
CREATE TYPE conformance_mood AS ENUM ('happy', 'sad', 'wide awake');
CREATE DOMAIN conformance_count AS int4 CHECK (value >= 0);
CREATE TYPE conformance_pair AS (n int4, t text, u text);
"""

Script = Callable[..., dict[str, Any]]


class Proxy(msgspec.Struct, frozen=True):
    """Where the proxy listens, and how the operator speaks to its database."""

    url: str
    environ: dict[str, str]

    def create_key(self, *grants: str) -> str:
        """A new key with these grants."""
        return str(self.run("keys", "create", f"conformance-{time.monotonic_ns()}", *grants)["key"])

    def run(self, *words: str) -> dict[str, Any]:
        """One of the operator's commands, and its answer."""
        done = subprocess.run(
            [sys.executable, "-m", "callmeback", *words, "--json"],
            env=self.environ, capture_output=True, check=False, text=True, timeout=STOP_TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)

        return answer


@pytest.fixture(scope="session")
def proxy(cluster: Cluster, superuser: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """`callmeback proxy` on a database of its own."""
    name = f"conformance_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    superuser.execute(f"CREATE DATABASE {name} OWNER {roles.OWNER} TEMPLATE {cluster.template} STRATEGY file_copy")
    try:
        with psycopg.connect(f"{cluster.owner_dsn.removesuffix('/callmeback')}/{name}", autocommit=True) as owner:
            owner.execute(TYPES)
        # The superuser's, as the embedded server has it: making a key makes a role.
        dsn = f"{cluster.superuser_dsn.rpartition('/')[0]}/{name}"
        with ports.kept(1) as (port,):
            environ = {
                **os.environ,
                "CALLMEBACK_HOME": str(tmp_path_factory.mktemp("home")),
                "CALLMEBACK_PROXY_PORT": str(port),
                "CALLMEBACK_ROLE_SECRET": cluster.role_secret,
                "DATABASE_URL": dsn,
            }
            yield from _running(Proxy(f"http://127.0.0.1:{port}", environ), tmp_path_factory.mktemp("proxy") / "log")
    finally:
        superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _running(proxy: Proxy, log: Path) -> Iterator[Proxy]:
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "callmeback", "proxy"], env=proxy.environ, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(proxy.url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"The proxy did not start:\n{log.read_text()}", pytrace=False)
            time.sleep(POLL_S)
        yield proxy

        # Nothing that a client sends ends the process.
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_TIMEOUT_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", timeout=STOP_TIMEOUT_S).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def key(proxy: Proxy) -> str:
    """What an application would have: any SQL that the policy lets through, contents shown, one table to write to."""
    return proxy.create_key("--mode", "policy", "--read", "all", "--pii", "--write", "call_scenario_templates")


@pytest.fixture(scope="session")
def script(proxy: Proxy, key: str) -> Script:
    """Runs one of the scripts of this folder against the proxy and answers its report."""

    def run(name: str, **given: object) -> dict[str, Any]:
        forget_written(proxy)
        return run_node(HERE, HERE / name, {"url": proxy.url, "key": key, **given})

    return run


def forget_written(proxy: Proxy) -> None:
    """A worker may come back to a module that it left to another: what a script wrote before is in its way."""
    with psycopg.connect(proxy.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("DELETE FROM call_scenario_templates WHERE id NOT LIKE 'scn_%'")


def run_node(package: Path, program: Path, given: object) -> dict[str, Any]:
    """Run a program of an npm package with JSON on its standard input; its standard output is JSON too."""
    require_node(package)
    done = subprocess.run(
        ["node", program],
        cwd=package, env={**os.environ, "TZ": "UTC", "NODE_NO_WARNINGS": "1"}, input=json.dumps(given),
        capture_output=True, check=False, text=True, timeout=SCRIPT_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def require_node(package: Path) -> None:
    """Skip where node or the packages are not installed, naming what to do about it."""
    folder = package.relative_to(ROOT).as_posix()
    if shutil.which("node") is None:
        pytest.skip("capability: node is not installed")
    if not (package / "node_modules" / ".package-lock.json").exists():
        pytest.skip(f"capability: {folder} has no packages; run `npm ci` there")
