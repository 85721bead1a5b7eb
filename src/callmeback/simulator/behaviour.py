"""How the simulated vendors behave and misbehave: delays, failures, drops, duplicates and disorder, settable while
they run."""

import asyncio
import random
from typing import Annotated, Final

import msgspec

VENDORS: Final = ("carrier", "listener", "brain", "voice", "payments")
LATENCY_MS_MAX: Final = 60_000
DROP_AFTER_SECONDS_MAX: Final = 86_400
SEED: Final = 20_261_122

Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One vendor's manners.

    `latency_ms`: before a REST answer (carrier), the first token (brain), the first sound (voice), an event
    (listener) · `fail_rate`: share of requests or handshakes refused with a 500, see `does_anyway` ·
    `drop_after_seconds`: a socket or stream breaks that long after its beginning · `duplicate_rate`: share of
    callbacks sent twice · `reorder`: callbacks overtake one another.
    """

    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=LATENCY_MS_MAX)] = 0
    fail_rate: Rate = 0.0
    drop_after_seconds: Annotated[float, msgspec.Meta(gt=0, le=DROP_AFTER_SECONDS_MAX)] | None = None
    duplicate_rate: Rate = 0.0
    reorder: bool = False


GOOD_MANNERS: Final = {
    "carrier": Behaviour(latency_ms=20),
    "listener": Behaviour(),
    "brain": Behaviour(latency_ms=150),
    "voice": Behaviour(latency_ms=100),
    "payments": Behaviour(),
}


class Manners:
    """The current behaviour of each vendor; chance is seeded, so that a run can be repeated."""

    def __init__(self) -> None:
        self._current = dict(GOOD_MANNERS)
        self._chance = random.Random(SEED)

    def __getitem__(self, vendor: str) -> Behaviour:
        return self._current[vendor]

    def set(self, vendor: str, behaviour: Behaviour) -> None:
        """Replace a vendor's behaviour; what already runs keeps its drop time."""
        self._current[vendor] = behaviour

    async def delay(self, vendor: str) -> None:
        """Wait as long as this vendor takes to answer."""
        await asyncio.sleep(self[vendor].latency_ms / 1000)

    def fails(self, vendor: str) -> bool:
        """Whether this request is one of those that fail."""
        return self._chance.random() < self[vendor].fail_rate

    def duplicates(self, vendor: str) -> bool:
        """Whether this callback comes twice."""
        return self._chance.random() < self[vendor].duplicate_rate

    def does_anyway(self, vendor: str) -> bool:
        """Whether a request that fails on purpose is done nevertheless: every other one, and none of a vendor of whom
        every request fails.
        """
        return self[vendor].fail_rate < 1 and self._chance.random() < 0.5

    def lag_seconds(self, vendor: str, longest: float) -> float:
        """How long to hold a callback back so that later ones can overtake it; 0 when the vendor keeps order."""
        return self._chance.uniform(0, longest) if self[vendor].reorder else 0.0
