"""The voice: ElevenLabs' multi-stream-input, one socket for a call, a context for each thing said.

What costs calls with other clients is handled here: a context closed before its sound has begun loses its text, an
isFinal can come early, and contexts die with their socket, so what has no sound yet is sent again on the next one.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from callmeback.errors import UNREADABLE
from callmeback.providers.failures import VendorBroken, VendorError, VendorRefused, VendorUnavailable
from callmeback.providers.nearby import on_this_machine
from callmeback.providers.observed import asking

VENDOR: Final = "voice"
BASE_URL: Final = "wss://api.elevenlabs.io"
CONTEXTS_MAX: Final = 5
"""Of one socket; a slot is free again at the context's isFinal (elevenlabs.io/docs, multi-context websocket)."""

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTS_MAX: Final = 3
BACKOFF_S: Final = 0.1
ENOUGH: Final = 0.9
"""Of a text's characters aligned with sound: then it was spoken, though the vendor never said that it was final."""

POLL_S: Final = 0.25
CLOSE_TIMEOUT_S: Final = 1.0
INACTIVITY_S: Final = 180
_IDLE: Final = "input_timeout_exceeded"
_HOPELESS: Final = frozenset({"invalid_api_key", "quota_exceeded", "voice_not_found", "invalid_uid"})


class VoiceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A voice of the vendor. `settings` are its voice_settings (stability, similarity_boost, style, use_speaker_boost,
    speed). Times in seconds: until connected, until the first sound of a text, and from the last sound to the end."""

    api_key: str
    voice_id: str
    model: str = "eleven_flash_v2_5"
    base_url: str = BASE_URL
    settings: Mapping[str, float | bool] = {}
    output_format: str = "ulaw_8000"
    connect_timeout_s: float = 2.0
    first_audio_timeout_s: float = 2.0
    final_timeout_s: float = 1.5


class Spoken(msgspec.Struct, frozen=True):
    """Sound of a context, and the part of its text that it says, if the vendor aligns them."""

    context: str
    audio: bytes
    text: str = ""


class Silent(msgspec.Struct, frozen=True):
    """A finished context has said everything."""

    context: str


class _Alignment(msgspec.Struct):
    chars: list[str] = []


class _Message(msgspec.Struct):
    audio: bytes | None = None
    alignment: _Alignment | None = None
    is_final_camel: bool | None = msgspec.field(name="isFinal", default=None)
    is_final: bool | None = None
    context_camel: str | None = msgspec.field(name="contextId", default=None)
    context_id: str | None = None
    error: str | None = None


_decoder: Final = msgspec.json.Decoder(_Message)


class _Context:
    """An utterance: what is to be sent, what was, and how far its sound has come."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.vendor_id = name
        self.pending: list[str] = []
        self.sent = ""
        self.aligned = 0
        self.unaligned = False
        self.opened = False
        self.begun = False
        self.finishing = False
        self.flushed = False
        self.closed = False
        self.canceled = False
        self.deadline: float | None = None

    def rewind(self, vendor_id: str) -> None:
        """Make everything that has no sound yet unsent again, under a new id."""
        rest = self.sent[self.aligned :]
        self.pending = ([rest] if rest.strip() else []) + self.pending
        self.vendor_id, self.sent, self.aligned, self.deadline = vendor_id, "", 0, None
        self.opened = self.begun = self.flushed = self.closed = False


