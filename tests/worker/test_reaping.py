"""The reaper against a real database and the simulated carrier on its own wire."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from callmeback.domain import reaping
from callmeback.pg.pool import Database
from callmeback.providers.twilio import Carrier, CarrierConfig, Order
from callmeback.simulator import Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving
from callmeback.worker.witness import Witness

pytestmark = pytest.mark.anyio

USER, CALL, PHONE = "user_1", "call_1", "+12025550123"
CARD = "voice-outbound|flux-general-en|gpt-oss-120b|eleven_flash_v2_5|qwen-3-235b-a22b-instruct-2507|espeak-ng"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def books(database_url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """The owner's hand: a person on the basic tier with ten credits and one call, as start_call left it."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SELECT register_user(%s, 'ann@example.org', 'x', 'Ann', 'UTC', %s)", (USER, PHONE))
        connection.execute("UPDATE phones SET verified_at = now()")
        connection.execute("SELECT set_tier(%s, 'basic')", (USER,))
        connection.execute("SELECT move_credits(%s, 10, 'promotion', 'test:1')", (USER,))
        connection.execute(ENSURE_CARD, (CARD, *CARD.split("|")))
        connection.execute(
            "SELECT start_call(%s, %s, 'brad', %s, %s, %s, 300)", (CALL, USER, PHONE, CARD, datetime.now(UTC).date())
        )
        yield connection


ENSURE_CARD = "SELECT ensure_card(%s, %s, %s, %s, %s, %s, %s)"


@pytest.fixture
async def simulator() -> AsyncIterator[tuple[Simulator, Carrier]]:
    sim = Simulator(SimulatorConfig())
    async with serving(create(sim=sim)) as port:
        carrier = Carrier(
            CarrierConfig(
                account_sid=sim.config.account_sid,
                auth_token=sim.config.auth_token,
                number=sim.config.number,
                base_url=f"http://127.0.0.1:{port}/simulator/carrier",
            )
        )
        yield sim, carrier
        await carrier.aclose()


def call(books: psycopg.Connection[dict[str, Any]]) -> dict[str, Any]:
    row = books.execute("SELECT * FROM calls WHERE id = %s", (CALL,)).fetchone()
    assert row is not None

    return row


def account(books: psycopg.Connection[dict[str, Any]]) -> tuple[int, int]:
    row = books.execute("SELECT available_credits, held_credits FROM user_credits").fetchone()
    assert row is not None

    return row["available_credits"], row["held_credits"]


def age(books: psycopg.Connection[dict[str, Any]], seconds: int) -> None:
    """Let so much time pass for the open call, as if the clock had gone on."""
    back = timedelta(seconds=seconds)
    books.execute(
        "UPDATE open_calls SET created_at = created_at - %(back)s, dial_before = dial_before - %(back)s,"
        " dial_claimed_at = dial_claimed_at - %(back)s, reaper_leased_until = NULL",
        {"back": back},
    )
    books.execute("UPDATE call_cost_breakdowns SET seen_at = seen_at - %s", (back,))
    books.execute("UPDATE calls SET answered_at = answered_at - %s, created_at = created_at - %s", (back, back))


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


async def dial(books: psycopg.Connection[dict[str, Any]], carrier: Carrier, *, record: bool = True) -> str:
    """What a dialler does; without `record` it dies before the carrier's answer reaches the database."""
    books.execute("SELECT claim_dials('twilio', 'test', 1)")
    placed = await carrier.place(Order(to=PHONE, twiml="<Response><Pause length='60'/></Response>", ring_seconds=60))
    if record:
        books.execute("SELECT advance_call(%s, %s, 'calling', %s)", (USER, CALL, placed.sid))

    return placed.sid


