"""Transactions: what is kept, for whom, and that nothing of one is seen by the next."""

import asyncio

import psycopg
import pytest
from tests.conftest import Cluster
from tests.pg.notes import SQL, Note, count

from callmeback import errors
from callmeback.pg import roles
from callmeback.pg.errors import RetryableConflict
from callmeback.pg.pool import Database, Session
from callmeback.pg.statements import parse


@pytest.mark.anyio
async def test_a_transaction_keeps_everything_or_nothing(notes: Database):
    async with notes.transaction() as tx:
        assert await tx.run(SQL.write, id=1, text="a") == 1
        await tx.run_many(SQL.write, [{"id": number, "text": "b"} for number in range(2, 1_203)])
        assert await tx.one(SQL.read, Note, id=1_202) == Note(1_202, "b")
    with pytest.raises(RuntimeError):
        async with notes.transaction() as tx:
            await tx.run(SQL.write, id=5_000, text="c")
            raise RuntimeError

    assert await count(notes) == 1_202


@pytest.mark.anyio
async def test_no_row_is_not_found(notes: Database):
    async with notes.transaction() as tx:
        assert await tx.maybe(SQL.read, Note, id=1) is None
        assert await tx.run(SQL.change, id=1, text="x") == 0
        with pytest.raises(errors.NotFound):
            await tx.one(SQL.read, Note, id=1)


@pytest.mark.anyio
async def test_a_caught_failure_does_not_pass_for_a_commit(notes: Database):
    with pytest.raises(errors.ValidationFailed):
        async with notes.transaction() as tx:
            await tx.run(SQL.write, id=1, text="a")
            with pytest.raises(errors.ValidationFailed):
                await tx.value(SQL.divide, by=0)

    assert await count(notes) == 0


@pytest.mark.anyio
async def test_a_failed_transaction_says_its_first_failure_again(notes: Database):
    async with notes.transaction() as tx:
        await tx.run(SQL.write, id=1, text="a")
    with pytest.raises(errors.Conflict):
        async with notes.transaction() as tx:
            with pytest.raises(errors.Conflict):
                await tx.run(SQL.write, id=1, text="b")
            with pytest.raises(errors.Conflict):
                await tx.value(SQL.count)


@pytest.mark.anyio
async def test_a_session_is_of_no_use_after_its_end(notes: Database):
    async with notes.transaction() as tx:
        await tx.value(SQL.count)

    with pytest.raises(RuntimeError, match="this transaction is over"):
        await tx.value(SQL.count)


@pytest.mark.anyio
async def test_a_transaction_without_statements_costs_the_server_nothing(notes: Database):
    async with notes.transaction() as tx:
        assert isinstance(tx, Session)

    assert await count(notes) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("how", [{"read_only": True}, {"snapshot": True}])
async def test_a_reading_transaction_can_not_write(notes: Database, how: dict[str, bool]):
    with pytest.raises(errors.CallMeBackError) as caught:
        async with notes.transaction(**how) as tx:
            await tx.run(SQL.write, id=1, text="a")

    assert isinstance(caught.value.__cause__, psycopg.errors.ReadOnlySqlTransaction)
    assert await count(notes) == 0


@pytest.mark.anyio
async def test_a_single_statement_is_one_round_trip_as_its_user(notes: Database):
    """It leaves the connection idle and without its user, and says so if it wasn't single."""
    async with notes.transaction("user_1") as tx:
        await tx.run(SQL.write, id=1, text="a")
        backend = await tx.value(SQL.backend)
    async with notes.transaction("user_2", read_only=True, single=True) as tx:
        connection = tx._connection
        seen = await tx.value(SQL.me)
        assert connection.is_idle(), "the COMMIT came with the answer"
    async with notes.transaction(read_only=True) as tx:
        assert (await tx.value(SQL.me), await tx.value(SQL.backend)) == ("", backend)
    with pytest.raises(RuntimeError, match="single"):
        async with notes.transaction(read_only=True, single=True) as tx:
            await tx.one(SQL.read, Note, id=1)
            await tx.one(SQL.read, Note, id=1)

    assert seen == "user_2"


@pytest.mark.anyio
async def test_a_single_statement_that_fails_leaves_a_clean_connection(notes: Database):
    with pytest.raises(errors.ValidationFailed):
        async with notes.transaction(read_only=True, single=True) as tx:
            await tx.value(SQL.divide, by=0)
    with pytest.raises(errors.NotFound):
        async with notes.transaction(read_only=True, single=True) as tx:
            await tx.one(SQL.read, Note, id=1)

    assert await count(notes) == 0


@pytest.mark.anyio
async def test_a_snapshot_sees_one_moment(notes: Database):
    async with notes.transaction(snapshot=True) as tx:
        before = await tx.value(SQL.count)
        async with notes.transaction() as other:
            await other.run(SQL.write, id=1, text="a")

        assert await tx.value(SQL.count) == before == 0


@pytest.mark.anyio
async def test_wrong_parameters_are_a_mistake_before_anything_is_sent(notes: Database):
    async with notes.transaction() as tx:
        for params in ({}, {"id": 1}, {"id": 1, "txt": "a"}, {"id": 1, "text": "a", "more": 2}):
            with pytest.raises(TypeError, match=r"write takes \('id', 'text'\)"):
                await tx.run(SQL.write, **params)
        await tx.run(SQL.write, id=1, text="a")

    assert await count(notes) == 1


