-- Books that close: a day of the ledger is sealed once nothing can be written into it any more.

CREATE OR REPLACE FUNCTION hash_of_day(
    p_day date, p_before bytea, OUT ledger_rows bigint, OUT received_credits bigint, OUT taken_credits bigint, OUT batch_hash bytea
)
RETURNS record
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
BEGIN
    SELECT
        count(*), coalesce(sum(t.amount) FILTER (WHERE t.amount > 0), 0),
        coalesce(sum(t.amount) FILTER (WHERE t.amount < 0), 0),
        sha256(coalesce(p_before, '') || convert_to(
            p_day || E'\n' || coalesce(string_agg(
                concat_ws(
                    E'\t', t.user_id, t.seq, t.amount, t.balance_after, t.type, t.cause, t.call_id, t.created_at
                ), E'\n' ORDER BY t.user_id, t.seq
            ), ''), 'UTF8'
        ))
    INTO ledger_rows, received_credits, taken_credits, batch_hash
    FROM credit_transactions AS t
    WHERE t.created_at >= p_day::timestamp AT TIME ZONE 'UTC'
        AND t.created_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC';
END
$$;
COMMENT ON FUNCTION hash_of_day(date, bytea) IS 'The ledger of a day (UTC) as figures and one hash, chained to the hash before.';

CREATE OR REPLACE FUNCTION seal_day(p_day date, p_sealed_by text)
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- A statement lives shorter: what read its clock in the day and waited for a lock has its number by then.
    c_settling CONSTANT interval := '5 minutes';
    v_now timestamptz := clock_timestamp();
    v_marker xid8;
    v_before bytea;
    v record;
BEGIN
    IF v_now < (p_day + 1)::timestamp AT TIME ZONE 'UTC' + c_settling THEN
        RETURN 'not_over';
    ELSIF EXISTS (SELECT FROM sealed_days AS s WHERE s.day = p_day) THEN
        RETURN 'sealed';
    ELSIF EXISTS (SELECT FROM sealed_days AS s WHERE s.day > p_day) THEN
        RETURN 'too_late';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('seal_day', 0));
    INSERT INTO closing_days (day) VALUES (p_day) ON CONFLICT (day) DO NOTHING;
    SELECT c.marker INTO v_marker FROM closing_days AS c WHERE c.day = p_day;
    IF pg_snapshot_xmin(pg_current_snapshot()) <= v_marker THEN
        RETURN 'waiting';
    END IF;
    SELECT s.batch_hash INTO v_before FROM sealed_days AS s ORDER BY s.day DESC LIMIT 1;
    SELECT h.* INTO v FROM hash_of_day(p_day, v_before) AS h;
    INSERT INTO sealed_days (day, ledger_rows, received_credits, taken_credits, batch_hash, sealed_by)
    VALUES (p_day, v.ledger_rows, v.received_credits, v.taken_credits, v.batch_hash, p_sealed_by)
    ON CONFLICT (day) DO NOTHING;
    DELETE FROM closing_days AS c WHERE c.day = p_day;
    RETURN 'sealed';
END
$$;
COMMENT ON FUNCTION seal_day(date, text) IS
'sealed, waiting (a transaction from before is open: call again), not_over, or too_late (a later day is sealed). Called twice at least.';

CREATE OR REPLACE FUNCTION check_sealed_days()
RETURNS TABLE (day date, is_intact boolean)
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT s.day, h.batch_hash = s.batch_hash AND h.ledger_rows = s.ledger_rows
    FROM (SELECT x.*, lag(x.batch_hash) OVER (ORDER BY x.day) AS hash_before FROM sealed_days AS x) AS s
    CROSS JOIN LATERAL hash_of_day(s.day, s.hash_before) AS h
    ORDER BY s.day;
END
$$;
COMMENT ON FUNCTION check_sealed_days() IS 'Each sealed day, and whether its rows still have the hash that they were sealed with.';

