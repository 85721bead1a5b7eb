"""Sends events to the endpoints: signed, tried again with growing pauses, doubled and shuffled if told to.

What concerns one customer is sent in its order, unless it is to be shuffled: each customer's events go through one of a
few lanes. A delivery that fails leaves its lane and is tried again beside it, so later events overtake it, as they do
at the vendor.
"""

import asyncio
import time
import zlib
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

import httpx
import msgspec

from callmeback.simulator.behaviour import Manners
from callmeback.simulator.payments import signing
from callmeback.simulator.payments.book import Book
from callmeback.simulator.payments.records import Endpoint, Event

LANES: Final = 16
RETRIES_MAX: Final = 8
RETRY_GROWTH: Final = 2.0
WAITING_MAX: Final = 400_000
"""Deliveries under way; with more, new events are only listed."""
RETRYING_MAX: Final = 10_000
"""More deliveries than that don't wait for another try at once; the next ones are given up."""
DELIVERIES_MAX: Final = 1_000
REORDER_LAG_S: Final = 0.4
SHUFFLED_MAX: Final = 64
CONNECT_TIMEOUT_S: Final = 5.0
KEEP_ALIVE_S: Final = 2.0
"""Shorter than the receiver keeps a connection, who else would close one on which we are just sending."""
TIMEOUT_S: Final = 15.0
CLOSE_TIMEOUT_S: Final = 5.0
VENDOR: Final = "payments"


class Delivery(msgspec.Struct, kw_only=True):
    """One event on its way to one endpoint."""

    event: str
    type: str
    url: str
    attempts: int = 0
    status: int | None = None
    state: str = "waiting"


class Courier:
    """Holds the lanes, the tries that wait, and the last deliveries as a test may see them."""

    def __init__(self, book: Book, manners: Manners, retry_seconds: float) -> None:
        self._book = book
        self._manners = manners
        self._retry_seconds = retry_seconds
        self._lanes: list[deque[tuple[Event, Endpoint, Delivery]]] = [deque() for _ in range(LANES)]
        self._busy = [False] * LANES
        self._shuffled = asyncio.Semaphore(SHUFFLED_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._retrying = 0
        self.deliveries: deque[Delivery] = deque(maxlen=DELIVERIES_MAX)
        self.undelivered = 0
        """So many deliveries are under way or will be tried again."""
        self.delivered = 0
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(
                max_connections=LANES + SHUFFLED_MAX,
                max_keepalive_connections=LANES,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            headers={
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                "Content-Type": "application/json; charset=utf-8",
            },
            # What it calls is on this machine.
            trust_env=False,
        )

    def send(self, event: Event) -> None:
        """Send it to every endpoint that wants its kind; returns at once."""
        for endpoint in self._book.endpoints:
            if endpoint.status == "enabled" and ("*" in endpoint.types or event.type in endpoint.types):
                event.pending += 1
                self._post(event, endpoint)

    def resend(self, event: Event) -> int:
        """Send an old event again, to all; answers to how many."""
        before = self.undelivered
        for endpoint in self._book.endpoints:
            if endpoint.status == "enabled":
                self._post(event, endpoint)
        return self.undelivered - before

    def _post(self, event: Event, endpoint: Endpoint) -> None:
        delivery = Delivery(event=event.id, type=event.type, url=endpoint.url)
        self.deliveries.append(delivery)
        if self.undelivered >= WAITING_MAX:
            delivery.state = "given_up"
            return
        self.undelivered += 1
        lane = zlib.crc32(event.subject.encode()) % LANES
        self._lanes[lane].append((event, endpoint, delivery))
        if not self._busy[lane]:
            self._busy[lane] = True
            self._start(self._run(lane))

    async def _run(self, lane: int) -> None:
        queue = self._lanes[lane]
        try:
            while queue:
                event, endpoint, delivery = queue.popleft()
                lag = self._manners.lag_seconds(VENDOR, REORDER_LAG_S)
                if lag:
                    await self._shuffled.acquire()
                    self._start(self._late(event, endpoint, delivery, lag))
                    continue
                await self._first(event, endpoint, delivery)
        finally:
            self._busy[lane] = False

    async def _late(self, event: Event, endpoint: Endpoint, delivery: Delivery, lag: float) -> None:
        try:
            await asyncio.sleep(lag)
            await self._first(event, endpoint, delivery)
        finally:
            self._shuffled.release()

    async def _first(self, event: Event, endpoint: Endpoint, delivery: Delivery) -> None:
        if await self._try(event, endpoint, delivery):
            if self._manners.duplicates(VENDOR):
                # As when the vendor has missed our answer.
                await self._try(event, endpoint, delivery)
            self._done(event, delivery, "delivered")
        elif self._retrying < RETRYING_MAX:
            self._retrying += 1
            self._start(self._again(event, endpoint, delivery))
        else:
            self._done(event, delivery, "given_up")

    async def _again(self, event: Event, endpoint: Endpoint, delivery: Delivery) -> None:
        pause = self._retry_seconds
        try:
            for _ in range(RETRIES_MAX):
                await asyncio.sleep(pause)
                pause *= RETRY_GROWTH
                if await self._try(event, endpoint, delivery):
                    self._done(event, delivery, "delivered")
                    return
            self._done(event, delivery, "given_up")
        finally:
            self._retrying -= 1

    def _done(self, event: Event, delivery: Delivery, state: str) -> None:
        delivery.state = state
        self.undelivered -= 1
        if state == "delivered":
            self.delivered += 1
            event.pending = max(0, event.pending - 1)

    async def _try(self, event: Event, endpoint: Endpoint, delivery: Delivery) -> bool:
        """One attempt; the signature's time is the real one, which the receiver compares with its own."""
        content = signing.body(self._book, event, endpoint)
        headers = {"Stripe-Signature": signing.signature(endpoint.secrets, content, int(time.time()))}
        delivery.attempts += 1
        try:
            response = await self._client.post(endpoint.url, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            delivery.status = None
            return False
        delivery.status = response.status_code
        return response.is_success

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Give up what isn't delivered."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=CLOSE_TIMEOUT_S)
        await self._client.aclose()
