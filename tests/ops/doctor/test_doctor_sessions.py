"""What sessions can do to a server, done to it: each is seen and named by the doctor, mended, and green again."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from tests.conftest import Cluster
from tests.ops.doctor.patients import NOWHERE, check, named, run, said, superuser_of

from callmeback.ops import doctor
from callmeback.ops.doctor import Patient, Verdict, examination, server
from callmeback.ops.doctor.verdicts import Check
from callmeback.pg import roles
from callmeback.settings import Settings

pytestmark = pytest.mark.anyio

Connection = psycopg.Connection[Any]
PATIENCE_S = 20.0
NOTHING = "0 seconds"
USE_UP = "DO $$ BEGIN FOR n IN 1 .. 10000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


@pytest.fixture(scope="module")
def superuser_url(cluster: Cluster, module_database_url: str) -> str:
    return superuser_of(cluster.superuser_dsn, module_database_url)


@pytest.fixture(scope="module")
async def patient(module_database_url: str, superuser_url: str) -> AsyncIterator[Patient]:
    async with doctor.visit(Settings(home=NOWHERE), module_database_url, superuser_url) as patient:
        yield patient


@pytest.fixture(autouse=True)
def all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions the tests beside these have: the newest would be left out first."""
    monkeypatch.setattr(examination, "OBJECTS_MAX", 1_000)


@pytest.fixture
def guest(module_database_url: str) -> Iterator[Connection]:
    """Somebody's session."""
    with psycopg.connect(module_database_url, application_name="guest") as connection:
        yield connection


async def verdict_of(patient: Patient, asked: Check) -> Verdict:
    return await doctor.consult(patient, "test", asked)


async def until_seen(patient: Patient, asked: Check, what: str | None = None) -> Verdict:
    """The verdict as soon as it isn't green any more, or names `what`: the log is written a moment later.

    Sessions of the tests beside these are seen as well, so that of sessions only the named one is waited for.
    """
    return await until(patient, asked, lambda each: each.verdict != "green" if what is None else what in named(each))


async def until(patient: Patient, asked: Check, condition: Callable[[Verdict], bool]) -> Verdict:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        verdict = await verdict_of(patient, asked)
        if condition(verdict) or time.monotonic() > deadline:
            return verdict
        await asyncio.sleep(0.05)


def name_of(session: Connection) -> str:
    """What the doctor calls it."""
    return f"pid {session.info.backend_pid} ({session.info.user}, {session.info.parameter_status('application_name')})"


def of(session: Connection, verdict: Verdict) -> Verdict:
    """The verdict with the commands of one session alone: the others are those of the tests beside these."""
    commands = [text for text in verdict.mends if f"a.pid = {session.info.backend_pid} " in text]
    return msgspec.structs.replace(verdict, mends=commands)


def at_once(asked: Check, *which: str) -> Check:
    """The check with no time to wait before it finds something."""
    return msgspec.structs.replace(asked, parameters={**asked.parameters, **dict.fromkeys(which, NOTHING)})


async def test_a_transaction_that_idles_is_ended(patient: Patient, guest: Connection, superuser_url: str):
    asked = at_once(check("connections", "no transaction idles"), "idle_after")
    name = name_of(guest)
    before = await verdict_of(patient, asked)
    guest.execute("SELECT id FROM personas FOR UPDATE")
    verdict = await until_seen(patient, asked, name)
    mended = await doctor.mend(superuser_url, [of(guest, verdict)])
    after = await verdict_of(patient, asked)

    assert name not in named(before)
    assert verdict.verdict == "warning"
    assert name in named(verdict)
    assert [each.error for each in mended] == [None]
    assert name not in named(after)
    with pytest.raises(psycopg.OperationalError):
        guest.execute("SELECT 1")


async def test_a_transaction_that_idles_for_long_is_red(patient: Patient, guest: Connection):
    asked = at_once(check("connections", "no transaction idles"), "idle_after", "red_after")
    guest.execute("SELECT 1")
    verdict = await until_seen(patient, asked, name_of(guest))

    assert verdict.verdict == "red"
    assert name_of(guest) in named(verdict)


