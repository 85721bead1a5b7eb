-- What is wrong with a schema, by its catalogue: each statement gives one row per flaw, and none where all is well.

-- name: invalid_indexes
-- Indexes that a failed CONCURRENTLY left: each costs every write and serves no query. One that is being built is not.
-- returns: Flaw
SELECT
    i.indexrelid::regclass::text AS object,
    format('of %%s is not valid', i.indrelid::regclass) AS detail,
    true AS is_red,
    format('DROP INDEX CONCURRENTLY %%s', i.indexrelid::regclass) AS mend
FROM pg_index AS i
INNER JOIN pg_class AS c ON i.indexrelid = c.oid
WHERE
    NOT (i.indisvalid AND i.indisready)
    AND c.relkind = 'i'
    AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
    AND NOT EXISTS (
        SELECT
        FROM pg_stat_progress_create_index AS p
        WHERE p.index_relid = i.indexrelid
    )
    AND NOT EXISTS (
        -- Parts of a primary key, or of a partitioned index, can't be dropped by themselves.
        SELECT
        FROM pg_constraint AS k
        WHERE k.conindid = i.indexrelid
    )
ORDER BY object
LIMIT %(most)s;

-- name: redundant_indexes
-- Indexes that another one makes superfluous: equal, or its beginning. Those that guard something are not.
-- returns: Flaw
SELECT
    i.indexrelid::regclass::text AS object,
    format(
        '%%s; %%s serves the same queries', pg_size_pretty(c.relpages * 8192::bigint), min(w.indexrelid::regclass::text)
    ) AS detail,
    false AS is_red,
    NULL::text AS mend
FROM pg_index AS i
INNER JOIN pg_class AS c ON i.indexrelid = c.oid
INNER JOIN pg_am AS m ON c.relam = m.oid AND m.amname = 'btree'
INNER JOIN pg_index AS w
    ON
        i.indrelid = w.indrelid
        AND i.indexrelid <> w.indexrelid
        AND i.indisvalid
        AND w.indisvalid
        AND coalesce(pg_get_expr(i.indpred, i.indrelid), '') = coalesce(pg_get_expr(w.indpred, w.indrelid), '')
        AND i.indexprs IS NULL
        AND i.indnatts <= w.indnkeyatts
        AND (w.indkey::smallint[])[0:i.indnatts - 1] = (i.indkey::smallint[])[0:i.indnatts - 1]
        AND (w.indclass::oid[])[0:i.indnkeyatts - 1] = (i.indclass::oid[])[0:i.indnkeyatts - 1]
        AND (w.indcollation::oid[])[0:i.indnkeyatts - 1] = (i.indcollation::oid[])[0:i.indnkeyatts - 1]
        AND (w.indoption::smallint[])[0:i.indnkeyatts - 1] = (i.indoption::smallint[])[0:i.indnkeyatts - 1]
WHERE
    c.relnamespace = to_regnamespace('public')
    AND NOT i.indisunique
    AND (i.indnatts < w.indnatts OR w.indisunique OR i.indexrelid > w.indexrelid)
GROUP BY i.indexrelid, c.relpages
ORDER BY object
LIMIT %(most)s;

-- name: keys_without_index
-- Foreign keys whose columns no index begins with: each delete of the referenced row reads the whole table.
-- returns: Flaw
SELECT
    format('%%s.%%s', c.conrelid::regclass, c.conname) AS object,
    format('no index begins with %%s', k.columns) AS detail,
    false AS is_red,
    CASE
        WHEN t.relkind = 'r'
            THEN format('CREATE INDEX CONCURRENTLY %%I ON %%s (%%s)', left('idx_' || c.conname, 63), c.conrelid::regclass, k.columns)
    END AS mend
FROM pg_constraint AS c
INNER JOIN pg_class AS t ON c.conrelid = t.oid
CROSS JOIN
    LATERAL (
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY p.place) AS columns
        FROM unnest(c.conkey) WITH ORDINALITY AS p (attnum, place)
        INNER JOIN pg_attribute AS a ON c.conrelid = a.attrelid AND p.attnum = a.attnum
    ) AS k
WHERE
    c.contype = 'f'
    AND c.conparentid = 0
    AND c.connamespace = to_regnamespace('public')
    AND NOT EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE
            i.indrelid = c.conrelid
            AND i.indisvalid
            -- A partial index on "column IS NOT NULL" serves the key as well.
            AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) ~ '^\(\w+ IS NOT NULL\)$')
            AND (
                (i.indkey::smallint[])[0:cardinality(c.conkey) - 1] @> c.conkey
                -- Columns that are unique by themselves find the one row.
                OR (i.indisunique AND i.indpred IS NULL AND (i.indkey::smallint[])[0:i.indnkeyatts - 1] <@ c.conkey)
            )
    )
ORDER BY object
LIMIT %(most)s;

-- name: set_null_on_not_null
-- Foreign keys that empty a column which can't be empty: such a delete always fails.
-- returns: Flaw
SELECT
    format('%%s.%%s', c.conrelid::regclass, c.conname) AS object,
    format('SET NULL, but %%s is NOT NULL', string_agg(a.attname::text, ', ' ORDER BY a.attnum)) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM pg_constraint AS c
INNER JOIN pg_attribute AS a
    ON
        c.conrelid = a.attrelid
        AND a.attnum = any(coalesce(c.confdelsetcols, c.conkey))
        AND a.attnotnull
WHERE
    c.contype = 'f'
    AND 'n' IN (c.confdeltype, c.confupdtype)
    AND c.connamespace = to_regnamespace('public')
GROUP BY c.conrelid, c.conname
ORDER BY object
LIMIT %(most)s;

-- name: constraints_not_checked
-- Constraints that were never held against the rows that were there before.
-- returns: Flaw
SELECT
    format('%%s.%%s', c.conrelid::regclass, c.conname) AS object,
    'was added NOT VALID and never validated: old rows may break it' AS detail,
    false AS is_red,
    format('ALTER TABLE %%s VALIDATE CONSTRAINT %%I', c.conrelid::regclass, c.conname) AS mend
FROM pg_constraint AS c
WHERE NOT c.convalidated AND c.contype IN ('c', 'f') AND c.connamespace = to_regnamespace('public') AND c.conrelid <> 0
ORDER BY object
LIMIT %(most)s;

-- name: tables_without_key
-- Tables whose rows can't be told apart.
-- returns: Flaw
SELECT
    t.oid::regclass::text AS object,
    'has no primary key' AS detail,
    false AS is_red,
    NULL::text AS mend
FROM pg_class AS t
WHERE
    t.relkind IN ('r', 'p')
    -- A partition that was just made gets its key with the ATTACH.
    AND NOT t.relispartition
    AND t.relnamespace = to_regnamespace('public')
    AND NOT EXISTS (
        SELECT
        FROM pg_constraint AS c
        WHERE c.conrelid = t.oid AND c.contype = 'p'
    )
ORDER BY object
LIMIT %(most)s;
