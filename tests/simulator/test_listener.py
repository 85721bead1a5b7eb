"""The simulated listener: its ear on its own, its wire with a plain client, and our provider on it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from callmeback import mulaw
from callmeback.providers.deepgram import (
    EagerEndOfTurn,
    EndOfTurn,
    Event,
    Listener,
    ListenerConfig,
    Lost,
    StartOfTurn,
    TurnResumed,
    Update,
)
from callmeback.providers.espeak import Style, synthesize
from callmeback.providers.failures import VendorRefused, VendorUnavailable
from callmeback.simulator import Simulator
from callmeback.simulator.clips import Registry
from callmeback.simulator.ear import Ear, Thresholds

pytestmark = pytest.mark.anyio
LINE = "I went for a long walk this morning."
TWO = "It was lovely. The dog came along too."


def spoken(registry: Registry, text: str) -> bytes:
    return registry.add(text, synthesize(text, Style()))


def hear(ear: Ear, sound: bytes, size: int = 640) -> list[dict[str, Any]]:
    return [event for start in range(0, len(sound), size) for event in ear.feed(sound[start : start + size])]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events if event["event"] != "Update"]


def test_a_turn_has_its_events_in_order() -> None:
    registry = Registry()
    ear = Ear(registry, Thresholds(eager=0.5))
    sound = spoken(registry, LINE)
    events = hear(ear, mulaw.silence(400) + sound + mulaw.silence(1500))
    end = next(event for event in events if event["event"] == "EndOfTurn")

    assert kinds(events) == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
    assert end["transcript"] == LINE == events[[e["event"] for e in events].index("EagerEndOfTurn")]["transcript"]
    assert (end["turn_index"], end["trigger"]) == (0, "model")
    assert end["audio_window_end"] == pytest.approx(0.4 + mulaw.seconds(sound) + 0.26, abs=0.06)
    assert [word["word"] for word in end["words"]] == LINE.split()
    assert all(event["turn_index"] == 1 for event in events[events.index(end) + 1 :])


def test_updates_come_about_every_quarter_of_a_second_of_sound() -> None:
    registry = Registry()
    ear = Ear(registry, Thresholds())
    sound = mulaw.silence(2000) + spoken(registry, LINE) + mulaw.silence(2000)
    events = hear(ear, sound)
    updates = [event for event in events if event["event"] == "Update"]
    seconds = mulaw.seconds(sound)

    assert seconds * 3 <= len(updates) <= seconds * 4.2
    texts = [event["transcript"] for event in updates if event["turn_index"] == 0]
    assert all(after.startswith(before) for before, after in pairwise(texts))


def test_a_pause_within_is_taken_for_the_end_and_taken_back() -> None:
    registry = Registry()
    eager = hear(Ear(registry, Thresholds(eager=0.4)), spoken(registry, TWO) + mulaw.silence(1000))
    calm = hear(Ear(registry, Thresholds()), spoken(registry, TWO) + mulaw.silence(1000))

    assert kinds(eager) == ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EagerEndOfTurn", "EndOfTurn"]
    assert kinds(calm) == ["StartOfTurn", "EndOfTurn"]
    assert [e["transcript"] for e in eager if e["event"] == "EagerEndOfTurn"] == ["It was lovely.", TWO]


def test_speech_after_a_breath_is_the_same_turn_and_after_a_pause_another() -> None:
    registry = Registry()
    first, second = spoken(registry, "One."), spoken(registry, "Two three four.")
    together = hear(Ear(registry, Thresholds()), first + mulaw.silence(120) + second + mulaw.silence(1000))
    apart = hear(Ear(registry, Thresholds()), first + mulaw.silence(900) + second + mulaw.silence(1000))

    assert [e["transcript"] for e in together if e["event"] == "EndOfTurn"] == ["One. Two three four."]
    assert [(e["turn_index"], e["transcript"]) for e in apart if e["event"] == "EndOfTurn"] == [
        (0, "One."),
        (1, "Two three four."),
    ]


def test_no_sound_no_end() -> None:
    registry = Registry()
    ear = Ear(registry, Thresholds())
    events = hear(ear, spoken(registry, LINE))

    assert kinds(events) == ["StartOfTurn"]


def test_person_who_is_cut_off_is_heard_to_stop() -> None:
    registry = Registry()
    sound = spoken(registry, "one two three four five six seven eight nine ten eleven twelve")
    events = hear(Ear(registry, Thresholds()), sound[: len(sound) // 2] + mulaw.silence(2000))
    end = next(event for event in events if event["event"] == "EndOfTurn")

    assert 3 <= len(end["transcript"].split()) <= 9


def test_threshold_of_one_leaves_the_timeout() -> None:
    registry = Registry()
    ear = Ear(registry, Thresholds(eot=1.0, timeout_ms=1500))
    events = hear(ear, spoken(registry, LINE) + mulaw.silence(2000))

    assert [event["trigger"] for event in events if event["event"] == "EndOfTurn"] == ["timeout"]


def test_sound_cut_anywhere_gives_the_same_events() -> None:
    registry = Registry()
    sound = spoken(registry, TWO) + mulaw.silence(700)
    whole = hear(Ear(registry, Thresholds(eager=0.5)), sound, len(sound))

    assert hear(Ear(registry, Thresholds(eager=0.5)), sound, 37) == whole


@asynccontextmanager
async def plain(base: str, **query: Any) -> AsyncIterator[ClientConnection]:
    asked = {"model": "flux-general-en", "encoding": "mulaw", "sample_rate": 8000} | query
    url = f"{base.replace('http', 'ws')}/listener/v2/listen?{urlencode(asked)}"
    async with connect(url, additional_headers={"Authorization": "Token k"}) as socket:
        yield socket


async def until_closed(socket: ClientConnection) -> list[dict[str, Any]]:
    messages = []
    try:
        async with asyncio.timeout(10):
            while True:
                messages.append(json.loads(await socket.recv()))
    except ConnectionClosed:
        return messages


async def test_close_stream_gives_the_updates_due_and_an_empty_close(base: str, sim: Simulator) -> None:
    async with plain(base) as socket:
        await socket.send(spoken(sim.clips, LINE))
        await socket.send('{"type":"CloseStream"}')
        messages = await until_closed(socket)

    assert socket.close_code == 1005
    assert messages[0]["type"] == "Connected"
    assert [message["sequence_id"] for message in messages] == list(range(len(messages)))
    assert messages[-1]["event"] == "Update"
    assert "EndOfTurn" not in {message.get("event") for message in messages}
    assert all(message["type"] in {"Connected", "TurnInfo"} for message in messages)


async def test_force_end_turn_ends_an_open_turn_and_is_ignored_without_one(base: str, sim: Simulator) -> None:
    async with plain(base) as socket:
        await socket.send('{"type":"ForceEndTurn"}')
        await socket.send(spoken(sim.clips, LINE))
        await socket.send('{"type":"ForceEndTurn"}')
        await socket.send('{"type":"CloseStream"}')
        messages = await until_closed(socket)
    ends = [message for message in messages if message.get("event") == "EndOfTurn"]

    assert [end["trigger"] for end in ends] == ["manual"]


async def test_json_keep_alive_kills_the_socket(base: str) -> None:
    async with plain(base) as socket:
        await socket.send('{"type":"KeepAlive"}')
        await until_closed(socket)

    assert socket.close_code == 1005


async def test_configure_is_answered(base: str) -> None:
    async with plain(base) as socket:
        await socket.send('{"type":"Configure","thresholds":{"eot_threshold":0.8},"keyterms":["Brad"]}')
        await socket.send('{"type":"Configure","thresholds":{"eot_threshold":2}}')
        await socket.send('{"type":"CloseStream"}')
        messages = await until_closed(socket)

    assert [message["type"] for message in messages[1:3]] == ["ConfigureSuccess", "ConfigureFailure"]
    assert messages[1]["thresholds"]["eot_threshold"] == 0.8


@pytest.mark.parametrize(
    "query",
    [
        {"model": "nova-3"},
        {"encoding": "opus"},
        {"sample_rate": 16000},
        {"eot_threshold": 0.2},
        {"eager_eot_threshold": "x"},
        {"eot_timeout_ms": 1},
        {"language": "en"},
    ],
)
async def test_nonsense_is_refused_at_the_door(base: str, query: dict[str, Any]) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with plain(base, **query):
            pass

    assert refusal.value.response.status_code == 400
    assert refusal.value.response.headers["dg-error"]
    assert refusal.value.response.headers["dg-request-id"]


# Our provider against it.


class Listening:
    """A listener being read all the time, and a person's sound sent to it in real time or faster."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.events: list[Event] = []
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async for event in self.listener.events():
            self.events.append(event)

    async def say(self, sound: bytes, pace: float = 0.004) -> None:
        for start in range(0, len(sound), mulaw.FRAME_BYTES):
            self.listener.send(sound[start : start + mulaw.FRAME_BYTES])
            await asyncio.sleep(pace)

    async def until(self, kind: type, count: int = 1, seconds: float = 15) -> list[Any]:
        async with asyncio.timeout(seconds):
            while len(self.of(kind)) < count:
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)
        return self.of(kind)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def turns(self) -> list[str]:
        names = {StartOfTurn: "start", EagerEndOfTurn: "eager", TurnResumed: "resumed", EndOfTurn: "end", Lost: "lost"}
        return [names[type(event)] for event in self.events if not isinstance(event, Update)]


