-- Planning calls to come, and planning them anew.

-- name: plan_call
-- A single call to come.
INSERT INTO scheduled_calls (
    id, user_id, persona_id, phone_number, scheduled_time, latest_start_at, call_pretext, call_scenario,
    requested_seconds, reminder_minutes, retries_max, retry_after_minutes, retry_within_minutes, retry_on_busy,
    retry_on_no_answer, quiet_from, quiet_until
) VALUES (
    %(id)s, %(user_id)s, %(persona_id)s, %(phone_number)s, %(at)s, %(at)s::timestamptz + %(grace)s, %(context)s,
    %(scenario)s, %(requested_seconds)s, %(reminder_minutes)s, %(retries_max)s, %(retry_after_minutes)s,
    %(retry_within_minutes)s, %(retry_on_busy)s, %(retry_on_no_answer)s, %(quiet_from)s, %(quiet_until)s
);

-- name: change_call
-- Write a single call's wishes while it waits; a call that is no longer waiting is not changed. Its time is moved first,
-- because a time that is written alone takes the grace along.
UPDATE scheduled_calls AS o
SET
    persona_id = %(persona_id)s,
    phone_number = %(phone_number)s,
    latest_start_at = o.scheduled_time + %(grace)s,
    call_pretext = %(context)s,
    call_scenario = %(scenario)s,
    requested_seconds = %(requested_seconds)s,
    reminder_minutes = %(reminder_minutes)s,
    retries_max = %(retries_max)s,
    retry_after_minutes = %(retry_after_minutes)s,
    retry_within_minutes = %(retry_within_minutes)s,
    retry_on_busy = %(retry_on_busy)s,
    retry_on_no_answer = %(retry_on_no_answer)s,
    quiet_from = %(quiet_from)s,
    quiet_until = %(quiet_until)s
WHERE o.user_id = %(user_id)s AND o.id = %(id)s AND o.status = 'scheduled';

-- name: plan_schedule
-- What repeats; its first occurrence is added next.
INSERT INTO call_schedules (
    id, user_id, persona_id, phone_number, rrule, starts_at_local, timezone, follows_user_zone, tzdata_version, ends_at,
    remaining_count, call_pretext, call_scenario, requested_seconds, grace_minutes, reminder_minutes, retries_max,
    retry_after_minutes, retry_within_minutes, retry_on_busy, retry_on_no_answer, quiet_from, quiet_until
) VALUES (
    %(id)s, %(user_id)s, %(persona_id)s, %(phone_number)s, %(rrule)s, %(starts_at_local)s, %(timezone)s,
    %(follows_user_zone)s, %(tzdata_version)s, %(ends_at)s, %(remaining_count)s, %(context)s, %(scenario)s,
    %(requested_seconds)s, extract(EPOCH FROM %(grace)s::interval)::integer / 60, %(reminder_minutes)s, %(retries_max)s,
    %(retry_after_minutes)s, %(retry_within_minutes)s, %(retry_on_busy)s, %(retry_on_no_answer)s, %(quiet_from)s,
    %(quiet_until)s
);

-- name: lock_schedule
-- Holds what repeats against the worker and other requests; whether there is such a one.
SELECT r.id
FROM call_schedules AS r
WHERE r.user_id = %(user_id)s AND r.id = %(id)s
FOR NO KEY UPDATE;

-- name: lock_waiting
-- Holds what waits, of a schedule or a single call: nobody claims it, or changes it, until this transaction ends.
SELECT o.id
FROM scheduled_calls AS o
WHERE o.user_id = %(user_id)s AND (o.id = %(id)s OR o.schedule_id = %(id)s) AND o.status = 'scheduled'
FOR NO KEY UPDATE;

-- name: change_schedule
-- Write the new state of what repeats; planned anew it has as many calls left as are asked for, none of them waiting.
UPDATE call_schedules AS r
SET
    persona_id = %(persona_id)s,
    phone_number = %(phone_number)s,
    rrule = %(rrule)s,
    starts_at_local = %(starts_at_local)s,
    timezone = %(timezone)s,
    follows_user_zone = %(follows_user_zone)s,
    tzdata_version = %(tzdata_version)s,
    ends_at = %(ends_at)s,
    remaining_count = CASE WHEN %(is_anew)s THEN %(remaining_count)s ELSE r.remaining_count END,
    call_pretext = %(context)s,
    call_scenario = %(scenario)s,
    requested_seconds = %(requested_seconds)s,
    grace_minutes = extract(EPOCH FROM %(grace)s::interval)::integer / 60,
    reminder_minutes = %(reminder_minutes)s,
    retries_max = %(retries_max)s,
    retry_after_minutes = %(retry_after_minutes)s,
    retry_within_minutes = %(retry_within_minutes)s,
    retry_on_busy = %(retry_on_busy)s,
    retry_on_no_answer = %(retry_on_no_answer)s,
    quiet_from = %(quiet_from)s,
    quiet_until = %(quiet_until)s
WHERE r.user_id = %(user_id)s AND r.id = %(id)s;

