"""Calls whose time has come: claimed once, placed once, missed, refused, canceled, tried again."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from tests.worker.plans import CARD, Plans, ago, now, ring

from callmeback.domain import due
from callmeback.pg.errors import RULES
from callmeback.pg.pool import Database

pytestmark = pytest.mark.anyio


async def test_a_call_is_begun_at_its_time_and_not_before(plans: Plans, worker: Database) -> None:
    ann, bob = plans.person(), plans.person()
    late, soon = plans.call(ann, ago(seconds=5), call_pretext="why"), plans.call(bob, now() + timedelta(minutes=1))
    [placed] = await ring(worker)
    row = plans.row(late)
    call = plans.books.execute("SELECT * FROM calls WHERE id = %s", (row["call_id"],)).fetchone()
    queued = plans.value("SELECT dial_before FROM open_calls WHERE call_id = %s", row["call_id"])

    assert (placed.status, plans.state(late), plans.state(soon)) == (
        "executed",
        ("executed", None),
        ("scheduled", None),
    )
    assert call is not None and call["call_pretext"] == "why"
    assert call["phone_number"] == row["phone_number"]
    assert abs(queued - row["latest_start_at"]) < timedelta(seconds=1)
    assert row["latest_start_at"] - row["scheduled_time"] == timedelta(minutes=15)


async def test_the_oldest_is_claimed_first(plans: Plans, worker: Database) -> None:
    calls = [plans.call(plans.person(), ago(seconds=age)) for age in (10, 50, 30, 20, 40)]
    order = []
    for _ in calls:
        async with worker.transaction() as tx:
            order += [one.id for one in await due.claim(tx, "test", 1)]

    assert order == [calls[number] for number in (1, 4, 2, 3, 0)]


async def test_c04_many_workers_claim_each_call_once(plans: Plans, worker: Database) -> None:
    calls = {plans.call(plans.person(), ago(seconds=1)) for _ in range(60)}
    rounds = await asyncio.gather(*(ring(worker, 7) for _ in range(20)))
    placed = [one.id for batch in rounds for one in batch]

    assert sorted(placed) == sorted(calls)
    assert plans.value("SELECT count(*) FROM calls") == len(calls)


async def test_c04_who_was_stopped_past_the_lease_places_nothing(plans: Plans, worker: Database) -> None:
    call = plans.call(plans.person())
    async with worker.transaction() as tx:
        stopped = await due.claim(tx, "stopped", 10)
    plans.forget_lease(call)
    placed = await ring(worker)
    async with worker.transaction() as tx:
        resumed = await due.place(tx, stopped, CARD)

    assert [one.id for one in placed] == [call]
    assert resumed == []
    assert plans.value("SELECT count(*) FROM calls") == 1


async def test_c04_two_that_hold_one_claim_after_another_place_once(plans: Plans, worker: Database) -> None:
    """Both are awake: the one whose claim is older finds the row taken, at whatever moment it looks."""
    for _ in range(10):
        call = plans.call(plans.person())
        async with worker.transaction() as tx:
            first = await due.claim(tx, "first", 10)
        plans.forget_lease(call)
        async with worker.transaction() as tx:
            second = await due.claim(tx, "second", 10)

        async def place(claimed: list[due.Claimed]) -> int:
            async with worker.transaction() as tx:
                return len(await due.place(tx, claimed, CARD))

        assert sorted(await asyncio.gather(place(first), place(second), place(second))) == [0, 0, 1]


async def test_a_living_worker_keeps_its_claim(plans: Plans, worker: Database) -> None:
    plans.call(plans.person())
    async with worker.transaction() as tx:
        await due.claim(tx, "busy", 10)

    assert await ring(worker) == []


async def test_c05_after_nine_days_a_call_is_missed_and_not_dialled(plans: Plans, worker: Database) -> None:
    call = plans.call(plans.person(), ago(days=9))

    assert await ring(worker) == []
    assert plans.state(call) == ("missed", "too_late")
    assert plans.value("SELECT count(*) FROM calls") == 0


async def test_c05_a_claim_that_outlasts_the_grace_is_missed(plans: Plans, worker: Database) -> None:
    call = plans.call(plans.person(), ago(minutes=14))
    async with worker.transaction() as tx:
        claimed = await due.claim(tx, "test", 10)
    plans.books.execute("ALTER TABLE scheduled_calls DISABLE TRIGGER USER")
    plans.books.execute("UPDATE scheduled_calls SET latest_start_at = now() - interval '1 second'")
    plans.books.execute("ALTER TABLE scheduled_calls ENABLE TRIGGER USER")
    async with worker.transaction() as tx:
        [placed] = await due.place(tx, claimed, CARD)

    assert (placed.status, plans.state(call)) == ("missed", ("missed", "too_late"))


async def test_c05_what_the_carrier_had_no_time_for_is_missed_and_free(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    call = plans.call(ann)
    await ring(worker)
    plans.finish(call, "canceled", "dial_expired")
    async with worker.transaction() as tx:
        await due.settle(tx, 10)

    assert plans.state(call) == ("missed", "dial_expired")
    assert plans.value("SELECT available_credits FROM user_credits WHERE user_id = %s", ann) == 100


async def test_c11_no_credits_at_the_time_of_the_call_is_its_outcome(plans: Plans, worker: Database) -> None:
    """Asked for with credits, called without."""
    ann, bob = plans.person(), plans.person()
    poor, rich = plans.call(ann, ago(seconds=2)), plans.call(bob, ago(seconds=1))
    plans.books.execute("SELECT move_credits(%s, -100, 'refund', 'test:gone')", (ann,))
    placed = await ring(worker)

    assert [(one.id, one.status, one.outcome) for one in placed] == [
        (poor, "failed", "insufficient_credits"),
        (rich, "executed", None),
    ]
    assert plans.state(poor) == ("failed", "insufficient_credits")
    assert plans.row(poor)["call_id"] is None


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("UPDATE phones SET verified_at = NULL", "phone_not_verified"),
        ("UPDATE users SET blocked_at = now()", "account_blocked"),
        ("INSERT INTO blocked_numbers (number, reason) SELECT number, 'test' FROM phones", "number_blocked"),
        ("UPDATE personas SET is_active = false", "persona_not_found"),
        ("UPDATE user_credits SET max_calls_per_day = 0", "daily_limit"),
        (
            "INSERT INTO user_budget_settings (user_id, max_monthly_spend_cents) SELECT id, 0 FROM users",
            "budget_exceeded",
        ),
    ],
)
async def test_c11_the_gate_is_that_of_every_call(plans: Plans, worker: Database, change: str, outcome: str) -> None:
    call = plans.call(plans.person())
    plans.books.execute(change.encode())
    await ring(worker)

    assert plans.state(call) == ("failed", outcome)


async def test_refusals_are_called_what_the_api_calls_them(plans: Plans) -> None:
    known = {state: plans.value("SELECT refusal_code(%s)", state) for state in RULES}

    assert {state: word for state, word in known.items() if word} == {
        state: RULES[state].code for state in known if known[state]
    }
    assert plans.value("SELECT refusal_code('CM007')") is None


async def test_c08_a_cancel_and_the_ring_race_and_the_answer_says_who_won(plans: Plans, worker: Database) -> None:
    winners = set()
    for _ in range(30):
        ann = plans.person()
        call = plans.call(ann)
        async with worker.transaction() as tx:
            claimed = await due.claim(tx, "test", 10)

        async def cancel(user: str = ann, planned: str = call) -> str:
            async with await psycopg.AsyncConnection.connect(
                plans.books.info.dsn, password=plans.books.info.password
            ) as own:
                row = await (await own.execute("SELECT cancel_scheduled_call(%s, %s)", (user, planned))).fetchone()
                assert row is not None
                return str(row[0])

        async def place(batch: list[due.Claimed] = claimed) -> list[due.Placed]:
            async with worker.transaction() as tx:
                return await due.place(tx, batch, CARD)

        answer, placed = await asyncio.gather(cancel(), place())
        dialled = plans.value("SELECT count(*) FROM calls WHERE user_id = %s", ann)
        winners.add(answer)

        assert (answer, len(placed), dialled) in {("canceled", 0, 0), ("executed", 1, 1)}
        assert plans.state(call)[0] == answer

    assert winners


async def test_c08_what_was_placed_is_not_canceled_and_what_was_canceled_is_not_placed(
    plans: Plans, worker: Database
) -> None:
    ann, bob = plans.person(), plans.person()
    rung, called_off = plans.call(ann), plans.call(bob)
    async with worker.transaction() as tx:
        claimed = await due.claim(tx, "test", 10)
    early = plans.value("SELECT cancel_scheduled_call(%s, %s)", bob, called_off)
    async with worker.transaction() as tx:
        placed = await due.place(tx, claimed, CARD)
    late = plans.value("SELECT cancel_scheduled_call(%s, %s)", ann, rung)
    again = plans.value("SELECT cancel_scheduled_call(%s, %s)", bob, called_off)

    assert (early, late, again) == ("canceled", "executed", "canceled")
    assert [one.id for one in placed] == [rung]
    assert plans.state(called_off) == ("canceled", "by_user")


async def test_a_life_goes_forward_only(plans: Plans, worker: Database) -> None:
    call = plans.call(plans.person())
    await ring(worker)
    for status in ("scheduled", "executing", "failed", "canceled"):
        with pytest.raises(psycopg.Error) as refused:
            plans.books.execute("UPDATE scheduled_calls SET status = %s", (status,))
        assert refused.value.sqlstate == "CM007"

    with pytest.raises(psycopg.Error) as refused:
        plans.books.execute("UPDATE scheduled_calls SET scheduled_time = now() WHERE id = %s", (call,))
    assert refused.value.sqlstate == "CM031"


async def test_a_paused_schedule_does_not_ring(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    paused = plans.schedule(ann, "FREQ=DAILY", "2026-01-01T07:00", paused_at=now())
    call = plans.call(ann, schedule_id=paused, occurrence=now())
    [placed] = await ring(worker)

    assert (placed.status, plans.state(call)) == ("canceled", ("canceled", "paused"))


async def test_outcomes_are_noted_once_calls_have_ended(plans: Plans, worker: Database) -> None:
    calls = [plans.call(plans.person()) for _ in range(4)]
    await ring(worker)
    for call, status in zip(calls, ("completed", "busy", "no_answer"), strict=False):
        plans.finish(call, status)
    async with worker.transaction() as tx:
        ended = await due.settle(tx, 10)
    async with worker.transaction() as tx:
        again = await due.settle(tx, 10)

    assert (ended, again) == (3, 0)
    assert [plans.state(call)[1] for call in calls] == ["completed", "busy", "no_answer", None]
    assert plans.value("SELECT count(*) FROM scheduled_calls WHERE retry_of IS NOT NULL") == 0


async def test_a_busy_call_is_tried_again_as_often_as_its_owner_wishes(plans: Plans, worker: Database) -> None:
    call = plans.call(plans.person(), retries_max=2, retry_after_minutes=3, retry_on_no_answer=False, call_pretext="x")
    chain = [call]
    for _ in range(3):
        await ring(worker)
        plans.finish(chain[-1], "busy")
        await asyncio.gather(*(settle(worker) for _ in range(4)))
        following = plans.books.execute("SELECT * FROM scheduled_calls WHERE retry_of = %s", (chain[-1],)).fetchall()
        if not following:
            break
        [retry] = following
        assert timedelta(minutes=3) <= retry["scheduled_time"] - now() + timedelta(seconds=5)
        assert retry["scheduled_time"] - now() < timedelta(minutes=4)
        assert (retry["attempt"], retry["call_pretext"]) == (len(chain) + 1, "x")
        assert retry["promised_at"] == plans.row(call)["scheduled_time"]
        plans.books.execute("UPDATE scheduled_calls SET scheduled_time = now() WHERE id = %s", (retry["id"],))
        chain.append(retry["id"])

    assert len(chain) == 3


async def settle(worker: Database) -> None:
    async with worker.transaction() as tx:
        await due.settle(tx, 10)


async def test_no_retry_is_made_that_was_not_wished(plans: Plans, worker: Database) -> None:
    calls = [
        plans.call(plans.person(), retries_max=3, retry_on_busy=False),
        plans.call(plans.person(), retries_max=3, retry_within_minutes=5, retry_after_minutes=10),
        plans.call(plans.person()),
    ]
    await ring(worker)
    for call in calls:
        plans.finish(call, "busy")
    await settle(worker)

    assert plans.value("SELECT count(*) FROM scheduled_calls WHERE retry_of IS NOT NULL") == 0


async def test_a_person_on_the_phone_with_us_is_busy(plans: Plans, worker: Database) -> None:
    ann = plans.person()
    first, second = plans.call(ann, ago(seconds=2)), plans.call(ann, ago(seconds=1), retries_max=1)
    placed = await ring(worker)

    assert [(one.id, one.outcome) for one in placed] == [(first, None), (second, "call_in_progress")]
    assert plans.value("SELECT count(*) FROM scheduled_calls WHERE retry_of = %s", second) == 1


@pytest.mark.parametrize(
    ("at", "begin", "end", "expected"),
    [
        ("2026-11-26T21:59", "22:00", "07:00", "2026-11-26T21:59"),
        ("2026-11-26T22:00", "22:00", "07:00", "2026-11-27T07:00"),
        ("2026-11-27T03:00", "22:00", "07:00", "2026-11-27T07:00"),
        ("2026-11-27T07:00", "22:00", "07:00", "2026-11-27T07:00"),
        ("2026-11-26T13:30", "13:00", "14:00", "2026-11-26T14:00"),
        # The end of the quiet hours doesn't exist on that morning: clocks go from two to three.
        ("2027-03-28T01:00", "22:00", "02:30", "2027-03-28T03:30"),
    ],
)
async def test_retries_wait_for_the_end_of_quiet_hours(at: str, begin: str, end: str, expected: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    moved = due.after_quiet_hours(
        datetime.fromisoformat(at).replace(tzinfo=zone), time.fromisoformat(begin), time.fromisoformat(end), zone
    )

    assert moved.astimezone(zone).replace(tzinfo=None) == datetime.fromisoformat(expected)


async def test_a_retry_in_the_hour_that_comes_twice_is_never_moved_back() -> None:
    """At the second 02:10 of that night the first 02:30 is past, and the clock shows quiet hours again."""
    quiet = time(22), time(2, 30), ZoneInfo("Europe/Berlin")
    midnight = datetime(2026, 10, 24, 22, tzinfo=UTC)
    moved = [due.after_quiet_hours(midnight + timedelta(minutes=minutes), *quiet) for minutes in (130, 155, 190, 211)]

    assert [(at - midnight) // timedelta(minutes=1) for at in moved] == [150, 155, 210, 211]


async def test_a_person_plans_so_many_calls_at_once_also_from_many_sides(plans: Plans, database_url: str) -> None:
    """One is free; of two inserts at the same moment one is refused."""
    ann = plans.person()
    for _ in range(199):
        plans.call(ann, now() + timedelta(days=1))

    async def insert(number: int) -> str | None:
        async with await psycopg.AsyncConnection.connect(database_url) as own:
            try:
                await own.execute(
                    "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time)"
                    " SELECT %s, user_id, 'brad', number, now() + interval '1 day' FROM phones WHERE user_id = %s",
                    (f"sch_more_{number}", ann),
                )
            except psycopg.Error as exc:
                return exc.sqlstate
        return None

    answers = await asyncio.gather(*(insert(number) for number in range(4)))

    assert sorted(map(str, answers)) == ["CM030", "CM030", "CM030", "None"]


async def test_a_person_has_so_many_schedules_at_once(plans: Plans) -> None:
    ann = plans.person()
    made = [plans.schedule(ann, "FREQ=DAILY", "2026-01-01T07:00") for _ in range(50)]
    with pytest.raises(psycopg.Error) as refused:
        plans.schedule(ann, "FREQ=DAILY", "2026-01-01T07:00")
    plans.books.execute("UPDATE call_schedules SET materialised_until = NULL WHERE id = %s", (made[0],))
    plans.schedule(ann, "FREQ=DAILY", "2026-01-01T07:00")
    with pytest.raises(psycopg.Error) as revived:
        plans.books.execute("UPDATE call_schedules SET materialised_until = now() WHERE id = %s", (made[0],))

    assert (refused.value.sqlstate, revived.value.sqlstate) == ("CM030", "CM030")


async def test_nobody_plans_a_call_with_somebody_else_s_persona(plans: Plans) -> None:
    ann, bob = plans.person(), plans.person()
    plans.books.execute(
        "INSERT INTO personas (id, owner_user_id, name, core_system_prompt) VALUES ('per_1', %s, 'Eve', 'x')", (bob,)
    )
    plans.call(bob, persona_id="per_1")
    with pytest.raises(psycopg.Error) as refused:
        plans.call(ann, persona_id="per_1")

    assert refused.value.sqlstate == "CM012"
