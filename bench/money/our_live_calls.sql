-- 240 open calls: thirty for each of eight clients.
SELECT count(start_call('call_meter_' || lpad(i::text, 26, '0'), 'user_' || lpad((100000 + i)::text, 26, '0'), 'brad', '+1' || (2000000000 + 100000 + i), 'bench', (now() AT TIME ZONE 'UTC')::date, 1800)) FROM generate_series(1, 240) AS i;
