-- What the database has, by name, to be held against what the migrations make.

-- name: things
-- Relations, functions, domains, and the parts of tables, as schema.sql calls them. Of a function its text, as a digest:
-- whether it has its definer's rights, its settings without quotes and spaces, and its body, whose spaces don't matter.
-- returns: Thing
WITH named AS (
    SELECT
        c.oid,
        c.relname::text AS name,
        n.nspname || '.' || c.relname AS full_name,
        CASE
            WHEN c.relkind IN ('r', 'p') THEN 'table'
            WHEN c.relkind = 'v' THEN 'view'
            WHEN c.relkind = 'S' THEN 'sequence'
            WHEN c.relkind IN ('i', 'I') THEN 'index'
        END AS kind
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE n.nspname !~ '^(pg_|information_schema)' AND c.relkind IN ('r', 'p', 'v', 'S', 'i', 'I')
)

SELECT
    r.kind,
    r.full_name AS name,
    NULL::text AS part_of
FROM named AS r
WHERE r.kind <> 'index'
UNION ALL
SELECT
    r.kind,
    r.name,
    t.full_name
FROM named AS r
INNER JOIN pg_index AS i ON r.oid = i.indexrelid
INNER JOIN named AS t ON i.indrelid = t.oid
-- That of a key comes and goes with its constraint.
WHERE
    NOT EXISTS (
        SELECT
        FROM pg_constraint AS k
        WHERE k.conindid = r.oid AND k.contype IN ('p', 'u', 'x')
    )
UNION ALL
SELECT
    'column',
    a.attname::text,
    t.full_name
FROM named AS t
INNER JOIN pg_attribute AS a ON t.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE t.kind = 'table'
UNION ALL
SELECT
    'NOT NULL',
    a.attname::text,
    t.full_name
FROM named AS t
INNER JOIN pg_attribute AS a ON t.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE t.kind = 'table' AND a.attnotnull
UNION ALL
SELECT
    'default',
    a.attname::text,
    t.full_name
FROM named AS t
INNER JOIN pg_attribute AS a ON t.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE t.kind = 'table' AND a.atthasdef
UNION ALL
SELECT
    'constraint',
    k.conname::text,
    t.full_name
FROM named AS t
INNER JOIN pg_constraint AS k ON t.oid = k.conrelid
UNION ALL
SELECT
    'trigger',
    g.tgname::text,
    t.full_name
FROM named AS t
INNER JOIN pg_trigger AS g ON t.oid = g.tgrelid AND NOT g.tgisinternal
UNION ALL
SELECT
    'policy',
    p.polname::text,
    t.full_name
FROM named AS t
INNER JOIN pg_policy AS p ON t.oid = p.polrelid
UNION ALL
SELECT DISTINCT
    'function',
    f.pronamespace::regnamespace::text || '.' || f.proname,
    NULL::text
FROM pg_proc AS f
WHERE f.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
UNION ALL
SELECT
    'text',
    encode(
        sha256(
            convert_to(
                format(
                    '%%s %%s %%s',
                    f.prosecdef::text,
                    (
                        SELECT string_agg(translate(s.setting, ' "''', ''), ' ' ORDER BY s.setting COLLATE "C")
                        FROM unnest(f.proconfig) AS s (setting)
                    ),
                    btrim(regexp_replace(f.prosrc, '[ \t\n\r]+', ' ', 'g'))
                ),
                'UTF8'
            )
        ),
        'hex'
    ),
    f.pronamespace::regnamespace::text || '.' || f.proname
FROM pg_proc AS f
WHERE f.pronamespace::regnamespace::text !~ '^(pg_|information_schema)'
UNION ALL
SELECT
    'domain',
    d.typnamespace::regnamespace::text || '.' || d.typname,
    NULL::text
FROM pg_type AS d
WHERE d.typtype = 'd' AND d.typnamespace::regnamespace::text !~ '^(pg_|information_schema)';
