"""Zones that program and database server know differently: refused when written, UTC where an upgrade took one."""

import shutil
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tzdata
from tests.web.house import PASSWORD, House, problem
from tests.web.pages.browser import Browser, wrong

from callmeback.domain import zones
from callmeback.payments import warnings
from callmeback.pg.pool import Database

pytestmark = pytest.mark.anyio

NEW = "Europe/Atlantis"
SPENT = (
    "UPDATE user_credits SET spent_in_month_cents = 9000,"
    " spend_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date"
)


@pytest.fixture
def newer_zones(tmp_path: Path) -> Iterator[None]:
    """The program's data have a zone that the server's lack."""
    place = tmp_path / NEW
    place.parent.mkdir()
    shutil.copy(Path(tzdata.__file__).parent / "zoneinfo" / "Europe" / "Lisbon", place)
    zoneinfo.reset_tzpath([str(tmp_path)])
    zones.reload()
    yield
    zoneinfo.reset_tzpath()
    zones.reload()


@pytest.mark.usefixtures("newer_zones")
async def test_a_zone_that_the_database_lacks_is_refused_when_it_is_written(house: House):
    ann = await house.person(timezone="Europe/Berlin")
    registered = await house.client().post(
        "/api/auth/register", json={"email": "bob@example.org", "password": PASSWORD, "timezone": NEW}
    )
    changed = await ann.client.patch("/api/auth/me", json={"timezone": NEW})
    browser = Browser(house)
    signed_up = await browser.sign_up("mia@example.org", timezone=NEW)
    typed = await browser.send("/account", {"name": "Mia", "timezone": NEW}, shown_on="/account")
    kept = house.books.execute("SELECT email, timezone FROM users ORDER BY email").fetchall()

    assert problem(registered) == problem(changed) == (400, "unknown_timezone")
    assert (signed_up.status_code, typed.status_code) == (303, 400)
    assert wrong(typed, "timezone")
    assert [tuple(row.values()) for row in kept] == [("ann@example.org", "Europe/Berlin"), ("mia@example.org", "UTC")]


async def test_a_zone_that_an_upgrade_took_away_stops_nobody(house: House, worker: Database):
    ann, bob = await house.person(), await house.person("bob@example.org")
    house.books.execute("ALTER TABLE users DISABLE TRIGGER users_zone")
    house.books.execute("UPDATE users SET timezone = %s WHERE id = %s", (NEW, ann.id))
    house.books.execute("ALTER TABLE users ENABLE TRIGGER users_zone")
    house.books.execute(SPENT)
    months = house.books.execute("SELECT month FROM month_forecast").fetchall()
    told = await warnings.warn(worker, house.services.mailer, house.services.carrier, house.url)
    pages = [
        (await person.client.get(path)).status_code
        for person in (ann, bob)
        for path in ("/api/budget", "/api/costs?group_by=day", "/api/analytics", "/api/credits")
    ]
    renamed = await ann.client.patch("/api/auth/me", json={"name": "Ann"})

    assert [row["month"] for row in months] == [datetime.now(UTC).date().replace(day=1)] * 2
    assert told == 2
    assert set(pages) == {200}
    assert (renamed.status_code, renamed.json()["timezone"]) == (200, NEW)


async def test_a_zone_whose_name_is_an_abbreviation_too_has_its_summer(house: House):
    """The server asks its abbreviations first, and `CET` without a summer is an hour off for half of the year."""
    abbreviations = house.books.execute("SELECT DISTINCT abbrev FROM pg_timezone_abbrevs").fetchall()
    names = sorted(zones.names() & {row["abbrev"] for row in abbreviations})
    wrong_hours = [
        (name, at.month)
        for name in names
        for at in (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
        if house.row("SELECT %s::timestamptz AT TIME ZONE zone_or_utc(%s) AS here", at, name)["here"]
        != at.astimezone(zones.zone(name).info).replace(tzinfo=None)
    ]
    ann = await house.person(timezone="CET")

    assert {"CET", "EET", "MET", "WET"} <= set(names)
    assert wrong_hours == []
    assert (await ann.client.get("/api/auth/me")).json()["timezone"] == "CET"
