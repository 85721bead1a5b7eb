"""The budget's chart, costs, and the operator's revenue."""

import asyncio
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tests.payments.till import CARD
from tests.web.bank import Bank
from tests.web.house import House
from tests.web.pages.browser import PHONE, Browser
from tests.web.pages.test_paying import session_in, words

from callmeback.web.pages.words import small

pytestmark = pytest.mark.anyio

METERED = """
SELECT meter_calls(
    ARRAY[%s], ARRAY[%s], ARRAY[1], ARRAY[60], ARRAY[60::numeric], ARRAY[1000], ARRAY[500], ARRAY[900], ARRAY[0],
    ARRAY[0], ARRAY[0]
)
"""


async def talk(house: House, call: str = "call_1") -> Decimal:
    """A minute of Mia's with Brad, ended; its cost in cents. In one commit, so that nobody dials."""
    user = house.row("SELECT id FROM users WHERE email = 'mia@example.org'")["id"]
    today = datetime.now(UTC).date()

    def at_once() -> None:
        with house.books.transaction():
            house.books.execute("SELECT start_call(%s, %s, 'brad', %s, %s, %s)", (call, user, PHONE, CARD, today))
            house.books.execute(METERED, (user, call))
            house.books.execute("SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, 60)", (user, call))

    await asyncio.to_thread(at_once)

    return Decimal(house.row("SELECT total_cost_cents AS cents FROM call_cost_breakdowns")["cents"])


@pytest.fixture
async def spender(mia: Browser) -> Browser:
    """Mia, whose clock is UTC so that her day is the test's."""
    await mia.send("/account", {"name": "Mia", "timezone": "UTC"}, shown_on="/account")
    await mia.prove_phone()

    return mia


async def test_the_month_is_a_chart_with_its_figures_beside_it(spender: Browser, house: House):
    before = await spender.get("/budget")
    cents = await talk(house)
    page = await spender.get("/budget")
    row = house.row("SELECT forecast_cents FROM month_forecast WHERE spent_cents > 0")

    assert "No call this month yet." in words(before)
    assert "<svg" not in before.text.partition("<main")[2].partition("</main>")[0].replace('<svg class="icon"', "")
    assert f"{cents:.2f} ¢ spent" in words(page)
    # In the first days of a month that is dollars.
    assert f"{small(row['forecast_cents'])} by the end of the month" in words(page)
    assert "The same as a table" in words(page)
    assert page.text.count('class="bar own"') == datetime.now(UTC).day
    assert "your limit of $100.00 is far above this" in words(page)
    assert "style=" not in page.text


async def test_a_pace_that_breaks_the_limit_is_said(spender: Browser, house: House):
    await talk(house)
    await spender.client.get("/budget")
    form = {"max_cost_per_call": "10", "max_monthly_spend": "0.01", "warn_at_percent_per_call": "75"}
    await spender.send("/budget", form, shown_on="/budget")
    page = await spender.get("/budget")

    assert "At this pace your limit is reached before the month is over." in words(page)


async def test_costs_by_day_persona_and_service_add_up(spender: Browser, house: House):
    cents = f"{await talk(house):.2f} ¢"
    for by, shown in (("day", "1 call, 1 min"), ("persona", "Brad 1 call, 1 min"), ("vendor", "1,500 tokens")):
        page = await spender.get(f"/costs?by={by}")

        assert shown in words(page)
        assert cents in words(page)
    nonsense = await spender.get("/costs?by=DROP&month=0000-99")
    empty = await spender.get("/costs?month=2025-02")

    assert "By day" in words(nonsense) and cents in words(nonsense)
    assert "February 2025" in words(empty) and "Nobody called in this month." in words(empty)


async def test_revenue_is_for_admins_alone(spender: Browser, house: House):
    await talk(house)
    bank = Bank(house)
    await bank.pay(session_in(await spender.send("/credits/checkout", {"sku": "minutes_25"}, shown_on="/credits")))
    refused = await spender.get("/admin/revenue")
    hidden = await spender.get("/credits")
    user = house.row("SELECT id FROM users WHERE email = 'mia@example.org'")["id"]
    await house.change("INSERT INTO admin_users (user_id, role, granted_by) VALUES (%s, 'admin', 'test')", user)
    page = await spender.get("/admin/revenue?days=7")
    rows = re.findall(r"<tr><td>([^<]+)</td>(.*?)</tr>", page.text)
    figures = {name.split()[0]: re.findall(r">(-?[$\d.,]+)<", cells) for name, cells in rows}

    assert refused.status_code == 403
    assert "/admin/revenue" not in hidden.text
    assert "$14.99 revenue" in words(page)
    assert figures["Free"][:2] == ["1", "$14.99"]
    assert figures["Brad"][0] == "1"
    assert figures[f"{datetime.now(UTC):%a}"] == figures["Free"]
    assert "/admin/revenue" in page.text.partition("</header>")[0]
    assert (await spender.get("/admin/revenue?days=-5")).status_code == 200
