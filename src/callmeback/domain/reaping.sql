-- name: lease_stale
-- Open calls that stopped moving, leased to this reaper.
-- returns: StaleCall
SELECT
    s.user_id,
    s.call_id,
    s.status,
    s.situation,
    s.carrier_sid,
    s.phone_number,
    s.created_at,
    s.seen_at
FROM lease_stale_calls(%(limit)s) AS s;

-- name: is_still_silent
-- Whether nothing was heard of a call since it was leased.
SELECT b.seen_at = %(seen_at)s
FROM open_calls AS o
INNER JOIN call_cost_breakdowns AS b ON o.user_id = b.user_id AND o.call_id = b.call_id
WHERE o.user_id = %(user_id)s AND o.call_id = %(call_id)s;

-- name: metered_seconds
-- Connected seconds that were reported of a call.
SELECT b.twilio_duration_seconds
FROM call_cost_breakdowns AS b
WHERE b.user_id = %(user_id)s AND b.call_id = %(call_id)s;

-- name: known_sids
-- Which of these ids of the carrier are other calls of the same person.
SELECT coalesce(array_agg(c.twilio_call_sid), '{}')
FROM calls AS c
WHERE
    c.user_id = %(user_id)s
    AND c.created_at >= %(since)s
    AND c.id <> %(call_id)s
    AND c.twilio_call_sid = any(%(carrier_sids)s);

-- name: found_at_carrier
-- Notes under which id the carrier has a call whose dialling had no answer.
SELECT advance_call(%(user_id)s, %(call_id)s, 'calling', %(carrier_sid)s);

-- name: note_lookup
-- What the carrier said when it was asked.
-- returns: Noted
SELECT
    e.verdict,
    e.is_open
FROM carrier_event(
    %(user_id)s, %(call_id)s, 'lookup', %(event_key)s, %(carrier_status)s, %(carrier_sid)s,
    p_carrier_seconds => %(carrier_seconds)s
) AS e;

-- name: settle
-- Settles to the last metered second; false when somebody was faster. A machine is charged as its person's policy says.
SELECT f.settled
FROM calls AS c
LEFT JOIN user_preferences AS s ON c.user_id = s.user_id
CROSS JOIN
    LATERAL
    finish_call(
        c.user_id, c.id, %(status)s, %(end_reason)s,
        p_is_charged => coalesce(c.answered_by, '') NOT IN ('machine', 'fax')
        OR coalesce(s.voicemail_policy, 'hang_up') <> 'hang_up',
        p_error_message => %(error_message)s
    ) AS f
WHERE c.user_id = %(user_id)s AND c.id = %(call_id)s;
