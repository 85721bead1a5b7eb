"""High availability as docs/howto/ha.md has it: primaries are killed and changed under load, and nothing is lost.

Each gap takes up to the twenty seconds of Patroni's `ttl`, so this runs with `make prove` only; nothing asserts a time.
"""

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from tests.deploy import failover_writers, patroni_cluster
from tests.deploy.failover_writers import Caller, Diary, Person, Planner, Worker
from tests.deploy.patroni_cluster import Cluster, Victims, free_port, wait_until
from tests.money import proofs

from callmeback.pg import migrate, roles

pytestmark = pytest.mark.proof

SOURCES: Final = Path(__file__).parents[2] / "src"
ROLE_SECRET: Final = "r" * 40
LACKS: Final = patroni_cluster.missing()
WRITES_BETWEEN: Final = 100
ALONE_S: Final = 5.0
ASK_EVERY_S: Final = 0.05


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if LACKS is not None:
        pytest.skip(LACKS)
    with patroni_cluster.cluster() as running:
        asyncio.run(roles.ensure(running.superuser_dsn, ROLE_SECRET))
        with psycopg.connect(running.superuser_dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE callmeback OWNER {roles.OWNER}")
        migrate.apply(owner_dsn(running))
        yield running


def owner_dsn(cluster: Cluster) -> str:
    return cluster.dsn(roles.OWNER, roles.password(ROLE_SECRET, roles.OWNER))


@pytest.fixture(scope="module")
def people(cluster: Cluster) -> list[Person]:
    return failover_writers.populate(owner_dsn(cluster), 6)


class Visitor:
    """Asks the API again and again, on a new connection each time, and keeps what it was answered."""

    PATHS = ("/api/personas", "/ready", "/api/credits")

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: Counter[tuple[str, int]] = Counter()
        self.without_retry_after = 0
        self.broken: list[str] = []
        self.over = threading.Event()

    def work(self) -> None:
        while not self.over.wait(ASK_EVERY_S):
            for path in self.PATHS:
                try:
                    status, retry_after = ask(self.port, path)
                except (OSError, http.client.HTTPException) as exc:
                    self.broken.append(repr(exc))
                    continue
                self.answers[path, status] += 1
                if status == 503 and path != "/ready" and not retry_after:
                    self.without_retry_after += 1


def ask(port: int, path: str) -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Retry-After")
    finally:
        connection.close()


@contextmanager
def visited(cluster: Cluster, folder: Path) -> Iterator[Visitor]:
    """`callmeback serve` on the cluster, and somebody who asks it all the time."""
    port, log = free_port(), folder / "serve.log"
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCES),
        "CALLMEBACK_HOME": str(folder / "home"),
        "CALLMEBACK_PORT": str(port),
        "CALLMEBACK_JWT_SECRET": "j" * 40,
        "CALLMEBACK_ROLE_SECRET": ROLE_SECRET,
        "DATABASE_URL": owner_dsn(cluster),
        "DATABASE_READ_URL": owner_dsn(cluster).replace("read-write", "prefer-standby"),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "callmeback", "serve"], env=environ, stdout=output, stderr=output
        )
    visitor = Visitor(port)
    thread = threading.Thread(target=visitor.work)
    try:
        wait_until(lambda: is_ready(port), f"serve is ready: {log.read_text()}")
        thread.start()
        yield visitor
        # The same process, without anybody's help.
        wait_until(lambda: is_ready(port), f"serve is ready again: {log.read_text()}")
        assert process.poll() is None
    finally:
        visitor.over.set()
        if thread.ident is not None:
            thread.join()
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return ask(port, "/ready")[0] == 200 and ask(port, "/api/personas")[0] == 200

    return False


@contextmanager
def written(cluster: Cluster, people: list[Person], name: str) -> Iterator[Diary]:
    """Calls, ledger rows and schedules without pause; at the end each is there, once, and the books are right."""
    dsn, diary = owner_dsn(cluster), Diary(name)
    kinds = [(Caller, person) for person in people[:3]] + [(Planner, person) for person in people[3:]]
    with psycopg.connect(dsn) as connection:
        before = snapshot(connection)
    threads = failover_writers.start(dsn, diary, kinds)
    helpers = Diary(name)
    helpers.unexpected = diary.unexpected
    helpers_threads = failover_writers.start(dsn, helpers, [(Worker, Person(f"worker {n}", "")) for n in range(2)])
    try:
        yield diary
    finally:
        # The planners wait for the workers, so these end last.
        diary.over.set()
        for thread in threads:
            thread.join(patroni_cluster.PATIENCE_S)
        helpers.over.set()
        for thread in helpers_threads:
            thread.join(patroni_cluster.PATIENCE_S)
    assert diary.unexpected == []
    assert not any(thread.is_alive() for thread in threads + helpers_threads)
    with psycopg.connect(dsn) as connection:
        check(connection, diary, before, snapshot(connection))


