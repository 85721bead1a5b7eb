"""Checkout sessions by the official client: made, paid, declined, authenticated, expired, and what is sent about it."""

from typing import Any

import pytest
import stripe

from callmeback.simulator import Simulator

pytestmark = pytest.mark.anyio
PACK = {"currency": "usd", "unit_amount": 1499, "product_data": {"name": "25 minutes"}}


def order(**more: Any) -> dict[str, Any]:
    return {
        "mode": "payment",
        "line_items": [{"price_data": PACK, "quantity": 1}],
        "success_url": "http://127.0.0.1:1/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "http://127.0.0.1:1/back",
        "client_reference_id": "user_1",
        "metadata": {"purchase": "pur_1"},
        "payment_intent_data": {"metadata": {"purchase": "pur_1"}},
        **more,
    }


async def test_a_paid_session_is_completed_and_its_intent_carries_our_notes(
    client: stripe.StripeClient, bank: Any, receiver: Any
) -> None:
    session = await client.v1.checkout.sessions.create_async(order())

    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 1499)
    assert session.url.endswith(f"/simulator/payments/checkout/{session.id}")
    assert session.payment_intent is None

    await bank.pay(session.id, email="ada@example.com")
    paid = await client.v1.checkout.sessions.retrieve_async(session.id, {"expand": ["line_items", "payment_intent"]})

    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert paid.customer is None
    assert paid.customer_details.email == "ada@example.com"
    assert paid.payment_intent.metadata.to_dict() == {"purchase": "pur_1"}
    assert (paid.payment_intent.status, paid.payment_intent.amount_received) == ("succeeded", 1499)
    assert [(line.description, line.amount_total) for line in paid.line_items.data] == [("25 minutes", 1499)]

    done = await receiver.first("checkout.session.completed")
    assert (done.id, done.client_reference_id, done.payment_status) == (session.id, "user_1", "paid")
    assert receiver.types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


async def test_a_declined_card_leaves_the_session_open(client: stripe.StripeClient, bank: Any, receiver: Any) -> None:
    session = await client.v1.checkout.sessions.create_async(order())

    refused = await bank.pay(session.id, card="4000 0000 0000 9995")
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_funds")
    still = await client.v1.checkout.sessions.retrieve_async(session.id)
    assert (still.status, still.payment_status) == ("open", "unpaid")

    assert (await bank.pay(session.id)).json()["payment_status"] == "paid"
    failed = await receiver.first("payment_intent.payment_failed")
    assert failed.last_payment_error.decline_code == "insufficient_funds"
    charges = (await client.v1.charges.list_async({"payment_intent": failed.id})).data
    assert [(charge.status, charge.paid) for charge in charges] == [("succeeded", True), ("failed", False)]


@pytest.mark.parametrize(("authenticates", "status"), [(True, "complete"), (False, "open")])
async def test_the_bank_asks_for_authentication(
    client: stripe.StripeClient, bank: Any, receiver: Any, authenticates: bool, status: str
) -> None:
    session = await client.v1.checkout.sessions.create_async(order())

    await bank.pay(session.id, card="4000002760003184", authenticates=authenticates)

    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).status == status
    action = await receiver.first("payment_intent.requires_action")
    assert action.status == "requires_action"


async def test_a_held_payment_completes_the_session_unpaid(
    client: stripe.StripeClient, bank: Any, receiver: Any
) -> None:
    session = await client.v1.checkout.sessions.create_async(order(payment_intent_data={"capture_method": "manual"}))

    await bank.pay(session.id)

    done = await receiver.first("checkout.session.completed")
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    held = await receiver.first("payment_intent.amount_capturable_updated")
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 1499, 0)


@pytest.mark.parametrize(("outcome", "status"), [("succeeds", "paid"), ("fails", "unpaid")])
async def test_a_bank_debit_is_unpaid_until_the_bank_answers(
    client: stripe.StripeClient, bank: Any, receiver: Any, outcome: str, status: str
) -> None:
    session = await client.v1.checkout.sessions.create_async(order())

    await bank.pay(session.id, method="bank", outcome=outcome)
    done = await receiver.first("checkout.session.completed")
    assert (done.status, done.payment_status) == ("complete", "unpaid")

    await bank.advance(days=3.1)
    later = await receiver.first(
        "checkout.session.async_payment_succeeded" if outcome == "succeeds" else "checkout.session.async_payment_failed"
    )
    assert later.payment_status == status


