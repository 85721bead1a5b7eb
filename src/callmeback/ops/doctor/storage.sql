-- What grows, wears out or falls behind: rows that are dead, statistics that are old, numbers of transactions, WAL.

-- name: dead_rows
-- Tables with many dead rows, which nobody has cleaned up.
-- returns: Finding
SELECT
    s.relid::regclass::text AS object,
    format(
        '%%s dead rows beside %%s living, last vacuumed %%s',
        s.n_dead_tup,
        s.n_live_tup,
        coalesce(to_char(greatest(s.last_vacuum, s.last_autovacuum) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'never')
    ) AS detail,
    s.n_dead_tup > 4 * s.n_live_tup AND s.n_dead_tup > 20 * %(least_rows)s::bigint AS is_red,
    format('VACUUM (ANALYZE) %%s', s.relid::regclass) AS mend
FROM pg_stat_user_tables AS s
WHERE s.n_dead_tup >= %(least_rows)s::bigint AND s.n_dead_tup > s.n_live_tup * %(share)s::numeric
ORDER BY s.n_dead_tup DESC
LIMIT %(most)s;

-- name: old_statistics
-- Tables that changed much since the planner's figures were taken, or of which there are none.
-- returns: Finding
SELECT
    s.relid::regclass::text AS object,
    format(
        '%%s rows changed since %%s',
        s.n_mod_since_analyze,
        coalesce(
            to_char(greatest(s.last_analyze, s.last_autoanalyze) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
            'it was made; it was never analysed'
        )
    ) AS detail,
    false AS is_red,
    format('ANALYZE %%s', s.relid::regclass) AS mend
FROM pg_stat_user_tables AS s
WHERE
    s.n_mod_since_analyze >= %(least_rows)s::bigint
    AND s.n_mod_since_analyze > s.n_live_tup * %(share)s::numeric
    AND coalesce(greatest(s.last_analyze, s.last_autoanalyze), '-infinity') < clock_timestamp() - %(grace)s::interval
ORDER BY s.n_mod_since_analyze DESC
LIMIT %(most)s;

-- name: wraparound
-- Tables whose oldest row is so many transactions old that the server will soon refuse to write.
-- returns: Finding
SELECT
    t.oid::regclass::text AS object,
    format(
        'its oldest row is %%s transactions old; at %%s the server stops writing', greatest(g.row_age, g.member_age), 2000000000
    ) AS detail,
    greatest(g.row_age, g.member_age) > %(old_age)s::bigint * 4 / 3 AS is_red,
    -- Parts of the catalogue that belong to the superuser are left to the server's own cleaning.
    CASE WHEN t.relnamespace <> 'pg_catalog'::regnamespace THEN format('VACUUM (FREEZE) %%s', t.oid::regclass) END AS mend
FROM pg_class AS t
LEFT JOIN pg_class AS o ON t.reltoastrelid = o.oid
CROSS JOIN
    LATERAL (
        SELECT
            greatest(age(t.relfrozenxid), age(o.relfrozenxid)) AS row_age,
            greatest(mxid_age(t.relminmxid), mxid_age(o.relminmxid)) AS member_age
    ) AS g
WHERE t.relkind IN ('r', 'm') AND greatest(g.row_age, g.member_age) > %(old_age)s::bigint
ORDER BY greatest(g.row_age, g.member_age) DESC
LIMIT %(most)s;

-- name: cache_misses
-- How often a page was not in the server's memory, once enough was read to tell.
-- returns: Finding
SELECT
    s.datname::text AS object,
    format('%%s %% of its pages came from memory', round(100.0 * s.blks_hit / (s.blks_hit + s.blks_read), 1)) AS detail,
    false AS is_red,
    NULL::text AS mend
FROM pg_stat_database AS s
WHERE
    s.datname = current_database()
    AND s.blks_hit + s.blks_read >= %(least_pages)s::bigint
    AND s.blks_hit < (s.blks_hit + s.blks_read) * %(share)s::numeric;

-- name: checksums
-- Pages that were read and were not what had been written, and whether anybody would notice.
-- returns: Finding
SELECT
    s.datname::text AS object,
    format('%%s pages were damaged, the last seen at %%s', s.checksum_failures, s.checksum_last_failure) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_stat_database AS s
WHERE s.checksum_failures > 0 AND s.datname IS NOT NULL
UNION ALL
SELECT
    'data_checksums' AS object,
    'is off: a damaged page would be read as if it were good' AS detail,
    false AS is_red,
    NULL::text AS mend
WHERE current_setting('data_checksums') = 'off'
ORDER BY object
LIMIT %(most)s;

-- name: archive
-- Whether finished WAL leaves the machine's disk: without it a restore ends at the last backup.
-- returns: Finding
SELECT
    a.object,
    a.detail,
    a.is_red,
    NULL::text AS mend
FROM (
    SELECT
        'archive_command' AS object,
        format(
            'fails since %%s (%%s times), at %%s',
            to_char(s.last_failed_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), s.failed_count, s.last_failed_wal
        ) AS detail,
        true AS is_red
    FROM pg_stat_archiver AS s
    WHERE
        current_setting('archive_mode') <> 'off'
        AND s.last_failed_time > coalesce(s.last_archived_time, '-infinity')
    UNION ALL
    SELECT
        'archive_mode' AS object,
        'is off: what was written since the last backup is lost with the disk' AS detail,
        false AS is_red
    WHERE current_setting('archive_mode') = 'off' AND NOT pg_is_in_recovery()
) AS a;

-- name: archive_backlog
-- Segments that wait to be archived.
-- returns: Finding
SELECT
    'pg_wal/archive_status' AS object,
    format('%%s segments wait, the oldest since %%s s', b.waiting, round(extract(EPOCH FROM clock_timestamp() - b.oldest))) AS detail,
    b.waiting >= 10 * %(most_waiting)s::bigint AS is_red,
    NULL::text AS mend
FROM (
    SELECT
        count(*) AS waiting,
        min(f.modification) AS oldest
    FROM pg_ls_archive_statusdir() AS f
    WHERE f.name LIKE '%%.ready'
) AS b
WHERE b.waiting >= %(most_waiting)s::bigint;

-- name: wal_size
-- WAL that is kept beyond what checkpoints need.
-- returns: Finding
SELECT
    'pg_wal' AS object,
    format('%%s, where max_wal_size is %%s', pg_size_pretty(w.bytes), pg_size_pretty(w.limit_bytes)) AS detail,
    w.bytes > 4 * w.limit_bytes AS is_red,
    NULL::text AS mend
FROM (
    SELECT
        sum(f.size)::bigint AS bytes,
        greatest(
            pg_size_bytes(current_setting('max_wal_size')) + pg_size_bytes(current_setting('wal_keep_size')),
            pg_size_bytes(current_setting('wal_segment_size')) * 8
        ) AS limit_bytes
    FROM pg_ls_waldir() AS f
) AS w
WHERE w.bytes > 2 * w.limit_bytes;

-- name: slots
-- Replication slots that nobody reads: they keep WAL for ever.
-- returns: Finding
SELECT
    s.slot_name::text AS object,
    format(
        '%%s, %%s, keeps %%s of WAL',
        CASE WHEN s.active THEN 'read' ELSE 'read by nobody' END,
        coalesce(s.wal_status, 'without WAL'),
        coalesce(
            pg_size_pretty(
                pg_wal_lsn_diff(
                    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn
                )
            ),
            'none'
        )
    ) AS detail,
    s.wal_status IN ('unreserved', 'lost') AS is_red,
    NULL::text AS mend
FROM pg_replication_slots AS s
WHERE (NOT s.active AND NOT s.temporary) OR s.wal_status IN ('unreserved', 'lost')
ORDER BY object
LIMIT %(most)s;

-- name: replicas
-- Replicas that are far behind, and, asked of a replica, how far it is itself.
-- returns: Finding
SELECT
    coalesce(nullif(r.application_name, ''), r.client_addr::text, 'replica') AS object,
    format('%%s, %%s s behind', r.state, round(extract(EPOCH FROM r.replay_lag))) AS detail,
    r.replay_lag > 10 * %(lag)s::interval AS is_red,
    NULL::text AS mend
FROM pg_stat_replication AS r
WHERE r.replay_lag > %(lag)s::interval
UNION ALL
SELECT
    'this replica' AS object,
    format('%%s s behind', round(extract(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()))) AS detail,
    clock_timestamp() - pg_last_xact_replay_timestamp() > 10 * %(lag)s::interval AS is_red,
    NULL::text AS mend
WHERE
    pg_is_in_recovery()
    AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
    AND clock_timestamp() - pg_last_xact_replay_timestamp() > %(lag)s::interval
ORDER BY object
LIMIT %(most)s;