Rows = dict[str, Counter[Any]]
KEPT: Final = {
    "calls": "SELECT user_id, id FROM calls WHERE status = 'completed' AND NOT hold_open",
    "other calls": "SELECT user_id, id, status FROM calls WHERE status <> 'completed' OR hold_open",
    "causes": "SELECT user_id, cause FROM credit_transactions WHERE cause LIKE 'purchase:%_%'",
    "schedules": "SELECT user_id, id FROM scheduled_calls WHERE status = 'executed'",
    "other schedules": "SELECT user_id, id, status FROM scheduled_calls WHERE status <> 'executed'",
    "placed": "SELECT id, call_id FROM scheduled_calls WHERE call_id IS NOT NULL",
}


def snapshot(connection: psycopg.Connection[Any]) -> Rows:
    return {name: Counter(connection.execute(query).fetchall()) for name, query in KEPT.items()}


def check(connection: psycopg.Connection[Any], diary: Diary, before: Rows, after: Rows) -> None:
    """What was acknowledged is what is there, neither less nor more, and every proof of the books holds."""
    new = {name: after[name] - before[name] for name in KEPT}
    assert new["calls"] == Counter(diary.calls)
    assert new["causes"] == Counter(diary.causes)
    assert new["schedules"] == Counter(diary.schedules)
    assert (new["other calls"], new["other schedules"]) == (Counter(), Counter())
    # Each planned call has a call of its own, which is among those that their people hung up.
    calls = {call_id for _, call_id in new["placed"]}
    assert len(calls) == len(diary.schedules) and calls <= {call_id for _, call_id in diary.calls}
    assert proofs.broken(connection, proofs.ALWAYS | proofs.AT_REST) == {}


def wait_for_writes(diary: Diary) -> None:
    done = len(diary.acknowledged_at)
    wait_until(lambda: len(diary.acknowledged_at) > done + WRITES_BETWEEN or bool(diary.unexpected), "writes go on")
    assert diary.unexpected == []


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Any:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None

    return lambda text: reporter.write_line(f"\n{text}")


def kill_and_mend(cluster: Cluster, diary: Diary, say: Any, victims: Victims) -> None:
    wait_for_writes(diary)
    node, begun = cluster.role("leader"), time.monotonic()
    cluster.kill(node, victims)
    wait_until(lambda: cluster.members().get(node.name, {}).get("role") != "leader" and leads(cluster), "one leads")
    if victims == "patroni":
        # The old primary lives on without anybody to stop it: what it acknowledges from here on would be lost.
        time.sleep(ALONE_S)
        # As the watchdog, or an operator: a Patroni that finds it alive lets the commits that wait for a standby go.
        os.kill(cluster.postmaster(node), signal.SIGKILL)
        cluster.launch(node)
    wait_for_writes(diary)
    say(f"kill -9 of the primary ({victims} of Patroni and PostgreSQL): gap {diary.gap(begun):.1f} s")
    if victims == "both":
        cluster.launch(node)
    cluster.wait_healthy()


def leads(cluster: Cluster) -> bool:
    return any(member["role"] == "leader" for member in cluster.members().values())


def test_five_killed_primaries_lose_nothing(cluster: Cluster, people: list[Person], tmp_path: Path, say: Any):
    with visited(cluster, tmp_path) as visitor, written(cluster, people, "killed") as diary:
        for _ in range(5):
            kill_and_mend(cluster, diary, say, "both")
    say(f"acknowledged: {len(diary.calls)} calls, {len(diary.causes)} movements, {len(diary.schedules)} schedules")
    say(f"answers of the API: {dict(visitor.answers)}")

    assert diary.lost_connections
    assert {status for path, status in visitor.answers if path != "/api/credits"} == {200, 503}
    assert (visitor.broken, visitor.without_retry_after) == ([], 0)


def test_a_primary_that_dies_beside_its_patroni_loses_nothing(cluster: Cluster, people: list[Person], say: Any):
    with written(cluster, people, "died") as diary:
        kill_and_mend(cluster, diary, say, "postgres")


def test_a_primary_that_lost_its_patroni_acknowledges_nothing(cluster: Cluster, people: list[Person], say: Any):
    with written(cluster, people, "alone") as diary:
        kill_and_mend(cluster, diary, say, "patroni")


def test_a_planned_switchover_loses_nothing(cluster: Cluster, people: list[Person], tmp_path: Path, say: Any):
    with visited(cluster, tmp_path) as visitor, written(cluster, people, "switched") as diary:
        for _ in range(2):
            wait_for_writes(diary)
            leader, begun = cluster.role("leader"), time.monotonic()
            cluster.switch_over()
            wait_for_writes(diary)
            say(f"planned switchover: gap {diary.gap(begun):.1f} s")
            cluster.wait_healthy()
            assert cluster.role("leader").name != leader.name

    assert {status for path, status in visitor.answers if path != "/api/credits"} <= {200, 503}
    assert (visitor.broken, visitor.without_retry_after) == ([], 0)
