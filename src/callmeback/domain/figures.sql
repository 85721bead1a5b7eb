-- Figures of the whole house, for whoever watches it. Bounded: an index or a small table is behind each, and an index
-- needs now(): clock_timestamp() may differ from row to row, so that every row would be asked.

-- name: house
-- One row a figure: its name, its label and its value.
-- returns: Figure
SELECT
    'calls_open' AS name,
    c.status::text AS label,
    count(*)::double precision AS value
FROM open_calls AS o
INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
GROUP BY c.status
UNION ALL
SELECT
    'calls_last_hour' AS name,
    c.status::text AS label,
    count(*)::double precision AS value
FROM calls AS c
WHERE c.created_at > now() - interval '1 hour'
GROUP BY c.status
UNION ALL
SELECT
    'schedule_lateness_seconds' AS name,
    '' AS label,
    coalesce(greatest(extract(EPOCH FROM clock_timestamp() - min(s.scheduled_time)), 0), 0)::double precision AS value
FROM scheduled_calls AS s
WHERE s.status = 'scheduled'
UNION ALL
SELECT
    'dial_lateness_seconds' AS name,
    '' AS label,
    coalesce(greatest(extract(EPOCH FROM clock_timestamp() - min(o.created_at)), 0), 0)::double precision AS value
FROM open_calls AS o
WHERE o.dial_claimed_at IS NULL
UNION ALL
SELECT
    'credits_moved_last_hour' AS name,
    t.type::text AS label,
    sum(abs(t.amount))::double precision AS value
FROM credit_transactions AS t
WHERE t.created_at > now() - interval '1 hour'
GROUP BY t.type
UNION ALL
SELECT
    'money_received_last_day_cents' AS name,
    p.currency AS label,
    sum(p.amount_cents)::double precision AS value
FROM payments AS p
WHERE p.paid_at > now() - interval '1 day'
GROUP BY p.currency
UNION ALL
SELECT
    'vendor_cost_last_hour_cents' AS name,
    '' AS label,
    coalesce(sum(b.total_cost_cents), 0)::double precision AS value
FROM call_cost_breakdowns AS b
WHERE b.created_at > now() - interval '1 hour'
UNION ALL
SELECT
    'payment_events_waiting' AS name,
    e.state AS label,
    count(*)::double precision AS value
FROM payment_events AS e
WHERE e.state = 'unmatched' OR (e.state = 'refused' AND e.received_at > now() - interval '7 days')
GROUP BY e.state;

-- name: unproved_accounts
-- How many accounts have a ledger or a hold that doesn't add up. Reads the whole ledger.
SELECT count(*)
FROM ledger_proof AS p
WHERE NOT p.is_proved;
