"""The conversation of one call: what was heard and said, who speaks now, and how the persona takes its leave.

The table in `turns.py` decides; here its events are found and its actions done. Everything runs in one event loop
without locks: a method that awaits looks again at what may have changed. `session.py` runs it, `vigil.py` is its clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial

import msgspec

from callmeback import logs
from callmeback.providers.failures import VendorError
from callmeback.voice import prompts
from callmeback.voice.gate import Gate
from callmeback.voice.speaker import Speaker, Utterance
from callmeback.voice.thought import Thinking, Thought
from callmeback.voice.ticket import CallTicket, EndReason, Turn
from callmeback.voice.ticket import Speaker as Side
from callmeback.voice.turns import Action, Event, State, step
from callmeback.voice.vendors import EagerEndOfTurn, EndOfTurn, HeardEvent, StartOfTurn, TurnResumed, Update

# A warning that nobody lets the persona say is not tried for ever: each attempt is paid for. The last one is kept for
# the last moment, so that it nags nobody and still tells them.
WARNINGS_MAX = 3
# How a stream ended that takes no sound is told so soon, if at all.
STREAM_WORD_SECONDS_MAX = 1.0

# A call and not a coroutine: a task that is cancelled before its first step leaves nothing unawaited behind.
Work = Callable[[], Coroutine[None, None, None]]

_log = logs.get_logger(__name__)


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said in one go: texts, then a thought as it comes, but for its first so many sentences."""

    texts: tuple[str, ...] = ()
    thought: Thought | None = None
    after: int = 0
    instead: str | None = None
    """Stands in when no brain gave a word; without it the persona takes its leave."""

    def rest(self, utterance: Utterance) -> Speech:
        """What was not given to a voice yet when this utterance was cut, the unheard words of it before that."""
        given = utterance.pieces
        texts = (utterance.unheard_text(), *self.texts[given:])
        is_lost = self.thought is not None and self.thought.failed and given > len(self.texts)

        return Speech(
            texts=tuple(text for text in texts if text),
            # Of an answer that never came the apology was said: that was all.
            thought=None if is_lost else self.thought,
            after=self.after + max(0, given - len(self.texts)),
        )

    def is_unanswered(self) -> bool:
        """Has an answer that was asked for given no sentence, and will it give none?"""
        return self.thought is not None and not self.thought.ready and not self.thought.goes_on()

    def drop(self) -> None:
        """Nothing more need be thought; what is ready can still be said."""
        if self.thought is not None:
            self.thought.drop()


SILENCE = Speech()


