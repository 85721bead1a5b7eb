"""The calendar feed as calendar programs read it, its secret link, and events that are taken over."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import icalendar
import pytest
from tests.web.house import House, Person, problem

from callmeback import errors
from callmeback.domain import icalendar_text

pytestmark = pytest.mark.anyio

PHONE = "+12025550101"
DAILY = {"persona_id": "brad", "rrule": "FREQ=DAILY", "starts_at": "2026-01-01T07:00", "timezone": "Europe/Berlin"}


async def link(person: Person) -> str:
    answer = await person.client.post("/api/calendar-feed")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["url"])


async def events(client: httpx.AsyncClient, url: str) -> list[dict[str, Any]]:
    """The events of a feed, as another implementation reads them."""
    answer = await client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    calendar = icalendar.Calendar.from_ical(answer.content)
    assert calendar["VERSION"] == "2.0" and not calendar.errors
    return [
        {
            "uid": str(event["UID"]), "at": event.decoded("DTSTART"), "summary": str(event["SUMMARY"]),
            "minutes": event.decoded("DURATION") / timedelta(minutes=1),
        }
        for event in calendar.walk("VEVENT")
    ]  # fmt: skip


async def test_a_feed_shows_what_is_to_come(house: House, ann: Person):
    once = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    single = (await ann.client.post("/api/schedules", json={"persona_id": "sarah", "at": once.isoformat()})).json()
    daily = (await ann.client.post("/api/schedules", json={**DAILY, "max_minutes": 5, "context": "a secret"})).json()
    url = await link(ann)
    found = await events(house.client(), url)
    skipped = datetime.fromisoformat((await ann.client.post(f"/api/schedules/{daily['id']}/skip")).json()["at"])
    after = await events(house.client(), url)

    assert url.startswith(house.url) and url.endswith(".ics")
    assert [event for event in found if event["uid"] == f"{single['id']}@callmeback"] == [
        {"uid": f"{single['id']}@callmeback", "at": once, "summary": "Sarah calls", "minutes": 15}
    ]
    rings = [event for event in found if event["summary"] == "Brad calls"]
    assert 59 <= len(rings) <= 61
    assert {event["minutes"] for event in rings} == {5}
    assert len({event["uid"] for event in found}) == len(found)
    assert rings[0]["at"] == datetime.fromisoformat(daily["at"])
    # What was left out is gone, and every other time keeps its name.
    assert [event["uid"] for event in after] == [event["uid"] for event in found if event["uid"] != rings[0]["uid"]]
    assert next(event["at"] for event in after if event["summary"] == "Brad calls") == skipped


async def test_a_feed_tells_nothing_personal(house: House, ann: Person):
    await ann.client.post("/api/schedules", json={**DAILY, "context": "my divorce"})
    text = (await house.client().get(await link(ann))).text

    assert "divorce" not in text
    assert "2025550101" not in text
    assert ann.email not in text
    assert ann.id not in text


async def test_a_feed_is_sent_again_only_when_it_changed(house: House, ann: Person):
    url, client = await link(ann), house.client()
    first = await client.get(url)
    same = await client.get(url, headers={"If-None-Match": first.headers["etag"]})
    await ann.client.post("/api/schedules", json=DAILY)
    changed = await client.get(url, headers={"If-None-Match": first.headers["etag"]})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_a_link_is_secret_renewed_and_taken_away(house: House, ann: Person):
    client = house.client()
    none = await ann.client.get("/api/calendar-feed")
    old = await link(ann)
    since = await ann.client.get("/api/calendar-feed")
    new = await link(ann)
    stored = house.row("SELECT * FROM calendar_feeds")
    statuses = [(await client.get(url)).status_code for url in (old, new, f"{house.url}/calendar/x.ics", new[:-4])]
    await ann.client.delete("/api/calendar-feed")

    assert problem(none) == (404, "not_found")
    assert set(since.json()) == {"created_at"}
    assert statuses == [404, 200, 404, 404]
    assert new.rpartition("/")[2].removesuffix(".ics") not in str(stored)
    assert (await client.get(new)).status_code == 404


async def test_a_paused_schedule_is_not_shown(house: House, ann: Person):
    made = (await ann.client.post("/api/schedules", json={**DAILY, "starts_at": "2026-01-01T07:00"})).json()
    await ann.client.patch(f"/api/schedules/{made['id']}", json={"paused": True})

    assert len(await events(house.client(), await link(ann))) == 0


def event(*lines: str) -> str:
    inner = "\r\n".join(lines)
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Somebody//EN\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\n"
        f"DTSTAMP:20260101T000000Z\r\n{inner}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


async def take(person: Person, *lines: str) -> httpx.Response:
    return await person.client.post("/api/schedules/import", json={"ics": event(*lines), "persona_id": "brad"})


async def test_an_event_with_a_rule_is_taken_over(ann: Person):
    answer = await take(
        ann,
        "DTSTART;TZID=America/New_York:20580107T070000",
        "RRULE:FREQ=WEEKLY;BYDAY=MO,",
        " WE;COUNT=10",
        "SUMMARY:Plans\\, and",
        "  coffee",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "TRIGGER:-PT10M",
        "SUMMARY:not this",
        "END:VALARM",
    )
    made = answer.json()

    assert answer.status_code == 201, answer.text
    assert (made["kind"], made["rrule"], made["timezone"]) == (
        "recurring", "FREQ=WEEKLY;BYDAY=MO,WE;COUNT=10", "America/New_York",
    )  # fmt: skip
    assert (made["starts_at"], made["context"]) == ("2058-01-07T07:00:00", "Plans, and coffee")
    assert made["at"] == "2058-01-07T07:00:00-05:00"


async def test_single_events_are_taken_over_by_their_instant(ann: Person):
    zoned = (await take(ann, "DTSTART;TZID=Asia/Tokyo:20580107T070000")).json()
    utc = (await take(ann, "DTSTART:20580107T070000Z")).json()
    floating = (await take(ann, "DTSTART:20580107T070000")).json()

    assert [made["kind"] for made in (zoned, utc, floating)] == ["once"] * 3
    assert [made["at"] for made in (zoned, utc, floating)] == [
        "2058-01-06T22:00:00Z", "2058-01-07T07:00:00Z", "2058-01-07T06:00:00Z",
    ]  # fmt: skip


async def test_events_that_ask_for_more_are_refused_in_clear_words(ann: Person):
    start = "DTSTART:20580107T070000Z"
    bodies = [
        (await take(ann, *lines)).json()
        for lines in (
            (start, "RRULE:FREQ=DAILY", "EXDATE:20580108T070000Z"),
            (start, "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"),
            ("DTSTART;VALUE=DATE:20580107",),
            ("SUMMARY:no start",),
            (start, "STATUS:CANCELLED"),
            ("DTSTART:20580230T070000Z",),
            (start, "END:VEVENT", "BEGIN:VEVENT", start),
            ("DTSTART;TZID=Middle Earth:20580107T070000",),
            (start, "RRULE:FREQ=SECONDLY"),
            ("DTSTART:20200107T070000Z",),
        )
    ]

    assert [body["code"] for body in bodies] == ["calendar_invalid"] * 7 + [
        "unknown_timezone", "recurrence_too_frequent", "time_past",
    ]  # fmt: skip
    assert "EXDATE can't be taken over" in bodies[0]["detail"]
    assert "whole day" in bodies[2]["detail"]


@pytest.mark.parametrize("text", ["x", "BEGIN:VCALENDAR", "END:VEVENT\r\n", "<html>", "BEGIN:VEVENT\r\nEND:VCALENDAR"])
def test_what_is_no_calendar_is_refused(text: str):
    with pytest.raises(errors.CalendarInvalid):
        icalendar_text.read(text)


def test_lines_are_folded_and_texts_escaped_as_another_implementation_reads_them():
    summary = "Ж" * 60 + "; a, b \\ c\nd"
    text = icalendar_text.write(
        "Calls",
        [icalendar_text.Event(uid="1", begin=datetime(2058, 1, 1, tzinfo=UTC), minutes=5,
                              changed_at=datetime(2026, 1, 1, tzinfo=UTC), summary=summary)],
    )  # fmt: skip
    [found] = icalendar.Calendar.from_ical(text).walk("VEVENT")

    assert max(len(line.encode()) for line in text.split("\r\n")) <= 75
    assert str(found["SUMMARY"]) == summary
