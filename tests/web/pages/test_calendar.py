"""The calendar in the pages: planning, preview with both clock changes, moving, resting, skipping, what was missed."""

import html
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.web.house import House
from tests.web.pages.browser import PHONE, Browser, all_wrong, typed, wrong
from tests.web.pages.test_paying import words

from callmeback.web.pages import planner

pytestmark = pytest.mark.anyio

WEEKDAYS = {
    "persona_id": "brad", "day": "2026-01-05", "time": "07:00", "repeat": "weekdays", "ends": "never",
    "retries_max": "0", "retry_after": "10",
}  # fmt: skip
ONCE = {**WEEKDAYS, "day": "2058-03-28", "time": "09:30", "repeat": "once"}


@pytest.fixture
async def mia(mia: Browser) -> Browser:
    """Mia, whose number is proved."""
    await mia.prove_phone()

    return mia


async def plan(person: Browser, **form: str) -> httpx.Response:
    return await person.send("/calendar", {"step": "plan", **form}, shown_on="/calendar")


async def only_plan(person: Browser) -> dict[str, object]:
    [found] = (await person.client.get("/api/schedules")).json()["items"]

    return dict(found)


async def do(person: Browser, what: str, **form: str) -> httpx.Response:
    found = await only_plan(person)

    return await person.send(f"/calendar/calls/{found['id']}/{what}".rstrip("/"), form, shown_on="/calendar")


async def test_an_empty_calendar_offers_what_people_want(mia: Browser):
    page = await mia.get("/calendar")

    assert "Nothing is planned" in words(page)
    for pick in planner.PICKS:
        assert f'href="/calendar/new?pick={pick.key}"' in page.text
        shown = await mia.get(f"/calendar/new?pick={pick.key}")
        assert "It rings" in words(shown), pick.key
        assert "UTC+" in words(shown), pick.key


async def test_a_call_in_ten_minutes_is_one_tap(mia: Browser):
    before = datetime.now(UTC)
    answer = await mia.send("/calendar/soon", {"persona_id": "sarah"}, shown_on="/calendar")
    planned = await only_plan(mia)
    at = datetime.fromisoformat(str(planned["at"]))

    assert answer.headers["location"] == "/calendar?done=planned"
    assert (planned["persona_id"], planned["phone_number"], planned["kind"]) == ("sarah", PHONE, "once")
    assert timedelta(minutes=9) < at - before < timedelta(minutes=11)
    assert "Sarah" in words(await mia.get("/calendar"))


async def test_c06_a_preview_shows_ten_times_and_both_clock_changes_and_plans_nothing(mia: Browser):
    answer = await mia.send("/calendar", {**WEEKDAYS, "step": "preview"}, shown_on="/calendar")
    text = words(answer)

    assert answer.status_code == 200
    assert "It rings every weekday at 7:00" in text
    assert len(re.findall(r"<li><span>[^<]+</span> <b class=\"nums\">07:00</b>", answer.text)) == 10
    changes = sorted(
        re.findall(
            r"(forward|back) an hour\. Before it rings at 07:00 \((UTC\+\d)\), from then on at 07:00 \((UTC\+\d)\)",
            text,
        )
    )
    assert changes == [("back", "UTC+2", "UTC+1"), ("forward", "UTC+1", "UTC+2")]
    assert (await mia.client.get("/api/schedules")).json()["items"] == []


