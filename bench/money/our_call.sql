\set n :n + 1
\set u :client_id * 12500 + random(1, 12500)
\set p random(0, 2)
SELECT granted_seconds FROM start_call('call_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 'user_' || lpad(:u::text, 26, '0'), (ARRAY['brad', 'sarah', 'alex'])[1 + :p], '+1' || (2000000000 + :u), 'bench', (now() AT TIME ZONE 'UTC')::date, 300);
SELECT settled FROM finish_call('user_' || lpad(:u::text, 26, '0'), 'call_' || lpad((:r::bigint * 100000000 + :n * 100 + :client_id)::text, 26, '0'), 'completed', 'hung_up', 300, 300, 300, 800, 1200, 300, p_turn_count => 12);
