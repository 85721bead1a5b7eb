-- Calls as their owner asks for and sees them.

-- name: start
-- Write a call with its hold, or raise a refusal; a known idempotency key answers with its first call.
-- returns: Started
SELECT
    s.call_id,
    s.replayed
FROM start_call(
    p_call_id => %(call_id)s,
    p_user_id => %(user_id)s,
    p_persona_id => %(persona_id)s,
    p_phone_number => %(phone_number)s,
    p_card => %(card)s,
    p_local_day => %(local_day)s,
    p_requested_seconds => %(requested_seconds)s,
    p_pretext => %(pretext)s,
    p_scenario => %(scenario)s,
    p_idempotency_key => %(idempotency_key)s,
    p_request_hash => %(request_hash)s
) AS s;

-- name: start_paid
-- Write a call that the money set aside for it pays, or raise a refusal.
-- returns: Started
SELECT
    s.call_id,
    s.replayed
FROM start_paid_call(
    p_authorization_id => %(authorization_id)s,
    p_call_id => %(call_id)s,
    p_user_id => %(user_id)s,
    p_persona_id => %(persona_id)s,
    p_phone_number => %(phone_number)s,
    p_card => %(card)s,
    p_local_day => %(local_day)s,
    p_requested_seconds => %(requested_seconds)s,
    p_pretext => %(pretext)s,
    p_scenario => %(scenario)s,
    p_idempotency_key => %(idempotency_key)s,
    p_request_hash => %(request_hash)s
) AS s;

-- name: call
-- One call as its owner sees it; while it is open, with what it has used so far.
-- returns: CallRow
SELECT
    c.id,
    c.persona_id,
    p.name AS persona_name,
    p.avatar_url,
    c.phone_number,
    c.status,
    c.answered_by,
    c.end_reason,
    c.created_at,
    c.answered_at AS started_at,
    c.end_time AS ended_at,
    coalesce(c.duration_seconds, b.twilio_duration_seconds, 0) AS duration_seconds,
    coalesce(c.credits_used, least((b.twilio_duration_seconds + 59) / 60, c.hold_credits), 0) AS credits_used,
    coalesce(b.total_cost_cents, c.actual_cost_cents, 0) AS cost_cents,
    coalesce(c.estimated_cost_cents, 0) AS estimated_cost_cents,
    coalesce(b.twilio_cost_cents, 0) AS twilio_cents,
    coalesce(b.deepgram_cost_cents, 0) AS deepgram_cents,
    coalesce(b.cerebras_cost_cents, 0) AS cerebras_cents,
    coalesce(b.elevenlabs_cost_cents, 0) AS elevenlabs_cents,
    coalesce(b.twilio_duration_seconds, 0) AS carrier_seconds,
    coalesce(b.deepgram_audio_seconds, 0) AS listener_seconds,
    coalesce(b.cerebras_input_tokens, 0) AS input_tokens,
    coalesce(b.cerebras_output_tokens, 0) AS output_tokens,
    coalesce(b.elevenlabs_characters, 0) AS characters,
    coalesce(b.fallback_input_tokens, 0) AS fallback_input_tokens,
    coalesce(b.fallback_output_tokens, 0) AS fallback_output_tokens,
    coalesce(b.local_characters, 0) AS local_characters,
    c.hold_credits,
    c.granted_seconds,
    c.limited_by,
    c.call_pretext AS context,
    c.call_scenario AS scenario_text,
    coalesce(
        c.turn_count,
        (
            SELECT count(*) FROM transcripts AS t
            WHERE t.user_id = c.user_id AND t.call_id = c.id AND t.speaker = 'user'
        )
    )::integer AS turn_count,
    coalesce(c.interrupt_count, 0) AS interrupt_count,
    c.avg_response_time_ms,
    coalesce(
        (
            SELECT jsonb_agg(jsonb_build_object('speaker', t.speaker, 'text', t.text, 'at', t.at) ORDER BY t.seq)
            FROM transcripts AS t
            WHERE t.user_id = c.user_id AND t.call_id = c.id
        ), '[]'
    ) AS transcript
FROM calls AS c
INNER JOIN personas AS p ON c.persona_id = p.id
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;

-- name: calls
-- A page of a person's calls, newest first.
-- returns: CallRow
SELECT
    c.id,
    c.persona_id,
    p.name AS persona_name,
    p.avatar_url,
    c.phone_number,
    c.status,
    c.answered_by,
    c.end_reason,
    c.created_at,
    c.answered_at AS started_at,
    c.end_time AS ended_at,
    coalesce(c.duration_seconds, b.twilio_duration_seconds, 0) AS duration_seconds,
    coalesce(c.credits_used, least((b.twilio_duration_seconds + 59) / 60, c.hold_credits), 0) AS credits_used,
    coalesce(b.total_cost_cents, c.actual_cost_cents, 0) AS cost_cents,
    coalesce(c.estimated_cost_cents, 0) AS estimated_cost_cents,
    coalesce(b.twilio_cost_cents, 0) AS twilio_cents,
    coalesce(b.deepgram_cost_cents, 0) AS deepgram_cents,
    coalesce(b.cerebras_cost_cents, 0) AS cerebras_cents,
    coalesce(b.elevenlabs_cost_cents, 0) AS elevenlabs_cents,
    coalesce(b.twilio_duration_seconds, 0) AS carrier_seconds,
    coalesce(b.deepgram_audio_seconds, 0) AS listener_seconds,
    coalesce(b.cerebras_input_tokens, 0) AS input_tokens,
    coalesce(b.cerebras_output_tokens, 0) AS output_tokens,
    coalesce(b.elevenlabs_characters, 0) AS characters,
    coalesce(b.fallback_input_tokens, 0) AS fallback_input_tokens,
    coalesce(b.fallback_output_tokens, 0) AS fallback_output_tokens,
    coalesce(b.local_characters, 0) AS local_characters,
    c.hold_credits,
    c.granted_seconds,
    c.limited_by,
    c.call_pretext AS context,
    c.call_scenario AS scenario_text,
    coalesce(
        c.turn_count,
        (
            SELECT count(*) FROM transcripts AS t
            WHERE t.user_id = c.user_id AND t.call_id = c.id AND t.speaker = 'user'
        )
    )::integer AS turn_count,
    coalesce(c.interrupt_count, 0) AS interrupt_count,
    c.avg_response_time_ms,
    coalesce(
        (
            SELECT jsonb_agg(jsonb_build_object('speaker', t.speaker, 'text', t.text, 'at', t.at) ORDER BY t.seq)
            FROM transcripts AS t
            WHERE t.user_id = c.user_id AND t.call_id = c.id
        ), '[]'
    ) AS transcript
FROM calls AS c
-- LEFT, though each call has its persona: otherwise the planner starts from the few that a person sees, and reads
-- everybody's calls with them.
LEFT JOIN personas AS p ON c.persona_id = p.id
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE
    c.user_id = %(user_id)s
    AND c.created_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
    AND (c.created_at, c.id) < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s, ''))
ORDER BY c.created_at DESC, c.id DESC
LIMIT %(most)s;

-- name: open_call
-- The id of the call that goes on for a person, if there is one.
SELECT o.call_id
FROM open_calls AS o
WHERE o.user_id = %(user_id)s;
