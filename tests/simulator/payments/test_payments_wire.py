"""The manners of the interface: keys, idempotency, errors, lists, expansion, and misbehaviour to order."""

import asyncio
from typing import Any

import httpx
import pytest
import stripe

from callmeback.simulator import Simulator
from callmeback.simulator.payments.form import parse
from callmeback.simulator.payments.refusals import Refusal

pytestmark = pytest.mark.anyio
INTENT = {"amount": 1000, "currency": "usd"}


async def counted(client: stripe.StripeClient) -> int:
    return len((await client.v1.payment_intents.list_async({"limit": 100})).data)


def ours(sim: Simulator) -> dict[str, str]:
    return {"Authorization": f"Bearer {sim.config.payments.api_key}"}


async def test_a_wrong_key_and_none_are_refused(base: str, control: httpx.AsyncClient) -> None:
    http = stripe.HTTPXClient()
    stranger = stripe.StripeClient("sk_test_wrong", base_addresses={"api": f"{base}/payments"}, http_client=http)

    with pytest.raises(stripe.AuthenticationError) as refused:
        await stranger.v1.customers.list_async()
    await http.close_async()
    none = await control.get("/payments/v1/customers")

    assert refused.value.http_status == 401
    assert (none.status_code, none.json()["error"]["type"]) == (401, "invalid_request_error")


async def test_the_key_is_taken_as_a_user_name_too(control: httpx.AsyncClient, sim: Simulator) -> None:
    listed = await control.get("/payments/v1/customers", auth=(sim.config.payments.api_key, ""))

    assert (listed.status_code, listed.json()["object"]) == (200, "list")


async def test_the_blocking_client_works_too(base: str, sim: Simulator) -> None:
    http = stripe.HTTPXClient(allow_sync_methods=True)
    client = stripe.StripeClient(
        sim.config.payments.api_key, base_addresses={"api": f"{base}/payments"}, http_client=http
    )

    customer = await asyncio.to_thread(client.v1.customers.create, {"email": "ada@example.com"})
    http.close()
    await http.close_async()

    assert customer.email == "ada@example.com"


async def test_what_does_not_exist_is_404_or_400(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as by_path:
        await client.v1.payment_intents.retrieve_async("pi_no")
    with pytest.raises(stripe.InvalidRequestError) as by_parameter:
        await client.v1.refunds.create_async({"payment_intent": "pi_no"})

    assert (by_path.value.http_status, by_path.value.code) == (404, "resource_missing")
    assert (by_parameter.value.http_status, by_parameter.value.param) == (400, "payment_intent")


async def test_the_same_key_gives_the_same_answer_once(client: stripe.StripeClient) -> None:
    first = await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-1"})
    again = await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-1"})
    other = await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-2"})

    assert first.id == again.id != other.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert await counted(client) == 2


async def test_the_same_key_with_other_parameters_is_refused(client: stripe.StripeClient) -> None:
    await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-1"})

    with pytest.raises(stripe.IdempotencyError) as refused:
        await client.v1.payment_intents.create_async({**INTENT, "amount": 2000}, {"idempotency_key": "order-1"})

    assert refused.value.http_status == 400
    assert await counted(client) == 1


async def test_a_key_in_use_is_a_conflict(client: stripe.StripeClient, bank: Any) -> None:
    await bank.manners(latency_ms=400)

    answers = await asyncio.gather(
        *(client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-1"}) for _ in range(3)),
        return_exceptions=True,
    )

    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, stripe.APIError)]
    assert (len(done), [error.http_status for error in refused]) == (1, [409, 409])
    await bank.manners()
    assert await counted(client) == 1


async def test_a_decline_is_kept_and_a_wrong_parameter_is_not(client: stripe.StripeClient) -> None:
    declined = {**INTENT, "payment_method": "pm_card_chargeDeclined", "confirm": True}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await client.v1.payment_intents.create_async(declined, {"idempotency_key": "declined"})
    assert await counted(client) == 1

    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.create_async({**INTENT, "amount": 1}, {"idempotency_key": "mistyped"})
    mended = await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "mistyped"})
    assert mended.status == "requires_payment_method"


async def test_failures_do_the_work_every_other_time_and_a_key_makes_it_once(
    client: stripe.StripeClient, bank: Any
) -> None:
    await bank.manners(fail_rate=0.9999)
    for number in range(20):
        with pytest.raises(stripe.APIError) as failed:
            await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": f"order-{number}"})
        assert failed.value.http_status == 500
    await bank.manners()
    assert 0 < await counted(client) < 20

    for number in range(20):
        await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": f"order-{number}"})

    assert await counted(client) == 20


async def test_the_client_s_own_retries_get_through(base: str, sim: Simulator, bank: Any) -> None:
    http = stripe.HTTPXClient()
    client = stripe.StripeClient(
        sim.config.payments.api_key,
        base_addresses={"api": f"{base}/payments"},
        http_client=http,
        max_network_retries=8,
    )
    await bank.manners(fail_rate=0.3)

    made = [await client.v1.payment_intents.create_async(INTENT) for _ in range(3)]
    await bank.manners()

    assert len({intent.id for intent in made}) == 3 == await counted(client)
    await http.close_async()


