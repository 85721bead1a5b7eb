-- What a person may spend, and what a call costs the house.

CREATE TABLE subscription_tiers (
    tier text CONSTRAINT subscription_tiers_pkey PRIMARY KEY,
    monthly_price_cents numeric(12, 2) NOT NULL CONSTRAINT subscription_tiers_price CHECK (monthly_price_cents >= 0),
    monthly_credit_allowance integer NOT NULL
    CONSTRAINT subscription_tiers_allowance CHECK (monthly_credit_allowance >= 0),
    max_calls_per_day integer CONSTRAINT subscription_tiers_calls CHECK (max_calls_per_day >= 0),
    max_call_duration_seconds integer NOT NULL
    CONSTRAINT subscription_tiers_duration CHECK (max_call_duration_seconds BETWEEN 60 AND 14400),
    charges_credits boolean NOT NULL,
    position integer NOT NULL CONSTRAINT subscription_tiers_position_key UNIQUE
);
COMMENT ON TABLE subscription_tiers IS 'Plans. An account inherits these figures unless it has its own.';
COMMENT ON COLUMN subscription_tiers.max_calls_per_day IS 'NULL is unlimited.';
COMMENT ON COLUMN subscription_tiers.charges_credits IS 'False where talking takes no credits: free and unlimited.';
COMMENT ON COLUMN subscription_tiers.position IS 'Order on the page, cheapest first.';

CREATE DOMAIN entry_count AS bigint CONSTRAINT entry_count_not_negative CHECK (VALUE >= 0);
CREATE DOMAIN subscription_status AS text
CONSTRAINT subscription_status_known CHECK (VALUE IN ('active', 'past_due', 'canceled', 'expired'));
CREATE DOMAIN call_length_limit AS integer CONSTRAINT call_length_limit_range CHECK (VALUE BETWEEN 60 AND 14400);

CREATE TABLE user_credits (
    user_id id CONSTRAINT user_credits_pkey PRIMARY KEY
    CONSTRAINT user_credits_user_fkey REFERENCES users (id),
    available_credits credits NOT NULL DEFAULT 0,
    held_credits credits NOT NULL DEFAULT 0,
    debt_credits credits NOT NULL DEFAULT 0,
    calls_in_day quantity NOT NULL DEFAULT 0,
    calls_day date NOT NULL DEFAULT '2000-01-01',
    spend_month date NOT NULL DEFAULT '2000-01-01',
    ledger_seq entry_count NOT NULL DEFAULT 0,
    spent_in_month_cents cents NOT NULL DEFAULT 0,
    subscription_tier text NOT NULL DEFAULT 'free'
    CONSTRAINT user_credits_tier_fkey REFERENCES subscription_tiers (tier),
    subscription_status subscription_status,
    subscription_stripe_id text,
    subscription_start_date timestamptz,
    subscription_end_date timestamptz,
    monthly_credit_allowance credits,
    max_calls_per_day quantity,
    max_call_duration_seconds call_length_limit,
    is_closed boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT user_credits_debt_first CHECK (debt_credits = 0 OR available_credits = 0)
) WITH (fillfactor = 70);
CREATE INDEX idx_user_credits_tier ON user_credits (subscription_tier);
CREATE UNIQUE INDEX user_credits_subscription_key ON user_credits (subscription_stripe_id)
WHERE subscription_stripe_id IS NOT NULL;
COMMENT ON TABLE user_credits IS
'The account: the only row that two calls of one person contend for. No index on what calls change, so updates stay in the page.';
COMMENT ON COLUMN user_credits.available_credits IS 'Credits (started minutes of talk) free to be used.';
COMMENT ON COLUMN user_credits.held_credits IS 'Credits set aside for the open call.';
COMMENT ON COLUMN user_credits.debt_credits IS 'Credits that were spent and later reversed; paid first by what comes in.';
COMMENT ON COLUMN user_credits.calls_in_day IS 'Calls placed in calls_day; refused ones don''t count, nor those that the house could not place.';
COMMENT ON COLUMN user_credits.calls_day IS 'The person''s local day that calls_in_day counts; only moves forward.';
COMMENT ON COLUMN user_credits.spend_month IS 'First day of the local month that spent_in_month_cents counts; only moves forward.';
COMMENT ON COLUMN user_credits.spent_in_month_cents IS 'Vendors'' cost in cents of the calls that began in spend_month.';
COMMENT ON COLUMN user_credits.ledger_seq IS 'Number of the newest row of this account in credit_transactions.';
COMMENT ON COLUMN user_credits.monthly_credit_allowance IS 'NULL inherits the tier.';
COMMENT ON COLUMN user_credits.max_calls_per_day IS 'NULL inherits the tier.';
COMMENT ON COLUMN user_credits.max_call_duration_seconds IS 'NULL inherits the tier.';
COMMENT ON COLUMN user_credits.is_closed IS
'Whether the person is blocked or erased: written with users by its trigger, so that a call begins by one look.';

