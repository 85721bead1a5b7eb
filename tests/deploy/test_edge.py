"""The way in from outside: real Caddy with TLS before a running `up`, people and Workers on the other side."""

import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import ports
from tests.cli.test_up import PATIENCE_S, Installation, installation, wait_until
from tests.sources import ROOT
from tests.sqlproxy.conformance.conftest import WORKER, run_node

__all__ = ["installation"]

pytestmark = pytest.mark.slow


class Edge:
    """A running `up` behind Caddy: `web` and `db` are its addresses, `authority` the file of who certified it."""

    def __init__(self, installation: Installation, folder: Path, http_port: int, https_port: int) -> None:
        self.installation = installation
        self.authority = folder / "caddy/pki/authorities/local/root.crt"
        self._folder = folder
        self._http, self._https = http_port, https_port
        self.web = f"https://127.0.0.1:{self._https}"
        self.db = f"https://localhost:{self._https}"

    @contextmanager
    def stand(self) -> Iterator[None]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "XDG_DATA_HOME": str(self._folder),
            "CALLMEBACK_DOMAIN": "127.0.0.1",
            "CALLMEBACK_DB_DOMAIN": "localhost",
            "CALLMEBACK_HTTP_PORT": str(self._http),
            "CALLMEBACK_HTTPS_PORT": str(self._https),
            "CALLMEBACK_PORT": str(self.installation.port),
            "CALLMEBACK_PROXY_PORT": str(self.installation.proxy_port),
        }
        log = self._folder / "log"
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(ROOT / "deploy/Caddyfile")]
        with log.open("w") as output, subprocess.Popen(command, env=environ, stdout=output, stderr=output) as caddy:
            try:
                wait_until(lambda: caddy.poll() is not None or self._answers(), f"Caddy answers: {log.read_text()}")
                assert caddy.poll() is None, log.read_text()
                yield
            finally:
                caddy.terminate()

    def client(self) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(self.authority))

        return httpx.Client(base_url=self.web, verify=trust, timeout=PATIENCE_S)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return client.get("/health").status_code == 200
        except (httpx.TransportError, OSError):
            return False


@pytest.fixture
def edge(installation: Installation, tmp_path: Path) -> Iterator[Edge]:
    if shutil.which("caddy") is None:
        pytest.skip("capability: caddy is not installed")
    with ports.kept(2) as (http_port, https_port):
        made = Edge(installation, tmp_path, http_port, https_port)
        installation.up(CALLMEBACK_PUBLIC_URL=made.web)
        installation.wait_ready()
        with made.stand():
            yield made


def test_only_what_is_for_the_world_is_shown_to_it(edge: Edge):
    with edge.client() as client:
        front, ready = client.get("/"), client.get("/ready")
        inside = [client.get(path).status_code for path in ("/metrics", "/simulator/messages?to=x", "/simulator")]

    assert (front.status_code, ready.status_code) == (200, 200)
    assert front.headers["strict-transport-security"] == "max-age=31536000"
    assert "server" not in front.headers
    assert front.http_version == "HTTP/1.1"
    assert inside == [404, 404, 404]


def test_a_worker_reaches_the_database_through_tls_and_the_proxy(edge: Edge):
    grants = ("--mode", "policy", "--read", "all", "--pii", "--write", "call_scenario_templates")
    key = json.loads(edge.installation.run("keys", "create", "edge", *grants, "--json").stdout)["key"]
    requests = [
        {"worker": "persona-manager", "method": "GET", "path": "/personas/brad"},
        {"worker": "standard-driver", "method": "GET", "path": "/transaction?id=edge-1"},
        {"worker": "standard-driver", "method": "GET", "path": "/session?id=edge-1"},
    ]
    given = {"proxy": edge.db, "key": key, "requests": requests, "authority": edge.authority.read_text()}
    said = run_node(WORKER, WORKER / "test/workerd.mjs", given)

    assert [answer["status"] for answer in said["answers"]] == [200, 200, 200]
    assert said["answers"][0]["body"]["name"] == "Brad"
    assert said["answers"][1]["body"] == {"made": [{"id": "edge-1"}], "counted": [{"count": 1}]}


def test_an_update_under_load_refuses_nobody_at_the_edge(edge: Edge):
    over, answers = threading.Event(), list[Any]()

    def ask(method: str, path: str, body: object) -> None:
        with edge.client() as client:
            while not over.is_set():
                try:
                    answer = client.request(method, path, json=body)
                    answers.append(answer.status_code if answer.status_code < 500 else f"{path}: {answer.text}")
                except httpx.TransportError as exc:
                    answers.append(f"{path}: {exc!r}")

    login = {"email": "nobody@example.com", "password": "correct horse battery"}
    works = (("GET", "/api/personas", None), ("POST", "/api/auth/login", login), ("GET", "/ready", None))
    threads = [threading.Thread(target=ask, args=work) for work in works]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    done = edge.installation.run("reload")
    asked = len(answers)
    wait_until(lambda: len(answers) > asked + 20, "the new ones answer")
    over.set()
    for thread in threads:
        thread.join()

    assert (done.returncode, done.stdout) == (0, "Reloaded.\n")
    assert [answer for answer in answers if answer not in (200, 401, 429)] == []
    assert 200 in answers