@asynccontextmanager
async def listening(base: str, **changes: Any) -> AsyncIterator[Listening]:
    usual = {"api_key": "k", "base_url": f"{base.replace('http', 'ws')}/listener"}
    listener = Listener(ListenerConfig(**(usual | changes)))
    await listener.open()
    heard = Listening(listener)
    try:
        yield heard
    finally:
        await listener.aclose()
        heard.task.cancel()
        await asyncio.wait([heard.task])


async def test_turns_are_typed_events(base: str, sim: Simulator) -> None:
    async with listening(base, keyterms=("Brad", "Zürich")) as heard:
        sound = mulaw.silence(300) + spoken(sim.clips, LINE) + mulaw.silence(600)
        await heard.say(sound)
        await heard.until(EndOfTurn)
        await heard.say(spoken(sim.clips, TWO) + mulaw.silence(600))
        ends = await heard.until(EndOfTurn, 2)

    assert heard.turns() == ["start", "eager", "end", "start", "eager", "resumed", "eager", "end"]
    assert [(end.turn, end.text, end.trigger) for end in ends] == [(0, LINE, "model"), (1, TWO, "model")]
    assert ends[0].ended_at_seconds == pytest.approx(mulaw.seconds(sound) - 0.6, abs=0.1)
    assert ends[1].ended_at_seconds > ends[0].ended_at_seconds + 1
    assert any(update.text for update in heard.of(Update))


