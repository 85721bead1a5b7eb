"""The phone in the page: it rings, is answered, speaks, hears, and hangs up; nobody else's page can."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from callmeback import mulaw
from callmeback.providers import media_stream
from callmeback.providers.espeak import Style, synthesize
from callmeback.providers.twilio import Carrier, Order
from callmeback.simulator import Simulator
from callmeback.simulator.clips import Reader

pytestmark = pytest.mark.anyio
TO = "+12025550141"


class PagePhone:
    """A browser's side: events and sound as they come."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.sound = b""
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            if isinstance(message, bytes):
                self.sound += message
            else:
                self.events.append(json.loads(message))

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(15):
            while len(found := [event for event in self.events if event["type"] == kind]) < count:
                await asyncio.sleep(0.01)
        return found[count - 1]


@asynccontextmanager
async def page(base: str, number: str = "%2B12025550141") -> AsyncIterator[PagePhone]:
    host = base.removeprefix("http://").removesuffix("/simulator")
    async with connect(f"ws://{host}/simulator/phones/{number}/socket", origin=f"http://{host}") as socket:  # type: ignore[arg-type]  # an origin is a str
        phone = PagePhone(socket)
        yield phone
        phone.task.cancel()


class Persona:
    """Our side: greets with one clip, and listens."""

    def __init__(self, sim: Simulator, greeting: str = "Hello, this is Brad calling you.") -> None:
        self.greeting = sim.clips.add(greeting, synthesize(greeting, Style()))
        self.sim = sim
        self.heard = b""
        self.digits: list[str] = []
        self.socket: WebSocket[Any, Any, Any] | None = None
        self.stream = ""

    async def talk(self, socket: WebSocket[Any, Any, Any]) -> None:
        self.socket = socket
        try:
            while True:
                message = media_stream.decode(await socket.receive_text())
                if isinstance(message, media_stream.Start):
                    self.stream = message.start.stream_sid
                    await socket.send_text(media_stream.media(self.stream, self.greeting))
                elif isinstance(message, media_stream.Media):
                    self.heard += message.media.payload
                elif isinstance(message, media_stream.Digit):
                    self.digits.append(message.dtmf.digit)
        except WebSocketDisconnect:
            return

    def words(self) -> list[str]:
        return [self.sim.clips.text(s.clip_id) for s in Reader().feed(self.heard) if s.offset == 0]


@pytest.fixture
def persona(ours: Any, sim: Simulator) -> Persona:
    persona = Persona(sim)
    ours.talk = persona.talk
    return persona


async def place(ours: Any, carrier: Carrier) -> str:
    call = await carrier.place(Order(to=TO, url=f"{ours.url}/voice", status_callback=f"{ours.url}/status"))
    return call.sid


async def test_whole_call_in_the_page(base: str, ours: Any, carrier: Carrier, persona: Persona) -> None:
    async with page(base) as phone:
        sid = await place(ours, carrier)
        ringing = await phone.until("ringing")
        await phone.send(type="answer")
        await phone.until("answered")
        caption = await phone.until("caption")
        await phone.send(type="say", text="Nice to hear you.")
        await phone.send(type="dtmf", digit="5")
        await ours.until(lambda: "Nice to hear you." in persona.words() and persona.digits == ["5"])
        await asyncio.sleep(mulaw.seconds(persona.greeting))
        await phone.send(type="hangup")
        ended = await phone.until("ended")
        await ours.until(lambda: ours.statuses[-1]["CallStatus"] == "completed")

    assert (ringing["call_sid"], ended["reason"]) == (sid, "hangup")
    assert ringing["from"].startswith("+1")
    assert caption == {"type": "caption", "speaker": "persona", "text": "Hello, this is Brad calling you."}
    assert phone.sound == persona.greeting


async def test_declined_call_is_busy(base: str, ours: Any, carrier: Carrier) -> None:
    async with page(base) as phone:
        await place(ours, carrier)
        await phone.until("ringing")
        await phone.send(type="decline")
        ended = await phone.until("ended")
        await ours.until(lambda: ours.statuses[-1]["CallStatus"] == "busy")

    assert ended["reason"] == "declined"


