"""The story of the money in Chromium, on a real `callmeback up`: a plan after a declined card, a pack with a code,
receipts, the month's chart, a dearer plan, its end, and what the operator sees."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect
from psycopg.rows import dict_row
from tests.cli.test_up import Installation
from tests.e2e.browser import PHONE_SIZED, WIDE, no_sideways, opened, picture, sign_up, verify_phone
from tests.payments.till import CARD

pytestmark = pytest.mark.slow

EMAIL = "mia@example.org"
DECLINED, GOOD = "4000 0000 0000 0002", "4242 4242 4242 4242"
# Minutes of talk by days ago, with whom.
TALKS = (
    (12, 4, "brad"),
    (9, 2, "sarah"),
    (7, 8, "alex"),
    (4, 3, "brad"),
    (2, 6, "brad"),
    (1, 1, "sarah"),
    (0, 5, "alex"),
)
MONEY_PAGES = ("/credits", "/plans", "/plans/free", "/receipts", "/paying", "/budget", "/costs?by=persona")


@contextmanager
def books(installation: Installation) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with psycopg.connect(installation.running()["owner_dsn"], row_factory=dict_row) as connection:
        yield connection


def talked(installation: Installation, phone: str) -> None:
    """Calls of the days before, which no story can wait for: begun, metered and ended in one commit, dated back."""
    now = datetime.now(UTC)
    with books(installation) as owner:
        row = owner.execute("SELECT id FROM users WHERE email = %s", (EMAIL,)).fetchone()
        assert row is not None
        owner.execute("SELECT set_tier(%s, 'unlimited')", (row["id"],))
        for number, (days, minutes, persona) in enumerate(TALKS):
            call, seconds = f"call_{number}", minutes * 60 - 7
            owner.execute(
                "SELECT start_call(%s, %s, %s, %s, %s, %s)", (call, row["id"], persona, phone, CARD, now.date())
            )
            owner.execute(
                "SELECT meter_calls(ARRAY[%s], ARRAY[%s], ARRAY[1], ARRAY[%s], ARRAY[%s::numeric], ARRAY[%s],"
                " ARRAY[%s], ARRAY[%s], ARRAY[0], ARRAY[0], ARRAY[0])",
                (row["id"], call, seconds, seconds, 900 * minutes, 120 * minutes, 540 * minutes),
            )
            owner.execute("SELECT finish_call(%s, %s, 'completed', 'hung_up', 1, %s)", (row["id"], call, seconds))
            at = max(now - timedelta(days=days), now.replace(day=1, hour=0, minute=1))
            owner.execute("UPDATE calls SET created_at = %s WHERE id = %s", (at, call))
        owner.execute("SELECT set_tier(%s, 'free')", (row["id"],))
        owner.execute("INSERT INTO coupons (code, percent_off) VALUES ('WELCOME', 20)")


def pay(page: Page, card: str) -> None:
    """Fill in the provider's page."""
    page.get_by_label("Card number").fill(card)
    page.locator("button.main").click()


def test_the_story_of_the_money(chromium: Browser, site: str, installation: Installation) -> None:
    with opened(chromium, site, viewport=WIDE, color_scheme="light") as page:
        sign_up(page, EMAIL)
        talked(installation, re.sub(r"[^+\d]", "", verify_phone(page)))
        begin_a_plan(page)
        buy_a_pack(page)
        read_receipts(page)
        watch_the_month(page)
        change_the_plan(page)
        see_the_revenue(page, installation)
        state = page.context.storage_state()
    with opened(chromium, site, storage_state=state, **PHONE_SIZED) as page:
        for path in MONEY_PAGES:
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            no_sideways(page)
            picture(page, {"/plans": "phone-09-plans", "/budget": "phone-10-budget"}.get(path, ""))


