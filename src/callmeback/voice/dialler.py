"""The dialler: takes calls from the outbox at the carrier's pace and asks the carrier to place them.

The intent is committed before, the carrier is asked outside any transaction, its answer is recorded after. A create has
no idempotency key at the carrier: after an unknown outcome the call is left to the reaper, which looks it up there. A
missed call beats two.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Final
from urllib.parse import urlencode

from callmeback import errors, logs
from callmeback.domain import dials, phones
from callmeback.domain.dials import Claimed, DialOrder, Ending
from callmeback.pg.pool import Database
from callmeback.providers.failures import VendorRefused, VendorUnavailable
from callmeback.providers.twilio import Carrier, Order

POLL_SECONDS: Final = 0.25
CLAIM_MAX: Final = 10
RING_SECONDS: Final = 40
PLACE_ATTEMPTS_MAX: Final = 3
PLACE_PAUSE_SECONDS: Final = 1.0
PLACE_PAUSE_SECONDS_MAX: Final = 5.0
RECORD_ATTEMPTS_MAX: Final = 5
RECORD_PAUSE_SECONDS: Final = 0.5
STOP_SECONDS_MAX: Final = 15.0

_log = logs.get_logger(__name__)


def callback_url(base_url: str, hook: str, user_id: str, call_id: str) -> str:
    """Where the carrier reports on a call: `hook` is voice, status or amd."""
    return f"{base_url}/webhooks/twilio/{hook}?{urlencode({'user_id': user_id, 'call_id': call_id})}"


class Dialler:
    """One per process; `run` is its one task. Several processes may dial from one outbox."""

    def __init__(
        self,
        db: Database,
        carrier: Carrier,
        base_url: str,
        name: str,
        room: Callable[[], int] = lambda: CLAIM_MAX,
        *,
        allowed_regions: Collection[str],
    ) -> None:
        """`room` says how many more calls this process can carry; with none it leaves them to others."""
        self._db = db
        self._carrier = carrier
        self._base_url = base_url
        self._name = name
        self._room = room
        self._allowed_regions = allowed_regions
        self._kicked = asyncio.Event()
        self._dialling: set[asyncio.Task[None]] = set()

    def kick(self) -> None:
        """A call has just been committed: don't wait for the next look."""
        self._kicked.set()

    async def run(self) -> None:
        """Look into the outbox until cancelled; what is being dialled then is finished first, within its bound."""
        try:
            while True:
                self._kicked.clear()
                most = min(CLAIM_MAX - len(self._dialling), self._room())
                claimed = await self._claim(most)
                for call in claimed:
                    task = asyncio.create_task(self._guarded(call), name=f"dial {call.call_id}")
                    self._dialling.add(task)
                    task.add_done_callback(self._dialling.discard)
                # Without a hand or a place for one more call, nothing was asked for.
                await self._pause(has_more=len(claimed) == max(0, most))
        finally:
            if self._dialling:
                await asyncio.wait(self._dialling, timeout=STOP_SECONDS_MAX)

    async def _pause(self, *, has_more: bool) -> None:
        """Until the next look, or a kick; where more may wait than could be taken, until one is dialled."""
        if has_more and self._dialling:
            await asyncio.wait(self._dialling, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            return
        # Python 3.11's wait_for swallows a cancellation that comes together with a kick.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._kicked.wait()

    async def _claim(self, most: int) -> list[Claimed]:
        if most <= 0:
            return []
        try:
            async with self._db.transaction() as tx:
                return await dials.claim(tx, self._name, most)
        except errors.CallMeBackError as exc:
            _log.warning("claim_failed", error=type(exc).__name__)
            return []

    async def _guarded(self, claimed: Claimed) -> None:
        try:
            await self.dial(claimed)
        except (errors.CallMeBackError, OSError) as exc:
            # The reaper finds it: claimed, and without the carrier's id.
            _log.warning("dial_failed", call_id=claimed.call_id, error=type(exc).__name__)

    async def dial(self, claimed: Claimed) -> None:
        """Dial one claimed call; raises VendorError where the outcome is unknown, and what the database raises."""
        async with self._db.transaction(read_only=True) as tx:
            order = await dials.order(tx, claimed)
        if not order.is_open:
            return
        if (refusal := self._refusal(order)) is not None:
            _log.warning("not_dialled", call_id=order.call_id, error=refusal)
            await self._record(order, _failed(refusal))
            return
        try:
            sid = await self._place(order)
        except (VendorRefused, VendorUnavailable) as exc:
            _log.warning("carrier_did_not_dial", call_id=order.call_id, vendor_code=exc.vendor_code)
            words = "carrier_refused" if isinstance(exc, VendorRefused) else "carrier_unavailable"
            await self._record(order, _failed(words))
            return
        await self._note_sid(order, sid)

    def _refusal(self, order: DialOrder) -> str | None:
        """Why this number isn't dialled after all: all calls pass here, whoever placed them and however long ago.

        It may have been proved, and planned for, before its country was taken from the list, or been blocked since.
        """
        if order.is_blocked:
            return errors.NumberBlocked.code
        try:
            phones.normalise(order.phone_number, self._allowed_regions)
        except errors.CallMeBackError as exc:
            return exc.code

        return None

    async def _place(self, order: DialOrder) -> str:
        """The carrier's id. What certainly wasn't placed is tried again; anything unclear is raised at once."""
        for attempt in range(1, PLACE_ATTEMPTS_MAX + 1):
            try:
                placed = await self._carrier.place(self._order(order))
                return placed.sid
            except VendorUnavailable as exc:
                if attempt == PLACE_ATTEMPTS_MAX:
                    raise
                pause = exc.retry_after_seconds or PLACE_PAUSE_SECONDS * attempt
                await asyncio.sleep(min(pause, PLACE_PAUSE_SECONDS_MAX))
        raise AssertionError("every last attempt returns or raises")

    def _order(self, order: DialOrder) -> Order:
        def url(hook: str) -> str:
            return callback_url(self._base_url, hook, order.user_id, order.call_id)

        return Order(
            to=order.phone_number,
            caller=order.caller,
            url=url("voice"),
            status_callback=url("status"),
            amd_callback=url("amd"),
            ring_seconds=RING_SECONDS,
            limit_seconds=order.granted_seconds,
            machine_detection="DetectMessageEnd" if order.voicemail_policy == "leave_message" else "Enable",
        )

    async def _note_sid(self, order: DialOrder, sid: str) -> None:
        """Record that it rings. A call that was canceled meanwhile is ended at the carrier."""
        for attempt in range(1, RECORD_ATTEMPTS_MAX + 1):
            try:
                async with self._db.transaction() as tx:
                    await dials.advance(tx, order.user_id, order.call_id, "calling", sid)
                return
            except errors.ImpossibleTransition:
                _log.info("dialled_too_late", call_id=order.call_id)
                await self._carrier.hang_up(sid)
                return
            except (errors.DatabaseUnavailable, errors.Overloaded, errors.DeadlineExceeded):
                if attempt == RECORD_ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(RECORD_PAUSE_SECONDS * attempt)

    async def _record(self, order: DialOrder, ending: Ending) -> None:
        for attempt in range(1, RECORD_ATTEMPTS_MAX + 1):
            try:
                async with self._db.transaction() as tx:
                    await dials.finish(tx, order.user_id, order.call_id, ending)
                return
            except (errors.DatabaseUnavailable, errors.Overloaded, errors.DeadlineExceeded):
                if attempt == RECORD_ATTEMPTS_MAX:
                    raise
                await asyncio.sleep(RECORD_PAUSE_SECONDS * attempt)


def _failed(words: str) -> Ending:
    return Ending(status="failed", end_reason="dial_failed", connected_seconds=0, error_message=words)
