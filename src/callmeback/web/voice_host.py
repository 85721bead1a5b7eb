"""Where voice sessions live in a web process: admission, the metering batch, vendors, the books over the database."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from callmeback import errors, logs
from callmeback.domain import costs, dials, tickets, zones
from callmeback.domain.costs import Reading
from callmeback.domain.dials import MACHINES, Answer, Connection, Ending
from callmeback.domain.tickets import TicketRow
from callmeback.pg.pool import Database
from callmeback.voice import pauses, session
from callmeback.voice.accounts import Staff
from callmeback.voice.admission import Admission
from callmeback.voice.batcher import MeterBatcher, MeterLimit, MeterRow, Slot
from callmeback.voice.control import Control
from callmeback.voice.meter import Costs, Price, PriceCard, Usage
from callmeback.voice.ticket import CallTicket, EndReason, Limits, Outcome, PromptLayers, Turn
from callmeback.voice.vendors import MediaStream

_log = logs.get_logger(__name__)

# A difference of costs is noted after each turn, and in a silence at least so often.
EVENT_SECONDS: Final = 30.0
MEMORY_LINES_MAX: Final = 40
# The carrier says who picked up within 30 seconds, or not at all.
ANSWER_SECONDS_MAX: Final = 60.0
TAKE_ATTEMPTS_MAX: Final = 8
TAKE_PAUSE_SECONDS: Final = 0.5

REASONS: Final[dict[EndReason, str]] = {
    "user_hung_up": "hung_up",
    "persona_ended": "goodbye",
    "hung_up_by_request": "hang_up_requested",
    "silence": "silence",
    "voicemail": "voicemail",
    "vendor_failure": "vendor_failed",
    "drained": "draining",
    "stream_lost": "lost",
}
# Which limit it was that time or money ran into.
LIMITS: Final = {
    "credits": "credits_used_up",
    "call_budget": "call_budget_reached",
    "month_budget": "month_budget_reached",
}


class VoiceHost:
    """The live calls of this process; `run` is its one task."""

    def __init__(self, db: Database, staff: Staff) -> None:
        self._db = db
        self._staff = staff
        self.admission = Admission()
        self._batcher = MeterBatcher(self._write)
        self._turned: set[tuple[str, str]] = set()
        self._noted_at: dict[tuple[str, str], float] = {}
        self._asking: dict[tuple[str, str], tuple[Control, float]] = {}

    async def run(self) -> None:
        """Meter all live calls until cancelled."""
        pauses.shorten()
        await self._batcher.run()

    def has_room(self) -> bool:
        """Whether one more call may begin here."""
        return self.room() > 0

    @property
    def metering_failures(self) -> int:
        """Batches that failed in a row; 0 while all is well."""
        return self._batcher.failures_in_row

    def room(self) -> int:
        """How many more calls this process takes."""
        return 0 if self.admission.draining else self.admission.calls_max - len(self.admission.live)

    async def take(self, user_id: str, call_id: str, carrier_sid: str) -> TicketRow:
        """Take the call for one stream, once, and read what its session needs.

        A database that is away for a moment is waited for: somebody has picked up. Raises ImpossibleTransition for a
        second stream and for a call that has ended, NotFound, DatabaseUnavailable.
        """
        for attempt in range(1, TAKE_ATTEMPTS_MAX + 1):
            try:
                async with self._db.transaction() as tx:
                    await dials.advance(tx, user_id, call_id, "in_progress", carrier_sid)
                    return await tickets.ticket(tx, user_id, call_id)
            except (errors.DatabaseUnavailable, errors.Overloaded):
                if attempt == TAKE_ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(TAKE_PAUSE_SECONDS)
        raise AssertionError("every last attempt returns or raises")

    async def hold(self, row: TicketRow, stream: MediaStream, control: Control) -> None:
        """Hold a taken call to its end and settle it."""
        user_id, call_id = row.user_id, row.call_id
        if row.answered_by is not None:
            control.answered(row.answered_by)
        ticket = ticket_of(row)
        slot = self._batcher.open(user_id, call_id)
        key = (user_id, call_id)
        now = asyncio.get_running_loop().time()
        self._noted_at[key] = now
        self._asking[key] = control, now + ANSWER_SECONDS_MAX
        try:
            outcome = await session.run(
                ticket, stream, self._staff.vendors(ticket), CallBooks(self, self._db, slot, ticket), control=control
            )
            _log.info(
                "call_held",
                call_id=call_id,
                end_reason=outcome.end_reason,
                duration_seconds=outcome.duration_seconds,
                turn_count=outcome.turn_count,
                avg_response_time_ms=outcome.avg_response_time_ms,
                failures=outcome.failures,
            )
        finally:
            slot.close()
            self._turned.discard(key)
            self._noted_at.pop(key, None)
            self._asking.pop(key, None)

    def turned(self, user_id: str, call_id: str) -> None:
        """A turn of this call was written: its costs are noted with the next batch."""
        self._turned.add((user_id, call_id))

    async def _write(self, rows: Sequence[MeterRow]) -> Sequence[MeterLimit]:
        now = asyncio.get_running_loop().time()
        present = {(row.user_id, row.call_id) for row in rows}
        turned = self._turned & present
        waited = {key for key in present - turned if now - self._noted_at.get(key, now) >= EVENT_SECONDS}
        answers: list[Answer] = []
        async with self._db.transaction() as tx:
            metered = await costs.meter(tx, [_reading(row) for row in rows])
            if unheard := self._unheard(now):
                answers = await dials.answers(tx, unheard)
            if turned:
                await costs.record_events(tx, sorted(turned), "turn")
            if waited:
                await costs.record_events(tx, sorted(waited), "interval")
        self._turned -= turned
        for key in turned | waited:
            if key in self._noted_at:
                self._noted_at[key] = now
        for answer in answers:
            if (asking := self._asking.pop((answer.user_id, answer.call_id), None)) is not None:
                asking[0].answered(answer.word)

        return [MeterLimit(state.call_id, state.is_open, state.limit_cents, state.limit_seconds) for state in metered]

    def _unheard(self, now: float) -> list[tuple[str, str]]:
        """Calls that don't know yet who picked up. The carrier's word may have come to another process than theirs."""
        for key in [
            key for key, (control, until) in self._asking.items() if control.answered_by is not None or now > until
        ]:
            del self._asking[key]

        return list(self._asking)


class CallBooks:
    """The books of one call."""

    def __init__(self, host: VoiceHost, db: Database, slot: Slot, ticket: CallTicket) -> None:
        self._host = host
        self._db = db
        self._slot = slot
        self._ticket = ticket
        self._newest: Turn | None = None
        self._turns = 0

    async def connected(self) -> None:
        """Nothing: the step to `in_progress` was what let this stream in."""

    def meter(self, sequence: int, usage: Usage, costs: Costs) -> None:
        """Into the next batch."""
        self._slot.put(sequence, usage, costs)

    def limits(self) -> Limits | None:
        """As the last batch was answered."""
        return self._slot.limits

    async def turn(self, turn: Turn) -> None:
        """One turn into the transcript; the same one again, after a failure, keeps its number."""
        if turn is not self._newest:
            self._newest = turn
            self._turns += 1
        line = dials.Turn(self._turns - 1, turn.speaker, turn.text, turn.at)
        async with self._db.transaction() as tx:
            await dials.add_turns(tx, self._ticket.user_id, self._ticket.call_id, [line])
        self._host.turned(self._ticket.user_id, self._ticket.call_id)

    async def finish(self, outcome: Outcome) -> None:
        """Transcript and settlement in one commit; a second time changes nothing."""
        user_id, call_id = outcome.user_id, outcome.call_id
        turns = [dials.Turn(seq, turn.speaker, turn.text, turn.at) for seq, turn in enumerate(outcome.transcript)]
        async with self._db.transaction() as tx:
            line = await dials.connection(tx, user_id, call_id)
            ticket = self._ticket
            if outcome.end_reason == "budget_reached":
                # A limit that was lowered meanwhile is what ended it, whatever set the length at the start.
                lowered = await dials.lowered_budget(tx, user_id, call_id)
                ticket = msgspec.structs.replace(ticket, limited_by=lowered or ticket.limited_by)
            await dials.add_turns(tx, user_id, call_id, turns)
            settled = await dials.finish(tx, user_id, call_id, ending_of(outcome, ticket, line))
        if not settled.settled:
            _log.warning("settled_before", call_id=call_id, end_reason=outcome.end_reason)


def ticket_of(row: TicketRow) -> CallTicket:
    """A session's ticket from the database's facts."""
    assert row.carrier_sid is not None, "a call in progress is known at the carrier"

    return CallTicket(
        call_id=row.call_id,
        user_id=row.user_id,
        carrier_sid=row.carrier_sid,
        persona_name=row.persona_name,
        layers=_layers(row),
        card=_card(row),
        hold_cents=row.hold_cents,
        granted_seconds=row.granted_seconds,
        limited_by=row.limited_by,
        warn_at_percent=row.warn_at_percent_per_call,
        warn_cents=None if row.enable_auto_cutoff else row.max_cost_per_call_cents,
        enable_auto_cutoff=row.enable_auto_cutoff,
        voice_id=row.voice_id,
        voice_settings=row.voice_settings,
        max_tokens=row.max_tokens,
        temperature=row.temperature,
        voicemail_policy=row.voicemail_policy,
        elapsed_seconds=row.elapsed_seconds,
    )


def ending_of(outcome: Outcome, ticket: CallTicket, line: Connection | None) -> Ending:
    """How a session's outcome is settled.

    A machine whose person wants no message is not charged, whoever noticed it first. Where the house failed before the
    person said a word, nothing is charged either.
    """
    answered_by = outcome.answered_by or (line.answered_by if line is not None else None)
    is_machine = outcome.end_reason == "voicemail" or answered_by in MACHINES
    has_failed = outcome.end_reason == "vendor_failure"
    has_talked = any(turn.speaker == "user" for turn in outcome.transcript)
    reason = REASONS.get(outcome.end_reason) or LIMITS.get(ticket.limited_by, _unnamed(outcome.end_reason))
    usage = outcome.usage

    return Ending(
        status="failed" if has_failed else "completed",
        end_reason="voicemail" if is_machine else reason,
        seq=outcome.sequence + 1,
        connected_seconds=outcome.duration_seconds,
        listener_seconds=usage.listener_seconds,
        input_tokens=usage.brain_input_tokens,
        output_tokens=usage.brain_output_tokens,
        characters=usage.voice_characters,
        fallback_input_tokens=usage.fallback_input_tokens,
        fallback_output_tokens=usage.fallback_output_tokens,
        local_characters=usage.local_characters,
        answered_by=answered_by,
        is_charged=not (is_machine and ticket.voicemail_policy == "hang_up") and not (has_failed and not has_talked),
        turn_count=outcome.turn_count,
        interrupt_count=outcome.interrupt_count,
        avg_response_time_ms=outcome.avg_response_time_ms,
        error_message="vendor_failed" if has_failed else None,
    )


def _unnamed(reason: EndReason) -> str:
    """The word where no limit of the person's set the length: its own time, or the money held for it."""
    return "time_limit" if reason == "time_limit" else "call_budget_reached"


