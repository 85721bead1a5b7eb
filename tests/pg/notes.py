"""A small table and statements on it, for tests of connections and transactions."""

import msgspec

from callmeback.pg.pool import Database
from callmeback.pg.statements import parse

SQL = parse(
    """
-- name: make_table
-- p
CREATE TABLE notes (id integer PRIMARY KEY, text text NOT NULL);
-- name: write
-- p
INSERT INTO notes (id, text) VALUES (%(id)s, %(text)s);
-- name: change
-- p
UPDATE notes SET text = %(text)s WHERE id = %(id)s;
-- name: read
-- p
SELECT n.id, n.text FROM notes AS n WHERE n.id = %(id)s;
-- name: count
-- p
SELECT count(*)::integer FROM notes;
-- name: widen
-- p
ALTER TABLE notes ALTER COLUMN id TYPE bigint;
-- name: me
-- p
SELECT current_setting('callmeback.user_id', true);
-- name: become_for_good
-- p
SELECT set_config('callmeback.user_id', %(user_id)s, false);
-- name: status
-- p
SELECT pg_current_xact_id_if_assigned()::text;
-- name: divide
-- p
SELECT 1 / %(by)s::integer;
-- name: backend
-- p
SELECT pg_backend_pid();
-- name: sleep
-- p
SELECT pg_sleep(%(seconds)s);
-- name: open_transactions
-- p
SELECT count(*)::integer FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL;
-- name: prepared
-- p
SELECT count(*)::integer FROM pg_prepared_statements AS p WHERE p.statement LIKE %(like)s;
-- name: now
-- p
SELECT now()::text
""",
    "test",
)


class Note(msgspec.Struct, frozen=True):
    id: int
    text: str


async def count(database: Database) -> int:
    async with database.transaction(read_only=True) as tx:
        found = await tx.value(SQL.count)
    assert isinstance(found, int)

    return found
