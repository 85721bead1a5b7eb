"""The simulated payments vendor with a receiver of its webhooks, asked by the vendor's own client."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import stripe
from litestar import Litestar, Request, Response, post

from callmeback.simulator import Simulator, SimulatorConfig
from callmeback.simulator.alone import serving
from callmeback.simulator.payments.account import PaymentsConfig

SECRET = "whsec_of_this_test"
PACK = {"currency": "usd", "unit_amount": 1499, "product_data": {"name": "25 minutes"}}


class Receiver:
    """Our webhook: keeps every event whose signature the vendor's library accepts. `failures`: answered first."""

    def __init__(self) -> None:
        self.url = ""
        self.events: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.failures: list[int] = []

    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def of(self, kind: str) -> list[Any]:
        return [event.data.object for event in self.events if event.type == kind]

    async def until(self, reached: Callable[[], bool], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(0.01)

    async def first(self, kind: str) -> Any:
        await self.until(lambda: bool(self.of(kind)))
        return self.of(kind)[0]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()

    @post("/webhooks/stripe", status_code=200)
    async def webhook(request: Request[Any, Any, Any]) -> Response[str]:
        body = await request.body()
        if receiver.failures:
            return Response("", status_code=receiver.failures.pop(0))
        event = stripe.Webhook.construct_event(body, request.headers["stripe-signature"], SECRET)
        receiver.events.append(event)
        receiver.headers.append(dict(request.headers))
        receiver.bodies.append(body)
        return Response("")

    async with serving(Litestar([webhook], openapi_config=None, logging_config=None)) as port:
        receiver.url = f"http://127.0.0.1:{port}/webhooks/stripe"
        yield receiver


@pytest.fixture
async def sim(receiver: Receiver) -> AsyncIterator[Simulator]:
    config = PaymentsConfig(webhook_url=receiver.url, webhook_secret=SECRET, retry_seconds=0.05)
    yield Simulator(SimulatorConfig(payments=config))


@pytest.fixture
async def client(base: str, sim: Simulator) -> AsyncIterator[stripe.StripeClient]:
    http = stripe.HTTPXClient(timeout=30)
    yield stripe.StripeClient(sim.config.payments.api_key, base_addresses={"api": f"{base}/payments"}, http_client=http)
    await http.close_async()


class Bank:
    """The control routes, by what they do."""

    def __init__(self, control: httpx.AsyncClient) -> None:
        self._control = control

    async def pay(self, session: str, **how: Any) -> httpx.Response:
        return await self._control.post(f"/payments/sessions/{session}/pay", json=how)

    async def advance(self, *, days: float = 0, seconds: float = 0) -> dict[str, Any]:
        body = {"advance_seconds": days * 86_400 + seconds}
        response = await self._control.put("/payments/clock", json=body, timeout=120)
        assert response.status_code == 200, response.text
        return response.json()

    async def settle(self) -> None:
        """Until every webhook has arrived, or was given up."""
        async with asyncio.timeout(30):
            while (await self._control.get("/payments/clock")).json()["undelivered"]:
                await asyncio.sleep(0.01)

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self._control.post(f"/payments{path}", json=body)

    async def put(self, path: str, **body: Any) -> httpx.Response:
        return await self._control.put(f"/payments{path}", json=body)

    async def manners(self, **manners: Any) -> None:
        response = await self._control.put("/vendors/payments", json=manners)
        assert response.status_code == 200, response.text


@pytest.fixture
async def bank(control: httpx.AsyncClient) -> Bank:
    return Bank(control)


@pytest.fixture
async def monthly(client: stripe.StripeClient) -> Any:
    return await client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 999,
            "recurring": {"interval": "month"},
            "lookup_key": "basic",
            "product_data": {"name": "Basic"},
        }
    )


@pytest.fixture
async def customer(client: stripe.StripeClient) -> Any:
    """One with a card that works."""
    return await client.v1.customers.create_async(
        {
            "email": "ada@example.com",
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
