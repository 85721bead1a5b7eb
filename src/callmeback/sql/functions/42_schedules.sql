-- Calls to come, as their owner plans them: what a row must be, what repeats, and the one moment in which a cancel wins.

CREATE OR REPLACE FUNCTION check_plan()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    -- The foreign key knows that the persona is there, not whose it is.
    PERFORM FROM personas AS p WHERE p.id = NEW.persona_id AND p.owner_user_id <> NEW.user_id;
    IF FOUND THEN
        RAISE EXCEPTION 'persona does not exist' USING ERRCODE = 'CM012';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION check_plan() IS 'A plan names a persona of the house or the person''s own.';

CREATE OR REPLACE FUNCTION limit_plans()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    c_schedules_max CONSTANT integer := 50;
    c_waiting_max CONSTANT integer := 200;
    v_planned integer;
    v_most integer := CASE TG_TABLE_NAME WHEN 'call_schedules' THEN c_schedules_max ELSE c_waiting_max END;
BEGIN
    -- Two inserts at once count one after the other.
    PERFORM pg_advisory_xact_lock(hashtextextended('plans:' || NEW.user_id, 0));
    IF TG_TABLE_NAME = 'call_schedules' THEN
        SELECT count(*) INTO v_planned
        FROM call_schedules AS s
        WHERE s.user_id = NEW.user_id AND s.materialised_until IS NOT NULL AND s.id <> NEW.id;
    ELSE
        SELECT count(*) INTO v_planned
        FROM (
            SELECT FROM scheduled_calls AS s
            WHERE s.user_id = NEW.user_id AND s.status = 'scheduled' AND s.schedule_id IS NULL
                AND s.scheduled_time > clock_timestamp() - interval '1 day'
            LIMIT v_most
        ) AS w;
    END IF;
    IF v_planned >= v_most THEN
        RAISE EXCEPTION 'a person may plan % of these', v_most
            USING ERRCODE = 'CM030', DETAIL = jsonb_build_object('limit', v_most)::text;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION limit_plans() IS 'Bounds how many schedules, and how many single calls to come, a person has at once.';

CREATE OR REPLACE FUNCTION complete_scheduled_call()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    c_grace CONSTANT interval := '15 minutes';
    v_reminder integer := NEW.reminder_minutes;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.status <> 'scheduled' THEN
            RAISE EXCEPTION 'the call no longer waits' USING ERRCODE = 'CM031';
        ELSIF NEW.latest_start_at IS NOT DISTINCT FROM OLD.latest_start_at THEN
            NEW.latest_start_at := NEW.scheduled_time + (OLD.latest_start_at - OLD.scheduled_time);
        END IF;
        NEW.promised_at := CASE WHEN NEW.retry_of IS NULL THEN NEW.scheduled_time ELSE OLD.promised_at END;
    END IF;
    NEW.latest_start_at := coalesce(NEW.latest_start_at, NEW.scheduled_time + c_grace);
    NEW.promised_at := coalesce(NEW.promised_at, NEW.scheduled_time);
    IF NEW.status <> 'scheduled' OR NEW.retry_of IS NOT NULL THEN
        NEW.remind_at := NULL;
        RETURN NEW;
    END IF;
    IF v_reminder IS NULL THEN
        SELECT p.call_reminder_minutes INTO v_reminder
        FROM user_preferences AS p
        WHERE p.user_id = NEW.user_id AND p.sms_notifications;
    END IF;
    NEW.remind_at := CASE WHEN v_reminder > 0 THEN NEW.scheduled_time - make_interval(mins => v_reminder) END;
    -- Asked for at shorter notice than that: the person knows.
    IF NEW.remind_at < clock_timestamp() THEN
        NEW.remind_at := NULL;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION complete_scheduled_call() IS
'Derives a call''s latest start, promise and reminder from its time; a time is changed only while the call waits.';

CREATE OR REPLACE FUNCTION refuse_schedule_step()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'a call to come cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'CM007';
END
$$;
COMMENT ON FUNCTION refuse_schedule_step() IS 'Refuses a step backward in the life of a call to come.';