CREATE TABLE user_budget_settings (
    user_id id CONSTRAINT user_budget_settings_pkey PRIMARY KEY
    CONSTRAINT user_budget_settings_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    max_cost_per_call_cents numeric(12, 2) NOT NULL DEFAULT 1000
    CONSTRAINT user_budget_settings_call CHECK (max_cost_per_call_cents BETWEEN 0 AND 1000000),
    max_monthly_spend_cents numeric(12, 2) NOT NULL DEFAULT 10000
    CONSTRAINT user_budget_settings_month CHECK (max_monthly_spend_cents BETWEEN 0 AND 10000000),
    warn_at_percent_per_call integer NOT NULL DEFAULT 75
    CONSTRAINT user_budget_settings_warn CHECK (warn_at_percent_per_call BETWEEN 1 AND 100),
    enable_auto_cutoff boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE user_budget_settings IS 'Limits a person sets on the vendors'' cost. No row means the defaults of the columns.';
COMMENT ON COLUMN user_budget_settings.max_cost_per_call_cents IS '0 means no spending.';
COMMENT ON COLUMN user_budget_settings.max_monthly_spend_cents IS 'Per local month; 0 means no spending.';
COMMENT ON COLUMN user_budget_settings.enable_auto_cutoff IS 'Off: the limit of a call only warns; month, hold and tier still end it.';

CREATE TABLE service_rates (
    vendor text NOT NULL
    CONSTRAINT service_rates_vendor CHECK (vendor IN ('twilio', 'deepgram', 'cerebras', 'elevenlabs', 'espeak', 'stripe')),
    model text NOT NULL CONSTRAINT service_rates_model_length CHECK (length(model) BETWEEN 1 AND 100),
    unit text NOT NULL
    CONSTRAINT service_rates_unit CHECK (unit IN ('second', 'input_token', 'output_token', 'character')),
    effective_from timestamptz NOT NULL,
    price_cents numeric(18, 8) CONSTRAINT service_rates_price CHECK (price_cents >= 0),
    per integer NOT NULL CONSTRAINT service_rates_per CHECK (per > 0),
    source text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT service_rates_pkey PRIMARY KEY (vendor, model, unit, effective_from)
);
COMMENT ON TABLE service_rates IS 'What the vendors charge. A period ends where the next begins; never edited, only followed.';
COMMENT ON COLUMN service_rates.price_cents IS 'Cents for `per` units; NULL ends the rate: such a model can''t be called.';
COMMENT ON COLUMN service_rates.per IS 'How many units the price buys: 60 seconds, 1,000,000 tokens, 1,000 characters.';
COMMENT ON COLUMN service_rates.source IS 'Where the figure was read.';

CREATE TABLE price_versions (
    id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT price_versions_pkey PRIMARY KEY,
    card text NOT NULL CONSTRAINT price_versions_card_length CHECK (length(card) BETWEEN 1 AND 500),
    effective_from timestamptz NOT NULL,
    carrier_model text NOT NULL,
    listener_model text NOT NULL,
    brain_model text NOT NULL,
    voice_model text NOT NULL,
    fallback_model text NOT NULL,
    local_model text NOT NULL,
    carrier_second_cents numeric(18, 8),
    carrier_second_per integer,
    listener_second_cents numeric(18, 8),
    listener_second_per integer,
    brain_input_cents numeric(18, 8),
    brain_input_per integer,
    brain_output_cents numeric(18, 8),
    brain_output_per integer,
    voice_character_cents numeric(18, 8),
    voice_character_per integer,
    fallback_input_cents numeric(18, 8),
    fallback_input_per integer,
    fallback_output_cents numeric(18, 8),
    fallback_output_per integer,
    local_character_cents numeric(18, 8),
    local_character_per integer,
    worst_case_cents_per_minute numeric(20, 10),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT price_versions_card_key UNIQUE (card, effective_from)
);
COMMENT ON TABLE price_versions IS
'The rates of one set of models in one period, side by side, so that a call is priced by one row, that of its start.';
COMMENT ON COLUMN price_versions.card IS 'The set of models, as the service that uses them names it.';
COMMENT ON COLUMN price_versions.worst_case_cents_per_minute IS
'What a minute can cost at the most: 1,000 characters, 20,000 tokens in, 1,500 out. NULL: a rate is missing, so no calls.';
