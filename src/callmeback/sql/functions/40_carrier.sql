-- The state machine of a call, and what the carrier may do to it.

CREATE OR REPLACE FUNCTION call_rank(p_status text)
RETURNS integer
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE p_status
        WHEN 'initiating' THEN 0
        WHEN 'calling' THEN 1
        WHEN 'connected' THEN 2
        WHEN 'in_progress' THEN 3
        ELSE 4
    END;
END
$$;
COMMENT ON FUNCTION call_rank(text) IS 'Order of the states: a call moves to a higher rank or not at all; 4 is terminal.';

CREATE OR REPLACE FUNCTION advance_call(p_user_id text, p_call_id text, p_status text, p_carrier_sid text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_call calls;
BEGIN
    SELECT c.* INTO v_call
    FROM calls AS c
    WHERE c.user_id = p_user_id AND c.id = p_call_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'call does not exist' USING ERRCODE = 'CM008';
    ELSIF call_rank(p_status) = 4 OR NOT v_call.hold_open THEN
        RAISE EXCEPTION 'a call in % cannot become %', v_call.status, p_status USING ERRCODE = 'CM007';
    ELSIF p_status = 'in_progress' AND v_call.status = 'in_progress' THEN
        RAISE EXCEPTION 'the talk has begun already' USING ERRCODE = 'CM007';
    ELSIF v_call.twilio_call_sid <> p_carrier_sid THEN
        RAISE EXCEPTION 'the carrier knows this call by another id' USING ERRCODE = 'CM007';
    END IF;
    UPDATE calls AS c
    SET
        status = CASE WHEN call_rank(p_status) > call_rank(c.status) THEN p_status ELSE c.status END,
        twilio_call_sid = coalesce(c.twilio_call_sid, p_carrier_sid),
        answered_at = CASE WHEN call_rank(p_status) >= 2 THEN coalesce(c.answered_at, v_now) ELSE c.answered_at END,
        updated_at = v_now
    WHERE c.user_id = p_user_id AND c.id = p_call_id
    RETURNING c.answered_at INTO v_call.answered_at;
    RETURN v_call.answered_at;
END
$$;
COMMENT ON FUNCTION advance_call(text, text, text, text) IS
'A step by our own code: forward, or no change where the carrier was faster; an impossible one raises. Answers when the talk began.';

CREATE OR REPLACE FUNCTION carrier_event(
    p_user_id text,
    p_call_id text,
    p_kind text,
    p_event_key text,
    p_carrier_status text,
    p_carrier_sid text DEFAULT NULL,
    p_answered_by text DEFAULT NULL,
    p_carrier_seconds integer DEFAULT NULL,
    OUT verdict text,
    OUT status text,
    OUT is_open boolean,
    OUT answered_by text
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_call calls;
    v_status text;
    v_reason text;
    v_word text := left(p_answered_by, 64);
    v_answered_by text := CASE
        WHEN starts_with(v_word, 'machine') THEN 'machine'
        WHEN v_word IN ('human', 'fax', 'unknown') THEN v_word
    END;
BEGIN
    -- In finish_call's order, which this may come to.
    PERFORM FROM call_cost_breakdowns AS b WHERE b.user_id = p_user_id AND b.call_id = p_call_id FOR NO KEY UPDATE;
    SELECT c.* INTO v_call
    FROM calls AS c
    WHERE c.user_id = p_user_id AND c.id = p_call_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        verdict := 'unknown';
        RETURN;
    END IF;
    v_status := CASE p_carrier_status
        WHEN 'queued' THEN 'calling'
        WHEN 'initiated' THEN 'calling'
        WHEN 'ringing' THEN 'calling'
        WHEN 'in-progress' THEN 'connected'
        WHEN 'completed' THEN 'completed'
        WHEN 'busy' THEN 'busy'
        WHEN 'no-answer' THEN 'no_answer'
        WHEN 'failed' THEN 'failed'
        WHEN 'canceled' THEN 'canceled'
    END;
    v_reason := CASE
        WHEN v_call.twilio_call_sid <> p_carrier_sid THEN 'other carrier id'
        WHEN NOT v_call.hold_open THEN 'call has ended'
        WHEN p_carrier_status IS NOT NULL AND v_status IS NULL THEN 'unknown status'
        WHEN call_rank(v_status) < call_rank(v_call.status) THEN 'backward'
    END;
    INSERT INTO carrier_events (user_id, call_id, kind, event_key, carrier_status, answered_by, verdict, reason)
    VALUES (
        p_user_id, p_call_id, p_kind, p_event_key, p_carrier_status,
        -- A word that says nothing isn't kept.
        CASE WHEN v_answered_by IS NOT NULL THEN v_word END,
        CASE WHEN v_reason IS NULL THEN 'applied' ELSE 'ignored' END, v_reason
    )
    ON CONFLICT ON CONSTRAINT carrier_events_pkey DO NOTHING;
    verdict := CASE WHEN NOT FOUND THEN 'duplicate' WHEN v_reason IS NULL THEN 'applied' ELSE 'ignored' END;
    status := v_call.status;
    is_open := v_call.hold_open;
    answered_by := v_call.answered_by;
    IF verdict = 'duplicate' OR v_reason IN ('other carrier id', 'unknown status') THEN
        RETURN;
    END IF;

    -- Facts are kept even where the step comes too late.
    UPDATE calls AS c
    SET
        twilio_call_sid = coalesce(c.twilio_call_sid, p_carrier_sid),
        answered_by = coalesce(c.answered_by, v_answered_by),
        carrier_duration_seconds = coalesce(p_carrier_seconds, c.carrier_duration_seconds),
        status = CASE
            WHEN v_reason IS NULL AND call_rank(v_status) BETWEEN call_rank(c.status) + 1 AND 3 THEN v_status
            ELSE c.status
        END,
        answered_at = CASE
            WHEN v_reason IS NULL AND v_status = 'connected' THEN coalesce(c.answered_at, v_now)
            ELSE c.answered_at
        END,
        updated_at = v_now
    WHERE c.user_id = p_user_id AND c.id = p_call_id
    RETURNING c.status, c.answered_by INTO status, answered_by;

    -- Once the talk has begun, the voice process settles, or the reaper if there is none any more.
    IF v_reason IS NULL AND call_rank(v_status) = 4 AND call_rank(v_call.status) < 3 THEN
        SELECT f.status INTO status
        FROM finish_call(
            p_user_id, p_call_id, v_status, CASE WHEN v_status = 'completed' THEN 'hung_up_early' ELSE v_status END,
            p_connected_seconds => 0
        ) AS f;
        is_open := false;
    END IF;
END
$$;
COMMENT ON FUNCTION carrier_event(text, text, text, text, text, text, text, integer) IS
'Notes an event of the carrier once and applies it if it leads forward: applied, ignored, duplicate or unknown. Never raises.';