def begin_a_plan(page: Page) -> None:
    page.get_by_role("link", name="Credits", exact=True).click()
    expect(page.get_by_text("Your plan includes its calls, so they take no credits.").first).to_be_visible()
    page.get_by_role("link", name="Plans", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Plans")
    page.get_by_role("button", name="Choose Basic").click()
    expect(page).to_have_title(re.compile("Checkout"))
    pay(page, DECLINED)
    expect(page.get_by_role("alert")).to_contain_text("declined")
    picture(page, "money-01-declined")
    pay(page, GOOD)
    expect(page.get_by_text("Welcome to Basic.")).to_be_visible()
    expect(page.locator(".purse")).to_have_text("100 credits")


def buy_a_pack(page: Page) -> None:
    page.get_by_label("A code, if you have one").fill("WELCOM")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Credits")
    page.get_by_role("button", name="Buy 50 minutes").click()
    expect(page.locator("#coupon-wrong")).to_contain_text("This code can't be used")
    expect(page.get_by_label("A code, if you have one")).to_have_value("WELCOM")
    page.get_by_label("A code, if you have one").fill("welcome")
    page.get_by_role("heading", name="More minutes").scroll_into_view_if_needed()
    picture(page, "money-02-packs")
    page.get_by_role("button", name="Buy 50 minutes").click()
    expect(page.locator(".amount")).to_contain_text("$20.00")
    pay(page, GOOD)
    expect(page.get_by_text("Paid: 50 credits for $20.00.")).to_be_visible()
    expect(page.locator(".purse")).to_have_text("150 credits")
    picture(page, "money-03-paid")


def read_receipts(page: Page) -> None:
    page.get_by_role("link", name="Receipts", exact=True).click()
    expect(page.locator("main .line")).to_have_count(2)
    picture(page, "money-04-receipts")
    page.get_by_role("link", name=re.compile("50 minutes")).click()
    expect(page.locator(".receipt")).to_contain_text("Code WELCOME")
    expect(page.locator(".bill.sum")).to_contain_text("$20.00")
    picture(page, "money-05-receipt")
    page.emulate_media(media="print")
    expect(page.locator(".top")).to_be_hidden()
    expect(page.locator("#handset")).to_be_hidden()
    page.emulate_media(media="screen")


def watch_the_month(page: Page) -> None:
    page.get_by_role("link", name="Budget", exact=True).first.click()
    expect(page.locator("svg.chart rect.own").first).to_be_attached()
    spent, expected = (Decimal(re.sub(r"[^\d.]", "", text)) for text in page.locator(".figure b").all_inner_texts()[:2])
    assert 0 < spent <= expected
    page.get_by_text("The same as a table").click()
    so_far = page.locator(".table-of tbody tr").first.locator("td").last.inner_text()
    assert Decimal(re.sub(r"[^\d.]", "", so_far)) == spent
    page.get_by_label("One month").fill("five")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#max_monthly_spend-wrong")).to_contain_text("An amount from 0")
    page.get_by_label("One month").fill("5")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("svg.chart .limit")).to_be_attached()
    page.locator("svg.chart").scroll_into_view_if_needed()
    picture(page, "money-06-budget")
    page.get_by_role("link", name="Costs", exact=True).click()
    page.get_by_role("link", name="By persona").click()
    expect(page.locator(".shares tbody tr")).to_have_count(3)
    picture(page, "money-07-costs")
    page.get_by_role("link", name="By service").click()
    expect(page.locator(".shares tbody tr")).to_have_count(4)


def change_the_plan(page: Page) -> None:
    page.goto("/plans")
    page.get_by_role("link", name="Change to Premium").click()
    expect(page.get_by_text("Charged now, to your saved card")).to_be_visible()
    picture(page, "money-08-change")
    page.get_by_role("button", name="Pay $29.99 and change").click()
    expect(page.get_by_text("Premium, $29.99 a month.")).to_be_visible()
    expect(page.locator(".purse")).to_have_text("650 credits")
    page.get_by_role("link", name="Cancel my plan").click()
    page.get_by_role("button", name="Cancel my plan").click()
    expect(page.get_by_text("Premium ends on")).to_be_visible()
    expect(page.get_by_role("link", name="Keep Premium")).to_be_visible()
    picture(page, "money-09-plans")


def see_the_revenue(page: Page, installation: Installation) -> None:
    page.goto("/admin/revenue")
    expect(page.get_by_role("heading", level=1)).to_have_text("That isn't allowed")
    done = installation.run("users", "role", EMAIL, "admin")
    assert done.returncode == 0, done.stderr
    page.goto("/")
    page.get_by_role("link", name="Revenue", exact=True).click()
    expect(page.locator(".figure b").first).to_have_text("$59.98")
    picture(page, "money-10-revenue")
