"""A large synthetic history, made by the server itself: 5,000 people, 150,000 calls of 2,000 of them, their costs, and
what was paid.

Everything is written in the order of time, as it would have come; the last day is today.
"""

import psycopg

PEOPLE = 5_000
# So many that the planner doesn't hop from person to person through an index that begins with the person.
CALLERS = 2_000
CALLS = 150_000
OPEN_CALLS = 20
DAYS = 1_500
MINUTES_BETWEEN_CALLS = DAYS * 24 * 60 / CALLS

# Each later statement stands on the rows of those before it.
STATEMENTS = (
    """
    INSERT INTO users (id, email, password_hash, name, timezone)
    SELECT 'user_' || n, 'person' || n || '@example.org', 'x', 'Person ' || n, 'Europe/Berlin'
    FROM generate_series(1, %(people)s) AS n
    """,
    """
    INSERT INTO user_credits (user_id, subscription_tier, available_credits, ledger_seq, spend_month)
    SELECT
        'user_' || n, (ARRAY['free', 'basic', 'premium', 'unlimited'])[n %% 4 + 1], n, 0,
        date_trunc('month', now())::date
    FROM generate_series(1, %(people)s) AS n
    """,
    """
    INSERT INTO personas (id, owner_user_id, name, core_system_prompt)
    SELECT 'per_' || n, 'user_' || (n %% %(callers)s + 1), 'Persona ' || n, 'You are persona ' || n
    FROM generate_series(1, %(people)s) AS n
    """,
    """
    INSERT INTO user_persona_relationships (id, user_id, persona_id, is_favorite, total_calls, last_call_at)
    SELECT
        'rel_' || n || '_' || p.id, 'user_' || n, p.id, (n + length(p.id)) %% 9 = 0, n %% 50,
        CASE WHEN n %% 5 > 0 THEN now() - make_interval(hours => n) END
    FROM generate_series(1, %(callers)s) AS n
    CROSS JOIN (SELECT id FROM personas ORDER BY id LIMIT 20) AS p
    """,
    """
    INSERT INTO calls (
        id, user_id, persona_id, phone_number, status, start_time, end_time, created_at, updated_at, duration_seconds,
        credits_used, hold_cents, price_version_id, local_day, local_month, end_reason, turn_count,
        avg_response_time_ms, call_pretext, actual_cost_cents
    )
    SELECT
        'call_' || lpad(c.n::text, 8, '0'), 'user_' || (c.n * 7919 %% %(callers)s + 1),
        (ARRAY['brad', 'sarah', 'alex', 'per_' || (c.n %% 100 + 1)])[c.n %% 4 + 1], '+12025550100',
        CASE WHEN c.n %% 10 = 0 THEN 'no_answer' WHEN c.n %% 37 = 0 THEN 'failed' ELSE 'completed' END,
        c.at, c.at + interval '5 minutes', c.at, c.at + interval '5 minutes', c.n %% 600, c.n %% 10, 170, 1, c.at::date,
        date_trunc('month', c.at)::date, 'hung_up', c.n %% 20, 600 + c.n %% 300, repeat('x', (c.n %% 200)::integer),
        -- The last ones go on.
        CASE WHEN c.n <= %(calls)s - %(open)s THEN c.n %% 600 * 0.03 + 1.02 END
    FROM (
        SELECT n, now() - make_interval(mins => ((%(calls)s - n) * %(minutes)s)::integer) AS at
        FROM generate_series(1, %(calls)s) AS n
    ) AS c
    """,
    """
    INSERT INTO call_cost_breakdowns (
        call_id, user_id, price_version_id, seen_at, created_at, settled_at, twilio_duration_seconds,
        twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents
    )
    SELECT
        c.id, c.user_id, 1, c.created_at, c.created_at, c.created_at, c.duration_seconds,
        c.duration_seconds * 0.02, c.duration_seconds * 0.01, 0.02, 1, c.duration_seconds * 0.03 + 1.02
    FROM calls AS c
    ORDER BY c.created_at
    """,
    """
    INSERT INTO open_calls (user_id, call_id, created_at, dial_before)
    SELECT c.user_id, c.id, c.created_at, c.created_at FROM calls AS c WHERE c.actual_cost_cents IS NULL
    """,
    """
    INSERT INTO credit_transactions (
        user_id, seq, amount, balance_before, balance_after, type, cause, call_id, created_at
    )
    SELECT
        c.user_id, row_number() OVER (PARTITION BY c.user_id ORDER BY c.created_at), -1, 1, 0, 'call_deduction',
        'call:' || c.id, c.id, c.created_at
    FROM calls AS c
    WHERE c.status = 'completed'
    ORDER BY c.created_at
    """,
    """
    INSERT INTO purchases (
        user_id, id, payment_intent_id, sku, credits, amount_cents, currency, status, created_at, completed_at
    )
    SELECT
        'user_' || (n %% %(people)s + 1), 'pur_' || n, 'pi_' || n, 'pack', 100, 999, 'usd', 'completed', b.at, b.at
    FROM generate_series(1, 20000) AS n
    CROSS JOIN LATERAL (SELECT now() - make_interval(hours => 20000 - n)) AS b (at)
    """,
    # Every other purchase was adopted, and has no payment of ours.
    """
    INSERT INTO payments (
        user_id, id, kind, payment_intent_id, description, amount_cents, currency, credits, paid_at, created_at
    )
    SELECT
        x.user_id, x.id, 'purchase', x.payment_intent_id, '100 credits', x.amount_cents, x.currency, x.credits,
        x.created_at, x.created_at
    FROM purchases AS x
    WHERE right(x.id, 1) IN ('0', '2', '4', '6', '8')
    ORDER BY x.created_at
    """,
    """
    INSERT INTO scheduled_calls (id, user_id, persona_id, phone_number, scheduled_time, status, created_at)
    SELECT
        'sch_' || n, 'user_' || (n %% %(callers)s + 1), 'brad', '+12025550100',
        now() + make_interval(mins => n - 40000),
        CASE WHEN n < 39990 THEN 'executed' ELSE 'scheduled' END,
        now()
    FROM generate_series(1, 60000) AS n
    """,
)
ANALYZED = (
    "users", "user_credits", "personas", "user_persona_relationships", "calls", "call_cost_breakdowns",
    "credit_transactions", "scheduled_calls", "purchases", "payments",
)  # fmt: skip


def load(dsn: str) -> None:
    """Write it as the owner, with every constraint and trigger on, as after a night's vacuum."""
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC -c synchronous_commit=off") as connection:
        for statement in STATEMENTS:
            values = {
                "people": PEOPLE,
                "callers": CALLERS,
                "calls": CALLS,
                "open": OPEN_CALLS,
                "minutes": MINUTES_BETWEEN_CALLS,
            }
            psycopg.ClientCursor(connection).execute(statement.encode(), values)
        # What autovacuum does in time: statistics, and the summaries that BRIN indexes are read by.
        connection.execute(f"VACUUM (ANALYZE) {', '.join(ANALYZED)}".encode())
