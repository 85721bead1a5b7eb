-- Where credits went, and what each call cost.

CREATE DOMAIN entry_number AS bigint CONSTRAINT entry_number_positive CHECK (VALUE > 0);
CREATE DOMAIN entry_amount AS integer CONSTRAINT entry_amount_not_zero CHECK (VALUE <> 0);
CREATE DOMAIN entry_type AS text CONSTRAINT entry_type_known CHECK (
    VALUE IN (
        'purchase', 'subscription_refill', 'call_deduction', 'refund', 'admin_adjustment', 'promotion', 'expiry'
    )
);
CREATE DOMAIN entry_cause AS text CONSTRAINT entry_cause_length CHECK (length(VALUE) BETWEEN 3 AND 200);
CREATE DOMAIN audio_seconds AS numeric(14, 4) CONSTRAINT audio_seconds_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN cost_event_type AS text
CONSTRAINT cost_event_type_known CHECK (VALUE IN ('turn', 'interval', 'finish', 'late'));

CREATE TABLE credit_transactions (
    id text,
    user_id id NOT NULL CONSTRAINT credit_transactions_user_fkey REFERENCES users (id),
    seq entry_number NOT NULL,
    amount entry_amount NOT NULL,
    balance_before integer NOT NULL,
    balance_after integer NOT NULL,
    type entry_type NOT NULL,
    cause entry_cause NOT NULL,
    call_id id,
    payment_intent_id text,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT credit_transactions_pkey PRIMARY KEY (user_id, seq),
    CONSTRAINT credit_transactions_cause_key UNIQUE (user_id, cause),
    CONSTRAINT credit_transactions_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES calls (user_id, id),
    CONSTRAINT credit_transactions_balance CHECK (balance_after = balance_before + amount)
);
CREATE INDEX idx_credit_transactions_call ON credit_transactions (user_id, call_id) WHERE call_id IS NOT NULL;
CREATE INDEX idx_credit_transactions_created ON credit_transactions USING brin (created_at)
WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE credit_transactions IS
'The ledger: append-only, numbered without gaps per account, each cause at most once. Holds no personal text.';
COMMENT ON COLUMN credit_transactions.id IS 'Id of an adopted row; rows made here are known by account and number.';
COMMENT ON COLUMN credit_transactions.amount IS 'Credits in (+) or out (-).';
COMMENT ON COLUMN credit_transactions.balance_before IS 'available + held - debt before this row.';
COMMENT ON COLUMN credit_transactions.cause IS 'What moved the credits: call:…, purchase:…, refund:…, period:…, adjust:….';
COMMENT ON COLUMN credit_transactions.description IS 'The house''s words; nothing about a person.';

