-- What a person has in credits, and where they went.

-- name: account
-- A person's account with the limits that hold for it. Day counters only move forward, as in start_call.
-- returns: Account
SELECT
    a.available_credits,
    a.held_credits,
    a.debt_credits,
    l.subscription_tier AS tier,
    l.subscription_tier,
    a.subscription_status,
    a.subscription_end_date,
    l.charges_credits,
    l.monthly_credit_allowance,
    CASE WHEN a.calls_day >= %(local_day)s THEN a.calls_in_day ELSE 0 END AS calls_today,
    l.max_calls_per_day,
    l.max_call_duration_seconds
FROM user_credits AS a
INNER JOIN effective_limits AS l ON a.user_id = l.user_id
WHERE a.user_id = %(user_id)s;

-- name: transactions
-- A page of the ledger, newest first.
-- returns: Transaction
SELECT
    t.seq,
    t.type,
    t.amount,
    t.balance_before,
    t.balance_after,
    t.cause,
    t.call_id,
    t.description,
    t.created_at
FROM credit_transactions AS t
WHERE t.user_id = %(user_id)s AND (%(before_seq)s::bigint IS NULL OR t.seq < %(before_seq)s::bigint)
ORDER BY t.seq DESC
LIMIT %(most)s;

-- name: tiers
-- The plans, cheapest first.
-- returns: Tier
SELECT
    t.tier,
    t.monthly_price_cents,
    t.monthly_credit_allowance,
    t.max_calls_per_day,
    t.max_call_duration_seconds,
    t.charges_credits
FROM subscription_tiers AS t
ORDER BY t.position;
