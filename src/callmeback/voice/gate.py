"""Asked before each spend, in memory, against the call's hold.

A spend passes only if its worst case fits into what is left once the warning, the goodbye and the seconds they take are
set aside. So the goodbye can always be paid for, and the hold is never passed: what is refused is never bought.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from callmeback.voice.meter import TOKENS_PER_MESSAGE, PriceCard, Usage, cost
from callmeback.voice.ticket import Limits

# Slow speech: English is read at 14 to 16 characters a second by the voices in use.
CHARACTERS_PER_SECOND_MIN = 10
# From text to first audio, at worst: the vendor's voice is given this long before the local one takes over.
FIRST_AUDIO_SECONDS_MAX = 2
# From the decision to end until the carrier has ended the call, in the ordinary case.
HANG_UP_SECONDS = 2
# A listener that reconnects is sent again what it missed, so it may bill more seconds than the carrier.
LISTENER_REPLAY_SECONDS = 6
# Byte-level tokens hold at least one byte each; no prompt can have more tokens than bytes, but for the template's own.
TEMPLATE_TOKENS_MAX = 128

Limited = Literal["time_limit", "budget_reached"]
RunningOut = Literal["money", "time"]

_NO_CENTS = Decimal(0)


class Reserve(msgspec.Struct, frozen=True):
    """What is set aside for the persona to leave well: lengths of the texts to be spoken, in characters."""

    warning_characters: int
    goodbye_characters: int

    def goodbye_seconds(self) -> int:
        """The longest the goodbye takes from its start to its last sound."""
        return -(-self.goodbye_characters // CHARACTERS_PER_SECOND_MIN) + FIRST_AUDIO_SECONDS_MAX


class Pass:
    """A spend that was let through and is still running: its worst case stays set aside until it is settled."""

    __slots__ = ("_gate", "cents")

    def __init__(self, gate: Gate, cents: Decimal) -> None:
        self._gate = gate
        self.cents = cents

    def settle(self) -> None:
        """The spend is over and counted by the meter; a second call does nothing."""
        self._gate.release(self)


class Gate:
    """The limits of one call and what has been promised against them."""

    def __init__(self, card: PriceCard, limits: Limits, reserve: Reserve) -> None:
        self._card = card
        self._reserve = reserve
        self._running: list[Pass] = []
        self._warning_due = True
        self._second_cents = self._time_cents(1)
        self._hang_up_cents = self._time_cents(HANG_UP_SECONDS)
        self._reserved_cents = self._set_aside()
        self.limits = limits

    def lower(self, limits: Limits) -> None:
        """Take over limits that are lower than those in force; a raised one waits for the next call."""
        cents = min(limits.cents, self.limits.cents)
        seconds = min(limits.seconds, self.limits.seconds)
        if cents != self.limits.cents or seconds != self.limits.seconds:
            self.limits = Limits(cents=cents, seconds=seconds)

    def warned(self) -> None:
        """The warning has been spoken: nothing is set aside for it any more."""
        self._warning_due = False
        self._reserved_cents = self._set_aside()

    def ask(self, spent_cents: Decimal, worst_cents: Decimal) -> Pass | None:
        """Let a spend pass, or not; one that passes is held until it is settled."""
        if spent_cents + self.held_cents() + worst_cents + self.reserved_cents() > self.limits.cents:
            return None
        passed = Pass(self, worst_cents)
        self._running.append(passed)
        return passed

    def hold(self) -> Pass:
        """Something whose worst case is known only from moment to moment: set its `cents` as they change."""
        passed = Pass(self, _NO_CENTS)
        self._running.append(passed)
        return passed

    def release(self, passed: Pass) -> None:
        """Free what was held for a spend."""
        if passed in self._running:
            self._running.remove(passed)

    def held_cents(self) -> Decimal:
        """The worst case of what is running now."""
        return sum((passed.cents for passed in self._running), _NO_CENTS)

    def reserved_cents(self) -> Decimal:
        """What is set aside: the warning, if still due, the goodbye, and the seconds until the carrier has hung up."""
        return self._reserved_cents

    def _set_aside(self) -> Decimal:
        characters = self._reserve.goodbye_characters
        if self._warning_due:
            characters += self._reserve.warning_characters
        # The vendor's voice may fail after it was paid, and the local one then says the same again.
        speech = Usage(voice_characters=characters, local_characters=characters)
        seconds = self._reserve.goodbye_seconds() + HANG_UP_SECONDS
        return cost(speech, self._card).total_cents + self._time_cents(seconds)

    def leaving_due(self, spent_cents: Decimal, elapsed_seconds: float) -> Limited | None:
        """Is it time for the goodbye: by the granted seconds less the goodbye's own length, or by money?"""
        if elapsed_seconds >= self._talk_seconds():
            return "time_limit"
        # One more second may begin, and be billed, before the next look.
        if spent_cents + self.held_cents() + self._reserved_cents + self._second_cents > self.limits.cents:
            return "budget_reached"
        return None

    def goodbye_seconds(self) -> int:
        """The longest that the goodbye may take."""
        return self._reserve.goodbye_seconds()

    def cut_due(self, spent_cents: Decimal, elapsed_seconds: float) -> Limited | None:
        """Must the carrier be told to hang up now, whatever is being said, and by which limit?"""
        if elapsed_seconds >= self.limits.seconds - HANG_UP_SECONDS:
            return "time_limit"
        return "budget_reached" if spent_cents + self._hang_up_cents > self.limits.cents else None

    def warning_due(
        self, spent_cents: Decimal, elapsed_seconds: float, percent: int, of_cents: Decimal
    ) -> RunningOut | None:
        """Of what has that percentage been used and not been warned of: the money, or the seconds before the goodbye?

        In a call of a minute the goodbye begins when 80 percent are over: of all the seconds would be too late.
        """
        if not self._warning_due:
            return None
        if spent_cents * 100 >= min(of_cents, self.limits.cents) * percent:
            return "money"
        return "time" if elapsed_seconds * 100 >= self._talk_seconds() * percent else None

    def speech_cents(self, characters: int, *, local: bool) -> Decimal:
        """The price of a text said by the vendor's voice, or by the local one."""
        usage = Usage(local_characters=characters) if local else Usage(voice_characters=characters)
        return cost(usage, self._card).total_cents

    def thought_cents(self, messages: list[str], max_tokens: int, *, fallback: bool) -> Decimal:
        """The most that one request to a brain can cost: each byte a token, and the answer as long as is allowed."""
        tokens = TEMPLATE_TOKENS_MAX + sum(len(text.encode()) + TOKENS_PER_MESSAGE for text in messages)
        if fallback:
            usage = Usage(fallback_input_tokens=tokens, fallback_output_tokens=max_tokens)
        else:
            usage = Usage(brain_input_tokens=tokens, brain_output_tokens=max_tokens)
        return cost(usage, self._card).total_cents

    def _talk_seconds(self) -> int:
        return self.limits.seconds - self._reserve.goodbye_seconds() - HANG_UP_SECONDS

    def _time_cents(self, seconds: int) -> Decimal:
        usage = Usage(carrier_seconds=seconds, listener_seconds=Decimal(seconds + LISTENER_REPLAY_SECONDS))
        return cost(usage, self._card).total_cents