async def test_a_coupon_and_a_promotion_code_take_something_off(client: stripe.StripeClient, bank: Any) -> None:
    coupon = await client.v1.coupons.create_async({"percent_off": 25, "duration": "once", "max_redemptions": 2})
    code = await client.v1.promotion_codes.create_async(
        {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "WELCOME", "max_redemptions": 1}
    )

    by_coupon = await client.v1.checkout.sessions.create_async(order(discounts=[{"coupon": coupon.id}]))
    by_code = await client.v1.checkout.sessions.create_async(order(discounts=[{"promotion_code": code.id}]))
    assert (by_coupon.amount_subtotal, by_coupon.amount_total) == (1499, 1124)
    assert by_code.total_details.amount_discount == 375

    await bank.pay(by_coupon.id)
    await bank.pay(by_code.id)
    assert (await client.v1.coupons.retrieve_async(coupon.id)).to_dict()["valid"] is False
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.checkout.sessions.create_async(order(discounts=[{"coupon": coupon.id}]))
    assert refused.value.code == "coupon_expired"
    [listed] = (await client.v1.promotion_codes.list_async({"code": "welcome"})).data
    assert listed.times_redeemed == 1


async def test_a_free_session_needs_no_payment(client: stripe.StripeClient, bank: Any, receiver: Any) -> None:
    coupon = await client.v1.coupons.create_async({"percent_off": 100, "duration": "once"})
    session = await client.v1.checkout.sessions.create_async(order(discounts=[{"coupon": coupon.id}]))

    await bank.pay(session.id)

    done = await receiver.first("checkout.session.completed")
    assert (done.payment_status, done.amount_total, done.payment_intent) == ("no_payment_required", 0, None)


async def test_a_session_expires_by_hand_and_by_its_time(
    client: stripe.StripeClient, bank: Any, sim: Simulator, receiver: Any
) -> None:
    by_hand = await client.v1.checkout.sessions.create_async(order())
    soon = sim.payments.book.now() + 1800
    by_time = await client.v1.checkout.sessions.create_async(order(expires_at=soon))

    await client.v1.checkout.sessions.expire_async(by_hand.id)
    await bank.advance(seconds=1801)
    await receiver.until(lambda: len(receiver.of("checkout.session.expired")) == 2)

    assert {session.id for session in receiver.of("checkout.session.expired")} == {by_hand.id, by_time.id}
    assert (await bank.pay(by_time.id)).status_code == 409
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.checkout.sessions.expire_async(by_time.id)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"mode": "setup"}, "mode"),
        ({"line_items": []}, "line_items"),
        ({"line_items": [{"price": "price_no", "quantity": 1}]}, "line_items[0][price]"),
        ({"line_items": [{"price_data": PACK, "quantity": 0}]}, "line_items[0][quantity]"),
        (
            {"line_items": [{"price_data": {**PACK, "currency": "xyz"}, "quantity": 1}]},
            "line_items[0][price_data][currency]",
        ),
        (
            {"line_items": [{"price_data": {**PACK, "unit_amount": -5}, "quantity": 1}]},
            "line_items[0][price_data][unit_amount]",
        ),
        ({"success_url": "done"}, "success_url"),
        ({"expires_at": 1}, "expires_at"),
        ({"customer": "cus_no"}, "customer"),
        ({"succes_url": "http://127.0.0.1/"}, "succes_url"),
        ({"subscription_data": {"metadata": {"a": "b"}}}, "subscription_data"),
    ],
)
async def test_a_wrong_order_is_refused_with_the_parameter_s_name(
    client: stripe.StripeClient, change: dict[str, Any], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.checkout.sessions.create_async(order(**change))

    assert (refused.value.http_status, refused.value.param) == (400, param)


@pytest.mark.parametrize(("cents", "code"), [(49, "amount_too_small"), (99_999_999, "amount_too_large")])
async def test_totals_out_of_bounds_are_refused(client: stripe.StripeClient, cents: int, code: str) -> None:
    lines = [{"price_data": {**PACK, "unit_amount": cents}, "quantity": 1 if cents < 50 else 2}]

    with pytest.raises(stripe.InvalidRequestError) as refused:
        await client.v1.checkout.sessions.create_async(order(line_items=lines))

    assert refused.value.code == code


async def test_sessions_are_listed_updated_and_their_lines_too(client: stripe.StripeClient, bank: Any) -> None:
    sessions = [await client.v1.checkout.sessions.create_async(order()) for _ in range(3)]
    await bank.pay(sessions[0].id)

    still_open = await client.v1.checkout.sessions.list_async({"status": "open"})
    assert [session.id for session in still_open.data] == [sessions[2].id, sessions[1].id]
    lines = await client.v1.checkout.sessions.line_items.list_async(sessions[0].id)
    assert lines.data[0].price.unit_amount == 1499
    updated = await client.v1.checkout.sessions.update_async(
        sessions[1].id, {"metadata": {"purchase": "", "note": "x"}}
    )
    assert updated.metadata.to_dict() == {"note": "x"}
    intent = (await client.v1.checkout.sessions.retrieve_async(sessions[0].id)).payment_intent
    found = await client.v1.checkout.sessions.list_async({"payment_intent": intent})
    assert [session.id for session in found.data] == [sessions[0].id]
