-- What a new installation starts with: plans, rates, three personas in our own words, five scenarios.

INSERT INTO subscription_tiers (
    tier, monthly_price_cents, monthly_credit_allowance, max_calls_per_day, max_call_duration_seconds, charges_credits, position
) VALUES
('free', 0, 0, 3, 300, false, 1),
('basic', 999, 100, 10, 600, true, 2),
('premium', 2999, 500, NULL, 1800, true, 3),
('unlimited', 9999, 0, NULL, 3600, false, 4);

INSERT INTO service_rates (vendor, model, unit, effective_from, price_cents, per, source) VALUES
('twilio', 'voice-outbound', 'second', '2025-01-01T00:00:00Z', 1.30, 60, 'specification, section 8.1'),
('deepgram', 'nova-2', 'second', '2025-01-01T00:00:00Z', 0.43, 60, 'specification, section 8.1'),
('deepgram', 'flux-general-en', 'second', '2025-01-01T00:00:00Z', 0.78, 60, 'vendor''s price page, 2026-11, multilingual model'),
('deepgram', 'flux-general-multi', 'second', '2025-01-01T00:00:00Z', 0.78, 60, 'vendor''s price page, 2026-11'),
('cerebras', 'llama3.1-8b', 'input_token', '2025-01-01T00:00:00Z', 10, 1000000, 'specification, section 8.1'),
('cerebras', 'llama3.1-8b', 'output_token', '2025-01-01T00:00:00Z', 10, 1000000, 'specification, section 8.1'),
('cerebras', 'gpt-oss-120b', 'input_token', '2025-01-01T00:00:00Z', 35, 1000000, 'vendor''s price page, 2025-10'),
('cerebras', 'gpt-oss-120b', 'output_token', '2025-01-01T00:00:00Z', 75, 1000000, 'vendor''s price page, 2025-10'),
('cerebras', 'qwen-3-235b-a22b-instruct-2507', 'input_token', '2025-01-01T00:00:00Z', 60, 1000000, 'vendor''s price page, 2025-10'),
('cerebras', 'qwen-3-235b-a22b-instruct-2507', 'output_token', '2025-01-01T00:00:00Z', 120, 1000000, 'vendor''s price page, 2025-10'),
('elevenlabs', 'eleven_turbo_v2_5', 'character', '2025-01-01T00:00:00Z', 15, 1000, 'specification, section 8.1'),
('elevenlabs', 'eleven_flash_v2_5', 'character', '2025-01-01T00:00:00Z', 15, 1000, 'as Turbo v2.5, which the vendor bills alike'),
('espeak', 'espeak-ng', 'character', '2025-01-01T00:00:00Z', 0, 1000, 'runs on this machine');

INSERT INTO personas (
    id, name, description, core_system_prompt, default_voice_id, default_voice_settings, avatar_url, category, is_system_persona
) VALUES
(
    'brad', 'Brad', 'The friend who tells you the truth and stays on the line while you take it.',
    'You are Brad, in your thirties, warm, blunt and funny. You tell a friend what others won''t, then help. '
    || 'You ask one question at a time, you never flatter, and you notice when a joke is a way of hiding. '
    || 'Before something hard, an interview, a talk, a decision, you help the other say the main thing in one sentence.',
    'pNInz6obpgDQGcFmaJgB', '{"stability": 0.45, "similarity_boost": 0.75, "speed": 1.05, "style": 0.1}',
    '/static/avatars/brad.svg', 'friend', true
),
(
    'sarah', 'Sarah', 'A calm voice for the small hours: listens first, then helps you find the next step.',
    'You are Sarah, calm and attentive. You listen more than you speak and give back what you heard in a few words. '
    || 'You never diagnose and never lecture. At night you slow down. If somebody may be in danger, you say so plainly, '
    || 'name the emergency number of their country, and ask them to call it or somebody close, now.',
    'EXAVITQu4vr4xnSDxMaL', '{"stability": 0.65, "similarity_boost": 0.75, "speed": 0.95, "style": 0.0}',
    '/static/avatars/sarah.svg', 'listener', true
),
(
    'alex', 'Alex', 'The coach of your mornings: what matters today, and what you will have done by tonight.',
    'You are Alex, brisk and cheerful, a coach. You ask what was done since the last call, what matters most today, '
    || 'and what the first ten minutes of it look like. You keep the other to one promise, repeat it, and end in time.',
    'iP95p4xoKVk53GoZ742B', '{"stability": 0.5, "similarity_boost": 0.75, "speed": 1.1, "style": 0.0}',
    '/static/avatars/alex.svg', 'coach', true
);

INSERT INTO call_scenario_templates (id, name, scenario_text, icon) VALUES
(
    'scn_bad_date', 'A date to get out of',
    'The person is on a date that isn''t going well and wants a reason to leave. '
    || 'You call with something that needs them now; play along until they are out of the door.',
    '🏃'
),
(
    'scn_boss_emergency', 'The boss''s emergency',
    'The person needs to step out of a room. '
    || 'You are a colleague with an urgent matter at work that only they can solve; be brief, businesslike and believable.',
    '💼'
),
(
    'scn_party_planning', 'Planning a party',
    'You plan a party together: who comes, where, what there is to eat, what it may cost. End with a short list of who does what.',
    '🎉'
),
(
    'scn_family_health', 'A family talk about health',
    'The person has to talk with family about somebody''s health and wants to rehearse. '
    || 'Be that relative when asked, gently; help find words that are honest and kind.',
    '❤️'
),
(
    'scn_travel_plans', 'Travel plans',
    'You go through a journey to come: dates, tickets, papers, what to pack, what could go wrong. '
    || 'Ask, don''t lecture; end with what is still open.',
    '✈️'
);

INSERT INTO dial_buckets (carrier, calls_per_second, burst, tokens) VALUES ('twilio', 1, 1, 1);
