-- What a person's month comes to.

-- name: forecast
-- Spending so far by the days gone, on the person's own clock.
-- returns: Forecast
SELECT
    f.month,
    f.elapsed_days,
    f.month_days,
    f.spent_cents,
    f.forecast_cents,
    f.limit_cents
FROM month_forecast AS f
WHERE f.user_id = %(user_id)s;
