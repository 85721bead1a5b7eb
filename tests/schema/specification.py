"""What the specification names and asks: its tables with their columns, and its queries word for word, by section.

Parameters are `$1` where the document has them. Nothing here is adapted to our schema: that is the point.
"""

from typing import Final

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "personas": (
        "id", "name", "description", "core_system_prompt", "default_voice_id", "default_voice_settings", "avatar_url",
        "category", "is_active", "is_system_persona", "created_at", "updated_at",
    ),
    "user_persona_relationships": (
        "id", "user_id", "persona_id", "relationship_type", "custom_system_prompt", "voice_id", "voice_settings",
        "total_calls", "total_duration_seconds", "last_call_at", "is_favorite", "is_archived", "created_at",
        "updated_at",
    ),
    "users": (
        "id", "email", "password_hash", "name", "phone", "stripe_customer_id", "created_at", "updated_at",
    ),
    "token_blacklist": ("token_id", "user_id", "expires_at", "created_at"),
    "user_credits": (
        "user_id", "available_credits", "subscription_tier", "subscription_status", "subscription_stripe_id",
        "subscription_start_date", "subscription_end_date", "monthly_credit_allowance", "max_calls_per_day",
        "max_call_duration_seconds", "created_at", "updated_at",
    ),
    "credit_transactions": (
        "id", "user_id", "amount", "type", "call_id", "payment_intent_id", "description", "balance_before",
        "balance_after", "created_at",
    ),
    "calls": (
        "id", "user_id", "persona_id", "phone_number", "twilio_call_sid", "status", "payment_method",
        "payment_intent_id", "payment_status", "estimated_cost_cents", "actual_cost_cents", "credits_used",
        "start_time", "end_time", "duration_seconds", "error_message", "created_at", "updated_at",
    ),
    "scheduled_calls": (
        "id", "user_id", "persona_id", "phone_number", "scheduled_time", "status", "executed_at", "call_id",
        "created_at", "updated_at",
    ),
    "call_cost_breakdowns": (
        "id", "call_id", "twilio_cost_cents", "deepgram_cost_cents", "cerebras_cost_cents", "elevenlabs_cost_cents",
        "twilio_duration_seconds", "deepgram_audio_seconds", "cerebras_input_tokens", "cerebras_output_tokens",
        "elevenlabs_characters", "total_cost_cents", "created_at",
    ),
    "user_budget_settings": (
        "user_id", "max_cost_per_call_cents", "max_monthly_spend_cents", "warn_at_percent_per_call",
        "enable_auto_cutoff", "created_at", "updated_at",
    ),
    "user_preferences": (
        "user_id", "email_notifications", "sms_notifications", "call_reminder_minutes", "created_at", "updated_at",
    ),
    # Named in section 3 and in the list of migrations, never defined there.
    "call_cost_events": ("call_id",),
    "call_scenario_templates": ("id", "user_id", "name", "scenario_text", "icon"),
    "admin_users": ("user_id", "role"),
    "schema_migrations": ("version",),
}  # fmt: skip

VIEWS: Final[dict[str, tuple[str, ...]]] = {
    "call_logs": (
        "id", "user_id", "persona_id", "twilio_call_sid", "phone_number", "duration_seconds", "status",
        "error_message", "cost_stt", "cost_llm", "cost_tts", "cost_twilio", "cost_total", "turn_count",
        "interrupt_count", "avg_response_time_ms", "started_at", "ended_at", "created_at",
    ),
}  # fmt: skip

# Quick reference

ACTIVE_PERSONAS: Final = "SELECT * FROM personas WHERE is_active = true ORDER BY created_at DESC"
CALL_HISTORY: Final = "SELECT * FROM calls WHERE user_id = $1 ORDER BY created_at DESC LIMIT 10"
CREDITS: Final = "SELECT * FROM user_credits WHERE user_id = $1"
SCHEDULED_NOW: Final = "SELECT * FROM scheduled_calls WHERE status = 'scheduled' AND scheduled_time <= NOW()"
MIGRATIONS: Final = "SELECT * FROM schema_migrations ORDER BY version"

