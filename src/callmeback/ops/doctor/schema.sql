-- What is wrong with the schema of a database in use, besides the flaws of pg/flaws.sql: triggers, walls, numbers that run out.

-- name: unused_indexes
-- Large indexes that no query has used since the statistics began, guard nothing and serve no foreign key.
-- returns: Finding
SELECT
    s.indexrelid::regclass::text AS object,
    format('%%s, never used', pg_size_pretty(c.relpages * 8192::bigint)) AS detail,
    false AS is_red,
    NULL::text AS mend
FROM pg_stat_user_indexes AS s
INNER JOIN pg_index AS i ON s.indexrelid = i.indexrelid
INNER JOIN pg_class AS c ON s.indexrelid = c.oid
WHERE
    s.idx_scan = 0
    AND NOT i.indisunique
    AND i.indisvalid
    AND c.relpages * 8192::bigint >= %(least_bytes)s::bigint
    AND NOT EXISTS (
        SELECT
        FROM pg_constraint AS k
        WHERE
            k.conrelid = s.relid
            AND k.contype = 'f'
            AND (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey
    )
ORDER BY c.relpages DESC
LIMIT %(most)s;

-- name: triggers_off
-- Triggers that are switched off: those that keep the ledger append-only, and those behind foreign keys.
-- returns: Finding
SELECT
    format('%%s.%%s', g.tgrelid::regclass, g.tgname) AS object,
    format(
        'is switched off; ALTER TABLE %%s ENABLE TRIGGER %%s switches it on',
        g.tgrelid::regclass,
        CASE WHEN g.tgisinternal THEN 'ALL' ELSE quote_ident(g.tgname) END
    ) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_trigger AS g
INNER JOIN pg_class AS t ON g.tgrelid = t.oid
WHERE g.tgenabled IN ('D', 'R') AND t.relnamespace = to_regnamespace('public')
ORDER BY object
LIMIT %(most)s;

-- name: open_walls
-- Tables that a service may read and that row-level security doesn't guard, or guards against the owner too.
-- returns: Finding
SELECT
    t.oid::regclass::text AS object,
    CASE
        WHEN t.relforcerowsecurity THEN 'has FORCE: the owner''s own statements change no row and say nothing'
        ELSE 'has no row-level security'
    END AS detail,
    true AS is_red,
    format(
        'ALTER TABLE %%s %%s',
        t.oid::regclass,
        CASE WHEN t.relforcerowsecurity THEN 'NO FORCE ROW LEVEL SECURITY' ELSE 'ENABLE ROW LEVEL SECURITY' END
    ) AS mend
FROM pg_class AS t
WHERE
    t.relkind IN ('r', 'p')
    AND t.relnamespace = to_regnamespace('public')
    AND (t.relforcerowsecurity OR NOT t.relrowsecurity)
ORDER BY object
LIMIT %(most)s;

-- name: numbers_running_out
-- Sequences, and the columns that they fill, that near their end.
-- returns: Finding
SELECT
    format('%%I.%%I', s.schemaname, s.sequencename) AS object,
    format('%%s of %%s numbers are used', s.last_value, e.most) AS detail,
    s.last_value >= e.most * 0.9 AS is_red,
    NULL::text AS mend
FROM pg_sequences AS s
LEFT JOIN pg_depend AS d
    ON
        d.classid = 'pg_class'::regclass
        AND d.objid = format('%%I.%%I', s.schemaname, s.sequencename)::regclass
        AND d.refclassid = 'pg_class'::regclass
        AND d.refobjsubid > 0
        AND d.deptype IN ('a', 'i')
LEFT JOIN pg_attribute AS a ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
CROSS JOIN
    LATERAL (
        SELECT
            least(
                s.max_value,
                CASE a.atttypid WHEN 'smallint'::regtype THEN 32767 WHEN 'integer'::regtype THEN 2147483647 ELSE s.max_value END
            ) AS most
    ) AS e
WHERE s.increment_by > 0 AND NOT s.cycle AND s.last_value >= e.most * 0.75
ORDER BY object
LIMIT %(most)s;

-- name: months_missing
-- Months to come that have no partition for their cost events yet.
-- returns: Finding
SELECT
    to_char(m.month, 'YYYY-MM') AS object,
    'has no partition of call_cost_events' AS detail,
    m.month <= date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AS is_red,
    'SELECT ensure_partitions()' AS mend
FROM
    generate_series(
        date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC'),
        date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + interval '1 month',
        interval '1 month'
    ) AS m (month)
WHERE to_regclass('public.call_cost_events_' || to_char(m.month, 'YYYY_MM')) IS NULL
ORDER BY m.month
LIMIT %(most)s;
