"""The session with the real providers against the simulator, over loopback sockets and in real time: a few calls."""

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest
from litestar import Litestar, WebSocket, websocket
from tests.voice.line import ticket_of

from callmeback.providers import espeak, llm, twilio
from callmeback.providers.deepgram import Listener, ListenerConfig
from callmeback.providers.elevenlabs import Voice, VoiceConfig
from callmeback.simulator import Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving
from callmeback.voice import audio, carrier_stream, prompts, session
from callmeback.voice.control import Control
from callmeback.voice.meter import cost
from callmeback.voice.ticket import PromptLayers
from callmeback.voice.vendors import Vendors
from callmeback.web.media import SocketText

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
NUMBER = "+12025550123"
CALL_SECONDS_MAX = 120


class Books:
    """Books in memory, on the real clock."""

    def __init__(self):
        self.outcomes = []
        self.states = []
        self.turns = []

    async def connected(self): ...

    def meter(self, sequence, usage, costs):
        self.states.append((sequence, usage, costs))

    def limits(self):
        return None

    async def turn(self, turn):
        self.turns.append(turn)

    async def finish(self, outcome):
        self.outcomes.append(outcome)


class House:
    """The simulator, a media socket that holds a session, and what the session used."""

    def __init__(self, base, sim, card):
        self.base = base
        self.card = card
        self.sockets = base.replace("http", "ws")
        self.control = Control()
        self.books = Books()
        self.changes = {}
        self.listeners, self.voices = [], []
        self.outcome = asyncio.get_running_loop().create_future()
        self.carrier = twilio.Carrier(
            twilio.CarrierConfig(
                account_sid=sim.config.account_sid,
                auth_token=sim.config.auth_token,
                number=sim.config.number,
                base_url=f"{base}/carrier",
            )
        )
        self.brain = llm.Brain(llm.BrainConfig(model="llama-3.1-8b", api_key="k", base_url=f"{base}/brain/v1"))
        self.local_voice = espeak.LocalVoice()
        self.simulator = httpx.AsyncClient(base_url=base, timeout=30)
        self.port = 0

    async def talk(self, socket):
        text = SocketText(socket)
        started = await carrier_stream.start(text)
        layers = PromptLayers(identity="You are Sarah, a calm listener.", context="A talk about the garden.")
        call = ticket_of(self.card, **({"carrier_sid": started.start.call_sid, "layers": layers} | self.changes))
        stream = carrier_stream.CarrierStream(text, started.start.stream_sid)
        try:
            outcome = await session.run(call, stream, self.vendors(), self.books, control=self.control)
        except BaseException as exc:
            self.outcome.set_exception(exc)
            raise
        self.outcome.set_result(outcome)

    def vendors(self):
        return Vendors(
            carrier=self.carrier,
            open_ears=self._open_ears,
            mind=self.brain,
            second_mind=self.brain,
            open_mouth=self._open_mouth,
            local_voice=self.local_voice,
        )

    async def _open_ears(self):
        listener = Listener(
            ListenerConfig(api_key="k", base_url=f"{self.sockets}/listener", chunk_ms=audio.CLOSE_CHUNK_MS)
        )
        await listener.open()
        self.listeners.append(listener)
        return listener

    async def _open_mouth(self):
        voice = Voice(VoiceConfig(api_key="k", voice_id="sarah", base_url=f"{self.sockets}/voice"))
        await voice.open()
        self.voices.append(voice)
        return voice

    async def phone(self, **script):
        (await self.simulator.put(f"/phones/{NUMBER}", json=script)).raise_for_status()

    async def manners(self, vendor, **behaviour):
        (await self.simulator.put(f"/vendors/{vendor}", json=behaviour)).raise_for_status()

    async def call(self):
        """Place the call and hold it to its end; answers the session's outcome and what the other side saw."""
        twiml = twilio.stream_twiml(f"ws://127.0.0.1:{self.port}/media", name="call_1", parameters={"token": "once"})
        placed = await self.carrier.place(twilio.Order(to=NUMBER, twiml=twiml))
        async with asyncio.timeout(CALL_SECONDS_MAX):
            outcome = await self.outcome
            while not (await self.carrier.fetch(placed.sid)).ended:
                await asyncio.sleep(0.1)
        seen = (await self.simulator.get(f"/calls/{placed.sid}")).json()
        return outcome, seen

    async def aclose(self):
        self.local_voice.close()
        await self.brain.aclose()
        await self.carrier.aclose()
        await self.simulator.aclose()


@asynccontextmanager
async def house_of(card):
    sim = Simulator(SimulatorConfig(ring_seconds=0.1, unanswered_seconds=0.3, rating_seconds=0.1, pause_seconds=0.5))
    async with serving(create(sim=sim)) as port:
        house = House(f"http://127.0.0.1:{port}/simulator", sim, card)

        @websocket("/media")
        async def media(socket: WebSocket[Any, Any, Any]) -> None:
            await socket.accept()
            await house.talk(socket)

        async with serving(Litestar([media], openapi_config=None, logging_config=None)) as house.port:
            try:
                yield house
            finally:
                await house.aclose()


