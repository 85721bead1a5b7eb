-- Plans by the month. A tier is in force because a period at its price was paid, never because something was updated.

CREATE OR REPLACE FUNCTION follow_subscription(p_user_id text)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v subscriptions;
    v_in_force boolean;
BEGIN
    SELECT s.* INTO v
    FROM subscriptions AS s
    WHERE s.user_id = p_user_id AND s.started_at IS NOT NULL
    ORDER BY s.status IN ('active', 'past_due') DESC, s.current_period_start DESC
    LIMIT 1;
    v_in_force := v.status IN ('active', 'past_due') AND v.suspended_at IS NULL;
    UPDATE user_credits AS a
    SET
        subscription_tier = CASE WHEN v_in_force THEN v.tier ELSE 'free' END,
        subscription_status = CASE WHEN v.suspended_at IS NOT NULL AND v.status = 'active' THEN 'past_due' ELSE v.status END,
        subscription_stripe_id = v.stripe_subscription_id,
        subscription_start_date = v.started_at,
        subscription_end_date = coalesce(v.ended_at, v.current_period_end),
        updated_at = clock_timestamp()
    WHERE a.user_id = p_user_id;
END
$$;
COMMENT ON FUNCTION follow_subscription(text) IS 'Brings the account''s tier in line with its newest paid plan. The caller holds the account.';

