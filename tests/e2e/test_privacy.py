"""A whole installation is used, misused and broken with recognisable words; then everything that it wrote is read.

What was written: the log of up, web and worker, PostgreSQL's own log, and the body of every refusal.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from tests.cli.test_up import Installation

pytestmark = pytest.mark.slow

EMAIL: Final = "florentine.quux@example.org"
PASSWORD: Final = "xylophone-Harbour-77"
NEW_PASSWORD: Final = "saxophone-Harbour-78"
NAME: Final = "Florentine Quux"
PHONE: Final = "+12025550176"
PROMPT: Final = "You only ever talk of ochre walruses"
MEMORY: Final = "keeps a periwinkle kayak"
CONTEXT: Final = "wants to hear of burgundy zeppelins"
SAID: Final = "My vermilion teapot is haunted."
WORDS: Final = (
    "florentine", "quux", "xylophone", "saxophone", "2025550176", "ochre walrus", "periwinkle", "burgundy",
    "vermilion", "haunted",
)  # fmt: skip
PATIENCE_S: Final = 60.0
SLOW_S: Final = 1.3

Json = dict[str, Any]


class Visitor:
    """Talks to the installation and keeps the body of each refusal, and each secret that it was given."""

    def __init__(self, base_url: str) -> None:
        self.client = httpx.Client(base_url=base_url, timeout=PATIENCE_S, trust_env=False)
        self.refusals: list[str] = []
        self.secrets: list[str] = []

    def ask(self, method: str, path: str, *, expect: int, **request: Any) -> Json:
        answer = self.client.request(method, path, **request)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        if answer.status_code >= 400:
            assert answer.headers["content-type"].startswith("application/problem+json")
            self.refusals.append(answer.text + str(dict(answer.headers)))
        found: Json = answer.json() if answer.content else {}

        return found

    def log_in(self, answer: Json) -> None:
        self.secrets.append(answer["token"])
        self.client.headers["Authorization"] = f"Bearer {answer['token']}"

    def letter(self, kind: str, to: str) -> str:
        items = self.ask("GET", f"/simulator/{kind}", expect=200, params={"to": to})["items"]

        return str(items[0]["body"])

    def mailed_token(self) -> str:
        [token] = re.findall(r"token=(\S+)", self.letter("mails", EMAIL))
        self.secrets.append(token)

        return str(token)

    def texted_code(self) -> str:
        [code] = re.findall(r"\b\d{6}\b", self.letter("messages", PHONE))

        return str(code)

    def ended(self, call_id: str) -> Json:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            call = self.ask("GET", f"/api/calls/{call_id}", expect=200)
            if call["ended_at"] is not None:
                return call
            assert time.monotonic() < deadline, call
            time.sleep(0.1)


@pytest.fixture
def visitor(installation: Installation) -> Iterator[Visitor]:
    installation.up()
    installation.wait_ready()
    made = Visitor(f"http://127.0.0.1:{installation.port}")
    with made.client:
        yield made


def become_somebody(visitor: Visitor) -> None:
    """Every way into an account and out of it, with each refusal on the way."""
    order = {"email": EMAIL, "password": PASSWORD, "name": NAME, "phone": PHONE}
    for field, wrong in (("email", f"{EMAIL} {EMAIL}"), ("password", "x" * 200 + PASSWORD), ("name", [NAME]),
                         ("phone", f"{PHONE}99999"), ("timezone", f"Mars/{NAME}")):  # fmt: skip
        visitor.ask("POST", "/api/auth/register", expect=400, json=order | {field: wrong})
    visitor.ask("POST", "/api/auth/register", expect=400, content=f'{{"email": "{EMAIL}", "password": "{PASSWORD}')
    visitor.log_in(visitor.ask("POST", "/api/auth/register", expect=201, json=order))
    visitor.ask("POST", "/api/auth/register", expect=409, json=order)
    visitor.ask("POST", "/api/auth/login", expect=401, json={"email": EMAIL, "password": NEW_PASSWORD})
    visitor.log_in(visitor.ask("POST", "/api/auth/login", expect=200, json={"email": EMAIL, "password": PASSWORD}))
    token = visitor.mailed_token()
    visitor.ask("POST", "/api/auth/email/verify", expect=204, json={"token": token})
    visitor.ask("POST", "/api/auth/email/verify", expect=400, json={"token": token})
    visitor.ask("POST", "/api/auth/password/forgot", expect=204, json={"email": EMAIL})
    token = visitor.mailed_token()
    visitor.ask("POST", "/api/auth/password/reset", expect=400, json={"token": token, "password": "x"})
    visitor.ask("POST", "/api/auth/password/reset", expect=204, json={"token": token, "password": NEW_PASSWORD})
    visitor.ask("GET", "/api/auth/me", expect=401)
    visitor.log_in(visitor.ask("POST", "/api/auth/login", expect=200, json={"email": EMAIL, "password": NEW_PASSWORD}))
    forged = {"Authorization": f"Bearer {visitor.secrets[-1]}x"}
    visitor.ask("GET", "/api/auth/me", expect=401, headers=forged)
    visitor.ask("POST", "/api/phones", expect=400, json={"number": f"{PHONE}0000"})
    visitor.ask("POST", "/api/phones", expect=201, json={"number": PHONE})
    visitor.ask("POST", "/api/phones/verify", expect=400, json={"number": PHONE, "code": "000"})
    visitor.ask("POST", "/api/phones/verify", expect=200, json={"number": PHONE, "code": visitor.texted_code()})


def write_and_talk(visitor: Visitor) -> Json:
    """A persona, a memory, a call that is held, and what is refused of them."""
    draft = {"name": NAME, "core_system_prompt": PROMPT}
    visitor.ask("POST", "/api/personas", expect=400, json=draft | {"temperature": PROMPT})
    persona = visitor.ask("POST", "/api/personas", expect=201, json=draft)
    visitor.ask("PUT", "/api/preferences", expect=200, json={"memory": MEMORY, "memory_enabled": True})
    visitor.ask("PUT", "/api/preferences", expect=400, json={"memory": MEMORY * 500})
    order = {"persona_id": persona["id"], "context": CONTEXT}
    visitor.ask("POST", "/api/calls", expect=400, json=order | {"context": CONTEXT * 500})
    visitor.ask("POST", "/api/calls", expect=404, json=order | {"persona_id": PROMPT[:60]})
    visitor.ask("GET", f"/api/calls/{PHONE}", expect=404)
    visitor.ask("DELETE", f"/api/phones/{PHONE}9", expect=404)
    visitor.ask("GET", f"/api/{EMAIL}", expect=404)
    visitor.ask("PUT", f"/simulator/phones/{PHONE}", expect=200, json={"says": [SAID], "ring_seconds": 0.1})
    held = visitor.ended(visitor.ask("POST", "/api/calls", expect=202, json=order)["id"])
    # The second time the brain and the voice are out of order, which is told in the log.
    for vendor in ("brain", "voice"):
        visitor.ask("PUT", f"/simulator/vendors/{vendor}", expect=200, json={"fail_rate": 1.0})
    visitor.ended(visitor.ask("POST", "/api/calls", expect=202, json=order)["id"])

    return held


def break_things(visitor: Visitor, dsn: str) -> None:
    """Errors that nobody foresaw, and a statement that is slow enough for the server's log."""
    body = {"memory": f"{MEMORY}, {EMAIL}, {PHONE}"}
    with psycopg.connect(dsn, autocommit=True) as books:
        # The server quotes the row to who breaks such a rule.
        books.execute("ALTER TABLE user_preferences ADD CONSTRAINT no_kayaks CHECK (memory !~ 'kayak') NOT VALID")
        visitor.ask("PUT", "/api/preferences", expect=400, json=body)
        books.execute("ALTER TABLE user_preferences DROP CONSTRAINT no_kayaks")
        books.execute("ALTER TABLE user_preferences RENAME COLUMN memory TO elsewhere")
        visitor.ask("PUT", "/api/preferences", expect=500, json=body)
        books.execute("ALTER TABLE user_preferences RENAME COLUMN elsewhere TO memory")
    with psycopg.connect(dsn) as books, ThreadPoolExecutor(1) as beside:
        books.execute("SELECT FROM user_preferences FOR UPDATE")
        waiting = beside.submit(visitor.ask, "PUT", "/api/preferences", expect=200, json=body)
        time.sleep(SLOW_S)
        books.rollback()
        waiting.result()