async def test_what_was_idle_and_works_again_is_left_alone(patient: Patient, guest: Connection, superuser_url: str):
    """Between the look and the fix the session may have gone on; only what still idles is ended."""
    asked = at_once(check("connections", "no transaction idles"), "idle_after")
    guest.execute("SELECT 1")
    verdict = of(guest, await until_seen(patient, asked, name_of(guest)))
    guest.commit()
    guest.execute("SELECT 2")
    mended = await doctor.mend(superuser_url, [verdict])

    assert len(mended) == 1
    assert guest.execute("SELECT 3").fetchone() == (3,)


async def test_an_idle_session_is_ended_and_one_of_a_pool_of_ours_is_not(
    patient: Patient, module_database_url: str, guest: Connection, superuser_url: str
):
    asked = at_once(check("connections", "no session idles for long"), "idle_after")
    guest.autocommit = True
    guest.execute("SELECT 1")
    with psycopg.connect(module_database_url, autocommit=True, application_name="callmeback api") as ours:
        ours.execute("SELECT 1")
        verdict = await until_seen(patient, asked, name_of(guest))
        await doctor.mend(superuser_url, [of(guest, verdict)])

        assert name_of(guest) in named(verdict)
        assert name_of(ours) not in named(verdict)
        assert ours.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        guest.execute("SELECT 1")


async def test_the_holder_of_a_lock_is_named(patient: Patient, guest: Connection, module_database_url: str):
    asked = at_once(check("connections", "nobody waits for a lock"), "wait_after")
    guest.execute("LOCK TABLE personas")
    with psycopg.connect(module_database_url, application_name="patient one") as waiting:
        name = name_of(waiting)
        waiter = threading.Thread(target=waiting.execute, args=("SELECT count(*) FROM personas",))
        waiter.start()
        verdict = await until_seen(patient, asked, name)
        guest.rollback()
        waiter.join(PATIENCE_S)
        after = await verdict_of(patient, asked)

    assert name in named(verdict)
    assert f"for personas, held by pid {guest.info.backend_pid} (callmeback_owner, guest, idle in tran" in said(verdict)
    assert name not in named(after)


async def test_a_long_statement_and_an_old_snapshot_are_named_without_their_text(
    patient: Patient, module_database_url: str
):
    long = at_once(check("connections", "no statement runs for long"), "long_after")
    old = at_once(check("connections", "no snapshot is old"), "old_after")

    def sleep(connection: Connection) -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30), 'vermilion'")

    with psycopg.connect(module_database_url, application_name="sleeper") as sleeping:
        name = name_of(sleeping)
        sleeper = threading.Thread(target=sleep, args=(sleeping,))
        sleeper.start()
        verdict = await until_seen(patient, long, name)
        snapshot = await until_seen(patient, old, name)
        sleeping.cancel_safe()
        sleeper.join(PATIENCE_S)

    assert f"{name}: runs for" in said(verdict)
    assert name in named(snapshot)
    assert "vermilion" not in said(verdict) + said(snapshot)


async def test_a_stopped_process_is_found_though_no_timeout_ends_it(
    patient: Patient, guest: Connection, superuser_url: str
):
    asked = check("connections", "no process is stopped")
    pid = guest.info.backend_pid
    before = await verdict_of(patient, asked)
    os.kill(pid, signal.SIGSTOP)
    try:
        verdict = await until_seen(patient, asked, f"pid {pid}")
    finally:
        os.kill(pid, signal.SIGCONT)
    after = await verdict_of(patient, asked)

    assert verdict.verdict == "red"
    assert [f"pid {pid}" in named(each) for each in (before, verdict, after)] == [False, True, False]
    assert f"kill -CONT {pid}" in said(verdict)


