"""One account at the simulated payments vendor: its keys, its book, its answers to repeated requests, its courier."""

import asyncio
import secrets
from collections import OrderedDict
from typing import Final

import msgspec

from callmeback.simulator.behaviour import Manners
from callmeback.simulator.payments.book import API_VERSION, DAY_SECONDS, Book
from callmeback.simulator.payments.courier import Courier
from callmeback.simulator.payments.records import Endpoint

KEYS_MAX: Final = 50_000
KEY_SECONDS: Final = DAY_SECONDS
ALL_EVENTS: Final = "*"


class PaymentsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Our account at the simulated vendor.

    `webhook_url`: where events go; none, and they are only listed · `webhook_events`: which kinds, `*` for all ·
    `webhook_api_version`: in which version they are shaped · `seed`: makes all ids the same in every run, so never for
    a database that outlives the process · `retry_seconds`: before the second try of a webhook; each later pause is
    twice as long.
    """

    api_key: str = msgspec.field(default_factory=lambda: "sk_test_" + secrets.token_hex(16))
    webhook_secret: str = msgspec.field(default_factory=lambda: "whsec_" + secrets.token_hex(16))
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = (ALL_EVENTS,)
    webhook_api_version: str = API_VERSION
    seed: int | None = None
    retry_seconds: float = 0.5


class Kept(msgspec.Struct, kw_only=True):
    """What a request with an idempotency key was, and its answer once it is there."""

    at: int
    fingerprint: str
    status: int = 0
    body: bytes | None = None


class Account:
    """The vendor's side of our account."""

    def __init__(self, config: PaymentsConfig | None = None, manners: Manners | None = None) -> None:
        self.config = config or PaymentsConfig()
        self.manners = manners or Manners()
        self.book = Book(self.config.seed)
        self.courier = Courier(self.book, self.manners, self.config.retry_seconds)
        self.book.tell = self.courier.send
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._ticker: asyncio.Task[None] | None = None
        if self.config.webhook_url is not None:
            self._add_endpoint(self.config.webhook_url)

    def _add_endpoint(self, url: str) -> None:
        self.book.endpoints.add(
            Endpoint(
                id=self.book.new_id("we"),
                created=self.book.now(),
                url=url,
                secrets=[self.config.webhook_secret],
                types=list(self.config.webhook_events),
                api_version=self.config.webhook_api_version,
            )
        )

    def wake(self) -> None:
        """Let the clock do by itself what falls due, from the first request on."""
        if self._ticker is None:
            self._ticker = asyncio.get_running_loop().create_task(self.book.clock.tick())

    def kept(self, key: str) -> Kept | None:
        """What was done under an idempotency key in the last 24 hours."""
        found = self._kept.get(key)
        if found is not None and self.book.now() - found.at > KEY_SECONDS and found.body is not None:
            del self._kept[key]
            return None
        return found

    def keep(self, key: str, fingerprint: str) -> Kept:
        """Remember that a request with this key is being done; the oldest key makes room."""
        kept = Kept(at=self.book.now(), fingerprint=fingerprint)
        self._kept[key] = kept
        if len(self._kept) > KEYS_MAX:
            self._kept.popitem(last=False)
        return kept

    def forget(self, key: str) -> None:
        """The request with this key was refused before it began: it may be sent again, changed."""
        self._kept.pop(key, None)

    async def aclose(self) -> None:
        """Stop the clock and give up what isn't delivered."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
        await self.courier.aclose()
