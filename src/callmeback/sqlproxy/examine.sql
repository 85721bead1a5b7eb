-- What a statement is to the role that is to run it. PREPARE takes no parameters, so its command is written here.

-- name: prepare_command
-- The command that parses a statement; only one that can be planned is taken, so no SET, COPY or COMMIT.
SELECT 'PREPARE examined AS ' || %(statement)s::text;

-- name: parameter_types
-- The types that its parameters were given.
SELECT coalesce(p.parameter_types::text[], '{}') FROM pg_prepared_statements AS p
WHERE p.name = 'examined';

-- name: explain_command
-- The command that plans it, which asks for the privileges, and runs nothing.
SELECT
    'EXPLAIN EXECUTE examined' || CASE
        WHEN cardinality(p.parameter_types) = 0 THEN ''
        ELSE (
            SELECT '(' || string_agg('NULL', ', ') || ')' FROM unnest(p.parameter_types)
        )
    END
FROM pg_prepared_statements AS p
WHERE p.name = 'examined';
