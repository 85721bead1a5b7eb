-- The doctor's questions about money that comes in: each finds what a person must look at, and nothing where all is well.

-- name: event_refused
-- Signed events that contradict our own rows, of the last month.
-- returns: Symptom
SELECT
    e.id AS object,
    format('%%s: %%s, received %%s', e.type, e.effect, to_char(e.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')) AS detail
FROM payment_events AS e
WHERE e.state = 'refused' AND e.received_at > clock_timestamp() - %(looked_at)s::interval
ORDER BY e.received_at DESC, e.id
LIMIT %(most)s;

-- name: event_unmatched
-- Events whose object has been unknown for long, of the last month.
-- returns: Symptom
SELECT
    e.id AS object,
    format('%%s: %%s, tried %%s times', e.type, e.effect, e.attempts) AS detail
FROM payment_events AS e
WHERE
    e.state = 'unmatched'
    AND e.received_at < clock_timestamp() - %(waits)s::interval
    AND e.received_at > clock_timestamp() - %(looked_at)s::interval
ORDER BY e.received_at, e.id
LIMIT %(most)s;

-- name: authorization_unsettled
-- Money set aside for calls that are over, neither taken nor let go for long.
-- returns: Symptom
SELECT
    x.id AS object,
    format('%%s %%s of %%s, %%s attempts', x.state, x.capture_cents, x.authorized_cents, x.attempts) AS detail
FROM payment_authorizations AS x
LEFT JOIN calls AS c ON x.user_id = c.user_id AND x.call_id = c.id
WHERE
    x.state IN ('authorizing', 'authorized', 'calling', 'capturing', 'releasing')
    AND x.updated_at < clock_timestamp() - %(waits)s::interval
    AND NOT coalesce(c.hold_open, false)
ORDER BY x.updated_at, x.id
LIMIT %(most)s;

-- name: day_broken
-- Sealed days whose ledger isn't what was sealed.
-- returns: Symptom
SELECT
    d.day::text AS object,
    'its rows have another hash now' AS detail
FROM check_sealed_days() AS d
WHERE NOT d.is_intact
ORDER BY d.day
LIMIT %(most)s;

-- name: plan_silent
-- Plans in force whose paid period ended long ago, with no word of the next.
-- returns: Symptom
SELECT
    s.id AS object,
    format('%%s, paid until %%s', s.tier, to_char(s.current_period_end AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')) AS detail
FROM subscriptions AS s
WHERE s.status = 'active' AND s.current_period_end < clock_timestamp() - %(silent)s::interval
ORDER BY s.current_period_end, s.id
LIMIT %(most)s;

-- name: warning_untold
-- People who reached their percent of the month's budget and weren't told: a warning where their mail server puts it off,
-- or did so until it was given up.
-- returns: Finding
SELECT
    n.user_id AS object,
    format('%%s %%%% of %%s, noticed %%s', n.percent, to_char(n.month, 'YYYY-MM'), n.noticed_at)
    || CASE
        WHEN n.given_up_at IS NOT NULL
            THEN format(', put off by the mail server %%s times and given up %%s', n.put_off_count, n.given_up_at)
        WHEN n.put_off_count > 0
            THEN format(', put off by the mail server %%s times, next at %%s', n.put_off_count, n.claimed_until)
        ELSE ''
    END AS detail,
    n.given_up_at IS NULL
    AND (n.put_off_count = 0 OR n.claimed_until < clock_timestamp() - %(waits)s::interval) AS is_red,
    NULL::text AS mend
FROM budget_notices AS n
WHERE
    n.told_at IS NULL AND n.noticed_at < clock_timestamp() - %(waits)s::interval
    AND (n.given_up_at IS NULL OR n.given_up_at > clock_timestamp() - %(looked_at)s::interval)
ORDER BY is_red DESC, n.noticed_at, n.user_id
LIMIT %(most)s;
