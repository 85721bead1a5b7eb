-- What the embedded server needs before migrations: the owner, its database, and the statistics of statements.
-- Run by its superuser; nothing else of ours ever is.

-- name: owner_to_make
-- The command that makes the owner, with the verifier of its password; nothing when the owner is there. Its limits, and
-- the other roles, are the business of roles.py.
SELECT format('CREATE ROLE callmeback_owner LOGIN PASSWORD %%L', %(verifier)s::text) AS command
WHERE NOT EXISTS (
    SELECT 1
    FROM pg_roles AS r
    WHERE r.rolname = 'callmeback_owner'
);

-- name: watch_itself
-- The owner sees statistics and settings, which `doctor` reads.
GRANT pg_monitor TO callmeback_owner;

-- name: has_database
-- Whether the database is there.
SELECT count(*) = 1
FROM pg_database AS d
WHERE d.datname = 'callmeback';

-- name: is_closed
-- Whether nobody is let into it.
SELECT NOT d.datallowconn
FROM pg_database AS d
WHERE d.datname = 'callmeback';

-- name: open_database
-- Let everybody in again: a restore was killed in the moment in which it exchanges it.
ALTER DATABASE callmeback WITH ALLOW_CONNECTIONS true;

-- name: make_database
-- The database; it can't be made within a transaction.
CREATE DATABASE callmeback OWNER callmeback_owner;

-- name: close_postgres
-- Nobody but the superuser has business in the maintenance database.
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;

-- name: close_template
-- Nor in the template.
REVOKE CONNECT ON DATABASE template1 FROM PUBLIC;

-- name: close_large_objects
-- Files inside the database are nobody's business here; run in the template, so that every database begins without.
DO $$
DECLARE
    v_function text;
BEGIN
    FOR v_function IN
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ '^lo_?(read|write|creat|create|open|close|import'
            '|export|unlink|lseek|lseek64|tell|tell64|truncate|truncate64|from_bytea|get|put)$'
    LOOP
        EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || v_function || ' FROM PUBLIC';
    END LOOP;
END
$$;

-- name: make_monitoring
-- A schema for what belongs to the superuser: in public, the owner could not say who may use it.
CREATE SCHEMA IF NOT EXISTS monitoring;

-- name: open_monitoring
-- Whoever may see statistics may look into it.
GRANT USAGE ON SCHEMA monitoring TO pg_monitor;

-- name: keep_statistics
-- Statistics of statements, for `doctor` and reports.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA monitoring;

-- name: checkpoint
-- Wake the checkpointer: until it first wakes, archive_timeout is ignored (60 s of writes archived nothing).
CHECKPOINT; -- noqa: PRS, the linter doesn't know it;
