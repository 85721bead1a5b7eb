-- Situations for a call: presets for everybody, and a person's own.

-- name: scenarios
-- Presets and the person's own, own ones first.
-- returns: Scenario
SELECT
    s.id,
    s.name,
    s.scenario_text,
    s.icon,
    s.user_id IS NULL AS is_preset,
    s.use_count,
    s.last_used_at,
    s.created_at,
    s.updated_at
FROM call_scenario_templates AS s
ORDER BY s.user_id IS NULL, s.created_at DESC, s.id
LIMIT %(most)s;

-- name: scenario
-- One that the person may use.
-- returns: Scenario
SELECT
    s.id,
    s.name,
    s.scenario_text,
    s.icon,
    s.user_id IS NULL AS is_preset,
    s.use_count,
    s.last_used_at,
    s.created_at,
    s.updated_at
FROM call_scenario_templates AS s
WHERE s.id = %(scenario_id)s;

-- name: count_own
-- How many a person has.
SELECT count(*)
FROM call_scenario_templates AS s
WHERE s.user_id = %(user_id)s;

-- name: create
-- A new one of a person.
INSERT INTO call_scenario_templates (id, user_id, name, scenario_text, icon)
VALUES (%(id)s, %(user_id)s, %(name)s, %(scenario_text)s, %(icon)s);

-- name: change
-- Write what was given of an own one.
UPDATE call_scenario_templates AS s
SET
    name = coalesce(%(name)s, s.name),
    scenario_text = coalesce(%(scenario_text)s, s.scenario_text),
    icon = CASE WHEN %(set_icon)s::boolean THEN %(icon)s ELSE s.icon END
WHERE s.id = %(scenario_id)s AND s.user_id = %(user_id)s;

-- name: remove
-- Take an own one away.
DELETE FROM call_scenario_templates AS s
WHERE s.id = %(scenario_id)s AND s.user_id = %(user_id)s;

-- name: note_use
-- An own one was used for a call.
UPDATE call_scenario_templates AS s
SET
    use_count = s.use_count + 1,
    last_used_at = clock_timestamp()
WHERE s.id = %(scenario_id)s AND s.user_id = %(user_id)s;
