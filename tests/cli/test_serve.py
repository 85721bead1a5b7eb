"""A signal lets live calls end: WebSockets go on while the services drain, new ones are a matter of the application."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import ports
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

SOURCES = Path(__file__).parents[2] / "src"
PATIENCE_S = 20

# The server of `callmeback serve` around an application that echoes, with services that drain until there is a file.
PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from callmeback.cli import serve
from callmeback.settings import Settings

class Services:
    async def drain(self, within_seconds):
        print("draining", flush=True)
        while not os.path.exists(sys.argv[2]):
            await asyncio.sleep(0.01)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind.endswith("shutdown"):
                return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})

settings = Settings(home=Path("/nonexistent"), port=int(sys.argv[1]))
serve.WebServer(serve.configuration(settings, app), Services()).listen(None, "CALLMEBACK_PORT")
print("closed in order", flush=True)
"""


@pytest.fixture
def port() -> Iterator[int]:
    with ports.kept(1) as (port,):
        yield port


@pytest.fixture
def drained(tmp_path: Path) -> Path:
    """The file that ends the draining."""
    return tmp_path / "drained"


@pytest.fixture
def process(port: int, drained: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(port), str(drained)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as started:
        yield started
        started.kill()


def call(port: int) -> ClientConnection:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError):
            return connect(f"ws://127.0.0.1:{port}/", proxy=None)
        assert time.monotonic() < deadline, "nobody answers"
        time.sleep(0.05)


def echo(connection: ClientConnection) -> str | bytes:
    connection.send("hello")

    return connection.recv(timeout=PATIENCE_S)


def begin_draining(process: subprocess.Popen[str], number: signal.Signals) -> None:
    assert process.stdout is not None
    process.send_signal(number)

    assert "draining\n" in iter(process.stdout.readline, "")


def test_a_live_socket_goes_on_while_draining_and_then_all_closes(
    process: subprocess.Popen[str], port: int, drained: Path
) -> None:
    with call(port) as connection:
        assert echo(connection) == "hello"
        begin_draining(process, signal.SIGTERM)
        for _ in range(10):
            assert echo(connection) == "hello"
            time.sleep(0.05)
        drained.touch()
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=PATIENCE_S)

    assert process.wait(PATIENCE_S) == 0
    assert process.stdout is not None
    assert process.stdout.read().endswith("closed in order\n")


def test_a_second_signal_stops_at_once(process: subprocess.Popen[str], port: int) -> None:
    with call(port) as connection:
        assert echo(connection) == "hello"
        begin_draining(process, signal.SIGINT)
        assert echo(connection) == "hello"
        process.send_signal(signal.SIGINT)

        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=PATIENCE_S)
    assert process.wait(PATIENCE_S) == 0
