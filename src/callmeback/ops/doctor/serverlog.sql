-- What names in the server's log stand for.

-- name: foreign_keys
-- What each of these foreign keys asks for.
-- returns: ForeignKey
SELECT
    c.conname::text AS name,
    c.conrelid::regclass::text AS child,
    c.confrelid::regclass::text AS parent,
    (
        SELECT string_agg(a.attname::text, ', ' ORDER BY k.place)
        FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, place)
        INNER JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND k.attnum = a.attnum
    ) AS child_columns,
    (
        SELECT string_agg(a.attname::text, ', ' ORDER BY k.place)
        FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, place)
        INNER JOIN pg_attribute AS a ON a.attrelid = c.confrelid AND k.attnum = a.attnum
    ) AS parent_columns
FROM pg_constraint AS c
WHERE c.contype = 'f' AND c.conname = any(%(names)s::text[]) AND c.conparentid = 0
ORDER BY c.conname;
