-- What the proxy asks the catalogue, as a key's role.

-- name: types
-- What the types are that PostgreSQL doesn't come with: elements of arrays, and their delimiter.
SELECT
    t.oid,
    t.typelem,
    t.typdelim,
    t.typcategory
FROM pg_catalog.pg_type AS t
INNER JOIN unnest(%(oids)s::oid[]) AS wanted (oid) ON t.oid = wanted.oid;
