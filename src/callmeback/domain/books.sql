-- Books that close: days that are sealed, money as it flowed, what calls cost, and margins. Days are UTC.

-- name: seal_day
-- Close a day; what came of it.
SELECT seal_day(%(day)s, %(sealed_by)s);

-- name: sealed_days
-- Days that are closed, oldest first, and whether their rows still have the hash that they were sealed with.
-- returns: SealedDay
SELECT
    s.day,
    s.ledger_rows,
    s.received_credits,
    s.taken_credits,
    encode(s.batch_hash, 'hex') AS batch_hash,
    s.sealed_at,
    s.sealed_by,
    c.is_intact
FROM sealed_days AS s
INNER JOIN check_sealed_days() AS c ON s.day = c.day
ORDER BY s.day;

-- name: newest_sealed_day
-- The day up to which the books are closed; NULL before the first.
SELECT max(s.day)
FROM sealed_days AS s;

-- name: sealed_day
-- One closed day as it was sealed.
-- returns: Seal
SELECT
    s.day,
    s.ledger_rows,
    s.received_credits,
    s.taken_credits,
    encode(s.batch_hash, 'hex') AS batch_hash,
    s.sealed_at,
    s.sealed_by
FROM sealed_days AS s
WHERE s.day = %(day)s;

-- name: flows
-- Money of a period as it came in and went back, with the provider's name of it.
-- returns: Flow
SELECT
    f.flow,
    CASE WHEN f.flow = 'payment' THEN coalesce(p.payment_intent_id, x.payment_intent_id, f.id) ELSE f.id END AS object_id,
    f.id,
    f.kind,
    f.tier,
    f.user_id,
    f.flowed_at,
    f.currency,
    f.amount_cents
FROM money_flows AS f
LEFT JOIN payments AS p ON f.user_id = p.user_id AND f.payment_id = p.id
LEFT JOIN purchases AS x ON f.user_id = x.user_id AND f.id = x.id
WHERE f.flowed_at >= %(begins_at)s AND f.flowed_at < %(ends_at)s
ORDER BY f.flowed_at, f.flow, f.id;

-- name: flow_of
-- What an object of the provider comes to in our books, whenever it flowed; an invoice stands for its intent.
SELECT coalesce(sum(f.amount_cents), 0)
FROM money_flows AS f
LEFT JOIN payments AS p ON f.user_id = p.user_id AND f.payment_id = p.id
LEFT JOIN purchases AS x ON f.user_id = x.user_id AND f.id = x.id
WHERE
    f.flow = %(flow)s
    AND (
        f.id = %(object_id)s::text
        OR (f.flow = 'payment' AND coalesce(p.payment_intent_id, x.payment_intent_id) = %(object_id)s::text)
        OR (f.flow = 'payment' AND p.payment_intent_id IS NULL AND f.id = %(invoice_id)s::text)
    );

-- name: ledger
-- Rows of the ledger of a day, in its order; a page by key.
-- returns: LedgerRow
SELECT
    t.user_id,
    t.seq,
    t.created_at,
    t.type,
    t.cause,
    t.amount,
    t.balance_after,
    t.call_id,
    t.payment_intent_id,
    contra.account AS contra
FROM credit_transactions AS t
INNER JOIN double_entry AS contra
    ON t.user_id = contra.user_id AND t.seq = contra.seq AND contra.account <> 'liabilities:credits'
WHERE
    t.created_at >= %(begins_at)s AND t.created_at < %(ends_at)s
    AND (t.user_id::text, t.seq::bigint) > (%(after_user)s::text, %(after_seq)s::bigint)
ORDER BY t.user_id::text, t.seq::bigint
LIMIT %(most)s;

-- name: credits_before
-- What the house owed in credits at a moment.
SELECT coalesce(sum(t.amount), 0)::bigint
FROM credit_transactions AS t
WHERE t.created_at < %(at)s;

-- name: money_before
-- What had come in, less what went back, until a moment.
-- returns: Held
SELECT
    f.currency,
    sum(f.amount_cents) AS cents
FROM money_flows AS f
WHERE f.flowed_at < %(at)s
GROUP BY f.currency
ORDER BY f.currency;

-- name: costs_before
-- What vendors had cost until a moment.
-- returns: VendorCosts
SELECT
    coalesce(sum(b.twilio_cost_cents), 0) AS twilio_cents,
    coalesce(sum(b.deepgram_cost_cents), 0) AS deepgram_cents,
    coalesce(sum(b.cerebras_cost_cents), 0) AS cerebras_cents,
    coalesce(sum(b.elevenlabs_cost_cents), 0) AS elevenlabs_cents
