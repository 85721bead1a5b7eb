"""Paying, from the API to the books, through the simulated vendor and the official client."""

from typing import Any

import pytest
from tests.money import proofs
from tests.web.bank import Bank
from tests.web.house import House, Person, problem

from callmeback.payments import events, upkeep
from callmeback.pg.pool import Database


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
    await bank.advance(32)
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


@pytest.mark.anyio
async def test_a_call_is_paid_by_the_saved_card_when_no_credits_are_left(
    house: House, ann: Person, bank: Bank, worker: Database
):
    await house.change("SELECT set_tier(%s, 'basic')", ann.id)
    order = {"persona_id": "brad", "phone_number": "+12025550101"}
    without = await ann.client.post("/api/calls", json=order)
    await ask(ann, "PUT", "/api/preferences", 200, pay_as_you_go=True)
    no_card = await ann.client.post("/api/calls", json=order)
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25"))
    await house.change("SELECT move_credits(%s, -25, 'admin_adjustment', 'adjust:test')", ann.id)
    await house.script("+12025550101", answers="human", says=["Hello there."], hangs_up=True)
    placed = await ask(ann, "POST", "/api/calls", 202, **order)
    talked = await house.until(ann, placed["id"])
    settled = await upkeep.settle(worker, house.services.cashier)
    await bank.settle()
    row = house.row("SELECT state, captured_cents FROM payment_authorizations")
    movements = await bank.read("/v1/balance_transactions?limit=100")

    assert problem(without) == (402, "insufficient_credits")
    assert problem(no_card) == (402, "card_missing")
    assert (talked["status"], talked["credits_used"]) == ("completed", 1)
    assert settled == 1
    assert row == {"state": "captured", "captured_cents": 60}
    assert sum(one["amount"] for one in movements["data"]) == 1499 + 60
    receipts = (await ask(ann, "GET", "/api/receipts", 200))["items"]
    assert [(receipt["kind"], receipt["amount_cents"]) for receipt in receipts] == [
        ("call", "60.00"), ("purchase", "1499.00"),
    ]  # fmt: skip
    assert account(house, ann) == ("basic", 0)
    assert house.row("SELECT count(*) AS n FROM payment_events WHERE state = 'refused'")["n"] == 0
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_a_vendor_that_fails_is_told_as_such_and_the_same_again_succeeds(house: House, ann: Person, bank: Bank):
    """Some are saved by asking again with the same key; what isn't is 502, and leaves nothing in the way."""
    await house.client().put("/simulator/vendors/payments", json={"fail_rate": 0.8})
    answers = [
        await ann.client.post(path, json=body)
        for path, body in (
            ("/api/credits/checkout", {"sku": "minutes_25"}),
            ("/api/subscription/checkout", {"tier": "basic"}),
        )
        for _ in range(4)
    ]
    await house.client().put("/simulator/vendors/payments", json={})
    page = await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25")
    chosen = await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic")
    await bank.pay(page)
    await bank.pay(chosen)
    portal = await ask(ann, "POST", "/api/subscription/portal", 201)
    failed = [problem(answer) for answer in answers if answer.status_code != 201]

    assert set(failed) <= {(502, "payments_failed"), (409, "already_subscribed")}
    assert account(house, ann) == ("basic", 125)
    assert portal["url"].startswith("http")
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_webhooks_that_repeat_and_overtake_one_another_end_in_the_same_books(
    house: House, ann: Person, bank: Bank, worker: Database
):
    await house.client().put("/simulator/vendors/payments", json={"duplicate_rate": 1, "reorder": True})
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25"))
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    await bank.advance(32)
    await house.change("UPDATE payment_events SET retry_at = now() WHERE state = 'unmatched'")
    await events.retry(worker)

    assert account(house, ann) == ("basic", 225)
    assert house.row("SELECT count(*) AS n FROM payment_events WHERE state IN ('refused', 'unmatched')")["n"] == 0
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_m17_who_is_erased_pays_no_longer(house: House, ann: Person, bank: Bank, worker: Database):
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    plan = house.row("SELECT stripe_subscription_id AS id FROM subscriptions")["id"]
    answer = await ann.client.delete("/api/auth/me")
    await upkeep.look_after_plans(worker, house.services.cashier)
    await bank.settle()

    assert answer.status_code in (200, 204)
    assert (await bank.read(f"/v1/subscriptions/{plan}"))["status"] == "canceled"
    kept = house.row("SELECT count(*) AS n FROM payment_events WHERE payload IS NOT NULL AND user_id IS NOT NULL")
    assert kept["n"] == 0
    assert house.row("SELECT sum(amount_cents) AS cents FROM payments")["cents"] == 999
    assert proofs.broken(house.books, proofs.ALWAYS) == {}


@pytest.mark.anyio
async def test_m17_who_is_erased_can_pay_on_no_page_that_was_left_open(
    house: House, ann: Person, bank: Bank, worker: Database
):
    pack = await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25")
    plan = await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic")
    await ann.client.delete("/api/auth/me")
    ended = [await upkeep.take_pages_away(worker, house.services.cashier) for _ in range(2)]
    states = [(await bank.read(f"/v1/checkout/sessions/{page['session_id']}"))["status"] for page in (pack, plan)]

    assert ended == [2, 0]
    assert states == ["expired", "expired"]
    assert house.row("SELECT status FROM purchases")["status"] == "failed"
    assert house.row("SELECT status FROM subscriptions")["status"] == "expired"


@pytest.mark.anyio
async def test_who_the_vendor_knows_no_longer_is_made_known_anew(
    house: House, ann: Person, bank: Bank, worker: Database
):
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    await house.change("UPDATE users SET stripe_customer_id = 'cus_gone' WHERE id = %s", ann.id)
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25"))
    bought = account(house, ann)
    customer = house.row("SELECT stripe_customer_id FROM users WHERE id = %s", ann.id)["stripe_customer_id"]
    await house.change("UPDATE subscriptions SET stripe_subscription_id = 'sub_gone', look_at = now()")
    looked = await upkeep.look_after_plans(worker, house.services.cashier)

    assert bought == ("basic", 125)
    assert customer not in (None, "cus_gone")
    assert looked == 1
    assert account(house, ann) == ("free", 125)
