-- Calls whose time has come: claimed in batches, placed once, and what became of them.

CREATE OR REPLACE FUNCTION claim_due(p_worker text, p_limit integer, p_lease interval DEFAULT '30 seconds')
RETURNS TABLE (id text, user_id text, claims integer, scheduled_time timestamptz)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
-- Few rows of many are taken, however little the planner knows of how many.
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_ids text[];
    v_more text[];
BEGIN
    -- Whose worker is gone: they are the oldest.
    SELECT array_agg(w.id) INTO v_ids
    FROM (
        SELECT s.id
        FROM scheduled_calls AS s
        WHERE s.status = 'executing' AND s.lease_until < v_now
        ORDER BY s.lease_until
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS w;
    SELECT array_agg(w.id) INTO v_more
    FROM (
        SELECT s.id
        FROM scheduled_calls AS s
        WHERE s.status = 'scheduled' AND s.scheduled_time <= v_now
        ORDER BY s.scheduled_time
        LIMIT p_limit - coalesce(cardinality(v_ids), 0)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS w;
    IF v_ids IS NULL AND v_more IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH taken AS (
        UPDATE scheduled_calls AS s
        SET
            status = CASE WHEN s.latest_start_at < v_now THEN 'missed' ELSE 'executing' END,
            outcome = CASE WHEN s.latest_start_at < v_now THEN 'too_late' END,
            claimed_by = p_worker,
            claims = s.claims + 1,
            lease_until = v_now + p_lease,
            remind_at = NULL,
            updated_at = v_now
        FROM unnest(v_ids || v_more) AS w (id)
        WHERE s.id = w.id
        RETURNING s.id, s.user_id, s.claims, s.scheduled_time, s.status
    )
    SELECT t.id::text, t.user_id::text, t.claims, t.scheduled_time
    FROM taken AS t
    WHERE t.status = 'executing'
    ORDER BY t.scheduled_time;
END
$$;
COMMENT ON FUNCTION claim_due(text, integer, interval) IS
'Takes calls whose time has come, oldest first, each for one worker until its lease is over. Those past their latest start are missed.';

CREATE OR REPLACE FUNCTION finish_due(
    p_ids text[], p_user_ids text[], p_claims integer[], p_statuses text[], p_outcomes text[], p_call_ids text[]
)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rows integer;
BEGIN
    UPDATE scheduled_calls AS s
    SET
        status = f.status,
        outcome = f.outcome,
        call_id = f.call_id,
        executed_at = CASE WHEN f.status = 'executed' THEN v_now END,
        lease_until = NULL,
        updated_at = v_now
    FROM unnest(p_ids, p_user_ids, p_claims, p_statuses, p_outcomes, p_call_ids)
        AS f (id, user_id, claims, status, outcome, call_id)
    WHERE s.id = f.id AND s.user_id = f.user_id AND s.status = 'executing' AND s.claims = f.claims;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION finish_due(text[], text[], integer[], text[], text[], text[]) IS
'Notes what became of claimed calls; a claim that is no longer this one changes nothing.';

CREATE OR REPLACE FUNCTION refusal_code(p_state text)
RETURNS text
LANGUAGE sql
IMMUTABLE
SET search_path = public, pg_temp
AS $$
    SELECT CASE p_state
        WHEN 'CM001' THEN 'insufficient_credits'
        WHEN 'CM002' THEN 'budget_exceeded'
        WHEN 'CM003' THEN 'daily_limit'
        WHEN 'CM004' THEN 'call_in_progress'
        WHEN 'CM005' THEN 'phone_not_verified'
        WHEN 'CM008' THEN 'not_found'
        WHEN 'CM009' THEN 'unknown_rate'
        WHEN 'CM010' THEN 'account_blocked'
        WHEN 'CM011' THEN 'debt_outstanding'
        WHEN 'CM012' THEN 'persona_not_found'
        WHEN 'CM013' THEN 'number_blocked'
    END
$$;
COMMENT ON FUNCTION refusal_code(text) IS 'What the API calls a refusal of start_call; NULL for what is none.';

CREATE OR REPLACE FUNCTION place_due(
    p_ids text[], p_claims integer[], p_call_ids text[], p_local_days date[], p_card text,
    p_authorization_id text DEFAULT NULL
)
RETURNS TABLE (id text, user_id text, status text, outcome text)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v record;
    v_now timestamptz;
    v_word text;
    v_status text;
    v_ids text[] := '{}';
    v_user_ids text[] := '{}';
    v_claims integer[] := '{}';
    v_statuses text[] := '{}';
    v_outcomes text[] := '{}';
    v_call_ids text[] := '{}';
BEGIN
    -- The accounts first and in order, as every function that moves money takes them.
    PERFORM
    FROM user_credits AS a
    WHERE a.user_id IN (SELECT s.user_id FROM scheduled_calls AS s WHERE s.id = ANY (p_ids))
    ORDER BY a.user_id
    FOR NO KEY UPDATE;
    FOR v IN
        SELECT
            s.id, s.user_id, s.claims, s.persona_id, s.phone_number, s.latest_start_at, s.requested_seconds,
            s.call_pretext, s.call_scenario, r.paused_at, w.call_id, w.local_day
        FROM unnest(p_ids, p_claims, p_call_ids, p_local_days) AS w (id, claims, call_id, local_day)
        INNER JOIN scheduled_calls AS s ON w.id = s.id
        LEFT JOIN call_schedules AS r ON s.user_id = r.user_id AND s.schedule_id = r.id
        -- The fence: who was stopped past the lease finds another claim, or an end.
        WHERE s.status = 'executing' AND s.claims = w.claims
        ORDER BY s.scheduled_time
        FOR NO KEY UPDATE OF s
    LOOP
        v_now := clock_timestamp();
        v_word := NULL;
        IF v.latest_start_at < v_now THEN
            v_status := 'missed';
            v_word := 'too_late';
        ELSIF v.paused_at IS NOT NULL THEN
            v_status := 'canceled';
            v_word := 'paused';
        ELSE
            v_status := 'executed';
            BEGIN
                IF p_authorization_id IS NULL THEN
                    PERFORM start_call(
                        v.call_id, v.user_id, v.persona_id, v.phone_number, p_card, v.local_day, v.requested_seconds,
                        v.call_pretext, v.call_scenario, p_dial_within => v.latest_start_at - v_now
                    );
                ELSE
                    PERFORM start_paid_call(
                        p_authorization_id, v.call_id, v.user_id, v.persona_id, v.phone_number, p_card, v.local_day,
                        v.requested_seconds, v.call_pretext, v.call_scenario
                    );
                    UPDATE open_calls AS o
                    SET dial_before = v.latest_start_at
                    WHERE o.user_id = v.user_id AND o.call_id = v.call_id;
                END IF;
            EXCEPTION WHEN OTHERS THEN
                v_word := refusal_code(SQLSTATE);
                IF v_word IS NULL THEN
                    RAISE;
                END IF;
                v_status := 'failed';
            END;
            -- Whoever pays such calls by their card is asked for it outside this transaction, and comes again.
            IF v_word = 'insufficient_credits' AND p_authorization_id IS NULL AND EXISTS (
                SELECT FROM user_preferences AS p WHERE p.user_id = v.user_id AND p.pay_as_you_go
            ) THEN
                v_status := 'executing';
            END IF;
        END IF;
        v_ids := v_ids || v.id::text;
        v_user_ids := v_user_ids || v.user_id::text;
        v_claims := v_claims || v.claims;
        v_statuses := v_statuses || v_status;
        v_outcomes := v_outcomes || v_word;
        v_call_ids := v_call_ids || CASE WHEN v_status = 'executed' THEN v.call_id END;
    END LOOP;
    PERFORM finish_due(
        array_agg(f.id), array_agg(f.user_id), array_agg(f.claims), array_agg(f.status), array_agg(f.outcome),
        array_agg(f.call_id)
    )
    FROM unnest(v_ids, v_user_ids, v_claims, v_statuses, v_outcomes, v_call_ids)
        AS f (id, user_id, claims, status, outcome, call_id)
    WHERE f.status <> 'executing'
    HAVING count(*) > 0;
    RETURN QUERY
    SELECT f.id, f.user_id, f.status, f.outcome
    FROM unnest(v_ids, v_user_ids, v_statuses, v_outcomes) AS f (id, user_id, status, outcome);
END
$$;
COMMENT ON FUNCTION place_due(text[], integer[], text[], date[], text, text) IS
'Begins claimed calls by the gate of every call and notes it in the same commit: executed, failed with the refusal, missed or canceled. A claim that was taken over is not in the answer; executing is one that wants to be paid first.';

CREATE OR REPLACE FUNCTION settle_due(p_limit integer)
RETURNS TABLE (
    id text, user_id text, outcome text, attempt integer, promised_at timestamptz, retries_max integer,
    retry_after_minutes integer, retry_within_minutes integer, quiet_from time, quiet_until time, timezone text
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH ended AS (
        SELECT s.id, s.user_id, c.status, c.end_reason
        FROM scheduled_calls AS s
        INNER JOIN calls AS c ON s.user_id = c.user_id AND s.call_id = c.id
        WHERE s.status = 'executed' AND s.outcome IS NULL AND NOT c.hold_open
            AND c.status IN ('completed', 'failed', 'no_answer', 'busy', 'canceled')
        ORDER BY s.executed_at
        LIMIT p_limit
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ),
    noted AS (
        UPDATE scheduled_calls AS s
        SET
            -- It waited for the carrier's pace until its time was over.
            status = CASE WHEN e.end_reason = 'dial_expired' THEN 'missed' ELSE 'executed' END,
            outcome = CASE WHEN e.end_reason = 'dial_expired' THEN 'dial_expired' ELSE e.status END,
            updated_at = v_now
        FROM ended AS e
        WHERE s.id = e.id AND s.user_id = e.user_id
        RETURNING
            s.id, s.user_id, s.outcome, s.attempt, s.promised_at, s.retries_max, s.retry_after_minutes,
            s.retry_within_minutes, s.quiet_from, s.quiet_until, s.timezone, s.retry_on_busy, s.retry_on_no_answer
    )
    SELECT
        n.id::text, n.user_id::text, n.outcome, n.attempt, n.promised_at, n.retries_max, n.retry_after_minutes,
        n.retry_within_minutes, n.quiet_from, n.quiet_until, coalesce(n.timezone, u.timezone)
    FROM noted AS n
    INNER JOIN users AS u ON n.user_id = u.id;
END
$$;
COMMENT ON FUNCTION settle_due(integer) IS
'Notes how calls that were placed have ended, with what their owner wishes to be done about it.';

CREATE OR REPLACE FUNCTION add_retry(p_user_id text, p_of text, p_id text, p_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO scheduled_calls (
        id, user_id, persona_id, phone_number, scheduled_time, schedule_id, latest_start_at, call_pretext, call_scenario,
        requested_seconds, attempt, retry_of, promised_at, retries_max, retry_after_minutes, retry_within_minutes,
        retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, timezone
    )
    SELECT
        p_id, s.user_id, s.persona_id, s.phone_number, p_at, s.schedule_id,
        p_at + (s.latest_start_at - s.scheduled_time), s.call_pretext, s.call_scenario,
        s.requested_seconds, s.attempt + 1, s.id, s.promised_at, s.retries_max, s.retry_after_minutes,
        s.retry_within_minutes, s.retry_on_busy, s.retry_on_no_answer, s.quiet_from, s.quiet_until, s.timezone
    FROM scheduled_calls AS s
    LEFT JOIN call_schedules AS r ON s.user_id = r.user_id AND s.schedule_id = r.id
    WHERE s.user_id = p_user_id AND s.id = p_of AND s.attempt <= s.retries_max
        AND p_at <= s.promised_at + make_interval(mins => s.retry_within_minutes)
        AND r.paused_at IS NULL
        AND CASE s.outcome
            WHEN 'busy' THEN s.retry_on_busy
            WHEN 'call_in_progress' THEN s.retry_on_busy
            WHEN 'no_answer' THEN s.retry_on_no_answer
            ELSE false
        END
    ON CONFLICT (user_id, retry_of) WHERE retry_of IS NOT NULL DO NOTHING;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION add_retry(text, text, text, timestamptz) IS
'Plans one more attempt of a call that was busy or not answered, once, as its owner wishes; false where they don''t.';

CREATE OR REPLACE FUNCTION claim_schedules(p_limit integer)
RETURNS TABLE (
    user_id text, id text, rrule text, starts_at_local text, timezone text, materialised_until timestamptz,
    grace_minutes integer, asked_at timestamptz
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT
        s.user_id::text, s.id::text, s.rrule, s.starts_at_local, s.timezone, s.materialised_until, s.grace_minutes,
        clock_timestamp()
    FROM call_schedules AS s
    WHERE s.materialised_until <= clock_timestamp() AND s.paused_at IS NULL
    ORDER BY s.materialised_until
    LIMIT p_limit
    FOR NO KEY UPDATE SKIP LOCKED;
END
$$;
COMMENT ON FUNCTION claim_schedules(integer) IS
'Schedules whose newest occurrence has come due, each for one worker until its transaction ends: they want their next one.';

CREATE OR REPLACE FUNCTION halt_schedule(p_user_id text, p_id text, p_problem text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE call_schedules AS s
    SET paused_at = clock_timestamp(), problem = p_problem
    WHERE s.user_id = p_user_id AND s.id = p_id;
END
$$;
COMMENT ON FUNCTION halt_schedule(text, text, text) IS 'Pauses a schedule whose rule can no longer be read, and says why.';

CREATE OR REPLACE FUNCTION claim_reminders(p_limit integer)
RETURNS TABLE (
    id text, user_id text, phone_number text, persona_name text, scheduled_time timestamptz, timezone text
)
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
        SELECT s.id, s.user_id
        FROM scheduled_calls AS s
        WHERE s.remind_at <= v_now
        ORDER BY s.remind_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ),
    taken AS (
        UPDATE scheduled_calls AS s
        SET remind_at = NULL, updated_at = v_now
        FROM due AS d
        WHERE s.id = d.id AND s.user_id = d.user_id
        RETURNING s.id, s.user_id, s.phone_number, s.persona_id, s.schedule_id, s.scheduled_time, s.status, s.reminder_minutes
    )
    SELECT t.id::text, t.user_id::text, t.phone_number, p.name, t.scheduled_time, u.timezone
    FROM taken AS t
    INNER JOIN users AS u ON t.user_id = u.id
    INNER JOIN personas AS p ON t.persona_id = p.id
    INNER JOIN phones AS h ON t.user_id = h.user_id AND t.phone_number = h.number AND h.verified_at IS NOT NULL
    LEFT JOIN call_schedules AS r ON t.user_id = r.user_id AND t.schedule_id = r.id
    LEFT JOIN user_preferences AS w ON t.user_id = w.user_id
    WHERE t.status = 'scheduled' AND t.scheduled_time > v_now AND r.paused_at IS NULL AND u.blocked_at IS NULL
        AND (t.reminder_minutes IS NOT NULL OR w.sms_notifications)
        AND NOT EXISTS (SELECT FROM blocked_numbers AS b WHERE b.number = t.phone_number);
END
$$;
COMMENT ON FUNCTION claim_reminders(integer) IS
'Texts before calls that are due, each handed out once: one that is lost on its way is not sent again.';