FROM calls AS c
INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.created_at < %(at)s;

-- name: costs_of_days
-- What vendors cost, by the day of the call.
-- returns: DayCosts
SELECT
    (c.created_at AT TIME ZONE 'UTC')::date AS day,
    count(*) AS calls,
    sum(b.twilio_cost_cents) AS twilio_cents,
    sum(b.deepgram_cost_cents) AS deepgram_cents,
    sum(b.cerebras_cost_cents) AS cerebras_cents,
    sum(b.elevenlabs_cost_cents) AS elevenlabs_cents
FROM calls AS c
INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
GROUP BY (c.created_at AT TIME ZONE 'UTC')::date
ORDER BY day;

-- name: dialled
-- Calls of a period that the carrier knows, with the connected seconds that were settled.
-- returns: Dialled
SELECT
    c.id AS call_id,
    c.twilio_call_sid AS carrier_sid,
    c.status,
    coalesce(c.duration_seconds, b.twilio_duration_seconds, 0) AS duration_seconds,
    c.created_at
FROM calls AS c
LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
WHERE c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s AND c.twilio_call_sid IS NOT NULL AND NOT c.hold_open
ORDER BY c.created_at, c.id;

-- name: known_calls
-- Which of these calls of the carrier's are ours, whenever they were and whether or not they go on. One look through
-- the calls for all of them: an index on the carrier's id would cost each call two writes, for a question that is seldom
-- asked.
SELECT coalesce(array_agg(c.twilio_call_sid), '{}') AS known
FROM calls AS c
WHERE c.twilio_call_sid = any(%(carrier_sids)s::text[]);

-- name: miscosted
-- Settled calls of a period whose cost isn't their quantities at the rates of their time, by day and vendor.
-- returns: Repriced
SELECT
    r.day,
    r.vendor,
    r.calls,
    r.unpriced_calls,
    r.booked_cents,
    r.repriced_cents
FROM reprice_calls(%(begins_at)s, %(ends_at)s, NULL) AS r
WHERE r.booked_cents IS DISTINCT FROM r.repriced_cents
ORDER BY r.day, r.vendor;

-- name: margin_by_day
-- Revenue, vendors' cost and margin by day, the newest first: the view daily_margin, of a period by the indexes. A settled
-- call's cost stands in its row; only what isn't settled is looked up.
SELECT
    d.day,
    sum(d.calls)::bigint AS calls,
    sum(d.revenue_cents) AS revenue_cents,
    sum(d.cost_cents) AS cost_cents,
    sum(d.revenue_cents) - sum(d.cost_cents) AS margin_cents
FROM (
    SELECT
        (c.created_at AT TIME ZONE 'UTC')::date AS day,
        count(*) AS calls,
        0::numeric AS revenue_cents,
        coalesce(sum(c.actual_cost_cents), 0) AS cost_cents
    FROM calls AS c
    WHERE c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
    GROUP BY (c.created_at AT TIME ZONE 'UTC')::date
    UNION ALL
    SELECT
        (c.created_at AT TIME ZONE 'UTC')::date AS day,
        0 AS calls,
        0::numeric AS revenue_cents,
        b.total_cost_cents AS cost_cents
    FROM calls AS c
    INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
    WHERE c.actual_cost_cents IS NULL AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
    UNION ALL
    SELECT
        (f.flowed_at AT TIME ZONE 'UTC')::date AS day,
        0 AS calls,
        f.amount_cents AS revenue_cents,
        0::numeric AS cost_cents
    FROM money_flows AS f
    WHERE f.flowed_at >= %(begins_at)s AND f.flowed_at < %(ends_at)s
) AS d
GROUP BY d.day
ORDER BY d.day DESC
LIMIT %(most)s;

-- name: margin_by_tier
-- The same by tier: a plan's money is its tier's, all else is that of the person's tier today.
SELECT
    d.tier,
    sum(d.calls)::bigint AS calls,
    sum(d.revenue_cents) AS revenue_cents,
    sum(d.cost_cents) AS cost_cents,
    sum(d.revenue_cents) - sum(d.cost_cents) AS margin_cents