def _layers(row: TicketRow) -> PromptLayers:
    context = [
        row.call_scenario or "",
        f"Why the person wants to be called: {row.call_pretext}" if row.call_pretext else "",
        row.custom_instructions or "",
    ]
    relationship = [f"To the person you are: {row.relationship_type}.", row.custom_system_prompt or ""]
    if row.total_calls:
        relationship.append(f"You have talked {row.total_calls} times before.")
    clock = datetime.now(zones.zone_or_utc(row.timezone))
    facts = [f"Their name is {row.person_name}."] if row.person_name else []
    facts.append(f"Where they are it is {clock:%A}, {clock:%H:%M}.")
    facts += [line.strip() for line in (row.memory or "").splitlines() if line.strip()][:MEMORY_LINES_MAX]

    return PromptLayers(
        identity=row.core_system_prompt,
        context="\n".join(part for part in context if part),
        relationship="\n".join(part for part in relationship if part),
        facts=tuple(facts),
    )


def _card(row: TicketRow) -> PriceCard:
    return PriceCard(
        carrier_second=_price(row.carrier_second_cents, row.carrier_second_per),
        listener_second=_price(row.listener_second_cents, row.listener_second_per),
        brain_input=_price(row.brain_input_cents, row.brain_input_per),
        brain_output=_price(row.brain_output_cents, row.brain_output_per),
        voice_character=_price(row.voice_character_cents, row.voice_character_per),
        fallback_input=_price(row.fallback_input_cents, row.fallback_input_per),
        fallback_output=_price(row.fallback_output_cents, row.fallback_output_per),
        local_character=_price(row.local_character_cents, row.local_character_per),
    )


def _price(cents: Decimal | None, per: int | None) -> Price:
    assert cents is not None and per is not None, "start_call refuses a card with a rate missing"

    return Price(cents, per)


def _reading(row: MeterRow) -> Reading:
    usage = row.usage

    return Reading(
        user_id=row.user_id,
        call_id=row.call_id,
        seq=row.sequence,
        carrier_seconds=usage.carrier_seconds,
        listener_seconds=usage.listener_seconds,
        input_tokens=usage.brain_input_tokens,
        output_tokens=usage.brain_output_tokens,
        characters=usage.voice_characters,
        fallback_input_tokens=usage.fallback_input_tokens,
        fallback_output_tokens=usage.fallback_output_tokens,
        local_characters=usage.local_characters,
    )
