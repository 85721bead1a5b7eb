"""A small history that every query of the specification has something to find in: three people and seven calls."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec
import psycopg

Connection = psycopg.Connection[dict[str, Any]]

PHONE: Final = "+15551234567"
CARD: Final = "voice-outbound|nova-2|llama3.1-8b|eleven_turbo_v2_5|llama3.1-8b|espeak-ng"


class Costs(msgspec.Struct, frozen=True):
    """Cents by vendor."""

    twilio: Decimal
    deepgram: Decimal
    cerebras: Decimal
    elevenlabs: Decimal

    @property
    def total(self) -> Decimal:
        return self.twilio + self.deepgram + self.cerebras + self.elevenlabs


class KnownCall(msgspec.Struct, frozen=True):
    """A call as it is written; `age` counts back from the transaction's now()."""

    id: str
    user_id: str
    persona_id: str
    status: str
    age: timedelta
    seconds: int | None = None
    credits: int | None = None
    costs: Costs | None = None
    turns: int | None = None
    latency_ms: int | None = None


def cents(*values: str) -> Costs:
    return Costs(*(Decimal(value) for value in values))


DAY: Final = timedelta(days=1)
CALLS: Final = (
    KnownCall(
        "call_67890", "user_123", "brad", "completed", 0 * DAY, 300, 5, cents("6.50", "2.15", "0.02", "4.50"), 8, 700
    ),
    KnownCall(
        "call_2", "user_123", "sarah", "completed", 2 * DAY, 90, 2, cents("1.95", "0.645", "0.011", "2.7"), 4, 900
    ),
    KnownCall("call_3", "user_123", "brad", "failed", DAY),
    KnownCall("call_4", "user_123", "alex", "completed", 20 * DAY, 600, 10, cents("13", "4.3", "0.2", "9"), 20, 800),
    KnownCall("call_5", "user_123", "brad", "completed", 45 * DAY, 60, 1, cents("1.3", "0.43", "0.001", "1.5"), 2, 500),
    KnownCall("call_6", "user_456", "brad", "completed", 0 * DAY, 61, 2, cents("1.3216666667", "0.4371666", "0", "1")),
    KnownCall("call_7", "user_456", "sarah", "no_answer", 3 * DAY, 0, 0, cents("0", "0", "0", "0")),
)  # fmt: skip
PEOPLE: Final = (
    ("user_123", "user@example.com", "Ann", "basic", 95),
    ("user_456", "ben@example.com", "Ben", "free", 3),
    ("user_789", "cem@example.com", None, "premium", 500),
)


def write(connection: Connection) -> datetime:
    """Write it as the owner, with the specification's columns wherever they are enough; answers the time of now()."""
    for user_id, email, name, tier, credits in PEOPLE:
        connection.execute(
            "INSERT INTO users (id, email, password_hash, name, phone) VALUES (%s, %s, 'hash', %s, %s)",
            (user_id, email, name, PHONE if user_id == "user_123" else None),
        )
        connection.execute("INSERT INTO user_credits (user_id, subscription_tier) VALUES (%s, %s)", (user_id, tier))
        connection.execute("SELECT move_credits(%s, %s, 'purchase', 'purchase:test')", (user_id, credits))
    for call in CALLS:
        connection.execute(
            "INSERT INTO calls (id, user_id, persona_id, phone_number, status, duration_seconds, credits_used,"
            " start_time, created_at, turn_count, avg_response_time_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, now() - %s, now() - %s, %s, %s)",
            (
                call.id, call.user_id, call.persona_id, PHONE, call.status, call.seconds, call.credits, call.age,
                call.age, call.turns, call.latency_ms,
            ),
        )  # fmt: skip
        if call.costs is not None:
            connection.execute(
                "INSERT INTO call_cost_breakdowns (call_id, user_id, price_version_id, seen_at, created_at,"
                " twilio_cost_cents, deepgram_cost_cents, cerebras_cost_cents, elevenlabs_cost_cents, total_cost_cents)"
                " VALUES (%s, %s, 1, now() - %s, now() - %s, %s, %s, %s, %s, %s)",
                (
                    call.id, call.user_id, call.age, call.age, call.costs.twilio, call.costs.deepgram,
                    call.costs.cerebras, call.costs.elevenlabs, call.costs.total,
                ),
            )  # fmt: skip
    for user_id, persona_id, favorite, ago in (
        ("user_123", "brad", True, 2), ("user_123", "sarah", True, 1), ("user_123", "alex", False, 0),
        ("user_456", "alex", True, 0),
    ):  # fmt: skip
        connection.execute(
            "INSERT INTO user_persona_relationships (id, user_id, persona_id, relationship_type, is_favorite,"
            " total_calls, last_call_at) VALUES (%s, %s, %s, 'coach', %s, 1, now() - %s)",
            (f"rel_{user_id}_{persona_id}", user_id, persona_id, favorite, ago * DAY),
        )
    row = connection.execute("SELECT now() AS now").fetchone()
    assert row is not None
    now: datetime = row["now"]

    return now


def of(user_id: str, *, since: datetime, now: datetime, status: str | None = None) -> list[KnownCall]:
    """The calls of a person from a time on, newest first, as the specification's conditions choose them."""
    return sorted(
        (
            call
            for call in CALLS
            if call.user_id == user_id and now - call.age >= since and status in (None, call.status)
        ),
        key=lambda call: call.age,
    )
