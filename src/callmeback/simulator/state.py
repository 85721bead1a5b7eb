"""All that the simulated vendors remember, in memory and bounded: calls, texts, mails, phones, spoken clips,
manners."""

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec

from callmeback.providers.espeak import LocalVoice
from callmeback.simulator.behaviour import Manners
from callmeback.simulator.clips import Registry
from callmeback.simulator.handset import Handset
from callmeback.simulator.pages import Pages
from callmeback.simulator.payments.account import Account, PaymentsConfig
from callmeback.simulator.persons import Script

CALLS_MAX: Final = 5000
LETTERS_MAX: Final = 1000
PHONES_MAX: Final = 5000
EVENTS_MAX: Final = 500
WEBHOOK_CONNECT_TIMEOUT_S: Final = 5.0
WEBHOOK_TIMEOUT_S: Final = 15.0
CLOSE_TIMEOUT_S: Final = 5.0


class SimulatorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who the simulated carrier's customer is, and how fast its phones are.

    `calls_per_second`: more wait in the carrier's queue, as a new account's do (None: no queue) · `ring_seconds`:
    until a scripted person picks up · `unanswered_seconds`: how long a phone that nobody picks up rings, if the
    carrier's own Timeout isn't shorter · `pause_seconds`: the silence after which a scripted person takes the
    persona to have finished · `payments`: our account at the simulated payments vendor · `plays_payments`: whether that
    one is played at all, or is the real one.
    """

    account_sid: str = "AC5157a7ed0000000000000000000000ff"
    auth_token: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    number: str = "+12025550199"
    calls_per_second: float | None = None
    ring_seconds: float = 1.0
    unanswered_seconds: float = 3.0
    pause_seconds: float = 0.8
    rating_seconds: float = 2.0
    plays_payments: bool = True
    payments: PaymentsConfig = msgspec.field(default_factory=PaymentsConfig)


class Letter(msgspec.Struct, frozen=True):
    """A text or a mail that somebody received."""

    to: str
    body: str
    sent_at: str
    subject: str | None = None


class Call:
    """One call at the simulated carrier, from the request to its rating."""

    def __init__(self, form: dict[str, list[str]], account_sid: str, handset: Handset) -> None:
        self.sid = "CA" + secrets.token_hex(16)
        self.account_sid = account_sid
        self.form = form
        self.to = form["To"][0]
        self.caller = form["From"][0]
        self.status = "queued"
        self.handset = handset
        self.created_at = datetime.now(UTC)
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.answered_clock: float | None = None
        self.ended_clock: float | None = None
        self.duration_seconds: int | None = None
        self.queue_ms = 0
        self.answered_by: str | None = None
        self.time_limit_seconds = int(form.get("TimeLimit", ["14400"])[0])
        self.sequence = 0
        self.courier = asyncio.Lock()
        self.ending = asyncio.Event()
        """Set when somebody ends the call; what then follows is the carrier's tidying up."""
        self.ended_by: str | None = None
        self.redirected = asyncio.Event()
        self.next_twiml: tuple[str, str] | None = None
        self.cut_at: float | None = None
        self.events: deque[dict[str, object]] = deque(maxlen=EVENTS_MAX)
        self._clock = time.monotonic()

    def first(self, key: str) -> str | None:
        """A parameter of the request."""
        values = self.form.get(key)
        return values[0] if values else None

    def note(self, event: str, **details: object) -> None:
        """Remember what happened, with the seconds since the request."""
        self.events.append({"at": round(time.monotonic() - self._clock, 3), "event": event, **details})

    def seconds_answered(self) -> float:
        """How long the call is or was connected; 0 before the answer."""
        if self.answered_clock is None:
            return 0.0
        return (self.ended_clock or time.monotonic()) - self.answered_clock

    def end(self, by: str) -> None:
        """Somebody ends the call; the first one counts."""
        if not self.ending.is_set():
            self.ended_by, self.ended_clock = by, time.monotonic()
            self.note("ending", by=by)
            self.ending.set()

    @property
    def over(self) -> bool:
        return self.ended_at is not None


class Simulator:
    """The vendors' common memory; one for an application. `aclose` ends what still runs."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config or SimulatorConfig()
        self.began_at = now_text()
        self.manners = Manners()
        self.clips = Registry()
        self.voice = LocalVoice()
        self.pages = Pages()
        self.payments = Account(self.config.payments, self.manners)
        self.calls: OrderedDict[str, Call] = OrderedDict()
        self.phones: OrderedDict[str, Script] = OrderedDict()
        self.messages: deque[Letter] = deque(maxlen=LETTERS_MAX)
        self.mails: deque[Letter] = deque(maxlen=LETTERS_MAX)
        self.mail_ids: deque[tuple[str, str]] = deque(maxlen=LETTERS_MAX)
        self.webhooks = httpx.AsyncClient(
            timeout=httpx.Timeout(WEBHOOK_TIMEOUT_S, connect=WEBHOOK_CONNECT_TIMEOUT_S),
            headers={"User-Agent": "TwilioProxy/1.1"},
            # What it calls back is on this machine too.
            trust_env=False,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_dial = 0.0

    def add_call(self, call: Call) -> None:
        """Remember a call; the oldest that is over makes room."""
        self.calls[call.sid] = call
        if len(self.calls) > CALLS_MAX:
            del self.calls[next((sid for sid, old in self.calls.items() if old.over), call.sid)]

    def set_phone(self, number: str, script: Script) -> None:
        """Decide who picks up there from now on; the phone set longest ago makes room."""
        self.phones[number] = script
        self.phones.move_to_end(number)
        if len(self.phones) > PHONES_MAX:
            self.phones.popitem(last=False)

    def dial_wait_seconds(self) -> float:
        """How long a call placed now stays queued; takes its place in the queue."""
        if not self.config.calls_per_second:
            return 0.0
        now = time.monotonic()
        at = max(now, self._next_dial)
        self._next_dial = at + 1 / self.config.calls_per_second
        return at - now

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run in the background until it is done or the simulator closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """End all calls and callbacks."""
        for call in self.calls.values():
            call.end("shutdown")
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=CLOSE_TIMEOUT_S)
        await self.webhooks.aclose()
        await self.payments.aclose()
        self.voice.close()


def now_text() -> str:
    """The time as the API writes it."""
    return datetime.now(UTC).isoformat()
