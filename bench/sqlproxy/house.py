"""What is measured: `callmeback up` with its proxy, the peers on the same database, and pgbench straight over libpq."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
from bench.api.__main__ import free_port, is_listening
from bench.sqlproxy import install, load
from bench.start.__main__ import ROOT, is_ready

from callmeback.pg import server

PATIENCE_S = 90.0
POLL_S = 0.05
PEER_KEY = "peer-" * 8
SMALL_POOL = 10
ATTEMPTS_MAX = 3


class Process(msgspec.Struct, frozen=True):
    """Something that answers POST /query on the loopback, and the key it wants."""

    name: str
    port: int
    pid: int
    key: str


class House(msgspec.Struct, frozen=True):
    """A running `callmeback up` on a home of its own."""

    home: Path
    proxy: Process
    endpoint: server.Endpoint


@contextlib.contextmanager
def house(home: Path) -> Iterator[House]:
    web, port = free_port(), free_port()
    environ = environment(home, CALLMEBACK_PORT=str(web), CALLMEBACK_PROXY_PORT=str(port))
    up = subprocess.Popen(command("up"), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(up, lambda: is_ready(web) and is_listening(port), "`callmeback up` did not get ready")
        endpoint = server.find(home)
        assert endpoint is not None
        seed(endpoint.owner_dsn)
        yield House(home, Process("ours", port, child(up.pid, b"proxy"), key(home)), endpoint)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(PATIENCE_S)


@contextlib.contextmanager
def small(house: House) -> Iterator[Process]:
    """A second proxy on the same database, with a pool of ten."""
    port = free_port()
    environ = environment(
        house.home,
        CALLMEBACK_PROXY_PORT=str(port),
        CALLMEBACK_POOL_MAX=str(SMALL_POOL),
        DATABASE_URL=house.endpoint.owner_dsn,
    )
    proxy = subprocess.Popen(command("proxy"), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(proxy, lambda: is_listening(port), "`callmeback proxy` did not start")
        yield Process("small", port, proxy.pid, house.proxy.key)
        if proxy.poll() is not None:
            raise SystemExit(f"the proxy ended by itself with {proxy.returncode}")
    finally:
        proxy.terminate()
        proxy.wait(PATIENCE_S)


@contextlib.contextmanager
def peer(name: str, dsn: str) -> Iterator[Process]:
    port = free_port()
    process = subprocess.Popen(["node", install.script(f"{name}.js"), str(port), dsn, PEER_KEY])
    try:
        wait(process, lambda: is_listening(port), f"{name} did not start")
        yield Process(name, port, process.pid, PEER_KEY)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def floor(house: House) -> Iterator[Process]:
    """The least that Python and libpq can do, over the same socket as ours."""
    port = free_port()
    dsn = server.near_dsn(house.home, house.endpoint.owner_dsn) or house.endpoint.owner_dsn
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("floor.py")), str(port), dsn])
    try:
        wait(process, lambda: is_listening(port), "the floor did not start")
        yield Process("floor", port, process.pid, PEER_KEY)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


class Pgbench:
    """The same statements from pgbench, which is C on libpq: what no proxy can beat."""

    def __init__(self, endpoint: server.Endpoint, place: Path) -> None:
        self.endpoint = endpoint
        self.place = place
        # What logging in costs is no part of a request.
        self.login_cpu_seconds = 0.0
        self.login_cpu_seconds = self.run("\\set n 0\n", {}, "-t", "1")[1]

    def drive(self, script: str, variables: dict[str, str], seconds: float) -> load.Round:
        for _ in range(ATTEMPTS_MAX):
            said, cpu = self.run(script, variables, "-T", str(max(1, round(seconds))))
            done = int(said.partition("actually processed: ")[2].split()[0])
            # On a machine whose disk is busy with others the first commits may outlast the time.
            if done:
                return load.Round(float(said.partition("tps = ")[2].split()[0]), 0.0, 1_000_000 * cpu / done)
        raise SystemExit("pgbench got nothing done")

    def run(self, script: str, variables: dict[str, str], *how: str) -> tuple[str, float]:
        """What pgbench said, and the CPU seconds that it took."""
        file = self.place / "pgbench.sql"
        file.write_text(script)
        unique = {"n": "0", "seed": str(time.monotonic_ns() // 1_000_000), **variables}
        defined = [word for name, value in unique.items() for word in ("-D", f"{name}={value}")]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [
                str(self.endpoint.programs / "pgbench"), "-n", "-M", "prepared", "-c", str(load.CONNECTIONS), "-j", "1",
                *how, *defined, "-f", str(file), self.endpoint.owner_dsn,
            ],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        is_idle = "actually processed: 0\n" in done.stdout
        if done.returncode != 0 or not (is_idle or "number of failed transactions: 0 " in done.stdout):
            raise SystemExit(f"pgbench: {done.stdout} {done.stderr}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        return done.stdout, cpu - self.login_cpu_seconds


def seed(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(Path(__file__).with_name("seed.sql").read_bytes())
        connection.execute("VACUUM ANALYZE")


def key(home: Path) -> str:
    """A key as an edge function would have it: any SQL that the policy lets through, people's contents masked."""
    grants = ("--mode", "policy", "--read", "all", "--write", "call_scenario_templates")
    made = subprocess.run(
        [*command("keys"), "create", "bench", *grants, "--json"],
        env=environment(home), capture_output=True, check=True, text=True,
    )  # fmt: skip
    return str(json.loads(made.stdout)["key"])


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "callmeback", *words]


def environment(home: Path, **more: str) -> dict[str, str]:
    environ = {
        **os.environ,
        "CALLMEBACK_HOME": str(home),
        "CALLMEBACK_BACKUP_SCHEDULE": "no",
        "PYTHONPATH": str(ROOT / "src"),
    }
    environ.pop("DATABASE_URL", None)
    return {**environ, **more}


def wait(process: subprocess.Popen[bytes], is_up: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_up():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(otherwise)
        time.sleep(POLL_S)


def child(parent: int, word: bytes) -> int:
    """The service of `up` that this word of its command line names."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if word in words and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    return int(entry.name)
    raise SystemExit(f"`up` has no {word.decode()}")
