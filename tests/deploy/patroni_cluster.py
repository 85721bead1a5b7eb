"""Three PostgreSQL under Patroni, and the etcd that they vote in, on the loopback and in a folder of their own.

The settings are those of docs/howto/ha.md. Everything runs as an account that PostgreSQL accepts, never as root.
"""

import contextlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from psycopg.conninfo import make_conninfo

from callmeback.pg import binaries

PROGRAMS: Final = ("etcd", "patroni", "patronictl")
MAJOR: Final = 15
NODES: Final = ("one", "two", "three")
PATIENCE_S: Final = 90.0
SECRET: Final = "only-of-this-test"
Victims = Literal["both", "postgres", "patroni"]
CLUSTER_SETTINGS: Final = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 1_048_576,
    "primary_start_timeout": 0,
    "synchronous_mode": True,
    "postgresql": {
        "use_pg_rewind": True,
        "use_slots": True,
        "parameters": {"max_connections": 60, "wal_log_hints": "on", "shared_buffers": "32MB", "max_wal_senders": 8},
    },
}


def missing() -> str | None:
    """What this machine lacks, in words; None when it can run the cluster."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if not any(found.major == MAJOR for found in binaries.system()):
        lacking.append(f"PostgreSQL {MAJOR}")

    return f"capability: {', '.join(lacking)} not installed" if lacking else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s until {what}"
        time.sleep(0.1)


class Node(msgspec.Struct):
    """One Patroni and the PostgreSQL that it looks after."""

    name: str
    folder: Path
    port: int
    api_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"


class Cluster:
    """`with cluster() as it:` three nodes, of which one leads and another is synchronous."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etcd_port, self.peer_port = free_port(), free_port()
        self.nodes = [Node(name, folder / name, free_port(), free_port()) for name in NODES]
        self._etcd: subprocess.Popen[bytes] | None = None

    def dsn(self, user: str, password: str, database: str = "callmeback") -> str:
        """All three, of which only the one that takes writes is wanted."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://{user}:{password}@{hosts}/{database}?target_session_attrs=read-write"

    @property
    def superuser_dsn(self) -> str:
        return make_conninfo(self.dsn("postgres", SECRET, "postgres"))

    def start(self) -> None:
        """Start all, and wait until one leads and both others follow."""
        peer = f"http://127.0.0.1:{self.peer_port}"
        client = f"http://127.0.0.1:{self.etcd_port}"
        self._etcd = self._launch(
            "etcd", "--name=default", f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
        )  # fmt: skip
        wait_until(lambda: _answers(self.etcd_port, "/health"), "etcd answers")
        for node in self.nodes:
            self.launch(node)
        self.wait_healthy()

    def launch(self, node: Node) -> None:
        """Start a node, for the first time or again."""
        path = self.folder / f"{node.name}.yml"
        path.write_text(json.dumps(self._configuration(node)))
        node.process = self._launch("patroni", str(path))

    def members(self) -> dict[str, dict[str, Any]]:
        """The nodes by name, as any Patroni that answers sees them."""
        for node in self.nodes:
            with contextlib.suppress(OSError, urllib.error.URLError, http.client.HTTPException, ValueError):
                with urllib.request.urlopen(f"http://127.0.0.1:{node.api_port}/cluster", timeout=2) as answer:
                    return {member["name"]: member for member in json.loads(answer.read())["members"]}
        return {}

    def is_healthy(self) -> bool:
        members = self.members()
        roles = sorted(member["role"] for member in members.values())
        return roles == ["leader", "replica", "sync_standby"] and all(
            member["state"] in ("running", "streaming") and member.get("lag", 0) == 0 for member in members.values()
        )

    def wait_healthy(self) -> None:
        wait_until(self.is_healthy, f"three nodes are up, one synchronous: {self.members()}\n{self.log()[-4000:]}")

    def role(self, role: str) -> Node:
        """The node that has this role: leader, sync_standby or replica."""
        members = self.members()
        return next(node for node in self.nodes if members.get(node.name, {}).get("role") == role)

    def kill(self, node: Node, victims: Victims) -> None:
        """kill -9 of the node's Patroni, of its PostgreSQL, or of both as if the machine were gone."""
        assert node.process is not None
        postmaster = self.postmaster(node)
        if victims != "postgres":
            node.process.kill()
            node.process.wait()
        if victims != "patroni":
            os.kill(postmaster, signal.SIGKILL)

    def postmaster(self, node: Node) -> int:
        """The process of the node's PostgreSQL."""
        return int((node.data / "postmaster.pid").read_text().split()[0])

    def switch_over(self) -> None:
        """A planned change of the leader."""
        leader, heir = self.role("leader"), self.role("sync_standby")
        body = json.dumps({"leader": leader.name, "candidate": heir.name}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{leader.api_port}/switchover", body)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            assert answer.status == 200

    def stop(self) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.process.terminate()
        for node in self.nodes:
            if node.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    node.process.wait(PATIENCE_S)
                node.process.kill()
            with contextlib.suppress(OSError, ValueError, IndexError):
                os.kill(int((node.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("*.log")))

    def _launch(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        found = shutil.which(program)
        assert found is not None
        log = self.folder / f"{program}-{Path(arguments[-1]).stem if program == 'patroni' else 'one'}.log"
        with log.open("ab") as output:
            return subprocess.Popen(
                [found, *arguments],
                cwd=self.folder,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **_identity(),
            )

    def _configuration(self, node: Node) -> dict[str, Any]:
        programs = next(found.folder for found in binaries.system() if found.major == MAJOR)
        return {
            "scope": "callmeback",
            "name": node.name,
            "restapi": {
                "listen": f"127.0.0.1:{node.api_port}",
                "connect_address": f"127.0.0.1:{node.api_port}",
            },
            "etcd3": {"host": f"127.0.0.1:{self.etcd_port}"},
            "bootstrap": {
                "dcs": CLUSTER_SETTINGS,
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{node.port}",
                "connect_address": f"127.0.0.1:{node.port}",
                "data_dir": str(node.data),
                "bin_dir": str(programs),
                "pgpass": str(node.folder / "pgpass"),
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                ],
                "authentication": {
                    "superuser": {"username": "postgres", "password": SECRET},
                    "replication": {"username": "replicator", "password": SECRET},
                    "rewind": {"username": "postgres", "password": SECRET},
                },
                "parameters": {"unix_socket_directories": str(node.folder), "password_encryption": "scram-sha-256"},
            },
        }


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that runs; it ends with the block, and leaves nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="callmeback-patroni-"))
    made = Cluster(folder)
    try:
        for node in made.nodes:
            node.folder.mkdir()
        identity = _identity()
        if identity:
            for path in (folder, *folder.iterdir()):
                os.chown(path, identity["user"], identity["group"])
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)


def _identity() -> dict[str, Any]:
    """Whom to be: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")

    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False
