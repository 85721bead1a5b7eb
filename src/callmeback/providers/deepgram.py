"""The listener: Deepgram Flux (v2/listen), which hears turns and not just words. One socket a call, replaced when it
is lost.

A new socket begins at turn 0 and second 0 and has heard nothing. So what the vendor hadn't answered with an end of
turn is sent again, and turns and times are counted on over all sockets.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from callmeback import mulaw
from callmeback.errors import UNREADABLE
from callmeback.providers.failures import VendorError, VendorRefused, VendorUnavailable
from callmeback.providers.nearby import on_this_machine
from callmeback.providers.observed import asking

VENDOR: Final = "listener"
BASE_URL: Final = "wss://api.deepgram.com"
REPLAY_BYTES_MAX: Final = 30 * mulaw.RATE_HZ
"""Speech that is sent again after a loss; of a longer turn the beginning is lost."""

WAITING_BYTES_MAX: Final = 10 * mulaw.RATE_HZ
SILENCE_AFTER_S: Final = 0.5
"""Without sound within a turn: the vendor's clock is the sound, and its end of turn would never come."""

SILENCE_SPAN_S_MAX: Final = 30.0
CONNECTS_MAX: Final = 4
BACKOFF_S: Final = 0.1
PING_S: Final = 5.0
POLL_S: Final = 1.0
STALL_SHARE: Final = 0.9
ONSET_S: Final = 1.0
"""Speech that long may have been heard without a start of turn."""

CLOSE_TIMEOUT_S: Final = 1.0
SOUND_SECONDS_MAX: Final = 86_400
"""No call has more sound: what the vendor says of a later second can't be read."""


class ListenerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How to listen. Thresholds as the vendor defines them: `eot_threshold` 0.5 to 0.9, `eager_eot_threshold` 0.3 to
    0.9 (None: no eager ends), `eot_timeout_ms` 500 to 60000; `keyterms` are words to expect. Times in seconds."""

    api_key: str
    model: str = "flux-general-en"
    base_url: str = BASE_URL
    eot_threshold: float = 0.7
    eager_eot_threshold: float | None = 0.5
    eot_timeout_ms: int = 5000
    keyterms: tuple[str, ...] = ()
    chunk_ms: int = 80
    connect_timeout_s: float = 2.0
    stall_timeout_s: float = 10.0


class Update(msgspec.Struct, frozen=True):
    """The words of the open turn so far."""

    turn: int
    text: str


class StartOfTurn(msgspec.Struct, frozen=True):
    """Somebody speaks; it may be noise, and nothing follows."""

    turn: int
    text: str = ""


class EagerEndOfTurn(msgspec.Struct, frozen=True):
    """Probably the end: think, but don't speak yet. `ended_at_seconds`: of the last word, in seconds of sound sent."""

    turn: int
    text: str
    ended_at_seconds: float | None = None


class TurnResumed(msgspec.Struct, frozen=True):
    """It was not the end: drop what was thought."""

    turn: int


class EndOfTurn(msgspec.Struct, frozen=True):
    """The end of a turn, with all its words. `trigger`: model, manual, timeout, or what the vendor adds."""

    turn: int
    text: str
    ended_at_seconds: float | None = None
    trigger: str | None = None


class Lost(msgspec.Struct, frozen=True):
    """The socket dropped and is being opened anew; what was said meanwhile will be heard later."""


Event = Update | StartOfTurn | EagerEndOfTurn | TurnResumed | EndOfTurn | Lost


_Seconds = Annotated[float, msgspec.Meta(ge=0, le=SOUND_SECONDS_MAX)]


class _Word(msgspec.Struct):
    end: _Seconds | None = None


class _Message(msgspec.Struct):
    """What we read of a message. Fields that may be missing may be null as well; unknown types are ignored."""

    type: str | None = None
    event: str | None = None
    transcript: str | None = None
    turn_index: int | None = None
    audio_window_end: _Seconds | None = None
    words: list[_Word] | None = None
    trigger: str | None = None
    code: str | None = None


_decoder: Final = msgspec.json.Decoder(_Message)


