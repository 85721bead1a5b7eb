"""Counts what a call has used at each vendor and prices it as it happens.

Quantities are cumulative and cost is always priced from them, never summed from rounded deltas, which drift
(60 times 5 s at 1.30 cents a minute gives 6.4999998).
A request to the brain is counted from estimates while it runs and corrected when the vendor's own figure comes; one
that is cut keeps its estimate, so the tokens of an interrupted reply are never lost.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from callmeback import money

# OpenAI's own rule of thumb for English; the vendor's figure replaces it whenever one arrives.
BYTES_PER_TOKEN = 4

# Chat templates wrap each message in a few tokens of their own, and gpt-oss opens with a system block.
TOKENS_PER_MESSAGE = 8
TOKENS_PER_REQUEST = 16

Leg = Literal["brain", "fallback"]


class Price(msgspec.Struct, frozen=True):
    """A price in cents for so many units: 15 cents per 1,000 characters is `Price(Decimal(15), 1000)`."""

    cents: Decimal
    per: int


class PriceCard(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of one call, fixed at its start by its price version."""

    carrier_second: Price
    listener_second: Price
    brain_input: Price
    brain_output: Price
    voice_character: Price
    fallback_input: Price
    fallback_output: Price
    local_character: Price


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative quantities of one call."""

    carrier_seconds: int = 0
    listener_seconds: Decimal = Decimal(0)
    brain_input_tokens: int = 0
    brain_output_tokens: int = 0
    voice_characters: int = 0
    fallback_input_tokens: int = 0
    fallback_output_tokens: int = 0
    local_characters: int = 0


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """Cumulative cost in cents by vendor; total is their sum."""

    carrier_cents: Decimal
    listener_cents: Decimal
    brain_cents: Decimal
    voice_cents: Decimal
    total_cents: Decimal


def cost(usage: Usage, card: PriceCard) -> Costs:
    """What the usage costs: each leg rounded once, half up at ten decimals, then added."""
    carrier = _leg(usage.carrier_seconds, card.carrier_second)
    listener = _leg(usage.listener_seconds, card.listener_second)
    brain = (
        _leg(usage.brain_input_tokens, card.brain_input)
        + _leg(usage.brain_output_tokens, card.brain_output)
        + _leg(usage.fallback_input_tokens, card.fallback_input)
        + _leg(usage.fallback_output_tokens, card.fallback_output)
    )
    voice = _leg(usage.voice_characters, card.voice_character) + _leg(usage.local_characters, card.local_character)
    return Costs(
        carrier_cents=carrier,
        listener_cents=listener,
        brain_cents=brain,
        voice_cents=voice,
        total_cents=carrier + listener + brain + voice,
    )


def _leg(quantity: int | Decimal, price: Price) -> Decimal:
    return money.price(quantity, price.cents, price.per)


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is; at least one for any text."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def prompt_tokens(texts: list[str]) -> int:
    """About how many tokens a request's messages are, with the wrapping of the chat template."""
    return TOKENS_PER_REQUEST + sum(TOKENS_PER_MESSAGE + estimated_tokens(text) for text in texts)


class Request:
    """One request to a brain, counted while it runs."""

    __slots__ = ("_bytes", "_deltas", "_exact", "_meter", "input_tokens", "leg", "output_tokens")

    def __init__(self, meter: Meter, leg: Leg, input_tokens: int) -> None:
        self._meter = meter
        self._bytes = 0
        self._deltas = 0
        self._exact = False
        self.leg: Leg = leg
        self.input_tokens = input_tokens
        self.output_tokens = 0

    def delta(self, text: str) -> None:
        """A piece of the answer came, spoken or reasoned: at least one token, more if it is long."""
        if self._exact:
            return
        self._deltas += 1
        self._bytes += len(text.encode())
        self.output_tokens = max(self._deltas, -(-self._bytes // BYTES_PER_TOKEN))
        self._meter.touch()

    def reconcile(self, input_tokens: int, output_tokens: int) -> None:
        """The vendor's own figure takes the place of the estimate."""
        self._exact = True
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self._meter.touch()


class Meter:
    """The running state of one call: quantities only grow, but for an estimate that the vendor corrects."""

    def __init__(self, card: PriceCard) -> None:
        self._card = card
        self._carrier_seconds = 0
        self._listener_seconds = Decimal(0)
        self._voice_characters = 0
        self._local_characters = 0
        self._requests: list[Request] = []
        self._priced: tuple[Usage, Costs] | None = None
        self.sequence = 0

    def touch(self) -> None:
        """Something was counted: the state has a new number and no price yet."""
        if self._priced is not None or self.sequence == 0:
            self.sequence += 1
        self._priced = None

    def connected(self, carrier_seconds: int, listener_seconds: Decimal) -> None:
        """The seconds so far at the carrier and at the listener; a smaller figure than before is ignored."""
        carrier = max(carrier_seconds, self._carrier_seconds)
        listener = max(listener_seconds, self._listener_seconds)
        if carrier != self._carrier_seconds or listener != self._listener_seconds:
            self._carrier_seconds = carrier
            self._listener_seconds = listener
            self.touch()

    def request(self, leg: Leg, input_tokens: int) -> Request:
        """A request goes out to a brain with about so many prompt tokens."""
        request = Request(self, leg, input_tokens)
        self._requests.append(request)
        self.touch()
        return request

    def voice(self, characters: int) -> None:
        """Text was sent to the vendor's voice: it counts even if its audio is cut."""
        self._voice_characters += characters
        self.touch()

    def local(self, characters: int) -> None:
        """Text was spoken by the local voice."""
        self._local_characters += characters
        self.touch()

    def read(self) -> tuple[Usage, Costs]:
        """The cumulative state and its price; cheap when nothing changed since the last look."""
        if self._priced is None:
            usage = self._usage()
            self._priced = (usage, cost(usage, self._card))
        return self._priced

    def spent_cents(self) -> Decimal:
        """The total so far."""
        return self.read()[1].total_cents

    def _usage(self) -> Usage:
        brain = [request for request in self._requests if request.leg == "brain"]
        fallback = [request for request in self._requests if request.leg == "fallback"]
        return Usage(
            carrier_seconds=self._carrier_seconds,
            listener_seconds=self._listener_seconds,
            brain_input_tokens=sum(request.input_tokens for request in brain),
            brain_output_tokens=sum(request.output_tokens for request in brain),
            voice_characters=self._voice_characters,
            fallback_input_tokens=sum(request.input_tokens for request in fallback),
            fallback_output_tokens=sum(request.output_tokens for request in fallback),
            local_characters=self._local_characters,
        )
