-- Periodic work inside the database.

CREATE OR REPLACE FUNCTION touch_updated_at()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION touch_updated_at() IS 'Keeps updated_at; tables that calls write often leave it to their functions.';

CREATE OR REPLACE FUNCTION ensure_partitions()
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
SET lock_timeout = '4s'
AS $$
DECLARE
    c_months_ahead CONSTANT integer := 3;
    v_month date;
    v_name text;
    v_made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ensure_partitions', 0));
    FOR i IN -1..c_months_ahead LOOP
        v_month := (date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + make_interval(months => i))::date;
        v_name := 'call_cost_events_' || to_char(v_month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || v_name) IS NOT NULL;
        -- LIKE and ATTACH take a weaker lock on the parent than CREATE … PARTITION OF.
        EXECUTE format(
            'CREATE TABLE public.%I (LIKE public.call_cost_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)', v_name
        );
        EXECUTE format('COMMENT ON TABLE public.%I IS %L', v_name, 'Cost events of calls placed in ' || to_char(v_month, 'YYYY-MM') || ' (UTC).');
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', v_name);
        EXECUTE format(
            'ALTER TABLE public.call_cost_events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
            v_name, v_month, (v_month + interval '1 month')::date
        );
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END
$$;
COMMENT ON FUNCTION ensure_partitions() IS 'Makes the partitions of cost events for this and the next three months.';

CREATE OR REPLACE FUNCTION drop_old_partitions(p_keep interval DEFAULT '90 days')
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
SET lock_timeout = '4s'
AS $$
DECLARE
    v_name text;
    v_dropped integer := 0;
BEGIN
    FOR v_name IN
        SELECT c.relname
        FROM pg_inherits AS i
        INNER JOIN pg_class AS c ON i.inhrelid = c.oid
        WHERE i.inhparent = 'public.call_cost_events'::regclass
            AND c.relname ~ '^call_cost_events_\d{4}_\d{2}$'
            AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' < clock_timestamp() - p_keep
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE public.%I', v_name);
        v_dropped := v_dropped + 1;
    END LOOP;
    RETURN v_dropped;
END
$$;
COMMENT ON FUNCTION drop_old_partitions(interval) IS 'Drops months of cost events that ended before the time that they are kept.';

CREATE OR REPLACE FUNCTION erase_again(p_limit integer DEFAULT 1)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- No request lasts longer.
    c_request CONSTANT interval := '10 minutes';
    v_now timestamptz := clock_timestamp();
    v record;
    v_erased integer := 0;
BEGIN
    FOR v IN
        SELECT e.user_id, e.requested_by
        FROM erasures AS e
        WHERE e.swept_at IS NULL AND e.erased_at < v_now - c_request
            AND NOT EXISTS (SELECT FROM open_calls AS o WHERE o.user_id = e.user_id)
        ORDER BY e.erased_at
        LIMIT p_limit
    LOOP
        PERFORM erase_user(v.user_id, v.requested_by);
        UPDATE erasures AS e SET swept_at = v_now WHERE e.user_id = v.user_id;
        v_erased := v_erased + 1;
    END LOOP;
    RETURN v_erased;
END
$$;
COMMENT ON FUNCTION erase_again(integer) IS
'Empties people a second time, once what was under way when they were erased has ended: it may have written something. One a transaction keeps it from holding two accounts.';

CREATE OR REPLACE FUNCTION sweep_expired(p_limit integer DEFAULT 10000)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rows integer;
    v_swept integer := 0;
BEGIN
    DELETE FROM token_blacklist AS b
    WHERE b.token_id IN (
        SELECT x.token_id FROM token_blacklist AS x WHERE x.expires_at < v_now ORDER BY x.expires_at LIMIT p_limit
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_swept := v_swept + v_rows;
    DELETE FROM one_time_tokens AS t
    WHERE t.token_hash IN (
        SELECT x.token_hash FROM one_time_tokens AS x WHERE x.expires_at < v_now ORDER BY x.expires_at LIMIT p_limit
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_swept := v_swept + v_rows;
    DELETE FROM login_attempts AS l
    WHERE l.bucket IN (
        SELECT x.bucket FROM login_attempts AS x WHERE x.expires_at < v_now ORDER BY x.expires_at LIMIT p_limit
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_swept := v_swept + v_rows;
    DELETE FROM idempotency_keys AS k
    WHERE (k.user_id, k.key) IN (
        SELECT x.user_id, x.key
        FROM idempotency_keys AS x
        WHERE x.created_at < v_now - interval '2 days'
        ORDER BY x.created_at
        LIMIT p_limit
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    v_swept := v_swept + v_rows;
    DELETE FROM proxy_answers AS a
    WHERE (a.key_id, a.idempotency_key) IN (
        SELECT x.key_id, x.idempotency_key
        FROM proxy_answers AS x
        WHERE x.created_at < v_now - interval '2 days'
        ORDER BY x.created_at
        LIMIT p_limit
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_swept + v_rows;
END
$$;
COMMENT ON FUNCTION sweep_expired(integer) IS 'Removes expired tokens, counters and idempotency keys, a bounded number at a time.';
