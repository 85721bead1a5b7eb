"""A signal lets live calls end: WebSockets go on while the services drain, new ones are a matter of the application."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

SOURCES = Path(__file__).parents[2] / "src"
DRAIN_SECONDS = 1.5

# The server of `callmeback serve` around an application that echoes, with services that take a while to drain.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from callmeback.cli import serve
from callmeback.settings import Settings

class Services:
    async def drain(self, within_seconds):
        await asyncio.sleep(float(sys.argv[2]))

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
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def process(port: int, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, str(port), str(request.param)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as started:
        yield started
        started.kill()


def call(port: int) -> ClientConnection:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError):
            return connect(f"ws://127.0.0.1:{port}/", proxy=None)
        assert time.monotonic() < deadline, "nobody answers"
        time.sleep(0.05)


def echo(connection: ClientConnection) -> str | bytes:
    connection.send("hello")

    return connection.recv(timeout=5)


@pytest.mark.parametrize("process", [DRAIN_SECONDS], indirect=True)
def test_a_live_socket_goes_on_while_draining_and_then_all_closes(process: subprocess.Popen[str], port: int) -> None:
    with call(port) as connection:
        assert echo(connection) == "hello"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        while time.monotonic() - begun < DRAIN_SECONDS - 0.5:
            assert echo(connection) == "hello"
            time.sleep(0.05)
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)

    assert process.wait(10) == 0
    assert process.stdout is not None
    assert process.stdout.read().endswith("closed in order\n")


@pytest.mark.parametrize("process", [60], indirect=True)
def test_a_second_signal_stops_at_once(process: subprocess.Popen[str], port: int) -> None:
    with call(port) as connection:
        assert echo(connection) == "hello"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert echo(connection) == "hello"
        process.send_signal(signal.SIGINT)

        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=10)
    assert process.wait(10) == 0
