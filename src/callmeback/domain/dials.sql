-- The carrier's side of a call: who is dialled, what the carrier said, and how it ended.

-- name: claim
-- Take calls to dial, oldest first, each once, at the carrier's pace.
-- returns: Claimed
SELECT
    d.user_id,
    d.call_id
FROM claim_dials(%(carrier)s, %(worker)s, %(most)s) AS d;

-- name: order
-- What the carrier must know to place a call.
-- returns: DialOrder
SELECT
    c.user_id,
    c.id AS call_id,
    c.phone_number,
    p.phone_number AS caller,
    c.granted_seconds,
    c.hold_open AS is_open,
    (a.is_closed OR n.number IS NOT NULL) AS is_blocked,
    coalesce(s.voicemail_policy, 'hang_up') AS voicemail_policy
FROM calls AS c
INNER JOIN personas AS p ON c.persona_id = p.id
INNER JOIN user_credits AS a ON c.user_id = a.user_id
LEFT JOIN blocked_numbers AS n ON c.phone_number = n.number
LEFT JOIN user_preferences AS s ON c.user_id = s.user_id
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;

-- name: advance
-- A step by our own code; raises CM007 for an impossible one. When the talk began.
SELECT advance_call(%(user_id)s, %(call_id)s, %(status)s, %(carrier_sid)s);

-- name: note_event
-- Note an event of the carrier once, and apply it if it leads forward.
-- returns: Verdict
SELECT
    e.verdict,
    e.status,
    e.is_open,
    e.answered_by
FROM carrier_event(
    p_user_id => %(user_id)s,
    p_call_id => %(call_id)s,
    p_kind => %(kind)s,
    p_event_key => %(event_key)s,
    p_carrier_status => %(carrier_status)s,
    p_carrier_sid => %(carrier_sid)s,
    p_answered_by => %(answered_by)s,
    p_carrier_seconds => %(carrier_seconds)s
) AS e;

-- name: answers
-- The carrier's newest word for who picked up, of these calls; none for a call of which it has said nothing yet.
-- returns: Answer
SELECT DISTINCT ON (e.user_id, e.call_id)
    e.user_id,
    e.call_id,
    coalesce(e.answered_by, 'unknown') AS word
FROM unnest(%(user_ids)s::text[], %(call_ids)s::text[]) AS w (user_id, call_id)
INNER JOIN carrier_events AS e ON w.user_id = e.user_id AND w.call_id = e.call_id
WHERE e.answered_by IS NOT NULL AND e.verdict = 'applied'
ORDER BY e.user_id ASC, e.call_id ASC, e.received_at DESC;

-- name: lowered_budget
-- The budget that is below a call's hold by now, the least of them; NULL where what holds is what the call began with.
SELECT
    CASE
        WHEN w.month_left_cents < least(c.hold_cents, w.per_call_cents) THEN 'month_budget'
        WHEN w.per_call_cents < c.hold_cents THEN 'call_budget'
    END AS limited_by
FROM calls AS c
INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
INNER JOIN user_credits AS a ON c.user_id = a.user_id
INNER JOIN effective_limits AS l ON c.user_id = l.user_id
CROSS JOIN
    LATERAL (
        SELECT
            CASE
                WHEN l.enable_auto_cutoff OR l.max_cost_per_call_cents = 0 THEN l.max_cost_per_call_cents
            END AS per_call_cents,
            l.max_monthly_spend_cents
            - CASE WHEN a.spend_month = b.local_month THEN a.spent_in_month_cents ELSE 0 END AS month_left_cents
    ) AS w
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;

-- name: line
-- How a call stands towards the carrier.
-- returns: Connection
SELECT
    c.user_id,
    c.id AS call_id,
    c.status,
    c.hold_open AS is_open,
    c.twilio_call_sid AS carrier_sid,
    c.answered_at,
    c.answered_by,
    coalesce(s.voicemail_policy, 'hang_up') AS voicemail_policy
FROM calls AS c
LEFT JOIN user_preferences AS s ON c.user_id = s.user_id
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;

-- name: finish
-- Settle a call, once; a later caller only adds usage.
-- returns: Settled
SELECT
    f.settled,
    f.status,
    f.credits_used,
    f.cost_cents
FROM finish_call(
    p_user_id => %(user_id)s,
    p_call_id => %(call_id)s,
    p_status => %(status)s,
    p_end_reason => %(end_reason)s,
    p_seq => %(seq)s,
    p_connected_seconds => %(connected_seconds)s,
    p_listener_seconds => %(listener_seconds)s,
    p_input_tokens => %(input_tokens)s,
    p_output_tokens => %(output_tokens)s,
    p_characters => %(characters)s,
    p_fallback_input_tokens => %(fallback_input_tokens)s,
    p_fallback_output_tokens => %(fallback_output_tokens)s,
    p_local_characters => %(local_characters)s,
    p_answered_by => %(answered_by)s,
    p_is_charged => %(is_charged)s,
    p_turn_count => %(turn_count)s,
    p_interrupt_count => %(interrupt_count)s,
    p_avg_response_time_ms => %(avg_response_time_ms)s,
    p_error_message => %(error_message)s
) AS f;

-- name: add_turn
-- Keep one turn of a transcript; a repeated one changes nothing.
INSERT INTO transcripts (user_id, call_id, seq, speaker, text, at)
VALUES (%(user_id)s, %(call_id)s, %(seq)s, %(speaker)s, %(text)s, %(at)s)
ON CONFLICT ON CONSTRAINT transcripts_pkey DO NOTHING;
