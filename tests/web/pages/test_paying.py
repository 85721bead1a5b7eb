"""Paying in the pages: packs, plans, receipts, what is owed; and that coming back proves nothing."""

import html
import re
from typing import Any

import httpx
import pytest
from tests.web.bank import Bank
from tests.web.house import Build, House
from tests.web.pages.browser import Browser, all_wrong, typed, wrong

from callmeback.web.pages import credits as credits_page
from callmeback.web.pages import plans as plans_page

pytestmark = pytest.mark.anyio


@pytest.fixture
def bank(house: House) -> Bank:
    return Bank(house)


def words(answer: httpx.Response) -> str:
    """What is read in the page's main part."""
    [main] = re.findall(r'<main id="main".*?</main>', answer.text, re.DOTALL)

    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def session_in(answer: httpx.Response) -> dict[str, Any]:
    """The checkout that a form led to."""
    assert answer.status_code == 303, words(answer)

    return {"session_id": answer.headers["location"].rpartition("/")[2]}


async def buy(person: Browser, sku: str = "minutes_25", **more: str) -> httpx.Response:
    return await person.send("/credits/checkout", {"sku": sku, **more}, shown_on="/credits")


async def choose(person: Browser, tier: str, step: str) -> httpx.Response:
    return await person.send("/plans", {"tier": tier, "step": step}, shown_on="/paying")


async def subscribe(person: Browser, bank: Bank, tier: str = "basic") -> None:
    await bank.pay(session_in(await choose(person, tier, "begin")))


def charged(house: House) -> int:
    return int(house.row("SELECT coalesce(sum(amount_cents), 0) AS cents FROM payments")["cents"])


async def test_only_pages_that_lead_to_the_provider_may_lead_there(mia: Browser, build: Build):
    origin = f"http://127.0.0.1:{mia.house.settings.port}"
    for path in ("/credits", "/plans", "/paying"):
        policy = (await mia.get(path)).headers["content-security-policy"]

        assert f"form-action 'self' {origin};" in policy
        assert policy.count("http") == 1
    for path in ("/", "/receipts", "/budget", "/costs", "/account"):
        assert "form-action 'self';" in (await mia.get(path)).headers["content-security-policy"]


async def test_with_the_real_provider_its_own_pages_are_allowed_and_nothing_else(build: Build):
    real = Browser(await build(stripe_api_key="sk_live_1", stripe_webhook_secret="whsec_1"))
    await real.sign_up("kim@example.org")
    policy = (await real.get("/credits")).headers["content-security-policy"]

    assert "form-action 'self' https://checkout.stripe.com https://billing.stripe.com;" in policy


async def test_m05_a_pack_is_bought_with_a_code_and_the_way_back_proves_nothing(mia: Browser, house: House, bank: Bank):
    house.books.execute("INSERT INTO coupons (code, percent_off) VALUES ('WELCOME', 20)")
    bought = await buy(mia, coupon=" welcome ")
    checkout = session_in(bought)
    waiting = await mia.get(f"/credits?paid={checkout['session_id']}")
    other = Browser(house)
    await other.sign_up("leo@example.org")
    unpaid = (await mia.client.get("/api/credits")).json()["available_credits"]
    await bank.pay(checkout)
    paid = await mia.get(f"/credits?paid={checkout['session_id']}&look=2")
    stranger = await other.get(f"/credits?paid={checkout['session_id']}")

    assert bought.headers["location"].startswith(f"{house.url}/simulator/payments/checkout/")
    assert "We are waiting for the payment provider" in words(waiting)
    assert "look=1" in waiting.text and "Buy" not in words(waiting)
    assert unpaid == 0
    assert "Paid: 25 credits for $12.00." in words(paid)
    assert "25 to talk with" in words(paid)
    assert "We know of no such payment of yours." in words(stranger)
    assert "Bought" in words(paid)


