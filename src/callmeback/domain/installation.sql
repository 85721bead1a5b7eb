-- What this database is made of.

-- name: applied_versions
-- Numbers of the migrations that were applied.
SELECT array_agg(m.version ORDER BY m.version)
FROM schema_migrations AS m
WHERE m.state = 'applied';
