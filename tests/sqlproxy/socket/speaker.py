"""A tiny client of `/v2`: PostgreSQL's messages over a WebSocket, written and read with our own frames."""

import asyncio
import contextlib
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from callmeback.sqlproxy import frames
from callmeback.sqlproxy.frames import Reader

WAIT_S = 20.0
MESSAGE_BYTES_MAX = 64 << 20

Message = tuple[str, bytes]


class Closed(Exception):
    """The server has closed the socket; `heard` is what it said since the last answer."""

    def __init__(self, heard: list[Message]) -> None:
        super().__init__(heard)
        self.heard = heard


class Speaker:
    """`async with Speaker(url) as client`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.process = 0
        self.secret = b""
        self.status = "?"
        self.settings: dict[str, str] = {}
        self.reader = Reader(frames.SERVER_KINDS, MESSAGE_BYTES_MAX)

    async def __aenter__(self) -> Self:
        self.socket: ClientConnection = await connect(
            self.url, max_size=MESSAGE_BYTES_MAX, compression=None, ping_interval=None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    async def begin(self, key: str, minor: int = 0, **parameters: str) -> list[Message]:
        """Start up and log in; raises Closed when refused."""
        named = {"user": "anybody", "database": "anything", **parameters}
        await self.say(frames.startup(named, minor), frames.password(key))

        return await self.hear()

    async def say(self, *messages: bytes) -> None:
        """One frame; whether the server has closed shows at the next `hear`."""
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(b"".join(messages))

    async def hear(self, until: str = "Z", count: int = 1) -> list[Message]:
        """Messages up to the so-manieth of this kind."""
        heard: list[Message] = []
        async with asyncio.timeout(WAIT_S):
            while True:
                while (message := self.reader.message()) is not None:
                    heard.append((chr(message.kind), message.payload))
                    self._notice(*heard[-1])
                    if heard[-1][0] == until:
                        count -= 1
                        if not count:
                            return heard
                try:
                    data = await self.socket.recv()
                except ConnectionClosed:
                    raise Closed(heard) from None
                assert isinstance(data, bytes)
                self.reader.feed(data)

    async def ask(self, *messages: bytes) -> list[Message]:
        """Say these and hear the answer, up to the next readiness."""
        await self.say(*messages)

        return await self.hear()

    async def query(self, text: str) -> list[Message]:
        """A simple query."""
        return await self.ask(frames.query(text.encode()))

    async def value(self, text: str) -> str:
        """The first column of the first row of a simple query."""
        return rows(await self.query(text))[0][0]

    async def ending(self) -> dict[str, str]:
        """The error with which the server closes."""
        try:
            heard = await self.hear("no such kind")
        except Closed as exc:
            heard = exc.heard

        return error(heard)

    def _notice(self, kind: str, payload: bytes) -> None:
        if kind == "K":
            self.process, self.secret = frames.read_key(payload)
        elif kind == "S":
            name, value = frames.read_setting(payload)
            self.settings[name] = value
        elif kind == "Z":
            self.status = payload.decode()


def kinds(heard: list[Message]) -> str:
    """What was heard, without notices and settings."""
    return "".join(kind for kind, _ in heard if kind not in "NS")


def error(heard: list[Message]) -> dict[str, str]:
    """The one error."""
    (fields,) = [frames.read_fields(payload) for kind, payload in heard if kind == "E"]

    return fields


def code(heard: list[Message]) -> str:
    """The SQLSTATE of the one error."""
    return error(heard)["C"]


def rows(heard: list[Message]) -> list[list[str]]:
    """All rows, as text; NULL is the word."""
    return [_row(payload) for kind, payload in heard if kind == "D"]


def _row(payload: bytes) -> list[str]:
    values, at = [], 2
    for _ in range(int.from_bytes(payload[:2], "big")):
        length = int.from_bytes(payload[at : at + 4], "big", signed=True)
        at += 4
        values.append("NULL" if length < 0 else payload[at : at + length].decode())
        at += max(0, length)

    return values
