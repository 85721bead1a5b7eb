"""The simulated carrier's media stream: what it promises about frames, marks, clear and the end."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from callmeback import mulaw
from callmeback.providers import media_stream, twilio
from callmeback.providers.espeak import LocalVoice
from callmeback.providers.twilio import Carrier, Order
from callmeback.simulator import Simulator
from callmeback.simulator.clips import Reader

pytestmark = pytest.mark.anyio
TO = "+12025550111"


class Side:
    """Our side of one stream: everything received, as JSON, and the socket to answer on."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.socket: WebSocket[Any, Any, Any] | None = None
        self.ended = asyncio.Event()
        self.leave = asyncio.Event()

    async def talk(self, socket: WebSocket[Any, Any, Any]) -> None:
        self.socket = socket
        leaving = asyncio.ensure_future(self.leave.wait())
        try:
            while True:
                reading = asyncio.ensure_future(socket.receive_text())
                await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    await socket.close()
                    return
                self.received.append(json.loads(reading.result()))
        except WebSocketDisconnect:
            pass
        finally:
            leaving.cancel()
            self.ended.set()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.received if message["event"] == event]

    @property
    def stream(self) -> str:
        return str(self.of("start")[0]["streamSid"])

    async def send(self, text: str) -> None:
        assert self.socket is not None
        await self.socket.send_text(text)


@pytest.fixture
def side(ours: Any) -> Side:
    side = Side()
    ours.talk = side.talk
    return side


async def begin(ours: Any, carrier: Carrier, side: Side, **changes: Any) -> str:
    order = Order(**({"to": TO, "url": f"{ours.url}/voice", "status_callback": f"{ours.url}/status"} | changes))
    call = await carrier.place(order)
    await ours.until(lambda: bool(side.of("media")))
    return call.sid


