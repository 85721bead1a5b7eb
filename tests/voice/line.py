"""A whole call in memory and in virtual time: fakes at the level of the protocols in `voice/vendors.py`.

The clock jumps to the next timer, so a call of ten minutes takes as long as its work. What needs sockets is tested
against the simulator instead.
"""

import asyncio
import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from callmeback.errors import DatabaseUnavailable
from callmeback.providers.failures import VendorUnavailable
from callmeback.voice import audio, session
from callmeback.voice.control import Control
from callmeback.voice.ticket import CallTicket, PromptLayers
from callmeback.voice.vendors import (
    Delta,
    EagerEndOfTurn,
    EndOfTurn,
    Finished,
    Lost,
    Played,
    Silent,
    Spoken,
    StartOfTurn,
    TokensUsed,
    TurnResumed,
    Update,
    Vendors,
)

CHARACTERS_PER_SECOND = 15


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only by waiting for it."""

    def __init__(self):
        super().__init__()
        self._virtual_now = 1000.0

    def time(self):
        return self._virtual_now

    def _run_once(self):
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready:
            if not self._scheduled:
                raise RuntimeError("everyone waits for someone else")
            self._virtual_now = max(self._virtual_now, self._scheduled[0]._when)
        super()._run_once()


def virtually(work):
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now():
    return asyncio.get_running_loop().time()


class Line:
    """The carrier's stream and its REST side: plays in real (virtual) time, gives marks back when played or cleared."""

    def __init__(self, frame_seconds=0.1):
        self.frame = audio.silence(frame_seconds)
        self.frame_seconds = frame_seconds
        self.log = []
        self.played_bytes = 0
        self.hang_ups = 0
        self.hang_up_failures = 0
        self.ended_at = None
        self.began_at = now()
        self.mute = False
        self.takes_nothing = False
        self._inbox = asyncio.Queue()
        self._buffer = deque()
        self.heard_at = []
        self._wake = asyncio.Event()
        self.tasks = [asyncio.create_task(self._play()), asyncio.create_task(self._frames())]

    async def receive(self):
        message = await self._inbox.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send_audio(self, sound):
        self._check()
        self.log.append((now(), "audio", len(sound)))
        self._buffer.append(sound)
        self._wake.set()

    async def send_mark(self, name):
        self._check()
        self._buffer.append(name)
        self._wake.set()

    async def send_clear(self):
        self._check()
        self.log.append((now(), "clear", self.queued_bytes()))
        for item in self._buffer:
            if isinstance(item, str):
                self._inbox.put_nowait(Played(item))
        self._buffer.clear()

    async def close(self):
        self.end()

    async def hang_up(self, carrier_sid):
        self.hang_ups += 1
        await asyncio.sleep(0.15)
        if self.hang_up_failures > 0:
            self.hang_up_failures -= 1
            raise VendorUnavailable("carrier", "work")
        self.end()
        return True

    def queued_bytes(self):
        return sum(len(item) for item in self._buffer if isinstance(item, bytes))

    def speaking(self):
        return any(isinstance(item, bytes) for item in self._buffer)

    def person_hangs_up(self):
        self.end()

    def breaks(self):
        self._inbox.put_nowait(VendorUnavailable("reset", "work"))

    def end(self):
        if self.ended_at is None:
            self.ended_at = now()
            self._inbox.put_nowait(None)

    def _check(self):
        if self.ended_at is not None or self.takes_nothing:
            raise VendorUnavailable("the stream is closed", "work")

    async def _play(self):
        while True:
            while not self._buffer:
                self._wake.clear()
                await self._wake.wait()
            item = self._buffer[0]
            if isinstance(item, str):
                self._inbox.put_nowait(Played(item))
            else:
                self.heard_at.append(now())
                await asyncio.sleep(audio.seconds(len(item)))
                if not self._buffer or self._buffer[0] is not item:
                    continue
                self.played_bytes += len(item)
            self._buffer.popleft()

    async def _frames(self):
        while self.ended_at is None:
            await asyncio.sleep(self.frame_seconds)
            if not self.mute and self.ended_at is None:
                self._inbox.put_nowait(self.frame)


