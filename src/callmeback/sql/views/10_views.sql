-- What is asked often, defined once. Each runs with the rights of who asks.

CREATE OR REPLACE VIEW effective_voices WITH (security_invoker = true) AS
SELECT
    u.id AS user_id,
    p.id AS persona_id,
    coalesce(r.voice_id, p.default_voice_id) AS voice_id,
    p.default_voice_settings || coalesce(r.voice_settings, '{}') AS voice_settings
FROM users AS u
CROSS JOIN personas AS p
LEFT JOIN user_persona_relationships AS r ON u.id = r.user_id AND p.id = r.persona_id
WHERE p.owner_user_id IS NULL OR p.owner_user_id = u.id;
COMMENT ON VIEW effective_voices IS
'Voice of each persona for each person who may talk to it: what the relationship says, else the persona''s own.';

CREATE OR REPLACE VIEW effective_limits WITH (security_invoker = true) AS
SELECT
    a.user_id,
    a.subscription_tier,
    t.charges_credits,
    coalesce(a.monthly_credit_allowance, t.monthly_credit_allowance) AS monthly_credit_allowance,
    coalesce(a.max_calls_per_day, t.max_calls_per_day) AS max_calls_per_day,
    coalesce(a.max_call_duration_seconds, t.max_call_duration_seconds) AS max_call_duration_seconds,
    coalesce(b.max_cost_per_call_cents, 1000) AS max_cost_per_call_cents,
    coalesce(b.max_monthly_spend_cents, 10000) AS max_monthly_spend_cents,
    coalesce(b.warn_at_percent_per_call, 75) AS warn_at_percent_per_call,
    coalesce(b.enable_auto_cutoff, true) AS enable_auto_cutoff
FROM user_credits AS a
INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
LEFT JOIN user_budget_settings AS b ON a.user_id = b.user_id;
COMMENT ON VIEW effective_limits IS 'What holds for an account: its own figures, else the tier''s; its budget, else the defaults.';

CREATE OR REPLACE VIEW call_logs WITH (security_invoker = true) AS
SELECT
    c.id,
    c.user_id,
    c.persona_id,
    c.twilio_call_sid,
    c.phone_number,
    coalesce(c.duration_seconds, b.twilio_duration_seconds, 0) AS duration_seconds,
    c.status,
    c.error_message,
    coalesce(b.deepgram_cost_cents, 0) AS cost_stt,
    coalesce(b.cerebras_cost_cents, 0) AS cost_llm,
    coalesce(b.elevenlabs_cost_cents, 0) AS cost_tts,
    coalesce(b.twilio_cost_cents, 0) AS cost_twilio,
    coalesce(b.total_cost_cents, 0) AS cost_total,
    coalesce(c.turn_count, 0) AS turn_count,
    coalesce(c.interrupt_count, 0) AS interrupt_count,
    c.avg_response_time_ms,
    c.start_time AS started_at,
    c.end_time AS ended_at,
    c.created_at
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id;
COMMENT ON VIEW call_logs IS 'The specification''s log of calls, over what was measured. Costs in cents, exact.';
COMMENT ON COLUMN call_logs.phone_number IS 'pii:phone. As in calls.';

CREATE OR REPLACE VIEW monthly_spend WITH (security_invoker = true) AS
SELECT
    c.user_id,
    coalesce(c.local_month, date_trunc('month', c.created_at AT TIME ZONE 'UTC')::date) AS month,
    sum(coalesce(b.total_cost_cents, 0)) AS spend_cents,
    count(*) AS calls,
    avg(c.duration_seconds) AS avg_duration_seconds
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
GROUP BY c.user_id, coalesce(c.local_month, date_trunc('month', c.created_at AT TIME ZONE 'UTC')::date);
COMMENT ON VIEW monthly_spend IS 'The one definition of spending: every call, whatever its end, in the person''s month of its start.';

CREATE OR REPLACE VIEW ledger_proof WITH (security_invoker = true) AS
SELECT
    a.user_id,
    a.available_credits + a.held_credits - a.debt_credits AS balance,
    coalesce(l.ledger_sum, 0) AS ledger_sum,
    a.ledger_seq,
    coalesce(l.ledger_rows, 0) AS ledger_rows,
    coalesce(l.newest_balance, 0) AS newest_balance,
    a.held_credits,
    coalesce(h.hold_sum, 0) AS hold_sum,
    a.available_credits + a.held_credits - a.debt_credits = coalesce(l.ledger_sum, 0)
    AND a.ledger_seq = coalesce(l.ledger_rows, 0)
    AND a.ledger_seq = coalesce(l.newest_seq, 0)
    AND a.available_credits + a.held_credits - a.debt_credits = coalesce(l.newest_balance, 0)
    AND a.held_credits = coalesce(h.hold_sum, 0) AS is_proved
FROM user_credits AS a
LEFT JOIN (
    SELECT
        t.user_id,
        sum(t.amount) AS ledger_sum,
        count(*) AS ledger_rows,
        max(t.seq) AS newest_seq,
        (array_agg(t.balance_after ORDER BY t.seq DESC))[1] AS newest_balance
    FROM credit_transactions AS t
    GROUP BY t.user_id
) AS l ON a.user_id = l.user_id
LEFT JOIN (
    SELECT
        o.user_id,
        sum(c.hold_credits) AS hold_sum
    FROM open_calls AS o
    INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
    GROUP BY o.user_id
) AS h ON a.user_id = h.user_id;
COMMENT ON VIEW ledger_proof IS 'Per account: ledger = available + held - debt, numbers without gaps, holds = open calls.';

CREATE OR REPLACE VIEW double_entry WITH (security_invoker = true) AS
SELECT
    t.user_id,
    t.seq,
    t.created_at,
    e.account,
    e.credits
FROM credit_transactions AS t
CROSS JOIN LATERAL (
    VALUES
    ('liabilities:credits', t.amount),
    (
        CASE t.type
            WHEN 'purchase' THEN 'assets:payments'
            WHEN 'subscription_refill' THEN 'assets:subscriptions'
            WHEN 'refund' THEN 'assets:payments'
            WHEN 'call_deduction' THEN 'revenue:calls'
            WHEN 'admin_adjustment' THEN 'equity:adjustments'
            WHEN 'promotion' THEN 'expenses:promotions'
            WHEN 'expiry' THEN 'expenses:promotions'
        END,
        -t.amount
    )
) AS e (account, credits);
COMMENT ON VIEW double_entry IS 'The ledger as a journal of two legs; the contra account follows from the type.';
