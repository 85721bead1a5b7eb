SELECT available_credits, max_calls_per_day, subscription_tier
FROM user_credits
WHERE user_id = $1
