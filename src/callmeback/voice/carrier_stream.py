"""The carrier's media socket as a `MediaStream`: JSON in, audio out; who may open one is decided elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from callmeback.providers import media_stream
from callmeback.providers.failures import VendorBroken, VendorError, VendorUnavailable
from callmeback.voice.vendors import Digit, Played

START_SECONDS_MAX = 10.0
# `connected`, `start`, and a few kinds that we don't know yet.
MESSAGES_BEFORE_START_MAX = 10
# A message that can't be read is passed over: a call isn't ended for it. So many in a row are a second of sound.
UNREADABLE_IN_A_ROW_MAX = 50
# A carrier that takes nothing for so long is gone, though its socket may seem open for minutes: a call's clock, which
# cuts what is said before the goodbye, must not wait for it.
SEND_SECONDS_MAX = 2.0


class TextSocket(Protocol):
    """A WebSocket of whatever library; both ways raise ConnectionError once it is closed, by whomever."""

    async def receive(self) -> str | bytes:
        """The next text frame."""

    async def send(self, text: str) -> None:
        """One text frame."""

    async def close(self) -> None:
        """Close it; a closed one too."""


async def start(socket: TextSocket) -> media_stream.Start:
    """Read up to the stream's start, which says whose call it is. Raises VendorError when none comes in time.

    The caller compares `start.call_sid` with the call it placed and takes the one-call token before anything else.
    """
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            for _ in range(MESSAGES_BEFORE_START_MAX):
                message = media_stream.decode(await socket.receive())
                if isinstance(message, media_stream.Start):
                    return message
    except (ConnectionError, TimeoutError, VendorError) as exc:
        raise VendorBroken("carrier", "start a stream") from exc
    raise VendorBroken("carrier", "start a stream")


class CarrierStream:
    """One started stream."""

    def __init__(self, socket: TextSocket, stream_sid: str) -> None:
        self._receive: Callable[[], Awaitable[str | bytes]] = socket.receive
        self._send: Callable[[str], Awaitable[None]] = socket.send
        self._close = socket.close
        self._stream_sid = stream_sid

    async def receive(self) -> bytes | Played | Digit | None:
        """The next audio, mark or key; None when the carrier said stop. Raises VendorError."""
        unreadable = 0
        while True:
            try:
                message = media_stream.decode(await self._receive())
            except ConnectionError as exc:
                raise VendorUnavailable("carrier", "stream") from exc
            except VendorError as exc:
                unreadable += 1
                if unreadable > UNREADABLE_IN_A_ROW_MAX:
                    raise VendorUnavailable("carrier", "stream") from exc
                continue
            unreadable = 0
            if isinstance(message, media_stream.Media):
                return message.media.payload
            if isinstance(message, media_stream.Mark):
                return Played(message.mark.name)
            if isinstance(message, media_stream.Stop):
                return None
            if isinstance(message, media_stream.Digit):
                return Digit(message.dtmf.digit)

    async def send_audio(self, audio: bytes) -> None:
        """Queue audio at the carrier. Raises VendorError."""
        await self._write(media_stream.media(self._stream_sid, audio))

    async def send_mark(self, name: str) -> None:
        """Ask to be told when the audio so far was played. Raises VendorError."""
        await self._write(media_stream.mark(self._stream_sid, name))

    async def send_clear(self) -> None:
        """Throw away what was not played. Raises VendorError."""
        await self._write(media_stream.clear(self._stream_sid))

    async def close(self) -> None:
        """Close the socket, which lets the carrier go on to the hang-up behind it. Raises VendorError."""
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._close()
        except TimeoutError as exc:
            raise VendorUnavailable("carrier", "stream") from exc

    async def _write(self, text: str) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._send(text)
        except (ConnectionError, TimeoutError) as exc:
            raise VendorUnavailable("carrier", "stream") from exc
