-- The one way a call ends: usage, charge, release, ledger and statistics in one commit. Only a status that is no end is
-- refused.

CREATE OR REPLACE FUNCTION add_cost_event(p_user_id text, p_call_id text, p_call_month date, p_event_type text)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO call_cost_events (
        call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, deepgram_audio_seconds,
        cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters,
        fallback_input_tokens, fallback_output_tokens, local_characters,
        twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents
    )
    SELECT
        p_call_month, b.user_id, b.call_id, e.seq + 1, p_event_type,
        b.twilio_duration_seconds - e.duration, b.deepgram_audio_seconds - e.audio,
        b.cerebras_input_tokens - e.tokens_in, b.cerebras_output_tokens - e.tokens_out,
        b.elevenlabs_characters - e.characters,
        b.fallback_input_tokens - e.fallback_in, b.fallback_output_tokens - e.fallback_out,
        b.local_characters - e.local_characters,
        b.twilio_cost_cents - e.twilio, b.deepgram_cost_cents - e.deepgram, b.cerebras_cost_cents - e.cerebras,
        b.elevenlabs_cost_cents - e.elevenlabs, b.total_cost_cents - e.total
    FROM call_cost_breakdowns AS b
    CROSS JOIN LATERAL (
        SELECT
            coalesce(max(x.seq), 0) AS seq,
            coalesce(sum(x.twilio_duration_seconds), 0) AS duration,
            coalesce(sum(x.deepgram_audio_seconds), 0) AS audio,
            coalesce(sum(x.cerebras_input_tokens), 0) AS tokens_in,
            coalesce(sum(x.cerebras_output_tokens), 0) AS tokens_out,
            coalesce(sum(x.elevenlabs_characters), 0) AS characters,
            coalesce(sum(x.fallback_input_tokens), 0) AS fallback_in,
            coalesce(sum(x.fallback_output_tokens), 0) AS fallback_out,
            coalesce(sum(x.local_characters), 0) AS local_characters,
            coalesce(sum(x.twilio_cost_cents), 0) AS twilio,
            coalesce(sum(x.deepgram_cost_cents), 0) AS deepgram,
            coalesce(sum(x.cerebras_cost_cents), 0) AS cerebras,
            coalesce(sum(x.elevenlabs_cost_cents), 0) AS elevenlabs,
            coalesce(sum(x.total_cost_cents), 0) AS total
        FROM call_cost_events AS x
        WHERE x.call_month = p_call_month AND x.call_id = p_call_id
    ) AS e
    WHERE b.user_id = p_user_id AND b.call_id = p_call_id;
END
$$;
COMMENT ON FUNCTION add_cost_event(text, text, date, text) IS
'Writes what a breakdown has that its events have not. The caller holds the breakdown''s row.';

CREATE OR REPLACE FUNCTION record_cost_events(p_user_ids text[], p_call_ids text[], p_event_type text)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v record;
    v_written integer := 0;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR v IN
        SELECT b.user_id, b.call_id, date_trunc('month', b.created_at AT TIME ZONE 'UTC')::date AS call_month
        FROM call_cost_breakdowns AS b
        INNER JOIN unnest(p_user_ids, p_call_ids) AS m (user_id, call_id)
            ON b.user_id = m.user_id AND b.call_id = m.call_id
        WHERE b.settled_at IS NULL
        ORDER BY b.call_id
        FOR NO KEY UPDATE OF b
    LOOP
        UPDATE call_cost_breakdowns AS b
        SET has_events = true
        WHERE b.user_id = v.user_id AND b.call_id = v.call_id AND NOT b.has_events;
        PERFORM add_cost_event(v.user_id, v.call_id, v.call_month, p_event_type);
        v_written := v_written + 1;
    END LOOP;
    RETURN v_written;
END
$$;
COMMENT ON FUNCTION record_cost_events(text[], text[], text) IS
'Notes the difference since the last event, for each call after a turn or 30 seconds.';

CREATE OR REPLACE FUNCTION add_late_cost(
    p_user_id text, p_call_id text, p_local_month date, p_cost_before numeric, p_cost_cents numeric
)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE user_credits AS a
    SET
        spent_in_month_cents = a.spent_in_month_cents + (p_cost_cents - p_cost_before),
        updated_at = clock_timestamp()
    WHERE a.user_id = p_user_id AND a.spend_month = p_local_month;
    UPDATE calls AS c
    SET actual_cost_cents = p_cost_cents, updated_at = clock_timestamp()
    WHERE c.user_id = p_user_id AND c.id = p_call_id;
