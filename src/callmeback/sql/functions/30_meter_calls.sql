-- What live calls use, priced while it happens. Cumulative, so a lost or repeated batch changes nothing.

CREATE OR REPLACE FUNCTION meter_calls(
    p_user_ids text[],
    p_call_ids text[],
    p_seqs integer[],
    p_carrier_seconds integer[],
    p_listener_seconds numeric[],
    p_input_tokens integer[],
    p_output_tokens integer[],
    p_characters integer[],
    p_fallback_input_tokens integer[],
    p_fallback_output_tokens integer[],
    p_local_characters integer[]
)
RETURNS TABLE (
    call_id text, is_open boolean, total_cost_cents numeric, limit_cents numeric, limit_seconds integer
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_setting text;
BEGIN
    -- The next second repeats everything, so this commit may be lost in a crash of the server.
    v_setting := set_config('synchronous_commit', 'off', true);
    RETURN QUERY
    WITH
    -- Locked in one order whatever the plan: batches that overlap would deadlock (a write that timed out may still run).
    -- Priced here, where each leg is computed once: what a statement's target joins is computed at each mention. A row that
    -- is locked stays in its place, where it is written without looking for it again; one that changed since we began isn't
    -- seen there, and waits for the next second.
    locked AS MATERIALIZED (
        SELECT
            b.ctid AS place,
            b.user_id,
            b.call_id,
            p_seqs[i] AS seq,
            p_carrier_seconds[i] AS carrier_seconds,
            p_listener_seconds[i] AS listener_seconds,
            p_input_tokens[i] AS input_tokens,
            p_output_tokens[i] AS output_tokens,
            p_characters[i] AS characters,
            p_fallback_input_tokens[i] AS fallback_input_tokens,
            p_fallback_output_tokens[i] AS fallback_output_tokens,
            p_local_characters[i] AS local_characters,
            b.total_cost_cents AS cost_before,
            p_seqs[i] > b.meter_seq AND b.settled_at IS NULL AS is_news,
            round(p_carrier_seconds[i] * v.carrier_second_cents / v.carrier_second_per, 10) AS carrier_cents,
            round(p_listener_seconds[i] * v.listener_second_cents / v.listener_second_per, 10) AS listener_cents,
            round(p_input_tokens[i] * v.brain_input_cents / v.brain_input_per, 10)
            + round(p_output_tokens[i] * v.brain_output_cents / v.brain_output_per, 10)
            + CASE
                WHEN greatest(p_fallback_input_tokens[i], p_fallback_output_tokens[i]) = 0 THEN 0
                ELSE round(p_fallback_input_tokens[i] * v.fallback_input_cents / v.fallback_input_per, 10)
                + round(p_fallback_output_tokens[i] * v.fallback_output_cents / v.fallback_output_per, 10)
            END AS brain_cents,
            round(p_characters[i] * v.voice_character_cents / v.voice_character_per, 10)
            + CASE
                WHEN p_local_characters[i] = 0 THEN 0
                ELSE round(p_local_characters[i] * v.local_character_cents / v.local_character_per, 10)
            END AS voice_cents
        FROM unnest(p_call_ids) WITH ORDINALITY AS m (call_id, i)
        INNER JOIN call_cost_breakdowns AS b ON b.user_id = p_user_ids[m.i] AND b.call_id = m.call_id
        INNER JOIN price_versions AS v ON b.price_version_id = v.id
        ORDER BY b.call_id
        FOR NO KEY UPDATE OF b
    ),
    metered AS (
        UPDATE call_cost_breakdowns AS b
        SET
            meter_seq = m.seq,
            seen_at = clock_timestamp(),
            twilio_duration_seconds = m.carrier_seconds,
            deepgram_audio_seconds = m.listener_seconds,
            cerebras_input_tokens = m.input_tokens,
            cerebras_output_tokens = m.output_tokens,
            elevenlabs_characters = m.characters,
            fallback_input_tokens = m.fallback_input_tokens,
            fallback_output_tokens = m.fallback_output_tokens,
            local_characters = m.local_characters,
            twilio_cost_cents = m.carrier_cents,
            deepgram_cost_cents = m.listener_cents,
            cerebras_cost_cents = m.brain_cents,
            elevenlabs_cost_cents = m.voice_cents,
            total_cost_cents = m.carrier_cents + m.listener_cents + m.brain_cents + m.voice_cents
        FROM locked AS m
        WHERE b.ctid = m.place AND m.is_news
    )
    SELECT
        m.call_id::text,
        c.hold_open,
        CASE WHEN m.is_news THEN m.carrier_cents + m.listener_cents + m.brain_cents + m.voice_cents ELSE m.cost_before END,
        least(
            c.hold_cents,
            CASE
                -- Cut-off or not, 0 means no spending.
                WHEN coalesce(s.enable_auto_cutoff, true) OR s.max_cost_per_call_cents = 0
                    THEN coalesce(s.max_cost_per_call_cents, 1000)
            END,
            greatest(
                0,
                coalesce(s.max_monthly_spend_cents, 10000)
                - CASE WHEN a.spend_month = c.local_month THEN a.spent_in_month_cents ELSE 0 END
            )
        ),
        least(c.granted_seconds, coalesce(a.max_call_duration_seconds, t.max_call_duration_seconds))
    FROM locked AS m
    INNER JOIN calls AS c ON m.user_id = c.user_id AND m.call_id = c.id
    INNER JOIN user_credits AS a ON m.user_id = a.user_id
    INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
    LEFT JOIN user_budget_settings AS s ON m.user_id = s.user_id;
END
$$;
COMMENT ON FUNCTION meter_calls(
    text[], text[], integer[], integer[], numeric[], integer[], integer[], integer[], integer[], integer[], integer[]
) IS
'One statement a second for all live calls of a process: stores cumulative usage, answers with the limits now in force.';