def said(outcome, speaker):
    return [turn.text for turn in outcome.transcript if turn.speaker == speaker]


async def test_a_persona_and_a_person_talk_and_the_person_hangs_up(card):
    async with house_of(card) as house:
        await house.phone(answers="human", says=["Hello, who is this?"], hangs_up=True)
        outcome, seen = await house.call()

    assert outcome.end_reason == "user_hung_up"
    assert said(outcome, "user") == ["Hello, who is this?"]
    assert len(said(outcome, "persona")) == 2
    assert "Sarah" in said(outcome, "persona")[1]
    assert outcome.failures == ()
    assert outcome.usage.voice_characters == sum(voice.characters_sent for voice in house.voices)
    assert outcome.usage.brain_output_tokens > 0
    assert outcome.costs == cost(outcome.usage, card)
    assert len(outcome.response_times_ms) == 1
    assert 0 < outcome.response_times_ms[0] < 1_000 * CALL_SECONDS_MAX
    assert seen["status"] == "completed"
    assert house.books.outcomes == [outcome]
    assert house.books.turns == list(outcome.transcript)
    sound = Decimal(house.listeners[0].bytes_sent) / 8000
    assert outcome.usage.listener_seconds >= sound


async def test_speaking_into_the_persona_s_words_cuts_them(card):
    async with house_of(card) as house:
        await house.phone(answers="human", says=["Wait a moment please."], interrupts=True, hangs_up=True)
        outcome, _ = await house.call()

    assert outcome.interrupt_count == 1
    assert said(outcome, "user") == ["Wait a moment please."]
    assert outcome.transcript[0].speaker == "persona"
    sent = "".join(turn.text for turn in outcome.transcript if turn.speaker == "persona")
    assert len(sent) < outcome.usage.voice_characters, "what was not heard was paid for and is not in the transcript"


async def test_both_say_goodbye_and_the_persona_hangs_up(card):
    async with house_of(card) as house:
        await house.phone(answers="human", says=["Thank you, I have to go now. Goodbye!"], hangs_up=False)
        outcome, seen = await house.call()

    assert outcome.end_reason == "persona_ended"
    assert outcome.hang_up_confirmed
    assert "[end]" not in " ".join(said(outcome, "persona"))
    assert seen["status"] == "completed"


async def test_the_granted_time_ends_with_a_goodbye_that_is_heard(card):
    async with house_of(card) as house:
        house.changes = {"granted_seconds": 14}
        await house.phone(answers="human", says=["Tell me about the garden."], hangs_up=False)
        outcome, seen = await house.call()

    assert outcome.end_reason == "time_limit"
    assert said(outcome, "persona")[-1] == prompts.goodbye("time_limit")
    assert outcome.duration_seconds <= 14
    assert seen["status"] == "completed"


async def test_a_voice_that_drops_is_replaced_and_the_talk_goes_on(card):
    async with house_of(card) as house:
        await house.manners("voice", latency_ms=100, drop_after_seconds=1.0)
        await house.phone(answers="human", says=["How are you?"], hangs_up=True)
        outcome, _ = await house.call()

    assert outcome.end_reason == "user_hung_up"
    assert said(outcome, "user") == ["How are you?"]
    assert len(said(outcome, "persona")) == 2
    assert outcome.usage.voice_characters >= sum(voice.characters_sent for voice in house.voices)


async def test_a_listener_that_drops_is_had_back_and_the_words_are_heard(card):
    async with house_of(card) as house:
        await house.manners("listener", drop_after_seconds=4.0)
        await house.phone(answers="human", says=["I was in the garden all day.", "It was lovely."], hangs_up=True)
        outcome, _ = await house.call()

    assert outcome.end_reason == "user_hung_up"
    assert said(outcome, "user") == ["I was in the garden all day.", "It was lovely."]
    assert "listener:dropped" in outcome.failures


async def test_without_a_brain_the_persona_greets_apologises_and_hangs_up(card):
    async with house_of(card) as house:
        await house.manners("brain", fail_rate=1.0)
        await house.phone(answers="human", says=["Hello?"], hangs_up=False)
        outcome, seen = await house.call()

    assert outcome.end_reason == "vendor_failure"
    assert said(outcome, "persona") == [prompts.greeting(ticket_of(card)), prompts.goodbye("vendor_failure")]
    assert outcome.usage.brain_output_tokens == 0
    assert seen["status"] == "completed"


async def test_the_user_s_hang_up_ends_it_at_the_carrier(card):
    async with house_of(card) as house:
        await house.phone(answers="human", says=[], hangs_up=False)
        asyncio.get_running_loop().call_later(2.0, house.control.hang_up)
        outcome, seen = await house.call()

    assert outcome.end_reason == "hung_up_by_request"
    assert outcome.hang_up_confirmed
    assert outcome.duration_seconds < CALL_SECONDS_MAX
    assert seen["status"] == "completed"