CREATE TABLE call_cost_breakdowns (
    id text,
    call_id id NOT NULL,
    user_id id NOT NULL,
    meter_seq integer NOT NULL DEFAULT 0,
    price_version_id integer NOT NULL,
    twilio_duration_seconds seconds NOT NULL DEFAULT 0,
    cerebras_input_tokens quantity NOT NULL DEFAULT 0,
    cerebras_output_tokens quantity NOT NULL DEFAULT 0,
    elevenlabs_characters quantity NOT NULL DEFAULT 0,
    fallback_input_tokens quantity NOT NULL DEFAULT 0,
    fallback_output_tokens quantity NOT NULL DEFAULT 0,
    local_characters quantity NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    hold_credits credits NOT NULL DEFAULT 0,
    granted_seconds seconds NOT NULL DEFAULT 0,
    local_month date NOT NULL DEFAULT '2000-01-01',
    hold_cents cents NOT NULL DEFAULT 0,
    deepgram_audio_seconds audio_seconds NOT NULL DEFAULT 0,
    twilio_cost_cents numeric(20, 10) NOT NULL DEFAULT 0,
    deepgram_cost_cents numeric(20, 10) NOT NULL DEFAULT 0,
    cerebras_cost_cents numeric(20, 10) NOT NULL DEFAULT 0,
    elevenlabs_cost_cents numeric(20, 10) NOT NULL DEFAULT 0,
    total_cost_cents numeric(20, 10) NOT NULL DEFAULT 0,
    has_events boolean NOT NULL DEFAULT false,
    -- The call first: the specification's queries know a breakdown by its call alone.
    CONSTRAINT call_cost_breakdowns_pkey PRIMARY KEY (call_id, user_id),
    CONSTRAINT call_cost_breakdowns_call_fkey FOREIGN KEY (user_id, call_id)
    REFERENCES calls (user_id, id) ON DELETE CASCADE,
    CONSTRAINT call_cost_breakdowns_total CHECK (
        total_cost_cents = twilio_cost_cents + deepgram_cost_cents + cerebras_cost_cents + elevenlabs_cost_cents
    )
) WITH (fillfactor = 60);
CREATE INDEX idx_cost_breakdowns_created ON call_cost_breakdowns USING brin (created_at)
WITH (pages_per_range = 32, autosummarize = on);
COMMENT ON TABLE call_cost_breakdowns IS
'What a call used and cost so far, from its first second: cumulative, so that writing it twice changes nothing.';
COMMENT ON COLUMN call_cost_breakdowns.id IS 'Id of an adopted row; rows made here are known by their call.';
COMMENT ON COLUMN call_cost_breakdowns.price_version_id IS 'Row of price_versions that prices this call; no foreign key, as for calls.';
COMMENT ON COLUMN call_cost_breakdowns.meter_seq IS 'Number of the newest state; an older one is dropped.';
COMMENT ON COLUMN call_cost_breakdowns.seen_at IS 'Heartbeat: when a voice process last reported this call.';
COMMENT ON COLUMN call_cost_breakdowns.settled_at IS 'When the call was settled; later usage still counts here and for its month.';
COMMENT ON COLUMN call_cost_breakdowns.hold_credits IS
'The hold of calls, written once beside what is used of it: a call is metered and settled by this row, without a look at the other.';
COMMENT ON COLUMN call_cost_breakdowns.granted_seconds IS 'As in calls.';
COMMENT ON COLUMN call_cost_breakdowns.local_month IS 'As in calls.';
COMMENT ON COLUMN call_cost_breakdowns.hold_cents IS 'As in calls.';
COMMENT ON COLUMN call_cost_breakdowns.has_events IS 'Whether call_cost_events has rows of this call: without, the next is the whole state.';
COMMENT ON COLUMN call_cost_breakdowns.twilio_duration_seconds IS 'Connected seconds so far.';
COMMENT ON COLUMN call_cost_breakdowns.deepgram_audio_seconds IS 'Seconds of audio the listener was sent, or its socket''s life if longer.';
COMMENT ON COLUMN call_cost_breakdowns.fallback_input_tokens IS 'Tokens of the second brain, priced by its own rate; part of cerebras_cost_cents.';
COMMENT ON COLUMN call_cost_breakdowns.local_characters IS 'Characters of the local voice, priced by its own rate; part of elevenlabs_cost_cents.';
COMMENT ON COLUMN call_cost_breakdowns.total_cost_cents IS 'Exact cents; each leg rounded once, at ten decimals, from its cumulative quantities.';

CREATE TABLE call_cost_events (
    call_month date NOT NULL,
    user_id id NOT NULL,
    call_id id NOT NULL,
    seq integer NOT NULL,
    event_type cost_event_type NOT NULL,
    twilio_duration_seconds integer NOT NULL,
    cerebras_input_tokens integer NOT NULL,
    cerebras_output_tokens integer NOT NULL,
    elevenlabs_characters integer NOT NULL,
    fallback_input_tokens integer NOT NULL,
    fallback_output_tokens integer NOT NULL,
    local_characters integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    deepgram_audio_seconds numeric(14, 4) NOT NULL,
    twilio_cost_cents numeric(20, 10) NOT NULL,
    deepgram_cost_cents numeric(20, 10) NOT NULL,
    cerebras_cost_cents numeric(20, 10) NOT NULL,
    elevenlabs_cost_cents numeric(20, 10) NOT NULL,
    total_cost_cents numeric(20, 10) NOT NULL,
    metadata jsonb,
    CONSTRAINT call_cost_events_pkey PRIMARY KEY (call_month, call_id, seq)
) PARTITION BY RANGE (call_month);
CREATE TABLE call_cost_events_default PARTITION OF call_cost_events DEFAULT;
COMMENT ON TABLE call_cost_events IS
'Differences of two cumulative states of a breakdown; their sum is the breakdown. By month of the call (UTC), kept 90 days. No foreign key, on purpose: a month is dropped at once.';
COMMENT ON TABLE call_cost_events_default IS 'Catches a month without a partition; the doctor is red if it holds a row.';
COMMENT ON COLUMN call_cost_events.call_month IS 'First day of the UTC month in which the call was placed.';

