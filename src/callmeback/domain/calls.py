"""Calls as their owner asks for and sees them. Dialling, events and settlement are in `dials.py`.

What may be called, for how long and at what hold is decided by the database's `start_call`, in one commit.
"""

import hashlib
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from callmeback import errors, ids, money
from callmeback.domain import credits, scenarios
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "calls.sql")

TERMINAL: Final = frozenset({"completed", "failed", "no_answer", "busy", "canceled"})
MINUTES_MAX: Final = 240
CONTEXT_MAX: Final = 2_000
KEY_LENGTH_MAX: Final = 200

Status = Literal[
    "initiating", "calling", "connected", "in_progress", "completed", "failed", "no_answer", "busy", "canceled"
]
Id = Annotated[str, Meta(min_length=1, max_length=64)]


class CallOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A call to be placed. Without a number the primary one is called; `context` says what the call is about."""

    persona_id: Id
    phone_number: Annotated[str, Meta(min_length=1, max_length=40)] | None = None
    scenario_id: Id | None = None
    context: Annotated[str, Meta(max_length=CONTEXT_MAX)] | None = None
    max_minutes: Annotated[int, Meta(ge=1, le=MINUTES_MAX)] | None = None


class Started(msgspec.Struct, frozen=True):
    """The call that an order led to; `replayed` where its idempotency key was known."""

    call_id: str
    replayed: bool


class Line(msgspec.Struct, frozen=True):
    """One turn of the transcript."""

    speaker: Literal["persona", "user"]
    text: str
    at: datetime


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the database has it."""

    id: str
    persona_id: str
    persona_name: str
    avatar_url: str | None
    phone_number: str
    status: Status
    answered_by: str | None
    end_reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: int
    credits_used: int
    cost_cents: Decimal
    estimated_cost_cents: Decimal
    twilio_cents: Decimal
    deepgram_cents: Decimal
    cerebras_cents: Decimal
    elevenlabs_cents: Decimal
    carrier_seconds: int
    listener_seconds: Decimal
    input_tokens: int
    output_tokens: int
    characters: int
    fallback_input_tokens: int
    fallback_output_tokens: int
    local_characters: int
    hold_credits: int
    granted_seconds: int
    limited_by: str | None
    context: str | None
    scenario_text: str | None
    turn_count: int
    interrupt_count: int
    avg_response_time_ms: int | None
    transcript: list[Line]


class VendorCosts(msgspec.Struct, frozen=True):
    """Cents by vendor, exact; their sum is the call's cost."""

    twilio: str
    deepgram: str
    cerebras: str
    elevenlabs: str


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Quantities that the costs were priced from."""

    carrier_seconds: int
    listener_seconds: str
    input_tokens: int
    output_tokens: int
    characters: int
    fallback_input_tokens: int
    fallback_output_tokens: int
    local_characters: int


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call. Until it is terminal, seconds, credits and costs are those so far, a second old at the most.

    `started_at` is when somebody answered; `estimated_cost_cents` the most that the call may cost; `limited_by` says
    which limit set `granted_seconds`.
    """

    id: str
    persona_id: str
    persona_name: str
    avatar_url: str | None
    phone_number: str
    status: Status
    answered_by: str | None
    end_reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    duration_seconds: int
    credits_used: int
    cost_cents: str
    estimated_cost_cents: str
    costs: VendorCosts
    usage: Usage
    hold_credits: int
    granted_seconds: int
    limited_by: str | None
    context: str | None
    scenario_text: str | None
    transcript: list[Line]
    turn_count: int
    interrupt_count: int
    avg_response_time_ms: int | None


