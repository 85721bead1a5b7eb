"""The simulated voice's wire: ElevenLabs' multi-stream-input and stream-input, spoken by espeak.

It is as awkward as the real one: text of a context that is closed before its sound has begun is lost, an isFinal may
come after a flush already, a sixth context ends the socket, an unknown context is opened by whatever names it, and
fields come in both spellings.
"""

import asyncio
import base64
import json
import time
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from callmeback import mulaw
from callmeback.providers.espeak import Style, style_for
from callmeback.providers.failures import VendorError
from callmeback.simulator.answers import Sim, refuse
from callmeback.simulator.state import Simulator

CONTEXTS_MAX: Final = 5
CHUNK_S: Final = 0.4
FASTER_THAN_SPEECH: Final = 12
INACTIVITY_S_MAX: Final = 180
BUFFERED_CHARACTERS: Final = 120
CHARACTERS_MAX: Final = 40_000
EARLY_FINAL_EVERY: Final = 3
"""Every third flush is answered by an isFinal although the context stays open."""


class _Message(msgspec.Struct):
    text: str | None = None
    context_id: str | None = None
    voice_settings: dict[str, Any] | None = None
    generation_config: dict[str, Any] | None = None
    flush: bool = False
    close_context: bool = False
    close_socket: bool = False


_TOO_QUIET: Final = "Have not received a new text input within the timeout of {} seconds. Streaming input terminated."
_decoder: Final = msgspec.json.Decoder(_Message)


class _Context:
    """An open context: text that waits, what is being made, and whether sound has begun."""

    def __init__(self, name: str, style: Style) -> None:
        self.name = name
        self.style = style
        self.buffer = ""
        self.texts: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1000)
        self.begun = False
        self.closing = False
        self.work: asyncio.Task[None] | None = None


