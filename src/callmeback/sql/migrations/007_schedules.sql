-- Calls to come: what repeats, and each single occurrence.

CREATE TABLE call_schedules (
    user_id id NOT NULL CONSTRAINT call_schedules_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    id id NOT NULL,
    persona_id id NOT NULL CONSTRAINT call_schedules_persona_fkey REFERENCES personas (id),
    phone_number text NOT NULL,
    rrule text NOT NULL CONSTRAINT call_schedules_rrule_length CHECK (length(rrule) BETWEEN 1 AND 500),
    starts_at_local text NOT NULL
    CONSTRAINT call_schedules_starts_local CHECK (starts_at_local ~ '^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$'),
    timezone text NOT NULL,
    tzdata_version text,
    ends_at timestamptz,
    remaining_count integer CONSTRAINT call_schedules_remaining CHECK (remaining_count >= 0),
    paused_at timestamptz,
    call_pretext text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT call_schedules_pkey PRIMARY KEY (user_id, id)
);
CREATE INDEX idx_call_schedules_id ON call_schedules (id);
CREATE INDEX idx_call_schedules_persona ON call_schedules (persona_id);
COMMENT ON TABLE call_schedules IS 'A rule by which calls repeat (RFC 5545), in the person''s local time.';
COMMENT ON COLUMN call_schedules.phone_number IS 'pii:phone. E.164.';
COMMENT ON COLUMN call_schedules.starts_at_local IS 'DTSTART as local time without offset, ISO 8601.';
COMMENT ON COLUMN call_schedules.timezone IS 'IANA zone in which the rule is read.';
COMMENT ON COLUMN call_schedules.tzdata_version IS 'Zone data that computed the next occurrence.';
COMMENT ON COLUMN call_schedules.call_pretext IS 'pii:content. Context layer of the prompt.';

CREATE TABLE scheduled_calls (
    id id NOT NULL,
    user_id id NOT NULL CONSTRAINT scheduled_calls_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    persona_id id NOT NULL CONSTRAINT scheduled_calls_persona_fkey REFERENCES personas (id),
    phone_number text NOT NULL,
    scheduled_time timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'scheduled'
    CONSTRAINT scheduled_calls_status CHECK (
        status IN ('scheduled', 'executing', 'executed', 'failed', 'canceled', 'missed')
    ),
    executed_at timestamptz,
    call_id id,
    schedule_id id,
    occurrence timestamptz,
    latest_start_at timestamptz,
    claimed_by text,
    lease_until timestamptz,
    outcome text,
    call_pretext text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scheduled_calls_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT scheduled_calls_occurrence_key UNIQUE (user_id, schedule_id, occurrence),
    CONSTRAINT scheduled_calls_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES calls (user_id, id),
    CONSTRAINT scheduled_calls_schedule_fkey FOREIGN KEY (user_id, schedule_id)
    REFERENCES call_schedules (user_id, id) ON DELETE CASCADE
);
CREATE INDEX idx_scheduled_calls_id ON scheduled_calls (id);
CREATE INDEX idx_scheduled_calls_scheduled_time ON scheduled_calls (scheduled_time) WHERE status = 'scheduled';
CREATE INDEX idx_scheduled_calls_lease ON scheduled_calls (lease_until) WHERE status = 'executing';
CREATE INDEX idx_scheduled_calls_user_time ON scheduled_calls (user_id, scheduled_time DESC);
CREATE INDEX idx_scheduled_calls_persona ON scheduled_calls (persona_id);
CREATE INDEX idx_scheduled_calls_call ON scheduled_calls (user_id, call_id) WHERE call_id IS NOT NULL;
COMMENT ON TABLE scheduled_calls IS 'One row per call to come. Dialled once, or missed and shown.';
COMMENT ON COLUMN scheduled_calls.phone_number IS 'pii:phone. E.164.';
COMMENT ON COLUMN scheduled_calls.occurrence IS 'Which occurrence of the schedule this is; each exists once.';
COMMENT ON COLUMN scheduled_calls.latest_start_at IS 'Past this it is missed, not dialled.';
COMMENT ON COLUMN scheduled_calls.lease_until IS 'Until then the worker that claimed it is trusted to act.';
COMMENT ON COLUMN scheduled_calls.outcome IS 'What became of it, a stable word.';
COMMENT ON COLUMN scheduled_calls.call_pretext IS 'pii:content. Context layer of the prompt.';

CREATE TABLE unknown_caller_attempts (
    phone_number text CONSTRAINT unknown_caller_attempts_pkey PRIMARY KEY,
    persona_id id CONSTRAINT unknown_caller_attempts_persona_fkey REFERENCES personas (id) ON DELETE SET NULL,
    first_call_at timestamptz NOT NULL DEFAULT now(),
    last_call_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 1 CONSTRAINT unknown_caller_attempts_count CHECK (attempts > 0),
    converted_user_id id
    CONSTRAINT unknown_caller_attempts_user_fkey REFERENCES users (id) ON DELETE SET NULL,
    blocked_at timestamptz,
    notes text
);
CREATE INDEX idx_unknown_caller_attempts_persona ON unknown_caller_attempts (persona_id) WHERE persona_id IS NOT NULL;
CREATE INDEX idx_unknown_caller_attempts_user ON unknown_caller_attempts (converted_user_id)
WHERE converted_user_id IS NOT NULL;
COMMENT ON TABLE unknown_caller_attempts IS 'Numbers without an account that rang a persona.';
COMMENT ON COLUMN unknown_caller_attempts.phone_number IS 'pii:phone. E.164.';
COMMENT ON COLUMN unknown_caller_attempts.notes IS 'pii:content. The operator''s note.';
