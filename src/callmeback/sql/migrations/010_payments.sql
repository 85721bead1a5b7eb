-- Where money comes from: packs, plans that renew, calls paid one by one, and what was taken back.

-- No event of the payment provider was ever stored before this file, and purchases has only what was adopted: their locks
-- are short.
-- squawk-ignore-file constraint-missing-not-valid, require-concurrent-index-creation, ban-drop-constraint

CREATE TYPE payment_outcome AS (state text, effect text, user_id text);
COMMENT ON TYPE payment_outcome IS 'What an event of the payment provider did, and whose it was.';

ALTER TABLE subscription_tiers ADD COLUMN currency text NOT NULL DEFAULT 'usd';
ALTER TABLE subscription_tiers ADD CONSTRAINT subscription_tiers_currency CHECK (currency ~ '^[a-z]{3}$');
ALTER TABLE subscription_tiers ADD COLUMN stripe_lookup_key text;
ALTER TABLE subscription_tiers ADD COLUMN payg_cents_per_credit numeric(12, 2);
ALTER TABLE subscription_tiers ADD CONSTRAINT subscription_tiers_payg CHECK (payg_cents_per_credit >= 50);
COMMENT ON COLUMN subscription_tiers.stripe_lookup_key IS 'Lookup key of the monthly price at the payment provider; NULL is not for sale.';
COMMENT ON COLUMN subscription_tiers.payg_cents_per_credit IS
'Price of a started minute when a call is paid by itself; NULL where that isn''t offered. Nobody charges less than 50 cents.';
UPDATE subscription_tiers AS t
SET stripe_lookup_key = 'callmeback_' || t.tier || '_monthly'
WHERE t.monthly_price_cents > 0;
UPDATE subscription_tiers AS t
SET payg_cents_per_credit = 60
WHERE t.charges_credits;

ALTER TABLE user_preferences ADD COLUMN pay_as_you_go boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN user_preferences.pay_as_you_go IS 'Whether a call is paid by the saved card when no credits are left.';