FROM (
    SELECT
        a.subscription_tier AS tier,
        count(*) AS calls,
        0::numeric AS revenue_cents,
        coalesce(sum(coalesce(c.actual_cost_cents, (
            SELECT b.total_cost_cents
            FROM call_cost_breakdowns AS b
            WHERE b.user_id = c.user_id AND b.call_id = c.id
        ))), 0) AS cost_cents
    FROM (
        SELECT
            t.user_id,
            t.id,
            t.actual_cost_cents
        FROM calls AS t
        WHERE t.created_at >= %(begins_at)s AND t.created_at < %(ends_at)s
        -- The period first: else each person's calls are looked up one by one, a second for ten million.
        OFFSET 0 -- noqa: AM09, no rows are skipped
    ) AS c
    INNER JOIN user_credits AS a ON c.user_id = a.user_id
    GROUP BY a.subscription_tier
    UNION ALL
    SELECT
        coalesce(f.tier, a.subscription_tier) AS tier,
        0 AS calls,
        sum(f.amount_cents) AS revenue_cents,
        0::numeric AS cost_cents
    FROM money_flows AS f
    INNER JOIN user_credits AS a ON f.user_id = a.user_id
    WHERE f.flowed_at >= %(begins_at)s AND f.flowed_at < %(ends_at)s
    GROUP BY coalesce(f.tier, a.subscription_tier)
) AS d
INNER JOIN subscription_tiers AS t ON d.tier = t.tier
GROUP BY d.tier, t.position
ORDER BY t.position
LIMIT %(most)s;

-- name: margin_by_persona
-- The same by persona: revenue is what the credits of its talks were paid with on average by the person who talked. The
-- view persona_margin, of a period by the index.
SELECT
    m.persona_id,
    p.name AS persona_name,
    sum(m.calls)::bigint AS calls,
    sum(m.credits)::bigint AS credits,
    round(sum(m.revenue_cents), 10) AS revenue_cents,
    sum(m.cost_cents) AS cost_cents,
    round(sum(m.revenue_cents), 10) - sum(m.cost_cents) AS margin_cents
FROM (
    SELECT
        c.persona_id,
        count(*) AS calls,
        coalesce(sum(c.credits_used), 0) AS credits,
        sum(coalesce(z.kept_cents, coalesce(c.credits_used, 0) * coalesce(w.cents_per_credit, 0))) AS revenue_cents,
        coalesce(sum(c.actual_cost_cents), 0) AS cost_cents
    FROM calls AS c
    LEFT JOIN paid_calls AS z ON c.user_id = z.user_id AND c.id = z.call_id -- noqa: ST09, it takes c for the one below the UNION
    LEFT JOIN credit_prices AS w ON c.user_id = w.user_id
    WHERE c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
    GROUP BY c.persona_id
    UNION ALL
    SELECT
        c.persona_id,
        0 AS calls,
        0 AS credits,
        0::numeric AS revenue_cents,
        b.total_cost_cents AS cost_cents
    FROM open_calls AS o
    INNER JOIN calls AS c ON o.user_id = c.user_id AND o.call_id = c.id
    INNER JOIN call_cost_breakdowns AS b ON o.user_id = b.user_id AND o.call_id = b.call_id
    WHERE c.actual_cost_cents IS NULL AND c.created_at >= %(begins_at)s AND c.created_at < %(ends_at)s
) AS m
INNER JOIN personas AS p ON m.persona_id = p.id
GROUP BY m.persona_id, p.name
ORDER BY margin_cents DESC, m.persona_id
LIMIT %(most)s;

-- name: revenue
-- Money by day and what it was for, with what went back.
SELECT
    (f.flowed_at AT TIME ZONE 'UTC')::date AS day,
    f.kind,
    f.currency,
    count(*) FILTER (WHERE f.flow = 'payment') AS payments,
    coalesce(sum(f.amount_cents) FILTER (WHERE f.flow = 'payment'), 0) AS received_cents,
    -coalesce(sum(f.amount_cents) FILTER (WHERE f.flow = 'refund'), 0) AS refunded_cents,
    -coalesce(sum(f.amount_cents) FILTER (WHERE f.flow = 'dispute'), 0) AS disputed_cents,
    sum(f.amount_cents) AS revenue_cents
FROM money_flows AS f
WHERE f.flowed_at >= %(begins_at)s AND f.flowed_at < %(ends_at)s
GROUP BY (f.flowed_at AT TIME ZONE 'UTC')::date, f.kind, f.currency
ORDER BY day DESC, f.kind, f.currency
LIMIT %(most)s;
