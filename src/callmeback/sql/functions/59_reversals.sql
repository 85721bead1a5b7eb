-- What refunds and disputes take back of a payment, and give back where they come to nothing.

CREATE OR REPLACE FUNCTION keep_period_credits(p_payment payments)
RETURNS integer
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v_from payments;
    v_to_id text;
BEGIN
    SELECT x.* INTO v_from
    FROM payments AS x
    WHERE x.user_id = p_payment.user_id AND x.subscription_id = p_payment.subscription_id
        AND x.period_start = p_payment.period_start AND x.tier = p_payment.tier AND x.credits > 0 AND x.reversed_cents > 0;
    SELECT x.id INTO v_to_id
    FROM payments AS x
    WHERE v_from.id IS NOT NULL AND x.user_id = p_payment.user_id AND x.subscription_id = p_payment.subscription_id
        AND x.period_start = p_payment.period_start AND x.tier = p_payment.tier AND x.credits = 0 AND x.reversed_cents = 0
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE payments AS x
    SET credits = CASE WHEN x.id = v_to_id THEN v_from.credits ELSE 0 END, reversed_credits = 0
    WHERE x.user_id = p_payment.user_id AND x.id IN (v_from.id, v_to_id);
    RETURN v_from.reversed_credits;
END
$$;
COMMENT ON FUNCTION keep_period_credits(payments) IS
'Of a period that was paid twice one money was given back: its credits are those of the money that stays, whichever brought them. Answers how many that brings back. The caller holds the account.';

CREATE OR REPLACE FUNCTION count_reversals(p_user_id text, p_payment_id text, p_cause text)
RETURNS integer
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v payments;
    v_cents numeric;
    v_is_unpaid boolean;
    v_taken integer;
BEGIN
    SELECT x.* INTO v
    FROM payments AS x
    WHERE x.user_id = p_user_id AND x.id = p_payment_id
    FOR NO KEY UPDATE;
    SELECT least(v.amount_cents, coalesce(sum(r.amount_cents), 0)) INTO v_cents
    FROM (
        SELECT f.amount_cents FROM refunds AS f
        WHERE f.user_id = p_user_id AND f.payment_id = p_payment_id AND f.is_succeeded AND NOT f.is_undone
        UNION ALL
        SELECT d.amount_cents FROM disputes AS d
        WHERE d.user_id = p_user_id AND d.payment_id = p_payment_id AND d.is_withdrawn AND NOT d.is_reinstated
    ) AS r;
    -- Of what is reversed in all, so that parts in any order add up to the whole.
    UPDATE payments AS x
    SET reversed_cents = v_cents, reversed_credits = round(x.credits * v_cents / x.amount_cents)
    WHERE x.user_id = p_user_id AND x.id = p_payment_id
    RETURNING x.reversed_credits - v.reversed_credits INTO v_taken;
    IF v.kind = 'subscription' THEN
        v_taken := v_taken - keep_period_credits(v);
    END IF;
    IF v_taken <> 0 THEN
        PERFORM move_credits(p_user_id, -v_taken, 'refund', p_cause, NULL, v.payment_intent_id);
    END IF;
    IF v.kind = 'purchase' THEN
        UPDATE purchases AS x
        SET status = CASE WHEN v_cents >= v.amount_cents THEN 'refunded' ELSE 'completed' END
        WHERE x.user_id = p_user_id AND x.id = p_payment_id;
    ELSIF v.kind = 'subscription' THEN
        -- A period that was paid twice is paid as long as one of the two moneys isn't wholly gone.
        v_is_unpaid := NOT EXISTS (
            SELECT FROM payments AS x
            WHERE x.user_id = p_user_id AND x.subscription_id = v.subscription_id AND x.period_start = v.period_start
                AND x.tier = v.tier AND x.reversed_cents < x.amount_cents
        );
        UPDATE subscriptions AS s
        SET suspended_at = CASE WHEN v_is_unpaid THEN clock_timestamp() END, updated_at = clock_timestamp()
        WHERE s.user_id = p_user_id AND s.id = v.subscription_id AND s.current_period_start = v.period_start
            AND s.tier = v.tier AND (s.suspended_at IS NULL) = v_is_unpaid;
        IF FOUND THEN
            PERFORM follow_subscription(p_user_id);
        END IF;
    END IF;
    RETURN v_taken;
END
$$;
COMMENT ON FUNCTION count_reversals(text, text, text) IS
'Takes credits back in proportion to all that counts against a payment, or gives them back; what was spent becomes debt. Answers the difference.';

CREATE OR REPLACE FUNCTION payment_of(p_facts jsonb)
RETURNS payments
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v payments;
BEGIN
    SELECT x.* INTO v FROM payments AS x WHERE x.payment_intent_id = p_facts ->> 'payment_intent';
    IF NOT FOUND THEN
        -- A payment of an invoice that was told without its intent is known by the invoice.
        SELECT x.* INTO v FROM payments AS x WHERE x.id = p_facts ->> 'invoice';
    END IF;
    IF v.id IS NOT NULL THEN
        PERFORM lock_account(v.user_id);
    END IF;
    RETURN v;
