"""The phone in the page: `WebSocket /simulator/phones/{number}/socket`, on the simulator's host and port.

`{number}` is the phone's own number in E.164 with the plus percent-encoded (`%2B12025550100`). While such a socket
is open the page shows this phone, and calls to the number ring there, unless `PUT /simulator/phones/{number}` put a
script on it. The handshake needs an `Origin` whose host and port are those of the `Host` header, and a loopback
client; else it fails with 403. A number that isn't E.164 fails with 400. At most 20 pages show one number (close
code 1013 for the next).

To the page, text frames, each one JSON object (ignore unknown types and fields):

    {"type": "ringing", "call_sid": "CA…", "from": "+1…"}
        a call begins to ring (also right after connecting)
    {"type": "answered", "call_sid": "CA…", "from": "+1…", "seconds": N}
        this page now holds the call since N seconds: it answered, or it was reloaded and got its call back within 3 s
    {"type": "ended", "call_sid": "CA…", "from": "+1…", "reason": R}
        the phone is free again
    {"type": "caption", "speaker": "persona", "text": "…"}
        a sentence begins to be heard; it may yet be cut
    {"type": "clear"}
        throw away sound that isn't played yet (interrupted)
    {"type": "error", "code": C}
        what the page sent just before could not be done

R is one of: hangup (this phone hung up), remote (the other side did), time_limit, declined, canceled, no_answer,
answered_elsewhere (another page of this number took it). C is one of: bad_message, nothing_rings, no_call, too_long.

To the page, binary frames: the persona's voice, 20 ms each, 160 bytes µ-law (G.711, 8000 Hz, mono), in real time and
in order. Nothing is sent while the persona is silent, so play frames as they come, over a small buffer of 60 to 100 ms.

From the page, text frames, each one JSON object:

    {"type": "answer"}                    pick up what rings → answered, or error nothing_rings
    {"type": "decline"}                   refuse it → ended with declined
    {"type": "hangup"}                    end the call held → ended with hangup
    {"type": "say", "text": "Hello"}      1 to 1000 characters, spoken aloud into the call after what is being said
    {"type": "dtmf", "digit": "5"}        a key: 0 to 9, *, #
"""

import asyncio
import json
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from callmeback.providers.failures import VendorError
from callmeback.simulator.answers import Sim, number_of, refuse
from callmeback.simulator.handset import Handset
from callmeback.simulator.pages import Page
from callmeback.simulator.persons import SAY_CHARACTERS_MAX
from callmeback.simulator.state import Simulator

MESSAGE_BYTES_MAX: Final = 16_000


class Answer(msgspec.Struct, tag_field="type", tag="answer"):
    """Pick up."""


class Decline(msgspec.Struct, tag_field="type", tag="decline"):
    """Refuse."""


class HangUp(msgspec.Struct, tag_field="type", tag="hangup"):
    """End the call."""


class Say(msgspec.Struct, tag_field="type", tag="say"):
    """Speak."""

    text: Annotated[str, msgspec.Meta(min_length=1)]


class Dtmf(msgspec.Struct, tag_field="type", tag="dtmf"):
    """Press a key."""

    digit: Annotated[str, msgspec.Meta(pattern="^[0-9*#]$")]


_decoder: Final[msgspec.json.Decoder[Answer | Decline | HangUp | Say | Dtmf]] = msgspec.json.Decoder(
    Answer | Decline | HangUp | Say | Dtmf
)


@websocket("/phones/{number:str}/socket")
async def page_phone(socket: WebSocket[Any, Any, Any], number: FromPath[str], sim: Sim) -> None:
    """A page shows a phone; see the top of this module."""
    phone = number_of(number)
    if phone is None:
        await refuse(socket, 400)
        return
    if not _same_origin(socket):
        await refuse(socket, 403)
        return
    await socket.accept()
    page = Page(phone)
    if not sim.pages.open(page):
        await socket.close(code=1013, reason="too many pages")
        return
    sender = asyncio.get_running_loop().create_task(_send(socket, page))
    try:
        await _receive(socket, page, sim)
    finally:
        sender.cancel()
        await asyncio.wait([sender])
        # The grace of a reload goes on after this socket's end.
        sim.start(sim.pages.close(page))


def _same_origin(socket: WebSocket[Any, Any, Any]) -> bool:
    origin = urlsplit(socket.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == socket.headers.get("host", "")


async def _send(socket: WebSocket[Any, Any, Any], page: Page) -> None:
    while True:
        message = await page.outbox.get()
        try:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(json.dumps(message))
        except (WebSocketDisconnect, OSError):
            # The receiving side ends the page.
            return


async def _receive(socket: WebSocket[Any, Any, Any], page: Page, sim: Simulator) -> None:
    while True:
        try:
            text = await socket.receive_text()
        except WebSocketDisconnect:
            return
        code = _act(text, page, sim)
        if code is not None:
            page.send({"type": "error", "code": code})


def _act(text: str, page: Page, sim: Simulator) -> str | None:
    """Do what the page asks; answers the error code, if it can't be done."""
    if len(text) > MESSAGE_BYTES_MAX:
        return "too_long"
    try:
        message = _decoder.decode(text)
    except msgspec.DecodeError:
        return "bad_message"
    match message:
        case Answer():
            return None if sim.pages.take(page) else "nothing_rings"
        case Decline():
            return None if sim.pages.decline(page) else "nothing_rings"
    ring = sim.pages.held_by(page)
    if ring is None:
        return "no_call"
    match message:
        case HangUp():
            ring.done.set()
        case Dtmf(digit=digit):
            if ring.handset.digits.full():
                return "too_long"
            ring.handset.digits.put_nowait(digit)
        case Say(text=words):
            if len(words) > SAY_CHARACTERS_MAX:
                return "too_long"
            sim.start(_say(page, ring.handset, words))
    return None


async def _say(page: Page, handset: Handset, words: str) -> None:
    try:
        await handset.say(words)
    except VendorError:
        page.send({"type": "error", "code": "too_long"})