class _Socket:
    """One connection and its contexts. `multi` tells the two kinds of endpoint apart."""

    def __init__(self, socket: WebSocket[Any, Any, Any], sim: Simulator, voice_id: str, multi: bool) -> None:
        self.socket = socket
        self.sim = sim
        self.voice_id = voice_id
        self.multi = multi
        self.auto_mode = socket.query_params.get("auto_mode") == "true"
        self.camel = sum(map(ord, voice_id)) % 2 == 0
        self.contexts: dict[str, _Context] = {}
        self.characters = 0
        self.flushes = 0
        limit = socket.query_params.get("inactivity_timeout", "20")
        self.inactivity_s = min(int(limit) if limit.isdigit() else 20, INACTIVITY_S_MAX)

    async def run(self) -> None:
        """Listen until the client leaves, is silent too long, or does something that ends the socket."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self.inactivity_s):
                        text = await self.socket.receive_text()
                except TimeoutError:
                    if self._busy():
                        continue
                    await self._end("input_timeout_exceeded", _TOO_QUIET.format(float(self.inactivity_s)))
                    return
                if not await self._take(text):
                    return
        except WebSocketDisconnect:
            return
        finally:
            works = [context.work for context in self.contexts.values() if context.work is not None]
            for work in works:
                work.cancel()
            if works:
                await asyncio.wait(works)

    def _busy(self) -> bool:
        return any(not context.texts.empty() for context in self.contexts.values())

    async def _take(self, text: str) -> bool:
        """Act on a message; False when the socket has been closed."""
        try:
            message = _decoder.decode(text)
        except msgspec.DecodeError:
            return await self._end("invalid_message", "The message can't be read.")
        if message.close_socket:
            await self._finish_all()
            await self.socket.close(code=1000)
            return False
        name = (message.context_id or "default") if self.multi else "default"
        context = self.contexts.get(name)
        configures = message.voice_settings is not None or message.generation_config is not None
        if context is not None and configures:
            # Also of a context that a flush or a keep-alive has opened before its own first message came.
            return await self._end("invalid_message", "Settings belong into the first message.")
        if context is None:
            if len(self.contexts) >= CONTEXTS_MAX:
                return await self._end("max_active_conversations", "Too many contexts at once.")
            context = self._opened(name, message.voice_settings)
        return await self._fill(context, message)

    async def _fill(self, context: _Context, message: _Message) -> bool:
        if message.text is not None and message.text.strip():
            self.characters += len(message.text)
            if self.characters > CHARACTERS_MAX:
                return await self._end("character_limit_exceeded", "Too many characters.")
            context.buffer += message.text
            if self.auto_mode or len(context.buffer) >= BUFFERED_CHARACTERS:
                self._release(context)
        if message.flush:
            self._release(context)
            self.flushes += 1
            if self.flushes % EARLY_FINAL_EVERY == 0:
                context.texts.put_nowait("")
        ends = message.close_context if self.multi else message.text == ""
        if ends and not context.closing:
            context.closing = True
            if self.multi and not context.begun:
                # What was not begun is dropped, and whether an isFinal comes is a matter of luck.
                await self._dropped(context)
            else:
                self._release(context)
                context.texts.put_nowait(None)
                if not self.multi:
                    await asyncio.wait([context.work] if context.work else [])
                    await self.socket.close(code=1000)
                    return False
        return True

    def _opened(self, name: str, settings: dict[str, Any] | None) -> _Context:
        context = _Context(name, style_for(self.voice_id, settings))
        self.contexts[name] = context
        context.work = asyncio.get_running_loop().create_task(self._generate(context))
        return context

    def _release(self, context: _Context) -> None:
        if context.buffer.strip():
            context.texts.put_nowait(context.buffer)
        context.buffer = ""

    async def _dropped(self, context: _Context) -> None:
        del self.contexts[context.name]
        if context.work is not None:
            context.work.cancel()
        if self.flushes % 2 == 0:
            await self._send(self._final(context))

    async def _finish_all(self) -> None:
        for context in self.contexts.values():
            context.texts.put_nowait(None)
        works = [context.work for context in self.contexts.values() if context.work is not None]
        if works:
            await asyncio.wait(works)

    async def _generate(self, context: _Context) -> None:
        """Turn a context's texts into sound, one after the other."""
        try:
            while (text := await context.texts.get()) is not None:
                if not text:
                    await self._send(self._final(context))
                    continue
                await self.sim.manners.delay("voice")
                try:
                    sound = await self.sim.voice.speak(text, context.style)
                except VendorError:
                    await self._end("system_busy", "The voice is busy.")
                    return
                await self._speak(context, text, self.sim.clips.add(text.strip(), sound))
            await self._send(self._final(context))
            self.contexts.pop(context.name, None)
        except WebSocketDisconnect:
            return

    async def _speak(self, context: _Context, text: str, sound: bytes) -> None:
        size = int(CHUNK_S * mulaw.RATE_HZ)
        chunks = [sound[start : start + size] for start in range(0, len(sound), size)]
        said = 0
        for number, chunk in enumerate(chunks, start=1):
            upto = len(text) if number == len(chunks) else round(len(text) * number / len(chunks))
            context.begun = True
            await self._send(self._sound(context, chunk, text[said:upto]))
            said = upto
            await asyncio.sleep(CHUNK_S / FASTER_THAN_SPEECH)

    def _sound(self, context: _Context, chunk: bytes, text: str) -> dict[str, Any]:
        each = 1000 * mulaw.seconds(chunk) / max(1, len(text))
        alignment = {
            "chars": list(text),
            "charStartTimesMs": [round(index * each) for index in range(len(text))],
            "charDurationsMs": [round(each)] * len(text),
        }
        body = {
            "audio": base64.b64encode(chunk).decode(),
            "isFinal": None,
            "alignment": alignment,
            "normalizedAlignment": None,
        }
        return self._named(context, body)

    def _final(self, context: _Context) -> dict[str, Any]:
        return self._named(context, {"audio": None, "isFinal": True})

    def _named(self, context: _Context, body: dict[str, Any]) -> dict[str, Any]:
        if self.multi:
            body["contextId"] = context.name
        if self.camel:
            return body
        spelt = {"isFinal": "is_final", "contextId": "context_id"}
        return {spelt.get(key, key): value for key, value in body.items()}

    async def _send(self, body: dict[str, Any]) -> None:
        await self.socket.send_text(json.dumps(body))

    async def _end(self, word: str, sentence: str) -> bool:
        """Refuse to go on, as the vendor does: the error, then a close with 1008."""
        await self._send({"message": sentence, "error": word, "code": 1008})
        await self.socket.close(code=1008, reason=sentence[:100])
        return False


async def _serve(socket: WebSocket[Any, Any, Any], sim: Simulator, voice_id: str, multi: bool) -> None:
    if not socket.headers.get("xi-api-key"):
        await refuse(socket, 401, body=b'{"detail":{"status":"invalid_api_key"}}')
        return
    if sim.manners.fails("voice"):
        await refuse(socket, 500)
        return
    if socket.query_params.get("output_format", "mp3_44100_128") != "ulaw_8000":
        # The simulator speaks to telephones only.
        await refuse(socket, 400, body=b'{"detail":{"status":"output_format_not_allowed"}}')
        return
    await socket.accept()
    drop_after = sim.manners["voice"].drop_after_seconds
    began = time.monotonic()
    try:
        async with asyncio.timeout(drop_after):
            await _Socket(socket, sim, voice_id, multi).run()
    except TimeoutError:
        # Returning without a close frame is what a broken line looks like.
        assert drop_after is not None and time.monotonic() - began >= drop_after


@websocket("/voice/v1/text-to-speech/{voice_id:str}/multi-stream-input")
async def multi_stream_input(socket: WebSocket[Any, Any, Any], voice_id: FromPath[str], sim: Sim) -> None:
    """Several contexts on one socket."""
    await _serve(socket, sim, voice_id, multi=True)


@websocket("/voice/v1/text-to-speech/{voice_id:str}/stream-input")
async def stream_input(socket: WebSocket[Any, Any, Any], voice_id: FromPath[str], sim: Sim) -> None:
    """One utterance on one socket."""
    await _serve(socket, sim, voice_id, multi=False)


HANDLERS: Iterable[Any] = (multi_stream_input, stream_input)
