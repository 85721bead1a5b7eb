"""People who write while primaries die: each operation is made again, with the same names, until it is acknowledged.

So what must be in the database at the end is known exactly: everything that was tried, once.
"""

import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg
from tests.money.hammer import CARD, FINISH, MOVE, PERSONAS, START, usage

PAUSE_S: Final = 0.05
CONNECT_TIMEOUT_S: Final = 3
# More than one person can talk away in a run.
CREDITS: Final = 50_000
# A claim whose answer was lost comes back after it.
LEASE: Final = "5 seconds"

ADD: Final = """
    INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time, latest_start_at)
    VALUES (%s, %s, %s, %s, now(), now() + interval '1 hour') ON CONFLICT DO NOTHING"""
CLAIM: Final = f"SELECT id, user_id, claims FROM claim_due(%s, 20, '{LEASE}')"
PLACE: Final = "SELECT id, status, outcome FROM place_due(%s, %s, %s, %s, %s)"
OPEN: Final = "SELECT user_id, call_id FROM open_calls WHERE user_id = %s"


class Person(msgspec.Struct, frozen=True):
    user_id: str
    phone: str


class Diary:
    """What was acknowledged, and when. Filled by many threads, each list by appending only.

    The names of all that is written carry the diary's own, so that no other run made them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[str, str]] = []
        self.causes: list[tuple[str, str]] = []
        self.schedules: list[tuple[str, str]] = []
        self.placed: list[tuple[str, str]] = []
        self.acknowledged_at: list[float] = []
        self.lost_connections = 0
        self.unexpected: list[str] = []
        self.over = threading.Event()

    def gap(self, since: float) -> float:
        """The longest time without an acknowledged write since then, in seconds."""
        moments = sorted([since, *(at for at in self.acknowledged_at if at >= since), time.monotonic()])

        return max(after - before for before, after in itertools.pairwise(moments))


class Writer:
    """One person's own thread and connection; `work` goes on until the diary is over, and finishes what it began."""

    def __init__(self, dsn: str, diary: Diary, person: Person) -> None:
        self.dsn, self.diary, self.person = dsn, diary, person
        self.connection: psycopg.Connection[Any] | None = None
        self.numbers = 0

    def work(self) -> None:
        try:
            while not self.diary.over.is_set():
                self.numbers += 1
                self.one_round(f"{self.diary.name}_{self.person.user_id}_{self.numbers}")
                time.sleep(PAUSE_S)
        except Exception as exc:
            # Kept for the test, which fails by it: what a thread raises nobody would see.
            self.diary.unexpected.append(repr(exc))
        finally:
            if self.connection is not None:
                self.connection.close()

    def one_round(self, name: str) -> None:
        raise NotImplementedError

    def surely(self, statement: str, params: Any, *, writes: bool = True) -> list[Any]:
        """The answer, after as many tries as it takes; an error that isn't the lost server's is kept and raised."""
        while True:
            try:
                if self.connection is None:
                    self.connection = psycopg.connect(self.dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
                cursor = self.connection.execute(statement, params)
                rows = cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError as exc:
                if exc.sqlstate is not None and not exc.sqlstate.startswith(("57P", "08")):
                    raise
                self.diary.lost_connections += 1
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
                time.sleep(PAUSE_S)
                continue
            if writes:
                self.diary.acknowledged_at.append(time.monotonic())

            return rows


class Caller(Writer):
    """Buys credits, calls, and hangs up."""

    def one_round(self, name: str) -> None:
        person, cause, call_id = self.person, f"purchase:{name}", f"call_{name}"
        self.surely(MOVE, (person.user_id, 5, "purchase", cause))
        self.diary.causes.append((person.user_id, cause))
        order = {
            "call_id": call_id, "user_id": person.user_id, "persona": PERSONAS[0], "phone": person.phone,
            "card": CARD, "day": datetime.now(UTC).date(), "seconds": 60, "key": f"key_{name}", "hash": b"body",
        }  # fmt: skip
        assert [row[0] for row in self.surely(START, order)] == [call_id]
        self.hang_up(call_id)
        self.diary.calls.append((person.user_id, call_id))

    def hang_up(self, call_id: str) -> None:
        end = {"user_id": self.person.user_id, "call_id": call_id, "status": "completed", "reason": "hung_up"}
        self.surely(FINISH, end | {"seq": 3, "charged": True} | usage(call_id, 3))


class Planner(Caller):
    """Plans a call for now, and waits until a worker has placed it; then hangs up."""

    def one_round(self, name: str) -> None:
        person, planned = self.person, f"scheduled_{name}"
        self.surely(ADD, (planned, person.user_id, PERSONAS[0], person.phone))
        self.diary.schedules.append((person.user_id, planned))
        while not (found := self.surely(OPEN, (person.user_id,), writes=False)):
            if self.diary.unexpected:
                return
            time.sleep(PAUSE_S)
        for _, call_id in found:
            self.hang_up(call_id)
            self.diary.calls.append((person.user_id, call_id))


class Worker(Writer):
    """Places calls whose time has come, as a worker process does; several run at once."""

    def one_round(self, name: str) -> None:
        due = self.surely(CLAIM, (self.person.user_id,))
        if not due:
            return
        ids, claims = [row[0] for row in due], [row[2] for row in due]
        # The id of the call is another at each claim: only the fence keeps a call from being placed twice.
        calls = [f"call_{claim}_{planned}_1" for planned, claim in zip(ids, claims, strict=True)]
        days = [datetime.now(UTC).date()] * len(ids)
        for planned, status, outcome in self.surely(PLACE, (ids, claims, calls, days, CARD)):
            if (status, outcome) != ("executed", None):
                self.diary.unexpected.append(f"{planned} became {status}: {outcome}")
            self.diary.placed.append((planned, calls[ids.index(planned)]))


def populate(dsn: str, number: int) -> list[Person]:
    """People of the tier without a limit of calls."""
    people = [Person(f"user_{n}", f"+1202555{n:04}") for n in range(number)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        for n, person in enumerate(people):
            connection.execute(
                "SELECT register_user(%s, %s, 'x', NULL, 'UTC', %s)",
                (person.user_id, f"{n}@example.org", person.phone),
            )
            connection.execute("UPDATE phones SET verified_at = now() WHERE user_id = %s", (person.user_id,))
            connection.execute("SELECT set_tier(%s, 'premium')", (person.user_id,))
            connection.execute("SELECT move_credits(%s, %s, 'purchase', 'purchase:first')", (person.user_id, CREDITS))
            connection.execute(
                "INSERT INTO user_budget_settings (user_id, max_cost_per_call_cents, max_monthly_spend_cents,"
                " enable_auto_cutoff) VALUES (%s, 100000, 1000000, false) ON CONFLICT (user_id) DO UPDATE SET"
                " max_cost_per_call_cents = 100000, max_monthly_spend_cents = 1000000, enable_auto_cutoff = false",
                (person.user_id,),
            )

    return people


Kind = Callable[[str, Diary, Person], Writer]


def start(dsn: str, diary: Diary, kinds: list[tuple[Kind, Person]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=kind(dsn, diary, person).work) for kind, person in kinds]
    for thread in threads:
        thread.start()

    return threads
