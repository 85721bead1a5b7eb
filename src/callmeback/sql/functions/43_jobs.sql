-- The house's periodic work: each job at one worker at a time, whatever number of workers there is.

CREATE OR REPLACE FUNCTION ensure_jobs(p_names text[], p_every interval[])
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_rows integer;
BEGIN
    INSERT INTO jobs AS j (name, every)
    SELECT w.name, w.every
    FROM unnest(p_names, p_every) AS w (name, every)
    ORDER BY w.name
    ON CONFLICT (name) DO UPDATE
    SET every = excluded.every, next_run_at = least(j.next_run_at, clock_timestamp() + excluded.every)
    WHERE j.every <> excluded.every;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION ensure_jobs(text[], interval[]) IS 'Makes jobs known, or gives them another rhythm; a new one is due at once.';

CREATE OR REPLACE FUNCTION claim_jobs(p_worker text, p_names text[], p_limit integer, p_lease interval)
RETURNS TABLE (name text, run bigint)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT j.name
        FROM jobs AS j
        WHERE j.next_run_at <= v_now AND coalesce(j.lease_until, '-infinity') < v_now AND j.name = ANY (p_names)
        ORDER BY j.next_run_at
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs AS j
    SET claimed_by = p_worker, lease_until = v_now + p_lease, runs = j.runs + 1, last_started_at = v_now
    FROM due
    WHERE j.name = due.name
    RETURNING j.name, j.runs;
END
$$;
COMMENT ON FUNCTION claim_jobs(text, text[], integer, interval) IS
'Takes jobs that are due, the longest due first, each for one worker until its lease is over.';

CREATE OR REPLACE FUNCTION extend_job(p_name text, p_run bigint, p_lease interval)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE jobs AS j
    SET lease_until = clock_timestamp() + p_lease
    WHERE j.name = p_name AND j.runs = p_run AND j.claimed_by IS NOT NULL;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION extend_job(text, bigint, interval) IS 'The heartbeat of a job that goes on; false: another worker has it by now.';

CREATE OR REPLACE FUNCTION finish_job(p_name text, p_run bigint, p_result_count bigint, p_error text, p_again_within interval)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    UPDATE jobs AS j
    SET
        claimed_by = NULL,
        lease_until = NULL,
        last_finished_at = v_now,
        last_duration_ms = least(2147483647, extract(EPOCH FROM v_now - j.last_started_at) * 1000)::integer,
        last_result_count = p_result_count,
        last_error = p_error,
        failures = CASE WHEN p_error IS NULL THEN 0 ELSE j.failures + 1 END,
        -- A success keeps its phase and skips what was missed meanwhile; a failure is tried again before its next turn.
        next_run_at = CASE
            -- Asked for once more while it ran.
            WHEN j.next_run_at > j.last_started_at THEN j.next_run_at
            WHEN p_error IS NOT NULL THEN v_now + least(j.every, p_again_within)
            ELSE j.next_run_at
            + j.every * (1 + floor(greatest(0, extract(EPOCH FROM v_now - j.next_run_at)) / extract(EPOCH FROM j.every)))
        END
    WHERE j.name = p_name AND j.runs = p_run AND j.claimed_by IS NOT NULL;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION finish_job(text, bigint, bigint, text, interval) IS
'Notes how a run ended and when the next one is; false for a run that another worker has taken over.';

CREATE OR REPLACE FUNCTION request_job(p_name text)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_runs bigint;
BEGIN
    UPDATE jobs AS j
    SET next_run_at = CASE
        WHEN j.claimed_by IS NULL THEN least(j.next_run_at, clock_timestamp())
        ELSE clock_timestamp()
    END
    WHERE j.name = p_name
    RETURNING j.runs INTO v_runs;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'job % is not known', p_name USING ERRCODE = 'CM008';
    END IF;
    RETURN v_runs;
END
$$;
COMMENT ON FUNCTION request_job(text) IS 'Makes a job due now; answers the number of its latest run.';
