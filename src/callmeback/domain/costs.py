"""What calls cost: reports over a period for a person, and the metering of calls that go on.

Prices and their arithmetic are the database's; here quantities are handed over and figures are read.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback import errors, money
from callmeback.domain import credits, zones
from callmeback.pg import statements
from callmeback.pg.pool import Session
from callmeback.settings import Settings

SQL: Final = statements.load("callmeback.domain", "costs.sql")

PERIOD_DAYS_DEFAULT: Final = 30
PERIOD_DAYS_MAX: Final = 400
PERSONAS_MAX: Final = 500

CARRIER_MODEL: Final = "voice-outbound"
LOCAL_MODEL: Final = "espeak-ng"

GroupBy = Literal["day", "persona", "vendor"]
EventType = Literal["turn", "interval"]


class DayRow(msgspec.Struct, frozen=True):
    """Calls of one local day."""

    day: date
    calls: int
    duration_seconds: int
    credits_used: int
    cost_cents: Decimal


class PersonaRow(msgspec.Struct, frozen=True):
    """Calls with one persona."""

    persona_id: str
    persona_name: str
    calls: int
    duration_seconds: int
    credits_used: int
    cost_cents: Decimal


class VendorRow(msgspec.Struct, frozen=True):
    """Quantities and cents of every vendor."""

    calls: int
    twilio_seconds: int
    deepgram_seconds: Decimal
    cerebras_tokens: int
    elevenlabs_characters: int
    twilio_cents: Decimal
    deepgram_cents: Decimal
    cerebras_cents: Decimal
    elevenlabs_cents: Decimal


class CostGroup(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a cost report: `key` is the day, the persona's id or the vendor. Vendors have a quantity and a unit."""

    key: str
    name: str
    cost_cents: str
    calls: int | None = None
    duration_seconds: int | None = None
    credits_used: int | None = None
    quantity: str | None = None
    unit: str | None = None


class Period(msgspec.Struct, frozen=True):
    """Whole local days, the last included, and the moments that bound them."""

    first: date
    last: date
    begins_at: datetime
    ends_at: datetime


