-- What one person made of a persona.

-- name: relationships
-- A person's relationships, favourites and the latest first, with the voice that is in force.
-- returns: Row
SELECT
    r.persona_id,
    p.name AS persona_name,
    p.description AS persona_description,
    p.avatar_url,
    r.relationship_type,
    r.custom_system_prompt,
    r.voice_id,
    r.voice_settings,
    r.is_favorite,
    r.is_archived,
    r.total_calls,
    r.total_duration_seconds,
    r.last_call_at,
    e.voice_id AS effective_voice_id,
    e.voice_settings AS effective_voice_settings
FROM user_persona_relationships AS r
INNER JOIN personas AS p ON r.persona_id = p.id
INNER JOIN effective_voices AS e ON r.user_id = e.user_id AND r.persona_id = e.persona_id
WHERE r.user_id = %(user_id)s AND (%(favorite)s::boolean IS NULL OR r.is_favorite = %(favorite)s)
ORDER BY r.is_favorite DESC, r.last_call_at DESC NULLS LAST, r.persona_id
LIMIT %(most)s;

-- name: relationship
-- One relationship of a person.
-- returns: Row
SELECT
    r.persona_id,
    p.name AS persona_name,
    p.description AS persona_description,
    p.avatar_url,
    r.relationship_type,
    r.custom_system_prompt,
    r.voice_id,
    r.voice_settings,
    r.is_favorite,
    r.is_archived,
    r.total_calls,
    r.total_duration_seconds,
    r.last_call_at,
    e.voice_id AS effective_voice_id,
    e.voice_settings AS effective_voice_settings
FROM user_persona_relationships AS r
INNER JOIN personas AS p ON r.persona_id = p.id
INNER JOIN effective_voices AS e ON r.user_id = e.user_id AND r.persona_id = e.persona_id
WHERE r.user_id = %(user_id)s AND r.persona_id = %(persona_id)s;

-- name: change
-- Write what was given of a relationship; the rest stays, or begins with its default. No row for an unseen persona, nor
-- for a retired one that the person had nothing to do with: what was begun can still be archived.
INSERT INTO user_persona_relationships AS r (
    id, user_id, persona_id, relationship_type, custom_system_prompt, voice_id, voice_settings, is_favorite,
    is_archived
)
SELECT
    %(id)s,
    %(user_id)s::text,
    p.id,
    coalesce(%(relationship_type)s, 'friend'),
    %(custom_system_prompt)s,
    %(voice_id)s,
    %(voice_settings)s::jsonb,
    coalesce(%(is_favorite)s::boolean, false),
    coalesce(%(is_archived)s::boolean, false)
FROM personas AS p
WHERE
    p.id = %(persona_id)s
    AND (
        p.is_active
        OR EXISTS (
            SELECT
            FROM user_persona_relationships AS b
            WHERE b.user_id = %(user_id)s::text AND b.persona_id = p.id
        )
    )
ON CONFLICT (user_id, persona_id) DO UPDATE
    SET
        relationship_type = coalesce(%(relationship_type)s, r.relationship_type),
        custom_system_prompt
        = CASE WHEN %(set_custom_system_prompt)s::boolean THEN excluded.custom_system_prompt ELSE r.custom_system_prompt END,
        voice_id = CASE WHEN %(set_voice_id)s::boolean THEN excluded.voice_id ELSE r.voice_id END,
        voice_settings = CASE WHEN %(set_voice_settings)s::boolean THEN excluded.voice_settings ELSE r.voice_settings END,
        is_favorite = coalesce(%(is_favorite)s::boolean, r.is_favorite),
        is_archived = coalesce(%(is_archived)s::boolean, r.is_archived),
        updated_at = now();
