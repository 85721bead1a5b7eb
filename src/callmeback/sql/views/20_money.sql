-- Money that came in and went out, by what it is asked for. Each runs with the rights of who asks.

CREATE OR REPLACE VIEW receipts WITH (security_invoker = true) AS
SELECT
    p.user_id,
    p.id,
    p.kind,
    p.description,
    p.tier,
    p.amount_cents,
    p.reversed_cents,
    p.currency,
    p.credits,
    p.reversed_credits,
    coalesce(x.discount_cents, 0) AS discount_cents,
    x.coupon,
    p.period_start,
    p.period_end,
    p.paid_at
FROM payments AS p
LEFT JOIN purchases AS x ON p.user_id = x.user_id AND p.id = x.id;
COMMENT ON VIEW receipts IS 'What a person paid for, with what was given back of it.';

CREATE OR REPLACE VIEW money_flows WITH (security_invoker = true) AS
SELECT
    p.user_id,
    p.kind,
    p.tier,
    'payment' AS flow,
    p.id,
    p.id AS payment_id,
    p.paid_at AS flowed_at,
    p.currency,
    p.amount_cents
FROM payments AS p
UNION ALL
SELECT
    x.user_id,
    'purchase' AS kind,
    NULL AS tier,
    'payment' AS flow,
    x.id,
    x.id AS payment_id,
    x.completed_at AS flowed_at,
    x.currency,
    x.amount_cents
FROM purchases AS x
LEFT JOIN payments AS p ON x.user_id = p.user_id AND x.id = p.id
WHERE x.status = 'completed' AND x.completed_at IS NOT NULL AND x.amount_cents > 0 AND p.id IS NULL
UNION ALL
SELECT
    p.user_id,
    p.kind,
    p.tier,
    'refund' AS flow,
    r.id,
    p.id AS payment_id,
    r.refunded_at AS flowed_at,
    p.currency,
    -r.amount_cents AS amount_cents
FROM refunds AS r
INNER JOIN payments AS p ON r.user_id = p.user_id AND r.payment_id = p.id
WHERE r.is_succeeded AND NOT r.is_undone
UNION ALL
SELECT
    p.user_id,
    p.kind,
    p.tier,
    'dispute' AS flow,
    d.id,
    p.id AS payment_id,
    d.disputed_at AS flowed_at,
    p.currency,
    -d.amount_cents AS amount_cents
FROM disputes AS d
INNER JOIN payments AS p ON d.user_id = p.user_id AND d.payment_id = p.id
WHERE d.is_withdrawn AND NOT d.is_reinstated;
COMMENT ON VIEW money_flows IS 'Every amount that came in (+) or went back (-), with the provider''s time: what its own list must agree with. Adopted purchases have no other trace.';

CREATE OR REPLACE VIEW daily_margin WITH (security_invoker = true) AS
SELECT
    d.day,
    sum(d.calls) AS calls,
    sum(d.revenue_cents) AS revenue_cents,
    sum(d.cost_cents) AS cost_cents,
    sum(d.revenue_cents) - sum(d.cost_cents) AS margin_cents
FROM (
    SELECT
        (c.created_at AT TIME ZONE 'UTC')::date AS day,
        1 AS calls,
        0::numeric AS revenue_cents,
        coalesce(b.total_cost_cents, 0) AS cost_cents
    FROM calls AS c
    LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
    UNION ALL
    SELECT
        (f.flowed_at AT TIME ZONE 'UTC')::date AS day,
        0 AS calls,
        f.amount_cents AS revenue_cents,
        0::numeric AS cost_cents
    FROM money_flows AS f
) AS d
GROUP BY d.day;
COMMENT ON VIEW daily_margin IS 'Revenue, vendors'' cost and margin by UTC day: three figures. Revenue is what was paid less what was given back.';

CREATE OR REPLACE VIEW tier_margin WITH (security_invoker = true) AS
SELECT
    d.day,
    d.tier,
    sum(d.calls) AS calls,
    sum(d.revenue_cents) AS revenue_cents,
    sum(d.cost_cents) AS cost_cents,
    sum(d.revenue_cents) - sum(d.cost_cents) AS margin_cents
