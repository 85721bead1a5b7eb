"""Webhooks: signatures, tries, duplicates, disorder, replays, older shapes; and the clock."""

import json
from typing import Any

import pytest
import stripe

from callmeback.simulator import Simulator, SimulatorConfig
from callmeback.simulator.payments.account import PaymentsConfig
from callmeback.simulator.payments.clock import Clock
from callmeback.simulator.payments.signing import signature

pytestmark = pytest.mark.anyio
EVENT = b'{"id":"evt_1","object":"event","type":"invoice.paid"}'
NEW = "cf236679f21e8e66846755974039eb243c785e6f4d94561513558a2fc77e9c60"
OLD = "a21367063b9957f1fe784d3cc5341cea86533abc5c8aaddeb017feef24837602"
EMPTY = "ddb55de9b5a5efb9bebe8722dbc6a48c81683b344e37c780ec541123d8f53c5c"


@pytest.mark.parametrize(
    ("secrets", "body", "at", "expected"),
    [
        (["whsec_test_secret"], EVENT, 1795352400, f"t=1795352400,v1={NEW}"),
        (["whsec_old_secret"], EVENT, 1795352400, f"t=1795352400,v1={OLD}"),
        (["whsec_test_secret", "whsec_old_secret"], EVENT, 1795352400, f"t=1795352400,v1={NEW},v1={OLD}"),
        (["whsec_test_secret"], b"{}", 1600000000, f"t=1600000000,v1={EMPTY}"),
    ],
)
def test_signatures_are_the_vendor_s(secrets: list[str], body: bytes, at: int, expected: str) -> None:
    assert signature(secrets, body, at) == expected


@pytest.mark.parametrize("secret", ["whsec_test_secret", "whsec_old_secret"])
def test_the_vendor_s_library_takes_either_secret(secret: str) -> None:
    header = signature(["whsec_test_secret", "whsec_old_secret"], EVENT, 1795352400)

    assert stripe.Webhook.construct_event(EVENT, header, secret, tolerance=10**9).id == "evt_1"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(EVENT + b" ", header, secret, tolerance=10**9)


async def test_an_event_is_sent_as_it_is_listed(client: stripe.StripeClient, receiver: Any, bank: Any) -> None:
    customer = await client.v1.customers.create_async({"email": "ada@example.com"}, {"idempotency_key": "one"})
    await bank.settle()

    [event] = receiver.events
    assert (event.type, event.data.object.id, event.request.idempotency_key) == ("customer.created", customer.id, "one")
    assert (event.pending_webhooks, event.api_version, event.livemode) == (1, stripe.api_version, False)
    assert receiver.headers[0]["user-agent"].startswith("Stripe/1.0")
    assert receiver.headers[0]["content-type"] == "application/json; charset=utf-8"
    listed = await client.v1.events.retrieve_async(event.id)
    assert listed.to_dict() == event.to_dict() | {"pending_webhooks": 0}


async def test_what_is_refused_is_tried_again_and_later_events_overtake_it(
    client: stripe.StripeClient, receiver: Any, bank: Any, control: Any
) -> None:
    receiver.failures = [500, 404, 302]
    customer = await client.v1.customers.create_async({"email": "ada@example.com"})
    await receiver.until(lambda: len(receiver.failures) < 3)
    await client.v1.customers.update_async(customer.id, {"name": "Ada"})
    await bank.settle()

    assert sorted(receiver.types()) == ["customer.created", "customer.updated"]
    tries = {seen["type"]: seen for seen in (await control.get("/payments/deliveries")).json()["items"]}
    assert sum(seen["attempts"] for seen in tries.values()) == 5
    assert all((seen["state"], seen["status"]) == ("delivered", 200) for seen in tries.values())


