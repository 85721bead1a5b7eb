-- What only `migrate lint` looks for: each check_… gives one row per finding, where and what. The rest is in flaws.sql.

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
