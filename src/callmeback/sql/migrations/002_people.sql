-- People, how they prove who they are, and the numbers they may be called on.

-- Rules of one column are domains where each call writes: the text of a table's CHECK is parsed anew by every statement
-- that writes to the table, a domain's once by each connection, and only where its column is set.
CREATE DOMAIN quantity AS integer CONSTRAINT quantity_not_negative CHECK (VALUE >= 0);
COMMENT ON DOMAIN quantity IS 'How many: calls, tokens, characters.';
CREATE DOMAIN seconds AS integer CONSTRAINT seconds_not_negative CHECK (VALUE >= 0);
COMMENT ON DOMAIN seconds IS 'A length of talk.';
CREATE DOMAIN credits AS integer CONSTRAINT credits_not_negative CHECK (VALUE >= 0);
COMMENT ON DOMAIN credits IS 'Started minutes of talk, which no sequence of calls brings below zero.';
CREATE DOMAIN cents AS numeric(20, 10) CONSTRAINT cents_not_negative CHECK (VALUE >= 0);
COMMENT ON DOMAIN cents IS 'Exact money: one token is not 0.';

CREATE TABLE users (
    id id CONSTRAINT users_pkey PRIMARY KEY,
    email text NOT NULL CONSTRAINT users_email_length CHECK (octet_length(email) BETWEEN 3 AND 320),
    password_hash text NOT NULL,
    name text CONSTRAINT users_name_length CHECK (length(name) <= 200),
    phone text CONSTRAINT users_phone_e164 CHECK (phone ~ '^\+[1-9][0-9]{6,14}$'),
    stripe_customer_id text,
    timezone text NOT NULL DEFAULT 'UTC',
    locale text NOT NULL DEFAULT 'en',
    email_verified_at timestamptz,
    terms_accepted_at timestamptz,
    -- No infinity in a column that SELECT * brings to clients: drivers of several languages have no such date.
    tokens_valid_from timestamptz NOT NULL DEFAULT to_timestamp(0),
    blocked_at timestamptz,
    erased_at timestamptz,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE INDEX idx_users_email ON users (email);
CREATE UNIQUE INDEX users_stripe_customer_key ON users (stripe_customer_id) WHERE stripe_customer_id IS NOT NULL;

COMMENT ON TABLE users IS 'A person with an account. Erased people are emptied, never deleted: the ledger points here.';
COMMENT ON COLUMN users.email IS 'pii:email. Unique without regard to case.';
COMMENT ON COLUMN users.password_hash IS 'secret. bcrypt, 12 rounds; an empty text can never match.';
COMMENT ON COLUMN users.name IS 'pii:name. How the person wants to be called.';
COMMENT ON COLUMN users.phone IS 'pii:phone. The primary number; all numbers stand in phones.';
COMMENT ON COLUMN users.stripe_customer_id IS 'The customer at the payment provider, once there is one.';
COMMENT ON COLUMN users.timezone IS 'IANA zone; decides which day and month a call belongs to.';
COMMENT ON COLUMN users.tokens_valid_from IS 'Tokens issued before are revoked: log out everywhere, password reset.';
COMMENT ON COLUMN users.blocked_at IS 'Set by an operator: no login and no calls.';
COMMENT ON COLUMN users.erased_at IS 'When the personal data was taken out; nothing can be undone after.';

CREATE TABLE admin_users (
    user_id id CONSTRAINT admin_users_pkey PRIMARY KEY
    CONSTRAINT admin_users_user_fkey REFERENCES users (id),
    role text NOT NULL DEFAULT 'admin' CONSTRAINT admin_users_role CHECK (role IN ('admin')),
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE admin_users IS 'Who may use the admin routes. Granted by the command line only; there is no second password.';
COMMENT ON COLUMN admin_users.granted_by IS 'The system account that ran the command.';

CREATE TABLE token_blacklist (
    token_id text CONSTRAINT token_blacklist_pkey PRIMARY KEY,
    user_id id NOT NULL CONSTRAINT token_blacklist_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_token_blacklist_user ON token_blacklist (user_id);
CREATE INDEX idx_token_blacklist_expires ON token_blacklist (expires_at);
COMMENT ON TABLE token_blacklist IS 'Revoked tokens until they would have expired; looked at on every request.';
COMMENT ON COLUMN token_blacklist.token_id IS 'The jti claim.';

CREATE TABLE one_time_tokens (
    token_hash bytea CONSTRAINT one_time_tokens_pkey PRIMARY KEY,
    user_id id NOT NULL CONSTRAINT one_time_tokens_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    purpose text NOT NULL CONSTRAINT one_time_tokens_purpose CHECK (purpose IN ('email_verification', 'password_reset')),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_one_time_tokens_user ON one_time_tokens (user_id);
CREATE INDEX idx_one_time_tokens_expires ON one_time_tokens (expires_at);
COMMENT ON TABLE one_time_tokens IS 'Links sent by mail: each opens once.';
COMMENT ON COLUMN one_time_tokens.token_hash IS 'secret. SHA-256 of the token; the token itself is only in the mail.';

CREATE TABLE login_attempts (
    bucket text CONSTRAINT login_attempts_pkey PRIMARY KEY,
    window_started_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0 CONSTRAINT login_attempts_count CHECK (attempts >= 0),
    expires_at timestamptz NOT NULL
);
CREATE INDEX idx_login_attempts_expires ON login_attempts (expires_at);
COMMENT ON TABLE login_attempts IS 'Counters of limited actions: logins by account and address, registrations, codes, resets.';
COMMENT ON COLUMN login_attempts.bucket IS 'Action and a keyed hash of the account or address; nothing readable.';

CREATE TABLE phones (
    user_id id NOT NULL CONSTRAINT phones_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    number text NOT NULL CONSTRAINT phones_number_e164 CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    verified_at timestamptz,
    code_hash bytea,
    code_expires_at timestamptz,
    code_attempts integer NOT NULL DEFAULT 0 CONSTRAINT phones_code_attempts CHECK (code_attempts >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT phones_pkey PRIMARY KEY (user_id, number)
);
CREATE UNIQUE INDEX phones_verified_number_key ON phones (number) WHERE verified_at IS NOT NULL;
COMMENT ON TABLE phones IS 'Numbers of a person. A verified number belongs to one person only.';
COMMENT ON COLUMN phones.number IS 'pii:phone. E.164.';
COMMENT ON COLUMN phones.code_hash IS 'secret. Keyed hash of the six digits that were sent by text.';

CREATE TABLE blocked_numbers (
    number text CONSTRAINT blocked_numbers_pkey PRIMARY KEY
    CONSTRAINT blocked_numbers_e164 CHECK (number ~ '^\+[1-9][0-9]{6,14}$'),
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE blocked_numbers IS 'Numbers that are never called, whoever asks.';
COMMENT ON COLUMN blocked_numbers.number IS 'pii:phone. E.164.';
COMMENT ON COLUMN blocked_numbers.reason IS 'pii:content. The operator''s note.';

CREATE TABLE user_preferences (
    user_id id CONSTRAINT user_preferences_pkey PRIMARY KEY
    CONSTRAINT user_preferences_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    email_notifications boolean NOT NULL DEFAULT true,
    sms_notifications boolean NOT NULL DEFAULT false,
    call_reminder_minutes integer NOT NULL DEFAULT 5
    CONSTRAINT user_preferences_reminder CHECK (call_reminder_minutes BETWEEN 0 AND 1440),
    voicemail_policy text NOT NULL DEFAULT 'hang_up'
    CONSTRAINT user_preferences_voicemail CHECK (voicemail_policy IN ('hang_up', 'leave_message')),
    memory_enabled boolean NOT NULL DEFAULT false,
    memory text CONSTRAINT user_preferences_memory_length CHECK (length(memory) <= 4000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_user_preferences_email ON user_preferences (user_id) WHERE email_notifications;
COMMENT ON TABLE user_preferences IS 'How a person wants to be reached and reminded. No row means the defaults.';
COMMENT ON COLUMN user_preferences.voicemail_policy IS 'What a machine that answers gets: an uncharged hang-up, or a message.';
COMMENT ON COLUMN user_preferences.memory_enabled IS 'Whether personas are told what the person wrote in memory.';
COMMENT ON COLUMN user_preferences.memory IS 'pii:content. Facts that the person lets every persona know; seen and edited by the person.';

CREATE TABLE erasures (
    user_id id CONSTRAINT erasures_pkey PRIMARY KEY
    CONSTRAINT erasures_user_fkey REFERENCES users (id),
    requested_by text NOT NULL CONSTRAINT erasures_requested_by CHECK (requested_by IN ('person', 'operator')),
    erased_at timestamptz NOT NULL DEFAULT now(),
    swept_at timestamptz
);
CREATE INDEX idx_erasures_unswept ON erasures (erased_at) WHERE swept_at IS NULL;
COMMENT ON COLUMN erasures.swept_at IS 'When the person was emptied once more, of what was being written meanwhile.';
COMMENT ON TABLE erasures IS 'Who was erased and when; kept outside the database too, and applied again after every restore.';
