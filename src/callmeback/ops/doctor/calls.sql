-- Calls, schedules, holds and webhooks that don't move as they should.

-- name: overdue_schedules
-- Planned calls whose time has come and that nobody dials.
-- returns: Finding
SELECT
    s.id AS object,
    format(
        '%%s since %%s', s.status, to_char(coalesce(s.lease_until, s.scheduled_time) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
    ) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM scheduled_calls AS s
WHERE
    (s.status = 'scheduled' AND s.scheduled_time < clock_timestamp() - %(late_after)s::interval)
    OR (s.status = 'executing' AND s.lease_until < clock_timestamp() - %(late_after)s::interval)
ORDER BY s.scheduled_time
LIMIT %(most)s;

-- name: undialled_calls
-- Calls that wait longer to be dialled than they may, and that nobody canceled.
-- returns: Finding
SELECT
    o.call_id AS object,
    format('was to be dialled before %%s', to_char(o.dial_before AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM open_calls AS o
WHERE o.dial_claimed_at IS NULL AND o.dial_before < clock_timestamp() - %(late_after)s::interval
ORDER BY o.dial_before
LIMIT %(most)s;

-- name: endless_calls
-- Calls that go on for longer than they were granted.
-- returns: Finding
SELECT
    c.id AS object,
    format(
        '%%s for %%s s, granted were %%s s',
        c.status, round(extract(EPOCH FROM clock_timestamp() - c.answered_at)), c.granted_seconds
    ) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM open_calls AS o
INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
WHERE c.answered_at + make_interval(secs => c.granted_seconds) < clock_timestamp() - %(late_after)s::interval
ORDER BY c.answered_at
LIMIT %(most)s;

-- name: silent_carrier
-- Calls that the carrier took lately and told nothing of: its webhooks don't reach us, or are refused.
-- returns: Finding
SELECT
    c.id AS object,
    format('placed at %%s, and no webhook came', to_char(c.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')) AS detail,
    true AS is_red,
    NULL::text AS mend
FROM calls AS c
WHERE
    c.created_at BETWEEN clock_timestamp() - %(within)s::interval AND clock_timestamp() - %(late_after)s::interval
    AND c.twilio_call_sid IS NOT NULL
    AND NOT EXISTS (
        SELECT
        FROM carrier_events AS e
        WHERE e.user_id = c.user_id AND e.call_id = c.id AND e.kind IN ('status', 'voice')
    )
ORDER BY c.created_at DESC
LIMIT %(most)s;

-- name: failing_vendors
-- How calls of the last hour ended where it was not the person's doing.
-- returns: Finding
SELECT
    f.end_reason::text AS object,
    format('ended %%s of %%s calls in the last hour', f.number, f.calls) AS detail,
    f.number * 2 >= f.calls AS is_red,
    NULL::text AS mend
FROM (
    SELECT
        c.end_reason,
        count(*) AS number,
        sum(count(*)) OVER () AS calls
    FROM calls AS c
    WHERE c.created_at > clock_timestamp() - interval '1 hour' AND c.end_reason IS NOT NULL
    GROUP BY c.end_reason
) AS f
WHERE
    f.end_reason IN ('vendor_failed', 'dial_failed', 'dial_expired', 'lost')
    AND f.number >= %(least)s
    AND f.number >= f.calls * %(share)s::numeric
ORDER BY f.number DESC
LIMIT %(most)s;
