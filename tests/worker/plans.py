"""People and their calls to come, by the owner's hand, for tests of schedules."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from callmeback.domain import costs, due
from callmeback.domain.due import Placed
from callmeback.pg.pool import Database
from callmeback.settings import Settings

SETTINGS = Settings.from_env({})
CARD = costs.card_name(SETTINGS)
Row = dict[str, Any]


class Plans:
    """The tests' hand in the database."""

    def __init__(self, database_url: str) -> None:
        self.books: psycopg.Connection[Row] = psycopg.connect(database_url, autocommit=True, row_factory=dict_row)
        self._people = 0
        self._calls = 0

    def person(self, *, credits: int = 100, timezone: str = "UTC") -> str:
        """Somebody on the basic tier, with a verified number."""
        self._people += 1
        user, number = f"user_{self._people}", f"+1202{5550000 + self._people:07}"
        self.books.execute(
            "SELECT register_user(%s, %s, 'x', 'Ann', %s, %s)", (user, f"{user}@example.org", timezone, number)
        )
        self.books.execute("UPDATE phones SET verified_at = now() WHERE user_id = %s", (user,))
        self.books.execute("SELECT set_tier(%s, 'basic')", (user,))
        if credits:
            self.books.execute("SELECT move_credits(%s, %s, 'promotion', %s)", (user, credits, f"test:{user}"))

        return user

    def call(self, user: str, at: datetime | None = None, **wishes: object) -> str:
        """A call to come of this person, due now unless `at` says otherwise."""
        self._calls += 1
        columns = {
            "id": f"sch_{self._calls}",
            "user_id": user,
            "persona_id": "brad",
            "phone_number": self.value("SELECT number FROM phones WHERE user_id = %s LIMIT 1", user),
            "scheduled_time": at or now(),
            **wishes,
        }
        self.books.execute(
            f"INSERT INTO scheduled_calls ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})".encode(),
            list(columns.values()),
        )

        return str(columns["id"])

    def schedule(self, user: str, rrule: str, starts: str, timezone: str = "UTC", **wishes: object) -> str:
        """What repeats."""
        self._calls += 1
        columns = {
            "id": f"rep_{self._calls}",
            "user_id": user,
            "persona_id": "brad",
            "phone_number": self.value("SELECT number FROM phones WHERE user_id = %s LIMIT 1", user),
            "rrule": rrule,
            "starts_at_local": starts,
            "timezone": timezone,
            **wishes,
        }
        self.books.execute(
            f"INSERT INTO call_schedules ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})".encode(),
            list(columns.values()),
        )

        return str(columns["id"])

    def row(self, planned: str) -> Row:
        """A call to come, as it stands."""
        found = self.books.execute("SELECT * FROM scheduled_calls WHERE id = %s", (planned,)).fetchone()
        assert found is not None

        return found

    def state(self, planned: str) -> tuple[str, str | None]:
        """Its status and outcome."""
        found = self.row(planned)

        return found["status"], found["outcome"]

    def rows(self, schedule: str) -> list[Row]:
        """What a schedule has made so far, in the order of time."""
        return self.books.execute(
            "SELECT * FROM scheduled_calls WHERE schedule_id = %s ORDER BY scheduled_time", (schedule,)
        ).fetchall()

    def value(self, query: str, *values: object) -> Any:
        """The first column of the one row."""
        found = self.books.execute(query.encode(), values).fetchone()
        assert found is not None

        return next(iter(found.values()))

    def finish(self, planned: str, status: str, reason: str = "test") -> None:
        """The call that was placed ends so."""
        row = self.row(planned)
        self.books.execute("SELECT finish_call(%s, %s, %s, %s)", (row["user_id"], row["call_id"], status, reason))

    def forget_lease(self, planned: str) -> None:
        """As if the lease had run out."""
        self.books.execute("UPDATE scheduled_calls SET lease_until = '-infinity' WHERE id = %s", (planned,))


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def ago(**units: float) -> datetime:
    """A moment that is past."""
    return now() - timedelta(**units)


async def ring(worker: Database, most: int = 100) -> list[Placed]:
    """One batch, claimed and begun."""
    async with worker.transaction() as tx:
        claimed = await due.claim(tx, "test", most)
    if not claimed:
        return []
    async with worker.transaction() as tx:
        return await due.place(tx, claimed, CARD)