async def test_page_that_ignores_it_is_no_answer(base: str, ours: Any, carrier: Carrier) -> None:
    async with page(base) as phone:
        await carrier.place(Order(to=TO, url=f"{ours.url}/voice", ring_seconds=1))
        ended = await phone.until("ended")

    assert ended["reason"] == "no_answer"


async def test_other_side_ends_and_clears(base: str, ours: Any, carrier: Carrier, persona: Persona) -> None:
    async with page(base) as phone:
        sid = await place(ours, carrier)
        await phone.until("ringing")
        await phone.send(type="answer")
        await phone.until("caption")
        assert persona.socket is not None
        await persona.socket.send_text(media_stream.clear(persona.stream))
        await phone.until("clear")
        await carrier.hang_up(sid)
        ended = await phone.until("ended")

    assert ended["reason"] == "remote"
    assert len(phone.sound) < len(persona.greeting)


async def test_reloaded_page_gets_its_call_back(base: str, ours: Any, carrier: Carrier, persona: Persona) -> None:
    async with page(base) as phone:
        sid = await place(ours, carrier)
        await phone.until("ringing")
        await phone.send(type="answer")
        first = await phone.until("answered")
        await asyncio.sleep(1.1)
    async with page(base) as again:
        answered = await again.until("answered")
        await again.send(type="hangup")
        await again.until("ended")

    assert answered["call_sid"] == sid
    assert first["seconds"] == 0 < answered["seconds"]


async def test_page_that_stays_away_has_hung_up(
    base: str, ours: Any, carrier: Carrier, persona: Persona, monkeypatch: Any
) -> None:
    monkeypatch.setattr("callmeback.simulator.pages.RELOAD_GRACE_S", 0.2)
    async with page(base) as phone:
        await place(ours, carrier)
        await phone.until("ringing")
        await phone.send(type="answer")
        await phone.until("answered")
    await ours.until(lambda: ours.statuses[-1]["CallStatus"] == "completed")


async def test_two_pages_ring_and_one_takes_it(base: str, ours: Any, carrier: Carrier, persona: Persona) -> None:
    async with page(base) as first, page(base) as second:
        await place(ours, carrier)
        await first.until("ringing")
        await second.until("ringing")
        await second.send(type="answer")
        taken = await first.until("ended")
        await first.send(type="answer")
        late = await first.until("error")
        await second.send(type="hangup")
        await second.until("ended")

    assert (taken["reason"], late["code"]) == ("answered_elsewhere", "nothing_rings")


async def test_nonsense_from_the_page_is_an_error_and_no_more(base: str) -> None:
    nonsense = ["", "{}", "[]", '{"type":"sing"}', '{"type":"say"}', '{"type":"say","text":""}', "x" * 20_000]
    no_call = ['{"type":"hangup"}', '{"type":"say","text":"Hi"}', '{"type":"dtmf","digit":"1"}']
    async with page(base) as phone:
        for text in nonsense + no_call:
            await phone.socket.send(text)
        await phone.until("error", len(nonsense + no_call))
    codes = [event["code"] for event in phone.events]

    assert codes == ["bad_message"] * 6 + ["too_long"] + ["no_call"] * 3


async def test_strangers_get_no_phone(base: str) -> None:
    host = base.removeprefix("http://").removesuffix("/simulator")
    url = f"ws://{host}/simulator/phones/%2B12025550141/socket"
    refused = []
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": f"http://{host}", "X-Forwarded-For": "1.2.3.4"}):
        with pytest.raises(InvalidStatus) as refusal:
            await connect(url, additional_headers=headers)
        refused.append(refusal.value.response.status_code)
    with pytest.raises(InvalidStatus) as number:
        await connect(url.replace("%2B12025550141", "me"), additional_headers={"Origin": f"http://{host}"})

    assert (refused, number.value.response.status_code) == ([403, 403, 403], 400)


async def test_twenty_pages_at_most(base: str) -> None:
    async with asyncio.timeout(20):
        pages = [page(base) for _ in range(20)]
        for one in pages:
            await one.__aenter__()
        async with page(base) as late:
            await late.socket.wait_closed()
        for one in pages:
            await one.__aexit__(None, None, None)

    assert late.socket.close_code == 1013