END
$$;
COMMENT ON FUNCTION payment_of(jsonb) IS 'The payment that an event speaks of, its account locked; NULL where none is known.';

CREATE OR REPLACE FUNCTION effect_of_refund(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v payments := payment_of(p_facts);
    v_amount numeric := (p_facts ->> 'amount_cents')::numeric;
    v_status text := p_facts ->> 'status';
    v_before refunds;
    v_after refunds;
    v_credits integer;
BEGIN
    IF v_status = 'succeeded' AND (p_facts ->> 'moves_money')::boolean IS FALSE THEN
        -- The part of a hold that is let go: that money was never ours.
        RETURN outcome('ignored', 'nothing_moved', v.user_id);
    ELSIF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_payment', NULL);
    ELSIF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF v_amount IS NULL OR v_amount <= 0 OR v_amount > v.amount_cents THEN
        RETURN outcome('refused', 'wrong_amount', v.user_id);
    END IF;
    SELECT r.* INTO v_before FROM refunds AS r WHERE r.user_id = v.user_id AND r.id = p_facts ->> 'id';
    INSERT INTO refunds AS r (user_id, id, payment_id, amount_cents, currency, is_succeeded, is_undone, refunded_at)
    VALUES (
        v.user_id, p_facts ->> 'id', v.id, v_amount, v.currency, v_status = 'succeeded',
        v_status IN ('failed', 'canceled'), p_at
    )
    ON CONFLICT (user_id, id) DO UPDATE
    SET
        is_succeeded = r.is_succeeded OR excluded.is_succeeded,
        is_undone = r.is_undone OR excluded.is_undone,
        updated_at = clock_timestamp()
    RETURNING r.* INTO v_after;
    IF coalesce(v_before.is_succeeded AND NOT v_before.is_undone, false) = (v_after.is_succeeded AND NOT v_after.is_undone) THEN
        RETURN outcome('ignored', 'nothing_new', v.user_id);
    END IF;
    v_credits := count_reversals(
        v.user_id, v.id, CASE WHEN v_after.is_undone THEN 'refund_undone:' ELSE 'refund:' END || v_after.id
    );
    UPDATE refunds AS r SET credits = greatest(0, v_credits) WHERE r.user_id = v.user_id AND r.id = v_after.id;
    RETURN outcome('applied', CASE WHEN v_after.is_undone THEN 'refund_undone' ELSE 'refunded' END, v.user_id);
END
$$;
COMMENT ON FUNCTION effect_of_refund(text, timestamptz, jsonb) IS
'A refund counts from the first event that says it succeeded until one says it failed, in whatever order they come.';

CREATE OR REPLACE FUNCTION effect_of_dispute(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v payments := payment_of(p_facts);
    v_amount numeric := (p_facts ->> 'amount_cents')::numeric;
    v_status text := coalesce(p_facts ->> 'status', '');
    v_before disputes;
    v_after disputes;
    v_credits integer;
BEGIN
    IF v.id IS NULL THEN
        RETURN outcome('unmatched', 'unknown_payment', NULL);
    ELSIF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF v_amount IS NULL OR v_amount <= 0 THEN
        RETURN outcome('refused', 'wrong_amount', v.user_id);
    END IF;
    SELECT d.* INTO v_before FROM disputes AS d WHERE d.user_id = v.user_id AND d.id = p_facts ->> 'id';
    INSERT INTO disputes AS d (
        user_id, id, payment_id, amount_cents, currency, reason, is_withdrawn, is_reinstated, disputed_at
    ) VALUES (
        v.user_id, p_facts ->> 'id', v.id, least(v_amount, v.amount_cents), v.currency,
        coalesce(p_facts ->> 'reason', 'general'),
        -- An inquiry (warning_…) and one that was prevented move no money.
        p_type = 'charge.dispute.funds_withdrawn' OR (v_status !~ '^(warning_|prevented|won)' AND v_status <> ''),
        p_type = 'charge.dispute.funds_reinstated' OR v_status = 'won', p_at
    )
    ON CONFLICT (user_id, id) DO UPDATE
    SET
        is_withdrawn = d.is_withdrawn OR excluded.is_withdrawn,
        is_reinstated = d.is_reinstated OR excluded.is_reinstated,
        updated_at = clock_timestamp()
    RETURNING d.* INTO v_after;
    IF coalesce(v_before.is_withdrawn AND NOT v_before.is_reinstated, false)
        = (v_after.is_withdrawn AND NOT v_after.is_reinstated) THEN
        RETURN outcome('ignored', 'nothing_new', v.user_id);
    END IF;
    v_credits := count_reversals(
        v.user_id, v.id, CASE WHEN v_after.is_reinstated THEN 'dispute_undone:' ELSE 'dispute:' END || v_after.id
    );
    UPDATE disputes AS d SET credits = greatest(0, v_credits) WHERE d.user_id = v.user_id AND d.id = v_after.id;
    RETURN outcome('applied', CASE WHEN v_after.is_reinstated THEN 'dispute_undone' ELSE 'disputed' END, v.user_id);
END
$$;
COMMENT ON FUNCTION effect_of_dispute(text, timestamptz, jsonb) IS
'A dispute counts from the withdrawal of the money until it is reinstated, in whatever order the two are told.';
