"""Payment intents, charges, refunds, disputes and the balance, by the official client."""

from typing import Any

import pytest
import stripe

pytestmark = pytest.mark.anyio


async def paid(client: stripe.StripeClient, cents: int = 1000, card: str = "pm_card_visa", **more: Any) -> Any:
    return await client.v1.payment_intents.create_async(
        {"amount": cents, "currency": "usd", "payment_method": card, "confirm": True, **more}
    )


async def held(client: stripe.StripeClient, cents: int = 1000) -> Any:
    return await paid(client, cents, capture_method="manual", metadata={"call": "call_1"})


async def test_a_hold_is_captured_in_part_and_the_rest_released(client: stripe.StripeClient, receiver: Any) -> None:
    intent = await held(client)
    assert (intent.status, intent.amount_capturable) == ("requires_capture", 1000)
    charge = await client.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.captured, charge.amount_captured, charge.balance_transaction) == (False, 0, None)
    assert charge.payment_method_details.card.capture_before - charge.created == 7 * 86_400

    done = await client.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 640})

    assert (done.status, done.amount, done.amount_received, done.amount_capturable) == ("succeeded", 1000, 640, 0)
    charge = await client.v1.charges.retrieve_async(intent.latest_charge, {"expand": ["balance_transaction"]})
    assert (charge.captured, charge.amount_captured, charge.amount_refunded) == (True, 640, 360)
    assert (charge.balance_transaction.amount, charge.balance_transaction.fee) == (640, 49)
    [released] = (await client.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert (released.amount, released.balance_transaction) == (360, None)
    await receiver.first("payment_intent.succeeded")
    assert receiver.types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "refund.created",
        "charge.refunded",
        "charge.captured",
        "payment_intent.succeeded",
    ]


async def test_more_than_was_held_or_twice_is_not_captured(client: stripe.StripeClient) -> None:
    intent = await held(client)

    with pytest.raises(stripe.InvalidRequestError) as too_much:
        await client.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 1001})
    await client.v1.payment_intents.capture_async(intent.id)
    with pytest.raises(stripe.InvalidRequestError) as twice:
        await client.v1.payment_intents.capture_async(intent.id)

    assert too_much.value.code == "amount_too_large"
    assert twice.value.code == "payment_intent_unexpected_state"
    assert twice.value.error.payment_intent.status == "succeeded"


async def test_a_canceled_hold_moves_no_money(client: stripe.StripeClient, receiver: Any) -> None:
    intent = await held(client)

    done = await client.v1.payment_intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})

    assert (done.status, done.cancellation_reason, done.amount_capturable) == ("canceled", "abandoned", 0)
    await receiver.first("payment_intent.canceled")
    assert (await client.v1.balance_transactions.list_async()).data == []
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.capture_async(intent.id)


async def test_a_hold_ends_after_seven_days(client: stripe.StripeClient, bank: Any, receiver: Any) -> None:
    intent = await held(client)

    await bank.advance(days=6.9)
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == "requires_capture"
    await bank.advance(days=0.2)

    ended = await receiver.first("payment_intent.canceled")
    assert (ended.status, ended.cancellation_reason) == ("canceled", "automatic")
    assert receiver.of("charge.expired")


@pytest.mark.parametrize(
    ("card", "code", "decline"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ],
)
async def test_a_declined_card_is_an_error_with_its_intent(
    client: stripe.StripeClient, card: str, code: str, decline: str | None
) -> None:
    with pytest.raises(stripe.CardError) as refused:
        await paid(client, card=card)

    error = refused.value
    assert (error.http_status, error.code, getattr(error.error, "decline_code", None)) == (402, code, decline)
    intent = await client.v1.payment_intents.retrieve_async(error.error.payment_intent.id)
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", code)
    assert (await client.v1.charges.retrieve_async(intent.latest_charge)).status == "failed"

    confirmed = await client.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
    assert confirmed.status == "succeeded"


