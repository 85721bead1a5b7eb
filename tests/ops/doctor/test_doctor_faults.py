"""Each check of the doctor against its fault, injected into a real database: seen, named, mended, green again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from tests.conftest import Cluster
from tests.ops.doctor.patients import NOWHERE, check, named, said, superuser_of

from callmeback.ops import doctor
from callmeback.ops.doctor import Patient, Verdict
from callmeback.settings import Settings

Connection = psycopg.Connection[Any]
PATIENCE_S = 20.0

PERSON = "INSERT INTO users (id, email, password_hash) VALUES ('user_x', 'x@example.org', 'x')"
NOBODY = "DELETE FROM users WHERE id = 'user_x'"
CALL = "INSERT INTO calls (id, user_id, persona_id, phone_number) VALUES ('call_x', 'user_x', 'brad', '+12025550123')"
OPEN = (
    "INSERT INTO open_calls (user_id, call_id, created_at, dial_before)"
    " VALUES ('user_x', 'call_x', now(), now() + interval '1 hour')"
)
# A session keeps its counters to itself for a while.
FLUSH = "SELECT pg_stat_force_next_flush()"
NO_CALL = "DELETE FROM calls"
SCOPE = (
    "INSERT INTO sql_scopes (id, role_name, pii, reads, writes, calls)"
    " VALUES ('eeeeeeeeeeeeeeee', 'callmeback_key_eeeeeeeeeeeeeeee', false, '{}', '{}', '{}')"
)


@pytest.fixture(scope="module")
def superuser_url(cluster: Cluster, module_database_url: str) -> str:
    """The superuser in the database under examination."""
    return superuser_of(cluster.superuser_dsn, module_database_url)


@pytest.fixture(scope="module")
def hand(superuser_url: str) -> Iterator[Connection]:
    """Does what nobody should."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
async def patient(module_database_url: str, superuser_url: str) -> AsyncIterator[Patient]:
    async with doctor.visit(Settings(home=NOWHERE), module_database_url, superuser_url) as patient:
        yield patient


class Fault(msgspec.Struct, frozen=True):
    """What is done to a database, which check must see it, what it must name and say, and what makes it good again.

    `undo` is None where the check's own fix does it; `tidy` removes what isn't wrong any more. A check `of_server` sees
    what the tests beside this one do as well, so that only what it says of this fault counts.
    """

    area: str
    check: str
    cause: tuple[str, ...]
    named: str
    says: str
    verdict: str = "red"
    undo: str | None = None
    tidy: tuple[str, ...] = ()
    of_server: bool = False

    def is_seen(self, verdict: Verdict) -> bool:
        return self.named in named(verdict) if self.of_server else verdict.verdict != "green"


