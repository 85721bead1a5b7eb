-- All that a voice session must know of its call.

-- name: ticket
-- A call with its persona, its person's wishes and its prices.
-- returns: TicketRow
SELECT
    c.user_id,
    c.id AS call_id,
    c.twilio_call_sid AS carrier_sid,
    -- Both ends by one clock: that of the process which asks may be another.
    greatest(0, extract(EPOCH FROM clock_timestamp() - c.answered_at))::double precision AS elapsed_seconds,
    coalesce(
        (
            SELECT n.answered_by
            FROM carrier_events AS n
            WHERE n.user_id = c.user_id AND n.call_id = c.id AND n.answered_by IS NOT NULL AND n.verdict = 'applied'
            ORDER BY n.received_at DESC
            LIMIT 1
        ),
        c.answered_by
    ) AS answered_by,
    c.hold_cents,
    c.granted_seconds,
    coalesce(c.limited_by, 'tier') AS limited_by,
    c.call_pretext,
    c.call_scenario,
    c.custom_instructions,
    p.name AS persona_name,
    p.core_system_prompt,
    p.max_tokens,
    p.temperature::double precision AS temperature,
    coalesce(c.voice_id, e.voice_id, '') AS voice_id,
    e.voice_settings,
    coalesce(r.relationship_type, 'friend') AS relationship_type,
    r.custom_system_prompt,
    coalesce(r.total_calls, 0) AS total_calls,
    u.name AS person_name,
    u.timezone,
    coalesce(s.voicemail_policy, 'hang_up') AS voicemail_policy,
    CASE WHEN s.memory_enabled THEN s.memory END AS memory,
    l.warn_at_percent_per_call,
    l.max_cost_per_call_cents,
    l.enable_auto_cutoff,
    v.carrier_second_cents,
    v.carrier_second_per,
    v.listener_second_cents,
    v.listener_second_per,
    v.brain_input_cents,
    v.brain_input_per,
    v.brain_output_cents,
    v.brain_output_per,
    v.voice_character_cents,
    v.voice_character_per,
    v.fallback_input_cents,
    v.fallback_input_per,
    v.fallback_output_cents,
    v.fallback_output_per,
    v.local_character_cents,
    v.local_character_per
FROM calls AS c
INNER JOIN users AS u ON c.user_id = u.id
INNER JOIN personas AS p ON c.persona_id = p.id
INNER JOIN effective_voices AS e ON c.user_id = e.user_id AND c.persona_id = e.persona_id
INNER JOIN effective_limits AS l ON c.user_id = l.user_id
INNER JOIN price_versions AS v ON c.price_version_id = v.id
LEFT JOIN user_persona_relationships AS r ON c.user_id = r.user_id AND c.persona_id = r.persona_id
LEFT JOIN user_preferences AS s ON c.user_id = s.user_id
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;
