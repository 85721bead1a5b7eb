-- What the payment provider tells us, each event once: stored, applied and acknowledged in one commit.
--
-- Every function takes the account's row first, then the rows of payments: the account is the queue for all of a person's
-- money. An event says what it says in "facts" (providers/stripe.py makes them of every version of the provider's objects).

CREATE OR REPLACE FUNCTION lock_account(p_user_id text)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION lock_account(text) IS 'Waits for the account''s row and keeps it; false for nobody''s.';

CREATE OR REPLACE FUNCTION require_self(p_user_id text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
BEGIN
    IF session_user = 'callmeback_api' AND p_user_id IS DISTINCT FROM current_setting('callmeback.user_id', true) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
END
$$;
COMMENT ON FUNCTION require_self(text) IS 'A web request acts for its own person only.';

CREATE OR REPLACE FUNCTION outcome(p_state text, p_effect text, p_user_id text)
RETURNS payment_outcome
LANGUAGE plpgsql
IMMUTABLE
SET search_path = public, pg_temp
AS $$
DECLARE
    v payment_outcome;
BEGIN
    v.state := p_state;
    v.effect := p_effect;
    v.user_id := p_user_id;
    RETURN v;
END
$$;
COMMENT ON FUNCTION outcome(text, text, text) IS 'What an event did, as one value.';

CREATE OR REPLACE FUNCTION begin_purchase(
    p_user_id text,
    p_purchase_id text,
    p_sku text,
    p_coupon text DEFAULT NULL,
    OUT credits integer,
    OUT amount_cents numeric,
    OUT currency text,
    OUT name text
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- The provider charges no less.
    c_least_cents CONSTANT numeric := 50;
    v_pack credit_packs;
    v_coupon coupons;
    v_off numeric := 0;
BEGIN
    PERFORM require_self(p_user_id);
    IF NOT lock_account(p_user_id) OR EXISTS (SELECT FROM users AS u WHERE u.id = p_user_id AND u.erased_at IS NOT NULL) THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
    SELECT k.* INTO v_pack FROM credit_packs AS k WHERE k.sku = p_sku AND k.is_active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'pack is not for sale' USING ERRCODE = 'CM008';
    END IF;
    IF p_coupon IS NOT NULL THEN
        SELECT c.* INTO v_coupon FROM coupons AS c WHERE c.code = upper(p_coupon) FOR NO KEY UPDATE;
        v_off := coalesce(
            v_coupon.amount_off_cents, trunc(v_pack.price_cents * v_coupon.percent_off / 100), 0
        );
        IF v_coupon.code IS NULL OR v_coupon.expires_at <= clock_timestamp()
            OR v_coupon.redemptions >= v_coupon.max_redemptions
            OR v_coupon.currency <> v_pack.currency
            OR v_pack.price_cents - v_off < c_least_cents
            OR EXISTS (
                SELECT FROM purchases AS x
                WHERE x.user_id = p_user_id AND x.coupon = v_coupon.code AND x.status <> 'failed'
            ) THEN
            RAISE EXCEPTION 'coupon can''t be used' USING ERRCODE = 'CM023';
        END IF;
        UPDATE coupons AS c SET redemptions = c.redemptions + 1 WHERE c.code = v_coupon.code;
    END IF;
    INSERT INTO purchases (user_id, id, sku, credits, amount_cents, discount_cents, currency, coupon, status)
    VALUES (
        p_user_id, p_purchase_id, v_pack.sku, v_pack.credits, v_pack.price_cents - v_off, v_off, v_pack.currency,
        v_coupon.code, 'pending'
    );
    credits := v_pack.credits;
    amount_cents := v_pack.price_cents - v_off;
    currency := v_pack.currency;
    name := v_pack.name;
END
$$;
COMMENT ON FUNCTION begin_purchase(text, text, text, text) IS
'Writes what a person wants to buy and at which price, before the provider is asked. A coupon is taken here, and free again if nothing is paid.';

CREATE OR REPLACE FUNCTION note_checkout(p_user_id text, p_purchase_id text, p_session_id text, p_url text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE purchases AS x
    SET stripe_session_id = p_session_id, checkout_url = CASE WHEN x.status = 'pending' THEN p_url END
    WHERE x.user_id = p_user_id AND x.id = p_purchase_id AND x.status <> 'failed'
        AND coalesce(x.stripe_session_id, p_session_id) = p_session_id;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION note_checkout(text, text, text, text) IS
'The provider''s page for a purchase; the event that it is paid may have been faster. False for one that was given up: its page must go.';

CREATE OR REPLACE FUNCTION fail_purchase(p_user_id text, p_purchase_id text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_coupon text;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE purchases AS x
    SET status = 'failed'
    WHERE x.user_id = p_user_id AND x.id = p_purchase_id AND x.status = 'pending'
    RETURNING x.coupon INTO v_coupon;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE coupons AS c SET redemptions = c.redemptions - 1 WHERE c.code = v_coupon AND c.redemptions > 0;
    RETURN true;
END
$$;
COMMENT ON FUNCTION fail_purchase(text, text) IS 'A checkout that ended unpaid: its coupon is free again. Money that comes all the same still counts.';

CREATE OR REPLACE FUNCTION receive_payment(p_payment payments)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    INSERT INTO payments (
        user_id, id, kind, subscription_id, payment_intent_id, tier, description, amount_cents, currency, credits,
        period_start, period_end, paid_at
    ) VALUES (
        p_payment.user_id, p_payment.id, p_payment.kind, p_payment.subscription_id,
        -- Reversals name the intent, so it leads to one payment.
        CASE
            WHEN NOT EXISTS (SELECT FROM payments AS o WHERE o.payment_intent_id = p_payment.payment_intent_id)
                THEN p_payment.payment_intent_id
        END,
        p_payment.tier, p_payment.description, p_payment.amount_cents, p_payment.currency, p_payment.credits,
        p_payment.period_start, p_payment.period_end, p_payment.paid_at
    ) ON CONFLICT (user_id, id) DO NOTHING;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION receive_payment(payments) IS 'Notes money that came in; false where it was noted before. The caller holds the account.';

CREATE OR REPLACE FUNCTION note_customer(p_user_id text, p_customer_id text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE users AS u
    SET stripe_customer_id = p_customer_id
    WHERE u.id = p_user_id AND u.stripe_customer_id IS NULL AND u.erased_at IS NULL
        AND NOT EXISTS (SELECT FROM users AS o WHERE o.stripe_customer_id = p_customer_id);
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION note_customer(text, text) IS 'The person''s id at the payment provider; the first one stays.';

CREATE OR REPLACE FUNCTION forget_customer(p_user_id text, p_customer_id text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE users AS u
    SET stripe_customer_id = NULL
    WHERE u.id = p_user_id AND u.stripe_customer_id = p_customer_id;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION forget_customer(text, text) IS 'The provider knows this customer no longer: another is made at the next need.';

CREATE OR REPLACE FUNCTION effect_of_purchase_session(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v purchases;
    v_payment payments;
    v_problem text;
BEGIN
    SELECT x.* INTO v
    FROM purchases AS x
    WHERE x.user_id = p_facts ->> 'user_id' AND x.id = p_facts ->> 'reference';
    IF NOT FOUND THEN
        SELECT x.* INTO v FROM purchases AS x WHERE x.stripe_session_id = p_facts ->> 'id';
        IF NOT FOUND THEN
            RETURN outcome('unmatched', 'unknown_session', NULL);
        END IF;
    END IF;
    PERFORM lock_account(v.user_id);
    SELECT x.* INTO v FROM purchases AS x WHERE x.user_id = v.user_id AND x.id = v.id FOR NO KEY UPDATE;

    IF v.status IN ('completed', 'refunded') THEN
        RETURN outcome('ignored', 'already_completed', v.user_id);
    ELSIF p_type IN ('checkout.session.expired', 'checkout.session.async_payment_failed') THEN
        PERFORM fail_purchase(v.user_id, v.id);
        RETURN outcome('applied', 'purchase_failed', v.user_id);
    ELSIF p_type NOT IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded')
        OR p_facts ->> 'payment_status' IS DISTINCT FROM 'paid' THEN
        RETURN outcome('ignored', 'not_paid', v.user_id);
    END IF;
    v_problem := CASE
        WHEN p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN 'wrong_currency'
        WHEN (p_facts ->> 'amount_cents')::numeric IS DISTINCT FROM v.amount_cents THEN 'wrong_amount'
        WHEN v.stripe_session_id IS NOT NULL AND v.stripe_session_id <> p_facts ->> 'id' THEN 'other_session'
    END;
    IF v_problem IS NOT NULL THEN
        UPDATE purchases AS x SET refused = v_problem WHERE x.user_id = v.user_id AND x.id = v.id;
        RETURN outcome('refused', v_problem, v.user_id);
    END IF;

    -- A checkout that we took for ended had given its coupon back.
    IF v.status = 'failed' THEN
        UPDATE coupons AS c
        SET redemptions = c.redemptions + 1
        WHERE c.code = v.coupon AND (c.max_redemptions IS NULL OR c.redemptions < c.max_redemptions);
    END IF;
    UPDATE purchases AS x
    SET
        status = 'completed', completed_at = clock_timestamp(), stripe_session_id = p_facts ->> 'id',
        payment_intent_id = p_facts ->> 'payment_intent', stripe_customer_id = p_facts ->> 'customer',
        checkout_url = NULL,
        -- The code went to another checkout meanwhile: this one keeps its price without it.
        coupon = CASE
            WHEN x.status = 'failed' AND EXISTS (
                SELECT FROM purchases AS o
                WHERE o.user_id = x.user_id AND o.coupon = x.coupon AND o.status <> 'failed'
            ) THEN NULL
            ELSE x.coupon
        END
    WHERE x.user_id = v.user_id AND x.id = v.id;
    v_payment.user_id := v.user_id;
    v_payment.id := v.id;
    v_payment.kind := 'purchase';
    v_payment.payment_intent_id := p_facts ->> 'payment_intent';
    v_payment.description := v.credits || ' minutes';
    v_payment.amount_cents := v.amount_cents;
    v_payment.currency := v.currency;
    v_payment.credits := v.credits;
    v_payment.paid_at := p_at;
    PERFORM receive_payment(v_payment);
    PERFORM move_credits(
        v.user_id, v.credits, 'purchase', 'purchase:' || v.id, NULL, p_facts ->> 'payment_intent'
    );
    PERFORM note_customer(v.user_id, p_facts ->> 'customer');
    RETURN outcome('applied', 'purchase_completed', v.user_id);
END
$$;
COMMENT ON FUNCTION effect_of_purchase_session(text, timestamptz, jsonb) IS
'A checkout of a pack. Only one that the provider says is paid, at our amount and in our currency, brings credits.';

CREATE OR REPLACE FUNCTION close_stale_checkouts(p_limit integer DEFAULT 1)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- A page at the provider lives half an hour.
    c_alive CONSTANT interval := '2 hours';
    v_oldest timestamptz := clock_timestamp() - c_alive;
    v record;
    v_closed integer := 0;
BEGIN
    FOR v IN
        SELECT x.user_id, x.id, true AS is_purchase
        FROM purchases AS x
        WHERE x.status = 'pending' AND x.created_at < v_oldest
        UNION ALL
        SELECT s.user_id, s.id, false AS is_purchase
        FROM subscriptions AS s
        WHERE s.status = 'pending' AND s.created_at < v_oldest
        LIMIT p_limit
    LOOP
        IF v.is_purchase THEN
            PERFORM fail_purchase(v.user_id, v.id);
        ELSE
            PERFORM expire_checkout(v.user_id, v.id);
        END IF;
        v_closed := v_closed + 1;
    END LOOP;
    RETURN v_closed;
END
$$;
COMMENT ON FUNCTION close_stale_checkouts(integer) IS
'Checkouts whose end nobody told us: coupons are free again, another plan can be chosen. One a transaction keeps it from holding two accounts.';