CREATE TABLE credit_packs (
    sku text CONSTRAINT credit_packs_pkey PRIMARY KEY
    CONSTRAINT credit_packs_sku_form CHECK (sku ~ '^[a-z0-9_]{1,64}$'),
    name text NOT NULL,
    credits integer NOT NULL CONSTRAINT credit_packs_credits CHECK (credits BETWEEN 1 AND 100000),
    price_cents numeric(12, 2) NOT NULL
    CONSTRAINT credit_packs_price CHECK (price_cents >= 50 AND price_cents = trunc(price_cents)),
    currency text NOT NULL DEFAULT 'usd' CONSTRAINT credit_packs_currency CHECK (currency ~ '^[a-z]{3}$'),
    position integer NOT NULL CONSTRAINT credit_packs_position_key UNIQUE,
    is_active boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE credit_packs IS 'Credits for sale. A purchase keeps what it agreed on; changing a pack changes the next one.';
COMMENT ON COLUMN credit_packs.is_active IS 'False: no longer for sale.';
INSERT INTO credit_packs (sku, name, credits, price_cents, position) VALUES
('minutes_25', '25 minutes', 25, 1499, 1),
('minutes_50', '50 minutes', 50, 2499, 2),
('minutes_100', '100 minutes', 100, 4499, 3);

CREATE TABLE coupons (
    code text CONSTRAINT coupons_pkey PRIMARY KEY
    CONSTRAINT coupons_code_form CHECK (code ~ '^[A-Z0-9_-]{3,32}$'),
    percent_off integer CONSTRAINT coupons_percent CHECK (percent_off BETWEEN 1 AND 99),
    amount_off_cents numeric(12, 2)
    CONSTRAINT coupons_amount CHECK (amount_off_cents > 0 AND amount_off_cents = trunc(amount_off_cents)),
    currency text CONSTRAINT coupons_currency CHECK (currency ~ '^[a-z]{3}$'),
    max_redemptions integer CONSTRAINT coupons_max CHECK (max_redemptions > 0),
    redemptions integer NOT NULL DEFAULT 0 CONSTRAINT coupons_redemptions CHECK (redemptions >= 0),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT coupons_one_kind CHECK (
        num_nonnulls(percent_off, amount_off_cents) = 1 AND (amount_off_cents IS NULL) = (currency IS NULL)
    ),
    CONSTRAINT coupons_not_overdrawn CHECK (redemptions <= max_redemptions)
);
COMMENT ON TABLE coupons IS 'Codes that make a pack cheaper, once per person. One that gives everything away is a promotion instead.';
COMMENT ON COLUMN coupons.code IS 'As it is typed, in capitals.';
COMMENT ON COLUMN coupons.percent_off IS 'Of the pack''s price; the rest is rounded up to a whole cent.';
COMMENT ON COLUMN coupons.max_redemptions IS 'NULL is unlimited.';
COMMENT ON COLUMN coupons.redemptions IS 'Purchases with this code that are paid or may still be.';

ALTER TABLE purchases ADD COLUMN checkout_url text;
ALTER TABLE purchases ADD COLUMN refused text;
COMMENT ON COLUMN purchases.amount_cents IS 'What is to be paid, the discount taken off.';
COMMENT ON COLUMN purchases.checkout_url IS 'Where the person pays; at the payment provider.';
COMMENT ON COLUMN purchases.refused IS 'What disagreed when an event claimed that this was paid.';
-- A code that is in an open checkout, or was paid with, is used; one whose checkout ended unpaid is free again.
CREATE UNIQUE INDEX purchases_coupon_key ON purchases (user_id, coupon)
WHERE coupon IS NOT NULL AND status <> 'failed';

CREATE TABLE subscriptions (
    user_id id NOT NULL CONSTRAINT subscriptions_user_fkey REFERENCES users (id),
    id id NOT NULL,
    stripe_session_id text,
    stripe_subscription_id text,
    stripe_customer_id text,
    tier text NOT NULL CONSTRAINT subscriptions_tier_fkey REFERENCES subscription_tiers (tier),
    price_cents numeric(12, 2) NOT NULL CONSTRAINT subscriptions_price CHECK (price_cents > 0),
    pending_tier text CONSTRAINT subscriptions_pending_tier_fkey REFERENCES subscription_tiers (tier),
    pending_price_cents numeric(12, 2) CONSTRAINT subscriptions_pending_price CHECK (pending_price_cents > 0),
    pending_key text,
    pending_since timestamptz,
    currency text NOT NULL CONSTRAINT subscriptions_currency CHECK (currency ~ '^[a-z]{3}$'),
    status text NOT NULL
    CONSTRAINT subscriptions_status CHECK (status IN ('pending', 'active', 'past_due', 'canceled', 'expired')),
    checkout_url text,
    started_at timestamptz,
    current_period_start timestamptz,
    current_period_end timestamptz,
    cancel_at_period_end boolean NOT NULL DEFAULT false,
    grace_until timestamptz,
    suspended_at timestamptz,
    ended_at timestamptz,
    cancel_due_at timestamptz,
    seen_at timestamptz NOT NULL DEFAULT to_timestamp(0),
    look_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT subscriptions_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT subscriptions_pending_whole CHECK (
        num_nonnulls(pending_tier, pending_price_cents, pending_key, pending_since) IN (0, 4)
    ),
    CONSTRAINT subscriptions_grace CHECK ((status = 'past_due') = (grace_until IS NOT NULL))
);
CREATE UNIQUE INDEX subscriptions_one_key ON subscriptions (user_id) WHERE status IN ('pending', 'active', 'past_due');
CREATE UNIQUE INDEX subscriptions_stripe_key ON subscriptions (stripe_subscription_id)
WHERE stripe_subscription_id IS NOT NULL;
CREATE INDEX idx_subscriptions_tier ON subscriptions (tier);
CREATE INDEX idx_subscriptions_pending_tier ON subscriptions (pending_tier) WHERE pending_tier IS NOT NULL;
CREATE INDEX idx_subscriptions_grace ON subscriptions (grace_until) WHERE grace_until IS NOT NULL;
CREATE INDEX idx_subscriptions_cancel_due ON subscriptions (cancel_due_at) WHERE cancel_due_at IS NOT NULL;
CREATE INDEX idx_subscriptions_look ON subscriptions (look_at) WHERE look_at IS NOT NULL;
COMMENT ON TABLE subscriptions IS 'Plans that people pay by the month, from the intent on; at most one at a time. The tier is what the newest paid period says.';
COMMENT ON COLUMN subscriptions.price_cents IS 'What a period was agreed to cost; an invoice of another amount is refused.';
COMMENT ON COLUMN subscriptions.pending_tier IS 'Asked for; in force from the first period that is paid at its price.';
COMMENT ON COLUMN subscriptions.pending_price_cents IS 'What a period of pending_tier was agreed to cost.';
COMMENT ON COLUMN subscriptions.pending_key IS 'By which the provider knows the request for pending_tier: asked again, it does it once.';
COMMENT ON COLUMN subscriptions.pending_since IS 'When it was asked for last: while it may be being paid, no other one is asked for.';
COMMENT ON COLUMN subscriptions.checkout_url IS 'Where the person pays; at the payment provider.';
COMMENT ON COLUMN subscriptions.started_at IS 'When the first period was paid.';
COMMENT ON COLUMN subscriptions.current_period_start IS 'Of the newest period that was paid.';
COMMENT ON COLUMN subscriptions.current_period_end IS 'Of the newest period that was paid.';
COMMENT ON COLUMN subscriptions.cancel_at_period_end IS 'The person wants it to end with the period.';
COMMENT ON COLUMN subscriptions.grace_until IS 'A payment failed: until then the plan stays in force.';
COMMENT ON COLUMN subscriptions.suspended_at IS 'The current period''s money was taken back, so the plan isn''t in force.';
COMMENT ON COLUMN subscriptions.ended_at IS 'When it ended for good at the provider.';
COMMENT ON COLUMN subscriptions.cancel_due_at IS 'From then on the worker cancels it at the provider; NULL when there is nothing to cancel.';
COMMENT ON COLUMN subscriptions.seen_at IS 'Time of the newest event that told its state; an older one changes nothing.';
COMMENT ON COLUMN subscriptions.look_at IS 'When the worker asks the provider next how it stands, in case an event was lost.';

CREATE INDEX idx_subscriptions_pending ON subscriptions (created_at) WHERE status = 'pending';
CREATE INDEX idx_purchases_pending ON purchases (created_at) WHERE status = 'pending';

CREATE TABLE payments (
    user_id id NOT NULL CONSTRAINT payments_user_fkey REFERENCES users (id),
    id id NOT NULL,
    kind text NOT NULL CONSTRAINT payments_kind CHECK (kind IN ('purchase', 'subscription', 'call')),
    subscription_id id,
    payment_intent_id text,
    tier text,
    description text NOT NULL,
    amount_cents numeric(12, 2) NOT NULL CONSTRAINT payments_amount CHECK (amount_cents > 0),
    reversed_cents numeric(12, 2) NOT NULL DEFAULT 0
    CONSTRAINT payments_reversed_cents CHECK (reversed_cents BETWEEN 0 AND amount_cents),
    currency text NOT NULL CONSTRAINT payments_currency CHECK (currency ~ '^[a-z]{3}$'),
    credits integer NOT NULL CONSTRAINT payments_credits CHECK (credits >= 0),
    reversed_credits integer NOT NULL DEFAULT 0
    CONSTRAINT payments_reversed_credits CHECK (reversed_credits BETWEEN 0 AND credits),
    period_start timestamptz,
    period_end timestamptz,
    paid_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT payments_subscription_fkey FOREIGN KEY (user_id, subscription_id) REFERENCES subscriptions (user_id, id)
);
CREATE INDEX idx_payments_subscription ON payments (user_id, subscription_id);
CREATE UNIQUE INDEX payments_intent_key ON payments (payment_intent_id) WHERE payment_intent_id IS NOT NULL;
CREATE INDEX idx_payments_id ON payments (id);
CREATE INDEX idx_payments_paid ON payments (paid_at);
-- What a person's credits were paid with on average, without a look at the table.
CREATE INDEX idx_payments_credits ON payments (user_id) INCLUDE (amount_cents, reversed_cents, credits, reversed_credits)
WHERE credits > reversed_credits AND kind <> 'call';
COMMENT ON TABLE payments IS
'Money that came in, each amount once: a pack, a period of a plan, a call. What refunds and disputes take back is taken from here.';
COMMENT ON COLUMN payments.id IS 'The purchase, the provider''s invoice, or the authorization that was paid.';
COMMENT ON COLUMN payments.subscription_id IS 'Of a plan: whose period it paid.';
COMMENT ON COLUMN payments.description IS 'What was sold, in the house''s words.';
COMMENT ON COLUMN payments.amount_cents IS 'What was paid, in the smallest unit of its currency.';
COMMENT ON COLUMN payments.reversed_cents IS 'Of it, given back by refunds or withdrawn by disputes; at most all of it.';
COMMENT ON COLUMN payments.credits IS 'Credits that it brought.';
COMMENT ON COLUMN payments.reversed_credits IS 'Of them, taken back in proportion.';
COMMENT ON COLUMN payments.period_start IS 'Of a plan: the period that was paid.';
COMMENT ON COLUMN payments.period_end IS 'Of a plan: the end of the period that was paid.';
COMMENT ON COLUMN payments.paid_at IS 'By the provider''s clock.';

CREATE TABLE payment_authorizations (
    user_id id NOT NULL CONSTRAINT payment_authorizations_user_fkey REFERENCES users (id),
    id id NOT NULL,
    call_id id,
    payment_intent_id text,
    stripe_customer_id text NOT NULL,
    credits integer NOT NULL CONSTRAINT payment_authorizations_credits CHECK (credits > 0),
    cents_per_credit numeric(12, 2) NOT NULL CONSTRAINT payment_authorizations_price CHECK (cents_per_credit > 0),
    authorized_cents numeric(12, 2) NOT NULL,
    capture_cents numeric(12, 2) NOT NULL DEFAULT 0
    CONSTRAINT payment_authorizations_capture CHECK (capture_cents BETWEEN 0 AND authorized_cents),
    captured_cents numeric(12, 2) NOT NULL DEFAULT 0
    CONSTRAINT payment_authorizations_captured CHECK (captured_cents IN (0, capture_cents)),
    used_credits integer NOT NULL DEFAULT 0
    CONSTRAINT payment_authorizations_used CHECK (used_credits BETWEEN 0 AND credits),
    currency text NOT NULL CONSTRAINT payment_authorizations_currency CHECK (currency ~ '^[a-z]{3}$'),
    state text NOT NULL DEFAULT 'authorizing' CONSTRAINT payment_authorizations_state CHECK (
        state IN ('authorizing', 'authorized', 'calling', 'capturing', 'releasing', 'captured', 'released', 'declined', 'failed')
    ),
    attempts integer NOT NULL DEFAULT 0 CONSTRAINT payment_authorizations_attempts CHECK (attempts >= 0),
    retry_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payment_authorizations_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT payment_authorizations_amount CHECK (authorized_cents = credits * cents_per_credit),
    CONSTRAINT payment_authorizations_capture_used CHECK (capture_cents = used_credits * cents_per_credit),
    CONSTRAINT payment_authorizations_call_fkey FOREIGN KEY (user_id, call_id) REFERENCES calls (user_id, id)
);
CREATE UNIQUE INDEX payment_authorizations_intent_key ON payment_authorizations (payment_intent_id)
WHERE payment_intent_id IS NOT NULL;
CREATE INDEX idx_payment_authorizations_call ON payment_authorizations (user_id, call_id);
CREATE INDEX idx_payment_authorizations_due ON payment_authorizations (retry_at) WHERE retry_at IS NOT NULL;
COMMENT ON TABLE payment_authorizations IS
'Calls paid one by one: the worst case is set aside on the card before the call, what was used is captured after it, the rest released.';
COMMENT ON COLUMN payment_authorizations.call_id IS 'The call that it pays, once that has begun.';
COMMENT ON COLUMN payment_authorizations.cents_per_credit IS 'What a started minute costs in this call.';
COMMENT ON COLUMN payment_authorizations.authorized_cents IS 'The worst case.';
COMMENT ON COLUMN payment_authorizations.capture_cents IS 'What the call came to, from its settlement on.';
COMMENT ON COLUMN payment_authorizations.captured_cents IS 'What the provider confirmed.';
COMMENT ON COLUMN payment_authorizations.used_credits IS 'Started minutes of the call.';
COMMENT ON COLUMN payment_authorizations.retry_at IS 'When the worker goes on with it; NULL when nothing is to be done.';

CREATE TABLE refunds (
    user_id id NOT NULL,
    id id NOT NULL,
    payment_id id NOT NULL,
    amount_cents numeric(12, 2) NOT NULL CONSTRAINT refunds_amount CHECK (amount_cents > 0),
    currency text NOT NULL CONSTRAINT refunds_currency CHECK (currency ~ '^[a-z]{3}$'),
    is_succeeded boolean NOT NULL DEFAULT false,
    is_undone boolean NOT NULL DEFAULT false,
    credits integer NOT NULL DEFAULT 0 CONSTRAINT refunds_credits CHECK (credits >= 0),
    refunded_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT refunds_payment_fkey FOREIGN KEY (user_id, payment_id) REFERENCES payments (user_id, id)
);
CREATE INDEX idx_refunds_payment ON refunds (user_id, payment_id);
COMMENT ON TABLE refunds IS 'Money that was given back, by the provider''s id. It counts while it succeeded and wasn''t undone.';
COMMENT ON COLUMN refunds.payment_id IS 'What was given back.';
COMMENT ON COLUMN refunds.is_succeeded IS 'The provider said so at least once; this never goes back.';
COMMENT ON COLUMN refunds.is_undone IS 'It failed or was canceled after all; this never goes back.';
COMMENT ON COLUMN refunds.credits IS 'Credits that it took back while it counts.';
COMMENT ON COLUMN refunds.refunded_at IS 'By the provider''s clock.';

CREATE TABLE disputes (
    user_id id NOT NULL,
    id id NOT NULL,
    payment_id id NOT NULL,
    amount_cents numeric(12, 2) NOT NULL CONSTRAINT disputes_amount CHECK (amount_cents > 0),
    currency text NOT NULL CONSTRAINT disputes_currency CHECK (currency ~ '^[a-z]{3}$'),
    reason text NOT NULL,
    is_withdrawn boolean NOT NULL DEFAULT false,
    is_reinstated boolean NOT NULL DEFAULT false,
    credits integer NOT NULL DEFAULT 0 CONSTRAINT disputes_credits CHECK (credits >= 0),
    disputed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT disputes_pkey PRIMARY KEY (user_id, id),
    CONSTRAINT disputes_payment_fkey FOREIGN KEY (user_id, payment_id) REFERENCES payments (user_id, id)
);
CREATE INDEX idx_disputes_payment ON disputes (user_id, payment_id);
COMMENT ON TABLE disputes IS 'Payments that people contested at their bank, by the provider''s id. It counts while it was withdrawn and not reinstated.';
COMMENT ON COLUMN disputes.payment_id IS 'What was contested.';
COMMENT ON COLUMN disputes.reason IS 'The bank''s word for it.';
COMMENT ON COLUMN disputes.is_withdrawn IS 'The money was taken from us; this never goes back.';
COMMENT ON COLUMN disputes.is_reinstated IS 'We got it back; this never goes back.';
COMMENT ON COLUMN disputes.credits IS 'Credits that it took back while it counts.';
COMMENT ON COLUMN disputes.disputed_at IS 'By the provider''s clock.';

ALTER TABLE payment_events DROP CONSTRAINT payment_events_state;
ALTER TABLE payment_events ADD CONSTRAINT payment_events_state
CHECK (state IN ('applied', 'ignored', 'unmatched', 'refused'));
ALTER TABLE payment_events ADD COLUMN facts jsonb;
ALTER TABLE payment_events ADD COLUMN waits_for text[];
CREATE INDEX idx_payment_events_waits ON payment_events USING gin (waits_for) WHERE state = 'unmatched';
CREATE INDEX idx_payment_events_refused ON payment_events (received_at) WHERE state = 'refused';
COMMENT ON COLUMN payment_events.state IS
'applied; ignored: nothing to do; unmatched: its object isn''t known yet; refused: it contradicts our own rows, and a person must look.';
COMMENT ON COLUMN payment_events.facts IS 'pii:content. What the event says in our words; emptied with the payload.';
COMMENT ON COLUMN payment_events.waits_for IS 'Ids of the objects that it speaks of, while it is unmatched.';

CREATE TABLE sealed_days (
    day date CONSTRAINT sealed_days_pkey PRIMARY KEY,
    ledger_rows bigint NOT NULL CONSTRAINT sealed_days_rows CHECK (ledger_rows >= 0),
    received_credits bigint NOT NULL,
    taken_credits bigint NOT NULL,
    batch_hash bytea NOT NULL CONSTRAINT sealed_days_hash CHECK (length(batch_hash) = 32),
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed_by text NOT NULL
);
COMMENT ON TABLE sealed_days IS 'Days (UTC) whose ledger is closed, each with a hash over its rows that is published elsewhere too.';
COMMENT ON COLUMN sealed_days.day IS 'UTC.';
COMMENT ON COLUMN sealed_days.ledger_rows IS 'Rows of the ledger in that day.';
COMMENT ON COLUMN sealed_days.received_credits IS 'Sum of the rows above 0.';
COMMENT ON COLUMN sealed_days.taken_credits IS 'Sum of the rows below 0.';
COMMENT ON COLUMN sealed_days.batch_hash IS 'SHA-256 over the rows in the order of account and number, and over the hash of the day before.';
COMMENT ON COLUMN sealed_days.sealed_at IS 'When it was closed.';
COMMENT ON COLUMN sealed_days.sealed_by IS 'The system account that closed it.';

CREATE TABLE closing_days (
    day date CONSTRAINT closing_days_pkey PRIMARY KEY,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    marker xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON TABLE closing_days IS 'Days that are over and wait for the transactions that may still write into them.';
COMMENT ON COLUMN closing_days.day IS 'UTC.';
COMMENT ON COLUMN closing_days.marked_at IS 'When the marker was set, well after the end of the day.';
COMMENT ON COLUMN closing_days.marker IS 'Once no transaction before this one is open, the day can''t change any more.';

CREATE TABLE budget_notices (
    user_id id NOT NULL CONSTRAINT budget_notices_user_fkey REFERENCES users (id) ON DELETE CASCADE,
    month date NOT NULL CONSTRAINT budget_notices_month CHECK (extract(DAY FROM month) = 1),
    percent integer NOT NULL CONSTRAINT budget_notices_percent CHECK (percent BETWEEN 1 AND 100),
    noticed_at timestamptz NOT NULL DEFAULT now(),
    told_at timestamptz,
    put_off_count integer NOT NULL DEFAULT 0 CONSTRAINT budget_notices_put_off_count CHECK (put_off_count >= 0),
    put_off_since timestamptz,
    given_up_at timestamptz,
    CONSTRAINT budget_notices_pkey PRIMARY KEY (user_id, month, percent),
    CONSTRAINT budget_notices_end CHECK (told_at IS NULL OR given_up_at IS NULL)
);
CREATE INDEX idx_budget_notices_untold ON budget_notices (noticed_at) WHERE told_at IS NULL AND given_up_at IS NULL;
COMMENT ON TABLE budget_notices IS 'Warnings about a month''s budget, each at most once.';
COMMENT ON COLUMN budget_notices.month IS 'First day of the person''s month.';
COMMENT ON COLUMN budget_notices.percent IS 'Of the month''s limit that was reached.';
COMMENT ON COLUMN budget_notices.noticed_at IS 'When the spending was found there.';
COMMENT ON COLUMN budget_notices.told_at IS 'When the person was told; NULL while that is still to be done.';
COMMENT ON COLUMN budget_notices.put_off_count IS 'How often the person''s mail server said that it takes it later.';
COMMENT ON COLUMN budget_notices.put_off_since IS 'When it said so first.';
COMMENT ON COLUMN budget_notices.given_up_at IS 'When we stopped asking it.';
