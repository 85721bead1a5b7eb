-- Who may speak SQL through the proxy: keys, the scopes (login roles) behind them, and the statements a key may run.

CREATE TABLE sql_scopes (
    id text CONSTRAINT sql_scopes_pkey PRIMARY KEY
    CONSTRAINT sql_scopes_id_form CHECK (id ~ '^[0-9a-f]{16}$'),
    role_name text NOT NULL CONSTRAINT sql_scopes_role_key UNIQUE,
    pii boolean NOT NULL,
    as_user_id id CONSTRAINT sql_scopes_user_fkey REFERENCES users (id),
    reads text[] NOT NULL,
    writes text[] NOT NULL,
    calls text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sql_scopes_role_of_id CHECK (role_name = 'callmeback_key_' || id)
);
CREATE INDEX idx_sql_scopes_user ON sql_scopes (as_user_id) WHERE as_user_id IS NOT NULL;
COMMENT ON TABLE sql_scopes IS 'Sets of grants. Each is a login role of its own; keys with equal grants share it. Never changed, only made.';
COMMENT ON COLUMN sql_scopes.id IS 'The beginning of the SHA-256 of the grants, so that equal grants are one scope, whoever makes it first.';
COMMENT ON COLUMN sql_scopes.role_name IS 'The login role.';
COMMENT ON COLUMN sql_scopes.pii IS 'Whether columns of a pii class are shown instead of masked.';
COMMENT ON COLUMN sql_scopes.as_user_id IS 'The one person whose rows are seen; NULL is everybody''s.';
COMMENT ON COLUMN sql_scopes.reads IS 'Tables and views, sorted; the word all stands for every one, those to come included.';
COMMENT ON COLUMN sql_scopes.writes IS 'Tables, sorted.';
COMMENT ON COLUMN sql_scopes.calls IS 'Functions, sorted.';

CREATE TABLE api_keys (
    id text CONSTRAINT api_keys_pkey PRIMARY KEY CONSTRAINT api_keys_id_form CHECK (id ~ '^[0-9a-z]{16}$'),
    name text NOT NULL CONSTRAINT api_keys_name_length CHECK (length(name) BETWEEN 1 AND 100),
    scope_id text NOT NULL CONSTRAINT api_keys_scope_fkey REFERENCES sql_scopes (id),
    mode text NOT NULL CONSTRAINT api_keys_mode CHECK (mode IN ('named', 'exact', 'policy', 'admin')),
    secret_hash bytea NOT NULL CONSTRAINT api_keys_secret_length CHECK (octet_length(secret_hash) = 32),
    other_secret_hash bytea CONSTRAINT api_keys_other_length CHECK (octet_length(other_secret_hash) = 32),
    other_secret_until timestamptz,
    expires_at timestamptz,
    cidrs cidr[] NOT NULL DEFAULT '{}',
    rate_per_second integer CONSTRAINT api_keys_rate CHECK (rate_per_second > 0),
    concurrency integer CONSTRAINT api_keys_concurrency CHECK (concurrency > 0),
    learning_until timestamptz,
    revoked_at timestamptz,
    version bigint NOT NULL DEFAULT 0,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_other_ends CHECK ((other_secret_hash IS NULL) = (other_secret_until IS NULL)),
    CONSTRAINT api_keys_only_exact_learns CHECK (learning_until IS NULL OR mode = 'exact')
);
CREATE INDEX idx_api_keys_scope ON api_keys (scope_id);
COMMENT ON TABLE api_keys IS 'Keys of the SQL proxy. Revoked ones stay, so that an old audit line still has a name.';
COMMENT ON COLUMN api_keys.mode IS 'What the key may send: registered statements, known texts, whatever the policy allows, or (loopback only) anything.';
COMMENT ON COLUMN api_keys.secret_hash IS 'secret. SHA-256 of the 256 random bits, as text, that the key ends with.';
COMMENT ON COLUMN api_keys.other_secret_hash IS 'secret. The one before the last rotation, until other_secret_until.';
COMMENT ON COLUMN api_keys.other_secret_until IS 'When the secret before the last rotation stops working.';
COMMENT ON COLUMN api_keys.cidrs IS 'Networks that the key may come from; empty is any.';
COMMENT ON COLUMN api_keys.rate_per_second IS 'Requests a second, with a burst of as many; NULL is unlimited.';
COMMENT ON COLUMN api_keys.concurrency IS 'Requests at a time; NULL is unlimited.';
COMMENT ON COLUMN api_keys.learning_until IS 'Until then an unknown text of an exact key is run and remembered.';
COMMENT ON COLUMN api_keys.revoked_at IS 'Set once, for good.';
COMMENT ON COLUMN api_keys.version IS 'Value of proxy_state.version at the last change of the key or its statements.';
COMMENT ON COLUMN api_keys.created_by IS 'The system account that ran the command.';

CREATE TABLE named_statements (
    key_id text NOT NULL CONSTRAINT named_statements_key_fkey REFERENCES api_keys (id),
    id text NOT NULL CONSTRAINT named_statements_id_form CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    kind text NOT NULL CONSTRAINT named_statements_kind CHECK (kind IN ('named', 'exact')),
    statement text NOT NULL CONSTRAINT named_statements_length CHECK (octet_length(statement) BETWEEN 1 AND 1048576),
    text_hash bytea NOT NULL CONSTRAINT named_statements_hash_length CHECK (octet_length(text_hash) = 32),
    parameter_types text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT named_statements_pkey PRIMARY KEY (key_id, id)
);
CREATE UNIQUE INDEX named_statements_text_key ON named_statements (key_id, text_hash) WHERE kind = 'exact';
COMMENT ON TABLE named_statements IS 'Statements that a key may run: by name, or by their exact text.';
COMMENT ON COLUMN named_statements.id IS 'The name in the address of a named one; made from the hash of a learned one.';
COMMENT ON COLUMN named_statements.statement IS 'pii:content. One statement; a learned one may hold literals.';
COMMENT ON COLUMN named_statements.text_hash IS 'SHA-256 of the text in UTF-8.';
COMMENT ON COLUMN named_statements.parameter_types IS 'Types of the parameters in order, by name; NULL where they are left to each request.';

CREATE TABLE proxy_answers (
    key_id text NOT NULL CONSTRAINT proxy_answers_key_fkey REFERENCES api_keys (id),
    idempotency_key text NOT NULL
    CONSTRAINT proxy_answers_idempotency_length CHECK (length(idempotency_key) BETWEEN 1 AND 200),
    request_hash bytea NOT NULL,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT proxy_answers_pkey PRIMARY KEY (key_id, idempotency_key)
);
CREATE INDEX idx_proxy_answers_created ON proxy_answers (created_at);
COMMENT ON TABLE proxy_answers IS 'First answers to batches that carried an Idempotency-Key, written in their own transactions. Kept two days.';
COMMENT ON COLUMN proxy_answers.idempotency_key IS 'pii:content. Chosen by the client.';
COMMENT ON COLUMN proxy_answers.answer IS 'pii:content. The body of the answer, JSON in UTF-8.';

CREATE TABLE proxy_state (
    is_only boolean NOT NULL DEFAULT true CONSTRAINT proxy_state_pkey PRIMARY KEY
    CONSTRAINT proxy_state_one_row CHECK (is_only),
    version bigint NOT NULL
);
COMMENT ON TABLE proxy_state IS 'One row, changed with every change of a key, so that a proxy sees within its next look that there is one.';
COMMENT ON COLUMN proxy_state.is_only IS 'Keeps this table to one row.';
INSERT INTO proxy_state (version) VALUES (1);