-- name: carry_wishes
-- What waits of a schedule gets the schedule's wishes; its time stays.
UPDATE scheduled_calls AS o
SET
    persona_id = r.persona_id,
    phone_number = r.phone_number,
    latest_start_at = o.scheduled_time + make_interval(mins => r.grace_minutes),
    call_pretext = r.call_pretext,
    call_scenario = r.call_scenario,
    requested_seconds = r.requested_seconds,
    reminder_minutes = r.reminder_minutes,
    retries_max = r.retries_max,
    retry_after_minutes = r.retry_after_minutes,
    retry_within_minutes = r.retry_within_minutes,
    retry_on_busy = r.retry_on_busy,
    retry_on_no_answer = r.retry_on_no_answer,
    quiet_from = r.quiet_from,
    quiet_until = r.quiet_until
FROM call_schedules AS r
WHERE
    r.user_id = %(user_id)s AND r.id = %(id)s
    AND o.user_id = r.user_id AND o.schedule_id = r.id AND o.status = 'scheduled';

-- name: begin_anew
-- From now on the schedule's next occurrence is wanted.
UPDATE call_schedules AS r
SET materialised_until = clock_timestamp()
WHERE r.user_id = %(user_id)s AND r.id = %(id)s;

-- name: pause
-- Let a schedule rest, or go on.
UPDATE call_schedules AS r
SET
    paused_at = CASE WHEN %(paused)s::boolean THEN coalesce(r.paused_at, clock_timestamp()) END,
    problem = NULL,
    materialised_until = greatest(r.materialised_until, clock_timestamp())
WHERE r.user_id = %(user_id)s AND r.id = %(id)s;

-- name: end_schedule
-- Nothing more is to come of it. It rests too, so that a call of it that goes on isn't tried again.
UPDATE call_schedules AS r
SET materialised_until = NULL, paused_at = coalesce(r.paused_at, clock_timestamp())
WHERE r.user_id = %(user_id)s AND r.id = %(id)s;

-- name: add_occurrence
-- Give an occurrence its row, once; NULL ends the schedule.
SELECT add_occurrence(%(user_id)s, %(schedule_id)s, %(id)s, %(occurrence)s);

-- name: withdraw
-- Delete what waits of a schedule, or cancel it with a word.
SELECT withdraw_occurrences(%(user_id)s, %(schedule_id)s, %(outcome)s);

-- name: cancel_call
-- canceled, or the status that was faster.
SELECT cancel_scheduled_call(%(user_id)s, %(id)s, %(outcome)s);

-- name: waiting
-- The next occurrence of a schedule that waits.
-- returns: OccurrenceRow
SELECT
    %(schedule_id)s::text AS schedule_id,
    o.id,
    o.scheduled_time AS at,
    o.occurrence,
    o.status,
    o.outcome,
    o.call_id,
    o.attempt
FROM scheduled_calls AS o
WHERE
    o.user_id = %(user_id)s AND o.schedule_id = %(schedule_id)s AND o.status = 'scheduled'
    AND o.occurrence IS NOT NULL
ORDER BY o.scheduled_time
LIMIT 1;

-- name: move_call
-- Another time for a single call, or for an occurrence, that waits; which one it is stays.
UPDATE scheduled_calls AS o
SET scheduled_time = %(at)s
WHERE o.user_id = %(user_id)s AND o.id = %(id)s AND o.status = 'scheduled';

-- name: following
-- A person's schedules that follow the person's zone and are in another one.
-- returns: ZonedSchedule
SELECT
    r.user_id,
    r.id,
    r.rrule,
    r.starts_at_local,
    r.timezone
FROM call_schedules AS r
WHERE
    r.user_id = %(user_id)s AND r.follows_user_zone AND r.materialised_until IS NOT NULL
    AND r.timezone <> %(timezone)s
ORDER BY r.id
FOR NO KEY UPDATE;

-- name: move_to_zone
-- A schedule is read in another zone from now on.
UPDATE call_schedules AS r
SET timezone = %(timezone)s, tzdata_version = %(tzdata_version)s
WHERE r.user_id = %(user_id)s AND r.id = %(id)s;

-- name: zones_in_use
-- Which data of which zones something is planned by.
-- returns: ZoneUse
SELECT DISTINCT
    r.timezone,
    r.tzdata_version
FROM call_schedules AS r
WHERE r.materialised_until IS NOT NULL
ORDER BY r.timezone;

-- name: planned_by
-- Schedules that were planned by other data of a zone than these, from after an id on.
-- returns: ZonedSchedule
SELECT
    r.user_id,
    r.id,
    r.rrule,
    r.starts_at_local,
    r.timezone
FROM call_schedules AS r
WHERE
    r.materialised_until IS NOT NULL AND r.timezone = %(timezone)s
    AND r.tzdata_version IS DISTINCT FROM %(tzdata_version)s AND r.id > %(after_id)s
ORDER BY r.id
LIMIT %(most)s;

-- name: recompute
-- Whether a schedule's next occurrence is another one by the new data of its zone.
SELECT recompute_schedule(%(user_id)s, %(schedule_id)s, %(tzdata_version)s, %(id)s, %(occurrence)s);
