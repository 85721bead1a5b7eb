-- Calls to come: single ones and what repeats, as their owner plans them.

-- name: schedules
-- What a person has planned, the newest first: from after (created_at, id) on, or the one with this id.
-- returns: ScheduleRow
SELECT
    s.id,
    s.persona_id,
    p.name AS persona_name,
    p.avatar_url,
    s.phone_number,
    s.status,
    s.at,
    s.rrule,
    s.starts_at_local,
    s.timezone,
    s.follows_user_zone,
    s.ends_at,
    s.remaining_count,
    s.paused_at,
    s.problem,
    s.context,
    s.scenario_text,
    s.requested_seconds,
    s.grace,
    s.reminder_minutes,
    s.retries_max,
    s.retry_after_minutes,
    s.retry_within_minutes,
    s.retry_on_busy,
    s.retry_on_no_answer,
    s.quiet_from,
    s.quiet_until,
    s.outcome,
    s.call_id,
    s.created_at,
    s.updated_at
FROM (
    SELECT
        r.id,
        r.persona_id,
        r.phone_number,
        CASE
            -- The last one, moved or tried again, may wait when its rule has no more to say.
            WHEN r.materialised_until IS NULL AND (r.paused_at IS NOT NULL OR w.at IS NULL) THEN 'ended'
            WHEN r.paused_at IS NOT NULL THEN 'paused'
            ELSE 'active'
        END AS status,
        w.at,
        r.rrule,
        r.starts_at_local,
        r.timezone,
        r.follows_user_zone,
        r.ends_at,
        (r.remaining_count + w.waiting)::integer AS remaining_count,
        CASE WHEN r.materialised_until IS NOT NULL THEN r.paused_at END AS paused_at,
        r.problem,
        r.call_pretext AS context,
        r.call_scenario AS scenario_text,
        r.requested_seconds,
        make_interval(mins => r.grace_minutes) AS grace,
        r.reminder_minutes,
        r.retries_max,
        r.retry_after_minutes,
        r.retry_within_minutes,
        r.retry_on_busy,
        r.retry_on_no_answer,
        r.quiet_from,
        r.quiet_until,
        NULL AS outcome,
        NULL AS call_id,
        r.created_at,
        r.updated_at
    FROM call_schedules AS r
    CROSS JOIN
        LATERAL (
            SELECT
                min(o.scheduled_time) AS at,
                count(*) FILTER (WHERE o.status = 'scheduled' AND o.occurrence IS NOT NULL) AS waiting
            FROM scheduled_calls AS o
            WHERE o.user_id = r.user_id AND o.schedule_id = r.id AND o.status IN ('scheduled', 'executing')
        ) AS w
    WHERE r.user_id = %(user_id)s
    UNION ALL
    SELECT
        o.id,
        o.persona_id,
        o.phone_number,
        o.status,
        o.scheduled_time AS at,
        NULL AS rrule,
        NULL AS starts_at_local,
        o.timezone,
        false AS follows_user_zone,
        NULL AS ends_at,
        NULL AS remaining_count,
        NULL AS paused_at,
        NULL AS problem,
        o.call_pretext AS context,
        o.call_scenario AS scenario_text,
        o.requested_seconds,
        o.latest_start_at - o.scheduled_time AS grace,
        o.reminder_minutes,
        o.retries_max,
        o.retry_after_minutes,
        o.retry_within_minutes,
        o.retry_on_busy,
        o.retry_on_no_answer,
        o.quiet_from,
        o.quiet_until,
        o.outcome,
        o.call_id,
        o.created_at,
        o.updated_at
    FROM scheduled_calls AS o
    WHERE o.user_id = %(user_id)s AND o.schedule_id IS NULL AND o.retry_of IS NULL
) AS s
INNER JOIN personas AS p ON s.persona_id = p.id
WHERE
    (%(schedule_id)s::text IS NULL OR s.id = %(schedule_id)s)
    AND (%(before_at)s::timestamptz IS NULL OR (s.created_at, s.id) < (%(before_at)s, %(before_id)s))
ORDER BY s.created_at DESC, s.id DESC
LIMIT %(most)s;

-- name: occurrences
-- Of each of these schedules and single calls what is to come and what became of the last ones, the latest first.
-- returns: OccurrenceRow
SELECT
    w.id AS schedule_id,
    o.id,
    o.scheduled_time AS at,
    o.occurrence,
    o.status,
    o.outcome,
    o.call_id,
    o.attempt
FROM unnest(%(schedule_ids)s::text[]) AS w (id)
CROSS JOIN
    LATERAL (
        SELECT
            c.id,
            c.scheduled_time,
            c.occurrence,
            c.status,
            c.outcome,
            c.call_id,
            c.attempt
        FROM scheduled_calls AS c
        WHERE c.user_id = %(user_id)s AND c.schedule_id = w.id AND c.scheduled_time > %(since)s
        ORDER BY c.scheduled_time DESC
        LIMIT %(most)s
    ) AS o
ORDER BY w.id, o.scheduled_time DESC;

-- name: attempts
-- Single calls with the retries of each, the first attempt first.
-- returns: OccurrenceRow
WITH RECURSIVE attempts AS (
    SELECT
        o.id AS schedule_id,
        o.id,
        o.scheduled_time,
        o.occurrence,
        o.status,
        o.outcome,
        o.call_id,
        o.attempt
    FROM scheduled_calls AS o
    WHERE o.user_id = %(user_id)s AND o.id = any(%(schedule_ids)s::text[])
    UNION ALL
    SELECT
        a.schedule_id,
        o.id,
        o.scheduled_time,
        o.occurrence,
        o.status,
        o.outcome,
        o.call_id,
        o.attempt
    FROM attempts AS a
    INNER JOIN scheduled_calls AS o ON o.user_id = %(user_id)s AND a.id = o.retry_of
)

SELECT
    a.schedule_id,
    a.id,
    a.scheduled_time AS at,
    a.occurrence,
    a.status,
    a.outcome,
    a.call_id,
    a.attempt
FROM attempts AS a
ORDER BY a.schedule_id, a.attempt;
