-- Calls whose time has come, as the worker sees them. What their owner asks for is in schedules.sql.

-- name: claim
-- Takes calls that are due, oldest first, each for one worker.
-- returns: Claimed
SELECT
    d.id,
    d.user_id,
    d.claims,
    d.scheduled_time,
    u.timezone,
    clock_timestamp() AS claimed_at
FROM claim_due(%(worker)s, %(limit)s, %(lease)s) AS d
INNER JOIN users AS u ON d.user_id = u.id
ORDER BY d.scheduled_time;

-- name: place
-- Begins claimed calls and notes what became of each, in one commit.
-- returns: Placed
SELECT
    p.id,
    p.user_id,
    p.status,
    p.outcome
FROM place_due(
    %(ids)s::text[], %(claims)s::integer[], %(call_ids)s::text[], %(local_days)s::date[], %(card)s,
    %(authorization_id)s
) AS p;

-- name: finish
-- Notes what became of claimed calls; how many still were this worker's.
SELECT
    finish_due(
        %(ids)s::text[], %(user_ids)s::text[], %(claims)s::integer[], %(statuses)s::text[], %(outcomes)s::text[],
        array_fill(NULL::text, ARRAY[cardinality(%(ids)s::text[])])
    );

-- name: wish
-- What a call that pays for itself is to be.
-- returns: Wish
SELECT
    s.persona_id,
    s.requested_seconds
FROM scheduled_calls AS s
WHERE s.id = %(id)s AND s.user_id = %(user_id)s AND s.status = 'executing' AND s.claims = %(claims)s;

-- name: settle
-- Notes how calls that were placed have ended.
-- returns: Ended
SELECT
    e.id,
    e.user_id,
    e.outcome,
    e.attempt,
    e.promised_at,
    e.retries_max,
    e.retry_after_minutes,
    e.retry_within_minutes,
    e.quiet_from,
    e.quiet_until,
    e.timezone,
    clock_timestamp() AS settled_at
FROM settle_due(%(limit)s) AS e;

-- name: refused
-- Calls that were not begun because their owner was on the phone with us, in the form of those that ended.
-- returns: Ended
SELECT
    s.id,
    s.user_id,
    s.outcome,
    s.attempt,
    s.promised_at,
    s.retries_max,
    s.retry_after_minutes,
    s.retry_within_minutes,
    s.quiet_from,
    s.quiet_until,
    coalesce(s.timezone, u.timezone) AS timezone,
    clock_timestamp() AS settled_at
FROM scheduled_calls AS s
INNER JOIN users AS u ON s.user_id = u.id
WHERE s.id = any(%(ids)s::text[]);

-- name: add_retry
-- Plans one more attempt, once, if its owner wishes it.
SELECT add_retry(%(user_id)s, %(of)s, %(id)s, %(at)s);

-- name: claim_schedules
-- Schedules that want their next occurrence, until this transaction ends.
-- returns: Waiting
SELECT
    s.user_id,
    s.id,
    s.rrule,
    s.starts_at_local,
    s.timezone,
    s.materialised_until,
    s.grace_minutes,
    s.asked_at
FROM claim_schedules(%(limit)s) AS s;

-- name: add_occurrence
-- Gives an occurrence its row; without a time the schedule has ended.
SELECT add_occurrence(%(user_id)s, %(schedule_id)s, %(id)s, %(occurrence)s, %(status)s, %(outcome)s);

-- name: halt
-- Pauses a schedule whose rule can't be read, and says why.
SELECT halt_schedule(%(user_id)s, %(id)s, %(problem)s);

-- name: claim_reminders
-- Texts that are due before calls, each handed out once.
-- returns: Reminder
SELECT
    r.id,
    r.user_id,
    r.phone_number,
    r.persona_name,
    r.scheduled_time,
    r.timezone
FROM claim_reminders(%(limit)s) AS r;

-- name: seconds_to_next
-- Seconds until something is due, by the database's clock; below 0 when it is, NULL when nothing is to come.
SELECT extract(EPOCH FROM least(
    (
        SELECT min(s.scheduled_time) FROM scheduled_calls AS s
        WHERE s.status = 'scheduled'
    ),
    (
        SELECT min(s.remind_at) FROM scheduled_calls AS s
        WHERE s.remind_at IS NOT NULL
    ),
    (
        SELECT min(r.materialised_until)
        FROM call_schedules AS r
        WHERE r.materialised_until IS NOT NULL AND r.paused_at IS NULL
    )
) - clock_timestamp())::double precision;
