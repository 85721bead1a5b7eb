"""Asked before each spend, in memory, against the call's hold.

A spend passes only if its worst case fits into what is left once the warning, the goodbye and the seconds they take are
set aside. So both can always be paid for, and the hold is never passed: what is refused is never bought. A call whose
limits leave less for the talk before the warning than the warning takes has none: it says goodbye only.
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
# Until its sound has come, what is said is set aside a second time, and seconds go by.
HEARING_SECONDS = FIRST_AUDIO_SECONDS_MAX + 1
# From the decision to end until the carrier has ended the call, in the ordinary case.
HANG_UP_SECONDS = 2
# A listener that reconnects is sent again what it missed, so it may bill more seconds than the carrier.
LISTENER_REPLAY_SECONDS = 6
# A sentence that is being said, and one that waits for it, come before the warning: it is due so much earlier.
WARNING_LEAD_SECONDS = 8
WARNING_LEAD_CHARACTERS = 116
# Byte-level tokens hold at least one byte each; no prompt can have more tokens than bytes, but for the template's own.
TEMPLATE_TOKENS_MAX = 128

Limited = Literal["time_limit", "budget_reached"]
RunningOut = Literal["money", "time"]

_NO_CENTS = Decimal(0)


class Reserve(msgspec.Struct, frozen=True):
    """What is set aside for the persona to leave well: lengths of the texts to be spoken, in characters."""

    warning_characters: int
    goodbye_characters: int

    def warning_seconds(self) -> int:
        """The longest the warning takes from its start to its last sound."""
        return _spoken_seconds(self.warning_characters)

    def goodbye_seconds(self) -> int:
        """The longest the goodbye takes from its start to its last sound."""
        return _spoken_seconds(self.goodbye_characters)


def _spoken_seconds(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_SECOND_MIN) + FIRST_AUDIO_SECONDS_MAX


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
        self._second_cents = self._time_cents(1)
        self._hearing_cents = self._time_cents(HEARING_SECONDS)
        self._hang_up_cents = self._time_cents(HANG_UP_SECONDS)
        self._goodbye_cents = self._last_cents(reserve.goodbye_characters)
        self._goodbye_cents += self._time_cents(reserve.goodbye_seconds() + HANG_UP_SECONDS)
        self.limits = limits
        rate = cost(Usage(carrier_seconds=1, listener_seconds=Decimal(1)), card).total_cents
        # About a sentence, which is asked for twice, and its time.
        self._lead_cents = self.speech_cents(2 * WARNING_LEAD_CHARACTERS, local=False) + WARNING_LEAD_SECONDS * rate
        self._warning = Pass(self, self._last_cents(reserve.warning_characters) + reserve.warning_seconds() * rate)
        self._warning_due = self._pays_for_both()
        if self._warning_due:
            self._running.append(self._warning)

    def lower(self, limits: Limits) -> None:
        """Take over limits that are lower than those in force; a raised one waits for the next call."""
        cents = min(limits.cents, self.limits.cents)
        seconds = min(limits.seconds, self.limits.seconds)
        if cents != self.limits.cents or seconds != self.limits.seconds:
            self.limits = Limits(cents=cents, seconds=seconds)

    def warned(self) -> Pass:
        """The warning is on its way, and due no more: answers what is set aside for it until it is paid for."""
        self._warning_due = False
        return self._warning

    def warn_again(self, spent_cents: Decimal, elapsed_seconds: float) -> bool:
        """Too little of the warning was heard: set it aside once more, where money and time are left for that."""
        self.release(self._warning)
        self._running.append(self._warning)
        if self.warning_presses(spent_cents, elapsed_seconds):
            self.release(self._warning)
        return self.owes_warning()

    def owes_warning(self) -> bool:
        """Is the warning, due or not, still to be paid for?"""
        return self._warning in self._running

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
        """The worst case of what is running now, and of the warning until it is paid for."""
        return sum((passed.cents for passed in self._running), _NO_CENTS)

    def reserved_cents(self) -> Decimal:
        """What no spend may touch: the goodbye, and some seconds before it, lest it cut what has just been paid for."""
        return self._goodbye_cents + self._hearing_cents

    def leaving_due(self, spent_cents: Decimal, elapsed_seconds: float) -> Limited | None:
        """Is it time for the goodbye: by the granted seconds less the goodbye's own length, or by money?"""
        if elapsed_seconds >= self._talk_seconds():
            return "time_limit"
        warning_cents = self._warning.cents if self.owes_warning() else _NO_CENTS
        return "budget_reached" if self._room_cents(spent_cents) + warning_cents < 0 else None

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

        In a call of a minute the goodbye begins when 80 percent are over: of all the seconds would be too late. Where
        the goodbye would come first, the warning doesn't wait for the percentage: it comes when about a sentence can
        still be said before it, but not in the first half of the talk.
        """
        if not self._warning_due:
            return None
        if spent_cents * 100 >= min(of_cents, self.limits.cents) * percent:
            return "money"
        half_cents = (self.limits.cents - self._goodbye_cents - self._warning.cents) / 2
        if self._room_cents(spent_cents) < max(_NO_CENTS, min(self._lead_cents, half_cents)):
            return "money"
        latest = self._talk_seconds() - self._reserve.warning_seconds()
        latest = max(latest - WARNING_LEAD_SECONDS, latest // 2)
        percent_at = self._talk_seconds() * percent / 100
        return "time" if elapsed_seconds >= min(percent_at, latest) else None

    def warning_presses(self, spent_cents: Decimal, elapsed_seconds: float) -> bool:
        """Is this the last moment for a warning that was not said yet, if it is to be heard before the goodbye?"""
        if not self.owes_warning():
            return False
        latest = self._talk_seconds() - self._reserve.warning_seconds()
        return elapsed_seconds >= latest or self._room_cents(spent_cents) < 0

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

    def _room_cents(self, spent_cents: Decimal) -> Decimal:
        """What is left to spend; one more second may begin, and be billed, before the next look."""
        return self.limits.cents - spent_cents - self.held_cents() - self._goodbye_cents - self._second_cents

    def _pays_for_both(self) -> bool:
        """Is at least as much left for the talk before the warning as the warning itself takes?"""
        seconds = self._talk_seconds() - 2 * self._reserve.warning_seconds()
        return seconds >= 0 and self.limits.cents >= self._goodbye_cents + 2 * self._warning.cents

    def _last_cents(self, characters: int) -> Decimal:
        """A text at its dearest: a voice that loses its socket says it twice, and then the local one says it again."""
        return cost(Usage(voice_characters=2 * characters, local_characters=characters), self._card).total_cents

    def _talk_seconds(self) -> int:
        return self.limits.seconds - self._reserve.goodbye_seconds() - HANG_UP_SECONDS

    def _time_cents(self, seconds: int) -> Decimal:
        usage = Usage(carrier_seconds=seconds, listener_seconds=Decimal(seconds + LISTENER_REPLAY_SECONDS))
        return cost(usage, self._card).total_cents
