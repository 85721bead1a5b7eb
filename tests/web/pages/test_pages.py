"""What holds for every page: headers, tokens, what is escaped, where a stranger is sent."""

import html
import re

import pytest
from litestar import Litestar
from litestar.di import Provide
from tests.web.house import Build
from tests.web.pages.browser import HOSTILE, Browser, typed

from callmeback.web import pages
from callmeback.web.pages import frame

pytestmark = pytest.mark.anyio

IDS = {"call": "call_x", "persona": "per_x", "scenario": "scn_x", "schedule": "sch_x"}
FORMS = (
    "/logout", "/phones", "/phones/verify", "/phones/remove", "/calls", "/calls/call_x/hangup", "/personas",
    "/personas/per_x", "/personas/per_x/favourite", "/personas/per_x/edit", "/personas/per_x/retire", "/scenarios",
    "/scenarios/scn_x", "/scenarios/scn_x/remove", "/budget", "/credits/checkout", "/plans",
    "/calendar", "/calendar/soon", "/calendar/feed", "/calendar/feed/remove", "/calendar/import",
    "/calendar/calls/sch_x", "/calendar/calls/sch_x/move", "/calendar/calls/sch_x/pause",
    "/calendar/calls/sch_x/skip", "/calendar/calls/sch_x/end", "/paying", "/paying/portal", "/account",
    "/account/preferences", "/account/confirm", "/account/password", "/account/logout-everywhere", "/account/erase",
)  # fmt: skip
FORMS_BEFORE_A_SESSION = ("/signup", "/login", "/forgot-password", "/reset-password")


PAGES = ["/", "/login", "/signup", "/forgot-password", "/nowhere", "/calls/call_x"]


async def test_every_page_forbids_what_it_does_not_need(mia: Browser):
    for path in PAGES:
        answer = await mia.get(path, accept="text/html")

        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


async def test_cookies_are_out_of_reach_for_scripts_and_other_sites(stranger: Browser):
    answer = await stranger.sign_up()

    cookies = {header.partition("=")[0]: header.lower() for header in answer.headers.get_list("set-cookie")}
    assert "httponly" in cookies["session"]
    assert "samesite=lax" in cookies["session"]


async def test_an_unknown_address_is_a_page_for_browsers_and_a_problem_for_programs(stranger: Browser):
    for_people = await stranger.get("/nowhere", accept="text/html,*/*")
    for_programs = await stranger.get("/nowhere", accept="application/json")

    assert (for_people.status_code, for_programs.status_code) == (404, 404)
    assert for_people.headers["content-type"].startswith("text/html")
    assert for_programs.json()["code"] == "not_found"


async def test_nothing_is_changed_without_the_session_s_token(mia: Browser):
    for path in FORMS:
        without = await mia.client.post(path, data={"name": "Mallory"})
        forged = await mia.client.post(path, data={"csrf": "0" * 64, "name": "Mallory"})
        by_header = await mia.client.post(path, data={}, headers={"X-CSRF-Token": "1"})

        assert {without.status_code, forged.status_code, by_header.status_code} == {403}
        assert typed(await mia.get("/account"), "name") == "Mia"


async def test_the_token_of_another_session_is_refused(mia: Browser):
    other = Browser(mia.house)
    await other.sign_up("other@example.org")

    answer = await mia.client.post("/account", data={"csrf": await other.token("/account"), "name": "Mallory"})

    assert answer.status_code == 403
    assert "Load it again" in answer.text


def test_the_list_of_forms_above_is_complete():
    services = Provide(lambda: None, sync_to_thread=False)
    application = Litestar(pages.route_handlers(), dependencies={"services": services}, openapi_config=None)
    found = {
        re.sub(r"\{(\w+)_id:str\}", lambda match: IDS[match[1]], route.path)
        for route in application.routes
        if "POST" in getattr(route, "methods", ())
    }

    assert found == {*FORMS, *FORMS_BEFORE_A_SESSION}


SHOWN = ["/", "/account", "/personas/brad", "/scenarios", "/phones", "/calls"]


async def test_hostile_words_are_shown_as_words(stranger: Browser):
    await stranger.sign_up(name=HOSTILE)
    await stranger.send("/scenarios", {"name": HOSTILE[:99], "scenario_text": HOSTILE}, shown_on="/scenarios")
    made = {"name": HOSTILE[:99], "description": HOSTILE, "core_system_prompt": HOSTILE}
    await stranger.send("/personas", made, shown_on="/personas/new")

    for page in SHOWN:
        answer = await stranger.get(page)

        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "{{ 7*7 }}" in html.unescape(answer.text) or page not in ("/", "/account", "/scenarios")


async def test_a_refused_form_shows_hostile_words_as_words(stranger: Browser):
    answer = await stranger.sign_up(email=HOSTILE, name=HOSTILE)

    assert answer.status_code == 400
    assert "<script>alert" not in answer.text
    assert typed(answer, "name") == HOSTILE


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/budget", True),
        ("/calls/x?a=b", True),
        ("budget", False),
        ("//x", False),
        ("/\n/x", False),
        ("/" + "x" * 500, False),
    ],
)
def test_only_a_path_of_this_site_is_gone_to(path: str, own: bool):
    assert frame.own_path(path) == (path if own else "/")


async def test_with_real_vendors_nothing_is_said_to_be_simulated_and_no_phone_stands_in_the_page(build: Build):
    nowhere = "http://127.0.0.1:9"
    real = {f"{vendor}_base_url": nowhere for vendor in ("twilio", "deepgram", "cerebras", "elevenlabs", "stripe")}
    cashier = {"stripe_api_key": "sk_live_1", "stripe_webhook_secret": "whsec_1"}
    carrier = {"twilio_account_sid": "AC1", "twilio_auth_token": "x", "twilio_phone_number": "+12025550199"}
    browser = Browser(await build(**real, **carrier, **cashier))
    await browser.sign_up()

    home = await browser.get("/")
    persona = await browser.get("/personas/brad")

    assert home.status_code == persona.status_code == 200
    assert "imulated" not in home.text + persona.text
    assert 'id="handset"' not in home.text
    assert typed(home, "number") == ""
    assert "data-hear" not in persona.text
    assert (await browser.get("/mailbox?to=mia@example.org")).status_code == 404
