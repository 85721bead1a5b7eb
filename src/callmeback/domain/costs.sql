-- What calls cost: by day, persona or vendor; and what live calls have used, once a second.

-- name: by_day
-- A person's calls of a period by local day, newest first.
-- returns: DayRow
WITH zone AS MATERIALIZED (SELECT zone_or_utc(%(timezone)s) AS name)

SELECT
    (c.created_at AT TIME ZONE z.name)::date AS day,
    count(*) AS calls,
    coalesce(sum(coalesce(c.duration_seconds, b.twilio_duration_seconds)), 0)::bigint AS duration_seconds,
    coalesce(sum(c.credits_used), 0)::bigint AS credits_used,
    coalesce(sum(b.total_cost_cents), 0) AS cost_cents
FROM calls AS c
CROSS JOIN zone AS z
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.user_id = %(user_id)s AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
GROUP BY day
ORDER BY day DESC;

-- name: by_persona
-- A person's calls of a period by persona, dearest first.
-- returns: PersonaRow
SELECT
    c.persona_id,
    p.name AS persona_name,
    count(*) AS calls,
    coalesce(sum(coalesce(c.duration_seconds, b.twilio_duration_seconds)), 0)::bigint AS duration_seconds,
    coalesce(sum(c.credits_used), 0)::bigint AS credits_used,
    coalesce(sum(b.total_cost_cents), 0) AS cost_cents
FROM calls AS c
INNER JOIN personas AS p ON c.persona_id = p.id
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.user_id = %(user_id)s AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
GROUP BY c.persona_id, p.name
ORDER BY cost_cents DESC, c.persona_id
LIMIT %(most)s;

-- name: by_vendor
-- A person's cost of a period, side by side.
-- returns: VendorRow
SELECT
    count(*) AS calls,
    coalesce(sum(b.twilio_duration_seconds), 0)::bigint AS twilio_seconds,
    coalesce(sum(b.deepgram_audio_seconds), 0) AS deepgram_seconds,
    coalesce(
        sum(
            b.cerebras_input_tokens::bigint + b.cerebras_output_tokens + b.fallback_input_tokens
            + b.fallback_output_tokens
        ), 0
    )::bigint AS cerebras_tokens,
    coalesce(sum(b.elevenlabs_characters::bigint + b.local_characters), 0)::bigint AS elevenlabs_characters,
    coalesce(sum(b.twilio_cost_cents), 0) AS twilio_cents,
    coalesce(sum(b.deepgram_cost_cents), 0) AS deepgram_cents,
    coalesce(sum(b.cerebras_cost_cents), 0) AS cerebras_cents,
    coalesce(sum(b.elevenlabs_cost_cents), 0) AS elevenlabs_cents
FROM calls AS c
INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.user_id = %(user_id)s AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s;

-- name: meter
-- Store the cumulative usage of live calls, and answer with the limits now in force.
-- returns: Metered
SELECT
    m.call_id,
    m.is_open,
    m.total_cost_cents,
    m.limit_cents,
    m.limit_seconds
FROM meter_calls(
    %(user_ids)s, %(call_ids)s, %(seqs)s, %(carrier_seconds)s, %(listener_seconds)s, %(input_tokens)s,
    %(output_tokens)s, %(characters)s, %(fallback_input_tokens)s, %(fallback_output_tokens)s, %(local_characters)s
) AS m;

-- name: record_events
-- Note the difference since the last event, for calls after a turn or an interval.
SELECT record_cost_events(%(user_ids)s, %(call_ids)s, %(event_type)s);

-- name: ensure_card
-- Make the models in use known to the prices; false where a rate is missing.
SELECT ensure_card(
    %(card)s, %(carrier_model)s, %(listener_model)s, %(brain_model)s, %(voice_model)s, %(fallback_model)s,
    %(local_model)s
);
