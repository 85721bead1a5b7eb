"""A whole installation for faults: `callmeback up` on a free port, people in it, and its books for proofs."""

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
from psycopg.rows import dict_row
from tests import ports
from tests.cli.test_up import Installation, users_of, wait_until

PASSWORD = "correct horse"
PATIENCE_S = 90.0
POLL_S = 0.1
REQUEST_S = 30.0
TERMINAL = frozenset({"completed", "failed", "no_answer", "busy", "canceled"})
VENDORS = ("carrier", "listener", "brain", "voice")
CREDITS = 100
LINE = "I went for a long walk this morning and it was lovely."

Call = dict[str, Any]

# What a call's own row says, and the sum of its events.
BREAKDOWNS = """
SELECT b.call_id, b.total_cost_cents, sum(e.total_cost_cents) AS in_events,
    b.twilio_cost_cents + b.deepgram_cost_cents + b.cerebras_cost_cents + b.elevenlabs_cost_cents AS by_vendor
FROM call_cost_breakdowns AS b
INNER JOIN calls AS c ON b.user_id = c.user_id AND b.call_id = c.id
LEFT JOIN call_cost_events AS e ON b.call_id = e.call_id
WHERE NOT c.hold_open
GROUP BY b.user_id, b.call_id
"""
DEDUCTIONS = """
SELECT call_id FROM credit_transactions WHERE type = 'call_deduction' GROUP BY call_id HAVING count(*) > 1
"""


class Person(msgspec.Struct, frozen=True):
    """Somebody with an account and a verified number; `client` is logged in."""

    client: httpx.Client
    id: str
    email: str
    phone: str

    def place(self, **order: Any) -> Call:
        """Have oneself called by Brad."""
        answer = self.client.post("/api/calls", json={"persona_id": "brad", **order})
        assert answer.status_code == 202, answer.text
        call: Call = answer.json()

        return call

    def call(self, call_id: str) -> Call:
        """A call as the API shows it."""
        answer = self.client.get(f"/api/calls/{call_id}")
        assert answer.status_code == 200, answer.text
        call: Call = answer.json()

        return call

    def until(self, call_id: str, reached: Callable[[Call], object], within_s: float = PATIENCE_S) -> Call:
        """The call once that is so; a process that is being started again is waited for."""
        deadline = time.monotonic() + within_s
        call: Call = {}
        while time.monotonic() < deadline:
            try:
                answer = self.client.get(f"/api/calls/{call_id}")
            except httpx.TransportError:
                time.sleep(POLL_S)
                continue
            call = answer.json()
            if answer.status_code == 200 and reached(call):
                return call
            time.sleep(POLL_S)
        raise AssertionError(f"not within {within_s} s: {call}")

    def ended(self, call_id: str, within_s: float = PATIENCE_S) -> Call:
        """The call once it is terminal."""
        return self.until(call_id, lambda call: call.get("status") in TERMINAL, within_s)

    def talking(self, call_id: str) -> Call:
        """The call once the first words of the persona were heard."""
        return self.until(call_id, lambda call: call.get("status") == "in_progress" and call["transcript"])

    def credits(self) -> dict[str, Any]:
        """The account as the API shows it."""
        answer = self.client.get("/api/credits")
        assert answer.status_code == 200, answer.text
        account: dict[str, Any] = answer.json()

        return account

    def budget(self, **change: Any) -> None:
        """Change one's limits."""
        answer = self.client.put("/api/budget", json=change)
        assert answer.status_code == 200, answer.text


