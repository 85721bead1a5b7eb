"""The other side of a payment: the person at the vendor's pages, and the vendor's clock."""

import asyncio
from typing import Any

import httpx
from tests.web.house import House

PATIENCE_S = 30.0


class Bank:
    """The other side: the person at the vendor's pages, and the vendor's clock."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._client = house.client()

    async def _ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        answer = await self._client.request(method, f"/simulator/payments{path}", json=body)
        assert answer.status_code < 300, answer.text

        return answer

    async def pay(self, page: dict[str, Any], **how: Any) -> None:
        await self._ask("POST", f"/sessions/{page['session_id']}/pay", **how)
        await self.settle()

    async def advance(self, days: float) -> None:
        await self._ask("PUT", "/clock", advance_seconds=days * 86_400)
        await self.settle()

    async def settle(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await self._client.get("/simulator/payments/clock")).json()["undelivered"]:
                await asyncio.sleep(0.02)

    async def card(self, customer: str, number: str) -> None:
        """The customer puts another card in."""
        await self._ask("PUT", f"/customers/{customer}/card", number=number)
        await self.settle()

    async def fail_next(self, subscription: str, times: int = 1) -> None:
        """The bank refuses a subscription's next charges."""
        await self._ask("PUT", f"/subscriptions/{subscription}/failures", times=times)

    async def refund(self, intent: str, cents: int) -> None:
        answer = await self._client.post(
            "/simulator/payments/v1/refunds",
            data={"payment_intent": intent, "amount": str(cents)},
            headers=self._key(),
        )
        assert answer.status_code == 200, answer.text
        await self.settle()

    async def read(self, path: str) -> dict[str, Any]:
        """Something as the vendor's own interface shows it."""
        answer = await self._client.get(f"/simulator/payments{path}", headers=self._key())
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()

        return found

    async def lose_webhooks(self) -> None:
        """Switch every endpoint off: events are listed and sent to nobody."""
        for endpoint in (await self.read("/v1/webhook_endpoints"))["data"]:
            path = f"/simulator/payments/v1/webhook_endpoints/{endpoint['id']}"
            answer = await self._client.post(path, data={"disabled": "true"}, headers=self._key())
            assert answer.status_code == 200, answer.text

    def _key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._house.services.cashier.config.api_key}"}
