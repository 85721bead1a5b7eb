-- Rows from a restored cluster into the living one, and what a backup asks the server.

-- name: mark
-- Commit a mark, so that the archive has a commit after every moment up to now; answers where it stands.
SELECT pg_logical_emit_message(true, 'callmeback', 'backup')::text AS location;

-- name: switch
-- End the current WAL segment and name it.
SELECT pg_walfile_name(pg_switch_wal()) AS segment;

-- name: copy_size
-- Bytes of all databases, about what a copy of the cluster has to send.
SELECT sum(pg_database_size(d.oid))::bigint AS copy_bytes
FROM pg_database AS d;

-- name: server_facts
-- The server's clock, its version and the id of its cluster.
-- returns: ServerFacts
SELECT
    clock_timestamp() AS at,
    current_setting('server_version_num')::integer AS version,
    s.system_identifier::text AS system
FROM pg_control_system() AS s;

-- name: archiver
-- Whether archiving works: the newest failure is older than the newest success.
-- returns: Archiver
SELECT
    current_setting('archive_mode') <> 'off' AS is_on,
    coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) AS is_failing,
    a.last_failed_wal AS segment
FROM pg_stat_archiver AS a;

-- name: columns
-- Columns of a table of ours that hold values of their own, in their order.
SELECT a.attname::text AS name
FROM pg_attribute AS a
WHERE
    a.attrelid = to_regclass('public.' || quote_ident(%(name)s::text))
    AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum;

-- name: read_command
-- The command that reads the rows of a table that a condition of the operator's chooses.
SELECT
    format(
        'COPY (SELECT %%s FROM public.%%I WHERE %%s) TO STDOUT (FORMAT binary)',
        string_agg(quote_ident(n.name), ', ' ORDER BY n.place),
        %(name)s::text,
        %(condition)s::text
    ) AS command
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place);

-- name: landing_command
-- The command that makes a temporary table of these columns, without rows and without rules.
SELECT
    format(
        'CREATE TEMPORARY TABLE restored_rows ON COMMIT DROP AS SELECT %%s FROM public.%%I LIMIT 0',
        string_agg(quote_ident(n.name), ', ' ORDER BY n.place),
        %(name)s::text
    ) AS command
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place);

-- name: write_landing
-- Fill it with rows of a server.
COPY restored_rows FROM STDIN (FORMAT binary); -- noqa: PRS, the linter doesn't know it;

-- name: write_landing_text
-- Fill it with rows as a dump holds them.
COPY restored_rows FROM STDIN; -- noqa: PRS, the linter doesn't know it;

-- name: keep_command
-- The command that takes over what is missing: a row whose key is there stays as it is.
SELECT
    format(
        'INSERT INTO public.%%1$I (%%2$s) OVERRIDING SYSTEM VALUE SELECT %%2$s FROM restored_rows ON CONFLICT DO NOTHING',
        %(name)s::text,
        string_agg(quote_ident(n.name), ', ' ORDER BY n.place)
    ) AS command
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place);

-- name: read_only
-- The operator's condition may call anything; it changes nothing.
SET TRANSACTION READ ONLY;
