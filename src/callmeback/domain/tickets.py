"""What a voice session is told of its call: persona, wishes of the person, limits and prices, read in one statement."""

from decimal import Decimal
from typing import Any, Final

import msgspec

from callmeback.domain.preferences import VoicemailPolicy
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "tickets.sql")


class TicketRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call as a session needs it. Prices are in cents for `per` units; a call exists only where all are known.

    `elapsed_seconds` have gone by since the answer, 0 without one; `answered_by` is the carrier's own word where it has
    said one.
    """

    user_id: str
    call_id: str
    carrier_sid: str | None
    elapsed_seconds: float
    answered_by: str | None
    hold_cents: Decimal
    granted_seconds: int
    limited_by: str
    call_pretext: str | None
    call_scenario: str | None
    custom_instructions: str | None
    persona_name: str
    core_system_prompt: str
    max_tokens: int
    temperature: float
    voice_id: str
    voice_settings: dict[str, Any]
    relationship_type: str
    custom_system_prompt: str | None
    total_calls: int
    person_name: str | None
    timezone: str
    voicemail_policy: VoicemailPolicy
    memory: str | None
    warn_at_percent_per_call: int
    max_cost_per_call_cents: Decimal
    enable_auto_cutoff: bool
    carrier_second_cents: Decimal | None
    carrier_second_per: int | None
    listener_second_cents: Decimal | None
    listener_second_per: int | None
    brain_input_cents: Decimal | None
    brain_input_per: int | None
    brain_output_cents: Decimal | None
    brain_output_per: int | None
    voice_character_cents: Decimal | None
    voice_character_per: int | None
    fallback_input_cents: Decimal | None
    fallback_input_per: int | None
    fallback_output_cents: Decimal | None
    fallback_output_per: int | None
    local_character_cents: Decimal | None
    local_character_per: int | None


async def ticket(tx: Session, user_id: str, call_id: str) -> TicketRow:
    """What a session needs; raises NotFound."""
    return await tx.one(SQL.ticket, TicketRow, user_id=user_id, call_id=call_id)
