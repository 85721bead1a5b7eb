"""Paying when requests meet, words are lost, or the same is asked again: nobody is charged for nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.money import proofs
from tests.web.bank import Bank
from tests.web.house import House, Person, problem
from tests.web.test_payments import account, ask

from callmeback.payments import events
from callmeback.pg.pool import Database


@pytest.fixture
def bank(house: House) -> Bank:
    return Bank(house)


async def open_sessions(bank: Bank) -> int:
    found = await bank.read("/v1/checkout/sessions?limit=100")

    return sum(session["status"] == "open" for session in found["data"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("/api/subscription/checkout", {"tier": "basic"}),
        ("/api/credits/checkout", {"sku": "minutes_25", "coupon": "WELCOME"}),
    ],
)
async def test_m03_of_two_checkouts_begun_at_once_one_can_be_paid(
    house: House, ann: Person, bank: Bank, path: str, order: dict[str, Any]
):
    """A page that was given up for another one is taken away, also when it came to be after that."""
    house.books.execute("INSERT INTO coupons (code, percent_off) VALUES ('WELCOME', 20)")
    await house.client().put("/simulator/vendors/payments", json={"latency_ms": 150})
    answers = await asyncio.gather(*(ann.client.post(path, json=order) for _ in range(3)))
    pages = [answer.json() for answer in answers if answer.status_code == 201]

    assert {answer.status_code for answer in answers} <= {201, 400, 409, 502}
    assert pages
    assert await open_sessions(bank) == 1
    rows = "SELECT count(*) AS n FROM purchases WHERE status = 'pending'"
    assert house.row(rows.replace("purchases", "subscriptions") if "tier" in order else rows)["n"] == 1
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_m03_an_upgrade_whose_request_the_vendor_has_forgotten_is_charged_once(
    house: House, ann: Person, bank: Bank
):
    """Its word is lost on the way, and a day later the vendor knows the key no longer."""
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    await bank.lose_webhooks()
    await ask(ann, "POST", "/api/subscription/checkout", 201, tier="premium")
    await house.change("UPDATE subscriptions SET pending_key = 'forgotten'")
    await ask(ann, "POST", "/api/subscription/checkout", 201, tier="premium")
    movements = await bank.read("/v1/balance_transactions?limit=100")

    assert sorted(one["amount"] for one in movements["data"]) == [999, 2999]


@pytest.mark.anyio
async def test_m03_of_two_upgrades_at_once_one_is_charged(house: House, ann: Person, bank: Bank):
    """Whichever comes first is paid; the other is refused, and can be had once it is known what was paid."""
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    await house.client().put("/simulator/vendors/payments", json={"latency_ms": 150})
    orders = [{"tier": "premium"}, {"tier": "unlimited"}]
    answers = await asyncio.gather(*(ann.client.post("/api/subscription/checkout", json=order) for order in orders))
    await bank.settle()
    tier = account(house, ann)[0]
    movements = await bank.read("/v1/balance_transactions?limit=100")

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert {problem(answer) for answer in answers if answer.status_code == 409} == {(409, "plan_change_in_progress")}
    assert sorted(one["amount"] for one in movements["data"]) == [999, {"premium": 2999, "unlimited": 9999}[tier]]
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_a_downgrade_that_is_asked_for_again_takes_back_an_end(house: House, ann: Person, bank: Bank):
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="premium"))
    await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic")
    await ask(ann, "DELETE", "/api/subscription", 200)
    await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic")
    await bank.settle()
    plan = house.row("SELECT stripe_subscription_id AS id FROM subscriptions")["id"]
    at_vendor = await bank.read(f"/v1/subscriptions/{plan}")
    shown = await ask(ann, "GET", "/api/subscription", 200)
    await bank.advance(32)

    assert (at_vendor["cancel_at_period_end"], shown["cancel_at_period_end"]) == (False, False)
    assert account(house, ann) == ("basic", 600)
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_m04_what_we_looked_up_ourselves_hides_no_event_that_was_lost(
    house: House, ann: Person, bank: Bank, worker: Database
):
    """While nothing is heard of renewals, plans are asked about: that is no word of the vendor's."""
    await bank.lose_webhooks()
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25"))
    for name in ("look_plan_1_1", "found_pi_1"):
        await house.change(
            "INSERT INTO payment_events (id, type, created_at, state) VALUES (%s, 'looked', %s, 'ignored')",
            name, datetime.now(UTC) + timedelta(hours=1),
        )  # fmt: skip
    await events.catch_up(worker, house.services.cashier)

    assert account(house, ann) == ("free", 25)
    assert proofs.broken(house.books, proofs.ALWAYS) == {}
