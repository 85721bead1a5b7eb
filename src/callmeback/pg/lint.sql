-- What must not be in our schema. Each statement named check_… gives one row per finding: where, and what is wrong.

-- name: check_set_null_on_not_null
-- A foreign key that empties a column which can't be empty: the delete would always fail (docs/differences.md, d02).
-- returns: Found
SELECT
    format('%%s.%%s', c.conrelid::regclass, c.conname) AS place,
    format('ON DELETE/UPDATE SET NULL, but %%s is NOT NULL', string_agg(a.attname::text, ', ' ORDER BY a.attnum)) AS message
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
ORDER BY place;

-- name: check_foreign_key_without_index
-- A foreign key whose columns no index begins with: each delete of the referenced row reads the whole table.
-- returns: Found
SELECT
    format('%%s.%%s', c.conrelid::regclass, c.conname) AS place,
    'no index begins with the columns of this foreign key' AS message
FROM pg_constraint AS c
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
ORDER BY place;

-- name: check_redundant_index
-- An index that is the beginning of another one, and guards nothing itself.
-- returns: Found
SELECT
    i.indexrelid::regclass::text AS place,
    format('%%s serves the same queries', min(w.indexrelid::regclass::text)) AS message
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
    AND c.relkind IN ('i', 'I')
    -- Of two equal ones only the newer is redundant.
    AND (i.indnatts < w.indnatts OR w.indisunique OR i.indexrelid > w.indexrelid)
GROUP BY i.indexrelid
ORDER BY place;

-- name: check_invalid_index
-- An index that a failed CONCURRENTLY left: it costs every write and serves no query.
-- returns: Found
SELECT
    i.indexrelid::regclass::text AS place,
    'is broken; drop it and build it again' AS message
FROM pg_index AS i
INNER JOIN pg_class AS c ON i.indexrelid = c.oid
WHERE
    NOT (i.indisvalid AND i.indisready)
    AND c.relnamespace = to_regnamespace('public')
ORDER BY place;

-- name: check_duplicate_index_name
-- One index name in several schemas: IF NOT EXISTS takes one for the other (docs/differences.md, d01).
-- returns: Found
SELECT
    c.relname::text AS place,
    format('is the name of an index in %%s', string_agg(c.relnamespace::regnamespace::text, ' and ' ORDER BY c.oid)) AS message
FROM pg_class AS c
WHERE
    c.relkind IN ('i', 'I')
    AND c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
GROUP BY c.relname
HAVING count(*) > 1
ORDER BY place;

-- name: check_constraint_not_validated
-- A constraint that was added NOT VALID and never validated: old rows may break it.
-- returns: Found
SELECT
    format('%%s.%%s', c.conrelid::regclass, c.conname) AS place,
    'is not validated' AS message
FROM pg_constraint AS c
WHERE
    NOT c.convalidated
    AND c.connamespace = to_regnamespace('public')
ORDER BY place;

-- name: check_table_without_primary_key
-- A table whose rows can't be told apart.
-- returns: Found
SELECT
    t.oid::regclass::text AS place,
    'has no primary key' AS message
FROM pg_class AS t
WHERE
    t.relkind IN ('r', 'p')
    AND t.relnamespace = to_regnamespace('public')
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS c
        WHERE c.conrelid = t.oid AND c.contype = 'p'
    )
ORDER BY place;

-- name: check_time_without_zone
-- A moment without its zone means another moment elsewhere (docs/differences.md, c07).
-- returns: Found
SELECT
    format('%%s.%%s', a.attrelid::regclass, a.attname) AS place,
    'is a timestamp without time zone' AS message
FROM pg_attribute AS a
INNER JOIN pg_class AS t ON a.attrelid = t.oid
WHERE
    t.relkind IN ('r', 'p')
    AND t.relnamespace = to_regnamespace('public')
    AND a.attnum > 0
    AND NOT a.attisdropped
    AND a.atttypid = 'timestamp'::regtype
ORDER BY place;

-- name: check_row_security_forced
-- Under FORCE the owner's own statements change no row and say nothing, and pg_dump fails.
-- returns: Found
SELECT
    t.oid::regclass::text AS place,
    'has FORCE ROW LEVEL SECURITY' AS message
FROM pg_class AS t
WHERE
    t.relforcerowsecurity
    AND t.relnamespace = to_regnamespace('public')
ORDER BY place;

-- name: forget_repeatable
-- Make the repeatable set due again, to see that it can be repeated.
DELETE FROM public.schema_repeatable;