FAULTS = {
    "index that CONCURRENTLY left": Fault(
        "schema", "no index is invalid",
        (
            "CREATE INDEX idx_x ON personas (name)",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_x'::regclass",
        ),
        "idx_x", "of personas",
    ),
    "index twice": Fault(
        "schema", "no index is superfluous",
        ("CREATE INDEX idx_x ON personas (category, created_at DESC) WHERE is_active",),
        "idx_x", "idx_personas_category_active serves the same", "warning", "DROP INDEX idx_x",
    ),
    "foreign key without index": Fault(
        "schema", "every foreign key has an index",
        ("DROP INDEX idx_calls_persona",),
        "calls.calls_persona_fkey", "persona_id", "warning", None,
        ("ALTER INDEX idx_calls_persona_fkey RENAME TO idx_calls_persona",),
    ),
    "set null on not null": Fault(
        "schema", "no SET NULL on NOT NULL",
        (
            "CREATE TABLE owned (id int PRIMARY KEY, persona_id text NOT NULL CONSTRAINT owned_persona_fkey"
            " REFERENCES personas (id) ON DELETE SET NULL)",
        ),
        "owned.owned_persona_fkey", "persona_id is NOT NULL", "red", "DROP TABLE owned",
    ),
    "constraint that was never checked": Fault(
        "schema", "every constraint is checked",
        ("ALTER TABLE personas ADD CONSTRAINT short CHECK (length(name) < 1000) NOT VALID",),
        "personas.short", "NOT VALID", "warning", None, ("ALTER TABLE personas DROP CONSTRAINT short",),
    ),
    "table without a key": Fault(
        "schema", "every table has a primary key",
        ("CREATE TABLE notes (note text)",),
        "notes", "no primary key", "warning", "DROP TABLE notes",
    ),
    "trigger off": Fault(
        "schema", "no trigger is off",
        ("ALTER TABLE credit_transactions DISABLE TRIGGER USER",),
        "", "ENABLE TRIGGER", "red", "ALTER TABLE credit_transactions ENABLE TRIGGER USER",
    ),
    "foreign keys off": Fault(
        "schema", "no trigger is off",
        ("ALTER TABLE phones DISABLE TRIGGER ALL",),
        "", "ALTER TABLE phones ENABLE TRIGGER ALL", "red", "ALTER TABLE phones ENABLE TRIGGER ALL",
    ),
    "wall down": Fault(
        "schema", "the walls stand",
        ("ALTER TABLE transcripts DISABLE ROW LEVEL SECURITY",),
        "transcripts", "no row-level security",
    ),
    "wall against the owner": Fault(
        "schema", "the walls stand",
        ("ALTER TABLE transcripts FORCE ROW LEVEL SECURITY",),
        "transcripts", "FORCE",
    ),
    "sequence at its end": Fault(
        "schema", "no number runs out",
        (
            "CREATE TABLE few (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",
            "ALTER TABLE few OWNER TO callmeback_owner",
            "SELECT setval('few_id_seq', 2000000000)",
        ),
        "public.few_id_seq", "2000000000 of 2147483647", "red", "DROP TABLE few",
    ),
    "no partition for this month": Fault(
        "schema", "the months to come have partitions",
        (
            "DO $$ BEGIN EXECUTE 'DROP TABLE call_cost_events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM');"
            " END $$",
        ),
        "", "no partition",
    ),
    "dead rows": Fault(
        "storage", "few rows are dead",
        (
            "CREATE TABLE few (id int PRIMARY KEY) WITH (autovacuum_enabled = off)",
            "INSERT INTO few SELECT generate_series(1, 12000)",
            "DELETE FROM few",
            FLUSH,
        ),
        "few", "12000 dead rows", "warning", None, ("DROP TABLE few",),
    ),
    "no statistics": Fault(
        "storage", "the planner's statistics are fresh",
        (
            "CREATE TABLE few (id int PRIMARY KEY) WITH (autovacuum_enabled = off)",
            "INSERT INTO few SELECT generate_series(1, 12000)",
            FLUSH,
        ),
        "few", "never analysed", "warning", None, ("DROP TABLE few",),
    ),
    "slot that nobody reads": Fault(
        "storage", "every slot is read",
        ("SELECT pg_create_physical_replication_slot('forgotten', true)",),
        "forgotten", "read by nobody", "warning", "SELECT pg_drop_replication_slot('forgotten')", of_server=True,
    ),
    "strong role": Fault(
        "server", "roles are as weak as can be",
        ("CREATE ROLE callmeback_key_ffffffffffffffff LOGIN BYPASSRLS",),
        "callmeback_key_ffffffffffffffff", "passes every wall", "red", "DROP ROLE callmeback_key_ffffffffffffffff",
        of_server=True,
    ),
    "migration missing": Fault(
        "migrations", "every migration is applied",
        (
            "CREATE TEMP TABLE kept AS SELECT * FROM schema_migrations ORDER BY version DESC LIMIT 1",
            "DELETE FROM schema_migrations WHERE version = (SELECT version FROM kept)",
        ),
        "", "was not applied", "red", "INSERT INTO schema_migrations SELECT * FROM kept", ("DROP TABLE kept",),
    ),
    "function missing": Fault(
        "migrations", "every migration is applied",
        (
            "CREATE TEMP TABLE kept AS SELECT * FROM schema_repeatable WHERE file = 'functions/31_finish_call.sql'",
            "DELETE FROM schema_repeatable WHERE file = 'functions/31_finish_call.sql'",
        ),
        "functions/31_finish_call.sql", "was not applied", "red", "INSERT INTO schema_repeatable SELECT * FROM kept",
        ("DROP TABLE kept",),
    ),
    "file edited": Fault(
        "migrations", "the files are those that were applied",
        (
            "CREATE TEMP TABLE kept AS SELECT checksum FROM schema_migrations WHERE version = 2",
            "UPDATE schema_migrations SET checksum = repeat('0', 64) WHERE version = 2",
        ),
        "002_people.sql", "edited", "red",
        "UPDATE schema_migrations SET checksum = (SELECT checksum FROM kept) WHERE version = 2", ("DROP TABLE kept",),
    ),
    "database of a newer program": Fault(
        "migrations", "the files are those that were applied",
        ("INSERT INTO schema_migrations SELECT 999, 'wings', repeat('0', 64), now(), 1, 'applied'",),
        "999_wings.sql", "another program", "warning", "DELETE FROM schema_migrations WHERE version = 999",
    ),
    "migration that didn't end": Fault(
        "migrations", "no migration is unfinished",
        ("UPDATE schema_migrations SET state = 'running' WHERE version = 3",),
        "003_personas.sql", "nobody runs it", "red", "UPDATE schema_migrations SET state = 'applied' WHERE version = 3",
    ),
    "overdue schedule": Fault(
        "calls", "planned calls are on time",
        (
            PERSON,
            "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time)"
            " VALUES ('sch_1', 'user_x', 'brad', '+12025550123', now() - interval '10 minutes')",
        ),
        "sch_1", "scheduled since", "red", "DELETE FROM scheduled_calls", (NOBODY,),
    ),
    "lease of a schedule that nobody ended": Fault(
        "calls", "planned calls are on time",
        (
            PERSON,
            "INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time, status, lease_until)"
            " VALUES ('sch_1', 'user_x', 'brad', '+12025550123', now(), 'executing', now() - interval '1 hour')",
        ),
        "sch_1", "executing since", "red", "DELETE FROM scheduled_calls", (NOBODY,),
    ),
    "call that is never dialled": Fault(
        "calls", "calls are dialled",
        (PERSON, CALL, OPEN, "UPDATE open_calls SET dial_before = now() - interval '1 hour'"),
        "call_x", "was to be dialled before", "red", "DELETE FROM open_calls", (NO_CALL, NOBODY),
    ),
    "call that never ends": Fault(
        "calls", "calls end in time",
        (
            PERSON, CALL, OPEN,
            "UPDATE calls SET status = 'in_progress', granted_seconds = 60, answered_at = now() - interval '1 hour'",
        ),
        "call_x", "granted were 60 s", "red", "DELETE FROM open_calls", (NO_CALL, NOBODY),
    ),
    "webhooks of the carrier that don't arrive": Fault(
        "calls", "the carrier's webhooks arrive",
        (PERSON, CALL, "UPDATE calls SET twilio_call_sid = 'CA1', created_at = now() - interval '10 minutes'"),
        "call_x", "no webhook came", "red",
        "INSERT INTO carrier_events (user_id, call_id, kind, event_key, verdict)"
        " VALUES ('user_x', 'call_x', 'status', '1', 'applied')",
        ("DELETE FROM carrier_events", NO_CALL, NOBODY),
    ),
    "vendor that fails": Fault(
        "calls", "calls don't fail for the house's sake",
        (
            PERSON,
            "INSERT INTO calls (id, user_id, persona_id, phone_number, status, end_reason)"
            " SELECT 'call_' || n, 'user_x', 'brad', '+12025550123', 'failed', 'vendor_failed'"
            " FROM generate_series(1, 4) AS n",
        ),
        "vendor_failed", "ended 4 of 4 calls", "red", NO_CALL, (NOBODY,),
    ),
    "key without its role": Fault(
        "services", "keys are good",
        (
            SCOPE,
            "INSERT INTO api_keys (id, name, scope_id, mode, secret_hash, created_by)"
            " VALUES ('0123456789abcdef', 'shop', 'eeeeeeeeeeeeeeee', 'named', sha256('x'), 'test')",
        ),
        "key 0123456789abcdef (shop)", "doesn't exist", "red", "DELETE FROM api_keys", ("DELETE FROM sql_scopes",),
    ),
    "key that ends": Fault(
        "services", "keys are good",
        (
            # Another role than in the fault before, which may be at work on the same server: there it is missing.
            SCOPE.replace("e" * 16, "d" * 16),
            "CREATE ROLE callmeback_key_dddddddddddddddd LOGIN",
            "INSERT INTO api_keys (id, name, scope_id, mode, secret_hash, created_by, expires_at)"
            " VALUES ('0123456789abcdef', 'shop', 'dddddddddddddddd', 'named', sha256('x'), 'test',"
            " now() + interval '1 day')",
        ),
        "key 0123456789abcdef (shop)", "ends at", "warning", "DELETE FROM api_keys",
        ("DELETE FROM sql_scopes", "DROP ROLE callmeback_key_dddddddddddddddd"),
    ),
}  # fmt: skip


