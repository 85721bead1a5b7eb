SELECT c.id, c.status, c.duration_seconds, c.credits_used, c.created_at, p.name AS persona_name, p.avatar_url
FROM calls AS c
INNER JOIN personas AS p ON c.persona_id = p.id
WHERE c.user_id = $1
ORDER BY c.created_at DESC
LIMIT 20
