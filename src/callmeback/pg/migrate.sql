-- What the migration runner asks and writes.

-- name: try_lock
-- Take the lock of the one runner, or not, without waiting.
SELECT pg_try_advisory_lock(hashtextextended('callmeback migrate', 0));

-- name: who_holds_the_lock
-- The session that migrates right now, as far as we may see it.
SELECT
    format(
        'pid %%s (%%s, %%s)', a.pid, coalesce(a.usename::text, 'unknown'), coalesce(nullif(a.application_name, ''), 'unnamed')
    )
FROM pg_locks AS l
INNER JOIN pg_stat_activity AS a ON l.pid = a.pid
WHERE
    l.locktype = 'advisory'
    AND l.granted
    AND l.database = (
        SELECT d.oid FROM pg_database AS d
        WHERE d.datname = current_database()
    )
    AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('callmeback migrate', 0);

-- name: backend
-- The server process that answers, to see whether a pooler stands in between.
SELECT pg_backend_pid();

-- name: has_history
-- Whether this database has the runner's tables.
SELECT to_regclass('public.schema_migrations') IS NOT NULL;

-- name: begin
-- The runner's transaction around one file.
BEGIN;

-- name: commit
-- Keep the file.
COMMIT;

-- name: rollback
-- Forget the file.
ROLLBACK;

-- name: reset
-- Back to the settings of the session's start, so that no file hands a setting to the next.
RESET ALL;

-- name: set_limit
-- How long a file may wait or work; is_local ends it with the transaction.
SELECT set_config(%(setting)s, %(value)s, %(is_local)s);

-- name: history
-- The migrations that this database has.
-- returns: Recorded
SELECT
    s.version,
    s.name,
    s.checksum,
    s.applied_at,
    s.execution_ms,
    s.state
FROM public.schema_migrations AS s
ORDER BY s.version;

-- name: repeatable
-- The files of the repeatable set that this database has.
-- returns: RecordedFile
SELECT
    r.file,
    r.checksum,
    r.applied_at
FROM public.schema_repeatable AS r
ORDER BY r.file;

-- name: note_applied
-- Record a migration as applied, in its own transaction.
INSERT INTO public.schema_migrations AS s (version, name, checksum, execution_ms, state)
VALUES (%(version)s, %(name)s, %(checksum)s, %(execution_ms)s, 'applied')
ON CONFLICT (version) DO UPDATE
    SET
        name = excluded.name,
        checksum = excluded.checksum,
        applied_at = clock_timestamp(),
        execution_ms = excluded.execution_ms,
        state = 'applied'
    WHERE s.state = 'running';

-- name: note_running
-- Record that a migration without a transaction has begun.
INSERT INTO public.schema_migrations (version, name, checksum, state)
VALUES (%(version)s, %(name)s, %(checksum)s, 'running')
ON CONFLICT (version) DO UPDATE
    SET
        name = excluded.name,
        checksum = excluded.checksum,
        applied_at = clock_timestamp()
    WHERE schema_migrations.state = 'running';

-- name: forget_repeatable
-- After a migration every function, view, policy and grant is applied again.
DELETE FROM public.schema_repeatable;

-- name: note_repeatable
-- Record the text of one file of the repeatable set.
INSERT INTO public.schema_repeatable (file, checksum)
VALUES (%(file)s, %(checksum)s);

-- name: index_is_valid
-- Whether an index of that name is good (true), broken (false) or absent (no row).
SELECT i.indisvalid AND i.indisready
FROM pg_index AS i
WHERE i.indexrelid = to_regclass(format('public.%%I', %(index)s::text));

-- name: broken_rebuilds
-- What failed REINDEX CONCURRENTLY left behind.
SELECT c.relname::text
FROM pg_index AS i
INNER JOIN pg_class AS c ON i.indexrelid = c.oid
WHERE
    NOT i.indisvalid
    AND c.relnamespace = to_regnamespace('public')
    AND c.relname ~ '_cc(new|old)\d*$'
ORDER BY c.relname;

-- name: drop_index_command
-- The command that removes a broken index without stopping anybody.
SELECT format('DROP INDEX CONCURRENTLY public.%%I', %(index)s::text);

-- name: has_partitions
-- Whether the schema has the function that makes the partitions of the months to come.
SELECT to_regprocedure('public.ensure_partitions()') IS NOT NULL;

-- name: ensure_partitions
-- Make the partitions of the months to come.
SELECT public.ensure_partitions();

-- name: blockers
-- Who holds what a session waits for.
SELECT
    format(
        'pid %%s (%%s, %%s%%s)',
        a.pid,
        coalesce(a.usename::text, a.backend_type),
        coalesce(nullif(a.application_name, ''), 'unnamed'),
        coalesce(
            ', ' || a.state || ', transaction open for '
            || round(extract(EPOCH FROM clock_timestamp() - a.xact_start), 1) || ' s',
            ''
        )
    )
FROM pg_stat_activity AS a
WHERE a.pid = any(pg_blocking_pids(%(pid)s::integer))
ORDER BY a.pid;