CREATE TABLE credit_grants (
    user_id id NOT NULL CONSTRAINT credit_grants_user_fkey REFERENCES users (id),
    id id NOT NULL,
    credits integer NOT NULL CONSTRAINT credit_grants_credits CHECK (credits > 0),
    cause text NOT NULL,
    granted_seq bigint NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    expired_at timestamptz,
    CONSTRAINT credit_grants_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT credit_grants_cause_key UNIQUE (user_id, cause),
    CONSTRAINT credit_grants_ledger_fkey FOREIGN KEY (user_id, granted_seq)
    REFERENCES credit_transactions (user_id, seq)
);
CREATE INDEX idx_credit_grants_ledger ON credit_grants (user_id, granted_seq);
CREATE INDEX idx_credit_grants_expiry ON credit_grants (expires_at) WHERE expired_at IS NULL;
COMMENT ON TABLE credit_grants IS 'Promotional credits that expire, earliest first.';
COMMENT ON COLUMN credit_grants.granted_seq IS 'The ledger row that gave them.';
COMMENT ON COLUMN credit_grants.expired_at IS 'When the rest was taken back.';

CREATE TABLE payment_events (
    id text CONSTRAINT payment_events_pkey PRIMARY KEY,
    type text NOT NULL,
    created_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL CONSTRAINT payment_events_state CHECK (state IN ('applied', 'ignored', 'unmatched')),
    effect text,
    user_id id CONSTRAINT payment_events_user_fkey REFERENCES users (id),
    attempts integer NOT NULL DEFAULT 1 CONSTRAINT payment_events_attempts CHECK (attempts > 0),
    retry_at timestamptz,
    payload jsonb
);
CREATE INDEX idx_payment_events_user ON payment_events (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX idx_payment_events_retry ON payment_events (retry_at) WHERE state = 'unmatched';
COMMENT ON TABLE payment_events IS 'Every signed event of the payment provider by its id, with what it did; unmatched ones are tried again.';
COMMENT ON COLUMN payment_events.payload IS 'pii:content. The event; emptied when the person is erased.';

CREATE TABLE purchases (
    user_id id NOT NULL CONSTRAINT purchases_user_fkey REFERENCES users (id),
    id id NOT NULL,
    stripe_session_id text,
    payment_intent_id text,
    stripe_customer_id text,
    sku text NOT NULL,
    credits integer NOT NULL CONSTRAINT purchases_credits CHECK (credits >= 0),
    amount_cents numeric(12, 2) NOT NULL CONSTRAINT purchases_amount CHECK (amount_cents >= 0),
    discount_cents numeric(12, 2) NOT NULL DEFAULT 0 CONSTRAINT purchases_discount CHECK (discount_cents >= 0),
    currency text NOT NULL CONSTRAINT purchases_currency CHECK (currency ~ '^[a-z]{3}$'),
    coupon text,
    status text NOT NULL CONSTRAINT purchases_status CHECK (status IN ('pending', 'completed', 'failed', 'refunded')),
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT purchases_pkey PRIMARY KEY (user_id, id)
);
CREATE UNIQUE INDEX purchases_stripe_session_key ON purchases (stripe_session_id) WHERE stripe_session_id IS NOT NULL;
CREATE INDEX idx_purchases_payment_intent ON purchases (payment_intent_id) WHERE payment_intent_id IS NOT NULL;
COMMENT ON TABLE purchases IS 'Credits bought with money, from the intent to the payment.';
