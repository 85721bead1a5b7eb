-- A person's calendar beside what is coming: what repeats, and what didn't come about.

-- name: repeating
-- Schedules that go on or rest, the oldest first.
-- returns: Repeating
SELECT
    r.id,
    p.name AS persona_name,
    p.avatar_url,
    r.rrule,
    r.starts_at_local,
    r.timezone,
    r.follows_user_zone,
    r.ends_at,
    r.remaining_count,
    r.paused_at,
    r.problem
FROM call_schedules AS r
INNER JOIN personas AS p ON r.persona_id = p.id
WHERE r.user_id = %(user_id)s AND r.materialised_until IS NOT NULL
ORDER BY r.created_at, r.id
LIMIT %(most)s;

-- name: not_come_about
-- Calls that were to ring and didn't, the newest first; not those that the person took back, nor those tried again.
-- returns: Past
SELECT
    o.id,
    coalesce(o.schedule_id, CASE WHEN o.retry_of IS NULL THEN o.id END) AS plan_id,
    p.name AS persona_name,
    p.avatar_url,
    o.scheduled_time AS at,
    o.status,
    o.outcome,
    o.call_id
FROM scheduled_calls AS o
INNER JOIN personas AS p ON o.persona_id = p.id
WHERE
    o.user_id = %(user_id)s AND o.scheduled_time > %(since)s
    AND (o.status IN ('missed', 'failed') OR o.outcome IN ('busy', 'no_answer', 'failed', 'paused'))
    AND NOT EXISTS (
        SELECT
        FROM scheduled_calls AS r
        WHERE o.user_id = r.user_id AND o.id = r.retry_of
    )
ORDER BY o.scheduled_time DESC, o.id DESC
LIMIT %(most)s;