class Metered(msgspec.Struct, frozen=True):
    """What the database says of a live call; the limits are those now in force."""

    call_id: str
    is_open: bool
    total_cost_cents: Decimal
    limit_cents: Decimal
    limit_seconds: int


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative usage of a live call; of two with the same call the higher `seq` is the newer."""

    user_id: str
    call_id: str
    seq: int
    carrier_seconds: int
    listener_seconds: Decimal
    input_tokens: int
    output_tokens: int
    characters: int
    fallback_input_tokens: int
    fallback_output_tokens: int
    local_characters: int


def day_asked(text: str | None, timezone: str, field: str) -> date | None:
    """The local day that somebody names, as a day (RFC 3339's full-date) or by a time in it with its offset.

    Raises ValidationFailed.
    """
    if not text:
        return None
    try:
        if len(text) == len("2025-01-01"):
            return date.fromisoformat(text)
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not None:
            return moment.astimezone(zones.zone_or_utc(timezone)).date()
    except (ValueError, OverflowError):
        pass

    raise errors.ValidationFailed("This is no day like 2025-01-31, and no time with its offset.", field=field)


def period(timezone: str, first: date | None, last: date | None) -> Period:
    """The days asked for, by default the last 30; raises ValidationFailed."""
    last = last or credits.local_day(timezone)
    try:
        first = first or last - timedelta(days=PERIOD_DAYS_DEFAULT - 1)
        if first > last:
            raise errors.ValidationFailed("A period ends after it begins.", field="from")
        if (last - first).days >= PERIOD_DAYS_MAX:
            raise errors.ValidationFailed(f"A period has at most {PERIOD_DAYS_MAX} days.", field="from")
        return Period(first, last, _midnight(first, timezone), _midnight(last + timedelta(days=1), timezone))
    except OverflowError as exc:
        raise errors.ValidationFailed("This is no day that anybody was called on.", field="from") from exc


async def report(
    tx: Session, user_id: str, timezone: str, days: Period, group_by: GroupBy
) -> tuple[list[CostGroup], Decimal]:
    """A person's cost of a period in lines, and its sum in cents."""
    bounds = {"user_id": user_id, "begins_at": days.begins_at, "ends_at": days.ends_at}
    if group_by == "day":
        by_day = await tx.all(SQL.by_day, DayRow, timezone=timezone, **bounds)
        lines = [_line(str(row.day), str(row.day), row) for row in by_day]
        return lines, sum((row.cost_cents for row in by_day), Decimal(0))
    if group_by == "persona":
        by_persona = await tx.all(SQL.by_persona, PersonaRow, most=PERSONAS_MAX, **bounds)
        lines = [_line(row.persona_id, row.persona_name, row) for row in by_persona]
        return lines, sum((row.cost_cents for row in by_persona), Decimal(0))

    return _vendor_lines(await tx.one(SQL.by_vendor, VendorRow, **bounds))


def _line(key: str, name: str, row: DayRow | PersonaRow) -> CostGroup:
    cents = money.format_cents(row.cost_cents)

    return CostGroup(key, name, cents, row.calls, row.duration_seconds, row.credits_used)


def _vendor_lines(row: VendorRow) -> tuple[list[CostGroup], Decimal]:
    legs = [
        ("twilio", "Carrier", row.twilio_cents, str(row.twilio_seconds), "second"),
        ("deepgram", "Listener", row.deepgram_cents, f"{row.deepgram_seconds.normalize():f}", "second"),
        ("cerebras", "Brain", row.cerebras_cents, str(row.cerebras_tokens), "token"),
        ("elevenlabs", "Voice", row.elevenlabs_cents, str(row.elevenlabs_characters), "character"),
    ]
    lines = [
        CostGroup(key, name, money.format_cents(cents), quantity=quantity, unit=unit)
        for key, name, cents, quantity, unit in legs
    ]

    return lines, sum((leg[2] for leg in legs), Decimal(0))


async def meter(tx: Session, readings: Sequence[Reading]) -> list[Metered]:
    """Store the usage of live calls, all in one statement; a repeated or older reading changes nothing."""
    return await tx.all(
        SQL.meter,
        Metered,
        user_ids=[reading.user_id for reading in readings],
        call_ids=[reading.call_id for reading in readings],
        seqs=[reading.seq for reading in readings],
        carrier_seconds=[reading.carrier_seconds for reading in readings],
        listener_seconds=[reading.listener_seconds for reading in readings],
        input_tokens=[reading.input_tokens for reading in readings],
        output_tokens=[reading.output_tokens for reading in readings],
        characters=[reading.characters for reading in readings],
        fallback_input_tokens=[reading.fallback_input_tokens for reading in readings],
        fallback_output_tokens=[reading.fallback_output_tokens for reading in readings],
        local_characters=[reading.local_characters for reading in readings],
    )


async def record_events(tx: Session, calls: Sequence[tuple[str, str]], event_type: EventType) -> None:
    """Write what (user, call) pairs used since their last event."""
    await tx.run(
        SQL.record_events,
        user_ids=[user_id for user_id, _ in calls],
        call_ids=[call_id for _, call_id in calls],
        event_type=event_type,
    )


def card_name(settings: Settings) -> str:
    """The set of models in use, as the price table calls it."""
    return "|".join(
        (
            CARRIER_MODEL,
            settings.listener_model,
            settings.brain_model,
            settings.voice_model,
            settings.brain_fallback_model,
            LOCAL_MODEL,
        )
    )


async def ensure_card(tx: Session, settings: Settings) -> bool:
    """Make the models in use known to the prices; False where a rate is missing: such calls are refused."""
    is_priced: bool = await tx.value(
        SQL.ensure_card,
        card=card_name(settings),
        carrier_model=CARRIER_MODEL,
        listener_model=settings.listener_model,
        brain_model=settings.brain_model,
        voice_model=settings.voice_model,
        fallback_model=settings.brain_fallback_model,
        local_model=LOCAL_MODEL,
    )

    return is_priced


def _midnight(day: date, timezone: str) -> datetime:
    return datetime.combine(day, time(), zones.zone_or_utc(timezone)).astimezone(UTC)