async def test_silence_is_sent_within_a_turn_when_the_sound_stops(base: str, sim: Simulator) -> None:
    async with listening(base) as heard:
        sound = spoken(sim.clips, LINE)
        await heard.say(sound)
        ends = await heard.until(EndOfTurn)
        await asyncio.sleep(0.3)
        billed = heard.listener.bytes_sent
        await asyncio.sleep(0.8)

        assert ends[0].text == LINE
        assert heard.listener.bytes_sent == billed, "silence goes on after the turn"
        assert len(sound) < billed < len(sound) + 1.5 * mulaw.RATE_HZ


async def test_lost_socket_is_replaced_and_hears_what_it_missed(
    base: str, sim: Simulator, control: httpx.AsyncClient
) -> None:
    await control.put("/vendors/listener", json={"drop_after_seconds": 1.6})
    async with listening(base) as heard:
        await heard.say(spoken(sim.clips, "First.") + mulaw.silence(600), pace=0.001)
        await heard.until(EndOfTurn)
        await control.put("/vendors/listener", json={})
        await heard.say(spoken(sim.clips, LINE) + mulaw.silence(600), pace=0.02)
        ends = await heard.until(EndOfTurn, 2)

    assert heard.turns().count("lost") == 1
    assert heard.turns().count("start") == 2, "a turn begins once, however often it is heard"
    assert [(end.turn, end.text) for end in ends] == [(0, "First."), (1, LINE)]
    assert heard.listener.connects == 2
    assert float(heard.listener.billed_seconds()) > mulaw.seconds(spoken(sim.clips, LINE))


async def test_open_socket_that_says_nothing_is_replaced(base: str, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/listener", json={"latency_ms": 4000})
    async with listening(base, stall_timeout_s=0.5) as heard:
        await heard.say(mulaw.silence(1500))
        await heard.until(Lost)

    assert heard.listener.connects >= 1


async def test_listener_that_always_drops_is_given_up(base: str, control: httpx.AsyncClient) -> None:
    await control.put("/vendors/listener", json={"drop_after_seconds": 0.02})
    async with listening(base) as heard:
        with pytest.raises(VendorUnavailable):
            await heard.until(EndOfTurn)

    assert heard.turns() == ["lost"] * 3


async def test_refusals_and_failures_are_told_apart(base: str, control: httpx.AsyncClient) -> None:
    with pytest.raises(VendorRefused) as stranger:
        async with listening(base, api_key=""):
            pass
    await control.put("/vendors/listener", json={"fail_rate": 1})
    with pytest.raises(VendorUnavailable) as failing:
        async with listening(base, api_key="hunter2"):
            pass

    assert (stranger.value.http_status, failing.value.http_status) == (401, 500)
    assert "hunter2" not in repr(failing.value)


async def test_billing_is_the_longer_of_sound_and_connection(base: str) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with listening(base) as heard:
        await asyncio.sleep(0.6)
        connected = heard.listener.billed_seconds()
        at_most = loop.time() - begun
        await heard.say(mulaw.silence(4000), pace=0.0005)
        await asyncio.sleep(0.3)
        sound = heard.listener.billed_seconds()

    assert 0.5 < connected <= at_most
    assert 3.8 < sound <= max(5, loop.time() - begun)


async def test_what_waits_for_a_socket_is_bounded() -> None:
    listener = Listener(ListenerConfig(api_key="k", base_url="ws://127.0.0.1:9"))
    for _ in range(1000):
        listener.send(mulaw.silence(100))

    assert listener._waiting_bytes <= 10 * mulaw.RATE_HZ
    with pytest.raises(VendorUnavailable):
        await listener.open()
