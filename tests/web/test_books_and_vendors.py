"""Our books against the provider's and the carrier's own lists, through the simulated vendors on their wire."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.web.house import House, Person
from tests.web.test_payments import Bank, ask

from callmeback.domain import books
from callmeback.ops import books as checks
from callmeback.ops.books import Finding, Vendors
from callmeback.payments import events
from callmeback.pg.pool import Database

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"
AT_ONCE = timedelta(0)


@pytest.fixture
def bank(house: House) -> Bank:
    return Bank(house)


async def compared(house: House, owner: Database, days_ahead: int = 40) -> dict[str, Finding]:
    today = datetime.now(UTC).date()
    days = books.period(today - timedelta(days=1), today + timedelta(days=days_ahead))
    vendors = Vendors(house.services.cashier, house.services.carrier)
    found = await checks.check_vendors(owner, days, vendors, on_its_way=AT_ONCE)

    return {finding.name.split()[0]: finding for finding in found}


async def trade(house: House, ann: Person, bank: Bank) -> str:
    """A pack with a refund that fails, a plan that renews, a dispute that is won, a talk; the pack's intent."""
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_50"))
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    await bank.advance(32)
    intents = house.books.execute("SELECT payment_intent_id AS i FROM payments ORDER BY paid_at, kind").fetchall()
    pack = house.row("SELECT payment_intent_id AS i FROM payments WHERE kind = 'purchase'")["i"]
    await bank.refund(pack, 500)
    await bank.refund(pack, 700)
    failed = house.row("SELECT id FROM refunds WHERE amount_cents = 700")["id"]
    await bank._ask("POST", f"/refunds/{failed}/fail")
    for number, row in enumerate(intents[-2:]):
        answer = await bank._ask("POST", f"/charges/{row['i']}/dispute")
        if number:
            await bank._ask("POST", f"/disputes/{answer.json()['id']}/close", outcome="won")
    await bank.settle()

    return str(pack)


async def test_m05_money_equals_the_providers_list_to_the_cent(house: House, ann: Person, bank: Bank, owner: Database):
    await trade(house, ann, bank)
    found = (await compared(house, owner))["money"]
    flows = house.row("SELECT sum(amount_cents) AS cents FROM money_flows")["cents"]

    assert (found.verdict, found.objects) == ("green", ())
    assert f"ours {flows} ¢, theirs {flows} ¢" in found.summary


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        ("UPDATE payments SET amount_cents = amount_cents - 1 WHERE kind = 'purchase'", "payment"),
        ("UPDATE payments SET payment_intent_id = 'pi_stolen' WHERE kind = 'purchase'", "payment"),
        ("UPDATE refunds SET is_undone = true WHERE amount_cents = 500", "refund"),
        ("UPDATE disputes SET is_reinstated = NOT is_reinstated", "dispute"),
    ],
)
async def test_money_that_differs_by_a_cent_is_named(
    house: House, ann: Person, bank: Bank, owner: Database, tamper: str, named: str
):
    await trade(house, ann, bank)
    house.books.execute(tamper)
    found = (await compared(house, owner))["money"]

    assert found.verdict == "red"
    assert {line.split()[0] for line in found.objects} == {named}


async def test_m04_a_webhook_that_never_came_is_a_difference_until_the_worker_has_looked(
    house: House, ann: Person, bank: Bank, owner: Database, worker: Database
):
    await bank.lose_webhooks()
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25"))
    before = (await compared(house, owner))["money"]
    patient = await checks.check_vendors(
        owner,
        books.period(datetime.now(UTC).date(), datetime.now(UTC).date()),
        Vendors(house.services.cashier, house.services.carrier),
    )
    await events.catch_up(worker, house.services.cashier)
    after = (await compared(house, owner))["money"]

    assert (before.verdict, patient[0].verdict, after.verdict) == ("red", "green", "green")
    assert "on their way" in patient[0].summary


async def test_an_invoice_that_came_without_its_intent_is_the_same_money(
    house: House, ann: Person, bank: Bank, owner: Database
):
    await bank.pay(await ask(ann, "POST", "/api/subscription/checkout", 201, tier="basic"))
    house.books.execute("UPDATE payments SET payment_intent_id = NULL")
    found = (await compared(house, owner))["money"]

    assert (found.verdict, found.objects) == ("green", ())


async def test_talks_are_as_long_as_the_carriers_and_one_that_is_not_is_named(
    house: House, ann: Person, owner: Database
):
    await house.script(PHONE, says=[], ring_seconds=0.1, hangs_up=True)
    placed: dict[str, Any] = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.until(ann, placed["id"])
    house.services.simulator.calls[next(iter(house.services.simulator.calls))].ended_at -= timedelta(hours=1)
    sound = (await compared(house, owner))["talks"]
    house.books.execute("UPDATE calls SET duration_seconds = duration_seconds + 60")
    longer = (await compared(house, owner))["talks"]
    house.books.execute("UPDATE calls SET created_at = created_at - interval '3 days'")
    elsewhere = (await compared(house, owner))["talks"]
    house.books.execute("UPDATE calls SET created_at = created_at + interval '3 days', twilio_call_sid = 'CA_other'")
    unknown = (await compared(house, owner))["talks"]

    assert (sound.verdict, sound.summary[:7]) == ("green", "1 calls")
    assert [line.split(":")[0] for line in longer.objects] == [placed["id"]]
    assert elsewhere.objects == ()
    assert (unknown.verdict, len(unknown.objects)) == ("red", 2)


async def test_a_vendor_that_does_not_answer_is_not_in_order(house: House, owner: Database):
    for vendor in ("payments", "carrier"):
        answer = await house.client().put(f"/simulator/vendors/{vendor}", json={"fail_rate": 1})
        assert answer.status_code == 200
    found = await compared(house, owner)

    assert found["money"].verdict == "unknown"
    assert house.services.simulator is not None
    assert await checks.simulator_began(f"{house.url}/simulator") <= datetime.now(UTC)
