-- Calls, and what is known of each while it lives.

CREATE DOMAIN call_status AS text CONSTRAINT call_status_known CHECK (
    VALUE IN (
        'initiating', 'calling', 'connected', 'in_progress', 'completed', 'failed', 'no_answer', 'busy', 'canceled'
    )
);
CREATE DOMAIN payment_method AS text
CONSTRAINT payment_method_known CHECK (VALUE IN ('stripe', 'credit', 'subscription', 'free'));
CREATE DOMAIN payment_status AS text
CONSTRAINT payment_status_known CHECK (VALUE IN ('pending', 'paid', 'failed', 'credit_used', 'not_charged'));
CREATE DOMAIN call_limit AS text
CONSTRAINT call_limit_known CHECK (VALUE IN ('tier', 'persona', 'request', 'credits', 'call_budget', 'month_budget'));
CREATE DOMAIN answered_by AS text CONSTRAINT answered_by_known CHECK (VALUE IN ('human', 'machine', 'fax', 'unknown'));
CREATE DOMAIN end_reason AS text CONSTRAINT end_reason_length CHECK (length(VALUE) BETWEEN 1 AND 64);
CREATE DOMAIN direction AS text CONSTRAINT direction_known CHECK (VALUE IN ('outbound', 'inbound'));

-- What start_call and finish_call answer. A named row's shape is known; that of OUT parameters is put together by each call.
CREATE TYPE started_call AS (
    call_id text, replayed boolean, granted_seconds integer, hold_credits integer, hold_cents numeric
);
CREATE TYPE finished_call AS (settled boolean, status text, credits_used integer, cost_cents numeric);

CREATE TABLE calls (
    id id NOT NULL,
    user_id id NOT NULL CONSTRAINT calls_user_fkey REFERENCES users (id),
    persona_id id NOT NULL CONSTRAINT calls_persona_fkey REFERENCES personas (id),
    phone_number text NOT NULL,
    twilio_call_sid text,
    status call_status NOT NULL DEFAULT 'initiating',
    payment_method payment_method,
    payment_intent_id text,
    payment_status payment_status,
    estimated_cost_cents cents,
    actual_cost_cents cents,
    credits_used credits,
    start_time timestamptz NOT NULL DEFAULT now(),
    end_time timestamptz,
    duration_seconds seconds,
    error_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    answered_at timestamptz,
    hold_credits credits NOT NULL DEFAULT 0,
    granted_seconds seconds NOT NULL DEFAULT 0,
    hold_cents cents NOT NULL DEFAULT 0,
    price_version_id integer,
    local_day date,
    local_month date,
    hold_open boolean NOT NULL DEFAULT false,
    limited_by call_limit,
    answered_by answered_by,
    end_reason end_reason,
    carrier_duration_seconds integer,
    turn_count integer,
    interrupt_count integer,
    avg_response_time_ms integer,
    direction direction NOT NULL DEFAULT 'outbound',
    call_pretext text,
    call_scenario text,
    custom_instructions text,
    voice_id text,
    -- The call first: it is looked up by its id alone, and new ids, which grow with time, stay together in the index.
    CONSTRAINT calls_pkey PRIMARY KEY (id, user_id)
) WITH (fillfactor = 75);
CREATE INDEX idx_calls_user_created ON calls (user_id, created_at DESC);
CREATE INDEX idx_calls_persona ON calls (persona_id);
CREATE INDEX idx_calls_created ON calls USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE calls IS
'Every call, from the intent to the settlement. Terminal only by finish_call; then costs, credits and transcript are there.';
COMMENT ON COLUMN calls.phone_number IS 'pii:phone. E.164; emptied to the last digits when the person is erased.';
COMMENT ON COLUMN calls.twilio_call_sid IS 'The carrier''s id, once it accepted the call.';
COMMENT ON COLUMN calls.estimated_cost_cents IS 'The most that was agreed at the start, in cents.';
COMMENT ON COLUMN calls.actual_cost_cents IS 'Vendors'' cost in cents, exact; equals the breakdown''s total.';
COMMENT ON COLUMN calls.credits_used IS 'Started minutes that were charged.';
COMMENT ON COLUMN calls.start_time IS 'When the call was asked for; answered_at is when the talk began.';
COMMENT ON COLUMN calls.duration_seconds IS 'Connected seconds by our clock.';
COMMENT ON COLUMN calls.error_message IS 'Stable words for the person; never a vendor''s text.';
COMMENT ON COLUMN calls.answered_at IS 'When it was picked up; connected seconds count from here.';
COMMENT ON COLUMN calls.hold_credits IS 'Credits set aside at the start; nothing is added later.';
COMMENT ON COLUMN calls.granted_seconds IS 'Longest talk allowed; also the carrier''s time limit.';
COMMENT ON COLUMN calls.hold_cents IS 'Vendors'' cost allowed, at the worst case for the granted length.';
COMMENT ON COLUMN calls.price_version_id IS 'Row of price_versions, which are never changed once used; no foreign key, as its index would be written by every call.';
COMMENT ON COLUMN calls.local_day IS 'The person''s day that counted this call.';
COMMENT ON COLUMN calls.local_month IS 'First day of the person''s month that bears the cost.';
COMMENT ON COLUMN calls.hold_open IS 'True from start_call to finish_call, which settles from the hold that stands beside the breakdown.';
COMMENT ON COLUMN calls.limited_by IS 'Which limit set granted_seconds.';
COMMENT ON COLUMN calls.answered_by IS 'Who picked up, by the carrier''s detection and our own ears.';
COMMENT ON COLUMN calls.end_reason IS 'Why it ended, a stable word.';
COMMENT ON COLUMN calls.carrier_duration_seconds IS 'The carrier''s own count, for reconciliation.';
COMMENT ON COLUMN calls.turn_count IS 'Exchanges: how often the person spoke.';
COMMENT ON COLUMN calls.avg_response_time_ms IS 'From the end of the person''s speech to the first audio of the answer.';
COMMENT ON COLUMN calls.call_pretext IS 'pii:content. Why the person wants to be called; context layer of the prompt.';
COMMENT ON COLUMN calls.call_scenario IS 'pii:content. Text of the scenario at the time.';
COMMENT ON COLUMN calls.custom_instructions IS 'pii:content. What else the person asked for.';
COMMENT ON COLUMN calls.voice_id IS 'Voice for this call alone; NULL inherits.';

