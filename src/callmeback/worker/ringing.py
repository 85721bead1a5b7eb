"""Calls to come, rung: two loops of each worker, which agree with those of other workers through the database alone.

`ring` claims what is due and begins it; `tend` adds what repeats, notes how calls ended and sends texts before calls.
Beginning a call is not dialling: that is the dialler's, at the carrier's pace, for these calls as for all.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from callmeback import errors, logs
from callmeback.domain import costs, due
from callmeback.domain.due import Claimed, Reminder
from callmeback.payments import payg
from callmeback.payments.checkout import Desk
from callmeback.pg.errors import RULES
from callmeback.pg.pool import Database, Session
from callmeback.providers.stripe import Cashier
from callmeback.providers.twilio import Carrier
from callmeback.settings import Settings

CLAIM_MAX: Final = 100
# One commit begins so many: their owners' accounts are locked until then.
PLACE_MAX: Final = 20
TEND_MAX: Final = 100
# Rounds of one look; what is left then waits for the next look, so that a signal to stop is seen.
ROUNDS_MAX: Final = 50
TEXTS_AT_ONCE: Final = 8
# Cards that are asked at once; they answer within seconds, and no other call waits for one.
CARDS_AT_ONCE: Final = 4
# At the latest; what was planned meanwhile for an earlier time is found by then.
SLEEP_MAX_S: Final = 1.0
# Between two looks at something that is due and that another worker is just about to take.
SLEEP_MIN_S: Final = 0.02
# Workers that were started together don't all look in the same moment.
JITTER: Final = 0.1
RETRY_S: Final = 1.0
_REFUSALS: Final[dict[str | None, type[errors.CallMeBackError]]] = {kind.code: kind for kind in RULES.values()}

_log = logs.get_logger(__name__)


class Ringer:
    """One per worker; `ring` and `tend` each are one task."""

    def __init__(self, db: Database, carrier: Carrier, cashier: Cashier, settings: Settings, name: str) -> None:
        self._db = db
        self._carrier = carrier
        self._cashier = cashier
        self._base_url = settings.base_url
        self._card = costs.card_name(settings)
        self._settings = settings
        self._name = name
        self._is_priced = False
        self._held: list[Claimed] = []
        self._paying: set[asyncio.Task[None]] = set()
        self._cards = asyncio.Semaphore(CARDS_AT_ONCE)

    async def ring(self, stopping: asyncio.Event) -> None:
        """Begin calls as they come due, until `stopping`; cards that are being asked then may answer."""
        try:
            await self._look(self._ring_all, stopping)
            if self._paying:
                await asyncio.wait(self._paying)
        finally:
            for task in self._paying:
                task.cancel()

    async def tend(self, stopping: asyncio.Event) -> None:
        """Look after schedules, ended calls and reminders, until `stopping`."""
        await self._look(self._tend_all, stopping)

    async def _look(self, round_: Callable[[], Awaitable[bool]], stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                pause = 0.0 if await self._rounds(round_, stopping) else await self._until_next()
            except (errors.CallMeBackError, OSError) as exc:
                _log.warning("look_failed", at=round_.__name__.strip("_"), error=type(exc).__name__)
                pause = RETRY_S
            except Exception:
                # A fault of ours must not end the loop; it is loud in the log, and tried again.
                _log.exception("look_broke", at=round_.__name__.strip("_"))
                pause = RETRY_S
            try:
                await asyncio.wait_for(stopping.wait(), pause)
            except TimeoutError:
                continue

    async def _rounds(self, round_: Callable[[], Awaitable[bool]], stopping: asyncio.Event) -> bool:
        """Whether there is more to do."""
        for _ in range(ROUNDS_MAX):
            if stopping.is_set() or not await round_():
                return False

        return True

    async def _until_next(self) -> float:
        async with self._db.transaction(read_only=True, single=True) as tx:
            seconds = await due.seconds_to_next(tx)
        if seconds is None or seconds > SLEEP_MAX_S:
            return SLEEP_MAX_S * (1 - JITTER * random.random())

        return max(SLEEP_MIN_S, seconds)

    async def _ring_all(self) -> bool:
        """Claim and begin one batch; whether it was full."""
        if not self._is_priced:
            async with self._db.transaction() as tx:
                self._is_priced = await costs.ensure_card(tx, self._settings)
        if not self._held:
            async with self._db.transaction() as tx:
                self._held = await due.claim(tx, self._name, CLAIM_MAX)
        is_full = len(self._held) == CLAIM_MAX
        # What the database went away for is begun when it is back, unless somebody else has claimed it by then.
        while self._held:
            await self._place(self._held[:PLACE_MAX])
            del self._held[:PLACE_MAX]

        return is_full

    async def _place(self, claimed: list[Claimed]) -> None:
        try:
            async with self._db.transaction() as tx:
                placed = await due.place(tx, claimed, self._card)
        except (errors.DatabaseUnavailable, errors.Overloaded):
            raise
        except errors.CallMeBackError as exc:
            if len(claimed) == 1:
                # Its lease runs out and it is claimed again, until its grace is over.
                _log.error("placing_failed", scheduled_call_id=claimed[0].id, error=type(exc).__name__)
                return
            # One that can't be begun keeps none of the others from it.
            for one in claimed:
                await self._place([one])
            return
        by_id = {one.id: one for one in claimed}
        for made in placed:
            _log.info("scheduled_call", scheduled_call_id=made.id, status=made.status, outcome=made.outcome)
            if made.status == "executing":
                task = asyncio.create_task(self._paid(by_id[made.id]), name=f"pay {made.id}")
                self._paying.add(task)
                task.add_done_callback(self._paying.discard)

    async def _paid(self, claimed: Claimed) -> None:
        """Begin a call that its owner pays by card; whatever refuses it is its outcome."""
        try:
            async with self._cards:
                await self._pay(claimed)
        except errors.NotWaiting:
            _log.info("claim_lost", scheduled_call_id=claimed.id)
        except (errors.DatabaseUnavailable, errors.Overloaded, errors.CallInProgress, OSError) as exc:
            # Its lease runs out, and it is claimed again. In progress is a card that a worker asked and didn't hear of.
            _log.warning("paying_failed", scheduled_call_id=claimed.id, error=type(exc).__name__)
        except errors.CallMeBackError as exc:
            async with self._db.transaction() as tx:
                await due.finish(tx, [claimed], "failed", exc.code)
        except Exception:
            _log.exception("paying_broke", scheduled_call_id=claimed.id)

    async def _pay(self, claimed: Claimed) -> None:
        async with self._db.transaction(read_only=True, single=True) as tx:
            wish = await due.wish(tx, claimed)
        if wish is None:
            raise errors.NotWaiting()

        async def start(tx: Session, authorization_id: str) -> None:
            placed = await due.place(tx, [claimed], self._card, authorization_id)
            if not placed or placed[0].status != "executed":
                # Raised, so that what was set aside is let go of; a refusal is noted after that.
                raise _REFUSALS.get(placed[0].outcome if placed else None, errors.NotWaiting)()

        desk = Desk(self._cashier, lambda: self._db.transaction(claimed.user_id), claimed.user_id, self._base_url)
        await payg.pay_call(desk, wish.persona_id, wish.requested_seconds, start)

    async def _tend_all(self) -> bool:
        """One batch of each; whether one was full."""
        async with self._db.transaction() as tx:
            materialised = await due.materialise(tx, TEND_MAX)
        async with self._db.transaction() as tx:
            ended = await due.settle(tx, TEND_MAX)
        async with self._db.transaction() as tx:
            reminders = await due.claim_reminders(tx, TEXTS_AT_ONCE)
        await asyncio.gather(*(self._remind(reminder) for reminder in reminders))

        return TEND_MAX in (materialised, ended) or len(reminders) == TEXTS_AT_ONCE

    async def _remind(self, reminder: Reminder) -> None:
        try:
            await self._carrier.send_text(reminder.phone_number, due.reminder_text(reminder))
        except errors.VendorFailed as exc:
            _log.warning("reminder_failed", scheduled_call_id=reminder.id, error=exc.code)