END
$$;
COMMENT ON FUNCTION add_late_cost(text, text, date, numeric, numeric) IS
'Adds to a settled call, and to its month, what became known of its cost later. The caller holds the breakdown''s row.';

CREATE OR REPLACE FUNCTION price_whole_usage(
    p_version_id integer,
    p_carrier_seconds integer,
    p_listener_seconds numeric,
    p_input_tokens integer,
    p_output_tokens integer,
    p_characters integer,
    p_fallback_input_tokens integer,
    p_fallback_output_tokens integer,
    p_local_characters integer,
    OUT carrier_cents numeric,
    OUT listener_cents numeric,
    OUT brain_cents numeric,
    OUT voice_cents numeric
)
RETURNS record
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    SELECT
        round(p_carrier_seconds * r.carrier_second_cents / r.carrier_second_per, 10),
        round(p_listener_seconds * r.listener_second_cents / r.listener_second_per, 10),
        round(p_input_tokens * r.brain_input_cents / r.brain_input_per, 10)
        + round(p_output_tokens * r.brain_output_cents / r.brain_output_per, 10)
        + round(p_fallback_input_tokens * r.fallback_input_cents / r.fallback_input_per, 10)
        + round(p_fallback_output_tokens * r.fallback_output_cents / r.fallback_output_per, 10),
        round(p_characters * r.voice_character_cents / r.voice_character_per, 10)
        + round(p_local_characters * r.local_character_cents / r.local_character_per, 10)
    INTO carrier_cents, listener_cents, brain_cents, voice_cents
    FROM price_versions AS r
    WHERE r.id = p_version_id;
END
$$;
COMMENT ON FUNCTION price_whole_usage(integer, integer, numeric, integer, integer, integer, integer, integer, integer) IS
'What a call''s usage costs where a second brain or the local voice took part: each leg rounded once, at ten decimals.';

CREATE OR REPLACE FUNCTION begin_relationship(
    p_user_id text, p_persona_id text, p_seconds integer, p_at timestamptz
)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    -- The person may make the row by hand meanwhile.
    INSERT INTO user_persona_relationships AS r (user_id, persona_id, total_calls, total_duration_seconds, last_call_at)
    VALUES (p_user_id, p_persona_id, 1, p_seconds, p_at)
    ON CONFLICT (user_id, persona_id) DO UPDATE
    SET
        total_calls = r.total_calls + 1,
        total_duration_seconds = r.total_duration_seconds + excluded.total_duration_seconds,
        last_call_at = greatest(r.last_call_at, excluded.last_call_at),
        updated_at = p_at;
END
$$;
COMMENT ON FUNCTION begin_relationship(text, text, integer, timestamptz) IS
'Counts the first talk of a person with a persona; later ones are an UPDATE of their row.';

CREATE OR REPLACE FUNCTION finish_call(
    p_user_id text,
    p_call_id text,
    p_status text,
    p_end_reason text,
    p_seq integer DEFAULT NULL,
    p_connected_seconds integer DEFAULT NULL,
    p_listener_seconds numeric DEFAULT 0,
    p_input_tokens integer DEFAULT 0,
    p_output_tokens integer DEFAULT 0,
    p_characters integer DEFAULT 0,
    p_fallback_input_tokens integer DEFAULT 0,
    p_fallback_output_tokens integer DEFAULT 0,
    p_local_characters integer DEFAULT 0,
    p_answered_by text DEFAULT NULL,
    p_is_charged boolean DEFAULT true,
    p_turn_count integer DEFAULT NULL,
    p_interrupt_count integer DEFAULT NULL,
    p_avg_response_time_ms integer DEFAULT NULL,
    p_error_message text DEFAULT NULL
)
RETURNS finished_call
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v record;
    u record;
    p record;
    v_answer finished_call;
    v_cost_cents numeric;
    v_used integer;
    v_release integer;
    v_balance integer;
    v_seq bigint;
