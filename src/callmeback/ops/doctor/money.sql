-- The doctor's questions: each finds what breaks a rule of the house, and nothing where all is well.

-- name: ledger_differs
-- Accounts whose ledger adds up to something else than available + held - debt.
-- returns: Symptom
SELECT
    p.user_id AS object,
    format('balance %%s, ledger %%s, newest row %%s', p.balance, p.ledger_sum, p.newest_balance) AS detail
FROM ledger_proof AS p
WHERE p.balance <> p.ledger_sum OR p.balance <> p.newest_balance
ORDER BY p.user_id
LIMIT %(most)s;

-- name: ledger_has_gaps
-- Accounts whose ledger isn't numbered 1, 2, 3 … up to the account's own number.
-- returns: Symptom
SELECT
    a.user_id AS object,
    format('%%s rows numbered %%s to %%s, the account says %%s', l.number, l.lowest, l.highest, a.ledger_seq) AS detail
FROM user_credits AS a
LEFT JOIN (
    SELECT
        t.user_id,
        count(*) AS number,
        min(t.seq) AS lowest,
        max(t.seq) AS highest
    FROM credit_transactions AS t
    GROUP BY t.user_id
) AS l ON a.user_id = l.user_id
WHERE
    coalesce(l.number, 0) <> a.ledger_seq
    OR coalesce(l.highest, 0) <> a.ledger_seq
    OR l.lowest <> 1
ORDER BY a.user_id
LIMIT %(most)s;

-- name: ledger_is_broken
-- Rows of the ledger that don't begin where the one before them ended.
-- returns: Symptom
SELECT
    format('%%s #%%s', t.user_id, t.seq) AS object,
    format('begins at %%s, the row before ended at %%s', t.balance_before, t.previous) AS detail
FROM (
    SELECT
        r.user_id,
        r.seq,
        r.balance_before,
        lag(r.balance_after, 1, 0) OVER (PARTITION BY r.user_id ORDER BY r.seq) AS previous
    FROM credit_transactions AS r
) AS t
WHERE t.balance_before <> t.previous
ORDER BY t.user_id, t.seq
LIMIT %(most)s;

-- name: deducted_twice
-- Calls that took credits more than once.
-- returns: Symptom
SELECT
    t.call_id::text AS object,
    format('%%s deductions of %%s credits together', count(*), -sum(t.amount)) AS detail
FROM credit_transactions AS t
WHERE t.type = 'call_deduction'
GROUP BY t.user_id, t.call_id
HAVING count(*) > 1
ORDER BY t.call_id
LIMIT %(most)s;

-- name: charge_differs
-- Settled calls that were charged more than their hold, or otherwise than the ledger says.
-- returns: Symptom
SELECT
    c.id AS object,
    format('charged %%s, held %%s, ledger %%s', c.credits_used, c.hold_credits, coalesce(-t.taken, 0)) AS detail
FROM calls AS c
LEFT JOIN (
    SELECT
        r.user_id,
        r.call_id,
        sum(r.amount) AS taken
    FROM credit_transactions AS r
    WHERE r.type = 'call_deduction'
    GROUP BY r.user_id, r.call_id
) AS t ON c.user_id = t.user_id AND c.id = t.call_id
WHERE
    c.price_version_id IS NOT NULL
    AND NOT c.hold_open
    AND (c.credits_used > c.hold_credits OR coalesce(c.credits_used, 0) <> coalesce(-t.taken, 0))
ORDER BY c.id
LIMIT %(most)s;

-- name: hold_without_call
-- Accounts whose held credits are not those of their open call, and calls with an open hold that nobody looks after.
-- returns: Symptom
SELECT
    p.user_id AS object,
    format('holds %%s, its open call %%s', p.held_credits, p.hold_sum) AS detail
FROM ledger_proof AS p
WHERE p.held_credits <> p.hold_sum
UNION ALL
SELECT
    c.id AS object,
    'its hold is open, but it is not among the open calls' AS detail
FROM calls AS c
LEFT JOIN open_calls AS o ON c.user_id = o.user_id AND c.id = o.call_id
WHERE c.hold_open AND o.user_id IS NULL
UNION ALL
SELECT
    o.call_id AS object,
    'it is among the open calls, but its hold is not open' AS detail
FROM open_calls AS o
INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
WHERE NOT c.hold_open
ORDER BY object
LIMIT %(most)s;

