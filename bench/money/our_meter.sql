\set n :n + 1
\if :n = 1
SELECT array_agg('user_' || lpad((100000 + :client_id * 30 + i)::text, 26, '0')) AS people, array_agg('call_meter_' || lpad((:client_id * 30 + i)::text, 26, '0')) AS calls FROM generate_series(1, 30) AS i
\gset
\endif
SELECT count(*) FROM meter_calls(:people, :calls, array_fill(((:r::bigint % 100000) * 10000 + :n)::integer, ARRAY[30]), array_fill(:n::integer, ARRAY[30]), array_fill(:n::numeric, ARRAY[30]), array_fill((10 * :n)::integer, ARRAY[30]), array_fill((2 * :n)::integer, ARRAY[30]), array_fill((8 * :n)::integer, ARRAY[30]), array_fill(0, ARRAY[30]), array_fill(0, ARRAY[30]), array_fill(0, ARRAY[30]));