async def test_c06_a_time_that_does_not_exist_is_said_in_the_preview(mia: Browser):
    form = {**WEEKDAYS, "repeat": "custom", "rrule": "FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "time": "02:30"}
    answer = await mia.send("/calendar", {**form, "step": "preview"}, shown_on="/calendar")

    assert "03:30 UTC+2 · the time asked for doesn't exist on that day" in words(answer)


async def test_enter_in_the_form_only_shows(mia: Browser):
    page = await mia.get("/calendar/new?pick=weekdays-7")
    buttons = re.findall(r'name="step" value="(\w+)"', page.text)

    assert buttons == ["preview", "plan"]


async def test_what_repeats_is_planned_moved_rested_skipped_and_ended(mia: Browser):
    planned = await plan(mia, **WEEKDAYS)
    calendar = words(await mia.get("/calendar?done=planned"))
    first = await only_plan(mia)
    skipped = await do(mia, "skip")
    second = await only_plan(mia)
    day = (datetime.fromisoformat(str(second["at"])) + timedelta(days=1)).date().isoformat()
    moved = await do(mia, "move", step="move", move_day=day, move_time="18:15")
    third = await only_plan(mia)
    shown = words(await mia.get(f"/calendar/calls/{third['id']}"))
    rested = await do(mia, "pause", paused="yes")
    resting = words(await mia.get("/calendar"))
    woken = await do(mia, "pause", paused="no")
    awake = await only_plan(mia)
    ended = await do(mia, "end")

    assert planned.headers["location"] == "/calendar?done=planned"
    assert "Brad , every weekday at 7:00 Wherever you are" in calendar
    assert calendar.count("07:00 Brad") + calendar.count("07:00 B") >= 9
    assert skipped.headers["location"] == "/calendar?done=skipped"
    assert str(second["at"]) > str(first["at"])
    assert moved.headers["location"] == "/calendar?done=moved"
    assert datetime.fromisoformat(str(third["at"])) > datetime.fromisoformat(str(second["at"]))
    assert "18:15" in shown
    assert rested.headers["location"] == "/calendar?done=paused"
    assert "Resting since" in resting and "Nothing is planned" in resting
    assert woken.headers["location"] == "/calendar?done=resumed"
    assert awake["status"] == "active"
    assert ended.headers["location"] == "/calendar?done=ended"
    assert (await only_plan(mia))["status"] == "ended"


async def test_a_time_that_was_left_out_is_not_shown_as_coming(mia: Browser):
    await plan(
        mia,
        **WEEKDAYS,
    )
    before = re.findall(r'class="ring-at nums">', (await mia.get("/calendar")).text)
    await do(mia, "skip")
    after = re.findall(r'class="ring-at nums">', (await mia.get("/calendar")).text)

    assert len(before) - len(after) == 1


async def test_a_schedule_ends_after_so_many_calls(mia: Browser):
    answer = await plan(mia, **{**WEEKDAYS, "repeat": "daily", "ends": "after", "ends_after": "3"})
    page = await mia.get("/calendar")

    assert answer.status_code == 303
    assert page.text.count('class="ring-at nums">') == 3
    assert "2 more after the next" in words(page)


async def test_a_saved_form_keeps_what_it_doesn_t_show(mia: Browser):
    """The page asks how often and how soon is tried again; the rest may come from the API."""
    await plan(mia, **ONCE)
    finer = {"within_minutes": 30, "on_busy": False, "on_no_answer": True}
    mia.house.books.execute("UPDATE scheduled_calls SET retry_within_minutes = 30, retry_on_busy = false")
    await do(mia, "", **{**ONCE, "retries_max": "2", "retry_after": "7", "step": "plan"})

    assert (await only_plan(mia))["retries"] == {"max": 2, "after_minutes": 7, **finer}


async def test_a_single_call_is_planned_on_one_s_own_clock_and_changed(mia: Browser):
    await plan(mia, **ONCE)
    planned = await only_plan(mia)
    page = await mia.get(f"/calendar/calls/{planned['id']}")
    form = {**ONCE, "time": "10:00", "persona_id": "alex", "context": "The dentist.", "step": "plan"}
    changed = await do(mia, "", **form)
    after = await only_plan(mia)
    taken_back = await do(mia, "end")

    assert datetime.fromisoformat(str(planned["at"])) == datetime(2058, 3, 28, 8, 30, tzinfo=UTC)
    assert (typed(page, "day"), typed(page, "time")) == ("2058-03-28", "09:30")
    assert changed.headers["location"] == "/calendar?done=changed"
    assert datetime.fromisoformat(str(after["at"])) == datetime(2058, 3, 28, 9, 0, tzinfo=UTC)
    assert (after["persona_id"], after["context"]) == ("alex", "The dentist.")
    assert taken_back.headers["location"] == "/calendar?done=ended"


async def test_a_wrong_day_hides_no_other_wrong_field(mia: Browser):
    form = {**ONCE, "day": "someday", "context": "x" * 2001, "max_minutes": "many", "step": "plan"}
    answer = await mia.send("/calendar", form, shown_on="/calendar")

    assert all_wrong(answer) == {"day", "context", "max_minutes"}


async def test_seconds_of_a_time_are_shown_and_kept(mia: Browser):
    rule = {**WEEKDAYS, "time": "07:00:30", "repeat": "daily"}
    shown = await mia.send("/calendar", {**rule, "step": "preview"}, shown_on="/calendar")
    await plan(mia, **rule)
    planned = await only_plan(mia)
    page = await mia.get(f"/calendar/calls/{planned['id']}")
    await do(mia, "", **{**rule, "time": typed(page, "time"), "context": "The news.", "step": "plan"})
    after = await only_plan(mia)

    assert "every day at 7:00:30" in words(shown) and "07:00:30" in words(shown)
    assert (after["starts_at"], after["at"], after["context"]) == ("2026-01-05T07:00:30", planned["at"], "The news.")


async def test_a_time_that_is_saved_as_it_was_stays_to_the_fraction_of_a_second(mia: Browser):
    at = datetime(2058, 3, 28, 8, 30, 12, 345678, tzinfo=UTC)
    await plan(mia, **ONCE)
    planned = await only_plan(mia)
    mia.house.books.execute("UPDATE scheduled_calls SET scheduled_time = %s", (at,))
    page = await mia.get(f"/calendar/calls/{planned['id']}")
    await do(mia, "", **{**ONCE, "time": typed(page, "time"), "context": "The dentist.", "step": "plan"})
    after = await only_plan(mia)

    assert typed(page, "time") == "09:30:12"
    assert (datetime.fromisoformat(str(after["at"])), after["context"]) == (at, "The dentist.")


async def test_a_zone_that_newer_data_renamed_breaks_no_page(mia: Browser):
    await plan(mia, **WEEKDAYS)
    planned = await only_plan(mia)
    # It was known when it was written.
    mia.house.books.execute("ALTER TABLE users DISABLE TRIGGER users_zone")
    mia.house.books.execute("UPDATE users SET timezone = 'Europe/Gone'")
    pages = [
        *("/", "/calls", "/calendar", "/calendar/new", "/credits", "/costs", "/account"),
        f"/calendar/calls/{planned['id']}",
    ]

    assert [(path, (await mia.get(path)).status_code) for path in pages] == [(path, 200) for path in pages]


async def test_wishes_are_kept(mia: Browser):
    wishes = {
        "retries_max": "2", "retry_after": "5", "quiet_from": "22:00", "quiet_until": "07:00",
        "reminder_minutes": "15", "max_minutes": "3", "timezone": "America/New_York",
    }  # fmt: skip
    await plan(mia, **{**WEEKDAYS, **wishes})
    planned = await only_plan(mia)
    page = await mia.get(f"/calendar/calls/{planned['id']}")

    assert planned["retries"] == {
        "max": 2, "after_minutes": 5, "within_minutes": 120, "on_busy": True, "on_no_answer": True,
    }  # fmt: skip
    assert planned["quiet_hours"] == {"from": "22:00", "until": "07:00"}
    assert (planned["reminder_minutes"], planned["max_minutes"]) == (15, 3)
    assert (planned["timezone"], planned["follows_user_zone"]) == ("America/New_York", False)
    for field, value in wishes.items():
        assert typed(page, field) == value


REFUSED = [
    ({"day": "tomorrow"}, "day", "A day such as"),
    ({"time": "seven"}, "time", "A time such as"),
    ({"day": "1812-01-01"}, "day", "The year must be"),
    ({"repeat": "custom", "rrule": "FREQ=SECONDLY"}, "rrule", ""),
    ({"repeat": "custom", "rrule": ""}, "rrule", "A rule such as"),
    ({"repeat": "custom", "rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "rrule", "The rule never rings any more."),
    ({"timezone": "Mars/Olympus"}, "timezone", ""),
    ({"ends": "after", "ends_after": "0"}, "ends_after", "A whole number of calls"),
    ({"ends": "on", "ends_on": "never"}, "ends_on", "A day such as"),
    ({"retries_max": "9"}, "retries_max", "A number from 0 to 5"),
    ({"quiet_from": "22:00"}, "quiet_from", "A time such as 22:00"),
    ({"reminder_minutes": "-3"}, "reminder_minutes", "Whole minutes from 0"),
    ({"repeat": "once", "day": "2020-01-01"}, "time", "This time is past."),
    ({"persona_id": "nobody"}, "persona_id", ""),
]


async def test_what_cannot_be_planned_is_told_beside_its_field_and_what_was_typed_stays(mia: Browser):
    for changes, field, sentence in REFUSED:
        for step in ("plan", "preview"):
            if step == "preview" and field == "persona_id":
                continue
            answer = await mia.send("/calendar", {**WEEKDAYS, **changes, "step": step}, shown_on="/calendar")

            assert 400 <= answer.status_code < 500, (changes, step)
            assert html.unescape(wrong(answer, field)).startswith(sentence), (changes, step)
    assert (await mia.client.get("/api/schedules")).json()["items"] == []


async def test_without_a_number_the_way_to_one_is_shown(stranger: Browser):
    await stranger.sign_up("kim@example.org")
    page = await stranger.get("/calendar")
    answer = await stranger.send("/calendar/soon", {"persona_id": "brad"}, shown_on="/calendar")

    assert "Verify a number first." in words(page)
    assert answer.status_code == 403
    assert 'href="/phones"' in answer.text


async def test_c05_what_was_missed_is_shown_with_its_reason(mia: Browser, house: House):
    await plan(mia, **ONCE)
    planned = await only_plan(mia)
    await house.change(
        "UPDATE scheduled_calls SET status = 'missed', outcome = 'too_late', scheduled_time = now() - interval '1 day'"
        " WHERE id = %s",
        planned["id"],
    )
    page = words(await mia.get("/calendar"))
    shown = words(await mia.get(f"/calendar/calls/{planned['id']}"))

    assert "What didn't come about" in page
    assert "Its time was over before it could ring." in page
    assert "It didn't come about: its time was over before it could ring." in shown


async def test_s09_another_person_s_plan_is_out_of_reach(mia: Browser, house: House):
    await plan(mia, **WEEKDAYS)
    planned = await only_plan(mia)
    other = Browser(house)
    await other.sign_up("leo@example.org")

    assert (await other.get(f"/calendar/calls/{planned['id']}")).status_code == 404
    for what in ("", "/skip", "/pause", "/end", "/move"):
        form = {**WEEKDAYS, "step": "plan", "move_day": "2058-01-01", "move_time": "07:00"}
        answer = await other.send(f"/calendar/calls/{planned['id']}{what}", form, shown_on="/calendar")
        assert answer.status_code == 404, what
    assert "every weekday" not in words(await other.get("/calendar"))
    assert (await only_plan(mia))["status"] == "active"


EVENT = """BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
UID:1@example.org
DTSTART;TZID=Europe/Berlin:20260105T064500
RRULE:FREQ=WEEKLY;BYDAY=MO,TH
SUMMARY:Swimming\\, outdoors
END:VEVENT
END:VCALENDAR
"""


async def test_the_secret_link_is_shown_once_renewed_and_taken_away(mia: Browser, house: House):
    await plan(mia, **WEEKDAYS)
    made = await mia.send("/calendar/feed", {}, shown_on="/calendar")
    later = await mia.get("/calendar")
    renewed = await mia.send("/calendar/feed", {}, shown_on="/calendar")
    first, second = typed_link(made), typed_link(renewed)
    stranger = house.client()
    answers = [await stranger.get(link.removeprefix(house.url)) for link in (first, second)]
    removed = await mia.send("/calendar/feed/remove", {}, shown_on="/calendar")
    gone = await stranger.get(second.removeprefix(house.url))

    assert (made.status_code, renewed.status_code) == (200, 200)
    # A reload of the page that shows the link asks for the calendar, not for an address that only takes forms.
    assert made.headers["hx-push-url"] == "false"
    assert first != second
    assert first not in later.text and "There has been a secret link since" in words(later)
    assert [answer.status_code for answer in answers] == [404, 200]
    assert answers[1].headers["content-type"].startswith("text/calendar")
    assert "SUMMARY:Brad calls" in answers[1].text
    assert removed.headers["location"] == "/calendar?done=unlinked"
    assert gone.status_code == 404


def typed_link(answer: httpx.Response) -> str:
    [link] = re.findall(r'id="feed-link"[^>]* value="([^"]+)"', answer.text) or [words(answer)]

    return html.unescape(link)


async def test_an_event_is_shown_as_a_call_before_anything_is_planned(mia: Browser):
    token = await mia.token("/calendar")
    pasted = await mia.send("/calendar/import", {"ics": EVENT, "persona_id": "alex"}, shown_on="/calendar")
    sent = await mia.client.post(
        "/calendar/import",
        data={"csrf": token, "persona_id": "alex"},
        files={"file": ("swim.ics", EVENT.encode(), "text/calendar")},
    )

    for answer in (pasted, sent):
        assert answer.status_code == 200
        assert "It rings on Mondays and Thursdays at 6:45" in words(answer)
        assert (typed(answer, "day"), typed(answer, "time")) == ("2026-01-05", "06:45")
        assert typed(answer, "timezone") == "Europe/Berlin"
        assert "Swimming, outdoors" in answer.text
    assert (await mia.client.get("/api/schedules")).json()["items"] == []


async def test_what_is_no_event_is_refused_beside_its_field(mia: Browser):
    for text in ("", "nonsense", EVENT.replace("Berlin", "Atlantis"), EVENT.replace("RRULE", "RDATE"), "x" * 9_000):
        answer = await mia.send("/calendar/import", {"ics": text, "persona_id": "alex"}, shown_on="/calendar")

        assert answer.status_code == 400, text[:40]
        assert wrong(answer, "ics")