BEGIN
    -- The breakdown has the hold beside the usage, so one row says what there is to settle, and whether. It is locked first
    -- of all, and stays in its place from here on. What is selected has its domain's type, whose rule isn't checked again
    -- where it is written. Small looks cost half of what their join does.
    SELECT
        b.ctid AS place, b.call_id, b.user_id, b.settled_at, b.hold_credits, b.local_month, b.price_version_id,
        b.has_events, b.total_cost_cents AS cost_before,
        date_trunc('month', b.created_at AT TIME ZONE 'UTC')::date AS call_month,
        greatest(b.twilio_duration_seconds, p_connected_seconds) AS carrier_seconds,
        greatest(b.deepgram_audio_seconds, p_listener_seconds) AS listener_seconds,
        greatest(b.cerebras_input_tokens, p_input_tokens) AS input_tokens,
        greatest(b.cerebras_output_tokens, p_output_tokens) AS output_tokens,
        greatest(b.elevenlabs_characters, p_characters) AS characters,
        greatest(b.fallback_input_tokens, p_fallback_input_tokens) AS fallback_input_tokens,
        greatest(b.fallback_output_tokens, p_fallback_output_tokens) AS fallback_output_tokens,
        greatest(b.local_characters, p_local_characters) AS local_characters
    INTO u
    FROM call_cost_breakdowns AS b WHERE b.user_id = p_user_id AND b.call_id = p_call_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN (false, NULL, NULL, NULL)::finished_call;
    ELSIF coalesce(p_status, 'calling') IN ('initiating', 'calling', 'connected', 'in_progress') THEN
        RAISE EXCEPTION 'a call cannot end as %', p_status USING ERRCODE = 'CM007';
    END IF;
    IF p_turn_count IS NULL AND u.carrier_seconds > 0 THEN
        -- Whoever talked is gone, and left what was said.
        p_turn_count := (
            SELECT count(*) FROM transcripts AS t
            WHERE t.user_id = p_user_id AND t.call_id = p_call_id AND t.speaker = 'user'
        );
    END IF;
    IF greatest(u.fallback_input_tokens, u.fallback_output_tokens, u.local_characters) > 0 THEN
        SELECT x.* INTO p
        FROM price_whole_usage(
            u.price_version_id, u.carrier_seconds, u.listener_seconds, u.input_tokens, u.output_tokens, u.characters,
            u.fallback_input_tokens, u.fallback_output_tokens, u.local_characters
        ) AS x;
    ELSE
        SELECT
            round(u.carrier_seconds * r.carrier_second_cents / r.carrier_second_per, 10) AS carrier_cents,
            round(u.listener_seconds * r.listener_second_cents / r.listener_second_per, 10) AS listener_cents,
            round(u.input_tokens * r.brain_input_cents / r.brain_input_per, 10)
            + round(u.output_tokens * r.brain_output_cents / r.brain_output_per, 10) AS brain_cents,
            round(u.characters * r.voice_character_cents / r.voice_character_per, 10) AS voice_cents
        INTO p
        FROM price_versions AS r
        WHERE r.id = u.price_version_id;
    END IF;
    v_cost_cents := p.carrier_cents + p.listener_cents + p.brain_cents + p.voice_cents;

    UPDATE call_cost_breakdowns AS b
    SET
        meter_seq = greatest(b.meter_seq, p_seq), seen_at = CASE WHEN p_seq IS NULL THEN b.seen_at ELSE v_now END,
        settled_at = coalesce(b.settled_at, v_now), has_events = u.has_events OR v_cost_cents > 0,
        twilio_duration_seconds = u.carrier_seconds, deepgram_audio_seconds = u.listener_seconds,
        cerebras_input_tokens = u.input_tokens, cerebras_output_tokens = u.output_tokens,
        elevenlabs_characters = u.characters,
        fallback_input_tokens = u.fallback_input_tokens, fallback_output_tokens = u.fallback_output_tokens,
        local_characters = u.local_characters,
        twilio_cost_cents = p.carrier_cents, deepgram_cost_cents = p.listener_cents,
        cerebras_cost_cents = p.brain_cents, elevenlabs_cost_cents = p.voice_cents,
        total_cost_cents = v_cost_cents
    WHERE b.ctid = u.place;
    ASSERT FOUND, 'a breakdown that is locked stays in its place';

    IF u.settled_at IS NOT NULL THEN
        -- Settled before: what came later is the breakdown's and its month's, the person is not charged again.
        IF v_cost_cents > u.cost_before THEN
            PERFORM add_late_cost(p_user_id, p_call_id, u.local_month, u.cost_before, v_cost_cents);
            PERFORM add_cost_event(p_user_id, p_call_id, u.call_month, 'late');
        END IF;
        SELECT false, c.status, c.credits_used, v_cost_cents INTO v_answer
        FROM calls AS c WHERE c.user_id = p_user_id AND c.id = p_call_id;
        RETURN v_answer;
    END IF;

    v_used := CASE
        WHEN p_is_charged THEN least(u.carrier_seconds / 60 + (u.carrier_seconds % 60 > 0)::integer, u.hold_credits)
        ELSE 0
    END;
    v_release := u.hold_credits - v_used;
    -- The account before the open call and the call, as in start_call: the other way round they would deadlock.
    UPDATE user_credits AS a
    SET
        held_credits = a.held_credits - u.hold_credits,
        available_credits = a.available_credits + v_release - least(a.debt_credits, v_release),
        debt_credits = a.debt_credits - least(a.debt_credits, v_release),
        ledger_seq = a.ledger_seq + CASE WHEN v_used > 0 THEN 1 ELSE 0 END,
        spent_in_month_cents = a.spent_in_month_cents
        + CASE WHEN a.spend_month = u.local_month THEN v_cost_cents ELSE 0 END,
        updated_at = v_now
    WHERE a.user_id = p_user_id
    RETURNING a.available_credits + a.held_credits - a.debt_credits, a.ledger_seq INTO v_balance, v_seq;

    -- One statement, since each further one is felt. Whatever its order, no start of this person holds what it writes.
    WITH
    freed AS (
        DELETE FROM open_calls AS o WHERE o.user_id = p_user_id AND o.call_id = p_call_id
    ),
    -- The first event is the whole state, with nothing to sum up before.
    noted AS (
        INSERT INTO call_cost_events (
            call_month, user_id, call_id, seq, event_type, created_at, twilio_duration_seconds, deepgram_audio_seconds,
            cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters,
            fallback_input_tokens, fallback_output_tokens, local_characters,
            twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents
        )
        SELECT
            u.call_month, u.user_id, u.call_id, 1, 'finish', v_now, u.carrier_seconds, u.listener_seconds,
            u.input_tokens, u.output_tokens, u.characters,
            u.fallback_input_tokens, u.fallback_output_tokens, u.local_characters,
            p.carrier_cents, p.listener_cents, p.brain_cents, p.voice_cents, v_cost_cents
        WHERE v_cost_cents > 0 AND NOT u.has_events
    ),
    posted AS (
        INSERT INTO credit_transactions (
            user_id, seq, amount, balance_before, balance_after, type, cause, call_id, created_at
        )
        SELECT
            u.user_id, v_seq, -v_used, v_balance + v_used, v_balance,
            'call_deduction', 'call:' || p_call_id, u.call_id, v_now
        WHERE v_used > 0
    )
    UPDATE calls AS c
    SET
        status = p_status, end_reason = p_end_reason,
        end_time = v_now, duration_seconds = u.carrier_seconds,
        credits_used = v_used, actual_cost_cents = v_cost_cents,
        payment_status = CASE WHEN v_used > 0 THEN 'credit_used' ELSE 'not_charged' END,
        hold_open = false,
        answered_by = coalesce(p_answered_by, c.answered_by),
        turn_count = p_turn_count, interrupt_count = p_interrupt_count,
        avg_response_time_ms = p_avg_response_time_ms,
        error_message = p_error_message, updated_at = v_now
    WHERE c.user_id = p_user_id AND c.id = p_call_id
    RETURNING c.persona_id, c.payment_method, c.answered_at, c.local_day INTO v;
    IF v.payment_method = 'stripe' THEN
        PERFORM settle_authorization(p_user_id, p_call_id, v_used);
    END IF;
    IF p_status = 'failed' AND v.answered_at IS NULL THEN
        -- A call that the house couldn't place doesn't count towards the person's day.
        UPDATE user_credits AS a
        SET calls_in_day = a.calls_in_day - 1
        WHERE a.user_id = p_user_id AND a.calls_day = v.local_day;
    END IF;

    IF p_status = 'completed' AND u.carrier_seconds > 0 THEN
        UPDATE user_persona_relationships AS r
        SET
            total_calls = r.total_calls + 1, total_duration_seconds = r.total_duration_seconds + u.carrier_seconds,
            last_call_at = greatest(r.last_call_at, v_now), updated_at = v_now
        WHERE r.user_id = p_user_id AND r.persona_id = v.persona_id;
        IF NOT FOUND THEN
            PERFORM begin_relationship(p_user_id, v.persona_id, u.carrier_seconds, v_now);
        END IF;
    END IF;
    IF u.has_events THEN
        PERFORM add_cost_event(p_user_id, p_call_id, u.call_month, 'finish');
    END IF;
    RETURN (true, p_status, v_used, v_cost_cents)::finished_call;
END
$$;
COMMENT ON FUNCTION finish_call(
    text, text, text, text, integer, integer, numeric, integer, integer, integer, integer, integer, integer,
    text, boolean, integer, integer, integer, text
) IS
'Settles a call by its first caller; a later caller only adds usage. p_connected_seconds NULL settles to the last metered second.';
