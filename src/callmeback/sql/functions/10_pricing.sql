-- Rates become price versions; a version prices a call's cumulative quantities.

CREATE OR REPLACE FUNCTION rate_in_force(p_vendor text, p_model text, p_unit text, p_at timestamptz)
RETURNS service_rates
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
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
COMMENT ON FUNCTION rate_in_force(text, text, text, timestamptz) IS
'The rate of one vendor, model and unit at a time; all NULL where there is none.';

CREATE OR REPLACE FUNCTION add_price_version(p_version price_versions, p_at timestamptz)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
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
COMMENT ON FUNCTION add_price_version(price_versions, timestamptz) IS
'Writes the version of a card from a time on, unless the rates are those of the version before it.';

CREATE OR REPLACE FUNCTION refresh_card(p_version price_versions)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
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
COMMENT ON FUNCTION refresh_card(price_versions) IS 'Brings the versions of one card up to date with the rates.';

CREATE OR REPLACE FUNCTION ensure_card(
    p_card text, p_carrier_model text, p_listener_model text, p_brain_model text, p_voice_model text,
    p_fallback_model text, p_local_model text
)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
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
COMMENT ON FUNCTION ensure_card(text, text, text, text, text, text, text) IS
'Makes a set of models known, and the one in force; false where a rate is missing, and then its calls are refused.';

CREATE OR REPLACE FUNCTION require_card_in_force(p_card text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM card_in_force AS f WHERE f.card = p_card) THEN
        RAISE EXCEPTION '% is not what the house calls with', p_card USING ERRCODE = 'CM009';
    END IF;
END
$$;
COMMENT ON FUNCTION require_card_in_force(text) IS
'Refuses a price card other than the house''s own: a cheaper one of another time would hold, and count, too little.';

CREATE OR REPLACE FUNCTION follow_rates()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
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
COMMENT ON FUNCTION follow_rates() IS 'A new rate reaches every card in the same commit.';
