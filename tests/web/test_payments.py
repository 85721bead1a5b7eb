"""Paying, from the API to the books, through the simulated vendor and the official client."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.money import proofs
from tests.web.house import House, Person, problem

PATIENCE_S = 30.0


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.02)


class Bank:
    """The other side: the person at the vendor's pages, and the vendor's clock."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._client = house.client()

    async def _ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        answer = await self._client.request(method, f"/simulator/payments{path}", json=body)
        assert answer.status_code < 300, answer.text

        return answer

    async def pay(self, page: dict[str, Any], **how: Any) -> None:
        await self._ask("POST", f"/sessions/{page['session_id']}/pay", **how)
        await self.settle()

    async def advance(self, days: float) -> None:
        await self._ask("PUT", "/clock", advance_seconds=days * 86_400)
        await self.settle()

    async def settle(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self._client.get("/simulator/payments/clock")).json()["undelivered"]:
                await asyncio.sleep(0.02)

    async def refund(self, intent: str, cents: int) -> None:
        answer = await self._client.post(
            "/simulator/payments/v1/refunds",
            data={"payment_intent": intent, "amount": str(cents)},
            headers=self._key(),
        )
        assert answer.status_code == 200, answer.text
        await self.settle()

    async def read(self, path: str) -> dict[str, Any]:
        """Something as the vendor's own interface shows it."""
        answer = await self._client.get(f"/simulator/payments{path}", headers=self._key())
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()

        return found

    async def lose_webhooks(self) -> None:
        """Switch every endpoint off: events are listed and sent to nobody."""
        for endpoint in (await self.read("/v1/webhook_endpoints"))["data"]:
            path = f"/simulator/payments/v1/webhook_endpoints/{endpoint['id']}"
            answer = await self._client.post(path, data={"disabled": "true"}, headers=self._key())
            assert answer.status_code == 200, answer.text

    def _key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._house.services.cashier.config.api_key}"}


@pytest.fixture
def bank(house: House) -> Bank:
    return Bank(house)


def account(house: House, person: Person) -> tuple[str, int]:
    row = house.row("SELECT subscription_tier, available_credits FROM user_credits WHERE user_id = %s", person.id)

    return row["subscription_tier"], row["available_credits"]


async def ask(person: Person, method: str, path: str, status: int, **body: Any) -> dict[str, Any]:
    answer = await person.client.request(method, path, json=body) if body else await person.client.request(method, path)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()

    return found


@pytest.mark.anyio
async def test_m05_a_pack_is_bought_with_a_code_and_refunded(house: House, ann: Person, bank: Bank):
    house.books.execute("INSERT INTO coupons (code, percent_off) VALUES ('WELCOME', 20)")
    packs = (await ask(ann, "GET", "/api/credits/packs", 200))["items"]
    left = await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_50", coupon="welcome")
    page = await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25", coupon="WELCOME")
    unpaid = account(house, ann)
    await bank.pay(page)
    receipts = (await ask(ann, "GET", "/api/receipts", 200))["items"]

    assert [(pack["credits"], pack["price_cents"]) for pack in packs] == [
        (25, "1499.00"), (50, "2499.00"), (100, "4499.00"),
    ]  # fmt: skip
    assert left["url"] != page["url"]
    assert unpaid == ("free", 0)
    assert account(house, ann) == ("free", 25)
    assert [(receipt["amount_cents"], receipt["discount_cents"], receipt["coupon"]) for receipt in receipts] == [
        ("1200.00", "299.00", "WELCOME")
    ]
    again = await ann.client.post("/api/credits/checkout", json={"sku": "minutes_25", "coupon": "WELCOME"})
    assert problem(again) == (400, "coupon_invalid")
    intent = house.row("SELECT payment_intent_id FROM payments")["payment_intent_id"]
    await bank.refund(intent, 600)
    assert account(house, ann) == ("free", 12)
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_m06_a_body_names_no_price_and_no_status(house: House, ann: Person, bank: Bank):
    page = await ask(
        ann, "POST", "/api/credits/checkout", 201,
        sku="minutes_25", price_cents=1, credits=1_000_000, payment_status="paid", user_id="user_2",
    )  # fmt: skip
    row = house.row("SELECT user_id, amount_cents, credits, status FROM purchases")

    assert row == {"user_id": ann.id, "amount_cents": 1499, "credits": 25, "status": "pending"}
    assert page["url"].startswith("http")
    assert problem(await ann.client.post("/api/credits/checkout", json={"sku": "gold"})) == (404, "not_found")
    assert account(house, ann) == ("free", 0)


@pytest.mark.anyio
async def test_m07_a_plan_from_checkout_to_its_end(house: House, ann: Person, bank: Bank):
    page = await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic")
    pending = account(house, ann)
    await bank.pay(page)
    begun = account(house, ann)
    await bank.advance(31)
    renewed = account(house, ann)
    upgraded = await ask(ann, "POST", "/api/subscription/checkout", 201, tier="premium")
    await bank.settle()
    dearer = account(house, ann)
    await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic")
    await bank.settle()
    downgrade_asked = await ask(ann, "GET", "/api/subscription", 200)
    await bank.advance(32)
    cheaper = account(house, ann)
    ending = await ask(ann, "DELETE", "/api/subscription", 200)
    still = account(house, ann)
    await bank.advance(32)

    assert pending == ("free", 0)
    assert begun == ("basic", 100)
    assert renewed == ("basic", 200)
    assert upgraded["is_changed"] is True
    assert dearer == ("premium", 700)
    assert (downgrade_asked["tier"], downgrade_asked["pending_tier"]) == ("premium", "basic")
    assert cheaper == ("basic", 800)
    assert (ending["cancel_at_period_end"], ending["status"]) == (True, "active")
    assert still == ("basic", 800)
    assert account(house, ann) == ("free", 800)
    assert problem(await ann.client.delete("/api/subscription")) == (404, "not_found")
    charged = house.row("SELECT sum(amount_cents) AS cents, count(*) AS n FROM payments")
    assert charged == {"cents": 999 + 999 + 2999 + 999, "n": 4}
    assert house.row("SELECT count(*) AS n FROM payment_events WHERE state = 'refused'")["n"] == 0
    assert proofs.broken(house.books, proofs.ALWAYS) == {}
