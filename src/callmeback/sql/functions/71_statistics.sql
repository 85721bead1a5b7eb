-- What the server counts about statements, wherever its extension was installed.

CREATE OR REPLACE FUNCTION statement_statistics()
RETURNS TABLE (
    query text, calls bigint, rows bigint, total_ms double precision, mean_ms double precision, spilt_bytes bigint,
    hit_percent numeric
)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_schema text;
BEGIN
    SELECT e.extnamespace::regnamespace::text INTO v_schema FROM pg_extension AS e WHERE e.extname = 'pg_stat_statements';
    IF v_schema IS NULL THEN
        RETURN;
    END IF;
    -- Commands that aren't normalised could show a value, a password for one; what is normalised holds $1 instead.
    RETURN QUERY EXECUTE format(
        'SELECT s.query, s.calls, s.rows, s.total_exec_time, s.mean_exec_time, '
        || '(s.temp_blks_written * current_setting(''block_size'')::bigint)::bigint, '
        || 'round(100.0 * s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 1) '
        || 'FROM %s.pg_stat_statements AS s '
        || 'WHERE s.dbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()) '
        || 'AND s.query ~* ''^\s*(select|insert|update|delete|merge|with)\M''',
        v_schema
    );
END
$$;
COMMENT ON FUNCTION statement_statistics() IS
'Statements of this database by pg_stat_statements, nothing where that isn''t installed. Texts are normalised: values stand in them as $1.';
