INSERT INTO call_scenario_templates (id, user_id, name, scenario_text)
VALUES ($1, $2, $3, $4)
RETURNING id
