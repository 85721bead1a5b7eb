"""Sign up, log in, log out, a forgotten password, links from mails."""

import re

import httpx
import pytest
from tests.web.house import PASSWORD
from tests.web.pages.browser import Browser, typed, wrong

pytestmark = pytest.mark.anyio


async def test_a_stranger_sees_what_this_is(stranger: Browser):
    answer = await stranger.get("/")

    assert answer.status_code == 200
    assert all(name in answer.text for name in ("Brad", "Sarah", "Alex"))
    assert "Simulated on this server: carrier, listener, brain, voice and payments." in answer.text


NO_PEOPLE = [
    ({"email": "nobody"}, "email"),
    ({"email": ""}, "email"),
    ({"password": "short"}, "password"),
    ({"password": "x" * 73}, "password"),
    ({"name": "x" * 201}, "name"),
]


async def test_sign_up_says_everything_that_is_wrong_at_once(stranger: Browser):
    answer = await stranger.send(
        "/signup", {"email": "nobody", "password": "short", "name": "x" * 201}, shown_on="/signup"
    )

    assert answer.status_code == 400
    assert wrong(answer, "email") and wrong(answer, "password") and wrong(answer, "name")


async def test_sign_up_says_what_is_wrong_and_keeps_what_was_typed(stranger: Browser):
    for form, field in NO_PEOPLE:
        answer = await stranger.sign_up(**form)

        assert answer.status_code == 400
        assert wrong(answer, field)
        assert typed(answer, "email") == form.get("email", "mia@example.org")
        assert typed(answer, "name") == form.get("name", "Mia")
        assert PASSWORD not in answer.text


async def test_sign_up_with_a_taken_address_says_so(mia: Browser):
    answer = await Browser(mia.house).sign_up()

    assert answer.status_code == 409
    assert "already has an account" in wrong(answer, "email")


async def test_sign_up_takes_the_browser_s_zone_and_forgives_a_strange_one(stranger: Browser):
    await stranger.sign_up("one@example.org")
    other = Browser(stranger.house)
    await other.sign_up("two@example.org", timezone="Middle/Earth")

    assert typed(await stranger.get("/account"), "timezone") == "Europe/Paris"
    assert typed(await other.get("/account"), "timezone") == "UTC"


FORMS = ["/signup", "/login", "/forgot-password", "/reset-password"]


async def test_a_form_from_elsewhere_is_refused(stranger: Browser):
    for path in FORMS:
        form = {"email": "mia@example.org", "password": PASSWORD, "token": "x"}
        without_any = await stranger.client.post(path, data=form)
        other = Browser(stranger.house)
        with_another_browser_s = await stranger.client.post(path, data={"csrf": await other.token("/login"), **form})

        assert (without_any.status_code, with_another_browser_s.status_code) == (403, 403)
        assert "session" not in stranger.client.cookies


WAYS = [
    ("/budget", "/budget"),
    ("//evil.example", "/"),
    ("https://evil.example", "/"),
    ("/\\evil.example", "/"),
    ("/\t/evil.example", "/"),
]


async def test_log_in_leads_to_where_one_wanted_to_go_on_this_site(mia: Browser):
    for wanted, reached in WAYS:
        browser = Browser(mia.house)
        form = {"email": "mia@example.org", "password": PASSWORD, "next": wanted}

        answer = await browser.send("/login", form, shown_on="/login")

        assert (answer.status_code, answer.headers["location"]) == (303, reached)


async def test_log_in_with_a_wrong_password_does_not_tell_whether_the_address_exists(mia: Browser):
    browser = Browser(mia.house)
    known = await browser.send("/login", {"email": "mia@example.org", "password": "wrong one"}, shown_on="/login")
    unknown = await browser.send("/login", {"email": "xia@example.org", "password": "wrong one"}, shown_on="/login")

    assert known.status_code == unknown.status_code == 401
    assert typed(known, "email") == "mia@example.org"
    assert known.text.replace("mia@", "xia@") == unknown.text


async def test_log_in_asks_for_what_is_missing(stranger: Browser):
    answer = await stranger.send("/login", {"email": "", "password": ""}, shown_on="/login")

    assert answer.status_code == 400
    assert wrong(answer, "email")
    assert wrong(answer, "password")


async def test_a_page_of_one_s_own_asks_a_stranger_to_log_in_and_comes_back(stranger: Browser):
    plain = await stranger.client.get("/budget")
    swapped = await stranger.client.get("/budget", headers={"HX-Request": "true"})

    assert (plain.status_code, plain.headers["location"]) == (303, "/login?next=%2Fbudget")
    assert (swapped.status_code, swapped.headers["hx-redirect"]) == (401, "/login?next=%2Fbudget")


