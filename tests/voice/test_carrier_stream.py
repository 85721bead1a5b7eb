"""The carrier's socket as a stream: what begins it, what comes over it, and how it ends."""

import asyncio
import base64
import json

import pytest
from tests.voice.line import Brain, Call, now, ticket_of, virtually

from callmeback.providers.failures import VendorError
from callmeback.voice import carrier_stream
from callmeback.voice.carrier_stream import UNREADABLE_IN_A_ROW_MAX, CarrierStream
from callmeback.voice.vendors import Digit, Played

CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
START = {
    "event": "start",
    "sequenceNumber": "1",
    "streamSid": "MZ1",
    "start": {
        "accountSid": "AC1",
        "streamSid": "MZ1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": "t"},
    },
}


class Socket:
    """Gives out a list of messages, then is closed, or waits for ever."""

    def __init__(self, *messages, waits=False):
        self.messages = [message if isinstance(message, str | bytes) else json.dumps(message) for message in messages]
        self.waits = waits
        self.sent = []
        self.closed = False
        self.is_stuck = False

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        if self.waits:
            await carrier_stream.asyncio.sleep(3600)
        raise ConnectionError

    async def send(self, text):
        if self.closed:
            raise ConnectionError
        if self.is_stuck:
            await carrier_stream.asyncio.sleep(3600)
        self.sent.append(json.loads(text))

    async def close(self):
        if self.is_stuck:
            await carrier_stream.asyncio.sleep(3600)
        self.closed = True


def media(payload):
    body = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": base64.b64encode(payload).decode()}
    return {"event": "media", "sequenceNumber": "2", "streamSid": "MZ1", "media": body}


def test_the_start_says_whose_call_it_is():
    started = virtually(carrier_stream.start(Socket(CONNECTED, {"event": "novelty"}, START)))

    assert (started.start.call_sid, started.start.stream_sid) == ("CA1", "MZ1")
    assert started.start.custom_parameters == {"token": "t"}


@pytest.mark.parametrize(
    "socket",
    [
        Socket(CONNECTED, waits=True),
        Socket(CONNECTED),
        Socket("no json"),
        Socket({"event": "start"}),
        Socket(*[CONNECTED] * 20),
    ],
    ids=["silence", "closed", "unreadable", "incomplete", "never"],
)
def test_a_stream_that_does_not_start_in_time_is_given_up(socket):
    with pytest.raises(VendorError):
        virtually(carrier_stream.start(socket))


def test_what_comes_over_a_stream():
    async def story():
        socket = Socket(
            media(b"\xff\x00"),
            {"event": "novelty", "x": 1},
            {"event": "mark", "sequenceNumber": "3", "streamSid": "MZ1", "mark": {"name": "1:2"}},
            {"event": "dtmf", "streamSid": "MZ1", "dtmf": {"track": "inbound_track", "digit": "5"}},
            {"event": "stop", "streamSid": "MZ1", "stop": {"accountSid": "AC1", "callSid": "CA1"}},
        )
        stream = CarrierStream(socket, "MZ1")
        return [await stream.receive() for _ in range(4)]

    assert virtually(story()) == [b"\xff\x00", Played("1:2"), Digit("5"), None]


def test_what_goes_over_a_stream():
    async def story():
        socket = Socket()
        stream = CarrierStream(socket, "MZ1")
        await stream.send_audio(b"\xff\x00")
        await stream.send_mark("1:2")
        await stream.send_clear()
        return socket.sent

    assert virtually(story()) == [
        {"event": "media", "streamSid": "MZ1", "media": {"payload": "/wA="}},
        {"event": "mark", "streamSid": "MZ1", "mark": {"name": "1:2"}},
        {"event": "clear", "streamSid": "MZ1"},
    ]


@pytest.mark.parametrize(
    "odd",
    [
        "no json",
        [1],
        {"event": "dtmf"},
        {"event": "media"},
        {"event": "media", "media": {"payload": "*"}},
        b'{"event": "mark", "mark": {"name": "\xff"}}',
        '{"x": ' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
    ids=["no json", "no object", "no key", "no sound", "no base64", "no utf-8", "no end"],
)
def test_a_message_that_cannot_be_read_does_not_end_a_call(odd):
    async def story():
        many = [odd] * UNREADABLE_IN_A_ROW_MAX
        stream = CarrierStream(Socket(*many, CONNECTED, *many, media(b"\xff"), odd, media(b"\x00")), "MZ1")
        return [await stream.receive() for _ in range(2)]

    assert virtually(story()) == [b"\xff", b"\x00"]


@pytest.mark.parametrize("messages", [[], ["no json"] * 60, [{"event": "media"}] * 60], ids=["closed", "mad", "empty"])
def test_a_broken_stream_is_an_error_and_not_an_end(messages):
    async def story():
        await CarrierStream(Socket(*messages, waits=bool(messages)), "MZ1").receive()

    with pytest.raises(VendorError):
        virtually(story())


@pytest.mark.parametrize("write", [CarrierStream.send_clear, CarrierStream.close])
def test_nobody_waits_long_for_a_carrier_that_takes_nothing(write):
    async def story():
        socket = Socket(waits=True)
        socket.is_stuck = True
        began = now()
        with pytest.raises(VendorError):
            await write(CarrierStream(socket, "MZ1"))
        return now() - began

    assert virtually(story()) <= 2.0


def test_nothing_is_sent_over_a_closed_stream():
    async def story():
        stream = CarrierStream(Socket(), "MZ1")
        await stream.close()
        await stream.send_clear()

    with pytest.raises(VendorError):
        virtually(story())


def test_a_stream_that_brings_sound_and_takes_none_is_hung_up(card):
    async def story():
        call = Call(ticket_of(card))

        async def person(call):
            await call.persona_is_done()
            call.line.takes_nothing = True
            await call.listener.hears("Are you still there?")

        return call, await call.run(person)

    call, outcome = virtually(story())

    assert outcome.end_reason == "stream_lost"
    assert call.line.hang_ups == 1
    assert outcome.duration_seconds < 10, "nobody pays for a call in which nothing can be heard"


def test_a_stream_that_is_lost_while_the_persona_is_cut_leaves_nothing_running(card):
    async def story():
        call = Call(ticket_of(card))
        call.brain = Brain(["This is a sentence. And this is another one. And so on."], stalls_after=8)

        async def person(call):
            await call.persona_speaks()
            call.line.takes_nothing = True
            call.listener.put("start_of_turn")

        outcome = await call.run(person)
        return call, outcome, {task.get_name() for task in asyncio.all_tasks()}

    call, outcome, names = virtually(story())

    assert outcome.end_reason == "stream_lost"
    assert call.brain.cancelled == 1
    assert not names & {"reply", "thought"}
