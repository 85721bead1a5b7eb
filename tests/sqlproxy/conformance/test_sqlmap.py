"""sqlmap against the proxy: parameters of named statements and of queries. A careless statement shows that it bites."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests import sqlmap
from tests.conftest import Cluster
from tests.sqlproxy.conformance.conftest import Proxy

BY_ID = "SELECT id, name FROM personas WHERE id = $1"
IN_LIST = "SELECT id, name FROM personas WHERE id = ANY($1::text[]) ORDER BY $2"
FULL = pytest.mark.proof
BOUNDED = pytest.mark.slow


@pytest.fixture(scope="module")
def named(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key that may run two statements by their names, and nothing else."""
    folder = tmp_path_factory.mktemp("statements")
    token = proxy.create_key("--mode", "named", "--read", "personas")
    for name, statement in (("by-id", BY_ID), ("in-list", IN_LIST)):
        file = folder / f"{name}.sql"
        file.write_text(statement)
        proxy.run("keys", "allow", token.split("_")[1], "--name", name, "--sql", str(file))

    return token


@pytest.mark.parametrize(
    ("path", "body", "full"),
    [
        pytest.param("/named/by-id", '{"parameters": ["brad*"]}', False, marks=BOUNDED),
        pytest.param("/named/by-id", '{"parameters": ["brad*"]}', True, marks=FULL),
        pytest.param("/named/by-id*", '{"parameters": ["brad"]}', True, marks=FULL),
        pytest.param("/named/in-list", '{"parameters": [["brad*", "sarah"], "x"]}', True, marks=FULL),
        pytest.param("/named/in-list", '{"parameters": [["brad", "sarah"], "x*"]}', True, marks=FULL),
    ],
)
def test_named_statements_let_nothing_through(
    proxy: Proxy, named: str, tmp_path: Path, path: str, body: str, full: bool
):
    plain = httpx.post(
        f"{proxy.url}{path.replace('*', '')}",
        content=body.replace("*", ""),
        headers={"Authorization": f"Bearer {named}"},
    )

    assert plain.status_code == 200, plain.text
    assert len(plain.json()["rows"]) >= 1
    assert not sqlmap.attack(
        tmp_path,
        f"{proxy.url}{path}",
        method="POST",
        body=body,
        headers=(f"Authorization: Bearer {named}",),
        full=full,
    )


@pytest.mark.proof
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/query", json.dumps({"query": BY_ID, "parameters": ["brad*"]})),
        ("/batch", json.dumps({"queries": [{"query": BY_ID, "parameters": ["brad*"]}]})),
        ("/sql", json.dumps({"query": BY_ID, "params": ["brad*"]})),
    ],
)
def test_parameters_let_nothing_through(proxy: Proxy, key: str, tmp_path: Path, path: str, body: str):
    assert not sqlmap.attack(
        tmp_path,
        f"{proxy.url}{path}",
        method="POST",
        body=body,
        headers=(f"Authorization: Bearer {key}",),
        full=True,
    )


@pytest.mark.proof
@pytest.mark.parametrize("header", ["Authorization: Bearer *", "Authorization: Bearer {key}*"])
def test_keys_let_nothing_through(proxy: Proxy, named: str, tmp_path: Path, header: str):
    """At a named statement: beside a marked header sqlmap tries the body too, and would be right about a `query`."""
    assert not sqlmap.attack(
        tmp_path,
        f"{proxy.url}/named/by-id",
        method="POST",
        body='{"parameters": ["brad"]}',
        headers=(header.format(key=named),),
        full=True,
    )


@pytest.fixture
def careless(cluster: Cluster, shared_database_url: str) -> Iterator[str]:
    """What nobody should write: the parameter is pasted into the statement."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with psycopg.connect(shared_database_url, autocommit=True) as connection:
                try:
                    rows = connection.execute(
                        f"SELECT id, name FROM personas WHERE id = '{body['parameters'][0]}'"
                    ).fetchall()
                    status, answer = 200, json.dumps({"rows": rows}).encode()
                except psycopg.Error:
                    status, answer = 400, b"{}"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/named/by-id"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_a_careless_statement_is_found(careless: str, tmp_path: Path):
    assert sqlmap.attack(tmp_path, careless, method="POST", body='{"parameters": ["brad*"]}', full=False)
