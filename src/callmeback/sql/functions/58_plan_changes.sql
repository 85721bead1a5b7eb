-- Another plan, or the end of one, as a person wishes it: written before the provider is asked.

CREATE OR REPLACE FUNCTION request_tier(
    p_user_id text,
    p_tier text,
    p_key text,
    OUT subscription_id text,
    OUT stripe_subscription_id text,
    OUT lookup_key text,
    OUT price_cents numeric,
    OUT currency text,
    OUT is_upgrade boolean,
    OUT request_key text
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- The provider takes the money and tells us within seconds; an answer that is lost, and its event too, within this.
    c_being_paid CONSTANT interval := '10 minutes';
    v_now timestamptz := clock_timestamp();
    v subscriptions;
    v_tier subscription_tiers;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    SELECT s.* INTO v
    FROM subscriptions AS s
    WHERE s.user_id = p_user_id AND s.status IN ('active', 'past_due') AND s.stripe_subscription_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM users AS u WHERE u.id = p_user_id AND u.erased_at IS NOT NULL)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no subscription' USING ERRCODE = 'CM008';
    END IF;
    SELECT t.* INTO v_tier
    FROM subscription_tiers AS t
    WHERE t.tier = p_tier AND t.stripe_lookup_key IS NOT NULL AND t.monthly_price_cents > 0 AND t.currency = v.currency;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tier is not for sale' USING ERRCODE = 'CM022';
    ELSIF v.pending_tier <> p_tier AND v.pending_price_cents > v.price_cents AND v.pending_since > v_now - c_being_paid THEN
        -- An upgrade is charged at once: two that are asked for together would both be, and one for nothing.
        RAISE EXCEPTION 'another change of the plan is being paid' USING ERRCODE = 'CM027';
    END IF;
    subscription_id := v.id;
    stripe_subscription_id := v.stripe_subscription_id;
    lookup_key := v_tier.stripe_lookup_key;
    price_cents := v_tier.monthly_price_cents;
    currency := v_tier.currency;
    is_upgrade := price_cents > v.price_cents;
    -- The same wish again is the same request: whoever died after the provider took it, asks it nothing new.
    request_key := CASE WHEN v.pending_tier = p_tier THEN v.pending_key ELSE p_key END;
    UPDATE subscriptions AS s
    SET
        pending_key = CASE WHEN p_tier = s.tier THEN NULL ELSE request_key END,
        pending_tier = CASE WHEN p_tier = s.tier THEN NULL ELSE p_tier END,
        pending_price_cents = CASE WHEN p_tier = s.tier THEN NULL ELSE v_tier.monthly_price_cents END,
        pending_since = CASE WHEN p_tier = s.tier THEN NULL ELSE v_now END,
        updated_at = v_now
    WHERE s.user_id = p_user_id AND s.id = v.id;
END
$$;
COMMENT ON FUNCTION request_tier(text, text, text) IS
'Notes the plan that a person wants instead, and what a period of it costs, before the provider is asked. It is in force once paid. While an upgrade may be being paid, another plan is refused.';

CREATE OR REPLACE FUNCTION withdraw_tier_request(p_user_id text, p_tier text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE subscriptions AS s
    SET
        pending_tier = NULL, pending_price_cents = NULL, pending_key = NULL, pending_since = NULL,
        updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.pending_tier = p_tier;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION withdraw_tier_request(text, text) IS 'The provider said no to the change: the plan stays as it is.';

CREATE OR REPLACE FUNCTION note_cancellation(p_user_id text, p_subscription_id text, p_at_period_end boolean)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE subscriptions AS s
    SET cancel_at_period_end = p_at_period_end, updated_at = clock_timestamp()
    WHERE s.user_id = p_user_id AND s.id = p_subscription_id AND s.status IN ('active', 'past_due');
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION note_cancellation(text, text, boolean) IS 'What the provider answered when it was asked to end a plan with its period, or not to.';
