-- Who calls. The catalogue shows cards only; what makes a persona is seen by its owner.

-- name: catalogue
-- Cards of the house's personas and of the caller's own, the house's first.
-- returns: Card
SELECT
    p.id,
    p.name,
    p.description,
    p.category,
    p.avatar_url
FROM personas AS p
WHERE p.is_active AND (%(category)s::text IS NULL OR p.category = %(category)s)
ORDER BY p.owner_user_id IS NOT NULL, p.created_at, p.id
LIMIT %(most)s;

-- name: card
-- One card that the caller may see.
-- returns: Card
SELECT
    p.id,
    p.name,
    p.description,
    p.category,
    p.avatar_url
FROM personas AS p
WHERE p.id = %(persona_id)s AND p.is_active;

-- name: own
-- A persona as its owner sees it.
-- returns: Persona
SELECT
    p.id,
    p.name,
    p.description,
    p.category,
    p.avatar_url,
    p.core_system_prompt,
    p.default_voice_id,
    p.default_voice_settings,
    p.max_tokens,
    p.temperature::double precision AS temperature,
    p.max_call_duration_seconds,
    p.created_at,
    p.updated_at
FROM personas AS p
WHERE p.id = %(persona_id)s AND p.owner_user_id = %(user_id)s AND p.is_active;

-- name: count_own
-- How many personas a person has made, retired ones too.
SELECT count(*)
FROM personas AS p
WHERE p.owner_user_id = %(user_id)s;

-- name: create
-- A new persona of a person.
INSERT INTO personas (
    id, owner_user_id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url,
    category, max_tokens, temperature, max_call_duration_seconds
) VALUES (
    %(id)s, %(user_id)s, %(name)s, %(description)s, %(core_system_prompt)s, %(default_voice_id)s,
    %(default_voice_settings)s, %(avatar_url)s, %(category)s, %(max_tokens)s, %(temperature)s,
    %(max_call_duration_seconds)s
);

-- name: change
-- Write an own persona's new state.
UPDATE personas AS p
SET
    name = %(name)s,
    description = %(description)s,
    core_system_prompt = %(core_system_prompt)s,
    default_voice_id = %(default_voice_id)s,
    default_voice_settings = %(default_voice_settings)s,
    avatar_url = %(avatar_url)s,
    category = %(category)s,
    max_tokens = %(max_tokens)s,
    temperature = %(temperature)s,
    max_call_duration_seconds = %(max_call_duration_seconds)s
WHERE p.id = %(persona_id)s AND p.owner_user_id = %(user_id)s AND p.is_active;

-- name: retire
-- An own persona is no longer offered; its history stays.
UPDATE personas AS p
SET is_active = false
WHERE p.id = %(persona_id)s AND p.owner_user_id = %(user_id)s AND p.is_active;
