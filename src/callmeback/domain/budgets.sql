-- Limits that a person sets on the vendors' cost.

-- name: budget
-- What holds, and what was spent in the person's month: the month only moves forward, as in start_call.
-- returns: Row
SELECT
    l.max_cost_per_call_cents,
    l.max_monthly_spend_cents,
    l.warn_at_percent_per_call,
    l.enable_auto_cutoff,
    m.month,
    coalesce(s.spend_cents, 0) AS spent_cents,
    -- As month_forecast reckons, with the open call in it as in the spending beside it.
    round(
        coalesce(s.spend_cents, 0) * CASE WHEN f.month = m.month THEN f.month_days / f.elapsed_days::numeric ELSE 1 END, 2
    ) AS forecast_cents,
    s.calls
FROM effective_limits AS l
INNER JOIN (
    SELECT
        a.user_id,
        greatest(a.spend_month, %(local_month)s::date) AS month
    FROM user_credits AS a
    WHERE a.user_id = %(user_id)s
) AS m ON l.user_id = m.user_id
INNER JOIN month_forecast AS f ON l.user_id = f.user_id
CROSS JOIN
    LATERAL (
        -- As in monthly_spend, but of the month alone: a person's month begins and ends within a day of UTC's.
        SELECT
            sum(b.total_cost_cents) AS spend_cents,
            count(*) AS calls
        FROM calls AS c
        LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
        WHERE
            c.user_id = m.user_id
            AND coalesce(c.local_month, date_trunc('month', c.created_at AT TIME ZONE 'UTC')::date) = m.month
            AND c.created_at >= (m.month - interval '2 days') AT TIME ZONE 'UTC'
            AND c.created_at < (m.month + interval '1 month 2 days') AT TIME ZONE 'UTC'
    ) AS s
WHERE l.user_id = %(user_id)s;

-- name: change
-- Write what was given; the rest stays, or begins with its default.
INSERT INTO user_budget_settings AS b (
    user_id, max_cost_per_call_cents, max_monthly_spend_cents, warn_at_percent_per_call, enable_auto_cutoff
) VALUES (
    %(user_id)s,
    coalesce(%(max_cost_per_call_cents)s::numeric, 1000),
    coalesce(%(max_monthly_spend_cents)s::numeric, 10000),
    coalesce(%(warn_at_percent_per_call)s::integer, 75),
    coalesce(%(enable_auto_cutoff)s::boolean, true)
)
ON CONFLICT (user_id) DO UPDATE
    SET
        max_cost_per_call_cents = coalesce(%(max_cost_per_call_cents)s::numeric, b.max_cost_per_call_cents),
        max_monthly_spend_cents = coalesce(%(max_monthly_spend_cents)s::numeric, b.max_monthly_spend_cents),
        warn_at_percent_per_call = coalesce(%(warn_at_percent_per_call)s::integer, b.warn_at_percent_per_call),
        enable_auto_cutoff = coalesce(%(enable_auto_cutoff)s::boolean, b.enable_auto_cutoff);