# Section 4

PERSONA_CARDS: Final = """
SELECT id, name, description, category
FROM personas
WHERE is_active = true
ORDER BY created_at DESC
"""
PERSONA_VOICE: Final = """
SELECT id, name, default_voice_id, default_voice_settings
FROM personas
WHERE id = 'brad'
"""
FAVORITES_WITH_SETTINGS: Final = """
SELECT p.id, p.name, p.description,
       upr.relationship_type, upr.custom_system_prompt,
       upr.total_calls, upr.last_call_at
FROM personas p
INNER JOIN user_persona_relationships upr ON p.id = upr.persona_id
WHERE upr.user_id = 'user_123' AND upr.is_favorite = true
ORDER BY upr.last_call_at DESC
"""

# Section 5

USER_BY_EMAIL: Final = "SELECT * FROM users WHERE email = $1"
REVOKE_TOKEN: Final = """
INSERT INTO token_blacklist (token_id, user_id, expires_at)
VALUES ('jti_12345', 'user_123', '2025-11-28 12:00:00')
"""
IS_REVOKED: Final = """
SELECT 1 FROM token_blacklist
WHERE token_id = 'jti_12345' AND expires_at > NOW()
"""
CLEAN_UP_TOKENS: Final = "DELETE FROM token_blacklist WHERE expires_at < NOW()"

# Section 6

BALANCE_BEFORE_CALL: Final = """
SELECT available_credits, subscription_tier, max_call_duration_seconds
FROM user_credits
WHERE user_id = 'user_123'
"""
DEDUCT_CREDITS: Final = """
UPDATE user_credits
SET available_credits = available_credits - 5
WHERE user_id = 'user_123'
"""
ADD_CREDITS: Final = """
UPDATE user_credits
SET available_credits = available_credits + 100
WHERE user_id = 'user_123'
"""
LOG_DEDUCTION: Final = """
INSERT INTO credit_transactions (id, user_id, amount, type, call_id, description, balance_before, balance_after)
VALUES ('txn_12345', 'user_123', -5, 'call_deduction', 'call_67890', 'Call with Brad - 5 minutes', 100, 95)
"""
TRANSACTION_HISTORY: Final = """
SELECT type, amount, description, balance_after, created_at
FROM credit_transactions
WHERE user_id = 'user_123'
ORDER BY created_at DESC
LIMIT 20
"""

# Section 7

CREATE_CALL: Final = """
INSERT INTO calls (id, user_id, persona_id, phone_number, status, payment_method, estimated_cost_cents)
VALUES ('call_12345', 'user_123', 'brad', '+15551234567', 'initiating', 'credit', 500)
"""
CALL_IS_DIALLED: Final = """
UPDATE calls
SET status = 'calling', twilio_call_sid = 'CA1234567890abcdef'
WHERE id = 'call_12345'
"""
CALL_HAS_ENDED: Final = """
UPDATE calls
SET status = 'completed',
    end_time = NOW(),
    duration_seconds = 300,
    credits_used = 5,
    actual_cost_cents = 487
WHERE id = 'call_12345'
"""
RECENT_CALLS: Final = """
SELECT c.id, c.status, c.duration_seconds, c.credits_used, c.created_at,
       p.name as persona_name
FROM calls c
INNER JOIN personas p ON c.persona_id = p.id
WHERE c.user_id = 'user_123'
ORDER BY c.created_at DESC
LIMIT 10
"""
DUE_CALLS: Final = """
SELECT id, user_id, persona_id, phone_number
FROM scheduled_calls
WHERE status = 'scheduled'
  AND scheduled_time <= NOW()
ORDER BY scheduled_time ASC
LIMIT 10
"""
CALL_ANALYTICS: Final = """
SELECT
  COUNT(*) as total_calls,
  AVG(duration_seconds) as avg_duration,
  SUM(cost_total) as total_cost_cents,
  AVG(turn_count) as avg_turns,
  AVG(avg_response_time_ms) as avg_latency_ms
FROM call_logs
WHERE user_id = 'user_123'
  AND started_at >= NOW() - INTERVAL '30 days'
"""

