"""How a service tells who started it that it can do its work: datagrams of sd_notify(3), which systemd reads too."""

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final, Self

VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = b"READY=1"
DATAGRAM_BYTES_MAX: Final = 4_096


def ready() -> None:
    """Say READY=1 where somebody asked to be told; elsewhere nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # A name in Linux's abstract namespace.
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker, contextlib.suppress(OSError):
        speaker.sendto(READY, address)


class Ear:
    """Hears one service. In a folder of the system's for such things, since a socket's path may have 107 bytes."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="callmeback-")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.address = str(Path(self._folder) / "notify")
        self._socket.bind(self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def is_ready(self) -> None:
        """Return once the service has said so."""
        loop = asyncio.get_running_loop()
        while READY not in (await loop.sock_recv(self._socket, DATAGRAM_BYTES_MAX)).splitlines():
            pass
