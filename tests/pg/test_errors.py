"""SQLSTATE to domain error: every rule of the database has its class, and nothing of the server's text gets out."""

import re

import msgspec
import pytest

from callmeback import errors
from callmeback.pg import migration_files
from callmeback.pg.errors import CLASSES, DUPLICATES, RULES, STATES, RetryableConflict
from callmeback.pg.pool import Database
from callmeback.pg.statements import parse

SQL = parse(
    """
-- name: fail
-- p
SELECT fail(%(state)s, %(detail)s);
-- name: make
-- p
CREATE FUNCTION fail(p_state text, p_detail text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'secret text of the server' USING ERRCODE = p_state, DETAIL = coalesce(p_detail, '');
END
$$;
-- name: constraint_names
-- p
SELECT array_agg(c.relname::text) FROM pg_class AS c WHERE c.relkind IN ('i', 'I')
""",
    "test",
)
FOLDER = migration_files.SQL_DIRECTORY


@pytest.fixture
async def failing(owner: Database) -> Database:
    async with owner.transaction() as tx:
        await tx.run(SQL.make)

    return owner


async def failure(database: Database, state: str, detail: str | None = None) -> errors.CallMeBackError:
    with pytest.raises(errors.CallMeBackError) as caught:
        async with database.transaction() as tx:
            await tx.run(SQL.fail, state=state, detail=detail)

    return caught.value


@pytest.mark.anyio
async def test_each_state_becomes_its_class_and_keeps_the_text_to_itself(failing: Database):
    expected = RULES | STATES | {f"{two}000": error for two, error in CLASSES.items()}
    for state, error in expected.items():
        found = await failure(failing, state)

        assert type(found) is error, state
        assert "secret" not in f"{found.detail}{found.extra}"
        assert found.__cause__ is not None


@pytest.mark.anyio
@pytest.mark.parametrize("state", ["42P01", "42601", "CM999", "XX000", "P0001", "25006"])
async def test_a_state_that_nobody_expects_is_our_fault(failing: Database, state: str):
    found = await failure(failing, state)

    assert type(found) is errors.CallMeBackError
    assert found.detail == "Something went wrong on our side."


@pytest.mark.anyio
async def test_a_rule_can_give_its_figures(failing: Database):
    found = await failure(failing, "CM001", '{"balance": 3, "detail": "ignored?"}')

    assert found.extra["balance"] == 3
    assert found.detail == "There are not enough credits for a call."


@pytest.mark.anyio
@pytest.mark.parametrize("detail", ["no json", "[1]", "{", ""])
async def test_a_detail_that_is_no_object_is_left_out(failing: Database, detail: str):
    assert (await failure(failing, "CM001", detail)).extra == {}


@pytest.mark.anyio
async def test_overload_says_when_to_come_back(failing: Database):
    assert (await failure(failing, "53300")).extra == {"retry_after": 1}
    assert (await failure(failing, "55P03")).extra == {"retry_after": 1}


def test_every_rule_that_our_functions_raise_has_a_class():
    texts = [path.read_text("utf-8") for path in FOLDER.rglob("*.sql") if path.name != "schema.sql"]
    raised = {state for text in texts for state in re.findall(r"'(CM\d{3})'", text)}

    assert raised
    assert raised - set(RULES) == set()


@pytest.mark.anyio
async def test_every_duplicate_that_has_a_meaning_is_an_index(owner: Database):
    async with owner.transaction() as tx:
        names = await tx.value(SQL.constraint_names)

    assert set(DUPLICATES) - set(names) == set()


def test_a_conflict_that_may_be_repeated_is_still_a_conflict():
    assert issubclass(RetryableConflict, errors.Conflict)
    assert RetryableConflict.code == "conflict"
    assert msgspec.json.decode(msgspec.json.encode(RetryableConflict().detail))
