-- Credits in and out other than by calls, and the ledger's own guard.

CREATE OR REPLACE FUNCTION move_credits(
    p_user_id text,
    p_amount integer,
    p_type text,
    p_cause text,
    p_description text DEFAULT NULL,
    p_payment_intent_id text DEFAULT NULL,
    OUT moved boolean,
    OUT seq bigint,
    OUT balance_after integer
)
RETURNS record
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- The account's row is the queue: whoever holds it sees every cause that came before.
    PERFORM FROM user_credits AS a WHERE a.user_id = p_user_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
    SELECT t.seq, t.balance_after INTO move_credits.seq, move_credits.balance_after
    FROM credit_transactions AS t
    WHERE t.user_id = p_user_id AND t.cause = p_cause;
    IF FOUND THEN
        moved := false;
        RETURN;
    END IF;

    -- What comes in pays debt first; what is taken and isn't there becomes debt.
    UPDATE user_credits AS a
    SET
        available_credits = CASE
            WHEN p_amount >= 0 THEN a.available_credits + p_amount - least(a.debt_credits, p_amount)
            ELSE greatest(0, a.available_credits + p_amount)
        END,
        debt_credits = CASE
            WHEN p_amount >= 0 THEN a.debt_credits - least(a.debt_credits, p_amount)
            ELSE a.debt_credits + greatest(0, -p_amount - a.available_credits)
        END,
        ledger_seq = a.ledger_seq + 1,
        updated_at = v_now
    WHERE a.user_id = p_user_id
    RETURNING a.ledger_seq, a.available_credits + a.held_credits - a.debt_credits
    INTO move_credits.seq, move_credits.balance_after;
    INSERT INTO credit_transactions (
        user_id, seq, amount, balance_before, balance_after, type, cause, payment_intent_id, description, created_at
    ) VALUES (
        p_user_id, move_credits.seq, p_amount, move_credits.balance_after - p_amount, move_credits.balance_after,
        p_type, p_cause, p_payment_intent_id, p_description, v_now
    );
    moved := true;
END
$$;
COMMENT ON FUNCTION move_credits(text, integer, text, text, text, text) IS
'Moves credits once per cause: a second time with the same cause changes nothing and answers with the first row.';

CREATE OR REPLACE FUNCTION set_tier(p_user_id text, p_tier text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM subscription_tiers AS t WHERE t.tier = p_tier) THEN
        RAISE EXCEPTION 'tier % does not exist', p_tier USING ERRCODE = 'CM022';
    END IF;
    UPDATE user_credits AS a
    SET
        subscription_tier = p_tier,
        subscription_status = CASE WHEN p_tier = 'free' THEN NULL ELSE 'active' END,
        subscription_start_date = CASE WHEN p_tier = 'free' THEN NULL ELSE clock_timestamp() END,
        subscription_end_date = NULL,
        updated_at = clock_timestamp()
    WHERE a.user_id = p_user_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user does not exist' USING ERRCODE = 'CM008';
    END IF;
END
$$;
COMMENT ON FUNCTION set_tier(text, text) IS 'Puts an account on a tier, by an operator; credits are moved apart.';

CREATE OR REPLACE FUNCTION refuse_ledger_change()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: write a row that corrects, by move_credits()' USING ERRCODE = 'CM014';
END
$$;
COMMENT ON FUNCTION refuse_ledger_change() IS 'No row of the ledger is ever changed or removed.';
