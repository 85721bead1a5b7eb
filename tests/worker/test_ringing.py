"""The worker's two loops: they ring what is due, hold on through outages, and stop when they are told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from tests.worker.plans import SETTINGS, Plans, ago, now

from callmeback import errors
from callmeback.domain import due
from callmeback.pg.pool import Database
from callmeback.providers.stripe import Declined, Intent
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.worker import ringing
from callmeback.worker.ringing import Ringer

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0


class Texts(Carrier):
    """Takes texts and keeps them."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__(CarrierConfig(account_sid="AC1", auth_token="t", number="+12025550100", base_url="http://x"))
        self.sent: list[tuple[str, str]] = []
        self.fails = fails

    async def send_text(self, to: str, body: str) -> Any:
        self.sent.append((to, body))
        if self.fails:
            raise errors.CarrierFailed()


@pytest.fixture
async def plans(database_url: str) -> AsyncIterator[Plans]:
    made = Plans(database_url)
    yield made
    made.books.close()


class Till:
    """A provider of payments that says what it is told to."""

    def __init__(self, declines: str | None = None) -> None:
        self.asked = 0
        self._declines = declines

    async def set_aside(self, amount_cents: int, *_: object) -> Intent:
        self.asked += 1
        if self._declines is not None:
            raise Declined("payments", "set money aside", vendor_code=self._declines)
        return Intent(id=f"pi_{self.asked}", status="requires_capture", received_cents=0)


async def run(
    worker: Database,
    until: Callable[[], bool],
    texts: Texts | None = None,
    workers: int = 1,
    till: Till | None = None,
) -> None:
    """Let so many workers ring and tend until that is so."""
    stopping = asyncio.Event()
    carrier = texts or Texts()
    ringers = [Ringer(worker, carrier, till, SETTINGS, f"w{n}") for n in range(workers)]  # type: ignore[arg-type]  # plays one
    tasks = [asyncio.create_task(loop(stopping)) for one in ringers for loop in (one.ring, one.tend)]
    async with asyncio.timeout(PATIENCE_S):
        while not until():
            await asyncio.sleep(0.01)
    stopping.set()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*tasks)
    await carrier.aclose()


async def test_what_is_due_is_rung_and_what_repeats_goes_on(plans: Plans, worker: Database) -> None:
    calls = [plans.call(plans.person()) for _ in range(25)]
    soon = plans.call(plans.person(), now() + timedelta(seconds=1))
    schedule = plans.schedule(plans.person(), "FREQ=DAILY", "2026-01-01T07:00")
    await run(worker, lambda: plans.state(soon)[0] == "executed" and bool(plans.rows(schedule)), workers=3)

    assert {plans.state(call)[0] for call in calls} == {"executed"}
    assert plans.value("SELECT count(*) FROM calls") == 26
    assert plans.value("SELECT min(executed_at - scheduled_time) >= interval '0' FROM scheduled_calls")


async def test_somebody_whose_zone_is_gone_keeps_nobody_else_from_being_called(plans: Plans, worker: Database) -> None:
    """New data of zones may leave a name out: it is read as UTC, for the day, quiet hours and texts."""
    lost, ann = plans.person(), plans.person()
    quiet = {"retries_max": 1, "quiet_from": "22:00", "quiet_until": "22:01"}
    busy = plans.call(lost, ago(seconds=9), **quiet)
    # It was known when it was written.
    plans.books.execute("ALTER TABLE users DISABLE TRIGGER users_zone")
    plans.books.execute("UPDATE users SET timezone = 'Mars/Olympus' WHERE id = %s", (lost,))
    call = plans.call(ann)
    reminded = plans.call(lost, now() + timedelta(minutes=30), reminder_minutes=29)
    plans.books.execute("UPDATE scheduled_calls SET remind_at = now() WHERE id = %s", (reminded,))
    texts = Texts()
    await run(worker, lambda: plans.state(call)[0] == "executed" and len(texts.sent) == 1, texts)
    plans.finish(busy, "busy")
    plans.finish(call, "no_answer")
    await run(worker, lambda: plans.state(call)[1] == "no_answer")

    assert plans.state(busy) == ("executed", "busy")
    assert plans.value("SELECT count(*) FROM scheduled_calls WHERE retry_of = %s", busy) == 1


