-- A hundred thousand accounts, and 240 more with a live call, on the premium plan, each with a verified number and credits by the ledger.
SELECT ensure_card('bench', 'voice-outbound', 'flux-general-en', 'gpt-oss-120b', 'eleven_flash_v2_5', 'qwen-3-235b-a22b-instruct-2507', 'espeak-ng');
INSERT INTO users (id, email, password_hash) SELECT 'user_' || lpad(n::text, 26, '0'), n || '@bench.example', 'x' FROM generate_series(1, 100240) AS n;
INSERT INTO phones (user_id, number, verified_at) SELECT 'user_' || lpad(n::text, 26, '0'), '+1' || (2000000000 + n), now() FROM generate_series(1, 100240) AS n;
INSERT INTO user_credits (user_id, available_credits, subscription_tier, ledger_seq) SELECT id, 1000000, 'premium', 1 FROM users;
INSERT INTO credit_transactions (user_id, seq, amount, balance_before, balance_after, type, cause) SELECT id, 1, 1000000, 0, 1000000, 'purchase', 'purchase:bench' FROM users;
-- A house that has run for a while: nearly every call is with a persona whom the person knows.
INSERT INTO user_persona_relationships (user_id, persona_id) SELECT u.id, p.id FROM users AS u CROSS JOIN personas AS p;
INSERT INTO user_budget_settings (user_id, max_monthly_spend_cents) SELECT id, 10000000 FROM users;
VACUUM ANALYZE;
