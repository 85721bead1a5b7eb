-- What the worker needs to ring when it was promised, once: retries, reminders, fences, and the house's periodic work.

-- No release wrote a schedule or a call to come before this file: locks and rewrites are short.
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-creation, require-concurrent-index-deletion
-- squawk-ignore-file adding-foreign-key-constraint, disallowed-unique-constraint, adding-serial-primary-key-field
-- squawk-ignore-file prefer-robust-stmts, ban-drop-constraint

ALTER TABLE call_schedules
ADD COLUMN call_scenario text,
ADD COLUMN requested_seconds integer
CONSTRAINT call_schedules_requested CHECK (requested_seconds BETWEEN 60 AND 14400),
ADD COLUMN grace_minutes integer NOT NULL DEFAULT 15
CONSTRAINT call_schedules_grace CHECK (grace_minutes BETWEEN 1 AND 1440),
ADD COLUMN reminder_minutes integer
CONSTRAINT call_schedules_reminder CHECK (reminder_minutes BETWEEN 0 AND 1440),
ADD COLUMN retries_max integer NOT NULL DEFAULT 0
CONSTRAINT call_schedules_retries CHECK (retries_max BETWEEN 0 AND 5),
ADD COLUMN retry_after_minutes integer NOT NULL DEFAULT 10
CONSTRAINT call_schedules_retry_after CHECK (retry_after_minutes BETWEEN 1 AND 240),
ADD COLUMN retry_within_minutes integer NOT NULL DEFAULT 120
CONSTRAINT call_schedules_retry_within CHECK (retry_within_minutes BETWEEN 1 AND 1440),
ADD COLUMN retry_on_busy boolean NOT NULL DEFAULT true,
ADD COLUMN retry_on_no_answer boolean NOT NULL DEFAULT true,
ADD COLUMN quiet_from time,
ADD COLUMN quiet_until time,
ADD COLUMN follows_user_zone boolean NOT NULL DEFAULT false,
ADD COLUMN materialised_until timestamptz DEFAULT now(),
ADD COLUMN problem text
CONSTRAINT call_schedules_problem CHECK (problem ~ '^[a-z_]{1,64}$'),
ADD CONSTRAINT call_schedules_quiet_both CHECK ((quiet_from IS NULL) = (quiet_until IS NULL)),
ADD CONSTRAINT call_schedules_timezone_length CHECK (length(timezone) BETWEEN 1 AND 64);
CREATE INDEX idx_call_schedules_due ON call_schedules (materialised_until)
WHERE materialised_until IS NOT NULL AND paused_at IS NULL;
COMMENT ON COLUMN call_schedules.call_scenario IS 'pii:content. Scenario layer of the prompt.';
COMMENT ON COLUMN call_schedules.requested_seconds IS 'Longest talk that was asked for; NULL is as long as may be.';
COMMENT ON COLUMN call_schedules.grace_minutes IS 'So long after its time a call may still begin; then it is missed.';
COMMENT ON COLUMN call_schedules.reminder_minutes IS 'A text so long before the call; 0 is none, NULL is what the person prefers.';
COMMENT ON COLUMN call_schedules.retries_max IS 'How often a busy or unanswered call is tried again.';
COMMENT ON COLUMN call_schedules.retry_within_minutes IS 'No retry begins later than so long after the time that was promised.';
COMMENT ON COLUMN call_schedules.follows_user_zone IS 'Whether timezone moves along with the person''s own.';
COMMENT ON COLUMN call_schedules.quiet_from IS 'Local time from which no retry rings, until quiet_until; the times asked for always ring.';
COMMENT ON COLUMN call_schedules.quiet_until IS 'Local time from which retries ring again.';
COMMENT ON COLUMN call_schedules.materialised_until IS
'Newest occurrence that has its row. Once it is past, the worker adds the next one; NULL: nothing more is to come.';
COMMENT ON COLUMN call_schedules.problem IS 'Why the house paused it, a stable word.';
COMMENT ON COLUMN call_schedules.remaining_count IS 'Occurrences that may still be added; NULL is without end.';

-- As in calls: looked up by its id alone, and new ids stay together in the index.
ALTER TABLE scheduled_calls DROP CONSTRAINT scheduled_calls_pkey;
ALTER TABLE scheduled_calls ADD CONSTRAINT scheduled_calls_pkey PRIMARY KEY (id, user_id);
DROP INDEX idx_scheduled_calls_id;
-- One-shot calls, which have no schedule, stay out of it.
ALTER TABLE scheduled_calls DROP CONSTRAINT scheduled_calls_occurrence_key;
CREATE UNIQUE INDEX scheduled_calls_occurrence_key ON scheduled_calls (user_id, schedule_id, occurrence)
WHERE schedule_id IS NOT NULL;

