\set n :n + 1
\set u :client_id * 12500 + random(1, 12500)
\set p random(0, 2)
SELECT available_credits, subscription_tier, max_call_duration_seconds FROM user_credits WHERE user_id = 'user_' || lpad(:u::text, 26, '0');
INSERT INTO calls (id, user_id, persona_id, phone_number, status, payment_method, estimated_cost_cents) VALUES ('call_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 'user_' || lpad(:u::text, 26, '0'), (ARRAY['brad', 'sarah', 'alex'])[1 + :p], '+12025550100', 'initiating', 'credit', 500);
UPDATE calls SET status = 'completed', end_time = now(), duration_seconds = 300, credits_used = 5, actual_cost_cents = 487 WHERE id = 'call_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0');
UPDATE user_credits SET available_credits = available_credits - 5 WHERE user_id = 'user_' || lpad(:u::text, 26, '0');
INSERT INTO credit_transactions (id, user_id, amount, type, call_id, description, balance_before, balance_after) VALUES ('txn_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 'user_' || lpad(:u::text, 26, '0'), -5, 'call_deduction', 'call_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 'Call - 5 minutes', 100, 95);
INSERT INTO call_cost_breakdowns (id, call_id, twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, twilio_duration_seconds, deepgram_audio_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters, total_cost_cents) VALUES ('cost_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 'call_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 6.50, 2.15, 0.02, 4.50, 300, 300, 800, 1200, 300, 13.17);