async def test_c03_call_that_was_never_dialled_is_canceled_and_its_hold_released(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    age(books, 601)

    settled = await reaping.reap(worker, Witness(simulator[1]))

    assert (settled, call(books)["status"], call(books)["end_reason"]) == (1, "canceled", "dial_expired")
    assert account(books) == (10, 0)


async def test_call_that_waits_for_its_turn_is_left_alone(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    age(books, 590)

    assert await reaping.reap(worker, Witness(simulator[1])) == 0
    assert account(books) == (5, 5)


async def test_c03_dial_without_an_answer_is_looked_up_and_never_repeated(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    sid = await dial(books, simulator[1], record=False)
    age(books, 31)
    books.execute("UPDATE calls SET created_at = now() - interval '1 minute'")

    await reaping.reap(worker, Witness(simulator[1]))

    assert call(books)["twilio_call_sid"] == sid
    assert call(books)["hold_open"]
    assert len(simulator[0].calls) == 1


async def test_dial_that_the_carrier_never_saw_fails_without_charge(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    books.execute("SELECT claim_dials('twilio', 'test', 1)")
    age(books, 31)

    await reaping.reap(worker, Witness(simulator[1]))

    assert (call(books)["status"], call(books)["end_reason"]) == ("failed", "dial_failed")
    assert account(books) == (10, 0)
    counted = books.execute("SELECT calls_in_day FROM user_credits").fetchone()
    assert counted == {"calls_in_day": 0}


async def test_dial_that_the_carrier_never_saw_is_not_taken_for_the_call_before(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    """The person was called a moment ago, within what the two clocks may differ by."""
    sid = await dial(books, simulator[1])
    simulator[0].calls[sid].end("api")
    books.execute("SELECT finish_call(%s, %s, 'canceled', 'canceled')", (USER, CALL))
    books.execute(
        "SELECT start_call('call_2', %s, 'brad', %s, %s, %s, 300)", (USER, PHONE, CARD, datetime.now(UTC).date())
    )
    books.execute("UPDATE open_calls SET dial_claimed_at = now() - interval '31 seconds'")

    await reaping.reap(worker, Witness(simulator[1]))
    found = books.execute("SELECT status, end_reason, twilio_call_sid FROM calls WHERE id = 'call_2'").fetchone()

    assert found == {"status": "failed", "end_reason": "dial_failed", "twilio_call_sid": None}
    assert account(books) == (10, 0)


def talk(books: psycopg.Connection[dict[str, Any]], seconds: int) -> None:
    """A voice process took over, and reported so many seconds."""
    books.execute("SELECT advance_call(%s, %s, 'in_progress')", (USER, CALL))
    books.execute(
        "SELECT meter_calls(%s, %s, '{1}', %s, %s, '{100}', '{50}', '{200}', '{0}', '{0}', '{0}')",
        ([USER], [CALL], [seconds], [seconds]),
    )


async def test_m16_silent_call_is_ended_at_the_carrier_and_settled_to_the_last_metered_second(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    sid = await dial(books, simulator[1])
    talk(books, 61)
    books.execute(
        "INSERT INTO transcripts (user_id, call_id, seq, speaker, text, at)"
        " SELECT %s, %s, seq, CASE WHEN seq %% 2 = 0 THEN 'persona' ELSE 'user' END, 'Hi.', now()"
        " FROM generate_series(0, 4) AS seq",
        (USER, CALL),
    )
    age(books, 11)

    settled = await reaping.reap(worker, Witness(simulator[1]), sleep=no_sleep)

    ended = call(books)
    assert (settled, ended["status"], ended["end_reason"]) == (1, "completed", "lost")
    assert (ended["duration_seconds"], ended["credits_used"], ended["turn_count"]) == (61, 2, 2)
    assert account(books) == (8, 0)
    assert (await simulator[1].fetch(sid)).ended


async def test_call_that_reports_again_after_an_outage_is_not_cut(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    await dial(books, simulator[1])
    talk(books, 20)
    age(books, 60)

    async def reports_meanwhile(_: float) -> None:
        books.execute(
            "SELECT meter_calls(%s, %s, '{2}', '{81}', '{81}', '{100}', '{50}', '{200}', '{0}', '{0}', '{0}')",
            ([USER], [CALL]),
        )

    settled = await reaping.reap(worker, Witness(simulator[1]), sleep=reports_meanwhile)

    assert (settled, call(books)["status"]) == (0, "in_progress")


async def test_unreachable_carrier_leaves_the_call_until_its_time_limit_has_passed(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    await dial(books, simulator[1])
    talk(books, 20)
    age(books, 60)
    gone = Carrier(CarrierConfig(account_sid="AC1", auth_token="t", number="+12025550100", base_url=NOWHERE))
    try:
        assert await reaping.reap(worker, Witness(gone), sleep=no_sleep) == 0
        age(books, 16 * 60)
        assert await reaping.reap(worker, Witness(gone), sleep=no_sleep) == 1
    finally:
        await gone.aclose()

    assert (call(books)["duration_seconds"], call(books)["credits_used"]) == (20, 1)


async def test_two_reapers_settle_one_call_once(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    await dial(books, simulator[1])
    talk(books, 61)
    age(books, 11)
    witness = Witness(simulator[1])

    settled = await asyncio.gather(*(reaping.reap(worker, witness, sleep=no_sleep) for _ in range(4)))

    assert sum(settled) == 1
    rows = books.execute("SELECT count(*) AS rows FROM credit_transactions WHERE type = 'call_deduction'").fetchone()
    assert rows == {"rows": 1}


@pytest.mark.parametrize(
    ("policy", "answered_by", "charged"),
    [(None, "machine", 0), ("hang_up", "fax", 0), ("leave_message", "machine", 2), ("hang_up", "human", 2)],
)
async def test_c12_lost_call_that_a_machine_answered_is_charged_by_the_person_s_policy(
    books: psycopg.Connection[dict[str, Any]],
    worker: Database,
    simulator: tuple[Simulator, Carrier],
    policy: str | None,
    answered_by: str,
    charged: int,
) -> None:
    """The process died before it could hang up on the machine; the carrier had told us who answered."""
    if policy is not None:
        books.execute("INSERT INTO user_preferences (user_id, voicemail_policy) VALUES (%s, %s)", (USER, policy))
    await dial(books, simulator[1])
    talk(books, 61)
    books.execute("SELECT carrier_event(%s, %s, 'amd', 'a', NULL, p_answered_by => %s)", (USER, CALL, answered_by))
    age(books, 11)

    await reaping.reap(worker, Witness(simulator[1]), sleep=no_sleep)

    assert (call(books)["end_reason"], call(books)["credits_used"]) == ("lost", charged)
    assert account(books) == (10 - charged, 0)


async def test_m16_a_call_that_cannot_be_settled_keeps_no_other_hold(
    books: psycopg.Connection[dict[str, Any]], worker: Database, simulator: tuple[Simulator, Carrier]
) -> None:
    """The oldest call's price is gone, as no function of ours could have done it; a second person's call is settled."""
    books.execute("SELECT register_user('user_2', 'bob@example.org', 'x', 'Bob', 'UTC', '+12025550124')")
    books.execute("UPDATE phones SET verified_at = now()")
    books.execute(
        "SELECT start_call('call_2', 'user_2', 'brad', '+12025550124', %s, %s, 300)", (CARD, datetime.now(UTC).date())
    )
    age(books, 601)
    books.execute("UPDATE open_calls SET created_at = created_at - interval '1 hour' WHERE user_id = %s", (USER,))
    books.execute("UPDATE call_cost_breakdowns SET price_version_id = -1 WHERE user_id = %s", (USER,))

    settled = await reaping.reap(worker, Witness(simulator[1]))

    assert settled == 1
    assert books.execute("SELECT user_id FROM open_calls").fetchall() == [{"user_id": USER}]
