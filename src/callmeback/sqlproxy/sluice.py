"""A sluice between the server and libpq, for answers that don't come in one read.

Asked to read, libpq reads for as long as anything comes and its buffer has room, and that it makes as large as the
message says that it is: 200 MB of one value can be in memory before its caller sees a byte. Behind the sluice it finds
what was let through, which somebody has counted, and no more.
"""

import array
import contextlib
import fcntl
import os
import socket
import termios
from typing import Final

import psycopg
from psycopg.pq.abc import PGconn

STRETCH_BYTES: Final = 64 << 10


class Sluice:
    """Of one connection. Down, libpq's file is our end of a pair; up, it is the server's socket as ever."""

    def __init__(self, connection: PGconn) -> None:
        """It is up, and nothing changes for the connection."""
        self._connection = connection
        self._number = connection.socket
        self._server = socket.socket(fileno=os.dup(self._number))
        self._gate: tuple[socket.socket, socket.socket] | None = None
        self._rest = b""
        self._is_down = self._is_left = False

    def fileno(self) -> int:
        """Where the server is heard and spoken to, whichever file libpq has."""
        return self._server.fileno()

    def let_through(self) -> int:
        """Come down if need be, and hand over what came, at most a stretch; how many bytes, 0 where some are left.

        The connection must have nothing left to send. Raises OSError where the server has ended it.
        """
        if self._gate is None:
            self._gate = socket.socketpair()
            for side in self._gate:
                side.setblocking(False)
        if not self._is_down:
            os.dup2(self._gate[1].fileno(), self._number, inheritable=False)
            self._is_down = True
        if self._is_left and self.has_left():
            return 0
        try:
            self._rest = self._server.recv(STRETCH_BYTES)
        except BlockingIOError:
            return 0
        if not self._rest:
            raise ConnectionResetError
        count = len(self._rest)
        self._push(self._gate[0])

        return count

    def has_left(self) -> bool:
        """Whether it is down, and libpq has not read all that was let through."""
        if not self._is_down or self._gate is None:
            return False
        if self._rest:
            self._push(self._gate[0])
        found = array.array("i", [0])
        fcntl.ioctl(self._gate[1].fileno(), termios.FIONREAD, found)

        self._is_left = found[0] > 0

        return self._is_left

    def _push(self, side: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            self._rest = self._rest[side.send(self._rest) :]

    def lift(self) -> None:
        """An answer has ended: libpq reads the rest, which is a notice at most, and gets the server's socket again."""
        if not self._is_down:
            return
        with contextlib.suppress(psycopg.Error):
            while self.has_left():
                self._connection.consume_input()
        self._take_away()

    def end(self) -> None:
        """The connection isn't read any more; libpq will close its file, or has by itself where the line broke."""
        with contextlib.suppress(psycopg.Error):
            if self._is_down and self._connection.socket == self._number:
                self._take_away()
        self._is_down = False
        self._server.close()
        for side in self._gate or ():
            side.close()

    def _take_away(self) -> None:
        os.dup2(self._server.fileno(), self._number, inheritable=False)
        self._is_down = False
