"""The payment provider's webhook: what Stripe signed, and nothing else."""

import hashlib
import hmac
import json
import time

import httpx
import pytest
from tests.web.house import House, problem

EVENT = {
    "id": "evt_1", "object": "event", "type": "customer.created", "created": 1_795_352_400, "livemode": False,
    "api_version": "2026-10-28.endive", "data": {"object": {"id": "cus_1", "object": "customer"}},
}  # fmt: skip
BODY = json.dumps(EVENT).encode()


def signature(body: bytes, secret: str, at: int | None = None, scheme: str = "v1") -> str:
    moment = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()

    return f"t={moment},{scheme}={digest}"


async def send(house: House, body: bytes, header: str | None) -> httpx.Response:
    headers = {"content-type": "application/json"}
    if header is not None:
        headers["stripe-signature"] = header

    return await house.client().post("/webhooks/stripe", content=body, headers=headers)


@pytest.mark.anyio
async def test_m04_a_signed_event_is_stored_once_and_acknowledged_each_time(house: House):
    secret = house.services.cashier.config.webhook_secret
    now = int(time.time())
    other = signature(BODY, "whsec_rotated_away", now)
    answers = [await send(house, BODY, signature(BODY, secret)) for _ in range(3)]
    both = await send(house, BODY, f"{other},{signature(BODY, secret, now).partition(',')[2]}")
    stored = house.row("SELECT state, effect, payload FROM payment_events")

    assert [answer.status_code for answer in (*answers, both)] == [200] * 4
    assert stored == {"state": "ignored", "effect": "not_ours", "payload": EVENT}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "forge",
    [
        lambda secret: None,
        lambda secret: "",
        lambda secret: "nonsense",
        lambda secret: "t=,v1=",
        lambda secret: f"t={int(time.time())}",
        lambda secret: signature(BODY, "whsec_another"),
        lambda secret: signature(BODY, secret, scheme="v0"),
        lambda secret: signature(b"{}", secret),
        lambda secret: signature(BODY, secret, at=int(time.time()) - 301),
        lambda secret: signature(BODY, secret, at=1_600_000_000),
        lambda secret: signature(BODY, secret).replace("v1=", "v1=0"),
        lambda secret: signature(BODY, secret) .replace(",", ", "),
    ],
)  # fmt: skip
async def test_s11_what_is_not_signed_now_by_our_secret_is_refused(house: House, forge):
    header = forge(house.services.cashier.config.webhook_secret)

    assert problem(await send(house, BODY, header)) == (403, "forged_webhook")
    assert house.books.execute("SELECT FROM payment_events").fetchone() is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{}", b'{"id": 1}', b"not json", b'{"id":"e","type":"t","created":"x"}']
)
async def test_a_signed_body_that_is_no_event_is_told_so(house: House, body: bytes):
    answer = await send(house, body, signature(body, house.services.cashier.config.webhook_secret))

    assert problem(answer) == (400, "validation_failed")


@pytest.mark.anyio
async def test_a_body_that_is_no_text_is_no_event(house: House):
    body = b"\xff\xfe"
    answer = await send(house, body, signature(body, house.services.cashier.config.webhook_secret))

    assert problem(answer) == (403, "forged_webhook")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "thing",
    [
        {"object": "checkout.session", "id": "cs_1", "mode": "payment", "amount_total": "1499"},
        {"object": "checkout.session", "id": 7, "mode": "payment"},
        {"object": "invoice", "id": "in_1", "currency": "usd", "amount_paid": 9.99},
        {"object": "refund", "id": "re_1", "amount": None, "currency": "usd"},
        {"object": "subscription", "id": "sub_1"},
    ],
)
async def test_m05_an_object_that_can_not_be_read_is_kept_for_a_person_to_look_at(house: House, thing: dict):
    body = json.dumps(EVENT | {"data": {"object": thing}}).encode()
    answer = await send(house, body, signature(body, house.services.cashier.config.webhook_secret))

    assert answer.status_code == 200
    assert house.row("SELECT state, effect FROM payment_events") == {"state": "refused", "effect": "unreadable"}
