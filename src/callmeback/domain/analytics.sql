-- Figures over a person's calls of a period.

-- name: totals
-- All calls of a period in one line.
-- returns: TotalsRow
SELECT
    count(*) AS calls,
    count(*) FILTER (WHERE c.status = 'completed') AS completed,
    coalesce(sum(c.duration_seconds), 0)::bigint AS duration_seconds,
    avg(c.duration_seconds) FILTER (WHERE c.status = 'completed') AS avg_duration_seconds,
    avg(c.turn_count) FILTER (WHERE c.status = 'completed') AS avg_turn_count,
    avg(c.avg_response_time_ms) AS avg_response_time_ms,
    coalesce(sum(c.credits_used), 0)::bigint AS credits_used,
    coalesce(sum(b.total_cost_cents), 0) AS cost_cents
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.user_id = %(user_id)s AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s;

-- name: outcomes
-- How calls of a period ended, the commonest first.
-- returns: Outcome
SELECT
    c.status,
    c.end_reason,
    count(*) AS calls
FROM calls AS c
WHERE c.user_id = %(user_id)s AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
GROUP BY c.status, c.end_reason
ORDER BY calls DESC, c.status, c.end_reason
LIMIT %(most)s;