async def test_a_page_that_waits_stops_looking(mia: Browser):
    session = session_in(await buy(mia))["session_id"]
    last = await mia.get(f"/credits?paid={session}&look={credits_page.LOOKS_MAX}")

    assert "It takes longer than usual" in words(last)
    assert "hx-trigger" not in last.text.partition("<main")[2].partition("</main>")[0]
    assert "http-equiv" not in last.text


async def test_a_payment_that_was_left_and_one_that_never_was(mia: Browser, house: House):
    session = session_in(await buy(mia))["session_id"]
    left = await mia.get("/credits?canceled=1")
    made_up = await mia.get("/credits?paid=cs_made_up")
    house.books.execute("UPDATE purchases SET status = 'failed' WHERE stripe_session_id = %s", (session,))
    ended = await mia.get(f"/credits?paid={session}")

    assert "You left the payment page. Nothing was charged there." in words(left)
    assert "We know of no such payment of yours." in words(made_up)
    assert "That payment didn't come about. Nothing was charged for it." in words(ended)


async def test_a_code_that_cannot_be_used_stands_beside_its_field(mia: Browser):
    for code, sentence in (("nonsense", "This code can't be used"), ("x" * 33, "A code has at most")):
        page = await mia.led(await buy(mia, coupon=code))
        again = await mia.get("/credits")

        assert page.url.path == "/credits"
        assert wrong(page, "coupon").startswith(sentence)
        assert typed(page, "coupon") == code
        assert (all_wrong(again), typed(again, "coupon")) == (set(), "")


async def test_a_pack_that_is_not_for_sale_is_refused_in_words(mia: Browser):
    gone = await mia.led(await buy(mia, sku="gold"))
    none = await mia.led(await buy(mia, sku="", coupon="x" * 33))

    assert "This pack is no longer for sale." in words(gone)
    assert wrong(none, "sku") == "Choose one of these."
    assert all_wrong(none) == {"sku", "coupon"}


async def test_a_provider_that_is_away_is_told_and_nothing_is_charged(build: Build):
    account = {"stripe_api_key": "sk_live_1", "stripe_webhook_secret": "whsec_1"}
    house = await build(stripe_base_url="http://127.0.0.1:9", **account)
    mia = Browser(house)
    await mia.sign_up()
    pages = [
        await mia.led(await buy(mia)),
        await mia.led(await choose(mia, "basic", "begin")),
        await mia.refused("/paying/portal", {}, shown_on="/paying"),
    ]

    assert [page.url.path for page in pages] == ["/credits", "/plans", "/paying"]
    for page in pages:
        assert "Nothing was charged; please try again in a moment." in words(page)
    assert charged(house) == 0


async def test_what_is_owed_is_said_and_why(mia: Browser, house: House, bank: Bank):
    await subscribe(mia, bank)
    await bank.pay(session_in(await buy(mia)))
    user = house.row("SELECT id FROM users WHERE email = 'mia@example.org'")["id"]
    await house.change("SELECT move_credits(%s, -120, 'admin_adjustment', 'adjust:test')", user)
    intent = house.row("SELECT payment_intent_id AS id FROM payments WHERE kind = 'purchase'")["id"]
    await bank.refund(intent, 1499)
    page = await mia.get("/credits")
    receipts = await mia.get("/receipts")

    assert "20 owed" in words(page)
    assert "20 credits more were used than paid for" in words(page)
    assert "New calls wait until that is settled." in words(page)
    assert "$14.99 given back" in words(receipts)


