-- A thousand accounts, each with twenty settled calls to one of the house's personas. Ids are digits, so that pgbench,
-- whose variables are numbers, can send the very statements that the others send.
INSERT INTO users (id, email, password_hash)
SELECT n::text, n || '@bench.example', 'x' FROM generate_series(1, 1000) AS n;

INSERT INTO user_credits (user_id, available_credits)
SELECT n::text, n FROM generate_series(1, 1000) AS n;

INSERT INTO calls (id, user_id, persona_id, phone_number, status, duration_seconds, credits_used, created_at)
SELECT
    (u * 100 + n)::text,
    u::text,
    (ARRAY['brad', 'sarah', 'alex'])[1 + n % 3],
    '+1202555' || lpad((u % 10000)::text, 4, '0'),
    'completed',
    60 + n,
    2,
    now() - make_interval(hours => n, secs => u)
FROM generate_series(1, 1000) AS u, generate_series(1, 20) AS n;
