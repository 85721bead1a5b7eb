"""The carrier's side of a call: claims of the dialler, events, settlement. Those that stopped are in `reaping.py`.

Used by webhooks, media and dialler; a web request of a person never comes here.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec

from callmeback.domain.preferences import VoicemailPolicy
from callmeback.pg import statements
from callmeback.pg.pool import Session

SQL: Final = statements.load("callmeback.domain", "dials.sql")

CARRIER: Final = "twilio"
MACHINES: Final = frozenset({"machine", "fax"})

AnsweredBy = Literal["human", "machine", "fax", "unknown"]
EventKind = Literal["status", "voice", "amd", "stream", "lookup"]


class Claimed(msgspec.Struct, frozen=True):
    """A call that this dialler alone may dial."""

    user_id: str
    call_id: str


class DialOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What the carrier must know; `caller` is the persona's own number, if it has one.

    `is_blocked`: the number or its person was blocked after the call was placed.
    """

    user_id: str
    call_id: str
    phone_number: str
    caller: str | None
    granted_seconds: int
    is_open: bool
    is_blocked: bool
    voicemail_policy: VoicemailPolicy


class Verdict(msgspec.Struct, frozen=True):
    """What an event did: applied, ignored, duplicate, or unknown for a call that doesn't exist (the rest is None)."""

    verdict: str
    status: str | None
    is_open: bool | None
    answered_by: str | None


class Answer(msgspec.Struct, frozen=True):
    """The carrier's own word for who picked up, such as `machine_end_beep`."""

    user_id: str
    call_id: str
    word: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How a call stands towards the carrier."""

    user_id: str
    call_id: str
    status: str
    is_open: bool
    carrier_sid: str | None
    answered_at: datetime | None
    answered_by: str | None
    voicemail_policy: VoicemailPolicy


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a call ended and what it used; quantities are cumulative, and a smaller one than was metered is ignored.

    `connected_seconds` None settles to the last metered second.
    """

    status: str
    end_reason: str
    seq: int | None = None
    connected_seconds: int | None = None
    listener_seconds: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    characters: int = 0
    fallback_input_tokens: int = 0
    fallback_output_tokens: int = 0
    local_characters: int = 0
    answered_by: str | None = None
    is_charged: bool = True
    turn_count: int | None = None
    interrupt_count: int | None = None
    avg_response_time_ms: int | None = None
    error_message: str | None = None


class Settled(msgspec.Struct, frozen=True):
    """What settling did; `settled` is false where somebody had settled before, or there is no such call."""

    settled: bool
    status: str | None
    credits_used: int | None
    cost_cents: Decimal | None


class Turn(msgspec.Struct, frozen=True):
    """One turn of a transcript, `seq` from 0."""

    seq: int
    speaker: Literal["persona", "user"]
    text: str
    at: datetime


async def claim(tx: Session, worker: str, most: int) -> list[Claimed]:
    """Take at most so many calls to dial; fewer where the carrier's pace allows no more."""
    return await tx.all(SQL.claim, Claimed, carrier=CARRIER, worker=worker, most=most)


async def order(tx: Session, claimed: Claimed) -> DialOrder:
    """What the carrier must know of a claimed call."""
    return await tx.one(SQL.order, DialOrder, user_id=claimed.user_id, call_id=claimed.call_id)


async def advance(
    tx: Session, user_id: str, call_id: str, status: str, carrier_sid: str | None = None
) -> datetime | None:
    """A step by our own code; answers when the talk began. Raises ImpossibleTransition, NotFound."""
    answered_at: datetime | None = await tx.value(
        SQL.advance, user_id=user_id, call_id=call_id, status=status, carrier_sid=carrier_sid
    )

    return answered_at


async def note_event(
    tx: Session,
    user_id: str,
    call_id: str,
    kind: EventKind,
    event_key: str,
    *,
    carrier_status: str | None = None,
    carrier_sid: str | None = None,
    answered_by: str | None = None,
    carrier_seconds: int | None = None,
) -> Verdict:
    """Note what the carrier said, once; never raises for what comes late, twice or out of order.

    `answered_by` is the carrier's own word; the database knows what it is in ours.
    """
    return await tx.one(
        SQL.note_event,
        Verdict,
        user_id=user_id,
        call_id=call_id,
        kind=kind,
        event_key=event_key,
        carrier_status=carrier_status,
        carrier_sid=carrier_sid,
        answered_by=answered_by,
        carrier_seconds=carrier_seconds,
    )


async def answers(tx: Session, calls: Collection[tuple[str, str]]) -> list[Answer]:
    """What the carrier has said of who picked up, of calls by user and id."""
    return await tx.all(SQL.answers, Answer, user_ids=[user for user, _ in calls], call_ids=[call for _, call in calls])


async def connection(tx: Session, user_id: str, call_id: str) -> Connection | None:
    """How a call stands towards the carrier; None for an unknown one."""
    return await tx.maybe(SQL.line, Connection, user_id=user_id, call_id=call_id)


async def lowered_budget(tx: Session, user_id: str, call_id: str) -> str | None:
    """`call_budget` or `month_budget`: what was lowered below the hold of an open call; None where neither was."""
    found: str | None = await tx.value(SQL.lowered_budget, user_id=user_id, call_id=call_id)

    return found


async def finish(tx: Session, user_id: str, call_id: str, ending: Ending) -> Settled:
    """Settle a call: the first finisher does, a later one only adds usage."""
    values = {name: getattr(ending, name) for name in ending.__struct_fields__}

    return await tx.one(SQL.finish, Settled, user_id=user_id, call_id=call_id, **values)


async def add_turns(tx: Session, user_id: str, call_id: str, turns: Sequence[Turn]) -> None:
    """Keep turns of a transcript; those that are there already stay as they are."""
    await tx.run_many(
        SQL.add_turn,
        [
            {
                "user_id": user_id,
                "call_id": call_id,
                "seq": turn.seq,
                "speaker": turn.speaker,
                "text": turn.text,
                "at": turn.at,
            }
            for turn in turns
        ],
    )


def answered_by(word: str | None) -> AnsweredBy | None:
    """The carrier's AnsweredBy in our vocabulary; None for a word that says nothing."""
    if word is None:
        return None
    if word.startswith("machine"):
        return "machine"
    if word in ("human", "fax", "unknown"):
        return word  # type: ignore[return-value]  # one of the three

    return None
