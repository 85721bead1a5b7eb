-- Who is dialled next, at the carrier's pace, and who looks after calls that stopped moving.

CREATE OR REPLACE FUNCTION claim_dials(p_carrier text, p_worker text, p_limit integer)
RETURNS TABLE (user_id text, call_id text)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_bucket dial_buckets;
    v_now timestamptz;
    v_tokens numeric;
    v_claimed integer;
BEGIN
    -- A look without a lock: an empty outbox costs nothing and burns no token.
    IF NOT EXISTS (SELECT FROM open_calls AS o WHERE o.dial_claimed_at IS NULL) THEN
        RETURN;
    END IF;
    SELECT b.* INTO v_bucket FROM dial_buckets AS b WHERE b.carrier = p_carrier FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'carrier % has no bucket', p_carrier USING ERRCODE = 'CM008';
    END IF;
    v_now := clock_timestamp();
    v_tokens := least(
        v_bucket.burst,
        v_bucket.tokens
        + greatest(0, extract(EPOCH FROM v_now - v_bucket.refilled_at)) * v_bucket.calls_per_second
    );
    RETURN QUERY
    WITH due AS (
        SELECT o.user_id, o.call_id, o.created_at
        FROM open_calls AS o
        WHERE o.dial_claimed_at IS NULL AND o.dial_before > v_now
        ORDER BY o.created_at
        LIMIT greatest(0, least(p_limit, floor(v_tokens)::integer))
        FOR UPDATE SKIP LOCKED
    )
    UPDATE open_calls AS o
    SET dial_claimed_at = v_now, dial_claimed_by = p_worker
    FROM due
    WHERE o.user_id = due.user_id AND o.call_id = due.call_id
    RETURNING o.user_id::text, o.call_id::text;
    GET DIAGNOSTICS v_claimed = ROW_COUNT;
    UPDATE dial_buckets AS b
    SET tokens = v_tokens - v_claimed, refilled_at = v_now
    WHERE b.carrier = p_carrier;
END
$$;
COMMENT ON FUNCTION claim_dials(text, text, integer) IS
'Hands out calls to dial, oldest first, each once, never more than the carrier takes.';

CREATE OR REPLACE FUNCTION lease_stale_calls(p_limit integer, p_lease interval DEFAULT '30 seconds')
RETURNS TABLE (
    user_id text, call_id text, status text, situation text, carrier_sid text, phone_number text,
    created_at timestamptz, seen_at timestamptz
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- A voice process reports every second; ten missed reports are no hiccup.
    c_silence CONSTANT interval := '10 seconds';
    -- The carrier answers a create within seconds; after this its answer is lost.
    c_dial_unknown CONSTANT interval := '30 seconds';
    -- A phone rings for 60 seconds at the most; then the carrier's last word is overdue.
    c_ring CONSTANT interval := '90 seconds';
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH stale AS (
        SELECT
            o.user_id, o.call_id, c.status, c.twilio_call_sid, c.phone_number, c.created_at, b.seen_at,
            CASE
                WHEN o.dial_claimed_at IS NULL THEN 'never_dialled'
                WHEN c.twilio_call_sid IS NULL THEN 'dial_unknown'
                WHEN c.status IN ('initiating', 'calling') THEN 'ringing_too_long'
                ELSE 'silent'
            END AS situation
        FROM open_calls AS o
        INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
        INNER JOIN call_cost_breakdowns AS b ON o.user_id = b.user_id AND o.call_id = b.call_id
        WHERE coalesce(o.reaper_leased_until, '-infinity') < v_now
            AND CASE
                WHEN o.dial_claimed_at IS NULL THEN o.dial_before < v_now
                WHEN c.twilio_call_sid IS NULL THEN o.dial_claimed_at < v_now - c_dial_unknown
                WHEN c.status IN ('initiating', 'calling') THEN o.dial_claimed_at < v_now - c_ring
                ELSE greatest(b.seen_at, c.answered_at) < v_now - c_silence
            END
        ORDER BY o.created_at
        LIMIT p_limit
        FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE open_calls AS o
    SET reaper_leased_until = v_now + p_lease
    FROM stale AS s
    WHERE o.user_id = s.user_id AND o.call_id = s.call_id
    RETURNING
        s.user_id::text, s.call_id::text, s.status::text, s.situation, s.twilio_call_sid, s.phone_number,
        s.created_at, s.seen_at;
END
$$;
COMMENT ON FUNCTION lease_stale_calls(integer, interval) IS
'Open calls that stopped moving, each to one reaper at a time, with what is wrong: never_dialled, dial_unknown, ringing_too_long, silent.';
