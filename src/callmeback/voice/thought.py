"""One answer in the making: the brain's stream turned into sentences, with the second brain behind the first.

A thought is let through by the gate, counted by the meter while it runs, and can be dropped at any moment; none of it
is spoken here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import msgspec

from callmeback.providers.failures import VendorError
from callmeback.voice import meter as metering
from callmeback.voice.gate import Gate
from callmeback.voice.meter import Leg, Meter
from callmeback.voice.speech import Sentences
from callmeback.voice.vendors import Delta, Finished, Message, Mind, TokensUsed

# A brain that has not begun by then is given up for the second one; the filler is spoken meanwhile.
FIRST_PIECE_SECONDS_MAX = 1.2
SECOND_FIRST_PIECE_SECONDS_MAX = 3.0
NEXT_PIECE_SECONDS_MAX = 2.5
THOUGHT_SECONDS_MAX = 30.0
# A reply is a few sentences; a runaway answer is cut off here.
SENTENCES_MAX = 40


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """What every thought of a call has in common."""

    mind: Mind
    second_mind: Mind
    meter: Meter
    gate: Gate
    max_tokens: int
    temperature: float
    failures: list[str]


class Thought:
    """An answer to what was heard; read it by `sentences()`, `drop()` it when it is no longer wanted."""

    def __init__(self, thinking: Thinking, messages: Sequence[Message], heard: str | None) -> None:
        self.heard = heard
        self.refused = False
        """The gate let no brain be asked."""
        self.failed = False
        """No brain gave a single sentence, nor marked the end of the call without one."""
        self.ends_call = False
        """The brain marked that both have said goodbye."""
        self.ready: list[str] = []
        """Its sentences so far."""
        self.is_dropped = False
        self._thinking = thinking
        self._messages = messages
        self._is_over = False
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="thought")

    def drop(self) -> None:
        """Cancel the stream at the vendor; what was generated stays counted."""
        self._task.cancel()
        self._news.set()
        self.is_dropped = not self._is_over

    def goes_on(self) -> bool:
        """Is more of it to come?"""
        return not (self._is_over or self.is_dropped)

    async def settled(self) -> None:
        """Wait until the stream is closed, after it ended or was dropped."""
        await asyncio.wait((self._task,))

    async def sentences(self, after: int = 0) -> AsyncIterator[str]:
        """The sentences as they become ready, but for the first so many; ends with the answer. One reads at a time."""
        while True:
            while after < len(self.ready):
                after += 1
                yield self.ready[after - 1]
            if not self.goes_on():
                return
            self._news.clear()
            await self._news.wait()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(THOUGHT_SECONDS_MAX):
                await self._ask_both()
        except TimeoutError:
            self._thinking.failures.append("brain:endless")
        finally:
            self.failed = not (self.ready or self.refused or self.ends_call)
            self._is_over = True
            self._news.set()

    async def _ask_both(self) -> None:
        thinking = self._thinking
        if await self._ask("brain", thinking.mind, FIRST_PIECE_SECONDS_MAX):
            return
        if not self.ready and not self.refused:
            await self._ask("fallback", thinking.second_mind, SECOND_FIRST_PIECE_SECONDS_MAX)

    async def _ask(self, leg: Leg, mind: Mind, first_piece_seconds: float) -> bool:
        """Ask one brain; True if it gave a whole answer. A broken one leaves the sentences it had finished."""
        thinking = self._thinking
        texts = [message.content for message in self._messages]
        worst = thinking.gate.thought_cents(texts, thinking.max_tokens, fallback=leg == "fallback")
        passed = thinking.gate.ask(thinking.meter.spent_cents(), worst)
        if passed is None:
            self.refused = True
            return False
        request = thinking.meter.request(leg, metering.prompt_tokens(texts))
        stream = mind.stream(self._messages, max_tokens=thinking.max_tokens, temperature=thinking.temperature)
        try:
            return await self._read(stream, request, first_piece_seconds)
        except (VendorError, TimeoutError) as exc:
            thinking.failures.append(f"{leg}:{'slow' if isinstance(exc, TimeoutError) else 'lost'}")
            return False
        finally:
            passed.settle()

    async def _read(
        self,
        stream: AsyncGenerator[Delta | TokensUsed | Finished, None],
        request: metering.Request,
        patience_seconds: float,
    ) -> bool:
        splitter = Sentences()
        whole = False
        # Closing the generator is what cancels the request at the vendor.
        async with aclosing(stream):
            while True:
                async with asyncio.timeout(patience_seconds):
                    piece = await anext(stream, None)
                if piece is None:
                    break
                patience_seconds = NEXT_PIECE_SECONDS_MAX
                if isinstance(piece, Delta):
                    request.delta(piece.text)
                    if not piece.reasoning:
                        self._put(splitter.push(piece.text))
                elif isinstance(piece, TokensUsed):
                    request.reconcile(piece.input_tokens, piece.output_tokens)
                else:
                    # Not at the end of the stream: the usage that still follows must not delay the last words.
                    whole = True
                    self._put(splitter.flush())
                    self.ends_call = splitter.ended
        if not whole:
            self._thinking.failures.append(f"{request.leg}:cut")
        return whole and (bool(self.ready) or self.ends_call)

    def _put(self, sentences: list[str]) -> None:
        for sentence in sentences:
            if len(self.ready) < SENTENCES_MAX:
                self.ready.append(sentence)
                self._news.set()