async def test_numbers_of_transactions_that_run_out_are_frozen(patient: Patient, superuser_url: str):
    """By a lowered threshold: half a billion transactions take hours. Tests beside this one use up numbers, too."""
    with psycopg.connect(superuser_url, autocommit=True) as hand:
        hand.execute("CREATE TABLE old AS SELECT 1 AS id")
        hand.execute("ALTER TABLE old OWNER TO callmeback_owner")
        hand.execute(USE_UP)
        [others] = hand.execute(
            "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind = 'r' AND relname <> 'old'"
        ).fetchone() or ("",)
        hand.execute(f"VACUUM (FREEZE) {others}")
        [age] = hand.execute("SELECT age(relfrozenxid) FROM pg_class WHERE relname = 'old'").fetchone() or (0,)
        asked = check("storage", "transaction numbers last")
        lowered = msgspec.structs.replace(asked, parameters={"old_age": age // 2})
        verdict = await verdict_of(patient, lowered)
        of_old = [text for text in verdict.mends if text.endswith(" old")]
        mended = await doctor.mend(superuser_url, [msgspec.structs.replace(verdict, mends=of_old)])
        after = await verdict_of(patient, lowered)
        hand.execute("DROP TABLE old")

    assert "old" in named(verdict)
    assert [(each.command, each.error) for each in mended] == [("VACUUM (FREEZE) old", None)]
    assert "old" not in named(after)


@pytest.mark.parametrize(("hours", "says"), [(1, "s behind this"), (-1, "s ahead of this")])
async def test_a_clock_that_is_an_hour_off_is_red(patient: Patient, hours: int, says: str):
    [found] = await server.clock(patient, lambda: time.time() + hours * 3_600)
    now = await server.clock(patient)

    assert found.is_red
    assert says in found.detail
    # Less what the answer took.
    assert 3_590 < int(found.detail.split()[3]) <= 3_600
    assert now == ()


async def test_a_deadlock_is_counted(patient: Patient, superuser_url: str, module_database_url: str):
    asked = check("connections", "few deadlocks and spills")
    with psycopg.connect(superuser_url, autocommit=True) as hand:
        hand.execute("SELECT pg_stat_reset()")
        deadlock(module_database_url)
        verdict = await until_seen(patient, asked)
        hand.execute("SELECT pg_stat_reset()")
        after = await verdict_of(patient, asked)

    assert named(verdict) == ["deadlocks"]
    assert after.verdict == "green"


def deadlock(dsn: str) -> None:
    """Two sessions that wait for one another."""
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        one.execute("SELECT pg_advisory_xact_lock(1)")
        two.execute("SELECT pg_advisory_xact_lock(2)")

        def cross(connection: Connection, key: int) -> None:
            try:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            except psycopg.errors.DeadlockDetected:
                connection.rollback()

        threads = [threading.Thread(target=cross, args=pair) for pair in ((one, 2), (two, 1))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)


async def test_foreign_keys_that_refuse_are_explained(patient: Patient, guest: Connection):
    """The specification's own example (section 14): a call for a person who isn't there."""
    asked = check("log", "foreign keys find their rows")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        guest.execute(
            "INSERT INTO calls (id, user_id, persona_id, phone_number)"
            " VALUES ('call_123', 'user_999', 'brad', '+12025550123')"
        )
    verdict = await until_seen(patient, asked)

    assert (verdict.verdict, named(verdict)) == ("warning", ["calls.calls_user_fkey"])
    assert "user_id of calls must be id of a row of users" in said(verdict)
    assert "user_999" not in said(verdict)


async def test_what_the_log_says_is_told_without_anybodys_data(patient: Patient, guest: Connection):
    asked = check("log", "statements don't fail inside")
    for statement in ("SELECT * FROM wings", "SELECT 'vermilion'::integer"):
        with pytest.raises(psycopg.Error):
            guest.execute(statement)
        guest.rollback()
    verdict = await until_seen(patient, asked, 'relation "wings"')

    assert 'relation "wings"' in named(verdict)
    assert "of different versions" in said(verdict)
    assert "vermilion" not in said(verdict)


async def test_what_a_key_is_refused_is_no_grant_that_lacks(tmp_path: Path, patient: Patient):
    """A wall at work, and a stranger's typing error; of a service's role either is a fault."""
    facts = patient.facts
    assert facts is not None
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}.001 UTC [7]"
    key, service = f"callmeback_key_eeee@{facts.database}", f"callmeback_api@{facts.database}"
    (tmp_path / "server.log").write_text(
        f"{now} {key} callmeback sqlproxy ERROR:  permission denied for table calls\n"
        f'{now} {key} callmeback sqlproxy ERROR:  relation "wings" does not exist\n'
        f"{now} {key} callmeback sqlproxy ERROR:  out of memory\n"
        + f"{now} {service} callmeback api ERROR:  permission denied for table phones\n"
        * 2
    )
    place = msgspec.structs.replace(facts, data_directory=str(tmp_path), log_directory=".")
    verdict = await verdict_of(
        msgspec.structs.replace(patient, facts=place), check("log", "statements don't fail inside")
    )

    assert sorted(named(verdict)) == ["out of memory", "table phones"]
    assert "once, at " in said(verdict)
    assert "2 times, last at " in said(verdict)


async def test_another_password_is_found(patient: Patient, cluster: Cluster):
    asked = check("services", "the services' passwords are right")
    right = msgspec.structs.replace(patient, settings=Settings(home=NOWHERE, role_secret=cluster.role_secret))
    wrong = msgspec.structs.replace(patient, settings=Settings(home=NOWHERE, role_secret="w" * 40))
    good, bad = await verdict_of(right, asked), await verdict_of(wrong, asked)

    assert good.verdict == "green"
    assert bad.verdict == "red"
    assert "callmeback_api" in named(bad)
    assert "password authentication failed" in said(bad)


async def test_a_role_that_sees_little_is_told_so_instead_of_being_reassured(
    cluster: Cluster, module_database_url: str
):
    dsn = roles.dsn_for(roles.READONLY, cluster.role_secret, module_database_url)
    async with doctor.visit(Settings(home=NOWHERE), dsn) as little:
        verdicts = {verdict.name: verdict for verdict in await doctor.examine(little, ["connections", "server", "log"])}

    skipped = {name for name, verdict in verdicts.items() if verdict.verdict == "skipped"}
    assert {"no transaction idles", "nobody waits for a lock", "nobody comes in without a password"} <= skipped
    assert all(verdicts[name].what_to_do for name in skipped)


def test_a_full_database_is_told_apart(database_url: str, superuser: psycopg.Connection):
    """By its own limit, so that the other tests' sessions go on. A whole server is filled by the tests of one."""
    name = database_url.rpartition("/")[2]
    superuser.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 2")
    with psycopg.connect(database_url), psycopg.connect(database_url):
        answer = run("doctor", "connections", "--json", DATABASE_URL=database_url)
    verdicts = {item["name"]: item for item in json.loads(answer.stdout)["items"]}

    assert answer.returncode == 1
    assert verdicts["the database answers"]["verdict"] == "red"
    assert "Every connection is taken" in verdicts["the database answers"]["objects"][0]["detail"]
    assert verdicts["connections are left"]["verdict"] == "skipped"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda dsn: dsn.rpartition("/")[0] + "/nowhere", "`callmeback restore --in-place`"),
        (lambda dsn: dsn.replace("callmeback_owner:", "callmeback_owner:not"), "The password is another"),
        (lambda dsn: "postgresql://a:b@127.0.0.1:1/c", "Nothing listens there"),
    ],
)
def test_a_database_that_doesnt_answer_is_told_apart(database_url: str, change: Any, says: str):
    answer = run("doctor", "connections", "schema", "--json", DATABASE_URL=change(database_url))
    items = json.loads(answer.stdout)["items"]

    assert answer.returncode == 1
    assert answer.stderr == ""
    assert says in items[0]["objects"][0]["detail"]
    assert {item["verdict"] for item in items[1:]} == {"skipped"}
