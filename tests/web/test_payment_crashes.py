"""kill -9 at every step of every flow of payments, then the same again: each thing happens exactly once."""

import asyncio
import json
import signal
import sys
from typing import Any

import pytest
from tests.money import proofs
from tests.payments.till import CARD
from tests.web.house import House, Person
from tests.web.test_payments import Bank, account, ask

from callmeback.pg import roles

STEPS_MAX = 40


@pytest.fixture
def bank(house: House) -> Bank:
    return Bank(house)


class Crasher:
    """Runs flows in processes of their own."""

    def __init__(self, house: House, person: Person, role_secret: str, database_url: str) -> None:
        self.house, self.person = house, person
        self._dsn = {role: roles.dsn_for(role, role_secret, database_url) for role in (roles.API, roles.WORKER)}

    async def run(self, flow: str, fatal: int = 0, role: str = roles.API, **more: Any) -> tuple[int, list[str]]:
        """The exit code and the words on the output; the flow dies at its step `fatal`, or ends if it has fewer."""
        config = self.house.services.cashier.config
        task = {
            "flow": flow, "fatal": fatal, "dsn": self._dsn[role], "user": self.person.id, "key": config.api_key,
            "vendor": config.base_url, "phone": "+12025550101", "card": CARD, **more,
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.payments.crashing", json.dumps(task), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode is not None

        return process.returncode, output.decode().split()

    async def die_everywhere(self, flow: str, **more: Any) -> int:
        """Let it die at its first step, its second, and so on, until it ends; how often it died."""
        for fatal in range(1, STEPS_MAX):
            code, _ = await self.run(flow, fatal, **more)
            if code == 0:
                return fatal - 1
            assert code == -signal.SIGKILL, (flow, fatal)
        raise AssertionError(f"{flow} doesn't end")


@pytest.fixture
def crasher(house: House, ann: Person, cluster: Any, database_url: str) -> Crasher:
    return Crasher(house, ann, cluster.role_secret, database_url)


def sound(house: House) -> None:
    assert proofs.broken(house.books, proofs.ALWAYS) == {}
    assert house.row("SELECT count(*) AS n FROM payment_events WHERE state = 'refused'")["n"] == 0


async def received(house: House, bank: Bank) -> int:
    """Cents that the vendor has taken, and kept."""
    movements = await bank.read("/v1/balance_transactions?limit=100")

    return sum(one["amount"] for one in movements["data"])


@pytest.mark.anyio
@pytest.mark.slow
async def test_m04_a_purchase_that_dies_anywhere_is_bought_once(
    house: House, ann: Person, bank: Bank, crasher: Crasher
):
    house.books.execute("INSERT INTO coupons (code, percent_off) VALUES ('ONCE', 50)")
    died = await crasher.die_everywhere("buy")
    code, words = await crasher.run("buy")
    await bank.pay({"session_id": words[0]})

    assert (code, died > 8) == (0, True)
    assert account(house, ann) == ("free", 25)
    assert house.row("SELECT count(*) AS n, sum(amount_cents) AS cents FROM payments") == {"n": 1, "cents": 750}
    assert house.row("SELECT redemptions FROM coupons")["redemptions"] == 1
    assert await received(house, bank) == 750
    sound(house)


@pytest.mark.anyio
@pytest.mark.slow
async def test_m07_a_plan_that_dies_anywhere_is_begun_changed_and_ended_once(
    house: House, ann: Person, bank: Bank, crasher: Crasher
):
    begun = await crasher.die_everywhere("subscribe")
    _, words = await crasher.run("subscribe")
    await bank.pay({"session_id": words[0]})
    basic = account(house, ann)
    upgraded = await crasher.die_everywhere("upgrade")
    await crasher.run("upgrade")
    await bank.settle()
    premium = account(house, ann)
    canceled = await crasher.die_everywhere("cancel")
    await bank.advance(32)

    assert min(begun, upgraded, canceled) > 3
    assert basic == ("basic", 100)
    assert premium == ("premium", 600)
    assert account(house, ann) == ("free", 600)
    assert house.row("SELECT count(*) AS n, sum(amount_cents) AS cents FROM payments") == {"n": 2, "cents": 999 + 2999}
    assert await received(house, bank) == 999 + 2999
    sound(house)


@pytest.mark.anyio
@pytest.mark.slow
async def test_m03_a_paid_call_that_dies_anywhere_is_captured_once_and_the_rest_let_go(
    house: House, ann: Person, bank: Bank, crasher: Crasher
):
    await house.change("SELECT set_tier(%s, 'basic')", ann.id)
    await ask(ann, "PUT", "/api/preferences", 200, pay_as_you_go=True)
    await bank.pay(await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25"))
    await house.change("SELECT move_credits(%s, -25, 'admin_adjustment', 'adjust:test')", ann.id)
    # Nobody dials: what matters is the money.
    await house.change("UPDATE dial_buckets SET calls_per_second = 0.001, burst = 1, tokens = 0")
    died = 0
    for fatal in range(1, STEPS_MAX):
        code, _ = await crasher.run("call", fatal)
        assert code in (0, -signal.SIGKILL), fatal
        died += code != 0
        await house.change("UPDATE payment_authorizations SET created_at = created_at - interval '1 hour'")
        await house.change("UPDATE payment_authorizations SET retry_at = now() WHERE retry_at IS NOT NULL")
        if house.books.execute("SELECT FROM open_calls").fetchone() is not None:
            break
        await crasher.run("settle", role=roles.WORKER)
    call = house.row("SELECT call_id FROM open_calls")["call_id"]
    await house.change("SELECT advance_call(%s, %s, 'in_progress', 'CA1')", ann.id, call)
    await house.change("SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, 61)", ann.id, call)
    settled = 0
    for fatal in range(1, STEPS_MAX):
        code, _ = await crasher.run("settle", fatal, role=roles.WORKER)
        settled += code != 0
        await house.change("UPDATE payment_authorizations SET retry_at = now() WHERE retry_at IS NOT NULL")
        if code == 0:
            break
    await crasher.run("settle", role=roles.WORKER)
    await bank.settle()
    states = house.books.execute(
        "SELECT state, sum(captured_cents) AS cents FROM payment_authorizations GROUP BY state ORDER BY state"
    ).fetchall()

    assert died > 4
    assert settled > 2
    assert {row["state"]: row["cents"] for row in states} == {"captured": 120, "released": 0}
    assert house.row("SELECT count(*) AS n FROM calls")["n"] == 1
    assert account(house, ann) == ("basic", 0)
    assert await received(house, bank) == 1499 + 120
    sound(house)


@pytest.mark.anyio
@pytest.mark.slow
async def test_m04_an_event_that_dies_anywhere_is_applied_once(house: House, ann: Person, bank: Bank, crasher: Crasher):
    page = await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25")
    row = house.row("SELECT id, stripe_session_id FROM purchases")
    thing = {
        "object": "checkout.session", "id": row["stripe_session_id"], "mode": "payment", "status": "complete",
        "payment_status": "paid", "amount_total": 1499, "currency": "usd", "payment_intent": "pi_1",
        "customer": "cus_1", "metadata": {"user_id": ann.id, "reference": row["id"]},
    }  # fmt: skip
    event = {"id": "evt_1", "type": "checkout.session.completed", "created": 1_795_352_400, "data": {"object": thing}}
    died = await crasher.die_everywhere("receive", role=roles.WORKER, event=event)

    assert page["session_id"] == row["stripe_session_id"]
    assert died == 2
    assert account(house, ann) == ("free", 25)
    assert house.row("SELECT count(*) AS n FROM payment_events WHERE id = 'evt_1'")["n"] == 1
    sound(house)


@pytest.mark.anyio
async def test_m04_events_that_never_came_are_found_in_the_vendors_list(
    house: House, ann: Person, bank: Bank, crasher: Crasher
):
    """Every webhook is lost; one look at the list brings the same books."""
    await bank.lose_webhooks()
    page = await ask(ann, "POST", "/api/credits/checkout", 201, sku="minutes_25")
    await bank.pay(page)
    before = account(house, ann)
    codes = [(await crasher.run("catch_up", role=roles.WORKER))[0] for _ in range(2)]

    assert before == ("free", 0)
    assert codes == [0, 0]
    assert account(house, ann) == ("free", 25)
    sound(house)