async def test_tries_are_bounded_and_what_was_given_up_is_sent_again_on_request(
    client: stripe.StripeClient, receiver: Any, bank: Any, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callmeback.simulator.payments.courier.RETRIES_MAX", 3)
    receiver.failures = [500] * 4
    await client.v1.customers.create_async({"email": "ada@example.com"})
    await bank.settle()

    assert (receiver.events, sim.payments.courier.deliveries[-1].state) == ([], "given_up")
    [lost] = (await client.v1.events.list_async({"delivery_success": False})).data
    assert (await bank.post(f"/events/{lost.id}/resend")).json() == {"deliveries": 1}
    await bank.settle()
    assert [event.id for event in receiver.events] == [lost.id]
    assert (await client.v1.events.list_async({"delivery_success": False})).data == []


async def test_duplicates_come_with_the_same_id(client: stripe.StripeClient, receiver: Any, bank: Any) -> None:
    await bank.manners(duplicate_rate=1)
    await client.v1.customers.create_async({"email": "ada@example.com"})
    await bank.settle()

    assert len(receiver.events) == 2
    assert receiver.bodies[0] == receiver.bodies[1]


async def test_events_keep_their_order_until_they_are_to_be_shuffled(
    client: stripe.StripeClient, receiver: Any, bank: Any
) -> None:
    customer = await client.v1.customers.create_async({"email": "ada@example.com"})
    for number in range(20):
        await client.v1.customers.update_async(customer.id, {"name": str(number)})
    await bank.settle()
    kept = [event.data.object.name for event in receiver.events[1:]]
    receiver.events.clear()
    await bank.manners(reorder=True)
    for number in range(20):
        await client.v1.customers.update_async(customer.id, {"name": str(number)})
    await bank.settle()
    shuffled = [event.data.object.name for event in receiver.events]

    expected = [str(number) for number in range(20)]
    assert kept == expected
    assert shuffled != expected
    assert sorted(shuffled, key=int) == expected


async def test_endpoints_are_added_moved_silenced_and_deleted(
    client: stripe.StripeClient, receiver: Any, bank: Any
) -> None:
    [own] = (await client.v1.webhook_endpoints.list_async()).data
    assert (own.url, own.enabled_events) == (receiver.url, ["*"])
    await client.v1.webhook_endpoints.update_async(own.id, {"disabled": True})
    made = await client.v1.webhook_endpoints.create_async(
        {"url": "http://127.0.0.1:9/hook", "enabled_events": ["invoice.paid"]}
    )
    assert made.secret.startswith("whsec_")
    await client.v1.customers.create_async({"email": "ada@example.com"})
    await bank.settle()
    assert receiver.events == []

    await client.v1.webhook_endpoints.update_async(own.id, {"disabled": False, "enabled_events": ["customer.updated"]})
    assert (await client.v1.webhook_endpoints.delete_async(made.id)).deleted is True
    assert (await client.v1.webhook_endpoints.retrieve_async(own.id)).status == "enabled"
    customer = await client.v1.customers.create_async({"email": "bob@example.com"})
    await client.v1.customers.update_async(customer.id, {"name": "Bob"})
    await bank.settle()
    assert receiver.types() == ["customer.updated"]


class TestOlder:
    """An endpoint of a version before periods moved to the items."""

    @pytest.fixture
    async def sim(self, receiver: Any) -> Any:
        secret = "whsec_of_this_test"
        config = PaymentsConfig(
            webhook_url=receiver.url, webhook_secret=secret, webhook_api_version="2024-06-20", retry_seconds=0.05
        )
        return Simulator(SimulatorConfig(payments=config))

    async def test_it_gets_the_shapes_of_its_time(
        self, client: stripe.StripeClient, receiver: Any, customer: Any, monthly: Any
    ) -> None:
        made = await client.v1.subscriptions.create_async({"customer": customer.id, "items": [{"price": monthly.id}]})
        await receiver.until(lambda: "invoice.paid" in receiver.types())
        bodies = {body["type"]: body for body in map(json.loads, receiver.bodies)}

        assert bodies["invoice.paid"]["api_version"] == "2024-06-20"
        invoice = bodies["invoice.paid"]["data"]["object"]
        assert (invoice["subscription"], invoice["paid"], "parent" in invoice) == (made.id, True, False)
        subscription = bodies["customer.subscription.created"]["data"]["object"]
        item = made["items"].data[0]
        assert subscription["current_period_end"] == item.current_period_end
        assert "current_period_end" not in subscription["items"]["data"][0]


async def test_the_same_seed_makes_the_same_ids() -> None:
    first, second = (Simulator(SimulatorConfig(payments=PaymentsConfig(seed=7))) for _ in range(2))
    third = Simulator()

    ids = [sim.payments.book.new_id("evt") for sim in (first, second, third)]

    assert ids[0] == ids[1] != ids[2]
    for sim in (first, second, third):
        await sim.aclose()


async def test_the_clock_does_things_at_their_time_and_in_their_order() -> None:
    clock = Clock()
    begun, seen = clock.now(), []
    for seconds in (300, 100, 200, 100):
        clock.at(begun + seconds, lambda seconds=seconds: seen.append((seconds, clock.now() - begun)))
    clock.at(begun + 150, lambda: clock.at(begun + 160, lambda: seen.append((160, clock.now() - begun))))

    await clock.advance(250)

    assert seen == [(100, 100), (100, 100), (160, 160), (200, 200)]
    assert 250 <= clock.now() - begun <= 252
    assert clock.waiting == 1


async def test_a_fast_clock_does_by_itself_what_falls_due(
    client: stripe.StripeClient, bank: Any, receiver: Any, customer: Any, monthly: Any
) -> None:
    subscription = await client.v1.subscriptions.create_async(
        {"customer": customer.id, "items": [{"price": monthly.id}]}
    )

    assert (await bank.put("/clock", speed=1_000_000)).json()["speed"] == 1_000_000
    await receiver.until(lambda: len(receiver.of("invoice.paid")) >= 2, seconds=60)
    await bank.put("/clock", speed=1)

    renewal = receiver.of("invoice.paid")[1]
    assert renewal.lines.data[0].period.start == subscription["items"].data[0].current_period_end


@pytest.mark.parametrize(
    "body", [{"to": 5}, {"speed": 0}, {"advance_seconds": -1}, {"advance_seconds": 10**12}, {"x": 1}]
)
async def test_the_clock_never_goes_back(bank: Any, body: dict[str, Any]) -> None:
    assert (await bank.put("/clock", **body)).status_code == 400
