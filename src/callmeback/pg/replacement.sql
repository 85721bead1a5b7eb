-- A restored database beside the living one, and in its place.

-- name: create_command
-- The command that makes it, empty.
SELECT format('CREATE DATABASE %%I OWNER callmeback_owner TEMPLATE template0', %(name)s::text) AS command;

-- name: hold
-- Have everybody know that somebody works on the database of this name, as long as this session lives.
SELECT pg_advisory_lock(hashtextextended(%(name)s::text, 0));

-- name: left_over
-- Databases whose names have this form and on which nobody works, held from now on.
WITH named AS MATERIALIZED (
    SELECT d.datname
    FROM pg_database AS d
    WHERE d.datname ~ %(form)s::text
)

SELECT n.datname::text AS name
FROM named AS n
WHERE pg_try_advisory_lock(hashtextextended(n.datname::text, 0));

-- name: drop_command
-- The command that removes it, whoever is connected.
SELECT format('DROP DATABASE IF EXISTS %%I WITH (FORCE)', %(name)s::text) AS command;

-- name: close_command
-- The command that lets nobody in any more.
SELECT format('ALTER DATABASE %%I WITH ALLOW_CONNECTIONS false', %(name)s::text) AS command;

-- name: open_command
-- The command that lets everybody in again.
SELECT format('ALTER DATABASE %%I WITH ALLOW_CONNECTIONS true', %(name)s::text) AS command;

-- name: send_away
-- End all who are in it.
SELECT count(pg_terminate_backend(a.pid, 5000)) AS number
FROM pg_stat_activity AS a
WHERE a.datname = any(%(names)s::text[]) AND a.pid <> pg_backend_pid();

-- name: rename_command
-- The command that gives it another name.
SELECT format('ALTER DATABASE %%I RENAME TO %%I', %(name)s::text, %(new_name)s::text) AS command;

-- name: apply_again
-- Have the runner apply functions, views and grants anew: what belongs to the database itself is in no dump.
DELETE FROM schema_repeatable;

-- name: has_table
-- Whether a table of ours is there.
SELECT to_regclass('public.' || quote_ident(%(name)s::text)) IS NOT NULL AS is_there;
