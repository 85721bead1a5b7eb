-- Long tables about the inside of the database. Texts of statements are the normalised ones, in which values are $1.

-- name: statements
-- Statements by the time that they took in all.
SELECT
    left(regexp_replace(s.query, '\s+', ' ', 'g'), 200) AS statement,
    s.calls,
    round(s.total_ms::numeric, 1) AS total_ms,
    round(s.mean_ms::numeric, 3) AS mean_ms,
    s.rows,
    s.hit_percent,
    s.spilt_bytes
FROM statement_statistics() AS s
ORDER BY s.total_ms DESC
LIMIT %(most)s;

-- name: indexes
-- Indexes by their size, with how often each was used.
SELECT
    s.relid::regclass::text AS table_name,
    s.indexrelid::regclass::text AS index_name,
    s.idx_scan AS scans,
    s.idx_tup_read AS rows_read,
    c.relpages * 8192::bigint AS size_bytes,
    i.indisunique AS is_unique,
    i.indisvalid AS is_valid
FROM pg_stat_user_indexes AS s
INNER JOIN pg_index AS i ON s.indexrelid = i.indexrelid
INNER JOIN pg_class AS c ON s.indexrelid = c.oid
ORDER BY c.relpages DESC, index_name
LIMIT %(most)s;

-- name: bloat
-- Tables by their dead rows, and when each was last cleaned up and analysed.
SELECT
    s.relid::regclass::text AS table_name,
    s.n_live_tup AS living_rows,
    s.n_dead_tup AS dead_rows,
    round(100.0 * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0), 1) AS dead_percent,
    s.n_mod_since_analyze AS changed_rows,
    s.n_tup_hot_upd AS hot_updates,
    s.n_tup_upd AS updates,
    greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
    greatest(s.last_analyze, s.last_autoanalyze) AS analysed_at
FROM pg_stat_user_tables AS s
ORDER BY s.n_dead_tup DESC, table_name
LIMIT %(most)s;

-- name: locks
-- Locks that somebody waits for, and who holds them.
SELECT
    w.pid AS waiting_pid,
    w.usename::text AS waiting_role,
    w.application_name AS waiting_program,
    coalesce(l.relation::regclass::text, l.locktype) AS lock_of,
    l.mode AS wanted,
    round(extract(EPOCH FROM clock_timestamp() - coalesce(l.waitstart, w.query_start)), 1) AS waits_seconds,
    pg_blocking_pids(w.pid) AS held_by
FROM pg_stat_activity AS w
INNER JOIN pg_locks AS l ON w.pid = l.pid AND NOT l.granted
ORDER BY waits_seconds DESC
LIMIT %(most)s;

-- name: tables
-- Tables by their size, indexes and long values included.
SELECT
    t.oid::regclass::text AS table_name,
    greatest(t.reltuples, 0)::bigint AS estimated_rows,
    t.relpages * 8192::bigint AS size_bytes,
    coalesce(i.pages, 0) * 8192::bigint AS indexes_bytes,
    coalesce(l.relpages, 0) * 8192::bigint AS long_values_bytes
FROM pg_class AS t
LEFT JOIN pg_class AS l ON t.reltoastrelid = l.oid
LEFT JOIN (
    SELECT
        x.indrelid,
        sum(c.relpages)::bigint AS pages
    FROM pg_index AS x
    INNER JOIN pg_class AS c ON x.indexrelid = c.oid
    GROUP BY x.indrelid
) AS i ON t.oid = i.indrelid
WHERE t.relkind IN ('r', 'm') AND t.relnamespace = to_regnamespace('public')
ORDER BY t.relpages + coalesce(i.pages, 0) + coalesce(l.relpages, 0) DESC, table_name
LIMIT %(most)s;

-- name: cache
-- Tables by what had to be read from outside of the server's memory.
SELECT
    s.relid::regclass::text AS table_name,
    s.heap_blks_hit + s.idx_blks_hit AS pages_from_memory,
    s.heap_blks_read + s.idx_blks_read AS pages_read,
    round(
        100.0 * (s.heap_blks_hit + s.idx_blks_hit)
        / nullif(s.heap_blks_hit + s.idx_blks_hit + s.heap_blks_read + s.idx_blks_read, 0),
        1
    ) AS hit_percent
FROM pg_statio_user_tables AS s
ORDER BY s.heap_blks_read + s.idx_blks_read DESC NULLS LAST, table_name
LIMIT %(most)s;

-- name: connections
-- Sessions by role, program and state, with the longest of each.
SELECT
    a.usename::text AS role,
    a.application_name AS program,
    coalesce(a.state, 'unknown') AS state,
    count(*) AS sessions,
    round(max(extract(EPOCH FROM clock_timestamp() - a.state_change)), 1) AS longest_seconds,
    count(*) FILTER (WHERE a.wait_event_type = 'Lock') AS wait_for_locks
FROM pg_stat_activity AS a
WHERE a.backend_type = 'client backend'
GROUP BY a.usename, a.application_name, a.state
ORDER BY sessions DESC, role, program, state
LIMIT %(most)s;