@pytest.mark.anyio
async def test_the_user_is_known_in_the_transaction_and_never_after(cluster: Cluster, database_url: str):
    async with Database.open(database_url, name="one", max_size=1) as db:
        async with db.transaction("user_a") as tx:
            assert await tx.value(SQL.me) == "user_a"
            backend = await tx.value(SQL.backend)
        async with db.transaction() as tx:
            assert await tx.value(SQL.backend) == backend
            assert await tx.value(SQL.me) == ""
        with pytest.raises(errors.ValidationFailed):
            async with db.transaction("user_b") as tx:
                await tx.value(SQL.divide, by=0)
        async with db.transaction() as tx:
            assert await tx.value(SQL.me) == ""


@pytest.mark.anyio
async def test_not_even_a_setting_for_good_reaches_the_next_user(cluster: Cluster, database_url: str):
    async with Database.open(database_url, name="one", max_size=1) as db:
        async with db.transaction("user_a") as tx:
            await tx.value(SQL.become_for_good, user_id="user_a")
            backend = await tx.value(SQL.backend)
        async with db.transaction() as tx:
            assert await tx.value(SQL.backend) == backend
            assert await tx.value(SQL.me) == ""
        async with db.transaction("user_c") as tx:
            assert await tx.value(SQL.me) == "user_c"


@pytest.mark.anyio
async def test_many_tasks_share_few_connections_without_mixing(owner: Database):
    async def ask(number: int) -> tuple[str, str]:
        async with owner.transaction(f"user_{number}") as tx:
            first = await tx.value(SQL.me)
            await asyncio.sleep(0)
            return first, await tx.value(SQL.me)

    found = await asyncio.gather(*[ask(number) for number in range(30)])

    assert found == [(f"user_{number}", f"user_{number}") for number in range(30)]


@pytest.mark.anyio
async def test_statements_of_one_session_wait_for_one_another(notes: Database):
    async with notes.transaction() as tx:
        await asyncio.gather(*[tx.run(SQL.write, id=number, text="a") for number in range(20)])

    assert await count(notes) == 20


@pytest.mark.anyio
async def test_a_statement_is_prepared_once_whatever_its_values(database_url: str):
    async with Database.open(database_url, name="one", max_size=1) as db:
        for by in (1, 2**20, None):
            async with db.transaction() as tx:
                await tx.value(SQL.divide, by=by)
        with pytest.raises(errors.ValidationFailed):
            async with db.transaction() as tx:
                await tx.value(SQL.divide, by=0)
        async with db.transaction() as tx:
            assert await tx.value(SQL.prepared, like="SELECT 1 / %") == 1


@pytest.mark.anyio
async def test_a_statement_that_failed_to_prepare_can_be_run_later(database_url: str):
    async with Database.open(database_url, name="one", max_size=1) as db:
        with pytest.raises(errors.CallMeBackError):
            async with db.transaction() as tx:
                await tx.value(SQL.count)
        async with db.transaction() as tx:
            await tx.run(SQL.make_table)
            assert await tx.value(SQL.count) == 0


@pytest.mark.anyio
async def test_a_migration_under_way_makes_a_retryable_conflict_once(notes: Database, database_url: str):
    async with Database.open(database_url, name="one", max_size=1) as db:
        async with db.transaction() as tx:
            await tx.run(SQL.write, id=1, text="a")
            await tx.one(SQL.read, Note, id=1)
        async with notes.transaction() as tx:
            await tx.run(SQL.widen)
        with pytest.raises(RetryableConflict):
            async with db.transaction() as tx:
                await tx.one(SQL.read, Note, id=1)
        async with db.transaction() as tx:
            assert await tx.one(SQL.read, Note, id=1) == Note(1, "a")


@pytest.mark.anyio
async def test_two_that_wait_for_each_other_end_in_a_retryable_conflict(notes: Database):
    async with notes.transaction() as tx:
        await tx.run_many(SQL.write, [{"id": 1, "text": "a"}, {"id": 2, "text": "a"}])
    met = asyncio.Barrier(2)

    async def change(first: int, second: int) -> str:
        try:
            async with notes.transaction() as tx:
                await tx.run(SQL.change, id=first, text=f"{first}")
                await met.wait()
                await tx.run(SQL.change, id=second, text=f"{first}")
        except RetryableConflict:
            return "again"
        return "done"

    assert sorted(await asyncio.gather(change(1, 2), change(2, 1))) == ["again", "done"]


@pytest.mark.anyio
async def test_every_role_has_its_limits(cluster: Cluster, database_url: str):
    timeouts = parse("-- name: t\n-- p\nSELECT current_setting(%(name)s) || '|' || session_user", "t").t
    for role in roles.ROLES:
        async with Database.open(roles.dsn_for(role, cluster.role_secret, database_url), name=role) as db:
            async with db.transaction() as tx:
                for name, value in roles.SETTINGS[role].items():
                    assert await tx.value(timeouts, name=name) == f"{value}|{role}"
