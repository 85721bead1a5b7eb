"""Payments are simulated by the web process itself, for whoever holds the home's own key."""

from typing import Any

import httpx
import pytest

from callmeback.payments.accounts import stripe_account

pytestmark = pytest.mark.anyio


async def test_the_web_process_plays_the_vendor_for_the_home_s_key(house: Any) -> None:
    account = stripe_account(house.settings)

    async with httpx.AsyncClient(base_url=account.base_url) as client:
        stranger = await client.get("/v1/customers", auth=("sk_test_wrong", ""))
        made = await client.post("/v1/customers", data={"email": "ada@example.com"}, auth=(account.api_key, ""))
        [endpoint] = (await client.get("/v1/webhook_endpoints", auth=(account.api_key, ""))).json()["data"]

    assert stranger.status_code == 401
    assert (made.status_code, made.json()["object"]) == (200, "customer")
    assert endpoint["url"] == f"http://127.0.0.1:{house.settings.port}/webhooks/stripe"


async def test_with_a_key_of_the_real_vendor_nothing_is_played_for_it(build: Any) -> None:
    house = await build(stripe_api_key="sk_live_1", stripe_webhook_secret="whsec_1")

    answer = await house.client().get("/simulator/payments/v1/customers", auth=("sk_live_1", ""))

    assert answer.status_code == 404
    assert (await house.client().get("/simulator/payments/clock")).status_code == 404
