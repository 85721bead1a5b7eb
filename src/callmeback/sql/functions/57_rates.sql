-- What vendors charge: followed by new rates, never changed; and what calls would have cost at other ones.

CREATE OR REPLACE FUNCTION set_rate(
    p_vendor text,
    p_model text,
    p_unit text,
    p_price_cents numeric,
    p_per integer,
    p_effective_from timestamptz,
    p_source text
)
RETURNS timestamptz
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v_from timestamptz := coalesce(p_effective_from, clock_timestamp());
BEGIN
    INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source)
    VALUES (p_vendor, p_model, p_unit, v_from, p_price_cents, p_per, p_source);
    RETURN v_from;
END
$$;
COMMENT ON FUNCTION set_rate(text, text, text, numeric, integer, timestamptz, text) IS
'A rate from now or from a time to come on; a NULL price ends the one before. Every card follows in the same commit.';

CREATE OR REPLACE FUNCTION refuse_rate_change()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.effective_from >= now() THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a rate is never changed, nor set for the past: calls were priced by it' USING ERRCODE = 'CM040';
END
$$;
COMMENT ON FUNCTION refuse_rate_change() IS 'The past keeps its prices: rates are only followed, from now on.';

CREATE OR REPLACE FUNCTION price_of(p_quantity numeric, p_price_cents numeric, p_per integer)
RETURNS numeric
LANGUAGE plpgsql
IMMUTABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN p_quantity = 0 THEN 0 ELSE round(p_quantity * p_price_cents / p_per, 10) END;
END
$$;
COMMENT ON FUNCTION price_of(numeric, numeric, integer) IS
'Exact cents of a quantity as calls are priced, rounded once; NULL, never zero, where something was used and has no rate.';

CREATE OR REPLACE FUNCTION reprice_calls(p_begins_at timestamptz, p_ends_at timestamptz, p_as_of timestamptz)
RETURNS TABLE (day date, vendor text, calls bigint, unpriced_calls bigint, booked_cents numeric, repriced_cents numeric)
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
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
COMMENT ON FUNCTION reprice_calls(timestamptz, timestamptz, timestamptz) IS
'What calls of a period cost, and would have cost at the rates of another time (NULL: of their own); by UTC day and vendor. Changes nothing; a group with a call that has no rate has no sum.';
