"""A month in a house: people buy, subscribe, renew, fail, refund, dispute and talk; then the books are checked.

Everything goes the way it goes in service: our own verbs ask the vendor through its official client, the vendor's clock
brings renewals, retries and ends, and its webhooks, of which three in ten come twice and all out of order, reach the
web process. Only the people's talks are written straight to the database, without a carrier.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from callmeback import errors
from callmeback.domain import books, calls
from callmeback.domain.calls import CallOrder
from callmeback.domain.payments import PackOrder
from callmeback.domain.plans import PlanOrder
from callmeback.ops import books as checks
from callmeback.ops.books import Finding, Vendors
from callmeback.payments import checkout, events, payg, upkeep
from callmeback.payments.checkout import Desk
from callmeback.pg.pool import Database, Session
from callmeback.providers.stripe import Cashier
from callmeback.providers.twilio import Carrier

# Everybody comes on the first day, while the vendor's clock is still ours: a checkout lives for half an hour. Plans are
# renewed before the end.
DAYS = 34
AT_ONCE = 8
DAY_SECONDS = 86_400
SEED = 20_261_125
# Of a hundred people: who buys packs, who has a plan, who pays call by call; the rest only talks.
PACKS, PLANS, PAYG = 38, 30, 2
SKUS = ("minutes_25", "minutes_50", "minutes_100")
TIERS = ("basic", "basic", "basic", "premium", "premium", "unlimited")
COUPON_PERCENT, AGAIN_PERCENT = 5, 10
# Of so many plans one each is upgraded, downgraded, canceled, or can't be charged for a while.
CHANGES_EVERY = 12
REFUND_EVERY, DISPUTE_EVERY = 20, 40
TALK_DAYS = (6, 20, 33)
CHANGE_DAY, REFUND_DAY, DISPUTE_DAY, VERDICT_DAY = 12, 18, 22, 30
PATIENCE_S = 900.0
# Shorter than the other side keeps a connection, who else would close one on which we are just asking.
KEEP_ALIVE_S = 1.0
# A machine that is busy with something else is asked again.
ATTEMPTS_MAX, AGAIN_AFTER_S = 5, 1.0
DUPLICATES = 0.3

Rows = Sequence[dict[str, Any]]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the month takes place."""

    owner: Database
    api: Database
    worker: Database
    hand: psycopg.Connection[dict[str, Any]]
    cashier: Cashier
    carrier: Carrier
    simulator: str
    card: str
    folder: Path


class Result(msgspec.Struct, kw_only=True):
    """What happened, and what the books say of it."""

    seconds: float
    times_as_fast: float
    counts: dict[str, int]
    findings: list[Finding]

    @property
    def is_green(self) -> bool:
        return all(finding.verdict == "green" for finding in self.findings)


