-- Revenue, vendors' cost and margin of the house: three figures, as the views daily_margin, tier_margin and
-- persona_margin define them, from a time on by the indexes. Days are UTC.

-- name: by_day
-- Each day with a call or a payment, the newest first.
-- returns: DayMargin
SELECT
    d.day,
    sum(d.calls)::bigint AS calls,
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
    WHERE c.created_at >= %(since)s
    UNION ALL
    SELECT
        (f.flowed_at AT TIME ZONE 'UTC')::date AS day,
        0 AS calls,
        f.amount_cents AS revenue_cents,
        0::numeric AS cost_cents
    FROM money_flows AS f
    WHERE f.flowed_at >= %(since)s
) AS d
GROUP BY d.day
ORDER BY d.day DESC
LIMIT %(most)s;

-- name: by_tier
-- A plan's money is its tier's; all else is that of the person's tier today.
-- returns: Margin
SELECT
    d.tier AS key,
    initcap(d.tier) AS name,
    sum(d.calls)::bigint AS calls,
    sum(d.revenue_cents) AS revenue_cents,
    sum(d.cost_cents) AS cost_cents,
    sum(d.revenue_cents) - sum(d.cost_cents) AS margin_cents
FROM (
    SELECT
        a.subscription_tier AS tier,
        1 AS calls,
        0::numeric AS revenue_cents,
        coalesce(b.total_cost_cents, 0) AS cost_cents
    FROM calls AS c
    INNER JOIN user_credits AS a ON c.user_id = a.user_id
    LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
    WHERE c.created_at >= %(since)s
    UNION ALL
    SELECT
        coalesce(f.tier, a.subscription_tier) AS tier,
        0 AS calls,
        f.amount_cents AS revenue_cents,
        0::numeric AS cost_cents
    FROM money_flows AS f
    INNER JOIN user_credits AS a ON f.user_id = a.user_id
    WHERE f.flowed_at >= %(since)s
) AS d
GROUP BY d.tier
ORDER BY sum(d.revenue_cents) DESC, d.tier
LIMIT %(most)s;

-- name: by_persona
-- What the talks cost, and what their credits were paid with on average by the person who talked.
-- returns: Margin
SELECT
    p.id AS key,
    p.name,
    count(*) AS calls,
    sum(coalesce(z.captured_cents, coalesce(c.credits_used, 0) * coalesce(w.cents_per_credit, 0))) AS revenue_cents,
    sum(coalesce(b.total_cost_cents, 0)) AS cost_cents,
    sum(coalesce(z.captured_cents, coalesce(c.credits_used, 0) * coalesce(w.cents_per_credit, 0)))
    - sum(coalesce(b.total_cost_cents, 0)) AS margin_cents
FROM calls AS c
INNER JOIN personas AS p ON c.persona_id = p.id
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
LEFT JOIN payment_authorizations AS z ON c.user_id = z.user_id AND c.id = z.call_id
LEFT JOIN (
    SELECT
        x.user_id,
        sum(x.amount_cents - x.reversed_cents) / nullif(sum(x.credits - x.reversed_credits), 0) AS cents_per_credit
    FROM payments AS x
    WHERE x.credits > x.reversed_credits AND x.kind <> 'call'
    GROUP BY x.user_id
) AS w ON c.user_id = w.user_id
WHERE c.created_at >= %(since)s
GROUP BY p.id, p.name
ORDER BY sum(coalesce(b.total_cost_cents, 0)) DESC, p.id
LIMIT %(most)s;
