"""Races that have a name: what a call begins with must still be true when it begins, and its price must stay."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from tests.money import proofs
from tests.money.hammer import CARD

Connection = psycopg.Connection[Any]

USER, PHONE = "user_1", "+12025550123"
WAIT_S_MAX = 30.0
WAITER = "waiting call"
WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    f" AND application_name = '{WAITER}' AND wait_event_type = 'Lock'"
)
START = "SELECT start_call(%s, %s, 'brad', %s, %s, %s)"


@pytest.fixture
def books(database_url: str) -> Iterator[Connection]:
    """A person with a verified number and credits."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT register_user(%s, 'ann@example.org', 'x', 'Ann', 'UTC', %s)", (USER, PHONE))
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT set_tier(%s, 'premium')", (USER,))
        connection.execute("SELECT move_credits(%s, 100, 'purchase', 'purchase:1')", (USER,))
        connection.execute("SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)", (CARD, *CARD.split("|")))
        yield connection


def begin(connection: Connection, call_id: str) -> None:
    connection.execute(START, (call_id, USER, PHONE, CARD, datetime.now(UTC).date()))


class Waiting:
    """A call that is asked for while something else holds the account or the person."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.state: str | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True, application_name=WAITER) as connection:
            try:
                begin(connection, "call_1")
                self.state = "started"
            except psycopg.Error as exc:
                self.state = exc.sqlstate

    def until_it_waits(self, books: Connection) -> None:
        """Return once it waits for a lock, or is over."""
        deadline = time.monotonic() + WAIT_S_MAX
        while self._thread.is_alive() and time.monotonic() < deadline:
            if books.execute(WAITS).fetchone() == (1,):
                return
            time.sleep(0.01)

    def ended(self) -> str | None:
        self._thread.join(WAIT_S_MAX)
        return self.state


# What happens to a person in one transaction while a call of theirs waits.
MEANWHILE = {
    "erased": "SELECT erase_user('user_1', 'person')",
    "blocked": "UPDATE users SET blocked_at = now() WHERE id = 'user_1'",
    "blocked, with the account": "WITH a AS (UPDATE user_credits SET updated_at = now())"
    " UPDATE users SET blocked_at = now() WHERE id = 'user_1'",
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_m17_nobody_is_called_who_was_erased_or_blocked_meanwhile(
    books: Connection, database_url: str, what: str
) -> None:
    with psycopg.connect(database_url) as other:
        other.execute(MEANWHILE[what])
        waiting = Waiting(database_url)
        waiting.until_it_waits(books)
        other.commit()
        answer = waiting.ended()

    assert answer == "CM010"
    assert books.execute("SELECT count(*) FROM calls").fetchone() == (0,)


def test_who_is_blocked_no_more_is_called_again(books: Connection) -> None:
    books.execute("UPDATE users SET blocked_at = now()")
    with pytest.raises(psycopg.Error) as refused:
        begin(books, "call_1")
    books.execute("UPDATE users SET blocked_at = NULL")
    begin(books, "call_2")

    assert refused.value.sqlstate == "CM010"
    assert books.execute("SELECT id FROM calls").fetchall() == [("call_2",)]


def test_m11_a_price_that_comes_into_force_while_rates_change_is_never_lost(
    books: Connection, database_url: str
) -> None:
    """A rate agreed for a later time; its time comes while another change of rates is not yet committed."""
    rate = (
        "INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)"
        " VALUES ('twilio', 'voice-outbound', 'second', clock_timestamp() + %s, %s, 60, 'test')"
    )
    books.execute(rate, ("0.6 seconds", 2))
    with psycopg.connect(database_url) as other:
        other.execute(rate, ("1 day", 3))
        books.execute("SELECT pg_sleep(0.7)")
        begin(books, "call_1")
        other.commit()
    books.execute("SELECT advance_call(%s, 'call_1', 'in_progress', 'CA1')", (USER,))
    settled = books.execute(
        "SELECT settled, cost_cents FROM finish_call(%s, 'call_1', 'completed', 'hung_up', 1, 60)", (USER,)
    ).fetchone()

    assert settled is not None
    assert (settled[0], float(settled[1])) == (True, 2.0)
    assert proofs.broken(books, proofs.ALWAYS | proofs.AT_REST) == {}


@pytest.mark.parametrize("status", ["initiating", "calling", "connected", "in_progress", None])
def test_c01_a_call_never_ends_in_a_status_that_is_no_end(books: Connection, status: str | None) -> None:
    begin(books, "call_1")
    with pytest.raises(psycopg.Error) as refused:
        books.execute("SELECT finish_call(%s, 'call_1', %s, 'hung_up')", (USER, status))

    assert refused.value.sqlstate == "CM007"
    assert books.execute("SELECT status, hold_open FROM calls").fetchone() == ("initiating", True)


def test_m13_a_call_without_a_day_is_refused(books: Connection) -> None:
    with pytest.raises(psycopg.Error) as refused:
        books.execute(START, ("call_1", USER, PHONE, CARD, None))

    assert refused.value.sqlstate == "CM021"


def test_m12_a_limit_of_nothing_cuts_even_with_the_cut_off_off(books: Connection) -> None:
    """0 means no spending: it refuses the next call, so it ends the one that goes on."""
    begin(books, "call_1")
    books.execute(
        "INSERT INTO user_budget_settings (user_id, max_cost_per_call_cents, enable_auto_cutoff) VALUES (%s, 0, false)",
        (USER,),
    )
    limit = books.execute(
        "SELECT limit_cents FROM meter_calls("
        "%s, '{call_1}', '{1}', '{1}', '{1}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}')",
        ([USER],),
    ).fetchone()

    assert limit == (0,)
