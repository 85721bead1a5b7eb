-- Generated from migrations/, functions/, views/ and access/ by `callmeback migrate schema`; never edited.
-- Everything belongs to callmeback_owner. The monthly partitions that ensure_partitions() makes are left out.
--
-- PostgreSQL database dump
--

\restrict callmeback

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE SCHEMA clear;

COMMENT ON SCHEMA clear IS 'What keys with --pii read: secrets left out. Made by make_key_views().';

CREATE SCHEMA masked;

COMMENT ON SCHEMA masked IS 'What keys without --pii read: personal columns masked, secrets left out. Made by make_key_views().';

CREATE DOMAIN public.answered_by AS text
	CONSTRAINT answered_by_known CHECK ((VALUE = ANY (ARRAY['human'::text, 'machine'::text, 'fax'::text, 'unknown'::text])));

CREATE DOMAIN public.audio_seconds AS numeric(14,4)
	CONSTRAINT audio_seconds_not_negative CHECK ((VALUE >= (0)::numeric));

CREATE DOMAIN public.call_length_limit AS integer
	CONSTRAINT call_length_limit_range CHECK (((VALUE >= 60) AND (VALUE <= 14400)));

CREATE DOMAIN public.call_limit AS text
	CONSTRAINT call_limit_known CHECK ((VALUE = ANY (ARRAY['tier'::text, 'persona'::text, 'request'::text, 'credits'::text, 'call_budget'::text, 'month_budget'::text])));

CREATE DOMAIN public.call_status AS text
	CONSTRAINT call_status_known CHECK ((VALUE = ANY (ARRAY['initiating'::text, 'calling'::text, 'connected'::text, 'in_progress'::text, 'completed'::text, 'failed'::text, 'no_answer'::text, 'busy'::text, 'canceled'::text])));

CREATE DOMAIN public.cents AS numeric(20,10)
	CONSTRAINT cents_not_negative CHECK ((VALUE >= (0)::numeric));

COMMENT ON DOMAIN public.cents IS 'Exact money: one token is not 0.';

CREATE DOMAIN public.cost_event_type AS text
	CONSTRAINT cost_event_type_known CHECK ((VALUE = ANY (ARRAY['turn'::text, 'interval'::text, 'finish'::text, 'late'::text])));

CREATE DOMAIN public.credits AS integer
	CONSTRAINT credits_not_negative CHECK ((VALUE >= 0));

COMMENT ON DOMAIN public.credits IS 'Started minutes of talk, which no sequence of calls brings below zero.';

CREATE DOMAIN public.custom_prompt AS text
	CONSTRAINT custom_prompt_length CHECK ((length(VALUE) <= 4000));

CREATE DOMAIN public.direction AS text
	CONSTRAINT direction_known CHECK ((VALUE = ANY (ARRAY['outbound'::text, 'inbound'::text])));

CREATE DOMAIN public.end_reason AS text
	CONSTRAINT end_reason_length CHECK (((length(VALUE) >= 1) AND (length(VALUE) <= 64)));

CREATE DOMAIN public.entry_amount AS integer
	CONSTRAINT entry_amount_not_zero CHECK ((VALUE <> 0));

CREATE DOMAIN public.entry_cause AS text
	CONSTRAINT entry_cause_length CHECK (((length(VALUE) >= 3) AND (length(VALUE) <= 200)));

CREATE DOMAIN public.entry_count AS bigint
	CONSTRAINT entry_count_not_negative CHECK ((VALUE >= 0));

CREATE DOMAIN public.entry_number AS bigint
	CONSTRAINT entry_number_positive CHECK ((VALUE > 0));

CREATE DOMAIN public.entry_type AS text
	CONSTRAINT entry_type_known CHECK ((VALUE = ANY (ARRAY['purchase'::text, 'subscription_refill'::text, 'call_deduction'::text, 'refund'::text, 'admin_adjustment'::text, 'promotion'::text, 'expiry'::text])));

CREATE TYPE public.finished_call AS (
	settled boolean,
	status text,
	credits_used integer,
	cost_cents numeric
);

CREATE DOMAIN public.id AS text COLLATE pg_catalog."C"
	CONSTRAINT id_length CHECK (((octet_length(VALUE) >= 1) AND (octet_length(VALUE) <= 64)));

COMMENT ON DOMAIN public.id IS 'A readable prefix and a UUIDv7 (TypeID), made in Python; personas of the house keep short names, adopted rows their old ids.';

CREATE DOMAIN public.payment_method AS text
	CONSTRAINT payment_method_known CHECK ((VALUE = ANY (ARRAY['stripe'::text, 'credit'::text, 'subscription'::text, 'free'::text])));

CREATE TYPE public.payment_outcome AS (
	state text,
	effect text,
	user_id text
);

COMMENT ON TYPE public.payment_outcome IS 'What an event of the payment provider did, and whose it was.';

CREATE DOMAIN public.payment_status AS text
	CONSTRAINT payment_status_known CHECK ((VALUE = ANY (ARRAY['pending'::text, 'paid'::text, 'failed'::text, 'credit_used'::text, 'not_charged'::text])));

CREATE DOMAIN public.quantity AS integer
	CONSTRAINT quantity_not_negative CHECK ((VALUE >= 0));

COMMENT ON DOMAIN public.quantity IS 'How many: calls, tokens, characters.';

CREATE DOMAIN public.relationship_type AS text
	CONSTRAINT relationship_type_length CHECK (((length(VALUE) >= 1) AND (length(VALUE) <= 100)));

CREATE DOMAIN public.seconds AS integer
	CONSTRAINT seconds_not_negative CHECK ((VALUE >= 0));

COMMENT ON DOMAIN public.seconds IS 'A length of talk.';

CREATE TYPE public.started_call AS (
	call_id text,
	replayed boolean,
	granted_seconds integer,
	hold_credits integer,
	hold_cents numeric
);

CREATE DOMAIN public.subscription_status AS text
	CONSTRAINT subscription_status_known CHECK ((VALUE = ANY (ARRAY['active'::text, 'past_due'::text, 'canceled'::text, 'expired'::text])));

CREATE DOMAIN public.voice_settings AS jsonb
	CONSTRAINT voice_settings_object CHECK ((jsonb_typeof(VALUE) = 'object'::text));

CREATE FUNCTION public.acts_for(p_user_id text) RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF session_user = 'callmeback_api' THEN
        RETURN p_user_id IS NOT DISTINCT FROM current_setting('callmeback.user_id', true);
    ELSIF starts_with(session_user, 'callmeback_key_') THEN
        -- Not found is false: a role whose scope is gone acts for nobody.
        RETURN EXISTS (
            SELECT FROM sql_scopes AS s
            WHERE s.role_name = session_user AND (s.as_user_id IS NULL OR s.as_user_id = p_user_id)
        );
    END IF;
    RETURN true;
END
$$;

COMMENT ON FUNCTION public.acts_for(p_user_id text) IS 'Whether the session may act for this person: the API for the one it named, a key for its own person or, without one, for everybody.';

CREATE FUNCTION public.add_cost_event(p_user_id text, p_call_id text, p_call_month date, p_event_type text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.add_cost_event(p_user_id text, p_call_id text, p_call_month date, p_event_type text) IS 'Writes what a breakdown has that its events have not. The caller holds the breakdown''s row.';

CREATE FUNCTION public.add_late_cost(p_user_id text, p_call_id text, p_local_month date, p_cost_before numeric, p_cost_cents numeric) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.add_late_cost(p_user_id text, p_call_id text, p_local_month date, p_cost_before numeric, p_cost_cents numeric) IS 'Adds to a settled call, and to its month, what became known of its cost later. The caller holds the breakdown''s row.';

CREATE FUNCTION public.add_occurrence(p_user_id text, p_schedule_id text, p_id text, p_occurrence timestamp with time zone, p_status text DEFAULT 'scheduled'::text, p_outcome text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.add_occurrence(p_user_id text, p_schedule_id text, p_id text, p_occurrence timestamp with time zone, p_status text, p_outcome text) IS 'Gives an occurrence of a schedule its row, once; NULL, or one past the end, ends the schedule. One within five minutes of another is canceled. True when the row is new.';

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.price_versions (
    id integer NOT NULL,
    card text NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    carrier_model text NOT NULL,
    listener_model text NOT NULL,
    brain_model text NOT NULL,
    voice_model text NOT NULL,
    fallback_model text NOT NULL,
    local_model text NOT NULL,
    carrier_second_cents numeric(18,8),
    carrier_second_per integer,
    listener_second_cents numeric(18,8),
    listener_second_per integer,
    brain_input_cents numeric(18,8),
    brain_input_per integer,
    brain_output_cents numeric(18,8),
    brain_output_per integer,
    voice_character_cents numeric(18,8),
    voice_character_per integer,
    fallback_input_cents numeric(18,8),
    fallback_input_per integer,
    fallback_output_cents numeric(18,8),
    fallback_output_per integer,
    local_character_cents numeric(18,8),
    local_character_per integer,
    worst_case_cents_per_minute numeric(20,10),
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT price_versions_card_length CHECK (((length(card) >= 1) AND (length(card) <= 500)))
);

COMMENT ON TABLE public.price_versions IS 'The rates of one set of models in one period, side by side, so that a call is priced by one row, that of its start.';

COMMENT ON COLUMN public.price_versions.card IS 'The set of models, as the service that uses them names it.';

COMMENT ON COLUMN public.price_versions.worst_case_cents_per_minute IS 'What a minute can cost at the most: 1,000 characters, 20,000 tokens in, 1,500 out. NULL: a rate is missing, so no calls.';

CREATE FUNCTION public.add_price_version(p_version public.price_versions, p_at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_last price_versions;
    v_carrier service_rates := rate_in_force('twilio', p_version.carrier_model, 'second', p_at);
    v_listener service_rates := rate_in_force('deepgram', p_version.listener_model, 'second', p_at);
    v_brain_in service_rates := rate_in_force('cerebras', p_version.brain_model, 'input_token', p_at);
    v_brain_out service_rates := rate_in_force('cerebras', p_version.brain_model, 'output_token', p_at);
    v_voice service_rates := rate_in_force('elevenlabs', p_version.voice_model, 'character', p_at);
    v_fallback_in service_rates := rate_in_force('cerebras', p_version.fallback_model, 'input_token', p_at);
    v_fallback_out service_rates := rate_in_force('cerebras', p_version.fallback_model, 'output_token', p_at);
    v_local service_rates := rate_in_force('espeak', p_version.local_model, 'character', p_at);
    v_worst numeric(20, 10);
BEGIN
    -- The dearer of the two brains and voices, so that a fallback never costs more than was agreed.
    v_worst := v_carrier.price_cents * 60 / v_carrier.per
    + v_listener.price_cents * 60 / v_listener.per
    + greatest(v_brain_in.price_cents * 20000 / v_brain_in.per, v_fallback_in.price_cents * 20000 / v_fallback_in.per)
    + greatest(v_brain_out.price_cents * 1500 / v_brain_out.per, v_fallback_out.price_cents * 1500 / v_fallback_out.per)
    + greatest(v_voice.price_cents * 1000 / v_voice.per, v_local.price_cents * 1000 / v_local.per);
    IF v_carrier.price_cents IS NULL OR v_listener.price_cents IS NULL OR v_brain_in.price_cents IS NULL
        OR v_brain_out.price_cents IS NULL OR v_voice.price_cents IS NULL OR v_fallback_in.price_cents IS NULL
        OR v_fallback_out.price_cents IS NULL OR v_local.price_cents IS NULL THEN
        v_worst := NULL;
    END IF;

    SELECT v.* INTO v_last
    FROM price_versions AS v
    WHERE v.card = p_version.card AND v.effective_from <= p_at
    ORDER BY v.effective_from DESC
    LIMIT 1;
    IF v_last.id IS NOT NULL
        AND (v_last.carrier_second_cents, v_last.carrier_second_per, v_last.listener_second_cents, v_last.listener_second_per)
        IS NOT DISTINCT FROM (v_carrier.price_cents, v_carrier.per, v_listener.price_cents, v_listener.per)
        AND (v_last.brain_input_cents, v_last.brain_input_per, v_last.brain_output_cents, v_last.brain_output_per)
        IS NOT DISTINCT FROM (v_brain_in.price_cents, v_brain_in.per, v_brain_out.price_cents, v_brain_out.per)
        AND (v_last.fallback_input_cents, v_last.fallback_input_per, v_last.fallback_output_cents, v_last.fallback_output_per)
        IS NOT DISTINCT FROM (v_fallback_in.price_cents, v_fallback_in.per, v_fallback_out.price_cents, v_fallback_out.per)
        AND (v_last.voice_character_cents, v_last.voice_character_per, v_last.local_character_cents, v_last.local_character_per)
        IS NOT DISTINCT FROM (v_voice.price_cents, v_voice.per, v_local.price_cents, v_local.per)
        AND v_last.worst_case_cents_per_minute IS NOT DISTINCT FROM v_worst THEN
        RETURN;
    END IF;

    INSERT INTO price_versions (
        card, effective_from, carrier_model, listener_model, brain_model, voice_model, fallback_model, local_model,
        carrier_second_cents, carrier_second_per, listener_second_cents, listener_second_per,
        brain_input_cents, brain_input_per, brain_output_cents, brain_output_per,
        voice_character_cents, voice_character_per, fallback_input_cents, fallback_input_per,
        fallback_output_cents, fallback_output_per, local_character_cents, local_character_per,
        worst_case_cents_per_minute
    ) VALUES (
        p_version.card, p_at, p_version.carrier_model, p_version.listener_model, p_version.brain_model,
        p_version.voice_model, p_version.fallback_model, p_version.local_model,
        v_carrier.price_cents, v_carrier.per, v_listener.price_cents, v_listener.per,
        v_brain_in.price_cents, v_brain_in.per, v_brain_out.price_cents, v_brain_out.per,
        v_voice.price_cents, v_voice.per, v_fallback_in.price_cents, v_fallback_in.per,
        v_fallback_out.price_cents, v_fallback_out.per, v_local.price_cents, v_local.per,
        v_worst
    ) ON CONFLICT (card, effective_from) DO UPDATE
    SET
        carrier_second_cents = excluded.carrier_second_cents,
        carrier_second_per = excluded.carrier_second_per,
        listener_second_cents = excluded.listener_second_cents,
        listener_second_per = excluded.listener_second_per,
        brain_input_cents = excluded.brain_input_cents,
        brain_input_per = excluded.brain_input_per,
        brain_output_cents = excluded.brain_output_cents,
        brain_output_per = excluded.brain_output_per,
        voice_character_cents = excluded.voice_character_cents,
        voice_character_per = excluded.voice_character_per,
        fallback_input_cents = excluded.fallback_input_cents,
        fallback_input_per = excluded.fallback_input_per,
        fallback_output_cents = excluded.fallback_output_cents,
        fallback_output_per = excluded.fallback_output_per,
        local_character_cents = excluded.local_character_cents,
        local_character_per = excluded.local_character_per,
        worst_case_cents_per_minute = excluded.worst_case_cents_per_minute;
END
$$;

COMMENT ON FUNCTION public.add_price_version(p_version public.price_versions, p_at timestamp with time zone) IS 'Writes the version of a card from a time on, unless the rates are those of the version before it.';

CREATE FUNCTION public.add_retry(p_user_id text, p_of text, p_id text, p_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.add_retry(p_user_id text, p_of text, p_id text, p_at timestamp with time zone) IS 'Plans one more attempt of a call that was busy or not answered, once, as its owner wishes; false where they don''t.';

CREATE FUNCTION public.admit(p_user_id text, p_known_hash text, p_rehashed text DEFAULT NULL::text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_valid_from timestamptz;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE users AS u
    SET last_login_at = clock_timestamp(), password_hash = coalesce(p_rehashed, u.password_hash)
    WHERE u.id = p_user_id AND u.password_hash = p_known_hash AND u.erased_at IS NULL
    RETURNING u.tokens_valid_from INTO v_valid_from;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the password is another one by now' USING ERRCODE = 'CM019';
    END IF;
    RETURN v_valid_from;
END
$$;

COMMENT ON FUNCTION public.admit(p_user_id text, p_known_hash text, p_rehashed text) IS 'Notes a login by the password that was just proved, and its hash by today''s rule if the old one is weaker. From when tokens are valid.';

CREATE FUNCTION public.advance_call(p_user_id text, p_call_id text, p_status text, p_carrier_sid text DEFAULT NULL::text) RETURNS timestamp with time zone
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.advance_call(p_user_id text, p_call_id text, p_status text, p_carrier_sid text) IS 'A step by our own code: forward, or no change where the carrier was faster; an impossible one raises. Answers when the talk began.';

CREATE FUNCTION public.apply_payment_event(p_event_id text, p_type text, p_created_at timestamp with time zone, p_facts jsonb, p_payload jsonb, OUT state text, OUT effect text, OUT is_duplicate boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payment_outcome;
    v_is_erased boolean;
BEGIN
    -- Whoever inserts the id first applies it; another delivery waits here for that commit.
    INSERT INTO payment_events AS e (id, type, created_at, state)
    VALUES (p_event_id, p_type, p_created_at, 'ignored')
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        SELECT e.state, e.effect, true INTO apply_payment_event.state, apply_payment_event.effect, is_duplicate
        FROM payment_events AS e
        WHERE e.id = p_event_id;
        RETURN;
    END IF;
    v := payment_effect(p_type, p_created_at, p_facts);
    v_is_erased := EXISTS (
        SELECT FROM users AS u WHERE u.id IN (v.user_id, p_facts ->> 'user_id') AND u.erased_at IS NOT NULL
    );
    UPDATE payment_events AS e
    SET
        state = v.state, effect = v.effect, user_id = v.user_id,
        payload = CASE WHEN NOT v_is_erased THEN p_payload END,
        facts = CASE WHEN NOT v_is_erased OR v.state = 'unmatched' THEN p_facts END,
        retry_at = CASE WHEN v.state = 'unmatched' THEN clock_timestamp() + interval '5 seconds' END,
        waits_for = CASE WHEN v.state = 'unmatched' THEN objects_of(p_facts) END
    WHERE e.id = p_event_id;
    IF v.state = 'applied' THEN
        PERFORM apply_waiting(objects_of(p_facts));
    END IF;
    state := v.state;
    effect := v.effect;
    is_duplicate := false;
END
$$;

COMMENT ON FUNCTION public.apply_payment_event(p_event_id text, p_type text, p_created_at timestamp with time zone, p_facts jsonb, p_payload jsonb, OUT state text, OUT effect text, OUT is_duplicate boolean) IS 'Stores a signed event and does what it means, once, in one commit. What its object isn''t known for yet is kept and tried again.';

CREATE FUNCTION public.apply_waiting(p_objects text[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- An invoice waits for its plan, an intent for its invoice, a refund for its intent.
    c_most_rounds CONSTANT integer := 4;
    c_most_events CONSTANT integer := 50;
    v_event payment_events;
    v_outcome payment_outcome;
    v_known text[] := p_objects;
    v_next text[];
    v_applied integer := 0;
BEGIN
    FOR i IN 1..c_most_rounds LOOP
        v_next := '{}';
        -- Rows that somebody else holds are left to them: nothing waits here, so nothing can deadlock.
        FOR v_event IN
            SELECT e.*
            FROM payment_events AS e
            WHERE e.state = 'unmatched' AND e.waits_for && v_known
            ORDER BY e.created_at, e.received_at
            LIMIT c_most_events
            FOR NO KEY UPDATE SKIP LOCKED
        LOOP
            v_outcome := repeat_payment_event(v_event);
            IF v_outcome.state = 'applied' THEN
                v_applied := v_applied + 1;
                v_next := v_next || objects_of(v_event.facts);
            END IF;
        END LOOP;
        EXIT WHEN v_next = '{}';
        v_known := v_next;
    END LOOP;
    RETURN v_applied;
END
$$;

COMMENT ON FUNCTION public.apply_waiting(p_objects text[]) IS 'Applies what waited for these objects, and what waited for that, in the same commit.';

CREATE FUNCTION public.begin_authorization(p_user_id text, p_authorization_id text, p_persona_id text, p_requested_seconds integer DEFAULT NULL::integer, OUT customer_id text, OUT credits integer, OUT amount_cents numeric, OUT currency text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- No more is set aside on a card for one call, however long the plan lets it be.
    c_most_minutes CONSTANT integer := 30;
    -- The card is asked and answers within this.
    c_being_asked CONSTANT interval := '1 minute';
    v_now timestamptz := clock_timestamp();
    v record;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    SELECT
        a.available_credits, a.debt_credits, u.stripe_customer_id, u.erased_at, u.blocked_at, t.payg_cents_per_credit,
        t.currency,
        least(
            coalesce(a.max_call_duration_seconds, t.max_call_duration_seconds), p.max_call_duration_seconds,
            p_requested_seconds, c_most_minutes * 60
        ) AS seconds
    INTO v
    FROM user_credits AS a
    INNER JOIN users AS u ON a.user_id = u.id
    INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
    INNER JOIN user_preferences AS w ON a.user_id = w.user_id AND w.pay_as_you_go
    LEFT JOIN personas AS p ON p.id = p_persona_id
    WHERE a.user_id = p_user_id;
    IF v.payg_cents_per_credit IS NULL OR v.available_credits > 0 THEN
        RAISE EXCEPTION 'this call isn''t paid by itself' USING ERRCODE = 'CM001';
    ELSIF v.blocked_at IS NOT NULL OR v.erased_at IS NOT NULL THEN
        RAISE EXCEPTION 'account is blocked' USING ERRCODE = 'CM010';
    ELSIF v.debt_credits > 0 THEN
        RAISE EXCEPTION 'account owes credits' USING ERRCODE = 'CM011';
    ELSIF v.stripe_customer_id IS NULL THEN
        RAISE EXCEPTION 'no card is known' USING ERRCODE = 'CM025';
    ELSIF EXISTS (SELECT FROM open_calls AS o WHERE o.user_id = p_user_id) OR EXISTS (
        SELECT FROM payment_authorizations AS x
        WHERE x.user_id = p_user_id AND x.state IN ('authorizing', 'authorized') AND x.created_at > v_now - c_being_asked
    ) THEN
        RAISE EXCEPTION 'another call is open' USING ERRCODE = 'CM004';
    END IF;
    customer_id := v.stripe_customer_id;
    credits := (v.seconds + 59) / 60;
    amount_cents := credits * v.payg_cents_per_credit;
    currency := v.currency;
    INSERT INTO payment_authorizations (
        user_id, id, stripe_customer_id, credits, cents_per_credit, authorized_cents, currency, retry_at, created_at
    ) VALUES (
        p_user_id, p_authorization_id, customer_id, credits, v.payg_cents_per_credit, amount_cents, currency,
        -- If nothing is heard of it until then, the worker looks what became of it, and releases it.
        v_now + c_being_asked * 2, v_now
    );
END
$$;

COMMENT ON FUNCTION public.begin_authorization(p_user_id text, p_authorization_id text, p_persona_id text, p_requested_seconds integer, OUT customer_id text, OUT credits integer, OUT amount_cents numeric, OUT currency text) IS 'Writes what a call may cost at the worst before the card is asked. Only for who wants it and has no credits left.';

CREATE FUNCTION public.begin_purchase(p_user_id text, p_purchase_id text, p_sku text, p_coupon text DEFAULT NULL::text, OUT credits integer, OUT amount_cents numeric, OUT currency text, OUT name text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- The provider charges no less.
    c_least_cents CONSTANT numeric := 50;
    v_pack credit_packs;
    v_coupon coupons;
    v_off numeric := 0;
BEGIN
    PERFORM require_self(p_user_id);
    IF NOT lock_account(p_user_id) OR EXISTS (SELECT FROM users AS u WHERE u.id = p_user_id AND u.erased_at IS NOT NULL) THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
    SELECT k.* INTO v_pack FROM credit_packs AS k WHERE k.sku = p_sku AND k.is_active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pack is not for sale' USING ERRCODE = 'CM008';
    END IF;
    IF p_coupon IS NOT NULL THEN
        SELECT c.* INTO v_coupon FROM coupons AS c WHERE c.code = upper(p_coupon) FOR NO KEY UPDATE;
        v_off := coalesce(
            v_coupon.amount_off_cents, trunc(v_pack.price_cents * v_coupon.percent_off / 100), 0
        );
        IF v_coupon.code IS NULL OR v_coupon.expires_at <= clock_timestamp()
            OR v_coupon.redemptions >= v_coupon.max_redemptions
            OR v_coupon.currency <> v_pack.currency
            OR v_pack.price_cents - v_off < c_least_cents
            OR EXISTS (
                SELECT FROM purchases AS x
                WHERE x.user_id = p_user_id AND x.coupon = v_coupon.code AND x.status <> 'failed'
            ) THEN
            RAISE EXCEPTION 'coupon can''t be used' USING ERRCODE = 'CM023';
        END IF;
        UPDATE coupons AS c SET redemptions = c.redemptions + 1 WHERE c.code = v_coupon.code;
    END IF;
    INSERT INTO purchases (user_id, id, sku, credits, amount_cents, discount_cents, currency, coupon, status)
    VALUES (
        p_user_id, p_purchase_id, v_pack.sku, v_pack.credits, v_pack.price_cents - v_off, v_off, v_pack.currency,
        v_coupon.code, 'pending'
    );
    credits := v_pack.credits;
    amount_cents := v_pack.price_cents - v_off;
    currency := v_pack.currency;
    name := v_pack.name;
END
$$;

COMMENT ON FUNCTION public.begin_purchase(p_user_id text, p_purchase_id text, p_sku text, p_coupon text, OUT credits integer, OUT amount_cents numeric, OUT currency text, OUT name text) IS 'Writes what a person wants to buy and at which price, before the provider is asked. A coupon is taken here, and free again if nothing is paid.';

CREATE FUNCTION public.begin_relationship(p_user_id text, p_persona_id text, p_seconds integer, p_at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.begin_relationship(p_user_id text, p_persona_id text, p_seconds integer, p_at timestamp with time zone) IS 'Counts the first talk of a person with a persona; later ones are an UPDATE of their row.';

CREATE FUNCTION public.begin_subscription(p_user_id text, p_subscription_id text, p_tier text, OUT price_cents numeric, OUT currency text, OUT lookup_key text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_tier subscription_tiers;
BEGIN
    PERFORM require_self(p_user_id);
    IF NOT lock_account(p_user_id) OR EXISTS (SELECT FROM users AS u WHERE u.id = p_user_id AND u.erased_at IS NOT NULL) THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
    SELECT t.* INTO v_tier
    FROM subscription_tiers AS t
    WHERE t.tier = p_tier AND t.stripe_lookup_key IS NOT NULL AND t.monthly_price_cents > 0;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tier is not for sale' USING ERRCODE = 'CM022';
    ELSIF EXISTS (
        SELECT FROM subscriptions AS s
        WHERE s.user_id = p_user_id AND s.status IN ('pending', 'active', 'past_due')
    ) THEN
        RAISE EXCEPTION 'there is a subscription' USING ERRCODE = 'CM024';
    END IF;
    price_cents := v_tier.monthly_price_cents;
    currency := v_tier.currency;
    lookup_key := v_tier.stripe_lookup_key;
    INSERT INTO subscriptions (user_id, id, tier, price_cents, currency, status)
    VALUES (p_user_id, p_subscription_id, p_tier, price_cents, currency, 'pending');
END
$$;

COMMENT ON FUNCTION public.begin_subscription(p_user_id text, p_subscription_id text, p_tier text, OUT price_cents numeric, OUT currency text, OUT lookup_key text) IS 'Writes which plan a person wants and at which price, before the provider is asked. One at a time.';

CREATE FUNCTION public.calendar_feed_user(p_token_hash bytea) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    SELECT f.user_id::text
    FROM calendar_feeds AS f
    INNER JOIN users AS u ON f.user_id = u.id
    WHERE f.token_hash = p_token_hash AND u.erased_at IS NULL AND u.blocked_at IS NULL
$$;

COMMENT ON FUNCTION public.calendar_feed_user(p_token_hash bytea) IS 'Whose calendar a secret link shows; NULL for a link that is no longer good.';

CREATE FUNCTION public.call_rank(p_status text) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
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

COMMENT ON FUNCTION public.call_rank(p_status text) IS 'Order of the states: a call moves to a higher rank or not at all; 4 is terminal.';

CREATE FUNCTION public.cancel_scheduled_call(p_user_id text, p_id text, p_outcome text DEFAULT 'by_user'::text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.cancel_scheduled_call(p_user_id text, p_id text, p_outcome text) IS 'Cancels a call to come unless it was placed; answers canceled, or the status that was faster.';

CREATE FUNCTION public.carrier_event(p_user_id text, p_call_id text, p_kind text, p_event_key text, p_carrier_status text, p_carrier_sid text DEFAULT NULL::text, p_answered_by text DEFAULT NULL::text, p_carrier_seconds integer DEFAULT NULL::integer, OUT verdict text, OUT status text, OUT is_open boolean, OUT answered_by text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.carrier_event(p_user_id text, p_call_id text, p_kind text, p_event_key text, p_carrier_status text, p_carrier_sid text, p_answered_by text, p_carrier_seconds integer, OUT verdict text, OUT status text, OUT is_open boolean, OUT answered_by text) IS 'Notes an event of the carrier once and applies it if it leads forward: applied, ignored, duplicate or unknown. Never raises.';

CREATE FUNCTION public.change_password(p_user_id text, p_known_hash text, p_password_hash text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE users AS u
    SET password_hash = p_password_hash, tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from)
    WHERE u.id = p_user_id AND u.password_hash = p_known_hash AND u.erased_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the password is another one by now' USING ERRCODE = 'CM019';
    END IF;
    DELETE FROM one_time_tokens AS t
    WHERE t.user_id = p_user_id AND t.purpose = 'password_reset' AND t.used_at IS NULL;
END
$$;

COMMENT ON FUNCTION public.change_password(p_user_id text, p_known_hash text, p_password_hash text) IS 'A new password in place of the one that was just proved; every session and every open link for a reset ends.';

CREATE FUNCTION public.check_plan() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.check_plan() IS 'A plan names a persona of the house or the person''s own.';

CREATE FUNCTION public.check_sealed_days() RETURNS TABLE(day date, is_intact boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT s.day, h.batch_hash = s.batch_hash AND h.ledger_rows = s.ledger_rows
    FROM (SELECT x.*, lag(x.batch_hash) OVER (ORDER BY x.day) AS hash_before FROM sealed_days AS x) AS s
    CROSS JOIN LATERAL hash_of_day(s.day, s.hash_before) AS h
    ORDER BY s.day;
END
$$;

COMMENT ON FUNCTION public.check_sealed_days() IS 'Each sealed day, and whether its rows still have the hash that they were sealed with.';

CREATE FUNCTION public.check_session(p_user_id text, p_token_id text, p_issued_at timestamp with time zone, OUT is_valid boolean, OUT is_admin boolean) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    SELECT
        u.erased_at IS NULL AND u.blocked_at IS NULL AND p_issued_at >= u.tokens_valid_from
        AND NOT EXISTS (SELECT FROM token_blacklist AS b WHERE b.token_id = p_token_id),
        EXISTS (SELECT FROM admin_users AS a WHERE a.user_id = u.id)
    INTO is_valid, is_admin
    FROM users AS u
    WHERE u.id = p_user_id;
    is_valid := coalesce(is_valid, false);
    is_admin := coalesce(is_admin, false);
END
$$;

COMMENT ON FUNCTION public.check_session(p_user_id text, p_token_id text, p_issued_at timestamp with time zone, OUT is_valid boolean, OUT is_admin boolean) IS 'Asked on every request: is this token still good, and is its person an admin.';

CREATE FUNCTION public.check_zone() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    -- Who has a zone that an upgrade took away may go on with it, and change the name.
    IF TG_OP = 'UPDATE' AND NEW.timezone = OLD.timezone THEN
        RETURN NEW;
    END IF;
    -- A zone may also be unknown under this spelling to this server only, whose data are older or lack old names.
    IF zone_or_utc(NEW.timezone) = 'UTC' AND NEW.timezone <> 'UTC' THEN
        RAISE EXCEPTION 'this server knows no such time zone' USING ERRCODE = 'CM026', DETAIL = '{"field": "timezone"}';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION public.check_zone() IS 'Refuses a zone that this server can''t reckon with. A trigger and no CHECK: a restore into another release must not fail for one row.';

CREATE FUNCTION public.claim_answer(p_key_id text, p_idempotency_key text, p_request_hash bytea) RETURNS bytea
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_first proxy_answers;
BEGIN
    PERFORM FROM api_keys AS k
    INNER JOIN sql_scopes AS s ON k.scope_id = s.id
    WHERE k.id = p_key_id AND s.role_name = session_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the key is another role''s' USING ERRCODE = 'CM008';
    END IF;
    -- Waits while another batch with this key is under way.
    INSERT INTO proxy_answers (key_id, idempotency_key, request_hash, created_at)
    VALUES (p_key_id, p_idempotency_key, p_request_hash, clock_timestamp())
    ON CONFLICT (key_id, idempotency_key) DO NOTHING;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    SELECT a.* INTO v_first
    FROM proxy_answers AS a
    WHERE a.key_id = p_key_id AND a.idempotency_key = p_idempotency_key;
    IF v_first.request_hash IS DISTINCT FROM p_request_hash THEN
        RAISE EXCEPTION 'idempotency key was used for another request' USING ERRCODE = 'CM006';
    END IF;
    RETURN v_first.answer;
END
$$;

COMMENT ON FUNCTION public.claim_answer(p_key_id text, p_idempotency_key text, p_request_hash bytea) IS 'The first answer to this Idempotency-Key, or NULL for the first request, which then keeps its own in the same transaction.';

CREATE FUNCTION public.claim_authorizations(p_limit integer, p_again_after interval) RETURNS TABLE(user_id text, id text, payment_intent_id text, customer_id text, state text, capture_cents numeric, currency text, created_at timestamp with time zone, attempts integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    c_longest_pause CONSTANT interval := '1 hour';
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT x.user_id, x.id
        FROM payment_authorizations AS x
        WHERE x.retry_at <= v_now
        ORDER BY x.retry_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE payment_authorizations AS x
    SET
        -- Asked for and never used: its process is gone.
        state = CASE WHEN x.state IN ('authorizing', 'authorized') THEN 'releasing' ELSE x.state END,
        attempts = x.attempts + 1,
        retry_at = v_now + least(c_longest_pause, p_again_after * power(2, least(x.attempts, 10))),
        updated_at = v_now
    FROM due
    WHERE x.user_id = due.user_id AND x.id = due.id
    RETURNING
        x.user_id::text, x.id::text, x.payment_intent_id, x.stripe_customer_id, x.state, x.capture_cents, x.currency,
        x.created_at, x.attempts;
END
$$;

COMMENT ON FUNCTION public.claim_authorizations(p_limit integer, p_again_after interval) IS 'What is to be captured or released at the provider; each is handed to one worker, and again later if nothing came of it.';

CREATE FUNCTION public.claim_budget_notice() RETURNS TABLE(user_id text, month date, percent integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    -- A mail and a text are out long before; then it is another worker's turn to see what was sent.
    c_lease CONSTANT interval := '5 minutes';
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    UPDATE budget_notices AS n
    SET claimed_until = v_now + c_lease
    FROM (
        SELECT x.user_id, x.month, x.percent
        FROM budget_notices AS x
        WHERE x.told_at IS NULL AND x.given_up_at IS NULL AND (x.claimed_until IS NULL OR x.claimed_until <= v_now)
        ORDER BY x.noticed_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE n.user_id = due.user_id AND n.month = due.month AND n.percent = due.percent
    RETURNING n.user_id::text, n.month, n.percent;
END
$$;

COMMENT ON FUNCTION public.claim_budget_notice() IS 'One person to be told of their budget, leased to one worker; again later if it was never told.';

CREATE FUNCTION public.claim_dials(p_carrier text, p_worker text, p_limit integer) RETURNS TABLE(user_id text, call_id text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_bucket dial_buckets;
    v_now timestamptz;
    v_tokens numeric;
    v_claimed integer;
BEGIN
    -- A look without a lock: an empty outbox costs nothing and burns no token.
    IF NOT EXISTS (SELECT FROM open_calls AS o WHERE o.dial_claimed_at IS NULL) THEN
        RETURN;
    END IF;
    SELECT b.* INTO v_bucket FROM dial_buckets AS b WHERE b.carrier = p_carrier FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'carrier % has no bucket', p_carrier USING ERRCODE = 'CM008';
    END IF;
    v_now := clock_timestamp();
    v_tokens := least(
        v_bucket.burst,
        v_bucket.tokens
        + greatest(0, extract(EPOCH FROM v_now - v_bucket.refilled_at)) * v_bucket.calls_per_second
    );
    RETURN QUERY
    WITH due AS (
        SELECT o.user_id, o.call_id, o.created_at
        FROM open_calls AS o
        WHERE o.dial_claimed_at IS NULL AND o.dial_before > v_now
        ORDER BY o.created_at
        LIMIT greatest(0, least(p_limit, floor(v_tokens)::integer))
        FOR UPDATE SKIP LOCKED
    )
    UPDATE open_calls AS o
    SET dial_claimed_at = v_now, dial_claimed_by = p_worker
    FROM due
    WHERE o.user_id = due.user_id AND o.call_id = due.call_id
    RETURNING o.user_id::text, o.call_id::text;
    GET DIAGNOSTICS v_claimed = ROW_COUNT;
    UPDATE dial_buckets AS b
    SET tokens = v_tokens - v_claimed, refilled_at = v_now
    WHERE b.carrier = p_carrier;
END
$$;

COMMENT ON FUNCTION public.claim_dials(p_carrier text, p_worker text, p_limit integer) IS 'Hands out calls to dial, oldest first, each once, never more than the carrier takes.';

CREATE FUNCTION public.claim_due(p_worker text, p_limit integer, p_lease interval DEFAULT '00:00:30'::interval) RETURNS TABLE(id text, user_id text, claims integer, scheduled_time timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
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

COMMENT ON FUNCTION public.claim_due(p_worker text, p_limit integer, p_lease interval) IS 'Takes calls whose time has come, oldest first, each for one worker until its lease is over. Those past their latest start are missed.';

CREATE FUNCTION public.claim_jobs(p_worker text, p_names text[], p_limit integer, p_lease interval) RETURNS TABLE(name text, run bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.claim_jobs(p_worker text, p_names text[], p_limit integer, p_lease interval) IS 'Takes jobs that are due, the longest due first, each for one worker until its lease is over.';

CREATE FUNCTION public.claim_reminders(p_limit integer) RETURNS TABLE(id text, user_id text, phone_number text, persona_name text, scheduled_time timestamp with time zone, timezone text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.claim_reminders(p_limit integer) IS 'Texts before calls that are due, each handed out once: one that is lost on its way is not sent again.';

CREATE FUNCTION public.claim_schedules(p_limit integer) RETURNS TABLE(user_id text, id text, rrule text, starts_at_local text, timezone text, materialised_until timestamp with time zone, grace_minutes integer, asked_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.claim_schedules(p_limit integer) IS 'Schedules whose newest occurrence has come due, each for one worker until its transaction ends: they want their next one.';

CREATE FUNCTION public.claim_subscription_work(p_limit integer, p_again_after interval) RETURNS TABLE(user_id text, id text, stripe_subscription_id text, is_cancel boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT s.user_id, s.id, s.cancel_due_at
        FROM subscriptions AS s
        WHERE s.stripe_subscription_id IS NOT NULL AND (s.cancel_due_at <= v_now OR s.look_at <= v_now)
        ORDER BY least(s.cancel_due_at, s.look_at)
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE subscriptions AS s
    SET
        cancel_due_at = CASE WHEN s.cancel_due_at IS NOT NULL THEN v_now + p_again_after END,
        look_at = CASE WHEN s.look_at IS NOT NULL THEN greatest(s.look_at, v_now + p_again_after) END
    FROM due
    WHERE s.user_id = due.user_id AND s.id = due.id
    RETURNING s.user_id::text, s.id::text, s.stripe_subscription_id, coalesce(due.cancel_due_at <= v_now, false);
END
$$;

COMMENT ON FUNCTION public.claim_subscription_work(p_limit integer, p_again_after interval) IS 'Plans to cancel at the provider, or to ask it about; each is handed to one worker, and again later if nothing came of it.';

CREATE FUNCTION public.close_account() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE user_credits AS a
    SET is_closed = new.blocked_at IS NOT NULL OR new.erased_at IS NOT NULL, updated_at = clock_timestamp()
    WHERE a.user_id = new.id AND a.is_closed <> (new.blocked_at IS NOT NULL OR new.erased_at IS NOT NULL);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION public.close_account() IS 'Who is blocked or erased can''t be called from the same commit on, and again when it is taken back.';

CREATE FUNCTION public.close_stale_checkouts(p_limit integer DEFAULT 1) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- A page at the provider lives half an hour.
    c_alive CONSTANT interval := '2 hours';
    v_oldest timestamptz := clock_timestamp() - c_alive;
    v record;
    v_closed integer := 0;
BEGIN
    FOR v IN
        SELECT x.user_id, x.id, true AS is_purchase
        FROM purchases AS x
        WHERE x.status = 'pending' AND x.created_at < v_oldest
        UNION ALL
        SELECT s.user_id, s.id, false AS is_purchase
        FROM subscriptions AS s
        WHERE s.status = 'pending' AND s.created_at < v_oldest
        LIMIT p_limit
    LOOP
        IF v.is_purchase THEN
            PERFORM fail_purchase(v.user_id, v.id);
        ELSE
            PERFORM expire_checkout(v.user_id, v.id);
        END IF;
        v_closed := v_closed + 1;
    END LOOP;
    RETURN v_closed;
END
$$;

COMMENT ON FUNCTION public.close_stale_checkouts(p_limit integer) IS 'Checkouts whose end nobody told us: coupons are free again, another plan can be chosen. One a transaction keeps it from holding two accounts.';

CREATE FUNCTION public.complete_scheduled_call() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.complete_scheduled_call() IS 'Derives a call''s latest start, promise and reminder from its time; a time is changed only while the call waits.';

CREATE FUNCTION public.count_attempt(p_bucket text, p_limit integer, p_window interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_row login_attempts;
BEGIN
    INSERT INTO login_attempts AS l (bucket, window_started_at, attempts, expires_at)
    VALUES (p_bucket, v_now, 1, v_now + p_window)
    ON CONFLICT (bucket) DO UPDATE
    SET
        attempts = CASE WHEN l.expires_at <= v_now THEN 1 ELSE least(l.attempts + 1, p_limit + 1) END,
        window_started_at = CASE WHEN l.expires_at <= v_now THEN v_now ELSE l.window_started_at END,
        expires_at = CASE WHEN l.expires_at <= v_now THEN v_now + p_window ELSE l.expires_at END
    RETURNING l.* INTO v_row;
    IF v_row.attempts <= p_limit THEN
        RETURN 0;
    END IF;
    RETURN greatest(1, ceil(extract(EPOCH FROM v_row.expires_at - v_now)))::integer;
END
$$;

COMMENT ON FUNCTION public.count_attempt(p_bucket text, p_limit integer, p_window interval) IS 'Counts an attempt in a fixed window: 0 if it is allowed, else the seconds to wait.';

CREATE FUNCTION public.count_reversals(p_user_id text, p_payment_id text, p_cause text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payments;
    v_cents numeric;
    v_is_unpaid boolean;
    v_taken integer;
BEGIN
    SELECT x.* INTO v
    FROM payments AS x
    WHERE x.user_id = p_user_id AND x.id = p_payment_id
    FOR NO KEY UPDATE;
    SELECT least(v.amount_cents, coalesce(sum(r.amount_cents), 0)) INTO v_cents
    FROM (
        SELECT f.amount_cents FROM refunds AS f
        WHERE f.user_id = p_user_id AND f.payment_id = p_payment_id AND f.is_succeeded AND NOT f.is_undone
        UNION ALL
        SELECT d.amount_cents FROM disputes AS d
        WHERE d.user_id = p_user_id AND d.payment_id = p_payment_id AND d.is_withdrawn AND NOT d.is_reinstated
    ) AS r;
    -- Of what is reversed in all, so that parts in any order add up to the whole.
    UPDATE payments AS x
    SET reversed_cents = v_cents, reversed_credits = round(x.credits * v_cents / x.amount_cents)
    WHERE x.user_id = p_user_id AND x.id = p_payment_id
    RETURNING x.reversed_credits - v.reversed_credits INTO v_taken;
    IF v.kind = 'subscription' THEN
        v_taken := v_taken - keep_period_credits(v);
    END IF;
    IF v_taken <> 0 THEN
        PERFORM move_credits(p_user_id, -v_taken, 'refund', p_cause, NULL, v.payment_intent_id);
    END IF;
    IF v.kind = 'purchase' THEN
        UPDATE purchases AS x
        SET status = CASE WHEN v_cents >= v.amount_cents THEN 'refunded' ELSE 'completed' END
        WHERE x.user_id = p_user_id AND x.id = p_payment_id;
    ELSIF v.kind = 'subscription' THEN
        -- A period that was paid twice is paid as long as one of the two moneys isn't wholly gone.
        v_is_unpaid := NOT EXISTS (
            SELECT FROM payments AS x
            WHERE x.user_id = p_user_id AND x.subscription_id = v.subscription_id AND x.period_start = v.period_start
                AND x.tier = v.tier AND x.reversed_cents < x.amount_cents
        );
        UPDATE subscriptions AS s
        SET suspended_at = CASE WHEN v_is_unpaid THEN clock_timestamp() END, updated_at = clock_timestamp()
        WHERE s.user_id = p_user_id AND s.id = v.subscription_id AND s.current_period_start = v.period_start
            AND s.tier = v.tier AND (s.suspended_at IS NULL) = v_is_unpaid;
        IF FOUND THEN
            PERFORM follow_subscription(p_user_id);
        END IF;
    END IF;
    RETURN v_taken;
END
$$;

COMMENT ON FUNCTION public.count_reversals(p_user_id text, p_payment_id text, p_cause text) IS 'Takes credits back in proportion to all that counts against a payment, or gives them back; what was spent becomes debt. Answers the difference.';

CREATE FUNCTION public.drop_old_partitions(p_keep interval DEFAULT '90 days'::interval) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '4s'
    AS $_$
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
$_$;

COMMENT ON FUNCTION public.drop_old_partitions(p_keep interval) IS 'Drops months of cost events that ended before the time that they are kept.';

CREATE FUNCTION public.effect_of_dispute(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payments := payment_of(p_facts);
    v_amount numeric := (p_facts ->> 'amount_cents')::numeric;
    v_status text := coalesce(p_facts ->> 'status', '');
    v_before disputes;
    v_after disputes;
    v_credits integer;
BEGIN
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_payment', NULL);
    ELSIF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF v_amount IS NULL OR v_amount <= 0 THEN
        RETURN outcome('refused', 'wrong_amount', v.user_id);
    END IF;
    SELECT d.* INTO v_before FROM disputes AS d WHERE d.user_id = v.user_id AND d.id = p_facts ->> 'id';
    INSERT INTO disputes AS d (
        user_id, id, payment_id, amount_cents, currency, reason, is_withdrawn, is_reinstated, disputed_at
    ) VALUES (
        v.user_id, p_facts ->> 'id', v.id, least(v_amount, v.amount_cents), v.currency,
        coalesce(p_facts ->> 'reason', 'general'),
        -- An inquiry (warning_…) and one that was prevented move no money.
        p_type = 'charge.dispute.funds_withdrawn' OR (v_status !~ '^(warning_|prevented|won)' AND v_status <> ''),
        p_type = 'charge.dispute.funds_reinstated' OR v_status = 'won', p_at
    )
    ON CONFLICT (user_id, id) DO UPDATE
    SET
        is_withdrawn = d.is_withdrawn OR excluded.is_withdrawn,
        is_reinstated = d.is_reinstated OR excluded.is_reinstated,
        updated_at = clock_timestamp()
    RETURNING d.* INTO v_after;
    IF coalesce(v_before.is_withdrawn AND NOT v_before.is_reinstated, false)
        = (v_after.is_withdrawn AND NOT v_after.is_reinstated) THEN
        RETURN outcome('ignored', 'nothing_new', v.user_id);
    END IF;
    v_credits := count_reversals(
        v.user_id, v.id, CASE WHEN v_after.is_reinstated THEN 'dispute_undone:' ELSE 'dispute:' END || v_after.id
    );
    UPDATE disputes AS d SET credits = greatest(0, v_credits) WHERE d.user_id = v.user_id AND d.id = v_after.id;
    RETURN outcome('applied', CASE WHEN v_after.is_reinstated THEN 'dispute_undone' ELSE 'disputed' END, v.user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_dispute(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'A dispute counts from the withdrawal of the money until it is reinstated, in whatever order the two are told.';

CREATE FUNCTION public.effect_of_intent(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payment_authorizations;
    v_state text;
BEGIN
    -- What packs and plans are paid with is told by their checkouts and invoices.
    IF p_facts ->> 'reference' IS NULL OR p_facts ->> 'purpose' IS DISTINCT FROM 'call' THEN
        RETURN outcome('ignored', 'not_of_a_call', NULL);
    END IF;
    PERFORM lock_paid_call(p_facts ->> 'user_id', p_facts ->> 'reference');
    UPDATE payment_authorizations AS x
    SET payment_intent_id = p_facts ->> 'id'
    WHERE x.user_id = p_facts ->> 'user_id' AND x.id = p_facts ->> 'reference'
        AND coalesce(x.payment_intent_id, p_facts ->> 'id') = p_facts ->> 'id'
    RETURNING x.* INTO v;
    IF NOT FOUND THEN
        RETURN outcome('unmatched', 'unknown_authorization', NULL);
    ELSIF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF p_type = 'payment_intent.amount_capturable_updated' AND let_go_after_all(v.user_id, v.id, v.payment_intent_id) THEN
        RETURN outcome('applied', 'let_go_after_all', v.user_id);
    ELSIF p_type NOT IN ('payment_intent.succeeded', 'payment_intent.canceled') THEN
        RETURN outcome('ignored', 'nothing_to_settle', v.user_id);
    ELSIF v.state IN ('authorizing', 'authorized', 'calling') THEN
        -- The call isn't settled yet: looked at again once it is.
        RETURN outcome('unmatched', 'call_goes_on', v.user_id);
    END IF;
    v_state := end_authorization(
        v.user_id, v.id,
        CASE WHEN p_type = 'payment_intent.succeeded' THEN coalesce((p_facts ->> 'received_cents')::numeric, -1) ELSE 0 END,
        p_at
    );
    RETURN outcome(
        CASE v_state WHEN 'wrong_amount' THEN 'refused' WHEN v.state THEN 'ignored' ELSE 'applied' END, v_state, v.user_id
    );
END
$$;

COMMENT ON FUNCTION public.effect_of_intent(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'Captures and releases of calls, as the provider tells them; the worker''s own answer may have been faster.';

CREATE FUNCTION public.effect_of_invoice(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- How long a plan stays in force when its payment fails.
    c_grace CONSTANT interval := '7 days';
    -- The provider tells us of a renewal within an hour; past that we ask.
    c_look_after CONSTANT interval := '2 hours';
    v subscriptions;
    v_payment payments;
    v_label text := p_facts ->> 'tier';
    v_amount numeric := (p_facts ->> 'amount_cents')::numeric;
    v_tier text;
    v_start timestamptz := to_timestamp((p_facts ->> 'period_start')::double precision);
    v_end timestamptz := to_timestamp((p_facts ->> 'period_end')::double precision);
    v_allowance integer;
    v_is_second boolean;
    v_is_paid boolean;
BEGIN
    IF p_facts ->> 'subscription' IS NULL THEN
        RETURN outcome('ignored', 'no_subscription', NULL);
    END IF;
    v := subscription_of(p_facts);
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_subscription', NULL);
    ELSIF EXISTS (SELECT FROM payments AS x WHERE x.user_id = v.user_id AND x.id = p_facts ->> 'id') THEN
        RETURN outcome('ignored', 'already_paid', v.user_id);
    ELSIF p_type = 'invoice.payment_failed' THEN
        IF v.status <> 'active' OR v_start <= v.current_period_start OR p_at < v.seen_at THEN
            RETURN outcome('ignored', 'payment_failed', v.user_id);
        END IF;
        UPDATE subscriptions AS s
        SET status = 'past_due', grace_until = p_at + c_grace, seen_at = p_at, updated_at = clock_timestamp()
        WHERE s.user_id = v.user_id AND s.id = v.id;
        PERFORM follow_subscription(v.user_id);
        RETURN outcome('applied', 'grace_began', v.user_id);
    ELSIF p_type NOT IN ('invoice.paid', 'invoice.payment_succeeded') OR p_facts ->> 'status' IS DISTINCT FROM 'paid' THEN
        RETURN outcome('ignored', 'not_paid', v.user_id);
    END IF;

    -- The amount says which of the agreed prices was paid: what an invoice of a change is labelled with may be the old plan.
    v_tier := CASE
        WHEN v_amount = v.pending_price_cents THEN v.pending_tier
        WHEN v_amount = v.price_cents AND coalesce(v_label, v.tier) = v.tier THEN v.tier
        -- A period of an earlier plan that is told late.
        ELSE (
            SELECT t.tier FROM subscription_tiers AS t
            WHERE t.tier = v_label AND t.monthly_price_cents = v_amount AND v_amount > 0
        )
    END;
    IF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF v_tier IS NULL THEN
        RETURN outcome('refused', 'wrong_amount', v.user_id);
    ELSIF v_start IS NULL OR v_end IS NULL OR v_end <= v_start THEN
        RETURN outcome('refused', 'wrong_period', v.user_id);
    END IF;
    v_is_second := v.status = 'expired' AND EXISTS (
        SELECT FROM subscriptions AS s
        WHERE s.user_id = v.user_id AND s.id <> v.id AND s.status IN ('pending', 'active', 'past_due')
    );

    SELECT coalesce(a.monthly_credit_allowance, t.monthly_credit_allowance) INTO v_allowance
    FROM user_credits AS a
    CROSS JOIN subscription_tiers AS t
    WHERE a.user_id = v.user_id AND t.tier = v_tier;
    v_payment.user_id := v.user_id;
    v_payment.id := p_facts ->> 'id';
    v_payment.kind := 'subscription';
    v_payment.subscription_id := v.id;
    v_payment.payment_intent_id := p_facts ->> 'payment_intent';
    v_payment.tier := v_tier;
    v_payment.description := v_tier || ' plan, a month';
    v_payment.amount_cents := v_amount;
    v_payment.currency := v.currency;
    v_payment.credits := v_allowance;
    v_payment.period_start := v_start;
    v_payment.period_end := v_end;
    v_payment.paid_at := p_at;
    IF v_is_second OR EXISTS (
        SELECT FROM payments AS x
        WHERE x.user_id = v.user_id AND x.subscription_id = v.id AND x.period_start = v_start AND x.tier = v_tier
    ) THEN
        -- Money for nothing is written down, so that it can be given back: somebody must look. Nobody pays for it again.
        v_payment.credits := 0;
        v_is_paid := EXISTS (
            SELECT FROM payments AS x
            WHERE x.user_id = v.user_id AND x.subscription_id = v.id AND x.period_start = v_start AND x.tier = v_tier
                AND x.reversed_cents < x.amount_cents
        );
        PERFORM receive_payment(v_payment);
        IF v_is_second THEN
            UPDATE subscriptions AS s
            SET cancel_due_at = clock_timestamp(), updated_at = clock_timestamp()
            WHERE s.user_id = v.user_id AND s.id = v.id AND s.ended_at IS NULL;
            RETURN outcome('refused', 'second_subscription', v.user_id);
        END IF;
        -- If what had paid it went back meanwhile, this pays for it now.
        PERFORM count_reversals(v.user_id, v_payment.id, 'repaid:' || v_payment.id);
        RETURN outcome(
            CASE WHEN v_is_paid THEN 'refused' ELSE 'applied' END,
            CASE WHEN v_is_paid THEN 'period_paid_twice' ELSE 'period_paid_again' END, v.user_id
        );
    ELSIF v_allowance > 0 THEN
        -- Periods begin at whole seconds: the one of an upgrade may begin with the one that it replaces.
        PERFORM move_credits(
            v.user_id, v_allowance, 'subscription_refill',
            'period:' || v.stripe_subscription_id || ':' || extract(EPOCH FROM v_start)::bigint || ':' || v_tier, NULL,
            p_facts ->> 'payment_intent'
        );
    END IF;
    PERFORM receive_payment(v_payment);
    -- An older period that is told late is paid, but says nothing about today. Of two that begin together the dearer
    -- one is the later: only an upgrade begins at once.
    IF v.ended_at IS NULL AND (
        v.current_period_start IS NULL OR v_start > v.current_period_start
        OR v_start = v.current_period_start AND v_amount > v.price_cents
    ) THEN
        UPDATE subscriptions AS s
        SET
            status = 'active', tier = v_tier, price_cents = v_amount,
            pending_tier = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_tier END,
            pending_price_cents = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_price_cents END,
            pending_key = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_key END,
            pending_since = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_since END,
            started_at = coalesce(s.started_at, v_start), current_period_start = v_start, current_period_end = v_end,
            grace_until = NULL, suspended_at = NULL, checkout_url = NULL,
            -- The plan of a person who is gone is ended, whatever was still paid for it.
            cancel_due_at = CASE
                WHEN EXISTS (SELECT FROM users AS u WHERE u.id = v.user_id AND u.erased_at IS NOT NULL)
                    THEN clock_timestamp()
            END,
            seen_at = greatest(s.seen_at, p_at), look_at = v_end + c_look_after, updated_at = clock_timestamp()
        WHERE s.user_id = v.user_id AND s.id = v.id;
        PERFORM follow_subscription(v.user_id);
    END IF;
    PERFORM note_customer(v.user_id, p_facts ->> 'customer');
    RETURN outcome('applied', 'period_paid', v.user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_invoice(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'A period that was paid brings its credits once and its tier into force; one that failed begins a time of grace.';

CREATE FUNCTION public.effect_of_invoice_payment(p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_user_id text;
BEGIN
    SELECT x.user_id INTO v_user_id FROM payments AS x WHERE x.id = p_facts ->> 'invoice';
    IF NOT FOUND THEN
        RETURN outcome('unmatched', 'unknown_invoice', NULL);
    END IF;
    PERFORM lock_account(v_user_id);
    UPDATE payments AS x
    SET payment_intent_id = p_facts ->> 'payment_intent'
    WHERE x.user_id = v_user_id AND x.id = p_facts ->> 'invoice' AND x.payment_intent_id IS NULL
        AND p_facts ->> 'payment_intent' IS NOT NULL
        AND NOT EXISTS (SELECT FROM payments AS o WHERE o.payment_intent_id = p_facts ->> 'payment_intent');
    RETURN outcome(CASE WHEN FOUND THEN 'applied' ELSE 'ignored' END, 'intent_known', v_user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_invoice_payment(p_facts jsonb) IS 'Which intent paid an invoice: refunds and disputes name the intent.';

CREATE FUNCTION public.effect_of_purchase_session(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v purchases;
    v_payment payments;
    v_problem text;
BEGIN
    SELECT x.* INTO v
    FROM purchases AS x
    WHERE x.user_id = p_facts ->> 'user_id' AND x.id = p_facts ->> 'reference';
    IF NOT FOUND THEN
        SELECT x.* INTO v FROM purchases AS x WHERE x.stripe_session_id = p_facts ->> 'id';
        IF NOT FOUND THEN
            RETURN outcome('unmatched', 'unknown_session', NULL);
        END IF;
    END IF;
    PERFORM lock_account(v.user_id);
    SELECT x.* INTO v FROM purchases AS x WHERE x.user_id = v.user_id AND x.id = v.id FOR NO KEY UPDATE;

    IF v.status IN ('completed', 'refunded') THEN
        RETURN outcome('ignored', 'already_completed', v.user_id);
    ELSIF p_type IN ('checkout.session.expired', 'checkout.session.async_payment_failed') THEN
        PERFORM fail_purchase(v.user_id, v.id);
        RETURN outcome('applied', 'purchase_failed', v.user_id);
    ELSIF p_type NOT IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded')
        OR p_facts ->> 'payment_status' IS DISTINCT FROM 'paid' THEN
        RETURN outcome('ignored', 'not_paid', v.user_id);
    END IF;
    v_problem := CASE
        WHEN p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN 'wrong_currency'
        WHEN (p_facts ->> 'amount_cents')::numeric IS DISTINCT FROM v.amount_cents THEN 'wrong_amount'
        WHEN v.stripe_session_id IS NOT NULL AND v.stripe_session_id <> p_facts ->> 'id' THEN 'other_session'
    END;
    IF v_problem IS NOT NULL THEN
        UPDATE purchases AS x SET refused = v_problem WHERE x.user_id = v.user_id AND x.id = v.id;
        RETURN outcome('refused', v_problem, v.user_id);
    END IF;

    -- A checkout that we took for ended had given its coupon back.
    IF v.status = 'failed' THEN
        UPDATE coupons AS c
        SET redemptions = c.redemptions + 1
        WHERE c.code = v.coupon AND (c.max_redemptions IS NULL OR c.redemptions < c.max_redemptions);
    END IF;
    UPDATE purchases AS x
    SET
        status = 'completed', completed_at = clock_timestamp(), stripe_session_id = p_facts ->> 'id',
        payment_intent_id = p_facts ->> 'payment_intent', stripe_customer_id = p_facts ->> 'customer',
        checkout_url = NULL,
        -- The code went to another checkout meanwhile: this one keeps its price without it.
        coupon = CASE
            WHEN x.status = 'failed' AND EXISTS (
                SELECT FROM purchases AS o
                WHERE o.user_id = x.user_id AND o.coupon = x.coupon AND o.status <> 'failed'
            ) THEN NULL
            ELSE x.coupon
        END
    WHERE x.user_id = v.user_id AND x.id = v.id;
    v_payment.user_id := v.user_id;
    v_payment.id := v.id;
    v_payment.kind := 'purchase';
    v_payment.payment_intent_id := p_facts ->> 'payment_intent';
    v_payment.description := v.credits || ' minutes';
    v_payment.amount_cents := v.amount_cents;
    v_payment.currency := v.currency;
    v_payment.credits := v.credits;
    v_payment.paid_at := p_at;
    PERFORM receive_payment(v_payment);
    PERFORM move_credits(
        v.user_id, v.credits, 'purchase', 'purchase:' || v.id, NULL, p_facts ->> 'payment_intent'
    );
    PERFORM note_customer(v.user_id, p_facts ->> 'customer');
    RETURN outcome('applied', 'purchase_completed', v.user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_purchase_session(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'A checkout of a pack. Only one that the provider says is paid, at our amount and in our currency, brings credits.';

CREATE FUNCTION public.effect_of_refund(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payments := payment_of(p_facts);
    v_amount numeric := (p_facts ->> 'amount_cents')::numeric;
    v_status text := p_facts ->> 'status';
    v_before refunds;
    v_after refunds;
    v_credits integer;
BEGIN
    IF v_status = 'succeeded' AND (p_facts ->> 'moves_money')::boolean IS FALSE THEN
        -- The part of a hold that is let go: that money was never ours.
        RETURN outcome('ignored', 'nothing_moved', v.user_id);
    ELSIF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_payment', NULL);
    ELSIF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF v_amount IS NULL OR v_amount <= 0 OR v_amount > v.amount_cents THEN
        RETURN outcome('refused', 'wrong_amount', v.user_id);
    END IF;
    SELECT r.* INTO v_before FROM refunds AS r WHERE r.user_id = v.user_id AND r.id = p_facts ->> 'id';
    INSERT INTO refunds AS r (user_id, id, payment_id, amount_cents, currency, is_succeeded, is_undone, refunded_at)
    VALUES (
        v.user_id, p_facts ->> 'id', v.id, v_amount, v.currency, v_status = 'succeeded',
        v_status IN ('failed', 'canceled'), p_at
    )
    ON CONFLICT (user_id, id) DO UPDATE
    SET
        is_succeeded = r.is_succeeded OR excluded.is_succeeded,
        is_undone = r.is_undone OR excluded.is_undone,
        updated_at = clock_timestamp()
    RETURNING r.* INTO v_after;
    IF coalesce(v_before.is_succeeded AND NOT v_before.is_undone, false) = (v_after.is_succeeded AND NOT v_after.is_undone) THEN
        RETURN outcome('ignored', 'nothing_new', v.user_id);
    END IF;
    v_credits := count_reversals(
        v.user_id, v.id, CASE WHEN v_after.is_undone THEN 'refund_undone:' ELSE 'refund:' END || v_after.id
    );
    UPDATE refunds AS r SET credits = greatest(0, v_credits) WHERE r.user_id = v.user_id AND r.id = v_after.id;
    RETURN outcome('applied', CASE WHEN v_after.is_undone THEN 'refund_undone' ELSE 'refunded' END, v.user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_refund(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'A refund counts from the first event that says it succeeded until one says it failed, in whatever order they come.';

CREATE FUNCTION public.effect_of_subscription(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    c_grace CONSTANT interval := '7 days';
    v subscriptions := subscription_of(p_facts);
    v_status text := p_facts ->> 'status';
    -- Told in the second of a payment, a failure is the one that the payment has mended.
    v_fails boolean := v_status IN ('past_due', 'unpaid') AND (v.status = 'past_due' OR p_at > v.seen_at);
BEGIN
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_subscription', NULL);
    ELSIF v.ended_at IS NOT NULL THEN
        RETURN outcome('ignored', 'ended', v.user_id);
    ELSIF p_type = 'customer.subscription.deleted' OR v_status IN ('canceled', 'incomplete_expired') THEN
        -- The provider never revives one, so this holds whenever it comes.
        UPDATE subscriptions AS s
        SET
            status = CASE WHEN s.started_at IS NULL OR s.status = 'expired' THEN 'expired' ELSE 'canceled' END,
            ended_at = p_at, grace_until = NULL, cancel_due_at = NULL, look_at = NULL, pending_tier = NULL,
            pending_price_cents = NULL, pending_key = NULL, pending_since = NULL, seen_at = greatest(s.seen_at, p_at),
            updated_at = clock_timestamp()
        WHERE s.user_id = v.user_id AND s.id = v.id;
        IF v.started_at IS NOT NULL THEN
            PERFORM follow_subscription(v.user_id);
        END IF;
        RETURN outcome('applied', 'subscription_ended', v.user_id);
    ELSIF p_at < v.seen_at OR v.status NOT IN ('active', 'past_due') THEN
        RETURN outcome('ignored', 'older_or_not_begun', v.user_id);
    END IF;
    UPDATE subscriptions AS s
    SET
        cancel_at_period_end = coalesce((p_facts ->> 'cancel_at_period_end')::boolean, s.cancel_at_period_end),
        status = CASE WHEN v_fails THEN 'past_due' ELSE s.status END,
        grace_until = CASE WHEN v_fails THEN coalesce(s.grace_until, p_at + c_grace) ELSE s.grace_until END,
        seen_at = p_at, updated_at = clock_timestamp()
    WHERE s.user_id = v.user_id AND s.id = v.id;
    PERFORM follow_subscription(v.user_id);
    RETURN outcome('applied', 'subscription_updated', v.user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_subscription(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'What the provider says of a plan: whether it will end or has ended, and whether a payment failed. Never which tier is paid.';

CREATE FUNCTION public.effect_of_subscription_session(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v subscriptions;
BEGIN
    IF p_type IN ('checkout.session.expired', 'checkout.session.async_payment_failed') THEN
        SELECT s.* INTO v
        FROM subscriptions AS s
        WHERE s.user_id = p_facts ->> 'user_id' AND s.id = p_facts ->> 'reference';
        IF NOT FOUND THEN
            RETURN outcome('unmatched', 'unknown_session', NULL);
        END IF;
        RETURN outcome(CASE WHEN expire_checkout(v.user_id, v.id) THEN 'applied' ELSE 'ignored' END, 'checkout_expired', v.user_id);
    END IF;
    v := subscription_of(p_facts);
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_subscription', NULL);
    END IF;
    PERFORM note_customer(v.user_id, p_facts ->> 'customer');
    -- What was paid is told by the invoice.
    RETURN outcome('applied', 'subscription_known', v.user_id);
END
$$;

COMMENT ON FUNCTION public.effect_of_subscription_session(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'A checkout of a plan: ties the provider''s subscription to ours. The invoice brings the plan into force.';

CREATE FUNCTION public.end_authorization(p_user_id text, p_authorization_id text, p_captured_cents numeric, p_at timestamp with time zone) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payment_authorizations;
    v_payment payments;
    v_state text;
BEGIN
    PERFORM lock_paid_call(p_user_id, p_authorization_id);
    SELECT x.* INTO v
    FROM payment_authorizations AS x
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id
    FOR NO KEY UPDATE;
    IF v.state NOT IN ('capturing', 'releasing') OR v.id IS NULL THEN
        RETURN coalesce(v.state, 'unknown');
    ELSIF p_captured_cents NOT IN (0, v.capture_cents) THEN
        RETURN 'wrong_amount';
    END IF;
    v_state := CASE
        WHEN p_captured_cents > 0 THEN 'captured'
        WHEN v.capture_cents > 0 THEN 'failed'
        ELSE 'released'
    END;
    UPDATE payment_authorizations AS x
    SET state = v_state, captured_cents = p_captured_cents, retry_at = NULL, updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = v.id;
    IF v_state = 'captured' THEN
        v_payment.user_id := p_user_id;
        v_payment.id := v.id;
        v_payment.kind := 'call';
        v_payment.payment_intent_id := v.payment_intent_id;
        v_payment.description := 'call of ' || v.used_credits || ' minutes';
        v_payment.amount_cents := v.capture_cents;
        v_payment.currency := v.currency;
        v_payment.credits := v.used_credits;
        v_payment.paid_at := p_at;
        PERFORM receive_payment(v_payment);
    ELSIF v_state = 'failed' THEN
        -- Talked, and not paid: the minutes are owed.
        PERFORM move_credits(
            p_user_id, -v.used_credits, 'refund', 'unpaid:' || v.id, NULL, v.payment_intent_id
        );
    END IF;
    UPDATE calls AS c
    SET
        payment_status = CASE v_state WHEN 'captured' THEN 'paid' WHEN 'failed' THEN 'failed' ELSE 'not_charged' END,
        updated_at = clock_timestamp()
    WHERE c.user_id = p_user_id AND c.id = v.call_id;
    RETURN v_state;
END
$$;

COMMENT ON FUNCTION public.end_authorization(p_user_id text, p_authorization_id text, p_captured_cents numeric, p_at timestamp with time zone) IS 'What the provider confirmed: captured, released, or, where the money could not be taken any more, failed. Once.';

CREATE FUNCTION public.end_grace(p_limit integer DEFAULT 1) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v record;
    v_ended integer := 0;
BEGIN
    FOR v IN
        SELECT s.user_id, s.id
        FROM subscriptions AS s
        WHERE s.grace_until <= v_now
        ORDER BY s.grace_until
        LIMIT p_limit
    LOOP
        PERFORM lock_account(v.user_id);
        UPDATE subscriptions AS s
        SET
            status = 'expired', grace_until = NULL, cancel_due_at = v_now, look_at = NULL, pending_tier = NULL,
            pending_price_cents = NULL, pending_key = NULL, pending_since = NULL, updated_at = v_now
        WHERE s.user_id = v.user_id AND s.id = v.id AND s.grace_until <= v_now;
        IF FOUND THEN
            PERFORM follow_subscription(v.user_id);
            v_ended := v_ended + 1;
        END IF;
    END LOOP;
    RETURN v_ended;
END
$$;

COMMENT ON FUNCTION public.end_grace(p_limit integer) IS 'Puts accounts whose time of grace is over on the free tier; the worker cancels their plans at the provider. One a transaction keeps it from holding two accounts.';

CREATE FUNCTION public.ensure_card(p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text, p_fallback_model text, p_local_model text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_version price_versions;
BEGIN
    SELECT v.* INTO v_version
    FROM price_versions AS v
    WHERE v.card = p_card AND v.effective_from <= clock_timestamp()
    ORDER BY v.effective_from DESC
    LIMIT 1;
    IF v_version.id IS NULL THEN
        v_version.card := p_card;
        v_version.carrier_model := p_carrier_model;
        v_version.listener_model := p_listener_model;
        v_version.brain_model := p_brain_model;
        v_version.voice_model := p_voice_model;
        v_version.fallback_model := p_fallback_model;
        v_version.local_model := p_local_model;
        PERFORM refresh_card(v_version);
        SELECT v.* INTO v_version
        FROM price_versions AS v
        WHERE v.card = p_card AND v.effective_from <= clock_timestamp()
        ORDER BY v.effective_from DESC
        LIMIT 1;
    END IF;
    -- The house says what it calls with; who was only lent a function doesn't.
    IF NOT starts_with(session_user, 'callmeback_key_') THEN
        INSERT INTO card_in_force AS f (card)
        VALUES (p_card)
        ON CONFLICT (is_only) DO UPDATE
        SET card = excluded.card, since = clock_timestamp()
        WHERE f.card <> excluded.card;
    END IF;
    RETURN v_version.worst_case_cents_per_minute IS NOT NULL;
END
$$;

COMMENT ON FUNCTION public.ensure_card(p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text, p_fallback_model text, p_local_model text) IS 'Makes a set of models known, and the one in force; false where a rate is missing, and then its calls are refused.';

CREATE FUNCTION public.ensure_jobs(p_names text[], p_every interval[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.ensure_jobs(p_names text[], p_every interval[]) IS 'Makes jobs known, or gives them another rhythm; a new one is due at once.';

CREATE FUNCTION public.ensure_partitions() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET lock_timeout TO '4s'
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

COMMENT ON FUNCTION public.ensure_partitions() IS 'Makes the partitions of cost events for this and the next three months.';

CREATE FUNCTION public.erase_again(p_limit integer DEFAULT 1) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.erase_again(p_limit integer) IS 'Empties people a second time, once what was under way when they were erased has ended: it may have written something. One a transaction keeps it from holding two accounts.';

CREATE FUNCTION public.erase_user(p_user_id text, p_requested_by text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    -- In the order in which everybody else takes them, who may be at work for this person: an event of the provider before
    -- the account, a number before its person, who is before a schedule, and that before its calls to come.
    PERFORM FROM payment_events AS x WHERE x.user_id = p_user_id ORDER BY x.id FOR NO KEY UPDATE;
    PERFORM
    FROM payment_events AS x
    WHERE x.state = 'unmatched' AND x.facts ->> 'user_id' = p_user_id
    ORDER BY x.id
    FOR NO KEY UPDATE;
    PERFORM FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    PERFORM FROM phones AS x WHERE x.user_id = p_user_id ORDER BY x.number FOR UPDATE;
    PERFORM FROM users AS u WHERE u.id = p_user_id FOR NO KEY UPDATE;
    PERFORM FROM call_schedules AS x WHERE x.user_id = p_user_id ORDER BY x.id FOR UPDATE;
    IF EXISTS (SELECT FROM open_calls AS o WHERE o.user_id = p_user_id) THEN
        RAISE EXCEPTION 'a call is open' USING ERRCODE = 'CM004';
    END IF;
    UPDATE users AS u
    SET
        email = 'erased-' || u.id || '@invalid', password_hash = '', name = NULL, phone = NULL,
        stripe_customer_id = NULL, timezone = 'UTC', locale = 'en', email_verified_at = NULL,
        tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from), erased_at = coalesce(u.erased_at, clock_timestamp())
    WHERE u.id = p_user_id;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO erasures (user_id, requested_by) VALUES (p_user_id, p_requested_by) ON CONFLICT (user_id) DO NOTHING;
    DELETE FROM unknown_caller_attempts AS x
    WHERE x.converted_user_id = p_user_id
        OR x.phone_number IN (
            SELECT h.number FROM phones AS h WHERE h.user_id = p_user_id AND h.verified_at IS NOT NULL
        );
    DELETE FROM phones AS x WHERE x.user_id = p_user_id;
    DELETE FROM one_time_tokens AS x WHERE x.user_id = p_user_id;
    DELETE FROM admin_users AS x WHERE x.user_id = p_user_id;
    DELETE FROM user_preferences AS x WHERE x.user_id = p_user_id;
    DELETE FROM idempotency_keys AS x WHERE x.user_id = p_user_id;
    DELETE FROM call_scenario_templates AS x WHERE x.user_id = p_user_id;
    DELETE FROM transcripts AS x WHERE x.user_id = p_user_id;
    DELETE FROM scheduled_calls AS x WHERE x.user_id = p_user_id AND x.call_id IS NULL;
    UPDATE scheduled_calls AS x
    SET phone_number = '', call_pretext = NULL, call_scenario = NULL, schedule_id = NULL
    WHERE x.user_id = p_user_id;
    DELETE FROM call_schedules AS x WHERE x.user_id = p_user_id;
    DELETE FROM calendar_feeds AS x WHERE x.user_id = p_user_id;
    UPDATE calls AS x
    SET phone_number = '', call_pretext = NULL, call_scenario = NULL, custom_instructions = NULL, voice_id = NULL
    WHERE x.user_id = p_user_id;
    UPDATE user_persona_relationships AS x
    SET relationship_type = 'friend', custom_system_prompt = NULL, voice_id = NULL, voice_settings = NULL
    WHERE x.user_id = p_user_id;
    UPDATE personas AS x
    SET
        name = 'Erased', description = NULL, core_system_prompt = 'erased', avatar_url = NULL, category = NULL,
        -- A voice may be a copy of somebody's own.
        default_voice_id = NULL, default_voice_settings = '{}', llm_model = NULL, phone_number = NULL, is_active = false
    WHERE x.owner_user_id = p_user_id;
    -- What an event says is needed until it is settled: it may be money.
    UPDATE payment_events AS x
    SET payload = NULL, facts = CASE WHEN x.state = 'unmatched' THEN x.facts END
    WHERE x.user_id = p_user_id;
    UPDATE payment_events AS x SET payload = NULL WHERE x.state = 'unmatched' AND x.facts ->> 'user_id' = p_user_id;
    UPDATE api_keys AS x
    SET revoked_at = clock_timestamp()
    FROM sql_scopes AS s
    WHERE x.scope_id = s.id AND s.as_user_id = p_user_id AND x.revoked_at IS NULL;
    UPDATE purchases AS x SET stripe_customer_id = NULL, checkout_url = NULL WHERE x.user_id = p_user_id;
    -- Nobody pays on for an account that is gone: the worker cancels the plan at the provider.
    UPDATE subscriptions AS x
    SET stripe_customer_id = NULL, checkout_url = NULL, cancel_due_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.ended_at IS NULL;
    DELETE FROM budget_notices AS x WHERE x.user_id = p_user_id;
    RETURN true;
END
$$;

COMMENT ON FUNCTION public.erase_user(p_user_id text, p_requested_by text) IS 'Empties a person and all that is personal; ledger, costs and call figures stay. Refused while a call is open. May be repeated.';

CREATE FUNCTION public.expire_checkout(p_user_id text, p_subscription_id text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE subscriptions AS s
    SET status = 'expired', checkout_url = NULL, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_subscription_id AND s.status = 'pending';
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.expire_checkout(p_user_id text, p_subscription_id text) IS 'The checkout of a plan ended unpaid. Money that comes all the same revives it.';

CREATE FUNCTION public.expire_grants(p_limit integer DEFAULT 1) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v record;
    v_account user_credits;
    v_rest integer;
    v_expired integer := 0;
BEGIN
    FOR v IN
        SELECT g.user_id, g.id
        FROM credit_grants AS g
        INNER JOIN user_credits AS a ON g.user_id = a.user_id
        -- What an open call holds may still be used: it waits for the end of the call.
        WHERE g.expired_at IS NULL AND g.expires_at <= v_now AND a.held_credits = 0
        ORDER BY g.expires_at, g.id
        LIMIT p_limit
    LOOP
        PERFORM lock_account(v.user_id);
        SELECT a.* INTO v_account FROM user_credits AS a WHERE a.user_id = v.user_id;
        CONTINUE WHEN v_account.held_credits > 0;
        UPDATE credit_grants AS g
        SET expired_at = v_now
        WHERE g.user_id = v.user_id AND g.id = v.id AND g.expired_at IS NULL;
        CONTINUE WHEN NOT FOUND;
        SELECT r.rest INTO v_rest FROM rest_of_grants(v.user_id) AS r WHERE r.grant_id = v.id;
        v_rest := least(v_rest, v_account.available_credits);
        IF v_rest > 0 THEN
            PERFORM move_credits(v.user_id, -v_rest, 'expiry', 'expiry:' || v.id);
        END IF;
        v_expired := v_expired + 1;
    END LOOP;
    RETURN v_expired;
END
$$;

COMMENT ON FUNCTION public.expire_grants(p_limit integer) IS 'Takes back what is left of grants whose time is over, never more than there is. One a transaction keeps it from holding two accounts.';

CREATE FUNCTION public.extend_job(p_name text, p_run bigint, p_lease interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE jobs AS j
    SET lease_until = clock_timestamp() + p_lease
    WHERE j.name = p_name AND j.runs = p_run AND j.claimed_by IS NOT NULL;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.extend_job(p_name text, p_run bigint, p_lease interval) IS 'The heartbeat of a job that goes on; false: another worker has it by now.';

CREATE FUNCTION public.fail_purchase(p_user_id text, p_purchase_id text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_coupon text;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE purchases AS x
    SET status = 'failed'
    WHERE x.user_id = p_user_id AND x.id = p_purchase_id AND x.status = 'pending'
    RETURNING x.coupon INTO v_coupon;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE coupons AS c SET redemptions = c.redemptions - 1 WHERE c.code = v_coupon AND c.redemptions > 0;
    RETURN true;
END
$$;

COMMENT ON FUNCTION public.fail_purchase(p_user_id text, p_purchase_id text) IS 'A checkout that ended unpaid: its coupon is free again. Money that comes all the same still counts.';

CREATE FUNCTION public.finish_call(p_user_id text, p_call_id text, p_status text, p_end_reason text, p_seq integer DEFAULT NULL::integer, p_connected_seconds integer DEFAULT NULL::integer, p_listener_seconds numeric DEFAULT 0, p_input_tokens integer DEFAULT 0, p_output_tokens integer DEFAULT 0, p_characters integer DEFAULT 0, p_fallback_input_tokens integer DEFAULT 0, p_fallback_output_tokens integer DEFAULT 0, p_local_characters integer DEFAULT 0, p_answered_by text DEFAULT NULL::text, p_is_charged boolean DEFAULT true, p_turn_count integer DEFAULT NULL::integer, p_interrupt_count integer DEFAULT NULL::integer, p_avg_response_time_ms integer DEFAULT NULL::integer, p_error_message text DEFAULT NULL::text) RETURNS public.finished_call
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.finish_call(p_user_id text, p_call_id text, p_status text, p_end_reason text, p_seq integer, p_connected_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, p_answered_by text, p_is_charged boolean, p_turn_count integer, p_interrupt_count integer, p_avg_response_time_ms integer, p_error_message text) IS 'Settles a call by its first caller; a later caller only adds usage. p_connected_seconds NULL settles to the last metered second.';

CREATE FUNCTION public.finish_due(p_ids text[], p_user_ids text[], p_claims integer[], p_statuses text[], p_outcomes text[], p_call_ids text[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.finish_due(p_ids text[], p_user_ids text[], p_claims integer[], p_statuses text[], p_outcomes text[], p_call_ids text[]) IS 'Notes what became of claimed calls; a claim that is no longer this one changes nothing.';

CREATE FUNCTION public.finish_job(p_name text, p_run bigint, p_result_count bigint, p_error text, p_again_within interval) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.finish_job(p_name text, p_run bigint, p_result_count bigint, p_error text, p_again_within interval) IS 'Notes how a run ended and when the next one is; false for a run that another worker has taken over.';

CREATE FUNCTION public.follow_rates() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_version price_versions;
BEGIN
    FOR v_version IN
        SELECT DISTINCT ON (v.card) v.* FROM price_versions AS v ORDER BY v.card, v.effective_from DESC
    LOOP
        PERFORM refresh_card(v_version);
    END LOOP;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION public.follow_rates() IS 'A new rate reaches every card in the same commit.';

CREATE FUNCTION public.follow_subscription(p_user_id text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v subscriptions;
    v_in_force boolean;
BEGIN
    SELECT s.* INTO v
    FROM subscriptions AS s
    WHERE s.user_id = p_user_id AND s.started_at IS NOT NULL
    ORDER BY s.status IN ('active', 'past_due') DESC, s.current_period_start DESC
    LIMIT 1;
    v_in_force := v.status IN ('active', 'past_due') AND v.suspended_at IS NULL;
    UPDATE user_credits AS a
    SET
        subscription_tier = CASE WHEN v_in_force THEN v.tier ELSE 'free' END,
        subscription_status = CASE WHEN v.suspended_at IS NOT NULL AND v.status = 'active' THEN 'past_due' ELSE v.status END,
        subscription_stripe_id = v.stripe_subscription_id,
        subscription_start_date = v.started_at,
        subscription_end_date = coalesce(v.ended_at, v.current_period_end),
        updated_at = clock_timestamp()
    WHERE a.user_id = p_user_id;
END
$$;

COMMENT ON FUNCTION public.follow_subscription(p_user_id text) IS 'Brings the account''s tier in line with its newest paid plan. The caller holds the account.';

CREATE FUNCTION public.forget_attempts(p_bucket text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    DELETE FROM login_attempts AS l WHERE l.bucket = p_bucket;
END
$$;

COMMENT ON FUNCTION public.forget_attempts(p_bucket text) IS 'A success clears the counter of its account.';

CREATE FUNCTION public.forget_customer(p_user_id text, p_customer_id text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE users AS u
    SET stripe_customer_id = NULL
    WHERE u.id = p_user_id AND u.stripe_customer_id = p_customer_id;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.forget_customer(p_user_id text, p_customer_id text) IS 'The provider knows this customer no longer: another is made at the next need.';

CREATE FUNCTION public.grant_credits(p_user_id text, p_grant_id text, p_credits integer, p_cause text, p_expires_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v record;
BEGIN
    IF p_credits <= 0 OR p_expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'a promotion has credits and a time to come' USING ERRCODE = 'CM021';
    END IF;
    SELECT m.moved, m.seq INTO v
    FROM move_credits(p_user_id, p_credits, 'promotion', 'promotion:' || p_cause) AS m;
    IF v.moved THEN
        INSERT INTO credit_grants (user_id, id, credits, cause, granted_seq, expires_at)
        VALUES (p_user_id, p_grant_id, p_credits, p_cause, v.seq, p_expires_at);
    END IF;
    RETURN v.moved;
END
$$;

COMMENT ON FUNCTION public.grant_credits(p_user_id text, p_grant_id text, p_credits integer, p_cause text, p_expires_at timestamp with time zone) IS 'Gives credits that expire, once per cause.';

CREATE FUNCTION public.grant_problems(p_reads text[], p_writes text[], p_calls text[], p_as_user_id text) RETURNS TABLE(asked text, name text, problem text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT w.asked, w.name, w.problem
    FROM (
        SELECT
            'read' AS asked,
            a.name,
            CASE
                WHEN r.name IS NULL AND a.name <> 'all' THEN 'unknown'
                WHEN a.name <> 'all' AND p_as_user_id IS NOT NULL AND r.seen_by IS NULL THEN 'not_personal'
            END AS problem
        FROM unnest(p_reads) AS a (name)
        LEFT JOIN key_relations() AS r ON a.name = r.name
        UNION ALL
        SELECT
            'write' AS asked,
            a.name,
            CASE
                WHEN r.name IS NULL THEN 'unknown'
                WHEN r.is_view THEN 'view'
                WHEN r.is_written_by_functions THEN 'by_functions'
                WHEN p_as_user_id IS NOT NULL AND r.written_by IS NULL THEN 'not_personal'
                WHEN p_as_user_id IS NOT NULL AND NOT (
                    has_any_column_privilege('callmeback_api', r.relation, 'INSERT, UPDATE')
                    OR has_table_privilege('callmeback_api', r.relation, 'DELETE')
                ) THEN 'not_theirs'
            END AS problem
        FROM unnest(p_writes) AS a (name)
        LEFT JOIN key_relations() AS r ON a.name = r.name
        UNION ALL
        SELECT
            'call' AS asked,
            a.name,
            CASE
                WHEN count(f.name) = 0 THEN 'unknown'
                WHEN bool_or(f.is_refused) THEN 'refused'
                WHEN p_as_user_id IS NOT NULL AND NOT bool_and(f.is_personal) THEN 'not_personal'
            END AS problem
        FROM unnest(p_calls) AS a (name)
        LEFT JOIN key_functions() AS f ON a.name = f.name
        GROUP BY a.name
    ) AS w
    WHERE w.problem IS NOT NULL;
END
$$;

COMMENT ON FUNCTION public.grant_problems(p_reads text[], p_writes text[], p_calls text[], p_as_user_id text) IS 'What of a wish for grants can''t be granted, and why, as a stable word.';

CREATE FUNCTION public.grant_scope(p_scope_id text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
    v_scope sql_scopes;
    v_role text;
    v_schema text;
    v_reads boolean;
    v_writes boolean;
    v_rows text;
    v_insert text;
    v_update text;
    v record;
BEGIN
    SELECT s.* INTO STRICT v_scope FROM sql_scopes AS s WHERE s.id = p_scope_id;
    v_role := v_scope.role_name;
    IF to_regrole(v_role) IS NULL THEN
        RETURN false;
    END IF;
    PERFORM take_scope(v_role, false);
    v_schema := CASE
        WHEN v_scope.as_user_id IS NOT NULL THEN 'scope_' || v_scope.id
        WHEN v_scope.pii THEN 'clear'
        ELSE 'masked'
    END;
    IF v_scope.as_user_id IS NOT NULL THEN
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', v_schema);
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), v_role);
    EXECUTE format('GRANT USAGE ON SCHEMA public, %I TO %I', v_schema, v_role);

    FOR v IN SELECT r.* FROM key_relations() AS r ORDER BY r.relation LOOP
        v_reads := v.name = ANY (v_scope.reads) OR 'all' = ANY (v_scope.reads);
        v_writes := v.name = ANY (v_scope.writes) AND NOT v.is_view AND NOT v.is_written_by_functions;
        v_rows := 'true';
        IF v_scope.as_user_id IS NOT NULL THEN
            v_reads := v_reads AND v.seen_by IS NOT NULL;
            v_writes := v_writes AND v.written_by IS NOT NULL;
            v_rows := format(v.seen_by, v_scope.as_user_id);
        END IF;
        CONTINUE WHEN NOT v_reads AND NOT v_writes;

        -- The rows. Making a policy stops everybody at its table, so one that is there stays: a scope never changes.
        IF NOT v.is_view AND NOT EXISTS (
            SELECT FROM pg_policy AS p WHERE p.polrelid = v.relation AND p.polname = v_role
        ) THEN
            EXECUTE format('CREATE POLICY %I ON public.%I FOR SELECT TO %I USING (%s)', v_role, v.name, v_role, v_rows);
        END IF;
        IF v_writes AND NOT EXISTS (
            SELECT FROM pg_policy AS p WHERE p.polrelid = v.relation AND p.polname = v_role || '_write'
        ) THEN
            EXECUTE format(
                'CREATE POLICY %I ON public.%I TO %I USING (%s) WITH CHECK (%4$s)', v_role || '_write', v.name, v_role,
                CASE WHEN v_scope.as_user_id IS NULL THEN 'true' ELSE format(v.written_by, v_scope.as_user_id) END
            );
        END IF;

        IF v_reads AND (v.is_view OR v.has_secret OR (v.has_pii AND NOT v_scope.pii)) THEN
            IF v_scope.as_user_id IS NOT NULL THEN
                PERFORM make_key_view(v_schema, v.relation, NOT v_scope.pii, v_rows);
            END IF;
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', v_schema, v.name, v_role);
        ELSIF v_reads THEN
            EXECUTE format('GRANT SELECT ON public.%I TO %I', v.name, v_role);
        END IF;

        IF v_writes THEN
            -- A person's key writes no column, and deletes nothing, that the person could not through the API.
            SELECT
                string_agg(quote_ident(a.attname), ', ') FILTER (WHERE b.is_free OR b.may_insert),
                string_agg(quote_ident(a.attname), ', ') FILTER (WHERE b.is_free OR b.may_update)
            INTO v_insert, v_update
            FROM pg_attribute AS a
            CROSS JOIN LATERAL (
                SELECT
                    v_scope.as_user_id IS NULL AS is_free,
                    has_column_privilege('callmeback_api', a.attrelid, a.attnum, 'INSERT') AS may_insert,
                    has_column_privilege('callmeback_api', a.attrelid, a.attnum, 'UPDATE') AS may_update
            ) AS b
            WHERE a.attrelid = v.relation AND a.attnum > 0 AND NOT a.attisdropped
                AND coalesce(col_description(a.attrelid, a.attnum), '') !~ '^secret';
            IF v_scope.as_user_id IS NULL OR has_table_privilege('callmeback_api', v.relation, 'DELETE') THEN
                EXECUTE format('GRANT DELETE ON public.%I TO %I', v.name, v_role);
            END IF;
            IF v_insert IS NOT NULL THEN
                EXECUTE format('GRANT INSERT (%s) ON public.%I TO %I', v_insert, v.name, v_role);
            END IF;
            IF v_update IS NOT NULL THEN
                EXECUTE format('GRANT UPDATE (%s) ON public.%I TO %I', v_update, v.name, v_role);
            END IF;
        END IF;
        -- WHERE, ON CONFLICT and RETURNING of a write read the table itself, so they see what may be seen unmasked.
        IF v_writes AND v_reads THEN
            EXECUTE format(
                'GRANT SELECT (%s) ON public.%I TO %I',
                (
                    SELECT string_agg(quote_ident(a.attname), ', ')
                    FROM pg_attribute AS a
                    WHERE a.attrelid = v.relation AND a.attnum > 0 AND NOT a.attisdropped
                        AND coalesce(col_description(a.attrelid, a.attnum), '') !~
                        CASE WHEN v_scope.pii THEN '^secret' ELSE '^(secret|pii:)' END
                ),
                v.name, v_role
            );
        END IF;
    END LOOP;

    FOR v IN
        SELECT f.function::regprocedure AS name
        FROM key_functions() AS f
        WHERE f.name = ANY (v_scope.calls) AND NOT f.is_refused AND (f.is_personal OR v_scope.as_user_id IS NULL)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', v.name, v_role);
    END LOOP;
    IF cardinality(v_scope.writes) + cardinality(v_scope.calls) > 0 THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION claim_answer, keep_answer TO %I', v_role);
    END IF;
    -- A view asks its functions, and a trigger those that it calls, in the name of whoever reads or writes.
    IF ARRAY['all', 'month_forecast'] && v_scope.reads OR 'users' = ANY (v_scope.writes) THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION zone_or_utc TO %I', v_role);
    END IF;
    RETURN true;
END
$_$;

COMMENT ON FUNCTION public.grant_scope(p_scope_id text) IS 'Grants a scope''s role exactly what the scope says; false when there is no such role yet.';

CREATE FUNCTION public.grant_scopes(p_again boolean) RETURNS TABLE(scope_id text, role_name text, state text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v record;
BEGIN
    FOR v IN
        SELECT
            s.id,
            s.role_name,
            EXISTS (
                SELECT FROM api_keys AS k
                WHERE k.scope_id = s.id AND k.revoked_at IS NULL
                    AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
            ) AS is_needed
        FROM sql_scopes AS s
        ORDER BY s.id
    LOOP
        scope_id := v.id;
        role_name := v.role_name;
        IF p_again OR NOT v.is_needed THEN
            PERFORM take_scope(v.role_name, true);
        END IF;
        IF NOT v.is_needed THEN
            state := CASE WHEN to_regrole(v.role_name) IS NULL THEN 'gone' ELSE 'unneeded' END;
        ELSIF grant_scope(v.id) THEN
            state := 'granted';
        ELSE
            state := 'no_role';
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION public.grant_scopes(p_again boolean) IS 'Grants every scope that a living key needs, and takes everything from the others. Again: policies and views too are made from nothing.';

CREATE FUNCTION public.halt_schedule(p_user_id text, p_id text, p_problem text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE call_schedules AS s
    SET paused_at = clock_timestamp(), problem = p_problem
    WHERE s.user_id = p_user_id AND s.id = p_id;
END
$$;

COMMENT ON FUNCTION public.halt_schedule(p_user_id text, p_id text, p_problem text) IS 'Pauses a schedule whose rule can no longer be read, and says why.';

CREATE FUNCTION public.hash_of_day(p_day date, p_before bytea, OUT ledger_rows bigint, OUT received_credits bigint, OUT taken_credits bigint, OUT batch_hash bytea) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    AS $$
BEGIN
    SELECT
        count(*), coalesce(sum(t.amount) FILTER (WHERE t.amount > 0), 0),
        coalesce(sum(t.amount) FILTER (WHERE t.amount < 0), 0),
        sha256(coalesce(p_before, '') || convert_to(
            p_day || E'\n' || coalesce(string_agg(
                concat_ws(
                    E'\t', t.user_id, t.seq, t.amount, t.balance_after, t.type, t.cause, t.call_id, t.created_at
                ), E'\n' ORDER BY t.user_id, t.seq
            ), ''), 'UTF8'
        ))
    INTO ledger_rows, received_credits, taken_credits, batch_hash
    FROM credit_transactions AS t
    WHERE t.created_at >= p_day::timestamp AT TIME ZONE 'UTC'
        AND t.created_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC';
END
$$;

COMMENT ON FUNCTION public.hash_of_day(p_day date, p_before bytea, OUT ledger_rows bigint, OUT received_credits bigint, OUT taken_credits bigint, OUT batch_hash bytea) IS 'The ledger of a day (UTC) as figures and one hash, chained to the hash before.';

CREATE FUNCTION public.issue_one_time_token(p_email text, p_purpose text, p_token_hash bytea, p_valid_for interval) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_user_id text;
BEGIN
    SELECT u.id INTO v_user_id
    FROM users AS u
    WHERE lower(u.email) = lower(p_email) AND u.erased_at IS NULL AND u.blocked_at IS NULL;
    IF v_user_id IS NOT NULL THEN
        DELETE FROM one_time_tokens AS t WHERE t.user_id = v_user_id AND t.purpose = p_purpose AND t.used_at IS NULL;
        INSERT INTO one_time_tokens (token_hash, user_id, purpose, expires_at)
        VALUES (p_token_hash, v_user_id, p_purpose, clock_timestamp() + p_valid_for);
    END IF;
    RETURN v_user_id;
END
$$;

COMMENT ON FUNCTION public.issue_one_time_token(p_email text, p_purpose text, p_token_hash bytea, p_valid_for interval) IS 'Replaces the open token of this purpose; NULL for an unknown e-mail, which the caller never tells.';

CREATE FUNCTION public.keep_answer(p_key_id text, p_idempotency_key text, p_answer bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE proxy_answers AS a
    SET answer = p_answer
    FROM api_keys AS k, sql_scopes AS s
    WHERE a.key_id = p_key_id AND a.idempotency_key = p_idempotency_key AND a.answer IS NULL
        AND a.key_id = k.id AND k.scope_id = s.id AND s.role_name = session_user;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no answer of this role is awaited' USING ERRCODE = 'CM008';
    END IF;
END
$$;

COMMENT ON FUNCTION public.keep_answer(p_key_id text, p_idempotency_key text, p_answer bytea) IS 'Keeps the answer to a batch that claim_answer took as the first.';

CREATE TABLE public.payments (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    kind text NOT NULL,
    subscription_id public.id,
    payment_intent_id text,
    tier text,
    description text NOT NULL,
    amount_cents numeric(12,2) NOT NULL,
    reversed_cents numeric(12,2) DEFAULT 0 NOT NULL,
    currency text NOT NULL,
    credits integer NOT NULL,
    reversed_credits integer DEFAULT 0 NOT NULL,
    period_start timestamp with time zone,
    period_end timestamp with time zone,
    paid_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT payments_amount CHECK ((amount_cents > (0)::numeric)),
    CONSTRAINT payments_credits CHECK ((credits >= 0)),
    CONSTRAINT payments_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT payments_kind CHECK ((kind = ANY (ARRAY['purchase'::text, 'subscription'::text, 'call'::text]))),
    CONSTRAINT payments_reversed_cents CHECK (((reversed_cents >= (0)::numeric) AND (reversed_cents <= amount_cents))),
    CONSTRAINT payments_reversed_credits CHECK (((reversed_credits >= 0) AND (reversed_credits <= credits)))
);

COMMENT ON TABLE public.payments IS 'Money that came in, each amount once: a pack, a period of a plan, a call. What refunds and disputes take back is taken from here.';

COMMENT ON COLUMN public.payments.id IS 'The purchase, the provider''s invoice, or the authorization that was paid.';

COMMENT ON COLUMN public.payments.subscription_id IS 'Of a plan: whose period it paid.';

COMMENT ON COLUMN public.payments.description IS 'What was sold, in the house''s words.';

COMMENT ON COLUMN public.payments.amount_cents IS 'What was paid, in the smallest unit of its currency.';

COMMENT ON COLUMN public.payments.reversed_cents IS 'Of it, given back by refunds or withdrawn by disputes; at most all of it.';

COMMENT ON COLUMN public.payments.credits IS 'Credits that it brought.';

COMMENT ON COLUMN public.payments.reversed_credits IS 'Of them, taken back in proportion.';

COMMENT ON COLUMN public.payments.period_start IS 'Of a plan: the period that was paid.';

COMMENT ON COLUMN public.payments.period_end IS 'Of a plan: the end of the period that was paid.';

COMMENT ON COLUMN public.payments.paid_at IS 'By the provider''s clock.';

CREATE FUNCTION public.keep_period_credits(p_payment public.payments) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_from payments;
    v_to_id text;
BEGIN
    SELECT x.* INTO v_from
    FROM payments AS x
    WHERE x.user_id = p_payment.user_id AND x.subscription_id = p_payment.subscription_id
        AND x.period_start = p_payment.period_start AND x.tier = p_payment.tier AND x.credits > 0 AND x.reversed_cents > 0;
    SELECT x.id INTO v_to_id
    FROM payments AS x
    WHERE v_from.id IS NOT NULL AND x.user_id = p_payment.user_id AND x.subscription_id = p_payment.subscription_id
        AND x.period_start = p_payment.period_start AND x.tier = p_payment.tier AND x.credits = 0 AND x.reversed_cents = 0
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE payments AS x
    SET credits = CASE WHEN x.id = v_to_id THEN v_from.credits ELSE 0 END, reversed_credits = 0
    WHERE x.user_id = p_payment.user_id AND x.id IN (v_from.id, v_to_id);
    RETURN v_from.reversed_credits;
END
$$;

COMMENT ON FUNCTION public.keep_period_credits(p_payment public.payments) IS 'Of a period that was paid twice one money was given back: its credits are those of the money that stays, whichever brought them. Answers how many that brings back. The caller holds the account.';

CREATE FUNCTION public.key_functions() RETURNS TABLE(name text, function oid, is_refused boolean, is_personal boolean)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- They give out or take in hashes of passwords, codes and links: whoever may call them can become anybody.
    c_secrets CONSTANT text[] := ARRAY[
        'admit', 'change_password', 'check_session', 'issue_one_time_token', 'login_lookup', 'request_phone_code',
        'use_one_time_token', 'verify_phone'
    ];
    -- Money comes in by the provider's word alone, and its steps are the house's.
    c_payments CONSTANT text[] := ARRAY[
        'apply_payment_event', 'apply_waiting', 'begin_authorization', 'begin_purchase', 'begin_subscription',
        'check_sealed_days', 'claim_authorizations', 'claim_budget_notice', 'claim_subscription_work',
        'close_stale_checkouts', 'count_reversals', 'effect_of_dispute', 'effect_of_intent', 'effect_of_invoice',
        'effect_of_invoice_payment', 'effect_of_purchase_session', 'effect_of_refund', 'effect_of_subscription',
        'effect_of_subscription_session', 'end_authorization', 'end_grace', 'expire_checkout', 'expire_grants',
        'fail_purchase', 'follow_subscription', 'forget_customer', 'grant_credits', 'hash_of_day', 'keep_period_credits',
        'let_go_after_all', 'lock_account', 'lock_paid_call', 'note_authorization', 'note_budget_put_off', 'note_budget_told', 'note_cancellation', 'note_checkout', 'note_customer', 'note_subscription_checkout',
        'notice_budgets', 'objects_of', 'outcome', 'payment_effect', 'payment_of', 'receive_payment',
        'release_authorization', 'repeat_payment_event', 'request_tier', 'require_self', 'rest_of_grants',
        'retry_payment_events', 'seal_day', 'set_rate', 'settle_authorization', 'start_paid_call', 'subscription_of',
        'withdraw_tier_request'
    ];
    -- The proxy's own, and parts of others.
    c_inner CONSTANT text[] := ARRAY[
        'acts_for', 'add_cost_event', 'add_late_cost', 'add_price_version', 'begin_relationship', 'claim_answer',
        'erase_again', 'grant_problems', 'grant_scope', 'grant_scopes',
        'add_retry', 'calendar_feed_user', 'claim_due', 'claim_jobs', 'claim_reminders', 'claim_schedules', 'ensure_jobs',
        'extend_job', 'finish_due', 'finish_job', 'halt_schedule', 'place_due', 'refusal_code', 'request_job', 'settle_due',
        'keep_answer', 'key_functions', 'key_relations', 'learn_statement', 'make_key_view', 'make_key_views',
        'next_tokens_valid_from', 'price_whole_usage', 'proxy_keys', 'proxy_statements', 'proxy_version', 'recompute_schedule',
        'refresh_card', 'require_card_in_force', 'statement_statistics', 'take_scope',
        'zone_or_utc'
    ];
BEGIN
    RETURN QUERY
    SELECT
        p.proname::text,
        p.oid,
        p.prorettype = 'trigger'::regtype OR p.proname = ANY (c_secrets || c_payments || c_inner),
        -- It asks acts_for about the person that it is given.
        p.prosecdef AND p.prosrc ~ '\mIF NOT acts_for\(p_user_id\) THEN\M'
    FROM pg_proc AS p
    WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f';
END
$$;

COMMENT ON FUNCTION public.key_functions() IS 'Functions of the house: whether a key may never call one, and whether one checks for whom the caller acts.';

CREATE FUNCTION public.key_relations() RETURNS TABLE(name text, relation oid, is_view boolean, has_pii boolean, has_secret boolean, is_written_by_functions boolean, seen_by text, written_by text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- The proxy's own, and the migration runner's: no key reads or writes them.
    c_own CONSTANT text[] := ARRAY[
        'api_keys', 'named_statements', 'proxy_answers', 'proxy_state', 'schema_migrations', 'schema_repeatable',
        'sql_scopes'
    ];
    -- Money, calls, proofs of identity and what carriers and vendors said: each has functions that keep its rules.
    c_by_functions CONSTANT text[] := ARRAY[
        'admin_users', 'backups', 'budget_notices', 'calendar_feeds', 'call_cost_breakdowns', 'call_cost_events', 'calls',
        'card_in_force', 'carrier_events', 'closing_days', 'coupons', 'credit_grants', 'credit_packs',
        'credit_transactions', 'dial_buckets',
        'disputes', 'erasures', 'idempotency_keys', 'jobs', 'login_attempts', 'one_time_tokens', 'open_calls',
        'payment_authorizations', 'payment_events', 'payments', 'phones', 'price_versions', 'purchases', 'refunds',
        'sealed_days', 'service_rates', 'subscription_tiers', 'subscriptions', 'token_blacklist', 'user_credits'
    ];
    -- The same for everybody.
    c_catalogues CONSTANT text[] := ARRAY[
        'card_in_force', 'credit_packs', 'price_versions', 'service_rates', 'subscription_tiers'
    ];
BEGIN
    RETURN QUERY
    WITH relations AS (
        SELECT
            c.oid AS relation,
            c.relname::text AS name,
            c.relkind = 'v' AS is_view,
            bool_or(coalesce(col_description(c.oid, a.attnum), '') ~ '^pii:') AS has_pii,
            bool_or(coalesce(col_description(c.oid, a.attnum), '') ~ '^secret') AS has_secret,
            bool_or(a.attname = 'user_id') AS has_user
        FROM pg_class AS c
        INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
            AND c.relname <> ALL (c_own)
        GROUP BY c.oid, c.relname, c.relkind
    )
    SELECT
        r.name, r.relation, r.is_view, r.has_pii, r.has_secret, r.name = ANY (c_by_functions),
        CASE
            WHEN r.name = 'users' THEN 'id = %L'
            WHEN r.name = 'personas' THEN '(owner_user_id IS NULL OR owner_user_id = %L)'
            WHEN r.name = 'call_scenario_templates' THEN '(user_id IS NULL OR user_id = %L)'
            WHEN r.name = ANY (c_catalogues) THEN 'true'
            WHEN r.has_user THEN 'user_id = %L'
        END,
        CASE
            WHEN r.name = 'users' THEN 'id = %L'
            WHEN r.name = 'personas' THEN 'owner_user_id = %L'
            WHEN r.has_user THEN 'user_id = %L'
        END
    FROM relations AS r
    ORDER BY r.name;
END
$$;

COMMENT ON FUNCTION public.key_relations() IS 'What a key may read; seen_by and written_by say which rows are one person''s (NULL: none), as a format() with the person''s id.';

CREATE FUNCTION public.learn_statement(p_key_id text, p_statement text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    c_most_statements CONSTANT integer := 1000;
    v_hash bytea := sha256(convert_to(p_statement, 'UTF8'));
BEGIN
    -- The lock also makes the count below hold when two learn at once.
    PERFORM FROM api_keys AS k
    WHERE k.id = p_key_id AND k.mode = 'exact' AND k.revoked_at IS NULL AND k.learning_until > clock_timestamp()
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    ELSIF EXISTS (
        SELECT FROM named_statements AS n
        WHERE n.key_id = p_key_id AND n.kind = 'exact' AND n.text_hash = v_hash
    ) THEN
        RETURN true;
    ELSIF (SELECT count(*) FROM named_statements AS n WHERE n.key_id = p_key_id) >= c_most_statements THEN
        RETURN false;
    END IF;
    INSERT INTO named_statements (key_id, id, kind, statement, text_hash)
    VALUES (p_key_id, left(encode(v_hash, 'hex'), 32), 'exact', p_statement, v_hash);
    RETURN true;
END
$$;

COMMENT ON FUNCTION public.learn_statement(p_key_id text, p_statement text) IS 'Remembers a text of an exact key that is learning; false when it is not, or has its thousand already.';

CREATE FUNCTION public.lease_stale_calls(p_limit integer, p_lease interval DEFAULT '00:00:30'::interval) RETURNS TABLE(user_id text, call_id text, status text, situation text, carrier_sid text, phone_number text, created_at timestamp with time zone, seen_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    -- A voice process reports every second; ten missed reports are no hiccup.
    c_silence CONSTANT interval := '10 seconds';
    -- The carrier answers a create within seconds; after this its answer is lost.
    c_dial_unknown CONSTANT interval := '30 seconds';
    -- A phone rings for 60 seconds at the most; then the carrier's last word is overdue.
    c_ring CONSTANT interval := '90 seconds';
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH stale AS (
        SELECT
            o.user_id, o.call_id, c.status, c.twilio_call_sid, c.phone_number, c.created_at, b.seen_at,
            CASE
                WHEN o.dial_claimed_at IS NULL THEN 'never_dialled'
                WHEN c.twilio_call_sid IS NULL THEN 'dial_unknown'
                WHEN c.status IN ('initiating', 'calling') THEN 'ringing_too_long'
                ELSE 'silent'
            END AS situation
        FROM open_calls AS o
        INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
        INNER JOIN call_cost_breakdowns AS b ON o.user_id = b.user_id AND o.call_id = b.call_id
        WHERE coalesce(o.reaper_leased_until, '-infinity') < v_now
            AND CASE
                WHEN o.dial_claimed_at IS NULL THEN o.dial_before < v_now
                WHEN c.twilio_call_sid IS NULL THEN o.dial_claimed_at < v_now - c_dial_unknown
                WHEN c.status IN ('initiating', 'calling') THEN o.dial_claimed_at < v_now - c_ring
                ELSE greatest(b.seen_at, c.answered_at) < v_now - c_silence
            END
        ORDER BY o.created_at
        LIMIT p_limit
        FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE open_calls AS o
    SET reaper_leased_until = v_now + p_lease
    FROM stale AS s
    WHERE o.user_id = s.user_id AND o.call_id = s.call_id
    RETURNING
        s.user_id::text, s.call_id::text, s.status::text, s.situation, s.twilio_call_sid, s.phone_number,
        s.created_at, s.seen_at;
END
$$;

COMMENT ON FUNCTION public.lease_stale_calls(p_limit integer, p_lease interval) IS 'Open calls that stopped moving, each to one reaper at a time, with what is wrong: never_dialled, dial_unknown, ringing_too_long, silent.';

CREATE FUNCTION public.let_go_after_all(p_user_id text, p_authorization_id text, p_payment_intent_id text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE payment_authorizations AS x
    SET
        state = 'releasing', payment_intent_id = coalesce(x.payment_intent_id, p_payment_intent_id),
        retry_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id AND x.call_id IS NULL
        AND x.state IN ('releasing', 'released', 'declined');
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.let_go_after_all(p_user_id text, p_authorization_id text, p_payment_intent_id text) IS 'Money was set aside after its authorization was given up, or refused: the worker releases it now, not the bank in a week.';

CREATE FUNCTION public.limit_plans() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.limit_plans() IS 'Bounds how many schedules, and how many single calls to come, a person has at once.';

CREATE FUNCTION public.lock_account(p_user_id text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.lock_account(p_user_id text) IS 'Waits for the account''s row and keeps it; false for nobody''s.';

CREATE FUNCTION public.lock_paid_call(p_user_id text, p_authorization_id text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM
    FROM call_cost_breakdowns AS b
    WHERE b.user_id = p_user_id AND b.call_id = (
        SELECT x.call_id FROM payment_authorizations AS x WHERE x.user_id = p_user_id AND x.id = p_authorization_id
    )
    FOR NO KEY UPDATE;
    PERFORM lock_account(p_user_id);
END
$$;

COMMENT ON FUNCTION public.lock_paid_call(p_user_id text, p_authorization_id text) IS 'The breakdown before the account, as finish_call has it: late usage of a call may be told while its money is taken.';

CREATE FUNCTION public.login_lookup(p_email text, OUT user_id text, OUT password_hash text, OUT is_blocked boolean) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    SELECT u.id, u.password_hash, u.blocked_at IS NOT NULL
    INTO user_id, password_hash, is_blocked
    FROM users AS u
    WHERE lower(u.email) = lower(p_email) AND u.erased_at IS NULL;
END
$$;

COMMENT ON FUNCTION public.login_lookup(p_email text, OUT user_id text, OUT password_hash text, OUT is_blocked boolean) IS 'What a login is checked against; NULLs for an unknown e-mail, so that the caller does the same work.';

CREATE FUNCTION public.make_key_view(p_schema text, p_relation oid, p_is_masked boolean, p_condition text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $_$
DECLARE
    v_name text;
    v_source text;
    v_columns text;
    v_shape text;
    v_present text;
BEGIN
    SELECT
        c.relname,
        -- A view of public runs with the rights of who asks, inside another view too, so its query stands here itself.
        CASE
            WHEN c.relkind = 'v' THEN format('(%s)', rtrim(pg_get_viewdef(c.oid), '; '))
            ELSE format('public.%I', c.relname)
        END,
        string_agg(
            CASE
                WHEN NOT p_is_masked OR d.class !~ '^pii:' THEN format('t.%I', a.attname)
                ELSE format(
                    'CASE WHEN t.%1$I IS NOT NULL THEN %2$s::%3$s END AS %1$I',
                    a.attname,
                    -- Constants, or the last two digits: a hash could be looked up, a length tells something.
                    CASE
                        WHEN d.class ~ '^pii:phone' AND y.typcategory = 'S' THEN format('(''***'' || right(t.%I, 2))', a.attname)
                        WHEN y.typcategory = 'S' THEN '''***'''
                        WHEN y.typname IN ('json', 'jsonb') THEN '''"***"'''
                        WHEN y.typname = 'bytea' THEN '''\x'''
                        ELSE 'NULL'
                    END,
                    format_type(a.atttypid, a.atttypmod)
                )
            END,
            ', ' ORDER BY a.attnum
        ),
        string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
    INTO v_name, v_source, v_columns, v_shape
    FROM pg_class AS c
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    INNER JOIN pg_type AS y ON a.atttypid = y.oid
    CROSS JOIN LATERAL (SELECT coalesce(col_description(c.oid, a.attnum), '') AS class) AS d
    WHERE c.oid = p_relation AND d.class !~ '^secret'
    GROUP BY c.oid, c.relname, c.relkind;

    SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
    INTO v_present
    FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass(format('%I.%I', p_schema, v_name)) AND a.attnum > 0;
    -- A view can be replaced only by one that begins with the same columns.
    IF NOT starts_with(v_shape || ',', v_present || ',') THEN
        EXECUTE format('DROP VIEW %I.%I', p_schema, v_name);
    END IF;
    -- The owner's rights, on purpose: they reach the columns that the reader's don't. Where rows are left out, a barrier
    -- keeps the reader's conditions, whose errors could tell of a row, from running before ours. Elsewhere it would hide
    -- nothing, and cost every join its index.
    EXECUTE format(
        'CREATE OR REPLACE VIEW %I.%I WITH (security_barrier = %s) AS SELECT %s FROM %s AS t WHERE %s',
        p_schema, v_name, p_condition <> 'true', v_columns, v_source, p_condition
    );
    EXECUTE format(
        'COMMENT ON VIEW %I.%I IS %L', p_schema, v_name,
        'Made from the comments of public.' || v_name || ' for keys of the SQL proxy; never edited.'
    );
END
$_$;

COMMENT ON FUNCTION public.make_key_view(p_schema text, p_relation oid, p_is_masked boolean, p_condition text) IS 'One view of the same name and columns: secrets left out, and personal columns masked unless the reader may see them.';

CREATE FUNCTION public.make_key_views() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v record;
BEGIN
    CREATE SCHEMA IF NOT EXISTS masked;
    COMMENT ON SCHEMA masked IS 'What keys without --pii read: personal columns masked, secrets left out. Made by make_key_views().';
    CREATE SCHEMA IF NOT EXISTS clear;
    COMMENT ON SCHEMA clear IS 'What keys with --pii read: secrets left out. Made by make_key_views().';
    FOR v IN SELECT r.* FROM key_relations() AS r LOOP
        IF v.has_pii OR v.has_secret OR v.is_view THEN
            PERFORM make_key_view('masked', v.relation, true, 'true');
        END IF;
        IF v.has_secret OR v.is_view THEN
            PERFORM make_key_view('clear', v.relation, false, 'true');
        END IF;
    END LOOP;
    FOR v IN
        SELECT c.oid::regclass AS name
        FROM pg_class AS c
        LEFT JOIN key_relations() AS r ON c.relname = r.name
        WHERE c.relkind = 'v' AND (
            (
                c.relnamespace = 'masked'::regnamespace
                AND NOT coalesce(r.has_pii OR r.has_secret OR r.is_view, false)
            ) OR (
                c.relnamespace = 'clear'::regnamespace
                AND NOT coalesce(r.has_secret OR r.is_view, false)
            )
        )
    LOOP
        EXECUTE format('DROP VIEW %s', v.name);
    END LOOP;
END
$$;

COMMENT ON FUNCTION public.make_key_views() IS 'The schemas masked and clear, from the privacy classes in the comments of columns: a new column is in them by itself.';

CREATE FUNCTION public.meter_calls(p_user_ids text[], p_call_ids text[], p_seqs integer[], p_carrier_seconds integer[], p_listener_seconds numeric[], p_input_tokens integer[], p_output_tokens integer[], p_characters integer[], p_fallback_input_tokens integer[], p_fallback_output_tokens integer[], p_local_characters integer[]) RETURNS TABLE(call_id text, is_open boolean, total_cost_cents numeric, limit_cents numeric, limit_seconds integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_setting text;
BEGIN
    -- The next second repeats everything, so this commit may be lost in a crash of the server.
    v_setting := set_config('synchronous_commit', 'off', true);
    RETURN QUERY
    WITH
    -- Locked in one order whatever the plan: batches that overlap would deadlock (a write that timed out may still run). A row
    -- that is locked stays in its place, where it is written without looking for it again; one that changed since we began
    -- isn't seen there, and waits for the next second. Nothing else is joined here: it would be copied row by row.
    locked AS MATERIALIZED (
        SELECT
            b.ctid AS place, b.user_id, b.call_id, b.meter_seq, b.settled_at IS NULL AS is_open, b.price_version_id,
            b.total_cost_cents AS cost_before, b.hold_cents, b.granted_seconds, b.local_month,
            array_position(p_call_ids, b.call_id::text) AS i
        FROM call_cost_breakdowns AS b
        WHERE b.call_id = ANY (p_call_ids)
        ORDER BY b.call_id
        FOR NO KEY UPDATE OF b
    ),
    -- Each leg is computed once: what a statement's target joins is computed at each mention.
    priced AS MATERIALIZED (
        SELECT
            m.place, m.user_id, m.call_id, m.i, m.is_open, m.cost_before, m.hold_cents, m.granted_seconds, m.local_month,
            m.is_open AND p_seqs[m.i] > m.meter_seq AS is_news,
            round(p_carrier_seconds[m.i] * v.carrier_second_cents / v.carrier_second_per, 10) AS carrier_cents,
            round(p_listener_seconds[m.i] * v.listener_second_cents / v.listener_second_per, 10) AS listener_cents,
            round(p_input_tokens[m.i] * v.brain_input_cents / v.brain_input_per, 10)
            + round(p_output_tokens[m.i] * v.brain_output_cents / v.brain_output_per, 10)
            + CASE
                WHEN greatest(p_fallback_input_tokens[m.i], p_fallback_output_tokens[m.i]) = 0 THEN 0
                ELSE round(p_fallback_input_tokens[m.i] * v.fallback_input_cents / v.fallback_input_per, 10)
                + round(p_fallback_output_tokens[m.i] * v.fallback_output_cents / v.fallback_output_per, 10)
            END AS brain_cents,
            round(p_characters[m.i] * v.voice_character_cents / v.voice_character_per, 10)
            + CASE
                WHEN p_local_characters[m.i] = 0 THEN 0
                ELSE round(p_local_characters[m.i] * v.local_character_cents / v.local_character_per, 10)
            END AS voice_cents
        FROM locked AS m
        INNER JOIN price_versions AS v ON m.price_version_id = v.id
        WHERE m.user_id = p_user_ids[m.i]
    ),
    metered AS (
        UPDATE call_cost_breakdowns AS b
        SET
            meter_seq = p_seqs[m.i],
            seen_at = clock_timestamp(),
            twilio_duration_seconds = p_carrier_seconds[m.i],
            deepgram_audio_seconds = p_listener_seconds[m.i],
            cerebras_input_tokens = p_input_tokens[m.i],
            cerebras_output_tokens = p_output_tokens[m.i],
            elevenlabs_characters = p_characters[m.i],
            fallback_input_tokens = p_fallback_input_tokens[m.i],
            fallback_output_tokens = p_fallback_output_tokens[m.i],
            local_characters = p_local_characters[m.i],
            twilio_cost_cents = m.carrier_cents,
            deepgram_cost_cents = m.listener_cents,
            cerebras_cost_cents = m.brain_cents,
            elevenlabs_cost_cents = m.voice_cents,
            total_cost_cents = m.carrier_cents + m.listener_cents + m.brain_cents + m.voice_cents
        FROM priced AS m
        WHERE b.ctid = m.place AND m.is_news
    ),
    -- One look through an index for all of them costs less than one for each.
    budgets AS MATERIALIZED (
        SELECT s.user_id, s.enable_auto_cutoff, s.max_cost_per_call_cents, s.max_monthly_spend_cents
        FROM user_budget_settings AS s
        WHERE s.user_id = ANY (p_user_ids)
    ),
    tiers AS MATERIALIZED (
        SELECT t.tier, t.max_call_duration_seconds FROM subscription_tiers AS t
    ),
    limits AS MATERIALIZED (
        SELECT
            a.user_id,
            CASE
                -- Cut-off or not, 0 means no spending.
                WHEN coalesce(s.enable_auto_cutoff, true) OR s.max_cost_per_call_cents = 0
                    THEN coalesce(s.max_cost_per_call_cents, 1000)
            END AS per_call_cents,
            coalesce(s.max_monthly_spend_cents, 10000) AS per_month_cents,
            a.spend_month,
            a.spent_in_month_cents,
            coalesce(a.max_call_duration_seconds, t.max_call_duration_seconds) AS seconds
        FROM user_credits AS a
        INNER JOIN tiers AS t ON a.subscription_tier = t.tier
        LEFT JOIN budgets AS s ON a.user_id = s.user_id
        WHERE a.user_id = ANY (p_user_ids)
    )
    SELECT
        m.call_id::text,
        m.is_open,
        CASE WHEN m.is_news THEN m.carrier_cents + m.listener_cents + m.brain_cents + m.voice_cents ELSE m.cost_before END,
        least(
            m.hold_cents,
            l.per_call_cents,
            greatest(
                0, l.per_month_cents - CASE WHEN l.spend_month = m.local_month THEN l.spent_in_month_cents ELSE 0 END
            )
        ),
        least(m.granted_seconds, l.seconds)
    FROM priced AS m
    INNER JOIN limits AS l ON m.user_id = l.user_id;
END
$$;

COMMENT ON FUNCTION public.meter_calls(p_user_ids text[], p_call_ids text[], p_seqs integer[], p_carrier_seconds integer[], p_listener_seconds numeric[], p_input_tokens integer[], p_output_tokens integer[], p_characters integer[], p_fallback_input_tokens integer[], p_fallback_output_tokens integer[], p_local_characters integer[]) IS 'One statement a second for all live calls of a process: stores cumulative usage, answers with the limits now in force.';

CREATE FUNCTION public.move_credits(p_user_id text, p_amount integer, p_type text, p_cause text, p_description text DEFAULT NULL::text, p_payment_intent_id text DEFAULT NULL::text, OUT moved boolean, OUT seq bigint, OUT balance_after integer) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- The account's row is the queue: whoever holds it sees every cause that came before.
    PERFORM FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
    SELECT t.seq, t.balance_after INTO move_credits.seq, move_credits.balance_after
    FROM credit_transactions AS t
    WHERE t.user_id = p_user_id AND t.cause = p_cause;
    IF FOUND THEN
        moved := false;
        RETURN;
    END IF;

    -- What comes in pays debt first; what is taken and isn't there becomes debt.
    UPDATE user_credits AS a
    SET
        available_credits = CASE
            WHEN p_amount >= 0 THEN a.available_credits + p_amount - least(a.debt_credits, p_amount)
            ELSE greatest(0, a.available_credits + p_amount)
        END,
        debt_credits = CASE
            WHEN p_amount >= 0 THEN a.debt_credits - least(a.debt_credits, p_amount)
            ELSE a.debt_credits + greatest(0, -p_amount - a.available_credits)
        END,
        ledger_seq = a.ledger_seq + 1,
        updated_at = v_now
    WHERE a.user_id = p_user_id
    RETURNING a.ledger_seq, a.available_credits + a.held_credits - a.debt_credits
    INTO move_credits.seq, move_credits.balance_after;
    INSERT INTO credit_transactions (
        user_id, seq, amount, balance_before, balance_after, type, cause, payment_intent_id, description, created_at
    ) VALUES (
        p_user_id, move_credits.seq, p_amount, move_credits.balance_after - p_amount, move_credits.balance_after,
        p_type, p_cause, p_payment_intent_id, p_description, v_now
    );
    moved := true;
END
$$;

COMMENT ON FUNCTION public.move_credits(p_user_id text, p_amount integer, p_type text, p_cause text, p_description text, p_payment_intent_id text, OUT moved boolean, OUT seq bigint, OUT balance_after integer) IS 'Moves credits once per cause: a second time with the same cause changes nothing and answers with the first row.';

CREATE FUNCTION public.next_tokens_valid_from(p_before timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT greatest(date_trunc('second', clock_timestamp()), p_before) + interval '1 second'
$$;

COMMENT ON FUNCTION public.next_tokens_valid_from(p_before timestamp with time zone) IS 'From when a person''s tokens are valid after one more logout everywhere. Tokens carry whole seconds, so it is a second on, and on again within that second: what was begun in between is revoked too.';

CREATE FUNCTION public.note_authorization(p_user_id text, p_authorization_id text, p_payment_intent_id text, p_is_authorized boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE payment_authorizations AS x
    SET
        state = CASE WHEN p_is_authorized THEN 'authorized' ELSE 'declined' END,
        payment_intent_id = coalesce(x.payment_intent_id, p_payment_intent_id),
        retry_at = CASE WHEN p_is_authorized THEN x.retry_at END,
        updated_at = v_now
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id AND x.state = 'authorizing';
    IF FOUND THEN
        RETURN true;
    END IF;
    IF p_is_authorized THEN
        PERFORM let_go_after_all(p_user_id, p_authorization_id, p_payment_intent_id);
    END IF;
    RETURN false;
END
$$;

COMMENT ON FUNCTION public.note_authorization(p_user_id text, p_authorization_id text, p_payment_intent_id text, p_is_authorized boolean) IS 'What the card said; false where the worker has given it up meanwhile, and lets go of what was set aside all the same.';

CREATE FUNCTION public.note_budget_put_off(p_user_id text, p_month date, p_percent integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- As mail servers do, RFC 5321, 4.5.4.1: greylisting lets in after minutes, a full mailbox after days, or never.
    c_first CONSTANT interval := '15 minutes';
    c_longest CONSTANT interval := '8 hours';
    c_most CONSTANT interval := '5 days';
    v_now timestamptz := clock_timestamp();
    v_given_up boolean;
BEGIN
    UPDATE budget_notices AS n
    SET
        put_off_count = n.put_off_count + 1,
        put_off_since = coalesce(n.put_off_since, v_now),
        claimed_until = v_now + least(c_first * 2 ^ least(n.put_off_count, 10), c_longest),
        given_up_at = CASE WHEN n.put_off_since <= v_now - c_most THEN v_now END
    WHERE n.user_id = p_user_id AND n.month = p_month AND n.percent = p_percent
        AND n.told_at IS NULL AND n.given_up_at IS NULL
    RETURNING n.given_up_at IS NOT NULL INTO v_given_up;
    RETURN coalesce(v_given_up, false);
END
$$;

COMMENT ON FUNCTION public.note_budget_put_off(p_user_id text, p_month date, p_percent integer) IS 'The person''s mail server takes it later: the pause grows to eight hours, and after five days it is given up. Whether it was.';

CREATE FUNCTION public.note_budget_told(p_user_id text, p_month date, p_percent integer) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE budget_notices AS n
    SET told_at = clock_timestamp(), claimed_until = NULL
    WHERE n.user_id = p_user_id AND n.month = p_month AND n.percent = p_percent AND n.told_at IS NULL;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.note_budget_told(p_user_id text, p_month date, p_percent integer) IS 'The person was told, or can''t be: it is over.';

CREATE FUNCTION public.note_cancellation(p_user_id text, p_subscription_id text, p_at_period_end boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE subscriptions AS s
    SET cancel_at_period_end = p_at_period_end, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_subscription_id AND s.status IN ('active', 'past_due');
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.note_cancellation(p_user_id text, p_subscription_id text, p_at_period_end boolean) IS 'What the provider answered when it was asked to end a plan with its period, or not to.';

CREATE FUNCTION public.note_checkout(p_user_id text, p_purchase_id text, p_session_id text, p_url text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE purchases AS x
    SET stripe_session_id = p_session_id, checkout_url = CASE WHEN x.status = 'pending' THEN p_url END
    WHERE x.user_id = p_user_id AND x.id = p_purchase_id AND x.status <> 'failed'
        AND coalesce(x.stripe_session_id, p_session_id) = p_session_id;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.note_checkout(p_user_id text, p_purchase_id text, p_session_id text, p_url text) IS 'The provider''s page for a purchase; the event that it is paid may have been faster. False for one that was given up: its page must go.';

CREATE FUNCTION public.note_customer(p_user_id text, p_customer_id text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE users AS u
    SET stripe_customer_id = p_customer_id
    WHERE u.id = p_user_id AND u.stripe_customer_id IS NULL AND u.erased_at IS NULL
        AND NOT EXISTS (SELECT FROM users AS o WHERE o.stripe_customer_id = p_customer_id);
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.note_customer(p_user_id text, p_customer_id text) IS 'The person''s id at the payment provider; the first one stays.';

CREATE FUNCTION public.note_key_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_version bigint;
BEGIN
    -- The one row is locked until the commit, so versions become visible in their order.
    UPDATE proxy_state AS s SET version = s.version + 1 RETURNING s.version INTO v_version;
    PERFORM pg_notify('callmeback_keys', '');
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.version := v_version;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION public.note_key_change() IS 'Every change of a key moves the version that proxies watch; the notification only hastens their look.';

CREATE FUNCTION public.note_statement_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    UPDATE api_keys AS k SET version = k.version WHERE k.id = coalesce(NEW.key_id, OLD.key_id);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION public.note_statement_change() IS 'A change of a statement is a change of its key.';

CREATE FUNCTION public.note_subscription_checkout(p_user_id text, p_subscription_id text, p_session_id text, p_url text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE subscriptions AS s
    SET stripe_session_id = p_session_id, checkout_url = p_url, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_subscription_id AND s.status = 'pending';
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.note_subscription_checkout(p_user_id text, p_subscription_id text, p_session_id text, p_url text) IS 'The provider''s page for a plan; false for one that was given up, or paid, meanwhile.';

CREATE FUNCTION public.notice_budgets(p_limit integer DEFAULT 100) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_rows integer;
BEGIN
    -- First who has reached it, whatever the month: of few people the zone has to be looked up.
    WITH reached AS MATERIALIZED (
        SELECT a.user_id, a.spend_month, l.warn_at_percent_per_call AS percent, u.timezone
        FROM user_credits AS a
        INNER JOIN effective_limits AS l ON a.user_id = l.user_id
        INNER JOIN users AS u ON a.user_id = u.id AND u.erased_at IS NULL
        WHERE a.spent_in_month_cents > 0
            AND a.spent_in_month_cents * 100 >= l.max_monthly_spend_cents * l.warn_at_percent_per_call
            AND NOT EXISTS (
                SELECT FROM budget_notices AS n
                WHERE n.user_id = a.user_id AND n.month = a.spend_month AND n.percent = l.warn_at_percent_per_call
            )
    )
    INSERT INTO budget_notices (user_id, month, percent)
    SELECT r.user_id, r.spend_month, r.percent
    FROM reached AS r
    WHERE r.spend_month = date_trunc('month', clock_timestamp() AT TIME ZONE zone_or_utc(r.timezone))::date
    ORDER BY r.user_id
    LIMIT p_limit
    ON CONFLICT (user_id, month, percent) DO NOTHING;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;

COMMENT ON FUNCTION public.notice_budgets(p_limit integer) IS 'Notes who has reached the percent of the month''s budget at which they want to be told, once a month and percent.';

CREATE FUNCTION public.objects_of(p_facts jsonb) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN array_remove(
        ARRAY[
            p_facts ->> 'id', p_facts ->> 'subscription', p_facts ->> 'invoice', p_facts ->> 'payment_intent',
            p_facts ->> 'reference'
        ], NULL
    );
END
$$;

COMMENT ON FUNCTION public.objects_of(p_facts jsonb) IS 'Ids that an event speaks of: what it may wait for, and what it makes known.';

CREATE FUNCTION public.outcome(p_state text, p_effect text, p_user_id text) RETURNS public.payment_outcome
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payment_outcome;
BEGIN
    v.state := p_state;
    v.effect := p_effect;
    v.user_id := p_user_id;
    RETURN v;
END
$$;

COMMENT ON FUNCTION public.outcome(p_state text, p_effect text, p_user_id text) IS 'What an event did, as one value.';

CREATE FUNCTION public.payment_effect(p_type text, p_at timestamp with time zone, p_facts jsonb) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    CASE p_facts ->> 'kind'
        WHEN 'session' THEN
            CASE p_facts ->> 'mode'
                WHEN 'payment' THEN RETURN effect_of_purchase_session(p_type, p_at, p_facts);
                WHEN 'subscription' THEN RETURN effect_of_subscription_session(p_type, p_at, p_facts);
                ELSE RETURN outcome('ignored', 'other_session', NULL);
            END CASE;
        WHEN 'invoice' THEN RETURN effect_of_invoice(p_type, p_at, p_facts);
        WHEN 'invoice_payment' THEN RETURN effect_of_invoice_payment(p_facts);
        WHEN 'subscription' THEN RETURN effect_of_subscription(p_type, p_at, p_facts);
        WHEN 'intent' THEN RETURN effect_of_intent(p_type, p_at, p_facts);
        WHEN 'refund' THEN RETURN effect_of_refund(p_type, p_at, p_facts);
        WHEN 'dispute' THEN RETURN effect_of_dispute(p_type, p_at, p_facts);
        WHEN 'unreadable' THEN RETURN outcome('refused', 'unreadable', NULL);
        ELSE RETURN outcome('ignored', 'not_ours', NULL);
    END CASE;
END
$$;

COMMENT ON FUNCTION public.payment_effect(p_type text, p_at timestamp with time zone, p_facts jsonb) IS 'Does what an event means, by the kind of its object.';

CREATE FUNCTION public.payment_of(p_facts jsonb) RETURNS public.payments
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payments;
BEGIN
    SELECT x.* INTO v FROM payments AS x WHERE x.payment_intent_id = p_facts ->> 'payment_intent';
    IF NOT FOUND THEN
        -- A payment of an invoice that was told without its intent is known by the invoice.
        SELECT x.* INTO v FROM payments AS x WHERE x.id = p_facts ->> 'invoice';
    END IF;
    IF v.id IS NOT NULL THEN
        PERFORM lock_account(v.user_id);
    END IF;
    RETURN v;
END
$$;

COMMENT ON FUNCTION public.payment_of(p_facts jsonb) IS 'The payment that an event speaks of, its account locked; NULL where none is known.';

CREATE FUNCTION public.place_due(p_ids text[], p_claims integer[], p_call_ids text[], p_local_days date[], p_card text, p_authorization_id text DEFAULT NULL::text) RETURNS TABLE(id text, user_id text, status text, outcome text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.place_due(p_ids text[], p_claims integer[], p_call_ids text[], p_local_days date[], p_card text, p_authorization_id text) IS 'Begins claimed calls by the gate of every call and notes it in the same commit: executed, failed with the refusal, missed or canceled. A claim that was taken over is not in the answer; executing is one that wants to be paid first.';

CREATE FUNCTION public.price_of(p_quantity numeric, p_price_cents numeric, p_per integer) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE WHEN p_quantity = 0 THEN 0 ELSE round(p_quantity * p_price_cents / p_per, 10) END;
END
$$;

COMMENT ON FUNCTION public.price_of(p_quantity numeric, p_price_cents numeric, p_per integer) IS 'Exact cents of a quantity as calls are priced, rounded once; NULL, never zero, where something was used and has no rate.';

CREATE FUNCTION public.price_whole_usage(p_version_id integer, p_carrier_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, OUT carrier_cents numeric, OUT listener_cents numeric, OUT brain_cents numeric, OUT voice_cents numeric) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.price_whole_usage(p_version_id integer, p_carrier_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, OUT carrier_cents numeric, OUT listener_cents numeric, OUT brain_cents numeric, OUT voice_cents numeric) IS 'What a call''s usage costs where a second brain or the local voice took part: each leg rounded once, at ten decimals.';

CREATE FUNCTION public.proxy_keys() RETURNS TABLE(id text, name text, mode text, role_name text, is_masked boolean, secret_hash bytea, other_secret_hash bytea, other_secret_until timestamp with time zone, expires_at timestamp with time zone, cidrs text[], rate_per_second integer, concurrency integer, learning_until timestamp with time zone, calls text[], version bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT
        k.id, k.name, k.mode, s.role_name, NOT s.pii, k.secret_hash, k.other_secret_hash,
        k.other_secret_until, k.expires_at, k.cidrs::text[], k.rate_per_second, k.concurrency,
        k.learning_until, s.calls, k.version
    FROM api_keys AS k
    INNER JOIN sql_scopes AS s ON k.scope_id = s.id
    WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp());
END
$$;

COMMENT ON FUNCTION public.proxy_keys() IS 'Every key that is neither revoked nor expired.';

CREATE FUNCTION public.proxy_statements(p_keys text[]) RETURNS TABLE(key_id text, id text, kind text, statement text, text_hash bytea, parameter_types bigint[])
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    SELECT
        n.key_id, n.id, n.kind, n.statement, n.text_hash,
        CASE WHEN n.parameter_types IS NOT NULL THEN
            -- A type that is gone is 0 on the wire: left to the server to tell.
            ARRAY(
                SELECT coalesce(to_regtype(t.name)::oid::bigint, 0)
                FROM unnest(n.parameter_types) WITH ORDINALITY AS t (name, place)
                ORDER BY t.place
            )
        END
    FROM named_statements AS n
    WHERE n.key_id = ANY (p_keys);
END
$$;

COMMENT ON FUNCTION public.proxy_statements(p_keys text[]) IS 'The statements of these keys, parameter types as OIDs.';

CREATE FUNCTION public.proxy_version() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN (SELECT s.version FROM proxy_state AS s);
END
$$;

COMMENT ON FUNCTION public.proxy_version() IS 'Another value after every change of a key; polled, so that a revoked key ends within a second.';

CREATE TABLE public.service_rates (
    vendor text NOT NULL,
    model text NOT NULL,
    unit text NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    price_cents numeric(18,8),
    per integer NOT NULL,
    source text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT service_rates_model_length CHECK (((length(model) >= 1) AND (length(model) <= 100))),
    CONSTRAINT service_rates_per CHECK ((per > 0)),
    CONSTRAINT service_rates_price CHECK ((price_cents >= (0)::numeric)),
    CONSTRAINT service_rates_unit CHECK ((unit = ANY (ARRAY['second'::text, 'input_token'::text, 'output_token'::text, 'character'::text]))),
    CONSTRAINT service_rates_vendor CHECK ((vendor = ANY (ARRAY['twilio'::text, 'deepgram'::text, 'cerebras'::text, 'elevenlabs'::text, 'espeak'::text, 'stripe'::text])))
);

COMMENT ON TABLE public.service_rates IS 'What the vendors charge. A period ends where the next begins; never edited, only followed.';

COMMENT ON COLUMN public.service_rates.price_cents IS 'Cents for `per` units; NULL ends the rate: such a model can''t be called.';

COMMENT ON COLUMN public.service_rates.per IS 'How many units the price buys: 60 seconds, 1,000,000 tokens, 1,000 characters.';

COMMENT ON COLUMN public.service_rates.source IS 'Where the figure was read.';

CREATE FUNCTION public.rate_in_force(p_vendor text, p_model text, p_unit text, p_at timestamp with time zone) RETURNS public.service_rates
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_rate service_rates;
BEGIN
    SELECT r.* INTO v_rate
    FROM service_rates AS r
    WHERE r.vendor = p_vendor AND r.model = p_model AND r.unit = p_unit AND r.effective_from <= p_at
    ORDER BY r.effective_from DESC
    LIMIT 1;
    RETURN v_rate;
END
$$;

COMMENT ON FUNCTION public.rate_in_force(p_vendor text, p_model text, p_unit text, p_at timestamp with time zone) IS 'The rate of one vendor, model and unit at a time; all NULL where there is none.';

CREATE FUNCTION public.receive_payment(p_payment public.payments) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO payments (
        user_id, id, kind, subscription_id, payment_intent_id, tier, description, amount_cents, currency, credits,
        period_start, period_end, paid_at
    ) VALUES (
        p_payment.user_id, p_payment.id, p_payment.kind, p_payment.subscription_id,
        -- Reversals name the intent, so it leads to one payment.
        CASE
            WHEN NOT EXISTS (SELECT FROM payments AS o WHERE o.payment_intent_id = p_payment.payment_intent_id)
                THEN p_payment.payment_intent_id
        END,
        p_payment.tier, p_payment.description, p_payment.amount_cents, p_payment.currency, p_payment.credits,
        p_payment.period_start, p_payment.period_end, p_payment.paid_at
    ) ON CONFLICT (user_id, id) DO NOTHING;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.receive_payment(p_payment public.payments) IS 'Notes money that came in; false where it was noted before. The caller holds the account.';

CREATE FUNCTION public.recompute_schedule(p_user_id text, p_schedule_id text, p_tzdata_version text, p_id text, p_occurrence timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rows integer;
BEGIN
    UPDATE call_schedules AS s
    SET tzdata_version = p_tzdata_version
    WHERE s.user_id = p_user_id AND s.id = p_schedule_id AND s.materialised_until IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- One whose time has come, was moved by its owner, or is taken by a worker stays as it is.
    DELETE FROM scheduled_calls AS o
    WHERE o.user_id = p_user_id AND o.schedule_id = p_schedule_id AND o.status = 'scheduled'
        AND o.occurrence > v_now AND o.scheduled_time = o.occurrence
        AND o.occurrence IS DISTINCT FROM p_occurrence;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = 0 THEN
        RETURN false;
    END IF;
    UPDATE call_schedules AS s
    SET remaining_count = s.remaining_count + v_rows, materialised_until = v_now
    WHERE s.user_id = p_user_id AND s.id = p_schedule_id;
    PERFORM add_occurrence(p_user_id, p_schedule_id, p_id, p_occurrence);
    RETURN true;
END
$$;

COMMENT ON FUNCTION public.recompute_schedule(p_user_id text, p_schedule_id text, p_tzdata_version text, p_id text, p_occurrence timestamp with time zone) IS 'Puts a schedule''s next occurrence where the new data of its zone have it. True when that is another instant.';

CREATE FUNCTION public.record_cost_events(p_user_ids text[], p_call_ids text[], p_event_type text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.record_cost_events(p_user_ids text[], p_call_ids text[], p_event_type text) IS 'Notes the difference since the last event, for each call after a turn or 30 seconds.';

CREATE FUNCTION public.refresh_card(p_version public.price_versions) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz;
    v_at timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('price_versions', 0));
    -- Read once the lock is ours: what another change of rates wrote meanwhile is the past, and stands.
    v_now := clock_timestamp();
    -- A version to come is computed anew in its place, never deleted: its time may come before we commit, and a call
    -- that points at a row which is gone could neither be metered nor settled.
    PERFORM add_price_version(p_version, v_now);
    FOR v_at IN
        SELECT DISTINCT r.effective_from FROM service_rates AS r WHERE r.effective_from > v_now ORDER BY 1
    LOOP
        PERFORM add_price_version(p_version, v_at);
    END LOOP;
END
$$;

COMMENT ON FUNCTION public.refresh_card(p_version public.price_versions) IS 'Brings the versions of one card up to date with the rates.';

CREATE FUNCTION public.refusal_code(p_state text) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.refusal_code(p_state text) IS 'What the API calls a refusal of start_call; NULL for what is none.';

CREATE FUNCTION public.refuse_ledger_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: write a row that corrects, by move_credits()' USING ERRCODE = 'CM014';
END
$$;

COMMENT ON FUNCTION public.refuse_ledger_change() IS 'No row of the ledger is ever changed or removed.';

CREATE FUNCTION public.refuse_rate_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.effective_from >= now() THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a rate is never changed, nor set for the past: calls were priced by it' USING ERRCODE = 'CM040';
END
$$;

COMMENT ON FUNCTION public.refuse_rate_change() IS 'The past keeps its prices: rates are only followed, from now on.';

CREATE FUNCTION public.refuse_schedule_step() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION 'a call to come cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'CM007';
END
$$;

COMMENT ON FUNCTION public.refuse_schedule_step() IS 'Refuses a step backward in the life of a call to come.';

CREATE FUNCTION public.register_user(p_user_id text, p_email text, p_password_hash text, p_name text, p_timezone text, p_phone text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO users (id, email, password_hash, name, timezone)
    VALUES (p_user_id, p_email, p_password_hash, p_name, p_timezone)
    ON CONFLICT (lower(email)) DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'e-mail is taken' USING ERRCODE = 'CM015';
    END IF;
    INSERT INTO user_credits (user_id) VALUES (p_user_id);
    IF p_phone IS NOT NULL THEN
        INSERT INTO phones (user_id, number) VALUES (p_user_id, p_phone);
    END IF;
END
$$;

COMMENT ON FUNCTION public.register_user(p_user_id text, p_email text, p_password_hash text, p_name text, p_timezone text, p_phone text) IS 'Person, account and unverified phone in one commit.';

CREATE FUNCTION public.release_authorization(p_user_id text, p_authorization_id text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE payment_authorizations AS x
    SET state = 'releasing', retry_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id AND x.state IN ('authorizing', 'authorized');
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.release_authorization(p_user_id text, p_authorization_id text) IS 'No call came of it: the worker lets go of what is set aside.';

CREATE FUNCTION public.remove_phone(p_user_id text, p_number text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    DELETE FROM phones AS h WHERE h.user_id = p_user_id AND h.number = p_number;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE users AS u
    SET phone = (
        SELECT h.number
        FROM phones AS h
        WHERE h.user_id = p_user_id AND h.verified_at IS NOT NULL
        ORDER BY h.verified_at
        LIMIT 1
    )
    WHERE u.id = p_user_id AND u.phone = p_number;
    RETURN true;
END
$$;

COMMENT ON FUNCTION public.remove_phone(p_user_id text, p_number text) IS 'Takes a number away; the oldest verified one that is left becomes primary.';

CREATE TABLE public.payment_events (
    id text NOT NULL,
    type text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    state text NOT NULL,
    effect text,
    user_id public.id,
    attempts integer DEFAULT 1 NOT NULL,
    retry_at timestamp with time zone,
    payload jsonb,
    facts jsonb,
    waits_for text[],
    CONSTRAINT payment_events_attempts CHECK ((attempts > 0)),
    CONSTRAINT payment_events_state CHECK ((state = ANY (ARRAY['applied'::text, 'ignored'::text, 'unmatched'::text, 'refused'::text])))
);

COMMENT ON TABLE public.payment_events IS 'Every signed event of the payment provider by its id, with what it did; unmatched ones are tried again.';

COMMENT ON COLUMN public.payment_events.state IS 'applied; ignored: nothing to do; unmatched: its object isn''t known yet; refused: it contradicts our own rows, and a person must look.';

COMMENT ON COLUMN public.payment_events.payload IS 'pii:content. The event; emptied when the person is erased.';

COMMENT ON COLUMN public.payment_events.facts IS 'pii:content. What the event says in our words; emptied with the payload.';

COMMENT ON COLUMN public.payment_events.waits_for IS 'Ids of the objects that it speaks of, while it is unmatched.';

CREATE FUNCTION public.repeat_payment_event(p_event public.payment_events) RETURNS public.payment_outcome
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    c_longest_pause CONSTANT interval := '1 hour';
    -- Three days is how long the provider repeats an event; past that somebody must look.
    c_give_up_after CONSTANT interval := '4 days';
    v_now timestamptz := clock_timestamp();
    v payment_outcome := payment_effect(p_event.type, p_event.created_at, p_event.facts);
    v_is_erased boolean := EXISTS (
        SELECT FROM users AS u WHERE u.id IN (v.user_id, p_event.facts ->> 'user_id') AND u.erased_at IS NOT NULL
    );
BEGIN
    UPDATE payment_events AS e
    SET
        state = v.state, effect = v.effect, user_id = coalesce(v.user_id, e.user_id), attempts = e.attempts + 1,
        -- Whose it is wasn't known when the person was erased.
        payload = CASE WHEN NOT v_is_erased THEN e.payload END,
        facts = CASE WHEN NOT v_is_erased OR v.state = 'unmatched' THEN e.facts END,
        retry_at = CASE
            WHEN v.state = 'unmatched' AND e.received_at > v_now - c_give_up_after
                THEN v_now + least(c_longest_pause, interval '5 seconds' * power(2, least(e.attempts, 12)))
        END,
        waits_for = CASE WHEN v.state = 'unmatched' THEN e.waits_for END
    WHERE e.id = p_event.id;
    RETURN v;
END
$$;

COMMENT ON FUNCTION public.repeat_payment_event(p_event public.payment_events) IS 'Tries an unmatched event again. The caller holds its row.';

CREATE FUNCTION public.reprice_calls(p_begins_at timestamp with time zone, p_ends_at timestamp with time zone, p_as_of timestamp with time zone) RETURNS TABLE(day date, vendor text, calls bigint, unpriced_calls bigint, booked_cents numeric, repriced_cents numeric)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    RETURN QUERY
    WITH used AS (
        SELECT (c.created_at AT TIME ZONE 'UTC')::date AS called_on, b.*
        FROM calls AS c
        INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
        WHERE c.created_at >= p_begins_at AND c.created_at < p_ends_at AND c.price_version_id IS NOT NULL
    ),
    -- As few as there were sets of models and changes of rates: looked up once each, not once a call.
    cards AS MATERIALIZED (
        SELECT
            v.id,
            CASE WHEN p_as_of IS NULL THEN v.carrier_second_cents ELSE carrier.price_cents END AS carrier_cents,
            CASE WHEN p_as_of IS NULL THEN v.carrier_second_per ELSE carrier.per END AS carrier_per,
            CASE WHEN p_as_of IS NULL THEN v.listener_second_cents ELSE listener.price_cents END AS listener_cents,
            CASE WHEN p_as_of IS NULL THEN v.listener_second_per ELSE listener.per END AS listener_per,
            CASE WHEN p_as_of IS NULL THEN v.brain_input_cents ELSE brain_in.price_cents END AS brain_in_cents,
            CASE WHEN p_as_of IS NULL THEN v.brain_input_per ELSE brain_in.per END AS brain_in_per,
            CASE WHEN p_as_of IS NULL THEN v.brain_output_cents ELSE brain_out.price_cents END AS brain_out_cents,
            CASE WHEN p_as_of IS NULL THEN v.brain_output_per ELSE brain_out.per END AS brain_out_per,
            CASE WHEN p_as_of IS NULL THEN v.fallback_input_cents ELSE fallback_in.price_cents END AS fallback_in_cents,
            CASE WHEN p_as_of IS NULL THEN v.fallback_input_per ELSE fallback_in.per END AS fallback_in_per,
            CASE WHEN p_as_of IS NULL THEN v.fallback_output_cents ELSE fallback_out.price_cents END AS fallback_out_cents,
            CASE WHEN p_as_of IS NULL THEN v.fallback_output_per ELSE fallback_out.per END AS fallback_out_per,
            CASE WHEN p_as_of IS NULL THEN v.voice_character_cents ELSE voice.price_cents END AS voice_cents,
            CASE WHEN p_as_of IS NULL THEN v.voice_character_per ELSE voice.per END AS voice_per,
            CASE WHEN p_as_of IS NULL THEN v.local_character_cents ELSE own.price_cents END AS own_cents,
            CASE WHEN p_as_of IS NULL THEN v.local_character_per ELSE own.per END AS own_per
        FROM price_versions AS v
        CROSS JOIN LATERAL rate_in_force('twilio', v.carrier_model, 'second', p_as_of) AS carrier
        CROSS JOIN LATERAL rate_in_force('deepgram', v.listener_model, 'second', p_as_of) AS listener
        CROSS JOIN LATERAL rate_in_force('cerebras', v.brain_model, 'input_token', p_as_of) AS brain_in
        CROSS JOIN LATERAL rate_in_force('cerebras', v.brain_model, 'output_token', p_as_of) AS brain_out
        CROSS JOIN LATERAL rate_in_force('cerebras', v.fallback_model, 'input_token', p_as_of) AS fallback_in
        CROSS JOIN LATERAL rate_in_force('cerebras', v.fallback_model, 'output_token', p_as_of) AS fallback_out
        CROSS JOIN LATERAL rate_in_force('elevenlabs', v.voice_model, 'character', p_as_of) AS voice
        CROSS JOIN LATERAL rate_in_force('espeak', v.local_model, 'character', p_as_of) AS own
        WHERE v.id IN (SELECT DISTINCT u.price_version_id FROM used AS u)
    )
    SELECT
        u.called_on, l.name, count(*), count(*) FILTER (WHERE l.repriced IS NULL), sum(l.booked),
        CASE WHEN bool_and(l.repriced IS NOT NULL) THEN sum(l.repriced) END
    FROM used AS u
    INNER JOIN cards AS r ON u.price_version_id = r.id
    CROSS JOIN LATERAL (
        VALUES
        ('twilio', u.twilio_cost_cents, price_of(u.twilio_duration_seconds, r.carrier_cents, r.carrier_per)),
        ('deepgram', u.deepgram_cost_cents, price_of(u.deepgram_audio_seconds, r.listener_cents, r.listener_per)),
        (
            'cerebras', u.cerebras_cost_cents,
            price_of(u.cerebras_input_tokens, r.brain_in_cents, r.brain_in_per)
            + price_of(u.cerebras_output_tokens, r.brain_out_cents, r.brain_out_per)
            + price_of(u.fallback_input_tokens, r.fallback_in_cents, r.fallback_in_per)
            + price_of(u.fallback_output_tokens, r.fallback_out_cents, r.fallback_out_per)
        ),
        (
            'elevenlabs', u.elevenlabs_cost_cents,
            price_of(u.elevenlabs_characters, r.voice_cents, r.voice_per)
            + price_of(u.local_characters, r.own_cents, r.own_per)
        )
    ) AS l (name, booked, repriced)
    GROUP BY u.called_on, l.name;
END
$$;

COMMENT ON FUNCTION public.reprice_calls(p_begins_at timestamp with time zone, p_ends_at timestamp with time zone, p_as_of timestamp with time zone) IS 'What calls of a period cost, and would have cost at the rates of another time (NULL: of their own); by UTC day and vendor. Changes nothing; a group with a call that has no rate has no sum.';

CREATE FUNCTION public.request_job(p_name text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.request_job(p_name text) IS 'Makes a job due now; answers the number of its latest run.';

CREATE FUNCTION public.request_phone_code(p_user_id text, p_number text, p_code_hash bytea, p_valid_for interval) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    ELSIF EXISTS (SELECT FROM blocked_numbers AS n WHERE n.number = p_number) THEN
        RAISE EXCEPTION 'phone number is blocked' USING ERRCODE = 'CM013';
    ELSIF EXISTS (
        SELECT FROM phones AS h WHERE h.number = p_number AND h.verified_at IS NOT NULL AND h.user_id <> p_user_id
    ) THEN
        RAISE EXCEPTION 'phone number is taken' USING ERRCODE = 'CM016';
    END IF;
    INSERT INTO phones AS h (user_id, number, code_hash, code_expires_at)
    VALUES (p_user_id, p_number, p_code_hash, clock_timestamp() + p_valid_for)
    ON CONFLICT (user_id, number) DO UPDATE
    SET code_hash = excluded.code_hash, code_expires_at = excluded.code_expires_at, code_attempts = 0;
END
$$;

COMMENT ON FUNCTION public.request_phone_code(p_user_id text, p_number text, p_code_hash bytea, p_valid_for interval) IS 'Notes a number with the code that was sent to it.';

CREATE FUNCTION public.request_tier(p_user_id text, p_tier text, p_key text, OUT subscription_id text, OUT stripe_subscription_id text, OUT lookup_key text, OUT price_cents numeric, OUT currency text, OUT is_upgrade boolean, OUT request_key text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- The provider takes the money and tells us within seconds; an answer that is lost, and its event too, within this.
    c_being_paid CONSTANT interval := '10 minutes';
    v_now timestamptz := clock_timestamp();
    v subscriptions;
    v_tier subscription_tiers;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    SELECT s.* INTO v
    FROM subscriptions AS s
    WHERE s.user_id = p_user_id AND s.status IN ('active', 'past_due') AND s.stripe_subscription_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM users AS u WHERE u.id = p_user_id AND u.erased_at IS NOT NULL)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no subscription' USING ERRCODE = 'CM008';
    END IF;
    SELECT t.* INTO v_tier
    FROM subscription_tiers AS t
    WHERE t.tier = p_tier AND t.stripe_lookup_key IS NOT NULL AND t.monthly_price_cents > 0 AND t.currency = v.currency;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tier is not for sale' USING ERRCODE = 'CM022';
    ELSIF v.pending_tier <> p_tier AND v.pending_price_cents > v.price_cents AND v.pending_since > v_now - c_being_paid THEN
        -- An upgrade is charged at once: two that are asked for together would both be, and one for nothing.
        RAISE EXCEPTION 'another change of the plan is being paid' USING ERRCODE = 'CM027';
    END IF;
    subscription_id := v.id;
    stripe_subscription_id := v.stripe_subscription_id;
    lookup_key := v_tier.stripe_lookup_key;
    price_cents := v_tier.monthly_price_cents;
    currency := v_tier.currency;
    is_upgrade := price_cents > v.price_cents;
    -- The same wish again is the same request: whoever died after the provider took it, asks it nothing new.
    request_key := CASE WHEN v.pending_tier = p_tier THEN v.pending_key ELSE p_key END;
    UPDATE subscriptions AS s
    SET
        pending_key = CASE WHEN p_tier = s.tier THEN NULL ELSE request_key END,
        pending_tier = CASE WHEN p_tier = s.tier THEN NULL ELSE p_tier END,
        pending_price_cents = CASE WHEN p_tier = s.tier THEN NULL ELSE v_tier.monthly_price_cents END,
        pending_since = CASE WHEN p_tier = s.tier THEN NULL ELSE v_now END,
        updated_at = v_now
    WHERE s.user_id = p_user_id AND s.id = v.id;
END
$$;

COMMENT ON FUNCTION public.request_tier(p_user_id text, p_tier text, p_key text, OUT subscription_id text, OUT stripe_subscription_id text, OUT lookup_key text, OUT price_cents numeric, OUT currency text, OUT is_upgrade boolean, OUT request_key text) IS 'Notes the plan that a person wants instead, and what a period of it costs, before the provider is asked. It is in force once paid. While an upgrade may be being paid, another plan is refused.';

CREATE FUNCTION public.require_card_in_force(p_card text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM card_in_force AS f WHERE f.card = p_card) THEN
        RAISE EXCEPTION '% is not what the house calls with', p_card USING ERRCODE = 'CM009';
    END IF;
END
$$;

COMMENT ON FUNCTION public.require_card_in_force(p_card text) IS 'Refuses a price card other than the house''s own: a cheaper one of another time would hold, and count, too little.';

CREATE FUNCTION public.require_self(p_user_id text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF session_user = 'callmeback_api' AND p_user_id IS DISTINCT FROM current_setting('callmeback.user_id', true) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
END
$$;

COMMENT ON FUNCTION public.require_self(p_user_id text) IS 'A web request acts for its own person only.';

CREATE FUNCTION public.rest_of_grants(p_user_id text) RETURNS TABLE(grant_id text, rest integer)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_ids text[];
    v_seqs bigint[];
    v_rests integer[];
    v_row record;
    v_out integer;
    v_part integer;
BEGIN
    SELECT
        array_agg(g.id::text ORDER BY g.expires_at, g.id), array_agg(g.granted_seq ORDER BY g.expires_at, g.id),
        array_agg(0 ORDER BY g.expires_at, g.id)
    INTO v_ids, v_seqs, v_rests
    FROM credit_grants AS g
    WHERE g.user_id = p_user_id;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    FOR v_row IN
        SELECT t.seq, t.amount, t.type, t.cause
        FROM credit_transactions AS t
        WHERE t.user_id = p_user_id AND t.seq >= (SELECT min(s.seq) FROM unnest(v_seqs) AS s (seq))
        ORDER BY t.seq
    LOOP
        IF v_row.type = 'promotion' AND v_row.seq = ANY (v_seqs) THEN
            v_rests[array_position(v_seqs, v_row.seq)] := v_row.amount;
        ELSIF v_row.type = 'expiry' THEN
            v_rests[array_position(v_ids, substr(v_row.cause, length('expiry:') + 1))] := 0;
        ELSIF v_row.amount < 0 AND v_row.type IN ('call_deduction', 'admin_adjustment') THEN
            -- Money that is taken back was never a gift: reversals leave the grants alone.
            v_out := -v_row.amount;
            FOR i IN 1..cardinality(v_ids) LOOP
                v_part := least(v_out, v_rests[i]);
                v_rests[i] := v_rests[i] - v_part;
                v_out := v_out - v_part;
            END LOOP;
        END IF;
    END LOOP;
    RETURN QUERY SELECT u.i, u.r FROM unnest(v_ids, v_rests) AS u (i, r);
END
$$;

COMMENT ON FUNCTION public.rest_of_grants(p_user_id text) IS 'What is left of each grant: the ledger since the first of them, replayed; what was talked came from the one that expires first.';

CREATE FUNCTION public.retry_payment_events(p_limit integer DEFAULT 1) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_event payment_events;
    v_outcome payment_outcome;
    v_tried integer := 0;
BEGIN
    FOR v_event IN
        SELECT e.*
        FROM payment_events AS e
        WHERE e.state = 'unmatched' AND e.retry_at <= clock_timestamp()
        ORDER BY e.retry_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        v_outcome := repeat_payment_event(v_event);
        IF v_outcome.state = 'applied' THEN
            PERFORM apply_waiting(objects_of(v_event.facts));
        END IF;
        v_tried := v_tried + 1;
    END LOOP;
    RETURN v_tried;
END
$$;

COMMENT ON FUNCTION public.retry_payment_events(p_limit integer) IS 'Tries unmatched events again whose time has come; answers how many. One a transaction keeps it from holding two accounts at once.';

CREATE FUNCTION public.revoke_all_tokens(p_user_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE users AS u
    SET tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from)
    WHERE u.id = p_user_id;
END
$$;

COMMENT ON FUNCTION public.revoke_all_tokens(p_user_id text) IS 'Logs a person out everywhere; what begins after is dated from then on.';

CREATE FUNCTION public.revoke_token(p_token_id text, p_user_id text, p_expires_at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO token_blacklist (token_id, user_id, expires_at)
    VALUES (p_token_id, p_user_id, p_expires_at)
    ON CONFLICT (token_id) DO NOTHING;
END
$$;

COMMENT ON FUNCTION public.revoke_token(p_token_id text, p_user_id text, p_expires_at timestamp with time zone) IS 'Logs one token out.';

CREATE FUNCTION public.seal_day(p_day date, p_sealed_by text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- A statement lives shorter: what read its clock in the day and waited for a lock has its number by then.
    c_settling CONSTANT interval := '5 minutes';
    v_now timestamptz := clock_timestamp();
    v_marker xid8;
    v_before bytea;
    v record;
BEGIN
    IF v_now < (p_day + 1)::timestamp AT TIME ZONE 'UTC' + c_settling THEN
        RETURN 'not_over';
    ELSIF EXISTS (SELECT FROM sealed_days AS s WHERE s.day = p_day) THEN
        RETURN 'sealed';
    ELSIF EXISTS (SELECT FROM sealed_days AS s WHERE s.day > p_day) THEN
        RETURN 'too_late';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('seal_day', 0));
    INSERT INTO closing_days (day) VALUES (p_day) ON CONFLICT (day) DO NOTHING;
    SELECT c.marker INTO v_marker FROM closing_days AS c WHERE c.day = p_day;
    IF pg_snapshot_xmin(pg_current_snapshot()) <= v_marker THEN
        RETURN 'waiting';
    END IF;
    SELECT s.batch_hash INTO v_before FROM sealed_days AS s ORDER BY s.day DESC LIMIT 1;
    SELECT h.* INTO v FROM hash_of_day(p_day, v_before) AS h;
    INSERT INTO sealed_days (day, ledger_rows, received_credits, taken_credits, batch_hash, sealed_by)
    VALUES (p_day, v.ledger_rows, v.received_credits, v.taken_credits, v.batch_hash, p_sealed_by)
    ON CONFLICT (day) DO NOTHING;
    DELETE FROM closing_days AS c WHERE c.day = p_day;
    RETURN 'sealed';
END
$$;

COMMENT ON FUNCTION public.seal_day(p_day date, p_sealed_by text) IS 'sealed, waiting (a transaction from before is open: call again), not_over, or too_late (a later day is sealed). Called twice at least.';

CREATE FUNCTION public.set_rate(p_vendor text, p_model text, p_unit text, p_price_cents numeric, p_per integer, p_effective_from timestamp with time zone, p_source text) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_from timestamptz := coalesce(p_effective_from, clock_timestamp());
BEGIN
    INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)
    VALUES (p_vendor, p_model, p_unit, v_from, p_price_cents, p_per, p_source);
    RETURN v_from;
END
$$;

COMMENT ON FUNCTION public.set_rate(p_vendor text, p_model text, p_unit text, p_price_cents numeric, p_per integer, p_effective_from timestamp with time zone, p_source text) IS 'A rate from now or from a time to come on; a NULL price ends the one before. Every card follows in the same commit.';

CREATE FUNCTION public.set_tier(p_user_id text, p_tier text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM subscription_tiers AS t WHERE t.tier = p_tier) THEN
        RAISE EXCEPTION 'tier % does not exist', p_tier USING ERRCODE = 'CM022';
    END IF;
    UPDATE user_credits AS a
    SET
        subscription_tier = p_tier,
        subscription_status = CASE WHEN p_tier = 'free' THEN NULL ELSE 'active' END,
        subscription_start_date = CASE WHEN p_tier = 'free' THEN NULL ELSE clock_timestamp() END,
        subscription_end_date = NULL,
        updated_at = clock_timestamp()
    WHERE a.user_id = p_user_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
END
$$;

COMMENT ON FUNCTION public.set_tier(p_user_id text, p_tier text) IS 'Puts an account on a tier, by an operator; credits are moved apart.';

CREATE FUNCTION public.settle_authorization(p_user_id text, p_call_id text, p_used_credits integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payment_authorizations;
    v_used integer;
BEGIN
    SELECT x.* INTO v
    FROM payment_authorizations AS x
    WHERE x.user_id = p_user_id AND x.call_id = p_call_id AND x.state = 'calling'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_used := least(p_used_credits, v.credits);
    IF v.credits > v_used THEN
        PERFORM move_credits(p_user_id, v_used - v.credits, 'refund', 'release:' || v.id, NULL, v.payment_intent_id);
    END IF;
    UPDATE payment_authorizations AS x
    SET
        state = CASE WHEN v_used > 0 THEN 'capturing' ELSE 'releasing' END,
        used_credits = v_used, capture_cents = v_used * x.cents_per_credit,
        retry_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = v.id;
END
$$;

COMMENT ON FUNCTION public.settle_authorization(p_user_id text, p_call_id text, p_used_credits integer) IS 'In the commit that settles a call: what it didn''t use leaves the account, what it used is captured by the worker.';

CREATE FUNCTION public.settle_due(p_limit integer) RETURNS TABLE(id text, user_id text, outcome text, attempt integer, promised_at timestamp with time zone, retries_max integer, retry_after_minutes integer, retry_within_minutes integer, quiet_from time without time zone, quiet_until time without time zone, timezone text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.settle_due(p_limit integer) IS 'Notes how calls that were placed have ended, with what their owner wishes to be done about it.';

CREATE FUNCTION public.start_call(p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer DEFAULT NULL::integer, p_pretext text DEFAULT NULL::text, p_scenario text DEFAULT NULL::text, p_idempotency_key text DEFAULT NULL::text, p_request_hash bytea DEFAULT NULL::bytea, p_dial_within interval DEFAULT '00:10:00'::interval) RETURNS public.started_call
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- Shorter than this no greeting, warning and goodbye fit.
    c_shortest_call CONSTANT integer := 10;
    c_longest_wait CONSTANT interval := '10 minutes';
    v_now timestamptz := clock_timestamp();
    v_month date := date_trunc('month', p_local_day)::date;
    v_key idempotency_keys;
    v_first started_call;
    v_account record;
    v_tier record;
    v_budget record;
    v_call_id id := p_call_id;
    v_persona record;
    v_is_blocked boolean;
    v_version_id integer;
    v_worst numeric;
    v_month_left numeric;
    v_limited_by text;
    v_granted_seconds integer;
    v_hold_credits integer;
    v_hold_cents numeric;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    IF (abs(p_local_day - (v_now AT TIME ZONE 'UTC')::date) <= 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'local day % is no zone''s today', p_local_day USING ERRCODE = 'CM021';
    END IF;
    -- A key of the SQL proxy doesn't choose what its calls cost, nor how long one may wait with its hold.
    IF starts_with(session_user, 'callmeback_key_') THEN
        PERFORM require_card_in_force(p_card);
        p_dial_within := least(p_dial_within, c_longest_wait);
    END IF;

    IF p_idempotency_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (user_id, key, request_hash, state, resource_id, created_at)
        VALUES (p_user_id, p_idempotency_key, p_request_hash, 'done', p_call_id, v_now)
        ON CONFLICT (user_id, key) DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.* INTO v_key FROM idempotency_keys AS k WHERE k.user_id = p_user_id AND k.key = p_idempotency_key;
            IF v_key.request_hash IS DISTINCT FROM p_request_hash THEN
                RAISE EXCEPTION 'idempotency key was used for another request' USING ERRCODE = 'CM006';
            END IF;
            SELECT c.id, true, c.granted_seconds, c.hold_credits, c.hold_cents
            INTO v_first
            FROM calls AS c WHERE c.user_id = p_user_id AND c.id = v_key.resource_id;
            RETURN v_first;
        END IF;
    END IF;

    -- Small looks are cheaper than a join of nine, and see what was committed while we waited for the account, whose row
    -- stays in its place from here on. Day and month only move forward, so a change of zone gains nothing. What is selected
    -- has its domain's type, whose rule isn't checked again below.
    SELECT
        a.ctid AS place, a.user_id, a.is_closed, a.available_credits, a.debt_credits, a.subscription_tier,
        a.max_calls_per_day, a.max_call_duration_seconds,
        greatest(a.calls_day, p_local_day) AS day,
        CASE WHEN p_local_day > a.calls_day THEN 0 ELSE a.calls_in_day END AS calls_in_day,
        greatest(a.spend_month, v_month) AS month,
        CASE WHEN v_month > a.spend_month THEN 0::cents ELSE a.spent_in_month_cents END AS spent_in_month_cents
    INTO v_account
    FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    ELSIF v_account.is_closed THEN
        RAISE EXCEPTION 'account is blocked' USING ERRCODE = 'CM010';
    END IF;
    SELECT p.id, p.max_call_duration_seconds INTO v_persona
    FROM personas AS p
    WHERE p.id = p_persona_id AND p.is_active AND (p.owner_user_id IS NULL OR p.owner_user_id = p_user_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'persona does not exist' USING ERRCODE = 'CM012';
    END IF;
    SELECT n.number IS NOT NULL INTO v_is_blocked
    FROM phones AS h
    LEFT JOIN blocked_numbers AS n ON h.number = n.number
    WHERE h.user_id = p_user_id AND h.number = p_phone_number AND h.verified_at IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'phone number is not verified' USING ERRCODE = 'CM005';
    ELSIF v_is_blocked THEN
        RAISE EXCEPTION 'phone number is blocked' USING ERRCODE = 'CM013';
    END IF;
    SELECT w.id, w.worst_case_cents_per_minute INTO v_version_id, v_worst
    FROM price_versions AS w WHERE w.card = p_card AND w.effective_from <= v_now
    ORDER BY w.effective_from DESC LIMIT 1;
    IF (v_worst > 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'no rate for the models of %', p_card USING ERRCODE = 'CM009';
    ELSIF v_account.debt_credits > 0 THEN
        RAISE EXCEPTION 'account owes credits' USING ERRCODE = 'CM011';
    END IF;
    SELECT
        t.charges_credits, t.monthly_price_cents,
        coalesce(v_account.max_calls_per_day, t.max_calls_per_day) AS calls_a_day,
        coalesce(v_account.max_call_duration_seconds, t.max_call_duration_seconds) AS seconds
    INTO v_tier
    FROM subscription_tiers AS t WHERE t.tier = v_account.subscription_tier;
    SELECT b.max_cost_per_call_cents AS per_call, b.max_monthly_spend_cents AS per_month, b.enable_auto_cutoff AS cutoff
    INTO v_budget
    FROM user_budget_settings AS b WHERE b.user_id = p_user_id;
    IF NOT FOUND THEN
        -- In the columns' types, since the plans of what follows are kept.
        SELECT 1000::numeric AS per_call, 10000::numeric AS per_month, true AS cutoff INTO v_budget;
    END IF;

    INSERT INTO open_calls (user_id, call_id, created_at, dial_before)
    VALUES (v_account.user_id, v_call_id, v_now, v_now + p_dial_within)
    ON CONFLICT (user_id) DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another call is open' USING ERRCODE = 'CM004';
    ELSIF v_account.calls_in_day >= v_tier.calls_a_day THEN
        RAISE EXCEPTION 'daily limit of % calls is reached', v_tier.calls_a_day USING ERRCODE = 'CM003';
    ELSIF v_tier.charges_credits AND v_account.available_credits = 0 THEN
        RAISE EXCEPTION 'no credits are left' USING ERRCODE = 'CM001';
    END IF;

    v_granted_seconds := least(v_tier.seconds, v_persona.max_call_duration_seconds, p_requested_seconds);
    v_limited_by := CASE v_granted_seconds
        WHEN v_tier.seconds THEN 'tier' WHEN v_persona.max_call_duration_seconds THEN 'persona' ELSE 'request'
    END;
    IF v_tier.charges_credits AND v_account.available_credits < (v_granted_seconds + 59) / 60 THEN
        v_granted_seconds := v_account.available_credits * 60;
        v_limited_by := 'credits';
    END IF;
    v_hold_cents := v_worst * v_granted_seconds / 60;
    IF v_budget.per_call < v_hold_cents AND (v_budget.cutoff OR v_budget.per_call = 0) THEN
        v_granted_seconds := floor(v_budget.per_call * 60 / v_worst);
        v_hold_cents := v_worst * v_granted_seconds / 60;
        v_limited_by := 'call_budget';
    END IF;
    v_month_left := v_budget.per_month - v_account.spent_in_month_cents;
    IF v_month_left < v_hold_cents THEN
        v_granted_seconds := greatest(0, floor(v_month_left * 60 / v_worst));
        v_hold_cents := v_worst * v_granted_seconds / 60;
        v_limited_by := 'month_budget';
    END IF;
    IF v_granted_seconds < c_shortest_call THEN
        RAISE EXCEPTION 'the budget leaves less than % seconds', c_shortest_call USING ERRCODE = 'CM002';
    END IF;
    v_hold_credits := CASE WHEN v_tier.charges_credits THEN (v_granted_seconds + 59) / 60 ELSE 0 END;
    v_hold_cents := trunc(v_hold_cents, 10);

    -- One statement, since each further one is felt, and nothing here depends on another's row.
    WITH account AS (
        UPDATE user_credits AS a
        SET
            available_credits = a.available_credits - v_hold_credits, held_credits = a.held_credits + v_hold_credits,
            calls_day = v_account.day, calls_in_day = v_account.calls_in_day + 1,
            spend_month = v_account.month, spent_in_month_cents = v_account.spent_in_month_cents, updated_at = v_now
        WHERE a.ctid = v_account.place RETURNING a.user_id
    ),
    placed AS (
        INSERT INTO calls (
            id, user_id, persona_id, phone_number, payment_method, payment_status, estimated_cost_cents,
            start_time, created_at, updated_at, hold_credits, granted_seconds, hold_cents, price_version_id,
            local_day, local_month, hold_open, limited_by, call_pretext, call_scenario
        ) VALUES (
            v_call_id, v_account.user_id, v_persona.id, p_phone_number,
            CASE WHEN v_tier.charges_credits THEN 'credit' WHEN v_tier.monthly_price_cents > 0 THEN 'subscription' ELSE 'free' END,
            'pending', v_hold_cents, v_now, v_now, v_now, v_hold_credits, v_granted_seconds, v_hold_cents, v_version_id,
            v_account.day, v_account.month, true, v_limited_by, p_pretext, p_scenario
        )
    )
    INSERT INTO call_cost_breakdowns (
        call_id, user_id, price_version_id, hold_credits, granted_seconds, hold_cents, local_month, seen_at, created_at
    )
    SELECT
        v_call_id, a.user_id, v_version_id, v_hold_credits, v_granted_seconds, v_hold_cents, v_account.month, v_now, v_now
    FROM account AS a;
    ASSERT FOUND, 'an account that is locked stays in its place';
    RETURN (p_call_id, false, v_granted_seconds, v_hold_credits, v_hold_cents)::started_call;
END
$$;

COMMENT ON FUNCTION public.start_call(p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer, p_pretext text, p_scenario text, p_idempotency_key text, p_request_hash bytea, p_dial_within interval) IS 'Writes a call with its hold, or raises a refusal (class CM) and leaves nothing. A known idempotency key answers with its first call.';

CREATE FUNCTION public.start_paid_call(p_authorization_id text, p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer DEFAULT NULL::integer, p_pretext text DEFAULT NULL::text, p_scenario text DEFAULT NULL::text, p_idempotency_key text DEFAULT NULL::text, p_request_hash bytea DEFAULT NULL::bytea, OUT call_id text, OUT replayed boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v payment_authorizations;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    SELECT x.* INTO v
    FROM payment_authorizations AS x
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id
    FOR NO KEY UPDATE;
    IF v.state IS DISTINCT FROM 'authorized' THEN
        RAISE EXCEPTION 'nothing is set aside for this call' USING ERRCODE = '40001';
    END IF;
    PERFORM move_credits(
        p_user_id, v.credits, 'purchase', 'authorization:' || v.id, NULL, v.payment_intent_id
    );
    SELECT s.call_id, s.replayed INTO start_paid_call.call_id, start_paid_call.replayed
    FROM start_call(
        p_call_id, p_user_id, p_persona_id, p_phone_number, p_card, p_local_day,
        least(p_requested_seconds, v.credits * 60), p_pretext, p_scenario, p_idempotency_key, p_request_hash
    ) AS s;
    IF replayed THEN
        -- The same request won meanwhile; asked again, it gets that call.
        RAISE EXCEPTION 'the call has begun already' USING ERRCODE = '40001';
    END IF;
    UPDATE calls AS c
    SET payment_method = 'stripe', payment_intent_id = v.payment_intent_id
    WHERE c.user_id = p_user_id AND c.id = p_call_id;
    UPDATE payment_authorizations AS x
    SET state = 'calling', call_id = p_call_id, retry_at = NULL, updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = v.id;
END
$$;

COMMENT ON FUNCTION public.start_paid_call(p_authorization_id text, p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer, p_pretext text, p_scenario text, p_idempotency_key text, p_request_hash bytea, OUT call_id text, OUT replayed boolean) IS 'Begins a call with the minutes that its own authorization pays, or refuses as start_call does and leaves nothing.';

CREATE FUNCTION public.statement_statistics() RETURNS TABLE(query text, calls bigint, rows bigint, total_ms double precision, mean_ms double precision, spilt_bytes bigint, hit_percent numeric)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;

COMMENT ON FUNCTION public.statement_statistics() IS 'Statements of this database by pg_stat_statements, nothing where that isn''t installed. Texts are normalised: values stand in them as $1.';

CREATE TABLE public.subscriptions (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    stripe_session_id text,
    stripe_subscription_id text,
    stripe_customer_id text,
    tier text NOT NULL,
    price_cents numeric(12,2) NOT NULL,
    pending_tier text,
    pending_price_cents numeric(12,2),
    pending_key text,
    pending_since timestamp with time zone,
    currency text NOT NULL,
    status text NOT NULL,
    checkout_url text,
    started_at timestamp with time zone,
    current_period_start timestamp with time zone,
    current_period_end timestamp with time zone,
    cancel_at_period_end boolean DEFAULT false NOT NULL,
    grace_until timestamp with time zone,
    suspended_at timestamp with time zone,
    ended_at timestamp with time zone,
    cancel_due_at timestamp with time zone,
    seen_at timestamp with time zone DEFAULT to_timestamp((0)::double precision) NOT NULL,
    look_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT subscriptions_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT subscriptions_grace CHECK (((status = 'past_due'::text) = (grace_until IS NOT NULL))),
    CONSTRAINT subscriptions_pending_price CHECK ((pending_price_cents > (0)::numeric)),
    CONSTRAINT subscriptions_pending_whole CHECK ((num_nonnulls(pending_tier, pending_price_cents, pending_key, pending_since) = ANY (ARRAY[0, 4]))),
    CONSTRAINT subscriptions_price CHECK ((price_cents > (0)::numeric)),
    CONSTRAINT subscriptions_status CHECK ((status = ANY (ARRAY['pending'::text, 'active'::text, 'past_due'::text, 'canceled'::text, 'expired'::text])))
);

COMMENT ON TABLE public.subscriptions IS 'Plans that people pay by the month, from the intent on; at most one at a time. The tier is what the newest paid period says.';

COMMENT ON COLUMN public.subscriptions.price_cents IS 'What a period was agreed to cost; an invoice of another amount is refused.';

COMMENT ON COLUMN public.subscriptions.pending_tier IS 'Asked for; in force from the first period that is paid at its price.';

COMMENT ON COLUMN public.subscriptions.pending_price_cents IS 'What a period of pending_tier was agreed to cost.';

COMMENT ON COLUMN public.subscriptions.pending_key IS 'By which the provider knows the request for pending_tier: asked again, it does it once.';

COMMENT ON COLUMN public.subscriptions.pending_since IS 'When it was asked for last: while it may be being paid, no other one is asked for.';

COMMENT ON COLUMN public.subscriptions.checkout_url IS 'Where the person pays; at the payment provider.';

COMMENT ON COLUMN public.subscriptions.started_at IS 'When the first period was paid.';

COMMENT ON COLUMN public.subscriptions.current_period_start IS 'Of the newest period that was paid.';

COMMENT ON COLUMN public.subscriptions.current_period_end IS 'Of the newest period that was paid.';

COMMENT ON COLUMN public.subscriptions.cancel_at_period_end IS 'The person wants it to end with the period.';

COMMENT ON COLUMN public.subscriptions.grace_until IS 'A payment failed: until then the plan stays in force.';

COMMENT ON COLUMN public.subscriptions.suspended_at IS 'The current period''s money was taken back, so the plan isn''t in force.';

COMMENT ON COLUMN public.subscriptions.ended_at IS 'When it ended for good at the provider.';

COMMENT ON COLUMN public.subscriptions.cancel_due_at IS 'From then on the worker cancels it at the provider; NULL when there is nothing to cancel.';

COMMENT ON COLUMN public.subscriptions.seen_at IS 'Time of the newest event that told its state; an older one changes nothing.';

COMMENT ON COLUMN public.subscriptions.look_at IS 'When the worker asks the provider next how it stands, in case an event was lost.';

CREATE FUNCTION public.subscription_of(p_facts jsonb) RETURNS public.subscriptions
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v subscriptions;
BEGIN
    SELECT s.* INTO v FROM subscriptions AS s WHERE s.stripe_subscription_id = p_facts ->> 'subscription';
    IF NOT FOUND THEN
        SELECT s.* INTO v
        FROM subscriptions AS s
        WHERE s.user_id = p_facts ->> 'user_id' AND s.id = p_facts ->> 'reference' AND s.stripe_subscription_id IS NULL;
    END IF;
    IF v.id IS NULL OR p_facts ->> 'subscription' IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM lock_account(v.user_id);
    UPDATE subscriptions AS s
    SET
        stripe_subscription_id = coalesce(s.stripe_subscription_id, p_facts ->> 'subscription'),
        stripe_customer_id = coalesce(s.stripe_customer_id, p_facts ->> 'customer')
    WHERE s.user_id = v.user_id AND s.id = v.id
        AND coalesce(s.stripe_subscription_id, p_facts ->> 'subscription') = p_facts ->> 'subscription'
    RETURNING s.* INTO v;
    RETURN v;
END
$$;

COMMENT ON FUNCTION public.subscription_of(p_facts jsonb) IS 'The plan that an event speaks of, its account locked: by the provider''s id, or by ours, which the first event ties to it.';

CREATE FUNCTION public.sweep_expired(p_limit integer DEFAULT 10000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.sweep_expired(p_limit integer) IS 'Removes expired tokens, counters and idempotency keys, a bounded number at a time.';

CREATE FUNCTION public.take_scope(p_role_name text, p_is_for_good boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_role oid := to_regrole(p_role_name);
    v_schema text := replace(p_role_name, 'callmeback_key_', 'scope_');
    v record;
BEGIN
    FOR v IN
        SELECT DISTINCT
            CASE d.classid
                WHEN 'pg_class'::regclass THEN format('TABLE %s', d.objid::regclass)
                WHEN 'pg_proc'::regclass THEN format('FUNCTION %s', d.objid::regprocedure)
                WHEN 'pg_namespace'::regclass THEN format('SCHEMA %s', d.objid::regnamespace)
            END AS what
        FROM pg_shdepend AS d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = v_role AND d.deptype = 'a'
            AND d.dbid = (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database())
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', v.what, p_role_name);
    END LOOP;
    IF v_role IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), p_role_name);
    END IF;
    IF p_is_for_good THEN
        FOR v IN
            SELECT p.polname, p.polrelid::regclass AS name
            FROM pg_policy AS p
            WHERE p.polname IN (p_role_name, p_role_name || '_write')
            ORDER BY p.polrelid
        LOOP
            EXECUTE format('DROP POLICY %I ON %s', v.polname, v.name);
        END LOOP;
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', v_schema);
    END IF;
END
$$;

COMMENT ON FUNCTION public.take_scope(p_role_name text, p_is_for_good boolean) IS 'Takes everything in this database away from the role of a scope; for good, its policies and its schema too.';

CREATE FUNCTION public.touch_updated_at() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION public.touch_updated_at() IS 'Keeps updated_at; tables that calls write often leave it to their functions.';

CREATE FUNCTION public.use_one_time_token(p_purpose text, p_token_hash bytea, p_password_hash text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_user_id text;
BEGIN
    -- The person before the link, as whoever changes the password or erases the person has them.
    PERFORM
    FROM users AS u
    WHERE u.id = (SELECT t.user_id FROM one_time_tokens AS t WHERE t.token_hash = p_token_hash)
    FOR NO KEY UPDATE;
    UPDATE one_time_tokens AS t
    SET used_at = v_now
    WHERE t.token_hash = p_token_hash AND t.purpose = p_purpose AND t.used_at IS NULL AND t.expires_at > v_now
    RETURNING t.user_id INTO v_user_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'token is unknown, used or expired' USING ERRCODE = 'CM017';
    END IF;
    IF p_purpose = 'email_verification' THEN
        UPDATE users AS u SET email_verified_at = coalesce(u.email_verified_at, v_now) WHERE u.id = v_user_id;
    ELSE
        -- Who could read the mail owns the address; whoever was logged in is out.
        UPDATE users AS u
        SET
            password_hash = p_password_hash,
            email_verified_at = coalesce(u.email_verified_at, v_now),
            tokens_valid_from = next_tokens_valid_from(u.tokens_valid_from)
        WHERE u.id = v_user_id;
    END IF;
    RETURN v_user_id;
END
$$;

COMMENT ON FUNCTION public.use_one_time_token(p_purpose text, p_token_hash bytea, p_password_hash text) IS 'Opens a link once: verifies the e-mail, or sets the new password and logs out everywhere.';

CREATE FUNCTION public.verify_phone(p_user_id text, p_number text, p_code_hash bytea) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    c_most_attempts CONSTANT integer := 5;
    v_now timestamptz := clock_timestamp();
    v_phone phones;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    UPDATE phones AS h
    SET code_attempts = h.code_attempts + 1
    WHERE h.user_id = p_user_id AND h.number = p_number
    RETURNING h.* INTO v_phone;
    -- A wrong code is an answer, not an error: raising would roll the count of attempts back.
    IF NOT FOUND OR v_phone.code_hash IS NULL OR v_phone.code_expires_at <= v_now THEN
        RETURN 'expired';
    ELSIF v_phone.code_attempts > c_most_attempts THEN
        RETURN 'too_many_attempts';
    ELSIF v_phone.code_hash <> p_code_hash THEN
        RETURN 'wrong';
    END IF;
    -- The winner of a race for one number blocks the other here, by the unique index.
    IF EXISTS (
        SELECT FROM phones AS h WHERE h.number = p_number AND h.verified_at IS NOT NULL AND h.user_id <> p_user_id
    ) THEN
        RETURN 'taken';
    END IF;
    UPDATE phones AS h
    SET verified_at = coalesce(h.verified_at, v_now), code_hash = NULL, code_expires_at = NULL, code_attempts = 0
    WHERE h.user_id = p_user_id AND h.number = p_number;
    UPDATE users AS u SET phone = p_number WHERE u.id = p_user_id AND u.phone IS NULL;
    RETURN 'verified';
END
$$;

COMMENT ON FUNCTION public.verify_phone(p_user_id text, p_number text, p_code_hash bytea) IS 'verified, wrong, expired, too_many_attempts or taken; the first verified number becomes the primary one.';

CREATE FUNCTION public.withdraw_occurrences(p_user_id text, p_schedule_id text, p_outcome text DEFAULT NULL::text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
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

COMMENT ON FUNCTION public.withdraw_occurrences(p_user_id text, p_schedule_id text, p_outcome text) IS 'Takes back what waits of a schedule: where the rule changes deleted, or missed if its time has come; where it ends canceled with a word, retries too.';

CREATE FUNCTION public.withdraw_tier_request(p_user_id text, p_tier text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE subscriptions AS s
    SET
        pending_tier = NULL, pending_price_cents = NULL, pending_key = NULL, pending_since = NULL,
        updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.pending_tier = p_tier;
    RETURN FOUND;
END
$$;

COMMENT ON FUNCTION public.withdraw_tier_request(p_user_id text, p_tier text) IS 'The provider said no to the change: the plan stays as it is.';

CREATE FUNCTION public.zone_or_utc(p_zone text) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    -- AT TIME ZONE takes these for abbreviations, which have no summer, though they are zones, which have one.
    v_zone text := CASE p_zone
        WHEN 'CET' THEN 'Europe/Brussels'
        WHEN 'EET' THEN 'Europe/Athens'
        WHEN 'MET' THEN 'Europe/Brussels'
        WHEN 'WET' THEN 'Europe/Lisbon'
        ELSE p_zone
    END;
BEGIN
    PERFORM now() AT TIME ZONE v_zone;
    RETURN v_zone;
EXCEPTION
    WHEN invalid_parameter_value THEN
        RETURN 'UTC';
END
$$;

COMMENT ON FUNCTION public.zone_or_utc(p_zone text) IS 'The zone as AT TIME ZONE understands it, or UTC where this server has none of that name: one person''s zone that an upgrade took away stops no round and no report.';

CREATE TABLE public.calendar_feeds (
    user_id public.id NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT calendar_feeds_token_length CHECK ((octet_length(token_hash) = 32))
);

COMMENT ON TABLE public.calendar_feeds IS 'The secret link under which a person''s calls to come are read as iCalendar; one at a time.';

COMMENT ON COLUMN public.calendar_feeds.token_hash IS 'secret. SHA-256 of the link''s token.';

CREATE VIEW clear.calendar_feeds WITH (security_barrier=f) AS
 SELECT user_id,
    created_at
   FROM public.calendar_feeds t
  WHERE true;

COMMENT ON VIEW clear.calendar_feeds IS 'Made from the comments of public.calendar_feeds for keys of the SQL proxy; never edited.';

CREATE TABLE public.call_cost_breakdowns (
    id text,
    call_id public.id NOT NULL,
    user_id public.id NOT NULL,
    meter_seq integer DEFAULT 0 NOT NULL,
    price_version_id integer NOT NULL,
    twilio_duration_seconds public.seconds DEFAULT 0 NOT NULL,
    cerebras_input_tokens public.quantity DEFAULT 0 NOT NULL,
    cerebras_output_tokens public.quantity DEFAULT 0 NOT NULL,
    elevenlabs_characters public.quantity DEFAULT 0 NOT NULL,
    fallback_input_tokens public.quantity DEFAULT 0 NOT NULL,
    fallback_output_tokens public.quantity DEFAULT 0 NOT NULL,
    local_characters public.quantity DEFAULT 0 NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    settled_at timestamp with time zone,
    hold_credits public.credits DEFAULT 0 NOT NULL,
    granted_seconds public.seconds DEFAULT 0 NOT NULL,
    local_month date DEFAULT '2000-01-01'::date NOT NULL,
    hold_cents public.cents DEFAULT 0 NOT NULL,
    deepgram_audio_seconds public.audio_seconds DEFAULT 0 NOT NULL,
    twilio_cost_cents numeric(20,10) DEFAULT 0 NOT NULL,
    deepgram_cost_cents numeric(20,10) DEFAULT 0 NOT NULL,
    cerebras_cost_cents numeric(20,10) DEFAULT 0 NOT NULL,
    elevenlabs_cost_cents numeric(20,10) DEFAULT 0 NOT NULL,
    total_cost_cents numeric(20,10) DEFAULT 0 NOT NULL,
    has_events boolean DEFAULT false NOT NULL,
    CONSTRAINT call_cost_breakdowns_total CHECK ((total_cost_cents = (((twilio_cost_cents + deepgram_cost_cents) + cerebras_cost_cents) + elevenlabs_cost_cents)))
)
WITH (fillfactor='60');

COMMENT ON TABLE public.call_cost_breakdowns IS 'What a call used and cost so far, from its first second: cumulative, so that writing it twice changes nothing.';

COMMENT ON COLUMN public.call_cost_breakdowns.id IS 'Id of an adopted row; rows made here are known by their call.';

COMMENT ON COLUMN public.call_cost_breakdowns.meter_seq IS 'Number of the newest state; an older one is dropped.';

COMMENT ON COLUMN public.call_cost_breakdowns.price_version_id IS 'Row of price_versions that prices this call; no foreign key, as for calls.';

COMMENT ON COLUMN public.call_cost_breakdowns.twilio_duration_seconds IS 'Connected seconds so far.';

COMMENT ON COLUMN public.call_cost_breakdowns.fallback_input_tokens IS 'Tokens of the second brain, priced by its own rate; part of cerebras_cost_cents.';

COMMENT ON COLUMN public.call_cost_breakdowns.local_characters IS 'Characters of the local voice, priced by its own rate; part of elevenlabs_cost_cents.';

COMMENT ON COLUMN public.call_cost_breakdowns.seen_at IS 'Heartbeat: when a voice process last reported this call.';

COMMENT ON COLUMN public.call_cost_breakdowns.settled_at IS 'When the call was settled; later usage still counts here and for its month.';

COMMENT ON COLUMN public.call_cost_breakdowns.hold_credits IS 'The hold of calls, written once beside what is used of it: a call is metered and settled by this row, without a look at the other.';

COMMENT ON COLUMN public.call_cost_breakdowns.granted_seconds IS 'As in calls.';

COMMENT ON COLUMN public.call_cost_breakdowns.local_month IS 'As in calls.';

COMMENT ON COLUMN public.call_cost_breakdowns.hold_cents IS 'As in calls.';

COMMENT ON COLUMN public.call_cost_breakdowns.deepgram_audio_seconds IS 'Seconds of audio the listener was sent, or its socket''s life if longer.';

COMMENT ON COLUMN public.call_cost_breakdowns.total_cost_cents IS 'Exact cents; each leg rounded once, at ten decimals, from its cumulative quantities.';

COMMENT ON COLUMN public.call_cost_breakdowns.has_events IS 'Whether call_cost_events has rows of this call: without, the next is the whole state.';

CREATE TABLE public.calls (
    id public.id NOT NULL,
    user_id public.id NOT NULL,
    persona_id public.id NOT NULL,
    phone_number text NOT NULL,
    twilio_call_sid text,
    status public.call_status DEFAULT 'initiating'::text NOT NULL,
    payment_method public.payment_method,
    payment_intent_id text,
    payment_status public.payment_status,
    estimated_cost_cents public.cents,
    actual_cost_cents public.cents,
    credits_used public.credits,
    start_time timestamp with time zone DEFAULT now() NOT NULL,
    end_time timestamp with time zone,
    duration_seconds public.seconds,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    answered_at timestamp with time zone,
    hold_credits public.credits DEFAULT 0 NOT NULL,
    granted_seconds public.seconds DEFAULT 0 NOT NULL,
    hold_cents public.cents DEFAULT 0 NOT NULL,
    price_version_id integer,
    local_day date,
    local_month date,
    hold_open boolean DEFAULT false NOT NULL,
    limited_by public.call_limit,
    answered_by public.answered_by,
    end_reason public.end_reason,
    carrier_duration_seconds integer,
    turn_count integer,
    interrupt_count integer,
    avg_response_time_ms integer,
    direction public.direction DEFAULT 'outbound'::text NOT NULL,
    call_pretext text,
    call_scenario text,
    custom_instructions text,
    voice_id text
)
WITH (fillfactor='75');

COMMENT ON TABLE public.calls IS 'Every call, from the intent to the settlement. Terminal only by finish_call; then costs, credits and transcript are there.';

COMMENT ON COLUMN public.calls.phone_number IS 'pii:phone. E.164; emptied to the last digits when the person is erased.';

COMMENT ON COLUMN public.calls.twilio_call_sid IS 'The carrier''s id, once it accepted the call.';

COMMENT ON COLUMN public.calls.estimated_cost_cents IS 'The most that was agreed at the start, in cents.';

COMMENT ON COLUMN public.calls.actual_cost_cents IS 'Vendors'' cost in cents, exact; equals the breakdown''s total.';

COMMENT ON COLUMN public.calls.credits_used IS 'Started minutes that were charged.';

COMMENT ON COLUMN public.calls.start_time IS 'When the call was asked for; answered_at is when the talk began.';

COMMENT ON COLUMN public.calls.duration_seconds IS 'Connected seconds by our clock.';

COMMENT ON COLUMN public.calls.error_message IS 'Stable words for the person; never a vendor''s text.';

COMMENT ON COLUMN public.calls.answered_at IS 'When it was picked up; connected seconds count from here.';

COMMENT ON COLUMN public.calls.hold_credits IS 'Credits set aside at the start; nothing is added later.';

COMMENT ON COLUMN public.calls.granted_seconds IS 'Longest talk allowed; also the carrier''s time limit.';

COMMENT ON COLUMN public.calls.hold_cents IS 'Vendors'' cost allowed, at the worst case for the granted length.';

COMMENT ON COLUMN public.calls.price_version_id IS 'Row of price_versions, which are never changed once used; no foreign key, as its index would be written by every call.';

COMMENT ON COLUMN public.calls.local_day IS 'The person''s day that counted this call.';

COMMENT ON COLUMN public.calls.local_month IS 'First day of the person''s month that bears the cost.';

COMMENT ON COLUMN public.calls.hold_open IS 'True from start_call to finish_call, which settles from the hold that stands beside the breakdown.';

COMMENT ON COLUMN public.calls.limited_by IS 'Which limit set granted_seconds.';

COMMENT ON COLUMN public.calls.answered_by IS 'Who picked up, by the carrier''s detection and our own ears.';

COMMENT ON COLUMN public.calls.end_reason IS 'Why it ended, a stable word.';

COMMENT ON COLUMN public.calls.carrier_duration_seconds IS 'The carrier''s own count, for reconciliation.';

COMMENT ON COLUMN public.calls.turn_count IS 'Exchanges: how often the person spoke.';

COMMENT ON COLUMN public.calls.avg_response_time_ms IS 'From the end of the person''s speech to the first audio of the answer.';

COMMENT ON COLUMN public.calls.call_pretext IS 'pii:content. Why the person wants to be called; context layer of the prompt.';

COMMENT ON COLUMN public.calls.call_scenario IS 'pii:content. Text of the scenario at the time.';

COMMENT ON COLUMN public.calls.custom_instructions IS 'pii:content. What else the person asked for.';

COMMENT ON COLUMN public.calls.voice_id IS 'Voice for this call alone; NULL inherits.';

CREATE VIEW clear.call_logs WITH (security_barrier=f) AS
 SELECT id,
    user_id,
    persona_id,
    twilio_call_sid,
    phone_number,
    duration_seconds,
    status,
    error_message,
    cost_stt,
    cost_llm,
    cost_tts,
    cost_twilio,
    cost_total,
    turn_count,
    interrupt_count,
    avg_response_time_ms,
    started_at,
    ended_at,
    created_at
   FROM ( SELECT c.id,
            c.user_id,
            c.persona_id,
            c.twilio_call_sid,
            c.phone_number,
            COALESCE((c.duration_seconds)::integer, (b.twilio_duration_seconds)::integer, 0) AS duration_seconds,
            c.status,
            c.error_message,
            COALESCE(b.deepgram_cost_cents, (0)::numeric) AS cost_stt,
            COALESCE(b.cerebras_cost_cents, (0)::numeric) AS cost_llm,
            COALESCE(b.elevenlabs_cost_cents, (0)::numeric) AS cost_tts,
            COALESCE(b.twilio_cost_cents, (0)::numeric) AS cost_twilio,
            COALESCE(b.total_cost_cents, (0)::numeric) AS cost_total,
            COALESCE(c.turn_count, 0) AS turn_count,
            COALESCE(c.interrupt_count, 0) AS interrupt_count,
            c.avg_response_time_ms,
            c.start_time AS started_at,
            c.end_time AS ended_at,
            c.created_at
           FROM (public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))) t
  WHERE true;

COMMENT ON VIEW clear.call_logs IS 'Made from the comments of public.call_logs for keys of the SQL proxy; never edited.';

CREATE VIEW clear.credit_prices WITH (security_barrier=f) AS
 SELECT user_id,
    cents_per_credit
   FROM ( SELECT p.user_id,
            (sum((p.amount_cents - p.reversed_cents)) / (NULLIF(sum((p.credits - p.reversed_credits)), 0))::numeric) AS cents_per_credit
           FROM public.payments p
          WHERE ((p.credits > p.reversed_credits) AND (p.kind <> 'call'::text))
          GROUP BY p.user_id) t
  WHERE true;

COMMENT ON VIEW clear.credit_prices IS 'Made from the comments of public.credit_prices for keys of the SQL proxy; never edited.';

CREATE TABLE public.disputes (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    payment_id public.id NOT NULL,
    amount_cents numeric(12,2) NOT NULL,
    currency text NOT NULL,
    reason text NOT NULL,
    is_withdrawn boolean DEFAULT false NOT NULL,
    is_reinstated boolean DEFAULT false NOT NULL,
    credits integer DEFAULT 0 NOT NULL,
    disputed_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT disputes_amount CHECK ((amount_cents > (0)::numeric)),
    CONSTRAINT disputes_credits CHECK ((credits >= 0)),
    CONSTRAINT disputes_currency CHECK ((currency ~ '^[a-z]{3}$'::text))
);

COMMENT ON TABLE public.disputes IS 'Payments that people contested at their bank, by the provider''s id. It counts while it was withdrawn and not reinstated.';

COMMENT ON COLUMN public.disputes.payment_id IS 'What was contested.';

COMMENT ON COLUMN public.disputes.reason IS 'The bank''s word for it.';

COMMENT ON COLUMN public.disputes.is_withdrawn IS 'The money was taken from us; this never goes back.';

COMMENT ON COLUMN public.disputes.is_reinstated IS 'We got it back; this never goes back.';

COMMENT ON COLUMN public.disputes.credits IS 'Credits that it took back while it counts.';

COMMENT ON COLUMN public.disputes.disputed_at IS 'By the provider''s clock.';

CREATE TABLE public.purchases (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    stripe_session_id text,
    payment_intent_id text,
    stripe_customer_id text,
    sku text NOT NULL,
    credits integer NOT NULL,
    amount_cents numeric(12,2) NOT NULL,
    discount_cents numeric(12,2) DEFAULT 0 NOT NULL,
    currency text NOT NULL,
    coupon text,
    status text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    checkout_url text,
    refused text,
    CONSTRAINT purchases_amount CHECK ((amount_cents >= (0)::numeric)),
    CONSTRAINT purchases_credits CHECK ((credits >= 0)),
    CONSTRAINT purchases_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT purchases_discount CHECK ((discount_cents >= (0)::numeric)),
    CONSTRAINT purchases_status CHECK ((status = ANY (ARRAY['pending'::text, 'completed'::text, 'failed'::text, 'refunded'::text])))
);

COMMENT ON TABLE public.purchases IS 'Credits bought with money, from the intent to the payment.';

COMMENT ON COLUMN public.purchases.amount_cents IS 'What is to be paid, the discount taken off.';

COMMENT ON COLUMN public.purchases.checkout_url IS 'Where the person pays; at the payment provider.';

COMMENT ON COLUMN public.purchases.refused IS 'What disagreed when an event claimed that this was paid.';

CREATE TABLE public.refunds (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    payment_id public.id NOT NULL,
    amount_cents numeric(12,2) NOT NULL,
    currency text NOT NULL,
    is_succeeded boolean DEFAULT false NOT NULL,
    is_undone boolean DEFAULT false NOT NULL,
    credits integer DEFAULT 0 NOT NULL,
    refunded_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT refunds_amount CHECK ((amount_cents > (0)::numeric)),
    CONSTRAINT refunds_credits CHECK ((credits >= 0)),
    CONSTRAINT refunds_currency CHECK ((currency ~ '^[a-z]{3}$'::text))
);

COMMENT ON TABLE public.refunds IS 'Money that was given back, by the provider''s id. It counts while it succeeded and wasn''t undone.';

COMMENT ON COLUMN public.refunds.payment_id IS 'What was given back.';

COMMENT ON COLUMN public.refunds.is_succeeded IS 'The provider said so at least once; this never goes back.';

COMMENT ON COLUMN public.refunds.is_undone IS 'It failed or was canceled after all; this never goes back.';

COMMENT ON COLUMN public.refunds.credits IS 'Credits that it took back while it counts.';

COMMENT ON COLUMN public.refunds.refunded_at IS 'By the provider''s clock.';

CREATE VIEW public.money_flows WITH (security_invoker='true') AS
 SELECT p.user_id,
    p.kind,
    p.tier,
    'payment'::text AS flow,
    p.id,
    p.id AS payment_id,
    p.paid_at AS flowed_at,
    p.currency,
    p.amount_cents
   FROM public.payments p
UNION ALL
 SELECT x.user_id,
    'purchase'::text AS kind,
    NULL::text AS tier,
    'payment'::text AS flow,
    x.id,
    x.id AS payment_id,
    x.completed_at AS flowed_at,
    x.currency,
    x.amount_cents
   FROM (public.purchases x
     LEFT JOIN public.payments p ON ((((x.user_id)::text = (p.user_id)::text) AND ((x.id)::text = (p.id)::text))))
  WHERE ((x.status = 'completed'::text) AND (x.completed_at IS NOT NULL) AND (x.amount_cents > (0)::numeric) AND (p.id IS NULL))
UNION ALL
 SELECT p.user_id,
    p.kind,
    p.tier,
    'refund'::text AS flow,
    r.id,
    p.id AS payment_id,
    r.refunded_at AS flowed_at,
    p.currency,
    (- r.amount_cents) AS amount_cents
   FROM (public.refunds r
     JOIN public.payments p ON ((((r.user_id)::text = (p.user_id)::text) AND ((r.payment_id)::text = (p.id)::text))))
  WHERE (r.is_succeeded AND (NOT r.is_undone))
UNION ALL
 SELECT p.user_id,
    p.kind,
    p.tier,
    'dispute'::text AS flow,
    d.id,
    p.id AS payment_id,
    d.disputed_at AS flowed_at,
    p.currency,
    (- d.amount_cents) AS amount_cents
   FROM (public.disputes d
     JOIN public.payments p ON ((((d.user_id)::text = (p.user_id)::text) AND ((d.payment_id)::text = (p.id)::text))))
  WHERE (d.is_withdrawn AND (NOT d.is_reinstated));

COMMENT ON VIEW public.money_flows IS 'Every amount that came in (+) or went back (-), with the provider''s time: what its own list must agree with. Adopted purchases have no other trace.';

CREATE VIEW clear.daily_margin WITH (security_barrier=f) AS
 SELECT day,
    calls,
    revenue_cents,
    cost_cents,
    margin_cents
   FROM ( SELECT d.day,
            sum(d.calls) AS calls,
            sum(d.revenue_cents) AS revenue_cents,
            sum(d.cost_cents) AS cost_cents,
            (sum(d.revenue_cents) - sum(d.cost_cents)) AS margin_cents
           FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
                    1 AS calls,
                    (0)::numeric AS revenue_cents,
                    COALESCE(b.total_cost_cents, (0)::numeric) AS cost_cents
                   FROM (public.calls c
                     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
                UNION ALL
                 SELECT ((f.flowed_at AT TIME ZONE 'UTC'::text))::date AS day,
                    0 AS calls,
                    f.amount_cents AS revenue_cents,
                    (0)::numeric AS cost_cents
                   FROM public.money_flows f) d
          GROUP BY d.day) t
  WHERE true;

COMMENT ON VIEW clear.daily_margin IS 'Made from the comments of public.daily_margin for keys of the SQL proxy; never edited.';

CREATE TABLE public.credit_transactions (
    id text,
    user_id public.id NOT NULL,
    seq public.entry_number NOT NULL,
    amount public.entry_amount NOT NULL,
    balance_before integer NOT NULL,
    balance_after integer NOT NULL,
    type public.entry_type NOT NULL,
    cause public.entry_cause NOT NULL,
    call_id public.id,
    payment_intent_id text,
    description text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT credit_transactions_balance CHECK ((balance_after = (balance_before + (amount)::integer)))
);

COMMENT ON TABLE public.credit_transactions IS 'The ledger: append-only, numbered without gaps per account, each cause at most once. Holds no personal text.';

COMMENT ON COLUMN public.credit_transactions.id IS 'Id of an adopted row; rows made here are known by account and number.';

COMMENT ON COLUMN public.credit_transactions.amount IS 'Credits in (+) or out (-).';

COMMENT ON COLUMN public.credit_transactions.balance_before IS 'available + held - debt before this row.';

COMMENT ON COLUMN public.credit_transactions.cause IS 'What moved the credits: call:…, purchase:…, refund:…, period:…, adjust:….';

COMMENT ON COLUMN public.credit_transactions.description IS 'The house''s words; nothing about a person.';

CREATE VIEW clear.double_entry WITH (security_barrier=f) AS
 SELECT user_id,
    seq,
    created_at,
    account,
    credits
   FROM ( SELECT t_1.user_id,
            t_1.seq,
            t_1.created_at,
            e.account,
            e.credits
           FROM (public.credit_transactions t_1
             CROSS JOIN LATERAL ( VALUES ('liabilities:credits'::text,t_1.amount), (
                        CASE t_1.type
                            WHEN 'purchase'::text THEN 'assets:payments'::text
                            WHEN 'subscription_refill'::text THEN 'assets:subscriptions'::text
                            WHEN 'refund'::text THEN 'assets:payments'::text
                            WHEN 'call_deduction'::text THEN 'revenue:calls'::text
                            WHEN 'admin_adjustment'::text THEN 'equity:adjustments'::text
                            WHEN 'promotion'::text THEN 'expenses:promotions'::text
                            WHEN 'expiry'::text THEN 'expenses:promotions'::text
                            ELSE NULL::text
                        END,(- (t_1.amount)::integer))) e(account, credits))) t
  WHERE true;

COMMENT ON VIEW clear.double_entry IS 'Made from the comments of public.double_entry for keys of the SQL proxy; never edited.';

CREATE TABLE public.subscription_tiers (
    tier text NOT NULL,
    monthly_price_cents numeric(12,2) NOT NULL,
    monthly_credit_allowance integer NOT NULL,
    max_calls_per_day integer,
    max_call_duration_seconds integer NOT NULL,
    charges_credits boolean NOT NULL,
    "position" integer NOT NULL,
    currency text DEFAULT 'usd'::text NOT NULL,
    stripe_lookup_key text,
    payg_cents_per_credit numeric(12,2),
    CONSTRAINT subscription_tiers_allowance CHECK ((monthly_credit_allowance >= 0)),
    CONSTRAINT subscription_tiers_calls CHECK ((max_calls_per_day >= 0)),
    CONSTRAINT subscription_tiers_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT subscription_tiers_duration CHECK (((max_call_duration_seconds >= 60) AND (max_call_duration_seconds <= 14400))),
    CONSTRAINT subscription_tiers_payg CHECK ((payg_cents_per_credit >= (50)::numeric)),
    CONSTRAINT subscription_tiers_price CHECK ((monthly_price_cents >= (0)::numeric))
);

COMMENT ON TABLE public.subscription_tiers IS 'Plans. An account inherits these figures unless it has its own.';

COMMENT ON COLUMN public.subscription_tiers.max_calls_per_day IS 'NULL is unlimited.';

COMMENT ON COLUMN public.subscription_tiers.charges_credits IS 'False where talking takes no credits: free and unlimited.';

COMMENT ON COLUMN public.subscription_tiers."position" IS 'Order on the page, cheapest first.';

COMMENT ON COLUMN public.subscription_tiers.stripe_lookup_key IS 'Lookup key of the monthly price at the payment provider; NULL is not for sale.';

COMMENT ON COLUMN public.subscription_tiers.payg_cents_per_credit IS 'Price of a started minute when a call is paid by itself; NULL where that isn''t offered. Nobody charges less than 50 cents.';

CREATE TABLE public.user_budget_settings (
    user_id public.id NOT NULL,
    max_cost_per_call_cents numeric(12,2) DEFAULT 1000 NOT NULL,
    max_monthly_spend_cents numeric(12,2) DEFAULT 10000 NOT NULL,
    warn_at_percent_per_call integer DEFAULT 75 NOT NULL,
    enable_auto_cutoff boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT user_budget_settings_call CHECK (((max_cost_per_call_cents >= (0)::numeric) AND (max_cost_per_call_cents <= (1000000)::numeric))),
    CONSTRAINT user_budget_settings_month CHECK (((max_monthly_spend_cents >= (0)::numeric) AND (max_monthly_spend_cents <= (10000000)::numeric))),
    CONSTRAINT user_budget_settings_warn CHECK (((warn_at_percent_per_call >= 1) AND (warn_at_percent_per_call <= 100)))
);

COMMENT ON TABLE public.user_budget_settings IS 'Limits a person sets on the vendors'' cost. No row means the defaults of the columns.';

COMMENT ON COLUMN public.user_budget_settings.max_cost_per_call_cents IS '0 means no spending.';

COMMENT ON COLUMN public.user_budget_settings.max_monthly_spend_cents IS 'Per local month; 0 means no spending.';

COMMENT ON COLUMN public.user_budget_settings.enable_auto_cutoff IS 'Off: the limit of a call only warns; month, hold and tier still end it.';

CREATE TABLE public.user_credits (
    user_id public.id NOT NULL,
    available_credits public.credits DEFAULT 0 NOT NULL,
    held_credits public.credits DEFAULT 0 NOT NULL,
    debt_credits public.credits DEFAULT 0 NOT NULL,
    calls_in_day public.quantity DEFAULT 0 NOT NULL,
    calls_day date DEFAULT '2000-01-01'::date NOT NULL,
    spend_month date DEFAULT '2000-01-01'::date NOT NULL,
    ledger_seq public.entry_count DEFAULT 0 NOT NULL,
    spent_in_month_cents public.cents DEFAULT 0 NOT NULL,
    subscription_tier text DEFAULT 'free'::text NOT NULL,
    subscription_status public.subscription_status,
    subscription_stripe_id text,
    subscription_start_date timestamp with time zone,
    subscription_end_date timestamp with time zone,
    monthly_credit_allowance public.credits,
    max_calls_per_day public.quantity,
    max_call_duration_seconds public.call_length_limit,
    is_closed boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT user_credits_debt_first CHECK ((((debt_credits)::integer = 0) OR ((available_credits)::integer = 0)))
)
WITH (fillfactor='70');

COMMENT ON TABLE public.user_credits IS 'The account: the only row that two calls of one person contend for. No index on what calls change, so updates stay in the page.';

COMMENT ON COLUMN public.user_credits.available_credits IS 'Credits (started minutes of talk) free to be used.';

COMMENT ON COLUMN public.user_credits.held_credits IS 'Credits set aside for the open call.';

COMMENT ON COLUMN public.user_credits.debt_credits IS 'Credits that were spent and later reversed; paid first by what comes in.';

COMMENT ON COLUMN public.user_credits.calls_in_day IS 'Calls placed in calls_day; refused ones don''t count, nor those that the house could not place.';

COMMENT ON COLUMN public.user_credits.calls_day IS 'The person''s local day that calls_in_day counts; only moves forward.';

COMMENT ON COLUMN public.user_credits.spend_month IS 'First day of the local month that spent_in_month_cents counts; only moves forward.';

COMMENT ON COLUMN public.user_credits.ledger_seq IS 'Number of the newest row of this account in credit_transactions.';

COMMENT ON COLUMN public.user_credits.spent_in_month_cents IS 'Vendors'' cost in cents of the calls that began in spend_month.';

COMMENT ON COLUMN public.user_credits.monthly_credit_allowance IS 'NULL inherits the tier.';

COMMENT ON COLUMN public.user_credits.max_calls_per_day IS 'NULL inherits the tier.';

COMMENT ON COLUMN public.user_credits.max_call_duration_seconds IS 'NULL inherits the tier.';

COMMENT ON COLUMN public.user_credits.is_closed IS 'Whether the person is blocked or erased: written with users by its trigger, so that a call begins by one look.';

CREATE VIEW clear.effective_limits WITH (security_barrier=f) AS
 SELECT user_id,
    subscription_tier,
    charges_credits,
    monthly_credit_allowance,
    max_calls_per_day,
    max_call_duration_seconds,
    max_cost_per_call_cents,
    max_monthly_spend_cents,
    warn_at_percent_per_call,
    enable_auto_cutoff
   FROM ( SELECT a.user_id,
            a.subscription_tier,
            t_1.charges_credits,
            COALESCE((a.monthly_credit_allowance)::integer, t_1.monthly_credit_allowance) AS monthly_credit_allowance,
            COALESCE((a.max_calls_per_day)::integer, t_1.max_calls_per_day) AS max_calls_per_day,
            COALESCE((a.max_call_duration_seconds)::integer, t_1.max_call_duration_seconds) AS max_call_duration_seconds,
            COALESCE(b.max_cost_per_call_cents, (1000)::numeric) AS max_cost_per_call_cents,
            COALESCE(b.max_monthly_spend_cents, (10000)::numeric) AS max_monthly_spend_cents,
            COALESCE(b.warn_at_percent_per_call, 75) AS warn_at_percent_per_call,
            COALESCE(b.enable_auto_cutoff, true) AS enable_auto_cutoff
           FROM ((public.user_credits a
             JOIN public.subscription_tiers t_1 ON ((a.subscription_tier = t_1.tier)))
             LEFT JOIN public.user_budget_settings b ON (((a.user_id)::text = (b.user_id)::text)))) t
  WHERE true;

COMMENT ON VIEW clear.effective_limits IS 'Made from the comments of public.effective_limits for keys of the SQL proxy; never edited.';

CREATE TABLE public.personas (
    id public.id NOT NULL,
    owner_user_id public.id,
    name text NOT NULL,
    description text,
    core_system_prompt text NOT NULL,
    default_voice_id text,
    default_voice_settings public.voice_settings DEFAULT '{"speed": 1.0, "style": 0.0, "stability": 0.5, "similarity_boost": 0.75}'::jsonb NOT NULL,
    avatar_url text,
    category text,
    llm_model text,
    max_tokens integer DEFAULT 150 NOT NULL,
    temperature numeric(3,2) DEFAULT 0.7 NOT NULL,
    max_call_duration_seconds integer,
    phone_number text,
    is_active boolean DEFAULT true NOT NULL,
    is_system_persona boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT personas_description_length CHECK ((length(description) <= 1000)),
    CONSTRAINT personas_max_call_duration CHECK (((max_call_duration_seconds >= 60) AND (max_call_duration_seconds <= 14400))),
    CONSTRAINT personas_max_tokens CHECK (((max_tokens >= 16) AND (max_tokens <= 1000))),
    CONSTRAINT personas_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT personas_phone_e164 CHECK ((phone_number ~ '^\+[1-9][0-9]{6,14}$'::text)),
    CONSTRAINT personas_prompt_length CHECK (((length(core_system_prompt) >= 1) AND (length(core_system_prompt) <= 8000))),
    CONSTRAINT personas_system_or_owned CHECK (((NOT is_system_persona) OR (owner_user_id IS NULL))),
    CONSTRAINT personas_temperature CHECK (((temperature >= (0)::numeric) AND (temperature <= (2)::numeric)))
);

COMMENT ON TABLE public.personas IS 'Personalities. One with history is retired (is_active), never deleted.';

COMMENT ON COLUMN public.personas.owner_user_id IS 'Whose it is; NULL is the house''s and everybody''s.';

COMMENT ON COLUMN public.personas.core_system_prompt IS 'pii:content. Identity layer of the prompt; never published with the catalogue.';

COMMENT ON COLUMN public.personas.llm_model IS 'Model of the brain for this persona; NULL is the house''s.';

COMMENT ON COLUMN public.personas.max_call_duration_seconds IS 'Longest call with this persona; NULL leaves it to the tier.';

COMMENT ON COLUMN public.personas.phone_number IS 'Caller''s number of this persona, where it has one of its own.';

CREATE TABLE public.user_persona_relationships (
    id public.id DEFAULT ('rel_'::text || replace((gen_random_uuid())::text, '-'::text, ''::text)) NOT NULL,
    user_id public.id NOT NULL,
    persona_id public.id NOT NULL,
    relationship_type public.relationship_type DEFAULT 'friend'::text NOT NULL,
    custom_system_prompt public.custom_prompt,
    voice_id text,
    voice_settings public.voice_settings,
    total_calls public.quantity DEFAULT 0 NOT NULL,
    total_duration_seconds public.seconds DEFAULT 0 NOT NULL,
    last_call_at timestamp with time zone,
    is_favorite boolean DEFAULT false NOT NULL,
    is_archived boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='80');

COMMENT ON TABLE public.user_persona_relationships IS 'What one person made of one persona, and how often they talked.';

COMMENT ON COLUMN public.user_persona_relationships.custom_system_prompt IS 'pii:content. Relationship layer of the prompt.';

COMMENT ON COLUMN public.user_persona_relationships.voice_id IS 'NULL inherits the persona''s voice.';

COMMENT ON COLUMN public.user_persona_relationships.voice_settings IS 'NULL inherits; keys that are there override the persona''s.';

COMMENT ON COLUMN public.user_persona_relationships.total_calls IS 'Calls that were answered by a person; grows in finish_call''s commit.';

CREATE TABLE public.users (
    id public.id NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    name text,
    phone text,
    stripe_customer_id text,
    timezone text DEFAULT 'UTC'::text NOT NULL,
    locale text DEFAULT 'en'::text NOT NULL,
    email_verified_at timestamp with time zone,
    terms_accepted_at timestamp with time zone,
    tokens_valid_from timestamp with time zone DEFAULT to_timestamp((0)::double precision) NOT NULL,
    blocked_at timestamp with time zone,
    erased_at timestamp with time zone,
    last_login_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_email_length CHECK (((octet_length(email) >= 3) AND (octet_length(email) <= 320))),
    CONSTRAINT users_name_length CHECK ((length(name) <= 200)),
    CONSTRAINT users_phone_e164 CHECK ((phone ~ '^\+[1-9][0-9]{6,14}$'::text))
);

COMMENT ON TABLE public.users IS 'A person with an account. Erased people are emptied, never deleted: the ledger points here.';

COMMENT ON COLUMN public.users.email IS 'pii:email. Unique without regard to case.';

COMMENT ON COLUMN public.users.password_hash IS 'secret. bcrypt, 12 rounds; an empty text can never match.';

COMMENT ON COLUMN public.users.name IS 'pii:name. How the person wants to be called.';

COMMENT ON COLUMN public.users.phone IS 'pii:phone. The primary number; all numbers stand in phones.';

COMMENT ON COLUMN public.users.stripe_customer_id IS 'The customer at the payment provider, once there is one.';

COMMENT ON COLUMN public.users.timezone IS 'IANA zone; decides which day and month a call belongs to.';

COMMENT ON COLUMN public.users.tokens_valid_from IS 'Tokens issued before are revoked: log out everywhere, password reset.';

COMMENT ON COLUMN public.users.blocked_at IS 'Set by an operator: no login and no calls.';

COMMENT ON COLUMN public.users.erased_at IS 'When the personal data was taken out; nothing can be undone after.';

CREATE VIEW clear.effective_voices WITH (security_barrier=f) AS
 SELECT user_id,
    persona_id,
    voice_id,
    voice_settings
   FROM ( SELECT u.id AS user_id,
            p.id AS persona_id,
            COALESCE(r.voice_id, p.default_voice_id) AS voice_id,
            ((p.default_voice_settings)::jsonb || COALESCE((r.voice_settings)::jsonb, '{}'::jsonb)) AS voice_settings
           FROM ((public.users u
             CROSS JOIN public.personas p)
             LEFT JOIN public.user_persona_relationships r ON ((((u.id)::text = (r.user_id)::text) AND ((p.id)::text = (r.persona_id)::text))))
          WHERE ((p.owner_user_id IS NULL) OR ((p.owner_user_id)::text = (u.id)::text))) t
  WHERE true;

COMMENT ON VIEW clear.effective_voices IS 'Made from the comments of public.effective_voices for keys of the SQL proxy; never edited.';

CREATE TABLE public.open_calls (
    user_id public.id NOT NULL,
    call_id public.id NOT NULL,
    created_at timestamp with time zone NOT NULL,
    dial_before timestamp with time zone NOT NULL,
    dial_claimed_at timestamp with time zone,
    dial_claimed_by text,
    reaper_leased_until timestamp with time zone
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE public.open_calls IS 'One row per person with an open hold: the key is the rule of one open call, the rows are the dialler''s outbox and the reaper''s list. Small and busy.';

COMMENT ON COLUMN public.open_calls.dial_before IS 'A call that waits longer to be dialled is canceled.';

COMMENT ON COLUMN public.open_calls.dial_claimed_at IS 'When a dialler took it; it is dialled at most once.';

COMMENT ON COLUMN public.open_calls.reaper_leased_until IS 'Until then one reaper looks after it.';

CREATE VIEW clear.ledger_proof WITH (security_barrier=f) AS
 SELECT user_id,
    balance,
    ledger_sum,
    ledger_seq,
    ledger_rows,
    newest_balance,
    held_credits,
    hold_sum,
    is_proved
   FROM ( SELECT a.user_id,
            (((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) AS balance,
            COALESCE(l.ledger_sum, (0)::bigint) AS ledger_sum,
            a.ledger_seq,
            COALESCE(l.ledger_rows, (0)::bigint) AS ledger_rows,
            COALESCE(l.newest_balance, 0) AS newest_balance,
            a.held_credits,
            COALESCE(h.hold_sum, (0)::bigint) AS hold_sum,
            (((((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) = COALESCE(l.ledger_sum, (0)::bigint)) AND ((a.ledger_seq)::bigint = COALESCE(l.ledger_rows, (0)::bigint)) AND ((a.ledger_seq)::bigint = COALESCE(l.newest_seq, (0)::bigint)) AND ((((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) = COALESCE(l.newest_balance, 0)) AND ((a.held_credits)::integer = COALESCE(h.hold_sum, (0)::bigint))) AS is_proved
           FROM ((public.user_credits a
             LEFT JOIN ( SELECT t_1.user_id,
                    sum((t_1.amount)::integer) AS ledger_sum,
                    count(*) AS ledger_rows,
                    max((t_1.seq)::bigint) AS newest_seq,
                    (array_agg(t_1.balance_after ORDER BY t_1.seq DESC))[1] AS newest_balance
                   FROM public.credit_transactions t_1
                  GROUP BY t_1.user_id) l ON (((a.user_id)::text = (l.user_id)::text)))
             LEFT JOIN ( SELECT o.user_id,
                    sum((c.hold_credits)::integer) AS hold_sum
                   FROM (public.open_calls o
                     JOIN public.calls c ON ((((o.user_id)::text = (c.user_id)::text) AND ((o.call_id)::text = (c.id)::text))))
                  GROUP BY o.user_id) h ON (((a.user_id)::text = (h.user_id)::text)))) t
  WHERE true;

COMMENT ON VIEW clear.ledger_proof IS 'Made from the comments of public.ledger_proof for keys of the SQL proxy; never edited.';

CREATE VIEW clear.money_flows WITH (security_barrier=f) AS
 SELECT user_id,
    kind,
    tier,
    flow,
    id,
    payment_id,
    flowed_at,
    currency,
    amount_cents
   FROM ( SELECT p.user_id,
            p.kind,
            p.tier,
            'payment'::text AS flow,
            p.id,
            p.id AS payment_id,
            p.paid_at AS flowed_at,
            p.currency,
            p.amount_cents
           FROM public.payments p
        UNION ALL
         SELECT x.user_id,
            'purchase'::text AS kind,
            NULL::text AS tier,
            'payment'::text AS flow,
            x.id,
            x.id AS payment_id,
            x.completed_at AS flowed_at,
            x.currency,
            x.amount_cents
           FROM (public.purchases x
             LEFT JOIN public.payments p ON ((((x.user_id)::text = (p.user_id)::text) AND ((x.id)::text = (p.id)::text))))
          WHERE ((x.status = 'completed'::text) AND (x.completed_at IS NOT NULL) AND (x.amount_cents > (0)::numeric) AND (p.id IS NULL))
        UNION ALL
         SELECT p.user_id,
            p.kind,
            p.tier,
            'refund'::text AS flow,
            r.id,
            p.id AS payment_id,
            r.refunded_at AS flowed_at,
            p.currency,
            (- r.amount_cents) AS amount_cents
           FROM (public.refunds r
             JOIN public.payments p ON ((((r.user_id)::text = (p.user_id)::text) AND ((r.payment_id)::text = (p.id)::text))))
          WHERE (r.is_succeeded AND (NOT r.is_undone))
        UNION ALL
         SELECT p.user_id,
            p.kind,
            p.tier,
            'dispute'::text AS flow,
            d.id,
            p.id AS payment_id,
            d.disputed_at AS flowed_at,
            p.currency,
            (- d.amount_cents) AS amount_cents
           FROM (public.disputes d
             JOIN public.payments p ON ((((d.user_id)::text = (p.user_id)::text) AND ((d.payment_id)::text = (p.id)::text))))
          WHERE (d.is_withdrawn AND (NOT d.is_reinstated))) t
  WHERE true;

COMMENT ON VIEW clear.money_flows IS 'Made from the comments of public.money_flows for keys of the SQL proxy; never edited.';

CREATE VIEW public.effective_limits WITH (security_invoker='true') AS
 SELECT a.user_id,
    a.subscription_tier,
    t.charges_credits,
    COALESCE((a.monthly_credit_allowance)::integer, t.monthly_credit_allowance) AS monthly_credit_allowance,
    COALESCE((a.max_calls_per_day)::integer, t.max_calls_per_day) AS max_calls_per_day,
    COALESCE((a.max_call_duration_seconds)::integer, t.max_call_duration_seconds) AS max_call_duration_seconds,
    COALESCE(b.max_cost_per_call_cents, (1000)::numeric) AS max_cost_per_call_cents,
    COALESCE(b.max_monthly_spend_cents, (10000)::numeric) AS max_monthly_spend_cents,
    COALESCE(b.warn_at_percent_per_call, 75) AS warn_at_percent_per_call,
    COALESCE(b.enable_auto_cutoff, true) AS enable_auto_cutoff
   FROM ((public.user_credits a
     JOIN public.subscription_tiers t ON ((a.subscription_tier = t.tier)))
     LEFT JOIN public.user_budget_settings b ON (((a.user_id)::text = (b.user_id)::text)));

COMMENT ON VIEW public.effective_limits IS 'What holds for an account: its own figures, else the tier''s; its budget, else the defaults.';

CREATE VIEW clear.month_forecast WITH (security_barrier=f) AS
 SELECT user_id,
    month,
    elapsed_days,
    month_days,
    spent_cents,
    forecast_cents,
    limit_cents
   FROM ( SELECT a.user_id,
            m.month,
            m.elapsed_days,
            m.month_days,
            m.spent_cents,
            ((m.spent_cents * (m.month_days)::numeric) / (m.elapsed_days)::numeric) AS forecast_cents,
            l.max_monthly_spend_cents AS limit_cents
           FROM ((((public.user_credits a
             JOIN public.users u ON (((a.user_id)::text = (u.id)::text)))
             JOIN public.effective_limits l ON (((a.user_id)::text = (l.user_id)::text)))
             CROSS JOIN LATERAL ( SELECT (now() AT TIME ZONE public.zone_or_utc(u.timezone)) AS here) t_1)
             CROSS JOIN LATERAL ( SELECT (date_trunc('month'::text, t_1.here))::date AS month,
                    (EXTRACT(day FROM t_1.here))::integer AS elapsed_days,
                    (EXTRACT(day FROM ((date_trunc('month'::text, t_1.here) + '1 mon'::interval) - '1 day'::interval)))::integer AS month_days,
                        CASE
                            WHEN (a.spend_month = (date_trunc('month'::text, t_1.here))::date) THEN (a.spent_in_month_cents)::numeric
                            ELSE (0)::numeric
                        END AS spent_cents) m)) t
  WHERE true;

COMMENT ON VIEW clear.month_forecast IS 'Made from the comments of public.month_forecast for keys of the SQL proxy; never edited.';

CREATE VIEW clear.monthly_spend WITH (security_barrier=f) AS
 SELECT user_id,
    month,
    spend_cents,
    calls,
    avg_duration_seconds
   FROM ( SELECT c.user_id,
            COALESCE(c.local_month, (date_trunc('month'::text, (c.created_at AT TIME ZONE 'UTC'::text)))::date) AS month,
            sum(COALESCE(b.total_cost_cents, (0)::numeric)) AS spend_cents,
            count(*) AS calls,
            avg((c.duration_seconds)::integer) AS avg_duration_seconds
           FROM (public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
          GROUP BY c.user_id, COALESCE(c.local_month, (date_trunc('month'::text, (c.created_at AT TIME ZONE 'UTC'::text)))::date)) t
  WHERE true;

COMMENT ON VIEW clear.monthly_spend IS 'Made from the comments of public.monthly_spend for keys of the SQL proxy; never edited.';

CREATE TABLE public.one_time_tokens (
    token_hash bytea NOT NULL,
    user_id public.id NOT NULL,
    purpose text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT one_time_tokens_purpose CHECK ((purpose = ANY (ARRAY['email_verification'::text, 'password_reset'::text])))
);

COMMENT ON TABLE public.one_time_tokens IS 'Links sent by mail: each opens once.';

COMMENT ON COLUMN public.one_time_tokens.token_hash IS 'secret. SHA-256 of the token; the token itself is only in the mail.';

CREATE VIEW clear.one_time_tokens WITH (security_barrier=f) AS
 SELECT user_id,
    purpose,
    expires_at,
    used_at,
    created_at
   FROM public.one_time_tokens t
  WHERE true;

COMMENT ON VIEW clear.one_time_tokens IS 'Made from the comments of public.one_time_tokens for keys of the SQL proxy; never edited.';

CREATE TABLE public.payment_authorizations (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    call_id public.id,
    payment_intent_id text,
    stripe_customer_id text NOT NULL,
    credits integer NOT NULL,
    cents_per_credit numeric(12,2) NOT NULL,
    authorized_cents numeric(12,2) NOT NULL,
    capture_cents numeric(12,2) DEFAULT 0 NOT NULL,
    captured_cents numeric(12,2) DEFAULT 0 NOT NULL,
    used_credits integer DEFAULT 0 NOT NULL,
    currency text NOT NULL,
    state text DEFAULT 'authorizing'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    retry_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT payment_authorizations_amount CHECK ((authorized_cents = ((credits)::numeric * cents_per_credit))),
    CONSTRAINT payment_authorizations_attempts CHECK ((attempts >= 0)),
    CONSTRAINT payment_authorizations_capture CHECK (((capture_cents >= (0)::numeric) AND (capture_cents <= authorized_cents))),
    CONSTRAINT payment_authorizations_capture_used CHECK ((capture_cents = ((used_credits)::numeric * cents_per_credit))),
    CONSTRAINT payment_authorizations_captured CHECK (((captured_cents = (0)::numeric) OR (captured_cents = capture_cents))),
    CONSTRAINT payment_authorizations_credits CHECK ((credits > 0)),
    CONSTRAINT payment_authorizations_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT payment_authorizations_price CHECK ((cents_per_credit > (0)::numeric)),
    CONSTRAINT payment_authorizations_state CHECK ((state = ANY (ARRAY['authorizing'::text, 'authorized'::text, 'calling'::text, 'capturing'::text, 'releasing'::text, 'captured'::text, 'released'::text, 'declined'::text, 'failed'::text]))),
    CONSTRAINT payment_authorizations_used CHECK (((used_credits >= 0) AND (used_credits <= credits)))
);

COMMENT ON TABLE public.payment_authorizations IS 'Calls paid one by one: the worst case is set aside on the card before the call, what was used is captured after it, the rest released.';

COMMENT ON COLUMN public.payment_authorizations.call_id IS 'The call that it pays, once that has begun.';

COMMENT ON COLUMN public.payment_authorizations.cents_per_credit IS 'What a started minute costs in this call.';

COMMENT ON COLUMN public.payment_authorizations.authorized_cents IS 'The worst case.';

COMMENT ON COLUMN public.payment_authorizations.capture_cents IS 'What the call came to, from its settlement on.';

COMMENT ON COLUMN public.payment_authorizations.captured_cents IS 'What the provider confirmed.';

COMMENT ON COLUMN public.payment_authorizations.used_credits IS 'Started minutes of the call.';

COMMENT ON COLUMN public.payment_authorizations.retry_at IS 'When the worker goes on with it; NULL when nothing is to be done.';

CREATE VIEW clear.paid_calls WITH (security_barrier=f) AS
 SELECT user_id,
    call_id,
    kept_cents
   FROM ( SELECT k.user_id,
            k.call_id,
            (k.captured_cents - COALESCE(p.reversed_cents, (0)::numeric)) AS kept_cents
           FROM (public.payment_authorizations k
             LEFT JOIN public.payments p ON ((((k.user_id)::text = (p.user_id)::text) AND ((k.id)::text = (p.id)::text))))
          WHERE (k.call_id IS NOT NULL)) t
  WHERE true;

COMMENT ON VIEW clear.paid_calls IS 'Made from the comments of public.paid_calls for keys of the SQL proxy; never edited.';

CREATE VIEW public.credit_prices WITH (security_invoker='true') AS
 SELECT user_id,
    (sum((amount_cents - reversed_cents)) / (NULLIF(sum((credits - reversed_credits)), 0))::numeric) AS cents_per_credit
   FROM public.payments p
  WHERE ((credits > reversed_credits) AND (kind <> 'call'::text))
  GROUP BY user_id;

COMMENT ON VIEW public.credit_prices IS 'What a person''s credits were paid with on average, over all that were bought and kept.';

CREATE VIEW public.paid_calls WITH (security_invoker='true') AS
 SELECT k.user_id,
    k.call_id,
    (k.captured_cents - COALESCE(p.reversed_cents, (0)::numeric)) AS kept_cents
   FROM (public.payment_authorizations k
     LEFT JOIN public.payments p ON ((((k.user_id)::text = (p.user_id)::text) AND ((k.id)::text = (p.id)::text))))
  WHERE (k.call_id IS NOT NULL);

COMMENT ON VIEW public.paid_calls IS 'What was paid by card for one call, less what went back of it.';

CREATE VIEW clear.persona_margin WITH (security_barrier=f) AS
 SELECT day,
    persona_id,
    calls,
    credits,
    cost_cents,
    revenue_cents,
    margin_cents
   FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
            c.persona_id,
            count(*) AS calls,
            sum(COALESCE((c.credits_used)::integer, 0)) AS credits,
            sum(COALESCE(b.total_cost_cents, (0)::numeric)) AS cost_cents,
            sum(COALESCE(z.kept_cents, ((COALESCE((c.credits_used)::integer, 0))::numeric * COALESCE(w.cents_per_credit, (0)::numeric)))) AS revenue_cents,
            (sum(COALESCE(z.kept_cents, ((COALESCE((c.credits_used)::integer, 0))::numeric * COALESCE(w.cents_per_credit, (0)::numeric)))) - sum(COALESCE(b.total_cost_cents, (0)::numeric))) AS margin_cents
           FROM (((public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
             LEFT JOIN public.paid_calls z ON ((((c.user_id)::text = (z.user_id)::text) AND ((c.id)::text = (z.call_id)::text))))
             LEFT JOIN public.credit_prices w ON (((c.user_id)::text = (w.user_id)::text)))
          GROUP BY (((c.created_at AT TIME ZONE 'UTC'::text))::date), c.persona_id) t
  WHERE true;

COMMENT ON VIEW clear.persona_margin IS 'Made from the comments of public.persona_margin for keys of the SQL proxy; never edited.';

CREATE TABLE public.phones (
    user_id public.id NOT NULL,
    number text NOT NULL,
    verified_at timestamp with time zone,
    code_hash bytea,
    code_expires_at timestamp with time zone,
    code_attempts integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT phones_code_attempts CHECK ((code_attempts >= 0)),
    CONSTRAINT phones_number_e164 CHECK ((number ~ '^\+[1-9][0-9]{6,14}$'::text))
);

COMMENT ON TABLE public.phones IS 'Numbers of a person. A verified number belongs to one person only.';

COMMENT ON COLUMN public.phones.number IS 'pii:phone. E.164.';

COMMENT ON COLUMN public.phones.code_hash IS 'secret. Keyed hash of the six digits that were sent by text.';

CREATE VIEW clear.phones WITH (security_barrier=f) AS
 SELECT user_id,
    number,
    verified_at,
    code_expires_at,
    code_attempts,
    created_at
   FROM public.phones t
  WHERE true;

COMMENT ON VIEW clear.phones IS 'Made from the comments of public.phones for keys of the SQL proxy; never edited.';

CREATE VIEW clear.receipts WITH (security_barrier=f) AS
 SELECT user_id,
    id,
    kind,
    description,
    tier,
    amount_cents,
    reversed_cents,
    currency,
    credits,
    reversed_credits,
    discount_cents,
    coupon,
    period_start,
    period_end,
    paid_at
   FROM ( SELECT p.user_id,
            p.id,
            p.kind,
            p.description,
            p.tier,
            p.amount_cents,
            p.reversed_cents,
            p.currency,
            p.credits,
            p.reversed_credits,
            COALESCE(x.discount_cents, (0)::numeric) AS discount_cents,
            x.coupon,
            p.period_start,
            p.period_end,
            p.paid_at
           FROM (public.payments p
             LEFT JOIN public.purchases x ON ((((p.user_id)::text = (x.user_id)::text) AND ((p.id)::text = (x.id)::text))))) t
  WHERE true;

COMMENT ON VIEW clear.receipts IS 'Made from the comments of public.receipts for keys of the SQL proxy; never edited.';

CREATE VIEW clear.tier_margin WITH (security_barrier=f) AS
 SELECT day,
    tier,
    calls,
    revenue_cents,
    cost_cents,
    margin_cents
   FROM ( SELECT d.day,
            d.tier,
            sum(d.calls) AS calls,
            sum(d.revenue_cents) AS revenue_cents,
            sum(d.cost_cents) AS cost_cents,
            (sum(d.revenue_cents) - sum(d.cost_cents)) AS margin_cents
           FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
                    a.subscription_tier AS tier,
                    1 AS calls,
                    (0)::numeric AS revenue_cents,
                    COALESCE(b.total_cost_cents, (0)::numeric) AS cost_cents
                   FROM ((public.calls c
                     JOIN public.user_credits a ON (((c.user_id)::text = (a.user_id)::text)))
                     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
                UNION ALL
                 SELECT ((f.flowed_at AT TIME ZONE 'UTC'::text))::date AS day,
                    COALESCE(f.tier, a.subscription_tier) AS tier,
                    0 AS calls,
                    f.amount_cents AS revenue_cents,
                    (0)::numeric AS cost_cents
                   FROM (public.money_flows f
                     JOIN public.user_credits a ON (((f.user_id)::text = (a.user_id)::text)))) d
          GROUP BY d.day, d.tier) t
  WHERE true;

COMMENT ON VIEW clear.tier_margin IS 'Made from the comments of public.tier_margin for keys of the SQL proxy; never edited.';

CREATE VIEW clear.users WITH (security_barrier=f) AS
 SELECT id,
    email,
    name,
    phone,
    stripe_customer_id,
    timezone,
    locale,
    email_verified_at,
    terms_accepted_at,
    tokens_valid_from,
    blocked_at,
    erased_at,
    last_login_at,
    created_at,
    updated_at
   FROM public.users t
  WHERE true;

COMMENT ON VIEW clear.users IS 'Made from the comments of public.users for keys of the SQL proxy; never edited.';

CREATE TABLE public.blocked_numbers (
    number text NOT NULL,
    reason text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT blocked_numbers_e164 CHECK ((number ~ '^\+[1-9][0-9]{6,14}$'::text))
);

COMMENT ON TABLE public.blocked_numbers IS 'Numbers that are never called, whoever asks.';

COMMENT ON COLUMN public.blocked_numbers.number IS 'pii:phone. E.164.';

COMMENT ON COLUMN public.blocked_numbers.reason IS 'pii:content. The operator''s note.';

CREATE VIEW masked.blocked_numbers WITH (security_barrier=f) AS
 SELECT
        CASE
            WHEN (number IS NOT NULL) THEN ('***'::text || "right"(number, 2))
            ELSE NULL::text
        END AS number,
        CASE
            WHEN (reason IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS reason,
    created_at
   FROM public.blocked_numbers t
  WHERE true;

COMMENT ON VIEW masked.blocked_numbers IS 'Made from the comments of public.blocked_numbers for keys of the SQL proxy; never edited.';

CREATE VIEW masked.calendar_feeds WITH (security_barrier=f) AS
 SELECT user_id,
    created_at
   FROM public.calendar_feeds t
  WHERE true;

COMMENT ON VIEW masked.calendar_feeds IS 'Made from the comments of public.calendar_feeds for keys of the SQL proxy; never edited.';

CREATE VIEW masked.call_logs WITH (security_barrier=f) AS
 SELECT id,
    user_id,
    persona_id,
    twilio_call_sid,
        CASE
            WHEN (phone_number IS NOT NULL) THEN ('***'::text || "right"(phone_number, 2))
            ELSE NULL::text
        END AS phone_number,
    duration_seconds,
    status,
    error_message,
    cost_stt,
    cost_llm,
    cost_tts,
    cost_twilio,
    cost_total,
    turn_count,
    interrupt_count,
    avg_response_time_ms,
    started_at,
    ended_at,
    created_at
   FROM ( SELECT c.id,
            c.user_id,
            c.persona_id,
            c.twilio_call_sid,
            c.phone_number,
            COALESCE((c.duration_seconds)::integer, (b.twilio_duration_seconds)::integer, 0) AS duration_seconds,
            c.status,
            c.error_message,
            COALESCE(b.deepgram_cost_cents, (0)::numeric) AS cost_stt,
            COALESCE(b.cerebras_cost_cents, (0)::numeric) AS cost_llm,
            COALESCE(b.elevenlabs_cost_cents, (0)::numeric) AS cost_tts,
            COALESCE(b.twilio_cost_cents, (0)::numeric) AS cost_twilio,
            COALESCE(b.total_cost_cents, (0)::numeric) AS cost_total,
            COALESCE(c.turn_count, 0) AS turn_count,
            COALESCE(c.interrupt_count, 0) AS interrupt_count,
            c.avg_response_time_ms,
            c.start_time AS started_at,
            c.end_time AS ended_at,
            c.created_at
           FROM (public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))) t
  WHERE true;

COMMENT ON VIEW masked.call_logs IS 'Made from the comments of public.call_logs for keys of the SQL proxy; never edited.';

CREATE TABLE public.call_scenario_templates (
    id public.id NOT NULL,
    user_id public.id,
    name text NOT NULL,
    scenario_text text NOT NULL,
    icon text,
    use_count integer DEFAULT 0 NOT NULL,
    last_used_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT call_scenario_templates_icon_length CHECK ((length(icon) <= 16)),
    CONSTRAINT call_scenario_templates_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT call_scenario_templates_text_length CHECK (((length(scenario_text) >= 1) AND (length(scenario_text) <= 2000))),
    CONSTRAINT call_scenario_templates_use_count CHECK ((use_count >= 0))
);

COMMENT ON TABLE public.call_scenario_templates IS 'Situations for a call; those without a user are presets for everybody.';

COMMENT ON COLUMN public.call_scenario_templates.scenario_text IS 'pii:content. Context layer of the prompt.';

COMMENT ON COLUMN public.call_scenario_templates.icon IS 'An emoji.';

CREATE VIEW masked.call_scenario_templates WITH (security_barrier=f) AS
 SELECT id,
    user_id,
    name,
        CASE
            WHEN (scenario_text IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS scenario_text,
    icon,
    use_count,
    last_used_at,
    created_at,
    updated_at
   FROM public.call_scenario_templates t
  WHERE true;

COMMENT ON VIEW masked.call_scenario_templates IS 'Made from the comments of public.call_scenario_templates for keys of the SQL proxy; never edited.';

CREATE TABLE public.call_schedules (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    persona_id public.id NOT NULL,
    phone_number text NOT NULL,
    rrule text NOT NULL,
    starts_at_local text NOT NULL,
    timezone text NOT NULL,
    tzdata_version text,
    ends_at timestamp with time zone,
    remaining_count integer,
    paused_at timestamp with time zone,
    call_pretext text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    call_scenario text,
    requested_seconds integer,
    grace_minutes integer DEFAULT 15 NOT NULL,
    reminder_minutes integer,
    retries_max integer DEFAULT 0 NOT NULL,
    retry_after_minutes integer DEFAULT 10 NOT NULL,
    retry_within_minutes integer DEFAULT 120 NOT NULL,
    retry_on_busy boolean DEFAULT true NOT NULL,
    retry_on_no_answer boolean DEFAULT true NOT NULL,
    quiet_from time without time zone,
    quiet_until time without time zone,
    follows_user_zone boolean DEFAULT false NOT NULL,
    materialised_until timestamp with time zone DEFAULT now(),
    problem text,
    CONSTRAINT call_schedules_grace CHECK (((grace_minutes >= 1) AND (grace_minutes <= 1440))),
    CONSTRAINT call_schedules_problem CHECK ((problem ~ '^[a-z_]{1,64}$'::text)),
    CONSTRAINT call_schedules_quiet_both CHECK (((quiet_from IS NULL) = (quiet_until IS NULL))),
    CONSTRAINT call_schedules_remaining CHECK ((remaining_count >= 0)),
    CONSTRAINT call_schedules_reminder CHECK (((reminder_minutes >= 0) AND (reminder_minutes <= 1440))),
    CONSTRAINT call_schedules_requested CHECK (((requested_seconds >= 60) AND (requested_seconds <= 14400))),
    CONSTRAINT call_schedules_retries CHECK (((retries_max >= 0) AND (retries_max <= 5))),
    CONSTRAINT call_schedules_retry_after CHECK (((retry_after_minutes >= 1) AND (retry_after_minutes <= 240))),
    CONSTRAINT call_schedules_retry_within CHECK (((retry_within_minutes >= 1) AND (retry_within_minutes <= 1440))),
    CONSTRAINT call_schedules_rrule_length CHECK (((length(rrule) >= 1) AND (length(rrule) <= 500))),
    CONSTRAINT call_schedules_starts_local CHECK ((starts_at_local ~ '^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$'::text)),
    CONSTRAINT call_schedules_timezone_length CHECK (((length(timezone) >= 1) AND (length(timezone) <= 64)))
);

COMMENT ON TABLE public.call_schedules IS 'A rule by which calls repeat (RFC 5545), in the person''s local time.';

COMMENT ON COLUMN public.call_schedules.phone_number IS 'pii:phone. E.164.';

COMMENT ON COLUMN public.call_schedules.starts_at_local IS 'DTSTART as local time without offset, ISO 8601.';

COMMENT ON COLUMN public.call_schedules.timezone IS 'IANA zone in which the rule is read.';

COMMENT ON COLUMN public.call_schedules.tzdata_version IS 'Zone data that computed the next occurrence.';

COMMENT ON COLUMN public.call_schedules.remaining_count IS 'Occurrences that may still be added; NULL is without end.';

COMMENT ON COLUMN public.call_schedules.call_pretext IS 'pii:content. Context layer of the prompt.';

COMMENT ON COLUMN public.call_schedules.call_scenario IS 'pii:content. Scenario layer of the prompt.';

COMMENT ON COLUMN public.call_schedules.requested_seconds IS 'Longest talk that was asked for; NULL is as long as may be.';

COMMENT ON COLUMN public.call_schedules.grace_minutes IS 'So long after its time a call may still begin; then it is missed.';

COMMENT ON COLUMN public.call_schedules.reminder_minutes IS 'A text so long before the call; 0 is none, NULL is what the person prefers.';

COMMENT ON COLUMN public.call_schedules.retries_max IS 'How often a busy or unanswered call is tried again.';

COMMENT ON COLUMN public.call_schedules.retry_within_minutes IS 'No retry begins later than so long after the time that was promised.';

COMMENT ON COLUMN public.call_schedules.quiet_from IS 'Local time from which no retry rings, until quiet_until; the times asked for always ring.';

COMMENT ON COLUMN public.call_schedules.quiet_until IS 'Local time from which retries ring again.';

COMMENT ON COLUMN public.call_schedules.follows_user_zone IS 'Whether timezone moves along with the person''s own.';

COMMENT ON COLUMN public.call_schedules.materialised_until IS 'Newest occurrence that has its row. Once it is past, the worker adds the next one; NULL: nothing more is to come.';

COMMENT ON COLUMN public.call_schedules.problem IS 'Why the house paused it, a stable word.';

CREATE VIEW masked.call_schedules WITH (security_barrier=f) AS
 SELECT user_id,
    id,
    persona_id,
        CASE
            WHEN (phone_number IS NOT NULL) THEN ('***'::text || "right"(phone_number, 2))
            ELSE NULL::text
        END AS phone_number,
    rrule,
    starts_at_local,
    timezone,
    tzdata_version,
    ends_at,
    remaining_count,
    paused_at,
        CASE
            WHEN (call_pretext IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS call_pretext,
    created_at,
    updated_at,
        CASE
            WHEN (call_scenario IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS call_scenario,
    requested_seconds,
    grace_minutes,
    reminder_minutes,
    retries_max,
    retry_after_minutes,
    retry_within_minutes,
    retry_on_busy,
    retry_on_no_answer,
    quiet_from,
    quiet_until,
    follows_user_zone,
    materialised_until,
    problem
   FROM public.call_schedules t
  WHERE true;

COMMENT ON VIEW masked.call_schedules IS 'Made from the comments of public.call_schedules for keys of the SQL proxy; never edited.';

CREATE VIEW masked.calls WITH (security_barrier=f) AS
 SELECT id,
    user_id,
    persona_id,
        CASE
            WHEN (phone_number IS NOT NULL) THEN ('***'::text || "right"(phone_number, 2))
            ELSE NULL::text
        END AS phone_number,
    twilio_call_sid,
    status,
    payment_method,
    payment_intent_id,
    payment_status,
    estimated_cost_cents,
    actual_cost_cents,
    credits_used,
    start_time,
    end_time,
    duration_seconds,
    error_message,
    created_at,
    updated_at,
    answered_at,
    hold_credits,
    granted_seconds,
    hold_cents,
    price_version_id,
    local_day,
    local_month,
    hold_open,
    limited_by,
    answered_by,
    end_reason,
    carrier_duration_seconds,
    turn_count,
    interrupt_count,
    avg_response_time_ms,
    direction,
        CASE
            WHEN (call_pretext IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS call_pretext,
        CASE
            WHEN (call_scenario IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS call_scenario,
        CASE
            WHEN (custom_instructions IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS custom_instructions,
    voice_id
   FROM public.calls t
  WHERE true;

COMMENT ON VIEW masked.calls IS 'Made from the comments of public.calls for keys of the SQL proxy; never edited.';

CREATE VIEW masked.credit_prices WITH (security_barrier=f) AS
 SELECT user_id,
    cents_per_credit
   FROM ( SELECT p.user_id,
            (sum((p.amount_cents - p.reversed_cents)) / (NULLIF(sum((p.credits - p.reversed_credits)), 0))::numeric) AS cents_per_credit
           FROM public.payments p
          WHERE ((p.credits > p.reversed_credits) AND (p.kind <> 'call'::text))
          GROUP BY p.user_id) t
  WHERE true;

COMMENT ON VIEW masked.credit_prices IS 'Made from the comments of public.credit_prices for keys of the SQL proxy; never edited.';

CREATE VIEW masked.daily_margin WITH (security_barrier=f) AS
 SELECT day,
    calls,
    revenue_cents,
    cost_cents,
    margin_cents
   FROM ( SELECT d.day,
            sum(d.calls) AS calls,
            sum(d.revenue_cents) AS revenue_cents,
            sum(d.cost_cents) AS cost_cents,
            (sum(d.revenue_cents) - sum(d.cost_cents)) AS margin_cents
           FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
                    1 AS calls,
                    (0)::numeric AS revenue_cents,
                    COALESCE(b.total_cost_cents, (0)::numeric) AS cost_cents
                   FROM (public.calls c
                     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
                UNION ALL
                 SELECT ((f.flowed_at AT TIME ZONE 'UTC'::text))::date AS day,
                    0 AS calls,
                    f.amount_cents AS revenue_cents,
                    (0)::numeric AS cost_cents
                   FROM public.money_flows f) d
          GROUP BY d.day) t
  WHERE true;

COMMENT ON VIEW masked.daily_margin IS 'Made from the comments of public.daily_margin for keys of the SQL proxy; never edited.';

CREATE VIEW masked.double_entry WITH (security_barrier=f) AS
 SELECT user_id,
    seq,
    created_at,
    account,
    credits
   FROM ( SELECT t_1.user_id,
            t_1.seq,
            t_1.created_at,
            e.account,
            e.credits
           FROM (public.credit_transactions t_1
             CROSS JOIN LATERAL ( VALUES ('liabilities:credits'::text,t_1.amount), (
                        CASE t_1.type
                            WHEN 'purchase'::text THEN 'assets:payments'::text
                            WHEN 'subscription_refill'::text THEN 'assets:subscriptions'::text
                            WHEN 'refund'::text THEN 'assets:payments'::text
                            WHEN 'call_deduction'::text THEN 'revenue:calls'::text
                            WHEN 'admin_adjustment'::text THEN 'equity:adjustments'::text
                            WHEN 'promotion'::text THEN 'expenses:promotions'::text
                            WHEN 'expiry'::text THEN 'expenses:promotions'::text
                            ELSE NULL::text
                        END,(- (t_1.amount)::integer))) e(account, credits))) t
  WHERE true;

COMMENT ON VIEW masked.double_entry IS 'Made from the comments of public.double_entry for keys of the SQL proxy; never edited.';

CREATE VIEW masked.effective_limits WITH (security_barrier=f) AS
 SELECT user_id,
    subscription_tier,
    charges_credits,
    monthly_credit_allowance,
    max_calls_per_day,
    max_call_duration_seconds,
    max_cost_per_call_cents,
    max_monthly_spend_cents,
    warn_at_percent_per_call,
    enable_auto_cutoff
   FROM ( SELECT a.user_id,
            a.subscription_tier,
            t_1.charges_credits,
            COALESCE((a.monthly_credit_allowance)::integer, t_1.monthly_credit_allowance) AS monthly_credit_allowance,
            COALESCE((a.max_calls_per_day)::integer, t_1.max_calls_per_day) AS max_calls_per_day,
            COALESCE((a.max_call_duration_seconds)::integer, t_1.max_call_duration_seconds) AS max_call_duration_seconds,
            COALESCE(b.max_cost_per_call_cents, (1000)::numeric) AS max_cost_per_call_cents,
            COALESCE(b.max_monthly_spend_cents, (10000)::numeric) AS max_monthly_spend_cents,
            COALESCE(b.warn_at_percent_per_call, 75) AS warn_at_percent_per_call,
            COALESCE(b.enable_auto_cutoff, true) AS enable_auto_cutoff
           FROM ((public.user_credits a
             JOIN public.subscription_tiers t_1 ON ((a.subscription_tier = t_1.tier)))
             LEFT JOIN public.user_budget_settings b ON (((a.user_id)::text = (b.user_id)::text)))) t
  WHERE true;

COMMENT ON VIEW masked.effective_limits IS 'Made from the comments of public.effective_limits for keys of the SQL proxy; never edited.';

CREATE VIEW masked.effective_voices WITH (security_barrier=f) AS
 SELECT user_id,
    persona_id,
    voice_id,
    voice_settings
   FROM ( SELECT u.id AS user_id,
            p.id AS persona_id,
            COALESCE(r.voice_id, p.default_voice_id) AS voice_id,
            ((p.default_voice_settings)::jsonb || COALESCE((r.voice_settings)::jsonb, '{}'::jsonb)) AS voice_settings
           FROM ((public.users u
             CROSS JOIN public.personas p)
             LEFT JOIN public.user_persona_relationships r ON ((((u.id)::text = (r.user_id)::text) AND ((p.id)::text = (r.persona_id)::text))))
          WHERE ((p.owner_user_id IS NULL) OR ((p.owner_user_id)::text = (u.id)::text))) t
  WHERE true;

COMMENT ON VIEW masked.effective_voices IS 'Made from the comments of public.effective_voices for keys of the SQL proxy; never edited.';

CREATE TABLE public.idempotency_keys (
    user_id public.id NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    state text NOT NULL,
    resource_id text,
    answer jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_length CHECK (((length(key) >= 1) AND (length(key) <= 200))),
    CONSTRAINT idempotency_keys_state CHECK ((state = ANY (ARRAY['in_progress'::text, 'done'::text])))
);

COMMENT ON TABLE public.idempotency_keys IS 'First answers to requests that carried a key; refusals are not kept. Kept two days.';

COMMENT ON COLUMN public.idempotency_keys.key IS 'pii:content. Chosen by the client.';

COMMENT ON COLUMN public.idempotency_keys.answer IS 'pii:content. The first answer where the resource alone doesn''t tell it.';

CREATE VIEW masked.idempotency_keys WITH (security_barrier=f) AS
 SELECT user_id,
        CASE
            WHEN (key IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS key,
    request_hash,
    state,
    resource_id,
        CASE
            WHEN (answer IS NOT NULL) THEN '"***"'::jsonb
            ELSE NULL::jsonb
        END AS answer,
    created_at
   FROM public.idempotency_keys t
  WHERE true;

COMMENT ON VIEW masked.idempotency_keys IS 'Made from the comments of public.idempotency_keys for keys of the SQL proxy; never edited.';

CREATE VIEW masked.ledger_proof WITH (security_barrier=f) AS
 SELECT user_id,
    balance,
    ledger_sum,
    ledger_seq,
    ledger_rows,
    newest_balance,
    held_credits,
    hold_sum,
    is_proved
   FROM ( SELECT a.user_id,
            (((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) AS balance,
            COALESCE(l.ledger_sum, (0)::bigint) AS ledger_sum,
            a.ledger_seq,
            COALESCE(l.ledger_rows, (0)::bigint) AS ledger_rows,
            COALESCE(l.newest_balance, 0) AS newest_balance,
            a.held_credits,
            COALESCE(h.hold_sum, (0)::bigint) AS hold_sum,
            (((((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) = COALESCE(l.ledger_sum, (0)::bigint)) AND ((a.ledger_seq)::bigint = COALESCE(l.ledger_rows, (0)::bigint)) AND ((a.ledger_seq)::bigint = COALESCE(l.newest_seq, (0)::bigint)) AND ((((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) = COALESCE(l.newest_balance, 0)) AND ((a.held_credits)::integer = COALESCE(h.hold_sum, (0)::bigint))) AS is_proved
           FROM ((public.user_credits a
             LEFT JOIN ( SELECT t_1.user_id,
                    sum((t_1.amount)::integer) AS ledger_sum,
                    count(*) AS ledger_rows,
                    max((t_1.seq)::bigint) AS newest_seq,
                    (array_agg(t_1.balance_after ORDER BY t_1.seq DESC))[1] AS newest_balance
                   FROM public.credit_transactions t_1
                  GROUP BY t_1.user_id) l ON (((a.user_id)::text = (l.user_id)::text)))
             LEFT JOIN ( SELECT o.user_id,
                    sum((c.hold_credits)::integer) AS hold_sum
                   FROM (public.open_calls o
                     JOIN public.calls c ON ((((o.user_id)::text = (c.user_id)::text) AND ((o.call_id)::text = (c.id)::text))))
                  GROUP BY o.user_id) h ON (((a.user_id)::text = (h.user_id)::text)))) t
  WHERE true;

COMMENT ON VIEW masked.ledger_proof IS 'Made from the comments of public.ledger_proof for keys of the SQL proxy; never edited.';

CREATE VIEW masked.money_flows WITH (security_barrier=f) AS
 SELECT user_id,
    kind,
    tier,
    flow,
    id,
    payment_id,
    flowed_at,
    currency,
    amount_cents
   FROM ( SELECT p.user_id,
            p.kind,
            p.tier,
            'payment'::text AS flow,
            p.id,
            p.id AS payment_id,
            p.paid_at AS flowed_at,
            p.currency,
            p.amount_cents
           FROM public.payments p
        UNION ALL
         SELECT x.user_id,
            'purchase'::text AS kind,
            NULL::text AS tier,
            'payment'::text AS flow,
            x.id,
            x.id AS payment_id,
            x.completed_at AS flowed_at,
            x.currency,
            x.amount_cents
           FROM (public.purchases x
             LEFT JOIN public.payments p ON ((((x.user_id)::text = (p.user_id)::text) AND ((x.id)::text = (p.id)::text))))
          WHERE ((x.status = 'completed'::text) AND (x.completed_at IS NOT NULL) AND (x.amount_cents > (0)::numeric) AND (p.id IS NULL))
        UNION ALL
         SELECT p.user_id,
            p.kind,
            p.tier,
            'refund'::text AS flow,
            r.id,
            p.id AS payment_id,
            r.refunded_at AS flowed_at,
            p.currency,
            (- r.amount_cents) AS amount_cents
           FROM (public.refunds r
             JOIN public.payments p ON ((((r.user_id)::text = (p.user_id)::text) AND ((r.payment_id)::text = (p.id)::text))))
          WHERE (r.is_succeeded AND (NOT r.is_undone))
        UNION ALL
         SELECT p.user_id,
            p.kind,
            p.tier,
            'dispute'::text AS flow,
            d.id,
            p.id AS payment_id,
            d.disputed_at AS flowed_at,
            p.currency,
            (- d.amount_cents) AS amount_cents
           FROM (public.disputes d
             JOIN public.payments p ON ((((d.user_id)::text = (p.user_id)::text) AND ((d.payment_id)::text = (p.id)::text))))
          WHERE (d.is_withdrawn AND (NOT d.is_reinstated))) t
  WHERE true;

COMMENT ON VIEW masked.money_flows IS 'Made from the comments of public.money_flows for keys of the SQL proxy; never edited.';

CREATE VIEW masked.month_forecast WITH (security_barrier=f) AS
 SELECT user_id,
    month,
    elapsed_days,
    month_days,
    spent_cents,
    forecast_cents,
    limit_cents
   FROM ( SELECT a.user_id,
            m.month,
            m.elapsed_days,
            m.month_days,
            m.spent_cents,
            ((m.spent_cents * (m.month_days)::numeric) / (m.elapsed_days)::numeric) AS forecast_cents,
            l.max_monthly_spend_cents AS limit_cents
           FROM ((((public.user_credits a
             JOIN public.users u ON (((a.user_id)::text = (u.id)::text)))
             JOIN public.effective_limits l ON (((a.user_id)::text = (l.user_id)::text)))
             CROSS JOIN LATERAL ( SELECT (now() AT TIME ZONE public.zone_or_utc(u.timezone)) AS here) t_1)
             CROSS JOIN LATERAL ( SELECT (date_trunc('month'::text, t_1.here))::date AS month,
                    (EXTRACT(day FROM t_1.here))::integer AS elapsed_days,
                    (EXTRACT(day FROM ((date_trunc('month'::text, t_1.here) + '1 mon'::interval) - '1 day'::interval)))::integer AS month_days,
                        CASE
                            WHEN (a.spend_month = (date_trunc('month'::text, t_1.here))::date) THEN (a.spent_in_month_cents)::numeric
                            ELSE (0)::numeric
                        END AS spent_cents) m)) t
  WHERE true;

COMMENT ON VIEW masked.month_forecast IS 'Made from the comments of public.month_forecast for keys of the SQL proxy; never edited.';

CREATE VIEW masked.monthly_spend WITH (security_barrier=f) AS
 SELECT user_id,
    month,
    spend_cents,
    calls,
    avg_duration_seconds
   FROM ( SELECT c.user_id,
            COALESCE(c.local_month, (date_trunc('month'::text, (c.created_at AT TIME ZONE 'UTC'::text)))::date) AS month,
            sum(COALESCE(b.total_cost_cents, (0)::numeric)) AS spend_cents,
            count(*) AS calls,
            avg((c.duration_seconds)::integer) AS avg_duration_seconds
           FROM (public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
          GROUP BY c.user_id, COALESCE(c.local_month, (date_trunc('month'::text, (c.created_at AT TIME ZONE 'UTC'::text)))::date)) t
  WHERE true;

COMMENT ON VIEW masked.monthly_spend IS 'Made from the comments of public.monthly_spend for keys of the SQL proxy; never edited.';

CREATE VIEW masked.one_time_tokens WITH (security_barrier=f) AS
 SELECT user_id,
    purpose,
    expires_at,
    used_at,
    created_at
   FROM public.one_time_tokens t
  WHERE true;

COMMENT ON VIEW masked.one_time_tokens IS 'Made from the comments of public.one_time_tokens for keys of the SQL proxy; never edited.';

CREATE VIEW masked.paid_calls WITH (security_barrier=f) AS
 SELECT user_id,
    call_id,
    kept_cents
   FROM ( SELECT k.user_id,
            k.call_id,
            (k.captured_cents - COALESCE(p.reversed_cents, (0)::numeric)) AS kept_cents
           FROM (public.payment_authorizations k
             LEFT JOIN public.payments p ON ((((k.user_id)::text = (p.user_id)::text) AND ((k.id)::text = (p.id)::text))))
          WHERE (k.call_id IS NOT NULL)) t
  WHERE true;

COMMENT ON VIEW masked.paid_calls IS 'Made from the comments of public.paid_calls for keys of the SQL proxy; never edited.';

CREATE VIEW masked.payment_events WITH (security_barrier=f) AS
 SELECT id,
    type,
    created_at,
    received_at,
    state,
    effect,
    user_id,
    attempts,
    retry_at,
        CASE
            WHEN (payload IS NOT NULL) THEN '"***"'::jsonb
            ELSE NULL::jsonb
        END AS payload,
        CASE
            WHEN (facts IS NOT NULL) THEN '"***"'::jsonb
            ELSE NULL::jsonb
        END AS facts,
    waits_for
   FROM public.payment_events t
  WHERE true;

COMMENT ON VIEW masked.payment_events IS 'Made from the comments of public.payment_events for keys of the SQL proxy; never edited.';

CREATE VIEW masked.persona_margin WITH (security_barrier=f) AS
 SELECT day,
    persona_id,
    calls,
    credits,
    cost_cents,
    revenue_cents,
    margin_cents
   FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
            c.persona_id,
            count(*) AS calls,
            sum(COALESCE((c.credits_used)::integer, 0)) AS credits,
            sum(COALESCE(b.total_cost_cents, (0)::numeric)) AS cost_cents,
            sum(COALESCE(z.kept_cents, ((COALESCE((c.credits_used)::integer, 0))::numeric * COALESCE(w.cents_per_credit, (0)::numeric)))) AS revenue_cents,
            (sum(COALESCE(z.kept_cents, ((COALESCE((c.credits_used)::integer, 0))::numeric * COALESCE(w.cents_per_credit, (0)::numeric)))) - sum(COALESCE(b.total_cost_cents, (0)::numeric))) AS margin_cents
           FROM (((public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
             LEFT JOIN public.paid_calls z ON ((((c.user_id)::text = (z.user_id)::text) AND ((c.id)::text = (z.call_id)::text))))
             LEFT JOIN public.credit_prices w ON (((c.user_id)::text = (w.user_id)::text)))
          GROUP BY (((c.created_at AT TIME ZONE 'UTC'::text))::date), c.persona_id) t
  WHERE true;

COMMENT ON VIEW masked.persona_margin IS 'Made from the comments of public.persona_margin for keys of the SQL proxy; never edited.';

CREATE VIEW masked.personas WITH (security_barrier=f) AS
 SELECT id,
    owner_user_id,
    name,
    description,
        CASE
            WHEN (core_system_prompt IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS core_system_prompt,
    default_voice_id,
    default_voice_settings,
    avatar_url,
    category,
    llm_model,
    max_tokens,
    temperature,
    max_call_duration_seconds,
    phone_number,
    is_active,
    is_system_persona,
    created_at,
    updated_at
   FROM public.personas t
  WHERE true;

COMMENT ON VIEW masked.personas IS 'Made from the comments of public.personas for keys of the SQL proxy; never edited.';

CREATE VIEW masked.phones WITH (security_barrier=f) AS
 SELECT user_id,
        CASE
            WHEN (number IS NOT NULL) THEN ('***'::text || "right"(number, 2))
            ELSE NULL::text
        END AS number,
    verified_at,
    code_expires_at,
    code_attempts,
    created_at
   FROM public.phones t
  WHERE true;

COMMENT ON VIEW masked.phones IS 'Made from the comments of public.phones for keys of the SQL proxy; never edited.';

CREATE VIEW masked.receipts WITH (security_barrier=f) AS
 SELECT user_id,
    id,
    kind,
    description,
    tier,
    amount_cents,
    reversed_cents,
    currency,
    credits,
    reversed_credits,
    discount_cents,
    coupon,
    period_start,
    period_end,
    paid_at
   FROM ( SELECT p.user_id,
            p.id,
            p.kind,
            p.description,
            p.tier,
            p.amount_cents,
            p.reversed_cents,
            p.currency,
            p.credits,
            p.reversed_credits,
            COALESCE(x.discount_cents, (0)::numeric) AS discount_cents,
            x.coupon,
            p.period_start,
            p.period_end,
            p.paid_at
           FROM (public.payments p
             LEFT JOIN public.purchases x ON ((((p.user_id)::text = (x.user_id)::text) AND ((p.id)::text = (x.id)::text))))) t
  WHERE true;

COMMENT ON VIEW masked.receipts IS 'Made from the comments of public.receipts for keys of the SQL proxy; never edited.';

CREATE TABLE public.scheduled_calls (
    id public.id NOT NULL,
    user_id public.id NOT NULL,
    persona_id public.id NOT NULL,
    phone_number text NOT NULL,
    scheduled_time timestamp with time zone NOT NULL,
    status text DEFAULT 'scheduled'::text NOT NULL,
    executed_at timestamp with time zone,
    call_id public.id,
    schedule_id public.id,
    occurrence timestamp with time zone,
    latest_start_at timestamp with time zone,
    claimed_by text,
    lease_until timestamp with time zone,
    outcome text,
    call_pretext text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    claims integer DEFAULT 0 NOT NULL,
    attempt integer DEFAULT 1 NOT NULL,
    retry_of public.id,
    promised_at timestamp with time zone,
    call_scenario text,
    requested_seconds integer,
    remind_at timestamp with time zone,
    reminder_minutes integer,
    retries_max integer DEFAULT 0 NOT NULL,
    retry_after_minutes integer DEFAULT 10 NOT NULL,
    retry_within_minutes integer DEFAULT 120 NOT NULL,
    retry_on_busy boolean DEFAULT true NOT NULL,
    retry_on_no_answer boolean DEFAULT true NOT NULL,
    quiet_from time without time zone,
    quiet_until time without time zone,
    timezone text,
    CONSTRAINT scheduled_calls_attempt CHECK (((attempt >= 1) AND (attempt <= 6))),
    CONSTRAINT scheduled_calls_grace CHECK (((latest_start_at >= scheduled_time) AND (latest_start_at <= (scheduled_time + '1 day'::interval)))),
    CONSTRAINT scheduled_calls_outcome CHECK ((outcome ~ '^[a-z_]{1,64}$'::text)),
    CONSTRAINT scheduled_calls_quiet_both CHECK (((quiet_from IS NULL) = (quiet_until IS NULL))),
    CONSTRAINT scheduled_calls_reminder CHECK (((reminder_minutes >= 0) AND (reminder_minutes <= 1440))),
    CONSTRAINT scheduled_calls_requested CHECK (((requested_seconds >= 60) AND (requested_seconds <= 14400))),
    CONSTRAINT scheduled_calls_retries CHECK (((retries_max >= 0) AND (retries_max <= 5))),
    CONSTRAINT scheduled_calls_retry_after CHECK (((retry_after_minutes >= 1) AND (retry_after_minutes <= 240))),
    CONSTRAINT scheduled_calls_retry_within CHECK (((retry_within_minutes >= 1) AND (retry_within_minutes <= 1440))),
    CONSTRAINT scheduled_calls_status CHECK ((status = ANY (ARRAY['scheduled'::text, 'executing'::text, 'executed'::text, 'failed'::text, 'canceled'::text, 'missed'::text]))),
    CONSTRAINT scheduled_calls_timezone_length CHECK (((length(timezone) >= 1) AND (length(timezone) <= 64)))
);

COMMENT ON TABLE public.scheduled_calls IS 'One row per call to come. Dialled once, or missed and shown.';

COMMENT ON COLUMN public.scheduled_calls.phone_number IS 'pii:phone. E.164.';

COMMENT ON COLUMN public.scheduled_calls.occurrence IS 'Which occurrence of the schedule this is; each exists once.';

COMMENT ON COLUMN public.scheduled_calls.latest_start_at IS 'Past this it is missed, not dialled.';

COMMENT ON COLUMN public.scheduled_calls.lease_until IS 'Until then the worker that claimed it is trusted to act.';

COMMENT ON COLUMN public.scheduled_calls.outcome IS 'What became of it, a stable word.';

COMMENT ON COLUMN public.scheduled_calls.call_pretext IS 'pii:content. Context layer of the prompt.';

COMMENT ON COLUMN public.scheduled_calls.claims IS 'How often it was claimed: the fence. Who claimed it then and finds another number here may not act any more.';

COMMENT ON COLUMN public.scheduled_calls.attempt IS '1, and one more with each retry.';

COMMENT ON COLUMN public.scheduled_calls.retry_of IS 'The call that was busy or not answered; it has one retry at most.';

COMMENT ON COLUMN public.scheduled_calls.promised_at IS 'The time of the first attempt, which the window of retries counts from.';

COMMENT ON COLUMN public.scheduled_calls.call_scenario IS 'pii:content. Scenario layer of the prompt.';

COMMENT ON COLUMN public.scheduled_calls.requested_seconds IS 'Longest talk that was asked for; NULL is as long as may be.';

COMMENT ON COLUMN public.scheduled_calls.remind_at IS 'When the text before the call is due; NULL once it was sent or none is wanted.';

COMMENT ON COLUMN public.scheduled_calls.retries_max IS 'How often it is tried again when it is busy or not answered.';

COMMENT ON COLUMN public.scheduled_calls.retry_within_minutes IS 'No retry begins later than so long after promised_at.';

COMMENT ON COLUMN public.scheduled_calls.quiet_from IS 'Local time from which no retry rings, until quiet_until.';

COMMENT ON COLUMN public.scheduled_calls.quiet_until IS 'Local time from which retries ring again.';

COMMENT ON COLUMN public.scheduled_calls.timezone IS 'IANA zone of the quiet hours; NULL is the person''s.';

CREATE VIEW masked.scheduled_calls WITH (security_barrier=f) AS
 SELECT id,
    user_id,
    persona_id,
        CASE
            WHEN (phone_number IS NOT NULL) THEN ('***'::text || "right"(phone_number, 2))
            ELSE NULL::text
        END AS phone_number,
    scheduled_time,
    status,
    executed_at,
    call_id,
    schedule_id,
    occurrence,
    latest_start_at,
    claimed_by,
    lease_until,
    outcome,
        CASE
            WHEN (call_pretext IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS call_pretext,
    created_at,
    updated_at,
    claims,
    attempt,
    retry_of,
    promised_at,
        CASE
            WHEN (call_scenario IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS call_scenario,
    requested_seconds,
    remind_at,
    reminder_minutes,
    retries_max,
    retry_after_minutes,
    retry_within_minutes,
    retry_on_busy,
    retry_on_no_answer,
    quiet_from,
    quiet_until,
    timezone
   FROM public.scheduled_calls t
  WHERE true;

COMMENT ON VIEW masked.scheduled_calls IS 'Made from the comments of public.scheduled_calls for keys of the SQL proxy; never edited.';

CREATE VIEW masked.tier_margin WITH (security_barrier=f) AS
 SELECT day,
    tier,
    calls,
    revenue_cents,
    cost_cents,
    margin_cents
   FROM ( SELECT d.day,
            d.tier,
            sum(d.calls) AS calls,
            sum(d.revenue_cents) AS revenue_cents,
            sum(d.cost_cents) AS cost_cents,
            (sum(d.revenue_cents) - sum(d.cost_cents)) AS margin_cents
           FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
                    a.subscription_tier AS tier,
                    1 AS calls,
                    (0)::numeric AS revenue_cents,
                    COALESCE(b.total_cost_cents, (0)::numeric) AS cost_cents
                   FROM ((public.calls c
                     JOIN public.user_credits a ON (((c.user_id)::text = (a.user_id)::text)))
                     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
                UNION ALL
                 SELECT ((f.flowed_at AT TIME ZONE 'UTC'::text))::date AS day,
                    COALESCE(f.tier, a.subscription_tier) AS tier,
                    0 AS calls,
                    f.amount_cents AS revenue_cents,
                    (0)::numeric AS cost_cents
                   FROM (public.money_flows f
                     JOIN public.user_credits a ON (((f.user_id)::text = (a.user_id)::text)))) d
          GROUP BY d.day, d.tier) t
  WHERE true;

COMMENT ON VIEW masked.tier_margin IS 'Made from the comments of public.tier_margin for keys of the SQL proxy; never edited.';

CREATE TABLE public.transcripts (
    user_id public.id NOT NULL,
    call_id public.id NOT NULL,
    seq integer NOT NULL,
    speaker text NOT NULL,
    text text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT transcripts_seq CHECK ((seq >= 0)),
    CONSTRAINT transcripts_speaker CHECK ((speaker = ANY (ARRAY['persona'::text, 'user'::text])))
);

COMMENT ON TABLE public.transcripts IS 'Who said what, turn by turn, as it was heard.';

COMMENT ON COLUMN public.transcripts.text IS 'pii:content. Words of the call.';

CREATE VIEW masked.transcripts WITH (security_barrier=f) AS
 SELECT user_id,
    call_id,
    seq,
    speaker,
        CASE
            WHEN (text IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS text,
    at
   FROM public.transcripts t
  WHERE true;

COMMENT ON VIEW masked.transcripts IS 'Made from the comments of public.transcripts for keys of the SQL proxy; never edited.';

CREATE TABLE public.unknown_caller_attempts (
    phone_number text NOT NULL,
    persona_id public.id,
    first_call_at timestamp with time zone DEFAULT now() NOT NULL,
    last_call_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    converted_user_id public.id,
    blocked_at timestamp with time zone,
    notes text,
    CONSTRAINT unknown_caller_attempts_count CHECK ((attempts > 0))
);

COMMENT ON TABLE public.unknown_caller_attempts IS 'Numbers without an account that rang a persona.';

COMMENT ON COLUMN public.unknown_caller_attempts.phone_number IS 'pii:phone. E.164.';

COMMENT ON COLUMN public.unknown_caller_attempts.notes IS 'pii:content. The operator''s note.';

CREATE VIEW masked.unknown_caller_attempts WITH (security_barrier=f) AS
 SELECT
        CASE
            WHEN (phone_number IS NOT NULL) THEN ('***'::text || "right"(phone_number, 2))
            ELSE NULL::text
        END AS phone_number,
    persona_id,
    first_call_at,
    last_call_at,
    attempts,
    converted_user_id,
    blocked_at,
        CASE
            WHEN (notes IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS notes
   FROM public.unknown_caller_attempts t
  WHERE true;

COMMENT ON VIEW masked.unknown_caller_attempts IS 'Made from the comments of public.unknown_caller_attempts for keys of the SQL proxy; never edited.';

CREATE VIEW masked.user_persona_relationships WITH (security_barrier=f) AS
 SELECT id,
    user_id,
    persona_id,
    relationship_type,
        CASE
            WHEN (custom_system_prompt IS NOT NULL) THEN (('***'::text)::public.custom_prompt)::text
            ELSE NULL::text
        END AS custom_system_prompt,
    voice_id,
    voice_settings,
    total_calls,
    total_duration_seconds,
    last_call_at,
    is_favorite,
    is_archived,
    created_at,
    updated_at
   FROM public.user_persona_relationships t
  WHERE true;

COMMENT ON VIEW masked.user_persona_relationships IS 'Made from the comments of public.user_persona_relationships for keys of the SQL proxy; never edited.';

CREATE TABLE public.user_preferences (
    user_id public.id NOT NULL,
    email_notifications boolean DEFAULT true NOT NULL,
    sms_notifications boolean DEFAULT false NOT NULL,
    call_reminder_minutes integer DEFAULT 5 NOT NULL,
    voicemail_policy text DEFAULT 'hang_up'::text NOT NULL,
    memory_enabled boolean DEFAULT false NOT NULL,
    memory text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    pay_as_you_go boolean DEFAULT false NOT NULL,
    CONSTRAINT user_preferences_memory_length CHECK ((length(memory) <= 4000)),
    CONSTRAINT user_preferences_reminder CHECK (((call_reminder_minutes >= 0) AND (call_reminder_minutes <= 1440))),
    CONSTRAINT user_preferences_voicemail CHECK ((voicemail_policy = ANY (ARRAY['hang_up'::text, 'leave_message'::text])))
);

COMMENT ON TABLE public.user_preferences IS 'How a person wants to be reached and reminded. No row means the defaults.';

COMMENT ON COLUMN public.user_preferences.voicemail_policy IS 'What a machine that answers gets: an uncharged hang-up, or a message.';

COMMENT ON COLUMN public.user_preferences.memory_enabled IS 'Whether personas are told what the person wrote in memory.';

COMMENT ON COLUMN public.user_preferences.memory IS 'pii:content. Facts that the person lets every persona know; seen and edited by the person.';

COMMENT ON COLUMN public.user_preferences.pay_as_you_go IS 'Whether a call is paid by the saved card when no credits are left.';

CREATE VIEW masked.user_preferences WITH (security_barrier=f) AS
 SELECT user_id,
    email_notifications,
    sms_notifications,
    call_reminder_minutes,
    voicemail_policy,
    memory_enabled,
        CASE
            WHEN (memory IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS memory,
    created_at,
    updated_at,
    pay_as_you_go
   FROM public.user_preferences t
  WHERE true;

COMMENT ON VIEW masked.user_preferences IS 'Made from the comments of public.user_preferences for keys of the SQL proxy; never edited.';

CREATE VIEW masked.users WITH (security_barrier=f) AS
 SELECT id,
        CASE
            WHEN (email IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS email,
        CASE
            WHEN (name IS NOT NULL) THEN '***'::text
            ELSE NULL::text
        END AS name,
        CASE
            WHEN (phone IS NOT NULL) THEN ('***'::text || "right"(phone, 2))
            ELSE NULL::text
        END AS phone,
    stripe_customer_id,
    timezone,
    locale,
    email_verified_at,
    terms_accepted_at,
    tokens_valid_from,
    blocked_at,
    erased_at,
    last_login_at,
    created_at,
    updated_at
   FROM public.users t
  WHERE true;

COMMENT ON VIEW masked.users IS 'Made from the comments of public.users for keys of the SQL proxy; never edited.';

CREATE TABLE public.admin_users (
    user_id public.id NOT NULL,
    role text DEFAULT 'admin'::text NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT admin_users_role CHECK ((role = 'admin'::text))
);

COMMENT ON TABLE public.admin_users IS 'Who may use the admin routes. Granted by the command line only; there is no second password.';

COMMENT ON COLUMN public.admin_users.granted_by IS 'The system account that ran the command.';

CREATE TABLE public.api_keys (
    id text NOT NULL,
    name text NOT NULL,
    scope_id text NOT NULL,
    mode text NOT NULL,
    secret_hash bytea NOT NULL,
    other_secret_hash bytea,
    other_secret_until timestamp with time zone,
    expires_at timestamp with time zone,
    cidrs cidr[] DEFAULT '{}'::cidr[] NOT NULL,
    rate_per_second integer,
    concurrency integer,
    learning_until timestamp with time zone,
    revoked_at timestamp with time zone,
    version bigint DEFAULT 0 NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT api_keys_concurrency CHECK ((concurrency > 0)),
    CONSTRAINT api_keys_id_form CHECK ((id ~ '^[0-9a-z]{16}$'::text)),
    CONSTRAINT api_keys_mode CHECK ((mode = ANY (ARRAY['named'::text, 'exact'::text, 'policy'::text, 'admin'::text]))),
    CONSTRAINT api_keys_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT api_keys_only_exact_learns CHECK (((learning_until IS NULL) OR (mode = 'exact'::text))),
    CONSTRAINT api_keys_other_ends CHECK (((other_secret_hash IS NULL) = (other_secret_until IS NULL))),
    CONSTRAINT api_keys_other_length CHECK ((octet_length(other_secret_hash) = 32)),
    CONSTRAINT api_keys_rate CHECK ((rate_per_second > 0)),
    CONSTRAINT api_keys_secret_length CHECK ((octet_length(secret_hash) = 32))
);

COMMENT ON TABLE public.api_keys IS 'Keys of the SQL proxy. Revoked ones stay, so that an old audit line still has a name.';

COMMENT ON COLUMN public.api_keys.mode IS 'What the key may send: registered statements, known texts, whatever the policy allows, or (loopback only) anything.';

COMMENT ON COLUMN public.api_keys.secret_hash IS 'secret. SHA-256 of the 256 random bits, as text, that the key ends with.';

COMMENT ON COLUMN public.api_keys.other_secret_hash IS 'secret. The one before the last rotation, until other_secret_until.';

COMMENT ON COLUMN public.api_keys.other_secret_until IS 'When the secret before the last rotation stops working.';

COMMENT ON COLUMN public.api_keys.cidrs IS 'Networks that the key may come from; empty is any.';

COMMENT ON COLUMN public.api_keys.rate_per_second IS 'Requests a second, with a burst of as many; NULL is unlimited.';

COMMENT ON COLUMN public.api_keys.concurrency IS 'Requests at a time; NULL is unlimited.';

COMMENT ON COLUMN public.api_keys.learning_until IS 'Until then an unknown text of an exact key is run and remembered.';

COMMENT ON COLUMN public.api_keys.revoked_at IS 'Set once, for good.';

COMMENT ON COLUMN public.api_keys.version IS 'Value of proxy_state.version at the last change of the key or its statements.';

COMMENT ON COLUMN public.api_keys.created_by IS 'The system account that ran the command.';

CREATE TABLE public.backups (
    id text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    database_bytes bigint,
    stored_bytes bigint,
    parent_id text,
    is_mirrored boolean DEFAULT false NOT NULL,
    detail text,
    CONSTRAINT backups_database_bytes CHECK ((database_bytes >= 0)),
    CONSTRAINT backups_id CHECK ((id ~ '^[0-9A-Za-z-]{8,64}$'::text)),
    CONSTRAINT backups_kind CHECK ((kind = ANY (ARRAY['full'::text, 'base'::text, 'incremental'::text, 'logical'::text, 'verify'::text, 'drill'::text]))),
    CONSTRAINT backups_state CHECK ((state = ANY (ARRAY['done'::text, 'failed'::text]))),
    CONSTRAINT backups_stored_bytes CHECK ((stored_bytes >= 0)),
    CONSTRAINT backups_times CHECK ((finished_at >= started_at))
);

COMMENT ON TABLE public.backups IS 'Backups, checks of them and drills, as they ended; the backups themselves are files.';

COMMENT ON COLUMN public.backups.started_at IS 'When it began, by the clock of the server or, for checks and drills, of the machine.';

COMMENT ON COLUMN public.backups.finished_at IS 'When it ended.';

COMMENT ON COLUMN public.backups.database_bytes IS 'Size of all databases then.';

COMMENT ON COLUMN public.backups.stored_bytes IS 'Size of its sealed files.';

COMMENT ON COLUMN public.backups.parent_id IS 'What an incremental backup builds upon.';

COMMENT ON COLUMN public.backups.is_mirrored IS 'Whether the second place has it too.';

COMMENT ON COLUMN public.backups.detail IS 'Why it failed, or what a check found; words of the house and of PostgreSQL''s tools.';

CREATE TABLE public.budget_notices (
    user_id public.id NOT NULL,
    month date NOT NULL,
    percent integer NOT NULL,
    noticed_at timestamp with time zone DEFAULT now() NOT NULL,
    told_at timestamp with time zone,
    put_off_count integer DEFAULT 0 NOT NULL,
    put_off_since timestamp with time zone,
    given_up_at timestamp with time zone,
    claimed_until timestamp with time zone,
    CONSTRAINT budget_notices_end CHECK (((told_at IS NULL) OR (given_up_at IS NULL))),
    CONSTRAINT budget_notices_month CHECK ((EXTRACT(day FROM month) = (1)::numeric)),
    CONSTRAINT budget_notices_percent CHECK (((percent >= 1) AND (percent <= 100))),
    CONSTRAINT budget_notices_put_off_count CHECK ((put_off_count >= 0))
);

COMMENT ON TABLE public.budget_notices IS 'Warnings about a month''s budget, each at most once.';

COMMENT ON COLUMN public.budget_notices.month IS 'First day of the person''s month.';

COMMENT ON COLUMN public.budget_notices.percent IS 'Of the month''s limit that was reached.';

COMMENT ON COLUMN public.budget_notices.noticed_at IS 'When the spending was found there.';

COMMENT ON COLUMN public.budget_notices.told_at IS 'When the person had been told; NULL while that is still to be done.';

COMMENT ON COLUMN public.budget_notices.put_off_count IS 'How often the person''s mail server said that it takes it later.';

COMMENT ON COLUMN public.budget_notices.put_off_since IS 'When it said so first.';

COMMENT ON COLUMN public.budget_notices.given_up_at IS 'When we stopped asking it.';

COMMENT ON COLUMN public.budget_notices.claimed_until IS 'A worker is telling it; past this it died on the way, and another one sees what of it was sent.';

CREATE TABLE public.call_cost_events (
    call_month date NOT NULL,
    user_id public.id NOT NULL,
    call_id public.id NOT NULL,
    seq integer NOT NULL,
    event_type public.cost_event_type NOT NULL,
    twilio_duration_seconds integer NOT NULL,
    cerebras_input_tokens integer NOT NULL,
    cerebras_output_tokens integer NOT NULL,
    elevenlabs_characters integer NOT NULL,
    fallback_input_tokens integer NOT NULL,
    fallback_output_tokens integer NOT NULL,
    local_characters integer NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deepgram_audio_seconds numeric(14,4) NOT NULL,
    twilio_cost_cents numeric(20,10) NOT NULL,
    deepgram_cost_cents numeric(20,10) NOT NULL,
    cerebras_cost_cents numeric(20,10) NOT NULL,
    elevenlabs_cost_cents numeric(20,10) NOT NULL,
    total_cost_cents numeric(20,10) NOT NULL,
    metadata jsonb
)
PARTITION BY RANGE (call_month);

COMMENT ON TABLE public.call_cost_events IS 'Differences of two cumulative states of a breakdown; their sum is the breakdown. By month of the call (UTC), kept 90 days. No foreign key, on purpose: a month is dropped at once.';

COMMENT ON COLUMN public.call_cost_events.call_month IS 'First day of the UTC month in which the call was placed.';

CREATE TABLE public.call_cost_events_default (
    call_month date CONSTRAINT call_cost_events_call_month_not_null NOT NULL,
    user_id public.id CONSTRAINT call_cost_events_user_id_not_null NOT NULL,
    call_id public.id CONSTRAINT call_cost_events_call_id_not_null NOT NULL,
    seq integer CONSTRAINT call_cost_events_seq_not_null NOT NULL,
    event_type public.cost_event_type CONSTRAINT call_cost_events_event_type_not_null NOT NULL,
    twilio_duration_seconds integer CONSTRAINT call_cost_events_twilio_duration_seconds_not_null NOT NULL,
    cerebras_input_tokens integer CONSTRAINT call_cost_events_cerebras_input_tokens_not_null NOT NULL,
    cerebras_output_tokens integer CONSTRAINT call_cost_events_cerebras_output_tokens_not_null NOT NULL,
    elevenlabs_characters integer CONSTRAINT call_cost_events_elevenlabs_characters_not_null NOT NULL,
    fallback_input_tokens integer CONSTRAINT call_cost_events_fallback_input_tokens_not_null NOT NULL,
    fallback_output_tokens integer CONSTRAINT call_cost_events_fallback_output_tokens_not_null NOT NULL,
    local_characters integer CONSTRAINT call_cost_events_local_characters_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT call_cost_events_created_at_not_null NOT NULL,
    deepgram_audio_seconds numeric(14,4) CONSTRAINT call_cost_events_deepgram_audio_seconds_not_null NOT NULL,
    twilio_cost_cents numeric(20,10) CONSTRAINT call_cost_events_twilio_cost_cents_not_null NOT NULL,
    deepgram_cost_cents numeric(20,10) CONSTRAINT call_cost_events_deepgram_cost_cents_not_null NOT NULL,
    cerebras_cost_cents numeric(20,10) CONSTRAINT call_cost_events_cerebras_cost_cents_not_null NOT NULL,
    elevenlabs_cost_cents numeric(20,10) CONSTRAINT call_cost_events_elevenlabs_cost_cents_not_null NOT NULL,
    total_cost_cents numeric(20,10) CONSTRAINT call_cost_events_total_cost_cents_not_null NOT NULL,
    metadata jsonb
);

COMMENT ON TABLE public.call_cost_events_default IS 'Catches a month without a partition; the doctor is red if it holds a row.';

CREATE VIEW public.call_logs WITH (security_invoker='true') AS
 SELECT c.id,
    c.user_id,
    c.persona_id,
    c.twilio_call_sid,
    c.phone_number,
    COALESCE((c.duration_seconds)::integer, (b.twilio_duration_seconds)::integer, 0) AS duration_seconds,
    c.status,
    c.error_message,
    COALESCE(b.deepgram_cost_cents, (0)::numeric) AS cost_stt,
    COALESCE(b.cerebras_cost_cents, (0)::numeric) AS cost_llm,
    COALESCE(b.elevenlabs_cost_cents, (0)::numeric) AS cost_tts,
    COALESCE(b.twilio_cost_cents, (0)::numeric) AS cost_twilio,
    COALESCE(b.total_cost_cents, (0)::numeric) AS cost_total,
    COALESCE(c.turn_count, 0) AS turn_count,
    COALESCE(c.interrupt_count, 0) AS interrupt_count,
    c.avg_response_time_ms,
    c.start_time AS started_at,
    c.end_time AS ended_at,
    c.created_at
   FROM (public.calls c
     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))));

COMMENT ON VIEW public.call_logs IS 'The specification''s log of calls, over what was measured. Costs in cents, exact.';

COMMENT ON COLUMN public.call_logs.phone_number IS 'pii:phone. As in calls.';

CREATE TABLE public.card_in_force (
    is_only boolean DEFAULT true NOT NULL,
    card text NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT card_in_force_card_length CHECK (((length(card) >= 1) AND (length(card) <= 500))),
    CONSTRAINT card_in_force_one_row CHECK (is_only)
);

COMMENT ON TABLE public.card_in_force IS 'One row: the set of models that the house calls with since its last start.';

COMMENT ON COLUMN public.card_in_force.is_only IS 'Keeps this table to one row.';

COMMENT ON COLUMN public.card_in_force.card IS 'As in price_versions.';

COMMENT ON COLUMN public.card_in_force.since IS 'When the house began to call with it.';

CREATE TABLE public.carrier_events (
    user_id public.id NOT NULL,
    call_id public.id NOT NULL,
    kind text NOT NULL,
    event_key text NOT NULL,
    carrier_status text,
    answered_by text,
    verdict text NOT NULL,
    reason text,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT carrier_events_answered_by_length CHECK (((length(answered_by) >= 1) AND (length(answered_by) <= 64))),
    CONSTRAINT carrier_events_key_length CHECK (((length(event_key) >= 1) AND (length(event_key) <= 128))),
    CONSTRAINT carrier_events_kind CHECK ((kind = ANY (ARRAY['status'::text, 'voice'::text, 'amd'::text, 'stream'::text, 'lookup'::text]))),
    CONSTRAINT carrier_events_verdict CHECK ((verdict = ANY (ARRAY['applied'::text, 'ignored'::text])))
);

COMMENT ON TABLE public.carrier_events IS 'What the carrier told us of a call, each once, with what it did.';

COMMENT ON COLUMN public.carrier_events.event_key IS 'The carrier''s sequence number, or a hash of the body where it sends none.';

COMMENT ON COLUMN public.carrier_events.answered_by IS 'The carrier''s own word for who picked up, which tells machines apart; calls.answered_by is ours.';

COMMENT ON COLUMN public.carrier_events.reason IS 'Why it was ignored.';

CREATE TABLE public.closing_days (
    day date NOT NULL,
    marked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    marker xid8 DEFAULT pg_current_xact_id() NOT NULL
);

COMMENT ON TABLE public.closing_days IS 'Days that are over and wait for the transactions that may still write into them.';

COMMENT ON COLUMN public.closing_days.day IS 'UTC.';

COMMENT ON COLUMN public.closing_days.marked_at IS 'When the marker was set, well after the end of the day.';

COMMENT ON COLUMN public.closing_days.marker IS 'Once no transaction before this one is open, the day can''t change any more.';

CREATE TABLE public.coupons (
    code text NOT NULL,
    percent_off integer,
    amount_off_cents numeric(12,2),
    currency text,
    max_redemptions integer,
    redemptions integer DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT coupons_amount CHECK (((amount_off_cents > (0)::numeric) AND (amount_off_cents = trunc(amount_off_cents)))),
    CONSTRAINT coupons_code_form CHECK ((code ~ '^[A-Z0-9_-]{3,32}$'::text)),
    CONSTRAINT coupons_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT coupons_max CHECK ((max_redemptions > 0)),
    CONSTRAINT coupons_not_overdrawn CHECK ((redemptions <= max_redemptions)),
    CONSTRAINT coupons_one_kind CHECK (((num_nonnulls(percent_off, amount_off_cents) = 1) AND ((amount_off_cents IS NULL) = (currency IS NULL)))),
    CONSTRAINT coupons_percent CHECK (((percent_off >= 1) AND (percent_off <= 99))),
    CONSTRAINT coupons_redemptions CHECK ((redemptions >= 0))
);

COMMENT ON TABLE public.coupons IS 'Codes that make a pack cheaper, once per person. One that gives everything away is a promotion instead.';

COMMENT ON COLUMN public.coupons.code IS 'As it is typed, in capitals.';

COMMENT ON COLUMN public.coupons.percent_off IS 'Of the pack''s price; the rest is rounded up to a whole cent.';

COMMENT ON COLUMN public.coupons.max_redemptions IS 'NULL is unlimited.';

COMMENT ON COLUMN public.coupons.redemptions IS 'Purchases with this code that are paid or may still be.';

CREATE TABLE public.credit_grants (
    user_id public.id NOT NULL,
    id public.id NOT NULL,
    credits integer NOT NULL,
    cause text NOT NULL,
    granted_seq bigint NOT NULL,
    granted_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    expired_at timestamp with time zone,
    CONSTRAINT credit_grants_credits CHECK ((credits > 0))
);

COMMENT ON TABLE public.credit_grants IS 'Promotional credits that expire, earliest first.';

COMMENT ON COLUMN public.credit_grants.granted_seq IS 'The ledger row that gave them.';

COMMENT ON COLUMN public.credit_grants.expired_at IS 'When the rest was taken back.';

CREATE TABLE public.credit_packs (
    sku text NOT NULL,
    name text NOT NULL,
    credits integer NOT NULL,
    price_cents numeric(12,2) NOT NULL,
    currency text DEFAULT 'usd'::text NOT NULL,
    "position" integer NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    CONSTRAINT credit_packs_credits CHECK (((credits >= 1) AND (credits <= 100000))),
    CONSTRAINT credit_packs_currency CHECK ((currency ~ '^[a-z]{3}$'::text)),
    CONSTRAINT credit_packs_price CHECK (((price_cents >= (50)::numeric) AND (price_cents = trunc(price_cents)))),
    CONSTRAINT credit_packs_sku_form CHECK ((sku ~ '^[a-z0-9_]{1,64}$'::text))
);

COMMENT ON TABLE public.credit_packs IS 'Credits for sale. A purchase keeps what it agreed on; changing a pack changes the next one.';

COMMENT ON COLUMN public.credit_packs.is_active IS 'False: no longer for sale.';

CREATE VIEW public.daily_margin WITH (security_invoker='true') AS
 SELECT day,
    sum(calls) AS calls,
    sum(revenue_cents) AS revenue_cents,
    sum(cost_cents) AS cost_cents,
    (sum(revenue_cents) - sum(cost_cents)) AS margin_cents
   FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
            1 AS calls,
            (0)::numeric AS revenue_cents,
            COALESCE(b.total_cost_cents, (0)::numeric) AS cost_cents
           FROM (public.calls c
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
        UNION ALL
         SELECT ((f.flowed_at AT TIME ZONE 'UTC'::text))::date AS day,
            0 AS calls,
            f.amount_cents AS revenue_cents,
            (0)::numeric AS cost_cents
           FROM public.money_flows f) d
  GROUP BY day;

COMMENT ON VIEW public.daily_margin IS 'Revenue, vendors'' cost and margin by UTC day: three figures. Revenue is what was paid less what was given back.';

CREATE TABLE public.dial_buckets (
    carrier text NOT NULL,
    calls_per_second numeric(10,3) NOT NULL,
    burst integer NOT NULL,
    tokens numeric(20,6) NOT NULL,
    refilled_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT dial_buckets_burst CHECK ((burst >= 1)),
    CONSTRAINT dial_buckets_rate CHECK ((calls_per_second > (0)::numeric)),
    CONSTRAINT dial_buckets_tokens CHECK ((tokens >= (0)::numeric))
);

COMMENT ON TABLE public.dial_buckets IS 'How many calls a second the carrier takes, shared by every process that dials.';

CREATE VIEW public.double_entry WITH (security_invoker='true') AS
 SELECT t.user_id,
    t.seq,
    t.created_at,
    e.account,
    e.credits
   FROM (public.credit_transactions t
     CROSS JOIN LATERAL ( VALUES ('liabilities:credits'::text,t.amount), (
                CASE t.type
                    WHEN 'purchase'::text THEN 'assets:payments'::text
                    WHEN 'subscription_refill'::text THEN 'assets:subscriptions'::text
                    WHEN 'refund'::text THEN 'assets:payments'::text
                    WHEN 'call_deduction'::text THEN 'revenue:calls'::text
                    WHEN 'admin_adjustment'::text THEN 'equity:adjustments'::text
                    WHEN 'promotion'::text THEN 'expenses:promotions'::text
                    WHEN 'expiry'::text THEN 'expenses:promotions'::text
                    ELSE NULL::text
                END,(- (t.amount)::integer))) e(account, credits));

COMMENT ON VIEW public.double_entry IS 'The ledger as a journal of two legs; the contra account follows from the type.';

CREATE VIEW public.effective_voices WITH (security_invoker='true') AS
 SELECT u.id AS user_id,
    p.id AS persona_id,
    COALESCE(r.voice_id, p.default_voice_id) AS voice_id,
    ((p.default_voice_settings)::jsonb || COALESCE((r.voice_settings)::jsonb, '{}'::jsonb)) AS voice_settings
   FROM ((public.users u
     CROSS JOIN public.personas p)
     LEFT JOIN public.user_persona_relationships r ON ((((u.id)::text = (r.user_id)::text) AND ((p.id)::text = (r.persona_id)::text))))
  WHERE ((p.owner_user_id IS NULL) OR ((p.owner_user_id)::text = (u.id)::text));

COMMENT ON VIEW public.effective_voices IS 'Voice of each persona for each person who may talk to it: what the relationship says, else the persona''s own.';

CREATE TABLE public.erasures (
    user_id public.id NOT NULL,
    requested_by text NOT NULL,
    erased_at timestamp with time zone DEFAULT now() NOT NULL,
    swept_at timestamp with time zone,
    CONSTRAINT erasures_requested_by CHECK ((requested_by = ANY (ARRAY['person'::text, 'operator'::text])))
);

COMMENT ON TABLE public.erasures IS 'Who was erased and when; kept outside the database too, and applied again after every restore.';

COMMENT ON COLUMN public.erasures.swept_at IS 'When the person was emptied once more, of what was being written meanwhile.';

CREATE TABLE public.jobs (
    name text NOT NULL,
    every interval NOT NULL,
    next_run_at timestamp with time zone DEFAULT now() NOT NULL,
    claimed_by text,
    lease_until timestamp with time zone,
    runs bigint DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    last_started_at timestamp with time zone,
    last_finished_at timestamp with time zone,
    last_duration_ms integer,
    last_result_count bigint,
    last_error text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT jobs_duration CHECK ((last_duration_ms >= 0)),
    CONSTRAINT jobs_error CHECK ((last_error ~ '^[a-z][a-z_]{0,63}$'::text)),
    CONSTRAINT jobs_every CHECK ((every >= '00:00:01'::interval)),
    CONSTRAINT jobs_failures CHECK ((failures >= 0)),
    CONSTRAINT jobs_name_form CHECK ((name ~ '^[a-z][a-z_]{0,63}$'::text))
);

COMMENT ON TABLE public.jobs IS 'The house''s periodic work: each job runs at one worker at a time, and again after "every".';

COMMENT ON COLUMN public.jobs.claimed_by IS 'The worker that runs it now.';

COMMENT ON COLUMN public.jobs.lease_until IS 'After this another worker takes it: the one that had it is gone.';

COMMENT ON COLUMN public.jobs.runs IS 'Runs that were begun; also the fence of a run.';

COMMENT ON COLUMN public.jobs.failures IS 'Failures since the last success.';

COMMENT ON COLUMN public.jobs.last_result_count IS 'How many things the last run did, where it counts them.';

COMMENT ON COLUMN public.jobs.last_error IS 'Why the last failure failed, a stable word; NULL after a success.';

CREATE VIEW public.ledger_proof WITH (security_invoker='true') AS
 SELECT a.user_id,
    (((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) AS balance,
    COALESCE(l.ledger_sum, (0)::bigint) AS ledger_sum,
    a.ledger_seq,
    COALESCE(l.ledger_rows, (0)::bigint) AS ledger_rows,
    COALESCE(l.newest_balance, 0) AS newest_balance,
    a.held_credits,
    COALESCE(h.hold_sum, (0)::bigint) AS hold_sum,
    (((((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) = COALESCE(l.ledger_sum, (0)::bigint)) AND ((a.ledger_seq)::bigint = COALESCE(l.ledger_rows, (0)::bigint)) AND ((a.ledger_seq)::bigint = COALESCE(l.newest_seq, (0)::bigint)) AND ((((a.available_credits)::integer + (a.held_credits)::integer) - (a.debt_credits)::integer) = COALESCE(l.newest_balance, 0)) AND ((a.held_credits)::integer = COALESCE(h.hold_sum, (0)::bigint))) AS is_proved
   FROM ((public.user_credits a
     LEFT JOIN ( SELECT t.user_id,
            sum((t.amount)::integer) AS ledger_sum,
            count(*) AS ledger_rows,
            max((t.seq)::bigint) AS newest_seq,
            (array_agg(t.balance_after ORDER BY t.seq DESC))[1] AS newest_balance
           FROM public.credit_transactions t
          GROUP BY t.user_id) l ON (((a.user_id)::text = (l.user_id)::text)))
     LEFT JOIN ( SELECT o.user_id,
            sum((c.hold_credits)::integer) AS hold_sum
           FROM (public.open_calls o
             JOIN public.calls c ON ((((o.user_id)::text = (c.user_id)::text) AND ((o.call_id)::text = (c.id)::text))))
          GROUP BY o.user_id) h ON (((a.user_id)::text = (h.user_id)::text)));

COMMENT ON VIEW public.ledger_proof IS 'Per account: ledger = available + held - debt, numbers without gaps, holds = open calls.';

CREATE TABLE public.login_attempts (
    bucket text NOT NULL,
    window_started_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT login_attempts_count CHECK ((attempts >= 0))
);

COMMENT ON TABLE public.login_attempts IS 'Counters of limited actions: logins by account and address, registrations, codes, resets.';

COMMENT ON COLUMN public.login_attempts.bucket IS 'Action and a keyed hash of the account or address; nothing readable.';

CREATE VIEW public.month_forecast WITH (security_invoker='true') AS
 SELECT a.user_id,
    m.month,
    m.elapsed_days,
    m.month_days,
    m.spent_cents,
    ((m.spent_cents * (m.month_days)::numeric) / (m.elapsed_days)::numeric) AS forecast_cents,
    l.max_monthly_spend_cents AS limit_cents
   FROM ((((public.user_credits a
     JOIN public.users u ON (((a.user_id)::text = (u.id)::text)))
     JOIN public.effective_limits l ON (((a.user_id)::text = (l.user_id)::text)))
     CROSS JOIN LATERAL ( SELECT (now() AT TIME ZONE public.zone_or_utc(u.timezone)) AS here) t)
     CROSS JOIN LATERAL ( SELECT (date_trunc('month'::text, t.here))::date AS month,
            (EXTRACT(day FROM t.here))::integer AS elapsed_days,
            (EXTRACT(day FROM ((date_trunc('month'::text, t.here) + '1 mon'::interval) - '1 day'::interval)))::integer AS month_days,
                CASE
                    WHEN (a.spend_month = (date_trunc('month'::text, t.here))::date) THEN (a.spent_in_month_cents)::numeric
                    ELSE (0)::numeric
                END AS spent_cents) m);

COMMENT ON VIEW public.month_forecast IS 'What a person''s month comes to if it goes on as until today: spending so far by the days gone, today included.';

CREATE VIEW public.monthly_spend WITH (security_invoker='true') AS
 SELECT c.user_id,
    COALESCE(c.local_month, (date_trunc('month'::text, (c.created_at AT TIME ZONE 'UTC'::text)))::date) AS month,
    sum(COALESCE(b.total_cost_cents, (0)::numeric)) AS spend_cents,
    count(*) AS calls,
    avg((c.duration_seconds)::integer) AS avg_duration_seconds
   FROM (public.calls c
     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
  GROUP BY c.user_id, COALESCE(c.local_month, (date_trunc('month'::text, (c.created_at AT TIME ZONE 'UTC'::text)))::date);

COMMENT ON VIEW public.monthly_spend IS 'The one definition of spending: every call, whatever its end, in the person''s month of its start.';

CREATE TABLE public.named_statements (
    key_id text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    statement text NOT NULL,
    text_hash bytea NOT NULL,
    parameter_types text[],
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT named_statements_hash_length CHECK ((octet_length(text_hash) = 32)),
    CONSTRAINT named_statements_id_form CHECK ((id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text)),
    CONSTRAINT named_statements_kind CHECK ((kind = ANY (ARRAY['named'::text, 'exact'::text]))),
    CONSTRAINT named_statements_length CHECK (((octet_length(statement) >= 1) AND (octet_length(statement) <= 1048576)))
);

COMMENT ON TABLE public.named_statements IS 'Statements that a key may run: by name, or by their exact text.';

COMMENT ON COLUMN public.named_statements.id IS 'The name in the address of a named one; made from the hash of a learned one.';

COMMENT ON COLUMN public.named_statements.statement IS 'pii:content. One statement; a learned one may hold literals.';

COMMENT ON COLUMN public.named_statements.text_hash IS 'SHA-256 of the text in UTF-8.';

COMMENT ON COLUMN public.named_statements.parameter_types IS 'Types of the parameters in order, by name; NULL where they are left to each request.';

CREATE VIEW public.persona_margin WITH (security_invoker='true') AS
 SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
    c.persona_id,
    count(*) AS calls,
    sum(COALESCE((c.credits_used)::integer, 0)) AS credits,
    sum(COALESCE(b.total_cost_cents, (0)::numeric)) AS cost_cents,
    sum(COALESCE(z.kept_cents, ((COALESCE((c.credits_used)::integer, 0))::numeric * COALESCE(w.cents_per_credit, (0)::numeric)))) AS revenue_cents,
    (sum(COALESCE(z.kept_cents, ((COALESCE((c.credits_used)::integer, 0))::numeric * COALESCE(w.cents_per_credit, (0)::numeric)))) - sum(COALESCE(b.total_cost_cents, (0)::numeric))) AS margin_cents
   FROM (((public.calls c
     LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
     LEFT JOIN public.paid_calls z ON ((((c.user_id)::text = (z.user_id)::text) AND ((c.id)::text = (z.call_id)::text))))
     LEFT JOIN public.credit_prices w ON (((c.user_id)::text = (w.user_id)::text)))
  GROUP BY (((c.created_at AT TIME ZONE 'UTC'::text))::date), c.persona_id;

COMMENT ON VIEW public.persona_margin IS 'By UTC day and persona: what the talks cost, and what their credits were paid with on average by the person who talked.';

ALTER TABLE public.price_versions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.price_versions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.proxy_answers (
    key_id text NOT NULL,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    answer bytea,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT proxy_answers_idempotency_length CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 200)))
);

COMMENT ON TABLE public.proxy_answers IS 'First answers to batches that carried an Idempotency-Key, written in their own transactions. Kept two days.';

COMMENT ON COLUMN public.proxy_answers.idempotency_key IS 'pii:content. Chosen by the client.';

COMMENT ON COLUMN public.proxy_answers.answer IS 'pii:content. The body of the answer, JSON in UTF-8.';

CREATE TABLE public.proxy_state (
    is_only boolean DEFAULT true NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT proxy_state_one_row CHECK (is_only)
);

COMMENT ON TABLE public.proxy_state IS 'One row, changed with every change of a key, so that a proxy sees within its next look that there is one.';

COMMENT ON COLUMN public.proxy_state.is_only IS 'Keeps this table to one row.';

CREATE VIEW public.receipts WITH (security_invoker='true') AS
 SELECT p.user_id,
    p.id,
    p.kind,
    p.description,
    p.tier,
    p.amount_cents,
    p.reversed_cents,
    p.currency,
    p.credits,
    p.reversed_credits,
    COALESCE(x.discount_cents, (0)::numeric) AS discount_cents,
    x.coupon,
    p.period_start,
    p.period_end,
    p.paid_at
   FROM (public.payments p
     LEFT JOIN public.purchases x ON ((((p.user_id)::text = (x.user_id)::text) AND ((p.id)::text = (x.id)::text))));

COMMENT ON VIEW public.receipts IS 'What a person paid for, with what was given back of it.';

CREATE TABLE public.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    execution_ms integer,
    state text NOT NULL,
    CONSTRAINT schema_migrations_checksum CHECK ((checksum ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT schema_migrations_execution_ms CHECK ((execution_ms >= 0)),
    CONSTRAINT schema_migrations_state CHECK ((state = ANY (ARRAY['running'::text, 'applied'::text]))),
    CONSTRAINT schema_migrations_version CHECK ((version > 0))
);

COMMENT ON TABLE public.schema_migrations IS 'Which migration files this database has; written by `callmeback migrate` only.';

COMMENT ON COLUMN public.schema_migrations.version IS 'The number in the file''s name.';

COMMENT ON COLUMN public.schema_migrations.name IS 'The rest of the file''s name.';

COMMENT ON COLUMN public.schema_migrations.checksum IS 'SHA-256 of the file''s text, in hex: an edited file is refused.';

COMMENT ON COLUMN public.schema_migrations.applied_at IS 'When it was applied; for a running one, when it began.';

COMMENT ON COLUMN public.schema_migrations.execution_ms IS 'How long it took, in milliseconds.';

COMMENT ON COLUMN public.schema_migrations.state IS '`running` is a file without a transaction that did not end; it is repeated by the next run.';

CREATE TABLE public.schema_repeatable (
    file text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT schema_repeatable_checksum CHECK ((checksum ~ '^[0-9a-f]{64}$'::text))
);

COMMENT ON TABLE public.schema_repeatable IS 'Which text of each function, view and access file this database has; empty after a migration, so that all are applied again.';

COMMENT ON COLUMN public.schema_repeatable.file IS 'Folder and name below callmeback/sql.';

COMMENT ON COLUMN public.schema_repeatable.checksum IS 'SHA-256 of the file''s text, in hex.';

COMMENT ON COLUMN public.schema_repeatable.applied_at IS 'When this text was applied.';

CREATE TABLE public.sealed_days (
    day date NOT NULL,
    ledger_rows bigint NOT NULL,
    received_credits bigint NOT NULL,
    taken_credits bigint NOT NULL,
    batch_hash bytea NOT NULL,
    sealed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    sealed_by text NOT NULL,
    CONSTRAINT sealed_days_hash CHECK ((length(batch_hash) = 32)),
    CONSTRAINT sealed_days_rows CHECK ((ledger_rows >= 0))
);

COMMENT ON TABLE public.sealed_days IS 'Days (UTC) whose ledger is closed, each with a hash over its rows that is published elsewhere too.';

COMMENT ON COLUMN public.sealed_days.day IS 'UTC.';

COMMENT ON COLUMN public.sealed_days.ledger_rows IS 'Rows of the ledger in that day.';

COMMENT ON COLUMN public.sealed_days.received_credits IS 'Sum of the rows above 0.';

COMMENT ON COLUMN public.sealed_days.taken_credits IS 'Sum of the rows below 0.';

COMMENT ON COLUMN public.sealed_days.batch_hash IS 'SHA-256 over the rows in the order of account and number, and over the hash of the day before.';

COMMENT ON COLUMN public.sealed_days.sealed_at IS 'When it was closed.';

COMMENT ON COLUMN public.sealed_days.sealed_by IS 'The system account that closed it.';

CREATE TABLE public.sql_scopes (
    id text NOT NULL,
    role_name text NOT NULL,
    pii boolean NOT NULL,
    as_user_id public.id,
    reads text[] NOT NULL,
    writes text[] NOT NULL,
    calls text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT sql_scopes_id_form CHECK ((id ~ '^[0-9a-f]{16}$'::text)),
    CONSTRAINT sql_scopes_role_of_id CHECK ((role_name = ('callmeback_key_'::text || id)))
);

COMMENT ON TABLE public.sql_scopes IS 'Sets of grants. Each is a login role of its own; keys with equal grants share it. Never changed, only made.';

COMMENT ON COLUMN public.sql_scopes.id IS 'The beginning of the SHA-256 of the grants, so that equal grants are one scope, whoever makes it first.';

COMMENT ON COLUMN public.sql_scopes.role_name IS 'The login role.';

COMMENT ON COLUMN public.sql_scopes.pii IS 'Whether columns of a pii class are shown instead of masked.';

COMMENT ON COLUMN public.sql_scopes.as_user_id IS 'The one person whose rows are seen; NULL is everybody''s.';

COMMENT ON COLUMN public.sql_scopes.reads IS 'Tables and views, sorted; the word all stands for every one, those to come included.';

COMMENT ON COLUMN public.sql_scopes.writes IS 'Tables, sorted.';

COMMENT ON COLUMN public.sql_scopes.calls IS 'Functions, sorted.';

CREATE VIEW public.tier_margin WITH (security_invoker='true') AS
 SELECT day,
    tier,
    sum(calls) AS calls,
    sum(revenue_cents) AS revenue_cents,
    sum(cost_cents) AS cost_cents,
    (sum(revenue_cents) - sum(cost_cents)) AS margin_cents
   FROM ( SELECT ((c.created_at AT TIME ZONE 'UTC'::text))::date AS day,
            a.subscription_tier AS tier,
            1 AS calls,
            (0)::numeric AS revenue_cents,
            COALESCE(b.total_cost_cents, (0)::numeric) AS cost_cents
           FROM ((public.calls c
             JOIN public.user_credits a ON (((c.user_id)::text = (a.user_id)::text)))
             LEFT JOIN public.call_cost_breakdowns b ON ((((c.user_id)::text = (b.user_id)::text) AND ((c.id)::text = (b.call_id)::text))))
        UNION ALL
         SELECT ((f.flowed_at AT TIME ZONE 'UTC'::text))::date AS day,
            COALESCE(f.tier, a.subscription_tier) AS tier,
            0 AS calls,
            f.amount_cents AS revenue_cents,
            (0)::numeric AS cost_cents
           FROM (public.money_flows f
             JOIN public.user_credits a ON (((f.user_id)::text = (a.user_id)::text)))) d
  GROUP BY day, tier;

COMMENT ON VIEW public.tier_margin IS 'Revenue, vendors'' cost and margin by UTC day and tier. A plan''s money is its tier''s; all else is that of the person''s tier today.';

CREATE TABLE public.token_blacklist (
    token_id text NOT NULL,
    user_id public.id NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE public.token_blacklist IS 'Revoked tokens until they would have expired; looked at on every request.';

COMMENT ON COLUMN public.token_blacklist.token_id IS 'The jti claim.';

ALTER TABLE ONLY public.call_cost_events ATTACH PARTITION public.call_cost_events_default DEFAULT;

ALTER TABLE ONLY public.admin_users
    ADD CONSTRAINT admin_users_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.backups
    ADD CONSTRAINT backups_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.blocked_numbers
    ADD CONSTRAINT blocked_numbers_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.budget_notices
    ADD CONSTRAINT budget_notices_pkey PRIMARY KEY (user_id, month, percent);

ALTER TABLE ONLY public.calendar_feeds
    ADD CONSTRAINT calendar_feeds_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.calendar_feeds
    ADD CONSTRAINT calendar_feeds_token_key UNIQUE (token_hash);

ALTER TABLE ONLY public.call_cost_breakdowns
    ADD CONSTRAINT call_cost_breakdowns_pkey PRIMARY KEY (call_id, user_id);

ALTER TABLE ONLY public.call_cost_events
    ADD CONSTRAINT call_cost_events_pkey PRIMARY KEY (call_month, call_id, seq);

ALTER TABLE ONLY public.call_cost_events_default
    ADD CONSTRAINT call_cost_events_default_pkey PRIMARY KEY (call_month, call_id, seq);

ALTER TABLE ONLY public.call_scenario_templates
    ADD CONSTRAINT call_scenario_templates_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.call_schedules
    ADD CONSTRAINT call_schedules_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.calls
    ADD CONSTRAINT calls_pkey PRIMARY KEY (id, user_id);

ALTER TABLE ONLY public.card_in_force
    ADD CONSTRAINT card_in_force_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY public.carrier_events
    ADD CONSTRAINT carrier_events_pkey PRIMARY KEY (user_id, call_id, kind, event_key);

ALTER TABLE ONLY public.closing_days
    ADD CONSTRAINT closing_days_pkey PRIMARY KEY (day);

ALTER TABLE ONLY public.coupons
    ADD CONSTRAINT coupons_pkey PRIMARY KEY (code);

ALTER TABLE ONLY public.credit_grants
    ADD CONSTRAINT credit_grants_cause_key UNIQUE (user_id, cause);

ALTER TABLE ONLY public.credit_grants
    ADD CONSTRAINT credit_grants_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.credit_packs
    ADD CONSTRAINT credit_packs_pkey PRIMARY KEY (sku);

ALTER TABLE ONLY public.credit_packs
    ADD CONSTRAINT credit_packs_position_key UNIQUE ("position");

ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_cause_key UNIQUE (user_id, cause);

ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_pkey PRIMARY KEY (user_id, seq);

ALTER TABLE ONLY public.dial_buckets
    ADD CONSTRAINT dial_buckets_pkey PRIMARY KEY (carrier);

ALTER TABLE ONLY public.disputes
    ADD CONSTRAINT disputes_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.login_attempts
    ADD CONSTRAINT login_attempts_pkey PRIMARY KEY (bucket);

ALTER TABLE ONLY public.named_statements
    ADD CONSTRAINT named_statements_pkey PRIMARY KEY (key_id, id);

ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.open_calls
    ADD CONSTRAINT open_calls_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.payment_authorizations
    ADD CONSTRAINT payment_authorizations_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.payment_events
    ADD CONSTRAINT payment_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.personas
    ADD CONSTRAINT personas_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.phones
    ADD CONSTRAINT phones_pkey PRIMARY KEY (user_id, number);

ALTER TABLE ONLY public.price_versions
    ADD CONSTRAINT price_versions_card_key UNIQUE (card, effective_from);

ALTER TABLE ONLY public.price_versions
    ADD CONSTRAINT price_versions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.proxy_answers
    ADD CONSTRAINT proxy_answers_pkey PRIMARY KEY (key_id, idempotency_key);

ALTER TABLE ONLY public.proxy_state
    ADD CONSTRAINT proxy_state_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY public.purchases
    ADD CONSTRAINT purchases_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.scheduled_calls
    ADD CONSTRAINT scheduled_calls_pkey PRIMARY KEY (id, user_id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.schema_repeatable
    ADD CONSTRAINT schema_repeatable_pkey PRIMARY KEY (file);

ALTER TABLE ONLY public.sealed_days
    ADD CONSTRAINT sealed_days_pkey PRIMARY KEY (day);

ALTER TABLE ONLY public.service_rates
    ADD CONSTRAINT service_rates_pkey PRIMARY KEY (vendor, model, unit, effective_from);

ALTER TABLE ONLY public.sql_scopes
    ADD CONSTRAINT sql_scopes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sql_scopes
    ADD CONSTRAINT sql_scopes_role_key UNIQUE (role_name);

ALTER TABLE ONLY public.subscription_tiers
    ADD CONSTRAINT subscription_tiers_pkey PRIMARY KEY (tier);

ALTER TABLE ONLY public.subscription_tiers
    ADD CONSTRAINT subscription_tiers_position_key UNIQUE ("position");

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (user_id, id);

ALTER TABLE ONLY public.token_blacklist
    ADD CONSTRAINT token_blacklist_pkey PRIMARY KEY (token_id);

ALTER TABLE ONLY public.transcripts
    ADD CONSTRAINT transcripts_pkey PRIMARY KEY (user_id, call_id, seq);

ALTER TABLE ONLY public.unknown_caller_attempts
    ADD CONSTRAINT unknown_caller_attempts_pkey PRIMARY KEY (phone_number);

ALTER TABLE ONLY public.user_budget_settings
    ADD CONSTRAINT user_budget_settings_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.user_credits
    ADD CONSTRAINT user_credits_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.user_persona_relationships
    ADD CONSTRAINT user_persona_relationships_pkey PRIMARY KEY (user_id, persona_id);

ALTER TABLE ONLY public.user_preferences
    ADD CONSTRAINT user_preferences_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

CREATE INDEX backups_kind_finished_idx ON public.backups USING btree (kind, finished_at);

CREATE INDEX idx_api_keys_scope ON public.api_keys USING btree (scope_id);

CREATE INDEX idx_budget_notices_untold ON public.budget_notices USING btree (noticed_at) WHERE ((told_at IS NULL) AND (given_up_at IS NULL));

CREATE INDEX idx_call_scenario_templates_user ON public.call_scenario_templates USING btree (user_id);

CREATE INDEX idx_call_schedules_due ON public.call_schedules USING btree (materialised_until) WHERE ((materialised_until IS NOT NULL) AND (paused_at IS NULL));

CREATE INDEX idx_call_schedules_id ON public.call_schedules USING btree (id);

CREATE INDEX idx_call_schedules_persona ON public.call_schedules USING btree (persona_id);

CREATE INDEX idx_calls_created ON public.calls USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX idx_calls_persona ON public.calls USING btree (persona_id);

CREATE INDEX idx_calls_user_created ON public.calls USING btree (user_id, created_at DESC);

CREATE INDEX idx_cost_breakdowns_created ON public.call_cost_breakdowns USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX idx_credit_grants_expiry ON public.credit_grants USING btree (expires_at) WHERE (expired_at IS NULL);

CREATE INDEX idx_credit_grants_ledger ON public.credit_grants USING btree (user_id, granted_seq);

CREATE INDEX idx_credit_transactions_call ON public.credit_transactions USING btree (user_id, call_id) WHERE (call_id IS NOT NULL);

CREATE INDEX idx_credit_transactions_created ON public.credit_transactions USING brin (created_at) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX idx_disputes_payment ON public.disputes USING btree (user_id, payment_id);

CREATE INDEX idx_erasures_unswept ON public.erasures USING btree (erased_at) WHERE (swept_at IS NULL);

CREATE INDEX idx_idempotency_keys_created ON public.idempotency_keys USING btree (created_at);

CREATE INDEX idx_login_attempts_expires ON public.login_attempts USING btree (expires_at);

CREATE INDEX idx_one_time_tokens_expires ON public.one_time_tokens USING btree (expires_at);

CREATE INDEX idx_one_time_tokens_user ON public.one_time_tokens USING btree (user_id);

CREATE INDEX idx_payment_authorizations_call ON public.payment_authorizations USING btree (user_id, call_id);

CREATE INDEX idx_payment_authorizations_due ON public.payment_authorizations USING btree (retry_at) WHERE (retry_at IS NOT NULL);

CREATE INDEX idx_payment_events_refused ON public.payment_events USING btree (received_at) WHERE (state = 'refused'::text);

CREATE INDEX idx_payment_events_retry ON public.payment_events USING btree (retry_at) WHERE (state = 'unmatched'::text);

CREATE INDEX idx_payment_events_user ON public.payment_events USING btree (user_id) WHERE (user_id IS NOT NULL);

CREATE INDEX idx_payment_events_waits ON public.payment_events USING gin (waits_for) WHERE (state = 'unmatched'::text);

CREATE INDEX idx_payments_credits ON public.payments USING btree (user_id) INCLUDE (amount_cents, reversed_cents, credits, reversed_credits) WHERE ((credits > reversed_credits) AND (kind <> 'call'::text));

CREATE INDEX idx_payments_id ON public.payments USING btree (id);

CREATE INDEX idx_payments_paid ON public.payments USING btree (paid_at);

CREATE INDEX idx_payments_subscription ON public.payments USING btree (user_id, subscription_id);

CREATE INDEX idx_personas_active ON public.personas USING btree (created_at DESC) WHERE is_active;

CREATE INDEX idx_personas_category_active ON public.personas USING btree (category, created_at DESC) WHERE is_active;

CREATE INDEX idx_personas_house ON public.personas USING btree (created_at) WHERE (owner_user_id IS NULL);

CREATE INDEX idx_personas_owner ON public.personas USING btree (owner_user_id) WHERE (owner_user_id IS NOT NULL);

CREATE INDEX idx_proxy_answers_created ON public.proxy_answers USING btree (created_at);

CREATE INDEX idx_purchases_completed ON public.purchases USING btree (completed_at) WHERE (status = 'completed'::text);

CREATE INDEX idx_purchases_payment_intent ON public.purchases USING btree (payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX idx_purchases_pending ON public.purchases USING btree (created_at) WHERE (status = 'pending'::text);

CREATE INDEX idx_refunds_payment ON public.refunds USING btree (user_id, payment_id);

CREATE INDEX idx_relationships_favorite ON public.user_persona_relationships USING btree (user_id, persona_id) WHERE is_favorite;

CREATE INDEX idx_relationships_persona ON public.user_persona_relationships USING btree (persona_id);

CREATE INDEX idx_scheduled_calls_call ON public.scheduled_calls USING btree (user_id, call_id) WHERE (call_id IS NOT NULL);

CREATE INDEX idx_scheduled_calls_lease ON public.scheduled_calls USING btree (lease_until) WHERE (status = 'executing'::text);

CREATE INDEX idx_scheduled_calls_persona ON public.scheduled_calls USING btree (persona_id);

CREATE INDEX idx_scheduled_calls_remind ON public.scheduled_calls USING btree (remind_at) WHERE (remind_at IS NOT NULL);

CREATE INDEX idx_scheduled_calls_scheduled_time ON public.scheduled_calls USING btree (scheduled_time) WHERE (status = 'scheduled'::text);

CREATE INDEX idx_scheduled_calls_unsettled ON public.scheduled_calls USING btree (executed_at) WHERE ((status = 'executed'::text) AND (outcome IS NULL));

CREATE INDEX idx_scheduled_calls_user_time ON public.scheduled_calls USING btree (user_id, scheduled_time DESC);

CREATE INDEX idx_sql_scopes_user ON public.sql_scopes USING btree (as_user_id) WHERE (as_user_id IS NOT NULL);

CREATE INDEX idx_subscriptions_cancel_due ON public.subscriptions USING btree (cancel_due_at) WHERE (cancel_due_at IS NOT NULL);

CREATE INDEX idx_subscriptions_grace ON public.subscriptions USING btree (grace_until) WHERE (grace_until IS NOT NULL);

CREATE INDEX idx_subscriptions_look ON public.subscriptions USING btree (look_at) WHERE (look_at IS NOT NULL);

CREATE INDEX idx_subscriptions_pending ON public.subscriptions USING btree (created_at) WHERE (status = 'pending'::text);

CREATE INDEX idx_subscriptions_pending_tier ON public.subscriptions USING btree (pending_tier) WHERE (pending_tier IS NOT NULL);

CREATE INDEX idx_subscriptions_tier ON public.subscriptions USING btree (tier);

CREATE INDEX idx_token_blacklist_expires ON public.token_blacklist USING btree (expires_at);

CREATE INDEX idx_token_blacklist_user ON public.token_blacklist USING btree (user_id);

CREATE INDEX idx_unknown_caller_attempts_persona ON public.unknown_caller_attempts USING btree (persona_id) WHERE (persona_id IS NOT NULL);

CREATE INDEX idx_unknown_caller_attempts_user ON public.unknown_caller_attempts USING btree (converted_user_id) WHERE (converted_user_id IS NOT NULL);

CREATE INDEX idx_user_credits_tier ON public.user_credits USING btree (subscription_tier);

CREATE INDEX idx_user_preferences_email ON public.user_preferences USING btree (user_id) WHERE email_notifications;

CREATE INDEX idx_users_email ON public.users USING btree (email);

CREATE UNIQUE INDEX named_statements_text_key ON public.named_statements USING btree (key_id, text_hash) WHERE (kind = 'exact'::text);

CREATE UNIQUE INDEX payment_authorizations_intent_key ON public.payment_authorizations USING btree (payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE UNIQUE INDEX payments_intent_key ON public.payments USING btree (payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE UNIQUE INDEX phones_verified_number_key ON public.phones USING btree (number) WHERE (verified_at IS NOT NULL);

CREATE UNIQUE INDEX purchases_coupon_key ON public.purchases USING btree (user_id, coupon) WHERE ((coupon IS NOT NULL) AND (status <> 'failed'::text));

CREATE UNIQUE INDEX purchases_stripe_session_key ON public.purchases USING btree (stripe_session_id) WHERE (stripe_session_id IS NOT NULL);

CREATE UNIQUE INDEX scheduled_calls_occurrence_key ON public.scheduled_calls USING btree (user_id, schedule_id, occurrence) WHERE (schedule_id IS NOT NULL);

CREATE UNIQUE INDEX scheduled_calls_retry_key ON public.scheduled_calls USING btree (user_id, retry_of) WHERE (retry_of IS NOT NULL);

CREATE UNIQUE INDEX subscriptions_one_key ON public.subscriptions USING btree (user_id) WHERE (status = ANY (ARRAY['pending'::text, 'active'::text, 'past_due'::text]));

CREATE UNIQUE INDEX subscriptions_stripe_key ON public.subscriptions USING btree (stripe_subscription_id) WHERE (stripe_subscription_id IS NOT NULL);

CREATE UNIQUE INDEX user_credits_subscription_key ON public.user_credits USING btree (subscription_stripe_id) WHERE (subscription_stripe_id IS NOT NULL);

CREATE UNIQUE INDEX users_email_key ON public.users USING btree (lower(email));

CREATE UNIQUE INDEX users_stripe_customer_key ON public.users USING btree (stripe_customer_id) WHERE (stripe_customer_id IS NOT NULL);

ALTER INDEX public.call_cost_events_pkey ATTACH PARTITION public.call_cost_events_default_pkey;

CREATE TRIGGER api_keys_noted BEFORE INSERT OR DELETE OR UPDATE ON public.api_keys FOR EACH ROW EXECUTE FUNCTION public.note_key_change();

CREATE TRIGGER call_scenario_templates_touch BEFORE UPDATE ON public.call_scenario_templates FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER call_schedules_limit BEFORE INSERT ON public.call_schedules FOR EACH ROW WHEN ((new.materialised_until IS NOT NULL)) EXECUTE FUNCTION public.limit_plans();

CREATE TRIGGER call_schedules_limit_revived BEFORE UPDATE OF materialised_until ON public.call_schedules FOR EACH ROW WHEN (((old.materialised_until IS NULL) AND (new.materialised_until IS NOT NULL))) EXECUTE FUNCTION public.limit_plans();

CREATE TRIGGER call_schedules_plan BEFORE INSERT OR UPDATE OF persona_id ON public.call_schedules FOR EACH ROW EXECUTE FUNCTION public.check_plan();

CREATE TRIGGER call_schedules_touch BEFORE UPDATE ON public.call_schedules FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER credit_transactions_append_only BEFORE DELETE OR UPDATE ON public.credit_transactions FOR EACH ROW EXECUTE FUNCTION public.refuse_ledger_change();

CREATE TRIGGER credit_transactions_no_truncate BEFORE TRUNCATE ON public.credit_transactions FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_ledger_change();

CREATE TRIGGER named_statements_noted AFTER INSERT OR DELETE OR UPDATE ON public.named_statements FOR EACH ROW EXECUTE FUNCTION public.note_statement_change();

CREATE TRIGGER personas_touch BEFORE UPDATE ON public.personas FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER purchases_touch BEFORE UPDATE ON public.purchases FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER scheduled_calls_complete BEFORE INSERT OR UPDATE OF scheduled_time, latest_start_at, reminder_minutes ON public.scheduled_calls FOR EACH ROW EXECUTE FUNCTION public.complete_scheduled_call();

CREATE TRIGGER scheduled_calls_limit BEFORE INSERT ON public.scheduled_calls FOR EACH ROW WHEN (((new.status = 'scheduled'::text) AND (new.schedule_id IS NULL) AND (new.retry_of IS NULL))) EXECUTE FUNCTION public.limit_plans();

CREATE TRIGGER scheduled_calls_plan BEFORE INSERT OR UPDATE OF persona_id ON public.scheduled_calls FOR EACH ROW EXECUTE FUNCTION public.check_plan();

CREATE TRIGGER scheduled_calls_steps BEFORE UPDATE OF status ON public.scheduled_calls FOR EACH ROW WHEN ((NOT ((old.status = new.status) OR (old.status = 'scheduled'::text) OR ((old.status = 'executing'::text) AND (new.status <> 'scheduled'::text)) OR ((old.status = 'executed'::text) AND (new.status = 'missed'::text))))) EXECUTE FUNCTION public.refuse_schedule_step();

CREATE TRIGGER scheduled_calls_touch BEFORE UPDATE ON public.scheduled_calls FOR EACH ROW WHEN ((old.updated_at = new.updated_at)) EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER service_rates_append_only BEFORE INSERT OR DELETE OR UPDATE ON public.service_rates FOR EACH ROW EXECUTE FUNCTION public.refuse_rate_change();

CREATE TRIGGER service_rates_followed AFTER INSERT ON public.service_rates FOR EACH STATEMENT EXECUTE FUNCTION public.follow_rates();

CREATE TRIGGER service_rates_no_truncate BEFORE TRUNCATE ON public.service_rates FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_rate_change();

CREATE TRIGGER user_budget_settings_touch BEFORE UPDATE ON public.user_budget_settings FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER user_preferences_touch BEFORE UPDATE ON public.user_preferences FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER users_close AFTER UPDATE OF blocked_at, erased_at ON public.users FOR EACH ROW EXECUTE FUNCTION public.close_account();

CREATE TRIGGER users_touch BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at();

CREATE TRIGGER users_zone BEFORE INSERT OR UPDATE OF timezone ON public.users FOR EACH ROW EXECUTE FUNCTION public.check_zone();

ALTER TABLE ONLY public.admin_users
    ADD CONSTRAINT admin_users_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_scope_fkey FOREIGN KEY (scope_id) REFERENCES public.sql_scopes(id);

ALTER TABLE ONLY public.budget_notices
    ADD CONSTRAINT budget_notices_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.calendar_feeds
    ADD CONSTRAINT calendar_feeds_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.call_cost_breakdowns
    ADD CONSTRAINT call_cost_breakdowns_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.call_scenario_templates
    ADD CONSTRAINT call_scenario_templates_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.call_schedules
    ADD CONSTRAINT call_schedules_persona_fkey FOREIGN KEY (persona_id) REFERENCES public.personas(id);

ALTER TABLE ONLY public.call_schedules
    ADD CONSTRAINT call_schedules_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.calls
    ADD CONSTRAINT calls_persona_fkey FOREIGN KEY (persona_id) REFERENCES public.personas(id);

ALTER TABLE ONLY public.calls
    ADD CONSTRAINT calls_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.carrier_events
    ADD CONSTRAINT carrier_events_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id);

ALTER TABLE ONLY public.credit_grants
    ADD CONSTRAINT credit_grants_ledger_fkey FOREIGN KEY (user_id, granted_seq) REFERENCES public.credit_transactions(user_id, seq);

ALTER TABLE ONLY public.credit_grants
    ADD CONSTRAINT credit_grants_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id);

ALTER TABLE ONLY public.credit_transactions
    ADD CONSTRAINT credit_transactions_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.disputes
    ADD CONSTRAINT disputes_payment_fkey FOREIGN KEY (user_id, payment_id) REFERENCES public.payments(user_id, id);

ALTER TABLE ONLY public.erasures
    ADD CONSTRAINT erasures_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.named_statements
    ADD CONSTRAINT named_statements_key_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id);

ALTER TABLE ONLY public.one_time_tokens
    ADD CONSTRAINT one_time_tokens_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.open_calls
    ADD CONSTRAINT open_calls_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY public.payment_authorizations
    ADD CONSTRAINT payment_authorizations_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id);

ALTER TABLE ONLY public.payment_authorizations
    ADD CONSTRAINT payment_authorizations_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.payment_events
    ADD CONSTRAINT payment_events_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_subscription_fkey FOREIGN KEY (user_id, subscription_id) REFERENCES public.subscriptions(user_id, id);

ALTER TABLE ONLY public.payments
    ADD CONSTRAINT payments_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.personas
    ADD CONSTRAINT personas_owner_fkey FOREIGN KEY (owner_user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.phones
    ADD CONSTRAINT phones_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.proxy_answers
    ADD CONSTRAINT proxy_answers_key_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id);

ALTER TABLE ONLY public.purchases
    ADD CONSTRAINT purchases_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.refunds
    ADD CONSTRAINT refunds_payment_fkey FOREIGN KEY (user_id, payment_id) REFERENCES public.payments(user_id, id);

ALTER TABLE ONLY public.scheduled_calls
    ADD CONSTRAINT scheduled_calls_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id);

ALTER TABLE ONLY public.scheduled_calls
    ADD CONSTRAINT scheduled_calls_persona_fkey FOREIGN KEY (persona_id) REFERENCES public.personas(id);

ALTER TABLE ONLY public.scheduled_calls
    ADD CONSTRAINT scheduled_calls_retry_fkey FOREIGN KEY (user_id, retry_of) REFERENCES public.scheduled_calls(user_id, id) ON DELETE SET NULL (retry_of);

ALTER TABLE ONLY public.scheduled_calls
    ADD CONSTRAINT scheduled_calls_schedule_fkey FOREIGN KEY (user_id, schedule_id) REFERENCES public.call_schedules(user_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.scheduled_calls
    ADD CONSTRAINT scheduled_calls_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.sql_scopes
    ADD CONSTRAINT sql_scopes_user_fkey FOREIGN KEY (as_user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pending_tier_fkey FOREIGN KEY (pending_tier) REFERENCES public.subscription_tiers(tier);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_tier_fkey FOREIGN KEY (tier) REFERENCES public.subscription_tiers(tier);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.token_blacklist
    ADD CONSTRAINT token_blacklist_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.transcripts
    ADD CONSTRAINT transcripts_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES public.calls(user_id, id);

ALTER TABLE ONLY public.unknown_caller_attempts
    ADD CONSTRAINT unknown_caller_attempts_persona_fkey FOREIGN KEY (persona_id) REFERENCES public.personas(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.unknown_caller_attempts
    ADD CONSTRAINT unknown_caller_attempts_user_fkey FOREIGN KEY (converted_user_id) REFERENCES public.users(id) ON DELETE SET NULL;

ALTER TABLE ONLY public.user_budget_settings
    ADD CONSTRAINT user_budget_settings_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_credits
    ADD CONSTRAINT user_credits_tier_fkey FOREIGN KEY (subscription_tier) REFERENCES public.subscription_tiers(tier);

ALTER TABLE ONLY public.user_credits
    ADD CONSTRAINT user_credits_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.user_persona_relationships
    ADD CONSTRAINT user_persona_relationships_persona_fkey FOREIGN KEY (persona_id) REFERENCES public.personas(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_persona_relationships
    ADD CONSTRAINT user_persona_relationships_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.user_preferences
    ADD CONSTRAINT user_preferences_user_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;

ALTER TABLE public.admin_users ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.backups ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.blocked_numbers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.budget_notices ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.calendar_feeds ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.call_cost_breakdowns ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.call_cost_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.call_cost_events_default ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.call_scenario_templates ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.call_schedules ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.calls ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.card_in_force ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.carrier_events ENABLE ROW LEVEL SECURITY;

CREATE POLICY catalogue ON public.call_scenario_templates FOR SELECT TO callmeback_api USING (((user_id IS NULL) OR ((user_id)::text = current_setting('callmeback.user_id'::text, true))));

CREATE POLICY catalogue ON public.credit_packs FOR SELECT TO callmeback_api USING (true);

CREATE POLICY catalogue ON public.personas FOR SELECT TO callmeback_api USING (((owner_user_id IS NULL) OR ((owner_user_id)::text = current_setting('callmeback.user_id'::text, true))));

CREATE POLICY catalogue ON public.price_versions FOR SELECT TO callmeback_api USING (true);

CREATE POLICY catalogue ON public.service_rates FOR SELECT TO callmeback_api USING (true);

CREATE POLICY catalogue ON public.subscription_tiers FOR SELECT TO callmeback_api USING (true);

ALTER TABLE public.closing_days ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.coupons ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credit_grants ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credit_packs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.credit_transactions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.dial_buckets ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.disputes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.erasures ENABLE ROW LEVEL SECURITY;

CREATE POLICY house ON public.admin_users TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.api_keys TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.backups TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.blocked_numbers TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.budget_notices TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.calendar_feeds TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.call_cost_breakdowns TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.call_cost_events TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.call_cost_events_default TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.call_scenario_templates TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.call_schedules TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.calls TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.card_in_force TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.carrier_events TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.closing_days TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.coupons TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.credit_grants TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.credit_packs TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.credit_transactions TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.dial_buckets TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.disputes TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.erasures TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.idempotency_keys TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.jobs TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.login_attempts TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.named_statements TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.one_time_tokens TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.open_calls TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.payment_authorizations TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.payment_events TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.payments TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.personas TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.phones TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.price_versions TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.proxy_answers TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.proxy_state TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.purchases TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.refunds TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.scheduled_calls TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.schema_migrations TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.schema_repeatable TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.sealed_days TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.service_rates TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.sql_scopes TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.subscription_tiers TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.subscriptions TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.token_blacklist TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.transcripts TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.unknown_caller_attempts TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.user_budget_settings TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.user_credits TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.user_persona_relationships TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.user_preferences TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

CREATE POLICY house ON public.users TO callmeback_worker, callmeback_voice, callmeback_readonly USING (true) WITH CHECK (true);

ALTER TABLE public.idempotency_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.login_attempts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.named_statements ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.one_time_tokens ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.open_calls ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON public.admin_users TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.budget_notices TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.calendar_feeds TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.call_cost_breakdowns TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.call_cost_events TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.call_cost_events_default TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.call_scenario_templates TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.call_schedules TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.calls TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.carrier_events TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.credit_grants TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.credit_transactions TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.disputes TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.erasures TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.idempotency_keys TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.one_time_tokens TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.open_calls TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.payment_authorizations TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.payment_events TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.payments TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.personas TO callmeback_api USING (((owner_user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((owner_user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.phones TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.purchases TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.refunds TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.scheduled_calls TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.subscriptions TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.token_blacklist TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.transcripts TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.user_budget_settings TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.user_credits TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.user_persona_relationships TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.user_preferences TO callmeback_api USING (((user_id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((user_id)::text = current_setting('callmeback.user_id'::text, true)));

CREATE POLICY own ON public.users TO callmeback_api USING (((id)::text = current_setting('callmeback.user_id'::text, true))) WITH CHECK (((id)::text = current_setting('callmeback.user_id'::text, true)));

ALTER TABLE public.payment_authorizations ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payment_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.payments ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.personas ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.phones ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.price_versions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.proxy_answers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.proxy_state ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.purchases ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.refunds ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.scheduled_calls ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.schema_migrations ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.schema_repeatable ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sealed_days ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.service_rates ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sql_scopes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.subscription_tiers ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.subscriptions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.token_blacklist ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.transcripts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.unknown_caller_attempts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_budget_settings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_credits ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_persona_relationships ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.user_preferences ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

REVOKE USAGE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO callmeback_api;
GRANT USAGE ON SCHEMA public TO callmeback_worker;
GRANT USAGE ON SCHEMA public TO callmeback_voice;
GRANT USAGE ON SCHEMA public TO callmeback_readonly;
GRANT USAGE ON SCHEMA public TO callmeback_proxy;

REVOKE ALL ON FUNCTION public.acts_for(p_user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.add_cost_event(p_user_id text, p_call_id text, p_call_month date, p_event_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.add_late_cost(p_user_id text, p_call_id text, p_local_month date, p_cost_before numeric, p_cost_cents numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.add_occurrence(p_user_id text, p_schedule_id text, p_id text, p_occurrence timestamp with time zone, p_status text, p_outcome text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.add_occurrence(p_user_id text, p_schedule_id text, p_id text, p_occurrence timestamp with time zone, p_status text, p_outcome text) TO callmeback_api;
GRANT ALL ON FUNCTION public.add_occurrence(p_user_id text, p_schedule_id text, p_id text, p_occurrence timestamp with time zone, p_status text, p_outcome text) TO callmeback_worker;

GRANT SELECT ON TABLE public.price_versions TO callmeback_api;

GRANT SELECT(id, card, effective_from, carrier_model, listener_model, brain_model, voice_model, fallback_model, local_model, carrier_second_cents, carrier_second_per, listener_second_cents, listener_second_per, brain_input_cents, brain_input_per, brain_output_cents, brain_output_per, voice_character_cents, voice_character_per, fallback_input_cents, fallback_input_per, fallback_output_cents, fallback_output_per, local_character_cents, local_character_per, worst_case_cents_per_minute, created_at) ON TABLE public.price_versions TO callmeback_readonly;

GRANT SELECT(id, card, effective_from, carrier_model, listener_model, brain_model, voice_model, fallback_model, local_model, carrier_second_cents, carrier_second_per, listener_second_cents, listener_second_per, brain_input_cents, brain_input_per, brain_output_cents, brain_output_per, voice_character_cents, voice_character_per, fallback_input_cents, fallback_input_per, fallback_output_cents, fallback_output_per, local_character_cents, local_character_per, worst_case_cents_per_minute, created_at) ON TABLE public.price_versions TO callmeback_worker;

GRANT SELECT(id, card, effective_from, carrier_model, listener_model, brain_model, voice_model, fallback_model, local_model, carrier_second_cents, carrier_second_per, listener_second_cents, listener_second_per, brain_input_cents, brain_input_per, brain_output_cents, brain_output_per, voice_character_cents, voice_character_per, fallback_input_cents, fallback_input_per, fallback_output_cents, fallback_output_per, local_character_cents, local_character_per, worst_case_cents_per_minute, created_at) ON TABLE public.price_versions TO callmeback_voice;
REVOKE ALL ON FUNCTION public.add_price_version(p_version public.price_versions, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.add_retry(p_user_id text, p_of text, p_id text, p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.add_retry(p_user_id text, p_of text, p_id text, p_at timestamp with time zone) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.admit(p_user_id text, p_known_hash text, p_rehashed text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.admit(p_user_id text, p_known_hash text, p_rehashed text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.advance_call(p_user_id text, p_call_id text, p_status text, p_carrier_sid text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.advance_call(p_user_id text, p_call_id text, p_status text, p_carrier_sid text) TO callmeback_voice;
GRANT ALL ON FUNCTION public.advance_call(p_user_id text, p_call_id text, p_status text, p_carrier_sid text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.apply_payment_event(p_event_id text, p_type text, p_created_at timestamp with time zone, p_facts jsonb, p_payload jsonb, OUT state text, OUT effect text, OUT is_duplicate boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.apply_payment_event(p_event_id text, p_type text, p_created_at timestamp with time zone, p_facts jsonb, p_payload jsonb, OUT state text, OUT effect text, OUT is_duplicate boolean) TO callmeback_voice;
GRANT ALL ON FUNCTION public.apply_payment_event(p_event_id text, p_type text, p_created_at timestamp with time zone, p_facts jsonb, p_payload jsonb, OUT state text, OUT effect text, OUT is_duplicate boolean) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.apply_waiting(p_objects text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.begin_authorization(p_user_id text, p_authorization_id text, p_persona_id text, p_requested_seconds integer, OUT customer_id text, OUT credits integer, OUT amount_cents numeric, OUT currency text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.begin_authorization(p_user_id text, p_authorization_id text, p_persona_id text, p_requested_seconds integer, OUT customer_id text, OUT credits integer, OUT amount_cents numeric, OUT currency text) TO callmeback_api;
GRANT ALL ON FUNCTION public.begin_authorization(p_user_id text, p_authorization_id text, p_persona_id text, p_requested_seconds integer, OUT customer_id text, OUT credits integer, OUT amount_cents numeric, OUT currency text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.begin_purchase(p_user_id text, p_purchase_id text, p_sku text, p_coupon text, OUT credits integer, OUT amount_cents numeric, OUT currency text, OUT name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.begin_purchase(p_user_id text, p_purchase_id text, p_sku text, p_coupon text, OUT credits integer, OUT amount_cents numeric, OUT currency text, OUT name text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.begin_relationship(p_user_id text, p_persona_id text, p_seconds integer, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.begin_subscription(p_user_id text, p_subscription_id text, p_tier text, OUT price_cents numeric, OUT currency text, OUT lookup_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.begin_subscription(p_user_id text, p_subscription_id text, p_tier text, OUT price_cents numeric, OUT currency text, OUT lookup_key text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.calendar_feed_user(p_token_hash bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION public.calendar_feed_user(p_token_hash bytea) TO callmeback_api;

REVOKE ALL ON FUNCTION public.call_rank(p_status text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.call_rank(p_status text) TO callmeback_voice;
GRANT ALL ON FUNCTION public.call_rank(p_status text) TO callmeback_worker;
GRANT ALL ON FUNCTION public.call_rank(p_status text) TO callmeback_readonly;

REVOKE ALL ON FUNCTION public.cancel_scheduled_call(p_user_id text, p_id text, p_outcome text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.cancel_scheduled_call(p_user_id text, p_id text, p_outcome text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.carrier_event(p_user_id text, p_call_id text, p_kind text, p_event_key text, p_carrier_status text, p_carrier_sid text, p_answered_by text, p_carrier_seconds integer, OUT verdict text, OUT status text, OUT is_open boolean, OUT answered_by text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.carrier_event(p_user_id text, p_call_id text, p_kind text, p_event_key text, p_carrier_status text, p_carrier_sid text, p_answered_by text, p_carrier_seconds integer, OUT verdict text, OUT status text, OUT is_open boolean, OUT answered_by text) TO callmeback_voice;
GRANT ALL ON FUNCTION public.carrier_event(p_user_id text, p_call_id text, p_kind text, p_event_key text, p_carrier_status text, p_carrier_sid text, p_answered_by text, p_carrier_seconds integer, OUT verdict text, OUT status text, OUT is_open boolean, OUT answered_by text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.change_password(p_user_id text, p_known_hash text, p_password_hash text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.change_password(p_user_id text, p_known_hash text, p_password_hash text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.check_plan() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.check_sealed_days() FROM PUBLIC;
GRANT ALL ON FUNCTION public.check_sealed_days() TO callmeback_readonly;

REVOKE ALL ON FUNCTION public.check_session(p_user_id text, p_token_id text, p_issued_at timestamp with time zone, OUT is_valid boolean, OUT is_admin boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.check_session(p_user_id text, p_token_id text, p_issued_at timestamp with time zone, OUT is_valid boolean, OUT is_admin boolean) TO callmeback_api;

REVOKE ALL ON FUNCTION public.check_zone() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.claim_answer(p_key_id text, p_idempotency_key text, p_request_hash bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.claim_authorizations(p_limit integer, p_again_after interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_authorizations(p_limit integer, p_again_after interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_budget_notice() FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_budget_notice() TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_dials(p_carrier text, p_worker text, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_dials(p_carrier text, p_worker text, p_limit integer) TO callmeback_voice;
GRANT ALL ON FUNCTION public.claim_dials(p_carrier text, p_worker text, p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_due(p_worker text, p_limit integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_due(p_worker text, p_limit integer, p_lease interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_jobs(p_worker text, p_names text[], p_limit integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_jobs(p_worker text, p_names text[], p_limit integer, p_lease interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_reminders(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_reminders(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_schedules(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_schedules(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.claim_subscription_work(p_limit integer, p_again_after interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.claim_subscription_work(p_limit integer, p_again_after interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.close_account() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.close_stale_checkouts(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.close_stale_checkouts(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.complete_scheduled_call() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.count_attempt(p_bucket text, p_limit integer, p_window interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.count_attempt(p_bucket text, p_limit integer, p_window interval) TO callmeback_api;

REVOKE ALL ON FUNCTION public.count_reversals(p_user_id text, p_payment_id text, p_cause text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.drop_old_partitions(p_keep interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.drop_old_partitions(p_keep interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.effect_of_dispute(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_intent(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_invoice(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_invoice_payment(p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_purchase_session(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_refund(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_subscription(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.effect_of_subscription_session(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.end_authorization(p_user_id text, p_authorization_id text, p_captured_cents numeric, p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.end_authorization(p_user_id text, p_authorization_id text, p_captured_cents numeric, p_at timestamp with time zone) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.end_grace(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.end_grace(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.ensure_card(p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text, p_fallback_model text, p_local_model text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ensure_card(p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text, p_fallback_model text, p_local_model text) TO callmeback_api;
GRANT ALL ON FUNCTION public.ensure_card(p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text, p_fallback_model text, p_local_model text) TO callmeback_voice;
GRANT ALL ON FUNCTION public.ensure_card(p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text, p_fallback_model text, p_local_model text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.ensure_jobs(p_names text[], p_every interval[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.ensure_jobs(p_names text[], p_every interval[]) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.ensure_partitions() FROM PUBLIC;
GRANT ALL ON FUNCTION public.ensure_partitions() TO callmeback_worker;

REVOKE ALL ON FUNCTION public.erase_again(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.erase_again(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.erase_user(p_user_id text, p_requested_by text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.erase_user(p_user_id text, p_requested_by text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.expire_checkout(p_user_id text, p_subscription_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.expire_checkout(p_user_id text, p_subscription_id text) TO callmeback_api;
GRANT ALL ON FUNCTION public.expire_checkout(p_user_id text, p_subscription_id text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.expire_grants(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.expire_grants(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.extend_job(p_name text, p_run bigint, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.extend_job(p_name text, p_run bigint, p_lease interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.fail_purchase(p_user_id text, p_purchase_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.fail_purchase(p_user_id text, p_purchase_id text) TO callmeback_api;
GRANT ALL ON FUNCTION public.fail_purchase(p_user_id text, p_purchase_id text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.finish_call(p_user_id text, p_call_id text, p_status text, p_end_reason text, p_seq integer, p_connected_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, p_answered_by text, p_is_charged boolean, p_turn_count integer, p_interrupt_count integer, p_avg_response_time_ms integer, p_error_message text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.finish_call(p_user_id text, p_call_id text, p_status text, p_end_reason text, p_seq integer, p_connected_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, p_answered_by text, p_is_charged boolean, p_turn_count integer, p_interrupt_count integer, p_avg_response_time_ms integer, p_error_message text) TO callmeback_voice;
GRANT ALL ON FUNCTION public.finish_call(p_user_id text, p_call_id text, p_status text, p_end_reason text, p_seq integer, p_connected_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, p_answered_by text, p_is_charged boolean, p_turn_count integer, p_interrupt_count integer, p_avg_response_time_ms integer, p_error_message text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.finish_due(p_ids text[], p_user_ids text[], p_claims integer[], p_statuses text[], p_outcomes text[], p_call_ids text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.finish_due(p_ids text[], p_user_ids text[], p_claims integer[], p_statuses text[], p_outcomes text[], p_call_ids text[]) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.finish_job(p_name text, p_run bigint, p_result_count bigint, p_error text, p_again_within interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.finish_job(p_name text, p_run bigint, p_result_count bigint, p_error text, p_again_within interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.follow_rates() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.follow_subscription(p_user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.forget_attempts(p_bucket text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.forget_attempts(p_bucket text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.forget_customer(p_user_id text, p_customer_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.forget_customer(p_user_id text, p_customer_id text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.grant_credits(p_user_id text, p_grant_id text, p_credits integer, p_cause text, p_expires_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.grant_problems(p_reads text[], p_writes text[], p_calls text[], p_as_user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.grant_scope(p_scope_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.grant_scopes(p_again boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.halt_schedule(p_user_id text, p_id text, p_problem text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.halt_schedule(p_user_id text, p_id text, p_problem text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.hash_of_day(p_day date, p_before bytea, OUT ledger_rows bigint, OUT received_credits bigint, OUT taken_credits bigint, OUT batch_hash bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION public.hash_of_day(p_day date, p_before bytea, OUT ledger_rows bigint, OUT received_credits bigint, OUT taken_credits bigint, OUT batch_hash bytea) TO callmeback_readonly;

REVOKE ALL ON FUNCTION public.issue_one_time_token(p_email text, p_purpose text, p_token_hash bytea, p_valid_for interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.issue_one_time_token(p_email text, p_purpose text, p_token_hash bytea, p_valid_for interval) TO callmeback_api;

REVOKE ALL ON FUNCTION public.keep_answer(p_key_id text, p_idempotency_key text, p_answer bytea) FROM PUBLIC;

GRANT SELECT ON TABLE public.payments TO callmeback_api;

GRANT SELECT(user_id, id, kind, subscription_id, payment_intent_id, tier, description, amount_cents, reversed_cents, currency, credits, reversed_credits, period_start, period_end, paid_at, created_at) ON TABLE public.payments TO callmeback_readonly;

GRANT SELECT(user_id, id, kind, subscription_id, payment_intent_id, tier, description, amount_cents, reversed_cents, currency, credits, reversed_credits, period_start, period_end, paid_at, created_at) ON TABLE public.payments TO callmeback_worker;

GRANT SELECT(user_id, id, kind, subscription_id, payment_intent_id, tier, description, amount_cents, reversed_cents, currency, credits, reversed_credits, period_start, period_end, paid_at, created_at) ON TABLE public.payments TO callmeback_voice;
REVOKE ALL ON FUNCTION public.keep_period_credits(p_payment public.payments) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.key_functions() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.key_relations() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.learn_statement(p_key_id text, p_statement text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.learn_statement(p_key_id text, p_statement text) TO callmeback_proxy;

REVOKE ALL ON FUNCTION public.lease_stale_calls(p_limit integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.lease_stale_calls(p_limit integer, p_lease interval) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.let_go_after_all(p_user_id text, p_authorization_id text, p_payment_intent_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.limit_plans() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.lock_account(p_user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.lock_paid_call(p_user_id text, p_authorization_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.login_lookup(p_email text, OUT user_id text, OUT password_hash text, OUT is_blocked boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.login_lookup(p_email text, OUT user_id text, OUT password_hash text, OUT is_blocked boolean) TO callmeback_api;

REVOKE ALL ON FUNCTION public.make_key_view(p_schema text, p_relation oid, p_is_masked boolean, p_condition text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.make_key_views() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.meter_calls(p_user_ids text[], p_call_ids text[], p_seqs integer[], p_carrier_seconds integer[], p_listener_seconds numeric[], p_input_tokens integer[], p_output_tokens integer[], p_characters integer[], p_fallback_input_tokens integer[], p_fallback_output_tokens integer[], p_local_characters integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.meter_calls(p_user_ids text[], p_call_ids text[], p_seqs integer[], p_carrier_seconds integer[], p_listener_seconds numeric[], p_input_tokens integer[], p_output_tokens integer[], p_characters integer[], p_fallback_input_tokens integer[], p_fallback_output_tokens integer[], p_local_characters integer[]) TO callmeback_voice;

REVOKE ALL ON FUNCTION public.move_credits(p_user_id text, p_amount integer, p_type text, p_cause text, p_description text, p_payment_intent_id text, OUT moved boolean, OUT seq bigint, OUT balance_after integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.next_tokens_valid_from(p_before timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_authorization(p_user_id text, p_authorization_id text, p_payment_intent_id text, p_is_authorized boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_authorization(p_user_id text, p_authorization_id text, p_payment_intent_id text, p_is_authorized boolean) TO callmeback_api;
GRANT ALL ON FUNCTION public.note_authorization(p_user_id text, p_authorization_id text, p_payment_intent_id text, p_is_authorized boolean) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.note_budget_put_off(p_user_id text, p_month date, p_percent integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_budget_put_off(p_user_id text, p_month date, p_percent integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.note_budget_told(p_user_id text, p_month date, p_percent integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_budget_told(p_user_id text, p_month date, p_percent integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.note_cancellation(p_user_id text, p_subscription_id text, p_at_period_end boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_cancellation(p_user_id text, p_subscription_id text, p_at_period_end boolean) TO callmeback_api;

REVOKE ALL ON FUNCTION public.note_checkout(p_user_id text, p_purchase_id text, p_session_id text, p_url text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_checkout(p_user_id text, p_purchase_id text, p_session_id text, p_url text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.note_customer(p_user_id text, p_customer_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_customer(p_user_id text, p_customer_id text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.note_key_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_statement_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.note_subscription_checkout(p_user_id text, p_subscription_id text, p_session_id text, p_url text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.note_subscription_checkout(p_user_id text, p_subscription_id text, p_session_id text, p_url text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.notice_budgets(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.notice_budgets(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.objects_of(p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.outcome(p_state text, p_effect text, p_user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.payment_effect(p_type text, p_at timestamp with time zone, p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.payment_of(p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.place_due(p_ids text[], p_claims integer[], p_call_ids text[], p_local_days date[], p_card text, p_authorization_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.place_due(p_ids text[], p_claims integer[], p_call_ids text[], p_local_days date[], p_card text, p_authorization_id text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.price_of(p_quantity numeric, p_price_cents numeric, p_per integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.price_of(p_quantity numeric, p_price_cents numeric, p_per integer) TO callmeback_readonly;

REVOKE ALL ON FUNCTION public.price_whole_usage(p_version_id integer, p_carrier_seconds integer, p_listener_seconds numeric, p_input_tokens integer, p_output_tokens integer, p_characters integer, p_fallback_input_tokens integer, p_fallback_output_tokens integer, p_local_characters integer, OUT carrier_cents numeric, OUT listener_cents numeric, OUT brain_cents numeric, OUT voice_cents numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.proxy_keys() FROM PUBLIC;
GRANT ALL ON FUNCTION public.proxy_keys() TO callmeback_proxy;

REVOKE ALL ON FUNCTION public.proxy_statements(p_keys text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION public.proxy_statements(p_keys text[]) TO callmeback_proxy;

REVOKE ALL ON FUNCTION public.proxy_version() FROM PUBLIC;
GRANT ALL ON FUNCTION public.proxy_version() TO callmeback_proxy;

GRANT SELECT ON TABLE public.service_rates TO callmeback_api;

GRANT SELECT(vendor, model, unit, effective_from, price_cents, per, source, created_at) ON TABLE public.service_rates TO callmeback_readonly;

GRANT SELECT(vendor, model, unit, effective_from, price_cents, per, source, created_at) ON TABLE public.service_rates TO callmeback_worker;

GRANT SELECT(vendor, model, unit, effective_from, price_cents, per, source, created_at) ON TABLE public.service_rates TO callmeback_voice;
REVOKE ALL ON FUNCTION public.rate_in_force(p_vendor text, p_model text, p_unit text, p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.rate_in_force(p_vendor text, p_model text, p_unit text, p_at timestamp with time zone) TO callmeback_readonly;

REVOKE ALL ON FUNCTION public.receive_payment(p_payment public.payments) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.recompute_schedule(p_user_id text, p_schedule_id text, p_tzdata_version text, p_id text, p_occurrence timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.recompute_schedule(p_user_id text, p_schedule_id text, p_tzdata_version text, p_id text, p_occurrence timestamp with time zone) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.record_cost_events(p_user_ids text[], p_call_ids text[], p_event_type text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.record_cost_events(p_user_ids text[], p_call_ids text[], p_event_type text) TO callmeback_voice;

REVOKE ALL ON FUNCTION public.refresh_card(p_version public.price_versions) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.refusal_code(p_state text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.refuse_ledger_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.refuse_rate_change() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.refuse_schedule_step() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.register_user(p_user_id text, p_email text, p_password_hash text, p_name text, p_timezone text, p_phone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.register_user(p_user_id text, p_email text, p_password_hash text, p_name text, p_timezone text, p_phone text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.release_authorization(p_user_id text, p_authorization_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.release_authorization(p_user_id text, p_authorization_id text) TO callmeback_api;
GRANT ALL ON FUNCTION public.release_authorization(p_user_id text, p_authorization_id text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.remove_phone(p_user_id text, p_number text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.remove_phone(p_user_id text, p_number text) TO callmeback_api;

GRANT SELECT(id, type, created_at, received_at, state, effect, user_id, attempts, retry_at, payload, facts, waits_for) ON TABLE public.payment_events TO callmeback_readonly;

GRANT SELECT(id, type, created_at, received_at, state, effect, user_id, attempts, retry_at, payload, facts, waits_for) ON TABLE public.payment_events TO callmeback_worker;

GRANT SELECT(id, type, created_at, received_at, state, effect, user_id, attempts, retry_at, payload, facts, waits_for) ON TABLE public.payment_events TO callmeback_voice;
REVOKE ALL ON FUNCTION public.repeat_payment_event(p_event public.payment_events) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.reprice_calls(p_begins_at timestamp with time zone, p_ends_at timestamp with time zone, p_as_of timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.reprice_calls(p_begins_at timestamp with time zone, p_ends_at timestamp with time zone, p_as_of timestamp with time zone) TO callmeback_readonly;

REVOKE ALL ON FUNCTION public.request_job(p_name text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.request_job(p_name text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.request_phone_code(p_user_id text, p_number text, p_code_hash bytea, p_valid_for interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.request_phone_code(p_user_id text, p_number text, p_code_hash bytea, p_valid_for interval) TO callmeback_api;

REVOKE ALL ON FUNCTION public.request_tier(p_user_id text, p_tier text, p_key text, OUT subscription_id text, OUT stripe_subscription_id text, OUT lookup_key text, OUT price_cents numeric, OUT currency text, OUT is_upgrade boolean, OUT request_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.request_tier(p_user_id text, p_tier text, p_key text, OUT subscription_id text, OUT stripe_subscription_id text, OUT lookup_key text, OUT price_cents numeric, OUT currency text, OUT is_upgrade boolean, OUT request_key text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.require_card_in_force(p_card text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.require_self(p_user_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.require_self(p_user_id text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.rest_of_grants(p_user_id text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.retry_payment_events(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.retry_payment_events(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.revoke_all_tokens(p_user_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.revoke_all_tokens(p_user_id text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.revoke_token(p_token_id text, p_user_id text, p_expires_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION public.revoke_token(p_token_id text, p_user_id text, p_expires_at timestamp with time zone) TO callmeback_api;

REVOKE ALL ON FUNCTION public.seal_day(p_day date, p_sealed_by text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.seal_day(p_day date, p_sealed_by text) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.set_rate(p_vendor text, p_model text, p_unit text, p_price_cents numeric, p_per integer, p_effective_from timestamp with time zone, p_source text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.set_tier(p_user_id text, p_tier text) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.settle_authorization(p_user_id text, p_call_id text, p_used_credits integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.settle_due(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.settle_due(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.start_call(p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer, p_pretext text, p_scenario text, p_idempotency_key text, p_request_hash bytea, p_dial_within interval) FROM PUBLIC;
GRANT ALL ON FUNCTION public.start_call(p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer, p_pretext text, p_scenario text, p_idempotency_key text, p_request_hash bytea, p_dial_within interval) TO callmeback_api;

REVOKE ALL ON FUNCTION public.start_paid_call(p_authorization_id text, p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer, p_pretext text, p_scenario text, p_idempotency_key text, p_request_hash bytea, OUT call_id text, OUT replayed boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION public.start_paid_call(p_authorization_id text, p_call_id text, p_user_id text, p_persona_id text, p_phone_number text, p_card text, p_local_day date, p_requested_seconds integer, p_pretext text, p_scenario text, p_idempotency_key text, p_request_hash bytea, OUT call_id text, OUT replayed boolean) TO callmeback_api;

REVOKE ALL ON FUNCTION public.statement_statistics() FROM PUBLIC;

GRANT SELECT ON TABLE public.subscriptions TO callmeback_api;

GRANT SELECT(user_id, id, stripe_session_id, stripe_subscription_id, stripe_customer_id, tier, price_cents, pending_tier, pending_price_cents, pending_key, pending_since, currency, status, checkout_url, started_at, current_period_start, current_period_end, cancel_at_period_end, grace_until, suspended_at, ended_at, cancel_due_at, seen_at, look_at, created_at, updated_at) ON TABLE public.subscriptions TO callmeback_readonly;

GRANT SELECT(user_id, id, stripe_session_id, stripe_subscription_id, stripe_customer_id, tier, price_cents, pending_tier, pending_price_cents, pending_key, pending_since, currency, status, checkout_url, started_at, current_period_start, current_period_end, cancel_at_period_end, grace_until, suspended_at, ended_at, cancel_due_at, seen_at, look_at, created_at, updated_at) ON TABLE public.subscriptions TO callmeback_worker;

GRANT SELECT(user_id, id, stripe_session_id, stripe_subscription_id, stripe_customer_id, tier, price_cents, pending_tier, pending_price_cents, pending_key, pending_since, currency, status, checkout_url, started_at, current_period_start, current_period_end, cancel_at_period_end, grace_until, suspended_at, ended_at, cancel_due_at, seen_at, look_at, created_at, updated_at) ON TABLE public.subscriptions TO callmeback_voice;
REVOKE ALL ON FUNCTION public.subscription_of(p_facts jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.sweep_expired(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION public.sweep_expired(p_limit integer) TO callmeback_worker;

REVOKE ALL ON FUNCTION public.take_scope(p_role_name text, p_is_for_good boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION public.touch_updated_at() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.use_one_time_token(p_purpose text, p_token_hash bytea, p_password_hash text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.use_one_time_token(p_purpose text, p_token_hash bytea, p_password_hash text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.verify_phone(p_user_id text, p_number text, p_code_hash bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION public.verify_phone(p_user_id text, p_number text, p_code_hash bytea) TO callmeback_api;

REVOKE ALL ON FUNCTION public.withdraw_occurrences(p_user_id text, p_schedule_id text, p_outcome text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdraw_occurrences(p_user_id text, p_schedule_id text, p_outcome text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.withdraw_tier_request(p_user_id text, p_tier text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.withdraw_tier_request(p_user_id text, p_tier text) TO callmeback_api;

REVOKE ALL ON FUNCTION public.zone_or_utc(p_zone text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.zone_or_utc(p_zone text) TO callmeback_api;
GRANT ALL ON FUNCTION public.zone_or_utc(p_zone text) TO callmeback_worker;
GRANT ALL ON FUNCTION public.zone_or_utc(p_zone text) TO callmeback_voice;
GRANT ALL ON FUNCTION public.zone_or_utc(p_zone text) TO callmeback_readonly;

GRANT DELETE ON TABLE public.calendar_feeds TO callmeback_api;

GRANT SELECT(user_id, created_at) ON TABLE public.calendar_feeds TO callmeback_readonly;

GRANT SELECT(user_id, created_at) ON TABLE public.calendar_feeds TO callmeback_worker;

GRANT SELECT(user_id, created_at) ON TABLE public.calendar_feeds TO callmeback_voice;

GRANT SELECT(user_id, created_at), INSERT(user_id, token_hash), UPDATE(token_hash, created_at) ON TABLE public.calendar_feeds TO callmeback_api;
GRANT SELECT ON TABLE public.call_cost_breakdowns TO callmeback_api;

GRANT SELECT(id, call_id, user_id, meter_seq, price_version_id, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, seen_at, created_at, settled_at, hold_credits, granted_seconds, local_month, hold_cents, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, has_events) ON TABLE public.call_cost_breakdowns TO callmeback_readonly;

GRANT SELECT(id, call_id, user_id, meter_seq, price_version_id, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, seen_at, created_at, settled_at, hold_credits, granted_seconds, local_month, hold_cents, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, has_events) ON TABLE public.call_cost_breakdowns TO callmeback_worker;

GRANT SELECT(id, call_id, user_id, meter_seq, price_version_id, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, seen_at, created_at, settled_at, hold_credits, granted_seconds, local_month, hold_cents, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, has_events) ON TABLE public.call_cost_breakdowns TO callmeback_voice;
GRANT SELECT ON TABLE public.calls TO callmeback_api;

GRANT SELECT(id, user_id, persona_id, phone_number, twilio_call_sid, status, payment_method, payment_intent_id, payment_status, estimated_cost_cents, actual_cost_cents, credits_used, start_time, end_time, duration_seconds, error_message, created_at, updated_at, answered_at, hold_credits, granted_seconds, hold_cents, price_version_id, local_day, local_month, hold_open, limited_by, answered_by, end_reason, carrier_duration_seconds, turn_count, interrupt_count, avg_response_time_ms, direction, call_pretext, call_scenario, custom_instructions, voice_id) ON TABLE public.calls TO callmeback_readonly;

GRANT SELECT(id, user_id, persona_id, phone_number, twilio_call_sid, status, payment_method, payment_intent_id, payment_status, estimated_cost_cents, actual_cost_cents, credits_used, start_time, end_time, duration_seconds, error_message, created_at, updated_at, answered_at, hold_credits, granted_seconds, hold_cents, price_version_id, local_day, local_month, hold_open, limited_by, answered_by, end_reason, carrier_duration_seconds, turn_count, interrupt_count, avg_response_time_ms, direction, call_pretext, call_scenario, custom_instructions, voice_id) ON TABLE public.calls TO callmeback_worker;

GRANT SELECT(id, user_id, persona_id, phone_number, twilio_call_sid, status, payment_method, payment_intent_id, payment_status, estimated_cost_cents, actual_cost_cents, credits_used, start_time, end_time, duration_seconds, error_message, created_at, updated_at, answered_at, hold_credits, granted_seconds, hold_cents, price_version_id, local_day, local_month, hold_open, limited_by, answered_by, end_reason, carrier_duration_seconds, turn_count, interrupt_count, avg_response_time_ms, direction, call_pretext, call_scenario, custom_instructions, voice_id) ON TABLE public.calls TO callmeback_voice;

GRANT SELECT(user_id, id, payment_id, amount_cents, currency, reason, is_withdrawn, is_reinstated, credits, disputed_at, created_at, updated_at) ON TABLE public.disputes TO callmeback_readonly;

GRANT SELECT(user_id, id, payment_id, amount_cents, currency, reason, is_withdrawn, is_reinstated, credits, disputed_at, created_at, updated_at) ON TABLE public.disputes TO callmeback_worker;

GRANT SELECT(user_id, id, payment_id, amount_cents, currency, reason, is_withdrawn, is_reinstated, credits, disputed_at, created_at, updated_at) ON TABLE public.disputes TO callmeback_voice;
GRANT SELECT ON TABLE public.purchases TO callmeback_api;

GRANT SELECT(user_id, id, stripe_session_id, payment_intent_id, stripe_customer_id, sku, credits, amount_cents, discount_cents, currency, coupon, status, created_at, completed_at, updated_at, checkout_url, refused) ON TABLE public.purchases TO callmeback_readonly;

GRANT SELECT(user_id, id, stripe_session_id, payment_intent_id, stripe_customer_id, sku, credits, amount_cents, discount_cents, currency, coupon, status, created_at, completed_at, updated_at, checkout_url, refused) ON TABLE public.purchases TO callmeback_worker;

GRANT SELECT(user_id, id, stripe_session_id, payment_intent_id, stripe_customer_id, sku, credits, amount_cents, discount_cents, currency, coupon, status, created_at, completed_at, updated_at, checkout_url, refused) ON TABLE public.purchases TO callmeback_voice;

GRANT SELECT(user_id, id, payment_id, amount_cents, currency, is_succeeded, is_undone, credits, refunded_at, created_at, updated_at) ON TABLE public.refunds TO callmeback_readonly;

GRANT SELECT(user_id, id, payment_id, amount_cents, currency, is_succeeded, is_undone, credits, refunded_at, created_at, updated_at) ON TABLE public.refunds TO callmeback_worker;

GRANT SELECT(user_id, id, payment_id, amount_cents, currency, is_succeeded, is_undone, credits, refunded_at, created_at, updated_at) ON TABLE public.refunds TO callmeback_voice;

GRANT SELECT(user_id, kind, tier, flow, id, payment_id, flowed_at, currency, amount_cents) ON TABLE public.money_flows TO callmeback_readonly;

GRANT SELECT(user_id, kind, tier, flow, id, payment_id, flowed_at, currency, amount_cents) ON TABLE public.money_flows TO callmeback_worker;

GRANT SELECT(user_id, kind, tier, flow, id, payment_id, flowed_at, currency, amount_cents) ON TABLE public.money_flows TO callmeback_voice;
GRANT SELECT ON TABLE public.credit_transactions TO callmeback_api;

GRANT SELECT(id, user_id, seq, amount, balance_before, balance_after, type, cause, call_id, payment_intent_id, description, created_at) ON TABLE public.credit_transactions TO callmeback_readonly;

GRANT SELECT(id, user_id, seq, amount, balance_before, balance_after, type, cause, call_id, payment_intent_id, description, created_at) ON TABLE public.credit_transactions TO callmeback_worker;

GRANT SELECT(id, user_id, seq, amount, balance_before, balance_after, type, cause, call_id, payment_intent_id, description, created_at) ON TABLE public.credit_transactions TO callmeback_voice;
GRANT SELECT ON TABLE public.subscription_tiers TO callmeback_api;

GRANT SELECT(tier, monthly_price_cents, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, charges_credits, "position", currency, stripe_lookup_key, payg_cents_per_credit) ON TABLE public.subscription_tiers TO callmeback_readonly;

GRANT SELECT(tier, monthly_price_cents, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, charges_credits, "position", currency, stripe_lookup_key, payg_cents_per_credit) ON TABLE public.subscription_tiers TO callmeback_worker;

GRANT SELECT(tier, monthly_price_cents, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, charges_credits, "position", currency, stripe_lookup_key, payg_cents_per_credit) ON TABLE public.subscription_tiers TO callmeback_voice;
GRANT SELECT,INSERT,UPDATE ON TABLE public.user_budget_settings TO callmeback_api;

GRANT SELECT(user_id, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff, created_at, updated_at) ON TABLE public.user_budget_settings TO callmeback_readonly;

GRANT SELECT(user_id, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff, created_at, updated_at) ON TABLE public.user_budget_settings TO callmeback_worker;

GRANT SELECT(user_id, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff, created_at, updated_at) ON TABLE public.user_budget_settings TO callmeback_voice;
GRANT SELECT ON TABLE public.user_credits TO callmeback_api;

GRANT SELECT(user_id, available_credits, held_credits, debt_credits, calls_in_day, calls_day, spend_month, ledger_seq, spent_in_month_cents, subscription_tier, subscription_status, subscription_stripe_id, subscription_start_date, subscription_end_date, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, is_closed, created_at, updated_at) ON TABLE public.user_credits TO callmeback_readonly;

GRANT SELECT(user_id, available_credits, held_credits, debt_credits, calls_in_day, calls_day, spend_month, ledger_seq, spent_in_month_cents, subscription_tier, subscription_status, subscription_stripe_id, subscription_start_date, subscription_end_date, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, is_closed, created_at, updated_at) ON TABLE public.user_credits TO callmeback_worker;

GRANT SELECT(user_id, available_credits, held_credits, debt_credits, calls_in_day, calls_day, spend_month, ledger_seq, spent_in_month_cents, subscription_tier, subscription_status, subscription_stripe_id, subscription_start_date, subscription_end_date, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, is_closed, created_at, updated_at) ON TABLE public.user_credits TO callmeback_voice;
GRANT SELECT ON TABLE public.personas TO callmeback_api;

GRANT SELECT(id, owner_user_id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category, llm_model, max_tokens, temperature, max_call_duration_seconds, phone_number, is_active, is_system_persona, created_at, updated_at) ON TABLE public.personas TO callmeback_readonly;

GRANT SELECT(id, owner_user_id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category, llm_model, max_tokens, temperature, max_call_duration_seconds, phone_number, is_active, is_system_persona, created_at, updated_at) ON TABLE public.personas TO callmeback_worker;

GRANT SELECT(id, owner_user_id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category, llm_model, max_tokens, temperature, max_call_duration_seconds, phone_number, is_active, is_system_persona, created_at, updated_at) ON TABLE public.personas TO callmeback_voice;

GRANT INSERT(id, owner_user_id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category, max_tokens, temperature, max_call_duration_seconds), UPDATE(name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category, max_tokens, temperature, max_call_duration_seconds, is_active) ON TABLE public.personas TO callmeback_api;
GRANT SELECT ON TABLE public.user_persona_relationships TO callmeback_api;

GRANT SELECT(id, user_id, persona_id, relationship_type, custom_system_prompt, voice_id, voice_settings, total_calls, total_duration_seconds, last_call_at, is_favorite, is_archived, created_at, updated_at) ON TABLE public.user_persona_relationships TO callmeback_readonly;

GRANT SELECT(id, user_id, persona_id, relationship_type, custom_system_prompt, voice_id, voice_settings, total_calls, total_duration_seconds, last_call_at, is_favorite, is_archived, created_at, updated_at) ON TABLE public.user_persona_relationships TO callmeback_worker;

GRANT SELECT(id, user_id, persona_id, relationship_type, custom_system_prompt, voice_id, voice_settings, total_calls, total_duration_seconds, last_call_at, is_favorite, is_archived, created_at, updated_at) ON TABLE public.user_persona_relationships TO callmeback_voice;

GRANT INSERT(id, user_id, persona_id, relationship_type, custom_system_prompt, voice_id, voice_settings, is_favorite, is_archived), UPDATE(relationship_type, custom_system_prompt, voice_id, voice_settings, is_favorite, is_archived, updated_at) ON TABLE public.user_persona_relationships TO callmeback_api;

GRANT SELECT(id, email, name, phone, stripe_customer_id, timezone, locale, email_verified_at, terms_accepted_at, tokens_valid_from, blocked_at, erased_at, last_login_at, created_at, updated_at) ON TABLE public.users TO callmeback_readonly;

GRANT SELECT(id, email, name, phone, stripe_customer_id, timezone, locale, email_verified_at, terms_accepted_at, tokens_valid_from, blocked_at, erased_at, last_login_at, created_at, updated_at) ON TABLE public.users TO callmeback_worker;

GRANT SELECT(id, email, name, phone, stripe_customer_id, timezone, locale, email_verified_at, terms_accepted_at, tokens_valid_from, blocked_at, erased_at, last_login_at, created_at, updated_at) ON TABLE public.users TO callmeback_voice;

GRANT SELECT(id, email, name, phone, stripe_customer_id, timezone, locale, email_verified_at, terms_accepted_at, tokens_valid_from, blocked_at, erased_at, last_login_at, created_at, updated_at), UPDATE(name, timezone, locale, terms_accepted_at) ON TABLE public.users TO callmeback_api;

GRANT SELECT(user_id, call_id, created_at, dial_before, dial_claimed_at, dial_claimed_by, reaper_leased_until) ON TABLE public.open_calls TO callmeback_readonly;

GRANT SELECT(user_id, call_id, created_at, dial_before, dial_claimed_at, dial_claimed_by, reaper_leased_until) ON TABLE public.open_calls TO callmeback_worker;

GRANT SELECT(user_id, call_id, created_at, dial_before, dial_claimed_at, dial_claimed_by, reaper_leased_until) ON TABLE public.open_calls TO callmeback_voice;

GRANT SELECT(user_id, call_id) ON TABLE public.open_calls TO callmeback_api;
GRANT SELECT ON TABLE public.effective_limits TO callmeback_api;

GRANT SELECT(user_id, subscription_tier, charges_credits, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff) ON TABLE public.effective_limits TO callmeback_readonly;

GRANT SELECT(user_id, subscription_tier, charges_credits, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff) ON TABLE public.effective_limits TO callmeback_worker;

GRANT SELECT(user_id, subscription_tier, charges_credits, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff) ON TABLE public.effective_limits TO callmeback_voice;

GRANT SELECT(user_id, purpose, expires_at, used_at, created_at) ON TABLE public.one_time_tokens TO callmeback_readonly;

GRANT SELECT(user_id, purpose, expires_at, used_at, created_at) ON TABLE public.one_time_tokens TO callmeback_worker;

GRANT SELECT(user_id, purpose, expires_at, used_at, created_at) ON TABLE public.one_time_tokens TO callmeback_voice;
GRANT SELECT ON TABLE public.payment_authorizations TO callmeback_api;

GRANT SELECT(user_id, id, call_id, payment_intent_id, stripe_customer_id, credits, cents_per_credit, authorized_cents, capture_cents, captured_cents, used_credits, currency, state, attempts, retry_at, created_at, updated_at) ON TABLE public.payment_authorizations TO callmeback_readonly;

GRANT SELECT(user_id, id, call_id, payment_intent_id, stripe_customer_id, credits, cents_per_credit, authorized_cents, capture_cents, captured_cents, used_credits, currency, state, attempts, retry_at, created_at, updated_at) ON TABLE public.payment_authorizations TO callmeback_worker;

GRANT SELECT(user_id, id, call_id, payment_intent_id, stripe_customer_id, credits, cents_per_credit, authorized_cents, capture_cents, captured_cents, used_credits, currency, state, attempts, retry_at, created_at, updated_at) ON TABLE public.payment_authorizations TO callmeback_voice;

GRANT SELECT(user_id, cents_per_credit) ON TABLE public.credit_prices TO callmeback_readonly;

GRANT SELECT(user_id, cents_per_credit) ON TABLE public.credit_prices TO callmeback_worker;

GRANT SELECT(user_id, cents_per_credit) ON TABLE public.credit_prices TO callmeback_voice;

GRANT SELECT(user_id, call_id, kept_cents) ON TABLE public.paid_calls TO callmeback_readonly;

GRANT SELECT(user_id, call_id, kept_cents) ON TABLE public.paid_calls TO callmeback_worker;

GRANT SELECT(user_id, call_id, kept_cents) ON TABLE public.paid_calls TO callmeback_voice;

GRANT SELECT(user_id, number, verified_at, code_expires_at, code_attempts, created_at) ON TABLE public.phones TO callmeback_readonly;

GRANT SELECT(user_id, number, verified_at, code_expires_at, code_attempts, created_at) ON TABLE public.phones TO callmeback_worker;

GRANT SELECT(user_id, number, verified_at, code_expires_at, code_attempts, created_at) ON TABLE public.phones TO callmeback_voice;

GRANT SELECT(user_id, number, verified_at, created_at) ON TABLE public.phones TO callmeback_api;

GRANT SELECT(number, reason, created_at) ON TABLE public.blocked_numbers TO callmeback_readonly;

GRANT SELECT(number, reason, created_at) ON TABLE public.blocked_numbers TO callmeback_worker;

GRANT SELECT(number, reason, created_at) ON TABLE public.blocked_numbers TO callmeback_voice;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.call_scenario_templates TO callmeback_api;

GRANT SELECT(id, user_id, name, scenario_text, icon, use_count, last_used_at, created_at, updated_at) ON TABLE public.call_scenario_templates TO callmeback_readonly;

GRANT SELECT(id, user_id, name, scenario_text, icon, use_count, last_used_at, created_at, updated_at) ON TABLE public.call_scenario_templates TO callmeback_worker;

GRANT SELECT(id, user_id, name, scenario_text, icon, use_count, last_used_at, created_at, updated_at) ON TABLE public.call_scenario_templates TO callmeback_voice;
GRANT SELECT ON TABLE public.call_schedules TO callmeback_api;

GRANT SELECT(user_id, id, persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count, paused_at, call_pretext, created_at, updated_at, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, follows_user_zone, materialised_until, problem) ON TABLE public.call_schedules TO callmeback_readonly;

GRANT SELECT(user_id, id, persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count, paused_at, call_pretext, created_at, updated_at, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, follows_user_zone, materialised_until, problem) ON TABLE public.call_schedules TO callmeback_worker;

GRANT SELECT(user_id, id, persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count, paused_at, call_pretext, created_at, updated_at, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, follows_user_zone, materialised_until, problem) ON TABLE public.call_schedules TO callmeback_voice;

GRANT INSERT(user_id, id, persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count, paused_at, call_pretext, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, follows_user_zone, materialised_until), UPDATE(persona_id, phone_number, rrule, starts_at_local, timezone, tzdata_version, ends_at, remaining_count, paused_at, call_pretext, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, follows_user_zone, materialised_until, problem) ON TABLE public.call_schedules TO callmeback_api;

GRANT SELECT(user_id, key, request_hash, state, resource_id, answer, created_at) ON TABLE public.idempotency_keys TO callmeback_readonly;

GRANT SELECT(user_id, key, request_hash, state, resource_id, answer, created_at) ON TABLE public.idempotency_keys TO callmeback_worker;

GRANT SELECT(user_id, key, request_hash, state, resource_id, answer, created_at) ON TABLE public.idempotency_keys TO callmeback_voice;
GRANT SELECT ON TABLE public.scheduled_calls TO callmeback_api;

GRANT SELECT(id, user_id, persona_id, phone_number, scheduled_time, status, executed_at, call_id, schedule_id, occurrence, latest_start_at, claimed_by, lease_until, outcome, call_pretext, created_at, updated_at, claims, attempt, retry_of, promised_at, call_scenario, requested_seconds, remind_at, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, timezone) ON TABLE public.scheduled_calls TO callmeback_readonly;

GRANT SELECT(id, user_id, persona_id, phone_number, scheduled_time, status, executed_at, call_id, schedule_id, occurrence, latest_start_at, claimed_by, lease_until, outcome, call_pretext, created_at, updated_at, claims, attempt, retry_of, promised_at, call_scenario, requested_seconds, remind_at, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, timezone) ON TABLE public.scheduled_calls TO callmeback_worker;

GRANT SELECT(id, user_id, persona_id, phone_number, scheduled_time, status, executed_at, call_id, schedule_id, occurrence, latest_start_at, claimed_by, lease_until, outcome, call_pretext, created_at, updated_at, claims, attempt, retry_of, promised_at, call_scenario, requested_seconds, remind_at, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, timezone) ON TABLE public.scheduled_calls TO callmeback_voice;

GRANT INSERT(id, user_id, persona_id, phone_number, scheduled_time, latest_start_at, call_pretext, call_scenario, requested_seconds, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, timezone), UPDATE(persona_id, phone_number, scheduled_time, latest_start_at, call_pretext, call_scenario, requested_seconds, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until, timezone) ON TABLE public.scheduled_calls TO callmeback_api;
GRANT SELECT ON TABLE public.transcripts TO callmeback_api;
GRANT INSERT ON TABLE public.transcripts TO callmeback_voice;

GRANT SELECT(user_id, call_id, seq, speaker, text, at) ON TABLE public.transcripts TO callmeback_readonly;

GRANT SELECT(user_id, call_id, seq, speaker, text, at) ON TABLE public.transcripts TO callmeback_worker;

GRANT SELECT(user_id, call_id, seq, speaker, text, at) ON TABLE public.transcripts TO callmeback_voice;

GRANT SELECT(phone_number, persona_id, first_call_at, last_call_at, attempts, converted_user_id, blocked_at, notes) ON TABLE public.unknown_caller_attempts TO callmeback_readonly;

GRANT SELECT(phone_number, persona_id, first_call_at, last_call_at, attempts, converted_user_id, blocked_at, notes) ON TABLE public.unknown_caller_attempts TO callmeback_worker;

GRANT SELECT(phone_number, persona_id, first_call_at, last_call_at, attempts, converted_user_id, blocked_at, notes) ON TABLE public.unknown_caller_attempts TO callmeback_voice;
GRANT SELECT,INSERT,UPDATE ON TABLE public.user_preferences TO callmeback_api;

GRANT SELECT(user_id, email_notifications, sms_notifications, call_reminder_minutes, voicemail_policy, memory_enabled, memory, created_at, updated_at, pay_as_you_go) ON TABLE public.user_preferences TO callmeback_readonly;

GRANT SELECT(user_id, email_notifications, sms_notifications, call_reminder_minutes, voicemail_policy, memory_enabled, memory, created_at, updated_at, pay_as_you_go) ON TABLE public.user_preferences TO callmeback_worker;

GRANT SELECT(user_id, email_notifications, sms_notifications, call_reminder_minutes, voicemail_policy, memory_enabled, memory, created_at, updated_at, pay_as_you_go) ON TABLE public.user_preferences TO callmeback_voice;
GRANT SELECT ON TABLE public.admin_users TO callmeback_api;

GRANT SELECT(user_id, role, granted_by, granted_at) ON TABLE public.admin_users TO callmeback_readonly;

GRANT SELECT(user_id, role, granted_by, granted_at) ON TABLE public.admin_users TO callmeback_worker;

GRANT SELECT(user_id, role, granted_by, granted_at) ON TABLE public.admin_users TO callmeback_voice;

GRANT SELECT(id, name, scope_id, mode, other_secret_until, expires_at, cidrs, rate_per_second, concurrency, learning_until, revoked_at, version, created_by, created_at) ON TABLE public.api_keys TO callmeback_readonly;

GRANT SELECT(id, name, scope_id, mode, other_secret_until, expires_at, cidrs, rate_per_second, concurrency, learning_until, revoked_at, version, created_by, created_at) ON TABLE public.api_keys TO callmeback_worker;

GRANT SELECT(id, name, scope_id, mode, other_secret_until, expires_at, cidrs, rate_per_second, concurrency, learning_until, revoked_at, version, created_by, created_at) ON TABLE public.api_keys TO callmeback_voice;

GRANT SELECT(id, kind, state, started_at, finished_at, database_bytes, stored_bytes, parent_id, is_mirrored, detail) ON TABLE public.backups TO callmeback_readonly;

GRANT SELECT(id, kind, state, started_at, finished_at, database_bytes, stored_bytes, parent_id, is_mirrored, detail) ON TABLE public.backups TO callmeback_worker;

GRANT SELECT(id, kind, state, started_at, finished_at, database_bytes, stored_bytes, parent_id, is_mirrored, detail) ON TABLE public.backups TO callmeback_voice;
GRANT SELECT ON TABLE public.budget_notices TO callmeback_api;

GRANT SELECT(user_id, month, percent, noticed_at, told_at, put_off_count, put_off_since, given_up_at, claimed_until) ON TABLE public.budget_notices TO callmeback_readonly;

GRANT SELECT(user_id, month, percent, noticed_at, told_at, put_off_count, put_off_since, given_up_at, claimed_until) ON TABLE public.budget_notices TO callmeback_worker;

GRANT SELECT(user_id, month, percent, noticed_at, told_at, put_off_count, put_off_since, given_up_at, claimed_until) ON TABLE public.budget_notices TO callmeback_voice;
GRANT SELECT ON TABLE public.call_cost_events TO callmeback_api;

GRANT SELECT(call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, created_at, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, metadata) ON TABLE public.call_cost_events TO callmeback_readonly;

GRANT SELECT(call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, created_at, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, metadata) ON TABLE public.call_cost_events TO callmeback_worker;

GRANT SELECT(call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, created_at, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, metadata) ON TABLE public.call_cost_events TO callmeback_voice;

GRANT SELECT(call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, created_at, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, metadata) ON TABLE public.call_cost_events_default TO callmeback_readonly;

GRANT SELECT(call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, created_at, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, metadata) ON TABLE public.call_cost_events_default TO callmeback_worker;

GRANT SELECT(call_month, user_id, call_id, seq, event_type, twilio_duration_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, fallback_input_tokens, fallback_output_tokens, local_characters, created_at, deepgram_audio_seconds, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents, metadata) ON TABLE public.call_cost_events_default TO callmeback_voice;
GRANT SELECT ON TABLE public.call_logs TO callmeback_api;

GRANT SELECT(id, user_id, persona_id, twilio_call_sid, phone_number, duration_seconds, status, error_message, cost_stt, cost_llm, cost_tts, cost_twilio, cost_total, turn_count, interrupt_count, avg_response_time_ms, started_at, ended_at, created_at) ON TABLE public.call_logs TO callmeback_readonly;

GRANT SELECT(id, user_id, persona_id, twilio_call_sid, phone_number, duration_seconds, status, error_message, cost_stt, cost_llm, cost_tts, cost_twilio, cost_total, turn_count, interrupt_count, avg_response_time_ms, started_at, ended_at, created_at) ON TABLE public.call_logs TO callmeback_worker;

GRANT SELECT(id, user_id, persona_id, twilio_call_sid, phone_number, duration_seconds, status, error_message, cost_stt, cost_llm, cost_tts, cost_twilio, cost_total, turn_count, interrupt_count, avg_response_time_ms, started_at, ended_at, created_at) ON TABLE public.call_logs TO callmeback_voice;

GRANT SELECT(is_only, card, since) ON TABLE public.card_in_force TO callmeback_readonly;

GRANT SELECT(is_only, card, since) ON TABLE public.card_in_force TO callmeback_worker;

GRANT SELECT(is_only, card, since) ON TABLE public.card_in_force TO callmeback_voice;

GRANT SELECT(user_id, call_id, kind, event_key, carrier_status, answered_by, verdict, reason, received_at) ON TABLE public.carrier_events TO callmeback_readonly;

GRANT SELECT(user_id, call_id, kind, event_key, carrier_status, answered_by, verdict, reason, received_at) ON TABLE public.carrier_events TO callmeback_worker;

GRANT SELECT(user_id, call_id, kind, event_key, carrier_status, answered_by, verdict, reason, received_at) ON TABLE public.carrier_events TO callmeback_voice;

GRANT SELECT(day, marked_at, marker) ON TABLE public.closing_days TO callmeback_readonly;

GRANT SELECT(day, marked_at, marker) ON TABLE public.closing_days TO callmeback_worker;

GRANT SELECT(day, marked_at, marker) ON TABLE public.closing_days TO callmeback_voice;

GRANT SELECT(code, percent_off, amount_off_cents, currency, max_redemptions, redemptions, expires_at, created_at) ON TABLE public.coupons TO callmeback_readonly;

GRANT SELECT(code, percent_off, amount_off_cents, currency, max_redemptions, redemptions, expires_at, created_at) ON TABLE public.coupons TO callmeback_worker;

GRANT SELECT(code, percent_off, amount_off_cents, currency, max_redemptions, redemptions, expires_at, created_at) ON TABLE public.coupons TO callmeback_voice;
GRANT SELECT ON TABLE public.credit_grants TO callmeback_api;

GRANT SELECT(user_id, id, credits, cause, granted_seq, granted_at, expires_at, expired_at) ON TABLE public.credit_grants TO callmeback_readonly;

GRANT SELECT(user_id, id, credits, cause, granted_seq, granted_at, expires_at, expired_at) ON TABLE public.credit_grants TO callmeback_worker;

GRANT SELECT(user_id, id, credits, cause, granted_seq, granted_at, expires_at, expired_at) ON TABLE public.credit_grants TO callmeback_voice;
GRANT SELECT ON TABLE public.credit_packs TO callmeback_api;

GRANT SELECT(sku, name, credits, price_cents, currency, "position", is_active) ON TABLE public.credit_packs TO callmeback_readonly;

GRANT SELECT(sku, name, credits, price_cents, currency, "position", is_active) ON TABLE public.credit_packs TO callmeback_worker;

GRANT SELECT(sku, name, credits, price_cents, currency, "position", is_active) ON TABLE public.credit_packs TO callmeback_voice;

GRANT SELECT(day, calls, revenue_cents, cost_cents, margin_cents) ON TABLE public.daily_margin TO callmeback_readonly;

GRANT SELECT(day, calls, revenue_cents, cost_cents, margin_cents) ON TABLE public.daily_margin TO callmeback_worker;

GRANT SELECT(day, calls, revenue_cents, cost_cents, margin_cents) ON TABLE public.daily_margin TO callmeback_voice;

GRANT SELECT(carrier, calls_per_second, burst, tokens, refilled_at) ON TABLE public.dial_buckets TO callmeback_readonly;

GRANT SELECT(carrier, calls_per_second, burst, tokens, refilled_at) ON TABLE public.dial_buckets TO callmeback_worker;

GRANT SELECT(carrier, calls_per_second, burst, tokens, refilled_at) ON TABLE public.dial_buckets TO callmeback_voice;

GRANT SELECT(user_id, seq, created_at, account, credits) ON TABLE public.double_entry TO callmeback_readonly;

GRANT SELECT(user_id, seq, created_at, account, credits) ON TABLE public.double_entry TO callmeback_worker;

GRANT SELECT(user_id, seq, created_at, account, credits) ON TABLE public.double_entry TO callmeback_voice;
GRANT SELECT ON TABLE public.effective_voices TO callmeback_api;

GRANT SELECT(user_id, persona_id, voice_id, voice_settings) ON TABLE public.effective_voices TO callmeback_readonly;

GRANT SELECT(user_id, persona_id, voice_id, voice_settings) ON TABLE public.effective_voices TO callmeback_worker;

GRANT SELECT(user_id, persona_id, voice_id, voice_settings) ON TABLE public.effective_voices TO callmeback_voice;

GRANT SELECT(user_id, requested_by, erased_at, swept_at) ON TABLE public.erasures TO callmeback_readonly;

GRANT SELECT(user_id, requested_by, erased_at, swept_at) ON TABLE public.erasures TO callmeback_worker;

GRANT SELECT(user_id, requested_by, erased_at, swept_at) ON TABLE public.erasures TO callmeback_voice;

GRANT SELECT(name, every, next_run_at, claimed_by, lease_until, runs, failures, last_started_at, last_finished_at, last_duration_ms, last_result_count, last_error, created_at) ON TABLE public.jobs TO callmeback_readonly;

GRANT SELECT(name, every, next_run_at, claimed_by, lease_until, runs, failures, last_started_at, last_finished_at, last_duration_ms, last_result_count, last_error, created_at) ON TABLE public.jobs TO callmeback_worker;

GRANT SELECT(name, every, next_run_at, claimed_by, lease_until, runs, failures, last_started_at, last_finished_at, last_duration_ms, last_result_count, last_error, created_at) ON TABLE public.jobs TO callmeback_voice;

GRANT SELECT(user_id, balance, ledger_sum, ledger_seq, ledger_rows, newest_balance, held_credits, hold_sum, is_proved) ON TABLE public.ledger_proof TO callmeback_readonly;

GRANT SELECT(user_id, balance, ledger_sum, ledger_seq, ledger_rows, newest_balance, held_credits, hold_sum, is_proved) ON TABLE public.ledger_proof TO callmeback_worker;

GRANT SELECT(user_id, balance, ledger_sum, ledger_seq, ledger_rows, newest_balance, held_credits, hold_sum, is_proved) ON TABLE public.ledger_proof TO callmeback_voice;

GRANT SELECT(bucket, window_started_at, attempts, expires_at) ON TABLE public.login_attempts TO callmeback_readonly;

GRANT SELECT(bucket, window_started_at, attempts, expires_at) ON TABLE public.login_attempts TO callmeback_worker;

GRANT SELECT(bucket, window_started_at, attempts, expires_at) ON TABLE public.login_attempts TO callmeback_voice;
GRANT SELECT ON TABLE public.month_forecast TO callmeback_api;

GRANT SELECT(user_id, month, elapsed_days, month_days, spent_cents, forecast_cents, limit_cents) ON TABLE public.month_forecast TO callmeback_readonly;

GRANT SELECT(user_id, month, elapsed_days, month_days, spent_cents, forecast_cents, limit_cents) ON TABLE public.month_forecast TO callmeback_worker;

GRANT SELECT(user_id, month, elapsed_days, month_days, spent_cents, forecast_cents, limit_cents) ON TABLE public.month_forecast TO callmeback_voice;
GRANT SELECT ON TABLE public.monthly_spend TO callmeback_api;

GRANT SELECT(user_id, month, spend_cents, calls, avg_duration_seconds) ON TABLE public.monthly_spend TO callmeback_readonly;

GRANT SELECT(user_id, month, spend_cents, calls, avg_duration_seconds) ON TABLE public.monthly_spend TO callmeback_worker;

GRANT SELECT(user_id, month, spend_cents, calls, avg_duration_seconds) ON TABLE public.monthly_spend TO callmeback_voice;

GRANT SELECT(key_id, id, kind, statement, text_hash, parameter_types, created_at) ON TABLE public.named_statements TO callmeback_readonly;

GRANT SELECT(key_id, id, kind, statement, text_hash, parameter_types, created_at) ON TABLE public.named_statements TO callmeback_worker;

GRANT SELECT(key_id, id, kind, statement, text_hash, parameter_types, created_at) ON TABLE public.named_statements TO callmeback_voice;

GRANT SELECT(day, persona_id, calls, credits, cost_cents, revenue_cents, margin_cents) ON TABLE public.persona_margin TO callmeback_readonly;

GRANT SELECT(day, persona_id, calls, credits, cost_cents, revenue_cents, margin_cents) ON TABLE public.persona_margin TO callmeback_worker;

GRANT SELECT(day, persona_id, calls, credits, cost_cents, revenue_cents, margin_cents) ON TABLE public.persona_margin TO callmeback_voice;

GRANT SELECT(key_id, idempotency_key, request_hash, answer, created_at) ON TABLE public.proxy_answers TO callmeback_readonly;

GRANT SELECT(key_id, idempotency_key, request_hash, answer, created_at) ON TABLE public.proxy_answers TO callmeback_worker;

GRANT SELECT(key_id, idempotency_key, request_hash, answer, created_at) ON TABLE public.proxy_answers TO callmeback_voice;

GRANT SELECT(is_only, version) ON TABLE public.proxy_state TO callmeback_readonly;

GRANT SELECT(is_only, version) ON TABLE public.proxy_state TO callmeback_worker;

GRANT SELECT(is_only, version) ON TABLE public.proxy_state TO callmeback_voice;
GRANT SELECT ON TABLE public.receipts TO callmeback_api;

GRANT SELECT(user_id, id, kind, description, tier, amount_cents, reversed_cents, currency, credits, reversed_credits, discount_cents, coupon, period_start, period_end, paid_at) ON TABLE public.receipts TO callmeback_readonly;

GRANT SELECT(user_id, id, kind, description, tier, amount_cents, reversed_cents, currency, credits, reversed_credits, discount_cents, coupon, period_start, period_end, paid_at) ON TABLE public.receipts TO callmeback_worker;

GRANT SELECT(user_id, id, kind, description, tier, amount_cents, reversed_cents, currency, credits, reversed_credits, discount_cents, coupon, period_start, period_end, paid_at) ON TABLE public.receipts TO callmeback_voice;

GRANT SELECT(version, name, checksum, applied_at, execution_ms, state) ON TABLE public.schema_migrations TO callmeback_readonly;

GRANT SELECT(version, name, checksum, applied_at, execution_ms, state) ON TABLE public.schema_migrations TO callmeback_worker;

GRANT SELECT(version, name, checksum, applied_at, execution_ms, state) ON TABLE public.schema_migrations TO callmeback_voice;

GRANT SELECT(file, checksum, applied_at) ON TABLE public.schema_repeatable TO callmeback_readonly;

GRANT SELECT(file, checksum, applied_at) ON TABLE public.schema_repeatable TO callmeback_worker;

GRANT SELECT(file, checksum, applied_at) ON TABLE public.schema_repeatable TO callmeback_voice;

GRANT SELECT(day, ledger_rows, received_credits, taken_credits, batch_hash, sealed_at, sealed_by) ON TABLE public.sealed_days TO callmeback_readonly;

GRANT SELECT(day, ledger_rows, received_credits, taken_credits, batch_hash, sealed_at, sealed_by) ON TABLE public.sealed_days TO callmeback_worker;

GRANT SELECT(day, ledger_rows, received_credits, taken_credits, batch_hash, sealed_at, sealed_by) ON TABLE public.sealed_days TO callmeback_voice;

GRANT SELECT(id, role_name, pii, as_user_id, reads, writes, calls, created_at) ON TABLE public.sql_scopes TO callmeback_readonly;

GRANT SELECT(id, role_name, pii, as_user_id, reads, writes, calls, created_at) ON TABLE public.sql_scopes TO callmeback_worker;

GRANT SELECT(id, role_name, pii, as_user_id, reads, writes, calls, created_at) ON TABLE public.sql_scopes TO callmeback_voice;

GRANT SELECT(day, tier, calls, revenue_cents, cost_cents, margin_cents) ON TABLE public.tier_margin TO callmeback_readonly;

GRANT SELECT(day, tier, calls, revenue_cents, cost_cents, margin_cents) ON TABLE public.tier_margin TO callmeback_worker;

GRANT SELECT(day, tier, calls, revenue_cents, cost_cents, margin_cents) ON TABLE public.tier_margin TO callmeback_voice;

GRANT SELECT(token_id, user_id, expires_at, created_at) ON TABLE public.token_blacklist TO callmeback_readonly;

GRANT SELECT(token_id, user_id, expires_at, created_at) ON TABLE public.token_blacklist TO callmeback_worker;

GRANT SELECT(token_id, user_id, expires_at, created_at) ON TABLE public.token_blacklist TO callmeback_voice;
ALTER DEFAULT PRIVILEGES FOR ROLE callmeback_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;

--
-- PostgreSQL database dump complete
--

\unrestrict callmeback