async def test_m07_a_plan_from_its_choice_to_its_end(mia: Browser, house: House, bank: Bank):
    await subscribe(mia, bank)
    await bank.advance(1)
    begun = await mia.get("/plans")
    asked = await mia.get("/plans/premium")
    upgraded = await choose(mia, "premium", "upgrade")
    await bank.settle()
    dearer = await mia.get(upgraded.headers["location"])
    later = await mia.get("/plans/basic")
    await choose(mia, "basic", "later")
    await bank.settle()
    waiting = await mia.get("/plans")
    await choose(mia, "premium", "keep")
    kept = await mia.get("/plans")
    question = await mia.get("/plans/free")
    await choose(mia, "free", "end")
    await bank.settle()
    ending = await mia.get("/plans?done=ends")

    assert "Basic, $9.99 a month." in words(begun)
    assert "Charged now, to your saved card $29.99" in words(asked)
    assert upgraded.headers["location"] == "/plans?done=changed"
    assert "Premium, $29.99 a month." in words(dearer)
    assert "Charged now nothing" in words(later)
    assert "Basic from then on." in words(waiting)
    assert "Premium, $29.99 a month." in words(kept)
    assert "Premium ends on" in words(question)
    assert "Your plan ends with the period that is paid." in words(ending)
    assert "nothing is charged any more" in words(ending)
    assert charged(house) == 999 + 2999
    assert house.row("SELECT available_credits AS n FROM user_credits")["n"] == 600


async def test_nothing_is_charged_that_the_page_did_not_announce(mia: Browser, house: House, bank: Bank):
    await subscribe(mia, bank)
    stale = await mia.led(await choose(mia, "premium", "later"))
    unknown = await mia.led(await choose(mia, "gold", "begin"))
    own = await mia.led(await choose(mia, "basic", "none"))
    nowhere = await mia.get("/plans/basic")
    await bank.settle()

    for page in (stale, unknown, own):
        assert page.url.path == "/plans"
        assert "Your plan has changed since this was shown." in words(page)
    assert nowhere.status_code == 404
    assert charged(house) == 999


async def test_a_plan_that_was_given_is_told_and_what_a_paid_one_does_to_it(mia: Browser, house: House, bank: Bank):
    user = house.row("SELECT id FROM users WHERE email = 'mia@example.org'")["id"]
    await house.change("SELECT set_tier(%s, 'premium')", user)
    given = await mia.get("/plans")
    asked, own = await mia.get("/plans/basic"), await mia.get("/plans/premium")
    unannounced = await mia.led(await choose(mia, "basic", "begin"))
    await bank.pay(session_in(await choose(mia, "basic", "replace")))
    paid = await mia.get("/plans")
    await house.change("SELECT set_tier(%s, 'unlimited')", user)
    on_top = await mia.get("/plans")

    assert "Premium was given to you, and costs you nothing." in words(given)
    assert "Choose Basic" in words(given) and "Pay for Premium" in words(given)
    assert "Charged on the next page $9.99" in words(asked)
    assert "Basic takes the place of Premium, which was given to you." in words(asked)
    assert "you are on Free then, not on Premium." in words(asked)
    assert "You have Premium already, without paying for it. 500 credits come in" in words(own)
    assert "Your plan has changed since this was shown." in words(unannounced)
    assert "was given to you" not in words(paid) and "Basic, $9.99 a month." in words(paid)
    assert "It stays in force until Basic, which you pay for, is renewed or changed." in words(on_top)


async def test_an_upgrade_is_waited_for_and_the_page_stops_looking(mia: Browser, house: House, bank: Bank):
    await subscribe(mia, bank)
    await house.change(
        "UPDATE subscriptions "
        "SET pending_tier = 'premium', pending_price_cents = 2999, pending_key = 'plan_x', pending_since = now()"
    )
    waits = await mia.get("/plans?done=changed")
    tired = await mia.get(f"/plans?look={plans_page.LOOKS_MAX}")

    assert "Premium is being confirmed by the payment provider. It takes a few seconds." in words(waits)
    assert 'hx-get="/plans?look=1"' in waits.text
    assert "Change to" not in words(waits)
    assert "choose it once more, you pay once" in words(tired)
    assert 'hx-get="/plans' not in tired.text
    assert "Change to Premium" in words(tired)


