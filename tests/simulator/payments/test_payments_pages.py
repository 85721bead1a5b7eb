"""The hosted pages, as a browser without scripts uses them."""

from typing import Any

import httpx
import pytest
import stripe

from callmeback.simulator.payments.pages import money

pytestmark = pytest.mark.anyio
CARD = {"email": "ada@example.com", "number": "4242 4242 4242 4242", "expiry": "12 / 34", "cvc": "123", "action": "pay"}


async def opened(client: stripe.StripeClient, **more: Any) -> Any:
    return await client.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 2499,
                        "product_data": {"name": "<b>50</b> minutes"},
                    },
                    "quantity": 2,
                }
            ],
            "success_url": "http://app.localhost:1/done?session={CHECKOUT_SESSION_ID}",
            "cancel_url": "http://app.localhost:1/back",
            **more,
        }
    )


async def test_the_page_shows_the_order_and_pays_it(client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
    session = await opened(client)

    page = await control.get(session.url)
    assert page.status_code == 200
    assert "$49.98" in page.text and "× 2" in page.text and "http://app.localhost:1/back" in page.text
    assert "&lt;b&gt;50&lt;/b&gt; minutes" in page.text and "<b>50</b>" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "form-action 'self' http://app.localhost:1" in policy
    paid = await control.post(session.url, data=CARD)

    assert (paid.status_code, paid.headers["location"]) == (303, f"http://app.localhost:1/done?session={session.id}")
    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"
    again = await control.post(session.url, data=CARD)
    assert "made already" in again.text
    assert len((await client.v1.charges.list_async()).data) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"email": "ada"}, "Your email is incomplete."),
        ({"number": "4242 4242 4242 4241"}, "Your card number is incorrect."),
        ({"number": ""}, "Your card number is incorrect."),
        ({"number": "4111 1111 1111 1111"}, "used a non test card"),
        ({"expiry": "13 / 34"}, "expiration date is incomplete"),
        ({"expiry": "01/20"}, "expiration year is in the past"),
        ({"cvc": "1"}, "security code is incomplete"),
        ({"number": "4000 0000 0000 0002"}, "Your card was declined."),
        ({"number": "4000 0000 0000 9995"}, "insufficient funds"),
        ({"number": "4000 0000 0000 0127"}, "security code is incorrect"),
    ],
)
async def test_what_is_wrong_is_said_and_what_was_typed_stays(
    client: stripe.StripeClient, control: httpx.AsyncClient, change: dict[str, str], sentence: str
) -> None:
    session = await opened(client)

    page = await control.post(session.url, data=CARD | {"name": "Ada L."} | change)

    assert (page.status_code, sentence in page.text.replace("&#39;", "'"), "Ada L." in page.text) == (402, True, True)
    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).status == "open"


@pytest.mark.parametrize(("answer", "status"), [("passed", "complete"), ("refused", "open")])
async def test_the_bank_s_challenge_is_answered_on_the_page(
    client: stripe.StripeClient, control: httpx.AsyncClient, answer: str, status: str
) -> None:
    session = await opened(client)

    asked = await control.post(session.url, data=CARD | {"number": "4000 0025 0000 3155"})
    assert "Is this you?" in asked.text and "3155" in asked.text
    assert "Is this you?" in (await control.get(session.url)).text
    done = await control.post(session.url, data={"action": answer})

    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).status == status
    assert done.status_code == (303 if status == "complete" else 402)
    if status == "open":
        assert (await control.post(session.url, data=CARD)).status_code == 303


async def test_a_code_is_typed_in(client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
    coupon = await client.v1.coupons.create_async({"percent_off": 10, "name": "Ten off"})
    await client.v1.promotion_codes.create_async({"promotion": {"type": "coupon", "coupon": coupon.id}, "code": "TEN"})
    session = await opened(client, allow_promotion_codes=True)

    wrong = await control.post(session.url, data={"action": "code", "code": "NO"})
    right = await control.post(session.url, data={"action": "code", "code": "ten"})
    assert "This code is invalid." in wrong.text
    assert "Ten off" in right.text and "$44.98" in right.text
    await control.post(session.url, data=CARD)

    paid = await client.v1.checkout.sessions.retrieve_async(session.id)
    assert (paid.amount_total, paid.total_details.amount_discount) == (4498, 500)


@pytest.mark.parametrize(("duration", "shown"), [("once", "then $9.99 per month"), ("forever", "> per month<")])
async def test_a_subscription_s_page_says_what_comes_after(
    client: stripe.StripeClient, control: httpx.AsyncClient, monthly: Any, duration: str, shown: str
) -> None:
    coupon = await client.v1.coupons.create_async({"percent_off": 10, "duration": duration})
    session = await opened(
        client,
        mode="subscription",
        line_items=[{"price": monthly.id, "quantity": 1}],
        discounts=[{"coupon": coupon.id}],
        customer_email="ada@example.com",
    )

    page = (await control.get(session.url)).text

    assert "$8.99" in page and shown in page and "readonly" in page and "Bank debit" not in page
    assert (await control.post(session.url, data=CARD)).status_code == 303


async def test_a_bank_debit_is_chosen_on_the_page(client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
    session = await opened(client)

    paid = await control.post(session.url, data={"email": "a@example.com", "method": "bank", "outcome": "fails"})

    assert paid.status_code == 303
    assert (await client.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "unpaid"


async def test_an_expired_page_and_none_at_all(client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
    session = await opened(client)
    await client.v1.checkout.sessions.expire_async(session.id)

    assert "nothing was charged" in (await control.get(session.url)).text
    assert "nothing was charged" in (await control.post(session.url, data=CARD)).text
    for path in ("checkout/cs_no", "portal/bps_no", "authenticate/pi_no", "receipts/ch_no", "invoices/in_no"):
        assert (await control.get(f"/payments/{path}")).status_code == 404


async def test_a_receipt_is_shown(client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
    intent = await client.v1.payment_intents.create_async(
        {
            "amount": 1499,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "description": "25 minutes",
            "expand": ["latest_charge"],
        }
    )

    page = await control.get(intent.latest_charge.receipt_url)

    assert "$14.99" in page.text and "4242" in page.text and "25 minutes" in page.text


async def test_pages_are_for_this_machine_only(client: stripe.StripeClient, control: httpx.AsyncClient) -> None:
    session = await opened(client)

    for headers in ({"X-Forwarded-For": "203.0.113.5"}, {"Host": "payments.example.com"}):
        assert (await control.get(session.url, headers=headers)).status_code == 403
        assert (await control.get("/payments/clock", headers=headers)).status_code == 403
    assert (await control.get("/payments/pages.css")).headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    ("cents", "currency", "shown"),
    [(0, "usd", "$0.00"), (5, "eur", "€0.05"), (123_456_789, "gbp", "£1,234,567.89"), (-250, "chf", "−CHF 2.50")],
)
def test_money_is_written_to_the_cent(cents: int, currency: str, shown: str) -> None:
    assert money(cents, currency) == shown
