"""Calls that stopped moving: the process that looked after them is gone, or the carrier's last word never came.

Each is settled by evidence from the carrier, asked outside any transaction. A call that may still be alive is left
alone: a live call cut by a reaper is worse than a hold that ends a minute later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol

import msgspec

from callmeback import errors, logs
from callmeback.pg import statements
from callmeback.pg.pool import Database

SQL: Final = statements.load("callmeback.domain", "reaping.sql")

BATCH_MAX: Final = 50
# A database that was away for a while makes every live call look silent: they report again within a second.
SECOND_LOOK_S: Final = 5.0
# Without a word from the carrier either, its own time limit has ended the call by now.
CARRIER_SILENCE_MAX: Final = timedelta(minutes=15)
# A call that the carrier may take for the next one was placed, at its earliest, so long before.
KNOWN_WITHIN: Final = timedelta(hours=1)

Situation = Literal["never_dialled", "dial_unknown", "ringing_too_long", "silent"]
Sleep = Callable[[float], Awaitable[None]]

_log = logs.get_logger(__name__)


class StaleCall(msgspec.Struct, frozen=True):
    """An open call that stopped moving; times are UTC."""

    user_id: str
    call_id: str
    status: str
    situation: Situation
    carrier_sid: str | None
    phone_number: str
    created_at: datetime
    seen_at: datetime


class Noted(msgspec.Struct, frozen=True):
    """What the state machine made of the carrier's word."""

    verdict: str
    is_open: bool | None


class Evidence(msgspec.Struct, frozen=True):
    """A call as the carrier has it, in the carrier's spelling; `sid` None when the carrier doesn't know it."""

    sid: str | None
    status: str | None = None
    ended: bool = True
    duration_seconds: int | None = None


class CarrierWitness(Protocol):
    """The carrier, asked for the truth. Each raises VendorFailed when there is no answer."""

    async def look(self, carrier_sid: str) -> Evidence:
        """The call of that id."""

    async def find(self, phone_number: str, since: datetime) -> Sequence[Evidence]:
        """Calls to that number since, the newest first; by its clock, so one just before may be among them."""

    async def hang_up(self, carrier_sid: str) -> Evidence:
        """End it, and say how it stands then."""


async def reap(db: Database, carrier: CarrierWitness, *, sleep: Sleep = asyncio.sleep) -> int:
    """Look after every stale call once; answers how many were settled."""
    async with db.transaction() as tx:
        stale = await tx.all(SQL.lease_stale, StaleCall, limit=BATCH_MAX)
    if any(call.situation == "silent" for call in stale):
        await sleep(SECOND_LOOK_S)
    settled = 0
    for call in stale:
        try:
            settled += await _reap_one(db, carrier, call)
        except errors.VendorFailed as exc:
            settled += await _without_carrier(db, call, exc)
        except (errors.DatabaseUnavailable, errors.Overloaded):
            raise
        except errors.CallMeBackError as exc:
            # One call that can't be settled keeps no other hold open; it is leased, and seen, again.
            _log.error("reaping_failed", call_id=call.call_id, situation=call.situation, error=type(exc).__name__)

    return settled


async def _reap_one(db: Database, carrier: CarrierWitness, call: StaleCall) -> bool:
    match call.situation:
        case "never_dialled":
            return await _settle(db, call, "canceled", "dial_expired")
        case "dial_unknown":
            return await _after_unknown_dial(db, carrier, call)
        case "ringing_too_long":
            return await _after_ringing(db, carrier, call)
        case "silent":
            return await _after_silence(db, carrier, call)


async def _after_unknown_dial(db: Database, carrier: CarrierWitness, call: StaleCall) -> bool:
    """The carrier may have taken the call unheard. It is never dialled again: a missed call beats two.

    A verified number is one person's, and a person has one open call: what was found is this call, unless it is known
    as the one before.
    """
    found = await carrier.find(call.phone_number, call.created_at)
    async with db.transaction(read_only=True) as tx:
        known = await tx.value(
            SQL.known_sids,
            user_id=call.user_id,
            call_id=call.call_id,
            carrier_sids=[evidence.sid for evidence in found],
            since=call.created_at - KNOWN_WITHIN,
        )
    evidence = next((evidence for evidence in found if evidence.sid not in known), None)
    if evidence is None:
        return await _settle(db, call, "failed", "dial_failed")
    async with db.transaction() as tx:
        await tx.run(SQL.found_at_carrier, user_id=call.user_id, call_id=call.call_id, carrier_sid=evidence.sid)

    return await _apply(db, call, evidence)


async def _after_ringing(db: Database, carrier: CarrierWitness, call: StaleCall) -> bool:
    assert call.carrier_sid is not None, "a call without the carrier's id is dial_unknown"
    evidence = await carrier.look(call.carrier_sid)
    if not evidence.ended and evidence.status != "in-progress":
        evidence = await carrier.hang_up(call.carrier_sid)
    if evidence.sid is None:
        return await _settle(db, call, "failed", "lost")

    return await _apply(db, call, evidence)


async def _after_silence(db: Database, carrier: CarrierWitness, call: StaleCall) -> bool:
    """Nobody meters this call any more. Whoever still holds the phone hears nothing, so the call is ended there too."""
    async with db.transaction(read_only=True) as tx:
        is_silent = await tx.value(
            SQL.is_still_silent, user_id=call.user_id, call_id=call.call_id, seen_at=call.seen_at
        )
    if not is_silent:
        return False
    if call.carrier_sid is not None:
        evidence = await carrier.look(call.carrier_sid)
        if not evidence.ended:
            evidence = await carrier.hang_up(call.carrier_sid)
        if evidence.sid is not None:
            await _apply(db, call, evidence)

    return await _settle_lost(db, call)


async def _without_carrier(db: Database, call: StaleCall, failure: errors.VendorFailed) -> bool:
    """The lease runs out and the next look asks again, until the carrier's time limit has surely passed."""
    if datetime.now(UTC) - max(call.seen_at, call.created_at) < CARRIER_SILENCE_MAX:
        _log.warning("carrier_gives_no_evidence", call_id=call.call_id, situation=call.situation, error=failure.code)
        return False

    return await _settle_lost(db, call)


async def _settle_lost(db: Database, call: StaleCall) -> bool:
    async with db.transaction(read_only=True) as tx:
        seconds = await tx.value(SQL.metered_seconds, user_id=call.user_id, call_id=call.call_id)

    return await _settle(db, call, "completed" if seconds else "failed", "lost")


async def _apply(db: Database, call: StaleCall, evidence: Evidence) -> bool:
    """Hand the carrier's word to the state machine; whether that ended the call."""
    async with db.transaction() as tx:
        noted = await tx.one(
            SQL.note_lookup,
            Noted,
            user_id=call.user_id,
            call_id=call.call_id,
            event_key=f"{evidence.status}:{call.situation}",
            carrier_status=evidence.status,
            carrier_sid=evidence.sid,
            carrier_seconds=evidence.duration_seconds,
        )

    return noted.is_open is False


async def _settle(db: Database, call: StaleCall, status: str, end_reason: str) -> bool:
    async with db.transaction() as tx:
        settled = await tx.value(
            SQL.settle,
            user_id=call.user_id,
            call_id=call.call_id,
            status=status,
            end_reason=end_reason,
            error_message="The call was lost." if end_reason == "lost" else None,
        )
    _log.info("reaped", call_id=call.call_id, situation=call.situation, status=status, end_reason=end_reason)

    return bool(settled)
