"""What a call cost, line by line: quantities at the rates of the call's own time. Figures only, no words."""

from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "receipts.sql")

Service = Literal["carrier", "listener", "brain", "fallback", "voice", "local"]
Unit = Literal["second", "input_token", "output_token", "character"]


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Quantities, prices (cents for so many units; None where the card had no rate) and cents of one call."""

    payment_method: str | None
    carrier_model: str | None
    listener_model: str | None
    brain_model: str | None
    fallback_model: str | None
    voice_model: str | None
    local_model: str | None
    carrier_seconds: int
    listener_seconds: Decimal
    brain_input: int
    brain_output: int
    fallback_input: int
    fallback_output: int
    voice_characters: int
    local_characters: int
    carrier_second_cents: Decimal | None
    carrier_second_per: int | None
    listener_second_cents: Decimal | None
    listener_second_per: int | None
    brain_input_cents: Decimal | None
    brain_input_per: int | None
    brain_output_cents: Decimal | None
    brain_output_per: int | None
    fallback_input_cents: Decimal | None
    fallback_input_per: int | None
    fallback_output_cents: Decimal | None
    fallback_output_per: int | None
    voice_character_cents: Decimal | None
    voice_character_per: int | None
    local_character_cents: Decimal | None
    local_character_per: int | None
    twilio_cents: Decimal
    deepgram_cents: Decimal
    cerebras_cents: Decimal
    elevenlabs_cents: Decimal


class Line(msgspec.Struct, frozen=True):
    """A quantity at its rate: `price_cents` for `per` units."""

    service: Service
    model: str
    quantity: Decimal
    unit: Unit
    price_cents: Decimal
    per: int


class Leg(msgspec.Struct, frozen=True):
    """One of the four legs that a call's cost is the sum of; its cents are rounded once, over all its lines."""

    service: Service
    cents: Decimal
    lines: tuple[Line, ...]


async def bill(tx: Session, user_id: str, call_id: str) -> Bill:
    """The figures of a person's call; raises NotFound, also for another person's."""
    return await tx.one(SQL.bill, Bill, user_id=user_id, call_id=call_id)


async def worst_cents_a_minute(tx: Session, card: str) -> Decimal | None:
    """What a minute can cost at the most on a card of prices; None where a rate is missing."""
    worst: Decimal | None = await tx.value(SQL.worst_cents_a_minute, card=card)

    return worst


def legs(figures: Bill) -> list[Leg]:
    """The four legs in the order of the specification. The second brain and the local voice are shown where used."""
    f = figures
    carrier = _line(
        "carrier", f.carrier_model, f.carrier_seconds, "second", f.carrier_second_cents, f.carrier_second_per
    )
    listener = _line(
        "listener", f.listener_model, f.listener_seconds, "second", f.listener_second_cents, f.listener_second_per
    )
    brain = (
        _line("brain", f.brain_model, f.brain_input, "input_token", f.brain_input_cents, f.brain_input_per),
        _line("brain", f.brain_model, f.brain_output, "output_token", f.brain_output_cents, f.brain_output_per),
    )
    second = f.fallback_model
    fallback = (
        _line("fallback", second, f.fallback_input, "input_token", f.fallback_input_cents, f.fallback_input_per),
        _line("fallback", second, f.fallback_output, "output_token", f.fallback_output_cents, f.fallback_output_per),
    )
    voice = _line(
        "voice", f.voice_model, f.voice_characters, "character", f.voice_character_cents, f.voice_character_per
    )
    local = _line(
        "local", f.local_model, f.local_characters, "character", f.local_character_cents, f.local_character_per
    )

    return [
        Leg("carrier", f.twilio_cents, (carrier,)),
        Leg("listener", f.deepgram_cents, (listener,)),
        Leg("brain", f.cerebras_cents, (*brain, *_used(*fallback))),
        Leg("voice", f.elevenlabs_cents, (voice, *_used(local))),
    ]


def _line(
    service: Service, model: str | None, quantity: Decimal | int, unit: Unit, cents: Decimal | None, per: int | None
) -> Line:
    return Line(service, model or "", Decimal(quantity), unit, cents or Decimal(0), per or 1)


def _used(*lines: Line) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.quantity)