CREATE TABLE open_calls (
    user_id id CONSTRAINT open_calls_pkey PRIMARY KEY,
    call_id id NOT NULL,
    created_at timestamptz NOT NULL,
    dial_before timestamptz NOT NULL,
    dial_claimed_at timestamptz,
    dial_claimed_by text,
    reaper_leased_until timestamptz,
    CONSTRAINT open_calls_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES calls (user_id, id)
    DEFERRABLE INITIALLY DEFERRED
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE open_calls IS
'One row per person with an open hold: the key is the rule of one open call, the rows are the dialler''s outbox and the reaper''s list. Small and busy.';
COMMENT ON COLUMN open_calls.dial_before IS 'A call that waits longer to be dialled is canceled.';
COMMENT ON COLUMN open_calls.dial_claimed_at IS 'When a dialler took it; it is dialled at most once.';
COMMENT ON COLUMN open_calls.reaper_leased_until IS 'Until then one reaper looks after it.';

CREATE TABLE dial_buckets (
    carrier text CONSTRAINT dial_buckets_pkey PRIMARY KEY,
    calls_per_second numeric(10, 3) NOT NULL CONSTRAINT dial_buckets_rate CHECK (calls_per_second > 0),
    burst integer NOT NULL CONSTRAINT dial_buckets_burst CHECK (burst >= 1),
    tokens numeric(20, 6) NOT NULL CONSTRAINT dial_buckets_tokens CHECK (tokens >= 0),
    refilled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE dial_buckets IS 'How many calls a second the carrier takes, shared by every process that dials.';

CREATE TABLE carrier_events (
    user_id id NOT NULL,
    call_id id NOT NULL,
    kind text NOT NULL CONSTRAINT carrier_events_kind CHECK (kind IN ('status', 'voice', 'amd', 'stream', 'lookup')),
    event_key text NOT NULL CONSTRAINT carrier_events_key_length CHECK (length(event_key) BETWEEN 1 AND 128),
    carrier_status text,
    answered_by text CONSTRAINT carrier_events_answered_by_length CHECK (length(answered_by) BETWEEN 1 AND 64),
    verdict text NOT NULL CONSTRAINT carrier_events_verdict CHECK (verdict IN ('applied', 'ignored')),
    reason text,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT carrier_events_pkey PRIMARY KEY (user_id, call_id, kind, event_key),
    CONSTRAINT carrier_events_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES calls (user_id, id)
);
COMMENT ON TABLE carrier_events IS 'What the carrier told us of a call, each once, with what it did.';
COMMENT ON COLUMN carrier_events.event_key IS 'The carrier''s sequence number, or a hash of the body where it sends none.';
COMMENT ON COLUMN carrier_events.answered_by IS
'The carrier''s own word for who picked up, which tells machines apart; calls.answered_by is ours.';
COMMENT ON COLUMN carrier_events.reason IS 'Why it was ignored.';

CREATE TABLE transcripts (
    user_id id NOT NULL,
    call_id id NOT NULL,
    seq integer NOT NULL CONSTRAINT transcripts_seq CHECK (seq >= 0),
    speaker text NOT NULL CONSTRAINT transcripts_speaker CHECK (speaker IN ('persona', 'user')),
    text text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT transcripts_pkey PRIMARY KEY (user_id, call_id, seq),
    CONSTRAINT transcripts_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES calls (user_id, id)
);
COMMENT ON TABLE transcripts IS 'Who said what, turn by turn, as it was heard.';
COMMENT ON COLUMN transcripts.text IS 'pii:content. Words of the call.';

CREATE TABLE idempotency_keys (
    user_id id NOT NULL CONSTRAINT idempotency_keys_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    key text NOT NULL CONSTRAINT idempotency_keys_length CHECK (length(key) BETWEEN 1 AND 200),
    request_hash bytea NOT NULL,
    state text NOT NULL CONSTRAINT idempotency_keys_state CHECK (state IN ('in_progress', 'done')),
    resource_id text,
    answer jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key)
);
CREATE INDEX idx_idempotency_keys_created ON idempotency_keys (created_at);
COMMENT ON TABLE idempotency_keys IS 'First answers to requests that carried a key; refusals are not kept. Kept two days.';
COMMENT ON COLUMN idempotency_keys.key IS 'pii:content. Chosen by the client.';
COMMENT ON COLUMN idempotency_keys.answer IS 'pii:content. The first answer where the resource alone doesn''t tell it.';
