-- Reports of the house over everybody, for admins. Days are UTC; each report is bounded.

-- name: balances
-- Accounts with their balance, newest first.
SELECT
    u.id AS user_id,
    u.email,
    u.name,
    a.subscription_tier AS tier,
    a.available_credits,
    a.held_credits,
    a.debt_credits,
    u.created_at
FROM users AS u
INNER JOIN user_credits AS a ON u.id = a.user_id
WHERE u.erased_at IS NULL
ORDER BY u.id DESC
LIMIT %(most)s;

-- name: balance
-- One account with its balance, by e-mail or id (specification, section 13).
SELECT
    u.id AS user_id,
    u.email,
    u.name,
    u.phone,
    a.subscription_tier AS tier,
    a.available_credits,
    a.held_credits,
    a.debt_credits,
    u.created_at
FROM users AS u
INNER JOIN user_credits AS a ON u.id = a.user_id
WHERE (lower(u.email) = lower(%(who)s) OR u.id = %(who)s) AND u.erased_at IS NULL;

-- name: low_credits
-- Accounts that pay by credits and have fewer than ten, the lowest first.
SELECT
    u.id AS user_id,
    u.email,
    a.subscription_tier AS tier,
    a.available_credits,
    a.held_credits,
    a.debt_credits
FROM user_credits AS a
INNER JOIN users AS u ON a.user_id = u.id
INNER JOIN subscription_tiers AS t ON a.subscription_tier = t.tier
WHERE t.charges_credits AND u.erased_at IS NULL AND a.available_credits < 10
ORDER BY a.available_credits - a.debt_credits, u.id
LIMIT %(most)s;

-- name: volume
-- Calls by UTC day and status, today first.
SELECT
    (c.created_at AT TIME ZONE 'UTC')::date AS day,
    count(*) AS calls,
    count(*) FILTER (WHERE c.status = 'completed') AS completed,
    count(*) FILTER (WHERE c.status = 'failed') AS failed,
    count(*) FILTER (WHERE c.status IN ('no_answer', 'busy')) AS unanswered,
    count(*) FILTER (WHERE c.hold_open) AS live,
    round(avg(c.duration_seconds) FILTER (WHERE c.status = 'completed'), 1) AS avg_duration_seconds
FROM calls AS c
WHERE c.created_at >= %(since)s
GROUP BY (c.created_at AT TIME ZONE 'UTC')::date
ORDER BY day DESC
LIMIT %(most)s;

-- name: top_personas
-- Personas by completed calls.
SELECT
    p.id AS persona_id,
    p.name AS persona_name,
    count(*) AS calls,
    sum(c.duration_seconds)::bigint AS duration_seconds
FROM calls AS c
INNER JOIN personas AS p ON c.persona_id = p.id
WHERE c.created_at >= %(since)s AND c.status = 'completed'
GROUP BY p.id, p.name
ORDER BY calls DESC, p.id
LIMIT %(most)s;

-- name: vendor_costs
-- What each vendor cost.
SELECT
    v.vendor,
    v.cost_cents,
    s.calls
FROM (
    SELECT
        count(*) AS calls,
        coalesce(sum(b.twilio_cost_cents), 0) AS twilio,
        coalesce(sum(b.deepgram_cost_cents), 0) AS deepgram,
        coalesce(sum(b.cerebras_cost_cents), 0) AS cerebras,
        coalesce(sum(b.elevenlabs_cost_cents), 0) AS elevenlabs,
        coalesce(sum(b.total_cost_cents), 0) AS total
    FROM call_cost_breakdowns AS b
    WHERE b.created_at >= %(since)s
) AS s
CROSS JOIN
    LATERAL (
        VALUES
        (1, 'twilio', s.twilio),
        (2, 'deepgram', s.deepgram),
        (3, 'cerebras', s.cerebras),
        (4, 'elevenlabs', s.elevenlabs),
        (5, 'total', s.total)
    ) AS v (place, vendor, cost_cents)
ORDER BY v.place
LIMIT %(most)s;

-- name: dearest_calls
-- The calls that cost most.
SELECT
    c.id AS call_id,
    c.user_id,
    p.name AS persona_name,
    c.status,
    c.end_reason,
    b.twilio_duration_seconds AS duration_seconds,
    b.total_cost_cents AS cost_cents,
    c.created_at
FROM (
    -- Chosen before anything is joined to them.
    SELECT
        x.user_id,
        x.call_id,
        x.twilio_duration_seconds,
        x.total_cost_cents
    FROM call_cost_breakdowns AS x
    WHERE x.created_at >= %(since)s
    ORDER BY x.total_cost_cents DESC, x.call_id
    LIMIT %(most)s
) AS b
INNER JOIN calls AS c ON b.user_id = c.user_id AND b.call_id = c.id
INNER JOIN personas AS p ON c.persona_id = p.id
ORDER BY b.total_cost_cents DESC, c.id;

-- name: live_calls
-- Calls that go on, oldest first, with what they have used so far.
SELECT
    c.id AS call_id,
    c.user_id,
    p.name AS persona_name,
    c.status,
    c.created_at,
    c.answered_at,
    b.seen_at,
    b.twilio_duration_seconds AS duration_seconds,
    c.granted_seconds,
    b.total_cost_cents AS cost_cents,
    c.hold_cents,
    c.hold_credits
FROM open_calls AS o
INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
INNER JOIN personas AS p ON c.persona_id = p.id
INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
ORDER BY c.created_at, c.id
LIMIT %(most)s;
