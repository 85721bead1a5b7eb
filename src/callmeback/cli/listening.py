"""The sockets that `up` listens on. They outlive the services behind them, so a restart of one refuses nobody."""

import socket
import time
from typing import Final

from callmeback import errors
from callmeback.settings import PROXY_PORT, Settings

BACKLOG: Final = 2_048
POLL_S: Final = 0.05
# A killed `up` takes its services along, but not within the same instant.
PORT_WAIT_S: Final = 5.0


def web(settings: Settings) -> socket.socket:
    """Where the web process answers; raises ConfigurationError when another program has the port."""
    return listen(settings.host, settings.port, "CALLMEBACK_PORT")


def proxy(settings: Settings) -> socket.socket:
    """Where the proxy answers. The usual port is many programs' usual one: where it is taken, any free one will do."""
    if settings.proxy_port == PROXY_PORT:
        try:
            return bind(settings.host, settings.proxy_port)
        except OSError:
            return bind(settings.host, 0)

    return listen(settings.host, settings.proxy_port, "CALLMEBACK_PROXY_PORT")


def listen(host: str, port: int, variable: str) -> socket.socket:
    """Listen on that port, waiting a moment for it; raises ConfigurationError that names the variable."""
    deadline = time.monotonic() + PORT_WAIT_S
    while True:
        try:
            return bind(host, port)
        except OSError as exc:
            if time.monotonic() > deadline:
                raise errors.ConfigurationError(
                    f"{host}:{port} can't be listened on ({exc.strerror}): set CALLMEBACK_HOST or {variable}."
                ) from exc
        time.sleep(POLL_S)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, for processes that are given it by number; port 0 is any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio leaves Nagle's algorithm on where a socket doesn't name its protocol: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise

    return listener


def port_of(listener: socket.socket) -> int:
    """The port it listens on."""
    port: int = listener.getsockname()[1]

    return port