def logs_of(installation: Installation, dsn: str) -> tuple[str, str]:
    """What our processes wrote, and what PostgreSQL did."""
    with psycopg.connect(dsn) as books:
        row = books.execute("SHOW log_directory").fetchone()
    assert row is not None
    servers = "".join(path.read_text("utf-8", "replace") for path in Path(row[0]).iterdir())
    kept = sorted((installation.home / "log").iterdir())
    assert "serve.log" in [path.name for path in kept]
    texts = [path.read_text("utf-8", "replace") for path in (installation.log, *kept)]

    return "".join(texts), servers


def test_s16_no_word_of_a_person_is_in_any_log_or_refusal(installation: Installation, visitor: Visitor):
    dsn = installation.running()["owner_dsn"]
    become_somebody(visitor)
    held = write_and_talk(visitor)
    break_things(visitor, dsn)
    visitor.ask("DELETE", "/api/auth/me", expect=204)
    visitor.ask("GET", "/api/auth/me", expect=401)
    ours, servers = logs_of(installation, dsn)
    refusals = "\n".join(visitor.refusals)
    secrets = [*WORDS, *(secret.lower() for secret in visitor.secrets)]

    # The words went all the way, and the logs tell of what happened.
    assert SAID in [line["text"] for line in held["transcript"]]
    assert '"event": "call_held"' in ours
    assert '"event": "request_crashed"' in ours
    assert "no_kayaks" in servers
    assert "duration: " in servers
    assert len(visitor.refusals) >= 18
    assert [word for word in secrets if word in refusals.lower()] == []
    assert [word for word in secrets if word in servers.lower()] == []
    assert [word for word in secrets if word in ours.lower()] == []
