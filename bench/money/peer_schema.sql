-- The peer: the specification's tables that a call touches, with its own ids, keys and indexes, in an order that works.
CREATE TABLE personas (id varchar(100) PRIMARY KEY, name varchar(255) NOT NULL, core_system_prompt text NOT NULL);
CREATE TABLE users (id varchar(255) PRIMARY KEY, email varchar(255) UNIQUE NOT NULL, password_hash varchar(255) NOT NULL);
CREATE INDEX idx_users_email ON users (email);
CREATE TABLE user_credits (
    user_id varchar(255) PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    available_credits integer DEFAULT 0,
    subscription_tier varchar(50) DEFAULT 'free',
    subscription_status varchar(50),
    subscription_stripe_id varchar(255),
    subscription_start_date timestamp,
    subscription_end_date timestamp,
    monthly_credit_allowance integer DEFAULT 0,
    max_calls_per_day integer DEFAULT 3,
    max_call_duration_seconds integer DEFAULT 600,
    created_at timestamp DEFAULT current_timestamp,
    updated_at timestamp DEFAULT current_timestamp
);
CREATE TABLE calls (
    id varchar(255) PRIMARY KEY,
    user_id varchar(255) NOT NULL,
    persona_id varchar(255) NOT NULL REFERENCES personas (id),
    phone_number varchar(50) NOT NULL,
    twilio_call_sid varchar(255),
    status varchar(50) NOT NULL DEFAULT 'initiating',
    payment_method varchar(50),
    payment_intent_id varchar(255),
    payment_status varchar(50),
    estimated_cost_cents integer,
    actual_cost_cents integer,
    credits_used integer,
    start_time timestamp DEFAULT current_timestamp,
    end_time timestamp,
    duration_seconds integer,
    error_message text,
    created_at timestamp DEFAULT current_timestamp,
    updated_at timestamp DEFAULT current_timestamp
);
CREATE INDEX idx_calls_user_id ON calls (user_id);
CREATE INDEX idx_calls_persona_id ON calls (persona_id);
CREATE INDEX idx_calls_status ON calls (status);
CREATE TABLE credit_transactions (
    id varchar(255) PRIMARY KEY,
    user_id varchar(255) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    amount integer NOT NULL,
    type varchar(50) NOT NULL,
    call_id varchar(255) REFERENCES calls (id) ON DELETE SET NULL,
    payment_intent_id varchar(255),
    description text,
    balance_before integer,
    balance_after integer,
    created_at timestamp DEFAULT current_timestamp
);
CREATE INDEX idx_credit_transactions_user ON credit_transactions (user_id);
CREATE INDEX idx_credit_transactions_type ON credit_transactions (type);
CREATE INDEX idx_credit_transactions_created ON credit_transactions (created_at DESC);
CREATE TABLE call_cost_breakdowns (
    id varchar(255) PRIMARY KEY,
    call_id varchar(255) NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    twilio_cost_cents numeric(10, 2) DEFAULT 0,
    deepgram_cost_cents numeric(10, 2) DEFAULT 0,
    cerebras_cost_cents numeric(10, 2) DEFAULT 0,
    elevenlabs_cost_cents numeric(10, 2) DEFAULT 0,
    twilio_duration_seconds integer DEFAULT 0,
    deepgram_audio_seconds numeric(10, 2) DEFAULT 0,
    cerebras_input_tokens integer DEFAULT 0,
    cerebras_output_tokens integer DEFAULT 0,
    elevenlabs_characters integer DEFAULT 0,
    total_cost_cents numeric(10, 2) DEFAULT 0,
    created_at timestamp DEFAULT current_timestamp
);
CREATE INDEX idx_cost_breakdowns_call ON call_cost_breakdowns (call_id);
CREATE INDEX idx_cost_breakdowns_created ON call_cost_breakdowns (created_at DESC);
INSERT INTO personas VALUES ('brad', 'Brad', 'p'), ('sarah', 'Sarah', 'p'), ('alex', 'Alex', 'p');
INSERT INTO users SELECT 'user_' || lpad(n::text, 26, '0'), n || '@bench.example', 'x' FROM generate_series(1, 100000) AS n;
INSERT INTO user_credits (user_id, available_credits) SELECT id, 1000000 FROM users;
VACUUM ANALYZE;
