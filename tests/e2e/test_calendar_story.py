"""The story of the calendar in Chromium, on a real `callmeback up`: a rule with its preview, a skip, a move, a rest,
a call in ten minutes, and what was missed."""

import re

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.cli.test_up import Installation
from tests.e2e.browser import PHONE_SIZED, WIDE, no_sideways, opened, picture, sign_up, verify_phone

pytestmark = pytest.mark.slow

# What nobody can wait for: a call that came due while nothing ran.
MISSED = """
INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time)
SELECT 'sch_missed', u.id, 'sarah', u.phone, now() + interval '1 hour' FROM users AS u WHERE u.email = 'mia@example.org'
"""
LATE = """
UPDATE scheduled_calls SET scheduled_time = now() - interval '2 days', status = 'missed', outcome = 'downtime'
WHERE id = 'sch_missed'
"""
EVENT = """BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
DTSTART;TZID=Europe/Berlin:20260106T064500
RRULE:FREQ=WEEKLY;BYDAY=TU
SUMMARY:Swimming
END:VEVENT
END:VCALENDAR
"""


def test_the_story_of_the_calendar(chromium: Browser, site: str, installation: Installation) -> None:
    with opened(chromium, site, viewport=WIDE, color_scheme="light") as page:
        sign_up(page, "mia@example.org")
        verify_phone(page)
        with psycopg.connect(installation.running()["owner_dsn"]) as owner:
            owner.execute(MISSED)
            owner.execute(LATE)
        page.get_by_role("link", name="Calendar", exact=True).click()
        expect(page.get_by_text("Nothing is planned")).to_be_visible()
        plan_by_a_rule(page)
        change_one_time(page)
        rest_and_wake(page)
        call_soon(page)
        link_calendars(page)
        state = page.context.storage_state()
    with opened(chromium, site, storage_state=state, **PHONE_SIZED) as page:
        for path in ("/calendar", "/calendar/new?pick=weekdays-7", "/calendar/new?pick=tonight"):
            page.goto(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            no_sideways(page)
            picture(page, {"/calendar": "phone-11-calendar"}.get(path, ""))


def plan_by_a_rule(page: Page) -> None:
    page.get_by_role("link", name="Every weekday at 7:00").click()
    expect(page.get_by_role("heading", name="It rings every weekday at 7:00")).to_be_visible()
    page.get_by_label("Again", exact=True).select_option("by a rule")
    page.get_by_label("The rule", exact=True).fill("FREQ=SECONDLY")
    page.get_by_label("The rule", exact=True).press("Enter")
    expect(page.locator("#rrule-wrong")).to_be_visible()
    page.get_by_label("Again", exact=True).select_option("every weekday")
    expect(page.get_by_label("The rule", exact=True)).to_be_hidden()
    page.get_by_label("Who calls").select_option("Alex")
    page.get_by_label("What is it about?").fill("Ask me what I want to have done by noon.")
    page.get_by_role("button", name="Show when it rings").click()
    expect(page.locator(".times li")).to_have_count(10)
    expect(page.locator(".times b")).to_have_text(["07:00"] * 10)
    expect(page.locator(".changes li")).to_have_count(2)
    page.locator(".preview").scroll_into_view_if_needed()
    picture(page, "calendar-01-preview")
    page.get_by_role("button", name="Plan it").click()
    expect(page.get_by_role("status").first).to_contain_text("Planned.")
    expect(page.locator(".ring-at").first).to_have_text("07:00")
    picture(page, "calendar-02-planned")


def change_one_time(page: Page) -> None:
    page.get_by_role("button", name="Skip once").click()
    expect(page.get_by_role("status").first).to_contain_text("Left out.")
    page.locator("#main .line").first.click()
    expect(page.get_by_role("heading", name=re.compile("^Next:"))).to_be_visible()
    page.get_by_label("at", exact=True).fill("08:15")
    picture(page, "calendar-03-one")
    page.get_by_role("button", name="Move it").click()
    expect(page.get_by_role("status").first).to_contain_text("Moved.")
    expect(page.locator(".ring-at").first).to_have_text("08:15")
    expect(page.locator(".ring-at").nth(1)).to_have_text("07:00")


def rest_and_wake(page: Page) -> None:
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Resting since")).to_be_visible()
    expect(page.locator(".ring-at")).to_have_count(0)
    page.get_by_role("button", name="Wake").click()
    expect(page.locator(".ring-at").first).to_be_visible()


def call_soon(page: Page) -> None:
    page.get_by_label("Who", exact=True).select_option("Brad")
    page.get_by_role("button", name="Call me in 10 minutes").click()
    expect(page.locator("#main .line").first).to_contain_text("Brad")
    expect(page.get_by_text("We were down at that time.")).to_be_visible()
    page.get_by_role("heading", name="What didn't come about").scroll_into_view_if_needed()
    picture(page, "calendar-04-missed")


def link_calendars(page: Page) -> None:
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Your secret link").input_value()
    feed = page.request.get(link)
    assert feed.status == 200
    assert "SUMMARY:Alex calls" in feed.text()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.get_by_text("Get a call for an event of yours").click()
    page.get_by_label("A file of one event (.ics)").set_input_files(
        files=[{"name": "swim.ics", "mimeType": "text/calendar", "buffer": EVENT.encode()}]
    )
    page.get_by_role("button", name="Show what it would be").click()
    expect(page.get_by_role("heading", name="It rings on Tuesdays at 6:45")).to_be_visible()
