"""Chromium before a real `callmeback up`, and the first steps of every story in it.

With CALLMEBACK_SCREENSHOTS=1 each step that has a name is kept as a picture under docs/images/.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from tests.cli.test_up import Installation
from tests.sources import ROOT

IMAGES = ROOT / "docs" / "images"
IMAGE_BYTES_MAX = 200_000
PATIENCE_MS = 30_000
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
WIDE = {"width": 1280, "height": 820}
SMALL = {"width": 360, "height": 760}
PHONE_SIZED: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True, "is_mobile": True,
    "device_scale_factor": 1,
}  # fmt: skip

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


def sign_up(page: Page, email: str, shots: str = "", name: str = "Mia") -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("calls you back")
    expect(page.locator("footer")).to_contain_text("Simulated on this server")
    picture(page, shots and f"{shots}01-front")
    page.get_by_role("link", name="Get your first call").click()
    page.get_by_label("What should they call you?").fill(name)
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_text("A password has at least 8 characters.")).to_be_visible()
    expect(page.get_by_label("E-mail")).to_have_value(email)
    expect(page.get_by_label("Password")).to_be_focused()
    picture(page, shots and f"{shots}02-sign-up")
    page.get_by_label("Password").fill("a short sentence")
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Welcome, {name}")


def verify_phone(page: Page, shots: str = "", name: str = "Mia") -> str:
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
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Who should call you, {name}?")

    return number


def no_sideways(page: Page) -> None:
    """Nothing is wider than the screen."""
    assert page.viewport_size is not None
    width = page.evaluate("document.documentElement.scrollWidth")

    assert width <= page.viewport_size["width"], page.url
