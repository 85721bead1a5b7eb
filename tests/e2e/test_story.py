"""The story of the page in Chromium, on a real `callmeback up`: sign up, prove a phone, be called, see the cost."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, WebSocketRoute, expect
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
        # One that the form doesn't propose: the next person is proposed what may be anybody's.
        page.get_by_label("Phone number").fill("+12025550199")
        verify_phone(page, name=long)
        no_sideways(page)
        page.get_by_role("link", name="Invent a persona").click()
        page.get_by_label("Name").fill(long * 2)
        page.get_by_label("Who are they?").fill("You are patient.")
        page.get_by_role("button", name="Bring them to life").click()
        page.set_viewport_size({"width": 320, "height": 640})
        expect(page.get_by_role("heading", level=2, name=long)).to_be_visible()
        no_sideways(page)
        page.get_by_role("link", name=f"Change {long}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("and you")
        no_sideways(page)
        page.goto("/calendar/new?pick=weekdays-7")
        expect(page.locator(".times")).to_be_visible()
        no_sideways(page)
        page.goto("/docs")
        page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
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
    broken = r"^$|^htmx:|net::ERR_FAILED"
    with opened(chromium, site, expects=broken, viewport=WIDE, reduced_motion="reduce") as page:
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
        page.route(page.url, lambda route: route.abort(), times=1)
        page.keyboard.press("Enter")
        expect(page.locator("#over-why")).to_have_text("You declined the call.")
        expect(page.get_by_role("button", name="Put the phone down")).to_be_focused()
        expect(page.locator("#offline")).to_be_visible()
        # The receipt didn't come, and is asked for again.
        expect(page.get_by_text("The line was busy, or the call was declined.").first).to_be_visible()
        expect(page.locator("main")).to_be_focused()


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
        expect(page.locator(".nav [aria-current]")).to_have_text("Calls")
        expect(page.locator("#talk-clock")).to_contain_text("¢")
        page.get_by_role("link", name="Phones", exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Phones")
        expect(page.locator("#screen-talking")).to_be_visible()
        # Nobody counts the cost on this page, so the phone doesn't show what it was.
        expect(page.locator("#talk-clock")).to_have_text(re.compile(r"^\d+:\d\d$"))
        names = held(page, "**/handset/caller")
        page.reload()
        expect(page.locator("#screen-talking")).to_be_visible()
        expect(page.locator("#talk-name")).to_have_text("Somebody")
        page.wait_for_timeout(100)
        names.pop().continue_()
        expect(page.locator("#talk-name")).to_have_text("Sarah")
        page.get_by_label("Simulated phone").get_by_role("button", name="Hang up").click()
        page.get_by_role("link", name="See what it cost").click()
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible()


def held(page: Page, pattern: str) -> list[Route]:
    """The requests that are made from now on, each waiting until it is let go."""
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page.route(pattern, hold)

    return waiting


def test_a_line_that_is_lost_stops_ringing(chromium: Browser, site: str) -> None:
    lines: list[WebSocketRoute] = []

    def connect(line: WebSocketRoute) -> None:
        lines.append(line)
        if len(lines) == 1:
            line.connect_to_server()

    with opened(chromium, site, viewport=WIDE) as page:
        sign_up(page, "liv@example.org")
        verify_phone(page)
        page.route_web_socket("**/socket", connect)
        page.reload()
        expect(page.locator("#handset-line")).to_have_text("ready")
        pick(page, "Brad")
        page.clock.install()
        lines[0].close()
        page.clock.run_for(6_000)
        expect(page.locator("#over-why")).to_have_text("The line was lost.")
        expect(page).to_have_title("Brad · Call Me Back")
        # Whoever is logged out meanwhile is led to the door, not left before a call that stands still.
        page.route("**/events", answering(401, ""))
        page.reload()
        expect(page.locator("#live")).to_be_visible()
        page.context.clear_cookies()
        page.clock.run_for(3_000)
        expect(page).to_have_url(re.compile(r"/login\?next="))


def test_the_page_says_when_the_server_is_gone(chromium: Browser, site: str, installation: Installation) -> None:
    broken = r"^$|^htmx:|net::ERR_FAILED|status of 50[23]"
    with opened(chromium, site, viewport=WIDE, expects=broken) as page:
        sign_up(page, "eve@example.org")
        page.route("**/phones", lambda route: route.abort())
        page.get_by_role("button", name="Send me a code").click()
        expect(page.locator("#offline")).to_be_visible()
        expect(page.get_by_label("Phone number")).not_to_have_value("")
        page.unroute("**/phones")
        page.get_by_role("button", name="Send me a code").click()
        expect(page.locator("#offline")).to_be_hidden()
        expect(page.get_by_label("The code", exact=True)).to_be_visible()
        assert_nothing_typed_is_lost(page)
        assert_the_last_wish_counts(page)


def assert_nothing_typed_is_lost(page: Page) -> None:
    """Neither a gateway's empty answer nor a page that only says a sentence takes a form away."""
    sentence = page.request.get("/nowhere", headers={"Accept": "text/html"}).text()
    page.goto("/scenarios")
    page.get_by_label("The situation").fill("You are my team lead.")
    page.get_by_label("Name", exact=True).fill("Monday")
    for status, body, said in ((502, "", "The server can't be reached"), (503, sentence, "There is no such page.")):
        page.route("**/scenarios", answering(status, body), times=1)
        page.get_by_label("Name", exact=True).press("Enter")
        expect(page.locator("#offline")).to_contain_text(said)
        expect(page.locator("#offline")).to_contain_text("What you typed is still here")
        expect(page.get_by_label("The situation")).to_have_value("You are my team lead.")
    page.route("**/budget", answering(502, ""), times=1)
    page.get_by_role("link", name="Budget", exact=True).first.click()
    expect(page.locator("#offline")).to_contain_text("The server can't be reached")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Change Monday")).to_be_visible()
    expect(page.locator("#offline")).to_be_hidden()


def answering(status: int, body: str) -> Callable[[Route], None]:
    def answer(route: Route) -> None:
        route.fulfill(status=status, body=body)

    return answer


def assert_the_last_wish_counts(page: Page) -> None:
    """What was asked for earlier, and comes late, changes nothing; without a network the way back says so."""
    late = held(page, "**/budget")
    page.get_by_role("link", name="Budget", exact=True).first.click()
    page.get_by_role("link", name="Phones", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Phones")
    let_go(page, late)
    assert_at(page, "Phones")
    page.get_by_role("link", name="Budget", exact=True).first.click()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Scenarios")
    let_go(page, late)
    assert_at(page, "Scenarios")
    page.unroute("**/budget")
    page.route("**/phones", lambda route: route.abort(), times=1)
    page.go_forward()
    expect(page.locator("#offline")).to_be_visible()


def let_go(page: Page, waiting: list[Route]) -> None:
    with page.expect_response("**/budget"):
        waiting.pop().continue_()
    page.wait_for_timeout(200)


def assert_at(page: Page, name: str) -> None:
    expect(page).to_have_url(re.compile(f"/{name.lower()}$|done="))
    expect(page).to_have_title(f"{name} · Call Me Back")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator(".nav [aria-current]")).to_have_text(name)


def test_pictures_are_small_enough() -> None:
    too_large = [path.name for path in Path(IMAGES).glob("*.png") if path.stat().st_size >= IMAGE_BYTES_MAX]

    assert too_large == []