CREATE OR REPLACE FUNCTION begin_subscription(
    p_user_id text,
    p_subscription_id text,
    p_tier text,
    OUT price_cents numeric,
    OUT currency text,
    OUT lookup_key text
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_tier subscription_tiers;
BEGIN
    PERFORM require_self(p_user_id);
    IF NOT lock_account(p_user_id) OR EXISTS (SELECT FROM users AS u WHERE u.id = p_user_id AND u.erased_at IS NOT NULL) THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
    SELECT t.* INTO v_tier
    FROM subscription_tiers AS t
    WHERE t.tier = p_tier AND t.stripe_lookup_key IS NOT NULL AND t.monthly_price_cents > 0;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tier is not for sale' USING ERRCODE = 'CM022';
    ELSIF EXISTS (
        SELECT FROM subscriptions AS s
        WHERE s.user_id = p_user_id AND s.status IN ('pending', 'active', 'past_due')
    ) THEN
        RAISE EXCEPTION 'there is a subscription' USING ERRCODE = 'CM024';
    END IF;
    price_cents := v_tier.monthly_price_cents;
    currency := v_tier.currency;
    lookup_key := v_tier.stripe_lookup_key;
    INSERT INTO subscriptions (user_id, id, tier, price_cents, currency, status)
    VALUES (p_user_id, p_subscription_id, p_tier, price_cents, currency, 'pending');
END
$$;
COMMENT ON FUNCTION begin_subscription(text, text, text) IS
'Writes which plan a person wants and at which price, before the provider is asked. One at a time.';

CREATE OR REPLACE FUNCTION note_subscription_checkout(
    p_user_id text, p_subscription_id text, p_session_id text, p_url text
)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    UPDATE subscriptions AS s
    SET stripe_session_id = p_session_id, checkout_url = p_url, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_subscription_id AND s.status = 'pending';
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION note_subscription_checkout(text, text, text, text) IS
'The provider''s page for a plan; false for one that was given up, or paid, meanwhile.';

CREATE OR REPLACE FUNCTION expire_checkout(p_user_id text, p_subscription_id text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE subscriptions AS s
    SET status = 'expired', checkout_url = NULL, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_subscription_id AND s.status = 'pending';
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION expire_checkout(text, text) IS 'The checkout of a plan ended unpaid. Money that comes all the same revives it.';

CREATE OR REPLACE FUNCTION subscription_of(p_facts jsonb)
RETURNS subscriptions
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v subscriptions;
BEGIN
    SELECT s.* INTO v FROM subscriptions AS s WHERE s.stripe_subscription_id = p_facts ->> 'subscription';
    IF NOT FOUND THEN
        SELECT s.* INTO v
        FROM subscriptions AS s
        WHERE s.user_id = p_facts ->> 'user_id' AND s.id = p_facts ->> 'reference' AND s.stripe_subscription_id IS NULL;
    END IF;
    IF v.id IS NULL OR p_facts ->> 'subscription' IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM lock_account(v.user_id);
    UPDATE subscriptions AS s
    SET
        stripe_subscription_id = coalesce(s.stripe_subscription_id, p_facts ->> 'subscription'),
        stripe_customer_id = coalesce(s.stripe_customer_id, p_facts ->> 'customer')
    WHERE s.user_id = v.user_id AND s.id = v.id
        AND coalesce(s.stripe_subscription_id, p_facts ->> 'subscription') = p_facts ->> 'subscription'
    RETURNING s.* INTO v;
    RETURN v;
END
$$;
COMMENT ON FUNCTION subscription_of(jsonb) IS
'The plan that an event speaks of, its account locked: by the provider''s id, or by ours, which the first event ties to it.';

CREATE OR REPLACE FUNCTION effect_of_subscription_session(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v subscriptions;
BEGIN
    IF p_type IN ('checkout.session.expired', 'checkout.session.async_payment_failed') THEN
        SELECT s.* INTO v
        FROM subscriptions AS s
        WHERE s.user_id = p_facts ->> 'user_id' AND s.id = p_facts ->> 'reference';
        IF NOT FOUND THEN
            RETURN outcome('unmatched', 'unknown_session', NULL);
        END IF;
        RETURN outcome(CASE WHEN expire_checkout(v.user_id, v.id) THEN 'applied' ELSE 'ignored' END, 'checkout_expired', v.user_id);
    END IF;
    v := subscription_of(p_facts);
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_subscription', NULL);
    END IF;
    PERFORM note_customer(v.user_id, p_facts ->> 'customer');
    -- What was paid is told by the invoice.
    RETURN outcome('applied', 'subscription_known', v.user_id);
END
$$;
COMMENT ON FUNCTION effect_of_subscription_session(text, timestamptz, jsonb) IS
'A checkout of a plan: ties the provider''s subscription to ours. The invoice brings the plan into force.';

CREATE OR REPLACE FUNCTION effect_of_invoice(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    -- How long a plan stays in force when its payment fails.
    c_grace CONSTANT interval := '7 days';
    -- The provider tells us of a renewal within an hour; past that we ask.
    c_look_after CONSTANT interval := '2 hours';
    v subscriptions;
    v_payment payments;
    v_label text := p_facts ->> 'tier';
    v_amount numeric := (p_facts ->> 'amount_cents')::numeric;
    v_tier text;
    v_start timestamptz := to_timestamp((p_facts ->> 'period_start')::double precision);
    v_end timestamptz := to_timestamp((p_facts ->> 'period_end')::double precision);
    v_allowance integer;
    v_is_second boolean;
    v_is_paid boolean;
BEGIN
    IF p_facts ->> 'subscription' IS NULL THEN
        RETURN outcome('ignored', 'no_subscription', NULL);
    END IF;
    v := subscription_of(p_facts);
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_subscription', NULL);
    ELSIF EXISTS (SELECT FROM payments AS x WHERE x.user_id = v.user_id AND x.id = p_facts ->> 'id') THEN
        RETURN outcome('ignored', 'already_paid', v.user_id);
    ELSIF p_type = 'invoice.payment_failed' THEN
        IF v.status <> 'active' OR v_start <= v.current_period_start OR p_at < v.seen_at THEN
            RETURN outcome('ignored', 'payment_failed', v.user_id);
        END IF;
        UPDATE subscriptions AS s
        SET status = 'past_due', grace_until = p_at + c_grace, seen_at = p_at, updated_at = clock_timestamp()
        WHERE s.user_id = v.user_id AND s.id = v.id;
        PERFORM follow_subscription(v.user_id);
        RETURN outcome('applied', 'grace_began', v.user_id);
    ELSIF p_type NOT IN ('invoice.paid', 'invoice.payment_succeeded') OR p_facts ->> 'status' IS DISTINCT FROM 'paid' THEN
        RETURN outcome('ignored', 'not_paid', v.user_id);
    END IF;

    -- The amount says which of the agreed prices was paid: what an invoice of a change is labelled with may be the old plan.
    v_tier := CASE
        WHEN v_amount = v.pending_price_cents THEN v.pending_tier
        WHEN v_amount = v.price_cents AND coalesce(v_label, v.tier) = v.tier THEN v.tier
        -- A period of an earlier plan that is told late.
        ELSE (
            SELECT t.tier FROM subscription_tiers AS t
            WHERE t.tier = v_label AND t.monthly_price_cents = v_amount AND v_amount > 0
        )
    END;
    IF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF v_tier IS NULL THEN
        RETURN outcome('refused', 'wrong_amount', v.user_id);
    ELSIF v_start IS NULL OR v_end IS NULL OR v_end <= v_start THEN
        RETURN outcome('refused', 'wrong_period', v.user_id);
    END IF;
    v_is_second := v.status = 'expired' AND EXISTS (
        SELECT FROM subscriptions AS s
        WHERE s.user_id = v.user_id AND s.id <> v.id AND s.status IN ('pending', 'active', 'past_due')
    );

    SELECT coalesce(a.monthly_credit_allowance, t.monthly_credit_allowance) INTO v_allowance
    FROM user_credits AS a
    CROSS JOIN subscription_tiers AS t
    WHERE a.user_id = v.user_id AND t.tier = v_tier;
    v_payment.user_id := v.user_id;
    v_payment.id := p_facts ->> 'id';
    v_payment.kind := 'subscription';
    v_payment.subscription_id := v.id;
    v_payment.payment_intent_id := p_facts ->> 'payment_intent';
    v_payment.tier := v_tier;
    v_payment.description := v_tier || ' plan, a month';
    v_payment.amount_cents := v_amount;
    v_payment.currency := v.currency;
    v_payment.credits := v_allowance;
    v_payment.period_start := v_start;
    v_payment.period_end := v_end;
    v_payment.paid_at := p_at;
    IF v_is_second OR EXISTS (
        SELECT FROM payments AS x
        WHERE x.user_id = v.user_id AND x.subscription_id = v.id AND x.period_start = v_start AND x.tier = v_tier
    ) THEN
        -- Money for nothing is written down, so that it can be given back: somebody must look. Nobody pays for it again.
        v_payment.credits := 0;
        v_is_paid := EXISTS (
            SELECT FROM payments AS x
            WHERE x.user_id = v.user_id AND x.subscription_id = v.id AND x.period_start = v_start AND x.tier = v_tier
                AND x.reversed_cents < x.amount_cents
        );
        PERFORM receive_payment(v_payment);
        IF v_is_second THEN
            UPDATE subscriptions AS s
            SET cancel_due_at = clock_timestamp(), updated_at = clock_timestamp()
            WHERE s.user_id = v.user_id AND s.id = v.id AND s.ended_at IS NULL;
            RETURN outcome('refused', 'second_subscription', v.user_id);
        END IF;
        -- If what had paid it went back meanwhile, this pays for it now.
        PERFORM count_reversals(v.user_id, v_payment.id, 'repaid:' || v_payment.id);
        RETURN outcome(
            CASE WHEN v_is_paid THEN 'refused' ELSE 'applied' END,
            CASE WHEN v_is_paid THEN 'period_paid_twice' ELSE 'period_paid_again' END, v.user_id
        );
    ELSIF v_allowance > 0 THEN
        -- Periods begin at whole seconds: the one of an upgrade may begin with the one that it replaces.
        PERFORM move_credits(
            v.user_id, v_allowance, 'subscription_refill',
            'period:' || v.stripe_subscription_id || ':' || extract(EPOCH FROM v_start)::bigint || ':' || v_tier, NULL,
            p_facts ->> 'payment_intent'
        );
    END IF;
    PERFORM receive_payment(v_payment);
    -- An older period that is told late is paid, but says nothing about today. Of two that begin together the dearer
    -- one is the later: only an upgrade begins at once.
    IF v.ended_at IS NULL AND (
        v.current_period_start IS NULL OR v_start > v.current_period_start
        OR v_start = v.current_period_start AND v_amount > v.price_cents
    ) THEN
        UPDATE subscriptions AS s
        SET
            status = 'active', tier = v_tier, price_cents = v_amount,
            pending_tier = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_tier END,
            pending_price_cents = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_price_cents END,
            pending_key = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_key END,
            pending_since = CASE WHEN s.pending_tier = v_tier THEN NULL ELSE s.pending_since END,
            started_at = coalesce(s.started_at, v_start), current_period_start = v_start, current_period_end = v_end,
            grace_until = NULL, suspended_at = NULL, checkout_url = NULL,
            -- The plan of a person who is gone is ended, whatever was still paid for it.
            cancel_due_at = CASE
                WHEN EXISTS (SELECT FROM users AS u WHERE u.id = v.user_id AND u.erased_at IS NOT NULL)
                    THEN clock_timestamp()
            END,
            seen_at = greatest(s.seen_at, p_at), look_at = v_end + c_look_after, updated_at = clock_timestamp()
        WHERE s.user_id = v.user_id AND s.id = v.id;
        PERFORM follow_subscription(v.user_id);
    END IF;
    PERFORM note_customer(v.user_id, p_facts ->> 'customer');
    RETURN outcome('applied', 'period_paid', v.user_id);
END
$$;
COMMENT ON FUNCTION effect_of_invoice(text, timestamptz, jsonb) IS
'A period that was paid brings its credits once and its tier into force; one that failed begins a time of grace.';

CREATE OR REPLACE FUNCTION effect_of_subscription(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    c_grace CONSTANT interval := '7 days';
    v subscriptions := subscription_of(p_facts);
    v_status text := p_facts ->> 'status';
    -- Told in the second of a payment, a failure is the one that the payment has mended.
    v_fails boolean := v_status IN ('past_due', 'unpaid') AND (v.status = 'past_due' OR p_at > v.seen_at);
BEGIN
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_subscription', NULL);
    ELSIF v.ended_at IS NOT NULL THEN
        RETURN outcome('ignored', 'ended', v.user_id);
    ELSIF p_type = 'customer.subscription.deleted' OR v_status IN ('canceled', 'incomplete_expired') THEN
        -- The provider never revives one, so this holds whenever it comes.
        UPDATE subscriptions AS s
        SET
            status = CASE WHEN s.started_at IS NULL OR s.status = 'expired' THEN 'expired' ELSE 'canceled' END,
            ended_at = p_at, grace_until = NULL, cancel_due_at = NULL, look_at = NULL, pending_tier = NULL,
            pending_price_cents = NULL, pending_key = NULL, pending_since = NULL, seen_at = greatest(s.seen_at, p_at),
            updated_at = clock_timestamp()
        WHERE s.user_id = v.user_id AND s.id = v.id;
        IF v.started_at IS NOT NULL THEN
            PERFORM follow_subscription(v.user_id);
        END IF;
        RETURN outcome('applied', 'subscription_ended', v.user_id);
    ELSIF p_at < v.seen_at OR v.status NOT IN ('active', 'past_due') THEN
        RETURN outcome('ignored', 'older_or_not_begun', v.user_id);
    END IF;
    UPDATE subscriptions AS s
    SET
        cancel_at_period_end = coalesce((p_facts ->> 'cancel_at_period_end')::boolean, s.cancel_at_period_end),
        status = CASE WHEN v_fails THEN 'past_due' ELSE s.status END,
        grace_until = CASE WHEN v_fails THEN coalesce(s.grace_until, p_at + c_grace) ELSE s.grace_until END,
        seen_at = p_at, updated_at = clock_timestamp()
    WHERE s.user_id = v.user_id AND s.id = v.id;
    PERFORM follow_subscription(v.user_id);
    RETURN outcome('applied', 'subscription_updated', v.user_id);
END
$$;
COMMENT ON FUNCTION effect_of_subscription(text, timestamptz, jsonb) IS
'What the provider says of a plan: whether it will end or has ended, and whether a payment failed. Never which tier is paid.';

CREATE OR REPLACE FUNCTION end_grace(p_limit integer DEFAULT 1)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v record;
    v_ended integer := 0;
BEGIN
    FOR v IN
        SELECT s.user_id, s.id
        FROM subscriptions AS s
        WHERE s.grace_until <= v_now
        ORDER BY s.grace_until
        LIMIT p_limit
    LOOP
        PERFORM lock_account(v.user_id);
        UPDATE subscriptions AS s
        SET
            status = 'expired', grace_until = NULL, cancel_due_at = v_now, look_at = NULL, pending_tier = NULL,
            pending_price_cents = NULL, pending_key = NULL, pending_since = NULL, updated_at = v_now
        WHERE s.user_id = v.user_id AND s.id = v.id AND s.grace_until <= v_now;
        IF FOUND THEN
            PERFORM follow_subscription(v.user_id);
            v_ended := v_ended + 1;
        END IF;
    END LOOP;
    RETURN v_ended;
END
$$;
COMMENT ON FUNCTION end_grace(integer) IS 'Puts accounts whose time of grace is over on the free tier; the worker cancels their plans at the provider. One a transaction keeps it from holding two accounts.';

CREATE OR REPLACE FUNCTION claim_subscription_work(p_limit integer, p_again_after interval)
RETURNS TABLE (user_id text, id text, stripe_subscription_id text, is_cancel boolean)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT s.user_id, s.id, s.cancel_due_at
        FROM subscriptions AS s
        WHERE s.stripe_subscription_id IS NOT NULL AND (s.cancel_due_at <= v_now OR s.look_at <= v_now)
        ORDER BY least(s.cancel_due_at, s.look_at)
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE subscriptions AS s
    SET
        cancel_due_at = CASE WHEN s.cancel_due_at IS NOT NULL THEN v_now + p_again_after END,
        look_at = CASE WHEN s.look_at IS NOT NULL THEN greatest(s.look_at, v_now + p_again_after) END
    FROM due
    WHERE s.user_id = due.user_id AND s.id = due.id
    RETURNING s.user_id::text, s.id::text, s.stripe_subscription_id, coalesce(due.cancel_due_at <= v_now, false);
END
$$;
COMMENT ON FUNCTION claim_subscription_work(integer, interval) IS
'Plans to cancel at the provider, or to ask it about; each is handed to one worker, and again later if nothing came of it.';
