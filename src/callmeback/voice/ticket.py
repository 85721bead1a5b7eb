"""What a call is given, what it hands back, and the books it writes to; plain records, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from callmeback.voice.meter import Costs, PriceCard, Usage

Speaker = Literal["persona", "user"]
VoicemailPolicy = Literal["hang_up", "leave_message"]
AnsweredBy = Literal["human", "machine", "fax", "unknown"]
EndReason = Literal[
    "user_hung_up",
    "persona_ended",
    "hung_up_by_request",
    "budget_reached",
    "time_limit",
    "silence",
    "voicemail",
    "vendor_failure",
    "drained",
    "stream_lost",
]


class PromptLayers(msgspec.Struct, frozen=True, kw_only=True):
    """The five layers of the system prompt, outermost first; an empty layer is left out."""

    identity: str
    context: str = ""
    relationship: str = ""
    facts: tuple[str, ...] = ()
    rules: str = ""
    """Rules for the phone; empty takes the house's own (`prompts.PHONE_RULES`)."""


class CallTicket(msgspec.Struct, frozen=True, kw_only=True):
    """All that a session needs to know about its call; money in cents, times in seconds."""

    call_id: str
    user_id: str
    carrier_sid: str
    persona_name: str
    layers: PromptLayers
    card: PriceCard
    hold_cents: Decimal
    granted_seconds: int
    limited_by: str = "tier"
    warn_at_percent: int = 75
    warn_cents: Decimal | None = None
    """The amount the percentage is of; None means the hold. With cut-off off it is the user's limit per call."""
    enable_auto_cutoff: bool = True
    voice_id: str = ""
    voice_settings: Mapping[str, float | bool] = msgspec.field(default_factory=dict)
    max_tokens: int = 150
    temperature: float = 0.7
    voicemail_policy: VoicemailPolicy = "hang_up"
    elapsed_seconds: float = 0.0
    """Seconds since the carrier's answer when the stream began; the carrier bills from its answer."""


class Limits(msgspec.Struct, frozen=True):
    """The limits in force for a call: never more than its hold."""

    cents: Decimal
    seconds: int


class Turn(msgspec.Struct, frozen=True):
    """One turn of the transcript: what was said, or of the persona's words what was heard."""

    speaker: Speaker
    text: str
    at: datetime


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended, to be settled; durations in seconds from the carrier's answer."""

    call_id: str
    user_id: str
    end_reason: EndReason
    answered_by: AnsweredBy | None
    """Who picked up, as far as the carrier said; None when it said nothing."""
    answered_at: datetime
    ended_at: datetime
    duration_seconds: int
    sequence: int
    usage: Usage
    costs: Costs
    transcript: tuple[Turn, ...]
    turn_count: int
    """Exchanges: how often the person spoke."""
    interrupt_count: int
    avg_response_time_ms: int | None
    response_times_ms: tuple[int, ...]
    hang_up_confirmed: bool
    failures: tuple[str, ...]
    """What failed on the way, by vendor and kind, for the log; no words of the conversation."""


class Books(Protocol):
    """Where a call is written down; implemented over the database by the entrance that owns the media socket."""

    async def connected(self) -> None:
        """The person and the persona are connected."""

    def meter(self, sequence: int, usage: Usage, costs: Costs) -> None:
        """Hand over the cumulative state; never waits, the newest wins."""

    def limits(self) -> Limits | None:
        """The limits last answered by the database; None before the first answer."""

    async def turn(self, turn: Turn) -> None:
        """Keep one turn of the transcript."""

    async def finish(self, outcome: Outcome) -> None:
        """Settle the call; may be called again after a failure, and then changes nothing twice."""