CREATE OR REPLACE FUNCTION notice_budgets(p_limit integer DEFAULT 100)
RETURNS integer
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    v_rows integer;
BEGIN
    -- First who has reached it, whatever the month: of few people the zone has to be looked up.
    WITH reached AS MATERIALIZED (
        SELECT a.user_id, a.spend_month, l.warn_at_percent_per_call AS percent, u.timezone
        FROM user_credits AS a
        INNER JOIN effective_limits AS l ON a.user_id = l.user_id
        INNER JOIN users AS u ON a.user_id = u.id AND u.erased_at IS NULL
        WHERE a.spent_in_month_cents > 0
            AND a.spent_in_month_cents * 100 >= l.max_monthly_spend_cents * l.warn_at_percent_per_call
            AND NOT EXISTS (
                SELECT FROM budget_notices AS n
                WHERE n.user_id = a.user_id AND n.month = a.spend_month AND n.percent = l.warn_at_percent_per_call
            )
    )
    INSERT INTO budget_notices (user_id, month, percent)
    SELECT r.user_id, r.spend_month, r.percent
    FROM reached AS r
    WHERE r.spend_month = date_trunc('month', clock_timestamp() AT TIME ZONE zone_or_utc(r.timezone))::date
    ORDER BY r.user_id
    LIMIT p_limit
    ON CONFLICT (user_id, month, percent) DO NOTHING;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION notice_budgets(integer) IS 'Notes who has reached the percent of the month''s budget at which they want to be told, once a month and percent.';

CREATE OR REPLACE FUNCTION claim_budget_notice()
RETURNS TABLE (user_id text, month date, percent integer)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    -- A mail and a text are out long before; then it is another worker's turn to see what was sent.
    c_lease CONSTANT interval := '5 minutes';
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    UPDATE budget_notices AS n
    SET claimed_until = v_now + c_lease
    FROM (
        SELECT x.user_id, x.month, x.percent
        FROM budget_notices AS x
        WHERE x.told_at IS NULL AND x.given_up_at IS NULL AND (x.claimed_until IS NULL OR x.claimed_until <= v_now)
        ORDER BY x.noticed_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE n.user_id = due.user_id AND n.month = due.month AND n.percent = due.percent
    RETURNING n.user_id::text, n.month, n.percent;
END
$$;
COMMENT ON FUNCTION claim_budget_notice() IS 'One person to be told of their budget, leased to one worker; again later if it was never told.';

CREATE OR REPLACE FUNCTION note_budget_put_off(p_user_id text, p_month date, p_percent integer)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
DECLARE
    -- As mail servers do, RFC 5321, 4.5.4.1: greylisting lets in after minutes, a full mailbox after days, or never.
    c_first CONSTANT interval := '15 minutes';
    c_longest CONSTANT interval := '8 hours';
    c_most CONSTANT interval := '5 days';
    v_now timestamptz := clock_timestamp();
    v_given_up boolean;
BEGIN
    UPDATE budget_notices AS n
    SET
        put_off_count = n.put_off_count + 1,
        put_off_since = coalesce(n.put_off_since, v_now),
        claimed_until = v_now + least(c_first * 2 ^ least(n.put_off_count, 10), c_longest),
        given_up_at = CASE WHEN n.put_off_since <= v_now - c_most THEN v_now END
    WHERE n.user_id = p_user_id AND n.month = p_month AND n.percent = p_percent
        AND n.told_at IS NULL AND n.given_up_at IS NULL
    RETURNING n.given_up_at IS NOT NULL INTO v_given_up;
    RETURN coalesce(v_given_up, false);
END
$$;
COMMENT ON FUNCTION note_budget_put_off(text, date, integer) IS 'The person''s mail server takes it later: the pause grows to eight hours, and after five days it is given up. Whether it was.';

CREATE OR REPLACE FUNCTION note_budget_told(p_user_id text, p_month date, p_percent integer)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE budget_notices AS n
    SET told_at = clock_timestamp(), claimed_until = NULL
    WHERE n.user_id = p_user_id AND n.month = p_month AND n.percent = p_percent AND n.told_at IS NULL;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION note_budget_told(text, date, integer) IS 'The person was told, or can''t be: it is over.';