async def test_a_form_sent_after_the_session_ended_leads_back_to_its_page(mia: Browser):
    site = str(mia.client.base_url)
    form = {"name": "Late", "scenario_text": "A text", "csrf": await mia.token("/scenarios")}
    await mia.client.post("/api/auth/logout", headers={"X-CSRF-Token": mia.client.cookies["csrf"]})
    led = []
    elsewhere = ("http://elsewhere.example/scenarios", f"{site}//elsewhere.example", "", "http://[")
    for page in (f"{site}/scenarios?x=1", *elsewhere):
        answer = await mia.client.post("/scenarios", data=form, headers={"Referer": page})
        led.append((answer.status_code, answer.headers["location"]))

    assert led == [(303, "/login?next=%2Fscenarios"), *[(303, "/login?next=%2F")] * len(elsewhere)]


async def test_whoever_comes_back_to_where_a_form_was_sent_begins_anew(mia: Browser):
    page = {"accept": "text/html"}
    seen = [await mia.client.get(path, headers=page) for path in ("/personas", "/credits/checkout")]
    told = await mia.client.get("/personas", headers={"accept": "application/json"})

    assert [(answer.status_code, answer.headers["location"]) for answer in seen] == [(303, "/")] * 2
    assert told.status_code == 405


async def test_log_out_ends_the_session_and_everywhere_ends_all(mia: Browser):
    other = Browser(mia.house)
    form = {"email": "mia@example.org", "password": PASSWORD}
    await other.send("/login", form, shown_on="/login")
    stolen = mia.client.cookies["session"]
    await mia.send("/logout", {}, shown_on="/account")
    thief = mia.house.client()
    thief.cookies.set("session", stolen)

    assert (await thief.get("/account")).status_code == 303
    assert (await other.client.get("/account")).status_code == 200

    await other.send("/account/logout-everywhere", {}, shown_on="/account")

    assert (await other.client.get("/account")).status_code == 303


async def test_a_forgotten_password_is_set_anew_by_the_mailed_link(mia: Browser):
    browser = Browser(mia.house)
    known = await browser.send("/forgot-password", {"email": "mia@example.org"}, shown_on="/forgot-password")
    unknown = await browser.send("/forgot-password", {"email": "xia@example.org"}, shown_on="/forgot-password")
    token = await mia.house.mail_token("mia@example.org")
    page = f"/reset-password?token={token}"
    short = await browser.send("/reset-password", {"token": token, "password": "short"}, shown_on=page)
    done = await browser.send("/reset-password", {"token": token, "password": "quite another"}, shown_on=page)
    again = await browser.send("/reset-password", {"token": token, "password": "quite another"}, shown_on=page)

    assert (known.status_code, unknown.status_code) == (200, 200)
    assert known.text.replace("mia", "xia") == unknown.text
    assert wrong(short, "password")
    assert (done.status_code, done.headers["location"]) == (303, "/login?done=reset")
    assert again.status_code == 400
    assert (await mia.client.get("/account")).status_code == 303


async def test_a_link_confirms_the_address_once(mia: Browser):
    token = await mia.house.mail_token("mia@example.org")

    assert "not confirmed yet" in (await mia.get("/account")).text
    assert (await mia.get(f"/verify-email?token={token}")).status_code == 200
    assert "not confirmed yet" not in (await mia.get("/account")).text
    assert (await mia.get(f"/verify-email?token={token}")).status_code == 400


async def test_the_simulated_mailbox_shows_the_mail_with_its_link(mia: Browser):
    answer = await mia.get("/mailbox?to=mia@example.org")

    assert answer.status_code == 200
    assert re.search(r'<a href="http://127\.0\.0\.1:\d+/verify-email\?token=', answer.text)


# Another password


NEW = "a longer sentence"


async def test_a_password_is_changed_by_the_one_in_force_and_ends_other_sessions(mia: Browser):
    other = Browser(mia.house)
    await other.send("/login", {"email": "mia@example.org", "password": PASSWORD}, shown_on="/login")
    changed = await mia.send("/account/password", {"current": PASSWORD, "password": NEW}, shown_on="/account")
    here, there = await mia.client.get("/account?done=password"), await other.client.get("/account")
    old, new = [
        (await Browser(mia.house).send("/login", {"email": "mia@example.org", "password": given}, shown_on="/login"))
        for given in (PASSWORD, NEW)
    ]

    assert changed.status_code == 303
    assert (here.status_code, "Your new password is set" in here.text) == (200, True)
    assert there.status_code == 303
    assert (old.status_code, new.status_code) == (401, 303)


async def test_a_password_is_not_changed_by_a_wrong_one_by_a_bad_one_or_from_elsewhere(mia: Browser):
    async def change(current: str, password: str) -> httpx.Response:
        return await mia.refused("/account/password", {"current": current, "password": password}, shown_on="/account")

    kept = mia.house.row("SELECT password_hash FROM users")
    bad, forged = (
        await change(PASSWORD, "short"),
        await mia.client.post("/account/password", data={"current": PASSWORD, "password": NEW}),
    )
    guesses = [await change(f"guess {number}", NEW) for number in range(10)]
    locked = await change(PASSWORD, NEW)

    assert forged.status_code == 403
    assert wrong(bad, "password")
    assert {wrong(guess, "current") for guess in guesses} == {"This isn't your password."}
    assert "Too many" in locked.text
    assert mia.house.row("SELECT password_hash FROM users") == kept