async def test_an_upgrade_that_the_card_refuses_changes_nothing(mia: Browser, house: House, bank: Bank):
    await subscribe(mia, bank)
    customer = house.row("SELECT stripe_customer_id AS id FROM users WHERE stripe_customer_id IS NOT NULL")["id"]
    await bank.card(customer, "4000000000000341")
    told = await mia.led(await choose(mia, "premium", "upgrade"))
    await bank.settle()
    page = await mia.get("/plans")

    assert "Your card was declined, so nothing has changed and nothing was charged." in words(told)
    assert "Basic, $9.99 a month." in words(page)
    assert charged(house) == 999


async def test_a_renewal_that_fails_shows_its_grace_and_the_way_to_another_card(mia: Browser, house: House, bank: Bank):
    await subscribe(mia, bank)
    plan = house.row("SELECT stripe_subscription_id AS id FROM subscriptions")["id"]
    await bank.fail_next(plan, 4)
    await bank.advance(32)
    page = await mia.get("/plans")
    portal = await mia.send("/paying/portal", {}, shown_on="/plans")

    assert "Your last payment failed. Basic stays in force until" in words(page)
    assert "Use another card" in words(page)
    assert portal.headers["location"].startswith(f"{house.url}/simulator/payments/portal/")


async def test_the_browser_comes_back_to_the_name_that_it_called(mia: Browser, house: House):
    near = f"localhost:{house.settings.port}"
    await buy(mia)
    token = await mia.token("/credits")
    await mia.client.post("/credits/checkout", data={"csrf": token, "sku": "minutes_50"}, headers={"host": near})
    await mia.client.post("/credits/checkout", data={"csrf": token, "sku": "minutes_50"}, headers={"host": "evil.test"})
    rows = house.books.execute("SELECT checkout_url FROM purchases ORDER BY created_at").fetchall()
    back = []
    for row in rows:
        shown = await house.client().get(row["checkout_url"])
        [address] = re.findall(r'class="back" href="([^"]+)"', shown.text)
        back.append(address.partition("/credits")[0])

    assert back == [house.url, f"http://{near}", house.url]


async def test_the_wish_to_pay_call_by_call_is_kept(mia: Browser, house: House):
    user = house.row("SELECT id FROM users WHERE email = 'mia@example.org'")["id"]
    on_free = await mia.get("/paying")
    await house.change("SELECT set_tier(%s, 'basic')", user)
    saved = await mia.send("/paying", {"pay_as_you_go": "yes"}, shown_on="/paying")
    page = await mia.get("/paying?done=kept")
    wish = (await mia.client.get("/api/preferences")).json()["pay_as_you_go"]
    await mia.send("/paying", {}, shown_on="/paying")

    assert saved.status_code == 303
    assert wish is True
    assert "60.00 ¢ for each started minute." in words(page)
    assert "On your plan calls are included" in words(on_free)
    assert (await mia.client.get("/api/preferences")).json()["pay_as_you_go"] is False


async def test_receipts_are_one_s_own(mia: Browser, house: House, bank: Bank):
    house.books.execute("INSERT INTO coupons (code, amount_off_cents, currency) VALUES ('FIVE', 500, 'usd')")
    nothing = await mia.get("/receipts")
    await bank.pay(session_in(await buy(mia, coupon="five")))
    await subscribe(mia, bank)
    listed = await mia.get("/receipts")
    [pack] = re.findall(r'href="(/receipts/pur_\w+)"', listed.text)
    [plan] = re.findall(r'href="(/receipts/in_\w+)"', listed.text)
    receipt, period = await mia.get(pack), await mia.get(plan)
    other = Browser(house)
    await other.sign_up("leo@example.org")
    foreign = await other.get(pack)

    assert "Nothing paid yet" in words(nothing)
    assert "25 minutes" in words(listed) and "with FIVE" in words(listed)
    assert "Code FIVE -$5.00" in words(receipt) and "Paid $9.99" in words(receipt)
    assert "$14.99" in words(receipt) and "mia@example.org" in words(receipt)
    assert " to " in words(period) and "Paid $9.99" in words(period)
    assert foreign.status_code == 404
    assert "mia@example.org" not in foreign.text
