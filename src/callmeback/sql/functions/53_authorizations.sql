-- Calls paid one by one. The worst case is set aside on the card; its minutes are the account's for this one call, and
-- what the call didn't use leaves the account in the commit that settles it.

CREATE OR REPLACE FUNCTION begin_authorization(
    p_user_id text,
    p_authorization_id text,
    p_persona_id text,
    p_requested_seconds integer DEFAULT NULL,
    OUT customer_id text,
    OUT credits integer,
    OUT amount_cents numeric,
    OUT currency text
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- No more is set aside on a card for one call, however long the plan lets it be.
    c_most_minutes CONSTANT integer := 30;
    -- The card is asked and answers within this.
    c_being_asked CONSTANT interval := '1 minute';
    v_now timestamptz := clock_timestamp();
    v record;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    SELECT
        a.available_credits, a.debt_credits, u.stripe_customer_id, u.erased_at, u.blocked_at, t.payg_cents_per_credit,
        t.currency,
        least(
            coalesce(a.max_call_duration_seconds, t.max_call_duration_seconds), p.max_call_duration_seconds,
            p_requested_seconds, c_most_minutes * 60
        ) AS seconds
    INTO v
    FROM user_credits AS a
    INNER JOIN users AS u ON a.user_id = u.id
    INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
    INNER JOIN user_preferences AS w ON a.user_id = w.user_id AND w.pay_as_you_go
    LEFT JOIN personas AS p ON p.id = p_persona_id
    WHERE a.user_id = p_user_id;
    IF v.payg_cents_per_credit IS NULL OR v.available_credits > 0 THEN
        RAISE EXCEPTION 'this call isn''t paid by itself' USING ERRCODE = 'CM001';
    ELSIF v.blocked_at IS NOT NULL OR v.erased_at IS NOT NULL THEN
        RAISE EXCEPTION 'account is blocked' USING ERRCODE = 'CM010';
    ELSIF v.debt_credits > 0 THEN
        RAISE EXCEPTION 'account owes credits' USING ERRCODE = 'CM011';
    ELSIF v.stripe_customer_id IS NULL THEN
        RAISE EXCEPTION 'no card is known' USING ERRCODE = 'CM025';
    ELSIF EXISTS (SELECT FROM open_calls AS o WHERE o.user_id = p_user_id) OR EXISTS (
        SELECT FROM payment_authorizations AS x
        WHERE x.user_id = p_user_id AND x.state IN ('authorizing', 'authorized') AND x.created_at > v_now - c_being_asked
    ) THEN
        RAISE EXCEPTION 'another call is open' USING ERRCODE = 'CM004';
    END IF;
    customer_id := v.stripe_customer_id;
    credits := (v.seconds + 59) / 60;
    amount_cents := credits * v.payg_cents_per_credit;
    currency := v.currency;
    INSERT INTO payment_authorizations (
        user_id, id, stripe_customer_id, credits, cents_per_credit, authorized_cents, currency, retry_at, created_at
    ) VALUES (
        p_user_id, p_authorization_id, customer_id, credits, v.payg_cents_per_credit, amount_cents, currency,
        -- If nothing is heard of it until then, the worker looks what became of it, and releases it.
        v_now + c_being_asked * 2, v_now
    );
END
$$;
COMMENT ON FUNCTION begin_authorization(text, text, text, integer) IS
'Writes what a call may cost at the worst before the card is asked. Only for who wants it and has no credits left.';

CREATE OR REPLACE FUNCTION note_authorization(
    p_user_id text, p_authorization_id text, p_payment_intent_id text, p_is_authorized boolean
)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE payment_authorizations AS x
    SET
        state = CASE WHEN p_is_authorized THEN 'authorized' ELSE 'declined' END,
        payment_intent_id = coalesce(x.payment_intent_id, p_payment_intent_id),
        retry_at = CASE WHEN p_is_authorized THEN x.retry_at END,
        updated_at = v_now
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id AND x.state = 'authorizing';
    IF FOUND THEN
        RETURN true;
    END IF;
    IF p_is_authorized THEN
        PERFORM let_go_after_all(p_user_id, p_authorization_id, p_payment_intent_id);
    END IF;
    RETURN false;
END
$$;
COMMENT ON FUNCTION note_authorization(text, text, text, boolean) IS
'What the card said; false where the worker has given it up meanwhile, and lets go of what was set aside all the same.';

CREATE OR REPLACE FUNCTION let_go_after_all(p_user_id text, p_authorization_id text, p_payment_intent_id text)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE payment_authorizations AS x
    SET
        state = 'releasing', payment_intent_id = coalesce(x.payment_intent_id, p_payment_intent_id),
        retry_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id AND x.call_id IS NULL
        AND x.state IN ('releasing', 'released', 'declined');
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION let_go_after_all(text, text, text) IS
'Money was set aside after its authorization was given up, or refused: the worker releases it now, not the bank in a week.';

CREATE OR REPLACE FUNCTION release_authorization(p_user_id text, p_authorization_id text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    UPDATE payment_authorizations AS x
    SET state = 'releasing', retry_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id AND x.state IN ('authorizing', 'authorized');
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION release_authorization(text, text) IS 'No call came of it: the worker lets go of what is set aside.';

CREATE OR REPLACE FUNCTION start_paid_call(
    p_authorization_id text,
    p_call_id text,
    p_user_id text,
    p_persona_id text,
    p_phone_number text,
    p_card text,
    p_local_day date,
    p_requested_seconds integer DEFAULT NULL,
    p_pretext text DEFAULT NULL,
    p_scenario text DEFAULT NULL,
    p_idempotency_key text DEFAULT NULL,
    p_request_hash bytea DEFAULT NULL,
    OUT call_id text,
    OUT replayed boolean
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v payment_authorizations;
BEGIN
    PERFORM require_self(p_user_id);
    PERFORM lock_account(p_user_id);
    SELECT x.* INTO v
    FROM payment_authorizations AS x
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id
    FOR NO KEY UPDATE;
    IF v.state IS DISTINCT FROM 'authorized' THEN
        RAISE EXCEPTION 'nothing is set aside for this call' USING ERRCODE = '40001';
    END IF;
    PERFORM move_credits(
        p_user_id, v.credits, 'purchase', 'authorization:' || v.id, NULL, v.payment_intent_id
    );
    SELECT s.call_id, s.replayed INTO start_paid_call.call_id, start_paid_call.replayed
    FROM start_call(
        p_call_id, p_user_id, p_persona_id, p_phone_number, p_card, p_local_day,
        least(p_requested_seconds, v.credits * 60), p_pretext, p_scenario, p_idempotency_key, p_request_hash
    ) AS s;
    IF replayed THEN
        -- The same request won meanwhile; asked again, it gets that call.
        RAISE EXCEPTION 'the call has begun already' USING ERRCODE = '40001';
    END IF;
    UPDATE calls AS c
    SET payment_method = 'stripe', payment_intent_id = v.payment_intent_id
    WHERE c.user_id = p_user_id AND c.id = p_call_id;
    UPDATE payment_authorizations AS x
    SET state = 'calling', call_id = p_call_id, retry_at = NULL, updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = v.id;
END
$$;
COMMENT ON FUNCTION start_paid_call(text, text, text, text, text, text, date, integer, text, text, text, bytea) IS
'Begins a call with the minutes that its own authorization pays, or refuses as start_call does and leaves nothing.';

CREATE OR REPLACE FUNCTION settle_authorization(p_user_id text, p_call_id text, p_used_credits integer)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v payment_authorizations;
    v_used integer;
BEGIN
    SELECT x.* INTO v
    FROM payment_authorizations AS x
    WHERE x.user_id = p_user_id AND x.call_id = p_call_id AND x.state = 'calling'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_used := least(p_used_credits, v.credits);
    IF v.credits > v_used THEN
        PERFORM move_credits(p_user_id, v_used - v.credits, 'refund', 'release:' || v.id, NULL, v.payment_intent_id);
    END IF;
    UPDATE payment_authorizations AS x
    SET
        state = CASE WHEN v_used > 0 THEN 'capturing' ELSE 'releasing' END,
        used_credits = v_used, capture_cents = v_used * x.cents_per_credit,
        retry_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = v.id;
END
$$;
COMMENT ON FUNCTION settle_authorization(text, text, integer) IS
'In the commit that settles a call: what it didn''t use leaves the account, what it used is captured by the worker.';

CREATE OR REPLACE FUNCTION claim_authorizations(p_limit integer, p_again_after interval)
RETURNS TABLE (
    user_id text, id text, payment_intent_id text, customer_id text, state text, capture_cents numeric, currency text,
    created_at timestamptz, attempts integer
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c_longest_pause CONSTANT interval := '1 hour';
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS (
        SELECT x.user_id, x.id
        FROM payment_authorizations AS x
        WHERE x.retry_at <= v_now
        ORDER BY x.retry_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE payment_authorizations AS x
    SET
        -- Asked for and never used: its process is gone.
        state = CASE WHEN x.state IN ('authorizing', 'authorized') THEN 'releasing' ELSE x.state END,
        attempts = x.attempts + 1,
        retry_at = v_now + least(c_longest_pause, p_again_after * power(2, least(x.attempts, 10))),
        updated_at = v_now
    FROM due
    WHERE x.user_id = due.user_id AND x.id = due.id
    RETURNING
        x.user_id::text, x.id::text, x.payment_intent_id, x.stripe_customer_id, x.state, x.capture_cents, x.currency,
        x.created_at, x.attempts;
END
$$;
COMMENT ON FUNCTION claim_authorizations(integer, interval) IS
'What is to be captured or released at the provider; each is handed to one worker, and again later if nothing came of it.';

CREATE OR REPLACE FUNCTION lock_paid_call(p_user_id text, p_authorization_id text)
RETURNS void
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
BEGIN
    PERFORM
    FROM call_cost_breakdowns AS b
    WHERE b.user_id = p_user_id AND b.call_id = (
        SELECT x.call_id FROM payment_authorizations AS x WHERE x.user_id = p_user_id AND x.id = p_authorization_id
    )
    FOR NO KEY UPDATE;
    PERFORM lock_account(p_user_id);
END
$$;
COMMENT ON FUNCTION lock_paid_call(text, text) IS
'The breakdown before the account, as finish_call has it: late usage of a call may be told while its money is taken.';

CREATE OR REPLACE FUNCTION end_authorization(
    p_user_id text, p_authorization_id text, p_captured_cents numeric, p_at timestamptz
)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v payment_authorizations;
    v_payment payments;
    v_state text;
BEGIN
    PERFORM lock_paid_call(p_user_id, p_authorization_id);
    SELECT x.* INTO v
    FROM payment_authorizations AS x
    WHERE x.user_id = p_user_id AND x.id = p_authorization_id
    FOR NO KEY UPDATE;
    IF v.state NOT IN ('capturing', 'releasing') OR v.id IS NULL THEN
        RETURN coalesce(v.state, 'unknown');
    ELSIF p_captured_cents NOT IN (0, v.capture_cents) THEN
        RETURN 'wrong_amount';
    END IF;
    v_state := CASE
        WHEN p_captured_cents > 0 THEN 'captured'
        WHEN v.capture_cents > 0 THEN 'failed'
        ELSE 'released'
    END;
    UPDATE payment_authorizations AS x
    SET state = v_state, captured_cents = p_captured_cents, retry_at = NULL, updated_at = clock_timestamp()
    WHERE x.user_id = p_user_id AND x.id = v.id;
    IF v_state = 'captured' THEN
        v_payment.user_id := p_user_id;
        v_payment.id := v.id;
        v_payment.kind := 'call';
        v_payment.payment_intent_id := v.payment_intent_id;
        v_payment.description := 'call of ' || v.used_credits || ' minutes';
        v_payment.amount_cents := v.capture_cents;
        v_payment.currency := v.currency;
        v_payment.credits := v.used_credits;
        v_payment.paid_at := p_at;
        PERFORM receive_payment(v_payment);
    ELSIF v_state = 'failed' THEN
        -- Talked, and not paid: the minutes are owed.
        PERFORM move_credits(
            p_user_id, -v.used_credits, 'refund', 'unpaid:' || v.id, NULL, v.payment_intent_id
        );
    END IF;
    UPDATE calls AS c
    SET
        payment_status = CASE v_state WHEN 'captured' THEN 'paid' WHEN 'failed' THEN 'failed' ELSE 'not_charged' END,
        updated_at = clock_timestamp()
    WHERE c.user_id = p_user_id AND c.id = v.call_id;
    RETURN v_state;
END
$$;
COMMENT ON FUNCTION end_authorization(text, text, numeric, timestamptz) IS
'What the provider confirmed: captured, released, or, where the money could not be taken any more, failed. Once.';

CREATE OR REPLACE FUNCTION effect_of_intent(p_type text, p_at timestamptz, p_facts jsonb)
RETURNS payment_outcome
LANGUAGE plpgsql
SET search_path = public, pg_temp
AS $$
DECLARE
    v payment_authorizations;
    v_state text;
BEGIN
    -- What packs and plans are paid with is told by their checkouts and invoices.
    IF p_facts ->> 'reference' IS NULL OR p_facts ->> 'purpose' IS DISTINCT FROM 'call' THEN
        RETURN outcome('ignored', 'not_of_a_call', NULL);
    END IF;
    PERFORM lock_paid_call(p_facts ->> 'user_id', p_facts ->> 'reference');
    UPDATE payment_authorizations AS x
    SET payment_intent_id = p_facts ->> 'id'
    WHERE x.user_id = p_facts ->> 'user_id' AND x.id = p_facts ->> 'reference'
        AND coalesce(x.payment_intent_id, p_facts ->> 'id') = p_facts ->> 'id'
    RETURNING x.* INTO v;
    IF NOT FOUND THEN
        RETURN outcome('unmatched', 'unknown_authorization', NULL);
    ELSIF p_facts ->> 'currency' IS DISTINCT FROM v.currency THEN
        RETURN outcome('refused', 'wrong_currency', v.user_id);
    ELSIF p_type = 'payment_intent.amount_capturable_updated' AND let_go_after_all(v.user_id, v.id, v.payment_intent_id) THEN
        RETURN outcome('applied', 'let_go_after_all', v.user_id);
    ELSIF p_type NOT IN ('payment_intent.succeeded', 'payment_intent.canceled') THEN
        RETURN outcome('ignored', 'nothing_to_settle', v.user_id);
    ELSIF v.state IN ('authorizing', 'authorized', 'calling') THEN
        -- The call isn't settled yet: looked at again once it is.
        RETURN outcome('unmatched', 'call_goes_on', v.user_id);
    END IF;
    v_state := end_authorization(
        v.user_id, v.id,
        CASE WHEN p_type = 'payment_intent.succeeded' THEN coalesce((p_facts ->> 'received_cents')::numeric, -1) ELSE 0 END,
        p_at
    );
    RETURN outcome(
        CASE v_state WHEN 'wrong_amount' THEN 'refused' WHEN v.state THEN 'ignored' ELSE 'applied' END, v_state, v.user_id
    );
END
$$;
COMMENT ON FUNCTION effect_of_intent(text, timestamptz, jsonb) IS 'Captures and releases of calls, as the provider tells them; the worker''s own answer may have been faster.';
