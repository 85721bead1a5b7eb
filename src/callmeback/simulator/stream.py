"""Media Streams as the carrier plays them: it dials our socket, sends the person's sound 50 times a second, silence
too, and plays what comes back in real time, so that marks return when their sound was heard, or thrown away."""

import asyncio
import base64
import json
import secrets
from collections import deque
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from callmeback import mulaw
from callmeback.providers.twilio import SIGNATURE_HEADER, signature
from callmeback.simulator.state import Call, Simulator
from callmeback.simulator.twiml import Stream

FRAME_S: Final = mulaw.FRAME_MS / 1000
BUFFER_BYTES_MAX: Final = 600 * mulaw.RATE_HZ
"""Ten minutes; what comes beyond is discarded with warning 31931 (the carrier's page on media messages)."""

PENDING_MARKS_MAX: Final = 10_000
OPEN_TIMEOUT_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 1.0
LATE_S_MAX: Final = 1.0
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class _Payload(msgspec.Struct):
    payload: bytes


class _Name(msgspec.Struct):
    name: str


class _Message(msgspec.Struct, rename="camel"):
    event: str
    stream_sid: str = ""
    media: _Payload | None = None
    mark: _Name | None = None


_decoder: Final = msgspec.json.Decoder(_Message)


class MediaSocket:
    """One stream of one call. What is queued holds sound, and the names of marks between it."""

    def __init__(self, sim: Simulator, call: Call, verb: Stream) -> None:
        self.sid = "MZ" + secrets.token_hex(16)
        self._sim = sim
        self._call = call
        self._verb = verb
        self._queue: deque[bytes | str] = deque()
        self._buffered = 0
        self._sequence = 0
        self._chunk = 0

    async def run(self) -> str | None:
        """Stream until the call ends or the socket does; answers the error that the carrier would report, if any."""
        try:
            url = _signed_form(self._verb.url)
        except ValueError:
            self._call.note("stream_error", code=31922)
            return "31922"
        headers = {SIGNATURE_HEADER: signature(self._sim.config.auth_token, url)}
        try:
            socket = await connect(
                url,
                additional_headers=headers,
                user_agent_header="Twilio.TmeWs/1.0",
                compression=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=None,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as exc:
            code = _handshake_error(exc)
            self._call.note("stream_error", code=code)
            return str(code)
        return await self._converse(socket)

    async def _converse(self, socket: ClientConnection) -> str | None:
        self._call.note("stream_started", stream_sid=self.sid)
        reader = asyncio.get_running_loop().create_task(self._read(socket))
        try:
            await self._begin(socket)
            await self._pace(socket, reader)
            if not reader.done():
                await self._send(socket, "stop", {"accountSid": self._call.account_sid, "callSid": self._call.sid})
        except ConnectionClosed:
            # The server went away; the call goes on after the verb.
            pass
        finally:
            reader.cancel()
            await asyncio.wait([reader])
            await socket.close()
            self._call.note("stream_stopped", stream_sid=self.sid)
        return None

    async def _begin(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        start = {
            "accountSid": self._call.account_sid,
            "streamSid": self.sid,
            "callSid": self._call.sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": mulaw.RATE_HZ, "channels": 1},
            "customParameters": self._verb.parameters,
        }
        await self._send(socket, "start", start)

    async def _pace(self, socket: ClientConnection, reader: "asyncio.Task[None]") -> None:
        """One frame each way every 20 ms, by the clock and not by the sleep, so that delays don't add up."""
        clock = asyncio.get_running_loop().time
        drop_after = self._sim.manners["carrier"].drop_after_seconds
        began = due = clock()
        while not self._call.ending.is_set() and not self._call.redirected.is_set() and not reader.done():
            await self._tick(socket, timestamp_ms=self._chunk * mulaw.FRAME_MS)
            if drop_after is not None and clock() - began >= drop_after:
                self._call.note("stream_dropped")
                socket.transport.abort()
                return
            due += FRAME_S
            late = clock() - due
            if late > LATE_S_MAX:
                # The machine slept; a burst of old frames would help nobody.
                due += late
            await asyncio.sleep(max(0.0, -late))

    async def _tick(self, socket: ClientConnection, timestamp_ms: int) -> None:
        handset = self._call.handset
        self._chunk += 1
        media = {
            "track": "inbound",
            "chunk": str(self._chunk),
            "timestamp": str(timestamp_ms),
            "payload": base64.b64encode(handset.next_frame()).decode(),
        }
        await self._send(socket, "media", media)
        sound, marks = self._play()
        handset.hear(sound)
        for name in marks:
            await self._send(socket, "mark", {"name": name})
        while not handset.digits.empty():
            await self._send(socket, "dtmf", {"track": "inbound_track", "digit": handset.digits.get_nowait()})

    def _play(self) -> tuple[bytes, list[str]]:
        """Take 20 ms from the queue, or what is there, and the marks whose sound has been played by then."""
        sound, marks = b"", []
        while self._queue:
            item = self._queue[0]
            if isinstance(item, str):
                marks.append(item)
                self._queue.popleft()
            elif len(sound) == mulaw.FRAME_BYTES:
                break
            else:
                room = mulaw.FRAME_BYTES - len(sound)
                sound += item[:room]
                if len(item) > room:
                    self._queue[0] = item[room:]
                else:
                    self._queue.popleft()
        self._buffered -= len(sound)
        return sound, marks

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for message in socket:
                await self._take(socket, message)
        except ConnectionClosed:
            return

    async def _take(self, socket: ClientConnection, text: str | bytes) -> None:
        try:
            message = _decoder.decode(text)
        except msgspec.DecodeError:
            self._call.note("stream_warning", code=31924)
            return
        if message.stream_sid != self.sid:
            self._call.note("stream_warning", code=31924, reason="another streamSid")
        elif message.event == "media" and message.media is not None:
            self._enqueue(message.media.payload)
        elif message.event == "mark" and message.mark is not None:
            if self._queue and len(self._queue) < PENDING_MARKS_MAX:
                self._queue.append(message.mark.name)
            else:
                await self._send(socket, "mark", {"name": message.mark.name})
        elif message.event == "clear":
            await self._clear(socket)
        else:
            self._call.note("stream_warning", code=31924, reason=message.event[:40])

    def _enqueue(self, sound: bytes) -> None:
        room = BUFFER_BYTES_MAX - self._buffered
        if len(sound) > room:
            self._call.note("stream_warning", code=31931)
            sound = sound[:room]
        if sound:
            self._queue.append(sound)
            self._buffered += len(sound)

    async def _clear(self, socket: ClientConnection) -> None:
        pending = [item for item in self._queue if isinstance(item, str)]
        if self._buffered:
            self._call.cut_at = round(self._call.seconds_answered(), 3)
            self._call.note("cut", unheard_seconds=round(self._buffered / mulaw.RATE_HZ, 3))
        self._queue.clear()
        self._buffered = 0
        self._call.handset.cut()
        for name in pending:
            await self._send(socket, "mark", {"name": name})

    async def _send(self, socket: ClientConnection, event: str, body: dict[str, Any]) -> None:
        self._sequence += 1
        message = {"event": event, "sequenceNumber": str(self._sequence), "streamSid": self.sid, event: body}
        await socket.send(json.dumps(message))


def _signed_form(url: str) -> str:
    """The URL as it is asked for and signed: an empty path has its slash. Raises ValueError for one that isn't wss.

    The real carrier takes wss only; the simulated one talks to its own machine, where there is no certificate.
    """
    parts = urlsplit(url)
    if parts.scheme != "wss" and not (parts.scheme == "ws" and parts.hostname in LOOPBACK):
        raise ValueError("not wss")
    return urlunsplit(parts._replace(path=parts.path or "/"))


def _handshake_error(exc: Exception) -> int:
    """The number in the carrier's debugger."""
    if isinstance(exc, TimeoutError):
        return 31901
    return 31902 if isinstance(exc, OSError) else 31920
