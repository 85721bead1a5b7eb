"""One account as plain Python understands it: the same rules as the database's, with no SQL, locks or shortcuts."""

from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from callmeback import money

SHORTEST_S: Final = 10
# The default card: carrier, listener, 20,000 tokens in and 1,500 out of the dearer brain, 1,000 characters.
WORST: Final = Decimal("1.30") + Decimal("0.78") + Decimal("1.2") + Decimal("0.18") + Decimal(15)
BEGINNING: Final = date(2000, 1, 1)


def credits_for(seconds: int) -> int:
    """A started minute is a credit (specification, section 4)."""
    return -(-seconds // 60)


class Tier(msgspec.Struct, frozen=True):
    """A plan of the specification (section 4); None is unlimited."""

    calls_a_day: int | None
    seconds: int
    charges: bool


TIERS: Final = {
    "free": Tier(3, 300, False),
    "basic": Tier(10, 600, True),
    "premium": Tier(None, 1800, True),
    "unlimited": Tier(None, 3600, False),
}


class Usage(msgspec.Struct, frozen=True):
    """Cumulative: seconds of talk, tokens in and out, characters."""

    seconds: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    characters: int = 0

    def most(self, other: "Usage") -> "Usage":
        """Each quantity's greater one."""
        return Usage(*(max(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__))

    @property
    def cost(self) -> Decimal:
        """Cents at the seeded rates; the listener hears as long as the talk lasts."""
        return (
            money.price(self.seconds, Decimal("1.30"), 60)
            + money.price(self.seconds, Decimal("0.78"), 60)
            + money.price(self.tokens_in, 35, 1_000_000)
            + money.price(self.tokens_out, 75, 1_000_000)
            + money.price(self.characters, 15, 1000)
        )


class Call(msgspec.Struct):
    """A call with its hold; `charged` is None until it is settled."""

    call_id: str
    day: date
    month: date
    hold: int
    granted_seconds: int
    hold_cents: Decimal
    is_answered: bool = False
    seq: int = 0
    usage: Usage = Usage()
    charged: int | None = None


class Refused(Exception):
    """The database must refuse with this SQLSTATE."""


class Account(msgspec.Struct):
    """The account, its calls and its ledger."""

    tier: str = "free"
    own_calls_a_day: int | None = None
    own_seconds: int | None = None
    call_budget: Decimal = Decimal(1000)
    month_budget: Decimal = Decimal(10000)
    cutoff: bool = True
    available: int = 0
    held: int = 0
    debt: int = 0
    day: date = BEGINNING
    calls_in_day: int = 0
    month: date = BEGINNING
    spent: Decimal = Decimal(0)
    ledger: list[int] = []
    causes: dict[str, int] = {}
    keys: dict[str, tuple[bytes, str]] = {}
    calls: dict[str, Call] = {}
    open_id: str | None = None

    def start(self, call_id: str, day: date, requested: int | None, key: str | None, body: bytes) -> tuple[Call, bool]:
        """The call, and whether it is a replay; raises Refused."""
        if key in self.keys:
            if self.keys[key][0] != body:
                raise Refused("CM006")
            return self.calls[self.keys[key][1]], True
        if self.debt:
            raise Refused("CM011")
        if self.open_id is not None:
            raise Refused("CM004")
        month = max(self.month, day.replace(day=1))
        placed = 0 if day > self.day else self.calls_in_day
        spent = Decimal(0) if month > self.month else self.spent
        call = self._grant(call_id, max(self.day, day), month, requested, placed, spent)
        self.available -= call.hold
        self.held += call.hold
        self.day, self.calls_in_day = call.day, placed + 1
        self.month, self.spent = month, spent
        self.calls[call_id], self.open_id = call, call_id
        if key is not None:
            self.keys[key] = (body, call_id)

        return call, False

    def _grant(self, call_id: str, day: date, month: date, requested: int | None, placed: int, spent: Decimal) -> Call:
        tier = TIERS[self.tier]
        calls_a_day = tier.calls_a_day if self.own_calls_a_day is None else self.own_calls_a_day
        if calls_a_day is not None and placed >= calls_a_day:
            raise Refused("CM003")
        if tier.charges and self.available == 0:
            raise Refused("CM001")
        limits = [Decimal(tier.seconds if self.own_seconds is None else self.own_seconds)]
        if requested is not None:
            limits.append(Decimal(requested))
        if tier.charges:
            limits.append(Decimal(self.available * 60))
        if self.cutoff or self.call_budget == 0:
            limits.append(self.call_budget * 60 / WORST)
        limits.append(max(Decimal(0), self.month_budget - spent) * 60 / WORST)
        granted = int(min(limits))
        if granted < SHORTEST_S:
            raise Refused("CM002")
        hold = credits_for(granted) if tier.charges else 0
        # trunc() in the database: a hold is never a hair more than the budget.
        cents = (WORST * granted / 60).quantize(Decimal("1e-10"), rounding="ROUND_DOWN")

        return Call(call_id, day, month, hold, granted, cents)

    def meter(self, call: Call, seq: int, usage: Usage) -> None:
        """A newer state of an open call replaces the one before."""
        if call.charged is None and seq > call.seq:
            call.seq, call.usage = seq, usage

    def finish(self, call: Call, status: str, seq: int, usage: Usage | None, is_charged: bool) -> bool:
        """Settle, or only add usage to a call that was settled before; answers which."""
        before = call.usage.cost
        call.usage = call.usage if usage is None else call.usage.most(usage)
        if call.charged is not None:
            if call.month == self.month:
                self.spent += call.usage.cost - before
            return False
        call.charged = min(credits_for(call.usage.seconds), call.hold) if is_charged else 0
        release = call.hold - call.charged
        self.held -= call.hold
        self._receive(release)
        if call.charged:
            self.ledger.append(-call.charged)
        if call.month == self.month:
            self.spent += call.usage.cost
        if status == "failed" and not call.is_answered and call.day == self.day:
            self.calls_in_day -= 1
        self.open_id = None

        return True

    def move(self, amount: int, cause: str) -> bool:
        """Credits in or out, once per cause; answers whether they moved."""
        if cause in self.causes:
            return False
        self.causes[cause] = amount
        self.ledger.append(amount)
        if amount > 0:
            self._receive(amount)
        else:
            missing = max(0, -amount - self.available)
            self.available = max(0, self.available + amount)
            self.debt += missing

        return True

    def _receive(self, credits: int) -> None:
        paid = min(self.debt, credits)
        self.debt -= paid
        self.available += credits - paid

    def limits_now(self, call: Call) -> tuple[Decimal, int]:
        """Cents and seconds after which a metered call must end."""
        spent = self.spent if self.month == call.month else Decimal(0)
        cents = [call.hold_cents, max(Decimal(0), self.month_budget - spent)]
        if self.cutoff or self.call_budget == 0:
            cents.append(self.call_budget)
        seconds = TIERS[self.tier].seconds if self.own_seconds is None else self.own_seconds

        return min(cents), min(call.granted_seconds, seconds)