async def test_stream_opens_signed_and_says_who_it_is(ours: Any, carrier: Carrier, side: Side, sim: Simulator) -> None:
    sid = await begin(ours, carrier, side)
    url, signature = ours.handshakes[0]

    assert twilio.valid_signature(sim.config.auth_token, url, [], signature)
    assert side.received[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    start = media_stream.decode(json.dumps(side.received[1]))
    assert isinstance(start, media_stream.Start)
    assert start.start.call_sid == sid
    assert start.start.custom_parameters == {"token": "once"}
    form = start.start.media_format
    assert (form.encoding, form.sample_rate, form.channels) == media_stream.SOUND_FORMAT
    await carrier.hang_up(sid)


async def test_frames_are_counted_in_strings_from_one_and_come_in_real_time(
    ours: Any, carrier: Carrier, side: Side
) -> None:
    sid = await begin(ours, carrier, side)
    began = asyncio.get_running_loop().time()
    have = len(side.of("media"))
    await ours.until(lambda: len(side.of("media")) >= have + 50)
    took = asyncio.get_running_loop().time() - began
    await carrier.hang_up(sid)
    frames = [message["media"] for message in side.of("media")]

    assert [frame["chunk"] for frame in frames[:3]] == ["1", "2", "3"]
    assert [frame["timestamp"] for frame in frames[:3]] == ["0", "20", "40"]
    assert all(len(base64.b64decode(frame["payload"])) == mulaw.FRAME_BYTES for frame in frames)
    assert [message["sequenceNumber"] for message in side.received[1:5]] == ["1", "2", "3", "4"]
    assert took > 0.5


async def test_mark_comes_back_only_when_its_sound_was_played(ours: Any, carrier: Carrier, side: Side) -> None:
    sid = await begin(ours, carrier, side)
    before = len(side.of("media"))
    await side.send(media_stream.media(side.stream, mulaw.silence(600)))
    await side.send(media_stream.mark(side.stream, "1:4800"))
    await ours.until(lambda: bool(side.of("mark")))
    frames_between = len(side.of("media")) - before
    await carrier.hang_up(sid)

    assert side.of("mark")[0]["mark"] == {"name": "1:4800"}
    assert frames_between >= 28


async def test_mark_without_sound_before_it_comes_back_at_once(ours: Any, carrier: Carrier, side: Side) -> None:
    sid = await begin(ours, carrier, side)
    await side.send(media_stream.mark(side.stream, "empty"))
    await ours.until(lambda: bool(side.of("mark")))
    await carrier.hang_up(sid)

    assert side.of("mark")[0]["mark"]["name"] == "empty"


async def test_clear_returns_every_pending_mark_and_the_cut_is_seen(
    ours: Any, carrier: Carrier, side: Side, control: httpx.AsyncClient
) -> None:
    sid = await begin(ours, carrier, side)
    for number in range(3):
        await side.send(media_stream.media(side.stream, mulaw.silence(5000)))
        await side.send(media_stream.mark(side.stream, f"{number}"))
    await asyncio.sleep(0.3)
    none_yet = side.of("mark")
    await side.send(media_stream.clear(side.stream))
    await ours.until(lambda: len(side.of("mark")) == 3)
    seen = (await control.get(f"/calls/{sid}")).json()
    await carrier.hang_up(sid)

    assert none_yet == []
    assert [message["mark"]["name"] for message in side.of("mark")] == ["0", "1", "2"]
    assert 0.2 < seen["cut_at"] < 5
    assert seen["audio_seconds"] < 3


async def test_more_than_ten_minutes_are_discarded(
    ours: Any, carrier: Carrier, side: Side, control: httpx.AsyncClient
) -> None:
    sid = await begin(ours, carrier, side)
    for _ in range(11):
        await side.send(media_stream.media(side.stream, mulaw.silence(60_000)))
    await asyncio.sleep(0.2)
    seen = (await control.get(f"/calls/{sid}")).json()
    await carrier.hang_up(sid)

    assert [event["code"] for event in seen["events"] if event["event"] == "stream_warning"] == [31931]


async def test_messages_that_make_no_sense_are_survived(
    ours: Any, carrier: Carrier, side: Side, control: httpx.AsyncClient
) -> None:
    sid = await begin(ours, carrier, side)
    nonsense = ["", "{}", json.dumps({"event": "mark", "streamSid": side.stream}), media_stream.clear("MZother")]
    for text in nonsense:
        await side.send(text)
    await side.send(media_stream.mark(side.stream, "alive"))
    await ours.until(lambda: bool(side.of("mark")))
    seen = (await control.get(f"/calls/{sid}")).json()
    await carrier.hang_up(sid)

    assert sum(event["event"] == "stream_warning" for event in seen["events"]) == len(nonsense)


async def test_hang_up_says_stop_last(ours: Any, carrier: Carrier, side: Side) -> None:
    sid = await begin(ours, carrier, side)
    await carrier.hang_up(sid)
    await asyncio.wait_for(side.ended.wait(), 20)

    assert side.received[-1]["event"] == "stop"
    assert side.received[-1]["stop"]["callSid"] == sid


async def test_closing_our_socket_ends_the_call_by_its_twiml(
    ours: Any, carrier: Carrier, side: Side, control: httpx.AsyncClient
) -> None:
    sid = await begin(ours, carrier, side)
    side.leave.set()
    await ours.until(lambda: any(status["CallStatus"] == "completed" for status in ours.statuses))

    assert (await control.get(f"/calls/{sid}")).json()["ended_by"] == "twiml"
    await ours.until(lambda: len(ours.streams) == 2)
    assert {stream["StreamEvent"] for stream in ours.streams} == {"stream-started", "stream-stopped"}


async def test_stream_drops_without_a_word_when_told_so(
    ours: Any, carrier: Carrier, side: Side, control: httpx.AsyncClient
) -> None:
    await control.put("/vendors/carrier", json={"drop_after_seconds": 0.5})
    await begin(ours, carrier, side)
    await asyncio.wait_for(side.ended.wait(), 20)

    assert side.of("stop") == []


async def test_only_wss_is_dialled_outside_this_machine(
    ours: Any, carrier: Carrier, control: httpx.AsyncClient
) -> None:
    ours.twiml = twilio.stream_twiml(
        "ws://call.example.com/media/x", name="x", parameters={}, status_callback=f"{ours.url}/stream"
    )
    call = await carrier.place(Order(to=TO, url=f"{ours.url}/voice"))
    await ours.until(lambda: any(stream["StreamEvent"] == "stream-error" for stream in ours.streams))

    seen = (await control.get(f"/calls/{call.sid}")).json()
    assert any(event.get("code") == 31922 for event in seen["events"])


async def test_person_speaks_after_the_persona_and_is_heard_on_the_stream(
    ours: Any, carrier: Carrier, side: Side, sim: Simulator, control: httpx.AsyncClient
) -> None:
    await control.put(f"/phones/{TO}", json={"says": ["It is raining here."], "hangs_up": True})
    sid = await begin(ours, carrier, side)
    voice = LocalVoice()
    speech = sim.clips.add("Good morning to you.", await voice.speak("Good morning to you."))
    voice.close()
    await side.send(media_stream.media(side.stream, speech))
    frames = b""

    def said() -> bool:
        nonlocal frames
        frames = b"".join(base64.b64decode(message["media"]["payload"]) for message in side.of("media"))
        return any(sim.clips.text(s.clip_id) == "It is raining here." for s in _sightings(frames))

    await ours.until(said)
    first = next(s for s in _sightings(frames) if sim.clips.text(s.clip_id) == "It is raining here.")
    # The reply to the person's line lets the person hang up.
    await asyncio.sleep(2.5)
    await side.send(media_stream.media(side.stream, speech))
    await asyncio.wait_for(side.ended.wait(), 15)
    seen = (await control.get(f"/calls/{sid}")).json()

    assert first.position / mulaw.RATE_HZ > mulaw.seconds(speech)
    assert seen["ended_by"] == "person"
    assert seen["text"] == "Good morning to you. Good morning to you."
    assert seen["audio_seconds"] == pytest.approx(2 * mulaw.seconds(speech), abs=0.1)


def _sightings(sound: bytes) -> list[Any]:
    return Reader().feed(sound)


async def test_text_is_cut_where_the_sound_was_cut(
    ours: Any, carrier: Carrier, side: Side, sim: Simulator, control: httpx.AsyncClient
) -> None:
    sid = await begin(ours, carrier, side)
    voice = LocalVoice()
    text = "one two three four five six seven eight nine ten eleven twelve"
    speech = sim.clips.add(text, await voice.speak(text))
    voice.close()
    await side.send(media_stream.media(side.stream, speech))
    await asyncio.sleep(mulaw.seconds(speech) / 2)
    await side.send(media_stream.clear(side.stream))
    await asyncio.sleep(0.2)
    seen = (await control.get(f"/calls/{sid}")).json()
    await carrier.hang_up(sid)

    assert text.startswith(seen["text"])
    assert 3 <= len(seen["text"].split()) <= 9


async def test_voicemail_greets_beeps_and_is_detected(
    ours: Any, carrier: Carrier, side: Side, sim: Simulator, control: httpx.AsyncClient
) -> None:
    await control.put(f"/phones/{TO}", json={"answers": "voicemail"})
    sid = await begin(ours, carrier, side, machine_detection="DetectMessageEnd", amd_callback=f"{ours.url}/amd")
    await ours.until(lambda: bool(ours.amd))
    seen = (await control.get(f"/calls/{sid}")).json()
    await carrier.hang_up(sid)
    sound = b"".join(base64.b64decode(message["media"]["payload"]) for message in side.of("media"))

    assert ours.amd[0]["AnsweredBy"] == "machine_end_beep"
    assert int(ours.amd[0]["MachineDetectionDuration"]) > 2000
    assert any("voicemail" in sim.clips.text(s.clip_id) for s in _sightings(sound))
    assert any(event["event"] == "beep" for event in seen["events"]) or seen["answered_by"] == "machine_end_beep"
