-- The one way a call begins: intent, hold and all refusals in one commit.

CREATE OR REPLACE FUNCTION start_call(
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
    p_dial_within interval DEFAULT '10 minutes'
)
RETURNS started_call
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- Shorter than this no greeting, warning and goodbye fit.
    c_shortest_call CONSTANT integer := 10;
    c_longest_wait CONSTANT interval := '10 minutes';
    v_now timestamptz := clock_timestamp();
    v_month date := date_trunc('month', p_local_day)::date;
    v_key idempotency_keys;
    v_first started_call;
    v_account record;
    v_tier record;
    v_budget record;
    v_call_id id := p_call_id;
    v_persona record;
    v_is_blocked boolean;
    v_version_id integer;
    v_worst numeric;
    v_month_left numeric;
    v_limited_by text;
    v_granted_seconds integer;
    v_hold_credits integer;
    v_hold_cents numeric;
BEGIN
    IF NOT acts_for(p_user_id) THEN
        RAISE EXCEPTION 'the caller is another user' USING ERRCODE = 'CM008';
    END IF;
    IF (abs(p_local_day - (v_now AT TIME ZONE 'UTC')::date) <= 1) IS NOT TRUE THEN
        RAISE EXCEPTION 'local day % is no zone''s today', p_local_day USING ERRCODE = 'CM021';
    END IF;
    -- A key of the SQL proxy doesn't choose what its calls cost, nor how long one may wait with its hold.
    IF starts_with(session_user, 'callmeback_key_') THEN
        PERFORM require_card_in_force(p_card);
        p_dial_within := least(p_dial_within, c_longest_wait);
    END IF;

    IF p_idempotency_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (user_id, key, request_hash, state, resource_id, created_at)
        VALUES (p_user_id, p_idempotency_key, p_request_hash, 'done', p_call_id, v_now)
        ON CONFLICT (user_id, key) DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.* INTO v_key FROM idempotency_keys AS k WHERE k.user_id = p_user_id AND k.key = p_idempotency_key;
            IF v_key.request_hash IS DISTINCT FROM p_request_hash THEN
                RAISE EXCEPTION 'idempotency key was used for another request' USING ERRCODE = 'CM006';
            END IF;
            SELECT c.id, true, c.granted_seconds, c.hold_credits, c.hold_cents
            INTO v_first
            FROM calls AS c WHERE c.user_id = p_user_id AND c.id = v_key.resource_id;
            RETURN v_first;
        END IF;
    END IF;

    -- Small looks are cheaper than a join of nine, and see what was committed while we waited for the account, whose row
    -- stays in its place from here on. Day and month only move forward, so a change of zone gains nothing. What is selected
    -- has its domain's type, whose rule isn't checked again below.
    SELECT
        a.ctid AS place, a.user_id, a.is_closed, a.available_credits, a.debt_credits, a.subscription_tier,
        a.max_calls_per_day, a.max_call_duration_seconds,
        greatest(a.calls_day, p_local_day) AS day,
        CASE WHEN p_local_day > a.calls_day THEN 0 ELSE a.calls_in_day END AS calls_in_day,
        greatest(a.spend_month, v_month) AS month,
        CASE WHEN v_month > a.spend_month THEN 0::cents ELSE a.spent_in_month_cents END AS spent_in_month_cents
    INTO v_account
    FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    ELSIF v_account.is_closed THEN
        RAISE EXCEPTION 'account is blocked' USING ERRCODE = 'CM010';
    END IF;
    SELECT p.id, p.max_call_duration_seconds INTO v_persona
    FROM personas AS p
    WHERE p.id = p_persona_id AND p.is_active AND (p.owner_user_id IS NULL OR p.owner_user_id = p_user_id);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'persona does not exist' USING ERRCODE = 'CM012';
    END IF;
    SELECT n.number IS NOT NULL INTO v_is_blocked
    FROM phones AS h
    LEFT JOIN blocked_numbers AS n ON h.number = n.number
    WHERE h.user_id = p_user_id AND h.number = p_phone_number AND h.verified_at IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'phone number is not verified' USING ERRCODE = 'CM005';
    ELSIF v_is_blocked THEN
        RAISE EXCEPTION 'phone number is blocked' USING ERRCODE = 'CM013';
    END IF;
    SELECT w.id, w.worst_case_cents_per_minute INTO v_version_id, v_worst
    FROM price_versions AS w WHERE w.card = p_card AND w.effective_from <= v_now
    ORDER BY w.effective_from DESC LIMIT 1;
    IF (v_worst > 0) IS NOT TRUE THEN
        RAISE EXCEPTION 'no rate for the models of %', p_card USING ERRCODE = 'CM009';
    ELSIF v_account.debt_credits > 0 THEN
        RAISE EXCEPTION 'account owes credits' USING ERRCODE = 'CM011';
    END IF;
    SELECT
        t.charges_credits, t.monthly_price_cents,
        coalesce(v_account.max_calls_per_day, t.max_calls_per_day) AS calls_a_day,
        coalesce(v_account.max_call_duration_seconds, t.max_call_duration_seconds) AS seconds
    INTO v_tier
    FROM subscription_tiers AS t WHERE t.tier = v_account.subscription_tier;
    SELECT b.max_cost_per_call_cents AS per_call, b.max_monthly_spend_cents AS per_month, b.enable_auto_cutoff AS cutoff
    INTO v_budget
    FROM user_budget_settings AS b WHERE b.user_id = p_user_id;
    IF NOT FOUND THEN
        -- In the columns' types, since the plans of what follows are kept.
        SELECT 1000::numeric AS per_call, 10000::numeric AS per_month, true AS cutoff INTO v_budget;
    END IF;

    INSERT INTO open_calls (user_id, call_id, created_at, dial_before)
    VALUES (v_account.user_id, v_call_id, v_now, v_now + p_dial_within)
    ON CONFLICT (user_id) DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another call is open' USING ERRCODE = 'CM004';
    ELSIF v_account.calls_in_day >= v_tier.calls_a_day THEN
        RAISE EXCEPTION 'daily limit of % calls is reached', v_tier.calls_a_day USING ERRCODE = 'CM003';
    ELSIF v_tier.charges_credits AND v_account.available_credits = 0 THEN
        RAISE EXCEPTION 'no credits are left' USING ERRCODE = 'CM001';
    END IF;

    v_granted_seconds := least(v_tier.seconds, v_persona.max_call_duration_seconds, p_requested_seconds);
    v_limited_by := CASE v_granted_seconds
        WHEN v_tier.seconds THEN 'tier' WHEN v_persona.max_call_duration_seconds THEN 'persona' ELSE 'request'
    END;
    IF v_tier.charges_credits AND v_account.available_credits < (v_granted_seconds + 59) / 60 THEN
        v_granted_seconds := v_account.available_credits * 60;
        v_limited_by := 'credits';
    END IF;
    v_hold_cents := v_worst * v_granted_seconds / 60;
    IF v_budget.per_call < v_hold_cents AND (v_budget.cutoff OR v_budget.per_call = 0) THEN
        v_granted_seconds := floor(v_budget.per_call * 60 / v_worst);
        v_hold_cents := v_worst * v_granted_seconds / 60;
        v_limited_by := 'call_budget';
    END IF;
    v_month_left := v_budget.per_month - v_account.spent_in_month_cents;
    IF v_month_left < v_hold_cents THEN
        v_granted_seconds := greatest(0, floor(v_month_left * 60 / v_worst));
        v_hold_cents := v_worst * v_granted_seconds / 60;
        v_limited_by := 'month_budget';
    END IF;
    IF v_granted_seconds < c_shortest_call THEN
        RAISE EXCEPTION 'the budget leaves less than % seconds', c_shortest_call USING ERRCODE = 'CM002';
    END IF;
    v_hold_credits := CASE WHEN v_tier.charges_credits THEN (v_granted_seconds + 59) / 60 ELSE 0 END;
    v_hold_cents := trunc(v_hold_cents, 10);

    -- One statement, since each further one is felt, and nothing here depends on another's row.
    WITH account AS (
        UPDATE user_credits AS a
        SET
            available_credits = a.available_credits - v_hold_credits, held_credits = a.held_credits + v_hold_credits,
            calls_day = v_account.day, calls_in_day = v_account.calls_in_day + 1,
            spend_month = v_account.month, spent_in_month_cents = v_account.spent_in_month_cents, updated_at = v_now
        WHERE a.ctid = v_account.place RETURNING a.user_id
    ),
    placed AS (
        INSERT INTO calls (
            id, user_id, persona_id, phone_number, payment_method, payment_status, estimated_cost_cents,
            start_time, created_at, updated_at, hold_credits, granted_seconds, hold_cents, price_version_id,
            local_day, local_month, hold_open, limited_by, call_pretext, call_scenario
        ) VALUES (
            v_call_id, v_account.user_id, v_persona.id, p_phone_number,
            CASE WHEN v_tier.charges_credits THEN 'credit' WHEN v_tier.monthly_price_cents > 0 THEN 'subscription' ELSE 'free' END,
            'pending', v_hold_cents, v_now, v_now, v_now, v_hold_credits, v_granted_seconds, v_hold_cents, v_version_id,
            v_account.day, v_account.month, true, v_limited_by, p_pretext, p_scenario
        )
    )
    INSERT INTO call_cost_breakdowns (
        call_id, user_id, price_version_id, hold_credits, granted_seconds, hold_cents, local_month, seen_at, created_at
    )
    SELECT
        v_call_id, a.user_id, v_version_id, v_hold_credits, v_granted_seconds, v_hold_cents, v_account.month, v_now, v_now
    FROM account AS a;
    ASSERT FOUND, 'an account that is locked stays in its place';
    RETURN (p_call_id, false, v_granted_seconds, v_hold_credits, v_hold_cents)::started_call;
END
$$;
COMMENT ON FUNCTION start_call(text, text, text, text, text, date, integer, text, text, text, bytea, interval) IS
'Writes a call with its hold, or raises a refusal (class CM) and leaves nothing. A known idempotency key answers with its first call.';
