"""From the time that was promised to the carrier: workers, diallers and a simulated carrier, with real calls.

Every person has one call. Nobody picks up, so that no conversation takes the machine: a call is over when the carrier
has taken it. Lateness is when the call was begun (its commit), and when the carrier was asked, less the time that was
promised.
"""

import asyncio
import contextlib
import itertools
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
from bench.schedules.crew import Config

from callmeback.pg import migrate, roles
from callmeback.simulator import Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving

WORKERS = 2
RUSH_PER_SECOND = 100
RUSH_SECONDS = 10
SLOW_CALLS = 12
SOON = timedelta(seconds=2)
PATIENCE_S = 40.0

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
    begun = [
        row[0]
        for row in books.execute(
            "SELECT extract(EPOCH FROM executed_at - scheduled_time)::float FROM scheduled_calls"
            " WHERE status = 'executed'"
        ).fetchall()
    ]

    return {
        "rush_calls": len(begun),
        "rush_at_the_carrier": len(asked),
        "rush_twice": len(asked) - len({number for number, _ in asked}),
        **_late("lateness", begun),
        **_late("lateness_at_the_carrier", [(at - promised[number]).total_seconds() for number, at in asked]),
    }


def _late(name: str, seconds: list[float]) -> dict[str, object]:
    ordered = sorted(seconds)
    return {
        f"{name}_p50_ms": round(statistics.median(ordered) * 1_000, 1),
        f"{name}_p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1_000, 1),
    }


async def _slow(books: psycopg.Connection, dsn: str, role_secret: str, before: int) -> dict[str, object]:
    books.execute(
        "UPDATE dial_buckets SET calls_per_second = 1, burst = 1, tokens = 1, refilled_at = clock_timestamp()"
    )
    # What of the rush still waits for the carrier.
    books.execute("DELETE FROM open_calls")
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
    """Two processes that ring and dial, and the carrier that they ask."""
    sim = Simulator(SimulatorConfig(unanswered_seconds=3_600))
    async with serving(create(sim=sim)) as port:
        config = Config(
            worker_dsn=roles.dsn_for(roles.WORKER, role_secret, dsn),
            voice_dsn=roles.dsn_for(roles.VOICE, role_secret, dsn),
            carrier_url=f"http://127.0.0.1:{port}/simulator/carrier",
            account_sid=sim.config.account_sid,
            auth_token=sim.config.auth_token,
            number=sim.config.number,
        )
        command = [sys.executable, "-m", "bench.schedules.crew", msgspec.json.encode(config).decode()]
        crew = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(WORKERS)]
        try:
            for member in crew:
                assert member.stdout is not None
                if not await member.stdout.readline():
                    raise SystemExit("a process that rings and dials ended by itself")
            yield sim
        finally:
            for member in crew:
                with contextlib.suppress(ProcessLookupError):
                    member.kill()
                await member.wait()
    await sim.aclose()


async def _asked(sim: Simulator, calls: int) -> list[tuple[str, datetime]]:
    """Who was called when, in order, once all were."""
    # On a machine that is busy with other work the simulated carrier is slower than what asks it.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while len(sim.calls) < calls:  # noqa: ASYNC110 - the simulator sends no event
                await asyncio.sleep(0.05)

    return sorted(((call.to, call.created_at) for call in sim.calls.values()), key=lambda one: one[1])