# Section 8

INSERT_BREAKDOWN: Final = """
INSERT INTO call_cost_breakdowns (
  id, call_id,
  twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents,
  twilio_duration_seconds, deepgram_audio_seconds, cerebras_input_tokens, cerebras_output_tokens, elevenlabs_characters,
  total_cost_cents
) VALUES (
  'cost_12345', 'call_67890',
  6.50, 2.15, 0.08, 4.50,
  300, 300, 800, 1200, 300,
  13.23
)
"""
COSTS_BY_SERVICE: Final = """
SELECT
  SUM(twilio_cost_cents) as twilio_total,
  SUM(deepgram_cost_cents) as deepgram_total,
  SUM(cerebras_cost_cents) as cerebras_total,
  SUM(elevenlabs_cost_cents) as elevenlabs_total,
  SUM(total_cost_cents) as grand_total
FROM call_cost_breakdowns
WHERE created_at >= NOW() - INTERVAL '30 days'
"""
BUDGET_BEFORE_CALL: Final = """
SELECT max_cost_per_call_cents, max_monthly_spend_cents
FROM user_budget_settings
WHERE user_id = 'user_123'
"""
MONTH_SO_FAR: Final = """
SELECT SUM(total_cost_cents) as monthly_spend
FROM call_cost_breakdowns ccb
INNER JOIN calls c ON ccb.call_id = c.id
WHERE c.user_id = 'user_123'
  AND c.created_at >= DATE_TRUNC('month', NOW())
"""
BUDGET_DURING_CALL: Final = """
SELECT
  ubs.max_cost_per_call_cents,
  ccb.total_cost_cents as current_cost,
  (ccb.total_cost_cents::FLOAT / ubs.max_cost_per_call_cents) * 100 as percent_used
FROM user_budget_settings ubs
INNER JOIN calls c ON c.user_id = ubs.user_id
INNER JOIN call_cost_breakdowns ccb ON ccb.call_id = c.id
WHERE c.id = 'call_12345'
"""

# Section 10

PATTERN_FAVORITES: Final = """
SELECT p.id, p.name, p.description, p.avatar_url,
       upr.relationship_type, upr.total_calls, upr.last_call_at
FROM personas p
INNER JOIN user_persona_relationships upr ON p.id = upr.persona_id
WHERE upr.user_id = $1 AND upr.is_favorite = true
ORDER BY upr.last_call_at DESC
"""
PATTERN_HISTORY: Final = """
SELECT c.id, c.status, c.duration_seconds, c.credits_used, c.created_at,
       p.name as persona_name, p.avatar_url
FROM calls c
INNER JOIN personas p ON c.persona_id = p.id
WHERE c.user_id = $1
ORDER BY c.created_at DESC
LIMIT 20
"""
PATTERN_CREDITS: Final = """
SELECT available_credits, max_calls_per_day, subscription_tier
FROM user_credits
WHERE user_id = $1
"""
PATTERN_CALLS_TODAY: Final = """
SELECT COUNT(*) as calls_today
FROM calls
WHERE user_id = $1
  AND DATE(created_at) = CURRENT_DATE
"""
PATTERN_DUE: Final = """
SELECT id, user_id, persona_id, phone_number, scheduled_time
FROM scheduled_calls
WHERE status = 'scheduled'
  AND scheduled_time <= NOW()
ORDER BY scheduled_time ASC
LIMIT 10
"""
PATTERN_MONTH: Final = """
SELECT
  SUM(ccb.total_cost_cents) as total_spend_cents,
  COUNT(c.id) as total_calls,
  AVG(c.duration_seconds) as avg_duration_seconds
FROM calls c
LEFT JOIN call_cost_breakdowns ccb ON c.id = ccb.call_id
WHERE c.user_id = $1
  AND c.created_at >= DATE_TRUNC('month', NOW())
  AND c.status = 'completed'
"""

# Section 13

