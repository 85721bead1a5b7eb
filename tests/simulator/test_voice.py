"""The simulated voice on its wire, with a plain WebSocket client and with our provider: what it says, loses and
refuses."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from callmeback import mulaw
from callmeback.providers import elevenlabs
from callmeback.providers.elevenlabs import Silent, Spoken, Voice, VoiceConfig
from callmeback.providers.failures import VendorError, VendorRefused, VendorUnavailable
from callmeback.simulator import Simulator
from callmeback.simulator.clips import Heard

pytestmark = pytest.mark.anyio
SENTENCE = "Hello there, this is a friendly call. "


@asynccontextmanager
async def plain(base: str, kind: str = "multi-stream-input", **query: str) -> AsyncIterator[ClientConnection]:
    asked = urlencode({"output_format": "ulaw_8000", "auto_mode": "true"} | query)
    url = f"{base.replace('http', 'ws')}/voice/v1/text-to-speech/brad/{kind}?{asked}"
    async with connect(url, additional_headers={"xi-api-key": "k"}) as socket:
        yield socket


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def until_closed(socket: ClientConnection) -> list[dict[str, Any]]:
    messages = []
    try:
        async with asyncio.timeout(20):
            while True:
                messages.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        return messages


async def take(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        message: dict[str, Any] = json.loads(await socket.recv())
    return message


def sound_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(base64.b64decode(message["audio"]) for message in messages if message.get("audio"))


def final(message: dict[str, Any]) -> bool:
    return bool(message.get("isFinal") or message.get("is_final"))


async def test_one_utterance_on_stream_input(base: str, sim: Simulator) -> None:
    async with plain(base, "stream-input") as socket:
        await send(socket, text=" ", voice_settings={"stability": 0.5})
        await send(socket, text=SENTENCE)
        await send(socket, text="")
        messages = await until_closed(socket)
        heard = Heard(sim.clips)
        heard.feed(sound_of(messages))

    assert heard.text() == SENTENCE.strip()
    assert final(messages[-1])
    assert socket.close_code == 1000
    chars = [char for message in messages if message.get("alignment") for char in message["alignment"]["chars"]]
    assert "".join(chars) == SENTENCE


async def test_context_closed_after_its_sound_has_begun_is_spoken_to_the_end(base: str, sim: Simulator) -> None:
    async with plain(base) as socket:
        await send(socket, text=" ", context_id="c1")
        await send(socket, text=SENTENCE, context_id="c1")
        await send(socket, flush=True, context_id="c1")
        messages = [await take(socket)]
        await send(socket, close_context=True, context_id="c1")
        while not final(messages[-1]):
            messages.append(await take(socket))
        await send(socket, close_socket=True)
        await until_closed(socket)

    assert mulaw.seconds(sound_of(messages)) > 1.5
    assert socket.close_code == 1000


async def test_context_closed_too_early_loses_its_text(base: str) -> None:
    async with plain(base) as socket:
        await send(socket, text=" ", context_id="c1")
        await send(socket, text=SENTENCE, context_id="c1")
        await send(socket, close_context=True, context_id="c1")
        await send(socket, close_socket=True)
        messages = await until_closed(socket)

    assert sound_of(messages) == b""


async def test_without_auto_mode_sound_waits_for_enough_text_or_a_flush(base: str) -> None:
    async with plain(base, auto_mode="false") as socket:
        await send(socket, text=SENTENCE, context_id="c1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.6)
        await send(socket, flush=True, context_id="c1")

        assert (await take(socket))["audio"]


async def test_final_comes_before_the_close_now_and_then(base: str) -> None:
    async with plain(base) as socket:
        for _ in range(3):
            await send(socket, text="Yes. ", context_id="c1")
            await send(socket, flush=True, context_id="c1")
        messages = [await take(socket)]
        while not final(messages[-1]):
            messages.append(await take(socket))
        await send(socket, text="More. ", context_id="c1")

        assert (await take(socket))["audio"]


async def test_sixth_context_ends_the_socket(base: str) -> None:
    async with plain(base) as socket:
        for number in range(6):
            await send(socket, text=SENTENCE, context_id=f"c{number}")
        messages = await until_closed(socket)

    assert [message["error"] for message in messages if "error" in message] == ["max_active_conversations"]
    assert socket.close_code == 1008


async def test_unknown_context_is_opened_by_a_flush(base: str) -> None:
    async with plain(base) as socket:
        for number in range(6):
            await send(socket, flush=True, context_id=f"phantom{number}")
        messages = await until_closed(socket)

    assert messages[-1]["error"] == "max_active_conversations"


@pytest.mark.parametrize("settings", ["voice_settings", "generation_config"])
async def test_settings_after_a_phantom_context_end_the_socket(base: str, settings: str) -> None:
    """A flush that overtook the opening has opened the context without them."""
    async with plain(base) as socket:
        await send(socket, flush=True, context_id="c1")
        await send(socket, text=" ", context_id="c1", **{settings: {}})
        messages = await until_closed(socket)

    assert messages[-1]["code"] == 1008
    assert socket.close_code == 1008


async def test_silent_client_is_sent_away(base: str) -> None:
    async with plain(base, inactivity_timeout="1") as socket:
        messages = await until_closed(socket)

    assert messages[0]["message"].startswith("Have not received a new text input")
    assert socket.close_code == 1008


async def test_strangers_and_other_formats_are_refused(base: str) -> None:
    url = f"{base.replace('http', 'ws')}/voice/v1/text-to-speech/brad/multi-stream-input"
    with pytest.raises(InvalidStatus) as stranger:
        await connect(url)
    with pytest.raises(InvalidStatus) as format_:
        await connect(url + "?output_format=mp3_44100_128", additional_headers={"xi-api-key": "k"})

    assert (stranger.value.response.status_code, format_.value.response.status_code) == (401, 400)


async def test_both_spellings_are_used(base: str) -> None:
    keys = set()
    for voice_id in ("a", "b"):
        url = f"{base.replace('http', 'ws')}/voice/v1/text-to-speech/{voice_id}/multi-stream-input"
        asked = "output_format=ulaw_8000&auto_mode=true"
        async with connect(f"{url}?{asked}", additional_headers={"xi-api-key": "k"}) as socket:
            await send(socket, text="Hi. ", context_id="c1")
            keys |= set(await take(socket))

    assert {"contextId", "context_id", "isFinal", "is_final"} <= keys


# Our provider against it.


class Listening:
    """A voice being read all the time, as a session does."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.events: list[Spoken | Silent] = []
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async for event in self.voice.events():
            self.events.append(event)

    async def silent(self, context: str, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while Silent(context) not in self.events:
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    async def sounded(self, context: str) -> None:
        async with asyncio.timeout(10):
            while not self.sound(context):
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    def sound(self, context: str) -> bytes:
        return b"".join(e.audio for e in self.events if isinstance(e, Spoken) and e.context == context)

    def text(self, context: str) -> str:
        return "".join(e.text for e in self.events if isinstance(e, Spoken) and e.context == context)


@asynccontextmanager
async def speaking(base: str, **changes: Any) -> AsyncIterator[Listening]:
    usual = {"api_key": "k", "voice_id": "brad", "base_url": f"{base.replace('http', 'ws')}/voice"}
    voice = Voice(VoiceConfig(**(usual | changes)))
    await voice.open()
    listening = Listening(voice)
    try:
        yield listening
    finally:
        await voice.aclose()
        listening.task.cancel()
        await asyncio.wait([listening.task])


@pytest.mark.parametrize("voice_id", ["brad", "sarah", "xy"])
async def test_sentences_of_a_context_are_all_heard(base: str, sim: Simulator, voice_id: str) -> None:
    async with speaking(base, voice_id=voice_id, settings={"stability": 0.3, "speed": 1.1}) as listening:
        for text in (SENTENCE, "How are you? ", "I hope you are well."):
            await listening.voice.say("c1", text)
        await listening.voice.finish("c1")
        await listening.silent("c1")
        heard = Heard(sim.clips)
        heard.feed(listening.sound("c1"))

        assert heard.text() == "Hello there, this is a friendly call. How are you? I hope you are well."
        assert listening.text("c1") == SENTENCE + "How are you? I hope you are well. "
        assert listening.voice.characters_sent == len(listening.text("c1"))
        assert listening.events[-1] == Silent("c1")


async def test_many_contexts_one_after_the_other_on_one_socket(base: str) -> None:
    async with speaking(base) as listening:
        for number in range(8):
            await listening.voice.say(f"c{number}", "Yes, number. ")
            await listening.voice.finish(f"c{number}")
            await listening.silent(f"c{number}")

        assert all(listening.text(f"c{number}") == "Yes, number. " for number in range(8))
        assert listening.voice._sockets == 1


async def test_canceled_context_is_heard_no_more_and_frees_its_slot(base: str) -> None:
    async with speaking(base) as listening:
        for number in range(9):
            await listening.voice.say(f"c{number}", SENTENCE)
            await listening.sounded(f"c{number}")
            await listening.voice.cancel(f"c{number}")
        count = len(listening.sound("c0"))
        await asyncio.sleep(0.3)
        await listening.voice.say("last", "Done. ")
        await listening.voice.finish("last")
        await listening.silent("last")

        assert len(listening.sound("c0")) == count
        assert Silent("c0") not in listening.events
        assert listening.voice._sockets == 1


async def test_finished_context_without_words_is_silent(base: str) -> None:
    async with speaking(base) as listening:
        await listening.voice.say("c1", "  ")
        await listening.voice.finish("c1")
        await listening.silent("c1")
        await listening.voice.finish("never opened")
        await listening.voice.cancel("never opened")

        assert listening.sound("c1") == b""


async def test_lost_socket_is_replaced_and_nothing_is_said_twice(
    base: str, sim: Simulator, control: httpx.AsyncClient
) -> None:
    await control.put("/vendors/voice", json={"drop_after_seconds": 0.45})
    async with speaking(base) as listening:
        await control.put("/vendors/voice", json={})
        text = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen. "
        await listening.voice.say("c1", SENTENCE)
        await listening.voice.say("c1", text)
        await listening.voice.finish("c1")
        await listening.silent("c1")

        assert listening.voice._sockets == 2
        assert listening.text("c1") == SENTENCE + text
        assert listening.voice.characters_sent > len(SENTENCE + text)


async def test_idle_socket_that_the_vendor_closed_is_opened_again_when_needed(base: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(elevenlabs, "INACTIVITY_S", 1)
    async with speaking(base) as listening:
        await asyncio.sleep(1.4)
        await listening.voice.say("c1", "Back again. ")
        await listening.voice.finish("c1")
        await listening.silent("c1")

        assert listening.text("c1") == "Back again. "
        assert listening.voice._sockets == 2


async def test_voice_that_always_drops_is_given_up(base: str, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/voice", json={"drop_after_seconds": 0.05})
    with pytest.raises(VendorUnavailable):
        async with speaking(base) as listening:
            await listening.voice.say("c1", SENTENCE)
            await listening.silent("c1")


async def test_voice_without_a_sound_runs_into_its_deadline(base: str, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/voice", json={"latency_ms": 5000})
    async with speaking(base, first_audio_timeout_s=0.5) as listening:
        await listening.voice.say("c1", SENTENCE)
        with pytest.raises(VendorUnavailable) as late:
            await listening.silent("c1")

    assert late.value.vendor_code == "timeout"


async def test_refusals_and_failures_are_told_apart(base: str, control: httpx.AsyncClient) -> None:
    with pytest.raises(VendorRefused) as stranger:
        async with speaking(base, api_key=""):
            pass
    await control.put("/vendors/voice", json={"fail_rate": 1})
    with pytest.raises(VendorUnavailable) as failing:
        async with speaking(base, api_key="hunter2"):
            pass

    assert stranger.value.http_status == 401
    assert failing.value.http_status == 500
    assert "hunter2" not in repr(failing.value)


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(VendorError):
        async with speaking("http://127.0.0.1:9"):
            pass