async def seen(patient: Patient, fault: Fault) -> Verdict:
    """The verdict, once the counters of other sessions have arrived, which takes up to a second."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        verdict = await doctor.consult(patient, fault.area, check(fault.area, fault.check))
        if fault.is_seen(verdict) or time.monotonic() > deadline:
            return verdict
        await asyncio.sleep(0.1)


@pytest.mark.anyio
@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_seen_named_and_mended(hand: Connection, patient: Patient, superuser_url: str, name: str):
    fault = FAULTS[name]
    before = await doctor.consult(patient, fault.area, check(fault.area, fault.check))
    for statement in fault.cause:
        hand.execute(statement)
    verdict = await seen(patient, fault)
    mended = await doctor.mend(superuser_url, [verdict]) if fault.undo is None else []
    if fault.undo is not None:
        hand.execute(fault.undo)
    after = await doctor.consult(patient, fault.area, check(fault.area, fault.check))
    for statement in fault.tidy:
        hand.execute(statement)

    assert not fault.is_seen(before)
    assert (verdict.verdict, verdict.what_to_do != "") == (fault.verdict, True)
    assert fault.named in named(verdict) or (fault.named == "" and named(verdict))
    assert fault.says in said(verdict)
    assert [each.error for each in mended] == [None] * len(mended)
    assert bool(mended) == (fault.undo is None)
    assert not fault.is_seen(after)