class Listener:
    """Ears that hear what the test says, with Flux's events and delays."""

    def __init__(self):
        self.bytes = 0
        self.opened_at = now()
        self.closed_at = None
        self.connected = True
        self.turn = 0
        self.queue = asyncio.Queue()

    def send(self, sound):
        self.bytes += len(sound)

    async def events(self):
        while (event := await self.queue.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def billed_seconds(self):
        life = (self.closed_at or now()) - self.opened_at
        return Decimal(str(round(max(self.bytes / 8000, life), 3)))

    async def aclose(self):
        self.closed_at = self.closed_at or now()
        self.queue.put_nowait(None)

    def put(self, event, text="", ended_at=None):
        made = {
            "start_of_turn": lambda: StartOfTurn(self.turn, text),
            "update": lambda: Update(self.turn, text),
            "eager_end_of_turn": lambda: EagerEndOfTurn(self.turn, text, ended_at),
            "turn_resumed": lambda: TurnResumed(self.turn),
            "end_of_turn": lambda: EndOfTurn(self.turn, text, ended_at),
        }
        self.connected = True
        self.queue.put_nowait(made[event]())
        self.turn += event == "end_of_turn"

    def drops(self):
        self.connected = False
        self.queue.put_nowait(Lost())

    def dies(self):
        self.queue.put_nowait(VendorUnavailable("listener", "work"))

    async def hears(self, text, resumes=False):
        """A person says this, at the pace of speech; returns when the end of the turn was told."""
        began = now()
        self.put("start_of_turn")
        for _ in range(max(1, len(text) // 8)):
            await asyncio.sleep(8 / CHARACTERS_PER_SECOND)
            self.put("update", text[: int((now() - began) * CHARACTERS_PER_SECOND)])
        if resumes:
            self.put("eager_end_of_turn", text[: len(text) // 2])
            await asyncio.sleep(0.2)
            self.put("turn_resumed")
            await asyncio.sleep(0.3)
        self.put("eager_end_of_turn", text)
        await asyncio.sleep(0.12)
        self.put("end_of_turn", text)


@dataclass
class Brain:
    """Answers each request with the next text of a list, word by word; counts what it generated."""

    answers: list[str]
    latency: float = 0.25
    fails: bool = False
    cut_after: int | None = None
    stalls_after: int | None = None
    stall_seconds: float = 3600.0
    requests: list = field(default_factory=list)
    generated: int = 0
    cancelled: int = 0

    async def stream(self, messages, *, max_tokens, temperature):
        self.requests.append(list(messages))
        if self.fails:
            raise VendorUnavailable("brain", "work")
        answer = self.answers[min(len(self.requests) - 1, len(self.answers) - 1)]
        try:
            await asyncio.sleep(self.latency)
            for index, word in enumerate(answer.split(" ")[:max_tokens]):
                if index == self.cut_after:
                    return
                if index == self.stalls_after:
                    await asyncio.sleep(self.stall_seconds)
                self.generated += 1
                yield Delta(word if index == 0 else " " + word)
                await asyncio.sleep(0.004)
            yield Finished("stop")
            prompt = sum(len(message.content) for message in messages) // 5
            yield TokensUsed(prompt, len(answer.split(" ")))
        except (GeneratorExit, asyncio.CancelledError):
            self.cancelled += 1
            raise


class Mouth:
    """A vendor's voice: 15 characters a second, faster than real time, aligned."""

    def __init__(self, latency=0.15, drops_after=None, stalls_after=None, aligns=True, sends_again=""):
        self.latency = latency
        self.drops_after = drops_after
        self.stalls_after = stalls_after
        self.aligns = aligns
        self.sends_again = sends_again
        self.texts = []
        self.cancelled = []
        self.spoken_characters = 0
        self.closed = False
        self._contexts = {}
        self._out = asyncio.Queue()

    async def say(self, context, text):
        if self.closed:
            raise VendorUnavailable("voice", "work")
        self.texts.append(text)
        if self.sends_again and self.sends_again in text:
            # Its socket was lost before a sound, and the text went over a new one.
            self.texts.append(text)
        if context not in self._contexts:
            queue = asyncio.Queue()
            self._contexts[context] = (queue, asyncio.create_task(self._speak(context, queue)))
        self._contexts[context][0].put_nowait(text)

    async def finish(self, context):
        if self.closed:
            raise VendorUnavailable("voice", "work")
        self._contexts[context][0].put_nowait(None)

    async def cancel(self, context):
        self.cancelled.append(context)
        if context in self._contexts:
            self._contexts.pop(context)[1].cancel()

    async def events(self):
        while (event := await self._out.get()) is not None:
            yield event

    @property
    def characters_sent(self):
        return sum(len(text) for text in self.texts)

    async def aclose(self):
        self.closed = True
        for _, task in self._contexts.values():
            task.cancel()

    def late_audio(self, context):
        self._out.put_nowait(Spoken(context, b"\x00" * 800, "late"))

    async def _speak(self, context, queue):
        await asyncio.sleep(self.latency)
        while (text := await queue.get()) is not None:
            for start in range(0, len(text), 12):
                if self.drops_after is not None and self.spoken_characters >= self.drops_after:
                    self.closed = True
                    self._out.put_nowait(None)
                    return
                if self.stalls_after is not None and self.spoken_characters >= self.stalls_after:
                    return
                part = text[start : start + 12]
                self.spoken_characters += len(part)
                sound = b"\x55" * (len(part) * 8000 // CHARACTERS_PER_SECOND)
                self._out.put_nowait(Spoken(context, sound, part if self.aligns else ""))
                await asyncio.sleep(0.05)
        self._out.put_nowait(Silent(context))


class Local:
    """The local voice."""

    def __init__(self):
        self.texts = []

    async def speak(self, text):
        self.texts.append(text)
        await asyncio.sleep(0.02)
        return b"\x66" * (len(text) * 8000 // CHARACTERS_PER_SECOND)


class MemoryBooks:
    """Books that remember, and can be out of order for a while."""

    def __init__(self):
        self.states = []
        self.turns = []
        self.outcomes = []
        self.connections = 0
        self.limit = None
        self.down_until = 0.0

    async def connected(self):
        self._check()
        self.connections += 1

    def meter(self, sequence, usage, costs):
        self.states.append((now(), sequence, usage, costs))

    def limits(self):
        return self.limit

    async def turn(self, turn):
        self._check()
        self.turns.append(turn)

    async def finish(self, outcome):
        self._check()
        self.outcomes.append(outcome)

    def _check(self):
        if now() < self.down_until:
            raise DatabaseUnavailable


@dataclass
class Call:
    """One call with everything around it; each part may be replaced before `run`."""

    ticket: CallTicket
    line: Line = field(default_factory=Line)
    listener: Listener = field(default_factory=Listener)
    brain: Brain = field(default_factory=lambda: Brain(["Hello there, it is me. How are you today?"]))
    second_brain: Brain = field(default_factory=lambda: Brain(["This is my second thought. I am well."]))
    mouths: list = field(default_factory=lambda: [Mouth()])
    local: Local = field(default_factory=Local)
    books: MemoryBooks = field(default_factory=MemoryBooks)
    control: Control = field(default_factory=Control)
    opened: list = field(default_factory=list)
    mouth_opening_seconds: float = 0.05

    def vendors(self):
        return Vendors(
            carrier=self.line,
            open_ears=self._open_ears,
            mind=self.brain,
            second_mind=self.second_brain,
            open_mouth=self._open_mouth,
            local_voice=self.local,
        )

    async def run(self, person=None):
        """Hold the call while `person(call)` does what it does; returns the outcome."""
        task = asyncio.create_task(person(self)) if person is not None else None
        try:
            return await session.run(
                self.ticket, self.line, self.vendors(), self.books, control=self.control, clock=now
            )
        finally:
            for other in (*self.line.tasks, *([task] if task else [])):
                other.cancel()

    async def talk(self, *lines):
        """Hold the call while the person says each line after the persona has spoken, hears the answer and hangs up."""

        async def person(call):
            await call.persona_is_done()
            for line in lines:
                await call.listener.hears(line)
                await call.persona_is_done()
            call.line.person_hangs_up()

        return await self.run(person)

    async def persona_speaks(self):
        """Wait until the persona is heard."""
        while not self.line.speaking():
            await asyncio.sleep(0.02)

    async def persona_is_done(self):
        """Wait until the persona has spoken and is quiet again."""
        await self.persona_speaks()
        while self.line.speaking():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)

    async def _open_ears(self):
        await asyncio.sleep(0.05)
        self.listener.opened_at = now()
        return self.listener

    async def _open_mouth(self):
        await asyncio.sleep(self.mouth_opening_seconds)
        if not self.mouths:
            raise VendorUnavailable("voice", "work")
        self.opened.append(self.mouths.pop(0))
        return self.opened[-1]


def ticket_of(card, **changes):
    values = {
        "call_id": "call_1",
        "user_id": "user_1",
        "carrier_sid": "CA1",
        "persona_name": "Brad",
        "layers": PromptLayers(identity="You are Brad."),
        "card": card,
        "hold_cents": Decimal(100),
        "granted_seconds": 300,
    }
    return CallTicket(**(values | changes))


def random_words(rng: random.Random, most: int) -> str:
    words = ["well", "indeed", "tomorrow", "coffee", "running", "a", "the", "we", "doctor", "yes", "maybe", "lovely"]
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, most))) + "."
