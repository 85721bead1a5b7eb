"""The story of the page in Chromium, on a real `callmeback up`: sign up, prove a phone, be called, see the cost."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.cli.test_up import Installation
from tests.e2e.browser import (
    IMAGE_BYTES_MAX,
    IMAGES,
    SMALL,
    WIDE,
    no_sideways,
    opened,
    picture,
    sign_up,
    verify_phone,
)

pytestmark = pytest.mark.slow

CONTEXT = "I have an interview at ten and I keep losing my thread."
SAID = "I always begin with things nobody asked about."
GOODBYE = "That helps. Thank you, Brad. Goodbye!"


def card(page: Page, persona: str) -> Locator:
    return page.locator(".person", has=page.get_by_role("heading", name=persona))


def pick(page: Page, persona: str) -> None:
    card(page, persona).get_by_role("button", name="Call me").click()
    expect(page.locator("#live")).to_be_visible()
    expect(page.locator("#screen-ringing")).to_be_visible()
    expect(page.locator("#ring-name")).to_have_text(persona)


def say(page: Page, words: str) -> None:
    page.get_by_label("Say something").fill(words)
    page.keyboard.press("Enter")
    expect(page.locator("#captions .me").last).to_have_text(words)


def wait_quiet(page: Page) -> None:
    """Wait until the persona has finished: no new sound for a second."""
    heard = -1
    for _ in range(60):
        now = page.evaluate("window.sounds.voice")
        if now == heard:
            return
        heard = now
        page.wait_for_timeout(1000)
    raise AssertionError("the persona doesn't stop talking")


def cents(page: Page, selector: str) -> Decimal:
    return Decimal(page.locator(selector).inner_text().removesuffix("¢").strip())


def test_the_story_of_the_page(chromium: Browser, site: str, installation: Installation) -> None:
    with opened(chromium, site, viewport=WIDE, color_scheme="light") as page:
        sign_up(page, "mia@example.org", "story-")
        verify_phone(page, "story-")

        page.get_by_text("What is it about?").click()
        page.get_by_label("In your own words").fill(CONTEXT)
        page.get_by_label("In your own words").evaluate("field => field.scrollIntoView({block: 'start'})")
        picture(page, "story-05-personas")
        pick(page, "Brad")
        expect(page).to_have_title(re.compile("Brad is calling"))
        expect(page.locator("#live-state")).to_have_text("Ringing…")
        page.wait_for_timeout(500)
        assert page.evaluate("window.sounds.ring") > 0, "the phone rings without a sound"
        picture(page, "story-06-ringing")

        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#captions .them").first).to_contain_text("Brad")
        expect(page.locator("#live-state")).to_have_text("You are talking")
        wait_quiet(page)
        assert page.evaluate("window.sounds.voice") > 50, "a second of the persona's voice is fifty frames"
        say(page, SAID)
        expect(page.locator("#live-talk .me")).to_contain_text(SAID)
        expect(page.locator("#live-talk .them")).to_have_count(2)
        expect(page.locator("#live-clock")).not_to_have_text("0:00")
        assert 0 < cents(page, "#live-cents") < Decimal("92.30")
        picture(page, "story-07-talking")

        wait_quiet(page)
        say(page, GOODBYE)
        wait_quiet(page)
        if page.locator("#hangup").is_visible():
            page.get_by_label("Simulated phone").get_by_role("button", name="Hang up").click()
        expect(page.locator("#screen-over")).to_be_visible()
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
        assert_receipt(page)
        picture(page, "story-08-receipt")

        page.get_by_role("link", name="Calls", exact=True).click()
        expect(page.locator("main .line")).to_have_count(1)
        picture(page, "story-09-calls")
        look_around(page)
        put_on_a_plan(page, installation)


def assert_receipt(page: Page) -> None:
    """The legs add up to the total, to the last digit; the words are there."""
    legs = [
        Decimal(text.removesuffix("¢").strip()) for text in page.locator(".bill-line b:nth-child(2)").all_inner_texts()
    ]
    total = cents(page, ".bill.sum span:nth-child(2)")

    assert sum(legs[:4]) == total > 0
    expect(page.locator(".receipt")).to_contain_text(re.compile(r"[\d,]+ tokens read × 35\.00 ¢ a million"))
    expect(page.locator(".receipt")).to_contain_text(re.compile(r"[\d,]+ tokens written × 75\.00 ¢ a million"))
    expect(page.locator(".receipt")).to_contain_text("Your plan includes this call.")
    expect(page.locator(".talk .me").first).to_contain_text(SAID)


def look_around(page: Page) -> None:
    """The other pages, by their links."""
    for link, heading in (
        ("Budget", "Budget"),
        ("Phones", "Phones"),
        ("Scenarios", "Scenarios"),
        ("Account", "Account"),
    ):
        page.get_by_role("link", name=link, exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        if link == "Budget":
            picture(page, "story-11-budget")
    page.get_by_role("link", name="Personas", exact=True).click()
    page.get_by_role("button", name="Brad is a favourite").click()
    expect(page.get_by_role("button", name="Brad is a favourite")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("link", name="Make Brad yours").click()
    page.get_by_label("What is Brad to you?").fill("older brother")
    page.get_by_role("button", name="Hear Charlotte").click()
    picture(page, "story-12-yours")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. It holds from the next call on.")).to_be_visible()


def put_on_a_plan(page: Page, installation: Installation) -> None:
    """On a plan that charges, a call takes a credit for each started minute, and the ledger says so."""
    for command in (
        ("users", "tier", "mia@example.org", "basic"),
        ("users", "adjust", "mia@example.org", "+10", "--reason", "welcome"),
    ):
        done = installation.run(*command)
        assert done.returncode == 0, done.stderr
    page.goto("/")
    pick(page, "Sarah")
    expect(page.locator("#live-credits-word")).to_have_text("of 10 credits")
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("#live-credits")).to_have_text("1")
    wait_quiet(page)
    page.locator("#live").get_by_role("button", name="Hang up").click()
    expect(page.locator(".receipt")).to_contain_text("1 started minute of talk.")
    page.get_by_role("link", name="Credits", exact=True).click()
    expect(page.locator("tbody tr").first).to_contain_text("A call")
    expect(page.locator("tbody tr").first.locator("td").nth(2)).to_have_text("-1")
    expect(page.locator(".figure b").first).to_have_text("9")
    expect(page.locator(".purse")).to_have_text("9 credits")
    picture(page, "story-10-credits")


def test_the_story_on_a_small_screen_in_the_dark(chromium: Browser, site: str) -> None:
    small = {"viewport": SMALL, "color_scheme": "dark", "has_touch": True, "is_mobile": True, "device_scale_factor": 1}
    long = "Wolfeschlegelsteinhausenbergerdorffs 🎻"
    with opened(chromium, site, **small) as page:
        sign_up(page, "leo@example.org", name=long)
        verify_phone(page, name=long)
        no_sideways(page)
    with opened(chromium, site, **small) as page:
        sign_up(page, "lea@example.org")
        verify_phone(page, "phone-")
        no_sideways(page)
        picture(page, "phone-05-personas")
        pick(page, "Brad")
        picture(page, "phone-06-ringing")
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#captions .them").first).to_be_visible()
        wait_quiet(page)
        say(page, SAID)
        expect(page.locator("#live-clock")).to_be_in_viewport()
        expect(page.locator("#live-cents")).to_be_in_viewport()
        expect(page.locator("#live-talk .me")).to_have_count(1)
        no_sideways(page)
        picture(page, "phone-07-talking")
        page.get_by_label("Simulated phone").get_by_role("button", name="Hang up").click()
        expect(page.get_by_role("heading", name="Receipt")).to_be_attached()
        expect(page.locator("#handset")).to_have_attribute("data-open", "false")
        page.get_by_role("heading", name="Receipt").scroll_into_view_if_needed()
        no_sideways(page)
        picture(page, "phone-08-receipt")
        for path in (
            "/calls",
            "/credits",
            "/budget",
            "/phones",
            "/scenarios",
            "/account",
            "/personas/brad",
            "/personas/new",
        ):
            page.goto(path)
            no_sideways(page)


def test_the_page_by_keyboard_alone(chromium: Browser, site: str) -> None:
    with opened(chromium, site, viewport=WIDE, reduced_motion="reduce") as page:
        sign_up(page, "kim@example.org")
        page.get_by_label("Phone number").focus()
        page.keyboard.press("Enter")
        text = page.locator("#inbox .letter").first
        expect(text).to_be_visible()
        text.get_by_role("button").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="That's the code")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Who should call you")
        expect(page.locator("main")).to_be_focused()
        page.locator(".person", has=page.get_by_role("heading", name="Alex")).get_by_role(
            "button", name="Call me"
        ).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Answer")).to_be_focused()
        expect(page.locator("#announce")).to_contain_text("Alex is calling")
        page.keyboard.press("Shift+Tab")
        expect(page.get_by_role("button", name="Decline")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#over-why")).to_have_text("You declined the call.")
        expect(page.get_by_text("The line was busy, or the call was declined.").first).to_be_visible()


def test_a_call_goes_on_through_other_pages_and_a_reload(chromium: Browser, site: str) -> None:
    with opened(chromium, site, viewport=WIDE) as page:
        sign_up(page, "ada@example.org")
        verify_phone(page)
        pick(page, "Sarah")
        page.get_by_role("link", name="Budget", exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Budget")
        expect(page).to_have_title(re.compile("Sarah is calling"))
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#captions .them").first).to_be_visible()
        expect(page).to_have_title("Budget · Call Me Back")
        page.go_back()
        expect(page.locator("#live-state")).to_have_text("You are talking")
        page.get_by_role("link", name="Phones", exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Phones")
        expect(page.locator("#screen-talking")).to_be_visible()
        page.reload()
        expect(page.locator("#screen-talking")).to_be_visible()
        expect(page.locator("#talk-name")).to_have_text("Sarah")
        page.get_by_label("Simulated phone").get_by_role("button", name="Hang up").click()
        page.get_by_role("link", name="See what it cost").click()
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible()


def test_the_page_says_when_the_server_is_gone(chromium: Browser, site: str, installation: Installation) -> None:
    with opened(chromium, site, viewport=WIDE, expects=r"^$|^htmx:|net::ERR_FAILED") as page:
        sign_up(page, "eve@example.org")
        page.route("**/phones", lambda route: route.abort())
        page.get_by_role("button", name="Send me a code").click()
        expect(page.locator("#offline")).to_be_visible()
        expect(page.get_by_label("Phone number")).not_to_have_value("")
        page.unroute("**/phones")
        page.get_by_role("button", name="Send me a code").click()
        expect(page.locator("#offline")).to_be_hidden()
        expect(page.get_by_label("The code", exact=True)).to_be_visible()


def test_pictures_are_small_enough() -> None:
    too_large = [path.name for path in Path(IMAGES).glob("*.png") if path.stat().st_size >= IMAGE_BYTES_MAX]

    assert too_large == []