async def test_one_that_cannot_be_begun_keeps_none_of_the_others_from_it(
    plans: Plans, worker: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [plans.call(plans.person()) for _ in range(5)]
    place = due.place

    async def breaks(tx: Any, claimed: list[due.Claimed], card: str) -> list[due.Placed]:
        if calls[2] in [one.id for one in claimed]:
            raise errors.CallMeBackError()
        return await place(tx, claimed, card)

    monkeypatch.setattr(due, "place", breaks)
    await run(worker, lambda: sum(plans.state(call)[0] == "executed" for call in calls) == 4)

    assert plans.state(calls[2]) == ("executing", None)


async def test_what_was_claimed_before_an_outage_is_rung_after_it(
    plans: Plans, worker: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not only when the lease is over: the worker still has it."""
    monkeypatch.setattr(ringing, "RETRY_S", 0.05)
    call = plans.call(plans.person())
    place, failures = due.place, iter([errors.DatabaseUnavailable(), errors.Overloaded()])

    async def away(tx: Any, claimed: list[due.Claimed], card: str) -> list[due.Placed]:
        for failure in failures:
            raise failure
        return await place(tx, claimed, card)

    monkeypatch.setattr(due, "place", away)
    await run(worker, lambda: plans.state(call)[0] == "executed")

    assert plans.row(call)["claims"] == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_text_is_sent_once_whether_it_arrives_or_not(plans: Plans, worker: Database, fails: bool) -> None:
    ann = plans.person()
    call = plans.call(ann, now() + timedelta(minutes=5, milliseconds=300), reminder_minutes=5)
    texts = Texts(fails=fails)
    await run(worker, lambda: bool(texts.sent), texts, workers=3)
    [(to, body)] = texts.sent

    assert to == plans.row(call)["phone_number"]
    assert body.startswith("Brad will call you at ")


async def test_a_fault_of_ours_ends_no_loop(
    plans: Plans, worker: Database, monkeypatch: pytest.MonkeyPatch, superuser: psycopg.Connection
) -> None:
    monkeypatch.setattr(ringing, "RETRY_S", 0.05)
    call = plans.call(plans.person())
    claim, faults = due.claim, iter([RuntimeError("ours"), KeyError("ours")])

    async def breaks(tx: Any, name: str, most: int) -> list[due.Claimed]:
        for fault in faults:
            raise fault
        return await claim(tx, name, most)

    monkeypatch.setattr(due, "claim", breaks)
    await run(worker, lambda: plans.state(call)[0] == "executed")


@pytest.mark.parametrize(
    ("declines", "state", "authorization"),
    [
        (None, ("executed", None), "calling"),
        ("card_declined", ("failed", "payment_declined"), "declined"),
        ("no_card", ("failed", "card_missing"), "declined"),
    ],
)
async def test_c11_who_pays_calls_by_card_is_called_if_the_card_pays(
    plans: Plans, worker: Database, declines: str | None, state: tuple[str, str | None], authorization: str
) -> None:
    ann = plans.person(credits=0)
    plans.books.execute("INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true)", (ann,))
    plans.value("SELECT note_customer(%s, 'cus_1')", ann)
    call, till = plans.call(ann, requested_seconds=120), Till(declines)
    await run(worker, lambda: plans.state(call)[0] not in ("scheduled", "executing"), till=till)

    assert (plans.state(call), till.asked) == (state, 1)
    assert plans.value("SELECT state FROM payment_authorizations") == authorization
    assert plans.value("SELECT count(*) FROM calls WHERE payment_method = 'stripe'") == (declines is None)
    if declines is None:
        queued = plans.value("SELECT dial_before FROM open_calls")
        assert queued == plans.row(call)["latest_start_at"]


async def test_what_is_set_aside_is_let_go_of_when_the_call_is_refused_after_all(
    plans: Plans, worker: Database
) -> None:
    ann = plans.person(credits=0)
    plans.books.execute("INSERT INTO user_preferences (user_id, pay_as_you_go) VALUES (%s, true)", (ann,))
    plans.value("SELECT note_customer(%s, 'cus_1')", ann)
    call = plans.call(ann)

    class Removes(Till):
        async def set_aside(self, amount_cents: int, *_: object) -> Intent:
            plans.books.execute("UPDATE phones SET verified_at = NULL")
            return await super().set_aside(amount_cents)

    await run(worker, lambda: plans.state(call)[0] == "failed", till=Removes())

    assert plans.state(call) == ("failed", "phone_not_verified")
    assert plans.value("SELECT state FROM payment_authorizations") == "releasing"