async def test_a_dropped_answer_is_a_broken_connection_and_the_work_is_done(
    client: stripe.StripeClient, bank: Any
) -> None:
    await bank.manners(latency_ms=5000, drop_after_seconds=0.05)
    with pytest.raises(stripe.APIConnectionError):
        await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-1"})
    await bank.manners()

    again = await client.v1.payment_intents.create_async(INTENT, {"idempotency_key": "order-1"})

    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert await counted(client) == 1


async def test_pages_cover_a_list_once_in_both_directions(client: stripe.StripeClient) -> None:
    made = [(await client.v1.customers.create_async({"name": str(number)})).id for number in range(25)]
    newest_first = made[::-1]

    page = await client.v1.customers.list_async({"limit": 10})
    walked = [customer.id async for customer in page.auto_paging_iter()]
    assert (page.has_more, walked) == (True, newest_first)
    last = await client.v1.customers.list_async({"limit": 10, "starting_after": newest_first[19]})
    assert ([customer.id for customer in last.data], last.has_more) == (newest_first[20:], False)
    before = await client.v1.customers.list_async({"limit": 5, "ending_before": newest_first[10]})
    assert ([customer.id for customer in before.data], before.has_more) == (newest_first[5:10], True)
    top = await client.v1.customers.list_async({"limit": 5, "ending_before": newest_first[3]})
    assert ([customer.id for customer in top.data], top.has_more) == (newest_first[:3], False)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"starting_after": "cus_no"}, {"colour": "red"}])
async def test_a_wrong_query_is_refused(control: httpx.AsyncClient, sim: Simulator, query: dict[str, Any]) -> None:
    answer = await control.get("/payments/v1/customers", params=query, headers=ours(sim))

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(query)))


async def test_a_list_is_bounded_in_time(client: stripe.StripeClient, bank: Any) -> None:
    first = await client.v1.customers.create_async({"name": "first"})
    await bank.advance(days=1)
    second = await client.v1.customers.create_async({"name": "second"})

    async def names(created: Any) -> list[str]:
        return [customer.name for customer in (await client.v1.customers.list_async({"created": created})).data]

    assert await names({"gte": second.created}) == ["second"]
    assert await names({"lt": second.created}) == ["first"]
    assert await names({"gt": first.created, "lte": second.created}) == ["second"]
    assert await names(first.created) == ["first"]


async def test_events_are_listed_by_kind(client: stripe.StripeClient, bank: Any) -> None:
    intent = await client.v1.payment_intents.create_async(
        {**INTENT, "payment_method": "pm_card_visa", "confirm": True}, {"idempotency_key": "order-1"}
    )
    await bank.settle()

    by_kind = (await client.v1.events.list_async({"type": "payment_intent.*"})).data
    assert [event.type for event in by_kind] == ["payment_intent.succeeded", "payment_intent.created"]
    by_kinds = (await client.v1.events.list_async({"types": ["charge.succeeded"], "delivery_success": True})).data
    assert [event.data.object.payment_intent for event in by_kinds] == [intent.id]
    one = await client.v1.events.retrieve_async(by_kind[0].id)
    assert (one.api_version, one.livemode, one.pending_webhooks) == (stripe.api_version, False, 0)
    assert (one.request.idempotency_key, one.request.id[:4]) == ("order-1", "req_")
    assert (await client.v1.events.list_async({"delivery_success": False})).data == []


async def test_what_can_be_expanded_is_and_what_cannot_is_refused(client: stripe.StripeClient) -> None:
    intent = await client.v1.payment_intents.create_async(
        {**INTENT, "payment_method": "pm_card_visa", "confirm": True, "expand": ["latest_charge.balance_transaction"]}
    )
    assert intent.latest_charge.balance_transaction.net == 1000 - 59
    listed = await client.v1.payment_intents.list_async({"expand": ["data.payment_method"]})
    assert listed.data[0].payment_method.card.brand == "visa"

    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.retrieve_async(intent.id, {"expand": ["amount"]})


async def test_an_oversized_form_is_refused(control: httpx.AsyncClient, sim: Simulator) -> None:
    answer = await control.post("/payments/v1/customers", content=b"a=" + b"x" * 140_000, headers=ours(sim))

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1&b[c]=2&b[d][0][e]=3", {"a": "1", "b": {"c": "2", "d": {"0": {"e": "3"}}}}),
        ("expand[]=x&expand[]=y", {"expand": {"0": "x", "1": "y"}}),
        ("name=%C3%84da&empty=", {"name": "Äda", "empty": ""}),
    ],
)
def test_nested_forms_are_read(text: str, tree: dict[str, Any]) -> None:
    assert parse(text)._tree == tree


@pytest.mark.parametrize("text", ["a=1&a[b]=2", "a" + "[b]" * 9 + "=1", "&".join(f"k{n}=1" for n in range(1001))])
def test_forms_without_sense_are_refused(text: str) -> None:
    with pytest.raises(Refusal):
        parse(text)