async def place(
    tx: Session,
    user_id: str,
    order: CallOrder,
    *,
    phone_number: str | None,
    timezone: str,
    card: str,
    idempotency_key: str | None = None,
    authorization_id: str | None = None,
) -> Started:
    """Write a call to be dialled, with its hold; `authorization_id` names the money that was set aside for it.

    `phone_number` is E.164 or None where the person has no verified one. Raises PhoneNotVerified, InsufficientCredits,
    BudgetExceeded, DailyLimit, CallInProgress, IdempotencyConflict, PersonaNotFound, NumberBlocked, DebtOutstanding,
    UnknownRate, NotFound for an unknown scenario, ValidationFailed.
    """
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= KEY_LENGTH_MAX:
        raise errors.ValidationFailed(
            f"An idempotency key has 1 to {KEY_LENGTH_MAX} characters.", field="Idempotency-Key"
        )
    if phone_number is None:
        raise errors.PhoneNotVerified()
    scenario = None if order.scenario_id is None else await scenarios.scenario(tx, order.scenario_id)
    values: dict[str, object] = {
        "call_id": ids.new("call"),
        "user_id": user_id,
        "persona_id": order.persona_id,
        "phone_number": phone_number,
        "card": card,
        "local_day": credits.local_day(timezone),
        "requested_seconds": requested_seconds(order),
        "pretext": order.context or None,
        "scenario": None if scenario is None else scenario.scenario_text,
        "idempotency_key": idempotency_key,
        "request_hash": None if idempotency_key is None else fingerprint(order, phone_number),
    }
    if authorization_id is None:
        started = await tx.one(SQL.start, Started, **values)
    else:
        started = await tx.one(SQL.start_paid, Started, authorization_id=authorization_id, **values)
    if scenario is not None and not started.replayed:
        await scenarios.note_use(tx, user_id, scenario.id)

    return started


def requested_seconds(order: CallOrder) -> int | None:
    """The longest talk that was asked for."""
    return None if order.max_minutes is None else order.max_minutes * money.SECONDS_PER_CREDIT


def fingerprint(order: CallOrder, phone_number: str) -> bytes:
    """What makes two orders the same: every field that has an effect, the number as it would be called."""
    canonical = msgspec.structs.replace(order, phone_number=phone_number, context=order.context or None)

    return hashlib.sha256(msgspec.json.encode(canonical, order="deterministic")).digest()


async def call(tx: Session, user_id: str, call_id: str) -> Call:
    """One call of a person; raises NotFound, also for another person's."""
    return _call(await tx.one(SQL.call, CallRow, user_id=user_id, call_id=call_id))


async def calls(
    tx: Session, user_id: str, *, before_at: datetime | None, before_id: str | None, most: int
) -> list[Call]:
    """A page of a person's calls, newest first, from after (created_at, id) on."""
    found = await tx.all(SQL.calls, CallRow, user_id=user_id, before_at=before_at, before_id=before_id, most=most)

    return [_call(row) for row in found]


async def open_call(tx: Session, user_id: str) -> str | None:
    """The id of the call that goes on for a person."""
    found: str | None = await tx.value(SQL.open_call, user_id=user_id)

    return found


def _call(row: CallRow) -> Call:
    cents = money.format_cents
    costs = VendorCosts(
        cents(row.twilio_cents), cents(row.deepgram_cents), cents(row.cerebras_cents), cents(row.elevenlabs_cents)
    )
    usage = Usage(
        carrier_seconds=row.carrier_seconds,
        listener_seconds=f"{row.listener_seconds.normalize():f}",
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        characters=row.characters,
        fallback_input_tokens=row.fallback_input_tokens,
        fallback_output_tokens=row.fallback_output_tokens,
        local_characters=row.local_characters,
    )

    return Call(
        id=row.id,
        persona_id=row.persona_id,
        persona_name=row.persona_name,
        avatar_url=row.avatar_url,
        phone_number=row.phone_number,
        status=row.status,
        answered_by=row.answered_by,
        end_reason=row.end_reason,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        duration_seconds=row.duration_seconds,
        credits_used=row.credits_used,
        cost_cents=cents(row.cost_cents),
        estimated_cost_cents=cents(row.estimated_cost_cents),
        costs=costs,
        usage=usage,
        hold_credits=row.hold_credits,
        granted_seconds=row.granted_seconds,
        limited_by=row.limited_by,
        context=row.context,
        scenario_text=row.scenario_text,
        transcript=row.transcript,
        turn_count=row.turn_count,
        interrupt_count=row.interrupt_count,
        avg_response_time_ms=row.avg_response_time_ms,
    )
