"""All simulated vendors in one call, joined by our providers and as little else as will do: a person and a persona
talk."""

import asyncio
from typing import Any

import httpx
import pytest
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from callmeback.providers import media_stream
from callmeback.providers.deepgram import EndOfTurn, Listener, ListenerConfig, StartOfTurn
from callmeback.providers.elevenlabs import Spoken, Voice, VoiceConfig
from callmeback.providers.llm import Brain, BrainConfig, Delta, Message
from callmeback.providers.twilio import Carrier, Order

pytestmark = pytest.mark.anyio
TO = "+12025550161"
# A talk takes half a minute, and more on a busy machine.
TALK_SECONDS_MAX = 180.0
SYSTEM = "You are Sarah, a calm listener. Put [end] at the very end of your goodbye."


class Persona:
    """Greets, answers each turn, stops when interrupted, and remembers what was said."""

    def __init__(self, base: str) -> None:
        sockets = base.replace("http", "ws")
        self.listener = Listener(ListenerConfig(api_key="k", base_url=f"{sockets}/listener"))
        self.voice = Voice(VoiceConfig(api_key="k", voice_id="EXAVITQu4vr4xnSDxMaL", base_url=f"{sockets}/voice"))
        self.brain = Brain(BrainConfig(model="llama-3.1-8b", api_key="k", base_url=f"{base}/brain/v1"))
        self.messages = [Message("system", SYSTEM)]
        self.interruptions = 0
        self.spoken = 0
        self.stream = ""
        self.socket: WebSocket[Any, Any, Any] | None = None

    async def talk(self, socket: WebSocket[Any, Any, Any]) -> None:
        self.socket = socket
        await self.listener.open()
        await self.voice.open()
        tasks = [asyncio.ensure_future(work) for work in (self.hear(), self.sound())]
        try:
            while True:
                message = media_stream.decode(await socket.receive_text())
                if isinstance(message, media_stream.Start):
                    self.stream = message.start.stream_sid
                    tasks.append(asyncio.ensure_future(self.answer("(The person has just picked up.)")))
                elif isinstance(message, media_stream.Media):
                    self.listener.send(message.media.payload)
        except WebSocketDisconnect:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await asyncio.gather(self.listener.aclose(), self.voice.aclose(), self.brain.aclose())

    async def hear(self) -> None:
        async for event in self.listener.events():
            if isinstance(event, StartOfTurn) and self.spoken:
                self.interruptions += 1
                await self.voice.cancel(f"c{self.spoken}")
                await self.send(media_stream.clear(self.stream))
            elif isinstance(event, EndOfTurn):
                await self.answer(event.text)

    async def answer(self, heard: str) -> None:
        self.messages.append(Message("user", heard))
        deltas = [event async for event in self.brain.stream(self.messages, max_tokens=200)]
        text = "".join(event.text for event in deltas if isinstance(event, Delta) and not event.reasoning)
        self.messages.append(Message("assistant", text))
        self.spoken += 1
        await self.voice.say(f"c{self.spoken}", text.replace("[end]", ""))
        await self.voice.finish(f"c{self.spoken}")

    async def sound(self) -> None:
        async for event in self.voice.events():
            if isinstance(event, Spoken):
                await self.send(media_stream.media(self.stream, event.audio))

    async def send(self, text: str) -> None:
        assert self.socket is not None
        await self.socket.send_text(text)


@pytest.mark.slow
async def test_a_person_says_three_lines_and_hangs_up(
    base: str, ours: Any, carrier: Carrier, control: httpx.AsyncClient
) -> None:
    persona = Persona(base)
    ours.talk = persona.talk
    call = await carrier.place(Order(to=TO, url=f"{ours.url}/voice", status_callback=f"{ours.url}/status"))
    await ours.until(
        lambda: any(status["CallStatus"] == "completed" for status in ours.statuses), seconds=TALK_SECONDS_MAX
    )
    seen = (await control.get(f"/calls/{call.sid}")).json()
    heard = [message.content for message in persona.messages if message.role == "user"][1:]
    said = [message.content for message in persona.messages if message.role == "assistant"]

    assert heard == [
        "Hi, this is a nice surprise. How are you?",
        "I'm doing well. I went for a long walk this morning.",
        "Thanks for calling, I have to go now. Bye!",
    ]
    assert said[0].startswith("Hi, this is Sarah.") and said[-1].endswith("[end]")
    assert len(set(said)) == 4
    assert seen["ended_by"] == "person"
    assert seen["text"] == " ".join(said).replace(" [end]", "")
    assert seen["audio_seconds"] > 8


async def test_a_person_who_interrupts_hears_less(
    base: str, ours: Any, carrier: Carrier, control: httpx.AsyncClient
) -> None:
    script = {"says": ["Wait, wait, one moment."], "interrupts": True, "hangs_up": False}
    await control.put(f"/phones/{TO}", json=script)
    persona = Persona(base)
    ours.talk = persona.talk
    call = await carrier.place(Order(to=TO, url=f"{ours.url}/voice"))
    async with asyncio.timeout(TALK_SECONDS_MAX):
        while persona.interruptions == 0 or len(persona.messages) < 5:
            await asyncio.sleep(0.05)
    await carrier.hang_up(call.sid)
    seen = (await control.get(f"/calls/{call.sid}")).json()

    assert seen["cut_at"] is not None
    assert persona.messages[3].content == "Wait, wait, one moment."
    greeting = persona.messages[2].content
    assert seen["text"].startswith(greeting.split()[0])
    assert greeting not in seen["text"]