class House:
    """An installation that is up, and what tests do with it."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.client = self._client()
        self._people = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.installation.port}"

    def _client(self, **headers: str) -> httpx.Client:
        # Without a pool to keep: a process that was killed leaves no connection behind that a request could fail on.
        limits = httpx.Limits(max_keepalive_connections=0)

        return httpx.Client(base_url=self.url, headers=headers, timeout=REQUEST_S, limits=limits, trust_env=False)

    def person(self, tier: str = "premium", credits: int = CREDITS) -> Person:
        """Somebody new, on that tier and with so many credits, whose number is verified by the text it got."""
        self._people += 1
        email, phone = f"person{self._people}@example.org", f"+12025550{100 + self._people}"
        answer = self.client.post("/api/auth/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        token, user = answer.json()["token"], answer.json()["user"]
        person = Person(self._client(Authorization=f"Bearer {token}"), user["id"], email, phone)
        assert person.client.post("/api/phones", json={"number": phone}).status_code == 201
        texts = self.client.get("/simulator/messages", params={"to": phone}).json()["items"]
        [code] = re.findall(r"\b\d{6}\b", texts[0]["body"])
        answer = person.client.post("/api/phones/verify", json={"number": phone, "code": code})
        assert answer.status_code == 200, answer.text
        with self.books() as books:
            books.execute("SELECT set_tier(%s, %s)", (person.id, tier))
            if credits:
                books.execute(
                    "SELECT move_credits(%s, %s, 'promotion', %s)", (person.id, credits, f"test:{self._people}")
                )

        return person

    def script(self, person: Person, **script: Any) -> None:
        """Say who picks up at a person's number."""
        answer = self.client.put(f"/simulator/phones/{person.phone}", json={"ring_seconds": 0, **script})
        assert answer.status_code == 200, answer.text

    def manners(self, vendor: str, **manners: Any) -> None:
        """How a vendor behaves from now on; what isn't named falls back to good manners."""
        answer = self.client.put(f"/simulator/vendors/{vendor}", json=manners)
        assert answer.status_code == 200, answer.text

    def carried(self, person: Person) -> list[dict[str, Any]]:
        """The calls that the carrier had for a person's number, the newest first, as the person saw them."""
        items = self.client.get("/simulator/calls").json()["items"]

        return [item for item in items if item["to"] == person.phone]

    @contextmanager
    def books(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """The owner's hand in the database."""
        dsn = self.installation.running()["owner_dsn"]
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
            yield connection

    def wait_idle(self) -> None:
        """Until no call is open."""

        def is_idle() -> bool:
            with self.books() as books:
                return books.execute("SELECT FROM open_calls LIMIT 1").fetchone() is None

        wait_until(is_idle, "no call is open")

    def prove(self, *people: Person) -> None:
        """The money is right: ledger, holds and numbers of everybody, costs of every settled call, each charged once.

        The people named have nothing open and nothing held.
        """
        with self.books() as books:
            unproved = books.execute("SELECT * FROM ledger_proof WHERE NOT is_proved").fetchall()
            costs = books.execute(BREAKDOWNS).fetchall()
            charged_twice = books.execute(DEDUCTIONS).fetchall()
            still_open = books.execute(
                "SELECT call_id FROM open_calls WHERE user_id = ANY(%s)", ([person.id for person in people],)
            ).fetchall()

        assert unproved == []
        assert charged_twice == []
        assert still_open == []
        assert [
            row for row in costs if not row["total_cost_cents"] == row["by_vendor"] == (row["in_events"] or 0)
        ] == []
        assert [person.credits()["held_credits"] for person in people] == [0] * len(people)


@contextmanager
def opened() -> Iterator[House]:
    """A house of its own, for as long as the block runs; nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="callmeback-faults-"))
    folder.chmod(0o711)
    try:
        with ports.kept(2) as (port, proxy_port):
            yield from _inhabited(Installation(folder / "home", port, proxy_port))
    finally:
        wait_until(lambda: not users_of(folder), "nothing runs there")
        shutil.rmtree(folder)


def _inhabited(installation: Installation) -> Iterator[House]:
    try:
        installation.up()
        installation.wait_ready()
        house = House(installation)
        with house.books() as books:
            # The carrier's pace of one call a second would make calls wait for one another.
            books.execute("UPDATE dial_buckets SET calls_per_second = 100, burst = 100, tokens = 100")
        yield house
    finally:
        for process in installation.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE_S)


def cents(call: Call) -> Decimal:
    """What a call cost, exact; its vendors' costs must add up to it."""
    assert Decimal(call["cost_cents"]) == sum(Decimal(part) for part in call["costs"].values())

    return Decimal(call["cost_cents"])


def said_by(call: Call, speaker: str) -> list[str]:
    """What the persona, or the user, said; of the persona's words those that were heard."""
    return [line["text"] for line in call["transcript"] if line["speaker"] == speaker]
