"""A running web process as the tests use it, and the people who use it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import psycopg

from callmeback.settings import Settings
from callmeback.web.services import Services

PASSWORD = "correct horse"
PATIENCE_S = 30.0
TERMINAL = {"completed", "failed", "no_answer", "busy", "canceled"}


class Person(msgspec.Struct, frozen=True):
    """Somebody with an account: a client that is logged in, and the id."""

    client: httpx.AsyncClient
    id: str
    email: str
    token: str


class House(msgspec.Struct, frozen=True):
    """A running web process."""

    url: str
    settings: Settings
    services: Services
    stack: AsyncExitStack
    books: psycopg.Connection[dict[str, Any]]

    def client(self, token: str | None = None) -> httpx.AsyncClient:
        """A client; its connections are closed with the house."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_S)
        self.stack.push_async_callback(client.aclose)

        return client

    async def person(self, email: str = "ann@example.org", *, phone: str | None = None, **more: str) -> Person:
        """A new account, with a verified phone if one is named."""
        client = self.client()
        answer = await client.post("/api/auth/register", json={"email": email, "password": PASSWORD, **more})
        assert answer.status_code == 201, answer.text
        found = answer.json()
        person = Person(self.client(found["token"]), found["user"]["id"], email, found["token"])
        if phone is not None:
            await self.verify(person, phone)

        return person

    async def verify(self, person: Person, phone: str) -> None:
        """Prove a number by the code that was sent to it."""
        answer = await person.client.post("/api/phones", json={"number": phone})
        assert answer.status_code == 201, answer.text
        answer = await person.client.post("/api/phones/verify", json={"number": phone, "code": await self.code(phone)})
        assert answer.status_code == 200, answer.text

    async def code(self, phone: str) -> str:
        """The newest code that was texted to a number."""
        items = (await self.client().get("/simulator/messages", params={"to": phone})).json()["items"]
        [code] = re.findall(r"\b\d{6}\b", items[0]["body"])

        return str(code)

    async def mail_token(self, email: str) -> str:
        """The token in the newest mail to an address."""
        items = (await self.client().get("/simulator/mails", params={"to": email})).json()["items"]
        [token] = re.findall(r"token=(\S+)", items[0]["body"])

        return str(token)

    async def script(self, phone: str, **script: Any) -> None:
        """Say who picks up there."""
        answer = await self.client().put(f"/simulator/phones/{phone}", json=script)
        assert answer.status_code == 200, answer.text

    async def until(self, person: Person, call_id: str, statuses: set[str] = TERMINAL) -> dict[str, Any]:
        """The call once it has one of these statuses."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            call: dict[str, Any] = (await person.client.get(f"/api/calls/{call_id}")).json()
            if call["status"] in statuses:
                return call
            assert asyncio.get_running_loop().time() < deadline, call
            await asyncio.sleep(0.05)

    async def change(self, sql: str, *params: object) -> None:
        """Change what the house may hold a lock on: beside the loop, for its tasks must go on to let go of it."""
        await asyncio.to_thread(self.books.execute, sql, params)

    def row(self, sql: str, *params: object) -> dict[str, Any]:
        """One row, as the owner of the database sees it."""
        found = self.books.execute(sql, params).fetchone()
        assert found is not None, sql

        return found


Build = Callable[..., Awaitable[House]]


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, whose body must be a problem."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] and body["title"] and body["detail"]

    return answer.status_code, body["code"]