class Voice:
    """A call's voice. `events` must be read all the time: it also notices a lost socket and replaces it."""

    def __init__(self, config: VoiceConfig) -> None:
        self.config = config
        self.characters_sent = 0
        """What the vendor bills by: all text sent, what had to be sent again too."""
        self._socket: ClientConnection | None = None
        self._contexts: dict[str, _Context] = {}
        self._by_vendor_id: dict[str, _Context] = {}
        self._dying: dict[str, float] = {}
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._closing = False
        self._connects = 0
        self._sockets = 0

    async def open(self) -> None:
        """Connect ahead of the first word. Raises VendorRefused or VendorUnavailable."""
        async with self._lock:
            await self._connected()

    async def say(self, context: str, text: str) -> None:
        """Speak text, whole sentences, in a context that opens by being named. Raises VendorRefused,
        VendorUnavailable."""
        entry = self._contexts.get(context)
        if entry is None:
            entry = self._contexts[context] = _Context(context)
        if not any(map(str.isalnum, text)):
            return
        entry.pending.append(text if text.endswith(" ") else text + " ")
        await self._push(entry)

    async def finish(self, context: str) -> None:
        """No more text for the context; Silent follows its last sound. Raises as `say` does."""
        entry = self._contexts.get(context)
        if entry is not None and not entry.finishing:
            entry.finishing = True
            await self._push(entry)

    async def cancel(self, context: str) -> None:
        """Stop a context; nothing more is heard of it, and Silent doesn't come."""
        entry = self._contexts.pop(context, None)
        if entry is None:
            return
        entry.canceled = True
        socket = self._socket
        if entry.opened and socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._abandon(socket, entry)

    async def aclose(self) -> None:
        """End the socket in the vendor's way: it closes after close_socket."""
        self._closing = True
        self._wake.set()
        socket = self._socket
        if socket is None:
            return
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            await socket.send(_encoded({"close_socket": True}))
            await asyncio.wait_for(socket.wait_closed(), CLOSE_TIMEOUT_S)
        await socket.close()

    async def events(self) -> AsyncGenerator[Spoken | Silent, None]:
        """Sound as it comes, until `aclose`. Raises VendorError when the voice is lost and can't be had back."""
        while not self._closing:
            socket = self._socket
            if socket is None:
                self._wake.clear()
                if self._contexts:
                    await self._recover()
                else:
                    await self._wake.wait()
                continue
            try:
                async with asyncio.timeout(POLL_S):
                    raw = await socket.recv()
            except TimeoutError:
                for event in await self._overdue():
                    yield event
                continue
            except ConnectionClosed as exc:
                self._lost(socket, exc)
                continue
            for event in await self._take(raw):
                yield event

    async def _push(self, entry: _Context) -> None:
        """Send what a context has to send; a socket lost meanwhile is replaced by `events`."""
        self._wake.set()
        async with self._lock:
            socket = await self._connected()
            with contextlib.suppress(ConnectionClosed):
                await self._send(socket, entry)

    async def _send(self, socket: ClientConnection, entry: _Context) -> None:
        if not entry.opened and entry.pending:
            await self._slot()
            if entry.canceled:
                return
            opening: dict[str, object] = {"text": " ", "context_id": entry.vendor_id}
            if self.config.settings:
                opening["voice_settings"] = dict(self.config.settings)
            entry.opened = True
            self._by_vendor_id[entry.vendor_id] = entry
            await socket.send(_encoded(opening))
        while entry.pending and not entry.canceled:
            text = entry.pending.pop(0)
            entry.sent += text
            self.characters_sent += len(text)
            entry.deadline = self._now() + self.config.first_audio_timeout_s
            await socket.send(_encoded({"text": text, "context_id": entry.vendor_id}))
        if entry.finishing and entry.opened and not entry.flushed and not entry.canceled:
            entry.flushed = True
            await socket.send(_encoded({"flush": True, "context_id": entry.vendor_id}))
        await self._close_if_due(socket, entry)

    async def _abandon(self, socket: ClientConnection, entry: _Context) -> None:
        """Close a canceled context; its slot stays taken until the vendor says that it is free."""
        self._by_vendor_id.pop(entry.vendor_id, None)
        self._dying[entry.vendor_id] = self._now() + self.config.final_timeout_s
        if not entry.closed:
            entry.closed = True
            await socket.send(_encoded({"context_id": entry.vendor_id, "close_context": True}))

    async def _close_if_due(self, socket: ClientConnection, entry: _Context) -> None:
        # Closed before its sound has begun, a context would lose its text.
        if entry.finishing and entry.flushed and entry.begun and not entry.closed and not entry.canceled:
            entry.closed = True
            entry.deadline = self._now() + self.config.final_timeout_s
            await socket.send(_encoded({"context_id": entry.vendor_id, "close_context": True}))

    async def _slot(self) -> None:
        """Wait until the socket may hold another context; canceled ones hold theirs until their isFinal."""
        for _ in range(round(self.config.first_audio_timeout_s / 0.02)):
            now = self._now()
            self._dying = {name: until for name, until in self._dying.items() if until > now}
            if len(self._by_vendor_id) + len(self._dying) < CONTEXTS_MAX:
                return
            await asyncio.sleep(0.02)
        raise VendorUnavailable(VENDOR, "speak", vendor_code="max_active_conversations")

    async def _take(self, raw: str | bytes) -> list[Spoken | Silent]:
        try:
            message = _decoder.decode(raw)
        except UNREADABLE as exc:
            raise VendorBroken(VENDOR, "speak", vendor_code="unreadable") from exc
        if message.error == _IDLE:
            # The close that follows is a loss like any other, and no loss at all between two utterances.
            return []
        if message.error is not None:
            raise _failure(message.error)
        vendor_id = message.context_camel or message.context_id or ""
        final = bool(message.is_final_camel or message.is_final)
        entry = self._by_vendor_id.get(vendor_id)
        if entry is None:
            if final:
                self._dying.pop(vendor_id, None)
            return []
        events: list[Spoken | Silent] = []
        if message.audio:
            events.append(await self._sounded(entry, message))
        # An isFinal before our close ends nothing: it follows a flush or a pause as well.
        if final and entry.closed:
            events.append(self._done(entry))
        return events

    async def _sounded(self, entry: _Context, message: _Message) -> Spoken:
        self._connects = 0
        chars = message.alignment.chars if message.alignment is not None else []
        entry.aligned += sum(map(len, chars))
        entry.unaligned = entry.unaligned or not chars
        entry.begun = True
        entry.deadline = self._now() + self.config.final_timeout_s if entry.closed else None
        socket = self._socket
        if socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._close_if_due(socket, entry)
        return Spoken(entry.name, message.audio or b"", "".join(chars))

    async def _overdue(self) -> list[Spoken | Silent]:
        """What became of contexts whose time has run out. Raises VendorUnavailable if there is text without sound."""
        now = self._now()
        events: list[Spoken | Silent] = []
        for entry in list(self._contexts.values()):
            if entry.finishing and not entry.opened and not entry.pending:
                events.append(self._done(entry))
            elif entry.deadline is not None and now > entry.deadline:
                spoken = entry.unaligned or entry.aligned >= ENOUGH * len(entry.sent.strip())
                if not entry.begun or (entry.closed and not spoken):
                    raise VendorUnavailable(VENDOR, "speak", vendor_code="timeout")
                if entry.closed:
                    # It was final before we closed it; nothing more comes then.
                    events.append(self._done(entry))
        return events

    def _done(self, entry: _Context) -> Silent:
        self._contexts.pop(entry.name, None)
        self._by_vendor_id.pop(entry.vendor_id, None)
        return Silent(entry.name)

    def _lost(self, socket: ClientConnection, exc: ConnectionClosed) -> None:
        """Note that a socket is gone and what has to be said again. Raises VendorBroken if that can't be known."""
        if self._socket is not socket:
            return
        self._socket = None
        self._by_vendor_id.clear()
        self._dying.clear()
        for entry in list(self._contexts.values()):
            if entry.unaligned and entry.begun:
                raise VendorBroken(VENDOR, "speak", vendor_code="connection") from exc
            entry.rewind(f"{entry.name}.{self._sockets}")

    async def _recover(self) -> None:
        async with self._lock:
            socket = await self._connected()
            with contextlib.suppress(ConnectionClosed):
                for entry in list(self._contexts.values()):
                    await self._send(socket, entry)

    async def _connected(self) -> ClientConnection:
        """The open socket, or a new one; to be called under the lock."""
        if self._socket is not None and self._socket.state is State.OPEN:
            return self._socket
        if self._socket is not None and self._contexts:
            # Lost, but `events` hasn't rewound its contexts yet; what is pending waits for that.
            return self._socket
        for attempt in range(1, CONNECTS_MAX + 1):
            # Counted over all sockets since the last sound, lest one that opens and dies be opened for ever.
            self._connects += 1
            if self._connects > CONNECTS_MAX:
                raise VendorUnavailable(VENDOR, "speak", vendor_code="connection")
            try:
                self._socket = await self._dialled()
            except VendorUnavailable:
                if attempt == CONNECTS_MAX:
                    raise
                await asyncio.sleep(BACKOFF_S * attempt)
            else:
                self._sockets += 1
                self._wake.set()
                return self._socket
        raise AssertionError("the last attempt returns or raises")

    async def _dialled(self) -> ClientConnection:
        with asking(VENDOR, "connect"):
            return await self._dial()

    async def _dial(self) -> ClientConnection:
        query = urlencode(
            {
                "model_id": self.config.model,
                "output_format": self.config.output_format,
                "auto_mode": "true",
                "sync_alignment": "true",
                "inactivity_timeout": str(INACTIVITY_S),
            }
        )
        voice = quote(self.config.voice_id, safe="")
        url = f"{self.config.base_url.rstrip('/')}/v1/text-to-speech/{voice}/multi-stream-input?{query}"
        try:
            return await connect(
                url,
                additional_headers={"xi-api-key": self.config.api_key},
                compression=None,
                proxy=None if on_this_machine(self.config.base_url) else True,
                open_timeout=self.config.connect_timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MESSAGE_BYTES_MAX,
            )
        except InvalidStatus as exc:
            status = exc.response.status_code
            kind = VendorUnavailable if status == 429 or status >= 500 else VendorRefused
            raise kind(VENDOR, "connect", status=status) from exc
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as exc:
            raise VendorUnavailable(VENDOR, "connect") from exc

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _encoded(message: dict[str, object]) -> str:
    return msgspec.json.encode(message).decode()


def _failure(word: str) -> VendorError:
    """The error for the vendor's word; its sentence isn't kept."""
    kind = VendorRefused if word in _HOPELESS else VendorUnavailable
    return kind(VENDOR, "speak", vendor_code=word[:60])
