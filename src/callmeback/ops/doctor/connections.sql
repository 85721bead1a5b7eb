-- Who is connected, what they do, and who waits for whom.

-- name: connections_used
-- Whether the server is about to run out of connections.
-- returns: Finding
SELECT
    'max_connections' AS object,
    format(
        '%%s of %%s connections are taken, %%s of them idle; most by %%s', u.taken, u.most, u.idle, coalesce(u.busiest, 'nobody')
    ) AS detail,
    u.taken >= u.most * 0.95 AS is_red,
    NULL::text AS mend
FROM (
    SELECT
        count(*) AS taken,
        count(*) FILTER (WHERE a.state = 'idle') AS idle,
        mode() WITHIN GROUP (ORDER BY coalesce(nullif(a.application_name, ''), a.usename::text, 'unnamed')) AS busiest,
        current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
        - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most
    FROM pg_stat_activity AS a
    WHERE a.backend_type = 'client backend'
) AS u
WHERE u.taken >= u.most * 0.8;

-- name: idle_sessions
-- Sessions that hold a connection and have done nothing with it for long. Those of our pools are bounded and meant.
-- returns: Finding
SELECT
    format('pid %%s (%%s, %%s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'unnamed')) AS object,
    format('idle for %%s s', round(extract(EPOCH FROM clock_timestamp() - a.state_change))) AS detail,
    false AS is_red,
    -- Waited for, so that whoever looks again finds it gone; a stopped process has not gone after these 5 s either.
    format(
        'SELECT pg_terminate_backend(a.pid, 5000) FROM pg_stat_activity AS a '
        'WHERE a.pid = %%s AND a.backend_start = %%L AND a.state = ''idle'' AND a.state_change = %%L',
        a.pid, a.backend_start, a.state_change
    ) AS mend
FROM pg_stat_activity AS a
WHERE
    a.backend_type = 'client backend'
    AND a.state = 'idle'
    AND a.state_change < clock_timestamp() - %(idle_after)s::interval
    AND a.application_name NOT LIKE 'callmeback %%'
ORDER BY a.state_change
LIMIT %(most)s;

-- name: idle_transactions
-- Transactions that are open and do nothing: they hold locks, and keep the dead rows of the whole database.
-- returns: Finding
SELECT
    format('pid %%s (%%s, %%s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'unnamed')) AS object,
    format(
        '%%s for %%s s, in a transaction of %%s s',
        a.state,
        round(extract(EPOCH FROM clock_timestamp() - a.state_change)),
        round(extract(EPOCH FROM clock_timestamp() - a.xact_start))
    ) AS detail,
    a.state_change < clock_timestamp() - %(red_after)s::interval AS is_red,
    format(
        'SELECT pg_terminate_backend(a.pid, 5000) FROM pg_stat_activity AS a '
        'WHERE a.pid = %%s AND a.backend_start = %%L AND a.state LIKE ''idle in transaction%%%%'' AND a.state_change = %%L',
        a.pid, a.backend_start, a.state_change
    ) AS mend
FROM pg_stat_activity AS a
WHERE
    a.backend_type = 'client backend'
    AND a.state LIKE 'idle in transaction%%'
    AND a.state_change < clock_timestamp() - %(idle_after)s::interval
ORDER BY a.state_change
LIMIT %(most)s;

-- name: long_queries
-- Statements that run for long. Their text may hold somebody's data, so it isn't shown.
-- returns: Finding
SELECT
    format('pid %%s (%%s, %%s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'unnamed')) AS object,
    format(
        'runs for %%s s, waits for %%s',
        round(extract(EPOCH FROM clock_timestamp() - a.query_start)),
        coalesce(a.wait_event_type || ' ' || a.wait_event, 'nothing')
    ) AS detail,
    a.query_start < clock_timestamp() - %(red_after)s::interval AS is_red,
    NULL::text AS mend
FROM pg_stat_activity AS a
WHERE
    a.backend_type = 'client backend'
    AND a.state IN ('active', 'fastpath function call')
    AND a.pid <> pg_backend_pid()
    AND a.query_start < clock_timestamp() - %(long_after)s::interval
ORDER BY a.query_start
LIMIT %(most)s;

-- name: old_snapshots
-- What keeps dead rows from being removed: old snapshots, prepared transactions, slots.
-- returns: Finding
SELECT
    format('pid %%s (%%s, %%s)', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'unnamed')) AS object,
    format('its snapshot is %%s s old', round(extract(EPOCH FROM clock_timestamp() - a.xact_start))) AS detail,
    a.xact_start < clock_timestamp() - 4 * %(old_after)s::interval AS is_red,
    NULL::text AS mend
FROM pg_stat_activity AS a
WHERE a.backend_xmin IS NOT NULL AND a.xact_start < clock_timestamp() - %(old_after)s::interval
UNION ALL
SELECT
    format('prepared transaction %%s', p.gid) AS object,
    format(
        'of %%s, prepared %%s s ago; COMMIT PREPARED or ROLLBACK PREPARED it',
        p.owner, round(extract(EPOCH FROM clock_timestamp() - p.prepared))
    ) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_prepared_xacts AS p
WHERE p.prepared < clock_timestamp() - %(prepared_after)s::interval
UNION ALL
SELECT
    format('slot %%s', s.slot_name) AS object,
    format('keeps rows of %%s transactions ago', age(coalesce(s.xmin, s.catalog_xmin))) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_replication_slots AS s
WHERE age(coalesce(s.xmin, s.catalog_xmin)) > %(slot_age)s
ORDER BY object
LIMIT %(most)s;

-- name: lock_waits
-- Who waits for a lock, and who holds it.
-- returns: Finding
SELECT
    format('pid %%s (%%s, %%s)', w.pid, w.usename, coalesce(nullif(w.application_name, ''), 'unnamed')) AS object,
    format(
        'waits for %%s s for %%s, held by %%s',
        round(extract(EPOCH FROM clock_timestamp() - coalesce(l.waitstart, w.query_start))),
        coalesce(l.relation::regclass::text, l.locktype),
        (
            SELECT
                string_agg(
                    format(
                        'pid %%s (%%s, %%s, %%s)',
                        b.pid,
                        coalesce(b.usename::text, b.backend_type),
                        coalesce(nullif(b.application_name, ''), 'unnamed'),
                        coalesce(b.state, 'unknown')
                    ),
                    ', ' ORDER BY b.pid
                )
            FROM pg_stat_activity AS b
            WHERE b.pid = any(pg_blocking_pids(w.pid))
        )
    ) AS detail,
    coalesce(l.waitstart, w.query_start) < clock_timestamp() - %(red_after)s::interval AS is_red,
    NULL::text AS mend
FROM pg_stat_activity AS w
INNER JOIN pg_locks AS l ON w.pid = l.pid AND NOT l.granted
WHERE
    cardinality(pg_blocking_pids(w.pid)) > 0
    AND coalesce(l.waitstart, w.query_start) < clock_timestamp() - %(wait_after)s::interval
ORDER BY coalesce(l.waitstart, w.query_start)
LIMIT %(most)s;

-- name: deadlocks_and_spills
-- Deadlocks, and sorts that didn't fit into memory, by the day since the statistics began.
-- returns: Finding
SELECT
    f.object,
    f.detail,
    false AS is_red,
    NULL::text AS mend
FROM (
    SELECT
        'deadlocks' AS object,
        format('%%s in %%s days', d.deadlocks, round(d.days, 1)) AS detail,
        d.deadlocks / d.days >= %(deadlocks_a_day)s::numeric AS is_wrong
    FROM (
        SELECT
            s.deadlocks,
            greatest(extract(EPOCH FROM clock_timestamp() - s.stats_reset) / 86400, 1) AS days
        FROM pg_stat_database AS s
        WHERE s.datname = current_database()
    ) AS d
    UNION ALL
    SELECT
        'temporary files' AS object,
        format('%%s in %%s files in %%s days', pg_size_pretty(d.temp_bytes), d.temp_files, round(d.days, 1)) AS detail,
        d.temp_bytes / d.days >= %(spilt_bytes_a_day)s::numeric AS is_wrong
    FROM (
        SELECT
            s.temp_bytes,
            s.temp_files,
            greatest(extract(EPOCH FROM clock_timestamp() - s.stats_reset) / 86400, 1) AS days
        FROM pg_stat_database AS s
        WHERE s.datname = current_database()
    ) AS d
) AS f
WHERE f.is_wrong;

-- name: slow_statements
-- Statements whose mean time is long, by their normalised text, which holds no value.
-- returns: Finding
SELECT
    left(regexp_replace(s.query, '\s+', ' ', 'g'), 120) AS object,
    format('%%s ms on average over %%s runs', round(s.mean_ms), s.calls) AS detail,
    false AS is_red,
    NULL::text AS mend
FROM statement_statistics() AS s
WHERE s.calls >= %(least_calls)s AND s.mean_ms >= %(slow_ms)s
ORDER BY s.mean_ms DESC
LIMIT %(most)s;

-- name: server_processes
-- Every process of the server that serves a session.
SELECT array_agg(a.pid)
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid();

-- name: has_statement_statistics
-- Whether pg_stat_statements is installed in this database.
SELECT count(*) = 1
FROM pg_extension AS e
WHERE e.extname = 'pg_stat_statements';
