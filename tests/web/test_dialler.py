"""The dialler: each call once, at the carrier's pace, for as long as was granted, whatever number of processes."""

import asyncio
from typing import Any

import psycopg
import pytest
from tests.web.house import House, Person

from callmeback.domain.dials import Claimed
from callmeback.pg import roles
from callmeback.voice.dialler import CLAIM_MAX, Dialler

pytestmark = pytest.mark.anyio

PEOPLE = 12


async def placed_by_many(house: House) -> list[str]:
    """Calls of several people that wait in the outbox, nobody dialling."""
    house.books.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    calls = []
    for n in range(PEOPLE):
        phone = f"+120255501{n:02}"
        person = await house.person(f"p{n}@example.org", phone=phone)
        await house.script(phone, answers="no_answer")
        answer = await person.client.post("/api/calls", json={"persona_id": "brad"})
        assert answer.status_code == 202, answer.text
        calls.append(str(answer.json()["id"]))

    return calls


async def carrier_calls(house: House) -> list[dict[str, Any]]:
    return list((await house.client().get("/simulator/calls")).json()["items"])


@pytest.fixture
async def crowd(house: House) -> list[Dialler]:
    """Four more diallers over the same outbox, as other processes would have."""
    services = house.services

    regions = house.settings.allowed_regions

    return [
        Dialler(services.voice, services.carrier, house.url, f"other {n}", allowed_regions=regions) for n in range(4)
    ]


async def test_c04_five_diallers_dial_each_call_once(house: House, crowd: list[Dialler]):
    await placed_by_many(house)
    running = [asyncio.create_task(dialler.run()) for dialler in crowd]
    await house.change("UPDATE dial_buckets SET tokens = 100, burst = 100, calls_per_second = 100")
    async with asyncio.timeout(30):
        while house.row("SELECT count(*) AS n FROM open_calls")["n"]:
            await asyncio.sleep(0.1)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    dialled = [call["to"] for call in await carrier_calls(house)]

    assert sorted(dialled) == [f"+120255501{n:02}" for n in range(PEOPLE)]
    assert house.row("SELECT count(*) AS n FROM calls WHERE status = 'no_answer'")["n"] == PEOPLE


async def test_c04_the_carrier_s_pace_is_shared(house: House, crowd: list[Dialler]):
    await placed_by_many(house)
    running = [asyncio.create_task(dialler.run()) for dialler in crowd]
    begun = asyncio.get_running_loop().time()
    await house.change(
        "UPDATE dial_buckets SET tokens = 0, burst = 1, calls_per_second = 4, refilled_at = clock_timestamp()"
    )
    await asyncio.sleep(2)
    dialled = len(await carrier_calls(house))
    seconds = asyncio.get_running_loop().time() - begun
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    # 4 a second and the one in the bucket; on a busy machine fewer.
    assert 1 <= dialled <= 1 + 4 * seconds


async def test_a_dialler_that_is_kicked_when_it_is_told_to_end_ends(crowd: list[Dialler]):
    """At whatever step of the loop the one comes after the other."""
    dialler = crowd[0]
    for ticks in range(10):
        running = asyncio.create_task(dialler.run())
        async with asyncio.timeout(30):
            while not dialler._kicked._waiters:  # type: ignore[attr-defined]  # it waits for the next look
                await asyncio.sleep(0.01)
            dialler.kick()
            for _ in range(ticks):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait({running})

        assert running.cancelled()


async def test_a_full_process_leaves_calls_to_others(house: House, ann: Person):
    house.services.host.admission.calls_max = 0
    answer = await ann.client.post("/api/calls", json={"persona_id": "brad"})
    await asyncio.sleep(1.2)

    assert (await ann.client.get(f"/api/calls/{answer.json()['id']}")).json()["status"] == "initiating"
    assert house.row("SELECT dial_claimed_at FROM open_calls")["dial_claimed_at"] is None
    assert CLAIM_MAX > 0


@pytest.mark.parametrize(
    ("setting", "order", "seconds", "limited_by"),
    [
        (None, {}, 300, "tier"),
        (None, {"max_minutes": 2}, 120, "request"),
        (None, {"max_minutes": 240}, 300, "tier"),
        ({"max_cost_per_call_cents": "5"}, {}, 16, "call_budget"),
    ],
)
async def test_m15_the_longest_talk_is_computed_once_and_armed_at_the_carrier(
    house: House, ann: Person, setting: dict[str, str] | None, order: dict[str, int], seconds: int, limited_by: str
):
    if setting is not None:
        await ann.client.put("/api/budget", json=setting)
    await house.script("+12025550101", answers="busy")
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"} | order)).json()
    await house.until(ann, placed["id"])
    [call] = await carrier_calls(house)

    assert (placed["granted_seconds"], placed["limited_by"]) == (seconds, limited_by)
    assert call["time_limit_seconds"] == seconds


async def test_a_call_that_waits_too_long_is_not_dialled_late(house: House, ann: Person):
    house.books.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    await ann.client.post("/api/calls", json={"persona_id": "brad"})
    await house.change("UPDATE open_calls SET dial_before = now() - interval '1 second'")
    await house.change("UPDATE dial_buckets SET tokens = 100, calls_per_second = 100")
    await asyncio.sleep(1.2)

    assert await carrier_calls(house) == []


async def test_the_dialler_survives_a_database_that_goes_away(
    house: House, ann: Person, superuser: psycopg.Connection, database_url: str
):
    await house.script("+12025550101", answers="busy")
    for _ in range(3):
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s",
            (database_url.rpartition("/")[2], roles.VOICE),
        )
        await asyncio.sleep(0.4)
    placed = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()

    assert (await house.until(ann, placed["id"]))["status"] == "busy"


@pytest.mark.parametrize(
    ("block", "word"),
    [
        ("SELECT 1", "region_not_allowed"),
        ("INSERT INTO blocked_numbers (number, reason) SELECT phone_number, 'x' FROM calls", "number_blocked"),
        ("UPDATE users SET blocked_at = now()", "number_blocked"),
    ],
)
async def test_c09_what_may_no_longer_be_called_isnt_dialled_though_it_was_placed(
    house: House, ann: Person, block: str, word: str
):
    """All calls pass here: planned ones, those to the number in the account, and those that wait in the outbox."""
    house.books.execute("SELECT set_tier(%s, 'basic')", (ann.id,))
    house.books.execute("SELECT move_credits(%s, 5, 'promotion', 'test:1')", (ann.id,))
    house.books.execute("UPDATE dial_buckets SET tokens = 0, calls_per_second = 0.001, refilled_at = now()")
    call = (await ann.client.post("/api/calls", json={"persona_id": "brad"})).json()
    await house.change(block)
    services = house.services
    regions = {"DE"} if word == "region_not_allowed" else house.settings.allowed_regions
    dialler = Dialler(services.voice, services.carrier, house.url, "other", allowed_regions=regions)
    await dialler.dial(Claimed(ann.id, call["id"]))
    done = house.row("SELECT status, end_reason, error_message FROM calls WHERE id = %s", call["id"])
    account = house.row(
        "SELECT available_credits, held_credits, calls_in_day FROM user_credits WHERE user_id = %s", ann.id
    )

    assert tuple(done.values()) == ("failed", "dial_failed", word)
    assert tuple(account.values()) == (5, 0, 0)
    assert await carrier_calls(house) == []
