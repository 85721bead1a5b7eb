SELECT id, user_id, persona_id, status, duration_seconds, credits_used, created_at
FROM calls
ORDER BY id
LIMIT 1000