class Listener:
    """A call's listener. `send` never waits for the network; `events` must be read, and opens a new socket when one
    is lost."""

    def __init__(self, config: ListenerConfig) -> None:
        self.config = config
        self.bytes_sent = 0
        """All sound given to the vendor, over all sockets: what was sent again and silence too."""
        self.connects = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unanswered = bytearray()
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._connected_since: float | None = None
        self._connected_seconds = 0.0
        # Of the current socket: which of our turns its turn 0 is, and how much of the call's sound came before it.
        self._first_turn = 0
        self._sound_before = 0
        self._sound_bytes = 0
        self._turn = 0
        self._open = False
        self._eager = False
        self._sent_since_heard = 0

    async def open(self) -> None:
        """Connect. Raises VendorRefused or VendorUnavailable."""
        self._socket = await self._dialled()

    def send(self, audio: bytes) -> None:
        """Hand over µ-law sound. What waits longer than ten seconds for a socket is forgotten, oldest first."""
        self._waiting.append(audio)
        self._waiting_bytes += len(audio)
        while self._waiting_bytes > WAITING_BYTES_MAX:
            self._waiting_bytes -= len(self._waiting.popleft())
        self._arrived.set()

    @property
    def connected(self) -> bool:
        """Is there a socket now, or is a lost one being replaced?"""
        return self._connected_since is not None

    def billed_seconds(self) -> Decimal:
        """What the vendor may bill: the longer of the sound sent and the time connected."""
        sound = Decimal(self.bytes_sent) / mulaw.RATE_HZ
        connected = self._connected_seconds
        if self._connected_since is not None:
            connected += self._now() - self._connected_since
        return max(sound, Decimal(repr(round(connected, 3))))

    async def aclose(self) -> None:
        """No more sound. The vendor answers CloseStream with its last updates and an empty close."""
        self._closing.set()
        self._arrived.set()
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                await socket.send('{"type":"CloseStream"}')
                await asyncio.wait_for(socket.wait_closed(), CLOSE_TIMEOUT_S)
            await socket.close()
        self._disconnected()

    async def events(self) -> AsyncGenerator[Event, None]:
        """What is heard, until `aclose`. Raises VendorError when the listener is lost and can't be had back."""
        failures = 0
        while not self._closing.is_set():
            if self._socket is None:
                self._socket = await self._dialled(failures)
            socket = self._socket
            sender = asyncio.get_running_loop().create_task(self._feed(socket))
            try:
                async for event in self._hear(socket):
                    failures = 0
                    yield event
            finally:
                sender.cancel()
                await asyncio.wait([sender])
            if self._closing.is_set():
                return
            failures += 1
            if failures >= CONNECTS_MAX:
                raise VendorUnavailable(VENDOR, "listen", vendor_code="connection")
            await self._abandon(socket)
            yield Lost()

    async def _hear(self, socket: ClientConnection) -> AsyncGenerator[Event, None]:
        """The events of one socket, until it is lost."""
        self._sent_since_heard = 0
        while True:
            try:
                async with asyncio.timeout(POLL_S):
                    raw = await socket.recv()
            except TimeoutError:
                if self._sent_since_heard > self.config.stall_timeout_s * mulaw.RATE_HZ * STALL_SHARE:
                    # It can stall with the socket open (pipecat-ai/pipecat#5735).
                    return
                continue
            except ConnectionClosed:
                return
            self._sent_since_heard = 0
            try:
                message = _decoder.decode(raw)
            except UNREADABLE:
                # It may have been an end of turn, so it isn't skipped: another socket hears the sound again.
                return
            if message.type == "Error":
                # Fatal for this socket; a new one may do better.
                return
            if message.type == "TurnInfo":
                for event in self._read(message):
                    yield event

    def _read(self, message: _Message) -> list[Event]:
        turn, text = self._first_turn + (message.turn_index or 0), message.transcript or ""
        self._turn = max(self._turn, turn)
        match message.event:
            case "Update":
                if not self._open:
                    # Nobody has spoken up to here, but for an onset that isn't recognised yet.
                    self._answered((message.audio_window_end or 0.0) - ONSET_S)
                return [Update(turn, text)] if text else []
            case "StartOfTurn":
                return self._started(turn, text)
            case "EagerEndOfTurn":
                return self._eagerly(turn, text, message)
            case "TurnResumed":
                self._eager = False
                return [TurnResumed(turn)]
            case "EndOfTurn":
                return self._ended(turn, text, message)
            case _:
                return []

    def _answered(self, socket_seconds: float) -> None:
        """Sound up to there need not be sent again."""
        upto = self._sound_before + round(socket_seconds * mulaw.RATE_HZ)
        begins = self._sound_bytes - len(self._unanswered)
        del self._unanswered[: max(0, upto - begins)]

    def _started(self, turn: int, text: str) -> list[Event]:
        if self._open:
            # The same turn, heard again on a new socket.
            return []
        self._open = True
        return [StartOfTurn(turn, text)]

    def _eagerly(self, turn: int, text: str, message: _Message) -> list[Event]:
        before: list[Event] = [TurnResumed(turn)] if self._eager else self._started(turn, text)
        self._eager = True
        return [*before, EagerEndOfTurn(turn, text, self._ended_at(message))]

    def _ended(self, turn: int, text: str, message: _Message) -> list[Event]:
        before = self._started(turn, text)
        ended_at = self._ended_at(message)
        self._open = self._eager = False
        self._turn = turn + 1
        self._answered(message.audio_window_end or 0.0)
        return [*before, EndOfTurn(turn, text, ended_at, message.trigger)]

    def _ended_at(self, message: _Message) -> float | None:
        ends = [word.end for word in message.words or [] if word.end is not None]
        return round(self._sound_before / mulaw.RATE_HZ + ends[-1], 3) if ends else None

    async def _feed(self, socket: ClientConnection) -> None:
        """Send the sound in the vendor's chunks, what it hadn't answered first; ends when the socket does."""
        with contextlib.suppress(ConnectionClosed):
            if self._unanswered:
                await self._replay(socket)
            silent_for = 0.0
            while not self._closing.is_set():
                # Once silent, go on at the pace of speech.
                chunk = await self._next_chunk(self.config.chunk_ms / 1000 if silent_for else SILENCE_AFTER_S)
                if chunk is not None:
                    silent_for = 0.0
                elif self._open and silent_for < SILENCE_SPAN_S_MAX:
                    chunk = mulaw.silence(self.config.chunk_ms)
                    silent_for += self.config.chunk_ms / 1000
                else:
                    continue
                self._remember(chunk)
                await self._give(socket, chunk)

    async def _replay(self, socket: ClientConnection) -> None:
        again = bytes(self._unanswered)
        size = 10 * self._chunk_bytes()
        for start in range(0, len(again), size):
            await self._give(socket, again[start : start + size])

    async def _give(self, socket: ClientConnection, chunk: bytes) -> None:
        self.bytes_sent += len(chunk)
        self._sent_since_heard += len(chunk)
        await socket.send(chunk)

    def _remember(self, chunk: bytes) -> None:
        self._sound_bytes += len(chunk)
        self._unanswered += chunk
        if len(self._unanswered) > REPLAY_BYTES_MAX:
            del self._unanswered[: len(self._unanswered) - REPLAY_BYTES_MAX]

    async def _next_chunk(self, patience_seconds: float) -> bytes | None:
        """What waits, once it is a chunk or the patience has run out; None when nothing came."""
        while self._waiting_bytes < self._chunk_bytes() and not self._closing.is_set():
            self._arrived.clear()
            try:
                async with asyncio.timeout(patience_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                break
        chunk = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return chunk or None

    def _chunk_bytes(self) -> int:
        return self.config.chunk_ms * mulaw.RATE_HZ // 1000

    async def _abandon(self, socket: ClientConnection) -> None:
        """Leave a lost socket behind and prepare to send again what it never answered."""
        self._disconnected()
        self._socket = None
        socket.transport.abort()
        self._first_turn = self._turn
        self._sound_before = self._sound_bytes - len(self._unanswered)

    def _disconnected(self) -> None:
        if self._connected_since is not None:
            self._connected_seconds += self._now() - self._connected_since
            self._connected_since = None

    async def _dialled(self, failures: int = 0) -> ClientConnection:
        """A new socket. Refusals are final, anything else is tried again within a bound."""
        for attempt in range(failures + 1, CONNECTS_MAX + 1):
            try:
                with asking(VENDOR, "connect"):
                    return await self._dial()
            except VendorUnavailable:
                if attempt == CONNECTS_MAX:
                    raise
                await asyncio.sleep(BACKOFF_S * attempt)
        raise VendorUnavailable(VENDOR, "connect")

    async def _dial(self) -> ClientConnection:
        self.connects += 1
        try:
            socket = await connect(
                f"{self.config.base_url.rstrip('/')}/v2/listen?{_query(self.config)}",
                additional_headers={"Authorization": f"Token {self.config.api_key}"},
                compression=None,
                proxy=None if on_this_machine(self.config.base_url) else True,
                open_timeout=self.config.connect_timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                # Its keep-alive is the WebSocket's own: a JSON KeepAlive would end the socket.
                ping_interval=PING_S,
                ping_timeout=self.config.stall_timeout_s,
            )
        except InvalidStatus as exc:
            raise _refusal(exc) from exc
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as exc:
            raise VendorUnavailable(VENDOR, "connect") from exc
        self._connected_since = self._now()
        return socket

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _query(config: ListenerConfig) -> str:
    pairs: list[tuple[str, Any]] = [
        ("model", config.model),
        ("encoding", "mulaw"),
        ("sample_rate", mulaw.RATE_HZ),
        ("eot_threshold", config.eot_threshold),
        ("eot_timeout_ms", config.eot_timeout_ms),
    ]
    if config.eager_eot_threshold is not None:
        pairs.append(("eager_eot_threshold", config.eager_eot_threshold))
    pairs += [("keyterm", term) for term in config.keyterms]
    return urlencode(pairs)


def _refusal(exc: InvalidStatus) -> VendorError:
    status = exc.response.status_code
    kind = VendorUnavailable if status == 429 or status >= 500 else VendorRefused
    return kind(VENDOR, "connect", vendor_code=exc.response.headers.get("dg-error"), status=status)
