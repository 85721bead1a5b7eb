"""The listener's provider against a vendor that says what it shouldn't."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from callmeback import mulaw
from callmeback.providers.deepgram import EndOfTurn, Event, Listener, ListenerConfig, Lost
from callmeback.providers.failures import VendorUnavailable

pytestmark = pytest.mark.anyio
CHUNK = mulaw.silence(80)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def end_of_turn(text: str, **more: Any) -> str:
    return json.dumps({"type": "TurnInfo", "event": "EndOfTurn", "turn_index": 0, "transcript": text} | more)


async def heard(*sockets: list[str | bytes]) -> tuple[list[Event], list[int]]:
    """The events when each new socket answers the first sound with its list, up to an end of turn; and how many bytes
    of sound each socket was given first."""
    given: list[int] = []

    async def vendor(socket: ServerConnection) -> None:
        answers = sockets[min(len(given), len(sockets) - 1)]
        given.append(len(await socket.recv()))
        for answer in answers:
            await socket.send(answer)
        await socket.wait_closed()

    events: list[Event] = []
    async with serve(vendor, "127.0.0.1", 0) as server, asyncio.timeout(10):
        port = server.sockets[0].getsockname()[1]
        listener = Listener(ListenerConfig(api_key="k", base_url=f"ws://127.0.0.1:{port}"))
        await listener.open()
        listener.send(CHUNK)
        try:
            async for event in listener.events():
                events.append(event)
                if isinstance(event, EndOfTurn):
                    break
        finally:
            await listener.aclose()
    return events, given


@pytest.mark.parametrize(
    "odd", [{"foo": 1}, {"type": None}, {"type": "Weather"}, {"type": "TurnInfo", "event": "Sneeze"}], ids=str
)
async def test_what_it_never_said_before_is_ignored(odd: dict[str, Any]) -> None:
    nothing = dict.fromkeys(("turn_index", "audio_window_end", "words"))
    events, given = await heard([json.dumps(odd), end_of_turn("Hello.", **nothing)])

    assert [type(event).__name__ for event in events] == ["StartOfTurn", "EndOfTurn"]
    assert given == [len(CHUNK)]


@pytest.mark.parametrize("event", ["Update", "EndOfTurn"])
async def test_turn_without_words_is_none_whether_they_are_missing_or_null(event: str) -> None:
    wordless = [json.dumps({"type": "TurnInfo", "event": event} | more) for more in ({}, {"transcript": None})]
    spoken = [end_of_turn("Hello.")]
    missing, null = [(await heard([message, *spoken]))[0] for message in wordless]

    assert missing == null


@pytest.mark.parametrize(
    "odd",
    [
        "not json", "[1]", "null", b"\x00\x01", b'{"type": "\xff"}', '{"x": ' + "[" * 50_000 + "]" * 50_000 + "}",
        end_of_turn("Lost.", words="two"), end_of_turn("Lost.", words=[{"end": -1e9}]),
        end_of_turn("Lost.", audio_window_end=1e308),
    ],
    ids=lambda odd: str(odd)[:60],
)  # fmt: skip
async def test_message_that_cannot_be_read_costs_the_socket_and_not_the_call(odd: str | bytes) -> None:
    events, given = await heard([odd], [end_of_turn("Hello.")])

    assert [type(event).__name__ for event in events] == ["Lost", "StartOfTurn", "EndOfTurn"]
    assert isinstance(events[0], Lost)
    assert given == [len(CHUNK)] * 2, "the same sound is heard again"


async def test_vendor_that_is_never_to_be_read_is_given_up() -> None:
    with pytest.raises(VendorUnavailable):
        await heard(["not json"])
