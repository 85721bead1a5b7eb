"""A browser for tests: cookies, the token of the form it was shown, what stands in a page."""

import html
import re

import httpx
from tests.web.house import PASSWORD, House

HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(2)>{{ 7*7 }}"""
PHONE = "+12025550123"


class Browser:
    """Keeps cookies, fills in the token of the form it was shown, and follows where it is sent."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.client = house.client()

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers, follow_redirects=True)

    async def token(self, page: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await self.get(page)).text)
        assert found is not None, page

        return found[1]

    async def send(self, path: str, form: dict[str, str], *, shown_on: str, **headers: str) -> httpx.Response:
        """Post a form as the page `shown_on` has it; the answer is not followed."""
        return await self.client.post(path, data={"csrf": await self.token(shown_on), **form}, headers=headers)

    async def refused(self, path: str, form: dict[str, str], *, shown_on: str) -> httpx.Response:
        """The page that is fetched after a refusal: none in the browser's history is the answer to a form."""
        return await self.led(await self.send(path, form, shown_on=shown_on))

    async def led(self, answer: httpx.Response) -> httpx.Response:
        """The page to which an answer leads."""
        assert answer.status_code == 303, answer.text

        return await self.client.get(answer.headers["location"])

    async def sign_up(self, email: str = "mia@example.org", **more: str) -> httpx.Response:
        form = {"email": email, "password": PASSWORD, "name": "Mia", "timezone": "Europe/Paris", **more}

        return await self.send("/signup", form, shown_on="/signup")

    async def prove_phone(self, number: str = PHONE) -> None:
        answer = await self.send("/phones", {"number": number, "back": "/"}, shown_on="/")
        assert answer.status_code == 303, answer.text
        form = {"number": number, "code": await self.house.code(number), "back": "/"}
        answer = await self.send("/phones/verify", form, shown_on="/")
        assert answer.status_code == 303, answer.text

    async def call(self, persona_id: str = "brad", **more: str) -> httpx.Response:
        return await self.send("/calls", {"persona_id": persona_id, **more}, shown_on="/")


def wrong(answer: httpx.Response, field: str) -> str:
    """The sentence beside a field."""
    found = re.search(rf'id="{field}-wrong">([^<]+)<', answer.text)
    assert found is not None, answer.text

    return html.unescape(found[1])


def all_wrong(answer: httpx.Response) -> set[str]:
    """The fields with a sentence beside them."""
    return set(re.findall(r'id="(\w+)-wrong">', answer.text))


def typed(answer: httpx.Response, field: str) -> str:
    """What stands in a field."""
    found = re.search(rf'id="{field}" name="{field}"[^>]*? value="([^"]*)"', answer.text)
    assert found is not None, answer.text

    return html.unescape(found[1])
