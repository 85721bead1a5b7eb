"""What a session needs of the outside world, as small protocols, and the events that cross them.

The vendors' own wires stand in `callmeback.providers`; `wires.py` puts those behind these protocols.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Literal, Protocol

import msgspec


class VendorLost(Exception):
    """A vendor's connection is gone, or was never had; what was lost is said by the message."""


# The carrier's media stream.


class Played(msgspec.Struct, frozen=True):
    """A mark came back: the audio before it was played, or cleared."""

    name: str


class Digit(msgspec.Struct, frozen=True):
    """A key was pressed."""

    digit: str


class MediaStream(Protocol):
    """One call's audio, both ways; µ-law 8 kHz."""

    async def receive(self) -> bytes | Played | Digit | None:
        """The next audio frame or event; None when the carrier ended the stream. Raises VendorLost if it broke."""

    async def send_audio(self, audio: bytes) -> None:
        """Append to what the carrier will play. Raises VendorLost."""

    async def send_mark(self, name: str) -> None:
        """Ask for `Played(name)` once the audio so far was played. Raises VendorLost."""

    async def send_clear(self) -> None:
        """Forget what was not played yet. Raises VendorLost."""

    async def close(self) -> None:
        """End the stream from our side; the carrier then hangs up by itself."""


class CarrierControl(Protocol):
    """The carrier's REST side."""

    async def hang_up(self, carrier_sid: str) -> bool:
        """End the call; True when the carrier confirms that it has ended. Raises any error of the way there."""


# The listener.


class TurnEvent(msgspec.Struct, frozen=True):
    """A turn of the person's speech moved on."""

    event: Literal["update", "start_of_turn", "eager_end_of_turn", "turn_resumed", "end_of_turn"]
    text: str = ""
    ended_at_seconds: float | None = None
    """When the last word ended, in seconds of audio sent; None when the listener doesn't say."""


class ListenerDown(msgspec.Struct, frozen=True):
    """The listener's socket dropped and is being opened anew; what was said meanwhile will be replayed."""


class Ears(Protocol):
    """A listener for one call, which reconnects by itself and replays what it missed."""

    async def send(self, audio: bytes) -> None:
        """Hand over audio; never waits for the network longer than its own bound."""

    def events(self) -> AsyncIterator[TurnEvent | ListenerDown]:
        """What was heard; raises VendorLost when it can't be had back."""

    def billed_seconds(self) -> Decimal:
        """The larger of audio sent and time connected, over all its sockets."""

    async def close(self) -> None:
        """No more audio."""


# The brain.


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Delta(msgspec.Struct, frozen=True):
    """A piece of the answer; reasoning is generated and billed, but never spoken."""

    text: str
    reasoning: bool = False


class TokensUsed(msgspec.Struct, frozen=True):
    """The vendor's own count for the request."""

    input_tokens: int
    output_tokens: int


class Finished(msgspec.Struct, frozen=True):
    """The vendor said that the answer is whole; a stream that ends without this was cut."""

    reason: str


class Mind(Protocol):
    """A brain that answers."""

    def think(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncIterator[Delta | TokensUsed | Finished]:
        """The answer as it comes. Closing the iterator cancels it at the vendor. Raises VendorLost."""


# The voice.


class Spoken(msgspec.Struct, frozen=True):
    """Audio of a context, and which of its text it says if the vendor aligns them."""

    context: str
    audio: bytes
    text: str = ""


class Silent(msgspec.Struct, frozen=True):
    """The vendor has closed a context: no more audio comes for it."""

    context: str


class Mouth(Protocol):
    """A vendor's voice for one call; contexts are utterances that can be cut one by one."""

    async def say(self, context: str, text: str) -> None:
        """Speak text, a whole sentence ending in a space, in a context that opens by being named. Raises VendorLost."""

    async def finish(self, context: str) -> None:
        """No more text for the context: speak what is held. Raises VendorLost."""

    async def cancel(self, context: str) -> None:
        """Stop the context; what still arrives for it is to be dropped. Raises VendorLost."""

    def events(self) -> AsyncIterator[Spoken | Silent]:
        """Audio as it comes; raises VendorLost, or ends, when the socket is gone."""

    async def close(self) -> None:
        """End it."""


class LocalVoice(Protocol):
    """A voice on this machine: nothing to reach, nothing to drop."""

    async def speak(self, text: str) -> bytes:
        """The text as µ-law audio."""


class Vendors(msgspec.Struct, frozen=True, kw_only=True):
    """Everyone a call needs; openers connect within their own timeout or raise VendorLost."""

    carrier: CarrierControl
    open_ears: Callable[[], Awaitable[Ears]]
    mind: Mind
    second_mind: Mind
    open_mouth: Callable[[], Awaitable[Mouth]]
    local_voice: LocalVoice
