"""From the time that was promised to the carrier: workers, diallers and a simulated carrier, with real calls.

Every person has one call. Nobody picks up, so that no conversation takes the machine: a call is over when the carrier
has taken it. Lateness is when the carrier was asked, less the time that was promised.
"""

import asyncio
import contextlib
import itertools
import statistics
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg

from callmeback.domain import costs
from callmeback.pg import migrate, roles
from callmeback.pg.pool import Database
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.settings import Settings
from callmeback.simulator import Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving
from callmeback.voice.dialler import Dialler
from callmeback.worker.ringing import Ringer

WORKERS = 2
RUSH_PER_SECOND = 100
RUSH_SECONDS = 15
SLOW_CALLS = 12
SOON = timedelta(seconds=2)
PATIENCE_S = 60.0
NOWHERE = "http://127.0.0.1:9"

PEOPLE = """
WITH people AS (
    SELECT 'user_' || n AS id, '+1202' || lpad((5550000 + n)::text, 7, '0') AS number FROM generate_series(1, %s) AS n
)
SELECT register_user(id, id || '@example.org', 'x', NULL, 'UTC', number) FROM people
"""
CALLS = """
INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time)
SELECT 'sch_' || h.user_id, h.user_id, 'brad', h.number, %(begin)s + (row_number() OVER () - 1) * %(apart)s::interval
FROM phones AS h
WHERE h.user_id = ANY (ARRAY(SELECT 'user_' || n FROM generate_series(%(first)s::integer, %(last)s::integer) AS n))
"""


async def measure(dsn: str, role_secret: str) -> dict[str, object]:
    """Lateness of a hundred calls a second, and what a carrier of one call a second was asked."""
    migrate.apply(dsn)
    rush = RUSH_PER_SECOND * RUSH_SECONDS
    with psycopg.connect(dsn, autocommit=True) as books:
        books.execute(PEOPLE.encode(), (rush + SLOW_CALLS,))
        books.execute("UPDATE phones SET verified_at = now()")
        books.execute("UPDATE user_credits SET subscription_tier = 'unlimited'")
        found = await _rush(books, dsn, role_secret, rush)
        found |= await _slow(books, dsn, role_secret, rush)

    return found


async def _rush(books: psycopg.Connection, dsn: str, role_secret: str, calls: int) -> dict[str, object]:
    books.execute("UPDATE dial_buckets SET calls_per_second = 100000, burst = 100000, tokens = 100000")
    async with _house(dsn, role_secret) as sim:
        begin = datetime.now(UTC) + SOON
        apart = timedelta(seconds=1 / RUSH_PER_SECOND)
        promised = _plan(books, 1, calls, begin, apart)
        asked = await _asked(sim, calls)
    late = sorted((at - promised[number]).total_seconds() for number, at in asked)

    return {
        "rush_calls": len(late),
        "rush_twice": len(late) - len({number for number, _ in asked}),
        "lateness_p50_ms": round(statistics.median(late) * 1_000, 1),
        "lateness_p99_ms": round(late[int(len(late) * 0.99)] * 1_000, 1),
    }


async def _slow(books: psycopg.Connection, dsn: str, role_secret: str, before: int) -> dict[str, object]:
    books.execute(
        "UPDATE dial_buckets SET calls_per_second = 1, burst = 1, tokens = 1, refilled_at = clock_timestamp()"
    )
    async with _house(dsn, role_secret) as sim:
        # All due at once, the later ones planned first.
        promised = _plan(books, before + 1, before + SLOW_CALLS, datetime.now(UTC), -timedelta(milliseconds=10))
        asked = await _asked(sim, SLOW_CALLS)
    times = [at for _, at in asked]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]

    return {
        "slow_calls": len(asked),
        "slow_seconds": round((times[-1] - times[0]).total_seconds(), 2),
        "slow_least_gap_s": round(min(gaps), 3),
        "slow_oldest_first": [promised[number] for number, _ in asked] == sorted(promised.values()),
    }


def _plan(books: psycopg.Connection, first: int, last: int, begin: datetime, apart: timedelta) -> dict[str, datetime]:
    values = {"first": first, "last": last, "begin": begin, "apart": apart}
    with books.transaction():
        books.execute(CALLS.encode(), values)

    return dict(
        books.execute(
            "SELECT phone_number, scheduled_time FROM scheduled_calls WHERE status <> 'executed'"
            " OR scheduled_time >= %s",
            (min(begin, begin + (last - first) * apart),),
        ).fetchall()
    )


@contextlib.asynccontextmanager
async def _house(dsn: str, role_secret: str) -> AsyncIterator[Simulator]:
    """Two workers and two diallers, as many processes have them, and the carrier that they ask."""
    sim = Simulator(SimulatorConfig(unanswered_seconds=3_600))
    settings = Settings.from_env({})
    stopping = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(create(sim=sim)))
        config = CarrierConfig(
            account_sid=sim.config.account_sid,
            auth_token=sim.config.auth_token,
            number=sim.config.number,
            base_url=f"http://127.0.0.1:{port}/simulator/carrier",
        )
        tasks = []
        for number in range(WORKERS):
            worker = await stack.enter_async_context(_database(dsn, roles.WORKER, role_secret))
            voice = await stack.enter_async_context(_database(dsn, roles.VOICE, role_secret))
            carrier = Carrier(config)
            stack.push_async_callback(carrier.aclose)
            async with worker.transaction() as tx:
                await costs.ensure_card(tx, settings)
            ringer = Ringer(worker, carrier, None, settings, f"worker {number}")  # type: ignore[arg-type]  # no cards
            dialler = Dialler(voice, carrier, NOWHERE, f"dialler {number}")
            tasks += [asyncio.create_task(ringer.ring(stopping)), asyncio.create_task(dialler.run())]
        try:
            yield sim
        finally:
            stopping.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    await sim.aclose()


def _database(dsn: str, role: str, role_secret: str) -> Database:
    return Database.open(roles.dsn_for(role, role_secret, dsn), name=role, max_size=8, wait_s=10.0)


async def _asked(sim: Simulator, calls: int) -> list[tuple[str, datetime]]:
    """Who was called when, in order, once all were."""
    async with asyncio.timeout(PATIENCE_S):
        while len(sim.calls) < calls:  # noqa: ASYNC110 - the simulator sends no event
            await asyncio.sleep(0.05)

    return sorted(((call.to, call.created_at) for call in sim.calls.values()), key=lambda one: one[1])