CREATE OR REPLACE FUNCTION add_occurrence(
    p_user_id text,
    p_schedule_id text,
    p_id text,
    p_occurrence timestamptz,
    p_status text DEFAULT 'scheduled',
    p_outcome text DEFAULT NULL
)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    c_least_distance CONSTANT interval := '5 minutes';
    v call_schedules;
    v_status text := p_status;
    v_outcome text := p_outcome;
    v_is_new boolean;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    ELSIF p_status NOT IN ('scheduled', 'missed', 'canceled') THEN
        RAISE EXCEPTION 'an occurrence is not added as %', p_status USING ERRCODE = 'CM007';
    END IF;
    SELECT s.* INTO v
    FROM call_schedules AS s
    WHERE s.user_id = p_user_id AND s.id = p_schedule_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'schedule does not exist' USING ERRCODE = 'CM008';
    ELSIF p_occurrence IS NULL OR p_occurrence > v.ends_at OR v.remaining_count = 0 THEN
        UPDATE call_schedules AS s
        SET materialised_until = NULL
        WHERE s.user_id = p_user_id AND s.id = p_schedule_id;
        RETURN false;
    END IF;
    PERFORM FROM scheduled_calls AS o
    WHERE o.user_id = p_user_id AND o.schedule_id = p_schedule_id
        AND o.occurrence > p_occurrence - c_least_distance AND o.occurrence < p_occurrence + c_least_distance
        AND o.occurrence <> p_occurrence AND o.status NOT IN ('canceled', 'missed');
    -- Where a zone's clock goes back by half an hour, say. It is seen, and not rung.
    IF FOUND AND p_status = 'scheduled' THEN
        v_status := 'canceled';
        v_outcome := 'too_close';
    END IF;
    INSERT INTO scheduled_calls (
        id, user_id, persona_id, phone_number, scheduled_time, status, outcome, schedule_id, occurrence,
        latest_start_at, call_pretext, call_scenario, requested_seconds, reminder_minutes,
        retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer,
        quiet_from, quiet_until, timezone
    ) VALUES (
        p_id, p_user_id, v.persona_id, v.phone_number, p_occurrence, v_status, v_outcome, p_schedule_id, p_occurrence,
        p_occurrence + make_interval(mins => v.grace_minutes), v.call_pretext, v.call_scenario, v.requested_seconds,
        v.reminder_minutes, v.retries_max, v.retry_after_minutes, v.retry_within_minutes, v.retry_on_busy,
        v.retry_on_no_answer, v.quiet_from, v.quiet_until, v.timezone
    )
    ON CONFLICT (user_id, schedule_id, occurrence) WHERE schedule_id IS NOT NULL DO NOTHING;
    v_is_new := FOUND;
    -- One that was skipped ahead of its time stays where it is; the next one is added when its own turn comes.
    UPDATE call_schedules AS s
    SET
        materialised_until = CASE
            WHEN p_status <> 'canceled' THEN greatest(s.materialised_until, p_occurrence)
            ELSE s.materialised_until
        END,
        remaining_count = s.remaining_count - v_is_new::integer
    WHERE s.user_id = p_user_id AND s.id = p_schedule_id AND (v_is_new OR p_status <> 'canceled');
    RETURN v_is_new;
END
$$;
COMMENT ON FUNCTION add_occurrence(text, text, text, timestamptz, text, text) IS
'Gives an occurrence of a schedule its row, once; NULL, or one past the end, ends the schedule. One within five minutes of another is canceled. True when the row is new.';

CREATE OR REPLACE FUNCTION cancel_scheduled_call(p_user_id text, p_id text, p_outcome text DEFAULT 'by_user')
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_status text;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    -- Whoever holds the row is placing it, or has canceled it; after the wait the row says which.
    SELECT s.status INTO v_status
    FROM scheduled_calls AS s
    WHERE s.user_id = p_user_id AND s.id = p_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'call to come does not exist' USING ERRCODE = 'CM008';
    ELSIF v_status NOT IN ('scheduled', 'executing') THEN
        RETURN v_status;
    END IF;
    UPDATE scheduled_calls AS s
    SET status = 'canceled', outcome = p_outcome, remind_at = NULL, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_id;
    RETURN 'canceled';
END
$$;
COMMENT ON FUNCTION cancel_scheduled_call(text, text, text) IS
'Cancels a call to come unless it was placed; answers canceled, or the status that was faster.';

CREATE OR REPLACE FUNCTION withdraw_occurrences(p_user_id text, p_schedule_id text, p_outcome text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_late integer;
    v_rows integer;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    PERFORM FROM call_schedules AS s WHERE s.user_id = p_user_id AND s.id = p_schedule_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'schedule does not exist' USING ERRCODE = 'CM008';
    END IF;
    IF p_outcome IS NULL THEN
        -- One whose time has come was promised, and nobody had claimed it yet. Its owner wants another time now, so it
        -- doesn't ring beside the new one; that it didn't is kept.
        UPDATE scheduled_calls AS o
        SET status = 'missed', outcome = 'changed', remind_at = NULL, updated_at = v_now
        WHERE o.user_id = p_user_id AND o.schedule_id = p_schedule_id AND o.status = 'scheduled'
            AND o.occurrence IS NOT NULL AND o.scheduled_time <= v_now;
        GET DIAGNOSTICS v_late = ROW_COUNT;
        -- Not a retry, which belongs to a call that was promised by the rule as it was.
        DELETE FROM scheduled_calls AS o
        WHERE o.user_id = p_user_id AND o.schedule_id = p_schedule_id AND o.status = 'scheduled'
            AND o.occurrence IS NOT NULL;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_rows := v_rows + v_late;
        UPDATE call_schedules AS s
        SET remaining_count = s.remaining_count + v_rows
        WHERE s.user_id = p_user_id AND s.id = p_schedule_id AND s.remaining_count IS NOT NULL;
    ELSE
        UPDATE scheduled_calls AS o
        SET status = 'canceled', outcome = p_outcome, remind_at = NULL, updated_at = clock_timestamp()
        WHERE o.user_id = p_user_id AND o.schedule_id = p_schedule_id AND o.status IN ('scheduled', 'executing');
        GET DIAGNOSTICS v_rows = ROW_COUNT;
    END IF;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION withdraw_occurrences(text, text, text) IS
'Takes back what waits of a schedule: where the rule changes deleted, or missed if its time has come; where it ends canceled with a word, retries too.';

CREATE OR REPLACE FUNCTION calendar_feed_user(p_token_hash bytea)
RETURNS text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
    SELECT f.user_id::text
    FROM calendar_feeds AS f
    INNER JOIN users AS u ON f.user_id = u.id
    WHERE f.token_hash = p_token_hash AND u.erased_at IS NULL AND u.blocked_at IS NULL
$$;
COMMENT ON FUNCTION calendar_feed_user(bytea) IS 'Whose calendar a secret link shows; NULL for a link that is no longer good.';
