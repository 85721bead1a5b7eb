"""What somebody removed from the schema is missed, by its name, whatever went along with it."""

import asyncio
import re

import psycopg
import pytest
from tests.ops.doctor.patients import NOWHERE, check, named, said

from callmeback.ops import doctor
from callmeback.ops.doctor import Verdict, migrations
from callmeback.pg import migrate, schema_names
from callmeback.pg.pool import Database
from callmeback.pg.schema_names import Thing
from callmeback.settings import Settings

NAME = "the schema is as the migrations made it"
MONTH = re.compile(r"_\d{4}_\d{2}")
REMOVED = {
    "DROP TABLE blocked_numbers CASCADE": "table public.blocked_numbers",
    "DROP VIEW masked.users": "view masked.users",
    "DROP FUNCTION remove_phone": "function public.remove_phone",
    "DROP TRIGGER credit_transactions_append_only ON credit_transactions": "trigger credit_transactions_append_only",
    "DROP POLICY own ON calls": "policy own",
    "DROP INDEX idx_calls_persona": "index idx_calls_persona",
    "ALTER TABLE phones DROP CONSTRAINT phones_user_fkey": "constraint phones_user_fkey",
    "ALTER TABLE users DROP COLUMN locale CASCADE": "column locale",
    "ALTER TABLE users ALTER name DROP NOT NULL, ALTER timezone DROP NOT NULL": "column timezone",
    "ALTER TABLE phones ALTER created_at DROP DEFAULT": "column created_at",
    "CREATE OR REPLACE FUNCTION forget_attempts(p_bucket text) RETURNS void LANGUAGE sql SECURITY DEFINER"
    " SET search_path = public, pg_temp AS 'SELECT'": "function public.forget_attempts",
    "ALTER FUNCTION count_attempt SECURITY INVOKER": "function public.count_attempt",
    "ALTER FUNCTION verify_phone RESET search_path": "function public.verify_phone",
    "ALTER FUNCTION register_user SET search_path = pg_temp, public": "function public.register_user",
}


def look(dsn: str) -> Verdict:
    async def consult() -> Verdict:
        async with doctor.visit(Settings(home=NOWHERE), dsn) as patient:
            return await doctor.consult(patient, "migrations", check("migrations", NAME))

    return asyncio.run(consult())


def test_what_was_dropped_is_missed_by_its_name(database_url: str):
    before = look(database_url)
    with psycopg.connect(database_url, autocommit=True) as owner:
        for statement in REMOVED:
            owner.execute(statement.encode())
        verdict = look(database_url)
        owner.execute("DELETE FROM schema_repeatable")
        pending = look(database_url)

    assert (before.verdict, verdict.verdict, pending.verdict) == ("green", "red", "skipped")
    assert set(REMOVED.values()) <= set(named(verdict))
    assert named(verdict)[0] == "table public.blocked_numbers"
    assert "policy own: of public.calls is missing" in said(verdict)
    assert "of public.blocked_numbers" not in said(verdict)
    assert "column locale: of public.users is missing" in said(verdict)
    assert "column locale: of public.users takes NULL" not in said(verdict)


def test_what_the_advice_says_brings_functions_views_triggers_and_policies_back(database_url: str):
    repeatable = [
        statement for statement in REMOVED if statement.split()[1] in ("VIEW", "FUNCTION", "TRIGGER", "POLICY", "OR")
    ]
    with psycopg.connect(database_url, autocommit=True) as owner:
        for statement in repeatable:
            owner.execute(statement.encode())
        ill = look(database_url)
        owner.execute("DELETE FROM schema_repeatable")
    migrate.apply(database_url)

    assert len(ill.objects) == len(repeatable)
    assert look(database_url).verdict == "green"


@pytest.mark.anyio
async def test_the_page_names_all_that_there_is(database_url: str):
    """But months, and what a server makes by itself: sequences of identities, and from 18 on names of NOT NULL."""
    async with Database.open(database_url, name="names", max_size=1) as db, db.transaction(read_only=True) as tx:
        present = frozenset(await tx.all(migrations.SQL.things, Thing))
    more = {thing for thing in present - schema_names.expected() if not MONTH.search(f"{thing.part_of} {thing.name}")}

    assert schema_names.expected() <= present
    assert {thing for thing in more if thing.kind != "sequence" and not thing.name.endswith("_not_null")} == set()
