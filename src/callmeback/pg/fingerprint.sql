-- What makes two databases the same: the rows of every table, whatever their order, and where sequences stand.

-- name: table_commands
-- Each table, a partition by itself, and the command that counts and digests its rows.
-- Those of extensions are made by the extension.
-- returns: Table
SELECT
    c.oid::regclass::text AS name,
    'SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM ONLY ' || c.oid::regclass || ' AS t' AS command
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND NOT EXISTS (
        SELECT 1
        FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
ORDER BY 1;

-- name: sequences
-- Where each sequence stands.
-- returns: Sequence
SELECT
    quote_ident(s.schemaname) || '.' || quote_ident(s.sequencename) AS name,
    coalesce(s.last_value, 0) AS last_value
FROM pg_sequences AS s
ORDER BY 1;

-- name: other_databases
-- Databases of the cluster that aren't the house's.
SELECT d.datname::text AS name
FROM pg_database AS d
WHERE NOT d.datistemplate AND d.datname NOT IN ('postgres', current_database())
ORDER BY 1;

-- name: analyse
-- Statistics for the planner, which no dump of an older server brings.
ANALYZE;
