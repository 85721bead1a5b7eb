-- The secret link under which a person's calls to come are read.

-- name: feed
-- Since when there is a link.
SELECT f.created_at
FROM calendar_feeds AS f
WHERE f.user_id = %(user_id)s;

-- name: renew_feed
-- A new link; the old one is no longer good.
INSERT INTO calendar_feeds AS f (user_id, token_hash)
VALUES (%(user_id)s, %(token_hash)s)
ON CONFLICT (user_id) DO UPDATE
    SET token_hash = %(token_hash)s, created_at = clock_timestamp();

-- name: remove_feed
-- No link is good any more.
DELETE FROM calendar_feeds AS f
WHERE f.user_id = %(user_id)s;

-- name: feed_user
-- Whose calendar a link shows.
SELECT calendar_feed_user(%(token_hash)s);

-- name: coming_calls
-- Calls that wait, in order; those of a schedule that rests don't.
-- returns: ComingCall
SELECT
    o.id,
    o.schedule_id,
    o.occurrence,
    o.scheduled_time,
    o.updated_at,
    o.requested_seconds,
    o.attempt,
    p.name AS persona_name,
    p.avatar_url
FROM scheduled_calls AS o
INNER JOIN personas AS p ON o.persona_id = p.id
LEFT JOIN call_schedules AS r ON o.user_id = r.user_id AND o.schedule_id = r.id
WHERE
    o.user_id = %(user_id)s AND o.status IN ('scheduled', 'executing')
    AND o.scheduled_time > %(since)s AND r.paused_at IS NULL
ORDER BY o.scheduled_time, o.id
LIMIT %(most)s;

-- name: active_schedules
-- What repeats and doesn't rest, with the newest occurrence that has its row.
-- returns: ActiveSchedule
SELECT
    r.id,
    r.rrule,
    r.starts_at_local,
    r.timezone,
    r.ends_at,
    r.remaining_count,
    r.updated_at,
    r.requested_seconds,
    r.materialised_until,
    p.name AS persona_name,
    p.avatar_url
FROM call_schedules AS r
INNER JOIN personas AS p ON r.persona_id = p.id
WHERE r.user_id = %(user_id)s AND r.materialised_until IS NOT NULL AND r.paused_at IS NULL
ORDER BY r.id;

-- name: skipped
-- Occurrences to come that were left out.
-- returns: SkippedOccurrence
SELECT
    o.schedule_id,
    o.occurrence
FROM scheduled_calls AS o
WHERE
    o.user_id = %(user_id)s AND o.schedule_id IS NOT NULL AND o.status = 'canceled'
    AND o.occurrence > %(since)s;
