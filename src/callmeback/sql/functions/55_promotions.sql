-- Credits that are given, and expire.

CREATE OR REPLACE FUNCTION grant_credits(
    p_user_id text, p_grant_id text, p_credits integer, p_cause text, p_expires_at timestamptz
)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v record;
BEGIN
    IF p_credits <= 0 OR p_expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION 'a promotion has credits and a time to come' USING ERRCODE = 'CM021';
    END IF;
    SELECT m.moved, m.seq INTO v
    FROM move_credits(p_user_id, p_credits, 'promotion', 'promotion:' || p_cause) AS m;
    IF v.moved THEN
        INSERT INTO credit_grants (user_id, id, credits, cause, granted_seq, expires_at)
        VALUES (p_user_id, p_grant_id, p_credits, p_cause, v.seq, p_expires_at);
    END IF;
    RETURN v.moved;
END
$$;
COMMENT ON FUNCTION grant_credits(text, text, integer, text, timestamptz) IS 'Gives credits that expire, once per cause.';

CREATE OR REPLACE FUNCTION rest_of_grants(p_user_id text)
RETURNS TABLE (grant_id text, rest integer)
LANGUAGE plpgsql
STABLE
SET search_path = public, pg_temp
AS $$
DECLARE
    v_ids text[];
    v_seqs bigint[];
    v_rests integer[];
    v_row record;
    v_out integer;
    v_part integer;
BEGIN
    SELECT
        array_agg(g.id::text ORDER BY g.expires_at, g.id), array_agg(g.granted_seq ORDER BY g.expires_at, g.id),
        array_agg(0 ORDER BY g.expires_at, g.id)
    INTO v_ids, v_seqs, v_rests
    FROM credit_grants AS g
    WHERE g.user_id = p_user_id;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    FOR v_row IN
        SELECT t.seq, t.amount, t.type, t.cause
        FROM credit_transactions AS t
        WHERE t.user_id = p_user_id AND t.seq >= (SELECT min(s.seq) FROM unnest(v_seqs) AS s (seq))
        ORDER BY t.seq
    LOOP
        IF v_row.type = 'promotion' AND v_row.seq = ANY (v_seqs) THEN
            v_rests[array_position(v_seqs, v_row.seq)] := v_row.amount;
        ELSIF v_row.type = 'expiry' THEN
            v_rests[array_position(v_ids, substr(v_row.cause, length('expiry:') + 1))] := 0;
        ELSIF v_row.amount < 0 AND v_row.type IN ('call_deduction', 'admin_adjustment') THEN
            -- Money that is taken back was never a gift: reversals leave the grants alone.
            v_out := -v_row.amount;
            FOR i IN 1..cardinality(v_ids) LOOP
                v_part := least(v_out, v_rests[i]);
                v_rests[i] := v_rests[i] - v_part;
                v_out := v_out - v_part;
            END LOOP;
        END IF;
    END LOOP;
    RETURN QUERY SELECT u.i, u.r FROM unnest(v_ids, v_rests) AS u (i, r);
END
$$;
COMMENT ON FUNCTION rest_of_grants(text) IS
'What is left of each grant: the ledger since the first of them, replayed; what was talked came from the one that expires first.';

CREATE OR REPLACE FUNCTION expire_grants(p_limit integer DEFAULT 1)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v record;
    v_account user_credits;
    v_rest integer;
    v_expired integer := 0;
BEGIN
    FOR v IN
        SELECT g.user_id, g.id
        FROM credit_grants AS g
        INNER JOIN user_credits AS a ON g.user_id = a.user_id
        -- What an open call holds may still be used: it waits for the end of the call.
        WHERE g.expired_at IS NULL AND g.expires_at <= v_now AND a.held_credits = 0
        ORDER BY g.expires_at, g.id
        LIMIT p_limit
    LOOP
        PERFORM lock_account(v.user_id);
        SELECT a.* INTO v_account FROM user_credits AS a WHERE a.user_id = v.user_id;
        CONTINUE WHEN v_account.held_credits > 0;
        UPDATE credit_grants AS g
        SET expired_at = v_now
        WHERE g.user_id = v.user_id AND g.id = v.id AND g.expired_at IS NULL;
        CONTINUE WHEN NOT FOUND;
        SELECT r.rest INTO v_rest FROM rest_of_grants(v.user_id) AS r WHERE r.grant_id = v.id;
        v_rest := least(v_rest, v_account.available_credits);
        IF v_rest > 0 THEN
            PERFORM move_credits(v.user_id, -v_rest, 'expiry', 'expiry:' || v.id);
        END IF;
        v_expired := v_expired + 1;
    END LOOP;
    RETURN v_expired;
END
$$;
COMMENT ON FUNCTION expire_grants(integer) IS
'Takes back what is left of grants whose time is over, never more than there is. One a transaction keeps it from holding two accounts.';