-- name: stale_hold
-- Open calls that nothing was heard of for so long that the reaper should have ended them.
-- returns: Symptom
SELECT
    o.call_id AS object,
    format('%%s, last heard of at %%s', s.status, to_char(s.heard_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')) AS detail
FROM open_calls AS o
INNER JOIN (
    SELECT
        c.user_id,
        c.id,
        c.status,
        greatest(
            b.seen_at, c.answered_at, n.dial_claimed_at, CASE WHEN n.dial_claimed_at IS NULL THEN n.dial_before END
        ) AS heard_at
    FROM calls AS c
    INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
    INNER JOIN open_calls AS n ON c.user_id = n.user_id AND c.id = n.call_id
) AS s ON o.user_id = s.user_id AND o.call_id = s.id
WHERE s.heard_at < clock_timestamp() - %(stale_after)s::interval
ORDER BY o.call_id
LIMIT %(most)s;

-- name: breakdown_differs
-- Settled calls whose cost events, as long as they are kept, add up to something else than their breakdown.
-- returns: Symptom
SELECT
    b.call_id AS object,
    format('breakdown %%s ¢, events %%s ¢', b.total_cost_cents, coalesce(e.total, 0)) AS detail
FROM call_cost_breakdowns AS b
LEFT JOIN (
    SELECT
        x.user_id,
        x.call_id,
        sum(x.total_cost_cents) AS total
    FROM call_cost_events AS x
    GROUP BY x.user_id, x.call_id
) AS e ON b.user_id = e.user_id AND b.call_id = e.call_id
WHERE
    b.settled_at IS NOT NULL
    AND b.created_at >= clock_timestamp() - %(kept)s::interval
    AND b.total_cost_cents <> coalesce(e.total, 0)
ORDER BY b.call_id
LIMIT %(most)s;

-- name: event_without_month
-- Months of cost events that have no partition of their own.
-- returns: Symptom
SELECT
    to_char(x.call_month, 'YYYY-MM') AS object,
    format('%%s events', count(*)) AS detail
FROM call_cost_events_default AS x
GROUP BY x.call_month
ORDER BY x.call_month
LIMIT %(most)s;

-- name: negative
-- Figures below zero, and debt beside credits that could pay it.
-- returns: Symptom
SELECT
    a.user_id AS object,
    format(
        'available %%s, held %%s, debt %%s, calls %%s, spent %%s ¢',
        a.available_credits, a.held_credits, a.debt_credits, a.calls_in_day, a.spent_in_month_cents
    ) AS detail
FROM user_credits AS a
WHERE
    least(a.available_credits, a.held_credits, a.debt_credits, a.calls_in_day) < 0
    OR a.spent_in_month_cents < 0
    OR (a.debt_credits > 0 AND a.available_credits > 0)
UNION ALL
SELECT
    b.call_id AS object,
    format(
        'carrier %%s ¢, listener %%s ¢, brain %%s ¢, voice %%s ¢',
        b.twilio_cost_cents, b.deepgram_cost_cents, b.cerebras_cost_cents, b.elevenlabs_cost_cents
    ) AS detail
FROM call_cost_breakdowns AS b
WHERE
    least(b.twilio_cost_cents, b.deepgram_cost_cents, b.cerebras_cost_cents, b.elevenlabs_cost_cents) < 0
    OR least(
        b.twilio_duration_seconds, b.deepgram_audio_seconds, b.cerebras_input_tokens, b.cerebras_output_tokens,
        b.elevenlabs_characters, b.fallback_input_tokens, b.fallback_output_tokens, b.local_characters
    ) < 0
UNION ALL
SELECT
    c.id AS object,
    format('held %%s, used %%s, cost %%s ¢', c.hold_credits, c.credits_used, c.actual_cost_cents) AS detail
FROM calls AS c
WHERE c.hold_credits < 0 OR c.credits_used < 0 OR c.actual_cost_cents < 0
ORDER BY object
LIMIT %(most)s;

-- name: month_differs
-- Accounts whose month isn't the sum of what its settled calls cost.
-- returns: Symptom
SELECT
    a.user_id AS object,
    format(
        '%%s: %%s ¢, its calls %%s ¢', to_char(a.spend_month, 'YYYY-MM'), a.spent_in_month_cents, coalesce(s.spent, 0)
    ) AS detail
FROM user_credits AS a
LEFT JOIN (
    SELECT
        c.user_id,
        c.local_month,
        sum(b.total_cost_cents) AS spent
    FROM calls AS c
    INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
    WHERE NOT c.hold_open
    GROUP BY c.user_id, c.local_month
) AS s ON a.user_id = s.user_id AND a.spend_month = s.local_month
WHERE a.spent_in_month_cents <> coalesce(s.spent, 0)
ORDER BY a.user_id
LIMIT %(most)s;

-- name: unsettled
-- Calls that ended without a settlement, were settled without an end, say another cost than their breakdown, or have no
-- price, so that they can't be settled, or were placed with another hold than stands beside their breakdown.
-- returns: Symptom
SELECT
    c.id AS object,
    format(
        '%%s, hold %%s, %%s, cost %%s ¢, breakdown %%s ¢, price %%s',
        c.status,
        CASE WHEN c.hold_open THEN 'open' ELSE 'closed' END,
        CASE WHEN b.settled_at IS NULL THEN 'not settled' ELSE 'settled' END,
        c.actual_cost_cents, b.total_cost_cents, coalesce(r.id::text, 'gone')
    ) AS detail
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
LEFT JOIN price_versions AS r ON b.price_version_id = r.id
WHERE
    c.price_version_id IS NOT NULL
    AND CASE
        WHEN r.id IS NULL OR c.price_version_id <> r.id THEN true
        WHEN
            c.hold_open
            AND (c.hold_credits, c.hold_cents, c.granted_seconds, c.local_month)
            IS DISTINCT FROM (b.hold_credits, b.hold_cents, b.granted_seconds, b.local_month)
            THEN true
        WHEN c.hold_open THEN call_rank(c.status) = 4 OR b.settled_at IS NOT NULL
        ELSE
            call_rank(c.status) < 4 OR b.settled_at IS NULL OR c.credits_used IS NULL
            OR c.actual_cost_cents IS DISTINCT FROM b.total_cost_cents
    END
ORDER BY c.id
LIMIT %(most)s;