ALTER TABLE scheduled_calls
ADD COLUMN claims integer NOT NULL DEFAULT 0,
ADD COLUMN attempt integer NOT NULL DEFAULT 1
CONSTRAINT scheduled_calls_attempt CHECK (attempt BETWEEN 1 AND 6),
ADD COLUMN retry_of id,
ADD COLUMN promised_at timestamptz,
ADD COLUMN call_scenario text,
ADD COLUMN requested_seconds integer
CONSTRAINT scheduled_calls_requested CHECK (requested_seconds BETWEEN 60 AND 14400),
ADD COLUMN remind_at timestamptz,
ADD COLUMN reminder_minutes integer
CONSTRAINT scheduled_calls_reminder CHECK (reminder_minutes BETWEEN 0 AND 1440),
ADD COLUMN retries_max integer NOT NULL DEFAULT 0
CONSTRAINT scheduled_calls_retries CHECK (retries_max BETWEEN 0 AND 5),
ADD COLUMN retry_after_minutes integer NOT NULL DEFAULT 10
CONSTRAINT scheduled_calls_retry_after CHECK (retry_after_minutes BETWEEN 1 AND 240),
ADD COLUMN retry_within_minutes integer NOT NULL DEFAULT 120
CONSTRAINT scheduled_calls_retry_within CHECK (retry_within_minutes BETWEEN 1 AND 1440),
ADD COLUMN retry_on_busy boolean NOT NULL DEFAULT true,
ADD COLUMN retry_on_no_answer boolean NOT NULL DEFAULT true,
ADD COLUMN quiet_from time,
ADD COLUMN quiet_until time,
ADD COLUMN timezone text
CONSTRAINT scheduled_calls_timezone_length CHECK (length(timezone) BETWEEN 1 AND 64),
ADD CONSTRAINT scheduled_calls_quiet_both CHECK ((quiet_from IS NULL) = (quiet_until IS NULL)),
ADD CONSTRAINT scheduled_calls_outcome CHECK (outcome ~ '^[a-z_]{1,64}$'),
ADD CONSTRAINT scheduled_calls_grace CHECK (
    latest_start_at >= scheduled_time AND latest_start_at <= scheduled_time + interval '1 day'
),
ADD CONSTRAINT scheduled_calls_retry_fkey FOREIGN KEY (user_id, retry_of)
REFERENCES scheduled_calls (user_id, id) ON DELETE SET NULL (retry_of);
CREATE UNIQUE INDEX scheduled_calls_retry_key ON scheduled_calls (user_id, retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX idx_scheduled_calls_remind ON scheduled_calls (remind_at) WHERE remind_at IS NOT NULL;
-- Executed ones whose call goes on: as many as there are open calls.
CREATE INDEX idx_scheduled_calls_unsettled ON scheduled_calls (executed_at) WHERE status = 'executed' AND outcome IS NULL;
COMMENT ON COLUMN scheduled_calls.claims IS
'How often it was claimed: the fence. Who claimed it then and finds another number here may not act any more.';
COMMENT ON COLUMN scheduled_calls.attempt IS '1, and one more with each retry.';
COMMENT ON COLUMN scheduled_calls.retry_of IS 'The call that was busy or not answered; it has one retry at most.';
COMMENT ON COLUMN scheduled_calls.promised_at IS 'The time of the first attempt, which the window of retries counts from.';
COMMENT ON COLUMN scheduled_calls.call_scenario IS 'pii:content. Scenario layer of the prompt.';
COMMENT ON COLUMN scheduled_calls.requested_seconds IS 'Longest talk that was asked for; NULL is as long as may be.';
COMMENT ON COLUMN scheduled_calls.retries_max IS 'How often it is tried again when it is busy or not answered.';
COMMENT ON COLUMN scheduled_calls.retry_within_minutes IS 'No retry begins later than so long after promised_at.';
COMMENT ON COLUMN scheduled_calls.quiet_from IS 'Local time from which no retry rings, until quiet_until.';
COMMENT ON COLUMN scheduled_calls.quiet_until IS 'Local time from which retries ring again.';
COMMENT ON COLUMN scheduled_calls.remind_at IS 'When the text before the call is due; NULL once it was sent or none is wanted.';
COMMENT ON COLUMN scheduled_calls.timezone IS 'IANA zone of the quiet hours; NULL is the person''s.';

CREATE TABLE calendar_feeds (
    user_id id CONSTRAINT calendar_feeds_pkey PRIMARY KEY
    CONSTRAINT calendar_feeds_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    token_hash bytea NOT NULL CONSTRAINT calendar_feeds_token_key UNIQUE
    CONSTRAINT calendar_feeds_token_length CHECK (octet_length(token_hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE calendar_feeds IS 'The secret link under which a person''s calls to come are read as iCalendar; one at a time.';
COMMENT ON COLUMN calendar_feeds.token_hash IS 'secret. SHA-256 of the link''s token.';

CREATE TABLE jobs (
    name text CONSTRAINT jobs_pkey PRIMARY KEY
    CONSTRAINT jobs_name_form CHECK (name ~ '^[a-z][a-z_]{0,63}$'),
    every interval NOT NULL CONSTRAINT jobs_every CHECK (every >= interval '1 second'),
    next_run_at timestamptz NOT NULL DEFAULT now(),
    claimed_by text,
    lease_until timestamptz,
    runs bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0 CONSTRAINT jobs_failures CHECK (failures >= 0),
    last_started_at timestamptz,
    last_finished_at timestamptz,
    last_duration_ms integer CONSTRAINT jobs_duration CHECK (last_duration_ms >= 0),
    last_result_count bigint,
    last_error text CONSTRAINT jobs_error CHECK (last_error ~ '^[a-z][a-z_]{0,63}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE jobs IS 'The house''s periodic work: each job runs at one worker at a time, and again after "every".';
COMMENT ON COLUMN jobs.claimed_by IS 'The worker that runs it now.';
COMMENT ON COLUMN jobs.lease_until IS 'After this another worker takes it: the one that had it is gone.';
COMMENT ON COLUMN jobs.runs IS 'Runs that were begun; also the fence of a run.';
COMMENT ON COLUMN jobs.failures IS 'Failures since the last success.';
COMMENT ON COLUMN jobs.last_result_count IS 'How many things the last run did, where it counts them.';
COMMENT ON COLUMN jobs.last_error IS 'Why the last failure failed, a stable word; NULL after a success.';