class Month:
    """The month of so many people."""

    def __init__(self, stage: Stage, people: int, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._people = people
        self._say = say
        self._chance = random.Random(SEED)
        self._bank = httpx.AsyncClient(
            base_url=stage.simulator,
            timeout=PATIENCE_S,
            limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_S),
            trust_env=False,
        )
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._calls = 0
        self._refusals = 0

    async def run(self) -> Result:
        """Live through it; the books are checked at the end."""
        begun = time.perf_counter()
        self._settle_in()
        await self._ask("PUT", "/vendors/payments", duplicate_rate=DUPLICATES, reorder=True)
        for day in range(DAYS):
            await self._live(day)
            await self._ask("PUT", "/payments/clock", advance_seconds=DAY_SECONDS)
            await self._arrived()
            await upkeep.look_after_plans(self._stage.worker, self._stage.cashier)
            self._say(f"day {day + 1}: {time.perf_counter() - begun:.0f} s")
        await self._come_to_rest()
        took = time.perf_counter() - begun
        findings = await self._check()
        await self._bank.aclose()

        return Result(seconds=took, times_as_fast=DAYS * DAY_SECONDS / took, counts=self._count(), findings=findings)

    def _settle_in(self) -> None:
        hand = self._stage.hand
        hand.execute("INSERT INTO coupons (code, percent_off) VALUES ('MONTH', 20)")
        hand.execute("SELECT ensure_partitions()")
        # Nobody dials without one: a talk that the dialler saw before it was written as ended would be the carrier's.
        hand.execute("DELETE FROM dial_buckets")
        hand.execute(
            "SELECT register_user('user_m' || n, 'm' || n || '@example.org', 'x', NULL, 'UTC',"
            " '+1202' || (5550000000 + n)) FROM generate_series(0, %s) AS n",
            (self._people - 1,),
        )
        hand.execute("UPDATE phones SET verified_at = now()")
        hand.execute("UPDATE users AS u SET phone = h.number FROM phones AS h WHERE h.user_id = u.id")
        hand.execute("VACUUM ANALYZE")

    async def _live(self, day: int) -> None:
        people = range(self._people)
        if day == 0:
            await self._each(people, self._arrive)
            await self._arrived()
        if day in TALK_DAYS:
            self._talk()
            await self._each([n for n in people if self._kind(n) == "payg"], self._pay_a_call)
            await self._settle()
        if day == CHANGE_DAY:
            await self._change_plans()
        if day == REFUND_DAY:
            await self._give_back("refund", REFUND_EVERY)
        if day == DISPUTE_DAY:
            await self._give_back("dispute", DISPUTE_EVERY)
        if day == VERDICT_DAY:
            await self._decide()

    def _kind(self, number: int) -> str:
        place = number % 100
        if place < PACKS:
            return "pack"
        if place < PACKS + PLANS:
            return "plan"

        return "payg" if place < PACKS + PLANS + PAYG else "free"

    async def _arrive(self, number: int) -> None:
        kind = self._kind(number)
        if kind == "plan":
            await self._subscribe(number)
        elif kind != "free":
            await self._buy(number)
            if self._percent(AGAIN_PERCENT):
                await self._buy(number)

    async def _buy(self, number: int) -> None:
        coupon = "MONTH" if self._percent(COUPON_PERCENT) else None
        order = PackOrder(sku=self._chance.choice(SKUS), coupon=coupon)
        try:
            page = await checkout.buy_pack(self._desk(number), order)
        except errors.CouponInvalid:
            self._refusals += 1
            return
        await self._ask("POST", f"/payments/sessions/{page.session_id}/pay")

    async def _subscribe(self, number: int) -> None:
        page = await checkout.choose_plan(self._desk(number), PlanOrder(tier=self._chance.choice(TIERS)))
        await self._ask("POST", f"/payments/sessions/{page.session_id}/pay")

    def _talk(self) -> None:
        """Everybody who may talks once; the vendors' quantities vary with the length."""
        hand, today = self._stage.hand, datetime.now(UTC).date()
        for number in range(self._people):
            if self._kind(number) == "payg" or self._percent(30):
                continue
            user, call, seconds = f"user_m{number}", f"call_m{self._calls}", self._chance.randint(0, 290)
            self._calls += 1
            try:
                hand.execute(
                    "SELECT start_call(%s, %s, 'brad', %s, %s, %s)",
                    (call, user, phone(number), self._stage.card, today),
                )
            except psycopg.Error as exc:
                # No credits, a debt, the day's limit: the house's own refusals.
                assert (exc.sqlstate or "").startswith("CM"), exc
                self._refusals += 1
                continue
            hand.execute(
                "SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, %s, %s, %s, %s, %s)",
                (user, call, seconds, seconds, seconds * 40, seconds * 3, seconds * 11),
            )

    async def _pay_a_call(self, number: int) -> None:
        user = f"user_m{number}"
        # The first talk uses what the pack brought: who pays call by call has nothing left.
        await self._in_hand("SELECT set_tier(%s, 'basic')", user)
        await self._in_hand(
            "INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true) ON CONFLICT (user_id) DO NOTHING",
            user,
        )
        await self._in_hand(
            "SELECT move_credits(user_id, -available_credits, 'admin_adjustment', 'adjust:' || ledger_seq)"
            " FROM user_credits WHERE user_id = %s AND available_credits > 0",
            user,
        )

        async def start(tx: Session, authorization: str) -> Any:
            return await calls.place(
                tx, user, CallOrder(persona_id="brad"), phone_number=phone(number), timezone="UTC",
                card=self._stage.card, authorization_id=authorization,
            )  # fmt: skip

        try:
            placed = await payg.pay_call(self._desk(number), "brad", None, start)
        except errors.CallMeBackError as exc:
            assert not isinstance(exc, errors.VendorFailed), exc
            self._refusals += 1
            return
        seconds = self._chance.randint(0, 400)
        await self._in_hand(
            "SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, %s, %s)", user, placed.call_id, seconds, seconds
        )

    async def _change_plans(self) -> None:
        rows = self._rows(
            "SELECT user_id, tier, stripe_subscription_id AS name FROM subscriptions WHERE status = 'active'"
            " ORDER BY user_id"
        )

        async def change(place: int) -> None:
            row = rows[place]
            desk = self._desk(int(row["user_id"].removeprefix("user_m")))
            lot = place % CHANGES_EVERY
            if lot == 0 and row["tier"] == "basic":
                await checkout.choose_plan(desk, PlanOrder(tier="premium"))
            elif lot == 3 and row["tier"] != "basic":
                await checkout.choose_plan(desk, PlanOrder(tier="basic"))
            elif lot == 6:
                await checkout.cancel_plan(desk)
            elif lot == 9:
                times = 1 + place // CHANGES_EVERY % 4
                await self._ask("PUT", f"/payments/subscriptions/{row['name']}/failures", times=times)

        await self._each(range(len(rows)), change)

    async def _give_back(self, how: str, every: int) -> None:
        rows = self._rows(
            "SELECT payment_intent_id AS intent, amount_cents FROM payments WHERE payment_intent_id IS NOT NULL"
            " AND reversed_cents = 0 ORDER BY user_id, id"
        )

        async def back(row: dict[str, Any]) -> None:
            whole = int(row["amount_cents"])
            amount = whole if how == "dispute" or self._percent(50) else self._chance.randint(1, whole)
            await self._ask("POST", f"/payments/charges/{row['intent']}/{how}", amount=amount)

        await self._each(rows[1::every], back)

    async def _decide(self) -> None:
        async def decide(row: dict[str, Any]) -> None:
            outcome = "won" if self._percent(40) else "lost"
            await self._ask("POST", f"/payments/disputes/{row['id']}/close", outcome=outcome)

        await self._each(self._rows("SELECT id FROM disputes ORDER BY id"), decide)

    async def _settle(self) -> None:
        while await upkeep.settle(self._stage.worker, self._stage.cashier):
            pass

    async def _come_to_rest(self) -> None:
        """Until every webhook has arrived, and nothing waits for its turn."""
        await self._arrived()
        await self._settle()
        await self._arrived()
        self._stage.hand.execute("UPDATE payment_events SET retry_at = now() WHERE retry_at IS NOT NULL")
        await events.retry(self._stage.worker)
        await upkeep.keep_accounts(self._stage.worker)

    async def _arrived(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self._bank.get("/payments/clock")).json()["undelivered"]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)

    async def _check(self) -> list[Finding]:
        today = datetime.now(UTC).date()
        days = books.period(today - timedelta(days=1), today + timedelta(days=DAYS + 5))
        vendors = Vendors(self._stage.cashier, self._stage.carrier)
        stage = self._stage
        own = await checks.check_own(stage.owner, days, stage.folder)

        return own + await checks.check_vendors(stage.owner, days, vendors, on_its_way=timedelta(0))

    def _count(self) -> dict[str, int]:
        [row] = self._rows(
            "SELECT (SELECT count(*) FROM calls) AS calls, (SELECT count(*) FROM payments) AS payments,"
            " (SELECT count(*) FROM payments WHERE kind = 'subscription') AS periods,"
            " (SELECT count(*) FROM refunds) AS refunds, (SELECT count(*) FROM disputes) AS disputes,"
            " (SELECT count(*) FROM payment_events WHERE type = 'invoice.payment_failed') AS failed_payments,"
            " (SELECT count(*) FROM subscriptions WHERE status = 'canceled') AS ended_plans,"
            " (SELECT count(*) FROM payment_events) AS events,"
            " (SELECT count(*) FROM payment_events WHERE state IN ('refused', 'unmatched')) AS troubled_events,"
            " (SELECT coalesce(sum(amount_cents), 0)::bigint FROM money_flows) AS cents"
        )

        return {**row, "people": self._people, "refusals": self._refusals}

    def _desk(self, number: int) -> Desk:
        user = f"user_m{number}"

        return Desk(self._stage.cashier, lambda: self._stage.api.transaction(user), user, "http://127.0.0.1")

    def _rows(self, sql: str) -> Rows:
        return self._stage.hand.execute(sql).fetchall()

    async def _in_hand(self, sql: str, *params: object) -> None:
        # Beside the loop, which those who hold a lock on the same person may need.
        await asyncio.to_thread(self._stage.hand.execute, sql, params)

    def _percent(self, percent: int) -> bool:
        return self._chance.randrange(100) < percent

    async def _each(self, things: Sequence[Any], work: Callable[[Any], Awaitable[None]]) -> None:
        async def one(thing: Any) -> None:
            async with self._turns:
                for _ in range(ATTEMPTS_MAX - 1):
                    try:
                        return await work(thing)
                    except (errors.Overloaded, errors.DatabaseUnavailable):
                        # People press the button again; what was begun before is left, as theirs would be.
                        await asyncio.sleep(AGAIN_AFTER_S)
                await work(thing)

        await asyncio.gather(*(one(thing) for thing in things))

    async def _ask(self, method: str, path: str, **body: Any) -> None:
        answer = await self._bank.request(method, path, json=body)
        # What the bank or the vendor refuses (a charge that was refunded whole, say) is a thing that happens.
        if answer.status_code not in (200, 409):
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")


def phone(number: int) -> str:
    """A number that nobody else has."""
    return f"+1202{5_550_000_000 + number}"