async def test_authentication_is_asked_of_a_customer_who_is_there(client: stripe.StripeClient, control: Any) -> None:
    intent = await paid(client, card="pm_card_authenticationRequired", return_url="http://127.0.0.1:1/after?a=1")
    assert intent.status == "requires_action"
    page = intent.next_action.redirect_to_url.url

    shown = await control.get(page)
    assert "Is this you?" in shown.text
    answered = await control.post(page, data={"action": "passed"})

    assert answered.headers["location"] == f"http://127.0.0.1:1/after?a=1&payment_intent={intent.id}"
    assert (await client.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"
    assert (await control.get(page)).status_code == 404


async def test_authentication_is_refused_without_the_customer(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as refused:
        await paid(client, card="pm_card_authenticationRequired", off_session=True)

    assert refused.value.code == "authentication_required"


async def test_an_intent_waits_for_its_method_and_can_be_given_up(client: stripe.StripeClient) -> None:
    intent = await client.v1.payment_intents.create_async({"amount": 500, "currency": "usd"})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.confirm_async(intent.id)
    changed = await client.v1.payment_intents.update_async(intent.id, {"metadata": {"a": "b"}})
    assert changed.metadata.to_dict() == {"a": "b"}

    assert (await client.v1.payment_intents.cancel_async(intent.id)).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.cancel_async(intent.id)


@pytest.mark.parametrize("cents", [-1, 0, 49, 100_000_000])
async def test_amounts_out_of_bounds_are_refused(client: stripe.StripeClient, cents: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.payment_intents.create_async({"amount": cents, "currency": "usd"})

    assert refused.value.param == "amount"


async def test_refunds_add_up_to_the_charge_and_no_further(client: stripe.StripeClient, receiver: Any) -> None:
    intent = await paid(client)

    first = await client.v1.refunds.create_async({"payment_intent": intent.id, "amount": 300, "metadata": {"why": "x"}})
    assert (first.status, first.amount, first.metadata.to_dict()) == ("succeeded", 300, {"why": "x"})
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.refunds.create_async({"charge": intent.latest_charge, "amount": 701})
    await client.v1.refunds.create_async({"charge": intent.latest_charge, "reason": "requested_by_customer"})
    with pytest.raises(stripe.InvalidRequestError) as again:
        await client.v1.refunds.create_async({"payment_intent": intent.id})

    assert again.value.code == "charge_already_refunded"
    charge = await client.v1.charges.retrieve_async(intent.latest_charge, {"expand": ["refunds"]})
    assert (charge.refunded, charge.amount_refunded) == (True, 1000)
    assert sorted(refund.amount for refund in charge.refunds.data) == [300, 700]
    await receiver.until(lambda: len(receiver.of("charge.refunded")) == 2)
    assert [told.amount_refunded for told in receiver.of("charge.refunded")] == [300, 1000]
    assert receiver.events[-1].data.previous_attributes.amount_refunded == 300


async def test_a_refund_fails_later_and_its_money_is_ours_again(
    client: stripe.StripeClient, bank: Any, receiver: Any
) -> None:
    by_card = await paid(client, card="pm_card_refundFail")
    by_bank = await paid(client)
    first = await client.v1.refunds.create_async({"payment_intent": by_card.id})
    second = await client.v1.refunds.create_async({"payment_intent": by_bank.id})

    await bank.advance(seconds=61)
    await bank.post(f"/refunds/{second.id}/fail")
    await receiver.until(lambda: len(receiver.of("refund.failed")) == 2)

    for refund, intent in ((first, by_card), (second, by_bank)):
        found = await client.v1.refunds.retrieve_async(refund.id)
        assert (found.status, found.failure_reason) == ("failed", "lost_or_stolen_card")
        assert (await client.v1.charges.retrieve_async(intent.latest_charge)).amount_refunded == 0
    movements = (await client.v1.balance_transactions.list_async({"type": "refund_failure"})).data
    assert [movement.amount for movement in movements] == [1000, 1000]


async def test_a_refund_under_way_arrives_or_is_taken_back(client: stripe.StripeClient, bank: Any) -> None:
    intents = [await paid(client, card="pm_card_pendingRefund") for _ in range(2)]
    refunds = [await client.v1.refunds.create_async({"payment_intent": intent.id}) for intent in intents]
    assert [refund.status for refund in refunds] == ["pending", "pending"]

    canceled = await client.v1.refunds.cancel_async(refunds[0].id)
    await bank.advance(days=2.1)

    assert canceled.status == "canceled"
    assert (await client.v1.refunds.retrieve_async(refunds[1].id)).status == "succeeded"
    assert (await client.v1.charges.retrieve_async(intents[0].latest_charge)).amount_refunded == 0


@pytest.mark.parametrize(("outcome", "balance"), [("won", 1000 - 59 - 1500), ("lost", -59 - 1500)])
async def test_a_dispute_takes_the_money_and_a_won_one_gives_it_back(
    client: stripe.StripeClient, bank: Any, receiver: Any, outcome: str, balance: int
) -> None:
    intent = await paid(client)

    opened = (await bank.post(f"/charges/{intent.id}/dispute", reason="product_not_received")).json()
    assert opened["status"] == "needs_response"
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    submitted = await client.v1.disputes.update_async(opened["id"], {"evidence": {"uncategorized_text": "x"}})
    assert submitted.status == "under_review"
    closed = (await bank.post(f"/disputes/{opened['id']}/close", outcome=outcome)).json()

    assert closed["status"] == outcome
    assert (await client.v1.charges.retrieve_async(intent.latest_charge)).disputed is True
    movements = (await client.v1.balance_transactions.list_async()).data
    assert sum(movement.net for movement in movements) == balance
    await bank.settle()
    told = [kind for kind in receiver.types() if kind.startswith("charge.dispute")]
    assert told == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.closed",
        *(["charge.dispute.funds_reinstated"] if outcome == "won" else []),
    ]
    assert (await bank.post(f"/disputes/{opened['id']}/close", outcome=outcome)).status_code == 409


async def test_a_dispute_is_for_a_part_or_an_inquiry_or_given_up(client: stripe.StripeClient, bank: Any) -> None:
    first, second = await paid(client), await paid(client)

    part = (await bank.post(f"/charges/{first.latest_charge}/dispute", amount=400)).json()
    inquiry = (await bank.post(f"/charges/{second.id}/dispute", inquiry=True)).json()
    assert (part["amount"], inquiry["status"]) == (400, "warning_needs_response")
    assert inquiry["balance_transactions"] == []
    await bank.post(f"/disputes/{inquiry['id']}/close", outcome="won")

    assert (await client.v1.disputes.close_async(part["id"])).status == "lost"
    assert (await client.v1.disputes.retrieve_async(inquiry["id"])).status == "warning_closed"
    listed = await client.v1.disputes.list_async({"payment_intent": first.id})
    assert [dispute.id for dispute in listed.data] == [part["id"]]


async def test_a_card_disputes_by_itself(client: stripe.StripeClient, receiver: Any) -> None:
    await paid(client, card="pm_card_createDispute")

    assert (await receiver.first("charge.dispute.funds_withdrawn")).reason == "fraudulent"


async def test_the_balance_is_the_sum_of_its_movements(client: stripe.StripeClient) -> None:
    intents = [await paid(client, cents) for cents in (1000, 2499, 4499)]
    await client.v1.refunds.create_async({"payment_intent": intents[1].id, "amount": 499})

    movements = (await client.v1.balance_transactions.list_async({"limit": 100})).data

    assert sorted(movement.amount for movement in movements) == [-499, 1000, 2499, 4499]
    assert all(movement.net == movement.amount - movement.fee for movement in movements)
    one = await client.v1.balance_transactions.retrieve_async(movements[0].id)
    assert (one.type, one.reporting_category, one.status) == ("refund", "refund", "pending")
    by_source = await client.v1.balance_transactions.list_async({"source": intents[0].latest_charge})
    assert [movement.amount for movement in by_source.data] == [1000]
