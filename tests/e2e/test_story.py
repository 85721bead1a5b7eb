"""The story of the page in Chromium, on a real `callmeback up`: sign up, verify a phone, be called, talk, see the cost.

With CALLMEBACK_SCREENSHOTS=1 each step is kept as a picture under docs/images/.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright
from tests.cli.test_up import Installation
from tests.sources import ROOT

pytestmark = pytest.mark.slow

IMAGES = ROOT / "docs" / "images"
IMAGE_BYTES_MAX = 200_000
PATIENCE_MS = 30_000
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
WIDE = {"width": 1280, "height": 820}
SMALL = {"width": 360, "height": 760}
CONTEXT = "I have an interview at ten and I keep losing my thread."
SAID = "I always begin with things nobody asked about."
GOODBYE = "That helps. Thank you, Brad. Goodbye!"

# Counts what is really played: the ring and the voice both end in a source that is started.
COUNT_SOUNDS = """
    window.sounds = {ring: 0, voice: 0};
    for (const [kind, source] of [["ring", OscillatorNode], ["voice", AudioBufferSourceNode]]) {
      const start = source.prototype.start;
      source.prototype.start = function (...when) { window.sounds[kind] += 1; return start.apply(this, when); };
    }
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("capability: Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def site(installation: Installation) -> str:
    installation.up()
    installation.wait_ready()

    return f"http://127.0.0.1:{installation.port}"


@contextmanager
def opened(chromium: Browser, site: str, *, expects: str = "^$", **options: Any) -> Iterator[Page]:
    """A page of its own browser profile; anything unexpected on its console, or from another host, fails the test."""
    context = chromium.new_context(base_url=site, locale="en-GB", timezone_id="Europe/Paris", **options)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(COUNT_SOUNDS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(_complaint(message)))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith(site) else None)
    yield page
    page.wait_for_timeout(100)
    context.close()

    assert [complaint for complaint in complaints if not re.search(expects, complaint)] == []


def _complaint(message: ConsoleMessage) -> str:
    # The browser itself reports every refused form as a failed resource; that is an answer, not a fault.
    is_refusal = re.search(r"status of 4\d\d", message.text) is not None

    return "" if is_refusal or message.type not in ("error", "warning") else message.text


def picture(page: Page, name: str) -> None:
    """Keep what is seen, if pictures are asked for and this one has a name."""
    page.wait_for_timeout(350)
    if name and os.environ.get("CALLMEBACK_SCREENSHOTS") == "1":
        IMAGES.mkdir(parents=True, exist_ok=True)
        path = IMAGES / f"{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < IMAGE_BYTES_MAX, f"{path.name} is too large for the repository"


def sign_up(page: Page, email: str, shots: str = "") -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("calls you back")
    expect(page.locator("footer")).to_contain_text("Simulated on this server")
    picture(page, shots and f"{shots}01-front")
    page.get_by_role("link", name="Get your first call").click()
    page.get_by_label("What should they call you?").fill("Mia")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_text("A password has at least 8 characters.")).to_be_visible()
    expect(page.get_by_label("E-mail")).to_have_value(email)
    picture(page, shots and f"{shots}02-sign-up")
    page.get_by_label("Password").fill("a short sentence")
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome, Mia")


def verify_phone(page: Page, shots: str = "") -> str:
    """Take the number that the page suggests, read the code on the simulated phone, and give it back."""
    number = page.get_by_label("Phone number").input_value()
    picture(page, shots and f"{shots}03-number")
    page.get_by_role("button", name="Send me a code").click()
    text = page.locator("#inbox .letter").first
    expect(text).to_contain_text("Your Call Me Back code is")
    picture(page, shots and f"{shots}04-code")
    text.get_by_role("button").click()
    expect(page.get_by_label("The code", exact=True)).to_have_value(re.compile(r"^\d{6}$"))
    page.get_by_role("button", name="That's the code").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Who should call you, Mia?")

    return number


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
    with opened(chromium, site, **small) as page:
        sign_up(page, "leo@example.org")
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


def no_sideways(page: Page) -> None:
    """Nothing is wider than the screen."""
    width = page.evaluate("document.documentElement.scrollWidth")

    assert width <= SMALL["width"], page.url


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
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#captions .them").first).to_be_visible()
        page.get_by_role("link", name="Budget", exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Budget")
        expect(page.locator("#screen-talking")).to_be_visible()
        page.go_back()
        expect(page.locator("#live-state")).to_have_text("You are talking")
        page.reload()
        expect(page.locator("#screen-talking")).to_be_visible()
        expect(page.locator("#talk-name")).to_have_text("Sarah")
        page.get_by_label("Simulated phone").get_by_role("button", name="Hang up").click()
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
