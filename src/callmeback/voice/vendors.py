"""What a session needs of the outside world, as small protocols, and the events that cross them.

The vendors' own wires stand in `callmeback.providers`, whose classes fit these protocols as they are; what fails raises
`providers.failures.VendorError`, written VendorError below.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from callmeback.providers.deepgram import EagerEndOfTurn, EndOfTurn, Lost, StartOfTurn, TurnResumed, Update
from callmeback.providers.deepgram import Event as HeardEvent
from callmeback.providers.elevenlabs import Silent, Spoken
from callmeback.providers.llm import Delta, Finished, Message
from callmeback.providers.llm import Usage as TokensUsed

__all__ = [
    "CarrierControl",
    "Delta",
    "Digit",
    "EagerEndOfTurn",
    "Ears",
    "EndOfTurn",
    "Finished",
    "HeardEvent",
    "LocalVoice",
    "Lost",
    "MediaStream",
    "Message",
    "Mind",
    "Mouth",
    "Played",
    "Silent",
    "Spoken",
    "StartOfTurn",
    "TokensUsed",
    "TurnResumed",
    "Update",
    "Vendors",
]


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
        """The next audio frame or event; None when the carrier ended the stream. Raises VendorError if it broke."""

    async def send_audio(self, audio: bytes) -> None:
        """Append to what the carrier will play. Raises VendorError."""

    async def send_mark(self, name: str) -> None:
        """Ask for `Played(name)` once the audio so far was played. Raises VendorError."""

    async def send_clear(self) -> None:
        """Forget what was not played yet. Raises VendorError."""

    async def close(self) -> None:
        """End the stream from our side; the carrier then hangs up by itself. Raises VendorError."""


class CarrierControl(Protocol):
    """The carrier's REST side."""

    async def hang_up(self, sid: str, /) -> object:
        """End the call; returns when the carrier has confirmed that. Raises VendorError."""


# The listener.


class Ears(Protocol):
    """A listener for one call, which reconnects by itself and replays what it missed."""

    @property
    def connected(self) -> bool:
        """Is there a socket now, or is a lost one being replaced?"""

    def send(self, audio: bytes, /) -> None:
        """Hand over audio; never waits for the network."""

    def events(self) -> AsyncGenerator[HeardEvent, None]:
        """What was heard; raises VendorError when it can't be had back."""

    def billed_seconds(self) -> Decimal:
        """The larger of audio sent and time connected, over all its sockets."""

    async def aclose(self) -> None:
        """No more audio."""


# The brain.


class Mind(Protocol):
    """A brain that answers."""

    def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Delta | TokensUsed | Finished, None]:
        """The answer as it comes. Closing the iterator cancels it at the vendor. Raises VendorError."""


# The voice.


class Mouth(Protocol):
    """A vendor's voice for one call; contexts are utterances that can be cut one by one."""

    async def say(self, context: str, text: str) -> None:
        """Speak whole sentences, each ending in a space; a context opens by being named. Raises VendorError."""

    async def finish(self, context: str) -> None:
        """No more text for the context: speak what is held. Raises VendorError."""

    async def cancel(self, context: str) -> None:
        """Stop the context; what still arrives for it is to be dropped. Raises VendorError."""

    def events(self) -> AsyncGenerator[Spoken | Silent, None]:
        """Audio as it comes; raises VendorError, or ends, when the socket is gone."""

    @property
    def characters_sent(self) -> int:
        """All text sent to the vendor, what had to be sent again too: that is what it bills."""

    async def aclose(self) -> None:
        """End it."""


class LocalVoice(Protocol):
    """A voice on this machine: nothing to reach, nothing to drop."""

    async def speak(self, text: str) -> bytes:
        """The text as µ-law audio."""


class Vendors(msgspec.Struct, frozen=True, kw_only=True):
    """Everyone a call needs; openers connect within their own timeout or raise VendorError."""

    carrier: CarrierControl
    open_ears: Callable[[], Awaitable[Ears]]
    mind: Mind
    second_mind: Mind
    open_mouth: Callable[[], Awaitable[Mouth]]
    local_voice: LocalVoice