USER_WITH_BALANCE: Final = """
SELECT u.id, u.email, u.name, u.phone,
       uc.available_credits, uc.subscription_tier,
       u.created_at
FROM users u
LEFT JOIN user_credits uc ON u.id = uc.user_id
WHERE u.email = 'user@example.com'
"""
LOW_CREDITS: Final = """
SELECT u.id, u.email, uc.available_credits, uc.subscription_tier
FROM users u
INNER JOIN user_credits uc ON u.id = uc.user_id
WHERE uc.available_credits < 10
ORDER BY uc.available_credits ASC
"""
TODAYS_VOLUME: Final = """
SELECT COUNT(*) as total_calls,
       COUNT(CASE WHEN status = 'completed' THEN 1 END) as completed,
       COUNT(CASE WHEN status = 'failed' THEN 1 END) as failed,
       AVG(duration_seconds) as avg_duration
FROM calls
WHERE DATE(created_at) = CURRENT_DATE
"""
TOP_PERSONAS: Final = """
SELECT p.name, COUNT(c.id) as call_count, SUM(c.duration_seconds) as total_duration
FROM calls c
INNER JOIN personas p ON c.persona_id = p.id
WHERE c.created_at >= NOW() - INTERVAL '30 days'
  AND c.status = 'completed'
GROUP BY p.id, p.name
ORDER BY call_count DESC
LIMIT 10
"""
REVENUE_BY_DAY: Final = """
SELECT DATE(c.created_at) as call_date,
       COUNT(c.id) as total_calls,
       SUM(ccb.total_cost_cents) as revenue_cents
FROM calls c
LEFT JOIN call_cost_breakdowns ccb ON c.id = ccb.call_id
WHERE c.created_at >= NOW() - INTERVAL '7 days'
  AND c.status = 'completed'
GROUP BY DATE(c.created_at)
ORDER BY call_date DESC
"""
COSTS_IN_DOLLARS: Final = """
SELECT
  ROUND(SUM(twilio_cost_cents) / 100.0, 2) as twilio_total_usd,
  ROUND(SUM(deepgram_cost_cents) / 100.0, 2) as deepgram_total_usd,
  ROUND(SUM(cerebras_cost_cents) / 100.0, 2) as cerebras_total_usd,
  ROUND(SUM(elevenlabs_cost_cents) / 100.0, 2) as elevenlabs_total_usd,
  ROUND(SUM(total_cost_cents) / 100.0, 2) as grand_total_usd
FROM call_cost_breakdowns
WHERE created_at >= NOW() - INTERVAL '30 days'
"""
DEAREST_CALLS: Final = """
SELECT c.id, c.user_id, c.duration_seconds,
       ccb.total_cost_cents,
       p.name as persona_name,
       c.created_at
FROM calls c
INNER JOIN call_cost_breakdowns ccb ON c.id = ccb.call_id
INNER JOIN personas p ON c.persona_id = p.id
WHERE c.created_at >= NOW() - INTERVAL '7 days'
ORDER BY ccb.total_cost_cents DESC
LIMIT 10
"""

# Section 14, and the server's own figures of section 11

CONNECTIONS: Final = "SELECT count(*) FROM pg_stat_activity"
ACTIVE_CONNECTIONS: Final = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
MAX_CONNECTIONS: Final = "SHOW max_connections"
IDLE_CONNECTIONS: Final = """
SELECT pid, usename, application_name, state, query
FROM pg_stat_activity
WHERE state = 'idle'
ORDER BY state_change
"""
END_IDLE_CONNECTIONS: Final = """
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE state = 'idle'
  AND state_change < NOW() - INTERVAL '10 minutes'
"""
MISSING_INDEXES: Final = """
SELECT schemaname, tablename, attname, n_distinct, correlation
FROM pg_stats
WHERE schemaname = 'public'
  AND n_distinct > 100
  AND correlation < 0.5
"""
CALL_OF_NOBODY: Final = """
INSERT INTO calls (id, user_id, persona_id, phone_number)
VALUES ('call_123', 'user_999', 'brad', '+15551234567')
"""
DOES_USER_EXIST: Final = "SELECT id FROM users WHERE id = 'user_999'"
DOES_PERSONA_EXIST: Final = "SELECT id FROM personas WHERE id = 'brad'"
