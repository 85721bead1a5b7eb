"""Scopes made by several at once, beside migrations and busy tables; and what is left when they are needed no more."""

import asyncio

import psycopg
import pytest
from tests.sqlproxy.conftest import ANN, BOB, MakeKey, refusal

from callmeback import errors
from callmeback.domain import keys
from callmeback.ops import scopes
from callmeback.ops.scopes import Workshop
from callmeback.pg.pool import Database

pytestmark = pytest.mark.anyio


async def test_equal_scopes_made_at_once_are_one(books: psycopg.Connection, make_key: MakeKey) -> None:
    """Different ones too: each grants on the same tables and functions."""
    made = await asyncio.gather(
        *(make_key(reads=("users", "calls", "transcripts"), calls=("start_call",)) for _ in range(6)),
        *(make_key(reads=("users", "calls"), as_user=person, calls=("start_call",)) for person in (ANN, BOB)),
        make_key(reads=("users", "calls"), pii=True),
    )
    people = {}
    for key in made:
        with key.login() as session:
            people[key.id] = [row[0] for row in session.execute("SELECT id FROM users ORDER BY id")]

    assert len({key.line.role for key in made}) == 4
    assert list(people.values()) == [*[[ANN, BOB]] * 6, [ANN], [BOB], [ANN, BOB]]


async def test_two_processes_make_one_role(owner: Database, workshop: Workshop, books: psycopg.Connection) -> None:
    wanted = keys.scope(reads=["erasures", "carrier_events"], writes=["transcripts"])
    await asyncio.gather(*(scopes.make_roles(workshop, [wanted]) for _ in range(4)))
    found = books.execute("SELECT count(*) FROM pg_roles WHERE rolname = %s", (wanted.role,)).fetchone()

    assert found == (1,)


async def test_a_scope_waits_for_a_busy_table_without_stopping_it(
    owner: Database, books: psycopg.Connection, database_url: str, make_key: MakeKey
) -> None:
    with psycopg.connect(database_url) as report, psycopg.connect(database_url, autocommit=True) as reader:
        report.execute("SELECT count(*) FROM transcripts")
        making = asyncio.create_task(make_key(reads=("transcripts",)))
        for _ in range(10):
            await asyncio.sleep(0.1)
            # Behind a waiting ACCESS EXCLUSIVE lock this would wait as long as the report takes.
            await asyncio.to_thread(reader.execute, "SET statement_timeout = '2s'; SELECT count(*) FROM transcripts")
        was_waiting = not making.done()
        report.rollback()
        key = await making
    with key.login() as session:
        seen = session.execute("SELECT count(*) FROM transcripts").fetchone()

    assert was_waiting
    assert seen == (2,)


async def test_a_table_that_stays_busy_is_an_error(
    books: psycopg.Connection, database_url: str, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes, "ATTEMPTS_MAX", 2)
    with psycopg.connect(database_url) as report:
        report.execute("SELECT count(*) FROM erasures")
        with pytest.raises(errors.Overloaded, match="busy"):
            await make_key(reads=("erasures",))

    assert books.execute("SELECT count(*) FROM sql_scopes").fetchone() == (0,)


async def test_nobody_grants_while_migrations_run(
    books: psycopg.Connection, database_url: str, make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes, "ATTEMPTS_MAX", 2)
    with psycopg.connect(database_url) as runner:
        runner.execute("SELECT pg_advisory_lock(hashtextextended('callmeback migrate', 0))")
        with pytest.raises(errors.Overloaded, match="migrations"):
            await make_key(reads=("users",))


async def test_a_role_that_vanished_is_made_again(
    owner: Database, workshop: Workshop, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's clean-up drops it between its making and its grants."""
    wanted = keys.scope(reads=["call_schedules", "erasures"])
    make = scopes.make_roles
    made = 0

    async def make_and_lose(place: Workshop, asked: list[keys.Scope]) -> None:
        nonlocal made
        await make(place, asked)
        made += 1
        if made == 1:
            superuser.execute(f"DROP ROLE {wanted.role}")

    async def work(tx: object) -> str:
        return "done"

    monkeypatch.setattr(scopes, "make_roles", make_and_lose)
    done = await scopes.establish(owner, workshop, wanted, work)

    assert (done, made) == ("done", 2)


async def test_what_no_key_needs_is_taken_away(
    owner: Database, workshop: Workshop, books: psycopg.Connection, make_key: MakeKey
) -> None:
    key = await make_key(reads=("users", "user_budget_settings"), writes=("user_preferences",), as_user=ANN)
    twin = await make_key(reads=("users", "user_budget_settings"), writes=("user_preferences",), as_user=ANN)
    with key.login() as session:
        async with owner.transaction() as tx:
            await keys.revoke(tx, key.id)
        await scopes.retire(owner, key.id)
        still = refusal(session, "SELECT * FROM users")
        async with owner.transaction() as tx:
            await keys.revoke(tx, twin.id)
        await scopes.retire(owner, twin.id)
        gone = refusal(session, "SELECT id FROM public.user_budget_settings")
    found = await scopes.synchronise(owner, workshop)
    left = books.execute(
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolname = %(role)s),"
        " (SELECT count(*) FROM pg_policy WHERE starts_with(polname, %(role)s)),"
        " (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'scope%%')",
        {"role": key.line.role},
    ).fetchone()

    assert (still, gone) == (None, "42501")
    assert [scope.state for scope in found] == ["dropped"]
    assert left == (0, 0, 0)


async def test_a_role_that_another_database_uses_is_kept(
    owner: Database, workshop: Workshop, books: psycopg.Connection, superuser: psycopg.Connection, make_key: MakeKey
) -> None:
    key = await make_key(reads=("scheduled_calls", "erasures"))
    superuser.execute(f"GRANT CREATE ON DATABASE callmeback_template TO {key.line.role}")
    try:
        async with owner.transaction() as tx:
            await keys.revoke(tx, key.id)
        found = await scopes.synchronise(owner, workshop)
    finally:
        superuser.execute(f"REVOKE CREATE ON DATABASE callmeback_template FROM {key.line.role}")

    assert [(scope.role, scope.state) for scope in found] == [(key.line.role, "unneeded")]


async def test_one_persons_rows_are_found_by_their_index(books: psycopg.Connection, make_key: MakeKey) -> None:
    """The person stands in policy and view as a constant, so the planner uses the key."""
    key = await make_key(reads=("all",), as_user=ANN)
    plans = {}
    with key.login() as session:
        session.execute("SET enable_seqscan = off")
        for table in ("calls", "user_budget_settings", "call_logs", "monthly_spend", "credit_transactions"):
            plans[table] = "\n".join(str(row[0]) for row in session.execute(f"EXPLAIN SELECT * FROM {table}"))
    unindexed = {
        table: plan for table, plan in plans.items() if "Index Cond: ((user_id)::text = 'user_ann'" not in plan
    }

    assert unindexed == {}


async def test_a_masked_join_uses_the_indexes_of_its_tables(books: psycopg.Connection, make_key: MakeKey) -> None:
    """A view that hides no row is no barrier: the join of two masked tables is planned as that of the tables."""
    key = await make_key(reads=("users", "calls"))
    with key.login() as session:
        session.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
        plan = "\n".join(
            str(row[0])
            for row in session.execute(
                "EXPLAIN SELECT c.id, u.email FROM calls AS c INNER JOIN users AS u ON c.user_id = u.id"
                " WHERE c.user_id = 'user_ann'"
            )
        )

    assert "users_pkey" in plan
    assert "Subquery Scan" not in plan
