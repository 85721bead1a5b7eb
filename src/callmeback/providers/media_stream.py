"""The messages of Twilio's Media Streams, both ways, as Structs; the tag is `event`. Who reads and sends them is in
`voice/`.

A frame comes 50 times a second and call, so decoding is one typed pass and the Base64 of the payload is undone
within it.
"""

from typing import Final

import msgspec

from callmeback.errors import UNREADABLE
from callmeback.providers.failures import VendorBroken
from callmeback.providers.twilio import VENDOR

SOUND_FORMAT: Final = ("audio/x-mulaw", 8000, 1)


class MediaFormat(msgspec.Struct, frozen=True, rename="camel"):
    """How the sound is coded; anything but `SOUND_FORMAT` can't be used."""

    encoding: str = ""
    sample_rate: int = 0
    channels: int = 1


class StartBody(msgspec.Struct, frozen=True, rename="camel"):
    stream_sid: str
    call_sid: str
    account_sid: str = ""
    media_format: MediaFormat = MediaFormat()
    custom_parameters: dict[str, str] = {}


class MediaBody(msgspec.Struct, frozen=True):
    payload: bytes
    track: str = "inbound"
    # Numbers written as strings: the chunk counts from "1", the timestamp is in milliseconds since the start.
    chunk: str = "0"
    timestamp: str = "0"


class MarkBody(msgspec.Struct, frozen=True):
    name: str


class DigitBody(msgspec.Struct, frozen=True):
    digit: str
    track: str = ""


class StopBody(msgspec.Struct, frozen=True, rename="camel"):
    call_sid: str = ""
    account_sid: str = ""


class Connected(msgspec.Struct, frozen=True, tag_field="event", tag="connected"):
    """The first message; it carries no identity yet."""

    protocol: str = ""
    version: str = ""


class Start(msgspec.Struct, frozen=True, tag_field="event", tag="start", rename="camel"):
    """Who is speaking: the stream's id, the call's id, and the parameters of our TwiML."""

    start: StartBody
    stream_sid: str = ""


class Media(msgspec.Struct, frozen=True, tag_field="event", tag="media"):
    """A piece of the person's sound, µ-law, usually 20 ms."""

    media: MediaBody


class Mark(msgspec.Struct, frozen=True, tag_field="event", tag="mark"):
    """What we queued before this mark was played, or cleared."""

    mark: MarkBody


class Digit(msgspec.Struct, frozen=True, tag_field="event", tag="dtmf"):
    """A key was pressed."""

    dtmf: DigitBody


class Stop(msgspec.Struct, frozen=True, tag_field="event", tag="stop"):
    """The last message: the call or the stream ended."""

    stop: StopBody = StopBody()


Incoming = Connected | Start | Media | Mark | Digit | Stop


class _Event(msgspec.Struct):
    event: str


_KNOWN: Final = frozenset({"connected", "start", "media", "mark", "dtmf", "stop"})
_incoming: Final[msgspec.json.Decoder[Incoming]] = msgspec.json.Decoder(Incoming)
_decode_event: Final = msgspec.json.Decoder(_Event).decode


def decode(message: str | bytes) -> Incoming | None:
    """A message of the carrier; None for a kind that we don't know. Raises VendorBroken for one that can't be read."""
    try:
        return _incoming.decode(message)
    except UNREADABLE as exc:
        try:
            event = _decode_event(message).event
        except UNREADABLE:
            raise VendorBroken(VENDOR, "read a stream message") from exc
        if event in _KNOWN:
            raise VendorBroken(VENDOR, "read a stream message", vendor_code=event) from exc
        return None


class _OutBody(msgspec.Struct, frozen=True):
    payload: bytes


class _OutMedia(msgspec.Struct, frozen=True, tag_field="event", tag="media", rename="camel"):
    stream_sid: str
    media: _OutBody


class _OutMark(msgspec.Struct, frozen=True, tag_field="event", tag="mark", rename="camel"):
    stream_sid: str
    mark: MarkBody


class _OutClear(msgspec.Struct, frozen=True, tag_field="event", tag="clear", rename="camel"):
    stream_sid: str


_encode: Final = msgspec.json.Encoder().encode


def media(stream_sid: str, sound: bytes) -> str:
    """Queue µ-law sound of any length, without a file header, to be played in order."""
    return _encode(_OutMedia(stream_sid, _OutBody(sound))).decode()


def mark(stream_sid: str, name: str) -> str:
    """Ask to be told when everything queued so far was played or cleared; `name` comes back."""
    return _encode(_OutMark(stream_sid, MarkBody(name))).decode()


def clear(stream_sid: str) -> str:
    """Throw away what is queued; every pending mark comes back."""
    return _encode(_OutClear(stream_sid)).decode()
