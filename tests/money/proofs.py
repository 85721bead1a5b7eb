"""What must hold of the books whatever happened to them: each proof is a query that finds the rows that break it."""

from decimal import Decimal
from typing import Any, Final

import psycopg

ALWAYS: Final = {
    "ledger = available + held - debt, seq without a gap, held = holds of open calls": """
        SELECT * FROM ledger_proof WHERE NOT is_proved""",
    "numbers of the ledger run from 1 without a gap": """
        SELECT user_id, count(*), min(seq), max(seq) FROM credit_transactions
        GROUP BY user_id HAVING count(*) <> max(seq) OR min(seq) <> 1""",
    "each row of the ledger begins where the one before it ended": """
        SELECT * FROM (
            SELECT *, lag(balance_after, 1, 0) OVER (PARTITION BY user_id ORDER BY seq) AS previous
            FROM credit_transactions
        ) AS t WHERE balance_before <> previous""",
    "nothing is negative": """
        SELECT user_id FROM user_credits
        WHERE least(available_credits, held_credits, debt_credits, calls_in_day, spent_in_month_cents) < 0
        UNION ALL
        SELECT call_id FROM call_cost_breakdowns
        WHERE least(twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents) < 0""",
    "whoever owes has nothing left": """
        SELECT * FROM user_credits WHERE debt_credits > 0 AND available_credits > 0""",
    "a call is deducted at most once": """
        SELECT call_id, count(*) FROM credit_transactions WHERE type = 'call_deduction'
        GROUP BY call_id HAVING count(*) > 1""",
    "a call's deduction is what the call says it used": """
        SELECT c.id, c.credits_used, t.amount FROM calls AS c
        LEFT JOIN credit_transactions AS t
            ON c.user_id = t.user_id AND c.id = t.call_id AND t.type = 'call_deduction'
        WHERE coalesce(c.credits_used, 0) <> -coalesce(t.amount, 0)""",
    "no call is charged more than its hold": """
        SELECT id, credits_used, hold_credits FROM calls WHERE credits_used > hold_credits""",
    "an open hold is a call in open_calls, and the other way round": """
        SELECT c.id, o.call_id FROM (SELECT * FROM calls WHERE hold_open) AS c
        FULL JOIN open_calls AS o ON c.user_id = o.user_id AND c.id = o.call_id
        WHERE c.id IS NULL OR o.call_id IS NULL""",
    "a call is terminal, settled and without a hold, all or none": """
        SELECT c.id, c.status, c.hold_open, b.settled_at FROM calls AS c
        INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
        WHERE NOT (
            (call_rank(c.status) = 4) = (NOT c.hold_open)
            AND (b.settled_at IS NOT NULL) = (NOT c.hold_open)
            AND (c.credits_used IS NOT NULL) = (NOT c.hold_open)
            AND (c.end_time IS NOT NULL) = (NOT c.hold_open)
        )""",
    "a settled call costs what its breakdown says": """
        SELECT c.id, c.actual_cost_cents, b.total_cost_cents FROM calls AS c
        LEFT JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
        WHERE NOT c.hold_open AND c.actual_cost_cents IS DISTINCT FROM b.total_cost_cents""",
    "a settled breakdown is the sum of its events": """
        SELECT b.call_id, b.total_cost_cents, e.total FROM call_cost_breakdowns AS b
        LEFT JOIN (
            SELECT call_id, sum(total_cost_cents) AS total, sum(twilio_duration_seconds) AS seconds,
                sum(deepgram_audio_seconds) AS audio, sum(cerebras_input_tokens) AS tokens_in,
                sum(cerebras_output_tokens) AS tokens_out, sum(elevenlabs_characters) AS characters,
                sum(fallback_input_tokens) AS fallback_in, sum(fallback_output_tokens) AS fallback_out,
                sum(local_characters) AS local, sum(cerebras_cost_cents) AS cerebras
            FROM call_cost_events GROUP BY call_id
        ) AS e ON b.call_id = e.call_id
        WHERE b.settled_at IS NOT NULL AND b.total_cost_cents + coalesce(e.total, 0) > 0 AND (
            b.total_cost_cents, b.cerebras_cost_cents, b.twilio_duration_seconds, b.deepgram_audio_seconds,
            b.cerebras_input_tokens, b.cerebras_output_tokens, b.elevenlabs_characters,
            b.fallback_input_tokens, b.fallback_output_tokens, b.local_characters
        ) IS DISTINCT FROM (
            e.total, e.cerebras, e.seconds, e.audio, e.tokens_in, e.tokens_out, e.characters,
            e.fallback_in, e.fallback_out, e.local
        )""",
    "events of a call are numbered without a gap": """
        SELECT call_id FROM call_cost_events GROUP BY call_id HAVING count(*) <> max(seq) OR min(seq) <> 1""",
    "an account's month is the sum of the settled calls of that month": """
        SELECT a.user_id, a.spent_in_month_cents, s.spent FROM user_credits AS a
        LEFT JOIN (
            SELECT c.user_id, c.local_month, sum(b.total_cost_cents) AS spent FROM calls AS c
            INNER JOIN call_cost_breakdowns AS b ON c.user_id = b.user_id AND c.id = b.call_id
            WHERE NOT c.hold_open GROUP BY c.user_id, c.local_month
        ) AS s ON a.user_id = s.user_id AND a.spend_month = s.local_month
        WHERE a.spent_in_month_cents <> coalesce(s.spent, 0)""",
    "an idempotency key has one call, and a call one key": """
        SELECT k.user_id, k.key FROM idempotency_keys AS k
        LEFT JOIN calls AS c ON k.user_id = c.user_id AND k.resource_id = c.id
        WHERE c.id IS NULL
        UNION ALL
        SELECT user_id, resource_id FROM idempotency_keys GROUP BY user_id, resource_id HAVING count(*) > 1""",
    "an account's counter of its day is what was placed in it": """
        SELECT a.user_id, a.calls_in_day, n.calls FROM user_credits AS a
        LEFT JOIN (
            SELECT user_id, local_day, count(*) FILTER (
                WHERE NOT (status = 'failed' AND answered_at IS NULL)
            ) AS calls FROM calls GROUP BY user_id, local_day
        ) AS n ON a.user_id = n.user_id AND a.calls_day = n.local_day
        WHERE a.calls_in_day <> coalesce(n.calls, 0)""",
    "a journal's legs cancel out": """
        SELECT user_id, seq FROM double_entry GROUP BY user_id, seq HAVING sum(credits) <> 0 OR count(account) <> 2""",
}

AT_REST: Final = {
    "no call is open": "SELECT * FROM open_calls",
    "nothing is held": "SELECT * FROM user_credits WHERE held_credits <> 0",
}


def broken(connection: psycopg.Connection[Any], proofs: dict[str, str]) -> dict[str, list[Any]]:
    """The proofs that fail, each with the first rows that break it."""
    found = {name: connection.execute(query).fetchmany(5) for name, query in proofs.items()}

    return {name: rows for name, rows in found.items() if rows}


def total_cost(connection: psycopg.Connection[Any]) -> Decimal:
    """Cents that all calls cost, so that a proof over nothing is noticed."""
    row = connection.execute("SELECT coalesce(sum(total_cost_cents), 0) FROM call_cost_breakdowns").fetchone()
    assert row is not None

    return Decimal(next(iter(row.values())) if isinstance(row, dict) else row[0])
