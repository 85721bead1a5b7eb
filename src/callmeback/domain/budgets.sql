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
    coalesce(s.calls, 0) AS calls
FROM effective_limits AS l
INNER JOIN (
    SELECT
        a.user_id,
        greatest(a.spend_month, %(local_month)s::date) AS month
    FROM user_credits AS a
    WHERE a.user_id = %(user_id)s
) AS m ON l.user_id = m.user_id
INNER JOIN month_forecast AS f ON l.user_id = f.user_id
LEFT JOIN monthly_spend AS s ON m.user_id = s.user_id AND m.month = s.month
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