FROM (
    SELECT
        (c.created_at AT TIME ZONE 'UTC')::date AS day,
        a.subscription_tier AS tier,
        1 AS calls,
        0::numeric AS revenue_cents,
        coalesce(b.total_cost_cents, 0) AS cost_cents
    FROM calls AS c
    INNER JOIN user_credits AS a ON c.user_id = a.user_id
    LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
    UNION ALL
    SELECT
        (f.flowed_at AT TIME ZONE 'UTC')::date AS day,
        coalesce(f.tier, a.subscription_tier) AS tier,
        0 AS calls,
        f.amount_cents AS revenue_cents,
        0::numeric AS cost_cents
    FROM money_flows AS f
    INNER JOIN user_credits AS a ON f.user_id = a.user_id
) AS d
GROUP BY d.day, d.tier;
COMMENT ON VIEW tier_margin IS 'Revenue, vendors'' cost and margin by UTC day and tier. A plan''s money is its tier''s; all else is that of the person''s tier today.';

CREATE OR REPLACE VIEW paid_calls WITH (security_invoker = true) AS
SELECT
    k.user_id,
    k.call_id,
    k.captured_cents - coalesce(p.reversed_cents, 0) AS kept_cents
FROM payment_authorizations AS k
LEFT JOIN payments AS p ON k.user_id = p.user_id AND k.id = p.id
WHERE k.call_id IS NOT NULL;
COMMENT ON VIEW paid_calls IS 'What was paid by card for one call, less what went back of it.';

CREATE OR REPLACE VIEW credit_prices WITH (security_invoker = true) AS
SELECT
    p.user_id,
    sum(p.amount_cents - p.reversed_cents) / nullif(sum(p.credits - p.reversed_credits), 0) AS cents_per_credit
FROM payments AS p
WHERE p.credits > p.reversed_credits AND p.kind <> 'call'
GROUP BY p.user_id;
COMMENT ON VIEW credit_prices IS 'What a person''s credits were paid with on average, over all that were bought and kept.';

CREATE OR REPLACE VIEW persona_margin WITH (security_invoker = true) AS
SELECT
    (c.created_at AT TIME ZONE 'UTC')::date AS day,
    c.persona_id,
    count(*) AS calls,
    sum(coalesce(c.credits_used, 0)) AS credits,
    sum(coalesce(b.total_cost_cents, 0)) AS cost_cents,
    sum(coalesce(z.kept_cents, coalesce(c.credits_used, 0) * coalesce(w.cents_per_credit, 0))) AS revenue_cents,
    sum(coalesce(z.kept_cents, coalesce(c.credits_used, 0) * coalesce(w.cents_per_credit, 0)))
    - sum(coalesce(b.total_cost_cents, 0)) AS margin_cents
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
LEFT JOIN paid_calls AS z ON c.user_id = z.user_id AND c.id = z.call_id
LEFT JOIN credit_prices AS w ON c.user_id = w.user_id
GROUP BY (c.created_at AT TIME ZONE 'UTC')::date, c.persona_id;
COMMENT ON VIEW persona_margin IS
'By UTC day and persona: what the talks cost, and what their credits were paid with on average by the person who talked.';

CREATE OR REPLACE VIEW month_forecast WITH (security_invoker = true) AS
SELECT
    a.user_id,
    m.month,
    m.elapsed_days,
    m.month_days,
    m.spent_cents,
    m.spent_cents * m.month_days / m.elapsed_days AS forecast_cents,
    l.max_monthly_spend_cents AS limit_cents
FROM user_credits AS a
INNER JOIN users AS u ON a.user_id = u.id
INNER JOIN effective_limits AS l ON a.user_id = l.user_id
CROSS JOIN LATERAL (SELECT now() AT TIME ZONE zone_or_utc(u.timezone) AS here) AS t
CROSS JOIN LATERAL (
    SELECT
        date_trunc('month', t.here)::date AS month,
        extract(DAY FROM t.here)::integer AS elapsed_days,
        extract(DAY FROM date_trunc('month', t.here) + interval '1 month' - interval '1 day')::integer AS month_days,
        CASE
            WHEN a.spend_month = date_trunc('month', t.here)::date THEN a.spent_in_month_cents
            ELSE 0
        END AS spent_cents
) AS m;
COMMENT ON VIEW month_forecast IS 'What a person''s month comes to if it goes on as until today: spending so far by the days gone, today included.';
