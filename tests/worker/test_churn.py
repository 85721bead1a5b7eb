"""Exactly once: workers are killed, and stopped past their leases and resumed, and the database goes away.

Each person has one call, so a number that the carrier is asked for twice was dialled twice.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import psycopg
import pytest
from tests.conftest import Cluster
from tests.worker.churn import Config
from tests.worker.plans import Plans, now

from callmeback.domain import reaping
from callmeback.pg import roles
from callmeback.pg.pool import Database
from callmeback.providers.twilio import Carrier, CarrierConfig
from callmeback.simulator import Simulator, SimulatorConfig, create
from callmeback.simulator.alone import serving
from callmeback.worker.witness import Witness

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = 1.0
# Longer than the lease, so that another worker has the claim when the stopped one wakes.
STOPPED_S = 1.6 * LEASE_S
# They come due one by one, so that the hits find claims in the making.
APART = timedelta(milliseconds=50)
HITS = 6
HIT_EVERY_S = 0.5
PATIENCE_S = 60.0
# Two million took 18 minutes on two busy cores, with 92 kills, 137 stops and an outage for every fourth of them.
PROOF_HIT_EVERY_S = 3.0
PROOF_HITS = 2_000
PROOF_PATIENCE_S = 3_600.0


class Crew:
    """Workers in processes; one is hit again and again."""

    def __init__(self, config: Config, size: int, log: Path, seed: int) -> None:
        self._config = config
        self._log = log.open("ab")
        self._chance = random.Random(seed)
        self._stopped: dict[int, float] = {}
        self.hits: Counter[str] = Counter()
        self.members = [self._start() for _ in range(size)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.worker.churn", msgspec.json.encode(self._config).decode()],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def hit(self) -> None:
        """Kill one, or stop one past its lease; wake those whose time is over."""
        self.wake(time.monotonic())
        place = self._chance.randrange(len(self.members))
        member = self.members[place]
        if member.pid in self._stopped:
            return
        if self._chance.random() < 0.4:
            member.kill()
            member.wait()
            self.members[place] = self._start()
            self.hits["killed"] += 1
        else:
            member.send_signal(signal.SIGSTOP)
            self._stopped[member.pid] = time.monotonic() + STOPPED_S
            self.hits["stopped"] += 1

    def wake(self, until: float) -> None:
        """Resume those who were stopped until then."""
        for member in self.members:
            if member.pid in self._stopped and self._stopped[member.pid] <= until:
                member.send_signal(signal.SIGCONT)
                del self._stopped[member.pid]

    def end(self) -> None:
        for member in self.members:
            member.kill()
            member.wait()
        self._log.close()


@pytest.fixture
def plans(database_url: str) -> Iterator[Plans]:
    made = Plans(database_url)
    yield made
    made.books.close()


def config(cluster: Cluster, database_url: str, **more: str) -> Config:
    worker, voice = (roles.dsn_for(role, cluster.role_secret, database_url) for role in (roles.WORKER, roles.VOICE))

    return Config(worker_dsn=worker, voice_dsn=voice, lease_s=LEASE_S, **more)


def cut(superuser: psycopg.Connection, database_url: str, seconds: float) -> None:
    """The database is away for so long."""
    name = database_url.rpartition("/")[2]
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
    superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s",
        (name, "callmeback churn%"),
    )
    time.sleep(seconds)
    superuser.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


def left(plans: Plans) -> int:
    found: int = plans.value("SELECT count(*) FROM scheduled_calls WHERE status IN ('scheduled', 'executing')")

    return found


@pytest.mark.anyio
async def test_c04_no_call_is_dialled_twice_or_lost_whatever_happens_to_workers(
    plans: Plans, cluster: Cluster, database_url: str, superuser: psycopg.Connection, worker: Database, tmp_path: Path
) -> None:
    count = 100
    plans.books.execute("UPDATE dial_buckets SET calls_per_second = 100000, burst = 100000, tokens = 100000")
    people = [plans.person() for _ in range(count)]
    begin = now()
    for number, person in enumerate(people):
        plans.call(person, begin + number * APART)
    sim = Simulator(SimulatorConfig(unanswered_seconds=3_600))
    async with serving(create(sim=sim)) as port:
        url = f"http://127.0.0.1:{port}/simulator/carrier"
        account = {"account_sid": sim.config.account_sid, "auth_token": sim.config.auth_token}
        crew = Crew(config(cluster, database_url, carrier_url=url, **account), 3, tmp_path / "log", seed=1)
        try:
            await asyncio.to_thread(churn, crew, plans, lambda: cut(superuser, database_url, 1.0), HITS)
            await until_dialled(plans, sim)
        finally:
            crew.end()
        carrier = Carrier(CarrierConfig(number=sim.config.number, base_url=url, **account))
        # What was with the carrier when its dialler died is found there, and never dialled again.
        plans.books.execute("UPDATE open_calls SET dial_claimed_at = dial_claimed_at - interval '31 seconds'")
        for _ in range(count // reaping.BATCH_MAX + 1):
            await reaping.reap(worker, Witness(carrier))
        await carrier.aclose()
    await sim.aclose()
    dialled = Counter(call.to for call in sim.calls.values())
    rows = plans.books.execute(
        "SELECT s.phone_number, c.status, c.end_reason, c.twilio_call_sid FROM scheduled_calls AS s"
        " INNER JOIN calls AS c ON s.call_id = c.id WHERE s.status = 'executed' AND s.executed_at <= s.latest_start_at"
    ).fetchall()

    assert crew.hits["killed"] and crew.hits["stopped"], crew.hits
    assert len(rows) == plans.value("SELECT count(*) FROM calls") == count
    assert {number: times for number, times in dialled.items() if times > 1} == {}
    lost = [row for row in rows if row["phone_number"] not in dialled]
    assert [row for row in lost if row["end_reason"] != "dial_failed"] == []
    assert all(row["twilio_call_sid"] for row in rows if row["phone_number"] in dialled)


def churn(
    crew: Crew,
    plans: Plans,
    outage: Callable[[], None],
    hits: int,
    patience_s: float = PATIENCE_S,
    every_s: float = HIT_EVERY_S,
) -> None:
    """Hit the crew so often at most, until every call is begun; every fourth time the database is away, too."""
    deadline = time.monotonic() + patience_s
    while left(plans):
        assert time.monotonic() < deadline, f"{left(plans)} calls are left"
        if crew.hits.total() < hits:
            crew.hit()
            if crew.hits.total() % 4 == 3:
                outage()
        time.sleep(every_s)
        crew.wake(time.monotonic())
    crew.wake(float("inf"))


async def until_dialled(plans: Plans, sim: Simulator) -> None:
    """Until the outbox is empty, and those who were stopped had their chance to do harm."""
    async with asyncio.timeout(PATIENCE_S):
        while plans.value("SELECT count(*) FROM open_calls WHERE dial_claimed_at IS NULL"):
            await asyncio.sleep(0.1)
    await asyncio.sleep(LEASE_S)


LIGHT = """
CREATE TABLE rung (call text NOT NULL);
CREATE OR REPLACE FUNCTION start_call(
    p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date,
    p_requested_seconds integer DEFAULT NULL, p_pretext text DEFAULT NULL, p_scenario text DEFAULT NULL,
    p_idempotency_key text DEFAULT NULL, p_request_hash bytea DEFAULT NULL, p_dial_within interval DEFAULT '10 minutes'
) RETURNS started_call LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$ BEGIN INSERT INTO rung VALUES (p_pretext); RETURN NULL; END $$;
ALTER TABLE scheduled_calls DROP CONSTRAINT scheduled_calls_call_fkey;
"""
MANY = """
INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time, latest_start_at, call_pretext)
SELECT 'sch_' || n, 'user_' || 1 + n %% 100, 'brad', '+12025550100', now(), now() + interval '1 day', 'sch_' || n
FROM generate_series(1, %s) AS n
"""


@pytest.mark.parametrize(
    ("count", "size", "hits", "every_s", "patience_s"),
    [
        (2_000, 3, HITS, HIT_EVERY_S, PATIENCE_S),
        pytest.param(2_000_000, 8, PROOF_HITS, PROOF_HIT_EVERY_S, PROOF_PATIENCE_S, marks=pytest.mark.proof),
    ],
    ids=["bounded", "full"],
)
def test_c04_every_claim_is_placed_once(
    plans: Plans,
    cluster: Cluster,
    database_url: str,
    superuser: psycopg.Connection,
    tmp_path: Path,
    count: int,
    size: int,
    hits: int,
    every_s: float,
    patience_s: float,
) -> None:
    """Many more than calls can be begun: what begins one is a row in a table, in the same transaction."""
    for _ in range(100):
        plans.person()
    plans.books.execute(LIGHT)
    plans.books.execute("ALTER TABLE scheduled_calls DISABLE TRIGGER scheduled_calls_limit")
    plans.books.execute(MANY.encode(), (count,))
    crew = Crew(config(cluster, database_url), size, tmp_path / "log", seed=2)
    try:
        churn(crew, plans, lambda: cut(superuser, database_url, 1.0), hits, patience_s, every_s)
        time.sleep(STOPPED_S)
    finally:
        crew.end()

    assert crew.hits["killed"] + crew.hits["stopped"] > 1
    assert plans.value("SELECT count(*) FROM rung") == count
    assert plans.value("SELECT count(DISTINCT call) FROM rung") == count
    assert plans.value("SELECT count(*) FROM scheduled_calls WHERE status = 'executed'") == count


@pytest.mark.anyio
async def test_c04_the_carrier_s_pace_is_kept_by_all_together_and_the_oldest_goes_first(
    plans: Plans, cluster: Cluster, database_url: str, tmp_path: Path
) -> None:
    """Calls of schedules and of people at the page, three processes, one bucket of four a second."""
    plans.books.execute(
        "UPDATE dial_buckets SET calls_per_second = 4, burst = 1, tokens = 1, refilled_at = clock_timestamp()"
    )
    people = [plans.person() for _ in range(12)]
    for person in people[:6]:
        plans.call(person)
    sim = Simulator(SimulatorConfig(unanswered_seconds=3_600))
    async with serving(create(sim=sim)) as port:
        account = {"account_sid": sim.config.account_sid, "auth_token": sim.config.auth_token}
        url = f"http://127.0.0.1:{port}/simulator/carrier"
        crew = Crew(config(cluster, database_url, carrier_url=url, **account), 3, tmp_path / "log", seed=3)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while left(plans):
                    await asyncio.sleep(0.05)
            for person in people[6:]:
                place(plans, person)
            async with asyncio.timeout(PATIENCE_S):
                while len(sim.calls) < len(people):
                    await asyncio.sleep(0.05)
        finally:
            crew.end()
    await sim.aclose()
    claimed = plans.books.execute(
        "SELECT user_id, created_at, dial_claimed_at FROM open_calls ORDER BY dial_claimed_at, created_at"
    ).fetchall()
    seconds = (claimed[-1]["dial_claimed_at"] - claimed[0]["dial_claimed_at"]).total_seconds()

    assert len({call.to for call in sim.calls.values()}) == len(people)
    # One was there at the beginning, four a second came after it.
    assert len(claimed) <= 1 + 4 * seconds + 0.001
    assert [row["created_at"] for row in claimed] == sorted(row["created_at"] for row in claimed)


def place(plans: Plans, person: str) -> None:
    """A call as the page asks for it."""
    plans.value(
        "SELECT start_call(%s, %s, 'brad', h.number, w.card, current_date) FROM phones AS h, price_versions AS w"
        " WHERE h.user_id = %s ORDER BY w.effective_from DESC LIMIT 1",
        f"call_{person}", person, person,
    )  # fmt: skip
