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
COMMENT ON FUNCTION meter_calls(
    text[], text[], integer[], integer[], numeric[], integer[], integer[], integer[], integer[], integer[], integer[]
) IS
'One statement a second for all live calls of a process: stores cumulative usage, answers with the limits now in force.';