class Conversation:
    """Who says what, from the greeting to the last word; ends by `ended` becoming done."""

    def __init__(
        self,
        call: CallTicket,
        speaker: Speaker,
        thinking: Thinking,
        gate: Gate,
        clock: Callable[[], float],
        answered_at: datetime,
        write: Callable[[Turn], None],
    ) -> None:
        self.call = call
        self.speaker = speaker
        self.gate = gate
        self.clock = clock
        self.state = State.LISTENING
        self.transcript: list[Turn] = []
        self.interrupt_count = 0
        self.response_times_ms: list[int] = []
        self.ended: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        self.person_speaks_since: float | None = None
        self.words_so_far = ""
        self.quiet_since = clock()
        self.turn_ended_at: float | None = None
        """The end of the speech that now waits for its answer, on our clock."""
        self.warning = ""
        """That money or time runs out: to be said before the next sentence."""
        self.leaving: EndReason | None = None
        """Why the call ends when what is being said has been heard."""
        self._failures = thinking.failures
        self._thinking = thinking
        self._system = prompts.system_prompt(call.layers)
        self._began_at = clock() - call.elapsed_seconds
        self._answered_at = answered_at
        self._write_down = write
        self._thought: Thought | None = None
        self._reply: asyncio.Task[None] | None = None
        self._speech = SILENCE
        """What `_reply` says."""
        self._cut_off = SILENCE
        """The rest of what was cut: a noise lets it go on, and until there are words it is thought on meanwhile."""
        self._interrupted_leaving: EndReason | None = None
        self._cut_in = False
        self._warned: tuple[Utterance, int] | None = None
        """The warning that was sent last: in what, and behind how many characters."""
        self._warning_cut: int | None = None
        """A warning was cut before half of it was heard: behind how many characters of what is left?"""
        self._warnings_sent = 0
        self._warning_words = ""
        """Of the warning that was sent last."""

    # What was heard.

    async def heard(self, event: HeardEvent, ended_at: float) -> None:
        """One event of the listener, turned into one of the table; `ended_at`: when the speech ended, on our clock."""
        if isinstance(event, StartOfTurn) or (isinstance(event, Update) and self.person_speaks_since is None):
            # After a reconnect words may come without the start of their turn.
            self.person_speaks_since = self.clock()
            self.words_so_far = event.text.strip()
            await self.happens(Event.START_OF_TURN)
        elif isinstance(event, Update):
            self.words_so_far = event.text.strip()
        elif isinstance(event, EagerEndOfTurn):
            self.words_so_far = event.text.strip()
            await self.happens(Event.EAGER_END, self.words_so_far)
        elif isinstance(event, TurnResumed):
            await self.happens(Event.RESUMED)
        elif isinstance(event, EndOfTurn):
            text = event.text.strip()
            await (self.turn_ended(text, ended_at) if text else self.was_noise())
        if self.words_so_far:
            # It was no noise: an answer to the words is what will be said.
            self._cut_off.drop()

    async def turn_ended(self, text: str, ended_at: float) -> None:
        """The person has finished saying this."""
        self.person_speaks_since = None
        self.words_so_far = ""
        self.turn_ended_at = ended_at
        same = self._thought is None or self._thought.heard == text
        await self.happens(Event.END_OF_TURN if same else Event.END_OF_OTHER_TURN, text)

    async def was_noise(self) -> None:
        """What seemed to be speech had no words."""
        self.person_speaks_since = None
        self.words_so_far = ""
        self.quiet_since = self.clock()
        await self.happens(Event.NOISE)

    # The table's events and actions.

    async def happens(self, event: Event, text: str = "") -> None:
        """Take one step of the table; of the actions only the cut waits for the wire, and it comes first."""
        self.state, actions = step(self.state, event)
        for action in actions:
            if action is Action.CUT:
                await self._cut(by_person=event not in (Event.WARN, Event.LEAVE))
            elif action is Action.DROP:
                self._drop_thought()
            elif action is Action.HEAR:
                self._hear(text)
            elif action is Action.THINK:
                self._cut_off.drop()
                self._thought = self._think(text)
            elif action is Action.RESUME:
                self._resume()
            elif event not in (Event.SAY, Event.WARN, Event.LEAVE):
                thought, self._thought = self._thought, None
                assert thought is not None, "the table thinks before it speaks"
                self._speak(Speech(thought=thought))

    async def greet(self) -> None:
        """The persona speaks first."""
        self.turn_ended_at = self.clock()
        await self.happens(Event.SAY)
        if self.state is State.SPEAKING:
            self._speak(Speech(thought=self._think(None), instead=prompts.greeting(self.call)))

    async def say(self, text: str, *, leaving: EndReason | None = None) -> None:
        """The persona speaks unasked, unless somebody speaks. Empty text says only the warning.

        With it the persona may be `leaving`: then the call is over when it was heard, unless somebody speaks into it.
        """
        if self.state is not State.LISTENING or self.person_speaks_since is not None:
            return
        await self.happens(Event.SAY)
        self.leaving = leaving
        self._speak(Speech(texts=(text,)) if text else SILENCE)

    async def warn_now(self) -> None:
        """Say the warning into whatever is being said: later it would not be heard before the goodbye."""
        is_next = self._warned == (self.speaker.current, 0)
        if is_next or self.leaving is not None:
            return
        if self.state is State.INTERRUPTED and not self.words_so_far:
            # Should it be no noise after all, its first words will cut once more.
            await self.was_noise()
            return
        speaks = self.state is State.SPEAKING
        self._warning_cut = None
        self.warning = self.warning or self._warning_words
        await self.happens(Event.WARN)
        if self.state is State.SPEAKING and not speaks:
            self._speak(SILENCE)

    async def leave(self, reason: EndReason, words: str | None = None) -> None:
        """Say the reserved goodbye, or these words, and end; the first reason counts. Not to be called by a reply."""
        if self.state is State.LEAVING:
            return
        await self.fall_silent()
        self.last_words(reason, prompts.goodbye(reason) if words is None else words)

    async def fall_silent(self) -> None:
        """Stop talking for good; `last_words` may still follow."""
        await self.happens(Event.LEAVE)
        self._cut_off.drop()

    def last_words(self, reason: EndReason, words: str) -> None:
        """Say this and end; it is paid for from what was set aside."""
        self.leaving = reason
        self._answer(partial(self._farewell, reason, words))

    def end(self, reason: EndReason) -> None:
        """The call is over; what is still being said isn't waited for."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def stop(self) -> None:
        """Nothing is thought or said any more; what was heard of the last words is written down."""
        self.speaker.count_resent()
        if self._reply is not None:
            self._reply.cancel()
        self._speech.drop()
        self._cut_off.drop()
        self._drop_thought()
        utterance, self.speaker.current = self.speaker.current, None
        if utterance is not None and (heard := utterance.heard_text()):
            self._write("persona", heard)

    def _think(self, text: str | None) -> Thought:
        return Thought(self._thinking, prompts.conversation(self._system, self.transcript, text), text)

    def _resume(self) -> None:
        """Go on after a noise with what was left unheard, and if no answer was ready nor is coming, think again."""
        self._cut_in = False
        self.leaving = self._interrupted_leaving
        rest, self._cut_off = self._cut_off, SILENCE
        thought, after = (self._think(None), 0) if rest.is_unanswered() else (rest.thought, rest.after)
        speech = Speech(texts=rest.texts, thought=thought, after=after, instead=prompts.LOST_WORDS)
        utterance = self._speak(speech)
        if self._warning_cut is not None:
            # Its rest is part of what was left unheard.
            self._warned = utterance, self._warning_cut
            self._warning_cut = None
            self.gate.warned().settle()

    def _hear(self, text: str) -> None:
        self._write("user", text)
        if self._warning_cut is not None:
            if self.gate.owes_warning() and self._warnings_sent < WARNINGS_MAX - 1:
                self.warning = self._warning_words
            self._warning_cut = None
        if self._cut_in:
            self.interrupt_count += 1
            self._cut_in = False

    def _drop_thought(self) -> None:
        if self._thought is not None:
            self._thought.drop()
            self._thought = None

    async def _cut(self, *, by_person: bool) -> None:
        """The clear goes out first; whatever it takes to stop paying comes after."""
        reply, self._reply = self._reply, None
        speech, self._speech = self._speech, SILENCE
        try:
            utterance = await self.speaker.cut()
        except BaseException:
            # Nobody is left to drop it: the stream is gone, or the call has ended meanwhile.
            speech.drop()
            raise
        finally:
            if reply is not None:
                reply.cancel()
            self._drop_thought()
        # Whoever speaks into the persona's goodbye has not said goodbye.
        self._interrupted_leaving, self.leaving = self.leaving, None
        self._cut_off = SILENCE
        if utterance is None:
            speech.drop()
            return
        self._look_whether_warned(utterance)
        self._cut_off = speech.rest(utterance)
        self._cut_in = by_person and utterance.bytes_sent > 0
        if heard := utterance.heard_text():
            self._write("persona", heard)

    def _answer(self, work: Work) -> None:
        """The one thing being said from now on."""
        if self._reply is not None:
            self._reply.cancel()
        self._reply = asyncio.create_task(self.guard("reply", work), name="reply")

    # What is said.

    def _speak(self, speech: Speech) -> Utterance:
        """Say this from now on."""
        utterance = self.speaker.begin()
        self._speech = speech
        self._answer(partial(self._say_all, utterance, speech))

        return utterance

    async def _say_all(self, utterance: Utterance, speech: Speech) -> None:
        for text in speech.texts:
            if not await self._say_next(utterance, text):
                break
        thought = speech.thought
        if utterance.refused:
            speech.drop()
        elif thought is None:
            await self._say_warning(utterance)
        elif not await self._say_thought(utterance, thought, speech):
            return
        if utterance.refused or (thought is not None and thought.refused):
            await self._say_that_money_is_short(utterance)
        await self.speaker.close(utterance)
        await self.look_whether_played()

    async def _say_thought(self, utterance: Utterance, thought: Thought, speech: Speech) -> bool:
        """Whether the call goes on."""
        async for sentence in thought.sentences(speech.after):
            if not await self._say_next(utterance, sentence):
                thought.drop()
                break
        if thought.failed and speech.instead is None:
            await self._leave_from_reply("vendor_failure")
            return False
        if thought.failed and speech.instead is not None:
            await self._say_next(utterance, speech.instead)
        if thought.ends_call:
            self.leaving = "persona_ended"
            if not thought.ready:
                await self.speaker.say(utterance, prompts.FAREWELL)

        return True

    async def _say_next(self, utterance: Utterance, sentence: str) -> bool:
        """Say one more sentence, the warning before it if that is due; False if the gate refused it."""
        await self._say_warning(utterance)
        return await self.speaker.say(utterance, sentence)

    async def _say_warning(self, utterance: Utterance) -> None:
        if self.warning:
            self._warning_words, self.warning = self.warning, ""
            self._warnings_sent += 1
            self._warned = utterance, len(utterance.text)
            await self.speaker.say(utterance, self._warning_words, aside=self.gate.warned())

    async def _say_that_money_is_short(self, utterance: Utterance) -> None:
        """What was refused stays unsaid: the goodbye follows, or first the warning, to which the person may answer."""
        if self.gate.owes_warning():
            self.warning = prompts.warning(self.call, "money")
            await self._say_warning(utterance)
        if self._warned is not None and self._warned[0] is utterance and len(utterance.text) > self._warned[1]:
            utterance.refused = False
        else:
            self.leaving = "budget_reached"

    def _look_whether_warned(self, utterance: Utterance) -> None:
        """A warning that was cut before half of it was heard goes on after a noise, and comes again after words."""
        warned, self._warned = self._warned, None
        if warned is None or warned[0] is not utterance:
            return
        behind = warned[1]
        heard = len(utterance.heard_text())
        if len(utterance.text) <= behind:
            # It still waited for its turn: no voice had it.
            self.warning = self._warning_words
            self._warnings_sent -= 1
        elif heard - behind < len(self._warning_words) / 2 and self._warnings_sent < WARNINGS_MAX:
            self._warning_cut = behind - heard
            self.gate.warn_again(self._thinking.meter.spent_cents(), self.clock() - self._began_at)

    async def _farewell(self, reason: EndReason, words: str) -> None:
        utterance = self.speaker.begin(reserved=True)
        await self.speaker.say(utterance, words)
        await self.speaker.close(utterance)
        await utterance.played.wait()
        self.end(reason)

    async def _leave_from_reply(self, reason: EndReason) -> None:
        """Leaving cancels the reply, so a reply that leaves takes itself out first."""
        self._reply = None
        await self.leave(reason)

    async def look_whether_played(self) -> None:
        """If what was said has been heard to its end, the line is free, or the call is over."""
        utterance = self.speaker.current
        if utterance is None or not utterance.played.is_set() or self.state is not State.SPEAKING:
            return
        self.speaker.current = None
        self._speech = SILENCE
        if said := utterance.heard_text():
            self._write("persona", said)
        self.quiet_since = self.clock()
        await self.happens(Event.PLAYED)
        if self.leaving in ("persona_ended", "silence"):
            self.end(self.leaving)
        elif self.leaving is not None or utterance.refused:
            await self._leave_from_reply(self.leaving or "budget_reached")

    def first_audio(self) -> None:
        """The persona begins to be heard: how long did the person wait?"""
        if self.turn_ended_at is not None and self.transcript and self.transcript[-1].speaker == "user":
            self.response_times_ms.append(round((self.clock() - self.turn_ended_at) * 1000))
        self.turn_ended_at = None

    def _write(self, side: Side, text: str) -> None:
        turn = Turn(side, text, self._answered_at + timedelta(seconds=self.clock() - self._began_at))
        self.transcript.append(turn)
        self._write_down(turn)

    async def guard(self, name: str, work: Work) -> None:
        """Run a part of the call; its unforeseen failure ends the call instead of leaving it mute."""
        try:
            await work()
        except VendorError:
            # Only the carrier's stream is written to unguarded, and its own loop says what became of it; but not of one
            # that still brings sound and takes none.
            self._failures.append(f"{name}:stream")
            await asyncio.sleep(STREAM_WORD_SECONDS_MAX)
            self.end("stream_lost")
        except Exception as exc:
            _log.exception("voice_part_failed", call_id=self.call.call_id, part=name, error=type(exc).__name__)
            self._failures.append(f"{name}:{type(exc).__name__}")
            self.end("vendor_failure")
