"""Subscriptions and invoices by the official client: Checkout, renewals on the clock, failures, changes of plan."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
import stripe

pytestmark = pytest.mark.anyio
DAY = 86_400


async def subscribed(client: stripe.StripeClient, customer: Any, price: Any, **more: Any) -> Any:
    return await client.v1.subscriptions.create_async(
        {"customer": customer.id, "items": [{"price": price.id}], "metadata": {"user": "user_1"}, **more}
    )


async def plan(client: stripe.StripeClient, cents: int, interval: str = "month") -> Any:
    return await client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": cents,
            "recurring": {"interval": interval},
            "product_data": {"name": f"Plan of {cents}"},
        }
    )


async def get(client: stripe.StripeClient, subscription: Any) -> Any:
    return await client.v1.subscriptions.retrieve_async(subscription.id, {"expand": ["latest_invoice.payments"]})


def period(subscription: Any) -> tuple[int, int]:
    item = subscription["items"].data[0]
    return item.current_period_start, item.current_period_end


async def change(client: stripe.StripeClient, subscription: Any, price: Any, **more: Any) -> Any:
    items = [{"id": subscription["items"].data[0].id, "price": price.id}]
    return await client.v1.subscriptions.update_async(subscription.id, {"items": items, **more})


async def test_checkout_makes_customer_subscription_and_paid_invoice(
    client: stripe.StripeClient, bank: Any, receiver: Any, monthly: Any
) -> None:
    session = await client.v1.checkout.sessions.create_async(
        {
            "mode": "subscription",
            "line_items": [{"price": monthly.id, "quantity": 1}],
            "success_url": "http://127.0.0.1:1/done",
            "client_reference_id": "user_1",
            "subscription_data": {"metadata": {"user": "user_1"}},
        }
    )

    await bank.pay(session.id, email="ada@example.com")
    done = await receiver.first("checkout.session.completed")

    assert (done.mode, done.payment_status, done.payment_intent) == ("subscription", "paid", None)
    subscription = await client.v1.subscriptions.retrieve_async(done.subscription)
    assert (subscription.status, subscription.metadata.user) == ("active", "user_1")
    start, end = period(subscription)
    assert 28 * DAY <= end - start <= 31 * DAY
    invoice = await client.v1.invoices.retrieve_async(done.invoice, {"expand": ["payments"]})
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", 999)
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata.user == "user_1"
    assert (invoice.lines.data[0].period.start, invoice.lines.data[0].period.end) == (start, end)
    intent = invoice.payments.data[0].payment.payment_intent
    [payment] = (
        await client.v1.invoice_payments.list_async({"payment": {"type": "payment_intent", "payment_intent": intent}})
    ).data
    assert (payment.invoice, payment.status, payment.amount_paid) == (invoice.id, "paid", 999)
    customer = await client.v1.customers.retrieve_async(done.customer)
    assert customer.email == "ada@example.com"
    assert customer.invoice_settings.default_payment_method is not None
    kinds = receiver.types()
    assert kinds.index("customer.subscription.created") < kinds.index("invoice.paid")
    assert kinds[-1] == "checkout.session.completed"


async def test_a_month_is_renewed_after_an_hour_as_a_draft(
    client: stripe.StripeClient, bank: Any, receiver: Any, monthly: Any, customer: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    _, end = period(subscription)
    await bank.put("/clock", to=end + 10)

    drafted = await get(client, subscription)
    assert (drafted.latest_invoice.status, drafted.latest_invoice.billing_reason) == ("draft", "subscription_cycle")
    assert period(drafted)[0] == end
    await bank.advance(seconds=3600)

    renewed = await get(client, subscription)
    assert (renewed.status, renewed.latest_invoice.status) == ("active", "paid")
    await bank.settle()
    [updated] = [event for event in receiver.events if event.type == "customer.subscription.updated"][-1:]
    assert updated.data.previous_attributes["items"].data[0].current_period_end == end
    paid = receiver.of("invoice.paid")
    assert [invoice.billing_reason for invoice in paid] == ["subscription_create", "subscription_cycle"]
    assert paid[1].lines.data[0].period.start == end
    assert paid[1].status_transitions.paid_at == end + 3600


async def test_a_month_s_last_day_comes_back(
    client: stripe.StripeClient, bank: Any, customer: Any, monthly: Any
) -> None:
    clock = (await bank.put("/clock", speed=1)).json()
    today = datetime.fromtimestamp(clock["now"], UTC)
    year = today.year + 1
    await bank.put("/clock", to=int(datetime(year, 1, 31, 12, tzinfo=UTC).timestamp()))
    subscription = await subscribed(client, customer, monthly)
    days = []

    for _ in range(3):
        _, end = period(await get(client, subscription))
        days.append(datetime.fromtimestamp(end, UTC).strftime("%m-%d"))
        await bank.put("/clock", to=end + 4000)

    february = "02-29" if year % 4 == 0 else "02-28"
    assert days == [february, "03-31", "04-30"]


async def test_a_failed_renewal_is_tried_again_and_then_ends(
    client: stripe.StripeClient, bank: Any, receiver: Any, monthly: Any, customer: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    assert (await bank.put(f"/subscriptions/{subscription.id}/failures", times=4)).status_code == 200
    _, end = period(subscription)
    await bank.put("/clock", to=end + 3700)

    late = await get(client, subscription)
    invoice = late.latest_invoice
    assert (late.status, invoice.status, invoice.attempt_count) == ("past_due", "open", 1)
    assert invoice.next_payment_attempt == end + 3600 + 3 * DAY
    assert (await client.v1.customers.retrieve_async(customer.id)).delinquent is True

    await bank.advance(days=16)
    over = await get(client, subscription)
    assert (over.status, over.cancellation_details.reason) == ("canceled", "payment_failed")
    assert (over.latest_invoice.status, over.latest_invoice.next_payment_attempt) == ("open", None)
    await bank.settle()
    failures = receiver.of("invoice.payment_failed")
    assert [failed.next_payment_attempt is None for failed in failures] == [False, False, False, True]
    assert (
        receiver.of("customer.subscription.deleted")[0].ended_at
        == failures[-1].status_transitions.finalized_at + 15 * DAY
    )
    assert [renewal.status for renewal in receiver.of("customer.subscription.updated")][-1] == "past_due"


async def test_a_failed_renewal_succeeds_at_the_next_try(
    client: stripe.StripeClient, bank: Any, receiver: Any, monthly: Any, customer: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    await bank.put(f"/subscriptions/{subscription.id}/failures", times=1)
    # No day more: after a short month it would have been tried again by then.
    await bank.put("/clock", to=period(subscription)[1] + 3700)
    assert (await get(client, subscription)).status == "past_due"

    await bank.advance(days=3.1)

    renewed = await get(client, subscription)
    assert (renewed.status, renewed.latest_invoice.status, renewed.latest_invoice.attempt_count) == (
        "active",
        "paid",
        2,
    )
    assert (await client.v1.customers.retrieve_async(customer.id)).delinquent is False


async def test_a_new_card_pays_what_is_owed(client: stripe.StripeClient, bank: Any, monthly: Any) -> None:
    customer = await client.v1.customers.create_async(
        {"invoice_settings": {"default_payment_method": "pm_card_chargeCustomerFail"}}
    )
    subscription = await subscribed(client, customer, monthly)
    assert subscription.status == "active"
    await bank.advance(days=32)
    late = await get(client, subscription)
    assert late.status == "past_due"
    with pytest.raises(stripe.CardError):
        await client.v1.invoices.pay_async(late.latest_invoice.id)

    assert (await bank.put(f"/customers/{customer.id}/card", number="4000000000000002")).status_code == 409
    assert (await bank.put(f"/customers/{customer.id}/card", number="4242424242424242")).status_code == 200

    assert (await get(client, subscription)).status == "active"


async def test_authentication_at_a_renewal_is_told(
    client: stripe.StripeClient, bank: Any, receiver: Any, monthly: Any, control: Any
) -> None:
    customer = await client.v1.customers.create_async(
        {"invoice_settings": {"default_payment_method": "pm_card_authenticationRequired"}}
    )
    subscription = await subscribed(client, customer, monthly)
    assert subscription.status == "incomplete"
    first = await get(client, subscription)
    intent = await client.v1.payment_intents.retrieve_async(
        first.latest_invoice.payments.data[0].payment.payment_intent
    )
    await control.post(intent.next_action.redirect_to_url.url, data={"action": "passed"})
    assert (await get(client, subscription)).status == "active"

    await bank.put("/clock", to=period(subscription)[1] + 3700)

    assert (await get(client, subscription)).status == "past_due"
    await receiver.until(lambda: len(receiver.of("invoice.payment_action_required")) == 2)


async def test_a_first_payment_that_fails_leaves_it_incomplete(
    client: stripe.StripeClient, bank: Any, monthly: Any
) -> None:
    customer = await client.v1.customers.create_async({"email": "bob@example.com"})
    with pytest.raises(stripe.InvalidRequestError):
        await subscribed(client, customer, monthly)
    waiting = await subscribed(client, customer, monthly, payment_behavior="default_incomplete")
    assert waiting.status == "incomplete"
    invoice = (await get(client, waiting)).latest_invoice

    paid = await client.v1.invoices.pay_async(invoice.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "paid"
    assert (await get(client, waiting)).status == "active"
    other = await subscribed(client, customer, monthly, payment_behavior="default_incomplete")
    await bank.advance(days=1)
    assert (await get(client, other)).status == "incomplete_expired"


async def test_cancel_at_period_end_and_keeping_it_after_all(
    client: stripe.StripeClient, bank: Any, receiver: Any, monthly: Any, customer: Any
) -> None:
    kept, ended = [await subscribed(client, customer, monthly) for _ in range(2)]
    for subscription in (kept, ended):
        ending = await client.v1.subscriptions.update_async(subscription.id, {"cancel_at_period_end": True})
        assert (ending.cancel_at_period_end, ending.cancel_at) == (True, period(subscription)[1])
    await client.v1.subscriptions.update_async(kept.id, {"cancel_at_period_end": False})

    await bank.advance(days=32)

    assert (await get(client, kept)).status == "active"
    over = await get(client, ended)
    assert (over.status, over.ended_at) == ("canceled", period(ended)[1])
    [told] = receiver.of("customer.subscription.deleted") or [await receiver.first("customer.subscription.deleted")]
    assert told.id == ended.id
    assert len((await client.v1.invoices.list_async({"subscription": ended.id})).data) == 1
    listed = await client.v1.subscriptions.list_async({"customer": customer.id})
    assert [found.id for found in listed.data] == [kept.id]
    every = await client.v1.subscriptions.list_async({"customer": customer.id, "status": "all"})
    assert len(every.data) == 2


async def test_it_is_canceled_at_once(client: stripe.StripeClient, receiver: Any, monthly: Any, customer: Any) -> None:
    subscription = await subscribed(client, customer, monthly)

    canceled = await client.v1.subscriptions.cancel_async(subscription.id)

    assert canceled.status == "canceled"
    assert (await receiver.first("customer.subscription.deleted")).id == subscription.id
    with pytest.raises(stripe.InvalidRequestError) as again:
        await client.v1.subscriptions.cancel_async(subscription.id)
    assert again.value.http_status == 404


@pytest.mark.parametrize("percent", [13, 50, 71])
async def test_an_upgrade_is_invoiced_at_once_by_the_second(
    client: stripe.StripeClient, bank: Any, monthly: Any, customer: Any, percent: int
) -> None:
    subscription = await subscribed(client, customer, monthly)
    start, end = period(subscription)
    await bank.put("/clock", to=start + (end - start) * percent // 100)

    dear = await plan(client, 2999)
    upgraded = await change(client, subscription, dear, proration_behavior="always_invoice")

    assert period(upgraded) == (start, end)
    invoice = (await get(client, subscription)).latest_invoice
    assert (invoice.billing_reason, invoice.status) == ("subscription_update", "paid")
    credit, debit = [line.amount for line in invoice.lines.data]
    left = end - invoice.lines.data[0].period.start
    assert credit == -share(999, left, end - start)
    assert debit == share(2999, left, end - start)
    assert invoice.amount_paid == credit + debit
    assert all(line.parent.subscription_item_details.proration for line in invoice.lines.data)


def share(cents: int, left: int, whole: int) -> int:
    return int((Decimal(cents) * left / whole).quantize(Decimal(1), ROUND_HALF_UP))


async def test_an_upgrade_can_begin_a_new_period(
    client: stripe.StripeClient, bank: Any, monthly: Any, customer: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    await bank.advance(days=10)

    dear = await plan(client, 2999)
    upgraded = await change(client, subscription, dear, billing_cycle_anchor="now", proration_behavior="none")

    begun, ends = period(upgraded)
    assert begun - period(subscription)[0] >= 10 * DAY
    invoice = (await get(client, subscription)).latest_invoice
    assert (invoice.amount_paid, invoice.lines.data[0].period.end) == (2999, ends)
    await bank.put("/clock", to=period(subscription)[1] + 4000)
    assert period(await get(client, subscription)) == (begun, ends)


async def test_a_downgrade_waits_for_the_next_invoice(
    client: stripe.StripeClient, bank: Any, customer: Any, monthly: Any
) -> None:
    subscription = await subscribed(client, customer, await plan(client, 2999))
    first = (await get(client, subscription)).latest_invoice

    await change(client, subscription, monthly, proration_behavior="none")
    assert (await get(client, subscription)).latest_invoice.id == first.id
    await bank.advance(days=32)

    assert (await get(client, subscription)).latest_invoice.amount_paid == 999


async def test_prorations_wait_and_a_credit_is_kept_for_the_customer(
    client: stripe.StripeClient, bank: Any, customer: Any, monthly: Any
) -> None:
    subscription = await subscribed(client, customer, await plan(client, 9999))

    await change(client, subscription, monthly)
    await bank.advance(days=32)
    renewed = (await get(client, subscription)).latest_invoice

    assert len(renewed.lines.data) == 3
    assert (renewed.status, renewed.amount_due) == ("paid", 0)
    balance = (await client.v1.customers.retrieve_async(customer.id)).balance
    assert balance == renewed.total == renewed.ending_balance < 0
    await bank.advance(days=31)
    following = (await get(client, subscription)).latest_invoice
    assert (following.starting_balance, following.amount_due) == (balance, max(0, 999 + balance))


async def test_a_change_that_must_be_paid_is_not_made_unpaid(
    client: stripe.StripeClient, bank: Any, customer: Any, monthly: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    await bank.put(f"/subscriptions/{subscription.id}/failures", times=1)
    dear = await plan(client, 2999)
    how = {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}

    with pytest.raises(stripe.CardError):
        await change(client, subscription, dear, **how)

    assert (await get(client, subscription))["items"].data[0].price.id == monthly.id
    assert (await change(client, subscription, dear, **how))["items"].data[0].price.id == dear.id


@pytest.mark.parametrize(
    ("duration", "paid"), [("once", [500, 999, 999]), ("forever", [500, 500, 500]), ("repeating", [500, 500, 999])]
)
async def test_a_coupon_lasts_as_long_as_it_says(
    client: stripe.StripeClient, bank: Any, customer: Any, monthly: Any, duration: str, paid: list[int]
) -> None:
    more = {"duration_in_months": 2} if duration == "repeating" else {}
    coupon = await client.v1.coupons.create_async({"amount_off": 499, "currency": "usd", "duration": duration, **more})
    subscription = await subscribed(client, customer, monthly, discounts=[{"coupon": coupon.id}])

    await bank.advance(days=63)

    invoices = (await client.v1.invoices.list_async({"subscription": subscription.id})).data
    assert [invoice.amount_paid for invoice in reversed(invoices)] == paid


async def test_a_draft_is_finalized_early_and_an_open_invoice_voided(
    client: stripe.StripeClient, bank: Any, customer: Any, monthly: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    await bank.put("/clock", to=period(subscription)[1] + 5)
    draft = (await get(client, subscription)).latest_invoice
    assert (await client.v1.invoices.finalize_invoice_async(draft.id)).status == "paid"
    await bank.put(f"/subscriptions/{subscription.id}/failures", times=1)
    await bank.put("/clock", to=period(await get(client, subscription))[1] + 3700)
    owed = (await get(client, subscription)).latest_invoice

    voided = await client.v1.invoices.void_invoice_async(owed.id)

    assert (owed.status, voided.status, voided.next_payment_attempt) == ("open", "void", None)
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.invoices.pay_async(owed.id)


async def test_the_catalogue_is_found_by_key(client: stripe.StripeClient, monthly: Any) -> None:
    [found] = (await client.v1.prices.list_async({"lookup_keys": ["basic"], "active": True})).data
    assert (found.id, found.recurring.interval) == (monthly.id, "month")
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.prices.create_async(
            {"currency": "usd", "unit_amount": 1, "lookup_key": "basic", "product": monthly.product}
        )
    taken = await client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 1099,
            "lookup_key": "basic",
            "transfer_lookup_key": True,
            "product": monthly.product,
        }
    )

    assert (await client.v1.prices.retrieve_async(monthly.id)).lookup_key is None
    assert (await client.v1.prices.update_async(taken.id, {"active": False})).active is False
    product = await client.v1.products.create_async({"name": "Minutes", "metadata": {"sku": "m25"}})
    assert (await client.v1.products.retrieve_async(product.id)).metadata.sku == "m25"
    assert [found.name for found in (await client.v1.products.list_async()).data] == ["Minutes", "Basic"]


async def test_a_customer_is_changed_listed_and_deleted(
    client: stripe.StripeClient, receiver: Any, customer: Any, monthly: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    await client.v1.customers.update_async(customer.id, {"name": "Ada", "metadata": {"user": "user_1"}})
    assert [found.name for found in (await client.v1.customers.list_async({"email": "ada@example.com"})).data] == [
        "Ada"
    ]
    cards = (await client.v1.payment_methods.list_async({"customer": customer.id, "type": "card"})).data
    assert {card.card.last4 for card in cards} == {"4242"}
    another = await client.v1.payment_methods.attach_async("pm_card_mastercard", {"customer": customer.id})
    assert (await client.v1.payment_methods.retrieve_async(another.id)).card.brand == "mastercard"

    assert (await client.v1.customers.delete_async(customer.id)).deleted is True

    assert (await client.v1.customers.retrieve_async(customer.id)).deleted is True
    assert (await get(client, subscription)).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.customers.update_async(customer.id, {"name": "Bob"})


async def test_the_portal_changes_card_and_plan(
    client: stripe.StripeClient, control: Any, monthly: Any, customer: Any
) -> None:
    subscription = await subscribed(client, customer, monthly)
    portal = await client.v1.billing_portal.sessions.create_async(
        {"customer": customer.id, "return_url": "http://127.0.0.1:1/account"}
    )
    page = (await control.get(portal.url)).text
    assert "Basic" in page and "$9.99" in page and "http://127.0.0.1:1/account" in page

    assert (
        await control.post(portal.url, data={"action": "cancel", "subscription": subscription.id})
    ).status_code == 303
    assert (await get(client, subscription)).cancel_at_period_end is True
    await control.post(portal.url, data={"action": "resume", "subscription": subscription.id})
    assert (await get(client, subscription)).cancel_at_period_end is False
    assert (await control.post(portal.url, data={"action": "card", "number": "4000000000000002"})).status_code == 402
    await control.post(portal.url, data={"action": "card", "number": "5555 5555 5555 4444"})

    assert "4444" in (await control.get(portal.url)).text
    invoice = (await get(client, subscription)).latest_invoice
    assert "$9.99" in (await control.get(invoice.hosted_invoice_url)).text
